// SPDX-License-Identifier: MIT
// Enters: one route, and what is known of a client. Leaves: whether the route's conditions hold, do not, or wait for a
// fact that may still come. Functions are asked last: they cost most, and see all facts.
// Not done here: which routes to ask, and what it means; route.c does that.
#include "route.h"

#include <string.h>
#include <strings.h>

#include "during.h"
#include "identify.h"
#include "names.h"
#include "regex.h"
#include "script.h"

uint32_t rx_name_fact(const struct rx_known *known)
{
    uint32_t facts = known->def ? known->def->facts : 0;
    if (facts & RX_FACT_SNI)
        return RX_FACT_SNI;
    if (facts & RX_FACT_HOST)
        return RX_FACT_HOST;
    return facts & RX_FACT_QNAME;
}

const struct rx_text *rx_fact_text(const struct rx_facts *f, uint32_t fact)
{
    switch (fact) {
    case RX_FACT_SNI:
        return &f->sni;
    case RX_FACT_HOST:
        return &f->host;
    case RX_FACT_QNAME:
        return &f->qname;
    case RX_FACT_PATH:
        return &f->path;
    case RX_FACT_METHOD:
        return &f->method;
    case RX_FACT_SOFTWARE:
        return &f->software;
    case RX_FACT_USER:
        return &f->user;
    case RX_FACT_KEY:
        return &f->key;
    default:
        return NULL;
    }
}

const char *rx_ended_word(enum rx_ended ended)
{
    static const char *const words[] = { "open", "eof", "full", "timeout" };
    return words[ended];
}

static bool regex_holds(const struct rx_texts *t, const struct rx_text *fact)
{
    for (uint32_t i = 0; i < t->n_regex; i++)
        if (rx_regex_has(t->regex[i], fact->ptr, fact->len))
            return true;
    return false;
}

static bool is_exact(const struct rx_texts *t, uint32_t i, const struct rx_text *fact)
{
    return t->len[i] == fact->len && !memcmp(t->text[i], fact->ptr, fact->len);
}

static bool is_prefix(const struct rx_texts *t, uint32_t i, const struct rx_text *fact)
{
    return t->len[i] <= fact->len && !memcmp(t->text[i], fact->ptr, t->len[i]);
}

static bool is_prefix_nocase(const struct rx_texts *t, uint32_t i, const struct rx_text *fact)
{
    return t->len[i] <= fact->len && !strncasecmp(t->text[i], (const char *)fact->ptr, t->len[i]);
}

// "name" or "*.suffix", without regard to case or a trailing dot: the slow twin of names.c for lists with regexes.
static bool is_name(const struct rx_texts *t, uint32_t i, const struct rx_text *fact)
{
    uint32_t len = fact->len, want = t->len[i];
    const char *text = t->text[i];
    if (len && fact->ptr[len - 1] == '.')
        len--;
    if (want && text[want - 1] == '.')
        want--;
    if (want > 2 && text[0] == '*' && text[1] == '.') {
        text++, want--;
        return len > want && !strncasecmp(text, (const char *)fact->ptr + len - want, want);
    }
    return len == want && !strncasecmp(text, (const char *)fact->ptr, len);
}

typedef bool text_test(const struct rx_texts *t, uint32_t i, const struct rx_text *fact);

// One condition on one text fact.
static enum rx_verdict text_holds(const struct rx_texts *t, text_test *test, const struct rx_facts *f, uint32_t fact)
{
    if (!t->n && !t->n_regex)
        return RX_MATCH;
    if (!(f->have & fact))
        return f->pending & fact ? RX_MORE : RX_NO;
    const struct rx_text *text = rx_fact_text(f, fact);
    for (uint32_t i = 0; i < t->n; i++)
        if (test(t, i, text))
            return RX_MATCH;
    return regex_holds(t, text) ? RX_MATCH : RX_NO;
}

static enum rx_verdict alpn_holds(const struct rx_texts *t, const struct rx_facts *f)
{
    if (!t->n)
        return RX_MATCH;
    if (!(f->have & RX_FACT_ALPN))
        return f->pending & RX_FACT_ALPN ? RX_MORE : RX_NO;
    for (uint32_t at = 0; at < f->alpn.len; at += 1u + f->alpn.ptr[at]) {
        struct rx_text offer = { f->alpn.ptr + at + 1, f->alpn.ptr[at] };
        for (uint32_t i = 0; i < t->n; i++)
            if (is_exact(t, i, &offer))
                return RX_MATCH;
    }
    return RX_NO;
}

static bool is_in(const struct rx_cidr *list, uint32_t n, const union rx_ip *ip)
{
    for (uint32_t i = 0; i < n; i++)
        if (rx_cidr_has(&list[i], ip))
            return true;
    return false;
}

bool rx_route_is_during(const struct rx_route *r, uint32_t week_minute)
{
    for (uint32_t i = 0; i < r->n_during; i++)
        if (rx_during_has(&r->during[i], week_minute))
            return true;
    return !r->n_during;
}

bool rx_route_admits(const struct rx_route *r, const struct rx_ask *ask)
{
    if (r->n_during && !rx_route_is_during(r, ask->week_minute))
        return false;
    if (r->n_from && !is_in(r->from, r->n_from, ask->from))
        return false;
    if (r->n_not_from && is_in(r->not_from, r->n_not_from, ask->from))
        return false;
    bool is_port = !r->n_to_port;
    for (uint32_t i = 0; i < r->n_to_port; i++)
        is_port |= ask->to_port >= r->to_port[i].low && ask->to_port <= r->to_port[i].high;
    return is_port;
}

static enum rx_verdict ech_holds(const struct rx_route *r, const struct rx_facts *f)
{
    if (!r->ech)
        return RX_MATCH;
    if (!(f->have & RX_FACT_ECH))
        return f->pending & RX_FACT_ECH ? RX_MORE : RX_NO;
    return f->ech == (r->ech == 1) ? RX_MATCH : RX_NO;
}

static enum rx_verdict qtype_holds(const struct rx_route *r, const struct rx_facts *f)
{
    if (!r->n_qtype)
        return RX_MATCH;
    if (!(f->have & RX_FACT_QTYPE))
        return f->pending & RX_FACT_QTYPE ? RX_MORE : RX_NO;
    for (uint32_t i = 0; i < r->n_qtype; i++)
        if (r->qtype[i] == f->qtype)
            return RX_MATCH;
    return RX_NO;
}

// `name`: whether the condition on the name holds.
static enum rx_verdict others_hold(const struct rx_route *r, const struct rx_facts *f, const struct rx_ask *ask,
                                   enum rx_verdict name)
{
    if (!rx_route_admits(r, ask))
        return RX_NO;
    const enum rx_verdict all[] = {
        name,
        alpn_holds(&r->alpn, f),
        text_holds(&r->method, is_exact, f, RX_FACT_METHOD),
        text_holds(&r->path, is_prefix, f, RX_FACT_PATH),
        text_holds(&r->software, is_prefix_nocase, f, RX_FACT_SOFTWARE),
        text_holds(&r->key, is_exact, f, RX_FACT_KEY),
        ech_holds(r, f),
        qtype_holds(r, f),
    };
    enum rx_verdict v = RX_MATCH;
    for (unsigned i = 0; i < RX_COUNT(all); i++) {
        if (all[i] == RX_NO)
            return RX_NO;
        if (all[i] == RX_MORE)
            v = RX_MORE;
    }
    if (v == RX_MATCH && r->is_scripted && f->pending && ask->ended == RX_OPEN)
        return RX_MORE;
    if (v == RX_MATCH && r->when_fn >= 0) { // last: it costs most, and sees all facts
        struct rx_script_conn view = { .ask = ask, .facts = f, .known = r->proto, .route = r };
        return rx_script_when(ask->script, (uint32_t)r->when_fn, &view) ? RX_MATCH : RX_NO;
    }
    return v;
}

enum rx_verdict rx_route_holds(const struct rx_route *r, const struct rx_facts *f, const struct rx_ask *ask)
{
    if (r->is_plain)
        return RX_MATCH;
    return others_hold(r, f, ask, text_holds(&r->name_cond, is_name, f, rx_name_fact(r->proto)));
}

enum rx_verdict rx_route_holds_listed(const struct rx_route *r, const struct rx_facts *f, const struct rx_ask *ask)
{
    if (!rx_route_is_tabled(r))
        return rx_route_holds(r, f, ask);
    return r->is_by_name ? RX_MATCH : others_hold(r, f, ask, RX_MATCH);
}
