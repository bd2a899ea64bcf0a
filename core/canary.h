// SPDX-License-Identifier: MIT
// A new generation on trial: it gets a share of new connections, and is compared with the old one on the rest.
#pragma once

#include <stdatomic.h>

#include "base.h"

enum rx_measure {
    RX_MEASURE_SCRIPT,       // of connections: errors of functions of the config
    RX_MEASURE_UNIDENTIFIED, // of decided connections: those no route took
    RX_MEASURE_CONNECT,      // of attempts to connect to a backend: those that failed
    RX_MEASURES
};

// Of one generation in one worker, which alone writes it.
struct rx_tally {
    atomic_ulong tried[RX_MEASURES], failed[RX_MEASURES];
};

// The sums.
struct rx_counts {
    uint64_t tried[RX_MEASURES], failed[RX_MEASURES];
};

void rx_counts_add(struct rx_counts *sum, const struct rx_tally *t);
// Whether the trial fails more often in some measure than chance explains; then *text says in which. Pure.
bool rx_canary_is_worse(const struct rx_counts *old, const struct rx_counts *trial, char *text, size_t size);
