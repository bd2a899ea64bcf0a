// SPDX-License-Identifier: MIT
// Enters: a generation. Leaves: warnings.
// A route is covered when one earlier route has no function, and each of its conditions holds wherever the later one's
// do. Several earlier routes that cover it together are not noticed.
// Decisions do not hang on segments by the law of prefixes (proto.h). A function that says no too early breaks it, so
// what the config itself gives as a client's first bytes (its tests, the samples of its protocols) is decided in one
// piece, byte by byte, and in two pieces cut at every place.
#include "doubt.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "log.h"
#include "rehearse.h"

enum { EVERY_BYTE = 1024, CUTS = 256, PAIRS = 4000000 };

// ---- routes that can never match ------------------------------------------------------------------------------------

static bool covers_protocol(const struct rx_known *a, const struct rx_known *b)
{
    if (a->is_any || a == b)
        return true;
    // Who says nothing is taken by the first protocol whose clients wait for a greeting.
    if (b->is_silent)
        return a->is_server_first && a->transport & RX_TCP;
    return a->def && b->def && !strcmp(a->def->name, "ssh") && !strcmp(b->def->name, "sftp");
}

static bool is_same(const char *a, const char *b)
{
    return !strcmp(a, b);
}

static bool begins(const char *a, const char *b)
{
    return !strncmp(b, a, strlen(a));
}

static bool begins_nocase(const char *a, const char *b)
{
    return !strncasecmp(b, a, strlen(a));
}

// Every name that b stands for is one that a stands for: "*.a.test" covers "b.a.test" and "*.b.a.test".
static bool covers_name(const char *a, const char *b)
{
    if (!strcasecmp(a, b))
        return true;
    size_t n = strlen(b);
    if (a[0] != '*' || a[1] != '.')
        return false;
    a++; // ".a.test"
    size_t m = strlen(a);
    return n > m && !strcasecmp(b + n - m, a);
}

typedef bool value_covers(const char *a, const char *b);

// Each value of b is covered by one of a; an empty a asks for nothing.
static bool covers_texts(const struct rx_texts *a, const struct rx_texts *b, value_covers *covers)
{
    if (!a->n && !a->n_regex)
        return true;
    if (!b->n && !b->n_regex)
        return false;
    for (uint32_t i = 0; i < b->n; i++) {
        bool is_covered = false;
        for (uint32_t k = 0; k < a->n && !is_covered; k++)
            is_covered = covers(a->text[k], b->text[i]);
        if (!is_covered)
            return false;
    }
    for (uint32_t i = 0; i < b->n_regex; i++) {
        bool is_covered = false;
        for (uint32_t k = 0; k < a->n_regex && !is_covered; k++)
            is_covered = is_same(a->regex_text[k], b->regex_text[i]);
        if (!is_covered)
            return false;
    }
    return true;
}

static bool covers_cidr(const struct rx_cidr *a, const struct rx_cidr *b)
{
    if (a->family != b->family || a->bits > b->bits)
        return false;
    unsigned whole = a->bits / 8, rest = a->bits % 8;
    uint8_t mask = (uint8_t)(0xff00u >> rest);
    return !memcmp(a->bytes, b->bytes, whole) && (!rest || !((a->bytes[whole] ^ b->bytes[whole]) & mask));
}

// Each block of `inner` lies in one of `outer`.
static bool covers_blocks(const struct rx_cidr *outer, uint32_t n_outer, const struct rx_cidr *inner, uint32_t n_inner)
{
    for (uint32_t i = 0; i < n_inner; i++) {
        bool is_covered = false;
        for (uint32_t k = 0; k < n_outer && !is_covered; k++)
            is_covered = covers_cidr(&outer[k], &inner[i]);
        if (!is_covered)
            return false;
    }
    return true;
}

static bool covers_client(const struct rx_route *a, const struct rx_route *b)
{
    if (a->n_from && (!b->n_from || !covers_blocks(a->from, a->n_from, b->from, b->n_from)))
        return false;
    if (a->n_not_from && !covers_blocks(b->not_from, b->n_not_from, a->not_from, a->n_not_from))
        return false;
    if (a->n_to_port && !b->n_to_port)
        return false;
    for (uint32_t i = 0; a->n_to_port && i < b->n_to_port; i++) {
        bool is_covered = false;
        for (uint32_t k = 0; k < a->n_to_port && !is_covered; k++)
            is_covered = a->to_port[k].low <= b->to_port[i].low && b->to_port[i].high <= a->to_port[k].high;
        if (!is_covered)
            return false;
    }
    return true;
}

// At every minute of the week at which b may take something, a does.
static bool covers_during(const struct rx_route *a, const struct rx_route *b)
{
    for (uint32_t m = 0; a->n_during && m < RX_WEEK_MINUTES; m++)
        if (rx_route_is_during(b, m) && !rx_route_is_during(a, m))
            return false;
    return true;
}

static bool covers_qtypes(const struct rx_route *a, const struct rx_route *b)
{
    for (uint32_t i = 0; a->n_qtype && i < b->n_qtype; i++) {
        bool is_covered = false;
        for (uint32_t k = 0; k < a->n_qtype && !is_covered; k++)
            is_covered = a->qtype[k] == b->qtype[i];
        if (!is_covered)
            return false;
    }
    return !a->n_qtype || b->n_qtype;
}

bool rx_doubt_covers(const struct rx_route *a, const struct rx_route *b)
{
    unsigned needed = b->proto->is_silent ? RX_TCP : b->transport; // no datagram is silent
    if (a->when_fn >= 0 || a->to.kind == RX_TO_SCRIPT || (a->transport & needed) != needed)
        return false;
    if (!covers_protocol(a->proto, b->proto))
        return false;
    return covers_client(a, b) && (!a->ech || a->ech == b->ech) && covers_qtypes(a, b) &&
           covers_texts(&a->name_cond, &b->name_cond, covers_name) && covers_texts(&a->alpn, &b->alpn, is_same) &&
           covers_texts(&a->path, &b->path, begins) && covers_texts(&a->method, &b->method, is_same) &&
           covers_texts(&a->software, &b->software, begins_nocase) && covers_texts(&a->key, &b->key, is_same) &&
           covers_during(a, b);
}

static void warn(struct rx_findings *f, const char *fmt, ...) RX_PRINTF(2, 3);
static void warn(struct rx_findings *f, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    rx_findings_add(f, RX_REPORT_WARNING, text, RX_MIN((size_t)RX_MAX(n, 0), sizeof text - 1));
}

// Loading warns about some of them already.
static bool is_told(const struct rx_findings *f, const struct rx_route *r)
{
    char what[32];
    size_t n = strlen(r->where);
    snprintf(what, sizeof what, "routes[%u]", r->index + 1);
    for (unsigned i = 0; i < f->n; i++)
        if (!strncmp(f->list[i].text, r->where, n) && strstr(f->list[i].text, what))
            return true;
    return false;
}

// Bounded: a hundred thousand names would make billions of pairs. Behind the first PAIRS, only routes without
// conditions are asked, of which there are few.
static void warn_covered(const struct rx_listen *l, struct rx_findings *f)
{
    uint64_t pairs = 0;
    for (uint32_t i = 1; i < l->n_routes; i++) {
        const struct rx_route *r = &l->routes[i], *by = NULL;
        for (uint32_t k = 0; k < i && !by; k++)
            if ((pairs++ < PAIRS || l->routes[k].is_plain) && rx_doubt_covers(&l->routes[k], r))
                by = &l->routes[k];
        if (by && !is_told(f, r))
            warn(f, "%s: route %u (%s) can never match: route %u (%s, %s) takes all of it", r->where, i + 1, r->name,
                 by->index + 1, by->name, by->where);
    }
}

// ---- decisions that hang on segments --------------------------------------------------------------------------------

struct cutting {
    const struct rx_listen *listen;
    struct rx_client client;
    uint32_t len;
    uint32_t *cuts;   // owned
    uint8_t *scratch; // owned
};

// The route, or NULL; *is_open: it would still wait.
static const struct rx_route *decide(struct cutting *c, uint32_t n_cuts, bool *is_open)
{
    struct rx_outcome o;
    c->client.cuts = c->cuts;
    c->client.n_cuts = n_cuts;
    rx_rehearse(c->listen, &c->client, c->scratch, 0, &o);
    *is_open = o.d.verdict == RX_MORE;
    return *is_open ? NULL : o.d.route;
}

static const char *name_of(const struct rx_route *r, bool is_open, char buf[160])
{
    if (is_open)
        return "waits for more";
    if (!r)
        return "goes to the fallback";
    snprintf(buf, 160, "takes route %u (%.100s)", r->index + 1, r->name);
    return buf;
}

static void tell(struct cutting *c, const char *how, const struct rx_route *whole, bool whole_open,
                 const struct rx_route *cut, bool cut_open, struct rx_findings *f)
{
    char text[64], a[160], b[160];
    warn(f, "%s: \"%s\" (%u bytes) %s in one piece, and %s %s: an identify says no before it has seen enough",
         c->listen->where, rx_log_escape(c->client.p, c->len, text, sizeof text), c->len, name_of(whole, whole_open, a),
         name_of(cut, cut_open, b), how);
}

// True when a warning was given: one for each input is enough.
static bool try_input(struct cutting *c, struct rx_findings *f)
{
    bool whole_open, open;
    char how[64];
    c->cuts[0] = c->len;
    const struct rx_route *whole = decide(c, 1, &whole_open), *r;
    uint32_t n = RX_MIN(c->len, (uint32_t)EVERY_BYTE);
    for (uint32_t i = 0; i < n; i++)
        c->cuts[i] = i + 1;
    c->cuts[n] = c->len;
    r = decide(c, n + 1, &open);
    if (r != whole || open != whole_open) {
        tell(c, "byte by byte", whole, whole_open, r, open, f);
        return true;
    }
    uint32_t step = c->len / CUTS + 1;
    for (uint32_t at = 1; at < c->len; at += step) {
        c->cuts[0] = at;
        c->cuts[1] = c->len;
        r = decide(c, 2, &open);
        if (r == whole && open == whole_open)
            continue;
        snprintf(how, sizeof how, "cut after %u", at);
        tell(c, how, whole, whole_open, r, open, f);
        return true;
    }
    return false;
}

static void try_bytes(struct cutting *c, const struct rx_conf *conf, const struct rx_listen *l, const uint8_t *p,
                      uint32_t len, const union rx_ip *from, struct rx_findings *f)
{
    c->listen = l;
    c->len = RX_MIN(len, l->peek_bytes - 1);
    c->client = (struct rx_client){ .p = p,
                                    .from = *from,
                                    .to_port = rx_addr_port(&l->binds[0].addr.sa),
                                    .script = rx_conf_script(conf, -1) };
    if (c->len)
        try_input(c, f);
}

static void try_test(struct cutting *c, const struct rx_conf *conf, const struct rx_test *t, struct rx_findings *f)
{
    size_t total = 0, at = 0;
    for (uint32_t i = 0; i < t->n_send; i++)
        total += t->send[i].len;
    uint8_t *bytes = total && total <= t->listen->peek_bytes ? malloc(total) : NULL;
    if (!bytes)
        return;
    for (uint32_t i = 0; i < t->n_send; at += t->send[i++].len)
        memcpy(bytes + at, t->send[i].ptr, t->send[i].len);
    try_bytes(c, conf, t->listen, bytes, (uint32_t)total, &t->from, f);
    free(bytes);
}

static void warn_cut(const struct rx_conf *conf, struct rx_findings *f)
{
    struct cutting c = { .cuts = calloc(EVERY_BYTE + 1, sizeof *c.cuts), .scratch = malloc(RX_SCRATCH_SIZE) };
    const union rx_ip from = { .v4 = { .sin_family = AF_INET, .sin_addr = { htonl(0xc0000201u) } } }; // 192.0.2.1
    for (uint32_t i = 0; c.cuts && c.scratch && i < conf->n_tests; i++)
        if (conf->tests[i]->transport == RX_TCP)
            try_test(&c, conf, conf->tests[i], f);
    for (uint32_t i = 0; c.cuts && c.scratch && i < conf->n_samples; i++)
        for (uint32_t k = 0; conf->samples[i].proto->transport & RX_TCP && k < conf->n_listens; k++)
            try_bytes(&c, conf, conf->listens[k], conf->samples[i].bytes.ptr, conf->samples[i].bytes.len, &from, f);
    free(c.cuts);
    free(c.scratch);
}

void rx_doubt_run(const struct rx_conf *conf, struct rx_findings *f)
{
    for (uint32_t i = 0; i < conf->n_listens; i++)
        warn_covered(conf->listens[i], f);
    warn_cut(conf, f);
}
