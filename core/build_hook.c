// SPDX-License-Identifier: MIT
// Enters: specs of hooks, timers and files, and where hooks stand. Leaves: for each route, and for what no route of a
// listener takes, the list of hooks a connection meets: the server's, the listener's, the route's; each once.
#include "build_draft.h"

#include <string.h>

#include "arena.h"
#include "digest.h"

static struct rx_hook *hook_at(struct rx_build *b, int32_t id)
{
    if (id >= 0 && (uint32_t)id < b->conf->n_hooks)
        return b->conf->hooks[id];
    fail(b, "no such hook");
    return NULL;
}

int rx_door_hook_new(struct rx_build *b, const struct rx_hook_spec *s)
{
    struct rx_conf *c = b->conf;
    struct rx_hook **list = rx_arena_grow(c->arena, c->hooks, c->n_hooks, sizeof *list);
    struct rx_hook *h = rx_arena_get(c->arena, sizeof *h);
    if (!list || !h || !(h->name = keep(b, s->name)) || !(h->where = keep(b, s->where)))
        return no_memory(b);
    if (fn_check(b, s->on_open, RX_FN_OPEN, &h->open_fn) || fn_check(b, s->on_data, RX_FN_DATA, &h->data_fn) ||
        fn_check(b, s->on_close, RX_FN_CLOSE, &h->close_fn) || fn_check(b, s->filter, RX_FN_FILTER, &h->filter_fn))
        return -1;
    h->digest = rx_build_digest_hook(b, s);
    c->hooks = list;
    list[c->n_hooks++] = h;
    return (int)c->n_hooks - 1;
}

int rx_door_hook_use(struct rx_build *b, const struct rx_hook_use_spec *s)
{
    struct rx_hook_use *list = rx_arena_grow(b->conf->arena, b->hook_uses, b->n_hook_uses, sizeof *list);
    struct rx_hook *hook = hook_at(b, s->hook);
    if (!hook)
        return -1;
    if (!list)
        return no_memory(b);
    bool is_known = s->scope == RX_HOOK_ON_SERVER ||
                    (s->scope == RX_HOOK_ON_LISTEN && s->owner >= 0 && (uint32_t)s->owner < b->conf->n_listens) ||
                    (s->scope == RX_HOOK_ON_ROUTE && s->owner >= 0 && (uint32_t)s->owner < b->n_routes);
    if (!is_known)
        return fail(b, "no such place for a hook");
    b->hook_uses = list;
    list[b->n_hook_uses++] = (struct rx_hook_use){ s->scope, s->owner, hook };
    uint64_t *digest = s->scope == RX_HOOK_ON_SERVER   ? &b->conf->digest
                       : s->scope == RX_HOOK_ON_LISTEN ? &b->conf->listens[s->owner]->digest
                                                       : &b->routes[s->owner].r.digest;
    *digest = rx_digest(*digest, &hook->digest, sizeof hook->digest);
    return 0;
}

int rx_door_timer_new(struct rx_build *b, int32_t fn, uint32_t every_ms)
{
    struct rx_conf *c = b->conf;
    struct rx_timer *list = rx_arena_grow(c->arena, c->timers, c->n_timers, sizeof *list);
    struct rx_timer t = { .every_ms = every_ms };
    if (!list)
        return no_memory(b);
    if (fn <= 0 || !every_ms)
        return fail(b, "a timer needs a function and a time");
    if (fn_check(b, fn, RX_FN_EVERY, &t.fn))
        return -1;
    c->timers = list;
    list[c->n_timers++] = t;
    return (int)c->n_timers - 1;
}

int rx_door_file_new(struct rx_build *b, const struct rx_file_spec *s)
{
    struct rx_conf *c = b->conf;
    struct rx_out_file *list = rx_arena_grow(c->arena, c->files, c->n_files, sizeof *list);
    char buf[4096];
    if (!s->path.len || !as_string(b, s->path, buf, sizeof buf))
        return s->path.len ? -1 : fail(b, "a file needs a path");
    struct rx_out_file f = { .path = keep(b, s->path), .where = keep(b, s->where), .max_bytes = s->max_bytes };
    if (!list || !f.path || !f.where)
        return no_memory(b);
    c->files = list;
    list[c->n_files++] = f;
    return (int)c->n_files - 1;
}

static bool is_meant(const struct rx_hook_use *u, uint32_t listen, int32_t route)
{
    switch (u->scope) {
    case RX_HOOK_ON_SERVER:
        return true;
    case RX_HOOK_ON_LISTEN:
        return (uint32_t)u->owner == listen;
    case RX_HOOK_ON_ROUTE:
        return u->owner == route;
    }
    return false;
}

static void add(struct rx_hooks *set, struct rx_hook *hook)
{
    for (uint32_t i = 0; i < set->n; i++)
        if (set->list[i] == hook)
            return;
    set->list[set->n++] = hook;
    set->is_observed |= hook->open_fn >= 0 || hook->data_fn >= 0 || hook->close_fn >= 0;
    set->has_data |= hook->data_fn >= 0;
    set->has_filter |= hook->filter_fn >= 0;
}

int rx_build_hooks(struct rx_build *b, uint32_t listen, int32_t route, const struct rx_hooks **out)
{
    struct rx_hooks *set = NULL;
    *out = NULL;
    for (uint32_t scope = RX_HOOK_ON_SERVER; scope <= RX_HOOK_ON_ROUTE; scope++)
        for (uint32_t i = 0; i < b->n_hook_uses; i++) {
            if (b->hook_uses[i].scope != scope || !is_meant(&b->hook_uses[i], listen, route))
                continue;
            if (!set) {
                set = rx_arena_get(b->conf->arena, sizeof *set);
                if (!set || !(set->list = rx_arena_get(b->conf->arena, b->n_hook_uses * sizeof *set->list)))
                    return no_memory(b);
            }
            add(set, b->hook_uses[i].hook);
        }
    *out = set;
    return 0;
}
