// SPDX-License-Identifier: MIT
// Enters: the first datagram of a UDP flow. Leaves: whether it is a WireGuard message (whitepaper 5.4): its type, three
// zero bytes, and the size that type has.
//
//     1 handshake initiation   148
//     2 handshake response      92
//     3 cookie reply            64
//     4 transport data          32 and more, a multiple of 16
//
// A client opens with 1; the others are the first datagrams seen of one that was there before this program, or that roams.
//
// Deliberately not done: the MACs, which need the server's key; variants that scramble the header.
#include "list.h"
#include "wire.h"

enum { INITIATION = 148, RESPONSE = 92, COOKIE = 64, DATA_MIN = 32, DATA_STEP = 16 };

static enum rx_verdict datagram(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    n = rx_first_gram(f, n);
    if (n < DATA_MIN || p[1] || p[2] || p[3])
        return wire_no(f);
    switch (p[0]) {
    case 1:
        return n == INITIATION ? wire_match(f, 0) : wire_no(f);
    case 2:
        return n == RESPONSE ? wire_match(f, 0) : wire_no(f);
    case 3:
        return n == COOKIE ? wire_match(f, 0) : wire_no(f);
    case 4:
        return n % DATA_STEP == 0 ? wire_match(f, 0) : wire_no(f);
    default:
        return wire_no(f);
    }
}

const struct rx_proto rx_proto_wireguard = {
    .name = "wireguard",
    .transport = RX_UDP,
    .datagram = datagram,
    .first_udp = "\x01\x04",
    .first_udp_len = 2,
};
