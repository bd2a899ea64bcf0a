// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection. Leaves: whether they are the X.224 Connection Request a Remote
// Desktop client opens with (MS-RDPBCGR 2.2.1.1), and the name in its cookie (mstshash) as `user`.
//
//     TPKT: 03 00 length (2) | LI | E0 | destination 0 (2) | source (2) | class 0 | then one or more of
//     routing token or "Cookie: …" CR LF, RDP_NEG_REQ (8), correlation info (36)
//
// Invariants: the length indicator is the TPKT's length less five, so at most 259 bytes are a request.
// Siemens' S7 and other ISO transport (RFC 1006) open with the same eleven bytes and go on with parameters
// (c0, c1, c2), which MS-RDPBCGR 3.2.5.3.1 forbids here: what follows must be a cookie, a token or a
// negotiation request, or nothing, as from clients before 5.2. `user` is pending until the CR LF of the
// cookie or the end of the packet.
//
// Deliberately not done: what follows the cookie.
#include "list.h"
#include "wire.h"

enum {
    TPKT = 4,
    CR = 0xe0,
    FIXED = 11,
    LI_MAX = 254, // X.224 13.2.1
    NEG_REQ = 1,
    NEG_REQ_LEN = 8,
};

static const char cookie[] = "Cookie: ";
static const char hash[] = "Cookie: mstshash=";
static const char token[] = "tsv://"; // routing tokens of Terminal Services connection brokers
enum { COOKIE_LEN = sizeof cookie - 1, HASH_LEN = sizeof hash - 1, TOKEN_LEN = sizeof token - 1 };

// The first eleven bytes, or those that are here
static enum rx_verdict fixed(const uint8_t *p, uint32_t n)
{
    uint32_t here = RX_MIN(n, (uint32_t)FIXED);
    for (uint32_t i = 0; i < here; i++) {
        static const uint8_t bytes[FIXED] = { 3, 0, 0, 0, 0, CR, 0, 0, 0, 0, 0 };
        bool is_free = i == 2 || i == 3 || i == 4 || i == 8 || i == 9;
        if (!is_free && p[i] != bytes[i])
            return RX_NO;
    }
    if (n > 2 && p[2] > (LI_MAX + TPKT + 1) >> 8)
        return RX_NO;
    if (n < TPKT)
        return RX_MORE;
    uint32_t len = wire_be16(p + 2);
    if (len < FIXED || len > LI_MAX + TPKT + 1 || (n > TPKT && p[TPKT] != len - TPKT - 1))
        return RX_NO;
    return n < FIXED ? RX_MORE : RX_MATCH;
}

static enum rx_verdict user(const uint8_t *p, uint32_t n, uint32_t len, struct rx_facts *f)
{
    uint32_t most = RX_MIN(n, len), at = FIXED + HASH_LEN;
    if (wire_starts(p + FIXED, most - FIXED, hash, HASH_LEN) == RX_NO)
        return wire_match(f, 0);
    const uint8_t *cr = at < most ? memchr(p + at, '\r', most - at) : NULL;
    if (!cr)
        return n < len ? wire_pending(f, 0, RX_FACT_USER, 0) : wire_match(f, 0);
    f->user = (struct rx_text){ p + at, (uint32_t)(cr - p) - at };
    return wire_match(f, f->user.len > 0 ? RX_FACT_USER : 0);
}

// RDP_NEG_REQ (2.2.1.1.1), of which `here` bytes are here
static enum rx_verdict negotiation(const uint8_t *p, uint32_t here, uint32_t len)
{
    if (len < FIXED + NEG_REQ_LEN || (here > 2 && p[2] != NEG_REQ_LEN) || (here > 3 && p[3] != 0))
        return RX_NO;
    return here > 3 ? RX_MATCH : RX_MORE;
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    enum rx_verdict verdict = fixed(p, n);
    if (verdict == RX_MORE)
        return wire_more(f, 0);
    if (verdict == RX_NO) // an RDP client's but for the lengths
        return n > 5 && p[0] == 3 && p[1] == 0 && p[5] == CR ? wire_broken(f) : wire_no(f);
    uint32_t len = wire_be16(p + 2);
    if (len == FIXED)
        return p[8] == 0 && p[9] == 0 ? wire_match(f, 0) : wire_no(f);
    uint32_t here = RX_MIN(n, len) - FIXED;
    if (here == 0)
        return wire_more(f, 0);
    const uint8_t *variable = p + FIXED;
    if (variable[0] == NEG_REQ)
        verdict = negotiation(variable, here, len);
    else if (variable[0] == 't')
        verdict = wire_starts(variable, here, token, TOKEN_LEN);
    else
        verdict = wire_starts(variable, here, cookie, COOKIE_LEN);
    if (verdict == RX_MORE && n >= len)
        return wire_broken(f);
    if (verdict != RX_MATCH)
        return verdict == RX_NO ? wire_no(f) : wire_more(f, 0);
    if (f->want & RX_FACT_USER && variable[0] == 'C')
        return user(p, n, len, f);
    return wire_match(f, 0);
}

const struct rx_proto rx_proto_rdp = {
    .name = "rdp",
    .transport = RX_TCP,
    .identify = identify,
    .first = "\x03\x03",
    .first_len = 2,
    .facts = RX_FACT_USER,
};
