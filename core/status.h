// SPDX-License-Identifier: MIT
// What the running program says of itself: docs/reference/status.md has every member.
#pragma once

#include "json.h"
#include "reload.h"
#include "worker.h"

struct rx_upgrade;

// The running program, as the engine thread sees it.
struct rx_instance {
    struct rx_home *home;       // borrowed: the engine's
    struct rx_reload *reload;   // borrowed, as are the next two: the engine's
    struct rx_worker *workers;
    const atomic_uint *active;  // connections of all workers
    const atomic_uint *sessions; // the UDP flows among them
    unsigned n_workers;
    uint64_t start_ms;          // rx_now_ms
    struct rx_upgrade *upgrade; // the engine's
};

// One object. The engine thread's: it reads the config and counters, and waits for nobody.
void rx_status_json(struct rx_json *j, const struct rx_instance *i);
// Members of an object: counts since the start, of all workers.
void rx_status_totals(struct rx_json *j, const struct rx_instance *i);
