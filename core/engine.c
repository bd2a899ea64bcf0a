// SPDX-License-Identifier: MIT
// Enters: a generation that passed its tests. Leaves: an exit code. Binds everything before it starts anything, so
// that a failure leaves nothing half-served; then waits for signals while the workers work.
// Reload: the new generation is built and tested beside the running one, sockets of new addresses are opened, and
// only then each worker gets it; anything that fails on the way leaves everything as it was.
#include "engine.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bind.h"
#include "load.h"
#include "log.h"
#include "script.h"
#include "sys.h"
#include "watch.h"
#include "worker.h"

struct engine {
    struct ev_loop *loop; // owned
    struct rx_conf *conf; // ref
    const struct rx_args *args; // borrowed: main's
    struct rx_watch *watch;     // owned; NULL without a file, or with hot reload off
    atomic_uint n_taking;       // workers that have yet to take the last generation
    ev_timer again;             // a reload that had to wait for them
    const char *again_why;
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

static bool is_bound(const struct rx_conf *conf, const struct rx_bind *b)
{
    for (uint32_t i = 0; i < conf->n_listens; i++)
        for (uint32_t k = 0; k < conf->listens[i]->n_binds; k++)
            if (rx_addr_equal(&conf->listens[i]->binds[k].addr.sa, &b->addr.sa))
                return true;
    return false;
}

// Removes the socket files of the first n addresses of `conf`, but for those that `keep` (NULL: nobody) serves.
static void unlink_first(const struct rx_conf *conf, uint32_t n, const struct rx_conf *keep)
{
    for (uint32_t i = 0; i < conf->n_listens; i++)
        for (uint32_t k = 0; k < conf->listens[i]->n_binds && n; k++, n--)
            if (!keep || !is_bound(keep, &conf->listens[i]->binds[k]))
                rx_bind_unlink(&conf->listens[i]->binds[k]);
}

// Opens an address for every worker: fds[n_workers], owned by the caller. 0, 1 when it may be left out, or -1.
static int open_bind(struct engine *e, struct rx_bind *b, int *fds)
{
    char text[RX_ADDR_TEXT];
    struct rx_addr bound;
    int rc = rx_bind_open(b, fds, e->n_workers, &bound);
    if (rc && may_skip(b, -rc))
        return 1;
    if (rc) {
        rx_log(RX_LOG_ERROR, "cannot listen on %s: %s%s", rx_addr_print(&b->addr.sa, text), strerror(-rc), hint_for(-rc));
        return -1;
    }
    rx_log(RX_LOG_INFO, "listening on %s", rx_addr_print(&bound.sa, text));
    return 0;
}

static int bind_one(struct engine *e, const struct rx_listen *l, struct rx_bind *b)
{
    int *fds = calloc(e->n_workers, sizeof *fds);
    int rc = fds ? open_bind(e, b, fds) : -1;
    for (unsigned i = 0; !rc && i < e->n_workers; i++)
        rc = rx_worker_listen(&e->workers[i], l, b, fds[i]);
    free(fds);
    return rc < 0 ? rc : 0;
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

// ---- reload -------------------------------------------------------------------------------------------------------

static uint32_t count_binds(const struct rx_conf *conf)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < conf->n_listens; i++)
        n += conf->listens[i]->n_binds;
    return n;
}

static void swaps_free(struct engine *e, struct rx_swap **swaps)
{
    for (unsigned i = 0; swaps && i < e->n_workers; i++)
        if (swaps[i]) {
            for (unsigned k = 0; k < swaps[i]->n; k++)
                if (swaps[i]->items[k].fd >= 0)
                    close(swaps[i]->items[k].fd);
            free(swaps[i]);
        }
    free(swaps);
}

// One swap a worker, with the sockets of addresses that are new; NULL when one cannot be had.
static struct rx_swap **swaps_new(struct engine *e, struct rx_conf *conf)
{
    uint32_t n = count_binds(conf);
    struct rx_swap **swaps = calloc(e->n_workers, sizeof *swaps);
    int *fds = calloc(e->n_workers, sizeof *fds);
    bool is_good = swaps && fds;
    for (unsigned i = 0; is_good && i < e->n_workers; i++) {
        is_good = (swaps[i] = calloc(1, sizeof **swaps + n * sizeof *swaps[i]->items));
        if (is_good) {
            swaps[i]->conf = conf;
            swaps[i]->n_left = &e->n_taking;
        }
    }
    uint32_t n_opened = 0;
    for (uint32_t i = 0; is_good && i < conf->n_listens; i++)
        for (uint32_t k = 0; is_good && k < conf->listens[i]->n_binds; k++) {
            struct rx_bind *b = &conf->listens[i]->binds[k];
            int rc = is_bound(e->conf, b) ? 1 : open_bind(e, b, fds);
            is_good = rc >= 0;
            n_opened += is_good;
            for (unsigned w = 0; is_good && w < e->n_workers; w++)
                swaps[w]->items[swaps[w]->n++] =
                    (struct rx_swap_item){ conf->listens[i], b, rc == 0 ? fds[w] : -1 };
        }
    free(fds);
    if (is_good)
        return swaps;
    unlink_first(conf, n_opened, e->conf);
    swaps_free(e, swaps);
    return NULL;
}


static void warn_about_fixed(const struct rx_conf *old, const struct rx_conf *conf)
{
    if (old->workers != conf->workers || old->access_log != conf->access_log || old->log_format != conf->log_format ||
        strcmp(old->access_log_file ? old->access_log_file : "", conf->access_log_file ? conf->access_log_file : ""))
        rx_log(RX_LOG_WARN, "workers, access_log and log_format take effect at the next start");
}

static void publish(struct engine *e, struct rx_conf *conf, struct rx_swap **swaps)
{
    struct rx_conf *old = e->conf;
    rx_conf_inherit(conf, old);
    warn_about_fixed(old, conf);
    atomic_store(&e->n_taking, e->n_workers);
    for (unsigned i = 0; i < e->n_workers; i++) {
        rx_conf_ref(conf);
        rx_worker_swap(&e->workers[i], swaps[i]);
    }
    free(swaps);
    e->conf = conf;
    e->n_bound = count_binds(conf);
    unlink_first(old, count_binds(old), conf);
    rx_conf_unref(old);
}

static void tell_finding(void *data, unsigned severity, const char *text, size_t len)
{
    (void)data;
    rx_log(severity == RX_REPORT_ERROR ? RX_LOG_ERROR : RX_LOG_WARN, "%.*s", (int)len, text);
}

// A Lua state for each worker, where the config has functions.
static int spawn_scripts(struct engine *e, struct rx_conf *conf)
{
    return rx_script_spawn(conf, e->args, e->n_workers, tell_finding, NULL);
}

static void watch_file(struct engine *e);

static void reload(struct engine *e, const char *why)
{
    if (e->is_stopping)
        return;
    if (atomic_load(&e->n_taking)) { // a reload on the heels of another
        e->again_why = why;
        ev_timer_again(e->loop, &e->again);
        return;
    }
    ev_timer_stop(e->loop, &e->again);
    uint64_t start = rx_sys_now_ns();
    struct rx_conf *conf = rx_load_tested(e->args, tell_finding, NULL);
    if (!conf) {
        rx_log(RX_LOG_ERROR, "reload (%s): refused, the running config stays", why);
        return;
    }
    struct rx_swap **swaps = spawn_scripts(e, conf) ? NULL : swaps_new(e, conf);
    if (!swaps) {
        rx_log(RX_LOG_ERROR, "reload (%s): refused, the running config stays", why);
        rx_conf_unref(conf);
        return;
    }
    publish(e, conf, swaps);
    watch_file(e); // it may be made of other files now
    rx_log(RX_LOG_INFO, "reload (%s): %u listeners, %u tests passed, in %.1f ms", why, conf->n_listens, conf->n_tests,
           (double)(rx_sys_now_ns() - start) / 1e6);
}

static void engine_on_hup(struct ev_loop *loop, ev_signal *s, int events)
{
    (void)loop, (void)events;
    reload(s->data, "SIGHUP");
}

static void engine_on_again(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct engine *e = t->data;
    reload(e, e->again_why);
}

static void engine_on_changed(void *data)
{
    reload(data, "the file changed");
}

static void watch_file(struct engine *e)
{
    if (e->args->no_hot_reload || !e->conf->hot_reload || !e->conf->file) {
        rx_watch_free(e->watch);
        e->watch = NULL;
        return;
    }
    rx_watch_free(e->watch);
    e->watch = rx_watch_new(e->loop, e->conf->sources, e->conf->n_sources, engine_on_changed, e);
    if (!e->watch)
        rx_log(RX_LOG_WARN, "cannot watch %s for changes: %s", e->conf->file, strerror(errno));
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
    ev_timer_init(&e->again, engine_on_again, 0., 0.02);
    e->drain.data = e->poll.data = e->again.data = e;
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
    rx_log(RX_LOG_INFO, "stopped: %lu connections, %lu bytes from clients, %lu bytes to clients", accepted, bytes[0], bytes[1]);
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
    struct engine *e = calloc(1, sizeof *e);
    int code = RX_EXIT_RUNTIME;
    if (!e)
        return code;
    e->conf = conf;
    e->args = a;
    rx_conf_inherit(conf, NULL);
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
    if (spawn_scripts(e, conf)) {
        code = RX_EXIT_USAGE;
        goto end;
    }
    for (unsigned i = 0; i < e->n_workers; i++)
        if (rx_worker_init(&e->workers[i], i, conf, &e->active))
            goto end;
    watch_signals(e); // before anybody can know that we are here
    if (bind_all(e)) {
        code = RX_EXIT_BIND;
        goto end;
    }
    watch_file(e);
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
    unlink_first(e->conf, e->n_bound, NULL);
    for (unsigned i = 0; e->workers && i < e->n_workers; i++)
        rx_worker_fini(&e->workers[i]);
    rx_watch_free(e->watch);
    if (e->loop)
        ev_loop_destroy(e->loop);
    free(e->workers);
    rx_conf_unref(e->conf);
    free(e);
    return code;
}
