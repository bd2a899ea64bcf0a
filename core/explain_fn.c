// SPDX-License-Identifier: MIT
// Enters: what explain.c found out. Leaves: how each route stands to the client, and what functions of the config say,
// by asking them once more. The rules are route.c's and the functions' own.
#include <string.h>

#include "explain.h"
#include "log.h"
#include "qtype.h"
#include "script.h"
#include "table.h"

static struct rx_ask ask_of(const struct rx_explained *x)
{
    return (struct rx_ask){ .p = x->in.bytes,
                            .n = x->outcome.len,
                            .ended = x->outcome.ended,
                            .from = &x->client.from,
                            .to_port = x->client.to_port,
                            .week_minute = x->client.week_minute,
                            .scratch = x->scratch,
                            .script = x->client.script };
}

static const char *where_of(const struct rx_explained *x, int32_t fn)
{
    return x->conf && (uint32_t)fn < x->conf->n_fns ? x->conf->fns[fn].where : "?";
}

struct rx_reply rx_explain_when(const struct rx_explained *x, const struct rx_route *r, const struct rx_facts *f)
{
    struct rx_ask ask = ask_of(x);
    struct rx_script_conn view = { .ask = &ask, .facts = f, .known = r->proto, .route = r };
    struct rx_reply said = { .where = where_of(x, r->when_fn) };
    said.holds = rx_script_when(x->client.script, (uint32_t)r->when_fn, &view);
    said.error = said.holds ? NULL : rx_script_wrong(x->client.script);
    return said;
}

struct rx_reply rx_explain_to(const struct rx_explained *x, const struct rx_route *r, const struct rx_facts *f)
{
    struct rx_ask ask = ask_of(x);
    struct rx_script_conn view = { .ask = &ask, .facts = f, .known = r->proto, .listen = x->listen, .route = r };
    struct rx_reply said = { .where = where_of(x, r->to.fn) };
    said.to = rx_script_target(x->client.script, (uint32_t)r->to.fn, &view);
    said.holds = said.to;
    said.error = said.holds ? NULL : rx_script_wrong(x->client.script);
    return said;
}

struct rx_reply rx_explain_identify(const struct rx_explained *x, const struct rx_known *known, struct rx_facts *f)
{
    struct rx_reply said = { .where = where_of(x, known->identify_fn) };
    said.verdict = rx_script_identify(x->client.script, (uint32_t)known->identify_fn, x->in.bytes, x->outcome.len, f);
    said.error = said.verdict == RX_NO ? rx_script_wrong(x->client.script) : NULL;
    return said;
}

enum rx_verdict rx_explain_condition(const struct rx_explained *x, const struct rx_route *r, unsigned i,
                                     const struct rx_facts *f)
{
    struct rx_ask ask = ask_of(x);
    struct rx_route alone = rx_condition_alone(r, i);
    return rx_route_holds(&alone, f, &ask);
}

static const struct rx_entry *entry_of(const struct rx_explained *x, const struct rx_known *known)
{
    for (uint32_t i = 0; i < x->n_tried; i++)
        if (x->tried[i].entry->known == known)
            return x->tried[i].entry;
    return NULL;
}

// Its conditions without its functions.
static enum rx_verdict conditions(const struct rx_explained *x, const struct rx_route *r, const struct rx_facts *f)
{
    enum rx_verdict all = RX_MATCH;
    for (unsigned i = 0; i < RX_CONDITIONS; i++) {
        enum rx_verdict v = rx_condition_name(r, i) ? rx_explain_condition(x, r, i, f) : RX_MATCH;
        if (v == RX_NO)
            return RX_NO;
        all = v == RX_MORE ? RX_MORE : all;
    }
    return all;
}

enum rx_standing rx_explain_standing(const struct rx_explained *x, const struct rx_route *r, struct rx_facts *f)
{
    const struct rx_entry *e = entry_of(x, r->proto);
    if (!e)
        return RX_STANDS_OTHER;
    enum rx_verdict v = rx_explain_ask(x, e, x->outcome.len, f);
    if (x->outcome.d.route == r)
        return RX_STANDS_TAKES;
    if (v != RX_MATCH) {
        if (r->proto->is_silent)
            return x->outcome.len ? RX_STANDS_SPOKEN : RX_STANDS_SILENT;
        return v == RX_NO || x->outcome.ended != RX_OPEN ? RX_STANDS_NOT : RX_STANDS_WAITS;
    }
    if (x->outcome.ended != RX_OPEN)
        f->pending = 0;
    switch (conditions(x, r, f)) {
    case RX_NO:
        return RX_STANDS_FAILS;
    case RX_MORE:
        return RX_STANDS_UNKNOWN;
    case RX_MATCH:
        break;
    }
    if (r->is_scripted && f->pending)
        return RX_STANDS_UNKNOWN;
    if ((r->when_fn >= 0 && !rx_explain_when(x, r, f).holds) ||
        (r->to.kind == RX_TO_SCRIPT && !rx_explain_to(x, r, f).holds))
        return RX_STANDS_FAILS;
    return RX_STANDS_WOULD;
}

static const char *alpn_text(const struct rx_facts *f, char *buf)
{
    size_t len = 0;
    buf[0] = 0;
    for (uint32_t at = 0; at < f->alpn.len && len < RX_SAW - 1; at += 1u + f->alpn.ptr[at]) {
        if (at)
            buf[len++] = ',';
        rx_log_escape(f->alpn.ptr + at + 1, f->alpn.ptr[at], buf + len, RX_SAW - len);
        len += strlen(buf + len);
    }
    return buf;
}

static uint32_t fact_of(const char *condition)
{
    static const char *const names[] = {
#define X(id, name) name,
        RX_FACT_LIST(X)
#undef X
    };
    for (unsigned i = 0; i < RX_COUNT(names); i++)
        if (!strcmp(names[i], condition))
            return 1u << i;
    return 0;
}

const char *rx_explain_saw(const struct rx_explained *x, const struct rx_route *r, unsigned i, const struct rx_facts *f,
                           char *buf)
{
    const char *condition = rx_condition_name(r, i);
    uint32_t fact = fact_of(condition);
    const struct rx_text *t = rx_fact_text(f, fact);
    if (fact && !(f->have & fact))
        return "";
    if (t)
        return rx_log_escape(t->ptr, t->len, buf, RX_SAW);
    if (fact == RX_FACT_ALPN)
        return alpn_text(f, buf);
    if (fact == RX_FACT_QTYPE)
        return rx_qtype_name(f->qtype, buf);
    if (fact == RX_FACT_ECH)
        return f->ech ? "true" : "false";
    if (!strcmp(condition, "to_port"))
        snprintf(buf, RX_SAW, "%u", x->client.to_port);
    else
        rx_addr_print_host(&x->client.from.sa, buf);
    return buf;
}
