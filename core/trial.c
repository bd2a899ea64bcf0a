// SPDX-License-Identifier: MIT
// Enters: a generation that passed its tests. Leaves: it serves everybody, or nobody. While it is on trial each
// worker holds both generations and counts for both; sockets are those of the running one until the end.
#include <inttypes.h>
#include <stdio.h>

#include "log.h"
#include "reload.h"
#include "swap.h"

static const double TICK_S = 0.25;

static uint64_t errors_of(const struct rx_conf *c)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < c->n_fns; i++)
        n += atomic_load_explicit(&c->fns[i].errors, memory_order_relaxed);
    return n;
}

// NULL when none was.
static const char *quarantined_of(const struct rx_conf *c)
{
    for (uint32_t i = 0; i < c->n_fns; i++)
        if (atomic_load_explicit(&c->fns[i].is_quarantined, memory_order_relaxed))
            return c->fns[i].where;
    return NULL;
}

void rx_trial_count(const struct rx_reload *r, struct rx_counts counts[2])
{
    const struct rx_conf *both[2] = { r->conf, r->trial.conf };
    for (int k = 0; k < 2; k++) {
        counts[k] = (struct rx_counts){ 0 };
        for (unsigned i = 0; i < r->n_workers; i++)
            rx_counts_add(&counts[k], &r->workers[i].tally[k]);
        counts[k].failed[RX_MEASURE_SCRIPT] = errors_of(both[k]) - r->trial.errors[k];
    }
}

static void let_go(struct rx_reload *r)
{
    ev_timer_stop(r->loop, &r->trial.tick);
    rx_conf_unref(r->trial.conf);
    r->trial.conf = NULL;
    rx_reload_names(r);
}

static void roll_back(struct rx_reload *r, const char *why)
{
    struct rx_swap **swaps = rx_swaps_new(NULL, r->conf, RX_SWAP_END, r->n_workers, &r->n_taking);
    if (!swaps)
        return; // the next tick tries again
    rx_swaps_send(swaps, r->workers, r->n_workers);
    rx_log(RX_LOG_ERROR, "canary: generation %" PRIu64 " rolled back: %s", r->trial.conf->id, why);
    rx_history_settle(rx_history_find(&r->history, r->trial.number), RX_RELOAD_ROLLED_BACK, why);
    let_go(r);
}

static void promote(struct rx_reload *r, const struct rx_counts *counts)
{
    struct rx_conf *conf = r->trial.conf;
    char note[200];
    if (rx_reload_serve(r, conf)) {
        roll_back(r, "a new address cannot be had");
        return;
    }
    snprintf(note, sizeof note, "after %u s, with %" PRIu64 " of %" PRIu64 " connections", conf->canary_ms / 1000,
             counts[1].tried[RX_MEASURE_SCRIPT],
             counts[0].tried[RX_MEASURE_SCRIPT] + counts[1].tried[RX_MEASURE_SCRIPT]);
    rx_log(RX_LOG_INFO, "canary: generation %" PRIu64 " promoted %s", conf->id, note);
    rx_history_settle(rx_history_find(&r->history, r->trial.number), RX_RELOAD_PROMOTED, note);
    ev_timer_stop(r->loop, &r->trial.tick);
    r->trial.conf = NULL; // its reference is the served one's now
    rx_reload_names(r);
}

static void trial_on_tick(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct rx_reload *r = t->data;
    struct rx_counts counts[2];
    char why[300];
    if (atomic_load(&r->n_taking))
        return; // not every worker has begun
    rx_trial_count(r, counts);
    const char *where = quarantined_of(r->trial.conf);
    if (where) {
        snprintf(why, sizeof why, "its function %.200s was quarantined", where);
        roll_back(r, why);
    } else if (rx_canary_is_worse(&counts[0], &counts[1], why, sizeof why)) {
        roll_back(r, why);
    } else if (rx_now_ms() - r->trial.since_ms >= r->trial.conf->canary_ms) {
        promote(r, counts);
    }
}

int rx_trial_begin(struct rx_reload *r, struct rx_conf *conf, uint64_t number)
{
    struct rx_swap **swaps = rx_swaps_new(conf, r->conf, RX_SWAP_TRY, r->n_workers, &r->n_taking);
    if (!swaps)
        return -1;
    rx_trial_forget(r, "a later edit takes its place");
    rx_conf_inherit_cursors(conf, r->conf);
    r->trial.conf = conf;
    r->trial.number = number;
    r->trial.since_ms = rx_now_ms();
    r->trial.errors[0] = errors_of(r->conf);
    r->trial.errors[1] = errors_of(conf);
    rx_swaps_send(swaps, r->workers, r->n_workers);
    ev_timer_init(&r->trial.tick, trial_on_tick, TICK_S, TICK_S);
    r->trial.tick.data = r;
    ev_timer_start(r->loop, &r->trial.tick);
    return 0;
}

void rx_trial_forget(struct rx_reload *r, const char *why)
{
    if (!r->trial.conf)
        return;
    rx_log(RX_LOG_INFO, "canary: generation %" PRIu64 " ends: %s", r->trial.conf->id, why);
    rx_history_settle(rx_history_find(&r->history, r->trial.number), RX_RELOAD_REPLACED, why);
    let_go(r);
}
