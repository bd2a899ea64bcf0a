// SPDX-License-Identifier: MIT
// What is known of a backend address at run time. One state per address, whichever pools and generations name it.
#pragma once

#include "conf.h"

// The state for this address, created on first use; NULL when out of memory. Put it back when done.
struct rx_backend_state *rx_backend_state_get(const struct rx_addr *addr);
void rx_backend_state_put(struct rx_backend_state *s);
