// SPDX-License-Identifier: MIT
// Enters: events and the time. Leaves: whether they may happen. Pure but for the counts: the time is an argument.
//
// Instead of tokens a moment is kept: the one up to which the rate is used up. An event moves it on by its cost, and may
// happen unless that would be more than the depth ahead of now. So a bucket is one word, refilling it is no work, and a
// reload may change the rate under it. (The virtual scheduling form of the algorithm in ITU-T I.371.)
//
// A moment further ahead than the depth is of a slower rate, before a reload: it counts no more. Threads may disagree
// about now, hence SLACK_NS.
//
// The table: buckets of eight words {tag, moment}, one cache line each, changed by compare-and-swap. The moment counts
// ticks of 64 ns, modulo 2^40: a client that comes back when the count has gone round (19.5 hours later) may by rare
// chance find its rate used up, for as long as the depth and the slack at most. Two threads that meet a new client at the same instant may give it two words: it may happen once too often then.
#include "rate.h"

#include <stdlib.h>
#include <string.h>

#include "whom.h"

enum { WAYS = 8, SLOTS = RX_RATES_MEMORY / 8, TICK_BITS = 6, MOMENT_BITS = 40 };

#define NS_PER_S 1000000000ull
#define SLACK_NS (2 * NS_PER_S)
#define MOMENT_MASK ((1ull << MOMENT_BITS) - 1)

struct rx_rates {
    atomic_ullong words[SLOTS];
};

struct rx_rate rx_rate_of(uint32_t count, uint32_t per_ms, uint32_t burst)
{
    if (!count || !per_ms)
        return (struct rx_rate){ 0 };
    uint64_t per_ns = per_ms * 1000000ull;
    uint64_t cost = RX_MAX(per_ns / count, 1ull << TICK_BITS);
    uint64_t depth = burst ? (uint64_t)((__uint128_t)per_ns * burst / count) : per_ns;
    depth = RX_MIN(depth, RX_RATE_DEPTH_MAX_S * NS_PER_S);
    return (struct rx_rate){ .cost_ns = cost,
                             .depth_ns = RX_MAX(depth, cost),
                             .count = count,
                             .per_ms = per_ms,
                             .burst = burst ? burst : count };
}

// ---- one for all ----------------------------------------------------------------------------------------------------

bool rx_meter_take(struct rx_meter *m, const struct rx_rate *r, uint64_t now_ns)
{
    unsigned long long drawn = atomic_load_explicit(&m->drawn_ns, memory_order_relaxed), next;
    do {
        bool is_old = drawn > now_ns + r->depth_ns + SLACK_NS;
        next = (is_old ? now_ns : RX_MAX(drawn, now_ns)) + r->cost_ns;
        if (next - now_ns > r->depth_ns)
            return false;
    } while (!atomic_compare_exchange_weak(&m->drawn_ns, &drawn, next));
    return true;
}

static uint64_t cost_of(uint64_t bytes, uint64_t per_s)
{
    return (uint64_t)(((__uint128_t)bytes * NS_PER_S + per_s - 1) / per_s);
}

uint64_t rx_meter_draw(struct rx_meter *m, uint64_t per_s, uint64_t depth_ns, uint64_t want, uint64_t now_ns)
{
    unsigned long long drawn = atomic_load_explicit(&m->drawn_ns, memory_order_relaxed), from;
    uint64_t n;
    do {
        from = RX_MAX(drawn, now_ns);
        if (from - now_ns >= depth_ns)
            return 0;
        n = (uint64_t)((__uint128_t)(now_ns + depth_ns - from) * per_s / NS_PER_S);
        n = RX_MIN(n, want);
        if (!n)
            return 0;
    } while (!atomic_compare_exchange_weak(&m->drawn_ns, &drawn, from + cost_of(n, per_s)));
    return n;
}

void rx_meter_charge(struct rx_meter *m, uint64_t per_s, uint64_t bytes, uint64_t now_ns)
{
    unsigned long long drawn = atomic_load_explicit(&m->drawn_ns, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&m->drawn_ns, &drawn, RX_MAX(drawn, now_ns) + cost_of(bytes, per_s)))
        ;
}

void rx_meter_return(struct rx_meter *m, uint64_t per_s, uint64_t bytes)
{
    if (bytes)
        atomic_fetch_sub(&m->drawn_ns, (uint64_t)((__uint128_t)bytes * NS_PER_S / per_s));
}

uint64_t rx_meter_wait_ns(struct rx_meter *m, uint64_t per_s, uint64_t depth_ns, uint64_t bytes, uint64_t now_ns)
{
    uint64_t drawn = RX_MAX(atomic_load_explicit(&m->drawn_ns, memory_order_relaxed), now_ns);
    uint64_t end = drawn + RX_MIN(cost_of(bytes, per_s), depth_ns);
    return end > now_ns + depth_ns ? end - now_ns - depth_ns : 0;
}

// ---- one for each client --------------------------------------------------------------------------------------------

struct rx_rates *rx_rates_new(void)
{
    struct rx_rates *t = aligned_alloc(64, sizeof *t);
    if (t)
        memset(t, 0, sizeof *t);
    return t;
}

void rx_rates_free(struct rx_rates *t)
{
    free(t);
}

// How far the moment of a word is ahead of now; 0 when it is past, or further than it can be.
static uint64_t ahead_of(unsigned long long word, uint64_t now, uint64_t depth)
{
    uint64_t ahead = (word - now) & MOMENT_MASK;
    return ahead > depth + (SLACK_NS >> TICK_BITS) ? 0 : ahead;
}

bool rx_rates_take(struct rx_rates *t, const union rx_ip *ip, uint32_t v6_bits, const struct rx_rate *r,
                   uint64_t now_ns)
{
    uint64_t hash;
    if (!rx_whom_hash(ip, v6_bits, &hash))
        return true;
    const uint64_t now = now_ns >> TICK_BITS & MOMENT_MASK;
    const uint64_t cost = r->cost_ns >> TICK_BITS, depth = RX_MAX(r->depth_ns >> TICK_BITS, cost);
    const unsigned long long tag = hash >> MOMENT_BITS ? hash >> MOMENT_BITS : 1;
    atomic_ullong *bucket = &t->words[(hash & (SLOTS / WAYS - 1)) * WAYS];
    for (;;) {
        atomic_ullong *at = NULL;
        unsigned long long word = 0;
        uint64_t ahead = 0, least = UINT64_MAX;
        for (int i = 0; i < WAYS; i++) {
            unsigned long long w = atomic_load_explicit(&bucket[i], memory_order_relaxed);
            uint64_t a = w ? ahead_of(w, now, depth) : 0;
            if (w >> MOMENT_BITS == tag) {
                at = &bucket[i], word = w, ahead = a;
                break;
            }
            if (a < least) // who would be forgotten for it
                at = &bucket[i], word = w, least = a;
        }
        if (ahead + cost > depth)
            return false;
        unsigned long long next = tag << MOMENT_BITS | ((now + ahead + cost) & MOMENT_MASK);
        if (atomic_compare_exchange_weak(at, &word, next))
            return true;
    }
}
