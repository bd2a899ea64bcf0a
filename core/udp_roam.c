// SPDX-License-Identifier: MIT
// Enters: one datagram. Leaves: the id its receiver is known by. Every length is checked against the datagram.
// RFC 9000 17.2, 17.3; the WireGuard paper 5.4.
#include "udp_roam.h"

#include <string.h>

enum {
    LONG = 0x80,
    FIXED = 0x40,
    HEADER = 7,     // a long header with two empty ids
    SHORT_MIN = 21, // RFC 9000 10.3: no packet that can be told from a stateless reset is shorter
    RESPONSE = 92,
    DATA_MIN = 32,
};

static bool put(struct rx_roam_id *id, enum rx_roam_kind kind, const uint8_t *p, uint32_t len)
{
    if (len < RX_ROAM_ID_MIN || len > RX_ROAM_ID_MAX)
        return false;
    *id = (struct rx_roam_id){ .kind = (uint8_t)kind, .len = (uint8_t)len };
    memcpy(id->bytes, p, len);
    return true;
}

static bool is_wireguard(const uint8_t *p, uint32_t n, uint8_t type, uint32_t least)
{
    return n >= least && p[0] == type && !p[1] && !p[2] && !p[3];
}

bool rx_roam_told(enum rx_roam_kind kind, const uint8_t *p, uint32_t n, struct rx_roam_id *id)
{
    if (kind == RX_ROAM_WIREGUARD)
        return is_wireguard(p, n, 2, RESPONSE) && n == RESPONSE && put(id, kind, p + 4, 4);
    bool is_negotiation = n >= HEADER && !(p[1] | p[2] | p[3] | p[4]); // its ids are the client's own
    if (n < HEADER || !(p[0] & LONG) || is_negotiation)
        return false;
    uint32_t at = 6u + p[5]; // of the source id's length
    return n > at && n - at - 1 >= p[at] && put(id, kind, p + at + 1, p[at]);
}

bool rx_roam_said(enum rx_roam_kind kind, const uint8_t *p, uint32_t n, uint32_t len, struct rx_roam_id *id)
{
    if (kind == RX_ROAM_WIREGUARD)
        return is_wireguard(p, n, 4, DATA_MIN) && n % 16 == 0 && put(id, kind, p + 4, 4);
    return n >= SHORT_MIN && n > len && (p[0] & (LONG | FIXED)) == FIXED && put(id, kind, p + 1, len);
}

uint64_t rx_roam_hash(const struct rx_udp_table *t, const void *socket, const struct rx_roam_id *id)
{
    uint8_t key[sizeof socket + sizeof *id];
    memcpy(key, &socket, sizeof socket);
    memcpy(key + sizeof socket, id, sizeof *id);
    return rx_hash(&t->secret, key, sizeof key);
}
