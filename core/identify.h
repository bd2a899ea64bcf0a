// SPDX-License-Identifier: MIT
// What a listener's routes can recognise, compiled: 256 lists of candidates by first byte, and one trie for all
// declared prefixes, so that the cost does not grow with the number of protocols.
#pragma once

#include <string.h>

#include "conf.h"
#include "names.h"
#include "proto.h"

enum { RX_NO_ROUTE = UINT32_MAX };

// A candidate's own kind of verdict: ask its entry. Leaves no facts.
enum { RX_LATER = RX_MORE + 1 };

// One protocol as one listener uses it.
struct rx_entry {
    const struct rx_known *known;
    rx_identify_fn *identify; // never NULL; a declared protocol's looks at f->known
    uint32_t first_route;     // lowest route that names it
    bool settles;             // that route has no conditions: a match ends the search
    bool is_gated;            // every route of it asks who the client is: some clients need not wait for it
    uint32_t want;            // facts its routes ask for
    uint32_t name_fact;       // rx_name_fact
    struct rx_names *names;   // owned; NULL when no route names a name
    uint32_t first_named;     // lowest route that is in `names`
    uint32_t *open;           // ascending: its routes that are not in `names`
    uint32_t n_open;
};

struct rx_trie_node {
    const uint8_t *label; // bytes from the parent to here, borrowed from the generation
    uint32_t label_len;
    uint32_t kids, n_kids; // contiguous in `nodes`, ascending by first label byte
    uint16_t *fan;         // 256 entries, kid number + 1; NULL for few kids
    uint32_t *terms;       // entries whose prefix ends here
    uint32_t n_terms;
    uint32_t lowest; // lowest first_route among the entries below, this node's own not counted
};

// What the decision needs of an entry at first sight, packed: a list of these is walked for every connection.
struct rx_cand {
    rx_identify_fn *identify; // NULL ends the list; may say RX_LATER
    const struct rx_known *known;
    const struct rx_route *settles; // the first route, if it has no conditions: a match ends the search
    uint32_t want;
    uint32_t first_route;
    uint16_t entry;
    bool is_gated;
};

// What first bytes that begin with one byte can be; a cache line, and all that most connections look at.
struct rx_first {
    struct rx_cand lead;        // the first of `list` once more
    const struct rx_cand *list; // the candidates, in the order of their first routes; at least one
    uint32_t root;              // trie node of the prefixes that begin so, 0: none
    uint32_t mask_bytes;        // the shortest of these prefixes has so many bytes, at most 8
} __attribute__((aligned(64)));

struct rx_matcher {
    struct rx_first first[256]; // by first byte
    struct rx_entry *entries;   // ascending by first_route
    uint32_t n_entries;
    struct rx_trie_node *nodes;
    uint32_t n_nodes;
    uint64_t *seen;         // which beginnings of prefixes there are, hashed: says quickly that none can be there
    uint32_t seen_shift;    // 64 - log2 of the bits in `seen`
    struct rx_arena *arena; // borrowed from the generation
    enum rx_transport transport;
};

// Compiles the routes of `listen` that are for `transport`; NULL with *err set on failure.
struct rx_matcher *rx_matcher_new(const struct rx_listen *listen, enum rx_transport transport, struct rx_arena *arena,
                                  const char **err);
void rx_matcher_fini(struct rx_matcher *m); // what is not in the arena

// Names without a regular expression among them go to the table; the others are looked at one by one.
static inline bool rx_route_is_tabled(const struct rx_route *r)
{
    return r->name_cond.n > 0 && r->name_cond.n_regex == 0;
}

struct rx_ask;
// The matcher for what is asked.
const struct rx_matcher *rx_matcher_of(const struct rx_listen *listen, const struct rx_ask *ask);

// What identifies a known protocol over that transport: the built-in's function, or the one for what was declared.
// NULL: it is not spoken there.
rx_identify_fn *rx_known_identify(const struct rx_known *known, enum rx_transport transport);
// The same over TCP, for first bytes that begin with `first`, as quick as can be; functions of the config say RX_LATER.
rx_identify_fn *rx_known_quick(const struct rx_known *known, uint8_t first);
// One protocol's verdict on its own, over UDP where f->n_grams says so. `script` runs the functions of the config; NULL: they say no.
enum rx_verdict rx_known_ask(const struct rx_known *known, const uint8_t *p, uint32_t n, struct rx_facts *f,
                             struct rx_script *script);

// `p` has at least 8 bytes, the first `len` of which count.
static inline uint64_t rx_prefix_hash(const uint8_t *p, uint32_t len)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return (w << (64 - 8 * len)) * 0x9e3779b97f4a7c15u;
}

static inline bool rx_prefix_seen(const struct rx_matcher *m, uint64_t hash)
{
    uint64_t bit = hash >> m->seen_shift;
    return m->seen[bit / 64] >> bit % 64 & 1;
}

// Whether a declared prefix may be there, in a few instructions: false is certain, true is not.
static inline bool rx_prefix_may(const struct rx_matcher *m, const struct rx_first *first, const uint8_t *p,
                                 uint32_t n)
{
    return first->root && (n < 8 || rx_prefix_seen(m, rx_prefix_hash(p, first->mask_bytes)));
}

// Walks the declared prefixes: `hit` is called for each entry one of whose prefixes is there. Returns the lowest
// first_route whose prefix may still come, RX_NO_ROUTE when none.
typedef void rx_prefix_hit_fn(void *data, const struct rx_entry *e);
uint32_t rx_prefix_walk(const struct rx_matcher *m, const uint8_t *p, uint32_t n, rx_prefix_hit_fn *hit, void *data);
