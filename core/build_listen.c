// SPDX-License-Identifier: MIT
// Enters: specs of listeners and routes. Leaves: listeners with their routes in order, named, and compiled.
#include "build_draft.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "home.h"
#include "passed.h"
#include "identify.h"
#include "limit.h"
#include "live.h"
#include "route.h"
#include "sessions.h"

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

struct rx_rate rx_build_rate(const struct rx_rate_spec *s)
{
    return rx_rate_of(s->count, s->per_ms, s->burst);
}

static int keep_options(struct rx_build *b, struct rx_listen *l, const struct rx_listen_spec *s)
{
    l->opt = (struct rx_door_opt){ .backlog = s->backlog, .fast_open = s->fast_open };
    l->opt.common = (struct rx_sockopt){ .keepalive_s = (s->keepalive_ms + 999) / 1000,
                                         .user_timeout_ms = s->user_timeout_ms,
                                         .mark = s->mark,
                                         .congestion = s->congestion.len ? keep(b, s->congestion) : NULL,
                                         .interface = s->interface.len ? keep(b, s->interface) : NULL };
    return (s->congestion.len && !l->opt.common.congestion) || (s->interface.len && !l->opt.common.interface) ? -1 : 0;
}

int rx_door_listen_new(struct rx_build *b, const struct rx_listen_spec *s)
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
                             .max_sessions = s->max_sessions,
                             .max_sessions_per_ip = s->max_sessions_per_ip,
                             .udp_idle_ms = s->udp_idle_ms ? s->udp_idle_ms : 60 * 1000,
                             .peek_ms = s->peek_ms ? s->peek_ms : 3000,
                             .peek_bytes = s->peek_bytes ? s->peek_bytes : 16384,
                             .connect_ms = s->connect_ms ? s->connect_ms : 5000,
                             .idle_ms = s->idle_ms ? s->idle_ms : 3600 * 1000 };
    if (keep_options(b, l, s))
        return no_memory(b);
    l->connection_rate = rx_build_rate(&s->connection_rate);
    l->rate_per_ip = rx_build_rate(&s->rate_per_ip);
    l->over_limit = (uint8_t)s->over_limit;
    if (target_make(b, &s->fallback_tcp, &l->fallback_tcp) || target_make(b, &s->fallback_udp, &l->fallback_udp))
        return -1;
    if (fn_check(b, s->on_accept, RX_FN_ACCEPT, &l->accept_fn) || fn_check(b, s->identify, RX_FN_LISTEN, &l->identify_fn))
        return -1;
    l->digest = rx_build_digest_listen(b, s);
    c->listens = list;
    list[c->n_listens++] = l;
    return (int)c->n_listens - 1;
}

static int add_bind(struct rx_build *b, struct rx_listen *l, const struct rx_bind *one)
{
    struct rx_bind *binds = rx_arena_grow(b->conf->arena, l->binds, l->n_binds, sizeof *binds);
    if (!binds)
        return -1;
    l->binds = binds;
    binds[l->n_binds++] = *one;
    return 0;
}

// All sockets of that name; one that cannot be opened where there are none: `check` may run without them.
static int add_passed(struct rx_build *b, struct rx_listen *l, struct rx_bind one)
{
    const struct rx_passed *h;
    one.passed = one.text + strlen("systemd:");
    for (; (h = rx_passed_find(one.passed, one.nth)); one.nth++) {
        one.addr = h->addr;
        one.is_udp = h->is_udp;
        if (add_bind(b, l, &one))
            return -1;
    }
    return one.nth ? 0 : add_bind(b, l, &one);
}

int rx_door_listen_bind(struct rx_build *b, int32_t listen, struct rx_slice addr)
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
    int rc = text ? 0 : -1;
    for (unsigned i = 0; i < n && !rc; i++) {
        const struct rx_bind one = { .addr = list[i], .text = text, .opt = &l->opt };
        rc = list[i].sa.sa_family == AF_UNSPEC ? add_passed(b, l, one) : add_bind(b, l, &one);
    }
    if (rc)
        no_memory(b);
    if (!l->name)
        l->name = text;
    l->digest = rx_build_digest_bytes(l->digest, 0, addr);
    free(list);
    return rc;
}

int rx_door_listen_proxy(struct rx_build *b, int32_t listen, struct rx_slice from)
{
    char buf[RX_ADDR_TEXT], why[RX_ADDR_TEXT];
    if (listen < 0 || (uint32_t)listen >= b->conf->n_listens)
        return fail(b, "no such listener");
    if (!as_string(b, from, buf, sizeof buf))
        return -1;
    struct rx_listen *l = b->conf->listens[listen];
    l->digest = rx_build_digest_bytes(l->digest, 1, from);
    if (strcmp(buf, "unix") == 0) {
        l->has_proxy_unix = true;
        return 0;
    }
    struct rx_cidr *list = rx_arena_grow(b->conf->arena, l->proxy_from, l->n_proxy_from, sizeof *list), one;
    if (!list)
        return no_memory(b);
    if (rx_cidr_parse(buf, &one, why))
        return fail(b, "%s", why);
    l->proxy_from = list;
    list[l->n_proxy_from++] = one;
    return 0;
}

// Where it goes must be known while nobody has said anything.
static int check_eager(struct rx_build *b, const struct rx_route *r)
{
    if (!(r->transport & RX_TCP) || !(r->proto->is_silent || r->proto->is_server_first))
        return fail(b, "eager is for rx.silent and for protocols whose server speaks first");
    if (r->to.kind != RX_TO_POOL)
        return fail(b, "eager needs a pool or an address in `to`");
    if (r->to.pool->policy_fn >= 0)
        return fail(b, "eager: the pool's balance is a function, which is asked when the client has been heard");
    return 0;
}

int rx_door_route_new(struct rx_build *b, int32_t listen, const struct rx_route_spec *s)
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
                              .udp_idle_ms = s->idle_ms ? s->idle_ms : b->conf->listens[listen]->udp_idle_ms,
                              .connect_ms = s->connect_ms ? s->connect_ms : b->conf->listens[listen]->connect_ms,
                              .max_connections = s->max_connections,
                              .send_proxy = s->send_proxy,
                              .is_transparent = s->is_transparent,
                              .is_eager = s->is_eager,
                              .is_plain = s->ech == 0,
                              .ech = (uint8_t)s->ech,
                              .want = s->ech ? RX_FACT_ECH : 0 };
    d->r.rate = s->rate > 0 ? (uint64_t)s->rate : 0;
    d->r.rate_total = s->rate_total > 0 ? (uint64_t)s->rate_total : 0;
    if ((d->r.rate || d->r.rate_total) && !(d->r.transport & RX_TCP))
        return fail(b, "rate and rate_total are for TCP");
    if (fn_check(b, s->when, RX_FN_WHEN, &d->r.when_fn))
        return -1;
    d->r.digest = rx_build_digest_route(b, s);
    if (target_make(b, &s->to, &d->r.to) || target_make(b, &s->fallback, &d->r.fallback))
        return -1;
    if (target_make(b, &s->mirror, &d->r.mirror))
        return -1;
    if (s->mirror.kind != RX_TO_NONE && s->mirror.kind != RX_TO_POOL)
        return fail(b, "a mirror is a pool or an address");
    if (s->sessions > b->conf->n_sessions)
        return fail(b, "no such sessions");
    d->r.sessions = s->sessions ? b->conf->sessions[s->sessions - 1] : NULL;
    if (d->r.is_eager && check_eager(b, &d->r))
        return -1;
    bool has_by = d->r.sessions && d->r.sessions->by_fn >= 0;
    bool has_policy = d->r.to.kind == RX_TO_POOL && d->r.to.pool->policy_fn >= 0;
    d->r.is_scripted = d->r.when_fn >= 0 || d->r.to.kind == RX_TO_SCRIPT || has_policy || has_by;
    if (d->r.is_scripted) {
        d->r.is_plain = false;
        d->r.want = ~0u;
    }
    b->conf->listens[listen]->n_routes++;
    return (int)b->n_routes++;
}

int rx_door_route_cond(struct rx_build *b, int32_t route, uint32_t cond, struct rx_slice v)
{
    if (route < 0 || (uint32_t)route >= b->n_routes)
        return fail(b, "no such route");
    struct rx_route *r = &b->routes[route].r;
    r->digest = rx_build_digest_bytes(r->digest, cond, v);
    return rx_cond_add(b->conf->arena, r, cond, v, b->error);
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

// Whether anything of this listener is about that transport.
static bool is_for(const struct rx_listen *l, enum rx_transport transport)
{
    const struct rx_target *fallback = transport == RX_TCP ? &l->fallback_tcp : &l->fallback_udp;
    bool is_for_it = fallback->kind != RX_TO_NONE || (transport == RX_TCP && l->identify_fn >= 0);
    for (uint32_t i = 0; i < l->n_routes && !is_for_it; i++)
        is_for_it = l->routes[i].transport & transport;
    return is_for_it;
}

// An address is opened for UDP when something is about UDP, and for TCP unless nothing but UDP is.
static int choose_sockets(struct rx_build *b, struct rx_listen *l)
{
    bool has_udp = is_for(l, RX_UDP), has_tcp = !has_udp || is_for(l, RX_TCP);
    struct rx_bind *all = rx_arena_get(b->conf->arena, (2 * (size_t)l->n_binds + 1) * sizeof *all);
    uint32_t n = 0;
    if (!all)
        return -1;
    for (uint32_t i = 0; i < l->n_binds; i++) {
        bool is_unix = l->binds[i].addr.sa.sa_family == AF_UNIX;
        if (l->binds[i].passed) {
            all[n++] = l->binds[i];
            continue;
        }
        if (has_tcp || is_unix)
            all[n++] = l->binds[i];
        if (has_udp && !is_unix) {
            all[n] = l->binds[i];
            all[n++].is_udp = true;
        }
    }
    l->binds = all;
    l->n_binds = n;
    return 0;
}

// What all listeners share counts at a gate that has no address.
int rx_build_server_rates(struct rx_build *b)
{
    struct rx_conf *c = b->conf;
    if (!c->connection_rate.cost_ns && !c->rate_per_ip.cost_ns)
        return 0;
    if (!(c->gate = rx_gate_get(&c->home->gates, "", 0)))
        return -1;
    return c->rate_per_ip.cost_ns && !(c->rates = rx_gate_rates(c->gate)) ? -1 : 0;
}

static int use_gate(struct rx_build *b, struct rx_listen *l)
{
    const struct rx_conf *c = b->conf;
    if (!(l->gate = rx_gate_get(&c->home->gates, l->name, l->ipv6_prefix)))
        return no_memory(b);
    l->active = &l->gate->active;
    l->pending = &l->gate->pending;
    l->per_ip = l->max_connections_per_ip ? l->gate->per_ip : NULL;
    l->sessions = &l->gate->sessions;
    l->sessions_per_ip = l->max_sessions_per_ip ? l->gate->sessions_per_ip : NULL;
    if (l->rate_per_ip.cost_ns && !(l->rates = rx_gate_rates(l->gate)))
        return no_memory(b);
    l->has_rates = l->rates || l->connection_rate.cost_ns || c->rates || c->connection_rate.cost_ns;
    if (!l->over_limit)
        l->over_limit = c->over_limit ? c->over_limit : RX_TO_REFUSE;
    return 0;
}

int rx_build_listen_finish(struct rx_build *b, uint32_t id)
{
    struct rx_listen *l = b->conf->listens[id];
    const char *err;
    uint32_t k = 0;
    l->routes = rx_arena_get(b->conf->arena, (l->n_routes + 1) * sizeof *l->routes);
    if (!l->routes)
        return no_memory(b);
    for (uint32_t i = 0; i < b->n_routes; i++)
        if (b->routes[i].listen == (int32_t)id) {
            if (rx_build_hooks(b, id, (int32_t)i, &b->routes[i].r.hooks))
                return -1;
            l->has_hooks |= b->routes[i].r.hooks != NULL;
            struct rx_route *r = &l->routes[k++];
            *r = b->routes[i].r;
            l->has_during |= r->n_during > 0;
            l->has_eager |= r->is_eager;
            r->is_by_name = r->is_plain && (r->name_cond.n || r->name_cond.n_regex);
            r->is_plain &= !r->is_by_name;
        }
    if (rx_build_hooks(b, id, -1, &l->hooks))
        return -1;
    l->has_hooks |= l->hooks != NULL;
    if (name_routes(b, l))
        return -1;
    for (uint32_t i = 0; i < l->n_routes; i++) {
        if (!(l->routes[i].active = rx_live_get(&b->conf->home->lives, l->name, l->routes[i].name, b->conf->id)))
            return no_memory(b);
        l->routes[i].total = rx_live_meters(l->routes[i].active);
    }
    if (l->fallback_tcp.kind == RX_TO_NONE && target_make(b, &b->server_fallback[0], &l->fallback_tcp))
        return -1;
    if (l->fallback_udp.kind == RX_TO_NONE && target_make(b, &b->server_fallback[1], &l->fallback_udp))
        return -1;
    if (!(l->tcp = rx_matcher_new(l, RX_TCP, b->conf->arena, &err)) ||
        !(l->udp = rx_matcher_new(l, RX_UDP, b->conf->arena, &err)))
        return fail(b, "%s", err);
    if (choose_sockets(b, l))
        return no_memory(b);
    return use_gate(b, l);
}
