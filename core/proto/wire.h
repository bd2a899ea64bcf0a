// SPDX-License-Identifier: MIT
// What the smaller identifiers share: loads, the ways to give a verdict (each sets every field the contract
// in core/proto.h asks for), and the pieces of a command line. Inline and pure, nothing is remembered.
#pragma once

#include <string.h>

#include "proto.h"

static inline uint32_t wire_be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static inline uint32_t wire_be32(const uint8_t *p)
{
    return wire_be16(p) << 16 | wire_be16(p + 2);
}

static inline uint64_t wire_be64(const uint8_t *p)
{
    return (uint64_t)wire_be32(p) << 32 | wire_be32(p + 4);
}

static inline bool wire_is_digit(uint8_t c)
{
    return (uint8_t)(c - '0') < 10;
}

static inline bool wire_is_alpha(uint8_t c)
{
    return (uint8_t)((c | 0x20) - 'a') < 26;
}

// Text of a line: all but controls. Bytes from 0x80 are let through, names are UTF-8 more often than not.
static inline bool wire_is_text(uint8_t c)
{
    return c >= ' ' && c != 0x7f;
}

// ---- verdicts

static inline enum rx_verdict wire_no(struct rx_facts *f)
{
    f->note = RX_NOTE_NONE;
    return RX_NO;
}

// This protocol beyond doubt, and broken beyond repair
static inline enum rx_verdict wire_broken(struct rx_facts *f)
{
    f->note = RX_NOTE_PROTO_INVALID;
    return RX_NO;
}

// `need`: as in core/proto.h, 0 for one byte more
static inline enum rx_verdict wire_more(struct rx_facts *f, uint32_t need)
{
    f->have = 0;
    f->pending = 0;
    f->need = need;
    f->note = RX_NOTE_NONE;
    return RX_MORE;
}

static inline enum rx_verdict wire_match(struct rx_facts *f, uint32_t have)
{
    f->have = have;
    f->pending = 0;
    f->need = 0;
    f->note = RX_NOTE_NONE;
    return RX_MATCH;
}

// Matched, and `fact` is still on its way
static inline enum rx_verdict wire_pending(struct rx_facts *f, uint32_t have, uint32_t fact, uint32_t need)
{
    f->have = have;
    f->pending = fact;
    f->need = need;
    f->note = RX_NOTE_NONE;
    return RX_MATCH;
}

// ---- pieces

// Whether p starts with a literal of `len` bytes: NO where they differ, MORE where p ends first
static inline enum rx_verdict wire_starts(const uint8_t *p, uint32_t n, const char *literal, uint32_t len)
{
    if (RX_LIKELY(n >= len))
        return memcmp(p, literal, len) == 0 ? RX_MATCH : RX_NO;
    return memcmp(p, literal, n) == 0 ? RX_MORE : RX_NO;
}

// The same, letters in either case; the literal is lower-case and may hold no byte that |0x20 would confuse
static inline enum rx_verdict wire_starts_any_case(const uint8_t *p, uint32_t n, const char *literal,
                                                   uint32_t len)
{
    uint32_t common = RX_MIN(n, len);
    for (uint32_t i = 0; i < common; i++) {
        uint8_t c = p[i];
        if ((wire_is_alpha(c) ? c | 0x20 : c) != (uint8_t)literal[i])
            return RX_NO;
    }
    return n >= len ? RX_MATCH : RX_MORE;
}

// A word of at most eight letters as a number, in either case alike: WIRE_WORD('u','s','e','r',0,0,0,0)
#define WIRE_WORD(a, b, c, d, e, f, g, h)                                                                    \
    ((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 | (uint64_t)(e) << 32 |  \
     (uint64_t)(f) << 40 | (uint64_t)(g) << 48 | (uint64_t)(h) << 56)
#define WIRE_WORD3(a, b, c) WIRE_WORD(a, b, c, 0, 0, 0, 0, 0)
#define WIRE_WORD4(a, b, c, d) WIRE_WORD(a, b, c, d, 0, 0, 0, 0)

// Length of the word the line starts with, its first eight letters in *word
static inline uint32_t wire_word(const uint8_t *p, uint32_t n, uint64_t *word)
{
    uint32_t len = 0, most = RX_MIN(n, 8u);
    uint64_t w = 0;
    for (; len < most && wire_is_alpha(p[len]); len++)
        w |= (uint64_t)(p[len] | 0x20) << (8 * len);
    *word = w;
    return len;
}

// Whether `whole` starts with the `len` letters of `part`
static inline bool wire_word_starts(uint64_t whole, uint64_t part, uint32_t len)
{
    return len >= 8 ? whole == part : ((whole ^ part) & (((uint64_t)1 << (8 * len)) - 1)) == 0;
}

static inline bool wire_is_word_end(uint8_t c)
{
    return c == ' ' || c == '\r' || c == '\n';
}

// CR LF, or the bare LF of somebody typing into nc
static inline enum rx_verdict wire_eol(const uint8_t *p, uint32_t n, uint32_t at)
{
    if (at < n && p[at] == '\r')
        at++;
    if (at >= n)
        return RX_MORE;
    return p[at] == '\n' ? RX_MATCH : RX_NO;
}

// Where the text starting at `at` ends: the first control, or n
static inline uint32_t wire_text_end(const uint8_t *p, uint32_t n, uint32_t at)
{
    while (at < n && wire_is_text(p[at]))
        at++;
    return at;
}

static inline uint32_t wire_spaces_end(const uint8_t *p, uint32_t n, uint32_t at)
{
    while (at < n && p[at] == ' ')
        at++;
    return at;
}

// Where a word that holds neither spaces nor controls ends
static inline uint32_t wire_token_end(const uint8_t *p, uint32_t n, uint32_t at)
{
    while (at < n && wire_is_text(p[at]) && p[at] != ' ')
        at++;
    return at;
}
