// SPDX-License-Identifier: MIT
// Enters: specs of pools and their backends. Leaves: pools as core/pick.c wants them.
#include "build_draft.h"

#include <string.h>

#include "arena.h"
#include "roster.h"

int rx_door_pool_new(struct rx_build *b, const struct rx_pool_spec *s)
{
    struct rx_conf *c = b->conf;
    struct rx_pool **list = rx_arena_grow(c->arena, c->pools, c->n_pools, sizeof *list);
    struct rx_pool *p = rx_arena_get(c->arena, sizeof *p);
    struct rx_pool_live *live = rx_arena_get(c->arena, RX_MAX(sizeof *live, 64u)); // a cache line of its own
    struct rx_target *target = rx_arena_get(c->arena, sizeof *target);
    if (!list || !p || !live || !target)
        return no_memory(b);
    if (s->balance > RX_BALANCE_FIRST)
        return fail(b, "unknown balance");
    p->home = c->home;
    p->digest = rx_build_digest_pool(b, s);
    p->name = keep(b, s->name);
    p->is_anonymous = !s->name.len;
    p->balance = s->balance;
    p->tries = s->tries;
    p->slow_start_ms = s->slow_start_ms;
    p->send_proxy = s->send_proxy;
    p->sockopt = (struct rx_sockopt){ .keepalive_s = (s->keepalive_ms + 999) / 1000,
                                      .user_timeout_ms = s->user_timeout_ms,
                                      .mark = s->mark,
                                      .congestion = s->congestion.len ? keep(b, s->congestion) : NULL,
                                      .interface = s->interface.len ? keep(b, s->interface) : NULL };
    if ((s->congestion.len && !p->sockopt.congestion) || (s->interface.len && !p->sockopt.interface))
        return no_memory(b);
    p->ttl_min_ms = s->ttl_min_ms ? s->ttl_min_ms : 5000;
    p->ttl_max_ms = RX_MAX(s->ttl_max_ms ? s->ttl_max_ms : 300 * 1000, p->ttl_min_ms);
    p->eject = (struct rx_eject_rule){ s->eject_after, s->eject_ms ? s->eject_ms : 1000 };
    p->live = live;
    p->target = target;
    *target = (struct rx_target){ .kind = RX_TO_POOL, .pool = p };
    if (fn_check(b, s->policy, RX_FN_POLICY, &p->policy_fn))
        return -1;
    c->pools = list;
    list[c->n_pools++] = p;
    return (int)c->n_pools - 1;
}

int rx_door_pool_source(struct rx_build *b, int32_t pool, struct rx_slice text)
{
    char buf[128], why[RX_ADDR_TEXT];
    if (pool < 0 || (uint32_t)pool >= b->conf->n_pools)
        return fail(b, "no such pool");
    if (!as_string(b, text, buf, sizeof buf))
        return -1;
    struct rx_pool *p = b->conf->pools[pool];
    struct rx_origins *s = &p->sources;
    struct rx_origin *list = rx_arena_grow(b->conf->arena, s->list, s->n, sizeof *list);
    if (!list)
        return no_memory(b);
    if (rx_origin_parse(buf, &list[s->n], why))
        return fail(b, "source: %s", why);
    p->digest = rx_build_digest_bytes(p->digest, 2, text);
    s->list = list;
    *(list[s->n].family == AF_INET ? &s->n_v4 : &s->n_v6) += list[s->n].n;
    s->n++;
    return 0;
}

int rx_door_pool_backend(struct rx_build *b, int32_t pool, const struct rx_backend_spec *s)
{
    char buf[512], why[RX_ADDR_TEXT];
    struct rx_target_text t;
    if (pool < 0 || (uint32_t)pool >= b->conf->n_pools)
        return fail(b, "no such pool");
    if (!as_string(b, s->addr, buf, sizeof buf))
        return -1;
    if (rx_addr_parse_target(buf, &t, why))
        return fail(b, "%s", why);
    struct rx_pool *p = b->conf->pools[pool];
    struct rx_member *list = rx_arena_grow(b->conf->arena, p->members, p->n_members, sizeof *list);
    struct rx_member one = { .name = keep(b, s->addr),
                             .addr = t.addr,
                             .host = t.host[0] ? rx_arena_copy(b->conf->arena, t.host, strlen(t.host)) : NULL,
                             .port = t.port,
                             .is_srv = t.is_srv,
                             .is_backup = s->is_backup,
                             .weight = RX_MAX(s->weight, 1u),
                             .max_connections = s->max_connections };
    if (!list || !one.name || (t.host[0] && !one.host))
        return no_memory(b);
    p->digest = rx_build_digest_backend(p->digest, s);
    p->members = list;
    list[p->n_members++] = one;
    return 0;
}

// Backends that every client comes to behind a PROXY header get one from checks, too: the pool's, or, where the pool says
// nothing, that of the routes to it, if all of them send one.
static uint32_t check_proxy(const struct rx_build *b, const struct rx_pool *p)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < b->n_routes && !p->send_proxy; i++) {
        const struct rx_route *r = &b->routes[i].r;
        bool is_to_it = (r->to.kind == RX_TO_POOL && r->to.pool == p) || (r->fallback.kind == RX_TO_POOL && r->fallback.pool == p);
        if (is_to_it && !r->send_proxy)
            return 0;
        if (is_to_it && !found)
            found = r->send_proxy;
    }
    return p->send_proxy ? p->send_proxy : found;
}

int rx_build_pool_finish(struct rx_build *b, struct rx_pool *p)
{
    p->check_proxy = check_proxy(b, p);
    uint32_t first = 0; // primary, if there is one
    while (first + 1 < p->n_members && p->members[first].is_backup)
        first++;
    first = p->members[first].is_backup ? 0 : first;
    if (p->is_anonymous)
        p->name = p->n_members == 1 ? p->members[0].name
                                    : rx_arena_printf(b->conf->arena, "%s+%u", p->members[first].name, p->n_members - 1);
    struct rx_roster *r = p->name && !rx_build_health_finish(b, p) ? rx_roster_new(p, NULL) : NULL;
    atomic_store(&p->live->roster, r);
    return r ? 0 : -1;
}
