// SPDX-License-Identifier: MIT
// Enters: first bytes and a protocol of the config. Leaves: what its prefixes, patterns and function say of them, in
// the shape of core/proto.h, so that nobody need tell it from a built-in one.
// A match lasts: patterns are looked for up to `within`, which no later byte changes.
#include <string.h>

#include "identify.h"
#include "script.h"

typedef uint8_t block __attribute__((vector_size(16)));
typedef uint64_t halves __attribute__((vector_size(16)));

// Whether any of `n` first bytes stands in these 16.
static inline __attribute__((always_inline)) block hits_in(const uint8_t *p, const block *f, unsigned n)
{
    block b, hit;
    memcpy(&b, p, sizeof b);
    hit = (block)(b == f[0]) | (block)(b == f[1]);
    if (n == 4)
        hit |= (block)(b == f[2]) | (block)(b == f[3]);
    return hit;
}

static inline bool is_hit(block hit)
{
    halves h = (halves)hit;
    return h[0] | h[1];
}

// Most first bytes hold no pattern: 64 of them, then 16, are cleared at a time. Returns where a closer look begins,
// `n` when there is nothing to look at. `n_first`: how many of f[4] differ, 2 or 4.
static inline __attribute__((always_inline)) uint32_t skip_blocks(const uint8_t *p, uint32_t n, const uint8_t f[4],
                                                                  unsigned n_first)
{
    const block zero = { 0 }, first[4] = { zero + f[0], zero + f[1], zero + f[2], zero + f[3] };
    uint32_t at = 0;
    for (; n - at >= 64; at += 64) {
        block low = hits_in(p + at, first, n_first) | hits_in(p + at + 16, first, n_first);
        block high = hits_in(p + at + 32, first, n_first) | hits_in(p + at + 48, first, n_first);
        if (is_hit(low | high))
            break;
    }
    for (; n - at >= 16; at += 16)
        if (is_hit(hits_in(p + at, first, n_first)))
            return at;
    // the last, shorter piece, looked at together with what is known to be clear
    if (at < n && n >= 16 && !is_hit(hits_in(p + n - 16, first, n_first)))
        return n;
    return at;
}

static bool is_pattern_at(const struct rx_known *k, const uint8_t *p, uint32_t left)
{
    for (uint32_t i = 0; i < k->pattern.n; i++)
        if (k->pattern.len[i] <= left && !memcmp(p, k->pattern.text[i], k->pattern.len[i]))
            return true;
    return false;
}

// The first bytes up to `at` are known to begin no pattern.
static __attribute__((noinline)) enum rx_verdict look_closer(const struct rx_known *k, const uint8_t *p, uint32_t at,
                                                             uint32_t n)
{
    uint32_t look = RX_MIN(n, k->within);
    while (at < look) {
        if (k->pattern_table[p[at]]) {
            if (is_pattern_at(k, p + at, look - at))
                return RX_MATCH;
            at++;
            if (k->n_pattern_first <= RX_COUNT(k->pattern_first))
                at += skip_blocks(p + at, look - at, k->pattern_first, RX_COUNT(k->pattern_first));
        } else {
            at++;
        }
    }
    return n >= k->within ? RX_NO : RX_MORE;
}

static enum rx_verdict identify_prefixes(const struct rx_known *k, const uint8_t *p, uint32_t n)
{
    enum rx_verdict v = RX_NO;
    for (uint32_t i = 0; i < k->prefix.n; i++) {
        if (memcmp(p, k->prefix.text[i], RX_MIN(n, k->prefix.len[i])))
            continue;
        if (n >= k->prefix.len[i])
            return RX_MATCH;
        v = RX_MORE;
    }
    return v;
}

static inline enum rx_verdict said(struct rx_facts *f, enum rx_verdict v)
{
    f->have = 0;
    f->pending = 0;
    f->need = 0;
    f->note = RX_NOTE_NONE;
    return v;
}

static __attribute__((noinline)) enum rx_verdict patterns_from(const uint8_t *p, uint32_t n, struct rx_facts *f,
                                                               uint32_t at)
{
    return said(f, look_closer(f->known, p, at, n));
}

static inline __attribute__((always_inline)) enum rx_verdict identify_patterns(const uint8_t *p, uint32_t n,
                                                                               struct rx_facts *f, unsigned n_first)
{
    const struct rx_known *k = f->known;
    uint32_t look = RX_MIN(n, k->within), at = skip_blocks(p, look, k->pattern_first, n_first);
    if (RX_UNLIKELY(at < look))
        return patterns_from(p, n, f, at);
    f->need = 0;
    f->note = RX_NOTE_NONE;
    return n >= k->within ? RX_NO : RX_MORE;
}

static enum rx_verdict identify_two_patterns(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    return identify_patterns(p, n, f, 2);
}

static enum rx_verdict identify_four_patterns(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    return identify_patterns(p, n, f, 4);
}

static enum rx_verdict identify_many_patterns(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    return patterns_from(p, n, f, 0);
}

static rx_identify_fn *patterns_identify(const struct rx_known *k)
{
    return k->n_pattern_first <= 2   ? identify_two_patterns
           : k->n_pattern_first <= 4 ? identify_four_patterns
                                     : identify_many_patterns;
}

// Patterns speak for themselves; prefixes too, unless a function has the last word.
static enum rx_verdict identify_declared(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    const struct rx_known *k = f->known;
    said(f, RX_NO);
    enum rx_verdict v = k->prefix.n ? identify_prefixes(k, p, n) : RX_NO;
    bool may_begin = !k->first || n == 0 || k->first[p[0]];
    if (k->identify_fn >= 0 && may_begin && (v == RX_MATCH || !k->prefix.n))
        v = rx_script_identify(f->script, (uint32_t)k->identify_fn, p, n, f);
    if (v == RX_MATCH || !k->pattern.n)
        return v;
    enum rx_verdict w = look_closer(k, p, 0, n);
    return w == RX_NO ? v : w;
}

static enum rx_verdict identify_any(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    (void)p, (void)n;
    return said(f, RX_MATCH);
}

static enum rx_verdict identify_silent(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    (void)p;
    return said(f, n ? RX_NO : RX_MORE);
}

// Stands in for a function of the config, which the quick way of deciding does not call.
static enum rx_verdict identify_later(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    (void)p, (void)n, (void)f;
    return (enum rx_verdict)RX_LATER;
}

rx_identify_fn *rx_known_identify(const struct rx_known *k, enum rx_transport transport)
{
    if (k->def)
        return transport == RX_UDP ? k->def->datagram : k->def->identify;
    if (k->is_any)
        return identify_any;
    if (k->is_silent)
        return identify_silent;
    return k->identify_fn < 0 && !k->prefix.n ? patterns_identify(k) : identify_declared;
}

rx_identify_fn *rx_known_quick(const struct rx_known *k, uint8_t first)
{
    if (k->identify_fn >= 0)
        return identify_later;
    rx_identify_fn *identify = rx_known_identify(k, RX_TCP);
    if (k->def)
        return k->def->identify_for ? k->def->identify_for(first) : identify;
    bool may_begin = k->pattern_table && k->pattern_table[first]; // then there is nothing to skip
    return may_begin && identify == patterns_identify(k) ? identify_many_patterns : identify;
}

enum rx_verdict rx_known_ask(const struct rx_known *known, const uint8_t *p, uint32_t n, struct rx_facts *f,
                             struct rx_script *script)
{
    f->known = known;
    f->script = script;
    rx_identify_fn *identify = rx_known_identify(known, f->n_grams ? RX_UDP : RX_TCP);
    if (!identify)
        return said(f, RX_NO);
    if (!f->n_grams || known->def)
        return identify(p, n, f);
    // A datagram is whole: what hopes for more of it hopes in vain.
    return identify(p, rx_first_gram(f, n), f) == RX_MATCH ? RX_MATCH : said(f, RX_NO);
}
