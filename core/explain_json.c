// SPDX-License-Identifier: MIT
// Enters: what explain.c found out. Leaves: one JSON object; docs/reference/explain-json.md describes it.
// Facts are a client's bytes: rx_json_text sees to it that the output is valid whatever they are.
#include "explain.h"
#include "json.h"
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
        rx_json_close(j);
    }
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
    string(&j, "transport", "tcp");
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
    if (d->note != RX_NOTE_NONE)
        string(&j, "note", rx_note_name(d->note));
    rx_json_close(&j);
    return rx_json_write(&j, out);
}
