// SPDX-License-Identifier: MIT
// Enters: clients that come and go, on any thread. Leaves: who may stay. No locks: each address that is connected has a
// word {tag, count} of its own, changed by compare-and-swap, and a connection holds on to the place of its word.
//
// Words lie in buckets of eight, one cache line; a client's may stand in its bucket or the one beside it. When both are
// full the next level is made, four times as large, so memory follows how many addresses were connected at once: 45
// bytes for each of a million. Levels stay until the listener goes.
//
// Two threads that meet a new address at the same instant may give it a word each. So whoever has counted adds up all
// words of the client again, and goes back when they are too many: a client never has more than its limit.
//
// Deliberately not done: counting where memory has run out. Such a client is let in.
#include "limit.h"

#include <stdlib.h>
#include <string.h>

#include "whom.h"

enum { WAYS = 8, LEVELS = 8, FIRST_SLOTS = 1024, GROWTH_BITS = 2, COUNT_BITS = 24, SLOT_BITS = 28, TRIES = 4 };

#define COUNT_MASK ((1ull << COUNT_BITS) - 1)

struct rx_limit {
    atomic_uint per_ip;
    uint32_t v6_bits;
    _Atomic(atomic_ullong *) levels[LEVELS]; // owned; the first NULL is the end
};

// What a look at all words of a client has found.
struct look {
    unsigned long long sum;
    atomic_ullong *mine, *empty; // NULL: none
    unsigned long long word;     // what stood in `mine`
    uint32_t mine_place, empty_place;
};

static size_t slots_of(unsigned level)
{
    return (size_t)FIRST_SLOTS << (level * GROWTH_BITS);
}

static atomic_ullong *level_new(unsigned level)
{
    size_t size = slots_of(level) * sizeof(atomic_ullong);
    atomic_ullong *words = aligned_alloc(WAYS * sizeof(atomic_ullong), size);
    if (words)
        memset(words, 0, size);
    return words;
}

struct rx_limit *rx_limit_new(uint32_t per_ip, uint32_t ipv6_prefix)
{
    struct rx_limit *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->per_ip = per_ip;
    l->v6_bits = RX_MIN(ipv6_prefix, 128u);
    return l;
}

void rx_limit_free(struct rx_limit *l)
{
    for (int i = 0; l && i < LEVELS; i++)
        free((void *)l->levels[i]);
    free(l);
}

// A place is never 0.
static uint32_t place_of(unsigned level, size_t slot)
{
    return (uint32_t)(level << SLOT_BITS | (uint32_t)slot) + 1;
}

static atomic_ullong *slot_at(struct rx_limit *l, uint32_t place)
{
    place--;
    return &l->levels[place >> SLOT_BITS][place & ((1u << SLOT_BITS) - 1)];
}

// Never 0, so that no word in use is.
static unsigned long long tag_of(uint64_t hash)
{
    return hash >> COUNT_BITS ? hash >> COUNT_BITS : 1;
}

static void look_in(struct look *x, unsigned level, atomic_ullong *words, uint64_t hash)
{
    const unsigned long long tag = tag_of(hash);
    size_t bucket = (hash * 0x9e3779b97f4a7c15ull >> 32) & (slots_of(level) / WAYS - 1);
    for (int side = 0; side < 2; side++, bucket ^= 1)
        for (size_t i = bucket * WAYS; i < (bucket + 1) * WAYS; i++) {
            unsigned long long w = atomic_load(&words[i]);
            if (w >> COUNT_BITS == tag) {
                x->sum += w & COUNT_MASK;
                if (!x->mine)
                    x->mine = &words[i], x->word = w, x->mine_place = place_of(level, i);
            } else if (!w && !x->empty) {
                x->empty = &words[i], x->empty_place = place_of(level, i);
            }
        }
}

static void look(struct rx_limit *l, uint64_t hash, struct look *x)
{
    atomic_ullong *words;
    *x = (struct look){ 0 };
    for (unsigned i = 0; i < LEVELS && (words = atomic_load(&l->levels[i])); i++)
        look_in(x, i, words, hash);
}

// False: out of memory, or no level is left.
static bool grow(struct rx_limit *l)
{
    unsigned level = 0;
    while (level < LEVELS && atomic_load(&l->levels[level]))
        level++;
    atomic_ullong *none = NULL, *words = level < LEVELS ? level_new(level) : NULL;
    if (!words)
        return false;
    if (!atomic_compare_exchange_strong(&l->levels[level], &none, words))
        free((void *)words); // another thread was first
    return true;
}

// Counts one more where the look has found the client, or room for it. 0: something has changed meanwhile.
static uint32_t count_one(struct look *x, uint64_t hash)
{
    const unsigned long long tag = tag_of(hash);
    unsigned long long nothing = 0;
    if (x->mine)
        return atomic_compare_exchange_strong(x->mine, &x->word, x->word + 1) ? x->mine_place : 0;
    return atomic_compare_exchange_strong(x->empty, &nothing, tag << COUNT_BITS | 1) ? x->empty_place : 0;
}

bool rx_limit_take(struct rx_limit *l, const union rx_ip *ip, uint32_t *place)
{
    uint64_t hash;
    struct look x;
    *place = 0;
    if (!rx_whom_hash(ip, l->v6_bits, &hash))
        return true;
    for (int tries = 0; tries < TRIES;) {
        look(l, hash, &x);
        if (x.sum >= atomic_load_explicit(&l->per_ip, memory_order_relaxed))
            return false;
        if (!x.mine && !x.empty) {
            if (!grow(l))
                return true;
            continue;
        }
        uint32_t at = count_one(&x, hash);
        if (!at)
            continue;
        look(l, hash, &x);
        if (x.sum <= atomic_load_explicit(&l->per_ip, memory_order_relaxed)) {
            *place = at;
            return true;
        }
        rx_limit_give(l, at);
        tries++;
    }
    return false;
}

void rx_limit_give(struct rx_limit *l, uint32_t place)
{
    if (!place)
        return;
    atomic_ullong *slot = slot_at(l, place);
    unsigned long long w = atomic_load(slot);
    while (!atomic_compare_exchange_weak(slot, &w, (w & COUNT_MASK) > 1 ? w - 1 : 0))
        ;
}

void rx_limit_set(struct rx_limit *l, uint32_t per_ip)
{
    atomic_store_explicit(&l->per_ip, per_ip, memory_order_relaxed);
}

size_t rx_limit_memory(const struct rx_limit *l)
{
    size_t sum = sizeof *l;
    for (unsigned i = 0; i < LEVELS && atomic_load(&l->levels[i]); i++)
        sum += slots_of(i) * sizeof(atomic_ullong);
    return sum;
}

// ---- gates ------------------------------------------------------------------------------------------------------

struct rx_gate_node {
    struct rx_gate gate; // first: callers hold a pointer to it
    struct rx_gates *in; // borrowed
    struct rx_gate_node *next;
    unsigned refs;
    uint32_t ipv6_prefix;
    char name[];
};

static struct rx_gate_node *gate_new(struct rx_gates *in, const char *name, uint32_t ipv6_prefix)
{
    size_t len = strlen(name) + 1;
    struct rx_gate_node *g = calloc(1, sizeof *g + len);
    if (!g)
        return NULL;
    g->gate.per_ip = rx_limit_new(UINT32_MAX, ipv6_prefix);
    g->gate.sessions_per_ip = rx_limit_new(UINT32_MAX, ipv6_prefix);
    if (!g->gate.per_ip || !g->gate.sessions_per_ip) {
        rx_limit_free(g->gate.per_ip);
        rx_limit_free(g->gate.sessions_per_ip);
        free(g);
        return NULL;
    }
    memcpy(g->name, name, len);
    g->ipv6_prefix = ipv6_prefix;
    g->in = in;
    g->next = in->first;
    in->first = g;
    return g;
}

// Looked up only while a config loads or goes.
struct rx_gate *rx_gate_get(struct rx_gates *in, const char *name, uint32_t ipv6_prefix)
{
    pthread_mutex_lock(&in->lock);
    struct rx_gate_node *g = in->first;
    while (g && (g->ipv6_prefix != ipv6_prefix || strcmp(g->name, name)))
        g = g->next;
    if (!g)
        g = gate_new(in, name, ipv6_prefix);
    if (g)
        g->refs++;
    pthread_mutex_unlock(&in->lock);
    return g ? &g->gate : NULL;
}

struct rx_rates *rx_gate_rates(struct rx_gate *gate)
{
    struct rx_gates *in = RX_CONTAINER(gate, struct rx_gate_node, gate)->in;
    pthread_mutex_lock(&in->lock);
    if (!gate->rates)
        gate->rates = rx_rates_new();
    pthread_mutex_unlock(&in->lock);
    return gate->rates;
}

void rx_gate_put(struct rx_gate *gate)
{
    if (!gate)
        return;
    struct rx_gate_node *g = RX_CONTAINER(gate, struct rx_gate_node, gate);
    struct rx_gates *in = g->in;
    pthread_mutex_lock(&in->lock);
    if (--g->refs == 0) {
        struct rx_gate_node **at = &in->first;
        while (*at != g)
            at = &(*at)->next;
        *at = g->next;
        rx_limit_free(g->gate.per_ip);
        rx_limit_free(g->gate.sessions_per_ip);
        rx_rates_free(g->gate.rates);
        free(g);
    }
    pthread_mutex_unlock(&in->lock);
}
