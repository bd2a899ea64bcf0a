// SPDX-License-Identifier: MIT
// A hash table in 64 stripes, each with its own lock and its own slots; workers meet only when two clients fall
// into one stripe at the same instant. An entry exists while its count is above zero, so the table is as large as
// there are connected addresses, and an empty stripe gives its memory back. The hash is seeded at start: a client
// that owns many addresses (an IPv6 /48) cannot make them collide.
#include "limit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { STRIPES = 64, SLOTS_MIN = 16 };

struct slot {
    uint64_t key[2]; // the address, masked; IPv4 as ::ffff:a.b.c.d
    uint32_t count;  // 0: empty
};

struct stripe {
    _Alignas(64) pthread_mutex_t lock;
    struct slot *slots; // owned; linear probing
    uint32_t cap, used;
};

struct rx_limit {
    atomic_uint per_ip;
    uint32_t v6_bits;
    uint64_t seed[2];
    struct stripe stripes[STRIPES];
};

struct rx_limit *rx_limit_new(uint32_t per_ip, uint32_t ipv6_prefix)
{
    struct rx_limit *l = aligned_alloc(64, sizeof *l);
    if (!l)
        return NULL;
    memset(l, 0, sizeof *l);
    l->per_ip = per_ip;
    l->v6_bits = RX_MIN(ipv6_prefix, 128u);
    if (getrandom(l->seed, sizeof l->seed, 0) != sizeof l->seed)
        l->seed[0] = (uint64_t)(uintptr_t)l;
    for (int i = 0; i < STRIPES; i++)
        pthread_mutex_init(&l->stripes[i].lock, NULL);
    return l;
}

void rx_limit_free(struct rx_limit *l)
{
    for (int i = 0; l && i < STRIPES; i++) {
        pthread_mutex_destroy(&l->stripes[i].lock);
        free(l->stripes[i].slots);
    }
    free(l);
}

static bool key_of(const struct rx_limit *l, const union rx_ip *ip, uint64_t key[2])
{
    uint8_t b[16] = { [10] = 0xff, [11] = 0xff };
    if (ip->sa.sa_family == AF_INET) {
        memcpy(b + 12, &ip->v4.sin_addr, 4);
    } else if (ip->sa.sa_family == AF_INET6) {
        memcpy(b, &ip->v6.sin6_addr, 16);
        for (uint32_t i = l->v6_bits; i < 128; i++)
            b[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
    } else {
        return false;
    }
    memcpy(key, b, 16);
    return true;
}

static uint64_t hash(const struct rx_limit *l, const uint64_t key[2])
{
    __uint128_t a = (__uint128_t)(key[0] ^ l->seed[0]) * (key[1] ^ l->seed[1] ^ 0x9e3779b97f4a7c15ull);
    uint64_t h = (uint64_t)a ^ (uint64_t)(a >> 64) ^ l->seed[0];
    a = (__uint128_t)h * 0xd6e8feb86659fd93ull;
    return (uint64_t)a ^ (uint64_t)(a >> 64);
}

static uint32_t seek(const struct stripe *s, const uint64_t key[2], uint64_t h)
{
    uint32_t i = (uint32_t)(h >> 8) & (s->cap - 1);
    while (s->slots[i].count && (s->slots[i].key[0] != key[0] || s->slots[i].key[1] != key[1]))
        i = (i + 1) & (s->cap - 1);
    return i;
}

static bool resize(struct rx_limit *l, struct stripe *s, uint32_t cap)
{
    struct slot *old = s->slots, *slots = calloc(cap, sizeof *slots);
    if (!slots)
        return false;
    uint32_t was = s->cap;
    s->slots = slots;
    s->cap = cap;
    for (uint32_t i = 0; i < was; i++)
        if (old[i].count)
            slots[seek(s, old[i].key, hash(l, old[i].key))] = old[i];
    free(old);
    return true;
}

bool rx_limit_take(struct rx_limit *l, const union rx_ip *ip)
{
    uint64_t key[2];
    if (!key_of(l, ip, key))
        return true;
    uint64_t h = hash(l, key);
    struct stripe *s = &l->stripes[h % STRIPES];
    bool is_taken = false;
    pthread_mutex_lock(&s->lock);
    if (s->used * 2 < s->cap || resize(l, s, RX_MAX(s->cap * 2, (uint32_t)SLOTS_MIN))) {
        struct slot *x = &s->slots[seek(s, key, h)];
        if (x->count < l->per_ip) {
            if (!x->count) {
                memcpy(x->key, key, sizeof x->key);
                s->used++;
            }
            x->count++;
            is_taken = true;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return is_taken;
}

// Closes the gap at i by moving back what a probe would otherwise no longer reach.
static void vacate(struct rx_limit *l, struct stripe *s, uint32_t i)
{
    uint32_t mask = s->cap - 1;
    for (uint32_t k = (i + 1) & mask; s->slots[k].count; k = (k + 1) & mask) {
        uint32_t home = (uint32_t)(hash(l, s->slots[k].key) >> 8) & mask;
        if (((k - home) & mask) >= ((k - i) & mask)) {
            s->slots[i] = s->slots[k];
            i = k;
        }
    }
    s->slots[i].count = 0;
}

void rx_limit_give(struct rx_limit *l, const union rx_ip *ip)
{
    uint64_t key[2];
    if (!key_of(l, ip, key))
        return;
    uint64_t h = hash(l, key);
    struct stripe *s = &l->stripes[h % STRIPES];
    pthread_mutex_lock(&s->lock);
    uint32_t i = s->cap ? seek(s, key, h) : 0;
    if (s->cap && s->slots[i].count && --s->slots[i].count == 0) {
        vacate(l, s, i);
        if (--s->used == 0 && s->cap > SLOTS_MIN) {
            free(s->slots);
            s->slots = NULL;
            s->cap = 0;
        }
    }
    pthread_mutex_unlock(&s->lock);
}

void rx_limit_set(struct rx_limit *l, uint32_t per_ip)
{
    atomic_store_explicit(&l->per_ip, per_ip, memory_order_relaxed);
}

// ---- gates ------------------------------------------------------------------------------------------------------

struct gate {
    struct rx_gate gate; // first: callers hold a pointer to it
    struct gate *next;
    unsigned refs;
    uint32_t ipv6_prefix;
    char name[];
};

// Looked up only while a config loads or goes.
static struct gate *gates;
static pthread_mutex_t gates_lock = PTHREAD_MUTEX_INITIALIZER;

static struct gate *gate_new(const char *name, uint32_t ipv6_prefix)
{
    size_t len = strlen(name) + 1;
    struct gate *g = calloc(1, sizeof *g + len);
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
    g->next = gates;
    gates = g;
    return g;
}

struct rx_gate *rx_gate_get(const char *name, uint32_t ipv6_prefix)
{
    pthread_mutex_lock(&gates_lock);
    struct gate *g = gates;
    while (g && (g->ipv6_prefix != ipv6_prefix || strcmp(g->name, name)))
        g = g->next;
    if (!g)
        g = gate_new(name, ipv6_prefix);
    if (g)
        g->refs++;
    pthread_mutex_unlock(&gates_lock);
    return g ? &g->gate : NULL;
}

void rx_gate_put(struct rx_gate *gate)
{
    if (!gate)
        return;
    pthread_mutex_lock(&gates_lock);
    struct gate *g = RX_CONTAINER(gate, struct gate, gate);
    if (--g->refs == 0) {
        struct gate **at = &gates;
        while (*at != g)
            at = &(*at)->next;
        *at = g->next;
        rx_limit_free(g->gate.per_ip);
        rx_limit_free(g->gate.sessions_per_ip);
        free(g);
    }
    pthread_mutex_unlock(&gates_lock);
}
