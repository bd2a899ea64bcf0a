// SPDX-License-Identifier: MIT
// Enters: specs (core/abi.h), already validated with good messages by lua/refractium/ or by an embedder. Leaves:
// an immutable struct rx_conf. Ranges are checked again here because an embedder may not have.
// Invariant: until rx_build_finish nothing refers to a route or a listener by address, since their arrays move.
#include "build_draft.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "arena.h"
#include "digest.h"
#include "home.h"
#include "live.h"
#include "regex.h"
#include "route.h"
#include "sync_url.h"

int fail(struct rx_build *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(b->error, sizeof b->error, fmt, ap);
    va_end(ap);
    return -1;
}

int no_memory(struct rx_build *b)
{
    return fail(b, "out of memory");
}

char *keep(struct rx_build *b, struct rx_slice s)
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

const char *as_string(struct rx_build *b, struct rx_slice s, char *buf, size_t size)
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
    struct rx_target_text target;
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
        rc = rx_addr_parse_target(buf, &target, why);
        break;
    case RX_ADDR_CIDR:
        rc = rx_cidr_parse(buf, &cidr, why);
        break;
    }
    free(list);
    return rc ? fail(b, "%s", why) : 0;
}

static int door_store_check(struct rx_build *b, struct rx_slice url)
{
    struct rx_sync_url parsed;
    char why[RX_SYNC_URL_WHY];
#ifdef RX_WITHOUT_REDIS
    return fail(b, "is about Redis, and this program was built without (WITH_REDIS=0)");
#endif
    return rx_sync_url_parse(url.ptr, url.len, &parsed, why) ? fail(b, "%s", why) : 0;
}

static int set_store(struct rx_build *b, struct rx_slice url)
{
    char why[RX_SYNC_URL_WHY];
    struct rx_sync_url *store = rx_arena_get(b->conf->arena, sizeof *store);
    if (!store)
        return no_memory(b);
    if (door_store_check(b, url))
        return -1;
    rx_sync_url_parse(url.ptr, url.len, store, why);
    b->conf->store = store;
    return 0;
}

static int door_regex_check(struct rx_build *b, struct rx_slice pattern)
{
    char why[128];
    struct rx_regex *r = rx_regex_new(pattern.ptr, pattern.len, RX_REGEX_CASELESS, why);
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
    if (kind > RX_FN_PARSE)
        return fail(b, "unknown kind of function");
    c->fns = list;
    list[c->n_fns++] = (struct rx_fn){ .kind = kind, .where = copy };
    return (int)c->n_fns; // from 1: in a spec, 0 means none
}

static int door_fn_text(struct rx_build *b, int32_t fn, struct rx_slice text)
{
    if (fn <= 0 || (uint32_t)fn > b->conf->n_fns)
        return fail(b, "no such function");
    b->conf->fns[fn - 1].digest = rx_build_digest_bytes(RX_DIGEST_START, b->conf->fns[fn - 1].kind, text);
    return 0;
}

int fn_check(struct rx_build *b, int32_t fn, enum rx_fn_kind kind, int32_t *out)
{
    *out = -1;
    if (fn <= 0)
        return 0;
    if ((uint32_t)fn > b->conf->n_fns || b->conf->fns[fn - 1].kind != kind)
        return fail(b, "no such function");
    *out = fn - 1;
    return 0;
}

enum { UPGRADE_MS = 30000 };

static int door_server_set(struct rx_build *b, const struct rx_server_spec *s)
{
    struct rx_conf *c = b->conf;
    c->digest = rx_build_digest_server(b, s);
    c->workers = s->workers;
    c->max_connections = s->max_connections ? s->max_connections : 10000;
    c->max_sessions = s->max_sessions ? s->max_sessions : 65536;
    c->drain_ms = s->drain_ms;
    c->upgrade_ms = s->upgrade_ms ? s->upgrade_ms : UPGRADE_MS;
    c->hot_reload = s->hot_reload;
    c->canary_share = (uint32_t)(RX_MIN(s->canary_ppm, 500000u) * 4294967296ull / 1000000);
    c->canary_ms = s->canary_ms;
    c->is_admin_off = s->is_admin_off;
    c->metrics_at = s->metrics.len ? keep(b, s->metrics) : NULL;
    c->metrics_token = s->metrics_token.len ? keep(b, s->metrics_token) : NULL;
    c->metrics_host = s->metrics_host.len ? keep(b, s->metrics_host) : NULL;
#ifdef RX_WITHOUT_METRICS
    if (c->metrics_at)
        return fail(b, "metrics: this program was built without them (WITH_METRICS=0)");
#endif
    c->admin = s->admin.len ? keep(b, s->admin) : NULL;
    c->script_budget_ms = s->script_budget_ms ? s->script_budget_ms : 50;
    c->access_log = s->access_log;
    c->access_log_file = s->access_log_file.len ? keep(b, s->access_log_file) : NULL;
    c->access_log_ppm = s->access_log_ppm ? s->access_log_ppm : 1000000;
    c->log = s->log;
    c->log_file = s->log_file.len ? keep(b, s->log_file) : NULL;
    c->user = s->user.len ? keep(b, s->user) : NULL;
    c->group = s->group.len ? keep(b, s->group) : NULL;
    if (c->group && !c->user)
        return fail(b, "group: needs user, too");
    c->chroot = s->chroot.len ? keep(b, s->chroot) : NULL;
    if (c->chroot && !c->user)
        return fail(b, "chroot: needs user, too: root finds its way out of one");
    if (c->chroot && *c->chroot != '/')
        return fail(b, "chroot: must be a path that begins with /");
    c->sandbox = s->sandbox;
#ifdef RX_WITHOUT_SANDBOX
    if (c->sandbox == RX_SANDBOX_STRICT)
        return fail(b, "sandbox: this program was built without one (WITH_SANDBOX=0)");
#endif
    c->log_format = s->log_format;
    c->record_file = s->record_file.len ? keep(b, s->record_file) : NULL;
    c->record_max = s->record_max >= 0 ? (uint64_t)s->record_max : 0;
    c->record_ppm = s->record_ppm;
    c->record_bytes = s->record_bytes;
    c->connection_rate = rx_build_rate(&s->connection_rate);
    c->rate_per_ip = rx_build_rate(&s->rate_per_ip);
    c->over_limit = (uint8_t)s->over_limit;
    c->resolver = s->resolver.len ? keep(b, s->resolver) : NULL;
    if (s->store.len && set_store(b, s->store))
        return -1;
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
    k->is_server_first = def && def->is_server_first;
    k->transport = def ? def->transport : is_silent ? RX_TCP : RX_BOTH; // no datagram is silent
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
    k->digest = rx_build_digest_proto(b, s);
    k->is_server_first = s->is_server_first;
    if (fn_check(b, s->identify, RX_FN_IDENTIFY, &k->identify_fn))
        return -1;
    return (int)b->conf->n_known - 1;
}

struct rx_known *known_at(struct rx_build *b, int32_t id)
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
    k->digest = rx_build_digest_bytes(k->digest, 0, bytes);
    return rx_texts_add(b->conf->arena, &k->prefix, bytes) ? no_memory(b) : 0;
}

static int door_proto_pattern(struct rx_build *b, int32_t id, struct rx_slice bytes)
{
    struct rx_known *k = known_at(b, id);
    if (!k)
        return -1;
    if (k->def || !bytes.len)
        return fail(b, "a pattern must not be empty");
    k->digest = rx_build_digest_bytes(k->digest, 1, bytes);
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

static int door_proto_first(struct rx_build *b, int32_t id, uint32_t low, uint32_t high)
{
    struct rx_known *k = known_at(b, id);
    if (!k)
        return -1;
    if (k->identify_fn < 0 || low > high || high > 255)
        return fail(b, "first bytes are of a protocol with a function, and from 0 to 255");
    bool *table = (bool *)k->first;
    if (!table && !(k->first = table = rx_arena_get(b->conf->arena, 256 * sizeof *table)))
        return no_memory(b);
    memset(table + low, true, high - low + 1);
    const char range[] = { (char)low, (char)high };
    k->digest = rx_build_digest_bytes(k->digest, 2, (struct rx_slice){ range, sizeof range });
    return 0;
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

// ---- tests ----------------------------------------------------------------------------------------------------

static const char *keep_if(struct rx_build *b, struct rx_slice s)
{
    return s.len ? keep(b, s) : NULL;
}

// The listener a test's client comes to, and the port: of a range the first.
static bool find_listener(struct rx_build *b, struct rx_slice addr, struct rx_test *t)
{
    for (uint32_t i = 0; i < b->conf->n_listens; i++) {
        const struct rx_listen *l = b->conf->listens[i];
        for (uint32_t k = 0; k < l->n_binds; k++)
            if (!addr.len || (strlen(l->binds[k].text) == addr.len && !memcmp(l->binds[k].text, addr.ptr, addr.len))) {
                t->listen = l;
                t->to_port = rx_addr_port(&l->binds[k].addr.sa);
                return true;
            }
    }
    return false;
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
    if (!find_listener(b, s->listener, t))
        return fail(b, "no listener \"%.*s\"", (int)s->listener.len, s->listener.ptr ? s->listener.ptr : "");
    if (s->at.len) {
        char at[32];
        t->has_at = true;
        if (!rx_slice_string(s->at, at, sizeof at) || rx_week_minute_parse(at, &t->week_minute))
            return fail(b, "at: must be a date and a time like \"2026-01-05 09:00\"");
    }
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

struct rx_build *rx_build_new(struct rx_home *home, rx_report_fn *report, void *data)
{
    struct rx_build *b = calloc(1, sizeof *b);
    struct rx_conf *c = calloc(1, sizeof *c);
    if (!b || !c || !(c->arena = rx_arena_new())) {
        free(b);
        free(c);
        return NULL;
    }
    c->refs = 1;
    c->home = home;
    c->id = atomic_fetch_add(&home->last_id, 1) + 1;
    c->max_connections = 10000;
    c->max_sessions = 65536;
    c->drain_ms = 30000;
    c->upgrade_ms = UPGRADE_MS;
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
    if (!b->n_errors && !c->n_listens && !c->n_tails)
        rx_build_report(b, RX_REPORT_ERROR, "%s: no rx.listen: there is nothing to do", file ? file : "refractium");
    for (uint32_t i = 0; i < c->n_pools && !b->n_errors; i++) {
        if (!c->pools[i]->n_members)
            rx_build_report(b, RX_REPORT_ERROR, "pool \"%s\" has no backend", c->pools[i]->name);
        else if (rx_build_pool_finish(b, c->pools[i]))
            rx_build_report(b, RX_REPORT_ERROR, "out of memory");
    }
    if (!b->n_errors && rx_build_server_rates(b))
        rx_build_report(b, RX_REPORT_ERROR, "out of memory");
    for (uint32_t i = 0; i < c->n_listens && !b->n_errors; i++)
        if (!c->listens[i]->n_binds)
            rx_build_report(b, RX_REPORT_ERROR, "%s: a listener without an address", c->listens[i]->where);
        else if (rx_build_listen_finish(b, i))
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
        for (uint32_t i = 0; i < b->conf->n_listens; i++) {
            struct rx_listen *l = b->conf->listens[i];
            for (uint32_t k = 0; l->routes && k < l->n_routes; k++)
                rx_live_put(l->routes[k].active); // these the listener's copies alone have
            l->n_routes = 0;
        }
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
    .store_check = door_store_check,
    .builtin_name = door_builtin_name,
    .server_set = door_server_set,
    .fn_new = door_fn_new,
    .metric_new = rx_door_metric_new,
    .shared_new = rx_door_shared_new,
    .sessions_new = rx_door_sessions_new,
    .sessions_limit = rx_door_sessions_limit,
    .sessions_exempt = rx_door_sessions_exempt,
    .tail_new = rx_door_tail_new,
    .fn_text = door_fn_text,
    .proto_builtin = door_proto_builtin,
    .proto_new = door_proto_new,
    .proto_prefix = door_proto_prefix,
    .proto_pattern = door_proto_pattern,
    .proto_first = door_proto_first,
    .proto_sample = door_proto_sample,
    .pool_new = rx_door_pool_new,
    .pool_backend = rx_door_pool_backend,
    .pool_health = rx_door_pool_health,
    .pool_source = rx_door_pool_source,
    .pool_health_status = rx_door_pool_health_status,
    .pool_health_expect = rx_door_pool_health_expect,
    .listen_new = rx_door_listen_new,
    .listen_bind = rx_door_listen_bind,
    .listen_proxy = rx_door_listen_proxy,
    .route_new = rx_door_route_new,
    .route_cond = rx_door_route_cond,
    .hook_new = rx_door_hook_new,
    .hook_use = rx_door_hook_use,
    .timer_new = rx_door_timer_new,
    .file_new = rx_door_file_new,
    .test_new = door_test_new,
    .test_send = door_test_send,
};
