// SPDX-License-Identifier: MIT
// Enters: a generation that passed its tests. Leaves: an exit code. Binds everything before it starts anything, so
// that a failure leaves nothing half-served; then waits for signals while the workers work.
#include "engine.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin.h"
#include "ban.h"
#include "bind.h"
#include "health.h"
#include "guard.h"
#include "heir.h"
#include "home.h"
#include "hook.h"
#include "http.h"
#include "log.h"
#include "log_out.h"
#include "notify.h"
#include "privilege.h"
#include "record.h"
#include "reload.h"
#include "resolve.h"
#include "sandbox.h"
#include "sessions.h"
#include "sync.h"
#include "sys.h"
#include "upgrade.h"
#include "watchdog.h"
#include "worker.h"

struct engine {
    struct ev_loop *loop; // owned
    struct rx_reload reload; // the config served, and its successors
    struct rx_resolve *names; // owned
    struct rx_health_watch *health; // owned
    struct rx_worker *workers;
    unsigned n_workers, n_started;
    struct rx_guard *guard;   // owned
    struct rx_sync *sync;     // owned
    struct rx_hooker *hooker; // owned
    atomic_uint active, sessions; // connections of all workers; the UDP flows among them
    struct rx_instance self; // what the admin socket tells of us
    struct rx_admin *admin;  // owned; NULL: none
    struct rx_http *http;    // owned; NULL: no metrics
    struct rx_upgrade upgrade;
    ev_signal term, intr, rotated, renewed;
    ev_async hup;
    ev_timer drain, poll, look;
    bool is_stopping;
    unsigned n_polls; // with nothing left but an answer to who asked for the upgrade
};

static void order_all(struct engine *e, enum rx_order order)
{
    for (unsigned i = 0; i < e->n_workers; i++) // one that has not started finds it when it does
        rx_worker_order(&e->workers[i], order);
}

static void engine_on_drained(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct engine *e = t->data;
    rx_log(RX_LOG_WARN, "drain_timeout is over: closing %u connections", atomic_load(&e->active));
    order_all(e, RX_ORDER_STOP);
}

// Workers end by themselves; the engine looks whether they have.
static void engine_on_poll(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)events;
    struct engine *e = t->data;
    if (atomic_load(&e->active) == 0 && (!e->upgrade.is_done || !rx_admin_is_busy(e->admin) || ++e->n_polls > 25))
        ev_break(loop, EVBREAK_ALL);
}

static void wait_drained(struct engine *e)
{
    ev_timer_set(&e->drain, e->reload.conf->drain_ms / 1000.0, 0.);
    ev_timer_start(e->loop, &e->drain);
    ev_timer_start(e->loop, &e->poll);
}

static void engine_on_stop(struct ev_loop *loop, ev_signal *s, int events)
{
    (void)loop, (void)events;
    struct engine *e = s->data;
    if (e->is_stopping) {
        rx_log(RX_LOG_INFO, "stopping at once");
        order_all(e, RX_ORDER_STOP);
        return;
    }
    e->is_stopping = true;
    rx_reload_stop(&e->reload);
    rx_upgrade_stop(&e->upgrade);
    rx_admin_leave(e->admin);
    char line[100];
    snprintf(line, sizeof line, "stopping: %u connections may finish within %u s", atomic_load(&e->active),
             e->reload.conf->drain_ms / 1000);
    rx_log(RX_LOG_INFO, "%s", line);
    rx_notify_stopping(e->reload.conf->drain_ms, line);
    order_all(e, RX_ORDER_DRAIN);
    wait_drained(e);
}

// Another process serves. What is left here finishes here; files of sockets and tables of the kernel are the other's.
static void engine_on_succeeded(void *data)
{
    struct engine *e = data;
    e->is_stopping = true;
    rx_reload_stop(&e->reload);
    rx_admin_hand_on(e->admin);
    rx_sessions_kernel_hand_on();
    e->reload.n_bound = 0;
    wait_drained(e);
}

static void engine_on_renewed(struct ev_loop *loop, ev_signal *s, int events)
{
    (void)loop, (void)events;
    struct engine *e = s->data;
    rx_upgrade_request(&e->upgrade, "SIGUSR2");
}

static void engine_on_rotated(struct ev_loop *loop, ev_signal *s, int events)
{
    (void)loop, (void)s, (void)events;
    rx_log_files_look(true);
}

static void engine_on_look(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)t, (void)events;
    rx_log_files_look(false);
}

static struct rx_listener *newest(struct rx_worker *w)
{
    return w->listeners[w->n_listeners - 1];
}

// A process with more workers had more sockets, and clients wait in each.
static int bind_extras(struct engine *e, const struct rx_listen *l, struct rx_bind *b)
{
    for (unsigned slot = e->n_workers;; slot++) {
        struct rx_worker *w = &e->workers[slot % e->n_workers];
        int fd = rx_heir_more();
        int rc = fd < 0 ? 0 : rx_worker_listen(w, l, b, fd);
        if (fd < 0 || rc)
            return rc;
        newest(w)->slot = slot;
        newest(w)->is_extra = true;
    }
}

static int bind_one(struct engine *e, const struct rx_listen *l, struct rx_bind *b)
{
    int *fds = calloc(e->n_workers, sizeof *fds);
    int rc = fds ? rx_bind_open_told(b, fds, e->n_workers) : -1;
    for (unsigned i = 0; !rc && i < e->n_workers; i++)
        if (fds[i] >= 0 && !(rc = rx_worker_listen(&e->workers[i], l, b, fds[i])))
            newest(&e->workers[i])->slot = i;
    if (!rc && !b->passed)
        rc = bind_extras(e, l, b);
    free(fds);
    return rc < 0 ? rc : 0;
}

static int bind_all(struct engine *e)
{
    for (uint32_t i = 0; i < e->reload.conf->n_listens; i++)
        for (uint32_t k = 0; k < e->reload.conf->listens[i]->n_binds; k++) {
            int rc = bind_one(e, e->reload.conf->listens[i], &e->reload.conf->listens[i]->binds[k]);
            if (rc)
                return rc;
            e->reload.n_bound++;
        }
    return 0;
}

static void tell_bound(const struct rx_conf *conf)
{
    for (uint32_t i = 0; i < conf->n_listens; i++)
        for (uint32_t k = 0; k < conf->listens[i]->n_binds; k++)
            rx_bind_tell(&conf->listens[i]->binds[k]);
}

// libev does not tell who sent a signal.
static struct {
    struct ev_loop *loop;
    ev_async *async;
    atomic_int pid;
    atomic_uint uid;
} hup;

static void on_hup(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    atomic_store(&hup.pid, info->si_pid);
    atomic_store(&hup.uid, info->si_uid);
    ev_async_send(hup.loop, hup.async); // which may be called here
}

static void engine_on_hup(struct ev_loop *loop, ev_async *a, int events)
{
    (void)loop, (void)events;
    struct engine *e = a->data;
    char who[64];
    int pid = atomic_load(&hup.pid);
    rx_log_files_look(true);
    if (pid)
        snprintf(who, sizeof who, "pid %d, uid %u", pid, atomic_load(&hup.uid));
    else
        snprintf(who, sizeof who, "the terminal");
    rx_reload_request(&e->reload, "SIGHUP", who);
}

static void watch_hup(struct engine *e)
{
    struct sigaction action = { .sa_sigaction = on_hup, .sa_flags = SA_SIGINFO | SA_RESTART };
    ev_async_init(&e->hup, engine_on_hup);
    e->hup.data = e;
    ev_async_start(e->loop, &e->hup);
    hup.loop = e->loop;
    hup.async = &e->hup;
    sigaction(SIGHUP, &action, NULL);
}

static void watch_signals(struct engine *e)
{
    ev_signal *all[] = { &e->term, &e->intr, &e->rotated, &e->renewed };
    ev_signal_init(&e->term, engine_on_stop, SIGTERM);
    ev_signal_init(&e->intr, engine_on_stop, SIGINT);
    ev_signal_init(&e->rotated, engine_on_rotated, SIGUSR1);
    ev_signal_init(&e->renewed, engine_on_renewed, SIGUSR2);
    for (unsigned i = 0; i < RX_COUNT(all); i++) {
        all[i]->data = e;
        ev_signal_start(e->loop, all[i]);
    }
    watch_hup(e);
    ev_timer_init(&e->drain, engine_on_drained, 0., 0.);
    ev_timer_init(&e->poll, engine_on_poll, 0.02, 0.02);
    e->drain.data = e->poll.data = e;
    ev_timer_init(&e->look, engine_on_look, 1., 1.);
    if (rx_log_files_any())
        ev_timer_start(e->loop, &e->look);
}

static void engine_on_ban(void *data)
{
    order_all(data, RX_ORDER_BANS);
}

static void engine_on_names(void *data)
{
    struct engine *e = data;
    rx_health_refresh(e->health);
}

static void engine_on_logged(void *data)
{
    struct engine *e = data;
    rx_guard_wake(e->guard);
}

static int start_workers(struct engine *e)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old); // signals are the engine thread's
    int rc = 0;
    while (e->n_started < e->n_workers && !rc)
        if (!(rc = rx_worker_start(&e->workers[e->n_started])))
            e->n_started++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

// Clients wait in the listening sockets meanwhile, but not for long.
static void await_names(struct engine *e)
{
    rx_resolve_prepare(e->names, e->reload.conf);
    while (rx_resolve_is_waiting(e->names) && !e->is_stopping)
        ev_run(e->loop, EVRUN_ONCE);
    rx_resolve_furnish(e->names, e->reload.conf);
    rx_reload_names(&e->reload);
}

static int start_watchdog(struct engine *e)
{
    struct rx_pulse **pulses = calloc(e->n_workers, sizeof(struct rx_pulse *));
    for (unsigned i = 0; pulses && i < e->n_workers; i++)
        pulses[i] = &e->workers[i].pulse;
    int rc = pulses ? rx_watchdog_start(pulses, e->n_workers) : -ENOMEM;
    free(pulses);
    return rc;
}

static void engine_status(void *data, char *line, size_t size)
{
    const struct engine *e = data;
    snprintf(line, size, "%s: %u connections, %u of them UDP flows; generation %lu", e->is_stopping ? "stopping" : "serving",
             atomic_load(&e->active), atomic_load(&e->sessions), (unsigned long)e->reload.conf->id);
}

static void tell_totals(const struct engine *e)
{
    unsigned long accepted = 0, bytes[2] = { 0 };
    for (unsigned i = 0; i < e->n_workers; i++) {
        accepted += atomic_load(&e->workers[i].stat.accepted);
        bytes[0] += atomic_load(&e->workers[i].stat.bytes[0]);
        bytes[1] += atomic_load(&e->workers[i].stat.bytes[1]);
    }
    rx_log(RX_LOG_INFO, "stopped: %lu connections, %lu bytes from clients, %lu bytes to clients", accepted, bytes[0], bytes[1]);
}

static void warn_about_fds(const struct rx_conf *conf)
{
    unsigned long limit = rx_sys_raise_nofile(), need = 2ul * conf->max_connections + 256;
    if (limit < need)
        rx_log(RX_LOG_WARN, "max_connections %u needs up to %lu file descriptors and the limit is %lu",
               conf->max_connections, need, limit);
}

static int open_logs(const struct rx_conf *conf)
{
    int rc = rx_log_direct(conf->log, conf->log_file);
    if (rc) {
        rx_log(RX_LOG_ERROR, "log %s: %s", conf->log_file, strerror(-rc));
        return rc;
    }
    rx_access_sample(conf->access_log_ppm);
    if ((rc = rx_access_open(conf->access_log, conf->access_log_file)))
        rx_log(RX_LOG_ERROR, "access_log %s: %s", conf->access_log_file, strerror(-rc));
    return rc;
}

static void tell_short(void)
{
    rx_log(RX_LOG_ERROR, "cannot start: %s", strerror(errno ? errno : ENOMEM));
}

int rx_engine_run(struct rx_conf *conf, const struct rx_args *a)
{
    struct engine *e = calloc(1, sizeof *e);
    struct rx_home *home = conf->home;
    int code = RX_EXIT_RUNTIME;
    if (!e)
        return code;
    rx_reload_init(&e->reload, conf);
    signal(SIGPIPE, SIG_IGN);
    int rc;
    if (rx_privilege_drop(conf) || open_logs(conf)) {
        rx_reload_fini(&e->reload);
        free(e);
        return RX_EXIT_BIND;
    }
    rx_sandbox_enter(conf);
    warn_about_fds(conf);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    e->n_workers = conf->workers ? conf->workers : (unsigned)RX_MAX(cores, 1l);
    e->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    e->workers = calloc(e->n_workers, sizeof *e->workers);
    e->hooker = rx_hooker_new(conf->home, e->n_workers);
    e->guard = rx_guard_new();
    e->sync = e->loop ? rx_sync_new(e->loop) : NULL;
    if (!e->loop || !e->workers || !e->hooker || !e->guard || !e->sync) {
        tell_short();
        goto end;
    }
    e->reload.hooker = e->hooker;
    e->reload.guard = e->guard;
    e->reload.sync = e->sync;
    e->reload.loop = e->loop;
    e->reload.args = a;
    e->reload.workers = e->workers;
    e->reload.n_workers = e->n_workers;
    if (rx_reload_spawn(&e->reload, conf)) {
        code = RX_EXIT_USAGE;
        goto end;
    }
    for (unsigned i = 0; i < e->n_workers; i++) {
        if (rx_worker_init(&e->workers[i], i, conf, &e->active, &e->sessions)) {
            tell_short();
            goto end;
        }
        rx_hooker_join(e->hooker, &e->workers[i]);
    }
    if (!(e->names = e->reload.names = rx_resolve_new(e->loop, e->workers, e->n_workers)))
        goto end;
    if (!(e->health = e->reload.health = rx_health_new(e->loop)))
        goto end;
    rx_resolve_on_change(e->names, engine_on_names, e);
    watch_signals(e); // before anybody can know that we are here
    if (rx_heir_ask() || bind_all(e)) {
        code = RX_EXIT_BIND;
        goto end;
    }
    rx_reload_start(&e->reload);
    rx_hooker_use(e->hooker, conf);
    const struct rx_sessions_ear ear = { engine_on_ban, engine_on_logged, e };
    rx_sessions_listen(&ear); // these before a worker runs: it may ban with its first connection
    rx_ban_on_add(engine_on_ban, e);
    rx_guard_use(e->guard, conf);
    rx_sync_use(e->sync, conf);
    if (rx_reload_record(&e->reload)) {
        code = RX_EXIT_BIND;
        goto end;
    }
    e->self = (struct rx_instance){ home, &e->reload, e->workers,   &e->active, &e->sessions,
                                    e->n_workers, rx_now_ms(), &e->upgrade };
    rx_upgrade_init(&e->upgrade, e->loop, &e->self);
    if (rx_http_new(&e->http, e->loop, &e->self)) {
        code = RX_EXIT_BIND;
        goto end;
    }
    e->admin = rx_admin_new(e->loop, &e->self);
    await_names(e);
    if (e->is_stopping) {
        code = RX_EXIT_OK;
        goto end;
    }
    if (rx_heir_succeed(e->workers, e->n_workers))
        goto end;
    e->upgrade.admin = e->admin;
    e->upgrade.http = e->http;
    e->upgrade.leave = engine_on_succeeded;
    e->upgrade.data = e;
    if ((rc = start_workers(e))) {
        rx_log(RX_LOG_ERROR, "cannot start a worker: %s", strerror(-rc));
        order_all(e, RX_ORDER_STOP);
    } else {
        if ((rc = start_watchdog(e)))
            rx_log(RX_LOG_WARN, "no watchdog: %s", strerror(-rc));
        tell_bound(e->reload.conf);
        rx_notify_ready(e->loop, engine_status, e);
        ev_run(e->loop, 0);
        rx_notify_end(e->loop);
        code = RX_EXIT_OK;
    }
    for (unsigned i = 0; i < e->n_started; i++)
        rx_worker_join(&e->workers[i]);
    rx_watchdog_stop();
    tell_totals(e);
end:
    if (rx_heir_is()) // they are the old process's still
        rx_sessions_kernel_hand_on();
    rx_upgrade_fini(&e->upgrade);
    rx_http_free(e->http);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    rx_record_stop(home->recorder);
    rx_admin_free(e->admin);
    rx_sessions_listen(NULL);
    rx_guard_free(e->guard);
    rx_ban_on_add(NULL, NULL);
    rx_sync_free(e->sync);
    rx_hooker_free(e->hooker); // it hears the workers' last words, and wakes them
    rx_health_free(e->health);
    rx_resolve_free(e->names);
    rx_bind_unlink_first(e->reload.conf, e->reload.n_bound, NULL);
    rx_heir_end();
    for (unsigned i = 0; e->workers && i < e->n_workers; i++)
        rx_worker_fini(&e->workers[i]);
    rx_reload_fini(&e->reload);
    rx_ban_clear();
    signal(SIGTERM, SIG_IGN); // whose handlers, too, write to the loop
    signal(SIGINT, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    if (e->loop)
        ev_loop_destroy(e->loop);
    free(e->workers);
    free(e);
    return code;
}
