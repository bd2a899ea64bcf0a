// SPDX-License-Identifier: MIT
// One thread with its loop. Enters: listening sockets and orders from the engine. Leaves: when drained or stopped.
// Connections are freed only in `tidy`, which libev calls before it sleeps: whatever a callback closed stays
// readable until every other pending callback of that iteration has run.
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "ban.h"
#include "hook.h"
#include "log.h"
#include "mirror.h"
#include "pit.h"
#include "script.h"
#include "sockopt.h"
#include "sessions.h"
#include "sys.h"
#include "udp.h"

enum { SPARE_CONNS = 256, TURN_OUT_MS = 10 };

uint64_t rx_worker_next_id(struct rx_worker *w)
{
    return (++w->last_id << 8) | (w->index & 0xff);
}

uint64_t rx_worker_roll(struct rx_worker *w)
{
    return rx_mix(w->dice += 0x9e3779b97f4a7c15ull);
}

static struct rx_conn *conn_get(struct rx_worker *w, bool is_udp)
{
    struct rx_conn *c = w->spare_conns;
    if (is_udp)
        return rx_udp_conn_new();
    if (c) {
        w->spare_conns = c->next;
        w->n_spare--;
    } else if (!(c = malloc(sizeof *c))) {
        return NULL;
    }
    memset(c, 0, sizeof *c);
    return c;
}

struct rx_conn *rx_worker_conn_new(struct rx_worker *w, struct rx_conf *conf, bool is_udp)
{
    struct rx_conn *c = conn_get(w, is_udp);
    if (!c)
        return NULL;
    c->is_udp = is_udp;
    c->worker = w;
    c->conf = conf;
    rx_conf_ref(c->conf);
    c->script = rx_conf_script(c->conf, (int)w->index);
    c->turn = -1;
    c->id = rx_worker_next_id(w);
    c->start_ms = c->active_ms = rx_now_ms();
    ev_io_init(&c->ends[RX_SERVER].io, NULL, -1, 0);
    if (!is_udp) {
        ev_io_init(&c->ends[RX_CLIENT].io, NULL, -1, 0);
        c->dir[0].pipe[0] = c->dir[0].pipe[1] = c->dir[1].pipe[0] = c->dir[1].pipe[1] = -1;
    }
    c->next = w->living.next;
    c->prev = &w->living;
    w->living.next->prev = c;
    w->living.next = c;
    w->n_conns++;
    return c;
}

void rx_worker_conn_bury(struct rx_conn *c)
{
    struct rx_worker *w = c->worker;
    c->prev->next = c->next;
    c->next->prev = c->prev;
    c->next = w->graveyard;
    w->graveyard = c;
    w->n_conns--;
}

static void bury(struct rx_worker *w)
{
    while (w->graveyard) {
        struct rx_conn *c = w->graveyard;
        w->graveyard = c->next;
        rx_conf_unref(c->conf);
        if (!c->is_udp && w->n_spare < SPARE_CONNS) {
            c->next = w->spare_conns;
            w->spare_conns = c;
            w->n_spare++;
        } else {
            free(c);
        }
    }
}

static void free_retired(struct rx_worker *w);

static void worker_on_tidy(struct ev_loop *loop, ev_prepare *p, int events)
{
    (void)events;
    struct rx_worker *w = RX_CONTAINER(p, struct rx_worker, tidy);
    rx_weld_flush(w);
    bury(w);
    if (w->hook_line)
        rx_hook_tidy(w->hook_line);
    if (RX_UNLIKELY(w->n_retired))
        free_retired(w);
    rx_access_flush(w);
    if (w->is_draining && !w->n_conns)
        ev_break(loop, EVBREAK_ALL);
    rx_pulse_beat(&w->pulse); // asleep
}

static void worker_on_waking(struct ev_loop *loop, ev_check *c, int events)
{
    (void)loop, (void)events;
    rx_pulse_beat(&RX_CONTAINER(c, struct rx_worker, waking)->pulse);
}

static void pulse_limit(struct rx_worker *w)
{
    atomic_store_explicit(&w->pulse.limit_ms, rx_watchdog_limit_ms(w->conf->script_budget_ms), memory_order_relaxed);
}

// Time zones change on whole minutes.
uint32_t rx_worker_week_minute(struct rx_worker *w)
{
    uint64_t now_s = (uint64_t)ev_now(w->loop), minute = now_s / 60;
    if (minute != w->minute) {
        w->minute = minute;
        w->week_minute = rx_week_minute((time_t)now_s);
    }
    return w->week_minute;
}

static void worker_on_deadline(struct rx_wheel_node *n)
{
    struct rx_conn *c = RX_CONTAINER(n, struct rx_conn, deadline);
    switch ((enum rx_room)c->room) {
    case RX_ROOM_PEEK:
        if (c->is_udp)
            rx_udp_on_deadline(c);
        else
            rx_peek_on_deadline(c);
        return;
    case RX_ROOM_CONNECT:
        rx_connect_on_deadline(c);
        return;
    case RX_ROOM_WELD:
        rx_weld_on_deadline(c);
        return;
    case RX_ROOM_ANSWER:
        rx_answer_on_deadline(c);
        return;
    case RX_ROOM_FLOW:
        rx_udp_on_deadline(c);
        return;
    case RX_ROOM_DEAD:
        return;
    }
}

static void listener_free(struct rx_listener *l)
{
    ev_io_stop(l->worker->loop, &l->io);
    ev_timer_stop(l->worker->loop, &l->retry);
    if (l->io.fd >= 0)
        close(l->io.fd);
    if (l->is_retired)
        rx_bind_linger_end(&l->linger);
    free(l);
}

// A UDP socket serves its flows to their end; it only takes no new ones.
static void listener_leave(struct rx_listener *l)
{
    struct rx_worker *w = l->worker;
    struct rx_listener **list = l->n_flows ? realloc(w->retired, (w->n_retired + 1) * sizeof *list) : NULL;
    if (!list) {
        rx_udp_leave(l);
        listener_free(l);
        return;
    }
    l->is_retired = true;
    l->linger.addr = l->addr;
    rx_bind_linger(&l->linger);
    w->retired = list;
    list[w->n_retired++] = l;
}

static void free_retired(struct rx_worker *w)
{
    for (unsigned i = 0; i < w->n_retired;)
        if (w->retired[i]->n_flows) {
            i++;
        } else {
            listener_free(w->retired[i]);
            w->retired[i] = w->retired[--w->n_retired];
        }
}

static void stop_listening(struct rx_worker *w)
{
    while (w->n_listeners)
        listener_leave(w->listeners[--w->n_listeners]);
}

// Extras follow the one found: their order is not that of the addresses.
static struct rx_listener *listener_at(struct rx_worker *w, const struct rx_bind *wanted)
{
    for (unsigned i = 0; i < w->n_listeners; i++)
        if (!w->listeners[i]->is_kept && !w->listeners[i]->is_extra && w->listeners[i]->is_udp == wanted->is_udp &&
            rx_addr_equal(&w->listeners[i]->wanted.sa, &wanted->addr.sa))
            return w->listeners[i];
    return NULL;
}

static void end_trial(struct rx_worker *w)
{
    for (unsigned i = 0; i < w->n_listeners; i++)
        w->listeners[i]->trial = NULL;
    rx_conf_unref(w->trial);
    w->trial = NULL;
}

// Sockets stay as they are: the trial serves those of its addresses that are there.
static void begin_trial(struct rx_worker *w, const struct rx_swap *s)
{
    end_trial(w);
    for (unsigned i = 0; i < s->n; i++) {
        struct rx_listener *l = listener_at(w, s->items[i].bind);
        if (l) {
            l->trial = s->items[i].listen;
            l->is_kept = true;
        }
    }
    for (unsigned i = 0; i < w->n_listeners; i++)
        w->listeners[i]->is_kept = false;
    w->trial = s->conf;
    w->trial_turn = (w->index + 1) * 0x9e3779b9u; // workers take turns, too
    for (int k = 0; k < 2; k++)
        for (int m = 0; m < RX_MEASURES; m++) {
            atomic_store_explicit(&w->tally[k].tried[m], 0, memory_order_relaxed);
            atomic_store_explicit(&w->tally[k].failed[m], 0, memory_order_relaxed);
        }
}

bool rx_worker_is_trials_turn(struct rx_worker *w)
{
    uint32_t before = w->trial_turn;
    w->trial_turn += w->trial->canary_share;
    return w->trial_turn < before;
}

void rx_worker_count(struct rx_worker *w, const struct rx_conf *conf, enum rx_measure m, bool is_failure)
{
    if (conf == w->conf || conf == w->trial) // not an older one
        rx_stat_add(is_failure ? &w->tally[conf == w->trial].failed[m] : &w->tally[conf == w->trial].tried[m], 1);
}

static void keep_extras(struct rx_worker *w, const struct rx_listener *first)
{
    for (unsigned i = 0; i < w->n_listeners; i++) {
        struct rx_listener *l = w->listeners[i];
        if (l->is_extra && l->is_udp == first->is_udp && rx_addr_equal(&l->addr.sa, &first->addr.sa)) {
            l->listen = first->listen;
            l->is_kept = true;
        }
    }
}

// An edit may change the options of a socket that stays.
static void change_options(struct rx_listener *l, const struct rx_door_opt *opt)
{
    const char *what = "";
    if (!rx_sockopt_is_same(&l->listen->opt, opt) &&
        rx_sockopt_change(l->io.fd, l->addr.sa.sa_family, l->is_udp, opt, &what))
        rx_log_limited(RX_LOG_ERROR, "%s: %s%s", what, strerror(errno), rx_sockopt_hint(errno));
}

// An address that is served again gets back the sockets that its flows still have; else the kernel would send clients to them
// whom they turn away. False: the new socket is needed.
static bool listener_return(struct rx_worker *w, const struct rx_swap_item *item)
{
    bool has_own = false;
    const char *what = "";
    for (unsigned i = 0; i < w->n_retired && item->bind->is_udp;) {
        struct rx_listener *l = w->retired[i];
        struct rx_listener **list = rx_addr_equal(&l->addr.sa, &item->bind->bound.sa)
                                        ? realloc(w->listeners, (w->n_listeners + 1) * sizeof *list)
                                        : NULL;
        if (!list) {
            i++;
            continue;
        }
        w->listeners = list;
        list[w->n_listeners++] = l;
        w->retired[i] = w->retired[--w->n_retired];
        rx_bind_linger_end(&l->linger);
        l->is_retired = false;
        l->is_kept = true;
        l->listen = item->listen;
        l->wanted = item->bind->addr;
        if (rx_sockopt_change(l->io.fd, l->addr.sa.sa_family, true, &item->listen->opt, &what))
            rx_log_limited(RX_LOG_ERROR, "%s: %s%s", what, strerror(errno), rx_sockopt_hint(errno));
        has_own |= !l->is_extra;
    }
    return has_own;
}

// From here on new connections get the new generation; the living keep the one they were routed by.
static void worker_take(struct rx_worker *w, const struct rx_swap *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        struct rx_listener *l = s->items[i].fd < 0 ? listener_at(w, s->items[i].bind) : NULL;
        if (l) {
            change_options(l, &s->items[i].listen->opt);
            l->listen = s->items[i].listen;
            l->is_kept = true;
            keep_extras(w, l);
        } else if (s->items[i].fd >= 0) {
            if (listener_return(w, &s->items[i]))
                close(s->items[i].fd);
            else if (rx_worker_listen(w, s->items[i].listen, s->items[i].bind, s->items[i].fd))
                close(s->items[i].fd);
            else
                w->listeners[w->n_listeners - 1]->is_kept = true;
        }
    }
    for (unsigned i = 0; i < w->n_listeners;) {
        struct rx_listener *l = w->listeners[i];
        if (l->is_kept) {
            l->is_kept = false;
            i++;
        } else {
            w->listeners[i] = w->listeners[--w->n_listeners];
            listener_leave(l);
        }
    }
    rx_conf_unref(w->conf);
    w->conf = s->conf;
    pulse_limit(w);
}

static void worker_swap(struct rx_worker *w, struct rx_swap *s)
{
    switch (s->kind) {
    case RX_SWAP_SERVE:
        end_trial(w);
        worker_take(w, s);
        break;
    case RX_SWAP_TRY:
        begin_trial(w, s);
        break;
    case RX_SWAP_END:
        end_trial(w);
        break;
    }
    atomic_fetch_sub(s->n_left, 1);
    free(s);
}

static void swap_free(struct rx_swap *s)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->items[i].fd >= 0)
            close(s->items[i].fd);
    rx_conf_unref(s->conf);
    atomic_fetch_sub(s->n_left, 1);
    free(s);
}

// However many are banned, or put out of their sessions, in a moment, the living are walked once for them all.
static void worker_on_turn_out(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct rx_worker *w = RX_CONTAINER(t, struct rx_worker, turn_out);
    for (struct rx_conn *c = w->living.next, *next; c != &w->living; c = next) {
        next = c->next;
        if (c->seat && atomic_load_explicit(&c->seat->is_out, memory_order_acquire) && !c->route->sessions->is_dry)
            rx_close(c, RX_REASON_SESSION_TAKEN);
        else if (rx_ban_has(&c->client))
            rx_close(c, RX_REASON_BANNED);
    }
}

void rx_worker_leave(struct rx_worker *w)
{
    if (w->is_draining)
        return;
    w->is_draining = true;
    stop_listening(w);
    // Who has said nothing yet has nothing to lose, and who is held in a tarpit nothing to wait for.
    for (struct rx_conn *c = w->living.next, *next; c != &w->living; c = next) {
        next = c->next;
        if (c->is_udp)
            rx_udp_on_deadline(c); // rests less long from now on
        else if ((c->room == RX_ROOM_PEEK && !c->head_len) || (c->room == RX_ROOM_ANSWER && !c->answer))
            rx_close(c, RX_REASON_SHUTDOWN);
    }
}

static void worker_on_wake(struct ev_loop *loop, ev_async *a, int events)
{
    (void)events;
    struct rx_worker *w = RX_CONTAINER(a, struct rx_worker, wake);
    unsigned orders = atomic_exchange(&w->orders, 0);
    struct rx_swap *swap = atomic_exchange(&w->swap, NULL);
    if (swap && w->is_draining)
        swap_free(swap);
    else if (swap)
        worker_swap(w, swap);
    rx_errand_run(w);
    if (orders & RX_ORDER_BANS && !ev_is_active(&w->turn_out)) {
        ev_timer_set(&w->turn_out, TURN_OUT_MS / 1000.0, 0.);
        ev_timer_start(loop, &w->turn_out);
    }
    if (orders & (RX_ORDER_DRAIN | RX_ORDER_STOP))
        rx_worker_leave(w);
    if (orders & RX_ORDER_STOP)
        while (w->living.next != &w->living)
            rx_close(w->living.next, RX_REASON_SHUTDOWN);
}

static void listener_on_retry(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)events;
    struct rx_listener *l = RX_CONTAINER(t, struct rx_listener, retry);
    if (l->worker->spare_fd < 0)
        l->worker->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ev_io_start(loop, &l->io);
}

int rx_worker_init(struct rx_worker *w, unsigned index, struct rx_conf *conf, atomic_uint *active,
                   atomic_uint *sessions)
{
    memset(w, 0, sizeof *w);
    w->index = index;
    w->active = active;
    w->sessions = sessions;
    w->conf = conf;
    rx_conf_ref(conf);
    w->living.next = w->living.prev = &w->living;
    if (getrandom(&w->dice, sizeof w->dice, 0) != sizeof w->dice)
        w->dice = rx_sys_now_ns() + index;
    w->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    w->buffer = malloc(RX_WORKER_BUFFER);
    w->scratch = malloc(RX_SCRATCH_SIZE);
    w->outbox.bytes = malloc(RX_WORKER_BUFFER);
    w->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (!w->loop || !w->buffer || !w->scratch || !w->outbox.bytes)
        return -ENOMEM;
    if (rx_access_is_on())
        w->also_want = ~0u;
    rx_pipes_init(&w->pipes, 1024);
    rx_wheel_init(&w->wheel, w->loop, worker_on_deadline);
    ev_async_init(&w->wake, worker_on_wake);
    ev_async_start(w->loop, &w->wake);
    ev_prepare_init(&w->tidy, worker_on_tidy);
    ev_prepare_start(w->loop, &w->tidy);
    ev_check_init(&w->waking, worker_on_waking);
    ev_set_priority(&w->waking, EV_MAXPRI); // before what woke it
    ev_check_start(w->loop, &w->waking);
    pulse_limit(w);
    ev_timer_init(&w->turn_out, worker_on_turn_out, 0., 0.);
    return 0;
}

int rx_worker_listen(struct rx_worker *w, const struct rx_listen *listen, const struct rx_bind *bind, int fd)
{
    struct rx_listener **list = realloc(w->listeners, (w->n_listeners + 1) * sizeof *list);
    struct rx_listener *l = calloc(1, sizeof *l);
    if (list)
        w->listeners = list;
    if (!list || !l || (bind->is_udp && !w->udp && rx_udp_init(w))) {
        free(l);
        return -ENOMEM;
    }
    list[w->n_listeners++] = l;
    l->worker = w;
    l->listen = listen;
    l->wanted = l->addr = bind->addr;
    socklen_t len = sizeof l->addr.v6;
    if (bind->addr.sa.sa_family != AF_UNIX)
        getsockname(fd, &l->addr.sa, &len); // port 0 has become a real one
    l->is_unix = bind->addr.sa.sa_family == AF_UNIX;
    l->is_udp = bind->is_udp;
    l->wants_to = bind->is_udp && rx_addr_is_any(&bind->addr);
    ev_io_init(&l->io, bind->is_udp ? rx_udp_on_readable : rx_accept_on_readable, fd, EV_READ);
    ev_timer_init(&l->retry, listener_on_retry, 0., 0.);
    if (w->is_running)
        ev_io_start(w->loop, &l->io);
    return 0;
}

static void *run(void *arg)
{
    struct rx_worker *w = arg;
    w->is_running = true;
    rx_script_show(&w->pulse);
    for (unsigned i = 0; i < w->n_listeners; i++)
        ev_io_start(w->loop, &w->listeners[i]->io);
    ev_run(w->loop, 0);
    return NULL;
}

int rx_worker_start(struct rx_worker *w)
{
    int rc = pthread_create(&w->thread, NULL, run, w);
    if (rc)
        return -rc;
    char name[16] = "rx-worker";
    pthread_setname_np(w->thread, name);
    return 0;
}

void rx_worker_swap(struct rx_worker *w, struct rx_swap *s)
{
    atomic_store(&w->swap, s);
    ev_async_send(w->loop, &w->wake);
}

void rx_worker_order(struct rx_worker *w, enum rx_order order)
{
    atomic_fetch_or(&w->orders, order);
    ev_async_send(w->loop, &w->wake);
}

void rx_worker_join(struct rx_worker *w)
{
    pthread_join(w->thread, NULL);
}

void rx_worker_fini(struct rx_worker *w)
{
    if (w->loop) {
        stop_listening(w);
        rx_mirror_end_all(w);
        rx_access_flush(w);
        bury(w);
        free_retired(w);
        rx_pit_free(w);
        rx_wheel_fini(&w->wheel);
        ev_loop_destroy(w->loop);
    }
    rx_pipes_fini(&w->pipes);
    while (w->spare_conns) {
        struct rx_conn *c = w->spare_conns;
        w->spare_conns = c->next;
        free(c);
    }
    if (w->spare_fd >= 0)
        close(w->spare_fd);
    rx_udp_fini(w);
    free(w->listeners);
    free(w->retired);
    free(w->log_buf);
    free(w->buffer);
    free(w->scratch);
    free(w->outbox.bytes);
    struct rx_swap *late = atomic_exchange(&w->swap, NULL);
    if (late)
        swap_free(late);
    rx_conf_unref(w->trial);
    rx_conf_unref(w->conf);
}
