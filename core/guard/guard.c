// SPDX-License-Identifier: MIT
// Enters: generations, and lines of the logs they name. Leaves: sessions heard of, and what the block logs gathered.
// Invariants: followers are this thread's alone; the list of them is under a lock, since others read the counters. The
// generation whose functions read the lines is held as long as it is followed.
#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "script.h"
#include "sessions.h"

enum { CHECK_S = 3 };

struct followed {
    struct followed *next;
    struct rx_guard *guard;
    const struct rx_tail *tail; // borrowed from the guard's conf
    struct rx_follower *follower; // owned
    struct rx_tail_count count;
    char path[];
};

struct rx_guard {
    struct ev_loop *loop; // owned
    pthread_t thread;
    bool is_started;
    ev_async wake;
    ev_timer check; // of the kernel's tables
    ev_timer refresh; // of those who are connected, by the kernel's word
    struct rx_conf *conf; // ref: what is followed
    _Atomic(struct rx_conf *) next; // ref: waiting to be taken
    atomic_bool is_stopping;
    pthread_mutex_t lock;
    struct followed *list; // owned, and each; written by the thread alone, under the lock
};

static void add(atomic_ulong *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static enum rx_tail_line parse(const struct followed *f, const char *line, size_t n, struct rx_tail_said *said)
{
    if (f->tail->kind == RX_TAIL_XRAY)
        return rx_xray_parse(line, n, said);
    return rx_script_parse(f->guard->conf->guard_script, (uint32_t)f->tail->parse_fn, line, n, said);
}

static void hear(const struct followed *f, const struct rx_tail_said *said)
{
    const struct rx_sessions *s = f->tail->sessions;
    char id[RX_LEDGER_ID_MAX];
    struct rx_seat *none;
    struct rx_heard h = { .id = said->id, .id_len = said->id_len, .tag = said->tag, .tag_len = said->tag_len,
                          .ip = said->ip, .is_udp = said->is_udp };
    if (s->limits_fn >= 0 && h.id_len <= sizeof id) {
        memcpy(id, said->id, said->id_len); // the next call takes the words away
        h.id = id;
        h.max_ips = rx_script_limits(f->guard->conf->guard_script, (uint32_t)s->limits_fn, id, h.id_len);
    }
    rx_sessions_hear(s, &h, &none);
    if (rx_sessions_is_brimming(s))
        rx_sessions_flush(false); // the loop comes round only after many more lines
}

static void guard_on_line(void *data, const char *line, size_t n)
{
    struct followed *f = data;
    struct rx_tail_said said;
    switch (parse(f, line, n, &said)) {
    case RX_LINE_SESSION:
        add(&f->count.sessions);
        hear(f, &said);
        return;
    case RX_LINE_OTHER:
        add(&f->count.other);
        return;
    case RX_LINE_BAD:
        add(&f->count.bad);
        return;
    }
}

// ---- generations ------------------------------------------------------------------------------------------------------

static struct followed *followed_new(struct rx_guard *g, const struct rx_tail *tail)
{
    size_t n = strlen(tail->path) + 1;
    struct followed *f = calloc(1, sizeof *f + n);
    if (!f)
        return NULL;
    f->guard = g;
    f->tail = tail;
    memcpy(f->path, tail->path, n);
    return f;
}

static void followed_free(struct followed *f)
{
    rx_follower_free(f->follower);
    free(f);
}

static struct followed *take_out(struct followed **list, const char *path)
{
    for (struct followed **at = list; *at; at = &(*at)->next)
        if (!strcmp((*at)->path, path)) {
            struct followed *f = *at;
            *at = f->next;
            return f;
        }
    return NULL;
}

static void take(struct rx_guard *g, struct rx_conf *conf)
{
    struct rx_conf *old = g->conf;
    struct followed *kept = NULL, *gone;
    pthread_mutex_lock(&g->lock);
    g->conf = conf;
    for (uint32_t i = 0; conf && i < conf->n_tails; i++) {
        const struct rx_tail *tail = &conf->tails[i];
        struct followed *f = take_out(&g->list, tail->path);
        if (!f && !(f = followed_new(g, tail))) {
            rx_log(RX_LOG_ERROR, "tail %s: out of memory", tail->path);
            continue;
        }
        f->tail = tail;
        f->next = kept;
        kept = f;
    }
    gone = g->list;
    g->list = kept;
    pthread_mutex_unlock(&g->lock);
    for (struct followed *next; gone; gone = next) {
        next = gone->next;
        followed_free(gone);
    }
    for (struct followed *f = kept; f; f = f->next)
        if (!f->follower && !(f->follower = rx_follower_new(g->loop, f->path, guard_on_line, f, &f->count)))
            rx_log(RX_LOG_ERROR, "tail %s: out of memory", f->path);
    rx_conf_unref(old);
}

void rx_guard_each_tail(struct rx_guard *g, rx_guard_each_fn *each, void *data)
{
    pthread_mutex_lock(&g->lock);
    for (struct followed *f = g->list; f; f = f->next) {
        const struct rx_tail_totals t = { atomic_load(&f->count.lines), atomic_load(&f->count.sessions),
                                          atomic_load(&f->count.other), atomic_load(&f->count.bad) };
        each(f->path, &t, data);
    }
    pthread_mutex_unlock(&g->lock);
}

// ---- the thread -------------------------------------------------------------------------------------------------------

static void guard_on_refresh(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)events;
    uint64_t again_ms;
    if (!rx_sessions_refresh(&again_ms))
        return;
    ev_timer_set(t, (double)again_ms / 1000, 0.);
    ev_timer_start(loop, t);
}

static void guard_on_wake(struct ev_loop *loop, ev_async *a, int events)
{
    (void)events;
    struct rx_guard *g = a->data;
    struct rx_conf *conf = atomic_exchange(&g->next, NULL);
    if (conf)
        take(g, conf);
    rx_sessions_flush(conf != NULL);
    rx_sessions_kernel(false);
    if (conf) { // the window may be another
        ev_timer_stop(loop, &g->refresh);
        guard_on_refresh(loop, &g->refresh, 0);
    }
    if (conf && rx_sessions_has_kernel())
        ev_timer_again(loop, &g->check);
    else if (conf)
        ev_timer_stop(loop, &g->check);
    if (atomic_load(&g->is_stopping))
        ev_break(loop, EVBREAK_ALL);
}

static void guard_on_check(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)t, (void)events;
    rx_sessions_kernel(true);
}

static void *run(void *arg)
{
    struct rx_guard *g = arg;
    ev_run(g->loop, 0);
    take(g, NULL);
    rx_sessions_flush(false);
    rx_sessions_kernel_leave();
    return NULL;
}

struct rx_guard *rx_guard_new(void)
{
    struct rx_guard *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    pthread_mutex_init(&g->lock, NULL);
    g->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (!g->loop) {
        free(g);
        return NULL;
    }
    ev_async_init(&g->wake, guard_on_wake);
    ev_timer_init(&g->check, guard_on_check, 0., CHECK_S);
    ev_timer_init(&g->refresh, guard_on_refresh, 0., 0.);
    g->wake.data = g;
    ev_async_start(g->loop, &g->wake);
    return g;
}

static bool is_needed(const struct rx_conf *conf)
{
    bool has_log = false;
    for (uint32_t i = 0; i < conf->n_sessions; i++)
        has_log |= conf->sessions[i]->block_log || conf->sessions[i]->kernel.what;
    return has_log || conf->n_tails;
}

int rx_guard_start(struct rx_guard *g, const struct rx_conf *conf)
{
    sigset_t every, old;
    if (g->is_started || !is_needed(conf))
        return 0;
    sigfillset(&every);
    pthread_sigmask(SIG_BLOCK, &every, &old); // signals are the engine thread's
    int rc = pthread_create(&g->thread, NULL, run, g);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc)
        return -rc;
    pthread_setname_np(g->thread, "rx-guard");
    g->is_started = true;
    return 0;
}

void rx_guard_use(struct rx_guard *g, struct rx_conf *conf)
{
    if (!g->is_started)
        return;
    rx_sessions_only(conf->sessions, conf->n_sessions); // here, where rules are set: a later generation's are not taken away
    rx_conf_ref(conf);
    rx_conf_unref(atomic_exchange(&g->next, conf));
    rx_guard_wake(g);
}

void rx_guard_wake(struct rx_guard *g)
{
    ev_async_send(g->loop, &g->wake);
}

void rx_guard_free(struct rx_guard *g)
{
    if (!g)
        return;
    if (g->is_started) {
        atomic_store(&g->is_stopping, true);
        rx_guard_wake(g);
        pthread_join(g->thread, NULL);
    }
    rx_conf_unref(atomic_exchange(&g->next, NULL));
    ev_loop_destroy(g->loop);
    pthread_mutex_destroy(&g->lock);
    free(g);
}
