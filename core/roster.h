// SPDX-License-Identifier: MIT
// A roster: who a pool's backends are at one moment, as pick.c wants them. Immutable and counted.
//
// The engine makes one when a config is built and whenever the answer to a name changes, and swaps it into the pool.
// A worker takes a reference within one callback of its loop and keeps it as long as its connection needs the
// backend. Between reading the pool's pointer and counting itself a worker holds nothing; so the engine keeps a
// replaced roster in limbo until every worker has run an order given after the swap: from then on none can still be
// about to count a reference to it. No lock anywhere on the path.
#pragma once

#include <stdatomic.h>

#include "backend.h"
#include "base.h"
#include "places.h"

#include "abi.h" // after base.h

struct rx_home;
struct rx_pool;

struct rx_backend {
    const char *name; // as written: the generation's; or, as SRV said, own_name
    char *own_name;   // owned
    struct rx_addr addr; // len 0: a name that has no address yet; nobody can be sent there
    uint32_t weight;
    uint32_t max_connections; // 0: no limit
    uint32_t tier;            // 0: primaries; the others are used in turn when those before are not
    struct rx_backend_state *state; // ref; NULL without an address
    uint64_t identity;              // hash of the address: what source_ip, source_socket and maglev go by
};

// Backends of one tier stand together.
struct rx_tier {
    uint32_t at, n;
    uint64_t sum;         // of weights
    uint64_t *running;    // random, p2c: running sums of weights
    uint32_t *order;      // round robin: backend numbers, smoothly repeated by weight
    uint32_t n_order;
    uint32_t *maglev;     // backend numbers by hash
    uint32_t n_maglev;
};

struct rx_roster {
    atomic_uint refs;
    enum rx_balance balance;
    uint32_t slow_start_ms;
    uint32_t n, n_known; // all, and those with an address
    struct rx_backend *backends;
    struct rx_tier *tiers;
    uint32_t n_tiers;
    bool has_limits; // some backend has max_connections
    bool is_checked_by_udp; // the pool's health: it says nothing about TCP then, and otherwise nothing about UDP
    struct rx_roster *next; // in limbo
    uint64_t epoch;
};

// The roster of a pool whose member i, where it is a name, stands for places[i] (NULL or none: not known yet).
// One reference; NULL when out of memory.
struct rx_roster *rx_roster_new(const struct rx_pool *pool, const struct rx_places *const *places);
// One backend that is in no pool; nobody is sent there. NULL when out of memory.
struct rx_roster *rx_roster_alone(struct rx_home *home, const struct rx_addr *addr, const char *name, size_t len);
void rx_roster_unref(struct rx_roster *r);
static inline struct rx_roster *rx_roster_ref(struct rx_roster *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

// From a worker, within one callback; the reference is the caller's.
struct rx_roster *rx_roster_take(const struct rx_pool *pool);
// The one in force, borrowed: for the engine's thread, or before the pool is served.
const struct rx_roster *rx_roster_of(const struct rx_pool *pool);

// ---- the engine's side --------------------------------------------------------------------------------------------

// What was replaced and may still be about to be taken.
struct rx_limbo {
    struct rx_roster *first;
    uint64_t epoch; // of the last publication
};

// Swaps r (whose reference it takes over) in and puts the old one in limbo. Backends that are new in it begin slowly.
// Afterwards every worker has to be ordered to pass limbo->epoch.
void rx_roster_publish(const struct rx_pool *pool, struct rx_roster *r, struct rx_limbo *limbo, uint64_t now_ms);
// Every worker has passed this epoch: what was replaced before goes. True when nothing is left.
bool rx_limbo_sweep(struct rx_limbo *limbo, uint64_t passed);
// Backends of `r` that `old` has not: slow start counts from now.
void rx_roster_warm(const struct rx_roster *r, const struct rx_roster *old, uint64_t now_ms);

// ---- pick.c -------------------------------------------------------------------------------------------------------

// Everything a choice depends on besides the roster and the state of its backends.
struct rx_dice {
    uint32_t cursor;       // round_robin: whose turn; least_conn: who is looked at first
    uint64_t random;       // random, p2c, slow start
    uint64_t key;          // source_ip, source_socket, maglev: rx_client_key
    uint64_t now_ms;
    int64_t first;         // a policy's choice among the primaries; -1: none
    const uint64_t *tried; // a bit for each backend that was tried; NULL: none
    bool is_udp;           // for a UDP client: what a check over TCP found is nothing to it, nor the other way round
    bool is_rehearsal;     // asked without a socket: names without an address count as well
};

// The backend to try next; NULL when none is left. *is_full (may be NULL): there would be one, but for max_connections.
const struct rx_backend *rx_pick(const struct rx_roster *r, const struct rx_dice *d, bool *is_full);

// The same on every machine. Clients of a unix socket are all alike.
uint64_t rx_client_key(enum rx_balance balance, const union rx_ip *client);
const char *rx_balance_name(enum rx_balance balance);
uint64_t rx_mix(uint64_t x); // 64 bits, well stirred
uint64_t rx_hash_bytes(const void *bytes, size_t n);
