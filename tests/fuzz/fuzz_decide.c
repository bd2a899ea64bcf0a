// SPDX-License-Identifier: MIT
// Enters: a config in few bytes, then what a client says: data[0] is the config's length, the config, the rest.
// Leaves: aborted with a sentence when the decider breaks one of its laws:
//  1. once it has said a route, or none, for an open connection it says the same of every continuation;
//  2. the answer does not change before `need` bytes are there;
//  3. when input has ended it never says "more", and it keeps to what it said while the input was open;
//  4. it depends on nothing but its arguments: neither on what is left in `out` nor in `scratch`;
//  5. an answer is the one of a decider that asks every route in turn and knows no table, trie or shortcut.
// Together, the first two say that any segmentation leads to the same route.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "athome.h"
#include "build.h"
#include "conf.h"
#include "route.h"

enum { ROUTES = 8, PAYLOAD_MAX = 6000, SHORT = 24, SPLITS = 16, NONE = -1, MORE = -2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct rx_listen *asked; // whose routes a finding shows

static void show_route(const struct rx_route *r)
{
    const struct rx_known *k = r->proto;
    fprintf(stderr, "  %u: %s", r->index, r->name);
    if (!k->def && !k->is_any && !k->is_silent)
        fprintf(stderr, " (%u prefixes, %u patterns within %u)", k->prefix.n, k->pattern.n, k->within);
    const struct rx_texts *texts[] = { &r->name_cond, &r->alpn, &r->path, &r->method, &r->software, &r->key };
    static const char *const words[] = { "name", "alpn", "path", "method", "software", "key" };
    for (unsigned i = 0; i < RX_COUNT(texts); i++)
        if (texts[i]->n || texts[i]->n_regex)
            fprintf(stderr, " %s(%u+%u)=%s", words[i], texts[i]->n, texts[i]->n_regex,
                    texts[i]->n ? texts[i]->text[0] : "~");
    fprintf(stderr, " from=%u not_from=%u to_port=%u ech=%d qtype=%u\n", r->n_from, r->n_not_from, r->n_to_port,
            r->ech, r->n_qtype);
}

_Noreturn static void broken(const char *fmt, ...) RX_PRINTF(1, 2);
_Noreturn static void broken(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, ", with the routes\n");
    for (uint32_t i = 0; i < asked->n_routes; i++)
        show_route(&asked->routes[i]);
    abort();
}

// ---- the config ---------------------------------------------------------------------------------------------------

struct input {
    const uint8_t *config, *config_end;
    const uint8_t *p;
    uint32_t n;
};

static unsigned draw(struct input *in, unsigned below)
{
    unsigned v = in->config < in->config_end ? *in->config++ : 0;
    return v % below;
}

// Some bytes of what the client will say, so that conditions have a chance to hold.
static struct rx_slice piece(struct input *in, bool from_start, unsigned most)
{
    static char zero[1];
    uint32_t at = from_start ? 0 : draw(in, 256), len = 1 + draw(in, most);
    if (at >= in->n)
        return (struct rx_slice){ zero, 1 };
    return (struct rx_slice){ (const char *)in->p + at, RX_MIN(len, in->n - at) };
}

static struct rx_slice slice(const char *text)
{
    return (struct rx_slice){ text, (uint32_t)strlen(text) };
}

static struct rx_slice name(struct input *in)
{
    static const char *const names[] = { "a.test",        "*.test",          "www.example.com",
                                         "*.example.com", "example.com",     "localhost",
                                         "~^[a-m]",       "~\\.test$",       "*.example.test",
                                         "*.arpa",        "EXAMPLE.org",     "example.test.",
                                         "*.a",           "www.example.test" };
    unsigned k = draw(in, RX_COUNT(names) + 2);
    return k < RX_COUNT(names) ? slice(names[k]) : piece(in, false, 24);
}

static int declare(struct rx_build *b, struct input *in)
{
    unsigned kinds = 1 + draw(in, 3);
    int id = rx_door.proto_new(b, &(struct rx_proto_spec){ .name = slice("declared"), .within = 1 + draw(in, 200) });
    for (unsigned i = 0, n = 1 + draw(in, 3); kinds & 1 && i < n; i++)
        rx_door.proto_prefix(b, id, piece(in, draw(in, 4) != 0, 12));
    for (unsigned i = 0, n = 1 + draw(in, 6); kinds & 2 && i < n; i++)
        rx_door.proto_pattern(b, id, piece(in, false, 6));
    return id;
}

static int protocol(struct rx_build *b, struct input *in)
{
    unsigned k = draw(in, 2 * rx_n_protos + 12);
    if (k < 2 * rx_n_protos) // each twice as likely as a declared one
        return rx_door.proto_builtin(b, slice(rx_protos[k / 2]->name));
    if (k < 2 * rx_n_protos + 2)
        return rx_door.proto_builtin(b, slice(k & 1 ? "any" : "silent"));
    if (k < 2 * rx_n_protos + 5)
        return rx_door.proto_builtin(b, slice("tls"));
    if (k < 2 * rx_n_protos + 8)
        return rx_door.proto_builtin(b, slice("http"));
    return declare(b, in);
}

static void condition(struct rx_build *b, struct input *in, int route)
{
    static const char *const blocks[] = { "10.0.0.0/8", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0" };
    static const char *const offers[] = { "h2", "http/1.1", "acme-tls/1" };
    static const char *const paths[] = { "/", "/index", "~html", "/api/" };
    static const char *const methods[] = { "GET", "POST", "CONNECT", "OPTIONS" };
    static const char *const software[] = { "OpenSSH", "curl", "~^go", "WinSCP", "Mozilla" };
    static const char *const types[] = { "A", "AAAA", "255", "TYPE65" };
    static const char *const ports[] = { "443", "8000-9000", "1-65535" };
    unsigned cond = draw(in, RX_COND_KEY + 1);
    struct rx_slice v = slice("k");
    switch ((enum rx_cond)cond) {
    case RX_COND_SNI:
    case RX_COND_HOST:
    case RX_COND_QNAME:
        v = name(in);
        break;
    case RX_COND_ALPN:
        v = slice(offers[draw(in, RX_COUNT(offers))]);
        break;
    case RX_COND_PATH:
        v = draw(in, 3) ? slice(paths[draw(in, RX_COUNT(paths))]) : piece(in, false, 8);
        break;
    case RX_COND_METHOD:
        v = slice(methods[draw(in, RX_COUNT(methods))]);
        break;
    case RX_COND_SOFTWARE:
        v = slice(software[draw(in, RX_COUNT(software))]);
        break;
    case RX_COND_FROM:
    case RX_COND_NOT_FROM:
        v = slice(blocks[draw(in, RX_COUNT(blocks))]);
        break;
    case RX_COND_TO_PORT:
        v = slice(ports[draw(in, RX_COUNT(ports))]);
        break;
    case RX_COND_QTYPE:
        v = slice(types[draw(in, RX_COUNT(types))]);
        break;
    case RX_COND_KEY:
        break;
    }
    if (rx_door.route_cond(b, route, cond, v) && cond <= RX_COND_QNAME) {
        // Not the name this protocol has: perhaps one of the others.
        for (unsigned other = RX_COND_SNI; other <= RX_COND_QNAME; other++)
            if (other != cond)
                rx_door.route_cond(b, route, other, v);
    }
}

static void ignore(void *data, unsigned severity, const char *text, size_t len)
{
    (void)data, (void)severity, (void)text, (void)len;
}

static struct rx_conf *build(struct input *in)
{
    struct rx_build *b = rx_build_new(rx_test_home(), ignore, NULL);
    int listen = rx_door.listen_new(b, &(struct rx_listen_spec){ .peek_ms = 1000 });
    rx_door.listen_bind(b, listen, slice("127.0.0.1:0"));
    int protos[ROUTES], n = 1 + (int)draw(in, ROUTES);
    for (int i = 0; i < n; i++) {
        unsigned again = draw(in, 4); // often a protocol some earlier route has too
        protos[i] = again == 0 && i ? protos[draw(in, (unsigned)i)] : protocol(b, in);
        struct rx_route_spec spec = { .proto = protos[i], .ech = draw(in, 8) < 6 ? 0 : 1 + draw(in, 2) };
        int route = rx_door.route_new(b, listen, &spec);
        for (unsigned k = draw(in, 4); k > 0; k--)
            condition(b, in, route);
    }
    struct rx_conf *c = rx_build_finish(b, NULL);
    rx_build_free(b);
    return c;
}

// ---- the slow decider ---------------------------------------------------------------------------------------------

static enum rx_verdict declared(const struct rx_known *k, const uint8_t *p, uint32_t n)
{
    enum rx_verdict v = k->pattern.n && n < k->within ? RX_MORE : RX_NO;
    for (uint32_t i = 0; i < k->prefix.n; i++)
        if (!memcmp(p, k->prefix.text[i], RX_MIN(n, k->prefix.len[i]))) {
            if (n >= k->prefix.len[i])
                return RX_MATCH;
            v = RX_MORE;
        }
    for (uint32_t i = 0; i < k->pattern.n; i++)
        if (memmem(p, RX_MIN(n, k->within), k->pattern.text[i], k->pattern.len[i]))
            return RX_MATCH;
    return v;
}

static enum rx_verdict ask_route(const struct rx_route *r, const struct rx_ask *ask)
{
    struct rx_facts f = { .want = ~0u, .scratch = ask->scratch };
    const struct rx_known *k = r->proto;
    enum rx_verdict v;
    if (k->is_any)
        v = RX_MATCH;
    else if (ask->n == 0 || k->is_silent) {
        bool is_patient = k->is_silent || k->is_server_first;
        v = ask->n ? RX_NO : is_patient && ask->ended == RX_ENDED_TIMEOUT ? RX_MATCH : RX_MORE;
        memset(&f, 0, sizeof f);
    } else
        v = k->def ? k->def->identify(ask->p, ask->n, &f) : declared(k, ask->p, ask->n);
    if (v == RX_MATCH) {
        if (ask->ended == RX_ENDED_EOF)
            f.pending = 0; // what has not come is absent
        return rx_route_holds(r, &f, ask);
    }
    if (v == RX_NO || ask->ended != RX_OPEN)
        return RX_NO;
    f = (struct rx_facts){ .pending = ~0u }; // nothing is known but the client
    return rx_route_holds(r, &f, ask) == RX_NO ? RX_NO : RX_MORE;
}

// Whether a route before `end` wants a fact that the client has not told in time: then it is not absent, and no later
// route of that protocol takes the connection.
static bool is_blocked(const struct rx_listen *l, uint32_t end, const bool *is_waiting)
{
    for (uint32_t i = 0; i < end; i++)
        if (is_waiting[i] && l->routes[i].proto == l->routes[end].proto)
            return true;
    return false;
}

static int decide_slowly(const struct rx_listen *l, const struct rx_ask *ask)
{
    bool is_waiting[ROUTES] = { false };
    for (uint32_t i = 0; i < l->n_routes; i++) {
        if (!(l->routes[i].proto->transport & RX_TCP) || is_blocked(l, i, is_waiting))
            continue;
        switch (ask_route(&l->routes[i], ask)) {
        case RX_MATCH:
            return (int)i;
        case RX_MORE:
            if (ask->ended == RX_OPEN)
                return MORE;
            is_waiting[i] = true;
            break;
        case RX_NO:
            break;
        }
    }
    return NONE;
}

// ---- the laws -----------------------------------------------------------------------------------------------------

static int place(const struct rx_decision *d)
{
    return d->verdict == RX_MATCH ? (int)d->route->index : d->verdict == RX_MORE ? MORE : NONE;
}

// Asks twice with different rubbish around.
static int ask_twice(const struct rx_listen *l, struct rx_ask *ask, uint32_t *need)
{
    struct rx_decision a, b;
    memset(&a, 0x5a, sizeof a);
    memset(&b, 0xff, sizeof b);
    memset(ask->scratch, 0x33, 64);
    rx_decide(l, ask, &a);
    memset(ask->scratch, 0xcc, 64);
    rx_decide(l, ask, &b);
    if (place(&a) != place(&b) || a.note != b.note || a.seen != b.seen || (a.verdict == RX_MORE && a.need != b.need))
        broken("law 4: asked twice, said %d and %d", place(&a), place(&b));
    if (a.verdict == RX_MORE && a.need <= ask->n)
        broken("law 2: at %u it needs %u", ask->n, a.need);
    *need = a.need;
    return place(&a);
}

struct walk {
    const struct rx_listen *l;
    struct rx_ask ask;
    int said;      // of the prefix before
    uint32_t need; // the farthest of all so far
};

static void step(struct walk *w, const uint8_t *p, uint32_t n, bool is_ended_too)
{
    uint8_t *copy = malloc(n ? n : 1); // ends where its memory ends
    uint32_t need;
    memcpy(copy, p, n);
    w->ask.p = n ? copy : NULL;
    w->ask.n = n;
    w->ask.ended = RX_OPEN;
    int now = ask_twice(w->l, &w->ask, &need);
    if (w->said != MORE && now != w->said)
        broken("law 1: %d before, %d at %u bytes", w->said, now, n);
    if (now != MORE && n < w->need)
        broken("law 2: %d at %u bytes, though it needed %u", now, n, w->need);
    if (now == MORE)
        w->need = RX_MAX(w->need, need);
    int slow = decide_slowly(w->l, &w->ask);
    if (now != MORE && now != slow)
        broken("law 5: %d at %u bytes, in turn %d", now, n, slow);
    w->said = now;
    for (enum rx_ended ended = RX_ENDED_EOF; is_ended_too && ended <= RX_ENDED_TIMEOUT; ended++) {
        w->ask.ended = ended;
        int then = ask_twice(w->l, &w->ask, &need);
        slow = decide_slowly(w->l, &w->ask);
        if (then == MORE || (now != MORE && then != now))
            broken("law 3: %d while open, %d when %s at %u bytes", now, then, rx_ended_word(ended), n);
        if (then != slow)
            broken("law 5: %d when %s at %u bytes, in turn %d", then, rx_ended_word(ended), n, slow);
    }
    free(copy);
}

static void client_of(struct input *in, union rx_ip *ip, uint16_t *port)
{
    static const char *const froms[] = { "10.1.2.3", "192.0.2.1", "2001:db8::1" };
    char why[RX_ADDR_TEXT];
    unsigned k = draw(in, RX_COUNT(froms) + 1);
    *ip = (union rx_ip){ .sa = { .sa_family = AF_UNSPEC } };
    if (k < RX_COUNT(froms))
        rx_ip_parse(froms[k], ip, why);
    *port = (uint16_t)(draw(in, 2) ? 443 : 8080);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t scratch[RX_SCRATCH_SIZE];
    if (size < 2 || size < 1u + data[0] || size > PAYLOAD_MAX)
        return 0;
    struct input in = { .config = data + 1, .config_end = data + 1 + data[0], .p = data + 1 + data[0] };
    in.n = (uint32_t)(size - 1 - data[0]);
    union rx_ip from;
    struct walk w = { .said = MORE, .ask = { .from = &from, .scratch = scratch } };
    client_of(&in, &from, &w.ask.to_port);
    struct rx_conf *conf = build(&in);
    if (!conf)
        return 0;
    w.l = asked = conf->listens[0];
    uint32_t seed = 1, at = 0;
    for (size_t i = 0; i < size; i++)
        seed = (seed ^ data[i]) * 16777619u;
    for (; at <= in.n && at <= SHORT; at++)
        step(&w, in.p, at, at % 4 == 0);
    while (at < in.n) {
        step(&w, in.p, at, seed % 4 == 0);
        seed = seed * 1664525 + 1013904223;
        at += 1 + (seed >> 8) % RX_MAX((in.n - at) * 2 / SPLITS, 2u);
    }
    step(&w, in.p, in.n, true);
    rx_conf_unref(conf);
    return 0;
}
