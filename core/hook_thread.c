// SPDX-License-Identifier: MIT
// The hook thread. Enters: events from the workers' lines, and the generation in force. Leaves: calls of on_open,
// on_data, on_close and rx.every in the generation's Lua state for hooks.
//
// Invariants
//  * Every event is taken from its line once, also when no hook wants it; a side pipe is read as far as its events say.
//  * A connection's events are given to the hooks of its own generation; timers are those of the last one alone.
//  * The thread is a little less urgent than the workers: where cores are short, they come first.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hook.h"
#include "home.h"
#include "log.h"
#include "sink.h"
#include "sys.h"
#include "worker.h"

enum {
    QUEUE_SIZE = 16 * 1024 * 1024,
    BATCH = 64,            // events of one line before the next gets its turn
    PIECE = 256 * 1024,    // at most so much of a side pipe in one on_data
    NICE = 3,
    LAST_WORDS_MS = 2000,  // after the workers have ended
};

struct timer {
    ev_timer t;
    struct rx_hooker *hooker;
    uint32_t fn;
};

struct rx_hooker {
    struct rx_home *home; // borrowed
    struct ev_loop *loop; // owned, as is all below but conf
    pthread_t thread;
    bool is_started;
    ev_async wake;
    ev_prepare tidy;
    struct rx_hook_line *lines;
    unsigned n_lines;
    uint8_t *piece;
    struct rx_conf *conf; // ref: whose timers run
    struct timer *timers;
    uint32_t n_timers;
    _Atomic(struct rx_conf *) next; // ref: waiting to be taken
    atomic_bool is_stopping;
    uint64_t until_ms; // last words end
};

// ---- calling ----------------------------------------------------------------------------------------------------------

static int32_t fn_of(const struct rx_hook *hook, enum rx_hook_kind kind)
{
    switch (kind) {
    case RX_HOOK_OPEN:
        return hook->open_fn;
    case RX_HOOK_DATA:
    case RX_HOOK_PIPED:
        return hook->data_fn;
    case RX_HOOK_CLOSE:
        return hook->close_fn;
    }
    return -1;
}

static void call_hooks(struct rx_hooker *k, const struct rx_hook_event *e, const uint8_t *p, size_t n)
{
    const struct rx_hooked *h = e->hooked;
    struct rx_script *script = rx_conf_script(h->conf, RX_SCRIPT_HOOKS);
    if (k->until_ms && rx_now_ms() >= k->until_ms)
        return;
    for (uint32_t i = 0; i < h->set->n; i++) {
        int32_t fn = fn_of(h->set->list[i], (enum rx_hook_kind)e->kind);
        if (fn >= 0)
            rx_script_hook(script, (uint32_t)fn, e, p, n);
    }
}

// Bytes that are not there were promised: a broken invariant, but a hook's, not the flow's.
static void read_pipe(struct rx_hooker *k, const struct rx_hook_event *e)
{
    for (uint32_t left = e->len; left;) {
        ssize_t n = read(e->hooked->side_out[e->direction], k->piece, RX_MIN(left, (uint32_t)PIECE));
        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0) {
            rx_log_limited(RX_LOG_ERROR, "hooks: a side pipe fell short: %s", n ? strerror(errno) : "end");
            return;
        }
        call_hooks(k, e, k->piece, (size_t)n);
        left -= (uint32_t)n;
    }
    atomic_fetch_add_explicit(&e->hooked->side_read[e->direction], e->len, memory_order_release);
}

static void handle(struct rx_hooker *k, const struct rx_hook_event *e)
{
    struct rx_hooked *h = e->hooked;
    switch ((enum rx_hook_kind)e->kind) {
    case RX_HOOK_DATA:
        call_hooks(k, e, (const uint8_t *)(e + 1), e->len);
        return;
    case RX_HOOK_PIPED:
        read_pipe(k, e);
        return;
    case RX_HOOK_OPEN:
        call_hooks(k, e, NULL, 0);
        return;
    case RX_HOOK_CLOSE:
        call_hooks(k, e, NULL, 0);
        for (int d = 0; d < 2; d++)
            if (h->side_out[d] >= 0)
                close(h->side_out[d]);
        rx_hooked_unref(h);
        return;
    }
}

// True when there may be more.
static bool drain(struct rx_hooker *k)
{
    bool has_more = false;
    for (unsigned i = 0; i < k->n_lines; i++) {
        struct rx_hook_line *line = &k->lines[i];
        const struct rx_hook_event *e = NULL;
        size_t len;
        for (unsigned n = 0; n < BATCH && (e = rx_queue_peek(&line->queue, &len)); n++) {
            handle(k, e);
            rx_queue_pop(&line->queue);
        }
        has_more |= e != NULL;
        if (line->worker && atomic_exchange(&line->is_short, false))
            ev_async_send(line->worker->loop, &line->worker->wake);
    }
    return has_more;
}

// ---- generations and timers -------------------------------------------------------------------------------------------

static void timer_on_due(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct timer *timer = t->data;
    rx_script_every(rx_conf_script(timer->hooker->conf, RX_SCRIPT_HOOKS), timer->fn);
}

static void drop_timers(struct rx_hooker *k)
{
    for (uint32_t i = 0; i < k->n_timers; i++)
        ev_timer_stop(k->loop, &k->timers[i].t);
    free(k->timers);
    k->timers = NULL;
    k->n_timers = 0;
    rx_conf_unref(k->conf);
    k->conf = NULL;
}

static void take(struct rx_hooker *k, struct rx_conf *conf)
{
    drop_timers(k);
    k->conf = conf;
    k->timers = calloc(conf->n_timers + 1, sizeof *k->timers);
    if (!k->timers) {
        rx_log(RX_LOG_ERROR, "hooks: no memory for the timers of rx.every");
        return;
    }
    k->n_timers = conf->n_timers;
    for (uint32_t i = 0; i < conf->n_timers; i++) {
        struct timer *t = &k->timers[i];
        double s = conf->timers[i].every_ms / 1000.0;
        *t = (struct timer){ .hooker = k, .fn = (uint32_t)conf->timers[i].fn };
        ev_timer_init(&t->t, timer_on_due, s, s);
        t->t.data = t;
        ev_timer_start(k->loop, &t->t);
    }
}

// ---- the thread -------------------------------------------------------------------------------------------------------

static void hooker_on_tidy(struct ev_loop *loop, ev_prepare *p, int events)
{
    (void)loop, (void)events;
    struct rx_hooker *k = p->data;
    rx_sink_flush_all(&k->home->sinks);
}

static void hooker_on_wake(struct ev_loop *loop, ev_async *a, int events)
{
    (void)events;
    struct rx_hooker *k = a->data;
    struct rx_conf *conf = atomic_exchange(&k->next, NULL);
    if (conf)
        take(k, conf);
    if (atomic_load(&k->is_stopping))
        ev_break(loop, EVBREAK_ALL);
    else if (drain(k))
        ev_async_send(loop, a); // not at once: timers, too, have their turn
}

static void *run(void *arg)
{
    struct rx_hooker *k = arg;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE); // as good as not, when it is not allowed
    ev_run(k->loop, 0);
    k->until_ms = rx_now_ms() + LAST_WORDS_MS;
    bool has_more = true;
    while (has_more) {
        has_more = drain(k);
        for (unsigned i = 0; i < k->n_lines; i++) { // the workers have ended: their sides are ours
            rx_hook_tidy(&k->lines[i]);
            has_more |= k->lines[i].late != NULL;
        }
    }
    drain(k);
    drop_timers(k);
    rx_sink_flush_all(&k->home->sinks);
    return NULL;
}

struct rx_hooker *rx_hooker_new(struct rx_home *home, unsigned n_lines)
{
    struct rx_hooker *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->home = home;
    k->lines = calloc(n_lines, sizeof *k->lines);
    k->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    k->piece = malloc(PIECE);
    bool is_good = k->lines && k->loop && k->piece;
    for (unsigned i = 0; is_good && i < n_lines; i++) {
        k->lines[i].hooker = k;
        is_good = !rx_queue_init(&k->lines[i].queue, QUEUE_SIZE);
        k->n_lines++;
    }
    if (!is_good) {
        rx_hooker_free(k);
        return NULL;
    }
    ev_async_init(&k->wake, hooker_on_wake);
    k->wake.data = k;
    ev_async_start(k->loop, &k->wake);
    ev_prepare_init(&k->tidy, hooker_on_tidy);
    k->tidy.data = k;
    ev_prepare_start(k->loop, &k->tidy);
    return k;
}

void rx_hooker_join(struct rx_hooker *k, struct rx_worker *w)
{
    k->lines[w->index].worker = w;
    w->hook_line = &k->lines[w->index];
}

int rx_hooker_start(struct rx_hooker *k, const struct rx_conf *conf)
{
    sigset_t all, old;
    if (k->is_started || (!conf->n_hooks && !conf->n_timers))
        return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old); // signals are the engine thread's
    int rc = pthread_create(&k->thread, NULL, run, k);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc)
        return -rc;
    pthread_setname_np(k->thread, "rx-hooks");
    k->is_started = true;
    return 0;
}

void rx_hooker_use(struct rx_hooker *k, struct rx_conf *conf)
{
    if (!k->is_started)
        return;
    rx_conf_ref(conf);
    rx_conf_unref(atomic_exchange(&k->next, conf));
    rx_hooker_wake(k);
}

void rx_hooker_wake(struct rx_hooker *k)
{
    ev_async_send(k->loop, &k->wake);
}

void rx_hooker_free(struct rx_hooker *k)
{
    if (!k)
        return;
    if (k->is_started) {
        atomic_store(&k->is_stopping, true);
        rx_hooker_wake(k);
        pthread_join(k->thread, NULL);
    }
    rx_conf_unref(atomic_exchange(&k->next, NULL));
    for (unsigned i = 0; i < k->n_lines; i++)
        rx_queue_fini(&k->lines[i].queue);
    if (k->loop)
        ev_loop_destroy(k->loop);
    free(k->lines);
    free(k->piece);
    free(k);
}
