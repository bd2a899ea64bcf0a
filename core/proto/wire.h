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
static inline enum rx_verdict wire_starts_any_case(const uint8_t *p, uint32_t n, const char *literal, uint32_t len)
{
    uint32_t common = RX_MIN(n, len);
    for (uint32_t i = 0; i < common; i++) {
        uint8_t c = p[i];
        if ((wire_is_alpha(c) ? c | 0x20 : c) != (uint8_t)literal[i])
            return RX_NO;
    }
    return n >= len ? RX_MATCH : RX_MORE;
}

// A word of at most eight letters as a number, in either case alike, that sorts as the words do
#define WIRE_WORD(a, b, c, d, e, f, g, h)                                                                            \
    ((uint64_t)(a) << 56 | (uint64_t)(b) << 48 | (uint64_t)(c) << 40 | (uint64_t)(d) << 32 | (uint64_t)(e) << 24 |   \
     (uint64_t)(f) << 16 | (uint64_t)(g) << 8 | (uint64_t)(h))
#define WIRE_WORD3(a, b, c) WIRE_WORD(a, b, c, 0, 0, 0, 0, 0)
#define WIRE_WORD4(a, b, c, d) WIRE_WORD(a, b, c, d, 0, 0, 0, 0)

// The same in all eight bytes
#define WIRE_ALL(byte) (0x0101010101010101u * (uint64_t)(byte))

// Length of the word p starts with, up to eight, its letters in *word
static inline uint32_t wire_word(const uint8_t *p, uint32_t n, uint64_t *word)
{
    uint32_t len = 0;
    uint64_t w = 0;
    if (RX_LIKELY(n >= 8)) {
        // eight bytes at once: a sum sets bit 7 of those from 'a', another of those beyond 'z'
        uint64_t raw = wire_be64(p), x = (raw | WIRE_ALL(0x20)) & WIRE_ALL(0x7f);
        uint64_t letters = (x + WIRE_ALL(0x80 - 'a')) & ~(x + WIRE_ALL(0x7f - 'z')) & ~raw;
        uint64_t others = ~letters & WIRE_ALL(0x80);
        len = others ? (uint32_t)__builtin_clzll(others) / 8 : 8;
        w = len < 8 ? (x & ~(~(uint64_t)0 >> 8 * len)) : x;
    } else {
        for (; len < n && wire_is_alpha(p[len]); len++)
            w |= (uint64_t)(p[len] | 0x20) << (56 - 8 * len);
    }
    *word = w;
    return len;
}

// Whether `whole` starts with the `len` letters of `part`
static inline bool wire_word_starts(uint64_t whole, uint64_t part, uint32_t len)
{
    return len == 0 || (whole ^ part) >> (64 - 8 * len) == 0;
}

// One command of a line protocol; what the numbers say is its file's affair
struct wire_verb {
    uint64_t word;
    uint8_t form, least, most;
};

// The verb a line starts with, of a table in ascending order: its word ends where `is_whole` (MATCH: *found), or is
// the start of a longer one (MORE)
static inline enum rx_verdict wire_find(const struct wire_verb *verbs, uint32_t count, uint64_t word, uint32_t len,
                                        bool is_whole, const struct wire_verb **found)
{
    // the first that is not below `word`; halves without branches, since nobody could predict them
    const struct wire_verb *at = verbs;
    for (uint32_t left = count; left > 1;) {
        uint32_t half = left / 2;
        at = at[half - 1].word < word ? at + half : at;
        left -= half;
    }
    if (at->word < word)
        return RX_NO;
    *found = at;
    if (is_whole)
        return at->word == word ? RX_MATCH : RX_NO;
    return wire_word_starts(at->word, word, len) ? RX_MORE : RX_NO;
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

// Where bytes from `low` on, but DEL, end: n, or the first other. Eight at once: a sum sets bit 7 of those from
// `low`, another of DEL.
static inline uint32_t wire_bytes_end(const uint8_t *p, uint32_t n, uint32_t at, uint8_t low)
{
    for (; n - at >= 8; at += 8) {
        uint64_t raw = wire_be64(p + at), x = raw & WIRE_ALL(0x7f);
        uint64_t low_ones = ~(x + WIRE_ALL(0x80 - low)), del = x + WIRE_ALL(1);
        uint64_t bad = (low_ones | del) & ~raw & WIRE_ALL(0x80);
        if (bad)
            return at + (uint32_t)__builtin_clzll(bad) / 8;
    }
    while (at < n && p[at] >= low && p[at] != 0x7f)
        at++;
    return at;
}

// Where the text starting at `at` (at most n) ends: the first control, or n
static inline uint32_t wire_text_end(const uint8_t *p, uint32_t n, uint32_t at)
{
    return wire_bytes_end(p, n, at, ' ');
}

// Where a word that holds neither spaces nor controls ends
static inline uint32_t wire_token_end(const uint8_t *p, uint32_t n, uint32_t at)
{
    return wire_bytes_end(p, n, at, ' ' + 1);
}

static inline uint32_t wire_spaces_end(const uint8_t *p, uint32_t n, uint32_t at)
{
    while (at < n && p[at] == ' ')
        at++;
    return at;
}
