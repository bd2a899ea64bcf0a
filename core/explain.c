// SPDX-License-Identifier: MIT
// Enters: a client's first bytes, and a config or none. Leaves: what the live path would decide, and why.
// The decision is rx_decide's own, taken segment by segment as peek.c does. What stands beside it (which matchers
// said what, which condition failed) is asked afterwards, from the same functions. Facts may be read on from bytes
// behind the decision, because a backend would get those too.
// Without a config, one is made of every built-in, each with one unconditional route, so that nothing differs.
#include "explain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "check.h"
#include "conn.h"
#include "script.h"

static int complain(const struct rx_explained *x, const char *text)
{
    fprintf(x->errors, "%s%s\n", x->prefix, text);
    return 1;
}

// ---- the config that knows everything -----------------------------------------------------------------------

static void report_build(void *data, unsigned severity, const char *text, size_t len)
{
    (void)data;
    if (severity != RX_REPORT_ERROR)
        return; // that ssh stands before sftp is as it should be
    fprintf(stderr, "refractium explain: %.*s\n", (int)len, text);
}

static struct rx_conf *builtin_conf(struct rx_home *home)
{
    const struct rx_args everything = { .config = RX_SCRIPT_EVERYTHING, .is_config_typed = true };
    return rx_script_load(home, &everything, NULL, report_build, NULL);
}

// ---- which listener, which client ---------------------------------------------------------------------------

static int unknown_listener(const struct rx_explained *x, const struct rx_conf *conf, const char *typed)
{
    fprintf(x->errors, "%s%slistener: no listener \"%s\"; there %s", x->prefix, x->dashes, typed,
            conf->n_listens == 1 ? "is" : "are");
    for (uint32_t i = 0; i < conf->n_listens; i++)
        for (uint32_t k = 0; k < conf->listens[i]->n_binds; k++)
            if (!k || strcmp(conf->listens[i]->binds[k].text, conf->listens[i]->binds[k - 1].text))
                fprintf(x->errors, "%s %s", i || k ? "," : "", conf->listens[i]->binds[k].text);
    fprintf(x->errors, "\n");
    return 1;
}

static bool is_bind(const struct rx_bind *b, const char *typed, const struct rx_addr *addr)
{
    return addr ? rx_addr_equal(&b->addr.sa, &addr->sa) : !strcmp(b->text, typed);
}

// By its text as written in the config, else by address: one port out of a range is a place to come to.
static int choose_listener(struct rx_explained *x, const struct rx_conf *conf)
{
    const char *typed = x->args->listener;
    char why[RX_ADDR_TEXT];
    struct rx_addr *list = NULL;
    unsigned n = 0;
    const struct rx_bind *found = NULL;
    x->listen = conf->listens[0];
    x->client.to_port = rx_addr_port(&x->listen->binds[0].addr.sa);
    if (!typed)
        return 0;
    if (rx_addr_parse_listen(typed, &list, &n, why))
        list = NULL;
    for (int pass = 0; pass < (n == 1 ? 2 : 1) && !found; pass++)
        for (uint32_t i = 0; i < conf->n_listens && !found; i++)
            for (uint32_t k = 0; k < conf->listens[i]->n_binds && !found; k++)
                if (is_bind(&conf->listens[i]->binds[k], typed, pass ? list : NULL)) {
                    found = &conf->listens[i]->binds[k];
                    x->listen = conf->listens[i];
                }
    free(list);
    if (!found)
        return unknown_listener(x, conf, typed);
    x->client.to_port = rx_addr_port(&found->addr.sa);
    return 0;
}

static int choose_client(struct rx_explained *x)
{
    char why[RX_ADDR_TEXT];
    if (!x->args->from && x->in.is_captured) {
        x->client.from = x->in.client;
    } else if (rx_ip_parse(x->args->from ? x->args->from : "192.0.2.1", &x->client.from, why)) {
        fprintf(x->errors, "%s%sfrom: \"%s\" is %s\n", x->prefix, x->dashes, x->args->from, why);
        return 1;
    }
    rx_ip_unmap(&x->client.from);
    x->client.week_minute = rx_week_minute(time(NULL));
    if (x->args->at && rx_week_minute_parse(x->args->at, &x->client.week_minute)) {
        fprintf(stderr, "refractium explain: --at: must be a date and a time like \"2026-01-05 09:00\"\n");
        return 1;
    }
    return 0;
}

// ---- what each matcher says ---------------------------------------------------------------------------------

// How many of the datagrams lie in the first n bytes.
static uint32_t grams_in(const struct rx_explained *x, uint32_t n)
{
    uint32_t k = 0;
    while (x->gram_len && k < x->in.n_cuts && x->in.cuts[k] <= n)
        k++;
    return k;
}

enum rx_verdict rx_explain_ask(const struct rx_explained *x, const struct rx_entry *e, uint32_t n, struct rx_facts *f)
{
    *f = (struct rx_facts){ .want = e->want, .scratch = x->scratch, .gram_len = x->gram_len,
                            .n_grams = grams_in(x, n) };
    if (x->of.said == RX_SAID_PROTOCOL) {
        const struct rx_proto *def = e->known == x->of.known ? e->known->def : NULL;
        if (!def || rx_proto_ask(def, x->in.bytes, n, f) == RX_NO)
            f->have = f->pending = 0;
        if (x->of.key.ptr)
            f->key = x->of.key, f->have |= RX_FACT_KEY;
        return e->known == x->of.known || e->known->is_any ? RX_MATCH : RX_NO;
    }
    if (n)
        return rx_known_ask(e->known, x->in.bytes, n, f, x->client.script);
    return e->known->is_any ? RX_MATCH : RX_MORE;
}

// Verdicts hold for every continuation, so the first final one can be found by halving.
static uint32_t bytes_needed(const struct rx_explained *x, const struct rx_entry *e, uint32_t n)
{
    struct rx_facts f;
    uint32_t low = 0, high = n; // at `high` it is final
    if (x->gram_len) {
        for (uint32_t i = 0; i < x->in.n_cuts; i++)
            if (rx_explain_ask(x, e, x->in.cuts[i], &f) != RX_MORE)
                return x->in.cuts[i];
        return n;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rx_explain_ask(x, e, middle, &f) == RX_MORE)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Every matcher that stands before the route that took it; all of them when none did.
static int try_all(struct rx_explained *x)
{
    const struct rx_matcher *m = x->args->is_udp ? x->listen->udp : x->listen->tcp;
    const struct rx_decision *d = &x->outcome.d;
    uint32_t len = x->outcome.len;
    x->tried = calloc((m ? m->n_entries : 0) + 1, sizeof *x->tried);
    if (!x->tried)
        return complain(x, "out of memory");
    bool is_named = x->of.said == RX_SAID_PROTOCOL;
    for (uint32_t i = 0; m && i < m->n_entries && x->of.said != RX_SAID_TARGET; i++) {
        const struct rx_entry *e = &m->entries[i];
        struct rx_facts f;
        if (d->verdict == RX_MATCH && e->first_route > d->route->index)
            break;
        enum rx_verdict v = rx_explain_ask(x, e, len, &f);
        x->tried[x->n_tried++] =
            (struct rx_tried){ e, v, v == RX_MORE || is_named ? len : bytes_needed(x, e, len) };
    }
    return 0;
}

static const struct rx_known *first_match(const struct rx_explained *x, uint32_t len)
{
    struct rx_facts f;
    for (uint32_t i = 0; i < x->n_tried; i++) {
        const struct rx_entry *e = x->tried[i].entry;
        if (!e->known->is_any && len && rx_explain_ask(x, e, len, &f) == RX_MATCH)
            return e->known;
    }
    return NULL;
}

// rx.any takes what was recognised as something, too: then that is what it is called. So is what was turned away
// for who the client is, before it had said enough.
static void name_it(struct rx_explained *x)
{
    const struct rx_known *seen = x->outcome.d.seen;
    uint32_t all = x->gram_len ? x->outcome.len : RX_MIN(x->in.len, x->listen->peek_bytes);
    if (!seen || seen->is_any || seen->is_silent)
        seen = first_match(x, x->outcome.d.verdict == RX_MORE ? x->outcome.len : all);
    x->seen = seen;
    x->facts = (struct rx_facts){ .want = ~0u, .scratch = x->scratch, .gram_len = x->gram_len,
                                  .n_grams = grams_in(x, all) };
    if (seen && seen->def && rx_proto_ask(seen->def, x->in.bytes, all, &x->facts) != RX_MATCH)
        x->facts.have = 0;
}

const char *rx_explain_version(const struct rx_known *known, uint16_t version, char buf[16])
{
    unsigned major = version >> 8, minor = version & 0xff;
    uint32_t facts = known->def->facts;
    if (facts & RX_FACT_SNI && major == 3 && minor) // RFC 8446 4.2.1: 0x0303 is TLS 1.2
        snprintf(buf, 16, "1.%u", minor - 1);
    else if (facts & RX_FACT_SNI && major != 3)
        snprintf(buf, 16, "0x%04x", version);
    else if (facts & RX_FACT_METHOD && major >= 2 && !minor)
        snprintf(buf, 16, "%u", major);
    else
        snprintf(buf, 16, "%u.%u", major, minor);
    return buf;
}

// ---- the command --------------------------------------------------------------------------------------------

// Nobody has come yet: the first turn, and what this client's address makes of it.
static const struct rx_backend *first_pick(const struct rx_explained *x, const struct rx_pool *pool)
{
    struct rx_dice dice = { .key = rx_client_key(pool->balance, &x->client.from), .first = -1, .is_rehearsal = true };
    return rx_pick(rx_roster_of(pool), &dice, NULL);
}

static int measure_grams(struct rx_explained *x)
{
    x->gram_len = calloc(x->in.n_cuts + 1, sizeof *x->gram_len);
    for (uint32_t i = 0; x->gram_len && i < x->in.n_cuts; i++)
        x->gram_len[i] = x->in.cuts[i] - (i ? x->in.cuts[i - 1] : 0);
    return x->gram_len ? 0 : -1;
}

// Of bytes that are there.
static int explain(struct rx_explained *x, const struct rx_conf *conf, FILE *out)
{
    if (choose_listener(x, conf) || choose_client(x))
        return 1;
    if (x->args->is_udp && measure_grams(x))
        return complain(x, "out of memory");
    x->scratch = malloc(RX_SCRATCH_SIZE);
    if (!x->scratch)
        return complain(x, "out of memory");
    x->client.p = x->in.bytes;
    x->client.script = rx_conf_script(conf, -1);
    x->conf = conf;
    x->client.cuts = x->in.cuts;
    x->client.n_cuts = x->in.n_cuts;
    x->client.is_udp = x->args->is_udp;
    rx_rehearse(x->listen, &x->client, x->scratch, x->args->is_builtin ? ~0u : 0, &x->outcome);
    if (x->listen->identify_fn >= 0 && x->outcome.len)
        rx_script_listen(x->client.script, (uint32_t)x->listen->identify_fn, x->in.bytes, x->outcome.len, &x->of);
    rx_script_mute(x->client.script, true); // what functions have to say they have said
    if (try_all(x))
        return 1;
    name_it(x);
    const struct rx_target *to = rx_outcome_target(x->listen, &x->outcome);
    if (to && to->kind == RX_TO_POOL)
        x->backend = first_pick(x, to->pool);
    if (x->args->is_json)
        return rx_explain_json(x, out) != 0;
    rx_explain_text(x, out);
    return fflush(out) || ferror(out);
}

static void explained_fini(struct rx_explained *x)
{
    rx_input_free(&x->in);
    free(x->tried);
    free(x->gram_len);
    free(x->scratch);
}

int rx_explain_run(struct rx_home *home, struct rx_conf *conf, const struct rx_args *a)
{
    char err[RX_INPUT_ERROR];
    struct rx_explained x = { .args = a, .errors = stderr, .prefix = "refractium explain: ", .dashes = "--" };
    struct rx_conf *own = a->is_builtin ? builtin_conf(home) : NULL;
    if (a->is_builtin && !own)
        return 1;
    int code = rx_input_read(&x.in, a, err) ? complain(&x, err) : explain(&x, own ? own : conf, stdout);
    explained_fini(&x);
    rx_conf_unref(own);
    return code;
}

int rx_explain_bytes(struct rx_conf *conf, const struct rx_args *a, const uint8_t *p, size_t n, FILE *out)
{
    enum { PATIENCE_MS = 200 };
    struct rx_explained x = { .args = a, .errors = out, .prefix = "", .dashes = "" };
    struct rx_script *script = rx_conf_script(conf, -1);
    if (!conf->n_listens)
        return complain(&x, "the config has no listener");
    rx_script_lend(script, PATIENCE_MS);
    int code = rx_input_append(&x.in, p, n) || rx_input_cut(&x.in) ? complain(&x, "out of memory") : explain(&x, conf, out);
    rx_script_lend(script, 0);
    explained_fini(&x);
    return code;
}
