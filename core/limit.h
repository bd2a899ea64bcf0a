// SPDX-License-Identifier: MIT
// How many connections each client address has: bounded by the number of live connections, whoever they are.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "addr.h"
#include "rate.h"

struct rx_limit;

struct rx_limit *rx_limit_new(uint32_t per_ip, uint32_t ipv6_prefix);
void rx_limit_free(struct rx_limit *l);
// Counts one more for this address and says where, in *place; false when it has `per_ip` already (then nothing is
// counted). A client without an address (unix socket) always may, and so may one when memory has run out: *place is 0.
// From any thread, as the next two.
bool rx_limit_take(struct rx_limit *l, const union rx_ip *ip, uint32_t *place);
void rx_limit_give(struct rx_limit *l, uint32_t place); // what take has counted; 0: nothing
// Another limit from now on; who is above it already may stay.
void rx_limit_set(struct rx_limit *l, uint32_t per_ip);
size_t rx_limit_memory(const struct rx_limit *l); // bytes

// The door of a listener: its live counts. They belong to its address, not to a generation, so that a reload
// forgets nobody who is inside.
struct rx_gate {
    atomic_uint active, pending;
    struct rx_limit *per_ip; // owned
    atomic_uint sessions; // UDP
    struct rx_limit *sessions_per_ip; // owned
    struct rx_meter meter;            // of new connections
    struct rx_rates *rates;           // owned; the same of each address; NULL until somebody asks for it
};

// All of an instance.
struct rx_gates {
    pthread_mutex_t lock;
    struct rx_gate_node *first;
};

// The gate of the listener with this name (its first address) and prefix, made on first use; NULL: out of memory.
struct rx_gate *rx_gate_get(struct rx_gates *in, const char *name, uint32_t ipv6_prefix);
// Its rates, made on first use; NULL: out of memory. While a config is built.
struct rx_rates *rx_gate_rates(struct rx_gate *g);
void rx_gate_put(struct rx_gate *g);
