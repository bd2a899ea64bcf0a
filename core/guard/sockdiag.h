// SPDX-License-Identifier: MIT
// Sockets of this machine, of any program, by who is at their other end. One thread at a time.
#pragma once

#include "addr.h"

enum { RX_PORTS_MAX = 64 };

// Local ports, in ranges.
struct rx_ports {
    uint32_t n;
    struct rx_port_span {
        uint16_t low, high;
    } list[RX_PORTS_MAX];
};

bool rx_ports_has(const struct rx_ports *p, uint16_t port);

// Destroys the TCP connections of these addresses to these ports, IPv4 ones of IPv6 sockets too: both ends are told by a
// reset. How many, or negative errno: -EPERM without CAP_NET_ADMIN, -EOPNOTSUPP by a kernel that cannot.
int rx_sockdiag_kill(const struct rx_cidr *who, size_t n, const struct rx_ports *ports);
// Who has an established TCP connection to these ports and answers there: sorted, each once; *list is the caller's to free. 0 or negative
// errno.
int rx_sockdiag_peers(const struct rx_ports *ports, struct rx_cidr **list, size_t *n);
// Whether one of such a list is within this block.
bool rx_sockdiag_is_among(const struct rx_cidr *block, const struct rx_cidr *list, size_t n);
