// SPDX-License-Identifier: MIT
// A c-ares channel on a loop. One thread's.
#pragma once

#include <ares.h>
#include <ev.h>

#include "base.h"

struct rx_asker {
    struct ev_loop *loop;    // borrowed: outlives us
    ares_channel channel;    // owned; NULL: closed, or none could be had
    char *servers;           // owned: what the channel asks; NULL: what the system says
    struct watched *watched; // owned
    ev_timer tick;           // c-ares' time-outs
};

void rx_asker_init(struct rx_asker *k, struct ev_loop *loop);
void rx_asker_fini(struct rx_asker *k);
// Other servers ("1.2.3.4:53,..."; NULL: the system's) close the channel.
void rx_asker_use(struct rx_asker *k, const char *servers);
bool rx_asker_open(struct rx_asker *k);  // false, and said, when there is none
void rx_asker_close(struct rx_asker *k); // answers every question with ARES_EDESTRUCTION
void rx_asker_rearm(struct rx_asker *k); // to be called after questions were asked
