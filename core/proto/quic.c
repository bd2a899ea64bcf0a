// SPDX-License-Identifier: MIT
// Enters: the first datagrams of a UDP flow. Leaves: whether a QUIC client opens a connection in them, and its server
// name, ALPN list, TLS version and whether it carries encrypted_client_hello.
//
// Of versions 1 and 2 and the late drafts (RFC 9000, RFC 9369) Initial packets are opened and their CRYPTO frames put in
// order, wherever they lie: in coalesced packets and several datagrams, out of order, repeated, overlapping, between PING
// and PADDING, under any packet number. Other versions, the greased ones among them, are known by what all versions have
// in common (RFC 8999); a server answers them with the versions it has, and they never show a name.
//
// Invariants
// - A match of a known version means that an authentic ClientHello was read whole. What does not authenticate is never
//   read for names; a hello that breaks its own lengths is RX_NOTE_TLS_INVALID.
// - Of bytes that come twice the first count; a hello of which two copies differ is refused, so that no server can be
//   shown another name than the one that routed it.
// - Every length is checked against its datagram before it is used; at most RX_QUIC_PACKETS packets are opened.
//
// Deliberately not done: 1-RTT packets (they look like noise); a client that goes on after a restart of this program,
// whose Initial keys were negotiated elsewhere; the old Google versions beyond knowing them.
#include <string.h>

#include "list.h"
#include "quic_open.h"
#include "tls.h"
#include "wire.h"

enum {
    CID_MAX = 20,         // RFC 9000 17.2, for the versions known here
    CID_MIN = 8,          // what a client chooses first (RFC 9000 7.2); future versions may differ, guesses must not
    DATAGRAM_MIN = 1200,  // RFC 9000 14.1
    RX_QUIC_PACKETS = 64, // opened for one decision
    LIST_MAX = 4 * 32,    // versions a server lists

    FRAME_PADDING = 0,
    FRAME_PING = 1,
    FRAME_ACK = 2,
    FRAME_ACK_ECN = 3,
    FRAME_CRYPTO = 6,

    MSG_MAX = RX_TLS_HS_HEADER + RX_TLS_HELLO_MAX,
    MAP_SIZE = (MSG_MAX + 7) / 8,
    PLAIN_MAX = RX_SCRATCH_SIZE - MSG_MAX - MAP_SIZE,
};

// What the packets hold of the handshake, in the caller's scratch.
struct stream {
    uint8_t *msg, *map, *plain; // the bytes, which of them are there (one bit each), and room for one packet
    uint32_t reach;             // end of the furthest byte
    uint32_t whole;             // bytes from 0 on without a gap
    bool is_torn;               // two copies differ, or bytes lie where no hello reaches
};

struct header {
    uint32_t version;
    const uint8_t *dcid;
    uint32_t dcid_len;
    uint32_t at; // behind the source connection id
};

// RFC 9000 16. False when it does not fit.
static bool read_varint(const uint8_t *p, uint32_t n, uint32_t *at, uint64_t *value)
{
    if (*at >= n)
        return false;
    uint32_t len = 1u << (p[*at] >> 6);
    if (n - *at < len)
        return false;
    uint64_t v = p[*at] & 0x3f;
    for (uint32_t i = 1; i < len; i++)
        v = v << 8 | p[*at + i];
    *at += len;
    *value = v;
    return true;
}

// The part of a long header that all versions share (RFC 8999 5.1). False when it does not fit.
static bool read_header(const uint8_t *p, uint32_t n, struct header *h)
{
    if (n < 7 || !(p[0] & 0x80))
        return false;
    h->version = wire_be32(p + 1);
    h->dcid_len = p[5];
    h->dcid = p + 6;
    if (n - 6 < h->dcid_len + 1)
        return false;
    uint32_t scid_len = p[6 + h->dcid_len];
    h->at = 7 + h->dcid_len;
    if (n - h->at < scid_len)
        return false;
    h->at += scid_len;
    return true;
}

// ---- the handshake, piece by piece -------------------------------------------------------------------------------

static bool has_bit(const struct stream *s, uint32_t i)
{
    return s->map[i >> 3] >> (i & 7) & 1;
}

static void set_bits(struct stream *s, uint32_t from, uint32_t to)
{
    for (; from < to && from & 7; from++)
        s->map[from >> 3] |= (uint8_t)(1u << (from & 7));
    memset(s->map + (from >> 3), 0xff, (to - from) >> 3);
    for (from += (to - from) & ~7u; from < to; from++)
        s->map[from >> 3] |= (uint8_t)(1u << (from & 7));
}

static bool has_none(const struct stream *s, uint32_t from, uint32_t to)
{
    for (; from < to && from & 7; from++)
        if (has_bit(s, from))
            return false;
    for (; to - from >= 8; from += 8)
        if (s->map[from >> 3])
            return false;
    for (; from < to; from++)
        if (has_bit(s, from))
            return false;
    return true;
}

// Bytes of which some are there already.
static void add_overlapping(struct stream *s, uint32_t from, const uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (has_bit(s, from + i)) {
            s->is_torn |= s->msg[from + i] != p[i];
            continue;
        }
        s->msg[from + i] = p[i];
        s->map[(from + i) >> 3] |= (uint8_t)(1u << ((from + i) & 7));
    }
}

static void add_piece(struct stream *s, uint64_t offset, const uint8_t *p, uint32_t n)
{
    if (offset >= MSG_MAX || n > MSG_MAX - offset) {
        s->is_torn = true;
        return;
    }
    uint32_t from = (uint32_t)offset;
    if (from == s->whole && s->whole == s->reach) { // the next piece in order, as nearly all are
        memcpy(s->msg + from, p, n);
        set_bits(s, from, from + n);
        s->whole = s->reach = from + n;
        return;
    }
    if (has_none(s, from, from + n)) { // Chromium and Firefox send pieces in any order
        memcpy(s->msg + from, p, n);
        set_bits(s, from, from + n);
    } else {
        add_overlapping(s, from, p, n);
    }
    s->reach = RX_MAX(s->reach, from + n);
    while (s->whole < s->reach && has_bit(s, s->whole))
        s->whole += !(s->whole & 7) && s->map[s->whole >> 3] == 0xff ? 8 : 1;
}

// RFC 9000 19.3; its fields say nothing here
static bool skip_ack(const uint8_t *p, uint32_t n, uint32_t *at, bool has_ecn)
{
    uint64_t v, ranges;
    if (!read_varint(p, n, at, &v) || !read_varint(p, n, at, &v) || !read_varint(p, n, at, &ranges) ||
        !read_varint(p, n, at, &v) || ranges > n)
        return false;
    for (uint64_t left = 2 * ranges + (has_ecn ? 3 : 0); left; left--)
        if (!read_varint(p, n, at, &v))
            return false;
    return true;
}

// The frames of one Initial packet (RFC 9000 17.2.2 tells which may be there); what is broken ends it.
static void read_frames(struct stream *s, const uint8_t *p, uint32_t n)
{
    for (uint32_t at = 0; at < n;) {
        uint64_t offset, len;
        uint8_t type = p[at++];
        if (type == FRAME_PADDING || type == FRAME_PING)
            continue;
        if (type == FRAME_ACK || type == FRAME_ACK_ECN) {
            if (!skip_ack(p, n, &at, type == FRAME_ACK_ECN))
                return;
            continue;
        }
        if (type != FRAME_CRYPTO || !read_varint(p, n, &at, &offset) || !read_varint(p, n, &at, &len) || len > n - at)
            return;
        add_piece(s, offset, p + at, (uint32_t)len);
        at += (uint32_t)len;
    }
}

// ---- packets -----------------------------------------------------------------------------------------------------

// What walking a datagram's packets found.
struct walk {
    struct stream s;
    struct rx_quic_keys keys;
    const uint8_t *dcid; // the keys are for this connection id; NULL: not made yet
    uint32_t dcid_len;
    unsigned n_tried, n_opened;
    bool is_plausible; // a packet of another type than Initial, with lengths that fit
};

// One Initial packet from p[0] on, `h` read: opens it when it can be. Returns where it ends, 0 when it does not fit.
static uint32_t walk_initial(struct walk *w, const struct rx_quic_version *v, const struct header *h,
                             const uint8_t *p, uint32_t n)
{
    uint64_t token, len;
    uint32_t at = h->at;
    if (!read_varint(p, n, &at, &token) || token > n - at)
        return 0;
    at += (uint32_t)token;
    if (!read_varint(p, n, &at, &len) || len > n - at)
        return 0;
    uint32_t end = at + (uint32_t)len, plain_len;
    if (len > PLAIN_MAX || w->n_tried++ >= RX_QUIC_PACKETS)
        return end;
    if (!w->dcid) {
        if (rx_quic_keys_make(v, h->dcid, h->dcid_len, &w->keys))
            return end;
        w->dcid = h->dcid;
        w->dcid_len = h->dcid_len;
    } else if (w->dcid_len != h->dcid_len || memcmp(w->dcid, h->dcid, h->dcid_len)) {
        return end; // another connection
    }
    if (rx_quic_open(&w->keys, p, at, end, w->s.plain, &plain_len)) {
        w->n_opened++;
        read_frames(&w->s, w->s.plain, plain_len);
    }
    return end;
}

// The packets of one datagram, as long as they are of version `v`
static void walk_datagram(struct walk *w, const struct rx_quic_version *v, const uint8_t *p, uint32_t n)
{
    struct header h;
    while (n && read_header(p, n, &h) && rx_quic_version_find(h.version) == v && h.dcid_len <= CID_MAX) {
        uint8_t type = p[0] >> 4 & 3;
        uint32_t end = 0, at = h.at;
        uint64_t len;
        if (type == v->type_initial)
            end = walk_initial(w, v, &h, p, n);
        else if (type != v->type_retry && read_varint(p, n, &at, &len) && len <= n - at && len >= 20) {
            end = at + (uint32_t)len;
            w->is_plausible = true;
        }
        if (!end)
            return;
        p += end;
        n -= end;
    }
}

// ---- verdicts ----------------------------------------------------------------------------------------------------

static enum rx_verdict no(struct rx_facts *f, enum rx_note note)
{
    f->have = f->pending = f->need = 0;
    f->note = (uint8_t)note;
    return RX_NO;
}

static enum rx_verdict identify_known(const struct rx_quic_version *v, const uint8_t *p, uint32_t n,
                                      struct rx_facts *f)
{
    _Static_assert(PLAIN_MAX > 9000, "a packet as large as a jumbo frame can be opened");
    struct walk w = {
        .s = { .msg = f->scratch, .map = f->scratch + MSG_MAX, .plain = f->scratch + MSG_MAX + MAP_SIZE }
    };
    memset(w.s.map, 0, MAP_SIZE);
    uint32_t total = 0;
    for (uint32_t i = 0, at = 0; i < f->n_grams && at < n; at += f->gram_len[i++]) {
        walk_datagram(&w, v, p + at, f->gram_len[i]);
        if (i == 0 && !w.n_opened && !w.is_plausible)
            return no(f, w.n_tried ? RX_NOTE_PROTO_INVALID : RX_NOTE_NONE);
        if (w.s.is_torn)
            return no(f, RX_NOTE_TLS_INVALID);
        if (w.s.whole >= 1 && w.s.msg[0] != RX_TLS_CLIENT_HELLO)
            return no(f, RX_NOTE_TLS_INVALID);
        if (w.s.whole < RX_TLS_HS_HEADER)
            continue;
        total = wire_be32(w.s.msg) & 0xffffff;
        if (total < RX_TLS_HELLO_MIN || total > RX_TLS_HELLO_MAX)
            return no(f, RX_NOTE_TLS_INVALID);
        if (w.s.whole >= RX_TLS_HS_HEADER + total) {
            f->pending = f->need = 0;
            f->note = RX_NOTE_NONE;
            return rx_tls_read_hello(w.s.msg + RX_TLS_HS_HEADER, total, f) ? RX_MATCH : no(f, RX_NOTE_TLS_INVALID);
        }
    }
    return wire_more(f, 0);
}

// RFC 9000 17.2.1: what a server answers; whoever lists versions and nothing else speaks QUIC.
static bool is_negotiation(const struct header *h, const uint8_t *p, uint32_t n)
{
    uint32_t rest = n - h->at;
    if (rest == 0 || rest % 4 || rest > LIST_MAX || h->dcid_len > CID_MAX || h->at - 7 - h->dcid_len > CID_MAX)
        return false;
    for (uint32_t at = h->at; at < n; at += 4)
        if (wire_be32(p + at) == 0)
            return false;
    return true;
}

// "Q043", "T051": Google's versions before the standard, told by these four bytes.
static bool is_google(const uint8_t *p)
{
    return (p[0] == 'Q' || p[0] == 'T') && p[1] == '0' && wire_is_digit(p[2]) && wire_is_digit(p[3]);
}

// A version not known here: a first datagram as RFC 8999 and RFC 9000 14.1 lead one to expect it.
static bool is_unknown_version(const struct header *h, const uint8_t *p, uint32_t n)
{
    if (is_google(p + 1))
        return h->dcid_len <= CID_MAX;
    return n >= DATAGRAM_MIN && p[0] & 0x40 && h->dcid_len >= CID_MIN && h->dcid_len <= CID_MAX &&
           h->at - 7 - h->dcid_len <= CID_MAX;
}

static enum rx_verdict datagram(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    uint32_t first = rx_first_gram(f, n);
    struct header h;
    if (first >= 13 && (p[0] & 0xc9) == 0x09 && is_google(p + 9)) // Q043 and before: flags, 8 bytes of id, version
        return wire_match(f, 0);
    if (!read_header(p, first, &h))
        return no(f, RX_NOTE_NONE);
    const struct rx_quic_version *v = rx_quic_version_find(h.version);
    if (v)
        return h.dcid_len <= CID_MAX ? identify_known(v, p, n, f) : no(f, RX_NOTE_PROTO_INVALID);
    if (h.version == 0 ? is_negotiation(&h, p, first) : is_unknown_version(&h, p, first))
        return wire_match(f, 0);
    return no(f, RX_NOTE_NONE);
}

const struct rx_proto rx_proto_quic = {
    .name = "quic",
    .transport = RX_UDP,
    .datagram = datagram,
    .first_udp = "\x08\x3f\x80\xff",
    .first_udp_len = 4,
    .facts = RX_FACT_SNI | RX_FACT_ALPN | RX_FACT_ECH | RX_FACT_VERSION,
};
