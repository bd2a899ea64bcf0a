// SPDX-License-Identifier: MIT
// The decider that chooses a backend. The turn, the dice, the client's hash, the clock and what was tried come in as
// arguments; of the backends it reads how many connections they have and whether they are usable, and changes nothing.
//
// Tiers are asked in order. Within one the pool's balance names a candidate; where that one cannot be had (tried,
// full, down) another is chosen among those that can, in a way that shares a missing backend's load out by weight.
// Only when no tier has a usable one are ejected ones considered: better to try than to fail.
#include "roster.h"

#include <math.h>
#include <string.h>

enum { NOBODY = -1 };

struct asked {
    const struct rx_roster *r;
    const struct rx_tier *t;
    const struct rx_dice *d;
    bool is_last_resort;
    bool is_unjudged; // health was checked over the other transport
};

static bool is_full(const struct rx_backend *b)
{
    return b->max_connections && atomic_load_explicit(&b->state->active, memory_order_relaxed) >= b->max_connections;
}

static bool was_tried(const struct rx_dice *d, uint32_t i)
{
    return d->tried && d->tried[i / 64] >> i % 64 & 1;
}

static bool is_free(const struct asked *a, uint32_t i)
{
    const struct rx_backend *b = &a->r->backends[i];
    if (was_tried(a->d, i))
        return false;
    if (RX_UNLIKELY(!b->state))
        return a->d->is_rehearsal;
    if (is_full(b))
        return false;
    if (RX_UNLIKELY(a->is_unjudged))
        return rx_backend_is_open(b->state, a->is_last_resort ? UINT64_MAX : a->d->now_ms);
    return a->is_last_resort ? rx_backend_is_last_resort(b->state) : rx_backend_is_usable(b->state, a->d->now_ms);
}

// A backend that came (back) not long ago counts for part of its weight; in 256ths.
static uint32_t warmth(const struct asked *a, uint32_t i)
{
    uint32_t slow_ms = a->r->slow_start_ms;
    const struct rx_backend_state *s = a->r->backends[i].state;
    uint64_t since = slow_ms && s ? atomic_load_explicit(&s->warm_since_ms, memory_order_relaxed) : 0;
    uint64_t age = since && a->d->now_ms > since ? a->d->now_ms - since : 0;
    if (RX_LIKELY(!since) || age >= slow_ms)
        return 256;
    return (uint32_t)RX_MAX(age * 256 / slow_ms, 8u); // never nothing: it has to get warm somehow
}

static bool is_warm(const struct asked *a, uint32_t i)
{
    uint32_t w = warmth(a, i);
    return RX_LIKELY(w == 256) || (rx_mix(a->d->random + 1) & 255) < w;
}

// Among those that can be had, by what weight they have now; `point` says where. Not `but`, unless it is alone.
static int64_t among(const struct asked *a, uint64_t point, int64_t but)
{
    uint64_t sum = 0;
    uint32_t end = a->t->at + a->t->n;
    for (uint32_t i = a->t->at; i < end; i++)
        if ((int64_t)i != but && is_free(a, i))
            sum += (uint64_t)a->r->backends[i].weight * warmth(a, i);
    if (!sum)
        return but >= 0 && is_free(a, (uint32_t)but) ? but : NOBODY;
    // A turn of the smooth order is worth a weight of one, which is 256 here.
    point %= sum;
    for (uint32_t i = a->t->at; i < end; i++)
        if ((int64_t)i != but && is_free(a, i)) {
            uint64_t w = (uint64_t)a->r->backends[i].weight * warmth(a, i);
            if (point < w)
                return i;
            point -= w;
        }
    return NOBODY; // another thread took the last one meanwhile
}

// ---- the balances -------------------------------------------------------------------------------------------------

static int64_t round_robin(const struct asked *a)
{
    const struct rx_tier *t = a->t;
    uint32_t turn = a->d->cursor % t->n_order, i = t->order[turn];
    if (RX_LIKELY(is_free(a, i) && is_warm(a, i)))
        return i;
    // A missing one's turns go to the others in turn: what differs from one round to the next is the round.
    return among(a, ((uint64_t)(a->d->cursor / t->n_order) + turn) * 256, i);
}

// By running sums: O(log n) however heavy they are.
static uint32_t weighted(const struct rx_tier *t, uint64_t random)
{
    uint64_t point = random % t->sum;
    uint32_t low = 0, high = t->n - 1;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (point < t->running[mid])
            high = mid;
        else
            low = mid + 1;
    }
    return t->at + low;
}

static int64_t random_one(const struct asked *a)
{
    uint32_t i = weighted(a->t, a->d->random);
    return is_free(a, i) && is_warm(a, i) ? (int64_t)i : among(a, rx_mix(a->d->random), i);
}

// Whether x has less to do than y, for what it is worth: as if the connection in question were theirs already.
static bool is_less_loaded(const struct asked *a, uint32_t x, uint32_t y)
{
    const struct rx_backend *bx = &a->r->backends[x], *by = &a->r->backends[y];
    uint64_t nx = bx->state ? atomic_load_explicit(&bx->state->active, memory_order_relaxed) + 1ull : 1;
    uint64_t ny = by->state ? atomic_load_explicit(&by->state->active, memory_order_relaxed) + 1ull : 1;
    return nx * by->weight * warmth(a, y) < ny * bx->weight * warmth(a, x);
}

static int64_t two_choices(const struct asked *a)
{
    uint32_t x = weighted(a->t, a->d->random), y = weighted(a->t, rx_mix(a->d->random));
    if (x == y)
        y = a->t->at + (x - a->t->at + 1) % a->t->n;
    bool has_x = is_free(a, x), has_y = is_free(a, y);
    if (has_x && has_y)
        return is_less_loaded(a, y, x) ? y : x;
    if (has_x || has_y)
        return has_x ? x : y;
    return among(a, rx_mix(a->d->random), NOBODY);
}

static int64_t least_conn(const struct asked *a)
{
    int64_t best = NOBODY;
    for (uint32_t k = 0; k < a->t->n; k++) { // from another one each time, so that equals take turns
        uint32_t i = a->t->at + (a->d->cursor + k) % a->t->n;
        if (is_free(a, i) && (best < 0 || is_less_loaded(a, i, (uint32_t)best)))
            best = i;
    }
    return best;
}

// Rendezvous: each client ranks all backends by a hash of both; who is away moves only its own clients.
static int64_t rendezvous(const struct asked *a)
{
    int64_t best = NOBODY;
    double most = -1;
    for (uint32_t i = a->t->at; i < a->t->at + a->t->n; i++) {
        if (!is_free(a, i))
            continue;
        uint64_t h = rx_mix(a->d->key ^ a->r->backends[i].identity);
        double score = a->r->backends[i].weight / -log(((double)(h >> 11) + 0.5) / 9007199254740992.0); // 2^53
        if (score > most) {
            most = score;
            best = i;
        }
    }
    return best;
}

static int64_t maglev(const struct asked *a)
{
    uint32_t i = a->t->maglev[a->d->key % a->t->n_maglev];
    return is_free(a, i) ? (int64_t)i : rendezvous(a);
}

static int64_t first_free(const struct asked *a)
{
    for (uint32_t i = a->t->at; i < a->t->at + a->t->n; i++)
        if (is_free(a, i))
            return i;
    return NOBODY;
}

static int64_t choose(const struct asked *a)
{
    if (a->t->n == 1)
        return is_free(a, a->t->at) ? (int64_t)a->t->at : NOBODY;
    if (a->d->first >= 0 && a->t->at == 0 && a->d->first < a->t->n && is_free(a, (uint32_t)a->d->first))
        return a->d->first;
    switch (a->r->balance) {
    case RX_BALANCE_ROUND_ROBIN:
        return round_robin(a);
    case RX_BALANCE_LEAST_CONN:
        return least_conn(a);
    case RX_BALANCE_RANDOM:
        return random_one(a);
    case RX_BALANCE_P2C:
        return two_choices(a);
    case RX_BALANCE_SOURCE_IP:
    case RX_BALANCE_SOURCE_SOCKET:
        return rendezvous(a);
    case RX_BALANCE_MAGLEV:
        return maglev(a);
    case RX_BALANCE_FIRST:
        return first_free(a);
    }
    return NOBODY;
}

RX_COLD static bool has_full(const struct rx_roster *r, const struct rx_dice *d)
{
    for (uint32_t i = 0; i < r->n; i++)
        if (r->backends[i].state && !was_tried(d, i) && is_full(&r->backends[i]) &&
            rx_backend_is_last_resort(r->backends[i].state))
            return true;
    return false;
}

const struct rx_backend *rx_pick(const struct rx_roster *r, const struct rx_dice *d, bool *full)
{
    struct asked a = { .r = r, .d = d, .is_unjudged = d->is_udp != r->is_checked_by_udp };
    for (int pass = 0; pass < 2; pass++) {
        a.is_last_resort = pass == 1;
        for (uint32_t k = 0; k < r->n_tiers; k++) {
            a.t = &r->tiers[k];
            int64_t i = choose(&a);
            if (i >= 0)
                return &r->backends[i];
        }
    }
    if (full)
        *full = r->has_limits && has_full(r, d);
    return NULL;
}

// ---- hashes -------------------------------------------------------------------------------------------------------

// The finaliser of MurmurHash3 (public domain, Austin Appleby): every bit of the input moves half of the output's.
uint64_t rx_mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

// FNV-1a, stirred.
uint64_t rx_hash_bytes(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint64_t h = 14695981039346656037ull;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 1099511628211ull;
    return rx_mix(h);
}

uint64_t rx_client_key(enum rx_balance balance, const union rx_ip *client)
{
    uint64_t port = balance == RX_BALANCE_SOURCE_SOCKET ? rx_addr_port(&client->sa) : 0, h = 0;
    if (client->sa.sa_family == AF_INET)
        h = rx_hash_bytes(&client->v4.sin_addr, 4);
    else if (client->sa.sa_family == AF_INET6)
        h = rx_hash_bytes(&client->v6.sin6_addr, 16);
    return rx_mix(h + port);
}
