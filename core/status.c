// SPDX-License-Identifier: MIT
// Enters: the engine's own view. Leaves: one JSON object. Counters are read one by one while workers go on, so that
// two of them may be a connection apart.
#include "status.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "ban.h"
#include "health.h"
#include "guard.h"
#include "home.h"
#include "log.h"
#include "record.h"
#include "script.h"
#include "sessions.h"
#include "sync.h"

enum { BANS_SHOWN = 100 };

#ifndef RX_VERSION
#define RX_VERSION "0.1.0"
#endif

static void put_number(struct rx_json *j, const char *key, uint64_t v)
{
    rx_json_key(j, key);
    rx_json_number(j, v);
}

static void put_text(struct rx_json *j, const char *key, const char *text)
{
    rx_json_key(j, key);
    rx_json_string(j, text);
}

// ---- counts -------------------------------------------------------------------------------------------------------

struct totals {
    unsigned long accepted, retries, mirrored, mirror_lost, mirrors_given_up, lost[RX_LOST_COUNT], bytes[2], spliced[2], closed[RX_REASON_COUNT];
};

static unsigned long get(const atomic_ulong *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static struct totals add_up(const struct rx_instance *i)
{
    struct totals t = { 0 };
    for (unsigned w = 0; w < i->n_workers; w++) {
        const struct rx_stat *s = &i->workers[w].stat;
        t.accepted += get(&s->accepted);
        t.retries += get(&s->retries);
        t.mirrored += get(&s->mirrored);
        t.mirror_lost += get(&s->mirror_lost);
        t.mirrors_given_up += get(&s->mirrors_given_up);
        for (int d = 0; d < 2; d++) {
            t.bytes[d] += get(&s->bytes[d]);
            t.spliced[d] += get(&s->spliced[d]);
        }
        for (int r = 0; r < RX_LOST_COUNT; r++)
            t.lost[r] += get(&s->lost[r]);
        for (int r = 0; r < RX_REASON_COUNT; r++)
            t.closed[r] += get(&s->closed[r]);
    }
    return t;
}

static void put_closed(struct rx_json *j, const unsigned long closed[RX_REASON_COUNT])
{
    rx_json_key(j, "closed");
    rx_json_open(j, '{');
    for (int r = 0; r < RX_REASON_COUNT; r++)
        if (closed[r])
            put_number(j, rx_reason_word((enum rx_reason)r), closed[r]);
    rx_json_close(j);
}

// Datagrams that went nowhere.
static void put_lost(struct rx_json *j, const unsigned long lost[RX_LOST_COUNT])
{
    static const char *const words[] = {
#define X(name, word) word,
        RX_LOSSES(X)
#undef X
    };
    rx_json_key(j, "lost");
    rx_json_open(j, '{');
    for (int r = 0; r < RX_LOST_COUNT; r++)
        put_number(j, words[r], lost[r]);
    rx_json_close(j);
}

void rx_status_totals(struct rx_json *j, const struct rx_instance *i)
{
    struct totals t = add_up(i);
    put_number(j, "active", atomic_load(i->active));
    put_number(j, "sessions", atomic_load(i->sessions));
    put_number(j, "accepted", t.accepted);
    put_number(j, "bytes_in", t.bytes[RX_TO_SERVER]);
    put_number(j, "bytes_out", t.bytes[RX_TO_CLIENT]);
    put_number(j, "spliced_in", t.spliced[RX_TO_SERVER]);
    put_number(j, "spliced_out", t.spliced[RX_TO_CLIENT]);
    put_number(j, "retries", t.retries);
    put_number(j, "mirrored", t.mirrored);
    put_number(j, "mirror_lost", t.mirror_lost);
    put_number(j, "mirrors_given_up", t.mirrors_given_up);
    put_lost(j, t.lost);
    put_closed(j, t.closed);
}

// ---- what the config names ------------------------------------------------------------------------------------------

// Counts that outlive generations; routes that share a name share them.
static void put_served(struct rx_json *j, const struct rx_served *served)
{
    struct rx_served_sum s = served ? rx_served_sum(served) : (struct rx_served_sum){ 0 };
    unsigned long n = 0;
    for (int r = 0; r < RX_REASON_COUNT; r++)
        n += s.closed[r];
    put_number(j, "ended", n);
    put_number(j, "bytes_in", s.bytes[RX_TO_SERVER]);
    put_number(j, "bytes_out", s.bytes[RX_TO_CLIENT]);
    put_closed(j, s.closed);
}

static void put_routes(struct rx_json *j, const struct rx_listen *l)
{
    rx_json_key(j, "routes");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < l->n_routes; i++) {
        const struct rx_route *r = &l->routes[i];
        rx_json_open(j, '{');
        put_text(j, "name", r->name);
        put_text(j, "where", r->where);
        put_text(j, "protocol", r->proto->name);
        put_text(j, "to", rx_target_word(&r->to));
        rx_json_key(j, "active");
        if (r->active)
            rx_json_number(j, atomic_load(r->active));
        else
            rx_json_null(j);
        put_served(j, r->served);
        rx_json_close(j);
    }
    rx_json_close(j);
}

static void put_listeners(struct rx_json *j, const struct rx_conf *conf)
{
    rx_json_key(j, "listeners");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < conf->n_listens; i++) {
        const struct rx_listen *l = conf->listens[i];
        rx_json_open(j, '{');
        put_text(j, "name", l->name);
        put_text(j, "where", l->where);
        rx_json_key(j, "addresses");
        rx_json_open(j, '[');
        for (uint32_t k = 0; k < l->n_binds; k++)
            rx_json_string(j, l->binds[k].text);
        rx_json_close(j);
        put_number(j, "active", atomic_load(l->active));
        put_number(j, "pending", atomic_load(l->pending));
        rx_json_key(j, "unrouted");
        rx_json_open(j, '{');
        put_served(j, l->served);
        rx_json_close(j);
        put_routes(j, l);
        rx_json_close(j);
    }
    rx_json_close(j);
}

static const char *backend_word(const struct rx_backend_state *s, uint64_t now_ms)
{
    static const char *const words[] = { "unknown", "up", "down" };
    if (atomic_load(&s->is_drained))
        return "drained";
    if (atomic_load(&s->health) != RX_HEALTH_DOWN && !rx_backend_is_usable(s, now_ms))
        return "ejected";
    return words[atomic_load(&s->health)];
}

static void put_health(struct rx_json *j, const struct rx_backend_state *s)
{
    uint64_t since = atomic_load(&s->health_since_ms);
    rx_json_key(j, "health");
    rx_json_open(j, '{');
    put_number(j, "checks", get(&s->checks));
    put_number(j, "failures", get(&s->checks_failed));
    put_number(j, "downs", get(&s->downs));
    put_number(j, "took_us", atomic_load(&s->check_us));
    put_number(j, "since_ms", since ? rx_now_ms() - since : 0);
    put_text(j, "why", s->why[0] ? s->why : NULL);
    rx_json_close(j);
}

static void put_backend(struct rx_json *j, const struct rx_backend *b)
{
    char text[RX_ADDR_TEXT];
    rx_json_open(j, '{');
    put_text(j, "name", b->name);
    put_text(j, "address", b->state ? rx_addr_print(&b->addr.sa, text) : NULL);
    put_text(j, "state", b->state ? backend_word(b->state, rx_now_ms()) : "unresolved");
    put_number(j, "weight", b->weight);
    rx_json_key(j, "backup");
    rx_json_bool(j, b->tier != 0);
    put_number(j, "max_connections", b->max_connections);
    put_number(j, "active", b->state ? atomic_load(&b->state->active) : 0);
    put_number(j, "connects", b->state ? get(&b->state->connects) : 0);
    put_number(j, "failures", b->state ? get(&b->state->refused) : 0);
    put_number(j, "ejections", b->state ? get(&b->state->ejected) : 0);
    if (b->state && b->state->check[0])
        put_health(j, b->state);
    rx_json_close(j);
}

static void put_pools(struct rx_json *j, const struct rx_conf *conf)
{
    rx_json_key(j, "pools");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < conf->n_pools; i++) {
        const struct rx_pool *p = conf->pools[i];
        rx_json_open(j, '{');
        put_text(j, "name", p->name);
        rx_json_key(j, "anonymous");
        rx_json_bool(j, p->is_anonymous);
        put_text(j, "check", p->health ? rx_health_kind_word(p->health->kind) : NULL);
        rx_json_key(j, "backends");
        rx_json_open(j, '[');
        const struct rx_roster *r = rx_roster_of(p);
        for (uint32_t k = 0; k < r->n; k++)
            put_backend(j, &r->backends[k]);
        rx_json_close(j);
        rx_json_close(j);
    }
    rx_json_close(j);
}

static const char *fn_word(enum rx_fn_kind kind)
{
    switch (kind) {
    case RX_FN_IDENTIFY:
        return "identify";
    case RX_FN_WHEN:
        return "when";
    case RX_FN_TO:
        return "to";
    case RX_FN_POLICY:
        return "policy";
    case RX_FN_ACCEPT:
        return "on_accept";
    case RX_FN_LISTEN:
        return "listener identify";
    case RX_FN_OPEN:
        return "on_open";
    case RX_FN_DATA:
        return "on_data";
    case RX_FN_CLOSE:
        return "on_close";
    case RX_FN_FILTER:
        return "filter";
    case RX_FN_EVERY:
        return "every";
    case RX_FN_EXPECT:
        return "expect";
    case RX_FN_BY:
        return "by";
    case RX_FN_LIMITS:
        return "limits";
    case RX_FN_PARSE:
        return "parse";
    }
    return "function";
}

static void put_scripts(struct rx_json *j, const struct rx_conf *conf)
{
    rx_json_key(j, "scripts");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < conf->n_fns; i++) {
        const struct rx_fn *f = &conf->fns[i];
        char wrong[RX_FN_WRONG];
        uint64_t at_ms;
        rx_json_open(j, '{');
        put_text(j, "where", f->where);
        put_text(j, "kind", fn_word(f->kind));
        put_number(j, "errors", get(&f->errors));
        rx_json_key(j, "quarantined");
        rx_json_bool(j, atomic_load(&f->is_quarantined));
        bool has_failed = rx_script_last_wrong(f, wrong, sizeof wrong, &at_ms);
        put_text(j, "last_error", has_failed ? wrong : NULL);
        rx_json_key(j, "last_error_ms");
        if (has_failed)
            rx_json_number(j, at_ms);
        else
            rx_json_null(j);
        rx_json_close(j);
    }
    rx_json_close(j);
}

struct ban_list {
    struct rx_json *j;
    unsigned n;
};

static bool put_ban(const struct rx_cidr *whom, uint64_t left_ms, void *data)
{
    struct ban_list *l = data;
    char text[RX_ADDR_TEXT];
    if (l->n++ == BANS_SHOWN)
        return false;
    rx_json_open(l->j, '{');
    put_text(l->j, "ip", rx_cidr_print(whom, text));
    put_number(l->j, "left_ms", left_ms);
    rx_json_close(l->j);
    return true;
}

static void put_bans(struct rx_json *j)
{
    struct rx_ban_totals t = rx_ban_totals();
    rx_json_key(j, "bans");
    rx_json_open(j, '{');
    put_number(j, "now", t.now);
    put_number(j, "added", t.added);
    put_number(j, "refused", t.refused);
    rx_json_key(j, "first");
    rx_json_open(j, '[');
    rx_ban_each(put_ban, &(struct ban_list){ j, 0 });
    rx_json_close(j);
    rx_json_close(j);
}

static void put_session(const char *name, struct rx_sessions_live *l, void *data)
{
    struct rx_json *j = data;
    struct rx_sessions_totals t = rx_sessions_totals(l);
    rx_json_open(j, '{');
    put_text(j, "name", name);
    put_number(j, "identities", t.identities);
    put_number(j, "addresses", t.addresses);
    put_number(j, "violations", t.violations);
    put_number(j, "banned", t.banned);
    put_number(j, "evicted", t.evicted);
    put_number(j, "block_log_lost", t.log_lost);
    put_number(j, "killed", t.killed);
    put_number(j, "conntrack_deleted", t.flows);
    put_number(j, "kernel_failed", t.kernel_failed);
    rx_json_close(j);
}

static void put_tail(const char *path, const struct rx_tail_totals *t, void *data)
{
    struct rx_json *j = data;
    rx_json_open(j, '{');
    put_text(j, "path", path);
    put_number(j, "lines", t->lines);
    put_number(j, "sessions", t->sessions);
    put_number(j, "other", t->other);
    put_number(j, "bad", t->bad);
    rx_json_close(j);
}

static void put_sessions(struct rx_json *j, const struct rx_instance *i)
{
    rx_json_key(j, "sessions");
    rx_json_open(j, '[');
    rx_sessions_each(put_session, j);
    rx_json_close(j);
    rx_json_key(j, "tails");
    rx_json_open(j, '[');
    rx_guard_each_tail(i->reload->guard, put_tail, j);
    rx_json_close(j);
}

static void put_store(struct rx_json *j, const struct rx_conf *conf)
{
    struct rx_sync_totals t = rx_sync_totals();
    rx_json_key(j, "store");
    if (!conf->store || !t.is_on) {
        rx_json_null(j);
        return;
    }
    rx_json_open(j, '{');
    put_text(j, "at", conf->store->shown);
    rx_json_key(j, "is_up");
    rx_json_bool(j, t.is_up);
    put_number(j, "told", t.told);
    put_number(j, "heard", t.heard);
    put_number(j, "lost", t.lost);
    put_number(j, "failed", t.failed);
    put_number(j, "outages", t.outages);
    rx_json_close(j);
}

// What each hook was not told, because the hooks' thread could not keep up.
static void put_hooks(struct rx_json *j, const struct rx_conf *conf)
{
    rx_json_key(j, "hooks");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < conf->n_hooks; i++) {
        const struct rx_hook *h = conf->hooks[i];
        rx_json_open(j, '{');
        put_text(j, "name", h->name);
        put_text(j, "where", h->where);
        put_number(j, "lost_bytes", get(&h->lost_bytes));
        put_number(j, "lost_connections", get(&h->lost_conns));
        rx_json_close(j);
    }
    rx_json_close(j);
}

// A config on trial, beside the running one.
static void put_canary(struct rx_json *j, const struct rx_reload *r)
{
    static const char *const sides[] = { "running", "trial" };
    static const char *const words[] = { "script_errors", "unidentified", "connect_failures" };
    struct rx_counts counts[2];
    rx_json_key(j, "canary");
    if (!r->trial.conf) {
        rx_json_null(j);
        return;
    }
    uint64_t age_ms = rx_now_ms() - r->trial.since_ms, all_ms = r->trial.conf->canary_ms;
    rx_trial_count(r, counts);
    rx_json_open(j, '{');
    put_number(j, "generation", r->trial.conf->id);
    put_number(j, "share_ppm", ((uint64_t)r->trial.conf->canary_share * 1000000 + (1u << 31)) >> 32);
    put_number(j, "age_ms", age_ms);
    put_number(j, "left_ms", all_ms > age_ms ? all_ms - age_ms : 0);
    for (int side = 0; side < 2; side++) {
        rx_json_key(j, sides[side]);
        rx_json_open(j, '{');
        for (int m = 0; m < RX_MEASURES; m++) {
            rx_json_key(j, words[m]);
            rx_json_open(j, '{');
            put_number(j, "of", counts[side].tried[m]);
            put_number(j, "n", counts[side].failed[m]);
            rx_json_close(j);
        }
        rx_json_close(j);
    }
    rx_json_close(j);
}

static void put_config(struct rx_json *j, const struct rx_conf *conf)
{
    char *path = conf->file ? realpath(conf->file, NULL) : NULL;
    rx_json_key(j, "config");
    rx_json_open(j, '{');
    put_text(j, "file", path ? path : conf->file);
    put_number(j, "generation", conf->id);
    rx_json_close(j);
    free(path);
}

void rx_status_json(struct rx_json *j, const struct rx_instance *i)
{
    const struct rx_conf *conf = i->reload->conf;
    uint64_t up_ms = rx_now_ms() - i->start_ms;
    rx_json_open(j, '{');
    put_text(j, "version", RX_VERSION);
    put_number(j, "pid", (uint64_t)getpid());
    put_number(j, "started", (uint64_t)time(NULL) - up_ms / 1000);
    put_number(j, "uptime_ms", up_ms);
    rx_json_key(j, "stopping");
    rx_json_bool(j, i->reload->is_stopped);
    put_number(j, "workers", i->n_workers);
    put_text(j, "log_level", rx_log_level_word());
    put_config(j, conf);
    put_text(j, "recording", rx_record_file(i->home->recorder));
    rx_json_key(j, "totals");
    rx_json_open(j, '{');
    rx_status_totals(j, i);
    put_number(j, "max_connections", conf->max_connections);
    rx_json_close(j);
    put_listeners(j, conf);
    put_pools(j, conf);
    put_scripts(j, conf);
    put_bans(j);
    put_sessions(j, i);
    put_store(j, i->reload->conf);
    put_hooks(j, conf);
    put_canary(j, i->reload);
    rx_json_key(j, "reloads");
    rx_history_json(&i->reload->history, j);
    rx_json_close(j);
}
