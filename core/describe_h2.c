// SPDX-License-Identifier: MIT
// HTTP/2 with prior knowledge, for as long as one answer takes (RFC 9113).
// Enters: a talk whose client sent the preface. Leaves: SETTINGS at once; then, to the first request, HEADERS, DATA
// and GOAWAY.
//
// Of HPACK (RFC 7541) the static table's first entries and the Huffman code of printable ASCII are enough to read
// the pseudo-headers, which come first. Whatever else turns up ends the reading, never the answer: what was not
// understood is not told.
//
// Deliberately not done: the dynamic table, CONTINUATION, waiting for the window: a body that does not fit in the
// window the client opens is cut.
#include <stdio.h>
#include <string.h>

#include "describe.h"
#include "proto/wire.h"

enum {
    PREFACE = 24, // RFC 9113 3.4
    FRAME_HEADER = 9,
    FRAME_MAX = 16384, // 4.2, until SETTINGS say otherwise, and ours do not
    WINDOW = 65535,    // 6.9.2

    DATA = 0,
    HEADERS = 1,
    SETTINGS = 4,
    PING = 6,
    GOAWAY = 7,

    ACK = 0x1, // of SETTINGS and PING
    END_STREAM = 0x1,
    END_HEADERS = 0x4,
    PADDED = 0x8,
    PRIORITY = 0x20,

    INITIAL_WINDOW_SIZE = 4,
    NO_ERROR = 0,
    PROTOCOL_ERROR = 1,
    FRAME_SIZE_ERROR = 6,
};

// ---- HPACK ------------------------------------------------------------------------------------------------------

// The code of RFC 7541 appendix B is canonical: its symbols in order, and how many have each length, say it all.
// Lengths from 5 to 15 bits are NUL and printable ASCII but the backslash; longer codes are not read.
static const char huffman_symbols[] = "012aceiost"
                                      " %-./3456789=A_bdfghlmnpru"
                                      ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"
                                      "&*,;XZ"
                                      "!\"()?"
                                      "'+|"
                                      "#>"
                                      "\0$@[]~"
                                      "^}"
                                      "<`{";
static const uint8_t huffman_counts[] = { 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3 };
enum { HUFFMAN_SHORTEST = 5 };

// One symbol from bit *bit on; -1 at the end of the string, or where it is not understood.
static int huffman_symbol(const uint8_t *p, uint32_t n, uint32_t *bit)
{
    uint32_t code = 0, first = 0, index = 0, len = 0, at = *bit;
    while (at < n * 8) {
        code = code << 1 | (p[at / 8] >> (7 - at % 8) & 1);
        at++;
        first <<= 1;
        if (++len < HUFFMAN_SHORTEST)
            continue;
        if (len - HUFFMAN_SHORTEST >= sizeof huffman_counts)
            return -1;
        uint32_t count = huffman_counts[len - HUFFMAN_SHORTEST];
        if (code - first < count) {
            *bit = at;
            return (uint8_t)huffman_symbols[index + code - first];
        }
        first += count;
        index += count;
    }
    return -1;
}

struct reader {
    const uint8_t *p, *end;
    bool is_lost; // not understood: nothing after this is read
};

// RFC 7541 5.1, up to four bytes of it
static uint32_t read_int(struct reader *r, unsigned prefix)
{
    uint32_t most = (1u << prefix) - 1, value = *r->p++ & most;
    if (value < most)
        return value;
    for (unsigned shift = 0; shift < 21 && r->p < r->end; shift += 7) {
        uint8_t byte = *r->p++;
        value += (uint32_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    r->is_lost = true;
    return 0;
}

// RFC 7541 5.2: into buf, as much as fits
static struct rx_text read_string(struct reader *r, uint8_t *buf, uint32_t size)
{
    struct rx_text text = { buf, 0 };
    if (r->p == r->end) {
        r->is_lost = true;
        return text;
    }
    bool is_huffman = *r->p & 0x80;
    uint32_t len = read_int(r, 7);
    if (r->is_lost || len > (size_t)(r->end - r->p)) {
        r->is_lost = true;
        return text;
    }
    if (is_huffman) {
        uint32_t bit = 0;
        for (int c; text.len < size && (c = huffman_symbol(r->p, len, &bit)) >= 0; text.len++)
            buf[text.len] = (uint8_t)c;
    } else {
        text.len = RX_MIN(len, size);
        memcpy(buf, r->p, text.len);
    }
    r->p += len;
    return text;
}

struct request {
    uint8_t method[32], path[256], host[256], name[32], value[256];
    struct rx_facts facts;
};

static struct rx_text keep(uint8_t *to, struct rx_text text, uint32_t size)
{
    uint32_t len = RX_MIN(text.len, size);
    memcpy(to, text.ptr, len);
    return (struct rx_text){ to, len };
}

static bool is_text(struct rx_text text, const char *word)
{
    return text.len == strlen(word) && !memcmp(text.ptr, word, text.len);
}

static void take_field(struct request *q, struct rx_text name, struct rx_text value)
{
    struct rx_facts *f = &q->facts;
    if (is_text(name, ":method")) {
        f->method = keep(q->method, value, sizeof q->method);
        f->have |= RX_FACT_METHOD;
    } else if (is_text(name, ":path")) {
        f->path = keep(q->path, value, sizeof q->path);
        f->have |= RX_FACT_PATH;
    } else if (is_text(name, ":authority")) {
        f->host = keep(q->host, value, sizeof q->host);
        f->have |= RX_FACT_HOST;
    }
}

// RFC 7541 appendix A, as far as it names pseudo-headers
static struct rx_text static_name(uint32_t index)
{
    const char *name = index == 1                 ? ":authority"
                       : index == 2 || index == 3 ? ":method"
                       : index == 4 || index == 5 ? ":path"
                                                  : "";
    return (struct rx_text){ (const uint8_t *)name, (uint32_t)strlen(name) };
}

static struct rx_text static_value(uint32_t index)
{
    static const char *const values[] = { "", "", "GET", "POST", "/", "/index.html" };
    const char *value = index < RX_COUNT(values) ? values[index] : "";
    return (struct rx_text){ (const uint8_t *)value, (uint32_t)strlen(value) };
}

static void read_fields(struct request *q, const uint8_t *p, uint32_t n)
{
    struct reader r = { p, p + n, false };
    while (r.p < r.end) {
        uint8_t first = *r.p;
        if (first & 0x80) { // indexed, 6.1
            uint32_t index = read_int(&r, 7);
            if (!r.is_lost)
                take_field(q, static_name(index), static_value(index));
        } else if ((first & 0xe0) == 0x20) { // size of the dynamic table, 6.3
            read_int(&r, 5);
        } else { // literal, 6.2
            uint32_t index = read_int(&r, first & 0x40 ? 6 : 4);
            struct rx_text name = index ? static_name(index) : read_string(&r, q->name, sizeof q->name);
            struct rx_text value = r.is_lost ? name : read_string(&r, q->value, sizeof q->value);
            if (!r.is_lost)
                take_field(q, name, value);
        }
        if (r.is_lost)
            return;
    }
}

// ---- frames -----------------------------------------------------------------------------------------------------

static void put_frame(struct rx_bytes *out, unsigned type, unsigned flags, uint32_t stream, const void *p, size_t n)
{
    rx_bytes_be(out, (uint32_t)n, 3);
    rx_bytes_be(out, type, 1);
    rx_bytes_be(out, flags, 1);
    rx_bytes_be(out, stream, 4);
    rx_bytes_add(out, p, n);
}

// 6.8: the last stream that was looked at, why, and text for whoever reads traces
static bool go_away(struct rx_talk *t, uint32_t stream, uint32_t code)
{
    char line[RX_TALK_LINE];
    struct rx_bytes body = { 0 };
    rx_bytes_be(&body, stream, 4);
    rx_bytes_be(&body, code, 4);
    rx_bytes_text(&body, rx_talk_line(t, line));
    put_frame(&t->out, GOAWAY, 0, 0, body.ptr, body.len);
    t->out.is_short |= body.is_short;
    rx_bytes_free(&body);
    return true;
}

// Literals without indexing, names from the static table: 28 is content-length, 31 is content-type.
static void put_headers(struct rx_bytes *out, uint32_t stream, bool is_tunnel, bool is_bodiless, uint32_t length)
{
    static const char type[] = "text/plain; charset=utf-8";
    struct rx_bytes block = { 0 };
    char text[16];
    int len = snprintf(text, sizeof text, "%u", length);
    if (is_tunnel) // 8 is :status, 200 when it is indexed
        rx_bytes_add(&block,
                     "\x08\x03"
                     "501",
                     5);
    else
        rx_bytes_be(&block, 0x88, 1);
    rx_bytes_be(&block, 0x0f10, 2);
    rx_bytes_be(&block, sizeof type - 1, 1);
    rx_bytes_text(&block, type);
    rx_bytes_be(&block, 0x0f0d, 2);
    rx_bytes_be(&block, (uint32_t)len, 1);
    rx_bytes_text(&block, text);
    put_frame(out, HEADERS, END_HEADERS | (is_bodiless ? END_STREAM : 0), stream, block.ptr, block.len);
    out->is_short |= block.is_short;
    rx_bytes_free(&block);
}

static bool answer(struct rx_talk *t, uint32_t stream, unsigned flags, const uint8_t *p, uint32_t n)
{
    uint32_t skip = (flags & PADDED ? 1 : 0) + (flags & PRIORITY ? 5 : 0), padding = flags & PADDED && n ? p[0] : 0;
    if (!(stream & 1) || skip + padding > n)
        return go_away(t, 0, PROTOCOL_ERROR);
    struct request q;
    memset(&q.facts, 0, sizeof q.facts);
    q.facts.version = 0x0200;
    q.facts.have = RX_FACT_VERSION;
    read_fields(&q, p + skip, n - skip - padding);
    rx_told_set(&t->told, t->about.def, &q.facts);

    struct rx_bytes page = { 0 };
    rx_talk_page(t, &page);
    bool is_head = q.facts.have & RX_FACT_METHOD && is_text(q.facts.method, "HEAD");
    bool is_tunnel = q.facts.have & RX_FACT_METHOD && is_text(q.facts.method, "CONNECT");
    uint32_t window = t->h2_window, len = RX_MIN(page.len, RX_MIN(window, (uint32_t)FRAME_MAX));
    put_headers(&t->out, stream, is_tunnel, is_head, len);
    if (!is_head)
        put_frame(&t->out, DATA, END_STREAM, stream, page.ptr, len);
    t->out.is_short |= page.is_short;
    rx_bytes_free(&page);
    return go_away(t, stream, NO_ERROR);
}

static void settings(struct rx_talk *t, const uint8_t *p, uint32_t n)
{
    for (uint32_t at = 0; at + 6 <= n; at += 6)
        if (wire_be16(p + at) == INITIAL_WINDOW_SIZE)
            t->h2_window = wire_be32(p + at + 2);
    put_frame(&t->out, SETTINGS, ACK, 0, NULL, 0);
}

static bool frame(struct rx_talk *t, const uint8_t *p, uint32_t len)
{
    unsigned type = p[3], flags = p[4];
    uint32_t stream = wire_be32(p + 5) & 0x7fffffff;
    const uint8_t *body = p + FRAME_HEADER;
    switch (type) {
    case HEADERS:
        return answer(t, stream, flags, body, len);
    case SETTINGS:
        if (!(flags & ACK))
            settings(t, body, len);
        return false;
    case PING:
        if (!(flags & ACK) && len == 8)
            put_frame(&t->out, PING, ACK, 0, body, len);
        return false;
    case GOAWAY:
        return true;
    default:
        return false;
    }
}

bool rx_talk_h2(struct rx_talk *t)
{
    if (t->phase == 0) {
        if (t->in.len < PREFACE)
            return t->is_ended;
        rx_bytes_drop(&t->in, PREFACE);
        put_frame(&t->out, SETTINGS, 0, 0, NULL, 0); // 3.4: comes first
        t->h2_window = WINDOW;
        t->phase = 1;
    }
    uint32_t at = 0;
    bool is_done = false;
    while (!is_done && t->in.len - at >= FRAME_HEADER) {
        const uint8_t *p = t->in.ptr + at;
        uint32_t len = wire_be32(p) >> 8;
        if (len > FRAME_MAX)
            return go_away(t, 0, FRAME_SIZE_ERROR);
        if (t->in.len - at < FRAME_HEADER + len)
            break;
        is_done = frame(t, p, len);
        at += FRAME_HEADER + len;
    }
    rx_bytes_drop(&t->in, at);
    return is_done || (t->is_ended && go_away(t, 0, NO_ERROR));
}
