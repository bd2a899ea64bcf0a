// SPDX-License-Identifier: MIT
// Listening sockets: opened by the engine, handed to workers.
#pragma once

#include "conf.h"

// Opens the sockets of one address, one per worker in fds[n] (a unix socket once, duplicated). 0, or negative errno.
// All share the address by SO_REUSEPORT, yet one that another process holds is refused. *bound: the real address.
int rx_bind_open(struct rx_bind *bind, int *fds, unsigned n, struct rx_addr *bound);
// Removes the socket file of a unix address, if it is still the one rx_bind_open made.
void rx_bind_unlink(const struct rx_bind *bind);
