// SPDX-License-Identifier: MIT
// The life of a generation: counted, and taken apart when the last holder lets go.
#include "conf.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "identify.h"
#include "limit.h"
#include "metric.h"
#include "live.h"
#include "regex.h"
#include "roster.h"
#include "script.h"
#include "sessions.h"
#include "store.h"
#include "served.h"
#include "wheel.h"

struct rx_script *rx_conf_script(const struct rx_conf *c, int i)
{
    if (i == RX_SCRIPT_HOOKS)
        return c->hook_script;
    if (i == RX_SCRIPT_GUARD)
        return c->guard_script;
    unsigned at = (unsigned)(i + 1);
    return at < c->n_scripts ? c->scripts[at] : NULL;
}

void rx_conf_ref(struct rx_conf *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
}

static void texts_fini(struct rx_texts *t)
{
    for (uint32_t i = 0; i < t->n_regex; i++)
        rx_regex_free(t->regex[i]);
}

void rx_route_fini(struct rx_route *r)
{
    texts_fini(&r->name_cond);
    texts_fini(&r->path);
    texts_fini(&r->software);
    rx_live_put(r->active);
}

void rx_conf_unref(struct rx_conf *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (c->reap)
        c->reap(c);
    else
        rx_conf_free(c);
}

void rx_conf_free(struct rx_conf *c)
{
    rx_served_detach(c);
    for (uint32_t i = 0; i < c->n_listens; i++) {
        struct rx_listen *l = c->listens[i];
        for (uint32_t k = 0; l->routes && k < l->n_routes; k++)
            rx_route_fini(&l->routes[k]);
        rx_matcher_fini(l->tcp);
        rx_matcher_fini(l->udp);
        rx_gate_put(l->gate);
    }
    rx_gate_put(c->gate);
    for (unsigned i = 0; i < c->n_scripts; i++)
        rx_script_free(c->scripts[i]);
    rx_script_free(c->hook_script);
    rx_script_free(c->guard_script);
    free(c->scripts);
    for (uint32_t i = 0; i < c->n_pools; i++)
        if (c->pools[i]->health)
            texts_fini(&c->pools[i]->health->expect);
    for (uint32_t i = 0; i < c->n_pools; i++)
        rx_roster_unref(atomic_load(&c->pools[i]->live->roster));
    for (uint32_t i = 0; i < c->n_metrics; i++)
        rx_metric_put(c->metrics[i]);
    for (uint32_t i = 0; i < c->n_shared; i++)
        rx_store_put(c->shared[i].store);
    for (uint32_t i = 0; i < c->n_sessions; i++)
        rx_sessions_put(c->sessions[i]->live);
    rx_arena_free(c->arena);
    free(c);
}

// Both lists are mostly in the same order, so a search begins behind the last find.
void rx_conf_inherit_cursors(struct rx_conf *c, const struct rx_conf *old)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < c->n_pools; i++)
        for (uint32_t n = 0; n < old->n_pools; n++) {
            struct rx_pool *p = c->pools[i], *was = old->pools[at++ % old->n_pools];
            if (was->is_anonymous == p->is_anonymous && !strcmp(was->name, p->name)) {
                atomic_store(&p->live->cursor, atomic_load(&was->live->cursor));
                rx_roster_warm(rx_roster_of(p), rx_roster_of(was), rx_now_ms());
                break;
            }
        }
}

static void inherit_file(struct rx_bind *b, const struct rx_conf *old)
{
    for (uint32_t i = 0; i < old->n_listens && b->addr.sa.sa_family == AF_UNIX && !b->passed; i++)
        for (uint32_t k = 0; k < old->listens[i]->n_binds; k++)
            if (rx_addr_equal(&old->listens[i]->binds[k].addr.sa, &b->addr.sa))
                b->file = old->listens[i]->binds[k].file;
}

void rx_conf_inherit(struct rx_conf *c, const struct rx_conf *old)
{
    if (old)
        rx_conf_inherit_cursors(c, old);
    for (uint32_t i = 0; i < c->n_listens; i++)
        for (uint32_t k = 0; old && k < c->listens[i]->n_binds; k++)
            inherit_file(&c->listens[i]->binds[k], old);
    for (uint32_t i = 0; i < c->n_shared; i++)
        rx_store_limit(c->shared[i].store, c->shared[i].max_entries, c->shared[i].ttl_ms);
    for (uint32_t i = 0; i < c->n_sessions; i++)
        rx_sessions_apply(c->sessions[i]);
    for (uint32_t i = 0; i < c->n_listens; i++) {
        const struct rx_listen *l = c->listens[i];
        if (l->per_ip)
            rx_limit_set(l->per_ip, l->max_connections_per_ip);
        if (l->sessions_per_ip)
            rx_limit_set(l->sessions_per_ip, l->max_sessions_per_ip);
    }
}

const char *rx_target_word(const struct rx_target *t)
{
    switch (t->kind) {
    case RX_TO_POOL:
        return t->pool->name;
    case RX_TO_REFUSE:
        return "refuse";
    case RX_TO_NONE:
    case RX_TO_DROP:
        return "drop";
    case RX_TO_TARPIT:
        return "tarpit";
    case RX_TO_RESPOND:
        return "respond";
    case RX_TO_DESCRIBE:
        return "describe";
    case RX_TO_ECHO:
        return "echo";
    case RX_TO_SCRIPT:
        return "function";
    }
    return "drop";
}
