// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection. Leaves: whether they are a SOCKS 5 greeting (RFC 1928 3): 05,
// a count, that many authentication methods.
//
// Invariants: MATCH needs all the methods, each one that IANA assigned or left to private use, none named
// twice. That is what tells a greeting from others that open with 05 and a small number: DNP3 (05 64, then a
// length, a control byte and addresses, two of whose four bytes are zero nearly always), DCE/RPC (05 00) and
// Cassandra's version 5 (05, flags, a stream number of zeros).
//
// Deliberately not done: the request behind the greeting; a client sends it after the server's choice, so it
// is not among the bytes that decide.
#include "list.h"
#include "wire.h"

enum {
    ASSIGNED_MAX = 9, // IANA's registry of SOCKS methods: 0 to 9 (4 is free)
    PRIVATE_MIN = 0x80,
    PRIVATE_MAX = 0xfe, // ff is the server's "none of these"
    METHODS_MAX = ASSIGNED_MAX + 1 + PRIVATE_MAX - PRIVATE_MIN + 1,
};

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    if ((n > 0 && p[0] != 5) || (n > 1 && (p[1] == 0 || p[1] > METHODS_MAX)))
        return wire_no(f);
    if (n < 3)
        return wire_more(f, 0);
    uint32_t end = 2 + (uint32_t)p[1], here = RX_MIN(n, end);
    uint64_t seen[4] = { 0 };
    for (uint32_t i = 2; i < here; i++) {
        uint8_t method = p[i];
        uint64_t bit = (uint64_t)1 << (method & 63);
        bool is_method = method <= ASSIGNED_MAX || (method >= PRIVATE_MIN && method <= PRIVATE_MAX);
        if (!is_method || seen[method >> 6] & bit)
            return wire_no(f);
        seen[method >> 6] |= bit;
    }
    return here == end ? wire_match(f, 0) : wire_more(f, 0);
}

const struct rx_proto rx_proto_socks5 = {
    .name = "socks5",
    .transport = RX_TCP,
    .identify = identify,
    .first = "\x05\x05",
    .first_len = 2,
};
