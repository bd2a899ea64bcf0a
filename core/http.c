// SPDX-License-Identifier: MIT
// Enters: requests of monitoring. Leaves: texts made at that moment. libmicrohttpd speaks HTTP; it runs on the engine's
// loop, where everything it shows may be read. Requests are small, connections few and bounded in number and time, so
// that a stranger who reaches the port costs little.
#include "http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bind.h"
#include "log.h"

#ifdef RX_WITHOUT_METRICS

int rx_http_new(struct rx_http **out, struct ev_loop *loop, const struct rx_instance *i)
{
    (void)loop, (void)i;
    *out = NULL;
    return 0; // build.c refuses a config that asks for it
}

void rx_http_free(struct rx_http *h)
{
    (void)h;
}

#else

#include <microhttpd.h>

#include "metrics.h"

enum { CONNECTIONS = 64, PATIENCE_S = 10, MEMORY = 8192 };

struct rx_http {
    struct ev_loop *loop;                 // borrowed, as is the next
    const struct rx_instance *instance;
    struct MHD_Daemon *daemon; // owned
    ev_io io;
    ev_timer timer;
};

static const char TEXT[] = "text/plain; charset=utf-8", PROMETHEUS[] = "text/plain; version=0.0.4; charset=utf-8";

static enum MHD_Result send_body(struct MHD_Connection *c, unsigned status, const char *type, char *body, size_t len,
                                 enum MHD_ResponseMemoryMode memory)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(len, body, memory);
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    if (status == MHD_HTTP_UNAUTHORIZED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    enum MHD_Result rc = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result send_words(struct MHD_Connection *c, unsigned status, const char *words)
{
    return send_body(c, status, TEXT, (char *)words, strlen(words), MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result send_metrics(struct MHD_Connection *c, const struct rx_instance *i)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return MHD_NO;
    rx_metrics_print(out, i);
    if (fclose(out)) {
        free(text);
        return MHD_NO;
    }
    return send_body(c, MHD_HTTP_OK, PROMETHEUS, text, len, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result send_status(struct MHD_Connection *c, const struct rx_instance *i)
{
    struct rx_json j = { 0 };
    char *text;
    size_t len;
    rx_status_json(&j, i);
    if (rx_json_take(&j, &text, &len))
        return MHD_NO;
    return send_body(c, MHD_HTTP_OK, "application/json", text, len, MHD_RESPMEM_MUST_FREE);
}

// In a time that does not tell how much of it was right.
static bool is_same(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned char differs = n != m;
    for (size_t i = 0; i < n; i++)
        differs |= (unsigned char)(a[i] ^ b[m ? i % m : 0]);
    return !differs;
}

static bool may_read(struct MHD_Connection *c, const struct rx_conf *conf)
{
    static const char scheme[] = "Bearer ";
    if (!conf->metrics_token)
        return true;
    const char *said = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    return said && !strncasecmp(said, scheme, sizeof scheme - 1) && is_same(said + sizeof scheme - 1, conf->metrics_token);
}

static enum MHD_Result http_on_request(void *data, struct MHD_Connection *c, const char *path, const char *method,
                                       const char *version, const char *body, size_t *n_body, void **state)
{
    static int seen;
    const struct rx_http *h = data;
    const struct rx_instance *i = h->instance;
    (void)version, (void)body;
    if (!*state) { // the head is there; the answer is given when the body, if any, is
        *state = &seen;
        return MHD_YES;
    }
    if (*n_body) {
        *n_body = 0;
        return MHD_YES;
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
        return send_words(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    if (!strcmp(path, "/healthz"))
        return send_words(c, MHD_HTTP_OK, "ok\n");
    if (!strcmp(path, "/readyz"))
        return i->reload->is_stopped ? send_words(c, MHD_HTTP_SERVICE_UNAVAILABLE, "stopping\n")
                                     : send_words(c, MHD_HTTP_OK, "ready\n");
    if (!may_read(c, i->reload->conf))
        return send_words(c, MHD_HTTP_UNAUTHORIZED, "needs the metrics_token: Authorization: Bearer ...\n");
    if (!strcmp(path, "/metrics"))
        return send_metrics(c, i);
    if (!strcmp(path, "/status.json"))
        return send_status(c, i);
    return send_words(c, MHD_HTTP_NOT_FOUND, "there is /metrics, /status.json, /healthz and /readyz\n");
}

// ---- on the loop ----------------------------------------------------------------------------------------------------

static void serve(struct rx_http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;
    MHD_run(h->daemon);
    ev_timer_stop(h->loop, &h->timer);
    if (MHD_get_timeout(h->daemon, &ms) != MHD_YES)
        return;
    ev_timer_set(&h->timer, (double)RX_MIN(ms, 60000ull) / 1000, 0.);
    ev_timer_start(h->loop, &h->timer);
}

static void http_on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop, (void)events;
    serve(RX_CONTAINER(io, struct rx_http, io));
}

static void http_on_timer(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    serve(RX_CONTAINER(t, struct rx_http, timer));
}

static int open_socket(const char *address, struct rx_addr *bound)
{
    char why[RX_ADDR_TEXT];
    struct rx_addr *list;
    unsigned n;
    if (rx_addr_parse_listen(address, &list, &n, why)) {
        rx_log(RX_LOG_ERROR, "metrics: %s: %s", address, why);
        return -EINVAL;
    }
    struct rx_bind bind = { .addr = list[0], .text = address };
    free(list);
    int fd, rc = rx_bind_open(&bind, &fd, 1, bound);
    if (rc)
        rx_log(RX_LOG_ERROR, "cannot serve metrics on %s: %s", address, strerror(-rc));
    return rc ? rc : fd;
}

int rx_http_new(struct rx_http **out, struct ev_loop *loop, const struct rx_instance *i)
{
    const struct rx_conf *conf = i->reload->conf;
    struct rx_addr bound;
    char text[RX_ADDR_TEXT];
    *out = NULL;
    if (!conf->metrics_at)
        return 0;
    struct rx_http *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    int fd = open_socket(conf->metrics_at, &bound);
    if (fd < 0) {
        free(h);
        return fd;
    }
    h->loop = loop;
    h->instance = i;
    h->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, http_on_request, h, MHD_OPTION_LISTEN_SOCKET, fd,
                                 MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, PATIENCE_S,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY, MHD_OPTION_END);
    const union MHD_DaemonInfo *info = h->daemon ? MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info) {
        rx_log(RX_LOG_ERROR, "cannot serve metrics on %s", conf->metrics_at);
        if (h->daemon)
            MHD_stop_daemon(h->daemon);
        else
            close(fd);
        free(h);
        return -EIO;
    }
    ev_io_init(&h->io, http_on_readable, info->epoll_fd, EV_READ);
    ev_timer_init(&h->timer, http_on_timer, 0., 0.);
    ev_io_start(loop, &h->io);
    rx_log(RX_LOG_INFO, "metrics on http://%s/metrics", rx_addr_print(&bound.sa, text));
    *out = h;
    return 0;
}

void rx_http_free(struct rx_http *h)
{
    if (!h)
        return;
    ev_io_stop(h->loop, &h->io);
    ev_timer_stop(h->loop, &h->timer);
    MHD_stop_daemon(h->daemon); // closes the listening socket as well
    free(h);
}

#endif
