// SPDX-License-Identifier: MIT
// Enters: a listener's routes (once), then first bytes. Leaves: which protocols are worth asking, and what the
// declared ones say. Compiled while the config is built, read-only afterwards. Deciding between routes is
// route.c's; this file only knows protocols.
#include "identify.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "route.h"
#include "script.h"

// ---- entries --------------------------------------------------------------------------------------------------

static struct rx_entry *entry_for(struct rx_matcher *m, const struct rx_known *known, uint32_t route)
{
    for (uint32_t i = m->n_entries; i-- > 0;)
        if (m->entries[i].known == known)
            return &m->entries[i];
    struct rx_entry *list = rx_arena_grow(m->arena, m->entries, m->n_entries, sizeof *list);
    if (!list)
        return NULL;
    m->entries = list;
    struct rx_entry *e = &list[m->n_entries++];
    *e = (struct rx_entry){ .known = known,
                            .identify = rx_known_identify(known),
                            .first_route = route,
                            .first_named = RX_NO_ROUTE,
                            .is_gated = !known->prefix.n, // the trie knows nothing of clients
                            .name_fact = rx_name_fact(known) };
    return e;
}

// Names without a regular expression among them go to the table; the others are looked at one by one.
static bool is_tabled(const struct rx_route *r)
{
    return r->name_cond.n > 0 && r->name_cond.n_regex == 0;
}

static int entry_add(struct rx_matcher *m, struct rx_entry *e, const struct rx_route *r)
{
    e->want |= r->want;
    e->is_gated &= r->n_from || r->n_not_from || r->n_to_port;
    if (r->index == e->first_route)
        e->settles = r->is_plain;
    if (!is_tabled(r)) {
        uint32_t *open = rx_arena_grow(m->arena, e->open, e->n_open, sizeof *open);
        if (!open)
            return -1;
        e->open = open;
        open[e->n_open++] = r->index;
        return 0;
    }
    if (!e->names && !(e->names = rx_names_new()))
        return -1;
    if (e->first_named == RX_NO_ROUTE)
        e->first_named = r->index;
    for (uint32_t i = 0; i < r->name_cond.n; i++)
        if (rx_names_add(e->names, r->name_cond.text[i], r->name_cond.len[i], r->index))
            return -1;
    return 0;
}

// ---- candidates by first byte ---------------------------------------------------------------------------------

static bool may_start_with(const struct rx_known *k, unsigned byte)
{
    if (k->is_any)
        return true;
    if (k->is_silent)
        return false;
    if (!k->def)
        return k->pattern.n > 0 || (k->identify_fn >= 0 && !k->prefix.n); // prefixes are the trie's business
    if (!k->def->first)
        return true;
    for (unsigned i = 0; i + 1 < k->def->first_len; i += 2)
        if (byte >= (uint8_t)k->def->first[i] && byte <= (uint8_t)k->def->first[i + 1])
            return true;
    return false;
}

// Stands in for a function of the config, which the quick way of deciding does not call.
static enum rx_verdict identify_later(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    (void)p, (void)n, (void)f;
    return (enum rx_verdict)RX_LATER;
}

static rx_identify_fn *quick_identify(const struct rx_entry *e, unsigned byte)
{
    const struct rx_known *k = e->known;
    if (k->identify_fn >= 0)
        return identify_later;
    return k->def && k->def->identify_for ? k->def->identify_for((uint8_t)byte) : e->identify;
}

static struct rx_cand cand_of(const struct rx_entry *e, uint32_t number, unsigned byte, const struct rx_listen *listen)
{
    return (struct rx_cand){ .identify = quick_identify(e, byte),
                             .known = e->known,
                             .settles = e->settles ? &listen->routes[e->first_route] : NULL,
                             .want = e->want,
                             .first_route = e->first_route,
                             .entry = (uint16_t)number,
                             .is_gated = e->is_gated };
}

static enum rx_verdict identify_nothing(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    (void)p, (void)n;
    f->note = RX_NOTE_NONE;
    return RX_NO;
}

// The list for one byte into `list` (NULL: only count), never an empty one. Returns its length, the end mark included.
static uint32_t list_candidates(const struct rx_matcher *m, unsigned byte, const struct rx_listen *listen,
                                struct rx_cand *list)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_entries; i++)
        if (may_start_with(m->entries[i].known, byte)) {
            if (list)
                list[n] = cand_of(&m->entries[i], i, byte, listen);
            n++;
        }
    if (!n) {
        if (list)
            list[n] = (struct rx_cand){ .identify = identify_nothing, .first_route = RX_NO_ROUTE };
        n++;
    }
    return n + 1;
}

static int build_candidates(struct rx_matcher *m, const struct rx_listen *listen)
{
    uint32_t total = 0;
    for (unsigned b = 0; b < 256; b++)
        total += list_candidates(m, b, listen, NULL);
    struct rx_cand *all = rx_arena_get(m->arena, total * sizeof *all);
    if (!all)
        return -1;
    for (unsigned b = 0; b < 256; b++) {
        uint32_t n = list_candidates(m, b, listen, all);
        m->first[b].lead = all[0];
        m->first[b].list = all;
        all += n;
    }
    return 0;
}

// ---- the trie of prefixes -------------------------------------------------------------------------------------

struct prefix {
    const uint8_t *bytes;
    uint32_t len;
    uint16_t entry;
};

static int compare_prefixes(const void *a, const void *b)
{
    const struct prefix *x = a, *y = b;
    int c = memcmp(x->bytes, y->bytes, RX_MIN(x->len, y->len));
    if (c)
        return c;
    return x->len != y->len ? (x->len < y->len ? -1 : 1) : (int)x->entry - (int)y->entry;
}

static uint32_t common_length(const struct prefix *list, uint32_t n, uint32_t from)
{
    const struct prefix *a = &list[0], *z = &list[n - 1]; // sorted: the ends differ most
    uint32_t k = from;
    while (k < a->len && k < z->len && a->bytes[k] == z->bytes[k])
        k++;
    return k;
}

// Makes `node` stand for list[0..n), which share `from` bytes already walked and at least one more.
static int trie_fill(struct rx_matcher *m, uint32_t node, const struct prefix *list, uint32_t n, uint32_t from)
{
    uint32_t depth = common_length(list, n, from), i = 0, kids = 0;
    struct rx_trie_node t = { .label = list[0].bytes + from, .label_len = depth - from, .lowest = RX_NO_ROUTE };
    while (i < n && list[i].len == depth)
        i++;
    if (i && !(t.terms = rx_arena_get(m->arena, i * sizeof *t.terms)))
        return -1;
    for (uint32_t k = 0; k < i; k++)
        t.terms[t.n_terms++] = list[k].entry;
    for (uint32_t k = i; k < n; k++) {
        t.lowest = RX_MIN(t.lowest, m->entries[list[k].entry].first_route);
        kids += k == i || list[k].bytes[depth] != list[k - 1].bytes[depth];
    }
    t.kids = m->n_nodes;
    t.n_kids = kids;
    m->n_nodes += kids;
    if (kids > 4 && !(t.fan = rx_arena_get(m->arena, 256 * sizeof *t.fan)))
        return -1;
    for (uint32_t kid = 0; kid < kids; kid++) {
        uint32_t end = i + 1;
        while (end < n && list[end].bytes[depth] == list[i].bytes[depth])
            end++;
        if (t.fan)
            t.fan[list[i].bytes[depth]] = (uint16_t)(kid + 1);
        if (trie_fill(m, t.kids + kid, list + i, end - i, depth))
            return -1;
        i = end;
    }
    m->nodes[node] = t;
    return 0;
}

enum { SEEN_SPREAD = 32 }; // bits for each prefix: one in so many other beginnings looks like one

// Hashes the beginnings of list[0..n), which begin with the same byte, as far as the shortest of them goes.
static void note_beginnings(struct rx_matcher *m, const struct prefix *list, uint32_t n)
{
    uint32_t least = 8;
    for (uint32_t i = 0; i < n; i++)
        least = RX_MIN(least, list[i].len);
    m->first[list[0].bytes[0]].mask_bytes = least;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t start[8] = { 0 };
        memcpy(start, list[i].bytes, least);
        uint64_t bit = rx_prefix_hash(start, least) >> m->seen_shift;
        m->seen[bit / 64] |= 1ull << bit % 64;
    }
}

static int build_seen(struct rx_matcher *m, uint32_t n)
{
    uint32_t log = 9;
    while (log < 32 && 1ull << log < (uint64_t)n * SEEN_SPREAD)
        log++;
    m->seen_shift = 64 - log;
    m->seen = rx_arena_get(m->arena, (1ull << log) / 8);
    return m->seen ? 0 : -1;
}

static int build_trie(struct rx_matcher *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_entries; i++)
        n += m->entries[i].known->prefix.n;
    if (!n)
        return 0;
    struct prefix *list = calloc(n, sizeof *list);
    m->nodes = rx_arena_get(m->arena, (2 * (size_t)n + 257) * sizeof *m->nodes);
    if (!list || !m->nodes || build_seen(m, n)) {
        free(list);
        return -1;
    }
    n = 0;
    for (uint32_t i = 0; i < m->n_entries; i++)
        for (uint32_t k = 0; k < m->entries[i].known->prefix.n; k++) {
            const struct rx_texts *t = &m->entries[i].known->prefix;
            list[n++] = (struct prefix){ (const uint8_t *)t->text[k], t->len[k], (uint16_t)i };
        }
    qsort(list, n, sizeof *list, compare_prefixes);
    m->n_nodes = 1; // 0 means none
    int rc = 0;
    for (uint32_t i = 0, end; i < n && !rc; i = end) {
        for (end = i + 1; end < n && list[end].bytes[0] == list[i].bytes[0];)
            end++;
        uint32_t node = m->n_nodes++;
        m->first[list[i].bytes[0]].root = node;
        note_beginnings(m, list + i, end - i);
        rc = trie_fill(m, node, list + i, end - i, 0);
    }
    free(list);
    return rc;
}

static const struct rx_trie_node *trie_kid(const struct rx_matcher *m, const struct rx_trie_node *t, uint8_t byte)
{
    if (t->fan)
        return t->fan[byte] ? &m->nodes[t->kids + t->fan[byte] - 1] : NULL;
    for (uint32_t i = 0; i < t->n_kids; i++)
        if (m->nodes[t->kids + i].label[0] == byte)
            return &m->nodes[t->kids + i];
    return NULL;
}

static uint32_t lowest_here(const struct rx_matcher *m, const struct rx_trie_node *t)
{
    uint32_t low = t->lowest;
    for (uint32_t i = 0; i < t->n_terms; i++)
        low = RX_MIN(low, m->entries[t->terms[i]].first_route);
    return low;
}

uint32_t rx_prefix_walk(const struct rx_matcher *m, const uint8_t *p, uint32_t n, rx_prefix_hit_fn *hit, void *data)
{
    uint32_t root = m->first[p[0]].root;
    const struct rx_trie_node *t = root ? &m->nodes[root] : NULL;
    uint32_t at = 0;
    while (t) {
        uint32_t here = RX_MIN(t->label_len, n - at);
        if (memcmp(t->label, p + at, here))
            return RX_NO_ROUTE;
        at += here;
        if (here < t->label_len)
            return lowest_here(m, t);
        for (uint32_t i = 0; i < t->n_terms; i++)
            hit(data, &m->entries[t->terms[i]]);
        if (at == n)
            return t->lowest;
        t = trie_kid(m, t, p[at]);
    }
    return RX_NO_ROUTE;
}

// ---- declared protocols ---------------------------------------------------------------------------------------

typedef uint8_t block __attribute__((vector_size(16)));
typedef uint64_t halves __attribute__((vector_size(16)));

// Whether any of `n` first bytes stands in these 16.
static inline halves hits_in(const uint8_t *p, const uint8_t *f, unsigned n)
{
    const block zero = { 0 };
    block b, hit = zero;
    memcpy(&b, p, sizeof b);
    for (unsigned i = 0; i < n; i++)
        hit |= b == zero + f[i];
    return (halves)hit;
}

// Most first bytes hold no pattern: 64 of them, then 16, are cleared at a time. Returns where a closer look begins.
static inline uint32_t skip_blocks(const uint8_t *p, uint32_t at, uint32_t n, const uint8_t *f, unsigned n_first)
{
    for (; at + 64 <= n; at += 64) {
        halves h = hits_in(p + at, f, n_first) | hits_in(p + at + 16, f, n_first) | hits_in(p + at + 32, f, n_first) |
                   hits_in(p + at + 48, f, n_first);
        if (h[0] | h[1])
            break;
    }
    while (at < n && n - at >= 16) {
        halves h = hits_in(p + at, f, n_first);
        if (h[0] | h[1])
            return at;
        at += 16;
    }
    if (at < n && n >= 16) { // the last, shorter piece, looked at together with what is known to be clear
        halves h = hits_in(p + n - 16, f, n_first);
        if (!(h[0] | h[1]))
            return n;
    }
    return at;
}

// From `at` on, the next place where a pattern may begin; n when there is none.
static inline uint32_t next_start(const struct rx_known *k, const uint8_t *p, uint32_t at, uint32_t n)
{
    if (k->n_pattern_first <= 2)
        at = skip_blocks(p, at, n, k->pattern_first, 2);
    else if (k->n_pattern_first <= RX_COUNT(k->pattern_first))
        at = skip_blocks(p, at, n, k->pattern_first, RX_COUNT(k->pattern_first));
    while (at < n && !k->pattern_table[p[at]])
        at++;
    return at;
}

static bool is_pattern_at(const struct rx_known *k, const uint8_t *p, uint32_t left)
{
    for (uint32_t i = 0; i < k->pattern.n; i++)
        if (k->pattern.len[i] <= left && !memcmp(p, k->pattern.text[i], k->pattern.len[i]))
            return true;
    return false;
}

static __attribute__((noinline)) bool has_pattern(const struct rx_known *k, const uint8_t *p, uint32_t at, uint32_t n)
{
    for (; at < n; at = next_start(k, p, at + 1, n))
        if (is_pattern_at(k, p + at, n - at))
            return true;
    return false;
}

static inline enum rx_verdict identify_patterns(const struct rx_known *k, const uint8_t *p, uint32_t n)
{
    uint32_t look = RX_MIN(n, k->within), at = next_start(k, p, 0, look);
    if (RX_UNLIKELY(at < look) && has_pattern(k, p, at, look))
        return RX_MATCH;
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

static enum rx_verdict identify_by_patterns(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    return said(f, identify_patterns(f->known, p, n));
}

// Patterns speak for themselves; prefixes too, unless a function has the last word.
static enum rx_verdict identify_declared(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    const struct rx_known *k = f->known;
    said(f, RX_NO);
    enum rx_verdict v = k->prefix.n ? identify_prefixes(k, p, n) : RX_NO;
    if (k->identify_fn >= 0 && (v == RX_MATCH || !k->prefix.n))
        v = rx_script_identify(f->script, (uint32_t)k->identify_fn, p, n, f);
    if (v == RX_MATCH || !k->pattern.n)
        return v;
    enum rx_verdict w = identify_patterns(k, p, n);
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

rx_identify_fn *rx_known_identify(const struct rx_known *k)
{
    if (k->def)
        return k->def->identify;
    if (k->is_any)
        return identify_any;
    if (k->is_silent)
        return identify_silent;
    return k->identify_fn < 0 && !k->prefix.n ? identify_by_patterns : identify_declared;
}

enum rx_verdict rx_known_ask(const struct rx_known *known, const uint8_t *p, uint32_t n, struct rx_facts *f,
                             struct rx_script *script)
{
    f->known = known;
    f->script = script;
    return rx_known_identify(known)(p, n, f);
}

// ---- building -------------------------------------------------------------------------------------------------

struct rx_matcher *rx_matcher_new(const struct rx_listen *listen, enum rx_transport transport, struct rx_arena *arena,
                                  const char **err)
{
    *err = "out of memory";
    enum { ALIGN = _Alignof(struct rx_matcher) }; // a cache line, which is more than the arena promises
    char *room = rx_arena_get(arena, sizeof(struct rx_matcher) + ALIGN);
    if (!room)
        return NULL;
    struct rx_matcher *m = (void *)(room + (-(uintptr_t)room & (ALIGN - 1)));
    m->arena = arena;
    for (uint32_t i = 0; i < listen->n_routes; i++) {
        const struct rx_route *r = &listen->routes[i];
        if (!(r->transport & transport))
            continue;
        struct rx_entry *e = entry_for(m, r->proto, i);
        if (!e || entry_add(m, e, r))
            goto fail;
    }
    if (m->n_entries > UINT16_MAX) {
        *err = "more than 65535 protocols on one listener";
        goto fail;
    }
    if (build_candidates(m, listen) || build_trie(m))
        goto fail;
    return m;
fail:
    rx_matcher_fini(m);
    return NULL;
}

void rx_matcher_fini(struct rx_matcher *m)
{
    for (uint32_t i = 0; m && i < m->n_entries; i++)
        rx_names_free(m->entries[i].names);
}
