// SPDX-License-Identifier: MIT
// Completes a TLS handshake with a certificate made for this one client, so that its subject says what was
// recognised and whatever the client shows of a server's certificate shows that; then talks on inside.
// Enters: a talk whose client sent a ClientHello. Leaves: records to send. OpenSSL does all of it over memory BIOs;
// there is no fd here.
//
// Invariants
//  * One P-256 key and one SSL_CTX per process, made when first needed; one self-signed certificate per connection.
//    Nothing is kept of a session: no cache, no tickets, no renegotiation.
//  * What comes is put into the BIO and taken out of t->in at once: rx_talk_hear bounds it.
//  * The error queue is per thread and shared with whoever uses OpenSSL next: it is left empty.
//
// Deliberately not done: looking like anybody else's server. The name a client asked for is in the certificate, but
// nobody it trusts has signed it.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "describe.h"
#include "log.h"

enum {
    HANDSHAKE_PATIENCE = 10 * 1000, // ms
    CN_MAX = 64,                    // RFC 5280 appendix A.1: ub-common-name
    DNS_NAME_MAX = 253,
    DAY = 24 * 3600,
    CHUNK = 4096,
};

struct rx_tls {
    SSL *ssl;                     // owned
    BIO *from_client, *to_client; // owned by ssl
    bool is_up;                   // the handshake is over
    struct rx_talk inner;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static SSL_CTX *ctx; // these two live as long as the process
static EVP_PKEY *key;

// ---- what all connections share ---------------------------------------------------------------------------------

// RFC 7301 3.2: http/1.1 if it is offered, since that is what is spoken best here, else what the client likes most.
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                   unsigned in_len, void *arg)
{
    static const char http[] = "http/1.1";
    (void)ssl, (void)arg;
    if (in_len < 2 || in[0] == 0 || in[0] >= in_len)
        return SSL_TLSEXT_ERR_NOACK;
    *out = in + 1;
    *out_len = in[0];
    for (unsigned at = 0; at < in_len && in[at] < in_len - at; at += 1u + in[at]) {
        if (in[at] == sizeof http - 1 && !memcmp(in + at + 1, http, sizeof http - 1)) {
            *out = in + at + 1;
            *out_len = in[at];
        }
    }
    return SSL_TLSEXT_ERR_OK;
}

static void make_ctx(void)
{
    key = EVP_EC_gen("P-256");
    ctx = key ? SSL_CTX_new(TLS_server_method()) : NULL;
    if (!ctx)
        return;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
}

// ---- the certificate --------------------------------------------------------------------------------------------

static const char *told(const struct rx_talk *t, const char *name)
{
    for (uint32_t i = 0; i < t->told.n; i++)
        if (strcmp(t->told.fact[i].name, name) == 0)
            return t->told.fact[i].value;
    return NULL;
}

// "refractium: tls sni=a.test alpn=h2": of a long one, as much as there is room for
static void common_name(const struct rx_talk *t, char cn[CN_MAX + 1])
{
    const char *sni = told(t, "sni"), *alpn = told(t, "alpn");
    int n = snprintf(cn, CN_MAX + 1, "refractium: tls%s%s%s%s", sni ? " sni=" : "", sni ? sni : "",
                     alpn ? " alpn=" : "", alpn ? alpn : "");
    if (n > CN_MAX)
        memcpy(cn + CN_MAX - 3, "...", 3);
}

// A host name as RFC 1123 2.1 has them, and underscores. Nothing else gets into a certificate.
static bool is_dns_name(const struct rx_text *name)
{
    if (name->len == 0 || name->len > DNS_NAME_MAX)
        return false;
    for (uint32_t i = 0; i < name->len; i++) {
        uint8_t c = name->ptr[i];
        bool is_alnum = (uint8_t)((c | 0x20) - 'a') < 26 || (uint8_t)(c - '0') < 10;
        if (!is_alnum && c != '-' && c != '_' && (c != '.' || i == 0))
            return false;
    }
    return true;
}

// Built from parts: a name written into OpenSSL's configuration syntax could bring others with it.
static bool add_alt_name(X509 *cert, const struct rx_text *name)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *one = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    bool is_done = false;
    if (names && one && text && ASN1_STRING_set(text, name->ptr, (int)name->len)) {
        GENERAL_NAME_set0_value(one, GEN_DNS, text);
        text = NULL;
        if (sk_GENERAL_NAME_push(names, one)) {
            one = NULL;
            is_done = X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
        }
    }
    ASN1_IA5STRING_free(text);
    GENERAL_NAME_free(one);
    GENERAL_NAMES_free(names);
    return is_done;
}

static bool fill_cert(X509 *cert, const struct rx_talk *t)
{
    uint64_t serial;
    char cn[CN_MAX + 1];
    common_name(t, cn);
    X509_NAME *name = X509_get_subject_name(cert);
    if (RAND_bytes((unsigned char *)&serial, sizeof serial) != 1)
        return false;
    // RFC 5280 4.1.2.2: positive
    if (!X509_set_version(cert, X509_VERSION_3) ||
        !ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1 | 1))
        return false;
    if (!X509_gmtime_adj(X509_getm_notBefore(cert), -DAY) || !X509_gmtime_adj(X509_getm_notAfter(cert), DAY))
        return false;
    if (!X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0))
        return false;
    if (!X509_set_issuer_name(cert, name) || !X509_set_pubkey(cert, key))
        return false;
    if (t->facts.have & RX_FACT_SNI && is_dns_name(&t->facts.sni) && !add_alt_name(cert, &t->facts.sni))
        return false;
    return X509_sign(cert, key, EVP_sha256()) > 0;
}

static bool use_cert(SSL *ssl, const struct rx_talk *t)
{
    X509 *cert = X509_new();
    bool is_done =
        cert && fill_cert(cert, t) && SSL_use_certificate(ssl, cert) == 1 && SSL_use_PrivateKey(ssl, key) == 1;
    X509_free(cert); // ssl has its own reference
    return is_done;
}

// ---- the talk ---------------------------------------------------------------------------------------------------

static struct rx_tls *tls_new(const struct rx_talk *t)
{
    pthread_once(&once, make_ctx);
    struct rx_tls *tls = ctx ? calloc(1, sizeof *tls) : NULL;
    if (!tls)
        return NULL;
    rx_talk_init_inside(&tls->inner, t);
    tls->ssl = SSL_new(ctx);
    tls->from_client = BIO_new(BIO_s_mem());
    tls->to_client = BIO_new(BIO_s_mem());
    if (!tls->ssl || !tls->from_client || !tls->to_client) {
        BIO_free(tls->from_client);
        BIO_free(tls->to_client);
        rx_tls_free(tls);
        return NULL;
    }
    SSL_set_bio(tls->ssl, tls->from_client, tls->to_client);
    SSL_set_accept_state(tls->ssl);
    if (!use_cert(tls->ssl, t)) {
        rx_tls_free(tls);
        return NULL;
    }
    return tls;
}

void rx_tls_free(struct rx_tls *tls)
{
    if (!tls)
        return;
    rx_talk_fini(&tls->inner);
    SSL_free(tls->ssl);
    free(tls);
}

// Records OpenSSL wants sent: t->out is bounded, and what does not fit ends the connection.
static void take_records(struct rx_talk *t)
{
    uint8_t chunk[CHUNK];
    int n;
    while ((n = BIO_read(t->tls->to_client, chunk, sizeof chunk)) > 0)
        rx_bytes_add(&t->out, chunk, (size_t)n);
}

// True once the handshake has failed: then its alert is all there is to say.
static bool shake_hands(struct rx_talk *t)
{
    int rc = SSL_do_handshake(t->tls->ssl);
    t->tls->is_up = rc == 1;
    t->patience_ms = t->tls->is_up ? RX_TALK_PATIENCE : HANDSHAKE_PATIENCE;
    return rc != 1 && SSL_get_error(t->tls->ssl, rc) != SSL_ERROR_WANT_READ;
}

// Passes what is inside on to the inner talk; true when that has said all, or the client has.
static bool hear_inside(struct rx_tls *tls)
{
    uint8_t chunk[CHUNK];
    int n;
    while ((n = SSL_read(tls->ssl, chunk, sizeof chunk)) > 0)
        if (rx_talk_hear(&tls->inner, chunk, (size_t)n))
            return true;
    if (SSL_get_error(tls->ssl, n) == SSL_ERROR_WANT_READ)
        return false;
    rx_talk_end(&tls->inner); // close_notify, or a record that is none
    return true;
}

static bool talk_inside(struct rx_talk *t)
{
    struct rx_tls *tls = t->tls;
    bool is_done = hear_inside(tls);
    if (!is_done && t->is_ended) {
        rx_talk_end(&tls->inner);
        is_done = true;
    }
    t->patience_ms = tls->inner.patience_ms;
    t->out.is_short |= tls->inner.out.is_short | tls->inner.in.is_short;
    if (tls->inner.out.len)
        SSL_write(tls->ssl, tls->inner.out.ptr, (int)tls->inner.out.len);
    tls->inner.out.len = 0;
    if (is_done)
        SSL_shutdown(tls->ssl); // RFC 8446 6.1: so that the end of the text is known to be the end
    return is_done;
}

static bool step(struct rx_talk *t)
{
    struct rx_tls *tls = t->tls;
    if (t->in.len && BIO_write(tls->from_client, t->in.ptr, (int)t->in.len) != (int)t->in.len)
        return true;
    t->in.len = 0;
    if (!tls->is_up && shake_hands(t))
        return true;
    return tls->is_up ? talk_inside(t) : t->is_ended;
}

bool rx_talk_tls(struct rx_talk *t)
{
    static const uint8_t internal_error[] = { 21, 3, 3, 0, 2, 2, 80 }; // RFC 8446 6
    if (!t->tls) {
        if (!rx_talk_learn(t))
            return false;
        t->tls = tls_new(t);
        if (!t->tls) {
            ERR_clear_error();
            rx_log_limited(RX_LOG_WARN, "no TLS answer: OpenSSL made no key or certificate");
            rx_bytes_add(&t->out, internal_error, sizeof internal_error);
            return true;
        }
    }
    ERR_clear_error(); // SSL_get_error looks at what others left behind
    bool is_done = step(t);
    take_records(t);
    ERR_clear_error();
    return is_done;
}
