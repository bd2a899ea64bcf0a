// SPDX-License-Identifier: MIT
// Sessions and bans that several nodes share through a Redis. Each decides by what it knows, at once; what it decides is
// told, and what the others decided is heard, a moment later. Without the Redis each goes on alone.
#pragma once

#include <ev.h>

#include "ledger.h"
#include "sync_url.h"

struct rx_conf;
struct rx_sync;

enum { RX_SYNC_NAME_MAX = 63 };

// The engine's loop; NULL: out of memory. At most one.
struct rx_sync *rx_sync_new(struct ev_loop *loop);
// From now on this generation's store and sessions are shared.
void rx_sync_use(struct rx_sync *y, struct rx_conf *conf);
void rx_sync_free(struct rx_sync *y);

// What is told of an identity.
struct rx_sync_said {
    char name[RX_SYNC_NAME_MAX + 1]; // of the sessions
    bool is_left, is_udp, is_last_kept; // is_left: it has no connections here any more
    bool is_forgiven;                   // it is out no longer
    uint64_t window_ms, timeout_ms;
    struct rx_ledger_told seat;
};
void rx_sync_say(const struct rx_sync_said *said); // any thread

struct rx_sync_totals {
    bool is_on, is_up;
    unsigned long told, heard; // calls of the script; news of other nodes
    unsigned long lost;        // what could not be told because too much was waiting
    unsigned long failed;      // calls that were refused, and news that cannot be read
    unsigned long outages;
};
struct rx_sync_totals rx_sync_totals(void);
