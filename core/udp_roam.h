// SPDX-License-Identifier: MIT
// Ids by which a conversation is known wherever its client speaks from: a QUIC server's connection id, a WireGuard
// server's index, an OpenVPN server's number for its client, an OpenVPN client's session. Pure functions over one datagram.
#pragma once

#include "addr.h"
#include "hash.h"

enum { RX_ROAM_ID_MAX = 20, RX_ROAM_QUIC_MIN = 4 }; // shorter QUIC ids many servers share

enum rx_roam_kind { RX_ROAM_NONE, RX_ROAM_QUIC, RX_ROAM_WIREGUARD, RX_ROAM_OPENVPN };

struct rx_roam_id {
    uint8_t kind, len; // kind: enum rx_roam_kind
    uint8_t bytes[RX_ROAM_ID_MAX];
};

// What a server says its clients shall call it; false when this datagram does not tell.
bool rx_roam_told(enum rx_roam_kind kind, const uint8_t *p, uint32_t n, struct rx_roam_id *id);
// What a client says it shall be called itself, in its first datagram.
bool rx_roam_introduced(enum rx_roam_kind kind, const uint8_t *p, uint32_t n, struct rx_roam_id *id);
// What a client calls its server, or itself, in a datagram from the middle of a conversation. How long a QUIC id is a short
// header does not tell: `len` is tried then; 0: only what the datagram says in full. False: no such datagram.
bool rx_roam_said(enum rx_roam_kind kind, const uint8_t *p, uint32_t n, uint32_t len, struct rx_roam_id *id);
// Of an id at one of our addresses.
uint64_t rx_roam_hash(const struct rx_hash_key *key, const union rx_ip *at, const struct rx_roam_id *id);
