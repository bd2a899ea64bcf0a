// SPDX-License-Identifier: MIT
// Enters: what explain.c found out. Leaves: an account of it for people: the matchers, the routes with the condition
// that failed, and what becomes of the connection. Client bytes are printed escaped.
// Which condition failed is found by asking rx_route_holds about each one alone, so this file has no rules of its
// own.
#include <string.h>

#include "explain.h"
#include "log.h"
#include "reason.h"
#include "roster.h"
#include "table.h"

enum { TEXT_SHOWN = 120 };

static const char *plural(uint32_t n)
{
    return n == 1 ? "" : "s";
}

// ---- facts --------------------------------------------------------------------------------------------------

static void print_text(const struct rx_text *t, FILE *out)
{
    char buf[TEXT_SHOWN];
    fprintf(out, "\"%s\"", rx_log_escape(t->ptr, t->len, buf, sizeof buf));
}

static void print_alpn(const struct rx_facts *f, FILE *out)
{
    for (uint32_t at = 0; at < f->alpn.len; at += 1u + f->alpn.ptr[at]) {
        struct rx_text one = { f->alpn.ptr + at + 1, f->alpn.ptr[at] };
        fprintf(out, "%s", at ? "," : "");
        print_text(&one, out);
    }
}

static void print_fact(const struct rx_known *known, const struct rx_facts *f, uint32_t fact, FILE *out)
{
    char buf[16];
    const struct rx_text *t = rx_fact_text(f, fact);
    if (t)
        print_text(t, out);
    else if (fact == RX_FACT_ALPN)
        print_alpn(f, out);
    else if (fact == RX_FACT_QTYPE)
        fprintf(out, "%s", rx_qtype_name(f->qtype, buf));
    else if (fact == RX_FACT_VERSION)
        fprintf(out, "%s", rx_explain_version(known, f->version, buf));
    else if (fact == RX_FACT_ECH)
        fprintf(out, "%s", f->ech ? "true" : "false");
}

static const char *const fact_names[] = {
#define X(id, name) name,
    RX_FACT_LIST(X)
#undef X
};

static void print_facts(const struct rx_known *known, const struct rx_facts *f, FILE *out)
{
    for (unsigned i = 0; i < RX_FACT_COUNT; i++)
        if (f->have & 1u << i) {
            fprintf(out, "  %s=", fact_names[i]);
            print_fact(known, f, 1u << i, out);
        }
    if (known->def && known->def->facts & RX_FACT_SNI && !(f->have & RX_FACT_SNI))
        fprintf(out, "  no sni");
}

// ---- matchers -----------------------------------------------------------------------------------------------

static void print_asked(const struct rx_explained *x, const struct rx_known *known, FILE *out)
{
    static const char *const words[] = { "false", "true", "rx.more" };
    struct rx_facts f = { .have = 0 };
    struct rx_reply said = rx_explain_identify(x, known, &f);
    fprintf(out, "  (identify, %s, ", said.where);
    if (said.error)
        fprintf(out, "failed: %s)", said.error);
    else
        fprintf(out, "says %s", words[said.verdict]);
    if (!said.error && f.have & RX_FACT_KEY) {
        fprintf(out, ", ");
        print_text(&f.key, out);
    }
    if (!said.error)
        fprintf(out, ")");
}

static void print_tried(const struct rx_explained *x, FILE *out)
{
    static const char *const words[] = { "no", "match", "more" };
    int wide = 7;
    if (!x->n_tried)
        return;
    for (uint32_t i = 0; i < x->n_tried; i++)
        wide = RX_MAX(wide, (int)strlen(x->tried[i].entry->known->name));
    fprintf(out, "\n%-*s  verdict  bytes\n", wide, "matcher");
    for (uint32_t i = 0; i < x->n_tried; i++) {
        const struct rx_tried *t = &x->tried[i];
        fprintf(out, "%-*s  %-7s  %5u", wide, t->entry->known->name, words[t->verdict], t->bytes);
        if (t->verdict == RX_MATCH && t->entry->known == x->seen)
            print_facts(x->seen, &x->facts, out);
        if (t->entry->known->identify_fn >= 0)
            print_asked(x, t->entry->known, out);
        fprintf(out, "\n");
    }
}

static void print_identify(const struct rx_explained *x, FILE *out)
{
    if (x->listen->identify_fn < 0)
        return;
    fprintf(out, "\nthe listener's identify: ");
    switch (x->of.said) {
    case RX_SAID_NOTHING:
        fprintf(out, "nothing, the routes decide\n");
        return;
    case RX_SAID_MORE:
        fprintf(out, "more\n");
        return;
    case RX_SAID_PROTOCOL:
        fprintf(out, "%s\n", x->of.known ? x->of.known->name : "a protocol that no route names");
        return;
    case RX_SAID_TARGET:
        fprintf(out, "where it goes\n");
        return;
    }
}

// ---- routes -------------------------------------------------------------------------------------------------

// The fact a condition looks at, by the condition's name; 0 for those about addresses.
static uint32_t fact_of(const char *condition)
{
    for (unsigned i = 0; i < RX_FACT_COUNT; i++)
        if (!strcmp(fact_names[i], condition))
            return 1u << i;
    return 0;
}

static void print_found(const struct rx_explained *x, const struct rx_route *r, const struct rx_facts *f,
                        const char *condition, FILE *out)
{
    char buf[RX_ADDR_TEXT];
    uint32_t fact = fact_of(condition);
    if (fact && !(f->have & fact))
        fprintf(out, "there is none");
    else if (fact)
        print_fact(r->proto, f, fact, out);
    else if (!strcmp(condition, "during"))
        fprintf(out, "%s", rx_week_minute_print(x->client.week_minute, buf));
    else if (!strcmp(condition, "to_port"))
        fprintf(out, "%u", x->client.to_port);
    else
        fprintf(out, "%s", rx_addr_print_host(&x->client.from.sa, buf));
}

static void print_said(const char *what, const struct rx_reply *said, FILE *out)
{
    fprintf(out, "       %s %s  (%s ", said->holds ? "holds" : "fails", what, said->where);
    if (said->error)
        fprintf(out, "failed: %s", said->error);
    else if (said->to)
        fprintf(out, "says "), rx_target_print(said->to, out);
    else
        fprintf(out, "%s", said->holds ? "says true" : "does not say true");
    fprintf(out, ")\n");
}

// `when`, then the function in `to`: asked only when all else holds, as on the path.
static void print_functions(const struct rx_explained *x, const struct rx_route *r, const struct rx_facts *f, FILE *out)
{
    if (r->when_fn >= 0) {
        struct rx_reply said = rx_explain_when(x, r, f);
        print_said("when", &said, out);
        if (!said.holds)
            return;
    }
    if (r->to.kind == RX_TO_SCRIPT) {
        struct rx_reply said = rx_explain_to(x, r, f);
        if (said.to || said.error)
            print_said("to", &said, out);
        else
            fprintf(out, "       fails to  (%s says nothing)\n", said.where);
    }
}

static void print_conditions(const struct rx_explained *x, const struct rx_route *r, const struct rx_facts *f,
                             FILE *out)
{
    static const char *const words[] = { "fails", "holds", "is not known yet" };
    const struct rx_ask ask = { .from = &x->client.from, .to_port = x->client.to_port,
                                .week_minute = x->client.week_minute, .script = x->client.script };
    const char *name;
    enum rx_verdict all = RX_MATCH;
    for (unsigned i = 0; i < RX_CONDITIONS; i++) {
        if (!(name = rx_condition_name(r, i)))
            continue;
        struct rx_route alone = rx_condition_alone(r, i);
        enum rx_verdict v = rx_route_holds(&alone, f, &ask);
        fprintf(out, "       %s ", words[v]);
        rx_conditions_print(&alone, out);
        if (v != RX_MORE) {
            fprintf(out, "  (");
            print_found(x, r, f, name, out);
            fprintf(out, ")");
        }
        all = v == RX_MATCH ? all : v;
        fprintf(out, "\n");
    }
    if (all == RX_MATCH && !(r->is_scripted && f->pending))
        print_functions(x, r, f, out);
}

static const struct rx_entry *entry_of(const struct rx_explained *x, const struct rx_known *known)
{
    for (uint32_t i = 0; i < x->n_tried; i++)
        if (x->tried[i].entry->known == known)
            return x->tried[i].entry;
    return NULL;
}

// Its protocol may still come; who the client is may rule it out already.
static void print_maybe(const struct rx_explained *x, const struct rx_route *r, FILE *out)
{
    const struct rx_ask ask = { .from = &x->client.from, .to_port = x->client.to_port,
                                .week_minute = x->client.week_minute, .script = x->client.script };
    const struct rx_facts nothing = { .pending = ~0u };
    if (rx_route_holds(r, &nothing, &ask) == RX_NO) {
        fprintf(out, "conditions fail, whatever it says  (%s)\n", r->where);
        print_conditions(x, r, &nothing, out);
    } else {
        fprintf(out, "waits: it may become %s  (%s)\n", r->proto->name, r->where);
    }
}

static void print_route(const struct rx_explained *x, const struct rx_route *r, FILE *out)
{
    static const char *const words[] = { "conditions fail", "takes it", "waits: a condition is not known yet" };
    const bool is_it = x->outcome.d.route == r;
    const struct rx_entry *e = entry_of(x, r->proto);
    struct rx_ask ask = { .from = &x->client.from, .to_port = x->client.to_port,
                                .week_minute = x->client.week_minute, .script = x->client.script };
    struct rx_facts f;
    fprintf(out, "  %3u  %s: ", r->index + 1, r->name);
    if (!e) {
        fprintf(out, "not for TCP  (%s)\n", r->where);
        return;
    }
    enum rx_verdict v = rx_explain_ask(x, e, x->outcome.len, &f);
    if (v == RX_MATCH) {
        if (x->outcome.ended != RX_OPEN)
            f.pending = 0;
        enum rx_verdict holds = rx_route_holds(r, &f, &ask);
        if (holds == RX_MATCH && !is_it && r->to.kind == RX_TO_SCRIPT && !rx_explain_to(x, r, &f).holds)
            holds = RX_NO;
        fprintf(out, "%s  (%s)\n", holds == RX_MATCH && !is_it ? "would take it" : words[holds], r->where);
        print_conditions(x, r, &f, out);
    } else if (r->proto->is_silent && !x->outcome.len) {
        fprintf(out, "waits: whether it stays silent  (%s)\n", r->where);
    } else if (r->proto->is_silent) {
        fprintf(out, "it has spoken  (%s)\n", r->where);
    } else if (v == RX_NO || x->outcome.ended != RX_OPEN) {
        fprintf(out, "not %s  (%s)\n", r->proto->name, r->where);
    } else {
        print_maybe(x, r, out);
    }
}

static void print_routes(const struct rx_explained *x, FILE *out)
{
    const struct rx_decision *d = &x->outcome.d;
    uint32_t n = d->route ? d->route->index + 1 : x->listen->n_routes;
    fprintf(out, "\nroutes, in order; the first that takes it wins\n");
    for (uint32_t i = 0; i < n; i++)
        print_route(x, &x->listen->routes[i], out);
    if (n < x->listen->n_routes)
        fprintf(out, "  the %u route%s behind it %s not looked at\n", x->listen->n_routes - n,
                plural(x->listen->n_routes - n), x->listen->n_routes - n == 1 ? "is" : "are");
}

// ---- what becomes of it -------------------------------------------------------------------------------------

// Whether more than the client decides which backend it is.
static bool is_by_turn(const struct rx_pool *p)
{
    return p->policy_fn >= 0 || (p->balance != RX_BALANCE_SOURCE_IP && p->balance != RX_BALANCE_SOURCE_SOCKET &&
                                 p->balance != RX_BALANCE_MAGLEV && p->balance != RX_BALANCE_FIRST);
}

static void print_target(const struct rx_target *t, const struct rx_backend *backend, enum rx_reason none, FILE *out)
{
    if (t->kind == RX_TO_NONE)
        fprintf(out, "dropped, counted as %s (%s)", rx_reason_word(none), rx_reason_doc(none));
    else
        rx_target_print(t, out);
    if (backend && t->pool->n_members > 1 && is_by_turn(t->pool))
        fprintf(out, "\n   backend %s, when it is the first one's turn", backend->name);
    else if (backend)
        fprintf(out, "\n   backend %s", backend->name);
}

static void print_decision(const struct rx_explained *x, const struct rx_outcome *o, FILE *out)
{
    const struct rx_target *to = rx_outcome_target(x->listen, o);
    enum rx_reason none = o->is_gone ? RX_REASON_CLIENT_GONE : rx_reason_of_note(o->d.note);
    if (o->d.route)
        fprintf(out, "route %u \"%s\" (%s)\n   to ", o->d.route->index + 1, o->d.route->name, o->d.route->where);
    else if (o->d.verdict == RX_MATCH)
        fprintf(out, "the listener's identify (%s)\n   to ", x->listen->where);
    else
        fprintf(out, "no route takes it: the fallback\n   to ");
    print_target(to, o == &x->outcome ? x->backend : NULL, none, out);
    fprintf(out, "\n");
}

// Still open: what would come of it if the client said no more.
static void print_waiting(const struct rx_explained *x, FILE *out)
{
    static const enum rx_ended ends[] = { RX_ENDED_TIMEOUT, RX_ENDED_EOF };
    const struct rx_outcome *o = &x->outcome;
    struct rx_client client = x->client;
    struct rx_outcome later;
    if (!o->len)
        fprintf(out, "=> it has said nothing yet, and nothing is decided\n");
    else
        fprintf(out, "=> not decided: more bytes are awaited (asked again at %u)\n", o->d.need);
    if (x->args->is_builtin)
        return;
    for (unsigned i = 0; i < RX_COUNT(ends); i++) {
        client.after = ends[i];
        rx_rehearse(x->listen, &client, x->scratch, 0, &later);
        if (ends[i] == RX_ENDED_TIMEOUT)
            fprintf(out, "if it says nothing more for %u ms (peek_timeout): ", x->listen->peek_ms);
        else
            fprintf(out, "if it ends its side: ");
        if (later.is_gone)
            fprintf(out, "closed, counted as %s\n", rx_reason_word(RX_REASON_CLIENT_GONE));
        else
            print_decision(x, &later, out);
    }
    if (!o->len)
        fprintf(out, "Clients that wait for a greeting say nothing: rx.silent, and protocols whose server speaks "
                     "first, take those.\n");
}

static void print_note(const struct rx_explained *x, FILE *out)
{
    const struct rx_decision *d = &x->outcome.d;
    if (d->note != RX_NOTE_NONE)
        fprintf(out, "note: %s (%s)\n", rx_note_name(d->note), rx_reason_doc(rx_reason_of_note(d->note)));
}

static void print_head(const struct rx_explained *x, FILE *out)
{
    char from[RX_ADDR_TEXT];
    const struct rx_outcome *o = &x->outcome;
    fprintf(out, "%u byte%s in %u segment%s", x->in.len, plural(x->in.len), x->in.n_cuts, plural(x->in.n_cuts));
    if (!x->args->is_builtin)
        fprintf(out, " from %s to %s (%s)", rx_addr_print_host(&x->client.from.sa, from), x->listen->name,
                x->listen->where);
    fprintf(out, "; %u looked at", o->len);
    if (o->ended == RX_ENDED_FULL)
        fprintf(out, ", which is all that may be peeked");
    fprintf(out, "\n");
    if (x->in.is_server_first)
        fprintf(out, "In this capture the server spoke first. Behind this listener it would have been silent: such "
                     "clients wait, and rx.silent is for them.\n");
    if (x->in.has_gap)
        fprintf(out, "The capture lacks bytes of this flow; those behind the gap are left out.\n");
}

void rx_explain_text(const struct rx_explained *x, FILE *out)
{
    const struct rx_outcome *o = &x->outcome;
    print_head(x, out);
    print_identify(x, out);
    print_tried(x, out);
    if (!x->args->is_builtin && x->of.said != RX_SAID_TARGET)
        print_routes(x, out);
    fprintf(out, "\n");
    if (o->d.verdict == RX_MORE) {
        print_waiting(x, out);
    } else if (x->args->is_builtin) {
        fprintf(out, "=> %s\n", x->seen ? x->seen->name : "none of the built-in protocols");
    } else {
        fprintf(out, "=> ");
        print_decision(x, o, out);
    }
    print_note(x, out);
}
