// SPDX-License-Identifier: MIT
// Enters: the first datagram of a UDP flow. Leaves: whether it is a STUN message (RFC 8489 5): two zero bits, a length
// that is a multiple of four and fills the datagram, the magic cookie, and attributes that fill the length.
// Without the cookie (RFC 3489) only a Binding Request of that time is taken: its attributes must fill it as well.
//
// Deliberately not done: FINGERPRINT's checksum; TURN's ChannelData, which never comes first.
#include "list.h"
#include "wire.h"

enum { HEADER = 20, COOKIE = 0x2112a442, BINDING_REQUEST = 1 };

// RFC 8489 14: type, length, value padded to four bytes
static bool has_attributes(const uint8_t *p, uint32_t n)
{
    for (uint32_t at = HEADER; at < n;) {
        if (n - at < 4)
            return false;
        uint32_t len = (wire_be16(p + at + 2) + 3u) & ~3u;
        if (len > n - at - 4)
            return false;
        at += 4 + len;
    }
    return true;
}

static enum rx_verdict datagram(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    n = rx_first_gram(f, n);
    if (n < HEADER || p[0] & 0xc0)
        return wire_no(f);
    uint32_t len = wire_be16(p + 2);
    bool has_cookie = wire_be32(p + 4) == COOKIE;
    if (!has_cookie && (wire_be16(p) != BINDING_REQUEST || (wire_be64(p + 4) | wire_be64(p + 12)) == 0))
        return wire_no(f);
    if (len % 4 || len != n - HEADER || !has_attributes(p, n))
        return has_cookie ? wire_broken(f) : wire_no(f);
    return wire_match(f, 0);
}

const struct rx_proto rx_proto_stun = {
    .name = "stun",
    .transport = RX_UDP,
    .datagram = datagram,
    .first_udp = "\x00\x3f",
    .first_udp_len = 2,
};
