// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection. Leaves: whether they are a TLS ClientHello, and its server
// name, ALPN list, highest offered version and whether it carries encrypted_client_hello.
//
// Invariants:
// - A match means that the whole ClientHello was read, however the client cut it into records and segments,
// and that
//   every length in it fits. A hello that breaks its own lengths or the rules below is RX_NOTE_TLS_INVALID,
//   never a hello without a name.
// - A hello that lies in one record is parsed where it is; only one that records split is joined in
// `scratch`.
// - The verdict can only change at the places `need` names: while the first ten bytes come in, then at the
// end of
//   each record header, then at the last byte of the hello. So a client that sends byte by byte costs one
//   call per record, not one parse per byte.
//
// Deliberately not done: a hello is judged by its frame, not by whether a handshake could succeed (cipher
// suites, key shares, PSK binders and the order of extensions are the server's business). The minor version
// in record headers is ignored (RFC 5246 E.1, RFC 8446 5.1). An SSLv2-compatible hello is not TLS: no client
// needs it any more.
#include "list.h"
#include "tls.h"

#include <string.h>

#define BIT(type) ((uint64_t)1 << (type))

enum {
    RECORD_HANDSHAKE = 22, // RFC 8446 5.1 ContentType
    RECORD_HEADER = 5,
    RECORD_MAX = 1 << 14, // RFC 8446 5.1: TLSPlaintext.length
    HS_CLIENT_HELLO = RX_TLS_CLIENT_HELLO,
    HS_HEADER = RX_TLS_HS_HEADER,
    HELLO_MIN = RX_TLS_HELLO_MIN,
    HELLO_MAX = RX_TLS_HELLO_MAX,
    EARLY = RECORD_HEADER + HS_HEADER + 1, // up to here every byte is judged as it comes
    SESSION_ID_MAX = 32,
    NAME_MAX_LEN = 255, // longer than any DNS name (RFC 1035 2.3.4)

    EXT_SERVER_NAME = 0,
    EXT_ALPN = 16,
    EXT_SUPPORTED_VERSIONS = 43,
    EXT_ECH = 0xfe0d,
};

static uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t be24(const uint8_t *p)
{
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

// RFC 6066 3: a HostName is a DNS name in ASCII. Refused are bytes that would let it pass for something else
// where it is logged, matched or made part of a path; the rest (underscores, raw UTF-8, even '*') is left to
// the routes.
static const uint8_t is_bad_in_name[256] = {
    [0 ... ' '] = 1,
    ['/'] = 1,
    [0x7f] = 1,
};

// RFC 6066 3. The list could hold names of other types, but none was ever defined and two of one type are
// forbidden: so exactly one host_name, filling the list.
static bool read_server_name(const uint8_t *p, uint32_t len, struct rx_facts *f)
{
    if (len < 2 + 1 + 2 + 1 || be16(p) != len - 2 || p[2] != 0 || be16(p + 3) != len - 5)
        return false;
    const uint8_t *name = p + 5;
    uint32_t name_len = len - 5;
    if (name_len > NAME_MAX_LEN)
        return false;
    uint8_t bad = 0;
    for (uint32_t i = 0; i < name_len; i++)
        bad |= is_bad_in_name[name[i]];
    if (bad)
        return false;
    f->sni = (struct rx_text){ name, name_len };
    f->have |= RX_FACT_SNI;
    return true;
}

// RFC 7301 3.1: a non-empty list of non-empty names
static bool read_alpn(const uint8_t *p, uint32_t len, struct rx_facts *f)
{
    if (len < 2 + 1 + 1 || be16(p) != len - 2)
        return false;
    for (uint32_t at = 2; at < len;) {
        uint32_t name_len = p[at];
        if (name_len == 0 || name_len >= len - at)
            return false;
        at += 1 + name_len;
    }
    f->alpn = (struct rx_text){ p + 2, len - 2 };
    f->have |= RX_FACT_ALPN;
    return true;
}

// RFC 8446 4.2.1. Only 03xx counts as a version: that leaves GREASE (RFC 8701) and the drafts' 7fxx out.
static bool read_versions(const uint8_t *p, uint32_t len, struct rx_facts *f)
{
    if (len < 3 || p[0] != len - 1 || (len - 1) % 2 != 0)
        return false;
    uint8_t minor = 0;
    for (uint32_t at = 1; at < len; at += 2)
        if (p[at] == 3)
            minor = RX_MAX(minor, p[at + 1]);
    if (minor)
        f->version = (uint16_t)(0x0300 | minor);
    return true;
}

static bool read_extensions(const uint8_t *p, const uint8_t *end, struct rx_facts *f)
{
    const uint64_t not_empty = BIT(EXT_SERVER_NAME) | BIT(EXT_ALPN) | BIT(EXT_SUPPORTED_VERSIONS);
    uint64_t seen = 0;
    bool has_ech = false, is_inner = false;
    while (p != end) {
        if (RX_UNLIKELY(end - p < 4))
            return false;
        uint32_t head = be32(p), type = head >> 16, len = head & 0xffff;
        p += 4;
        if (type < 64) {
            // RFC 8446 4.2: no type twice. Of the types above, only ECH is read.
            if (RX_UNLIKELY(seen & BIT(type)))
                return false;
            seen |= BIT(type);
        }
        // Several types are always empty, and then the next one is found without waiting for this length
        if (len == 0) {
            if (RX_UNLIKELY(type == EXT_ECH || (type < 64 && not_empty & BIT(type))))
                return false;
            continue;
        }
        if (RX_UNLIKELY(len > (size_t)(end - p)))
            return false;
        if (type == EXT_SERVER_NAME) {
            if (!read_server_name(p, len, f))
                return false;
        } else if (type == EXT_ALPN) {
            if (!read_alpn(p, len, f))
                return false;
        } else if (type == EXT_SUPPORTED_VERSIONS) {
            if (!read_versions(p, len, f))
                return false;
        } else if (type == EXT_ECH) {
            // RFC 9849 5: a type byte, then for `outer` the rest. `inner` (1) is all that a server behind a
            // client-facing one sees: nothing in that hello is encrypted.
            if (has_ech)
                return false;
            has_ech = true;
            is_inner = p[0] == 1;
        }
        p += len;
    }
    f->ech = has_ech && !is_inner;
    f->have |= RX_FACT_ECH;
    return true;
}

bool rx_tls_read_offers(const uint8_t *p, const uint8_t *end, struct rx_facts *f)
{
    if (end - p < 2 + 2 + 2)
        return false;
    uint32_t ciphers = be16(p);
    if (ciphers < 2 || ciphers % 2 != 0 || (size_t)(end - p) < 2 + ciphers + 2)
        return false;
    p += 2 + ciphers;
    uint32_t compressions = p[0];
    if (compressions == 0 || (size_t)(end - p) < 1 + compressions)
        return false;
    p += 1 + compressions;
    if (p == end) { // RFC 5246 7.4.1.2: extensions may be absent altogether
        f->ech = 0;
        f->have |= RX_FACT_ECH;
        return true;
    }
    if (end - p < 2 || be16(p) != (size_t)(end - p) - 2)
        return false;
    return read_extensions(p + 2, end, f);
}

bool rx_tls_read_hello(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    f->version = (uint16_t)be16(p);
    f->have = RX_FACT_VERSION;
    uint32_t session_id = p[34];
    if (session_id > SESSION_ID_MAX || n - 35 < session_id + 6)
        return false;
    return rx_tls_read_offers(p + 35 + session_id, p + n, f);
}

static enum rx_verdict invalid(struct rx_facts *f)
{
    f->have = 0;
    f->need = 0;
    f->note = RX_NOTE_TLS_INVALID;
    return RX_NO;
}

static enum rx_verdict more(struct rx_facts *f, uint32_t need)
{
    f->need = need;
    return RX_MORE;
}

// What can be told from the first bytes of a handshake message, `got` of which are there
static bool is_hello_start(const uint8_t *msg, uint32_t got)
{
    if (got >= 1 && msg[0] != HS_CLIENT_HELLO)
        return false;
    if (got >= HS_HEADER && (be24(msg + 1) < HELLO_MIN || be24(msg + 1) > HELLO_MAX))
        return false;
    return got <= HS_HEADER || msg[HS_HEADER] == 3; // legacy_version, RFC 8446 4.1.2
}

// The general case: less than EARLY bytes, a hello over several records, or a broken one.
static enum rx_verdict identify_records(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    _Static_assert(HS_HEADER + HELLO_MAX <= RX_SCRATCH_SIZE, "the longest hello fits");
    if (n == 0)
        return more(f, 0);
    if (p[0] != RECORD_HANDSHAKE || (n > 1 && p[1] != 3))
        return RX_NO;
    uint8_t *msg = f->scratch;
    uint32_t got = 0;
    for (uint32_t at = 0;;) {
        if (n - at < RECORD_HEADER)
            return more(f, at == 0 ? 0 : at + RECORD_HEADER);
        uint32_t len = be16(p + at + 3);
        // RFC 8446 5.1: a hello is not interleaved with other records, and none of its fragments is empty
        if (p[at] != RECORD_HANDSHAKE || p[at + 1] != 3 || len == 0 || len > RECORD_MAX)
            return invalid(f);
        at += RECORD_HEADER;
        uint32_t there = RX_MIN(len, n - at);
        uint32_t room = HS_HEADER + HELLO_MAX - got;
        uint32_t take = RX_MIN(there, room);
        memcpy(msg + got, p + at, take);
        got += take;
        if (!is_hello_start(msg, got))
            return invalid(f);
        uint32_t total = got >= HS_HEADER ? HS_HEADER + be24(msg + 1) : 0;
        if (total && got >= total)
            return rx_tls_read_hello(msg + HS_HEADER, total - HS_HEADER, f) ? RX_MATCH : invalid(f);
        if (there < len) {
            if (got <= HS_HEADER)
                return more(f, 0);
            uint32_t rest = len - there, missing = total - got;
            return more(f, missing <= rest ? n + missing : n + rest + RECORD_HEADER);
        }
        at += len;
    }
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    f->have = 0;
    f->pending = 0;
    f->need = 0;
    f->note = RX_NOTE_NONE;
    // Nearly every hello lies in one record
    if (RX_LIKELY(n >= EARLY && p[0] == RECORD_HANDSHAKE && p[1] == 3)) {
        uint32_t record = be16(p + 3), hello = be24(p + 6);
        if (RX_LIKELY(p[5] == HS_CLIENT_HELLO && p[9] == 3 && hello >= HELLO_MIN && record <= RECORD_MAX &&
                      record >= HS_HEADER + hello)) {
            uint32_t end = RECORD_HEADER + HS_HEADER + hello;
            if (n < end)
                return more(f, end);
            if (RX_LIKELY(rx_tls_read_hello(p + RECORD_HEADER + HS_HEADER, hello, f)))
                return RX_MATCH;
            return invalid(f);
        }
    }
    return identify_records(p, n, f);
}

const struct rx_proto rx_proto_tls = {
    .name = "tls",
    .alias = "https",
    .transport = RX_TCP,
    .identify = identify,
    .first = "\x16\x16",
    .first_len = 2,
    .facts = RX_FACT_SNI | RX_FACT_ALPN | RX_FACT_ECH | RX_FACT_VERSION,
};
