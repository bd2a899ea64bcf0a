// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection. Leaves: whether they are a SOCKS 4 or 4a request (the SOCKS4
// protocol memo by Ying-Da Lee, and its 4a extension), its user id and 4a's host name.
//
// Invariants: MATCH needs the eight fixed bytes and the user id with its NUL, which has to come within 255
// bytes and be free of controls. `host` exists only for addresses 0.0.0.x, x not 0 (4a), and is pending until
// its own NUL; a name that is none leaves it absent.
//
// Deliberately not done: judging port and address. OpenFlow 1.3 starts with 04 too, but its hello goes on
// with 00, and Cassandra's version 4 has a zero there as well.
#include "list.h"
#include "wire.h"

enum {
    FIXED = 8, // version, command, port, address
    USER_MAX = 255,
    HOST_MAX = 255,
};

static enum rx_verdict host_4a(const uint8_t *p, uint32_t n, uint32_t at, uint32_t have, struct rx_facts *f)
{
    uint32_t end = at;
    while (end < n && p[end] > ' ' && p[end] < 0x7f && end - at <= HOST_MAX)
        end++;
    if (end == n && end - at <= HOST_MAX)
        return wire_pending(f, have, RX_FACT_HOST, 0);
    if (end == at || end - at > HOST_MAX || p[end] != 0)
        return wire_match(f, have);
    f->host = (struct rx_text){ p + at, end - at };
    return wire_match(f, have | RX_FACT_HOST);
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    if ((n > 0 && p[0] != 4) || (n > 1 && p[1] != 1 && p[1] != 2))
        return wire_no(f);
    if (n <= FIXED)
        return wire_more(f, n < 2 ? 0 : FIXED + 1);
    uint32_t end = FIXED, most = RX_MIN(n, FIXED + (uint32_t)USER_MAX + 1);
    while (end < most && wire_is_text(p[end]))
        end++;
    if (end == n && end < FIXED + USER_MAX + 1)
        return wire_more(f, 0);
    if (end == FIXED + USER_MAX + 1)
        return wire_broken(f);
    if (p[end] != 0)
        return wire_no(f);
    uint32_t have = 0;
    if (end > FIXED) {
        f->user = (struct rx_text){ p + FIXED, end - FIXED };
        have = RX_FACT_USER;
    }
    bool is_4a = p[4] == 0 && p[5] == 0 && p[6] == 0 && p[7] != 0;
    if (is_4a && f->want & RX_FACT_HOST)
        return host_4a(p, n, end + 1, have, f);
    return wire_match(f, have);
}

const struct rx_proto rx_proto_socks4 = {
    .name = "socks4",
    .transport = RX_TCP,
    .identify = identify,
    .first = "\x04\x04",
    .first_len = 2,
    .facts = RX_FACT_USER | RX_FACT_HOST,
};
