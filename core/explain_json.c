// SPDX-License-Identifier: MIT
// Enters: what explain.c found out. Leaves: one JSON object; docs/reference/explain-json.md describes it.
// Facts are a client's bytes: rx_json_text sees to it that the output is valid whatever they are.
#include "explain.h"

#include "json.h"
#include "roster.h"
#include "table.h"

static void text(struct rx_json *j, const char *key, const struct rx_text *t)
{
    rx_json_key(j, key);
    rx_json_text(j, t->ptr, t->len);
}

static void string(struct rx_json *j, const char *key, const char *s)
{
    rx_json_key(j, key);
    rx_json_string(j, s);
}

static void alpn_json(struct rx_json *j, const struct rx_facts *f)
{
    rx_json_key(j, "alpn");
    rx_json_open(j, '[');
    if (f->have & RX_FACT_ALPN)
        for (uint32_t at = 0; at < f->alpn.len; at += 1u + f->alpn.ptr[at])
            rx_json_text(j, f->alpn.ptr + at + 1, f->alpn.ptr[at]);
    rx_json_close(j);
}

// What is known, and of a TLS hello always the name and the list: their absence says something too.
static void facts_json(struct rx_json *j, const struct rx_known *seen, const struct rx_facts *f)
{
    static const struct {
        uint32_t fact;
        const char *key;
    } texts[] = { { RX_FACT_HOST, "host" },   { RX_FACT_METHOD, "method" },
                  { RX_FACT_PATH, "path" },   { RX_FACT_SOFTWARE, "software" },
                  { RX_FACT_QNAME, "qname" }, { RX_FACT_USER, "user" },
                  { RX_FACT_KEY, "key" } };
    char buf[16];
    bool is_hello = seen && seen->def && seen->def->facts & RX_FACT_SNI;
    rx_json_open(j, '{');
    if (f->have & RX_FACT_SNI)
        text(j, "sni", &f->sni);
    else if (is_hello)
        string(j, "sni", NULL);
    if (f->have & RX_FACT_ALPN || is_hello)
        alpn_json(j, f);
    for (unsigned i = 0; i < RX_COUNT(texts); i++)
        if (f->have & texts[i].fact)
            text(j, texts[i].key, rx_fact_text(f, texts[i].fact));
    if (f->have & RX_FACT_QTYPE)
        string(j, "qtype", rx_qtype_name(f->qtype, buf));
    if (f->have & RX_FACT_VERSION)
        string(j, "version", rx_explain_version(seen, f->version, buf));
    if (f->have & RX_FACT_ECH) {
        rx_json_key(j, "ech");
        rx_json_bool(j, f->ech);
    }
    rx_json_close(j);
}

static void tried_json(struct rx_json *j, const struct rx_explained *x)
{
    static const char *const words[] = { "no", "match", "more" };
    rx_json_key(j, "tried");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < x->n_tried; i++) {
        rx_json_open(j, '{');
        string(j, "protocol", x->tried[i].entry->known->name);
        string(j, "verdict", words[x->tried[i].verdict]);
        rx_json_key(j, "bytes");
        rx_json_number(j, x->tried[i].bytes);
        if (x->tried[i].entry->known->identify_fn >= 0) {
            struct rx_facts f;
            struct rx_reply said = rx_explain_identify(x, x->tried[i].entry->known, &f);
            string(j, "identify", said.where);
            string(j, "error", said.error);
            if (f.have & RX_FACT_KEY)
                text(j, "key", &f.key);
        }
        rx_json_close(j);
    }
    rx_json_close(j);
}

static void said_json(struct rx_json *j, const char *key, const struct rx_reply *said)
{
    rx_json_key(j, key);
    rx_json_open(j, '{');
    string(j, "where", said->where);
    rx_json_key(j, "holds");
    rx_json_bool(j, said->holds);
    string(j, "to", said->to ? rx_target_word(said->to) : NULL);
    string(j, "error", said->error);
    rx_json_close(j);
}

static void condition_json(struct rx_json *j, const struct rx_explained *x, const struct rx_route *r, unsigned i,
                           const struct rx_facts *f, enum rx_verdict v)
{
    char buf[RX_ADDR_TEXT], saw[RX_SAW];
    const char *text = rx_explain_saw(x, r, i, f, saw);
    rx_json_open(j, '{');
    string(j, "condition", rx_condition_name(r, i));
    rx_json_key(j, "wanted");
    rx_json_open(j, '[');
    for (uint32_t k = 0; k < rx_condition_count(r, i); k++)
        rx_json_string(j, rx_condition_value(r, i, k, buf));
    rx_json_close(j);
    string(j, "saw", *text ? text : NULL);
    rx_json_key(j, "holds");
    if (v == RX_MORE)
        rx_json_null(j);
    else
        rx_json_bool(j, v == RX_MATCH);
    rx_json_close(j);
}

// The conditions, and, when they hold, what `when` and `to` say: what is asked on the path.
static void route_json(struct rx_json *j, const struct rx_explained *x, const struct rx_route *r)
{
    static const char *const words[] = { "not_asked",     "other_protocol",    "waits", "waits_for_silence", "has_spoken",
                                         "condition_fails", "condition_unknown", "takes", "would_take" };
    struct rx_facts f = { .pending = ~0u };
    enum rx_standing standing = rx_explain_standing(x, r, &f);
    bool is_matched = standing >= RX_STANDS_FAILS, is_all = is_matched && !(r->is_scripted && f.pending);
    rx_json_open(j, '{');
    string(j, "route", r->name);
    string(j, "where", r->where);
    string(j, "protocol", r->proto->name);
    string(j, "outcome", words[standing]);
    rx_json_key(j, "conditions");
    rx_json_open(j, '[');
    for (unsigned i = 0; is_matched && i < RX_CONDITIONS; i++) {
        if (!rx_condition_name(r, i))
            continue;
        enum rx_verdict v = rx_explain_condition(x, r, i, &f);
        is_all &= v == RX_MATCH;
        condition_json(j, x, r, i, &f, v);
    }
    rx_json_close(j);
    struct rx_reply when = { .holds = true };
    if (is_all && r->when_fn >= 0) {
        when = rx_explain_when(x, r, &f);
        said_json(j, "when", &when);
    }
    if (is_all && when.holds && r->to.kind == RX_TO_SCRIPT) {
        struct rx_reply to = rx_explain_to(x, r, &f);
        said_json(j, "to", &to);
    }
    rx_json_close(j);
}

static void routes_json(struct rx_json *j, const struct rx_explained *x)
{
    const struct rx_route *taken = x->outcome.d.route;
    uint32_t n = taken ? taken->index + 1 : x->listen->n_routes;
    rx_json_key(j, "routes");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < n; i++)
        route_json(j, x, &x->listen->routes[i]);
    rx_json_close(j);
}

int rx_explain_json(const struct rx_explained *x, FILE *out)
{
    static const char *const words[] = { "none", "match", "need_more" };
    static const char *const said[] = { "nothing", "more", "protocol", "target" };
    const struct rx_decision *d = &x->outcome.d;
    const struct rx_target *to = x->args->is_builtin ? NULL : rx_outcome_target(x->listen, &x->outcome);
    struct rx_json j = { 0 };
    rx_json_open(&j, '{');
    string(&j, "transport", x->args->is_udp ? "udp" : "tcp");
    string(&j, "verdict", words[d->verdict]);
    string(&j, "protocol", x->seen ? x->seen->name : NULL);
    rx_json_key(&j, "facts");
    facts_json(&j, x->seen, &x->facts);
    string(&j, "route",
           d->route && !x->args->is_builtin ? d->route->name : d->verdict == RX_MATCH && !d->route ? "identify" : NULL);
    string(&j, "to", to ? rx_target_word(to) : NULL);
    string(&j, "backend", x->backend ? x->backend->name : NULL);
    if (x->listen->identify_fn >= 0)
        string(&j, "identify", said[x->of.said]);
    tried_json(&j, x);
    if (!x->args->is_builtin)
        routes_json(&j, x);
    if (d->note != RX_NOTE_NONE)
        string(&j, "note", rx_note_name(d->note));
    rx_json_close(&j);
    return rx_json_write(&j, out);
}
