// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection. Leaves: whether they open an XMPP stream (RFC 6120 4.2): an
// optional XML declaration, white space, "<stream:stream" and a space; and the stream's `to`.
//
// Invariants:
// - MATCH as soon as that is there; nothing but Jabber has a stream:stream. The namespaces behind it are the
//   server's to judge, which answers a wrong one with <invalid-namespace/> (RFC 6120 4.9.3.10).
// - Declaration and white space end within PROLOG_MAX bytes, or never.
// - `host` is pending until `to` has its closing quote, the tag ends, is malformed, or grows beyond TAG_MAX.
//
// Deliberately not done: white space or a byte order mark in front (RFC 6120 11.6 forbids the mark,
// XML 1.0 2.8 the white space before a declaration); another prefix than "stream", which RFC 6120 4.8.5 warns
// against; comments, doctypes and processing instructions, which RFC 6120 11.1 forbids; entities in `to`.
#include "list.h"
#include "wire.h"

enum {
    PROLOG_MAX = 1024,
    TAG_MAX = 4096,
};

static const char declaration[] = "<?xml";
static const char stream[] = "<stream:stream";
enum { DECLARATION_LEN = sizeof declaration - 1, STREAM_LEN = sizeof stream - 1 };

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_name_byte(uint8_t c)
{
    return wire_is_alpha(c) || wire_is_digit(c) || c == ':' || c == '-' || c == '_' || c == '.' || c >= 0x80;
}

static uint32_t skip_space(const uint8_t *p, uint32_t n, uint32_t at)
{
    while (at < n && is_space(p[at]))
        at++;
    return at;
}

// One attribute, from behind the white space in front of it. RX_NO: no attribute is there.
static enum rx_verdict attribute(const uint8_t *p, uint32_t n, uint32_t *at, struct rx_text *name,
                                 struct rx_text *value)
{
    uint32_t i = *at, start = i;
    while (i < n && is_name_byte(p[i]))
        i++;
    *name = (struct rx_text){ p + start, i - start };
    if (i < n && i == start)
        return RX_NO;
    i = skip_space(p, n, i);
    if (i < n && p[i++] != '=')
        return RX_NO;
    i = skip_space(p, n, i);
    if (i == n)
        return RX_MORE;
    uint8_t quote = p[i++];
    if (quote != '\'' && quote != '"')
        return RX_NO;
    const uint8_t *end = i < n ? memchr(p + i, quote, n - i) : NULL;
    if (!end)
        return RX_MORE;
    *value = (struct rx_text){ p + i, (uint32_t)(end - p) - i };
    *at = (uint32_t)(end - p) + 1;
    return RX_MATCH;
}

// `to`, in the tag whose attributes start at `at`
static enum rx_verdict find_to(const uint8_t *p, uint32_t n, uint32_t at, struct rx_facts *f)
{
    uint32_t most = RX_MIN(n, at + (uint32_t)TAG_MAX);
    bool is_cut = most < n || n == at + TAG_MAX;
    for (;;) {
        struct rx_text name, value = { p, 0 };
        at = skip_space(p, most, at);
        enum rx_verdict verdict = attribute(p, most, &at, &name, &value);
        if (verdict == RX_MORE && !is_cut)
            return wire_pending(f, 0, RX_FACT_HOST, 0);
        if (verdict != RX_MATCH)
            return wire_match(f, 0);
        if (name.len == 2 && name.ptr[0] == 't' && name.ptr[1] == 'o') {
            f->host = value;
            return wire_match(f, value.len > 0 ? RX_FACT_HOST : 0);
        }
    }
}

// The end of declaration and white space; 0: not an XML declaration, or not ended, with *verdict saying which
static uint32_t prolog(const uint8_t *p, uint32_t n, enum rx_verdict *verdict)
{
    uint32_t most = RX_MIN(n, (uint32_t)PROLOG_MAX);
    *verdict = wire_starts(p, n, declaration, DECLARATION_LEN);
    if (*verdict != RX_MATCH)
        return 0;
    *verdict = n < PROLOG_MAX ? RX_MORE : RX_NO;
    if (n == DECLARATION_LEN)
        return 0;
    const uint8_t *end = memchr(p + DECLARATION_LEN, '>', most - DECLARATION_LEN);
    uint32_t at = end ? (uint32_t)(end - p) : most;
    if (!is_space(p[DECLARATION_LEN]) || memchr(p + 1, '<', at - 1) || (end && p[at - 1] != '?')) {
        *verdict = RX_NO;
        return 0;
    }
    if (!end)
        return 0;
    at = skip_space(p, most, at + 1);
    return at < most ? at : 0;
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    uint32_t at = 0;
    enum rx_verdict verdict;
    if (n > 1 && p[0] == '<' && p[1] == '?') {
        at = prolog(p, n, &verdict);
        if (at == 0)
            return verdict == RX_MORE ? wire_more(f, 0) : wire_no(f);
    }
    verdict = wire_starts(p + at, n - at, stream, STREAM_LEN);
    if (verdict == RX_NO)
        return wire_no(f);
    at += STREAM_LEN;
    if (verdict == RX_MORE || at == n)
        return wire_more(f, 0);
    if (!is_space(p[at]))
        return wire_no(f);
    if (f->want & RX_FACT_HOST)
        return find_to(p, n, at, f);
    return wire_match(f, 0);
}

const struct rx_proto rx_proto_xmpp = {
    .name = "xmpp",
    .transport = RX_TCP,
    .identify = identify,
    .first = "<<",
    .first_len = 2,
    .facts = RX_FACT_HOST,
};
