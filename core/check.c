// SPDX-License-Identifier: MIT
// Enters: a generation with the tests its config brought. Leaves: what failed, and the routing table.
// Tests go through rx_decide by way of rehearse.c, as connections do; samples ask one protocol alone. Nothing is
// bound, resolved or changed, so the same can be asked before every load.
#include "check.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doubt.h"
#include "identify.h"
#include "json.h"
#include "log.h"
#include "reason.h"
#include "rehearse.h"
#include "table.h"

// ---- findings ---------------------------------------------------------------------------------------------

void rx_findings_add(void *findings, unsigned severity, const char *text, size_t len)
{
    struct rx_findings *f = findings;
    struct rx_finding *grown = realloc(f->list, (f->n + 1) * sizeof *grown);
    char *copy = strndup(text, len);
    if (grown)
        f->list = grown;
    if (grown && copy)
        grown[f->n++] = (struct rx_finding){ severity, copy };
    else
        free(copy);
}

void rx_findings_print(const struct rx_findings *f, FILE *out, bool is_coloured)
{
    for (unsigned i = 0; i < f->n; i++) {
        bool is_error = f->list[i].severity == RX_REPORT_ERROR;
        fprintf(out, "%s%s:%s %s\n", is_coloured ? is_error ? "\033[31m" : "\033[33m" : "",
                is_error ? "error" : "warning", is_coloured ? "\033[0m" : "", f->list[i].text);
    }
}

void rx_findings_free(struct rx_findings *f)
{
    for (unsigned i = 0; i < f->n; i++)
        free(f->list[i].text);
    free(f->list);
    *f = (struct rx_findings){ 0 };
}

// ---- one line about one failure -----------------------------------------------------------------------------

struct run {
    const struct rx_conf *conf;
    void (*report)(void *data, const char *line);
    void *data;
    unsigned n_failed;
    uint8_t *scratch; // RX_SCRATCH_SIZE; owned
    uint8_t *bytes;   // owned: a test's segments, joined
    uint32_t *cuts;   // owned
    size_t cap, cap_cuts;
};

struct line {
    char text[2048];
    size_t len;
};

static void add(struct line *l, const char *fmt, ...) RX_PRINTF(2, 3);
static void add(struct line *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(l->text + l->len, sizeof l->text - l->len, fmt, ap);
    va_end(ap);
    if (n > 0)
        l->len = RX_MIN(l->len + (size_t)n, sizeof l->text - 1);
}

static void tell(struct run *run, const struct line *l)
{
    run->n_failed++;
    run->report(run->data, l->text);
}

// ---- samples ------------------------------------------------------------------------------------------------

enum { EVERY_LENGTH = 2048, STRIDE = 61 };

// Beyond some size not every truncation is tried: a megabyte of sample must not cost a minute.
static uint32_t next_length(uint32_t n, uint32_t len)
{
    return n < EVERY_LENGTH ? n + 1 : n == len ? n + 1 : RX_MIN(n + STRIDE, len);
}

static void run_sample(struct run *run, const struct rx_sample *s, unsigned number)
{
    static const char *const words[] = { "no", "match", "more" };
    enum rx_verdict v = RX_MORE;
    uint32_t since = 0;
    struct line l = { .len = 0 };
    char text[64];
    for (uint32_t n = 1; n <= s->bytes.len && !l.len; n = next_length(n, s->bytes.len)) {
        bool is_datagram = !(s->proto->transport & RX_TCP);
        struct rx_facts f = { .scratch = run->scratch, .gram_len = &n, .n_grams = is_datagram };
        if (is_datagram && n < s->bytes.len)
            continue; // datagrams do not come in pieces
        enum rx_verdict now = rx_known_ask(s->proto, s->bytes.ptr, n, &f, rx_conf_script(run->conf, -1));
        if (v != RX_MORE && now != v)
            add(&l, "is \"%s\" after %u bytes but \"%s\" after %u", words[v], since, words[now], n);
        if (now != v)
            since = n;
        v = now;
    }
    if (!l.len && s->yes && v == RX_NO)
        add(&l, "is not recognised (decided after %u bytes)", since);
    else if (!l.len && s->yes && v == RX_MORE)
        add(&l, "is not recognised (more than its %u bytes are asked for)", s->bytes.len);
    else if (!l.len && !s->yes && v == RX_MATCH)
        add(&l, "is recognised (after %u bytes) and must not be", since);
    if (!l.len)
        return;
    struct line whole = { .len = 0 };
    add(&whole, "%s: protocol \"%s\": samples.%s \"%s\" (sample %u) %s", run->conf->file ? run->conf->file : "-f",
        s->proto->name, s->yes ? "yes" : "no", rx_log_escape(s->bytes.ptr, s->bytes.len, text, sizeof text), number,
        l.text);
    tell(run, &whole);
}

// ---- tests --------------------------------------------------------------------------------------------------

// What came of a test, in the words `expect` uses; NULL where nothing can be said.
struct got {
    const char *protocol, *to, *route, *reason, *other_reason;
    const struct rx_target *target;
};

static void read_reason(const struct rx_outcome *o, struct got *g)
{
    switch (g->target->kind) {
    case RX_TO_POOL:
    case RX_TO_SCRIPT:
        return;
    case RX_TO_REFUSE:
        g->reason = rx_reason_word(RX_REASON_REFUSED);
        break;
    case RX_TO_NONE:
    case RX_TO_DROP:
        g->reason = rx_reason_word(RX_REASON_DROPPED);
        break;
    case RX_TO_TARPIT:
    case RX_TO_RESPOND:
    case RX_TO_DESCRIBE:
    case RX_TO_ECHO:
        g->reason = rx_reason_word(RX_REASON_ANSWERED);
        break;
    }
    // A fallback that drops may be asked for by either name: what it does, or why it came to that.
    if (o->d.verdict == RX_NO && (g->target->kind == RX_TO_NONE || g->target->kind == RX_TO_DROP)) {
        g->other_reason = g->target->kind == RX_TO_DROP ? g->reason : NULL;
        g->reason = rx_reason_word(o->is_gone ? RX_REASON_CLIENT_GONE : rx_reason_of_note(o->d.note));
    }
}

static struct got read_outcome(const struct rx_listen *l, const struct rx_outcome *o)
{
    struct got g = { .target = rx_outcome_target(l, o) };
    if (o->d.seen)
        g.protocol = o->d.seen->name;
    else if (o->d.route)
        g.protocol = o->d.route->proto->name; // rx.silent and what speaks second: no byte told
    if (o->d.route)
        g.route = o->d.route->name;
    else if (o->d.verdict == RX_MATCH)
        g.route = "identify";
    if (g.target) {
        g.to = rx_target_word(g.target);
        read_reason(o, &g);
    }
    return g;
}

// A pool is meant by its name, or by the address of its one backend; one without a name by any of its addresses.
static bool is_to(const struct got *g, const char *to)
{
    if (!g->to || !strcmp(g->to, to))
        return g->to != NULL;
    if (g->target->kind != RX_TO_POOL)
        return false;
    const struct rx_pool *p = g->target->pool;
    bool is_any = false, is_all = true;
    for (uint32_t i = 0; i < p->n_members; i++) {
        bool is_this = !strcmp(p->members[i].name, to);
        is_any |= is_this;
        is_all &= is_this;
    }
    return p->is_anonymous ? is_any : is_all;
}

// Reasons are words with underscores; a dash is forgiven.
static bool is_reason(const char *reason, const char *asked)
{
    for (; reason && *reason && (*reason == *asked || (*reason == '_' && *asked == '-')); reason++)
        asked++;
    return reason && !*reason && !*asked;
}

static void differ(struct line *l, const char *key, const char *wanted, const char *got)
{
    add(l, "%s expected %s = \"%s\", got ", l->len ? ";" : "", key, wanted);
    if (got)
        add(l, "\"%s\"", got);
    else
        add(l, "none");
}

static void compare(const struct rx_test *t, const struct rx_outcome *o, struct line *l)
{
    struct got g = read_outcome(t->listen, o);
    bool is_more = o->d.verdict == RX_MORE;
    if (is_more && !t->expect_more) {
        add(l, " not decided after %u bytes: more are awaited (silent = true or eof = true says what comes next)",
            o->len);
        return;
    }
    if (t->expect_more && !is_more)
        add(l, " expected more = true, got \"%s\" after %u bytes", g.to, o->len);
    if (t->protocol && (!g.protocol || strcmp(t->protocol, g.protocol)))
        differ(l, "protocol", t->protocol, g.protocol);
    if (t->to && !is_to(&g, t->to))
        differ(l, "to", t->to, g.to);
    if (t->route && (!g.route || strcmp(t->route, g.route)))
        differ(l, "route", t->route, g.route);
    if (t->reason && !is_reason(g.reason, t->reason) && !is_reason(g.other_reason, t->reason))
        differ(l, "reason", t->reason, g.reason);
    if (!l->len)
        return;
    if (o->d.route)
        add(l, " (route \"%s\", %s)", o->d.route->name, o->d.route->where);
    else if (o->is_gone)
        add(l, " (it left without a word)");
    else if (o->d.verdict == RX_MATCH)
        add(l, " (the listener's identify says so)");
    else if (!is_more)
        add(l, " (no route takes it: the fallback)");
}

// The segments, one behind the other; only as much as may be peeked is ever looked at.
static int join_segments(struct run *run, const struct rx_test *t)
{
    size_t total = 1;
    for (uint32_t i = 0; i < t->n_send; i++)
        total += t->send[i].len;
    if (total > run->cap) {
        free(run->bytes);
        run->bytes = malloc(run->cap = total * 2);
    }
    if (t->n_send >= run->cap_cuts) {
        free(run->cuts);
        run->cuts = calloc(run->cap_cuts = 2 * (size_t)t->n_send + 16, sizeof *run->cuts);
    }
    if (!run->bytes || !run->cuts) {
        run->cap = run->cap_cuts = 0;
        return -1;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < t->n_send; i++) {
        memcpy(run->bytes + at, t->send[i].ptr, t->send[i].len);
        run->cuts[i] = at += t->send[i].len;
    }
    return 0;
}

static void run_test(struct run *run, const struct rx_test *t)
{
    struct line l = { .len = 0 }, whole = { .len = 0 };
    struct rx_outcome o;
    if (join_segments(run, t)) {
        add(&l, " out of memory");
    } else {
        struct rx_client c = { .p = run->bytes,
                               .script = rx_conf_script(run->conf, -1),
                               .cuts = run->cuts,
                               .n_cuts = t->n_send,
                               .after = t->is_eof      ? RX_ENDED_EOF
                                        : t->is_silent ? RX_ENDED_TIMEOUT
                                                       : RX_OPEN,
                               .from = t->from,
                               .week_minute = t->has_at ? t->week_minute : rx_week_minute(time(NULL)),
                               .is_udp = t->transport == RX_UDP,
                               .to_port = t->to_port };
        rx_rehearse(t->listen, &c, run->scratch, 0, &o);
        compare(t, &o, &l);
    }
    if (!l.len)
        return;
    add(&whole, "%s: test \"%s\":%s", t->where, t->name, l.text);
    tell(run, &whole);
}

unsigned rx_check_tests(const struct rx_conf *conf, void (*report)(void *data, const char *line), void *data)
{
    struct run run = { .conf = conf, .report = report, .data = data, .scratch = malloc(RX_SCRATCH_SIZE) };
    if (!run.scratch) {
        report(data, "out of memory");
        return 1;
    }
    for (uint32_t i = 0, number = 0; i < conf->n_samples; i++) {
        bool is_same = i && conf->samples[i].proto == conf->samples[i - 1].proto &&
                       conf->samples[i].yes == conf->samples[i - 1].yes;
        number = is_same ? number + 1 : 1;
        run_sample(&run, &conf->samples[i], number);
    }
    for (uint32_t i = 0; i < conf->n_tests; i++)
        run_test(&run, conf->tests[i]);
    free(run.scratch);
    free(run.bytes);
    free(run.cuts);
    return run.n_failed;
}

// ---- the command --------------------------------------------------------------------------------------------

static void keep_failure(void *data, const char *line)
{
    rx_findings_add(data, RX_REPORT_ERROR, line, strlen(line));
}

static void texts_json(struct rx_json *j, const char *key, const struct rx_findings *f, unsigned from,
                       unsigned severity)
{
    rx_json_key(j, key);
    rx_json_open(j, '[');
    for (unsigned i = from; i < f->n; i++)
        if (f->list[i].severity == severity)
            rx_json_string(j, f->list[i].text);
    rx_json_close(j);
}

static int print_json(const struct rx_conf *conf, const struct rx_findings *f, const struct rx_findings *failures)
{
    struct rx_json j = { 0 };
    bool is_ok = conf && !failures->n;
    rx_json_open(&j, '{');
    rx_json_key(&j, "ok");
    rx_json_bool(&j, is_ok);
    rx_json_key(&j, "file");
    rx_json_string(&j, conf ? conf->file : NULL);
    texts_json(&j, "errors", f, 0, RX_REPORT_ERROR);
    texts_json(&j, "warnings", f, 0, RX_REPORT_WARNING);
    rx_json_key(&j, "tests");
    rx_json_open(&j, '{');
    rx_json_key(&j, "count");
    rx_json_number(&j, conf ? conf->n_tests : 0);
    rx_json_key(&j, "samples");
    rx_json_number(&j, conf ? conf->n_samples : 0);
    rx_json_key(&j, "failed");
    rx_json_number(&j, failures->n);
    texts_json(&j, "failures", failures, 0, RX_REPORT_ERROR);
    rx_json_close(&j);
    rx_json_key(&j, "listeners");
    if (conf) {
        rx_table_json(conf, &j);
    } else {
        rx_json_open(&j, '[');
        rx_json_close(&j);
    }
    rx_json_close(&j);
    return rx_json_write(&j, stdout) ? 1 : !is_ok;
}

static const char *plural(uint32_t n)
{
    return n == 1 ? "" : "s";
}

static int print_text(const struct rx_conf *conf, const struct rx_args *a, const struct rx_findings *f,
                      const struct rx_findings *failures)
{
    bool is_coloured = isatty(STDERR_FILENO) && !getenv("NO_COLOR");
    rx_findings_print(f, stderr, is_coloured);
    if (!conf) {
        unsigned n = 0;
        for (unsigned i = 0; i < f->n; i++)
            n += f->list[i].severity == RX_REPORT_ERROR;
        fprintf(stderr, "%u error%s\n", n, plural(n));
        return 1;
    }
    if (!a->is_quiet)
        rx_table_print(conf, stdout);
    if (fflush(stdout) || ferror(stdout))
        return 1;
    rx_findings_print(failures, stderr, is_coloured);
    if (failures->n) {
        fprintf(stderr, "%u of %u test%s and sample%s failed\n", failures->n, conf->n_tests + conf->n_samples,
                plural(conf->n_tests), plural(conf->n_samples));
        return 1;
    }
    if (!a->is_quiet) {
        printf("\n%u test%s passed", conf->n_tests, plural(conf->n_tests));
        if (conf->n_samples)
            printf(", and %u sample%s", conf->n_samples, plural(conf->n_samples));
        printf("\n");
    }
    return fflush(stdout) || ferror(stdout);
}

int rx_check_run(struct rx_conf *conf, const struct rx_args *a, struct rx_findings *f)
{
    struct rx_findings failures = { 0 };
    if (conf)
        rx_check_tests(conf, keep_failure, &failures);
    if (conf)
        rx_doubt_run(conf, f);
    int code = a->is_json ? print_json(conf, f, &failures) : print_text(conf, a, f, &failures);
    rx_findings_free(&failures);
    return code;
}
