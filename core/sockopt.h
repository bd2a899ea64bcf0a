// SPDX-License-Identifier: MIT
// Options of sockets to backends, as a pool has them, and of listening sockets.
#pragma once

#include "addr.h"

enum { RX_BACKLOG = 65535 }; // the kernel caps it at net.core.somaxconn

struct rx_sockopt {
    uint32_t keepalive_s;     // 0: no keepalive
    uint32_t user_timeout_ms; // 0: the system's
    uint32_t mark;            // 0: none
    const char *congestion, *interface; // NULL: the system's
};

// Of a listening socket; what is common is inherited by the connections it accepts.
struct rx_door_opt {
    struct rx_sockopt common;
    uint32_t backlog;   // 0: as many as the system allows
    uint32_t fast_open; // how many may be on their way in with data in their SYN; 0: none
};

// Sets them on a fresh socket of this family; those of TCP alone are left out where `is_udp`. 0, or -1 with errno and
// in *what the option's name.
int rx_sockopt_set(int fd, int family, bool is_udp, const struct rx_sockopt *o, const char **what);
// The same for a listening socket that is bound, and listens from now on.
int rx_sockopt_listen(int fd, const struct rx_door_opt *o, const char **what);
// What an edit changed, on a socket that serves: what is not asked for any more goes back to what the system has, where that
// can be told.
int rx_sockopt_change(int fd, int family, bool is_udp, const struct rx_door_opt *o, const char **what);
bool rx_sockopt_is_same(const struct rx_door_opt *a, const struct rx_door_opt *b);
// Makes it leave from somebody else's address, any port. 0, or -1 with errno.
int rx_sockopt_bind_as(int fd, const union rx_ip *ip);
// What an errno of the above asks for, to be printed behind it; "" when nothing is known.
const char *rx_sockopt_hint(int err);
