// SPDX-License-Identifier: MIT
// A question about connections to every worker: an errand goes to each, and the answer is there when the last has come
// back. The engine thread's.
#pragma once

#include "errand.h"
#include "flow.h"
#include "status.h"

struct rx_round {
    struct rx_round *next, *prev;
    struct rx_rounds *home;
    struct rx_flow_query query;
    uint64_t conn; // to be ended, where is_kill
    bool is_kill;
    void (*done)(struct rx_round *r); // NULL: nobody waits any more
    void *asker;                      // borrowed, for `done`
    unsigned n_left, n_trips;
    struct rx_trip {
        struct rx_errand errand;
        struct rx_round *round;
        struct rx_flows flows;
        bool is_found;
    } trips[];
};

// Part of whoever asks.
struct rx_rounds {
    struct rx_errands errands;
    const struct rx_instance *about; // borrowed
    struct rx_round list;            // head of those under way
};

void rx_rounds_init(struct rx_rounds *home, struct ev_loop *loop, const struct rx_instance *about);
// After the workers were joined. Nobody's `done` is called.
void rx_rounds_fini(struct rx_rounds *home);

// Asks for connections, or with q NULL ends one. `done` is called once, then the round is gone. NULL: out of memory.
struct rx_round *rx_round_send(struct rx_rounds *home, const struct rx_flow_query *q, uint64_t conn,
                               void (*done)(struct rx_round *r), void *asker);
// For `done`: whether a worker had the connection; the connections, as one object (docs/reference/admin.md, `top`).
bool rx_round_has_killed(const struct rx_round *r);
void rx_round_json(const struct rx_round *r, struct rx_json *j);
