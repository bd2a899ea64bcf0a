// SPDX-License-Identifier: MIT
// Enters: a generation that passed its tests. Leaves: an exit code. Binds everything before it starts anything, so
// that a failure leaves nothing half-served; then waits for signals while the workers work.
#include "engine.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bind.h"
#include "log.h"
#include "sys.h"
#include "worker.h"

struct engine {
    struct ev_loop *loop; // owned
    struct rx_conf *conf; // ref
    struct rx_worker *workers;
    unsigned n_workers, n_started;
    uint32_t n_bound;   // addresses bound so far, in the order of the config
    atomic_uint active; // connections of all workers
    ev_signal term, intr, hup;
    ev_timer drain, poll;
    bool is_stopping;
};

static void order_all(struct engine *e, enum rx_order order)
{
    for (unsigned i = 0; i < e->n_started; i++)
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
    if (atomic_load(&e->active) == 0)
        ev_break(loop, EVBREAK_ALL);
}

static void engine_on_stop(struct ev_loop *loop, ev_signal *s, int events)
{
    (void)events;
    struct engine *e = s->data;
    if (e->is_stopping) {
        rx_log(RX_LOG_INFO, "stopping at once");
        order_all(e, RX_ORDER_STOP);
        return;
    }
    e->is_stopping = true;
    rx_log(RX_LOG_INFO, "stopping: %u connections may finish within %u s", atomic_load(&e->active),
           e->conf->drain_ms / 1000);
    order_all(e, RX_ORDER_DRAIN);
    ev_timer_set(&e->drain, e->conf->drain_ms / 1000.0, 0.);
    ev_timer_start(loop, &e->drain);
    ev_timer_start(loop, &e->poll);
}

static void engine_on_hup(struct ev_loop *loop, ev_signal *s, int events)
{
    (void)loop, (void)s, (void)events;
    rx_log(RX_LOG_WARN, "SIGHUP: this version reloads by a restart; going on as before");
}

static const char *hint_for(int err)
{
    if (err == EACCES)
        return " (ports below 1024 need root or CAP_NET_BIND_SERVICE)";
    if (err == EADDRINUSE)
        return " (another program listens there)";
    if (err == EADDRNOTAVAIL)
        return " (no interface has this address)";
    return "";
}

// "*:P" means both families; a machine without IPv6 has only one.
static bool may_skip(const struct rx_bind *b, int err)
{
    return b->text[0] == '*' && b->addr.sa.sa_family == AF_INET6 && (err == EAFNOSUPPORT || err == EADDRNOTAVAIL);
}

// Socket files are removed again only where this process made them.
static void unlink_bound(struct engine *e)
{
    uint32_t left = e->n_bound;
    for (uint32_t i = 0; i < e->conf->n_listens; i++)
        for (uint32_t k = 0; k < e->conf->listens[i]->n_binds && left; k++, left--)
            rx_bind_unlink(&e->conf->listens[i]->binds[k]);
}

static int bind_one(struct engine *e, const struct rx_listen *l, const struct rx_bind *b)
{
    char text[RX_ADDR_TEXT];
    struct rx_addr bound;
    int *fds = calloc(e->n_workers, sizeof *fds);
    int rc = fds ? rx_bind_open(b, fds, e->n_workers, &bound) : -ENOMEM;
    if (rc) {
        free(fds);
        if (may_skip(b, -rc))
            return 0;
        rx_log(RX_LOG_ERROR, "cannot listen on %s: %s%s", rx_addr_print(&b->addr.sa, text), strerror(-rc), hint_for(-rc));
        return rc;
    }
    for (unsigned i = 0; i < e->n_workers && !rc; i++)
        rc = rx_worker_listen(&e->workers[i], l, b, fds[i]);
    free(fds);
    rx_log(RX_LOG_INFO, "listening on %s", rx_addr_print(&bound.sa, text));
    return rc;
}

static int bind_all(struct engine *e)
{
    for (uint32_t i = 0; i < e->conf->n_listens; i++)
        for (uint32_t k = 0; k < e->conf->listens[i]->n_binds; k++) {
            int rc = bind_one(e, e->conf->listens[i], &e->conf->listens[i]->binds[k]);
            if (rc)
                return rc;
            e->n_bound++;
        }
    return 0;
}

static void watch_signals(struct engine *e)
{
    ev_signal *all[] = { &e->term, &e->intr, &e->hup };
    ev_signal_init(&e->term, engine_on_stop, SIGTERM);
    ev_signal_init(&e->intr, engine_on_stop, SIGINT);
    ev_signal_init(&e->hup, engine_on_hup, SIGHUP);
    for (unsigned i = 0; i < RX_COUNT(all); i++) {
        all[i]->data = e;
        ev_signal_start(e->loop, all[i]);
    }
    ev_timer_init(&e->drain, engine_on_drained, 0., 0.);
    ev_timer_init(&e->poll, engine_on_poll, 0.02, 0.02);
    e->drain.data = e->poll.data = e;
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

static void tell_totals(const struct engine *e)
{
    unsigned long accepted = 0, bytes[2] = { 0 };
    for (unsigned i = 0; i < e->n_workers; i++) {
        accepted += atomic_load(&e->workers[i].stat.accepted);
        bytes[0] += atomic_load(&e->workers[i].stat.bytes[0]);
        bytes[1] += atomic_load(&e->workers[i].stat.bytes[1]);
    }
    rx_log(RX_LOG_INFO, "stopped: %lu connections, %lu bytes to backends, %lu to clients", accepted, bytes[0], bytes[1]);
}

static void warn_about_fds(const struct rx_conf *conf)
{
    unsigned long limit = rx_sys_raise_nofile(), need = 2ul * conf->max_connections + 256;
    if (limit < need)
        rx_log(RX_LOG_WARN, "max_connections %u needs up to %lu file descriptors and the limit is %lu",
               conf->max_connections, need, limit);
}

int rx_engine_run(struct rx_conf *conf, const struct rx_args *a)
{
    (void)a;
    struct engine *e = calloc(1, sizeof *e);
    int code = RX_EXIT_RUNTIME;
    if (!e)
        return code;
    e->conf = conf;
    signal(SIGPIPE, SIG_IGN);
    int rc = rx_access_open(conf->access_log, conf->access_log_file);
    if (rc) {
        rx_log(RX_LOG_ERROR, "access_log %s: %s", conf->access_log_file, strerror(-rc));
        rx_conf_unref(conf);
        free(e);
        return RX_EXIT_BIND;
    }
    warn_about_fds(conf);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    e->n_workers = conf->workers ? conf->workers : (unsigned)RX_MAX(cores, 1l);
    e->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    e->workers = calloc(e->n_workers, sizeof *e->workers);
    if (!e->loop || !e->workers)
        goto end;
    for (unsigned i = 0; i < e->n_workers; i++)
        if (rx_worker_init(&e->workers[i], i, conf, &e->active))
            goto end;
    if (bind_all(e)) {
        code = RX_EXIT_BIND;
        goto end;
    }
    watch_signals(e);
    if ((rc = start_workers(e))) {
        rx_log(RX_LOG_ERROR, "cannot start a worker: %s", strerror(-rc));
        order_all(e, RX_ORDER_STOP);
    } else {
        ev_run(e->loop, 0);
        code = RX_EXIT_OK;
    }
    for (unsigned i = 0; i < e->n_started; i++)
        rx_worker_join(&e->workers[i]);
    tell_totals(e);
end:
    unlink_bound(e);
    for (unsigned i = 0; e->workers && i < e->n_workers; i++)
        rx_worker_fini(&e->workers[i]);
    if (e->loop)
        ev_loop_destroy(e->loop);
    free(e->workers);
    rx_conf_unref(conf);
    free(e);
    return code;
}
