// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection, or a UDP flow's first datagram. Leaves: whether they are the hard reset
// by which an OpenVPN client opens (OpenVPN's doc_protocol_overview.h, tls-crypt-v2.txt; draft openvpn-wire-protocol): over TCP
// two bytes of length, then
//
//     opcode (5 bits), key id (3 bits, 0) | session id (8) | wrapping | ack count (1, 0) | packet id (4, 0)
//
//     plain        nothing                                               14 bytes
//     tls-auth     HMAC (16 to 64), replay id (4), time (4)              22 + HMAC
//     tls-crypt    replay id (4), time (4), HMAC (32); rest encrypted    54
//     tls-crypt-v2 the same, and the wrapped client key behind it        344 to 1078
//
// Invariants: the length has to be one of these and fit the opcode. Plain and tls-auth match at the end of
// the packet, whose last five bytes are zero; tls-crypt matches at its replay id, which in a fresh session is
// 1 (or 0f000001, by which 2.6 announces early negotiation), and its time. At 54 bytes tls-auth with a HMAC
// of 32 is still possible where that is not so.
//
// Deliberately not done: static keys (--secret), which send nothing recognisable; scrambling patches.
#include "list.h"
#include "wire.h"

enum {
    OP_RESET_V1 = 1 << 3,
    OP_RESET_V2 = 7 << 3,
    OP_RESET_V3 = 10 << 3, // tls-crypt-v2

    FIXED = 2 + 1 + 8, // length, opcode, session id
    TAIL = 5,          // ack count, packet id
    PLAIN = 14,
    REPLAY = 8, // replay id and time
    CRYPT = 54,
    CRYPT_V2_MIN = CRYPT + 290,  // a key without metadata: tag 32, key 256, length 2
    CRYPT_V2_MAX = CRYPT + 1024, // TLS_CRYPT_V2_MAX_WKC_LEN
    REPLAY_MAX = 0xffff,         // some sent before, tolerated
};

// Length of the HMAC in a tls-auth packet of `len` bytes, 0 if it cannot be one: MD5, SHA-1, SHA-224,
// SHA-256, SHA-384, SHA-512 or others of these sizes
static uint32_t hmac_size(uint32_t len)
{
    uint32_t size = len - 1 - 8 - REPLAY - TAIL;
    switch (size) {
    case 16:
    case 20:
    case 28:
    case 32:
    case 48:
    case 64:
        return size;
    default:
        return 0;
    }
}

// Whether what is here of eight bytes can be a fresh session's replay id and time
static bool is_replay(const uint8_t *p, uint32_t here)
{
    if (here > 0 && p[0] != 0 && p[0] != 0x0f)
        return false;
    if (here > 1 && p[1] != 0)
        return false;
    if (here > 3 && (wire_be32(p) & REPLAY_MAX) == 0)
        return false;
    return here < REPLAY || wire_be32(p + 4) != 0;
}

// Whether what is here of the last five bytes is zero
static bool is_tail(const uint8_t *p, uint32_t here)
{
    for (uint32_t i = 0; i < here; i++)
        if (p[i])
            return false;
    return true;
}

static uint32_t behind(uint32_t n, uint32_t at, uint32_t most)
{
    return n <= at ? 0 : RX_MIN(n - at, most);
}

static bool is_length(uint32_t len)
{
    return len == PLAIN || (len >= CRYPT_V2_MIN && len <= CRYPT_V2_MAX) || hmac_size(len);
}

// Fewer than three bytes
static enum rx_verdict short_input(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    if ((n > 0 && p[0] > CRYPT_V2_MAX >> 8) || (n > 1 && !is_length(wire_be16(p))))
        return wire_no(f);
    return wire_more(f, 0);
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    if (RX_UNLIKELY(n < 3))
        return short_input(p, n, f);
    uint32_t len = wire_be16(p), opcode = p[2];
    bool is_v3 = opcode == OP_RESET_V3;
    if ((!is_v3 && opcode != OP_RESET_V2 && opcode != OP_RESET_V1) || !is_length(len) ||
        is_v3 != (len >= CRYPT_V2_MIN))
        return wire_no(f);
    if (n <= FIXED)
        return wire_more(f, FIXED + 1);
    if (len == PLAIN) {
        if (!is_tail(p + FIXED, behind(n, FIXED, TAIL)))
            return wire_broken(f);
        return n < 2 + PLAIN ? wire_more(f, 0) : wire_match(f, 0);
    }
    if (is_v3 || len == CRYPT) {
        uint32_t here = behind(n, FIXED, REPLAY);
        if (is_replay(p + FIXED, here))
            return here < REPLAY ? wire_more(f, 0) : wire_match(f, 0);
        if (is_v3)
            return wire_broken(f);
    }
    uint32_t replay = FIXED + hmac_size(len), tail = replay + REPLAY;
    if (!is_replay(p + RX_MIN(replay, n), behind(n, replay, REPLAY)) ||
        !is_tail(p + RX_MIN(tail, n), behind(n, tail, TAIL)))
        return wire_broken(f);
    if (n < 2 + len)
        return wire_more(f, n <= replay ? replay + 1 : 0);
    return wire_match(f, 0);
}

// The same packet without the two bytes of length, which over UDP is the datagram's own.
static enum rx_verdict datagram(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    uint8_t head[2 + CRYPT_V2_MAX];
    n = rx_first_gram(f, n);
    if (n < PLAIN || n > CRYPT_V2_MAX)
        return wire_no(f);
    head[0] = (uint8_t)(n >> 8);
    head[1] = (uint8_t)n;
    memcpy(head + 2, p, n);
    return identify(head, n + 2, f) == RX_MATCH ? RX_MATCH : wire_no(f);
}

const struct rx_proto rx_proto_openvpn = {
    .name = "openvpn",
    .transport = RX_BOTH,
    .identify = identify,
    .datagram = datagram,
    .first_udp = "\x08\x08\x38\x38\x50\x50",
    .first_udp_len = 6,
    .first = "\x00\x04",
    .first_len = 2,
};
