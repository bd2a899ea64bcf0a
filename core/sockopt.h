// SPDX-License-Identifier: MIT
// Options of sockets to backends, as a pool has them.
#pragma once

#include "addr.h"

struct rx_sockopt {
    uint32_t keepalive_s;     // 0: no keepalive
    uint32_t user_timeout_ms; // 0: the system's
    uint32_t mark;            // 0: none
    const char *congestion, *interface; // NULL: the system's
};

// Sets them on a fresh socket of this family; those of TCP alone are left out where `is_udp`. 0, or -1 with errno and
// in *what the option's name.
int rx_sockopt_set(int fd, int family, bool is_udp, const struct rx_sockopt *o, const char **what);
// Makes it leave from somebody else's address, any port. 0, or -1 with errno.
int rx_sockopt_bind_as(int fd, const union rx_ip *ip);
// What an errno of the above asks for, to be printed behind it; "" when nothing is known.
const char *rx_sockopt_hint(int err);
