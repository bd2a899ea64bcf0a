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
#include "home.h"
#include "record.h"
#include "sessions.h"
#include "upgrade.h"

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

static void put_number(struct rx_json *j, const char *key, uint64_t v)
{
    rx_json_key(j, key);
    rx_json_number(j, v);
}

static void put_text(struct rx_json *j, const char *key, const char *text)
{
    rx_json_key(j, key);
    rx_json_string(j, *text ? text : NULL);
}

static void answer_top(struct rx_round *r)
{
    struct rx_admin_client *c = r->asker;
    struct rx_json j = { 0 };
    c->round = NULL;
    answer_begin(&j);
    rx_round_json(r, &j);
    answer_end(c, &j);
}

static void answer_kill(struct rx_round *r)
{
    struct rx_admin_client *c = r->asker;
    char text[20], error[64];
    c->round = NULL;
    snprintf(text, sizeof text, "%lx", (unsigned long)r->conn);
    if (!rx_round_has_killed(r)) {
        snprintf(error, sizeof error, "no connection %s", text);
        rx_admin_refuse(c, error);
        return;
    }
    rx_log(RX_LOG_INFO, "connection %s was ended by the operator", text);
    struct rx_json j = { 0 };
    answer_begin(&j);
    rx_json_open(&j, '{');
    put_text(&j, "conn", text);
    rx_json_close(&j);
    answer_end(c, &j);
}

static void do_round(struct rx_admin_client *c, const struct rx_request *q)
{
    bool is_kill = q->kind == RX_REQUEST_KILL;
    c->round = rx_round_send(&c->admin->rounds, is_kill ? NULL : &q->flows, q->conn, is_kill ? answer_kill : answer_top, c);
    if (!c->round)
        rx_admin_refuse(c, "out of memory");
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

// key: of a number in a good result.
struct outcome {
    bool is_good;
    const char *line, *key;
    uint64_t number;
    const struct rx_findings *findings;
};

static void answer_outcome(struct rx_admin_client *c, const struct outcome *o)
{
    struct rx_json j = { 0 };
    rx_json_open(&j, '{');
    rx_json_key(&j, "ok");
    rx_json_bool(&j, o->is_good);
    if (o->is_good) {
        rx_json_key(&j, "result");
        rx_json_open(&j, '{');
        put_text(&j, "outcome", o->line);
        put_number(&j, o->key, o->number);
        put_findings(&j, o->findings);
        rx_json_close(&j);
    } else {
        put_text(&j, "error", o->line);
        put_findings(&j, o->findings);
    }
    answer_end(c, &j);
}

static void answer_reload(struct rx_admin_client *c, bool is_taken, const char *line)
{
    const struct rx_admin *a = c->admin;
    const struct outcome o = { is_taken, line, "generation", a->about->reload->conf->id, &a->findings };
    c->is_reload = false;
    answer_outcome(c, &o);
}

void rx_admin_on_outcome(void *data, bool is_taken, const char *line)
{
    struct rx_admin *a = data;
    for (struct rx_admin_client *c = a->clients.next; c != &a->clients; c = c->next)
        if (c->is_reload)
            answer_reload(c, is_taken, line);
    rx_findings_free(&a->findings);
}

static const char *peer_of(const struct rx_admin_client *c, char *who, size_t size)
{
    struct ucred peer = { 0 };
    socklen_t len = sizeof peer;
    getsockopt(c->io.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
    snprintf(who, size, "pid %d, uid %u", (int)peer.pid, (unsigned)peer.uid);
    return who;
}

static void do_reload(struct rx_admin_client *c)
{
    struct rx_reload *r = c->admin->about->reload;
    if (r->is_stopped) {
        rx_admin_refuse(c, "the program is stopping");
        return;
    }
    c->is_reload = true;
    char who[64];
    rx_reload_request(r, "admin", peer_of(c, who, sizeof who));
}

// ---- upgrade ----------------------------------------------------------------------------------------------------------

void rx_admin_on_upgrade_finding(void *data, unsigned severity, const char *text, size_t len)
{
    rx_findings_add(&((struct rx_admin *)data)->news, severity, text, len);
}

void rx_admin_on_upgraded(void *data, bool is_done, const char *line)
{
    struct rx_admin *a = data;
    const struct outcome o = { is_done, line, "pid", (uint64_t)a->about->upgrade->pid, &a->news };
    for (struct rx_admin_client *c = a->clients.next; c != &a->clients; c = c->next)
        if (c->is_upgrade) {
            c->is_upgrade = false;
            answer_outcome(c, &o);
        }
    rx_findings_free(&a->news);
}

static void do_upgrade(struct rx_admin_client *c)
{
    struct rx_upgrade *u = c->admin->about->upgrade;
    const char *obstacle = rx_upgrade_obstacle(u);
    char who[64], error[200];
    if (obstacle) {
        snprintf(error, sizeof error, "refused, %s", obstacle);
        rx_admin_refuse(c, error);
        return;
    }
    c->is_upgrade = true;
    rx_upgrade_request(u, peer_of(c, who, sizeof who));
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
        rx_sessions_order(&q->ip, q->ttl_ms);
        rx_log(RX_LOG_INFO, "%s is banned for %lu s by the operator", text, (unsigned long)(q->ttl_ms / 1000));
    } else if (rx_sessions_forgive(&q->ip, true) | rx_ban_remove(&q->ip)) {
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
    unsigned n = rx_backend_drain(&c->admin->about->home->backends, q->backend, is_drain, rx_now_ms());
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

static void do_record(struct rx_admin_client *c, const struct rx_request *q)
{
    const struct rx_conf *conf = c->admin->about->reload->conf;
    const struct rx_record_setup setup = { .file = q->file,
                                           .max_size = conf->record_max,
                                           .sample_ppm = conf->record_ppm,
                                           .bytes = conf->record_bytes };
    int rc = q->kind == RX_REQUEST_RECORD_STOP ? 0 : rx_record_order(c->admin->about->home->recorder, &setup, c->admin->about->n_workers);
    if (q->kind == RX_REQUEST_RECORD_STOP && !rx_record_stop(c->admin->about->home->recorder)) {
        rx_admin_refuse(c, "nothing is recorded");
        return;
    }
    if (rc) {
        rx_admin_refuse(c, rc == -EALREADY ? "there is a recording already"
                           : rc == -EEXIST ? "the file exists and is no recording"
                                           : strerror(-rc));
        return;
    }
    struct rx_json j = { 0 };
    answer_begin(&j);
    rx_json_open(&j, '{');
    put_text(&j, "file", rx_record_file(c->admin->about->home->recorder) ? rx_record_file(c->admin->about->home->recorder) : "");
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
    case RX_REQUEST_UPGRADE:
        do_upgrade(c);
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
    case RX_REQUEST_RECORD:
    case RX_REQUEST_RECORD_STOP:
        do_record(c, q);
        return;
    case RX_REQUEST_COUNT:
        break;
    }
}

void rx_admin_forget(struct rx_admin_client *c)
{
    if (c->round)
        c->round->done = NULL;
    c->round = NULL;
    c->is_reload = c->is_upgrade = false;
}
