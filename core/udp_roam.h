// SPDX-License-Identifier: MIT
// Ids by which a conversation is known wherever its client speaks from: a QUIC server's connection id, a WireGuard
// server's index. Pure functions over one datagram, and the flows of a worker by id.
#pragma once

#include "udp_table.h"

enum { RX_ROAM_ID_MAX = 20, RX_ROAM_ID_MIN = 4 };

enum rx_roam_kind { RX_ROAM_NONE, RX_ROAM_QUIC, RX_ROAM_WIREGUARD };

struct rx_roam_id {
    uint8_t kind, len; // kind: enum rx_roam_kind
    uint8_t bytes[RX_ROAM_ID_MAX];
};

// What a server says its clients shall call it; false when this datagram does not tell.
bool rx_roam_told(enum rx_roam_kind kind, const uint8_t *p, uint32_t n, struct rx_roam_id *id);
// What a client calls its server, in a datagram from the middle of a conversation. How long a QUIC id is the datagram does not
// tell: `len` is tried. False: no such datagram.
bool rx_roam_said(enum rx_roam_kind kind, const uint8_t *p, uint32_t n, uint32_t len, struct rx_roam_id *id);
uint64_t rx_roam_hash(const struct rx_udp_table *t, const void *socket, const struct rx_roam_id *id);
