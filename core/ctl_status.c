// SPDX-License-Identifier: MIT
// The status object as text for people. Programs take --json.
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl.h"
#include "log.h"

enum { RELOADS_SHOWN = 5 };

// Fit for a terminal. Good until it was called four more times.
static const char *show(const char *text)
{
    static char bufs[4][256];
    static unsigned turn;
    return rx_log_escape((const uint8_t *)text, strlen(text), bufs[turn++ % 4], sizeof bufs[0]);
}

static void print_closed(const json_t *totals)
{
    const char *word, *glue = "closed:  ";
    json_t *n;
    json_object_foreach(json_object_get(totals, "closed"), word, n) {
        printf("%s%s %lu", glue, show(word), (unsigned long)json_integer_value(n));
        glue = ", ";
    }
    if (*glue == ',')
        printf("\n");
}

static void print_head(const json_t *s)
{
    char up[16], in[16], out[16];
    const json_t *config = json_object_get(s, "config"), *t = json_object_get(s, "totals");
    const char *file = rx_ctl_text(config, "file");
    printf("refractium %s, pid %lu, up %s, %lu workers, log level %s%s\n", show(rx_ctl_text(s, "version")),
           (unsigned long)rx_ctl_number(s, "pid"), rx_ctl_span(rx_ctl_number(s, "uptime_ms"), up),
           (unsigned long)rx_ctl_number(s, "workers"), show(rx_ctl_text(s, "log_level")),
           json_is_true(json_object_get(s, "stopping")) ? ", STOPPING" : "");
    printf("config:  %s, generation %lu\n", *file ? show(file) : "none, the command line alone",
           (unsigned long)rx_ctl_number(config, "generation"));
    printf("clients: %lu now of at most %lu, %lu since the start; %s bytes in, %s out\n",
           (unsigned long)rx_ctl_number(t, "active"), (unsigned long)rx_ctl_number(t, "max_connections"),
           (unsigned long)rx_ctl_number(t, "accepted"), rx_ctl_bytes(rx_ctl_number(t, "bytes_in"), in),
           rx_ctl_bytes(rx_ctl_number(t, "bytes_out"), out));
    print_closed(t);
}

static void print_listeners(const json_t *s)
{
    size_t i, k;
    json_t *l, *r;
    char in[16], out[16];
    json_array_foreach(json_object_get(s, "listeners"), i, l) {
        printf("\nlistener %s (%s): %lu now, %lu of them not yet identified\n", show(rx_ctl_text(l, "name")),
               show(rx_ctl_text(l, "where")), (unsigned long)rx_ctl_number(l, "active"),
               (unsigned long)rx_ctl_number(l, "pending"));
        json_array_foreach(json_object_get(l, "routes"), k, r) {
            printf("  %-32s to %s", show(rx_ctl_text(r, "name")), show(rx_ctl_text(r, "to")));
            if (json_is_integer(json_object_get(r, "active")))
                printf(", %lu now", (unsigned long)rx_ctl_number(r, "active"));
            printf(", %lu ended; %s in, %s out", (unsigned long)rx_ctl_number(r, "ended"),
                   rx_ctl_bytes(rx_ctl_number(r, "bytes_in"), in), rx_ctl_bytes(rx_ctl_number(r, "bytes_out"), out));
            printf("\n");
        }
    }
}

static void print_pools(const json_t *s)
{
    size_t i, k;
    json_t *p, *b;
    json_array_foreach(json_object_get(s, "pools"), i, p) {
        printf("\npool %s\n", show(rx_ctl_text(p, "name")));
        json_array_foreach(json_object_get(p, "backends"), k, b) {
            const char *name = rx_ctl_text(b, "name"), *address = rx_ctl_text(b, "address");
            const char *word = rx_ctl_text(b, "state"), *why = rx_ctl_text(json_object_get(b, "health"), "why");
            printf("  %-32s %lu now, %lu connects, %lu failures%s", show(name),
                   (unsigned long)rx_ctl_number(b, "active"), (unsigned long)rx_ctl_number(b, "connects"),
                   (unsigned long)rx_ctl_number(b, "failures"),
                   json_is_true(json_object_get(b, "backup")) ? ", backup" : "");
            const char *state = rx_ctl_text(b, "state");
            if (*state && strcmp(state, "unknown") && strcmp(state, "up"))
                printf(", %s", show(state));
            if (strcmp(name, address))
                printf(" (%s)", show(address));
            if (*word && strcmp(word, "unknown"))
                printf(", %s", show(word));
            if (*why)
                printf(": %s", show(why));
            printf("\n");
        }
    }
}

static void print_scripts(const json_t *s)
{
    size_t i;
    json_t *f;
    const json_t *scripts = json_object_get(s, "scripts");
    if (json_array_size(scripts))
        printf("\nfunctions\n");
    json_array_foreach(scripts, i, f)
        printf("  %-32s %s, %lu errors%s\n", show(rx_ctl_text(f, "where")), show(rx_ctl_text(f, "kind")),
               (unsigned long)rx_ctl_number(f, "errors"),
               json_is_true(json_object_get(f, "quarantined")) ? ", QUARANTINED until the next good reload" : "");
}

// The last ones; findings of a refusal are in the log, and in --json.
static void print_reloads(const json_t *s)
{
    size_t i;
    json_t *r;
    const json_t *reloads = json_object_get(s, "reloads");
    if (json_array_size(reloads))
        printf("\nreloads, the latest first\n");
    json_array_foreach(reloads, i, r) {
        char when[32] = "";
        time_t at = (time_t)(rx_ctl_number(r, "time_ms") / 1000);
        struct tm tm;
        if (i == RELOADS_SHOWN)
            break;
        if (localtime_r(&at, &tm))
            strftime(when, sizeof when, "%F %T", &tm);
        printf("  %s  %s by %s, %s%s%s\n", when, show(rx_ctl_text(r, "result")), show(rx_ctl_text(r, "why")),
               show(rx_ctl_text(r, "who")), *rx_ctl_text(r, "note") ? ": " : "", show(rx_ctl_text(r, "note")));
    }
}

static void print_bans(const json_t *s)
{
    size_t i;
    json_t *b;
    char left[16];
    const json_t *bans = json_object_get(s, "bans"), *first = json_object_get(bans, "first");
    if (rx_ctl_number(bans, "now"))
        printf("\nbans: %lu\n", (unsigned long)rx_ctl_number(bans, "now"));
    json_array_foreach(first, i, b)
        printf("  %-32s for another %s\n", show(rx_ctl_text(b, "ip")), rx_ctl_span(rx_ctl_number(b, "left_ms"), left));
}

static void print_sessions(const json_t *s)
{
    size_t i;
    json_t *one;
    const json_t *sessions = json_object_get(s, "sessions"), *tails = json_object_get(s, "tails");
    if (json_array_size(sessions))
        printf("\nsessions\n");
    json_array_foreach(sessions, i, one)
        printf("  %-24s %lu identities, %lu addresses, %lu violations\n", show(rx_ctl_text(one, "name")),
               (unsigned long)rx_ctl_number(one, "identities"), (unsigned long)rx_ctl_number(one, "addresses"),
               (unsigned long)rx_ctl_number(one, "violations"));
    json_array_foreach(tails, i, one)
        printf("  %-24s %lu lines: %lu of sessions, %lu others, %lu not understood\n", show(rx_ctl_text(one, "path")),
               (unsigned long)rx_ctl_number(one, "lines"), (unsigned long)rx_ctl_number(one, "sessions"),
               (unsigned long)rx_ctl_number(one, "other"), (unsigned long)rx_ctl_number(one, "bad"));
}

static void print_store(const json_t *s)
{
    const json_t *store = json_object_get(s, "store");
    if (!json_is_object(store))
        return;
    printf("\nstore %s: %s, %lu told, %lu heard, %lu lost, %lu failed, %lu outages\n", show(rx_ctl_text(store, "at")),
           json_is_true(json_object_get(store, "is_up")) ? "up" : "gone, this node decides alone",
           (unsigned long)rx_ctl_number(store, "told"), (unsigned long)rx_ctl_number(store, "heard"),
           (unsigned long)rx_ctl_number(store, "lost"), (unsigned long)rx_ctl_number(store, "failed"),
           (unsigned long)rx_ctl_number(store, "outages"));
}

void rx_ctl_print_status(const json_t *status)
{
    print_head(status);
    print_listeners(status);
    print_pools(status);
    print_scripts(status);
    print_sessions(status);
    print_store(status);
    print_bans(status);
    print_reloads(status);
}
