// SPDX-License-Identifier: MIT
// Enters: the first datagram of a UDP flow. Leaves: whether it is an NTP request (RFC 5905 7.3): version 1 to 4, mode
// client or symmetric active, a header of 48 bytes that a client can have sent, behind it extension fields or a MAC.
// ntpq's control messages (mode 6, RFC 9327) are NTP as well.
//
// Deliberately not done: answers and broadcasts (modes 2, 4, 5), private mode 7.
#include "list.h"
#include "wire.h"

enum { HEADER = 48, SYMMETRIC = 1, CLIENT = 3, CONTROL = 6, CONTROL_HEADER = 12, MAC_MAX = 68, FIELD_MIN = 16 };

// RFC 7822 7.5: what stands behind the header is a MAC of 4, 20, 24 or more bytes, or extension fields and then one.
static bool is_tail(const uint8_t *p, uint32_t n)
{
    while (n > MAC_MAX) {
        uint32_t len = wire_be16(p + 2);
        if (len < FIELD_MIN || len % 4 || len > n)
            return false;
        p += len;
        n -= len;
    }
    return n % 4 == 0;
}

// RFC 9327 2: response, error and more bits clear, an opcode that exists, a count that fits
static bool is_control(const uint8_t *p, uint32_t n)
{
    if (n < CONTROL_HEADER)
        return false;
    uint32_t opcode = p[1] & 0x1f, count = wire_be16(p + 10);
    return !(p[1] & 0xe0) && (opcode <= 12 || opcode == 31) && CONTROL_HEADER + count <= n &&
           n <= CONTROL_HEADER + count + 3 + 24 && wire_be16(p + 8) == 0;
}

static enum rx_verdict datagram(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    n = rx_first_gram(f, n);
    if (!n)
        return wire_no(f);
    uint32_t version = p[0] >> 3 & 7, mode = p[0] & 7;
    if (version < 1 || version > 4)
        return wire_no(f);
    if (mode == CONTROL)
        return version >= 2 && is_control(p, n) ? wire_match(f, 0) : wire_no(f);
    if ((mode != CLIENT && mode != SYMMETRIC) || n < HEADER || !is_tail(p + HEADER, n - HEADER))
        return wire_no(f);
    // Stratum 0 to 16; a poll interval of 2^17 s at most (or none), a precision between 2^-64 and 2 s.
    int8_t poll = (int8_t)p[2], precision = (int8_t)p[3];
    if (p[1] > 16 || poll < 0 || poll > 17 || precision > 1 || precision < -64)
        return wire_no(f);
    return wire_match(f, 0);
}

const struct rx_proto rx_proto_ntp = {
    .name = "ntp",
    .transport = RX_UDP,
    .datagram = datagram,
    .first_udp = "\x08\x27\x48\x67\x88\xa7\xc8\xe7", // any leap indicator, versions 1 to 4
    .first_udp_len = 8,
};
