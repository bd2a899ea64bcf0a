// SPDX-License-Identifier: MIT
// Enters: a listener and what a client said so far. Leaves: the route that takes it, "more", or "none".
// First match wins, in the order of the config: `best` is the lowest route known to hold, `hold` the lowest that
// may still come to hold, and the answer is certain once best < hold. Protocols are asked in the order of their
// first route and not at all when that lies behind either.
// Not done here: what the answer means (fallback, refusal) and when to ask again; peek.c and check.c do that.
#include "route.h"

#include "identify.h"
#include "script.h"

// ---- from a matched protocol to its route ---------------------------------------------------------------------

struct search {
    const struct rx_listen *listen;
    const struct rx_ask *ask;
    uint32_t best, hold;
    const struct rx_target *to; // what the function of route `best` said; NULL: the route's own
};

static uint32_t bound(const struct search *s)
{
    return RX_MIN(s->best, s->hold);
}

// The lists of routes that could hold, each ascending: those with this very name, and those without a name.
static unsigned route_lists(const struct rx_entry *e, const struct rx_facts *f,
                            struct rx_ids lists[RX_NAME_LISTS + 1])
{
    unsigned n = 0;
    if (e->names && f->have & e->name_fact) {
        const struct rx_text *name = rx_fact_text(f, e->name_fact);
        n = rx_names_find(e->names, name->ptr, name->len, lists);
    }
    if (e->n_open)
        lists[n++] = (struct rx_ids){ e->open, e->n_open };
    return n;
}

// The first route of this protocol that a name still to come could decide, for this client.
static uint32_t first_waiting(const struct search *s, const struct rx_entry *e, const struct rx_facts *f)
{
    for (uint32_t i = e->first_named; i < bound(s) && i < s->listen->n_routes; i++) {
        const struct rx_route *r = &s->listen->routes[i];
        if (r->proto == e->known && r->name_cond.n && rx_route_holds(r, f, s->ask) == RX_MORE)
            return i;
    }
    return RX_NO_ROUTE;
}

// Lowers s->best or s->hold to this protocol's lowest route below them, if it has one.
static __attribute__((noinline)) void search_routes(struct search *s, const struct rx_entry *e,
                                                    const struct rx_facts *f)
{
    struct rx_ids lists[RX_NAME_LISTS + 1];
    unsigned n = route_lists(e, f, lists);
    // A name that is still to come holds everything behind it back. One that will not come any more, because the
    // client padded or dawdled, is not "no name": no route of this protocol from there on takes the connection.
    uint32_t limit = RX_NO_ROUTE;
    if (e->names && f->pending & e->name_fact) {
        limit = first_waiting(s, e, f);
        if (s->ask->ended == RX_OPEN)
            s->hold = RX_MIN(s->hold, limit);
    }
    for (;;) {
        uint32_t low = RX_NO_ROUTE;
        for (unsigned i = 0; i < n; i++)
            if (lists[i].n && lists[i].ids[0] < low)
                low = lists[i].ids[0];
        if (low >= bound(s) || low >= limit)
            return;
        const struct rx_route *r = &s->listen->routes[low];
        const struct rx_target *to = &r->to;
        enum rx_verdict v = rx_route_holds_listed(r, f, s->ask);
        if (v == RX_MATCH && to->kind == RX_TO_SCRIPT) {
            struct rx_script_conn view = { .ask = s->ask, .facts = f, .known = e->known, .listen = s->listen, .route = r };
            to = rx_script_target(s->ask->script, (uint32_t)to->fn, &view);
            v = to ? RX_MATCH : RX_NO; // a function that fails, or says nil, is a route that does not hold
        }
        switch (v) {
        case RX_MATCH:
            s->best = low;
            s->to = to;
            return;
        case RX_MORE:
            if (s->ask->ended == RX_OPEN)
                s->hold = low;
            return;
        case RX_NO:
            break;
        }
        for (unsigned i = 0; i < n; i++)
            if (lists[i].n && lists[i].ids[0] == low)
                lists[i].ids++, lists[i].n--;
    }
}

static inline void take(struct search *s, const struct rx_entry *e, const struct rx_facts *f)
{
    if (e->settles && e->first_route < s->best) {
        s->best = e->first_route;
        s->to = NULL;
    } else if (!e->settles)
        search_routes(s, e, f);
}

// Whether this client may take any route of this protocol at all.
static bool is_admitted(const struct search *s, const struct rx_entry *e)
{
    for (uint32_t i = e->first_route; i < s->listen->n_routes; i++)
        if (s->listen->routes[i].proto == e->known && rx_route_admits(&s->listen->routes[i], s->ask))
            return true;
    return false;
}

static void wait_for(struct search *s, const struct rx_entry *e, uint32_t need, struct rx_decision *out)
{
    if (e->is_gated && !is_admitted(s, e))
        return;
    s->hold = RX_MIN(s->hold, e->first_route);
    out->need = out->need ? RX_MIN(out->need, need) : need;
}

// ---- the decision ---------------------------------------------------------------------------------------------

// What there is of TCP, the first datagram of UDP.
static inline uint32_t head_of(const struct rx_ask *ask)
{
    return ask->n_grams ? ask->gram_len[0] : ask->n;
}

// Before the first byte there is nothing to identify; only what needs no byte can match.
static void decide_empty(struct search *s, const struct rx_matcher *m, struct rx_decision *out)
{
    for (uint32_t i = 0; i < m->n_entries && m->entries[i].first_route < bound(s); i++) {
        const struct rx_entry *e = &m->entries[i];
        bool is_patient = e->known->is_silent || e->known->is_server_first;
        out->facts.have = out->facts.pending = 0;
        if (e->known->is_any || (is_patient && s->ask->ended == RX_ENDED_TIMEOUT)) {
            take(s, e, &out->facts);
            if (s->best != RX_NO_ROUTE)
                out->seen = e->known;
        } else if (s->ask->ended == RX_OPEN && !s->ask->n_grams) // an empty datagram is all there is
            wait_for(s, e, 1, out);
    }
}

struct prefix_search {
    struct search *s;
    struct rx_decision *out;
};

static void take_prefix(void *data, const struct rx_entry *e)
{
    struct prefix_search *x = data;
    const struct rx_ask *ask = x->s->ask;
    uint32_t best = x->s->best;
    if (e->first_route >= bound(x->s))
        return;
    if (e->known->identify_fn >= 0) {
        enum rx_verdict v =
            rx_script_identify(ask->script, (uint32_t)e->known->identify_fn, ask->p, head_of(ask), &x->out->facts);
        if (v == RX_MORE && ask->ended == RX_OPEN && !ask->n_grams)
            wait_for(x->s, e, ask->n + 1, x->out);
        if (v != RX_MATCH)
            return;
    }
    take(x->s, e, &x->out->facts);
    if (!x->out->seen || x->s->best != best)
        x->out->seen = e->known;
}

static void decide_prefixes(struct search *s, const struct rx_matcher *m, struct rx_decision *out)
{
    struct prefix_search x = { s, out };
    out->facts.have = out->facts.pending = 0;
    uint32_t hold = rx_prefix_walk(m, s->ask->p, head_of(s->ask), take_prefix, &x);
    if (s->ask->ended == RX_OPEN && hold < s->hold && !s->ask->n_grams) {
        s->hold = hold;
        out->need = s->ask->n + 1;
    }
}

// The input ended while a protocol still hoped for more: say so when it had clearly begun.
static void note_unfinished(const struct search *s, const struct rx_entry *e, struct rx_decision *out)
{
    if (s->ask->ended != RX_ENDED_FULL || out->note != RX_NOTE_NONE || !e->known->def)
        return;
    if (e->known->def->facts & RX_FACT_SNI)
        out->note = RX_NOTE_TLS_OVERSIZE;
    else if (e->known->def->facts & RX_FACT_METHOD)
        out->note = RX_NOTE_HTTP_OVERSIZE;
}

enum { UNASKED = -1 };

// `known`: what the first candidate has said already (its facts are in out->facts), or UNASKED.
static void decide_candidates(struct search *s, const struct rx_matcher *m, const struct rx_cand *from, int known,
                              struct rx_decision *out)
{
    const struct rx_ask *ask = s->ask;
    struct rx_facts spare;
    for (const struct rx_cand *c = from; c->identify; c++) {
        if (c->first_route >= bound(s))
            return;
        const struct rx_entry *e = &m->entries[c->entry];
        // The facts of an earlier match must survive a later protocol that does not take the connection.
        struct rx_facts *f = out->seen ? &spare : &out->facts;
        uint32_t best = s->best, hold = s->hold;
        f->want = c->want | ask->also_want;
        f->scratch = ask->scratch;
        f->gram_len = ask->gram_len;
        f->n_grams = ask->n_grams;
        enum rx_verdict v = c == from && known != UNASKED
                                ? (enum rx_verdict)known
                                : rx_known_ask(e->known, ask->p, ask->n, f, ask->script);
        switch (v) {
        case RX_MATCH:
            if (RX_UNLIKELY(ask->ended != RX_OPEN)) { // at the end of input what has not come is absent
                if (f->pending)
                    note_unfinished(s, e, out);
                if (ask->ended == RX_ENDED_EOF)
                    f->pending = 0;
            }
            take(s, e, f);
            if (s->hold < hold)
                out->need = out->need ? RX_MIN(out->need, f->need) : f->need;
            if (!out->seen && (!e->known->is_any || s->best != best))
                out->seen = e->known; // an `any` that does not take it has recognised nothing
            break;
        case RX_MORE:
            if (ask->ended == RX_OPEN)
                wait_for(s, e, f->need, out);
            else
                note_unfinished(s, e, out);
            break;
        case RX_NO:
            if (RX_UNLIKELY(f->note) && !out->note)
                out->note = f->note;
            break;
        }
        if (f == &spare && s->best != best) {
            out->facts = spare;
            out->seen = e->known;
        }
    }
}

static inline enum rx_verdict undecided(struct rx_decision *out, enum rx_verdict v, uint32_t need)
{
    out->route = NULL;
    out->seen = NULL;
    out->need = need;
    out->note = RX_NOTE_NONE;
    return out->verdict = v;
}

static enum rx_verdict conclude(const struct search *s, struct rx_decision *out)
{
    // A route need not wait for itself: one of its prefixes is there, a longer one may come.
    if (s->best != RX_NO_ROUTE && s->best <= s->hold) {
        out->route = &s->listen->routes[s->best];
        out->to = s->to ? s->to : &out->route->to;
        return out->verdict = RX_MATCH;
    }
    if (s->hold == RX_NO_ROUTE)
        return out->verdict = RX_NO;
    if (out->need <= s->ask->n)
        out->need = s->ask->n + 1;
    return out->verdict = RX_MORE;
}

// What a listener's identify named counts as recognised. Its routes are tried, and those for any protocol; what other
// routes wait for is nothing to wait for any more.
static enum rx_verdict decide_as(const struct rx_listen *listen, const struct rx_ask *ask,
                                 const struct rx_said_of *of, struct rx_decision *out)
{
    struct search s = { listen, ask, RX_NO_ROUTE, RX_NO_ROUTE, NULL };
    const struct rx_matcher *m = rx_matcher_of(listen, ask);
    struct rx_facts *f = &out->facts;
    enum rx_verdict v = RX_NO;
    out->seen = of->known;
    *f = (struct rx_facts){ .want = ask->also_want, .scratch = ask->scratch, .gram_len = ask->gram_len,
                            .n_grams = ask->n_grams };
    for (uint32_t i = 0; i < m->n_entries; i++)
        if (m->entries[i].known == of->known)
            f->want |= m->entries[i].want;
    if (of->known && of->known->def)
        v = rx_proto_ask(of->known->def, ask->p, ask->n, f);
    if (v == RX_NO)
        f->have = f->pending = 0; // it need not agree; then nothing is known of it but its name
    else if (v == RX_MORE)
        f->have = 0, f->pending = of->known->def->facts;
    if (ask->ended == RX_ENDED_EOF)
        f->pending = 0;
    if (of->key.ptr)
        f->key = of->key, f->have |= RX_FACT_KEY;
    for (uint32_t i = 0; i < m->n_entries && m->entries[i].first_route < bound(&s); i++)
        if (m->entries[i].known == of->known || m->entries[i].known->is_any)
            take(&s, &m->entries[i], f);
    out->need = v == RX_MORE || f->pending ? f->need : 0;
    return conclude(&s, out);
}

// A listener's identify comes before the routes, once there is a byte. False: they decide.
static bool decide_listener(const struct rx_listen *listen, const struct rx_ask *ask, struct rx_decision *out)
{
    struct rx_said_of of = { .said = RX_SAID_MORE };
    if (ask->n_grams && !head_of(ask))
        return false;
    if (ask->n)
        rx_script_listen(ask->script, (uint32_t)listen->identify_fn, ask->p, head_of(ask), &of);
    switch (of.said) {
    case RX_SAID_NOTHING:
        return false;
    case RX_SAID_MORE:
        out->need = ask->n + 1;
        out->verdict = RX_MORE;
        return ask->ended == RX_OPEN && !ask->n_grams;
    case RX_SAID_PROTOCOL:
        decide_as(listen, ask, &of, out);
        return true;
    case RX_SAID_TARGET:
        out->to = of.to;
        out->verdict = RX_MATCH;
        return true;
    }
    return false;
}

// The general case, from candidate `from` on.
static __attribute__((noinline)) enum rx_verdict decide_slow(const struct rx_listen *listen, const struct rx_ask *ask,
                                                             const struct rx_cand *from, int known,
                                                             struct rx_decision *out)
{
    struct search s = { listen, ask, RX_NO_ROUTE, RX_NO_ROUTE, NULL };
    const struct rx_matcher *m = rx_matcher_of(listen, ask);
    undecided(out, RX_NO, 0);
    if (!m)
        return RX_NO;
    if (RX_UNLIKELY(listen->identify_fn >= 0)) {
        if (decide_listener(listen, ask, out))
            return out->verdict;
        undecided(out, RX_NO, 0);
    }
    if (head_of(ask) == 0) {
        decide_empty(&s, m, out);
    } else {
        const struct rx_first *first = &m->first[ask->p[0]];
        if (rx_prefix_may(m, first, ask->p, head_of(ask)))
            decide_prefixes(&s, m, out);
        decide_candidates(&s, m, from ? from : first->list, known, out);
    }
    return conclude(&s, out);
}

static void note_hit(void *data, const struct rx_entry *e)
{
    (void)e;
    *(bool *)data = true;
}

// Whether a declared prefix is there or may still come. Mostly not, and then prefixes cost one walk.
static __attribute__((noinline)) bool has_prefix(const struct rx_matcher *m, const struct rx_ask *ask)
{
    bool is_hit = false;
    return rx_prefix_walk(m, ask->p, ask->n, note_hit, &is_hit) != RX_NO_ROUTE || is_hit;
}

static inline int ask_candidate(const struct rx_cand *c, const struct rx_ask *ask, struct rx_facts *f)
{
    f->want = c->want | ask->also_want;
    f->known = c->known;
    return (int)c->identify(ask->p, ask->n, f);
}

static inline enum rx_verdict settle(const struct rx_cand *c, struct rx_decision *out)
{
    out->route = c->settles;
    out->to = &c->settles->to;
    out->seen = c->known;
    out->need = 0;
    out->note = RX_NOTE_NONE;
    return out->verdict = RX_MATCH;
}

// Candidate `c` has said `v`, which may not be the end of it.
static __attribute__((noinline)) enum rx_verdict decide_on(const struct rx_listen *listen, const struct rx_ask *ask,
                                                           const struct rx_cand *c, int v, struct rx_decision *out)
{
    for (;;) {
        if (v == RX_MORE && !c->is_gated)
            return undecided(out, RX_MORE, RX_MAX(out->facts.need, ask->n + 1));
        if (RX_UNLIKELY(v != RX_NO || out->facts.note))
            return decide_slow(listen, ask, c, v == RX_LATER ? UNASKED : v, out);
        if (!(++c)->identify)
            return undecided(out, RX_NO, 0);
        v = ask_candidate(c, ask, &out->facts);
        if (v == RX_MATCH && c->settles)
            return settle(c, out);
    }
}

// No declared prefix is there: protocols say no one after the other until one says yes and its first route has no
// conditions, or says "more", which holds back all behind it. Where this pattern breaks the general case goes on.
static inline __attribute__((always_inline)) enum rx_verdict decide_by_first(const struct rx_listen *listen,
                                                                             const struct rx_ask *ask,
                                                                             const struct rx_first *first,
                                                                             struct rx_decision *out)
{
    out->facts.scratch = ask->scratch;
    int v = ask_candidate(&first->lead, ask, &out->facts);
    if (v == RX_MATCH && RX_LIKELY(first->lead.settles))
        return settle(&first->lead, out);
    return decide_on(listen, ask, first->list, v, out);
}

static __attribute__((noinline)) enum rx_verdict decide_beside_prefixes(const struct rx_listen *listen,
                                                                        const struct rx_ask *ask,
                                                                        const struct rx_first *first,
                                                                        struct rx_decision *out)
{
    if (has_prefix(listen->tcp, ask))
        return decide_slow(listen, ask, NULL, UNASKED, out);
    return decide_by_first(listen, ask, first, out);
}

// Every store here is paid for by every connection: nothing is cleared that is not read.
enum rx_verdict rx_decide(const struct rx_listen *listen, const struct rx_ask *ask, struct rx_decision *out)
{
    const struct rx_matcher *m = listen->tcp;
    if (RX_UNLIKELY(!m || ask->n == 0 || ask->ended != RX_OPEN || ask->n_grams || listen->identify_fn >= 0))
        return decide_slow(listen, ask, NULL, UNASKED, out);
    const struct rx_first *first = &m->first[ask->p[0]];
    if (RX_UNLIKELY(rx_prefix_may(m, first, ask->p, ask->n)))
        return decide_beside_prefixes(listen, ask, first, out);
    return decide_by_first(listen, ask, first, out);
}
