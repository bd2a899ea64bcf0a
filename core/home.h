// SPDX-License-Identifier: MIT
// Where an instance lives: all it knows that outlives a generation. Two of them in one process share nothing but what
// docs/decisions/0016-instances.md lists. A generation has a pointer to its home (conf->home), and so has a pool;
// whatever is found there holds one to where it was found.
#pragma once

#include "backend.h"
#include "base.h"
#include "limit.h"
#include "live.h"
#include "metric.h"
#include "served.h"
#include "sink.h"
#include "store.h"

struct rx_recorder; // record.h

struct rx_home {
    atomic_ullong last_id; // of generations
    struct rx_backends backends;
    struct rx_gates gates;
    struct rx_lives lives;
    struct rx_metrics metrics;
    struct rx_serveds serveds;
    struct rx_sinks sinks;
    struct rx_stores stores;
    struct rx_recorder *recorder; // owned
};

struct rx_home *rx_home_new(void); // NULL: out of memory
// Every generation has gone, and every thread that served one.
void rx_home_free(struct rx_home *h);
