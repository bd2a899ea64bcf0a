// SPDX-License-Identifier: MIT
// Enters: a reason to load the config again. Leaves: a generation every worker serves, or a line that says why not.
// The new generation is built and tested beside the running one, sockets of new addresses are opened, and only then
// each worker gets it; anything that fails on the way leaves everything as it was.
#include "reload.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
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

static void swaps_free(struct rx_reload *r, struct rx_swap **swaps)
{
    for (unsigned i = 0; swaps && i < r->n_workers; i++)
        if (swaps[i]) {
            for (unsigned k = 0; k < swaps[i]->n; k++)
                if (swaps[i]->items[k].fd >= 0)
                    close(swaps[i]->items[k].fd);
            free(swaps[i]);
        }
    free(swaps);
}

// One swap a worker, with the sockets of addresses that are new; NULL when one cannot be had.
static struct rx_swap **swaps_new(struct rx_reload *r, struct rx_conf *conf)
{
    uint32_t n = rx_bind_count(conf);
    struct rx_swap **swaps = calloc(r->n_workers, sizeof *swaps);
    int *fds = calloc(r->n_workers, sizeof *fds);
    bool is_good = swaps && fds;
    for (unsigned i = 0; is_good && i < r->n_workers; i++) {
        is_good = (swaps[i] = calloc(1, sizeof **swaps + n * sizeof *swaps[i]->items));
        if (is_good) {
            swaps[i]->conf = conf;
            swaps[i]->n_left = &r->n_taking;
        }
    }
    uint32_t n_opened = 0;
    for (uint32_t i = 0; is_good && i < conf->n_listens; i++)
        for (uint32_t k = 0; is_good && k < conf->listens[i]->n_binds; k++) {
            struct rx_bind *b = &conf->listens[i]->binds[k];
            int rc = rx_bind_is_in(r->conf, b) ? 1 : rx_bind_open_told(b, fds, r->n_workers);
            is_good = rc >= 0;
            n_opened += is_good;
            for (unsigned w = 0; is_good && w < r->n_workers; w++)
                swaps[w]->items[swaps[w]->n++] =
                    (struct rx_swap_item){ conf->listens[i], b, rc == 0 ? fds[w] : -1 };
        }
    free(fds);
    if (is_good)
        return swaps;
    rx_bind_unlink_first(conf, n_opened, r->conf);
    swaps_free(r, swaps);
    return NULL;
}

static void warn_about_fixed(const struct rx_conf *old, const struct rx_conf *conf)
{
    if (old->workers != conf->workers || old->access_log != conf->access_log || old->log_format != conf->log_format ||
        old->is_admin_off != conf->is_admin_off || strcmp(old->admin ? old->admin : "", conf->admin ? conf->admin : "") ||
        strcmp(old->access_log_file ? old->access_log_file : "", conf->access_log_file ? conf->access_log_file : ""))
        rx_log(RX_LOG_WARN, "workers, access_log, log_format and admin take effect at the next start");
}

static void publish(struct rx_reload *r, struct rx_conf *conf, struct rx_swap **swaps)
{
    struct rx_conf *old = r->conf;
    rx_conf_inherit(conf, old);
    warn_about_fixed(old, conf);
    atomic_store(&r->n_taking, r->n_workers);
    for (unsigned i = 0; i < r->n_workers; i++) {
        rx_conf_ref(conf);
        rx_worker_swap(&r->workers[i], swaps[i]);
    }
    free(swaps);
    r->conf = conf;
    r->n_bound = rx_bind_count(conf);
    rx_bind_unlink_first(old, rx_bind_count(old), conf);
    rx_conf_unref(old);
}

static void tell_finding(void *data, unsigned severity, const char *text, size_t len)
{
    const struct rx_reload *r = data;
    rx_log(severity == RX_REPORT_ERROR ? RX_LOG_ERROR : RX_LOG_WARN, "%.*s", (int)len, text);
    if (r->ear.finding)
        r->ear.finding(r->ear.data, severity, text, len);
}

static void tell_outcome(const struct rx_reload *r, bool is_taken, const char *fmt, ...) RX_PRINTF(3, 4);
static void tell_outcome(const struct rx_reload *r, bool is_taken, const char *fmt, ...)
{
    char line[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    rx_log(is_taken ? RX_LOG_INFO : RX_LOG_ERROR, "%s", line);
    if (r->ear.outcome)
        r->ear.outcome(r->ear.data, is_taken, line);
}

int rx_reload_spawn(struct rx_reload *r, struct rx_conf *conf)
{
    return rx_script_spawn(conf, r->args, r->n_workers, tell_finding, r);
}

void rx_reload_request(struct rx_reload *r, const char *why)
{
    if (r->is_stopped)
        return;
    if (atomic_load(&r->n_taking)) { // a reload on the heels of another
        r->again_why = why;
        ev_timer_again(r->loop, &r->again);
        return;
    }
    ev_timer_stop(r->loop, &r->again);
    uint64_t start = rx_sys_now_ns();
    struct rx_conf *conf = rx_load_tested(r->args, tell_finding, r);
    if (!conf) {
        tell_outcome(r, false, "reload (%s): refused, the running config stays", why);
        return;
    }
    struct rx_swap **swaps = rx_reload_spawn(r, conf) ? NULL : swaps_new(r, conf);
    if (!swaps) {
        tell_outcome(r, false, "reload (%s): refused, the running config stays", why);
        rx_conf_unref(conf);
        return;
    }
    publish(r, conf, swaps);
    rx_reload_watch(r); // it may be made of other files now
    tell_outcome(r, true, "reload (%s): %u listeners, %u tests passed, in %.1f ms", why, conf->n_listens,
                 conf->n_tests, (double)(rx_sys_now_ns() - start) / 1e6);
}

static void reload_on_again(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct rx_reload *r = t->data;
    rx_reload_request(r, r->again_why);
}

static void reload_on_changed(void *data)
{
    rx_reload_request(data, "the file changed");
}

void rx_reload_watch(struct rx_reload *r)
{
    if (r->args->no_hot_reload || !r->conf->hot_reload || !r->conf->file) {
        rx_watch_free(r->watch);
        r->watch = NULL;
        return;
    }
    rx_watch_free(r->watch);
    r->watch = rx_watch_new(r->loop, r->conf->sources, r->conf->n_sources, reload_on_changed, r);
    if (!r->watch)
        rx_log(RX_LOG_WARN, "cannot watch %s for changes: %s", r->conf->file, strerror(errno));
}

void rx_reload_init(struct rx_reload *r, struct rx_conf *conf)
{
    r->conf = conf;
    rx_conf_inherit(conf, NULL);
    ev_timer_init(&r->again, reload_on_again, 0., 0.02);
    r->again.data = r;
}

void rx_reload_stop(struct rx_reload *r)
{
    r->is_stopped = true;
    ev_timer_stop(r->loop, &r->again);
}

void rx_reload_fini(struct rx_reload *r)
{
    rx_watch_free(r->watch);
    rx_conf_unref(r->conf);
}
