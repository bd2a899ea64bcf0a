// SPDX-License-Identifier: MIT
// Enters: the first datagrams of a UDP flow. Leaves: whether they are a DTLS ClientHello (RFC 6347 4, RFC 9147 5), and its
// server name, ALPN list and whether it carries encrypted_client_hello; or a record of a session that is under way.
//
// Invariants
// - A match of a hello means that it was read whole, however it was cut into fragments, records and datagrams, in any
//   order. A hello that breaks its own lengths is RX_NOTE_TLS_INVALID; so is one of which two fragments differ.
// - A record of another kind (application data of a client that has a session) matches without facts when the records'
//   lengths fill the datagram.
//
// Deliberately not done: the unified header of DTLS 1.3, which follows a handshake and looks like noise.
#include <string.h>

#include "list.h"
#include "tls.h"
#include "wire.h"

enum {
    RECORD_HEADER = 13, // type, version, epoch, sequence number, length
    HANDSHAKE_HEADER = 12,
    TYPE_FIRST = 20,
    TYPE_HANDSHAKE = 22,
    TYPE_LAST = 24,
    TYPE_CID = 25,   // RFC 9146
    PREFIX = 2 + 32, // version and random, in front of the session id
    SESSION_ID_MAX = 32,
    MAP_SIZE = (RX_TLS_HELLO_MAX + 7) / 8,
};

struct hello {
    uint8_t *body, *map;
    uint32_t total, seen; // its length, 0 until a fragment told; bytes of it that are there
    bool is_broken;
};

static bool is_version(const uint8_t *p)
{
    return p[0] == 0xfe && (p[1] == 0xff || p[1] == 0xfd); // 1.0; 1.2, and what 1.3 calls itself
}

static bool is_record(const uint8_t *p, uint32_t n)
{
    return n > RECORD_HEADER && p[0] >= TYPE_FIRST && p[0] <= TYPE_LAST && is_version(p + 1) &&
           wire_be16(p + 11) > 0 && wire_be16(p + 11) <= n - RECORD_HEADER;
}

// One fragment of a ClientHello; its bytes lie in the record.
static void add_fragment(struct hello *h, const uint8_t *p, uint32_t total, uint32_t at, uint32_t len)
{
    if (total < RX_TLS_HELLO_MIN || total > RX_TLS_HELLO_MAX || (h->total && h->total != total) || at > total ||
        len > total - at) {
        h->is_broken = true;
        return;
    }
    h->total = total;
    for (uint32_t i = at; i < at + len; i++, p++) {
        uint8_t bit = (uint8_t)(1u << (i & 7));
        if (h->map[i >> 3] & bit) {
            h->is_broken |= h->body[i] != *p;
            continue;
        }
        h->map[i >> 3] |= bit;
        h->body[i] = *p;
        h->seen++;
    }
}

// The handshake messages of one record; false when it holds anything but pieces of one ClientHello.
static bool read_record(struct hello *h, const uint8_t *p, uint32_t n)
{
    for (uint32_t at = 0; at < n;) {
        const uint8_t *m = p + at;
        if (n - at < HANDSHAKE_HEADER || m[0] != RX_TLS_CLIENT_HELLO)
            return false;
        uint32_t len = (uint32_t)m[9] << 16 | wire_be16(m + 10);
        if (len > n - at - HANDSHAKE_HEADER) {
            h->is_broken = true;
            return true;
        }
        add_fragment(h, m + HANDSHAKE_HEADER, (uint32_t)m[1] << 16 | wire_be16(m + 2),
                     (uint32_t)m[6] << 16 | wire_be16(m + 7), len);
        at += HANDSHAKE_HEADER + len;
    }
    return true;
}

enum content {
    NOT_DTLS, // its records do not fill the datagram
    HELLO,    // it has pieces of a ClientHello
    OTHER,    // records of another kind
};

static enum content read_datagram(struct hello *h, const uint8_t *p, uint32_t n)
{
    enum content found = OTHER;
    if (!n)
        return NOT_DTLS;
    for (uint32_t at = 0; at < n;) {
        if (!is_record(p + at, n - at))
            return NOT_DTLS;
        uint32_t len = wire_be16(p + at + 11);
        if (p[at] == TYPE_HANDSHAKE && wire_be16(p + at + 3) == 0 && read_record(h, p + at + RECORD_HEADER, len))
            found = HELLO;
        at += RECORD_HEADER + len;
    }
    return found;
}

static enum rx_verdict invalid(struct rx_facts *f)
{
    f->have = f->pending = f->need = 0;
    f->note = RX_NOTE_TLS_INVALID;
    return RX_NO;
}

// RFC 6347 4.2.1: as in TLS, with a cookie behind the session id
static enum rx_verdict read_hello(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    const uint8_t *end = p + n;
    if (!is_version(p) || p[PREFIX] > SESSION_ID_MAX || n - PREFIX - 1 <= p[PREFIX])
        return invalid(f);
    uint16_t version = (uint16_t)wire_be16(p);
    p += PREFIX + 1 + p[PREFIX];
    if ((size_t)(end - p) < 1u + p[0])
        return invalid(f);
    f->have = RX_FACT_VERSION;
    f->pending = f->need = 0;
    f->note = RX_NOTE_NONE;
    bool is_good = rx_tls_read_offers(p + 1 + p[0], end, f);
    f->version = version;
    return is_good ? RX_MATCH : invalid(f);
}

// RFC 9146 4: the id's length is the server's secret, so that no length can be checked.
static bool is_cid_record(const uint8_t *p, uint32_t n)
{
    return n > RECORD_HEADER + 1 && p[0] == TYPE_CID && p[1] == 0xfe && p[2] == 0xfd && wire_be16(p + 3) > 0;
}

static enum rx_verdict datagram(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    _Static_assert(RX_TLS_HELLO_MAX + MAP_SIZE <= RX_SCRATCH_SIZE, "the longest hello fits");
    struct hello h = { .body = f->scratch, .map = f->scratch + RX_TLS_HELLO_MAX };
    uint32_t first = rx_first_gram(f, n);
    if (first <= RECORD_HEADER)
        return wire_no(f);
    if (is_cid_record(p, first))
        return wire_match(f, 0);
    if (!is_record(p, first))
        return wire_no(f);
    memset(h.map, 0, MAP_SIZE);
    for (uint32_t i = 0, at = 0; i < f->n_grams && at < n; at += f->gram_len[i++]) {
        enum content found = read_datagram(&h, p + at, f->gram_len[i]);
        if (h.is_broken)
            return invalid(f);
        if (i == 0 && found != HELLO)
            return found == OTHER ? wire_match(f, 0) : wire_no(f);
        if (h.total && h.seen == h.total)
            return read_hello(h.body, h.total, f);
    }
    return wire_more(f, 0);
}

const struct rx_proto rx_proto_dtls = {
    .name = "dtls",
    .transport = RX_UDP,
    .datagram = datagram,
    .first_udp = "\x14\x19",
    .first_udp_len = 2,
    .facts = RX_FACT_SNI | RX_FACT_ALPN | RX_FACT_ECH | RX_FACT_VERSION,
};
