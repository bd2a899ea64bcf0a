// SPDX-License-Identifier: MIT
// Enters: a reason to load the config again. Leaves: a generation every worker serves or tries, or a line that says
// why not. Loading, the config's tests and the Lua states of the workers are the job of a thread of its own, nicer
// than the workers: neither they nor the engine's loop wait for it. One job at a time; who asks meanwhile gets another
// one afterwards. What the job brings is handed to the workers once they have taken what they were handed before;
// anything that fails on the way leaves everything as it was.
#include "reload.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bind.h"
#include "health.h"
#include "guard.h"
#include "home.h"
#include "hook.h"
#include "load.h"
#include "log.h"
#include "notify.h"
#include "record.h"
#include "resolve.h"
#include "sandbox.h"
#include "script.h"
#include "swap.h"
#include "sync.h"
#include "sys.h"
#include "served.h"
#include "watch.h"

enum { NICENESS = 10 }; // a tenth of what a busy worker gets, all of it where there is an idle core

struct rx_reload_job {
    const struct rx_reload *reload; // borrowed: only what does not change is read, so not its config (a trial may end)
    struct rx_home *home;
    pthread_t thread;
    bool is_over; // the thread was joined
    struct rx_reload_cause cause;
    uint64_t start_ns;
    struct rx_conf *conf; // ref; NULL: refused
    struct rx_findings findings;
    struct rx_seen seen;
};

// ---- words ----------------------------------------------------------------------------------------------------------

static void log_finding(unsigned severity, const char *text, size_t len)
{
    rx_log(severity == RX_REPORT_ERROR ? RX_LOG_ERROR : RX_LOG_WARN, "%.*s", (int)len, text);
}

static void tell_finding(void *data, unsigned severity, const char *text, size_t len)
{
    (void)data;
    log_finding(severity, text, len);
}

// Who asked while a job was on its way hears what became of the next one.
static bool is_heard(const struct rx_reload *r)
{
    return r->ear.outcome && !r->is_next;
}

static void tell_findings(const struct rx_reload *r, const struct rx_findings *f)
{
    for (unsigned i = 0; i < f->n; i++) {
        size_t len = strlen(f->list[i].text);
        log_finding(f->list[i].severity, f->list[i].text, len);
        if (is_heard(r) && r->ear.finding)
            r->ear.finding(r->ear.data, f->list[i].severity, f->list[i].text, len);
    }
}

static void tell_outcome(const struct rx_reload *r, bool is_taken, const char *fmt, ...) RX_PRINTF(3, 4);
static void tell_outcome(const struct rx_reload *r, bool is_taken, const char *fmt, ...)
{
    char line[1000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    rx_log(is_taken ? RX_LOG_INFO : RX_LOG_ERROR, "%s", line);
    rx_notify_reloaded(line);
    if (is_heard(r))
        r->ear.outcome(r->ear.data, is_taken, line);
}

int rx_reload_spawn(struct rx_reload *r, struct rx_conf *conf)
{
    int rc = rx_hooker_start(r->hooker, conf);
    if (rc) {
        rx_log(RX_LOG_ERROR, "cannot start the hook thread: %s", strerror(-rc));
        return rc;
    }
    if ((rc = rx_guard_start(r->guard, conf))) {
        rx_log(RX_LOG_ERROR, "cannot start the guard thread: %s", strerror(-rc));
        return rc;
    }
    rc = rx_served_attach(conf, r->n_workers);
    return rc ? rc : rx_script_spawn(conf, r->args, r->n_workers, tell_finding, r);
}

static bool differs(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "");
}

static bool is_logged_otherwise(const struct rx_conf *old, const struct rx_conf *conf)
{
    return old->access_log != conf->access_log || old->log_format != conf->log_format || old->log != conf->log ||
           old->access_log_ppm != conf->access_log_ppm || differs(old->access_log_file, conf->access_log_file) ||
           differs(old->log_file, conf->log_file);
}

static void warn_about_fixed(const struct rx_conf *old, const struct rx_conf *conf)
{
    if (old->workers != conf->workers || is_logged_otherwise(old, conf) || differs(old->metrics_at, conf->metrics_at) ||
        differs(old->user, conf->user) || differs(old->group, conf->group) || differs(old->chroot, conf->chroot) ||
        old->sandbox != conf->sandbox)
        rx_log(RX_LOG_WARN, "workers, log, access_log, log_format, metrics, user, group, chroot and sandbox take effect at "
                            "the next start");
    rx_sandbox_advise(conf);
}

// ---- threads --------------------------------------------------------------------------------------------------------

// Of this thread alone, on Linux.
static void give_way(void)
{
    setpriority(PRIO_PROCESS, 0, NICENESS);
}

static int thread_start(pthread_t *thread, void *(*run)(void *), void *arg)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old); // signals are the engine thread's
    int rc = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!rc)
        pthread_setname_np(*thread, "rx-reload");
    return -rc;
}

// ---- the end of a generation ----------------------------------------------------------------------------------------

// From any thread: a worker has better things to do than closing Lua states.
static void reload_reap(struct rx_conf *c)
{
    struct rx_reload *r = c->reaper;
    c->next_dead = atomic_load(&r->dead);
    while (!atomic_compare_exchange_weak(&r->dead, &c->next_dead, c))
        ;
    ev_async_send(r->loop, &r->died);
}

static void bury(struct rx_reload *r)
{
    struct rx_conf *c = atomic_exchange(&r->dead, NULL);
    while (c) {
        struct rx_conf *next = c->next_dead;
        rx_conf_free(c);
        c = next;
    }
}

// Closing Lua states takes milliseconds, which somebody's connection would wait for.
static void *burial_run(void *arg)
{
    struct rx_reload *r = arg;
    give_way();
    bury(r);
    atomic_store(&r->is_buried, true);
    ev_async_send(r->loop, &r->died);
    return NULL;
}

// Somebody died, or a burial is over.
static void reload_on_died(struct ev_loop *loop, ev_async *a, int events)
{
    (void)loop, (void)events;
    struct rx_reload *r = a->data;
    if (r->is_burying && !atomic_load(&r->is_buried))
        return; // its end comes here
    if (r->is_burying)
        pthread_join(r->burial, NULL);
    atomic_store(&r->is_buried, false);
    r->is_burying = atomic_load(&r->dead) && thread_start(&r->burial, burial_run, r) == 0;
    if (!r->is_burying)
        bury(r);
}

static void adopt(struct rx_reload *r, struct rx_conf *conf)
{
    conf->reaper = r;
    conf->reap = reload_reap;
}

// ---- the job --------------------------------------------------------------------------------------------------------

static void *job_run(void *arg)
{
    struct rx_reload_job *j = arg;
    const struct rx_reload *r = j->reload;
    give_way();
    j->conf = rx_load_tested(j->home, r->args, &j->seen, rx_findings_add, &j->findings);
    if (j->conf && (rx_served_attach(j->conf, r->n_workers) ||
                    rx_script_spawn(j->conf, r->args, r->n_workers, rx_findings_add, &j->findings))) {
        rx_conf_unref(j->conf);
        j->conf = NULL;
    }
    ev_async_send(r->loop, (ev_async *)&r->loaded);
    return NULL;
}

static void job_free(struct rx_reload_job *j)
{
    if (!j)
        return;
    if (!j->is_over)
        pthread_join(j->thread, NULL);
    rx_conf_unref(j->conf);
    rx_findings_free(&j->findings);
    rx_seen_free(&j->seen);
    free(j);
}

static void begin(struct rx_reload *r)
{
    struct rx_reload_job *j = calloc(1, sizeof *j);
    r->is_next = false;
    rx_notify_reloading();
    if (j) {
        j->reload = r;
        j->home = r->conf->home;
        j->cause = r->next;
        j->start_ns = rx_sys_now_ns();
    }
    if (!j || thread_start(&j->thread, job_run, j)) {
        free(j);
        tell_outcome(r, false, "reload (%s): refused, no thread can be had", r->next.why);
        return;
    }
    r->job = j;
}

void rx_reload_request(struct rx_reload *r, const char *why, const char *who)
{
    if (r->is_stopped)
        return;
    snprintf(r->next.why, sizeof r->next.why, "%s", why);
    snprintf(r->next.who, sizeof r->next.who, "%s", who);
    r->is_next = true;
    if (!r->job)
        begin(r);
}

// ---- what it brought ------------------------------------------------------------------------------------------------

static void watch(struct rx_reload *r);

int rx_reload_serve(struct rx_reload *r, struct rx_conf *conf)
{
    struct rx_conf *old = r->conf;
    struct rx_swap **swaps = rx_swaps_new(conf, old, RX_SWAP_SERVE, r->n_workers, &r->n_taking);
    if (!swaps)
        return -1;
    rx_conf_inherit(conf, old);
    warn_about_fixed(old, conf);
    rx_swaps_send(swaps, r->workers, r->n_workers);
    rx_hooker_use(r->hooker, conf);
    rx_guard_use(r->guard, conf);
    rx_sync_use(r->sync, conf);
    r->conf = conf;
    r->n_bound = rx_bind_count(conf);
    rx_bind_unlink_first(old, rx_bind_count(old), conf);
    rx_conf_unref(old);
    rx_reload_record(r);
    return 0;
}

int rx_reload_record(struct rx_reload *r)
{
    const struct rx_record_setup setup = { .file = r->conf->record_file,
                                           .max_size = r->conf->record_max,
                                           .sample_ppm = r->conf->record_ppm,
                                           .bytes = r->conf->record_bytes };
    return rx_record_apply(r->conf->home->recorder, &setup, r->n_workers);
}

static void refuse(struct rx_reload *r, const struct rx_reload_job *j, struct rx_history_entry *e, const char *note)
{
    rx_history_settle(e, RX_RELOAD_REFUSED, note);
    tell_outcome(r, false, "reload (%s, %s): refused, the running config stays", j->cause.why, j->cause.who);
}

static void tell_taken(struct rx_reload *r, const struct rx_reload_job *j, const struct rx_history_entry *e,
                       const struct rx_conf *conf)
{
    char changes[600], canary[80] = "";
    if (r->trial.conf == conf)
        snprintf(canary, sizeof canary, "; canary: %.3g%% of new connections for %.3g s",
                 conf->canary_share / 42949672.96, conf->canary_ms / 1000.);
    tell_outcome(r, true, "reload (%s, %s): %u listeners, %u tests passed, in %.1f ms; generation %" PRIu64 ": %s%s",
                 j->cause.why, j->cause.who, conf->n_listens, conf->n_tests, (double)e->took_us / 1e3, conf->id,
                 rx_diff_text(e->changes, changes, sizeof changes), canary);
}

static void take(struct rx_reload *r, struct rx_reload_job *j, struct rx_history_entry *e)
{
    struct rx_conf *conf = j->conf;
    bool is_trial = conf->canary_share > 0;
    e->changes = rx_diff_new(r->conf, conf);
    e->to = conf->id;
    adopt(r, conf);
    if (rx_hooker_start(r->hooker, conf) || rx_guard_start(r->guard, conf)) {
        refuse(r, j, e, "no thread can be had for its hooks or tails");
        return;
    }
    rx_resolve_furnish(r->names, conf);
    int rc = is_trial ? rx_trial_begin(r, conf, e->number) : rx_reload_serve(r, conf);
    if (rc) {
        refuse(r, j, e, "a new address cannot be had, or memory ran out");
        return;
    }
    j->conf = NULL; // r's now
    if (!is_trial)
        rx_trial_forget(r, "a later edit takes its place");
    e->took_us = (rx_sys_now_ns() - j->start_ns) / 1000;
    rx_history_settle(e, is_trial ? RX_RELOAD_TRIED : RX_RELOAD_ACCEPTED, NULL);
    tell_taken(r, j, e, conf);
}

void rx_reload_names(struct rx_reload *r)
{
    rx_resolve_serve(r->names, r->conf, r->trial.conf);
    rx_health_serve(r->health, r->conf, r->trial.conf);
}

// Loaded, and the workers can take it.
static void settle(struct rx_reload *r)
{
    struct rx_reload_job *j = r->job;
    struct rx_history_entry *e = rx_history_add(&r->history, j->cause.why, j->cause.who);
    r->job = NULL;
    e->from = r->conf->id;
    e->took_us = (rx_sys_now_ns() - j->start_ns) / 1000;
    tell_findings(r, &j->findings);
    e->findings = j->findings;
    j->findings = (struct rx_findings){ 0 };
    rx_history_cut(e);
    // What the running config is made of is watched, and what this one is made of.
    struct rx_seen running = { 0 };
    bool is_loaded = j->conf;
    if (is_loaded)
        take(r, j, e);
    else
        refuse(r, j, e, NULL);
    for (uint32_t i = 0; i < r->conf->n_sources; i++)
        rx_seen_add(&running, r->conf->sources[i].path, r->conf->sources[i].text, r->conf->sources[i].len);
    rx_seen_add_all(&running, &j->seen);
    rx_seen_free(&r->seen);
    r->seen = running;
    watch(r);
    rx_reload_names(r);
    job_free(j);
    if (r->is_next)
        begin(r);
}

// For workers that have not taken the last one yet, or for its names.
static bool must_wait(struct rx_reload *r)
{
    return atomic_load(&r->n_taking) || rx_resolve_is_waiting(r->names);
}

static void reload_on_loaded(struct ev_loop *loop, ev_async *a, int events)
{
    (void)events;
    struct rx_reload *r = a->data;
    if (!r->job || r->job->is_over)
        return;
    pthread_join(r->job->thread, NULL);
    r->job->is_over = true;
    if (r->is_stopped)
        return;
    if (r->job->conf)
        rx_resolve_prepare(r->names, r->job->conf);
    if (must_wait(r))
        ev_timer_again(loop, &r->again);
    else
        settle(r);
}

static void reload_on_again(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)events;
    struct rx_reload *r = t->data;
    if (must_wait(r))
        return;
    ev_timer_stop(loop, t);
    settle(r);
}

// ---- the files ------------------------------------------------------------------------------------------------------

static void reload_on_changed(void *data, const char *which)
{
    char name[200];
    rx_reload_request(data, "the file changed", rx_log_escape((const uint8_t *)which, strlen(which), name, sizeof name));
}

static void watch(struct rx_reload *r)
{
    rx_watch_free(r->watch);
    r->watch = NULL;
    if (r->args->no_hot_reload || !r->conf->hot_reload || !r->conf->file)
        return;
    r->watch = rx_watch_new(r->loop, &r->seen, reload_on_changed, r);
    if (!r->watch)
        rx_log(RX_LOG_WARN, "cannot watch %s for changes: %s", r->conf->file, strerror(errno));
}

// ---- its own life ---------------------------------------------------------------------------------------------------

void rx_reload_init(struct rx_reload *r, struct rx_conf *conf)
{
    r->conf = conf;
    rx_conf_inherit(conf, NULL);
    for (uint32_t i = 0; i < conf->n_sources; i++)
        rx_seen_add(&r->seen, conf->sources[i].path, conf->sources[i].text, conf->sources[i].len);
}

void rx_reload_start(struct rx_reload *r)
{
    ev_async_init(&r->loaded, reload_on_loaded);
    ev_async_init(&r->died, reload_on_died);
    ev_timer_init(&r->again, reload_on_again, 0., 0.02);
    r->loaded.data = r->died.data = r->again.data = r;
    ev_async_start(r->loop, &r->loaded);
    ev_async_start(r->loop, &r->died);
    adopt(r, r->conf);
    watch(r);
}

void rx_reload_stop(struct rx_reload *r)
{
    r->is_stopped = true;
    r->is_next = false;
    ev_timer_stop(r->loop, &r->again);
    if (r->trial.conf)
        ev_timer_stop(r->loop, &r->trial.tick);
}

void rx_reload_fini(struct rx_reload *r)
{
    job_free(r->job);
    rx_watch_free(r->watch);
    rx_seen_free(&r->seen);
    rx_conf_unref(r->trial.conf);
    rx_conf_unref(r->conf);
    rx_history_fini(&r->history);
    if (r->is_burying)
        pthread_join(r->burial, NULL);
    bury(r);
}
