// SPDX-License-Identifier: MIT
// Jobs the engine gives to workers: each runs on its worker's own thread, between two turns of the loop, where that
// worker's connections may be read and closed without a lock. Then it comes back.
#pragma once

#include <ev.h>
#include <stdatomic.h>

#include "base.h"

struct rx_worker;
struct rx_errand;

// The engine's end.
struct rx_errands {
    struct ev_loop *loop; // borrowed: the engine's
    ev_async back;
    _Atomic(struct rx_errand *) returned;
};

// Part of a larger struct of the sender's, which it keeps until `done` was called or the workers have been joined.
struct rx_errand {
    struct rx_errand *next;
    struct rx_errands *home;
    void (*run)(struct rx_errand *e, struct rx_worker *w); // on the worker's thread; may close connections
    void (*done)(struct rx_errand *e);                     // on the engine's; may free e
};

void rx_errands_init(struct rx_errands *home, struct ev_loop *loop);
void rx_errands_fini(struct rx_errands *home);
// home, run and done are set; from the engine's thread.
void rx_errand_send(struct rx_errand *e, struct rx_worker *w);
// For worker.c: runs what has come.
void rx_errand_run(struct rx_worker *w);
