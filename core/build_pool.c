// SPDX-License-Identifier: MIT
// Enters: specs of pools and their backends. Leaves: pools as core/pick.c wants them.
#include "build_draft.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "backend.h"

int rx_door_pool_new(struct rx_build *b, const struct rx_pool_spec *s)
{
    struct rx_conf *c = b->conf;
    struct rx_pool **list = rx_arena_grow(c->arena, c->pools, c->n_pools, sizeof *list);
    struct rx_pool *p = rx_arena_get(c->arena, sizeof *p);
    atomic_uint *cursor = rx_arena_get(c->arena, 64);
    if (!list || !p || !cursor)
        return no_memory(b);
    if (s->balance != RX_BALANCE_ROUND_ROBIN)
        return fail(b, "unknown balance");
    p->digest = rx_build_digest_pool(b, s);
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

int rx_door_pool_backend(struct rx_build *b, int32_t pool, const struct rx_backend_spec *s)
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
    b->conf->pools[pool]->digest = rx_build_digest_backend(b->conf->pools[pool]->digest, s);
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
int rx_build_pool_finish(struct rx_build *b, struct rx_pool *p)
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
