// SPDX-License-Identifier: MIT
// What is known of a backend address at run time. One state for each address and way of checking its health,
// whichever pools and generations name it: it outlives each of them. Everything that changes is atomic: workers,
// the engine and whoever checks its health write it without a lock.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "addr.h"

enum { RX_HEALTH_WHY = 160 };

enum rx_health {
    RX_HEALTH_UNKNOWN = 0, // nobody checks, or not yet: good enough to be used
    RX_HEALTH_UP,
    RX_HEALTH_DOWN,
};

struct rx_backend_state {
    struct rx_backends *in; // borrowed: where it is found, which outlives it
    struct rx_addr addr;
    char *check; // owned: how its health is checked, as a key; "" when nobody does
    char *name;  // owned: as the first pool wrote it, for the log and for who drains it
    unsigned refs; // under the table's lock

    atomic_uint active;             // connections now
    atomic_ulong connects, refused; // since start
    atomic_ulong ejected;           // how often it was ejected
    atomic_uint health;             // enum rx_health
    atomic_bool is_drained;         // an operator wants no new connections there

    // Passive ejection: after so many failures in a row it rests until a time; then one connection probes it.
    atomic_uint failed_in_row;
    atomic_uint level;            // how often it was ejected without a minute's peace in between
    atomic_ullong rests_until_ms; // 0: it is not ejected
    atomic_ullong peace_since_ms; // when the last ejection ended
    atomic_ullong warm_since_ms;  // when it came (back): slow start counts from here; 0: it was always there

    // What checking its health found.
    atomic_ulong checks, checks_failed; // those that came to a result
    atomic_ulong downs;                 // how often it went down
    atomic_uint check_us;               // how long the last one took
    atomic_ullong health_since_ms;      // 0: unknown since the start
    struct rx_health_check *checker;    // health.c's, as is the next: the engine's thread alone
    char why[RX_HEALTH_WHY];            // what was wrong the last time; "": nothing
};

// When to eject, from the pool a connection goes by.
struct rx_eject_rule {
    uint32_t after;    // failures in a row; 0: never
    uint32_t first_ms; // how long the first time; doubled each time, up to a minute
};

// All of an instance.
enum { RX_BACKEND_BUCKETS = 1024 };
struct rx_backends {
    pthread_mutex_t lock;
    struct rx_backend_node *buckets[RX_BACKEND_BUCKETS];
};

// The state for this address, created on first use; NULL when out of memory. Put it back when done.
struct rx_backend_state *rx_backend_state_get(struct rx_backends *in, const struct rx_addr *addr, const char *check,
                                              const char *name);
void rx_backend_state_put(struct rx_backend_state *s);

// ---- on the path --------------------------------------------------------------------------------------------------

// Whether a new connection may go there. One that was ejected may be probed when its rest is over.
static inline bool rx_backend_is_usable(const struct rx_backend_state *s, uint64_t now_ms)
{
    if (atomic_load_explicit(&s->health, memory_order_relaxed) == RX_HEALTH_DOWN ||
        atomic_load_explicit(&s->is_drained, memory_order_relaxed))
        return false;
    return atomic_load_explicit(&s->rests_until_ms, memory_order_relaxed) <= now_ms;
}

// Whether it may be tried when no usable one is left: ejected, but neither known to be down nor drained.
static inline bool rx_backend_is_last_resort(const struct rx_backend_state *s)
{
    return atomic_load_explicit(&s->health, memory_order_relaxed) != RX_HEALTH_DOWN &&
           !atomic_load_explicit(&s->is_drained, memory_order_relaxed);
}

// The same for clients that its health check does not speak for.
static inline bool rx_backend_is_open(const struct rx_backend_state *s, uint64_t now_ms)
{
    return !atomic_load_explicit(&s->is_drained, memory_order_relaxed) &&
           atomic_load_explicit(&s->rests_until_ms, memory_order_relaxed) <= now_ms;
}

enum rx_taken {
    RX_TAKEN,       // counted in `active`
    RX_TAKEN_PROBE, // the same; it was ejected, and this connection finds out whether it is back
    RX_TAKEN_NOT,   // full, or another connection probes it: choose again
};

// most: its max_connections, 0: no limit. Give it back with rx_backend_leave.
enum rx_taken rx_backend_take(struct rx_backend_state *s, uint32_t most, uint64_t now_ms);
static inline void rx_backend_leave(struct rx_backend_state *s)
{
    atomic_fetch_sub_explicit(&s->active, 1, memory_order_relaxed);
}

// What came of a connection to it. `why` is errno; what is this machine's own trouble ejects nobody.
// dice: spreads out when many return.
void rx_backend_failed(struct rx_backend_state *s, const struct rx_eject_rule *rule, bool is_probe, int why,
                       uint64_t now_ms, uint32_t dice);
void rx_backend_came_back(struct rx_backend_state *s, uint64_t now_ms);
static inline void rx_backend_connected(struct rx_backend_state *s, uint64_t now_ms)
{
    if (RX_UNLIKELY(atomic_load_explicit(&s->failed_in_row, memory_order_relaxed) ||
                    atomic_load_explicit(&s->rests_until_ms, memory_order_relaxed)))
        rx_backend_came_back(s, now_ms);
}

// ---- off the path, from any thread --------------------------------------------------------------------------------

// True when that is a change. One that comes up from being down begins slowly, and its failures are forgotten.
bool rx_backend_set_health(struct rx_backend_state *s, enum rx_health health, uint64_t now_ms);
// Drains, or undrains, the backends with this address ("10.0.0.1:80") or that a config wrote like this
// ("app.internal:80"); returns how many there are. It holds as long as a config names them.
unsigned rx_backend_drain(struct rx_backends *in, const char *name_or_addr, bool is_drained, uint64_t now_ms);
// Shows those that are drained, by address.
typedef void rx_backend_drained_fn(const char *name, void *data);
void rx_backend_each_drained(struct rx_backends *in, rx_backend_drained_fn *each, void *data);
