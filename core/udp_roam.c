// SPDX-License-Identifier: MIT
// Enters: one datagram. Leaves: the id its receiver, or its sender, is known by. Every length is checked against the datagram.
// RFC 8999 5.1, RFC 9000 17.2, 17.3 (the fixed bit says nothing: RFC 9287 lets peers vary it); the WireGuard paper 5.4; OpenVPN's ssl_pkt.h (opcode and key id in the first byte).
#include "udp_roam.h"

#include <string.h>

enum {
    LONG = 0x80,
    HEADER = 7,     // a long header with two empty ids
    SHORT_MIN = 21, // RFC 9000 10.3: no packet that can be told from a stateless reset is shorter
};

enum { INITIATION = 148, RESPONSE = 92, COOKIE = 64, DATA_MIN = 32 }; // WireGuard's messages, by size

enum {
    OPENVPN_SOFT_RESET = 3,
    OPENVPN_CONTROL = 4,
    OPENVPN_ACK = 5,
    OPENVPN_RESET_V2 = 7,
    OPENVPN_DATA_V2 = 9,
    OPENVPN_RESET_V3 = 10,
    SESSION = 8,      // bytes, behind the opcode
    PEER = 3,         // the same
    CONTROL_MIN = 14, // opcode, session, an empty list of acknowledgements, a packet id
    DATA_V2_MIN = 24, // opcode and peer, packet id, tag
};

static bool put(struct rx_roam_id *id, enum rx_roam_kind kind, const uint8_t *p, uint32_t len)
{
    if (len > RX_ROAM_ID_MAX)
        return false;
    *id = (struct rx_roam_id){ .kind = (uint8_t)kind, .len = (uint8_t)len };
    memcpy(id->bytes, p, len);
    return true;
}

// ---- QUIC -----------------------------------------------------------------------------------------------------------

static bool is_long(const uint8_t *p, uint32_t n)
{
    bool is_negotiation = n >= HEADER && !(p[1] | p[2] | p[3] | p[4]); // its ids are the client's own
    return n >= HEADER && p[0] & LONG && !is_negotiation;
}

static bool put_quic(struct rx_roam_id *id, const uint8_t *p, uint32_t len)
{
    return len >= RX_ROAM_QUIC_MIN && put(id, RX_ROAM_QUIC, p, len);
}

static bool quic_told(const uint8_t *p, uint32_t n, struct rx_roam_id *id)
{
    if (!is_long(p, n))
        return false;
    uint32_t at = 6u + p[5]; // of the source id's length
    return n > at && n - at - 1 >= p[at] && put_quic(id, p + at + 1, p[at]);
}

static bool quic_said(const uint8_t *p, uint32_t n, uint32_t len, struct rx_roam_id *id)
{
    if (!len)
        return is_long(p, n) && n - 6 >= p[5] && put_quic(id, p + 6, p[5]);
    return n >= SHORT_MIN && n > len && !(p[0] & LONG) && put_quic(id, p + 1, len);
}

// ---- WireGuard ------------------------------------------------------------------------------------------------------

static uint8_t wireguard_type(const uint8_t *p, uint32_t n)
{
    return n >= DATA_MIN && !p[1] && !p[2] && !p[3] ? p[0] : 0;
}

// Either side may be the one that begins a handshake.
static bool wireguard_told(const uint8_t *p, uint32_t n, struct rx_roam_id *id)
{
    uint8_t type = wireguard_type(p, n);
    bool is_sender = (type == 1 && n == INITIATION) || (type == 2 && n == RESPONSE);
    return is_sender && put(id, RX_ROAM_WIREGUARD, p + 4, 4);
}

static bool wireguard_said(const uint8_t *p, uint32_t n, struct rx_roam_id *id)
{
    uint8_t type = wireguard_type(p, n);
    if (type == 2 && n == RESPONSE)
        return put(id, RX_ROAM_WIREGUARD, p + 8, 4);
    bool is_receiver = (type == 3 && n == COOKIE) || (type == 4 && n % 16 == 0);
    return is_receiver && put(id, RX_ROAM_WIREGUARD, p + 4, 4);
}

// ---- OpenVPN --------------------------------------------------------------------------------------------------------

static bool openvpn_session(const uint8_t *p, uint32_t n, struct rx_roam_id *id)
{
    return n >= CONTROL_MIN && put(id, RX_ROAM_OPENVPN, p + 1, SESSION);
}

static bool openvpn_peer(const uint8_t *p, uint32_t n, struct rx_roam_id *id)
{
    bool is_unset = n >= DATA_V2_MIN && (p[1] & p[2] & p[3]) == 0xff;
    return n >= DATA_V2_MIN && p[0] >> 3 == OPENVPN_DATA_V2 && !is_unset && put(id, RX_ROAM_OPENVPN, p + 1, PEER);
}

static bool openvpn_introduced(const uint8_t *p, uint32_t n, struct rx_roam_id *id)
{
    unsigned opcode = n ? p[0] >> 3 : 0;
    return (opcode == OPENVPN_RESET_V2 || opcode == OPENVPN_RESET_V3) && openvpn_session(p, n, id);
}

static bool openvpn_said(const uint8_t *p, uint32_t n, struct rx_roam_id *id)
{
    switch (n ? p[0] >> 3 : 0) {
    case OPENVPN_SOFT_RESET:
    case OPENVPN_CONTROL:
    case OPENVPN_ACK:
        return openvpn_session(p, n, id);
    default:
        return openvpn_peer(p, n, id);
    }
}

// ---- all of them ----------------------------------------------------------------------------------------------------

bool rx_roam_told(enum rx_roam_kind kind, const uint8_t *p, uint32_t n, struct rx_roam_id *id)
{
    switch (kind) {
    case RX_ROAM_QUIC:
        return quic_told(p, n, id);
    case RX_ROAM_WIREGUARD:
        return wireguard_told(p, n, id);
    case RX_ROAM_OPENVPN:
        return openvpn_peer(p, n, id);
    case RX_ROAM_NONE:
        break;
    }
    return false;
}

bool rx_roam_introduced(enum rx_roam_kind kind, const uint8_t *p, uint32_t n, struct rx_roam_id *id)
{
    return kind == RX_ROAM_OPENVPN && openvpn_introduced(p, n, id);
}

bool rx_roam_said(enum rx_roam_kind kind, const uint8_t *p, uint32_t n, uint32_t len, struct rx_roam_id *id)
{
    switch (kind) {
    case RX_ROAM_QUIC:
        return quic_said(p, n, len, id);
    case RX_ROAM_WIREGUARD:
        return wireguard_said(p, n, id);
    case RX_ROAM_OPENVPN:
        return openvpn_said(p, n, id);
    case RX_ROAM_NONE:
        break;
    }
    return false;
}

uint64_t rx_roam_hash(const struct rx_hash_key *key, const union rx_ip *at, const struct rx_roam_id *id)
{
    uint8_t bytes[sizeof *at + sizeof *id];
    memcpy(bytes, at, sizeof *at);
    memcpy(bytes + sizeof *at, id, sizeof *id);
    return rx_hash(key, bytes, sizeof bytes);
}
