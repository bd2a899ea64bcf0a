// SPDX-License-Identifier: MIT
// Enters: the engine's view of the running program. Leaves: the text format of Prometheus, 0.0.4. Label values come
// from the config and from closed lists, so there are as many series as the config makes; what scripts count is
// appended by metric.c. Counters are read one by one while workers go on.
#include "metrics.h"

#include <stdlib.h>
#include <string.h>

#include "ban.h"
#include "guard.h"
#include "home.h"
#include "log.h"
#include "metric.h"
#include "store.h"
#include "sessions.h"
#include "sync.h"

#ifndef RX_VERSION
#define RX_VERSION "0.1.0"
#endif

static void head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(FILE *out, const char *name, const char *type, const char *help, double v)
{
    head(out, name, type, help);
    fprintf(out, "%s ", name);
    rx_metric_print_number(out, v);
    putc('\n', out);
}

// Writes `name="value"` behind `before`: '{' or ','.
static void label(FILE *out, char before, const char *name, const char *value)
{
    fprintf(out, "%c%s=", before, name);
    rx_metric_print_label(out, value, strlen(value));
}

static unsigned long get(const atomic_ulong *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

// ---- listeners and routes -----------------------------------------------------------------------------------------

static void print_closed(const struct rx_served *t, void *data)
{
    FILE *out = data;
    struct rx_served_sum s = rx_served_sum(t);
    for (int r = 0; r < RX_REASON_COUNT; r++) {
        if (!s.closed[r])
            continue;
        fputs("refractium_connections_total", out);
        label(out, '{', "listener", t->listen);
        label(out, ',', "route", t->route);
        label(out, ',', "protocol", t->protocol);
        label(out, ',', "reason", rx_reason_word((enum rx_reason)r));
        fprintf(out, "} %lu\n", s.closed[r]);
    }
}

static void print_active(const struct rx_served *t, void *data)
{
    FILE *out = data;
    fputs("refractium_connections_active", out);
    label(out, '{', "listener", t->listen);
    label(out, ',', "route", t->route);
    label(out, ',', "protocol", t->protocol);
    fprintf(out, "} %lu\n", rx_served_sum(t).active);
}

static void print_bytes(const struct rx_served *t, void *data)
{
    static const char *const words[2] = { "in", "out" };
    FILE *out = data;
    struct rx_served_sum s = rx_served_sum(t);
    for (int d = 0; d < 2; d++) {
        fputs("refractium_bytes_total", out);
        label(out, '{', "listener", t->listen);
        label(out, ',', "route", t->route);
        label(out, ',', "protocol", t->protocol);
        label(out, ',', "direction", words[d]);
        fprintf(out, "} %lu\n", s.bytes[d]);
    }
}

static void print_routes(FILE *out, const struct rx_instance *i)
{
    head(out, "refractium_connections_total", "counter", "Connections that have ended, by route and reason.");
    rx_served_each(&i->home->serveds, print_closed, out);
    head(out, "refractium_connections_active", "gauge", "Connections now; route \"\" is not recognised yet or no route's.");
    rx_served_each(&i->home->serveds, print_active, out);
    head(out, "refractium_bytes_total", "counter", "Bytes moved, from clients (in) and to clients (out).");
    rx_served_each(&i->home->serveds, print_bytes, out);
}

// ---- workers ------------------------------------------------------------------------------------------------------

static void print_histogram(FILE *out, const struct rx_instance *i, size_t at, const char *name, const char *help)
{
    unsigned long count = 0, sum_ms = 0;
    head(out, name, "histogram", help);
    for (int b = 0; b < RX_HISTOGRAM_BUCKETS; b++) {
        for (unsigned w = 0; w < i->n_workers; w++)
            count += get(&((const struct rx_histogram *)((const char *)&i->workers[w].stat + at))->buckets[b]);
        fprintf(out, "%s_bucket{le=\"", name);
        if (b == RX_HISTOGRAM_BUCKETS - 1)
            fputs("+Inf", out);
        else
            fprintf(out, "%g", rx_histogram_bounds_ms[b] / 1000.0);
        fprintf(out, "\"} %lu\n", count);
    }
    for (unsigned w = 0; w < i->n_workers; w++)
        sum_ms += get(&((const struct rx_histogram *)((const char *)&i->workers[w].stat + at))->sum_ms);
    fprintf(out, "%s_sum %.3f\n%s_count %lu\n", name, (double)sum_ms / 1000, name, count);
}

static void print_lost(FILE *out, const struct rx_instance *i)
{
    static const char *const words[] = {
#define X(name, word) word,
        RX_LOSSES(X)
#undef X
    };
    head(out, "refractium_datagrams_lost_total", "counter", "Datagrams that went nowhere, by why.");
    for (int r = 0; r < RX_LOST_COUNT; r++) {
        unsigned long n = 0;
        for (unsigned w = 0; w < i->n_workers; w++)
            n += get(&i->workers[w].stat.lost[r]);
        fprintf(out, "refractium_datagrams_lost_total{reason=\"%s\"} %lu\n", words[r], n);
    }
}

static void print_workers(FILE *out, const struct rx_instance *i)
{
    unsigned long accepted = 0, retries = 0, spliced[2] = { 0 };
    for (unsigned w = 0; w < i->n_workers; w++) {
        const struct rx_stat *s = &i->workers[w].stat;
        accepted += get(&s->accepted);
        retries += get(&s->retries);
        for (int d = 0; d < 2; d++)
            spliced[d] += get(&s->spliced[d]);
    }
    one(out, "refractium_accepted_total", "counter", "Connections taken from the kernel.", (double)accepted);
    one(out, "refractium_log_lines_lost_total", "counter", "Lines of logs that could not be written (a full disk).",
        (double)rx_log_lost());
    one(out, "refractium_retries_total", "counter", "Times another backend was tried for a connection.", (double)retries);
    head(out, "refractium_splices_total", "counter", "Directions of connections that changed over to splice.");
    fprintf(out, "refractium_splices_total{direction=\"in\"} %lu\nrefractium_splices_total{direction=\"out\"} %lu\n",
            spliced[0], spliced[1]);
    print_lost(out, i);
    print_histogram(out, i, offsetof(struct rx_stat, identify), "refractium_identify_seconds",
                    "From the connection until its route was known.");
    print_histogram(out, i, offsetof(struct rx_stat, connect), "refractium_connect_seconds",
                    "Until a backend was connected, all that were tried together.");
    print_histogram(out, i, offsetof(struct rx_stat, duration), "refractium_connection_seconds",
                    "How long connections that have ended lasted.");
}

// ---- backends and functions: what the config names -------------------------------------------------------------------

struct row {
    const char *pool;
    const struct rx_backend *backend;
};

static int by_pool(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int c = strcmp(x->pool, y->pool);
    c = c ? c : strcmp(x->backend->name, y->backend->name);
    return c ? c : ((uintptr_t)x->backend->state > (uintptr_t)y->backend->state) -
                       ((uintptr_t)x->backend->state < (uintptr_t)y->backend->state);
}

// The backends of all pools, each once: anonymous pools may share a name, and a pool may name an address twice.
static struct row *rows_new(const struct rx_conf *conf, uint32_t *n)
{
    uint32_t all = 0, k = 0;
    for (uint32_t i = 0; i < conf->n_pools; i++)
        all += rx_roster_of(conf->pools[i])->n_known;
    struct row *rows = malloc((all + 1) * sizeof *rows);
    *n = 0;
    if (!rows)
        return NULL;
    for (uint32_t i = 0; i < conf->n_pools; i++)
        for (uint32_t b = 0; b < rx_roster_of(conf->pools[i])->n; b++) {
            const struct rx_backend *one = &rx_roster_of(conf->pools[i])->backends[b];
            if (one->state) // not a name without an address
                rows[k++] = (struct row){ conf->pools[i]->name, one };
        }
    qsort(rows, all, sizeof *rows, by_pool);
    for (uint32_t i = 0; i < all; i++)
        if (!*n || by_pool(&rows[*n - 1], &rows[i]))
            rows[(*n)++] = rows[i];
    return rows;
}

static void print_backend_value(FILE *out, const struct row *rows, uint32_t n, const char *name,
                                unsigned long (*value)(const struct rx_backend_state *))
{
    for (uint32_t i = 0; i < n; i++) {
        char text[RX_ADDR_TEXT];
        fputs(name, out);
        label(out, '{', "pool", rows[i].pool);
        label(out, ',', "backend", rows[i].backend->name);
        label(out, ',', "address", rx_addr_print(&rows[i].backend->addr.sa, text));
        fprintf(out, "} %lu\n", value(rows[i].backend->state));
    }
}

static unsigned long active_of(const struct rx_backend_state *s)
{
    return atomic_load(&s->active);
}

static unsigned long connects_of(const struct rx_backend_state *s)
{
    return get(&s->connects);
}

static unsigned long failures_of(const struct rx_backend_state *s)
{
    return get(&s->refused);
}

static unsigned long ejections_of(const struct rx_backend_state *s)
{
    return get(&s->ejected);
}

static unsigned long usable_of(const struct rx_backend_state *s)
{
    return rx_backend_is_usable(s, rx_now_ms());
}

static unsigned long is_up_of(const struct rx_backend_state *s)
{
    return atomic_load(&s->health) != RX_HEALTH_DOWN;
}

static unsigned long checks_of(const struct rx_backend_state *s)
{
    return get(&s->checks);
}

static unsigned long bad_checks_of(const struct rx_backend_state *s)
{
    return get(&s->checks_failed);
}

static unsigned long downs_of(const struct rx_backend_state *s)
{
    return get(&s->downs);
}

static unsigned long check_us_of(const struct rx_backend_state *s)
{
    return atomic_load(&s->check_us);
}

// Of those whose health is checked. Reorders the rows.
static void print_health(FILE *out, struct row *rows, uint32_t n)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++)
        if (rows[i].backend->state->check[0])
            rows[k++] = rows[i];
    if (!k)
        return;
    head(out, "refractium_backend_up", "gauge", "0: its health check has it down; 1: it is up, or was not checked yet.");
    print_backend_value(out, rows, k, "refractium_backend_up", is_up_of);
    head(out, "refractium_backend_checks_total", "counter", "Health checks that came to a result.");
    print_backend_value(out, rows, k, "refractium_backend_checks_total", checks_of);
    head(out, "refractium_backend_check_failures_total", "counter", "Those whose result was bad.");
    print_backend_value(out, rows, k, "refractium_backend_check_failures_total", bad_checks_of);
    head(out, "refractium_backend_downs_total", "counter", "Times its health check took it down.");
    print_backend_value(out, rows, k, "refractium_backend_downs_total", downs_of);
    head(out, "refractium_backend_check_microseconds", "gauge", "How long the last health check took.");
    print_backend_value(out, rows, k, "refractium_backend_check_microseconds", check_us_of);
}

static void print_backends(FILE *out, const struct rx_conf *conf)
{
    uint32_t n;
    struct row *rows = rows_new(conf, &n);
    head(out, "refractium_backend_connections_active", "gauge", "Connections to the backend now.");
    print_backend_value(out, rows, n, "refractium_backend_connections_active", active_of);
    head(out, "refractium_backend_connects_total", "counter", "Attempts to connect.");
    print_backend_value(out, rows, n, "refractium_backend_connects_total", connects_of);
    head(out, "refractium_backend_failures_total", "counter", "Attempts that were refused or timed out.");
    print_backend_value(out, rows, n, "refractium_backend_failures_total", failures_of);
    head(out, "refractium_backend_ejections_total", "counter", "Times it was ejected after failures in a row.");
    print_backend_value(out, rows, n, "refractium_backend_ejections_total", ejections_of);
    head(out, "refractium_backend_usable", "gauge", "1: new connections may go there; 0: down, drained or ejected.");
    print_backend_value(out, rows, n, "refractium_backend_usable", usable_of);
    print_health(out, rows, n);
    free(rows);
}

static void print_scripts(FILE *out, const struct rx_conf *conf)
{
    if (!conf->n_fns)
        return;
    head(out, "refractium_script_errors_total", "counter", "Calls of a function of the config that failed, in this generation.");
    for (uint32_t i = 0; i < conf->n_fns; i++) {
        fprintf(out, "refractium_script_errors_total{function=\"%u\"", i + 1);
        label(out, ',', "where", conf->fns[i].where);
        fprintf(out, "} %lu\n", get(&conf->fns[i].errors));
    }
    head(out, "refractium_script_quarantined", "gauge", "1: the function outran its budget and is not called.");
    for (uint32_t i = 0; i < conf->n_fns; i++) {
        fprintf(out, "refractium_script_quarantined{function=\"%u\"", i + 1);
        label(out, ',', "where", conf->fns[i].where);
        fprintf(out, "} %d\n", atomic_load(&conf->fns[i].is_quarantined));
    }
}

static void print_entries(const char *name, struct rx_store *s, void *data)
{
    fputs("refractium_shared_entries", data);
    label(data, '{', "table", name);
    fprintf(data, "} %lu\n", rx_store_totals(s).entries);
}

static void print_evicted(const char *name, struct rx_store *s, void *data)
{
    fputs("refractium_shared_evicted_total", data);
    label(data, '{', "table", name);
    fprintf(data, "} %lu\n", rx_store_totals(s).evicted);
}

static void print_kept(FILE *out, const struct rx_instance *i)
{
    const struct rx_conf *conf = i->reload->conf;
    struct rx_ban_totals bans = rx_ban_totals();
    one(out, "refractium_bans", "gauge", "Addresses and blocks that are banned.", (double)bans.now);
    one(out, "refractium_bans_total", "counter", "Bans set since the start.", (double)bans.added);
    one(out, "refractium_bans_refused_total", "counter", "Bans that found no room.", (double)bans.refused);
    if (conf->n_shared) {
        head(out, "refractium_shared_entries", "gauge", "Entries of a shared table.");
        rx_store_each(&i->home->stores, print_entries, out);
        head(out, "refractium_shared_evicted_total", "counter", "Entries that made room before their end.");
        rx_store_each(&i->home->stores, print_evicted, out);
    }
    rx_metric_print(&i->home->metrics, out);
}

// ---- sessions -------------------------------------------------------------------------------------------------------

static const struct {
    const char *name, *kind, *help;
    size_t at; // in struct rx_sessions_totals
} session_rows[] = {
#define ROW(field) offsetof(struct rx_sessions_totals, field)
    { "refractium_sessions_identities", "gauge", "Identities of sessions that are kept in mind.", ROW(identities) },
    { "refractium_sessions_addresses", "gauge", "Active addresses of those identities.", ROW(addresses) },
    { "refractium_sessions_violations_total", "counter", "Addresses that were one too many.", ROW(violations) },
    { "refractium_sessions_bans_total", "counter", "Bans given for that.", ROW(banned) },
    { "refractium_sessions_evicted_total", "counter", "Identities forgotten to make room.", ROW(evicted) },
    { "refractium_sessions_block_log_lost_total", "counter", "Lines that a block log could not take.", ROW(log_lost) },
    { "refractium_sessions_killed_total", "counter", "Connections the kernel was told to close.", ROW(killed) },
    { "refractium_sessions_conntrack_deleted_total", "counter", "UDP flows the kernel was told to forget.", ROW(flows) },
    { "refractium_sessions_kernel_failed_total", "counter", "What the kernel refused to do.", ROW(kernel_failed) },
#undef ROW
};

struct session_row {
    FILE *out;
    unsigned i;
};

static void print_session(const char *name, struct rx_sessions_live *l, void *data)
{
    const struct session_row *r = data;
    struct rx_sessions_totals t = rx_sessions_totals(l);
    unsigned long n;
    memcpy(&n, (const char *)&t + session_rows[r->i].at, sizeof n);
    fputs(session_rows[r->i].name, r->out);
    label(r->out, '{', "sessions", name);
    fprintf(r->out, "} %lu\n", n);
}

static void print_tail(const char *path, const struct rx_tail_totals *t, void *data)
{
    const char *const words[] = { "session", "other", "bad" };
    const unsigned long n[] = { t->sessions, t->other, t->bad };
    for (unsigned i = 0; i < RX_COUNT(words); i++) {
        fputs("refractium_tail_lines_total", data);
        label(data, '{', "path", path);
        label(data, ',', "what", words[i]);
        fprintf(data, "} %lu\n", n[i]);
    }
}

static void print_store(FILE *out)
{
    struct rx_sync_totals t = rx_sync_totals();
    if (!t.is_on)
        return;
    one(out, "refractium_store_up", "gauge", "Whether sessions and bans are shared now.", t.is_up);
    one(out, "refractium_store_told_total", "counter", "What the store was told.", (double)t.told);
    one(out, "refractium_store_heard_total", "counter", "What was heard of other nodes.", (double)t.heard);
    one(out, "refractium_store_lost_total", "counter", "What it could not be told.", (double)t.lost);
    one(out, "refractium_store_failed_total", "counter", "Calls it refused, and news that cannot be read.", (double)t.failed);
    one(out, "refractium_store_outages_total", "counter", "How often it went away.", (double)t.outages);
}

static void print_sessions(FILE *out, const struct rx_instance *inst)
{
    const struct rx_conf *conf = inst->reload->conf;
    for (unsigned i = 0; conf->n_sessions && i < RX_COUNT(session_rows); i++) {
        head(out, session_rows[i].name, session_rows[i].kind, session_rows[i].help);
        rx_sessions_each(print_session, &(struct session_row){ out, i });
    }
    if (!conf->n_tails)
        return;
    head(out, "refractium_tail_lines_total", "counter", "Lines read of a log, by what they are.");
    rx_guard_each_tail(inst->reload->guard, print_tail, out);
}

void rx_metrics_print(FILE *out, const struct rx_instance *i)
{
    const struct rx_conf *conf = i->reload->conf;
    head(out, "refractium_info", "gauge", "Which version runs; always 1.");
    fputs("refractium_info", out);
    label(out, '{', "version", RX_VERSION);
    fputs("} 1\n", out);
    one(out, "refractium_uptime_seconds", "gauge", "Since the start.", (double)(rx_now_ms() - i->start_ms) / 1000);
    one(out, "refractium_workers", "gauge", "Worker threads.", i->n_workers);
    one(out, "refractium_config_generation", "gauge", "Number of the config that is served.", (double)conf->id);
    one(out, "refractium_stopping", "gauge", "1: connections may finish, no new ones are taken.", i->reload->is_stopped);
    print_workers(out, i);
    print_routes(out, i);
    print_backends(out, conf);
    print_scripts(out, conf);
    print_kept(out, i);
    print_sessions(out, i);
    print_store(out);
}
