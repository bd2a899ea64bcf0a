// SPDX-License-Identifier: MIT
// A socket to a backend, with its pool's options and from where the pool says.
#pragma once

#include "addr.h"

struct rx_pool;

struct rx_dial {
    const struct rx_addr *to;
    const char *name;       // the backend's, for the log
    int type;               // SOCK_STREAM or SOCK_DGRAM
    const union rx_ip *as;  // the client's address to come from (a transparent route), or NULL
    bool is_connected;      // out: at once
    bool is_ours;           // out, when it failed: an option was refused here, nobody was asked
};

// Connected or about to be; -1 with errno.
int rx_dial(const struct rx_pool *pool, struct rx_dial *d);
