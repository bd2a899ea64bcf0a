// SPDX-License-Identifier: MIT
// Enters: a listener's routes (once), then first bytes. Leaves: which protocols are worth asking, and which declared
// prefixes are there. Compiled while the config is built, read-only afterwards. Deciding between routes is route.c's,
// what one protocol says is core/proto's and declared.c's.
#include "identify.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "route.h"

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
                            .identify = rx_known_identify(known, m->transport),
                            .first_route = route,
                            .first_named = RX_NO_ROUTE,
                            .is_gated = !known->prefix.n, // the trie knows nothing of clients
                            .name_fact = rx_name_fact(known) };
    return e;
}

static int entry_add(struct rx_matcher *m, struct rx_entry *e, const struct rx_route *r)
{
    e->want |= r->want;
    e->is_gated &= r->n_from || r->n_not_from || r->n_to_port || r->n_during;
    if (r->index == e->first_route)
        e->settles = r->is_plain;
    if (!rx_route_is_tabled(r)) {
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

static bool may_start_with(const struct rx_known *k, unsigned byte, enum rx_transport transport)
{
    if (k->is_any)
        return true;
    if (k->is_silent)
        return false;
    if (!k->def)
        return k->pattern.n > 0 || (k->identify_fn >= 0 && !k->prefix.n &&
                                    (!k->first || k->first[byte])); // prefixes are the trie's business
    const char *first = transport == RX_UDP ? k->def->first_udp : k->def->first;
    unsigned len = transport == RX_UDP ? k->def->first_udp_len : k->def->first_len;
    if (!first)
        return true;
    for (unsigned i = 0; i + 1 < len; i += 2)
        if (byte >= (uint8_t)first[i] && byte <= (uint8_t)first[i + 1])
            return true;
    return false;
}

static struct rx_cand cand_of(const struct rx_matcher *m, uint32_t number, unsigned byte,
                              const struct rx_listen *listen)
{
    const struct rx_entry *e = &m->entries[number];
    bool is_udp = m->transport == RX_UDP;
    return (struct rx_cand){ .identify = is_udp ? e->identify : rx_known_quick(e->known, (uint8_t)byte),
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
        if (may_start_with(m->entries[i].known, byte, m->transport)) {
            if (list)
                list[n] = cand_of(m, i, byte, listen);
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
    m->transport = transport;
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

const struct rx_matcher *rx_matcher_of(const struct rx_listen *listen, const struct rx_ask *ask)
{
    return ask->n_grams ? listen->udp : listen->tcp;
}

void rx_matcher_fini(struct rx_matcher *m)
{
    for (uint32_t i = 0; m && i < m->n_entries; i++)
        rx_names_free(m->entries[i].names);
}
