// SPDX-License-Identifier: MIT
// Enters: specs (core/abi.h), already validated with good messages by lua/refractium/ or by an embedder. Leaves:
// an immutable struct rx_conf. Ranges are checked again here because an embedder may not have.
// Invariant: until rx_build_finish nothing refers to a route or a listener by address, since their arrays move.
#include "build.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "arena.h"
#include "backend.h"
#include "cond.h"
#include "identify.h"
#include "limit.h"
#include "regex.h"
#include "route.h"

// A listener while it is being built; its routes are moved into the conf at the end.
struct draft_route {
    struct rx_route r;
    int32_t listen;
    struct rx_target_spec to, fallback;
};

struct rx_build {
    struct rx_conf *conf; // owned until finish
    struct draft_route *routes;
    uint32_t n_routes;
    struct rx_target_spec server_fallback[2];
    rx_report_fn *report;
    void *report_data;
    unsigned n_errors;
    char error[RX_COND_ERROR];
};

static int fail(struct rx_build *b, const char *fmt, ...) RX_PRINTF(2, 3);
static int fail(struct rx_build *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(b->error, sizeof b->error, fmt, ap);
    va_end(ap);
    return -1;
}

static int no_memory(struct rx_build *b)
{
    return fail(b, "out of memory");
}

static char *keep(struct rx_build *b, struct rx_slice s)
{
    return rx_arena_copy(b->conf->arena, s.ptr ? s.ptr : "", s.len);
}

void rx_build_report(struct rx_build *b, unsigned severity, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    b->n_errors += severity == RX_REPORT_ERROR;
    b->report(b->report_data, severity, line, RX_MIN((size_t)n, sizeof line - 1));
}

int rx_build_source(struct rx_build *b, const char *path, const char *text, size_t len)
{
    struct rx_conf *c = b->conf;
    struct rx_source *list = rx_arena_grow(c->arena, c->sources, c->n_sources, sizeof *list);
    char *copy = rx_arena_copy(c->arena, text, len), *name = rx_arena_copy(c->arena, path, strlen(path));
    if (!list || !copy || !name)
        return no_memory(b);
    c->sources = list;
    list[c->n_sources++] = (struct rx_source){ name, copy, len };
    return 0;
}

uint32_t rx_build_functions(const struct rx_build *b)
{
    return b->conf->n_fns;
}

unsigned rx_build_errors(const struct rx_build *b)
{
    return b->n_errors;
}

static const char *door_error(struct rx_build *b)
{
    return b->error;
}

static void door_report(struct rx_build *b, uint32_t severity, struct rx_slice text)
{
    b->n_errors += severity == RX_REPORT_ERROR;
    b->report(b->report_data, severity, text.ptr, text.len);
}

// Slices are not NUL-terminated; the parsers want strings.
static const char *as_string(struct rx_build *b, struct rx_slice s, char *buf, size_t size)
{
    const char *text = rx_slice_string(s, buf, size);
    if (!text)
        fail(b, "too long, or contains a NUL byte");
    return text;
}

static int door_addr_check(struct rx_build *b, uint32_t kind, struct rx_slice text)
{
    char buf[512], why[RX_ADDR_TEXT];
    struct rx_addr *list = NULL;
    struct rx_cidr cidr;
    unsigned n = 0;
    int rc = -1;
    if (!as_string(b, text, buf, sizeof buf))
        return -1;
    switch ((enum rx_addr_kind)kind) {
    case RX_ADDR_LISTEN:
        rc = rx_addr_parse_listen(buf, &list, &n, why);
        break;
    case RX_ADDR_TARGET:
        rc = rx_addr_parse_target(buf, false, &list, &n, why);
        break;
    case RX_ADDR_CIDR:
        rc = rx_cidr_parse(buf, &cidr, why);
        break;
    }
    free(list);
    return rc ? fail(b, "%s", why) : 0;
}

static int door_regex_check(struct rx_build *b, struct rx_slice pattern)
{
    char why[128];
    struct rx_regex *r = rx_regex_new(pattern.ptr, pattern.len, why);
    if (!r)
        return fail(b, "%s", why);
    rx_regex_free(r);
    return 0;
}

static const char *door_builtin_name(uint32_t i)
{
    static _Thread_local char alias[64];
    if (i < rx_n_protos)
        return rx_protos[i]->name;
    for (unsigned k = 0, left = i - rx_n_protos; k < rx_n_protos; k++)
        if (rx_protos[k]->alias && left-- == 0) {
            snprintf(alias, sizeof alias, "%s=%s", rx_protos[k]->alias, rx_protos[k]->name);
            return alias;
        }
    return NULL;
}

static int door_fn_new(struct rx_build *b, uint32_t kind, struct rx_slice where)
{
    struct rx_conf *c = b->conf;
    struct rx_fn *list = rx_arena_grow(c->arena, c->fns, c->n_fns, sizeof *list);
    char *copy = keep(b, where);
    if (!list || !copy)
        return no_memory(b);
    if (kind > RX_FN_ACCEPT)
        return fail(b, "unknown kind of function");
    c->fns = list;
    list[c->n_fns++] = (struct rx_fn){ .kind = kind, .where = copy };
    return (int)c->n_fns; // from 1: in a spec, 0 means none
}

// *out: place in conf->fns of the function a spec names, -1 for none.
static int fn_check(struct rx_build *b, int32_t fn, enum rx_fn_kind kind, int32_t *out)
{
    *out = -1;
    if (fn <= 0)
        return 0;
    if ((uint32_t)fn > b->conf->n_fns || b->conf->fns[fn - 1].kind != kind)
        return fail(b, "no such function");
    *out = fn - 1;
    return 0;
}

static int door_server_set(struct rx_build *b, const struct rx_server_spec *s)
{
    struct rx_conf *c = b->conf;
    c->workers = s->workers;
    c->max_connections = s->max_connections ? s->max_connections : 10000;
    c->drain_ms = s->drain_ms;
    c->hot_reload = s->hot_reload;
    c->script_budget_ms = s->script_budget_ms ? s->script_budget_ms : 50;
    c->access_log = s->access_log;
    c->access_log_file = s->access_log_file.len ? keep(b, s->access_log_file) : NULL;
    c->log_format = s->log_format;
    const struct rx_target_spec *both[2] = { &s->fallback_tcp, &s->fallback_udp };
    for (int i = 0; i < 2; i++) {
        b->server_fallback[i] = *both[i];
        if (both[i]->text.len)
            b->server_fallback[i].text.ptr = keep(b, both[i]->text);
    }
    return 0;
}

// ---- protocols ------------------------------------------------------------------------------------------------

static struct rx_known *known_new(struct rx_build *b)
{
    struct rx_conf *c = b->conf;
    struct rx_known **list = rx_arena_grow(c->arena, c->known, c->n_known, sizeof *list);
    struct rx_known *k = rx_arena_get(c->arena, sizeof *k);
    if (!list || !k)
        return NULL;
    c->known = list;
    list[c->n_known++] = k;
    k->identify_fn = -1;
    return k;
}

static int door_proto_builtin(struct rx_build *b, struct rx_slice name)
{
    char buf[64];
    if (!as_string(b, name, buf, sizeof buf))
        return -1;
    bool is_any = !strcmp(buf, "any"), is_silent = !strcmp(buf, "silent");
    const struct rx_proto *def = rx_proto_find(buf);
    if (!def && !is_any && !is_silent)
        return fail(b, "no protocol named \"%s\"", buf);
    for (uint32_t i = 0; i < b->conf->n_known; i++) {
        struct rx_known *k = b->conf->known[i];
        if (k->is_any == is_any && k->is_silent == is_silent && k->def == def && (def || is_any || is_silent))
            return (int)i;
    }
    struct rx_known *k = known_new(b);
    if (!k)
        return no_memory(b);
    k->name = def ? def->name : is_any ? "any" : "silent";
    k->def = def;
    k->is_any = is_any;
    k->is_silent = is_silent;
    k->transport = def ? def->transport : RX_BOTH;
    return (int)b->conf->n_known - 1;
}

static int door_proto_new(struct rx_build *b, const struct rx_proto_spec *s)
{
    struct rx_known *k = known_new(b);
    if (!k)
        return no_memory(b);
    k->name = keep(b, s->name);
    k->transport = s->transport ? s->transport : RX_BOTH;
    k->within = s->within ? s->within : 1024;
    if (fn_check(b, s->identify, RX_FN_IDENTIFY, &k->identify_fn))
        return -1;
    return (int)b->conf->n_known - 1;
}

static struct rx_known *known_at(struct rx_build *b, int32_t id)
{
    if (id < 0 || (uint32_t)id >= b->conf->n_known) {
        fail(b, "no such protocol");
        return NULL;
    }
    return b->conf->known[id];
}

static int door_proto_prefix(struct rx_build *b, int32_t id, struct rx_slice bytes)
{
    struct rx_known *k = known_at(b, id);
    if (!k)
        return -1;
    if (k->def || !bytes.len)
        return fail(b, "a prefix must not be empty");
    return rx_texts_add(b->conf->arena, &k->prefix, bytes) ? no_memory(b) : 0;
}

static int door_proto_pattern(struct rx_build *b, int32_t id, struct rx_slice bytes)
{
    struct rx_known *k = known_at(b, id);
    if (!k)
        return -1;
    if (k->def || !bytes.len)
        return fail(b, "a pattern must not be empty");
    bool *table = (bool *)k->pattern_table;
    if (!table && !(k->pattern_table = table = rx_arena_get(b->conf->arena, 256 * sizeof *table)))
        return no_memory(b);
    uint8_t first = (uint8_t)bytes.ptr[0];
    if (!table[first]) {
        table[first] = true;
        for (unsigned i = k->n_pattern_first++; i < RX_COUNT(k->pattern_first); i++)
            k->pattern_first[i] = first;
    }
    return rx_texts_add(b->conf->arena, &k->pattern, bytes) ? no_memory(b) : 0;
}

static int door_proto_sample(struct rx_build *b, int32_t id, uint32_t yes, struct rx_slice bytes)
{
    struct rx_conf *c = b->conf;
    struct rx_known *k = known_at(b, id);
    if (!k)
        return -1;
    struct rx_sample *list = rx_arena_grow(c->arena, c->samples, c->n_samples, sizeof *list);
    char *copy = keep(b, bytes);
    if (!list || !copy)
        return no_memory(b);
    c->samples = list;
    list[c->n_samples++] = (struct rx_sample){ k, yes != 0, { (uint8_t *)copy, bytes.len } };
    return 0;
}

// ---- pools ----------------------------------------------------------------------------------------------------

static int door_pool_new(struct rx_build *b, const struct rx_pool_spec *s)
{
    struct rx_conf *c = b->conf;
    struct rx_pool **list = rx_arena_grow(c->arena, c->pools, c->n_pools, sizeof *list);
    struct rx_pool *p = rx_arena_get(c->arena, sizeof *p);
    atomic_uint *cursor = rx_arena_get(c->arena, 64);
    if (!list || !p || !cursor)
        return no_memory(b);
    if (s->balance != RX_BALANCE_ROUND_ROBIN)
        return fail(b, "unknown balance");
    p->name = keep(b, s->name);
    p->is_anonymous = !s->name.len;
    p->tries = s->tries;
    p->cursor = cursor;
    struct rx_target *target = rx_arena_get(c->arena, sizeof *target);
    if (!target)
        return no_memory(b);
    *target = (struct rx_target){ .kind = RX_TO_POOL, .pool = p };
    p->target = target;
    if (fn_check(b, s->policy, RX_FN_POLICY, &p->policy_fn))
        return -1;
    c->pools = list;
    list[c->n_pools++] = p;
    return (int)c->n_pools - 1;
}

static int backend_append(struct rx_build *b, struct rx_pool *p, const struct rx_backend *one)
{
    struct rx_backend *list = rx_arena_grow(b->conf->arena, p->backends, p->n_backends, sizeof *list);
    if (!list)
        return no_memory(b);
    p->backends = list;
    list[p->n_backends++] = *one;
    return 0;
}

static int door_pool_backend(struct rx_build *b, int32_t pool, const struct rx_backend_spec *s)
{
    char buf[512], why[RX_ADDR_TEXT];
    struct rx_addr *list;
    unsigned n;
    if (pool < 0 || (uint32_t)pool >= b->conf->n_pools)
        return fail(b, "no such pool");
    if (!as_string(b, s->addr, buf, sizeof buf))
        return -1;
    if (rx_addr_parse_target(buf, true, &list, &n, why))
        return fail(b, "%s", why);
    struct rx_backend one = { .name = keep(b, s->addr), .weight = RX_MAX(s->weight, 1u), .is_backup = s->is_backup };
    int rc = one.name ? 0 : no_memory(b);
    for (unsigned i = 0; i < n && !rc; i++) {
        one.addr = list[i];
        one.state = rx_backend_state_get(&list[i]);
        rc = one.state ? backend_append(b, b->conf->pools[pool], &one) : no_memory(b);
    }
    free(list);
    return rc;
}

enum { ORDER_MAX = 65536 }; // turns kept for a pool

// Weights as small as they can be: divided by what they have in common, scaled down when their sum is still huge.
static int64_t weights_shrink(struct rx_backend *list, uint32_t n)
{
    uint64_t sum = 0;
    uint32_t common = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t a = list[i].weight, b = common;
        while (b) {
            uint32_t rest = a % b;
            a = b;
            b = rest;
        }
        common = a;
    }
    for (uint32_t i = 0; i < n; i++)
        sum += list[i].weight /= common;
    if (sum <= ORDER_MAX)
        return (int64_t)sum;
    uint64_t was = sum;
    sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        list[i].weight = (uint32_t)RX_MAX((uint64_t)list[i].weight * (ORDER_MAX / 2) / was, 1u);
        sum += list[i].weight;
    }
    return (int64_t)sum;
}

// Primaries first, backups behind; then the smooth weighted order: each turn the backend that is owed most.
static int pool_finish(struct rx_build *b, struct rx_pool *p)
{
    struct rx_backend *sorted = rx_arena_get(b->conf->arena, p->n_backends * sizeof *sorted);
    int64_t *owed = calloc(p->n_backends, sizeof *owed);
    uint32_t k = 0;
    if (!sorted || !owed)
        goto fail;
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < p->n_backends; i++)
            if (p->backends[i].is_backup == (pass == 1)) {
                sorted[k++] = p->backends[i];
                p->n_primary += !pass;
            }
    p->backends = sorted;
    if (!p->n_primary) // backups alone serve as what they are
        p->n_primary = p->n_backends;
    int64_t sum = weights_shrink(sorted, p->n_primary);
    p->n_order = (uint32_t)sum;
    p->order = rx_arena_get(b->conf->arena, p->n_order * sizeof *p->order);
    p->turn_of = rx_arena_get(b->conf->arena, p->n_primary * sizeof *p->turn_of);
    if (!p->order || !p->turn_of)
        goto fail;
    for (uint32_t turn = 0; turn < p->n_order; turn++) {
        uint32_t best = 0;
        for (uint32_t i = 0; i < p->n_primary; i++) {
            owed[i] += sorted[i].weight;
            if (owed[i] > owed[best])
                best = i;
        }
        owed[best] -= sum;
        p->turn_of[best] = turn;
        p->order[turn] = best;
    }
    if (!p->tries || p->tries > p->n_backends)
        p->tries = p->n_backends;
    if (p->is_anonymous)
        p->name = p->n_backends == 1 ? sorted[0].name
                                     : rx_arena_printf(b->conf->arena, "%s+%u", sorted[0].name, p->n_backends - 1);
    free(owed);
    return 0;
fail:
    free(owed);
    return -1;
}

// ---- listeners and routes -------------------------------------------------------------------------------------

static int target_make(struct rx_build *b, const struct rx_target_spec *s, struct rx_target *out)
{
    *out = (struct rx_target){ .kind = s->kind };
    if (s->kind == RX_TO_POOL) {
        if (s->pool < 0 || (uint32_t)s->pool >= b->conf->n_pools)
            return fail(b, "no such pool");
        out->pool = b->conf->pools[s->pool];
    }
    if (s->kind == RX_TO_SCRIPT && fn_check(b, s->pool, RX_FN_TO, &out->fn))
        return -1;
    if (s->kind == RX_TO_RESPOND) {
        out->text = keep(b, s->text);
        out->text_len = s->text.len;
        if (!out->text)
            return no_memory(b);
    }
    return 0;
}

static int door_listen_new(struct rx_build *b, const struct rx_listen_spec *s)
{
    struct rx_conf *c = b->conf;
    struct rx_listen **list = rx_arena_grow(c->arena, c->listens, c->n_listens, sizeof *list);
    struct rx_listen *l = rx_arena_get(c->arena, sizeof *l);
    if (!list || !l)
        return no_memory(b);
    *l = (struct rx_listen){ .where = keep(b, s->where),
                             .max_connections = s->max_connections,
                             .max_connections_per_ip = s->max_connections_per_ip,
                             .ipv6_prefix = s->ipv6_prefix ? s->ipv6_prefix : 64,
                             .max_pending = s->max_pending,
                             .peek_ms = s->peek_ms ? s->peek_ms : 3000,
                             .peek_bytes = s->peek_bytes ? s->peek_bytes : 16384,
                             .connect_ms = s->connect_ms ? s->connect_ms : 5000,
                             .idle_ms = s->idle_ms ? s->idle_ms : 3600 * 1000 };
    if (target_make(b, &s->fallback_tcp, &l->fallback_tcp) || target_make(b, &s->fallback_udp, &l->fallback_udp))
        return -1;
    if (fn_check(b, s->on_accept, RX_FN_ACCEPT, &l->accept_fn))
        return -1;
    c->listens = list;
    list[c->n_listens++] = l;
    return (int)c->n_listens - 1;
}

static int door_listen_bind(struct rx_build *b, int32_t listen, struct rx_slice addr)
{
    char buf[512], why[RX_ADDR_TEXT];
    struct rx_addr *list;
    unsigned n;
    if (listen < 0 || (uint32_t)listen >= b->conf->n_listens)
        return fail(b, "no such listener");
    if (!as_string(b, addr, buf, sizeof buf))
        return -1;
    if (rx_addr_parse_listen(buf, &list, &n, why))
        return fail(b, "%s", why);
    struct rx_listen *l = b->conf->listens[listen];
    const char *text = keep(b, addr);
    int rc = text ? 0 : no_memory(b);
    for (unsigned i = 0; i < n && !rc; i++) {
        struct rx_bind *binds = rx_arena_grow(b->conf->arena, l->binds, l->n_binds, sizeof *binds);
        if (!binds) {
            rc = no_memory(b);
            break;
        }
        l->binds = binds;
        binds[l->n_binds++] = (struct rx_bind){ .addr = list[i], .text = text };
    }
    if (!l->name)
        l->name = text;
    free(list);
    return rc;
}

static int door_route_new(struct rx_build *b, int32_t listen, const struct rx_route_spec *s)
{
    struct rx_known *known = known_at(b, s->proto);
    if (!known)
        return -1;
    if (listen < 0 || (uint32_t)listen >= b->conf->n_listens)
        return fail(b, "no such listener");
    if ((b->n_routes & (b->n_routes - 1)) == 0) {
        uint32_t cap = b->n_routes ? b->n_routes * 2 : 1;
        struct draft_route *list = realloc(b->routes, cap * sizeof *list);
        if (!list)
            return no_memory(b);
        b->routes = list;
    }
    struct draft_route *d = &b->routes[b->n_routes];
    *d = (struct draft_route){ .listen = listen };
    d->r = (struct rx_route){ .name = s->name.len ? keep(b, s->name) : NULL,
                              .where = keep(b, s->where),
                              .index = b->conf->listens[listen]->n_routes,
                              .proto = known,
                              .transport = s->transport ? s->transport & known->transport : known->transport,
                              .priority = s->priority,
                              .idle_ms = s->idle_ms ? s->idle_ms : b->conf->listens[listen]->idle_ms,
                              .connect_ms = s->connect_ms ? s->connect_ms : b->conf->listens[listen]->connect_ms,
                              .max_connections = s->max_connections,
                              .is_plain = s->ech == 0,
                              .ech = (uint8_t)s->ech,
                              .want = s->ech ? RX_FACT_ECH : 0 };
    if (fn_check(b, s->when, RX_FN_WHEN, &d->r.when_fn))
        return -1;
    if (s->max_connections && !(d->r.active = rx_arena_get(b->conf->arena, 64)))
        return no_memory(b);
    if (target_make(b, &s->to, &d->r.to) || target_make(b, &s->fallback, &d->r.fallback))
        return -1;
    bool has_policy = d->r.to.kind == RX_TO_POOL && d->r.to.pool->policy_fn >= 0;
    d->r.is_scripted = d->r.when_fn >= 0 || d->r.to.kind == RX_TO_SCRIPT || has_policy;
    if (d->r.is_scripted) {
        d->r.is_plain = false;
        d->r.want = ~0u;
    }
    b->conf->listens[listen]->n_routes++;
    return (int)b->n_routes++;
}

static int door_route_cond(struct rx_build *b, int32_t route, uint32_t cond, struct rx_slice v)
{
    if (route < 0 || (uint32_t)route >= b->n_routes)
        return fail(b, "no such route");
    return rx_cond_add(b->conf->arena, &b->routes[route].r, cond, v, b->error);
}

// ---- tests ----------------------------------------------------------------------------------------------------

static const char *keep_if(struct rx_build *b, struct rx_slice s)
{
    return s.len ? keep(b, s) : NULL;
}

static const struct rx_listen *listen_by_address(struct rx_build *b, struct rx_slice addr)
{
    for (uint32_t i = 0; i < b->conf->n_listens; i++) {
        const struct rx_listen *l = b->conf->listens[i];
        for (uint32_t k = 0; k < l->n_binds; k++)
            if (!addr.len || (strlen(l->binds[k].text) == addr.len && !memcmp(l->binds[k].text, addr.ptr, addr.len)))
                return l;
    }
    return NULL;
}

static int door_test_new(struct rx_build *b, const struct rx_test_spec *s)
{
    struct rx_conf *c = b->conf;
    char from[128] = "192.0.2.1:40000", why[RX_ADDR_TEXT];
    struct rx_test **list = rx_arena_grow(c->arena, c->tests, c->n_tests, sizeof *list);
    struct rx_test *t = rx_arena_get(c->arena, sizeof *t);
    if (!list || !t)
        return no_memory(b);
    if (s->from.len && !as_string(b, s->from, from, sizeof from))
        return -1;
    if (rx_ip_parse(from, &t->from, why))
        return fail(b, "from: %s", why);
    if (!(t->listen = listen_by_address(b, s->listener)))
        return fail(b, "no listener \"%.*s\"", (int)s->listener.len, s->listener.ptr ? s->listener.ptr : "");
    t->name = keep(b, s->name);
    t->where = keep(b, s->where);
    t->transport = s->transport ? s->transport : RX_TCP;
    t->is_silent = s->is_silent;
    t->is_eof = s->is_eof;
    t->expect_more = s->expect_more;
    t->protocol = keep_if(b, s->protocol);
    t->to = keep_if(b, s->to);
    t->route = keep_if(b, s->route);
    t->reason = keep_if(b, s->reason);
    c->tests = list;
    list[c->n_tests++] = t;
    return (int)c->n_tests - 1;
}

static int door_test_send(struct rx_build *b, int32_t test, struct rx_slice bytes)
{
    if (test < 0 || (uint32_t)test >= b->conf->n_tests)
        return fail(b, "no such test");
    struct rx_test *t = b->conf->tests[test];
    struct rx_text *list = rx_arena_grow(b->conf->arena, t->send, t->n_send, sizeof *list);
    char *copy = keep(b, bytes);
    if (!list || !copy)
        return no_memory(b);
    t->send = list;
    list[t->n_send++] = (struct rx_text){ (uint8_t *)copy, bytes.len };
    return 0;
}

// ---- finishing ------------------------------------------------------------------------------------------------

// "tls sni=a.test": what a route without a name is called in logs and metrics.
static const char *route_name(struct rx_build *b, const struct rx_route *r)
{
    static const char *const kinds[] = { "sni", "host", "qname" };
    const struct rx_texts *t = &r->name_cond;
    if (!t->n)
        return r->proto->name;
    uint32_t fact = rx_name_fact(r->proto);
    const char *kind = kinds[fact == RX_FACT_SNI ? 0 : fact == RX_FACT_HOST ? 1 : 2];
    const char *more = t->n > 1 ? ",..." : "";
    return rx_arena_printf(b->conf->arena, "%s %s=%s%s", r->proto->name, kind, t->text[0], more);
}

// Logs must tell routes apart: where a name is taken, the place in the list is added ("http #3").
static int name_routes(struct rx_build *b, struct rx_listen *l)
{
    struct rx_names *taken = rx_names_new();
    int rc = taken ? 0 : -1;
    for (uint32_t i = 0; i < l->n_routes && !rc; i++) {
        struct rx_route *r = &l->routes[i];
        struct rx_ids found[RX_NAME_LISTS];
        if (r->name)
            continue;
        const char *name = route_name(b, r);
        if (name && rx_names_find(taken, (const uint8_t *)name, strlen(name), found))
            name = rx_arena_printf(b->conf->arena, "%s #%u", name, i + 1);
        if (!name || (strlen(name) <= RX_NAME_MAX && rx_names_add(taken, name, strlen(name), i)))
            rc = -1;
        r->name = name;
    }
    rx_names_free(taken);
    return rc ? no_memory(b) : 0;
}

static int listen_finish(struct rx_build *b, uint32_t id)
{
    struct rx_listen *l = b->conf->listens[id];
    const char *err;
    uint32_t k = 0;
    l->routes = rx_arena_get(b->conf->arena, (l->n_routes + 1) * sizeof *l->routes);
    if (!l->routes)
        return no_memory(b);
    for (uint32_t i = 0; i < b->n_routes; i++)
        if (b->routes[i].listen == (int32_t)id) {
            l->routes[k++] = b->routes[i].r;
        }
    if (name_routes(b, l))
        return -1;
    if (l->fallback_tcp.kind == RX_TO_NONE && target_make(b, &b->server_fallback[0], &l->fallback_tcp))
        return -1;
    if (l->fallback_udp.kind == RX_TO_NONE && target_make(b, &b->server_fallback[1], &l->fallback_udp))
        return -1;
    if (!(l->tcp = rx_matcher_new(l, RX_TCP, b->conf->arena, &err)))
        return fail(b, "%s", err);
    if (!(l->gate = rx_gate_get(l->name, l->ipv6_prefix)))
        return no_memory(b);
    l->active = &l->gate->active;
    l->pending = &l->gate->pending;
    l->per_ip = l->max_connections_per_ip ? l->gate->per_ip : NULL;
    return 0;
}

struct rx_build *rx_build_new(rx_report_fn *report, void *data)
{
    static atomic_ulong last_id;
    struct rx_build *b = calloc(1, sizeof *b);
    struct rx_conf *c = calloc(1, sizeof *c);
    if (!b || !c || !(c->arena = rx_arena_new())) {
        free(b);
        free(c);
        return NULL;
    }
    c->refs = 1;
    c->id = atomic_fetch_add(&last_id, 1) + 1;
    c->max_connections = 10000;
    c->drain_ms = 30000;
    c->hot_reload = true;
    c->script_budget_ms = 50;
    b->conf = c;
    b->report = report;
    b->report_data = data;
    return b;
}

struct rx_conf *rx_build_finish(struct rx_build *b, const char *file)
{
    struct rx_conf *c = b->conf;
    if (!b->n_errors && !c->n_listens)
        rx_build_report(b, RX_REPORT_ERROR, "%s: no rx.listen: there is nothing to do", file ? file : "refractium");
    for (uint32_t i = 0; i < c->n_pools && !b->n_errors; i++) {
        if (!c->pools[i]->n_backends)
            rx_build_report(b, RX_REPORT_ERROR, "pool \"%s\" has no backend", c->pools[i]->name);
        else if (pool_finish(b, c->pools[i]))
            rx_build_report(b, RX_REPORT_ERROR, "out of memory");
    }
    for (uint32_t i = 0; i < c->n_listens && !b->n_errors; i++)
        if (!c->listens[i]->n_binds)
            rx_build_report(b, RX_REPORT_ERROR, "%s: a listener without an address", c->listens[i]->where);
        else if (listen_finish(b, i))
            rx_build_report(b, RX_REPORT_ERROR, "%s: %s", c->listens[i]->where, b->error);
    if (b->n_errors)
        return NULL;
    c->file = file ? rx_arena_copy(c->arena, file, strlen(file)) : NULL;
    b->conf = NULL;
    return c;
}

void rx_build_free(struct rx_build *b)
{
    if (!b)
        return;
    if (b->conf) {
        // Regexes of routes that never reached a listener are still the draft's.
        for (uint32_t i = 0; i < b->n_routes; i++)
            rx_route_fini(&b->routes[i].r);
        for (uint32_t i = 0; i < b->conf->n_listens; i++)
            b->conf->listens[i]->n_routes = 0;
        rx_conf_unref(b->conf);
    }
    free(b->routes);
    free(b);
}

const struct rx_door rx_door = {
    .version = RX_ABI_VERSION,
    .size = sizeof(struct rx_door),
    .error = door_error,
    .report = door_report,
    .addr_check = door_addr_check,
    .regex_check = door_regex_check,
    .builtin_name = door_builtin_name,
    .server_set = door_server_set,
    .fn_new = door_fn_new,
    .proto_builtin = door_proto_builtin,
    .proto_new = door_proto_new,
    .proto_prefix = door_proto_prefix,
    .proto_pattern = door_proto_pattern,
    .proto_sample = door_proto_sample,
    .pool_new = door_pool_new,
    .pool_backend = door_pool_backend,
    .listen_new = door_listen_new,
    .listen_bind = door_listen_bind,
    .route_new = door_route_new,
    .route_cond = door_route_cond,
    .test_new = door_test_new,
    .test_send = door_test_send,
};
