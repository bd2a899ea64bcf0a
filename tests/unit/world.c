// SPDX-License-Identifier: MIT
// Enters: a few words about a config. Leaves: the config, and what the decider says with it.
#include "athome.h"
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// ---- a config -----------------------------------------------------------------------------------------------------

static void hear(void *data, unsigned severity, const char *text, size_t len)
{
    struct draft *d = data;
    size_t k = strlen(d->said);
    d->n_errors += severity == RX_REPORT_ERROR;
    snprintf(d->said + k, sizeof d->said - k, "%.*s\n", (int)len, text);
}

struct rx_slice world_slice(const char *text)
{
    return (struct rx_slice){ text, (uint32_t)strlen(text) };
}

// An id the door gave; a refusal ends the test with the door's own words.
static int good(struct draft *d, int id)
{
    if (id < 0)
        fail_msg("the builder says: %s", rx_door.error(d->b));
    return id;
}

void draft_begin_with(struct draft *d, const struct rx_listen_spec *listen)
{
    memset(d, 0, sizeof *d);
    d->b = rx_build_new(rx_test_home(), hear, d);
    assert_non_null(d->b);
    struct rx_listen_spec spec = *listen;
    if (!spec.where.ptr)
        spec.where = world_slice("test.lua:1");
    d->listen = good(d, rx_door.listen_new(d->b, &spec));
    good(d, rx_door.listen_bind(d->b, d->listen, world_slice("127.0.0.1:0")));
}

void draft_begin(struct draft *d)
{
    draft_begin_with(d, &(struct rx_listen_spec){ .peek_ms = 1000 });
}

int draft_builtin(struct draft *d, const char *name)
{
    return good(d, rx_door.proto_builtin(d->b, world_slice(name)));
}

static int proto_new(struct draft *d, const char *name, uint32_t within)
{
    return good(d, rx_door.proto_new(d->b, &(struct rx_proto_spec){ .name = world_slice(name), .within = within }));
}

int draft_prefixes(struct draft *d, const char *name, ...)
{
    va_list ap;
    const char *text;
    int id = proto_new(d, name, 0);
    va_start(ap, name);
    while ((text = va_arg(ap, const char *)))
        good(d, rx_door.proto_prefix(d->b, id, world_slice(text)));
    va_end(ap);
    return id;
}

int draft_patterns(struct draft *d, const char *name, uint32_t within, ...)
{
    va_list ap;
    const char *text;
    int id = proto_new(d, name, within);
    va_start(ap, within);
    while ((text = va_arg(ap, const char *)))
        good(d, rx_door.proto_pattern(d->b, id, world_slice(text)));
    va_end(ap);
    return id;
}

int draft_pool(struct draft *d, const char *addr, ...)
{
    va_list ap;
    int id = good(d, rx_door.pool_new(d->b, &(struct rx_pool_spec){ .name = world_slice("pool") }));
    va_start(ap, addr);
    for (; addr; addr = va_arg(ap, const char *))
        good(d, rx_door.pool_backend(d->b, id, &(struct rx_backend_spec){ .addr = world_slice(addr), .weight = 1 }));
    va_end(ap);
    return id;
}

void draft_cond(struct draft *d, int route, enum rx_cond cond, const char *value)
{
    good(d, rx_door.route_cond(d->b, route, cond, world_slice(value)));
}

int draft_route_spec(struct draft *d, const struct rx_route_spec *spec)
{
    return good(d, rx_door.route_new(d->b, d->listen, spec));
}

int draft_route(struct draft *d, int proto, ...)
{
    int cond, id = draft_route_spec(d, &(struct rx_route_spec){ .proto = proto, .to = { .kind = RX_TO_DROP } });
    va_list ap;
    va_start(ap, proto);
    while ((cond = va_arg(ap, int)) >= 0)
        draft_cond(d, id, (enum rx_cond)cond, va_arg(ap, const char *));
    va_end(ap);
    return id;
}

int draft_route_to_pool(struct draft *d, int proto, int pool)
{
    return draft_route_spec(d, &(struct rx_route_spec){ .proto = proto, .to = { .kind = RX_TO_POOL, .pool = pool } });
}

struct rx_conf *draft_finish(struct draft *d)
{
    struct rx_conf *conf = rx_build_finish(d->b, "test.lua");
    if (!conf)
        fail_msg("the config is refused: %s", d->said);
    rx_build_free(d->b);
    d->b = NULL;
    rx_conf_inherit(conf, NULL); // as the engine does before it serves
    return conf;
}

void draft_refused(struct draft *d, const char *why)
{
    struct rx_conf *conf = rx_build_finish(d->b, "test.lua");
    rx_build_free(d->b);
    d->b = NULL;
    assert_null(conf);
    if (!strstr(d->said, why))
        fail_msg("\"%s\" is not among: %s", why, d->said);
}

// ---- a question ---------------------------------------------------------------------------------------------------

// Two turns' worth of input and scratch: what the last two decisions point into.
static const void *own_copy(const void *p, size_t n, uint8_t **scratch)
{
    static uint8_t *input[2], *scratches[2];
    static unsigned turn;
    turn ^= 1;
    free(input[turn]);
    free(scratches[turn]);
    input[turn] = malloc(n ? n : 1);
    *scratch = scratches[turn] = malloc(RX_SCRATCH_SIZE);
    assert_true(input[turn] && *scratch);
    if (n)
        memcpy(input[turn], p, n);
    return input[turn];
}

struct rx_decision world_decide(const struct rx_conf *conf, const struct world_client *who, const void *p, size_t n)
{
    char why[RX_ADDR_TEXT];
    union rx_ip from;
    struct rx_decision d;
    uint8_t *scratch;
    assert_int_equal(rx_ip_parse(who->from ? who->from : "192.0.2.1", &from, why), 0);
    const uint8_t *copy = own_copy(p, n, &scratch);
    struct rx_ask ask = { .p = n ? copy : NULL,
                          .n = (uint32_t)n,
                          .ended = who->ended,
                          .from = &from,
                          .to_port = who->to_port ? who->to_port : 8080,
                          .scratch = scratch,
                          .also_want = who->also_want };
    memset(&d, 0xa5, sizeof d); // the decider sets what it promises
    enum rx_verdict v = rx_decide(conf->listens[0], &ask, &d);
    assert_int_equal(v, d.verdict);
    assert_true((v == RX_MATCH) == (d.route != NULL));
    if (v == RX_MORE)
        assert_true(d.need > n);
    if (who->ended != RX_OPEN)
        assert_int_not_equal(v, RX_MORE);
    return d;
}

int world_place(const struct rx_decision *d)
{
    switch (d->verdict) {
    case RX_MATCH:
        return (int)d->route->index;
    case RX_MORE:
        return WORLD_MORE;
    case RX_NO:
        break;
    }
    return WORLD_NONE;
}

int world_route_n(const struct rx_conf *conf, const void *p, size_t n)
{
    struct rx_decision d = world_decide(conf, &(struct world_client){ 0 }, p, n);
    return world_place(&d);
}

int world_route(const struct rx_conf *conf, const char *text)
{
    return world_route_n(conf, text, strlen(text));
}

int world_route_ended(const struct rx_conf *conf, const char *text, enum rx_ended ended)
{
    struct rx_decision d = world_decide(conf, &(struct world_client){ .ended = ended }, text, strlen(text));
    return world_place(&d);
}

// ---- first bytes --------------------------------------------------------------------------------------------------

struct writer {
    uint8_t *at, *end;
};

static void put(struct writer *w, const void *p, size_t n)
{
    assert_true((size_t)(w->end - w->at) >= n);
    if (n)
        memcpy(w->at, p, n);
    w->at += n;
}

static void put8(struct writer *w, unsigned v)
{
    put(w, &(uint8_t){ (uint8_t)v }, 1);
}

static void put16(struct writer *w, unsigned v)
{
    put8(w, v >> 8);
    put8(w, v & 0xff);
}

static void put_zeros(struct writer *w, size_t n)
{
    while (n--)
        put8(w, 0);
}

// Sets the 16 bits before what was written since `from`.
static void close16(struct writer *w, const uint8_t *from)
{
    size_t n = (size_t)(w->at - from);
    ((uint8_t *)from)[-2] = (uint8_t)(n >> 8);
    ((uint8_t *)from)[-1] = (uint8_t)n;
}

static void put_extensions(struct writer *w, const struct world_hello *h)
{
    if (h->sni) {
        size_t n = strlen(h->sni);
        put16(w, 0);
        put16(w, (unsigned)n + 5);
        put16(w, (unsigned)n + 3);
        put8(w, 0);
        put16(w, (unsigned)n);
        put(w, h->sni, n);
    }
    if (h->alpn[0]) {
        put16(w, 16);
        put16(w, 0);
        const uint8_t *all = w->at;
        put16(w, 0);
        const uint8_t *names = w->at;
        for (unsigned i = 0; i < RX_COUNT(h->alpn) && h->alpn[i]; i++) {
            put8(w, (unsigned)strlen(h->alpn[i]));
            put(w, h->alpn[i], strlen(h->alpn[i]));
        }
        close16(w, names);
        close16(w, all);
    }
    if (h->has_ech) { // an outer hello: type, suite, config id, enc, payload
        put16(w, 0xfe0d);
        put16(w, 10 + 32);
        put(w, "\0\0\1\0\1\7\0\0\0\40", 10);
        put_zeros(w, 32);
    }
    if (h->padding) {
        put16(w, 21);
        put16(w, h->padding);
        put_zeros(w, h->padding);
    }
}

static size_t put_message(struct writer *w, const struct world_hello *h)
{
    uint8_t *start = w->at;
    put(w, "\1\0\0\0\3\3", 6);
    for (unsigned i = 0; i < 32; i++)
        put8(w, i * 7 + 1);
    put(w, "\0\0\2\x13\1\1\0\0\0", 9);
    const uint8_t *extensions = w->at;
    put_extensions(w, h);
    close16(w, extensions);
    size_t n = (size_t)(w->at - start);
    start[2] = (uint8_t)((n - 4) >> 8);
    start[3] = (uint8_t)(n - 4);
    return n;
}

size_t world_hello(const struct world_hello *h, uint8_t *buf, size_t size)
{
    static uint8_t message[64 * 1024];
    struct writer m = { message, message + sizeof message }, w = { buf, buf + size };
    size_t left = put_message(&m, h);
    for (const uint8_t *p = message; left;) {
        size_t n = h->record ? RX_MIN(left, h->record) : left;
        put(&w, "\x16\3\1", 3);
        put16(&w, (unsigned)n);
        put(&w, p, n);
        p += n;
        left -= n;
    }
    return (size_t)(w.at - buf);
}

size_t world_query(const char *name, uint16_t type, uint8_t *buf, size_t size)
{
    struct writer w = { buf, buf + size };
    put16(&w, 0);
    const uint8_t *message = w.at;
    put(&w, "\x12\x34\1\0\0\1\0\0\0\0\0\0", 12);
    for (const char *label = name; *label;) {
        size_t n = strcspn(label, ".");
        put8(&w, (unsigned)n);
        put(&w, label, n);
        label += n + (label[n] == '.');
    }
    put8(&w, 0);
    put16(&w, type);
    put16(&w, 1);
    close16(&w, message);
    return (size_t)(w.at - buf);
}
