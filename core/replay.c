// SPDX-License-Identifier: MIT
// Enters: a recording (record.h) and a config. Leaves: every decision that is another one now, and counts.
// Decisions are made by rehearse.c, as `check` and `explain` make them. A change is another protocol, or another place
// to go; a route that only has another name is counted, not listed. What a recording cut short may not be decidable:
// that is counted too.
#include "replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "log.h"
#include "record.h"
#include "rehearse.h"

enum { NAME_SHOWN = 120 };

struct replay {
    const struct rx_conf *conf;
    const struct rx_args *args;
    const char *file;
    struct rx_json json;
    unsigned long n_decisions, n_changes, n_renamed, n_cut, n_nowhere, n_bad;
    uint8_t *scratch, *bytes; // owned
    unsigned long line;
};

// The decision now, in the words of a recording.
struct now {
    const char *protocol, *route, *to;
};

// The listener of that name, else one with that port, else the only one there is.
static const struct rx_listen *find_listen(const struct rx_conf *conf, const struct rx_record *r)
{
    for (uint32_t i = 0; i < conf->n_listens; i++)
        for (uint32_t k = 0; k < conf->listens[i]->n_binds; k++)
            if (!strcmp(conf->listens[i]->binds[k].text, r->listen))
                return conf->listens[i];
    for (uint32_t i = 0; i < conf->n_listens && r->to_port; i++)
        for (uint32_t k = 0; k < conf->listens[i]->n_binds; k++)
            if (rx_addr_port(&conf->listens[i]->binds[k].addr.sa) == r->to_port)
                return conf->listens[i];
    return conf->n_listens == 1 ? conf->listens[0] : NULL;
}

static bool is_same(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static const char *or_none(const char *s)
{
    return s ? s : "none";
}

// ---- telling --------------------------------------------------------------------------------------------------------

static const char *shown(const char *s, char buf[NAME_SHOWN])
{
    return rx_log_escape((const uint8_t *)or_none(s), strlen(or_none(s)), buf, NAME_SHOWN);
}

static void tell_text(const struct replay *p, const struct rx_record *r, const struct now *now)
{
    char host[RX_ADDR_TEXT], when[32], a[NAME_SHOWN], b[NAME_SHOWN], c[NAME_SHOWN], d[NAME_SHOWN];
    time_t seconds = (time_t)(r->ms / 1000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm) || !strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm))
        snprintf(when, sizeof when, "-");
    printf("%s:%lu: %s %s, %u bytes: ", p->file, p->line, when, rx_addr_print_host(&r->from.sa, host), r->len);
    if (is_same(r->protocol, now->protocol))
        printf("%s: ", shown(r->protocol, a));
    else
        printf("%s is %s now: ", shown(r->protocol, a), shown(now->protocol, b));
    printf("to %s", shown(r->to, a));
    if (!is_same(r->to, now->to))
        printf(" -> %s", shown(now->to, b));
    if (!is_same(r->route, now->route))
        printf("  (route \"%s\" -> \"%s\")", shown(r->route, c), shown(now->route, d));
    printf("\n");
}

static void put(struct rx_json *j, const char *key, const char *text)
{
    rx_json_key(j, key);
    if (text)
        rx_json_text(j, text, strlen(text));
    else
        rx_json_null(j);
}

static void side_json(struct rx_json *j, const char *key, const char *protocol, const char *route, const char *to)
{
    rx_json_key(j, key);
    rx_json_open(j, '{');
    put(j, "protocol", protocol);
    put(j, "route", route);
    put(j, "to", to);
    rx_json_close(j);
}

static void tell_json(struct replay *p, const struct rx_record *r, const struct now *now)
{
    char host[RX_ADDR_TEXT];
    struct rx_json *j = &p->json;
    rx_json_open(j, '{');
    rx_json_key(j, "line");
    rx_json_number(j, p->line);
    rx_json_key(j, "ms");
    rx_json_number(j, r->ms);
    put(j, "from", rx_addr_print_host(&r->from.sa, host));
    put(j, "listen", r->listen);
    side_json(j, "was", r->protocol, r->route, r->to);
    side_json(j, "is", now->protocol, now->route, now->to);
    rx_json_close(j);
}

static void count(struct rx_json *j, const char *key, unsigned long n)
{
    rx_json_key(j, key);
    rx_json_number(j, n);
}

static int finish_json(struct replay *p)
{
    struct rx_json *j = &p->json;
    rx_json_close(j);
    count(j, "decisions", p->n_decisions);
    count(j, "changed", p->n_changes);
    count(j, "renamed", p->n_renamed);
    count(j, "cut", p->n_cut);
    count(j, "unreadable", p->n_bad);
    rx_json_close(j);
    return rx_json_write(j, stdout);
}

static void finish_text(const struct replay *p)
{
    printf("%lu decision%s, %lu change%s", p->n_decisions, p->n_decisions == 1 ? "" : "s", p->n_changes,
           p->n_changes == 1 ? "" : "s");
    if (p->n_renamed)
        printf(", %lu by a route of another name", p->n_renamed);
    if (p->n_cut)
        printf(", %lu cannot be told: the recording has too few of their bytes", p->n_cut);
    if (p->n_nowhere)
        printf(", %lu came to a listener that is not there", p->n_nowhere);
    if (p->n_bad)
        printf(", %lu lines cannot be read", p->n_bad);
    printf("\n");
}

// ---- deciding -------------------------------------------------------------------------------------------------------

// There was more than the file has: what was not kept, or what did not fit the listener's peek_buffer_size.
static bool is_short(const struct rx_record *r)
{
    return r->kept < r->len || r->ended == RX_ENDED_FULL;
}

// Decides as it was decided: on the bytes there were, knowing how they ended.
static bool decide(const struct replay *p, const struct rx_listen *l, const struct rx_record *r, struct rx_outcome *o)
{
    bool is_cut = is_short(r);
    uint32_t ends[RX_RECORD_GRAMS], n = 0;
    for (uint32_t at = 0; n < r->n_grams && at + r->gram_len[n] <= r->kept; n++)
        ends[n] = at += r->gram_len[n];
    struct rx_client c = { .p = r->bytes,
                           .cuts = r->n_grams ? ends : &r->kept,
                           .n_cuts = r->n_grams ? n : r->kept ? 1 : 0,
                           .is_udp = r->n_grams,
                           .after = is_cut ? RX_OPEN : r->ended,
                           .from = r->from,
                           .week_minute = rx_week_minute((time_t)(r->ms / 1000)),
                           .to_port = r->to_port,
                           .script = rx_conf_script(p->conf, -1) };
    rx_rehearse(l, &c, p->scratch, 0, o);
    return o->d.verdict != RX_MORE;
}

static void compare(struct replay *p, const struct rx_record *r)
{
    const struct rx_listen *l = find_listen(p->conf, r);
    struct rx_outcome o;
    struct now now = { NULL, NULL, "no listener" };
    p->n_decisions++;
    if (!l) {
        p->n_nowhere++;
    } else if (!decide(p, l, r, &o)) {
        if (is_short(r)) {
            p->n_cut++;
            return;
        }
        now = (struct now){ r->protocol, NULL, "still waiting" }; // it had said enough then
    } else {
        now = (struct now){ o.d.seen ? o.d.seen->name : NULL, o.d.route ? o.d.route->name : NULL,
                            rx_target_word(rx_outcome_target(l, &o)) };
    }
    if (is_same(r->protocol, now.protocol) && is_same(r->to, now.to)) {
        p->n_renamed += !is_same(r->route, now.route);
        return;
    }
    p->n_changes++;
    if (p->args->is_json)
        tell_json(p, r, &now);
    else
        tell_text(p, r, &now);
}

static int complain(const char *name, const char *why)
{
    fprintf(stderr, "refractium replay: %s: %s\n", name, why);
    return 1;
}

// A line that is none is told and counted: a recording may end in the middle of one.
static int read_lines(struct replay *p, FILE *f)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    struct rx_record r;
    struct rx_record_text text;
    const char *why;
    while ((n = getline(&line, &cap, f)) > 0) {
        p->line++;
        if (p->line == 1) {
            if (strncmp(line, "{\"refractium_record\":1}\n", (size_t)n)) {
                free(line);
                return complain(p->file, "is no recording (or one of another version)");
            }
        } else if (!rx_record_parse(line, (size_t)n, &r, &text, p->bytes, &why)) {
            compare(p, &r);
        } else {
            p->n_bad++;
            fprintf(stderr, "%s:%lu: %s\n", p->file, p->line, why);
        }
    }
    free(line);
    if (ferror(f))
        return complain(p->file, strerror(errno));
    return p->line ? 0 : complain(p->file, "is empty");
}

int rx_replay_run(const struct rx_conf *conf, const struct rx_args *a)
{
    if (!a->n_files)
        return complain("FILE", "is missing (\"-\" is standard input)");
    struct replay p = { .conf = conf, .args = a, .file = a->files[0] };
    bool is_stdin = !strcmp(p.file, "-");
    FILE *f = is_stdin ? stdin : fopen(p.file, "re");
    if (!f)
        return complain(p.file, strerror(errno));
    p.scratch = malloc(RX_SCRATCH_SIZE);
    p.bytes = malloc(RX_RECORD_LINE / 2);
    int rc = p.scratch && p.bytes ? 0 : complain(p.file, "out of memory");
    if (a->is_json) {
        rx_json_open(&p.json, '{');
        rx_json_key(&p.json, "changes");
        rx_json_open(&p.json, '[');
    }
    rc = rc ? rc : read_lines(&p, f);
    if (!rc && a->is_json)
        rc = finish_json(&p) ? 1 : 0;
    else if (!rc)
        finish_text(&p);
    rx_json_free(&p.json);
    free(p.scratch);
    free(p.bytes);
    if (!is_stdin)
        fclose(f);
    return rc || p.n_changes || p.n_bad || fflush(stdout);
}
