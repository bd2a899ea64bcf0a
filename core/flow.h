// SPDX-License-Identifier: MIT
// The connections of a worker as an operator sees them: the busiest ones, what they do, and ending one.
// Everything here runs on the worker's thread (errand.h) and fills copies.
#pragma once

#include "addr.h"

struct rx_worker;

enum { RX_FLOW_MOST = 500, RX_FLOW_FILTER = 64 };

// X(identifier, word): by what the first are chosen, largest first
#define RX_FLOW_SORTS(X) X(RATE, "rate") X(BYTES, "bytes") X(AGE, "age") X(IDLE, "idle")
enum rx_flow_sort {
#define X(id, word) RX_FLOW_##id,
    RX_FLOW_SORTS(X)
#undef X
};

struct rx_flow_query {
    enum rx_flow_sort sort;
    uint32_t limit;              // at most RX_FLOW_MOST
    char filter[RX_FLOW_FILTER]; // part of the client's address, protocol, route or backend, in any case; "": all
};

struct rx_flow {
    uint64_t id, key; // key: what it was sorted by
    union rx_ip client;
    char protocol[32], route[96], to[96], room[8];
    uint64_t age_ms, idle_ms;
    uint64_t bytes[2]; // by rx_direction, as are the next two
    uint32_t rate[2];  // bytes per second
    bool is_spliced[2];
    uint32_t rtt_us[2]; // by rx_side; 0: unknown
};

struct rx_flows {
    struct rx_flow *list; // owned; room for the query's limit
    uint32_t n;
    uint32_t n_matching, n_living; // seen
    uint64_t took_ns;
};

// Leaves the first ones in out->list, unordered.
void rx_flow_collect(struct rx_worker *w, const struct rx_flow_query *q, struct rx_flows *out);
// Closes the connection with this id; false when this worker has none.
bool rx_flow_kill(struct rx_worker *w, uint64_t id);
