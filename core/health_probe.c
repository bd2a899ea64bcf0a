// SPDX-License-Identifier: MIT
// One look at a backend: connect, perhaps a TLS handshake, perhaps say something, and judge what comes back. Enters: a
// rule and a backend's address. Leaves: one judgement. Every step is taken as soon as the socket lets it, from one
// callback; who gives it time ends it (health.c). What is this machine's own trouble is no judgement of the backend.
// A TCP socket is reset when it is closed, so that checks leave no TIME_WAIT behind.
#include "health.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dial.h"
#include "log.h"
#include "proxyproto.h"
#include "sys.h"

enum { REQUEST_MAX = 16 * 1024, FIRST_ROOM = 2048, DATAGRAM_ROOM = 16 * 1024 };

static void clear(struct rx_probe *p)
{
    ev_io_stop(p->loop, &p->io);
    if (p->ssl)
        SSL_free(p->ssl);
    if (p->io.fd >= 0)
        close(p->io.fd);
    free(p->request);
    free(p->answer);
    p->ssl = NULL;
    p->io.fd = -1;
    p->request = NULL;
    p->answer = NULL;
    p->len = p->cap = p->sent = p->request_len = p->preface_len = p->prefaced = 0;
    p->is_connected = p->is_secure = false;
}

void rx_probe_stop(struct rx_probe *p)
{
    clear(p);
}

static void finish(struct rx_probe *p, enum rx_judgement j, const char *why)
{
    if (p->io.fd >= 0 && p->rule->kind != RX_CHECK_UDP)
        rx_sys_reset_on_close(p->io.fd);
    clear(p);
    p->done(p, j, why);
}

static void watch(struct rx_probe *p, int events)
{
    if (ev_is_active(&p->io) && (p->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(p->loop, &p->io);
    ev_io_set(&p->io, p->io.fd, events);
    ev_io_start(p->loop, &p->io);
}

static bool is_our_trouble(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM || err == EADDRNOTAVAIL;
}

static void failed(struct rx_probe *p, int err)
{
    finish(p, is_our_trouble(err) ? RX_JUDGED_NOT : RX_JUDGED_BAD, strerror(err));
}

// ---- TLS --------------------------------------------------------------------------------------------------------------

struct ssl_ctx_st *rx_probe_tls(bool is_verified)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx)
        return NULL;
    SSL_CTX_set_verify(ctx, is_verified ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (is_verified)
        SSL_CTX_set_default_verify_paths(ctx);
    else
        SSL_CTX_set_security_level(ctx, 0); // whether it lives is asked, not how safe it is
    return ctx;
}

// The name a backend goes by, when it is one: without the port.
static bool name_of(const struct rx_probe *p, const char *backend, char *name, size_t size)
{
    struct rx_target_text t;
    char err[RX_ADDR_TEXT];
    const char *given = p->rule->sni;
    if (!given && p->rule->host) { // "name", or "name:port"
        snprintf(name, size, "%s", p->rule->host);
        if (*name != '[')
            name[strcspn(name, ":")] = 0;
        given = name;
    } else if (!given && !rx_addr_parse_target(backend, &t, err)) {
        snprintf(name, size, "%s", t.host);
        return *name;
    }
    if (!given || !*given)
        return false;
    struct rx_cidr ip;
    if (given != name)
        snprintf(name, size, "%s", given);
    return rx_cidr_parse(name, &ip, err) != 0 && *name != '['; // an address is no name
}

static bool begin_tls(struct rx_probe *p, const struct rx_backend_state *s, SSL_CTX *ctx)
{
    char name[256], ip[RX_ADDR_TEXT];
    if (!ctx || !(p->ssl = SSL_new(ctx)) || !SSL_set_fd(p->ssl, p->io.fd))
        return false;
    if (name_of(p, s->name, name, sizeof name)) {
        if (!SSL_set_tlsext_host_name(p->ssl, name) || !SSL_set1_host(p->ssl, name))
            return false;
    } else if (p->rule->is_verified && s->addr.sa.sa_family != AF_UNIX) {
        if (!X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(p->ssl), rx_addr_print_host(&s->addr.sa, ip)))
            return false;
    }
    SSL_set_connect_state(p->ssl);
    return true;
}

// What went wrong in the library. `rc` is what a call returned.
static void failed_tls(struct rx_probe *p, int rc, const char *doing)
{
    char why[RX_HEALTH_WHY];
    int saved = errno;
    int kind = SSL_get_error(p->ssl, rc);
    long verified = SSL_get_verify_result(p->ssl);
    unsigned long code = ERR_peek_last_error();
    const char *words = code ? ERR_reason_error_string(code) : NULL;
    if (p->rule->is_verified && verified != X509_V_OK)
        snprintf(why, sizeof why, "certificate: %s", X509_verify_cert_error_string(verified));
    else if (kind == SSL_ERROR_SYSCALL && !code && saved)
        snprintf(why, sizeof why, "%s: %s", doing, strerror(saved));
    else if (words)
        snprintf(why, sizeof why, "%s: %s", doing, words);
    else
        snprintf(why, sizeof why, "%s: the connection was closed", doing);
    ERR_clear_error();
    finish(p, RX_JUDGED_BAD, why);
}

// ---- the steps: each returns true when the next may be taken ------------------------------------------------------------

static bool connected(struct rx_probe *p)
{
    int err = p->is_connected ? 0 : rx_sys_take_error(p->io.fd);
    if (err) {
        failed(p, err);
        return false;
    }
    p->is_connected = true;
    return true;
}

static bool introduced(struct rx_probe *p)
{
    while (p->prefaced < p->preface_len) {
        size_t n = 0;
        enum rx_io io = rx_sys_send(p->io.fd, p->preface + p->prefaced, p->preface_len - p->prefaced, &n);
        if (io == RX_IO_DONE) {
            p->prefaced += (uint32_t)n;
            continue;
        }
        if (io == RX_IO_AGAIN)
            watch(p, EV_WRITE);
        else
            failed(p, errno);
        return false;
    }
    return true;
}

static bool secured(struct rx_probe *p)
{
    if (!p->ssl || p->is_secure)
        return true;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_do_handshake(p->ssl);
    if (rc == 1) {
        p->is_secure = true;
        return true;
    }
    int kind = SSL_get_error(p->ssl, rc);
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
        watch(p, kind == SSL_ERROR_WANT_READ ? EV_READ : EV_WRITE);
    else
        failed_tls(p, rc, "TLS handshake");
    return false;
}

static bool sent_some(struct rx_probe *p)
{
    size_t n = 0;
    if (!p->ssl) {
        switch (rx_sys_send(p->io.fd, p->request + p->sent, p->request_len - p->sent, &n)) {
        case RX_IO_DONE:
            p->sent += (uint32_t)n;
            return true;
        case RX_IO_AGAIN:
            watch(p, EV_WRITE);
            return false;
        case RX_IO_EOF:
        case RX_IO_FAIL:
            break;
        }
        failed(p, errno);
        return false;
    }
    ERR_clear_error();
    errno = 0;
    int rc = SSL_write_ex(p->ssl, p->request + p->sent, p->request_len - p->sent, &n);
    int kind = SSL_get_error(p->ssl, rc);
    p->sent += (uint32_t)n;
    if (rc == 1)
        return true;
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
        watch(p, kind == SSL_ERROR_WANT_READ ? EV_READ : EV_WRITE);
    else
        failed_tls(p, rc, "TLS");
    return false;
}

static bool said(struct rx_probe *p)
{
    while (p->sent < p->request_len)
        if (!sent_some(p))
            return false;
    return true;
}

static bool has_room(struct rx_probe *p)
{
    if (p->len < p->cap)
        return true;
    uint32_t cap = p->cap ? p->cap * 4 : p->rule->kind == RX_CHECK_UDP ? DATAGRAM_ROOM : FIRST_ROOM;
    cap = RX_MIN(cap, (uint32_t)RX_HEALTH_BYTES);
    uint8_t *grown = realloc(p->answer, cap);
    if (!grown)
        return false;
    p->answer = grown;
    p->cap = cap;
    return true;
}

// DONE: more has come.
static enum rx_io receive(struct rx_probe *p)
{
    size_t n = 0;
    if (p->rule->kind == RX_CHECK_UDP)
        p->len = 0; // a datagram is an answer of its own
    if (!has_room(p)) {
        failed(p, ENOMEM);
        return RX_IO_FAIL;
    }
    if (p->ssl) {
        ERR_clear_error();
        errno = 0;
        int rc = SSL_read_ex(p->ssl, p->answer + p->len, p->cap - p->len, &n);
        int kind = SSL_get_error(p->ssl, rc);
        p->len += (uint32_t)n;
        if (rc == 1)
            return RX_IO_DONE;
        if (kind == SSL_ERROR_ZERO_RETURN)
            return RX_IO_EOF;
        if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) {
            watch(p, kind == SSL_ERROR_WANT_READ ? EV_READ : EV_WRITE);
            return RX_IO_AGAIN;
        }
        failed_tls(p, rc, "TLS");
        return RX_IO_FAIL;
    }
    enum rx_io got = rx_sys_recv(p->io.fd, p->answer + p->len, p->cap - p->len, &n);
    p->len += (uint32_t)n;
    if (got == RX_IO_AGAIN)
        watch(p, EV_READ);
    else if (got == RX_IO_FAIL)
        failed(p, errno);
    return got;
}

static void listen_to(struct rx_probe *p)
{
    char why[RX_HEALTH_WHY];
    bool is_udp = p->rule->kind == RX_CHECK_UDP;
    for (;;) {
        enum rx_io got = receive(p);
        if (got == RX_IO_AGAIN || got == RX_IO_FAIL)
            return;
        bool is_over = got == RX_IO_EOF || is_udp || p->len == RX_HEALTH_BYTES;
        enum rx_judgement j = rx_health_judge(p->rule, p->script, p->answer, p->len, is_over, why);
        if (j != RX_JUDGED_MORE) {
            finish(p, j, why);
            return;
        }
    }
}

static void advance(struct rx_probe *p)
{
    if (!connected(p) || !introduced(p) || !secured(p))
        return;
    if (!rx_health_wants_answer(p->rule)) {
        finish(p, RX_JUDGED_GOOD, "");
        return;
    }
    if (said(p))
        listen_to(p);
}

static void probe_on_io(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct rx_probe *p = RX_CONTAINER(io, struct rx_probe, io);
    if (events & EV_ERROR)
        failed(p, ENOMEM);
    else
        advance(p);
}

// ---- beginning and end ------------------------------------------------------------------------------------------------

static struct rx_addr address_of(const struct rx_health_rule *r, const struct rx_backend_state *s)
{
    struct rx_addr a = s->addr;
    if (r->port && a.sa.sa_family == AF_INET)
        a.v4.sin_port = htons(r->port);
    else if (r->port && a.sa.sa_family == AF_INET6)
        a.v6.sin6_port = htons(r->port);
    return a;
}

static bool make_request(struct rx_probe *p, const char *backend)
{
    char buf[REQUEST_MAX];
    int n = rx_health_request(p->rule, backend, buf, sizeof buf);
    if (n < 0 || !(p->request = malloc((size_t)n + 1)))
        return false;
    memcpy(p->request, buf, (size_t)n);
    p->request_len = (uint32_t)n;
    return true;
}

// Backends that want a PROXY header want one from checks, too: without addresses, which is to say from the proxy itself.
static void make_preface(struct rx_probe *p, uint32_t send_proxy)
{
    uint8_t out[RX_PROXY_OUT_MAX];
    struct rx_proxy_say say = { .version = send_proxy & RX_SEND_PROXY_V2 ? 2 : 1,
                                .has_crc = send_proxy & RX_SEND_PROXY_CRC,
                                .from.sa.sa_family = AF_UNSPEC,
                                .to.sa.sa_family = AF_UNSPEC };
    if (!send_proxy || p->rule->port || p->rule->kind == RX_CHECK_UDP)
        return;
    size_t n = rx_proxy_write(out, &say);
    p->preface_len = (uint32_t)RX_MIN(n, sizeof p->preface);
    memcpy(p->preface, out, p->preface_len);
}

void rx_probe_start(struct rx_probe *p, const struct rx_backend_state *s, const struct rx_pool *pool,
                    struct ssl_ctx_st *tls)
{
    struct rx_addr to = address_of(p->rule, s);
    bool has_tls = p->rule->kind == RX_CHECK_TLS || p->rule->kind == RX_CHECK_HTTPS;
    struct rx_dial d = { .to = &to, .name = s->name, .type = p->rule->kind == RX_CHECK_UDP ? SOCK_DGRAM : SOCK_STREAM };
    int fd = rx_dial(pool, &d);
    ev_io_init(&p->io, probe_on_io, fd, EV_WRITE);
    make_preface(p, pool->check_proxy);
    if (fd < 0 && d.is_ours)
        finish(p, RX_JUDGED_NOT, strerror(errno));
    else if (fd < 0)
        failed(p, errno);
    if (fd < 0)
        return;
    if (!make_request(p, s->name) || (has_tls && !begin_tls(p, s, tls))) {
        ERR_clear_error();
        failed(p, ENOMEM);
        return;
    }
    p->is_connected = d.is_connected;
    if (!d.is_connected)
        watch(p, EV_WRITE);
    else
        advance(p);
}

void rx_probe_expire(struct rx_probe *p)
{
    char why[RX_HEALTH_WHY] = "";
    uint32_t ms = p->rule->timeout_ms;
    const char *doing = !p->is_connected          ? "no connection"
                        : p->ssl && !p->is_secure ? "no TLS handshake"
                                                  : "no answer";
    if (p->len && p->rule->kind != RX_CHECK_UDP) { // something came: what was missing is worth more than "timeout"
        enum rx_judgement j = rx_health_judge(p->rule, p->script, p->answer, p->len, true, why);
        if (j != RX_JUDGED_MORE) {
            char text[RX_HEALTH_WHY];
            snprintf(text, sizeof text, "%.120s (after %u ms)", why, ms);
            finish(p, j, text);
            return;
        }
    }
    snprintf(why, sizeof why, "%s within %u ms", doing, ms);
    finish(p, RX_JUDGED_BAD, why);
}
