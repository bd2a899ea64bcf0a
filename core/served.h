// SPDX-License-Identifier: MIT
// What each route has served: connections by how they ended, and bytes. The counts belong to the listener's, the
// route's and the protocol's name, not to a generation, so that a reload keeps them. Every worker has cells of its own
// and writes no other: counting takes no locked instruction.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base.h"
#include "reason.h"

struct rx_conf;

// One worker's counts of one route, or of a listener's connections that no route has taken (yet).
struct rx_cell {
    _Alignas(64) atomic_ulong opened;
    atomic_ulong moved; // from here to a route's cell
    atomic_ulong closed[RX_REASON_COUNT];
    atomic_ulong bytes[2]; // by enum rx_direction
};

struct rx_served {
    const char *listen, *route, *protocol; // route "": no route; RX_SERVED_OTHERS
    unsigned n_cells;                      // one a worker
    struct rx_cell *cells;                 // owned
};

// Routes of a generation that have counts of their own; those behind share one for each listener, so that a config
// with a name for each of 100000 customers stays readable, and small.
enum { RX_SERVED_ROUTES = 1000 };
#define RX_SERVED_OTHERS "(others)"

// All of an instance.
struct rx_serveds {
    pthread_mutex_t lock;
    struct rx_served_node *first;
};

// Gives every route and listener of a generation its counts; before it is served. 0 or -ENOMEM.
int rx_served_attach(struct rx_conf *conf, unsigned n_workers);
void rx_served_detach(struct rx_conf *conf);

// All counts there are, sorted by listener and route, under the lock that finds them.
typedef void rx_served_each_fn(const struct rx_served *t, void *data);
void rx_served_each(struct rx_serveds *in, rx_served_each_fn *each, void *data);

// Sums over all workers; closed is by enum rx_reason.
struct rx_served_sum {
    unsigned long active;
    unsigned long closed[RX_REASON_COUNT];
    unsigned long bytes[2];
};
struct rx_served_sum rx_served_sum(const struct rx_served *t);

static inline void rx_cell_add(atomic_ulong *counter, unsigned long n)
{
    // One writer: no locked instruction needed.
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

// How long things take, in buckets that each hold what is above the last bound. One writer.
#define RX_HISTOGRAM_BOUNDS_MS(X)                                                                              \
    X(5) X(10) X(25) X(50) X(100) X(250) X(500) X(1000) X(2500) X(5000) X(10000) X(60000) X(600000) X(3600000)
enum {
#define X(ms) +1
    RX_HISTOGRAM_BUCKETS = 1 RX_HISTOGRAM_BOUNDS_MS(X) // and one for all above
#undef X
};

struct rx_histogram {
    atomic_ulong buckets[RX_HISTOGRAM_BUCKETS];
    atomic_ulong sum_ms;
};

extern const uint32_t rx_histogram_bounds_ms[RX_HISTOGRAM_BUCKETS - 1];

static inline void rx_histogram_add(struct rx_histogram *h, uint64_t ms)
{
    unsigned i = 0;
    while (i < RX_HISTOGRAM_BUCKETS - 1 && ms > rx_histogram_bounds_ms[i])
        i++;
    rx_cell_add(&h->buckets[i], 1);
    rx_cell_add(&h->sum_ms, ms);
}
