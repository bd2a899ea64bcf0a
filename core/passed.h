// SPDX-License-Identifier: MIT
// Sockets that were there when the program started: those a service manager opened for it and named
// (sd_listen_fds(3): LISTEN_FDS, LISTEN_FDNAMES). They stay open for the life of the process, so that a reload may
// stop serving one and a later one serve it again.
#pragma once

#include "addr.h"
#include "sockopt.h"

struct rx_passed {
    const char *name;
    int fd;
    struct rx_addr addr; // what it is bound to
    bool is_udp;
};

// Once, before any thread runs and before a config is loaded.
void rx_passed_take(void);
// All of them, one after the other; NULL past the end.
const struct rx_passed *rx_passed_at(unsigned i);
// What tells a program that takes our place of them, when it has them under the same numbers: for its environment, to be
// freed; NULL: there are none.
char *rx_passed_on(void);
// The nth socket of that name; NULL: there are no more.
const struct rx_passed *rx_passed_find(const char *name, unsigned nth);
// Makes it serve, with these options (NULL: none). fds[0 .. n-1]: one for each worker, -1 where that one gets none. 0, or negative errno.
int rx_passed_open(const struct rx_passed *h, const struct rx_door_opt *opt, int *fds, unsigned n);
