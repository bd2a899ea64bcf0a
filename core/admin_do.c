// SPDX-License-Identifier: MIT
// Enters: a request that was understood. Leaves: its answer. What concerns connections is asked of every worker and
// answered when the last has come back; a reload is answered when its outcome is known.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_client.h"
#include "backend.h"
#include "ban.h"

#ifndef RX_VERSION
#define RX_VERSION "0.1.0"
#endif

static void answer_begin(struct rx_json *j)
{
    rx_json_open(j, '{');
    rx_json_key(j, "ok");
    rx_json_bool(j, true);
    rx_json_key(j, "result");
}

static void answer_end(struct rx_admin_client *c, struct rx_json *j)
{
    rx_json_close(j);
    rx_admin_answer(c, j);
}

// ---- what workers are asked -----------------------------------------------------------------------------------------

void rx_admin_round_free(struct rx_admin_round *r)
{
    r->next->prev = r->prev;
    r->prev->next = r->next;
    if (r->client)
        r->client->round = NULL;
    for (unsigned i = 0; i < r->n_trips; i++)
        free(r->trips[i].flows.list);
    free(r);
}

static void trip_run(struct rx_errand *e, struct rx_worker *w)
{
    struct rx_admin_trip *t = RX_CONTAINER(e, struct rx_admin_trip, errand);
    const struct rx_request *q = &t->round->request;
    if (q->kind == RX_REQUEST_KILL)
        t->is_found = rx_flow_kill(w, q->conn);
    else
        rx_flow_collect(w, &q->flows, &t->flows);
}

static int by_key(const void *a, const void *b)
{
    const struct rx_flow *x = *(const struct rx_flow *const *)a, *y = *(const struct rx_flow *const *)b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void put_number(struct rx_json *j, const char *key, uint64_t v)
{
    rx_json_key(j, key);
    rx_json_number(j, v);
}

// An empty one is not there yet.
static void put_text(struct rx_json *j, const char *key, const char *text)
{
    rx_json_key(j, key);
    rx_json_string(j, *text ? text : NULL);
}

static void put_rtt(struct rx_json *j, const char *key, uint32_t us)
{
    rx_json_key(j, key);
    if (us)
        rx_json_number(j, us);
    else
        rx_json_null(j);
}

static void put_id(struct rx_json *j, uint64_t id)
{
    char text[20];
    snprintf(text, sizeof text, "%lx", (unsigned long)id);
    rx_json_key(j, "conn");
    rx_json_string(j, text);
}

static void put_flow(struct rx_json *j, const struct rx_flow *f)
{
    static const char *const pump[] = { "copy", "splice" };
    char text[RX_ADDR_TEXT];
    rx_json_open(j, '{');
    put_id(j, f->id);
    put_text(j, "client", rx_addr_print(&f->client.sa, text));
    put_text(j, "protocol", f->protocol);
    put_text(j, "route", f->route);
    put_text(j, "to", f->to);
    put_text(j, "room", f->room);
    put_number(j, "age_ms", f->age_ms);
    put_number(j, "idle_ms", f->idle_ms);
    put_number(j, "bytes_in", f->bytes[RX_TO_SERVER]);
    put_number(j, "bytes_out", f->bytes[RX_TO_CLIENT]);
    put_number(j, "rate_in", f->rate[RX_TO_SERVER]);
    put_number(j, "rate_out", f->rate[RX_TO_CLIENT]);
    put_text(j, "pump_in", pump[f->is_spliced[RX_TO_SERVER]]);
    put_text(j, "pump_out", pump[f->is_spliced[RX_TO_CLIENT]]);
    put_rtt(j, "rtt_client_us", f->rtt_us[RX_CLIENT]);
    put_rtt(j, "rtt_server_us", f->rtt_us[RX_SERVER]);
    rx_json_close(j);
}

// The first of what all workers brought.
static void put_flows(struct rx_json *j, const struct rx_admin_round *r)
{
    const struct rx_flow **all = calloc((size_t)r->n_trips * r->request.flows.limit, sizeof *all);
    uint32_t n = 0;
    for (unsigned i = 0; all && i < r->n_trips; i++)
        for (uint32_t k = 0; k < r->trips[i].flows.n; k++)
            all[n++] = &r->trips[i].flows.list[k];
    if (n)
        qsort(all, n, sizeof *all, by_key);
    rx_json_key(j, "flows");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < RX_MIN(n, r->request.flows.limit); i++)
        put_flow(j, all[i]);
    rx_json_close(j);
    free(all);
}

static void answer_top(const struct rx_admin_round *r)
{
    struct rx_json j = { 0 };
    uint64_t slowest_ns = 0, n_matching = 0;
    for (unsigned i = 0; i < r->n_trips; i++) {
        slowest_ns = RX_MAX(slowest_ns, r->trips[i].flows.took_ns);
        n_matching += r->trips[i].flows.n_matching;
    }
    answer_begin(&j);
    rx_json_open(&j, '{');
    put_number(&j, "uptime_ms", rx_now_ms() - r->admin->about->start_ms);
    put_number(&j, "took_us", slowest_ns / 1000);
    put_number(&j, "matching", n_matching);
    rx_json_key(&j, "totals");
    rx_json_open(&j, '{');
    rx_status_totals(&j, r->admin->about);
    rx_json_close(&j);
    put_flows(&j, r);
    rx_json_close(&j);
    answer_end(r->client, &j);
}

static void answer_kill(const struct rx_admin_round *r)
{
    bool is_found = false;
    char error[64];
    for (unsigned i = 0; i < r->n_trips; i++)
        is_found |= r->trips[i].is_found;
    if (!is_found) {
        snprintf(error, sizeof error, "no connection %lx", (unsigned long)r->request.conn);
        rx_admin_refuse(r->client, error);
        return;
    }
    rx_log(RX_LOG_INFO, "connection %lx was ended by the operator", (unsigned long)r->request.conn);
    struct rx_json j = { 0 };
    answer_begin(&j);
    rx_json_open(&j, '{');
    put_id(&j, r->request.conn);
    rx_json_close(&j);
    answer_end(r->client, &j);
}

static void trip_done(struct rx_errand *e)
{
    struct rx_admin_round *r = RX_CONTAINER(e, struct rx_admin_trip, errand)->round;
    if (--r->n_left)
        return;
    if (r->client && r->request.kind == RX_REQUEST_KILL)
        answer_kill(r);
    else if (r->client)
        answer_top(r);
    rx_admin_round_free(r);
}

static bool round_prepare(struct rx_admin_round *r)
{
    for (unsigned i = 0; i < r->n_trips; i++) {
        struct rx_admin_trip *t = &r->trips[i];
        t->round = r;
        t->errand = (struct rx_errand){ .home = &r->admin->errands, .run = trip_run, .done = trip_done };
        if (r->request.kind != RX_REQUEST_TOP)
            continue;
        t->flows.list = calloc(r->request.flows.limit, sizeof *t->flows.list);
        if (!t->flows.list)
            return false;
    }
    return true;
}

static void do_round(struct rx_admin_client *c, const struct rx_request *q)
{
    struct rx_admin *a = c->admin;
    unsigned n = a->about->n_workers;
    struct rx_admin_round *r = calloc(1, sizeof *r + n * sizeof r->trips[0]);
    if (!r) {
        rx_admin_refuse(c, "out of memory");
        return;
    }
    r->admin = a;
    r->request = *q;
    r->n_trips = r->n_left = n;
    r->next = a->rounds.next;
    r->prev = &a->rounds;
    r->next->prev = a->rounds.next = r;
    if (!round_prepare(r)) {
        rx_admin_round_free(r);
        rx_admin_refuse(c, "out of memory");
        return;
    }
    r->client = c;
    c->round = r;
    for (unsigned i = 0; i < n; i++)
        rx_errand_send(&r->trips[i].errand, &a->about->workers[i]);
}

// ---- reload ---------------------------------------------------------------------------------------------------------

static bool is_awaited(const struct rx_admin *a)
{
    for (const struct rx_admin_client *c = a->clients.next; c != &a->clients; c = c->next)
        if (c->is_reload)
            return true;
    return false;
}

void rx_admin_on_finding(void *data, unsigned severity, const char *text, size_t len)
{
    struct rx_admin *a = data;
    if (is_awaited(a))
        rx_findings_add(&a->findings, severity, text, len);
}

static void put_findings(struct rx_json *j, const struct rx_findings *f)
{
    rx_json_key(j, "findings");
    rx_json_open(j, '[');
    for (unsigned i = 0; i < f->n; i++) {
        rx_json_open(j, '{');
        put_text(j, "severity", f->list[i].severity == RX_REPORT_ERROR ? "error" : "warning");
        put_text(j, "text", f->list[i].text);
        rx_json_close(j);
    }
    rx_json_close(j);
}

static void answer_reload(struct rx_admin_client *c, bool is_taken, const char *line)
{
    struct rx_json j = { 0 };
    c->is_reload = false;
    rx_json_open(&j, '{');
    rx_json_key(&j, "ok");
    rx_json_bool(&j, is_taken);
    if (is_taken) {
        rx_json_key(&j, "result");
        rx_json_open(&j, '{');
        put_text(&j, "outcome", line);
        put_number(&j, "generation", c->admin->about->reload->conf->id);
        put_findings(&j, &c->admin->findings);
        rx_json_close(&j);
    } else {
        put_text(&j, "error", line);
        put_findings(&j, &c->admin->findings);
    }
    answer_end(c, &j);
}

void rx_admin_on_outcome(void *data, bool is_taken, const char *line)
{
    struct rx_admin *a = data;
    for (struct rx_admin_client *c = a->clients.next; c != &a->clients; c = c->next)
        if (c->is_reload)
            answer_reload(c, is_taken, line);
    rx_findings_free(&a->findings);
}

static void do_reload(struct rx_admin_client *c)
{
    struct rx_reload *r = c->admin->about->reload;
    if (r->is_stopped) {
        rx_admin_refuse(c, "the program is stopping");
        return;
    }
    c->is_reload = true;
    struct ucred peer = { 0 };
    socklen_t len = sizeof peer;
    char who[64];
    getsockopt(c->io.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
    snprintf(who, sizeof who, "pid %d, uid %u", (int)peer.pid, (unsigned)peer.uid);
    rx_reload_request(r, "admin", who);
}

// ---- what is answered at once ---------------------------------------------------------------------------------------

static void do_hello(struct rx_admin_client *c)
{
    const struct rx_conf *conf = c->admin->about->reload->conf;
    char *path = conf->file ? realpath(conf->file, NULL) : NULL;
    struct rx_json j = { 0 };
    answer_begin(&j);
    rx_json_open(&j, '{');
    put_text(&j, "version", RX_VERSION);
    put_number(&j, "pid", (uint64_t)getpid());
    put_text(&j, "config", path ? path : conf->file ? conf->file : "");
    rx_json_close(&j);
    answer_end(c, &j);
    free(path);
}

static void do_status(struct rx_admin_client *c)
{
    struct rx_json j = { 0 };
    answer_begin(&j);
    rx_status_json(&j, c->admin->about);
    answer_end(c, &j);
}

static void do_log(struct rx_admin_client *c, const struct rx_request *q)
{
    struct rx_json j = { 0 };
    if (q->has & RX_HAS_LEVEL) {
        rx_log_set_level(RX_MAX(q->level, RX_LOG_INFO)); // the change itself is told in any case
        rx_log(RX_LOG_INFO, "log level is %s from now on", rx_log_word_of(q->level));
        rx_log_set_level(q->level);
    }
    answer_begin(&j);
    rx_json_open(&j, '{');
    put_text(&j, "level", rx_log_level_word());
    rx_json_close(&j);
    answer_end(c, &j);
}

static void do_ban(struct rx_admin_client *c, const struct rx_request *q)
{
    char text[RX_ADDR_TEXT];
    struct rx_json j = { 0 };
    rx_cidr_print(&q->ip, text);
    if (q->kind == RX_REQUEST_BAN) {
        int rc = rx_ban_add(&q->ip, q->ttl_ms);
        if (rc) {
            rx_admin_refuse(c, rc == -ENOSPC ? "the list of bans is full" : strerror(-rc));
            return;
        }
        rx_log(RX_LOG_INFO, "%s is banned for %lu s by the operator", text, (unsigned long)(q->ttl_ms / 1000));
    } else if (rx_ban_remove(&q->ip)) {
        rx_log(RX_LOG_INFO, "%s is no longer banned, by the operator", text);
    } else {
        rx_admin_refuse(c, "there is no such ban");
        return;
    }
    answer_begin(&j);
    rx_json_open(&j, '{');
    put_text(&j, "ip", text);
    if (q->kind == RX_REQUEST_BAN)
        put_number(&j, "ttl_ms", q->ttl_ms);
    rx_json_close(&j);
    answer_end(c, &j);
}

static void do_drain(struct rx_admin_client *c, const struct rx_request *q)
{
    bool is_drain = q->kind == RX_REQUEST_DRAIN;
    char shown[RX_REQUEST_TEXT], error[RX_REQUEST_TEXT + 32];
    unsigned n = rx_backend_drain(q->backend, is_drain, rx_now_ms());
    rx_log_escape((const uint8_t *)q->backend, strlen(q->backend), shown, sizeof shown);
    if (!n) {
        snprintf(error, sizeof error, "no backend is called %s", shown);
        rx_admin_refuse(c, error);
        return;
    }
    rx_log(RX_LOG_INFO, "backend %s is %s by the operator", shown, is_drain ? "drained" : "no longer drained");
    struct rx_json j = { 0 };
    answer_begin(&j);
    rx_json_open(&j, '{');
    put_text(&j, "backend", q->backend);
    put_number(&j, "backends", n);
    rx_json_close(&j);
    answer_end(c, &j);
}

void rx_admin_do(struct rx_admin_client *c, const struct rx_request *q)
{
    switch (q->kind) {
    case RX_REQUEST_HELLO:
        do_hello(c);
        return;
    case RX_REQUEST_STATUS:
        do_status(c);
        return;
    case RX_REQUEST_TOP:
    case RX_REQUEST_KILL:
        do_round(c, q);
        return;
    case RX_REQUEST_RELOAD:
        do_reload(c);
        return;
    case RX_REQUEST_LOG:
        do_log(c, q);
        return;
    case RX_REQUEST_BAN:
    case RX_REQUEST_UNBAN:
        do_ban(c, q);
        return;
    case RX_REQUEST_DRAIN:
    case RX_REQUEST_UNDRAIN:
        do_drain(c, q);
        return;
    case RX_REQUEST_COUNT:
        break;
    }
}

void rx_admin_forget(struct rx_admin_client *c)
{
    if (c->round)
        c->round->client = NULL;
    c->round = NULL;
    c->is_reload = false;
}
