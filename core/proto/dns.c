// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection, or the first datagram of a UDP flow. Leaves: whether they are a DNS
// query (RFC 1035 4.2.1; over TCP behind two bytes of length, 4.2.2), and its qname and qtype.
//
// Invariants:
// - A header of twelve bytes has to be a client's: QR clear, a known opcode, Z and RCODE zero, one question,
//   counts the length has room for. Short input is judged as if the best possible bytes followed, so that a
//   prefix is refused at the first byte that rules a query out.
// - MATCH once the question is parsed; what follows it (EDNS, TSIG, updates) is the server's business.
// - A datagram is judged whole: the records its counts promise must fill it.
//
// `qname` keeps its case; labels are joined by dots, the root is ".". A byte that is no visible ASCII is
// written \DDD, a dot or backslash inside a label \. and \\ (RFC 1035 5.1, RFC 4343 2.1), so that two names
// never give the same text.
//
// Deliberately not done: names compressed in the question (nobody can point backwards from there), several
// questions, answers, mDNS. DNS Stateful Operations (RFC 8490) only as they open a session.
#include "list.h"
#include "wire.h"

enum {
    LENGTH = 2,
    LENGTH_HIGH_MAX = 0x3f, // a client's message of 16 KB and more is none that begins a connection
    HEADER = 12,
    QUESTION_MIN = 5, // root, type, class
    RR_MIN = 11,      // root, type, class, TTL, length
    NAME_MAX_LEN = 255,
    LABEL_MAX = 63,

    OP_QUERY = 0,
    OP_STATUS = 2,
    OP_NOTIFY = 4, // RFC 1996
    OP_UPDATE = 5, // RFC 2136
    OP_DSO = 6,    // RFC 8490

    DSO_KEEPALIVE = 1,    // RFC 8490 7.1
    DSO_SUBSCRIBE = 0x40, // RFC 8765 6.2

    FLAG_QR = 0x8000,
    FLAG_Z = 0x0040,
    RCODE = 0x000f,
    Z_SEVEN = 0x07f0, // what UPDATE and DSO keep zero
    EXTRA_MAX = 3,    // OPT, and TSIG or SIG(0)

    TYPE_NB = 32,     // RFC 1002 4.2.1.1
    TYPE_NBSTAT = 33, // there; SRV here
};

static uint32_t opcode_of(const uint8_t *p)
{
    return p[2] >> 3 & 15;
}

// Whether twelve bytes can be a client's header of a message of `len` bytes
static inline bool is_header(const uint8_t *p, uint32_t len)
{
    uint32_t flags = wire_be16(p + 2), opcode = opcode_of(p);
    if (flags & (FLAG_QR | FLAG_Z | RCODE))
        return false;
    uint64_t counts = wire_be64(p + 4);
    if (RX_LIKELY(opcode <= OP_STATUS)) {
        // one question; no answers; IXFR's SOA may stand in authority (RFC 1995 3)
        return (counts & ~(uint64_t)0x10003) == (uint64_t)1 << 48 && len >= HEADER + QUESTION_MIN;
    }
    if (opcode == OP_DSO)
        return counts == 0 && !(flags & Z_SEVEN) && len >= HEADER + 4;
    uint32_t answers = wire_be16(p + 6), authority = wire_be16(p + 8), extra = wire_be16(p + 10);
    bool has_room = HEADER + QUESTION_MIN + (answers + authority + extra) * RR_MIN <= len;
    if (wire_be16(p + 4) != 1 || !has_room)
        return false;
    if (opcode == OP_NOTIFY)
        return answers <= 1 && authority == 0 && extra <= EXTRA_MAX;
    return opcode == OP_UPDATE && !(flags & Z_SEVEN);
}

// The name at p (parsed before, so it ends) as text, into scratch
static struct rx_text name_text(const uint8_t *p, uint8_t *scratch)
{
    uint8_t *out = scratch;
    if (!*p)
        *out++ = '.';
    for (uint32_t label; (label = *p++) != 0;) {
        if (out != scratch)
            *out++ = '.';
        for (; label; label--) {
            uint8_t c = *p++;
            if (RX_UNLIKELY((uint8_t)(c - '!') > '~' - '!')) {
                *out++ = '\\';
                *out++ = (uint8_t)('0' + c / 100);
                *out++ = (uint8_t)('0' + c / 10 % 10);
                c = (uint8_t)('0' + c % 10);
            } else if (RX_UNLIKELY(c == '.' || c == '\\')) {
                *out++ = '\\';
            }
            *out++ = c;
        }
    }
    return (struct rx_text){ scratch, (uint32_t)(out - scratch) };
}

// The primary TLV of a DSO message
static enum rx_verdict dso(const uint8_t *p, uint32_t n, uint32_t len, struct rx_facts *f)
{
    uint32_t here = RX_MIN(n - HEADER, 4u);
    const uint8_t *tlv = p + HEADER;
    bool is_keepalive = here >= 2 && tlv[1] == DSO_KEEPALIVE;
    if (here >= 1 && tlv[0] != 0)
        return wire_no(f);
    if (here >= 2 && !is_keepalive && tlv[1] != DSO_SUBSCRIBE)
        return wire_no(f);
    if (is_keepalive && ((here >= 3 && tlv[2] != 0) || (here >= 4 && tlv[3] != 8)))
        return wire_broken(f);
    if (here < 4)
        return wire_more(f, 0);
    return HEADER + 4 + wire_be16(tlv + 2) <= len ? wire_match(f, 0) : wire_broken(f);
}

// One message of `len` bytes, n of which are here, at least the header and that found good. `need` counts
// from p.
static enum rx_verdict message(const uint8_t *p, uint32_t n, uint32_t len, struct rx_facts *f)
{
    if (RX_UNLIKELY(opcode_of(p) == OP_DSO))
        return dso(p, n, len, f);
    uint32_t at = HEADER;
    for (;;) {
        if (at >= n)
            return wire_more(f, at + 1);
        uint32_t label = p[at];
        if (label == 0)
            break;
        at += 1 + label;
        if (label > LABEL_MAX || at - HEADER >= NAME_MAX_LEN || at + QUESTION_MIN > len)
            return wire_broken(f);
    }
    const uint8_t *q = p + at + 1;
    uint32_t here = n - at - 1;
    if (here >= 2 && wire_be16(q) == 0) // type 0 is reserved (RFC 6895 3.1)
        return wire_broken(f);
    if (here >= 3 && q[2] != 0)
        return wire_broken(f);
    if (here < 4)
        return wire_more(f, 0);
    // IN, CH, HS, NONE, ANY (RFC 6895 3.2)
    uint8_t class = q[3];
    if (class != 1 && class != 3 && class != 4 && class != 254 && class != 255)
        return wire_broken(f);
    f->qtype = (uint16_t)wire_be16(q);
    uint32_t have = RX_FACT_QTYPE;
    if (f->want & RX_FACT_QNAME) {
        f->qname = name_text(p + HEADER, f->scratch);
        have |= RX_FACT_QNAME;
    }
    return wire_match(f, have);
}

// Fewer bytes than a header: completes them in the way that would suit best
static RX_COLD enum rx_verdict short_input(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    uint8_t whole[LENGTH + HEADER] = { LENGTH_HIGH_MAX, 0xff, [LENGTH + 5] = 1 };
    if (n)
        memcpy(whole, p, n);
    if (n <= LENGTH + 2 && wire_be16(whole) < HEADER + QUESTION_MIN)
        whole[LENGTH + 2] = OP_DSO << 3; // the one opcode that is content with less
    if (n <= LENGTH + 5 && opcode_of(whole + LENGTH) == OP_DSO)
        whole[LENGTH + 5] = 0;
    if (whole[0] > LENGTH_HIGH_MAX || !is_header(whole + LENGTH, wire_be16(whole)))
        return wire_no(f);
    return wire_more(f, 0);
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    if (RX_UNLIKELY(n < LENGTH + HEADER))
        return short_input(p, n, f);
    uint32_t len = wire_be16(p);
    if (p[0] > LENGTH_HIGH_MAX || !is_header(p + LENGTH, len))
        return wire_no(f);
    // the next message may follow at once (RFC 7766 6.2.1.1)
    enum rx_verdict verdict = message(p + LENGTH, RX_MIN(n - LENGTH, len), len, f);
    if (verdict == RX_MORE && f->need)
        f->need += LENGTH;
    return verdict;
}

// RFC 6891 6.1.1, RFC 8945 5.1: behind the question of a query stand additional records, OPT first as a rule; what is
// there must be a whole record and nothing may follow the last. `at` is behind the question.
static bool is_rest(const uint8_t *p, uint32_t n, uint32_t at, uint32_t records)
{
    for (; records; records--) {
        while (at < n && p[at] && p[at] < 0xc0)
            at += 1u + p[at];
        at += at < n && p[at] ? 2 : 1; // a pointer, or the root
        if (at + RR_MIN - 1 > n)
            return false;
        at += RR_MIN - 1 + wire_be16(p + at + 8);
    }
    return at == n;
}

// A NetBIOS name query (RFC 1002 4.2.12) has the form of a DNS query and is not for a DNS server: sixteen bytes written
// with the letters A to P (RFC 1001 14.1).
static bool is_netbios(const uint8_t *p, uint32_t n, uint16_t qtype)
{
    if ((qtype != TYPE_NB && qtype != TYPE_NBSTAT) || n < HEADER + 1 + 32 || p[HEADER] != 32)
        return false;
    for (uint32_t i = HEADER + 1; i < HEADER + 1 + 32; i++)
        if (p[i] < 'A' || p[i] > 'P')
            return false;
    return true;
}

// A datagram is a whole message, so that all of it can be held against its counts: a weak header (id, flags and counts
// that are mostly zero) must not take what belongs to others.
static enum rx_verdict datagram(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    n = rx_first_gram(f, n);
    if (n < HEADER || opcode_of(p) == OP_DSO || !is_header(p, n))
        return wire_no(f);
    enum rx_verdict verdict = message(p, n, n, f);
    if (verdict != RX_MATCH)
        return wire_broken(f);
    if (is_netbios(p, n, f->qtype))
        return wire_no(f);
    uint32_t at = HEADER;
    while (p[at])
        at += 1u + p[at];
    uint32_t records = wire_be16(p + 6) + wire_be16(p + 8) + wire_be16(p + 10);
    return is_rest(p, n, at + QUESTION_MIN, records) ? verdict : wire_broken(f);
}

const struct rx_proto rx_proto_dns = {
    .name = "dns",
    .transport = RX_BOTH,
    .identify = identify,
    .datagram = datagram,
    .first = "\x00\x3f",
    .first_len = 2,
    .facts = RX_FACT_QNAME | RX_FACT_QTYPE,
};
