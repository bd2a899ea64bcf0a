// SPDX-License-Identifier: MIT
// What a listener's routes can recognise, compiled: 256 lists of candidates by first byte, and one trie for all
// declared prefixes, so that the cost does not grow with the number of protocols.
#pragma once

#include "conf.h"
#include "names.h"
#include "proto.h"

enum { RX_NO_ROUTE = UINT32_MAX };

// One protocol as one listener uses it.
struct rx_entry {
    const struct rx_known *known;
    rx_identify_fn *identify; // NULL: declared by prefix or patterns, or pseudo
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
    rx_identify_fn *identify; // NULL: rx_entry_identify knows
    uint32_t want;
    uint32_t first_route;
    uint16_t entry;
    bool settles, is_gated;
};

struct rx_first {
    uint32_t from, to; // candidates: cand[from .. to)
    uint32_t root;     // trie node of the prefixes that begin so, 0: none
};

struct rx_matcher {
    struct rx_entry *entries; // ascending by first_route
    uint32_t n_entries;
    struct rx_first first[256]; // by first byte
    struct rx_cand *cand;
    struct rx_trie_node *nodes;
    uint32_t n_nodes;
    struct rx_arena *arena; // borrowed from the generation
};

// Compiles the routes of `listen` that are for `transport`; NULL with *err set on failure.
struct rx_matcher *rx_matcher_new(const struct rx_listen *listen, enum rx_transport transport, struct rx_arena *arena,
                                  const char **err);
void rx_matcher_fini(struct rx_matcher *m); // what is not in the arena

// One entry's verdict on its own (declared protocols: prefix and patterns).
// `script` runs the functions of the config; NULL: they say no.
enum rx_verdict rx_entry_identify(const struct rx_entry *e, const uint8_t *p, uint32_t n, struct rx_facts *f,
                                  struct rx_script *script);

// Walks the declared prefixes: `hit` is called for each entry one of whose prefixes is there. Returns the lowest
// first_route whose prefix may still come, RX_NO_ROUTE when none.
typedef void rx_prefix_hit_fn(void *data, const struct rx_entry *e);
uint32_t rx_prefix_walk(const struct rx_matcher *m, const uint8_t *p, uint32_t n, rx_prefix_hit_fn *hit, void *data);
