// SPDX-License-Identifier: MIT
// How many connections a route has now. The count belongs to the listener and the route's name, not to a
// generation, so that a reload forgets nobody who is inside.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base.h"
#include "rate.h"

// All of an instance.
enum { RX_LIVE_BUCKETS = 4096 };
struct rx_lives {
    pthread_mutex_t lock;
    struct rx_live *buckets[RX_LIVE_BUCKETS];
};

// The count of a route, made on first use; NULL: out of memory. A generation that has several routes of one name in
// one listener gets a count for each, in their order; `generation` tells such ones apart.
atomic_uint *rx_live_get(struct rx_lives *in, const char *listen, const char *route, uint64_t generation);
struct rx_meter *rx_live_meters(atomic_uint *count); // the route's bytes in each direction: two of them
void rx_live_put(atomic_uint *count); // NULL is fine
