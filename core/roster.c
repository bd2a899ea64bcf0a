// SPDX-License-Identifier: MIT
// Enters: a pool's members and what its names stand for. Leaves: a roster with the tables its balance needs; and old
// rosters, once nobody can take them any more. The order of the answers to a name makes no difference to anything:
// backends of a tier are in the order of the members, then of their addresses.
#include "roster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "home.h"

enum {
    ORDER_MAX = 65536, // turns kept for a tier
    BACKUP = 1 << 16,  // tiers before they are counted: ranks of primaries, then of backups
};

// ---- weights and tables -------------------------------------------------------------------------------------------

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// Weights as small as they can be: divided by what they have in common, scaled down when their sum is still huge.
static uint64_t weights_shrink(struct rx_backend *list, uint32_t n)
{
    uint64_t sum = 0;
    uint32_t common = 0;
    for (uint32_t i = 0; i < n; i++)
        common = common_divisor(list[i].weight, common);
    for (uint32_t i = 0; i < n; i++)
        sum += list[i].weight /= common;
    if (sum <= ORDER_MAX)
        return sum;
    uint64_t was = sum;
    sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        list[i].weight = (uint32_t)RX_MAX((uint64_t)list[i].weight * (ORDER_MAX / 2) / was, 1u);
        sum += list[i].weight;
    }
    return sum;
}

// Smooth weighted order: each turn the backend that is owed most.
static int order_make(struct rx_tier *t, const struct rx_backend *list)
{
    int64_t *owed = calloc(t->n, sizeof *owed);
    t->n_order = (uint32_t)t->sum;
    t->order = calloc(t->n_order, sizeof *t->order);
    for (uint32_t turn = 0; owed && t->order && turn < t->n_order; turn++) {
        uint32_t best = 0;
        for (uint32_t i = 0; i < t->n; i++) {
            owed[i] += list[i].weight;
            if (owed[i] > owed[best])
                best = i;
        }
        owed[best] -= (int64_t)t->sum;
        t->order[turn] = t->at + best;
    }
    free(owed);
    return owed && t->order ? 0 : -1;
}

static int running_make(struct rx_tier *t, const struct rx_backend *list)
{
    uint64_t sum = 0;
    t->running = calloc(t->n, sizeof *t->running);
    for (uint32_t i = 0; t->running && i < t->n; i++)
        t->running[i] = sum += list[i].weight;
    return t->running ? 0 : -1;
}

// ---- maglev -------------------------------------------------------------------------------------------------------

struct filler {
    uint64_t identity;
    uint32_t number; // in the roster
    uint32_t weight, owed;
    uint32_t at, step; // its own walk through the places
};

static int filler_compare(const void *a, const void *b)
{
    const struct filler *x = a, *y = b;
    return x->identity < y->identity ? -1 : x->identity > y->identity;
}

// Each in turn takes the next free place of its own walk, the heavier ones more often, until no place is left.
static void places_fill(uint32_t *places, uint32_t n_places, struct filler *f, uint32_t n)
{
    uint32_t heaviest = 0;
    for (uint32_t i = 0; i < n; i++)
        heaviest = RX_MAX(heaviest, f[i].weight);
    for (uint32_t left = n_places;;)
        for (uint32_t i = 0; i < n; i++) {
            f[i].owed += f[i].weight;
            if (f[i].owed < heaviest)
                continue;
            f[i].owed -= heaviest;
            while (places[f[i].at] != UINT32_MAX)
                f[i].at = (f[i].at + f[i].step) % n_places;
            places[f[i].at] = f[i].number;
            if (!--left)
                return;
        }
}

// Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4. Places are a
// prime number at least a hundred times that of the backends. Backends fill them in the order of their hashes, so
// that the table depends on the set alone.
static int maglev_make(struct rx_tier *t, const struct rx_backend *list)
{
    static const uint32_t primes[] = { 65537, 655373, 6553621 };
    unsigned k = 0;
    while (k + 1 < RX_COUNT(primes) && primes[k] < (uint64_t)t->n * 100)
        k++;
    t->n_maglev = primes[k];
    t->maglev = malloc(t->n_maglev * sizeof *t->maglev);
    struct filler *f = calloc(t->n, sizeof *f);
    if (t->maglev && f) {
        for (uint32_t i = 0; i < t->n; i++)
            f[i] = (struct filler){ .identity = list[i].identity,
                                    .number = t->at + i,
                                    .weight = list[i].weight,
                                    .at = (uint32_t)(rx_mix(list[i].identity + 1) % t->n_maglev),
                                    .step = (uint32_t)(rx_mix(list[i].identity + 2) % (t->n_maglev - 1)) + 1 };
        qsort(f, t->n, sizeof *f, filler_compare);
        memset(t->maglev, 0xff, t->n_maglev * sizeof *t->maglev);
        places_fill(t->maglev, t->n_maglev, f, t->n);
    }
    free(f);
    return t->maglev && f ? 0 : -1;
}

static int tier_finish(const struct rx_roster *r, struct rx_tier *t)
{
    struct rx_backend *list = &r->backends[t->at];
    t->sum = weights_shrink(list, t->n);
    switch (r->balance) {
    case RX_BALANCE_ROUND_ROBIN:
        return order_make(t, list);
    case RX_BALANCE_RANDOM:
    case RX_BALANCE_P2C:
        return running_make(t, list);
    case RX_BALANCE_MAGLEV:
        return maglev_make(t, list);
    case RX_BALANCE_LEAST_CONN:
    case RX_BALANCE_SOURCE_IP:
    case RX_BALANCE_SOURCE_SOCKET:
    case RX_BALANCE_FIRST:
        break;
    }
    return 0;
}

// ---- backends -----------------------------------------------------------------------------------------------------

static int backend_add(struct rx_roster *r, const struct rx_pool *p, const struct rx_member *m,
                       const struct rx_place *place)
{
    char text[RX_ADDR_TEXT];
    const struct rx_addr *addr = place ? &place->addr : m->addr.len ? &m->addr : NULL;
    struct rx_backend *b = &r->backends[r->n++];
    *b = (struct rx_backend){ .name = m->name,
                              .weight = m->weight,
                              .max_connections = m->max_connections,
                              .tier = m->is_backup ? BACKUP : 0 };
    r->has_limits |= b->max_connections != 0;
    if (place) {
        b->tier += RX_MIN(place->rank, BACKUP - 1u);
        b->weight = (uint32_t)RX_MIN((uint64_t)b->weight * RX_MAX(place->weight, 1u), UINT32_MAX);
    }
    if (place && place->name[0]) {
        if (!(b->own_name = strdup(place->name)))
            return -1;
        b->name = b->own_name;
    }
    if (!addr)
        return 0;
    b->addr = *addr;
    rx_addr_print(&addr->sa, text);
    b->identity = rx_hash_bytes(text, strlen(text));
    b->state = rx_backend_state_get(&p->home->backends, addr, p->check, b->name);
    r->n_known++;
    return b->state ? 0 : -1;
}

// In the order of tiers, which become 0, 1, 2, … without gaps; stable within each.
static int tiers_make(struct rx_roster *r)
{
    struct rx_backend *sorted = calloc(r->n, sizeof *sorted);
    r->tiers = calloc(r->n, sizeof *r->tiers);
    if (!sorted || !r->tiers) {
        free(sorted);
        return -1;
    }
    uint32_t n = 0;
    while (n < r->n) {
        uint32_t lowest = UINT32_MAX;
        for (uint32_t i = 0; i < r->n; i++)
            lowest = RX_MIN(lowest, r->backends[i].tier);
        struct rx_tier *t = &r->tiers[r->n_tiers];
        t->at = n;
        for (uint32_t i = 0; i < r->n; i++)
            if (r->backends[i].tier == lowest) {
                sorted[n] = r->backends[i];
                sorted[n++].tier = r->n_tiers;
                r->backends[i].tier = UINT32_MAX; // has moved
            }
        t->n = n - t->at;
        r->n_tiers++;
    }
    free(r->backends);
    r->backends = sorted;
    for (uint32_t k = 0; k < r->n_tiers; k++)
        if (tier_finish(r, &r->tiers[k]))
            return -1;
    return 0;
}

static void roster_free(struct rx_roster *r)
{
    for (uint32_t k = 0; r->tiers && k < r->n_tiers; k++) {
        free(r->tiers[k].order);
        free(r->tiers[k].running);
        free(r->tiers[k].maglev);
    }
    for (uint32_t i = 0; r->backends && i < r->n; i++) {
        if (r->backends[i].state)
            rx_backend_state_put(r->backends[i].state);
        free(r->backends[i].own_name);
    }
    free(r->tiers);
    free(r->backends);
    free(r);
}

struct rx_roster *rx_roster_new(const struct rx_pool *p, const struct rx_places *const *places)
{
    struct rx_roster *r = calloc(1, sizeof *r);
    uint32_t most = 0;
    if (!r)
        return NULL;
    r->refs = 1;
    r->balance = p->balance;
    r->slow_start_ms = p->slow_start_ms;
    r->is_checked_by_udp = p->health && p->health->kind == RX_CHECK_UDP;
    for (uint32_t i = 0; i < p->n_members; i++)
        most += places && places[i] && places[i]->n ? places[i]->n : 1;
    r->backends = calloc(most, sizeof *r->backends);
    int rc = r->backends ? 0 : -1;
    for (uint32_t i = 0; i < p->n_members && !rc; i++) {
        const struct rx_places *a = places ? places[i] : NULL;
        if (!a || !a->n)
            rc = backend_add(r, p, &p->members[i], NULL);
        for (uint32_t k = 0; a && k < a->n && !rc; k++)
            rc = backend_add(r, p, &p->members[i], &a->list[k]);
    }
    if (!rc && !tiers_make(r))
        return r;
    roster_free(r);
    return NULL;
}

struct rx_roster *rx_roster_alone(struct rx_home *home, const struct rx_addr *addr, const char *name, size_t len)
{
    struct rx_roster *r = calloc(1, sizeof *r);
    struct rx_backend *b = r ? r->backends = calloc(1, sizeof *b) : NULL;
    if (r)
        r->refs = 1;
    if (b) {
        r->n = r->n_known = 1;
        b->addr = *addr;
        b->weight = 1;
        b->name = b->own_name = strndup(name, len);
        b->state = b->own_name ? rx_backend_state_get(&home->backends, addr, "", b->own_name) : NULL;
    }
    if (b && b->state)
        return r;
    rx_roster_unref(r);
    return NULL;
}

const char *rx_balance_name(enum rx_balance balance)
{
    static const char *const names[] = { "round_robin", "least_conn",    "random", "p2c",
                                         "source_ip",   "source_socket", "maglev", "first" };
    return names[balance];
}

void rx_roster_unref(struct rx_roster *r)
{
    if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
        roster_free(r);
}

// ---- who is in force ----------------------------------------------------------------------------------------------

struct rx_roster *rx_roster_take(const struct rx_pool *pool)
{
    return rx_roster_ref(atomic_load_explicit(&pool->live->roster, memory_order_acquire));
}

const struct rx_roster *rx_roster_of(const struct rx_pool *pool)
{
    return atomic_load_explicit(&pool->live->roster, memory_order_acquire);
}

static bool has_state(const struct rx_roster *r, const struct rx_backend_state *s)
{
    for (uint32_t i = 0; i < r->n; i++)
        if (r->backends[i].state == s)
            return true;
    return false;
}

void rx_roster_warm(const struct rx_roster *r, const struct rx_roster *old, uint64_t now_ms)
{
    for (uint32_t i = 0; r->slow_start_ms && old->n_known && i < r->n; i++)
        if (r->backends[i].state && !has_state(old, r->backends[i].state))
            atomic_store(&r->backends[i].state->warm_since_ms, now_ms);
}

void rx_roster_publish(const struct rx_pool *pool, struct rx_roster *r, struct rx_limbo *limbo, uint64_t now_ms)
{
    rx_roster_warm(r, rx_roster_of(pool), now_ms);
    struct rx_roster *old = atomic_exchange(&pool->live->roster, r);
    old->epoch = ++limbo->epoch;
    old->next = limbo->first;
    limbo->first = old;
}

bool rx_limbo_sweep(struct rx_limbo *limbo, uint64_t passed)
{
    for (struct rx_roster **at = &limbo->first; *at;) {
        struct rx_roster *r = *at;
        if (r->epoch > passed) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        rx_roster_unref(r);
    }
    return !limbo->first;
}
