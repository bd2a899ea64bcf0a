// SPDX-License-Identifier: MIT
// A thread that notices a worker whose loop does not turn, says so and what it runs, and says when it goes on.
#pragma once

#include <stdatomic.h>

#include "base.h"

struct rx_fn;

// One worker's sign of life, written by it alone.
struct rx_pulse {
    atomic_uint turn;                // counted up when the loop falls asleep (then it is odd) and when it wakes
    atomic_uint limit_ms;            // awake for longer than this without a turn: stuck
    _Atomic(const struct rx_fn *) fn; // the function of the config it runs (script.c); NULL: none
};

static inline void rx_pulse_beat(struct rx_pulse *p)
{
    // One writer: no locked instruction needed.
    atomic_store_explicit(&p->turn, atomic_load_explicit(&p->turn, memory_order_relaxed) + 1, memory_order_relaxed);
}

// How long a loop may take for one turn where a function may take budget_ms.
uint32_t rx_watchdog_limit_ms(uint32_t budget_ms);

// Watches these until stopped; 0 or negative errno. One at a time in a process. `pulses` is copied, what it points to
// borrowed.
int rx_watchdog_start(struct rx_pulse *const *pulses, unsigned n);
void rx_watchdog_stop(void);

// From any thread. True while no worker is stuck, and without a watchdog.
bool rx_watchdog_is_healthy(void);
unsigned long rx_watchdog_stalls(void); // how often a worker was, since start
