// SPDX-License-Identifier: MIT
// Enters: workers at work, and a new process that is ready. Leaves: their connections there, or here as before.
// A worker waits on its own thread, within an errand, until it is known which: so nothing of it moves meanwhile, and to go
// on it has only to return. The engine waits for the workers and for the new process, never longer than RX_UPGRADE_HAND_MS.
//
// Whether the new process has them is told by one message alone, HAVE. When it does not come in time the new process is
// ended first and the message looked for once more: either it never came to life, or it has everything.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin.h"
#include "handover.h"
#include "http.h"
#include "log.h"
#include "upgrade.h"
#include "upgrade_wire.h"

// ---- listening sockets ----------------------------------------------------------------------------------------------

static struct rx_upgrade_msg listener_message(const struct rx_addr *wanted, bool is_udp, const struct rx_bind *file)
{
    struct rx_upgrade_msg m = { .kind = RX_UPGRADE_LISTENER, .a = is_udp, .len = sizeof *wanted };
    memcpy(m.data, wanted, sizeof *wanted);
    m.c = file ? file->file.device : 0;
    m.d = file ? file->file.inode : 0;
    return m;
}

static const struct rx_bind *bind_of(const struct rx_conf *conf, const struct rx_listener *l)
{
    for (uint32_t i = 0; i < conf->n_listens; i++)
        for (uint32_t k = 0; k < conf->listens[i]->n_binds; k++) {
            const struct rx_bind *b = &conf->listens[i]->binds[k];
            if (b->is_udp == l->is_udp && rx_addr_equal(&b->addr.sa, &l->wanted.sa))
                return b;
        }
    return NULL;
}

static bool is_same_socket(const struct rx_listener *a, const struct rx_listener *b)
{
    return a->is_udp == b->is_udp && rx_addr_equal(&a->wanted.sa, &b->wanted.sa) &&
           rx_addr_equal(&a->addr.sa, &b->addr.sa);
}

// Whether none of the listeners before it is of its address.
static bool is_first(const struct rx_worker *workers, unsigned n, const struct rx_listener *l)
{
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < workers[i].n_listeners; k++) {
            const struct rx_listener *other = workers[i].listeners[k];
            if (other == l)
                return true;
            if (is_same_socket(other, l))
                return false;
        }
    return true;
}

// Those of one address, of all workers, numbered in their order. A unix socket is one, however many have it.
static int give_address(struct rx_upgrade *u, const struct rx_listener *first, uint64_t until_ms)
{
    const struct rx_instance *about = u->about;
    struct rx_upgrade_msg m = listener_message(&first->wanted, first->is_udp, bind_of(about->reload->conf, first));
    int fds[RX_UPGRADE_FDS], rc = 0;
    unsigned n = 0, slot = 0;
    for (unsigned i = 0; i < about->n_workers && !rc; i++)
        for (unsigned k = 0; k < about->workers[i].n_listeners && !rc; k++) {
            struct rx_listener *l = about->workers[i].listeners[k];
            if (!is_same_socket(l, first) || (l->is_unix && slot))
                continue;
            l->slot = slot++;
            fds[n++] = l->io.fd;
            if (n < RX_UPGRADE_FDS)
                continue;
            rc = rx_upgrade_send(u->fd, &m, fds, n, until_ms);
            m.b = slot;
            n = 0;
        }
    return rc || !n ? rc : rx_upgrade_send(u->fd, &m, fds, n, until_ms);
}

static int give_one(struct rx_upgrade *u, const struct rx_bind *b, int fd, uint64_t until_ms)
{
    struct rx_upgrade_msg m = listener_message(&b->addr, false, b);
    return fd < 0 ? 0 : rx_upgrade_send(u->fd, &m, &fd, 1, until_ms);
}

int rx_upgrade_give_sockets(struct rx_upgrade *u, uint64_t until_ms)
{
    const struct rx_instance *about = u->about;
    struct rx_upgrade_msg m = { .kind = RX_UPGRADE_LISTENED };
    struct rx_bind bind;
    int rc = 0, fd;
    for (unsigned i = 0; i < about->n_workers && !rc; i++)
        for (unsigned k = 0; k < about->workers[i].n_listeners && !rc; k++)
            if (is_first(about->workers, about->n_workers, about->workers[i].listeners[k]))
                rc = give_address(u, about->workers[i].listeners[k], until_ms);
    if (!rc && u->admin && (fd = rx_admin_socket(u->admin, &bind)) >= 0)
        rc = give_one(u, &bind, fd, until_ms);
    if (!rc && u->http && (fd = rx_http_socket(u->http, &bind)) >= 0)
        rc = give_one(u, &bind, fd, until_ms);
    return rc ? rc : rx_upgrade_send(u->fd, &m, NULL, 0, until_ms);
}

// ---- workers that wait ----------------------------------------------------------------------------------------------

// LOST: the new process had them, and has ended.
enum verdict { UNDECIDED = 0, GIVEN, KEPT, LOST };

struct gift {
    struct rx_errand errand;
    struct rx_giving *of;
    struct rx_handover made;
    const uint8_t *refused; // the giving's: of its connections; NULL: none was
    int error;
};

struct rx_giving {
    struct rx_upgrade *upgrade; // borrowed
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum verdict verdict; // under the lock, as is the next
    unsigned n_made;
    bool with_flows;
    uint8_t *refused;  // owned; set before the verdict
    unsigned n, n_out; // the engine's: gifts, and those that have not come back
    struct gift gifts[];
};

static enum verdict await_verdict(struct rx_giving *g)
{
    pthread_mutex_lock(&g->lock);
    g->n_made++;
    pthread_cond_broadcast(&g->changed);
    while (g->verdict == UNDECIDED)
        pthread_cond_wait(&g->changed, &g->lock);
    enum verdict v = g->verdict;
    pthread_mutex_unlock(&g->lock);
    return v;
}

// On the worker's thread.
static void gift_run(struct rx_errand *e, struct rx_worker *w)
{
    struct gift *gift = RX_CONTAINER(e, struct gift, errand);
    if (gift->of->with_flows)
        gift->error = rx_handover_make(w, &gift->made);
    else
        gift->made.n_kept = w->n_conns;
    rx_pulse_beat(&w->pulse); // as if asleep
    enum verdict v = await_verdict(gift->of);
    rx_pulse_beat(&w->pulse);
    for (unsigned i = 0; i < gift->made.n && v != KEPT; i++)
        if (v == LOST)
            rx_close(gift->made.conns[i], RX_REASON_KILLED);
        else if (!gift->refused || !gift->refused[i])
            rx_handover_let_go(gift->made.conns[i]);
    if (v == GIVEN)
        rx_worker_leave(w);
}

void rx_giving_free(struct rx_giving *g)
{
    if (!g)
        return;
    for (unsigned i = 0; i < g->n; i++)
        rx_handover_fini(&g->gifts[i].made);
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
    free(g->refused);
    free(g);
}

static void gift_done(struct rx_errand *e)
{
    struct rx_giving *g = RX_CONTAINER(e, struct gift, errand)->of;
    if (--g->n_out)
        return;
    g->upgrade->giving = NULL;
    rx_giving_free(g);
}

static struct rx_giving *giving_new(struct rx_upgrade *u, bool with_flows)
{
    unsigned n = u->about->n_workers;
    struct rx_giving *g = calloc(1, sizeof *g + n * sizeof g->gifts[0]);
    pthread_condattr_t monotonic;
    if (!g)
        return NULL;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    g->upgrade = u;
    g->with_flows = with_flows;
    g->n = g->n_out = n;
    for (unsigned i = 0; i < n; i++) {
        g->gifts[i].of = g;
        g->gifts[i].errand = (struct rx_errand){ .home = &u->home, .run = gift_run, .done = gift_done };
        rx_errand_send(&g->gifts[i].errand, &u->about->workers[i]);
    }
    return g;
}

// 0 when every worker waits.
static int await_workers(struct rx_giving *g, uint64_t until_ms)
{
    struct timespec at = { .tv_sec = (time_t)(until_ms / 1000), .tv_nsec = (long)(until_ms % 1000) * 1000000 };
    int rc = 0;
    pthread_mutex_lock(&g->lock);
    while (g->n_made < g->n && !rc)
        rc = pthread_cond_timedwait(&g->changed, &g->lock, &at);
    pthread_mutex_unlock(&g->lock);
    for (unsigned i = 0; i < g->n && !rc; i++)
        rc = -g->gifts[i].error;
    return -rc;
}

static void decide(struct rx_giving *g, enum verdict v)
{
    pthread_mutex_lock(&g->lock);
    g->verdict = v;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

// ---- their connections ----------------------------------------------------------------------------------------------

static int send_gift(struct rx_upgrade *u, const struct rx_handover *made, uint64_t until_ms)
{
    int rc = 0;
    for (unsigned at = 0, n; at < made->n_fds && !rc; at += n) {
        struct rx_upgrade_msg m = { .kind = RX_UPGRADE_CARRY };
        n = RX_MIN(made->n_fds - at, (unsigned)RX_UPGRADE_FDS);
        rc = rx_upgrade_send(u->fd, &m, made->fds + at, n, until_ms);
    }
    int memory = rc ? rc : rx_upgrade_memory(made->bytes, made->len);
    if (memory < 0)
        return memory;
    struct rx_upgrade_msg m = { .kind = RX_UPGRADE_FLOWS, .c = made->len };
    rc = rx_upgrade_send(u->fd, &m, &memory, 1, until_ms);
    close(memory);
    return rc;
}

static int send_all(struct rx_upgrade *u, const struct rx_giving *g, uint64_t until_ms)
{
    struct rx_upgrade_msg m = { .kind = RX_UPGRADE_END };
    int rc = g->with_flows ? rx_upgrade_give_state(u->about->home, u->fd, until_ms) : 0;
    for (unsigned i = 0; g->with_flows && i < g->n && !rc; i++)
        rc = send_gift(u, &g->gifts[i].made, until_ms);
    return rc ? rc : rx_upgrade_send(u->fd, &m, NULL, 0, until_ms);
}

// Which connections it did not take, a byte for each; NULL when it says something else.
static uint8_t *read_have(const struct rx_giving *g, const struct rx_upgrade_msg *m, int memory, struct rx_given *out)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < g->n; i++)
        n += g->gifts[i].made.n;
    out->n = m->c;
    out->n_refused = m->d;
    return m->c <= n && m->c + m->d == n ? rx_upgrade_recall(memory, (size_t)n) : NULL;
}

static void share_out(struct rx_giving *g)
{
    size_t at = 0;
    for (unsigned i = 0; g->refused && i < g->n; i++) {
        g->gifts[i].refused = g->refused + at;
        at += g->gifts[i].made.n;
    }
}

// 1: it has said so. 0: it never will. Negative: not yet.
static int await_have(struct rx_upgrade *u, struct rx_giving *g, uint64_t until_ms, struct rx_given *out)
{
    struct rx_upgrade_msg m;
    int fds[RX_UPGRADE_FDS], rc;
    unsigned n;
    do {
        rc = rx_upgrade_recv(u->fd, &m, fds, &n, until_ms);
        if (rc > 0 && m.kind == RX_UPGRADE_HAVE && n == 1)
            g->refused = read_have(g, &m, fds[0], out);
        for (unsigned i = 0; rc > 0 && i < n; i++)
            close(fds[i]);
    } while (rc > 0 && m.kind == RX_UPGRADE_FINDING);
    return rc > 0 && m.kind != RX_UPGRADE_HAVE ? -EPROTO : rc;
}

static enum verdict find_verdict(struct rx_upgrade *u, struct rx_giving *g, int *error, struct rx_given *out)
{
    uint64_t until = rx_now_ms() + RX_UPGRADE_HAND_MS;
    int rc = await_workers(g, until);
    if (!rc)
        rc = send_all(u, g, until);
    int said = rc ? rc : await_have(u, g, until, out);
    if (said > 0)
        return GIVEN;
    *error = said ? said : -EPIPE;
    kill(u->pid, SIGKILL); // waited for by who has started it; what it had said is still in the pair
    return !rc && await_have(u, g, rx_now_ms() + RX_UPGRADE_HAND_MS, out) > 0 ? LOST : KEPT;
}

int rx_upgrade_give_all(struct rx_upgrade *u, bool with_flows, struct rx_given *out)
{
    int rc = 0;
    struct rx_giving *g = u->giving = giving_new(u, with_flows);
    if (!g)
        return -ENOMEM;
    enum verdict v = find_verdict(u, g, &rc, out);
    out->is_changed = v == GIVEN;
    for (unsigned i = 0; i < g->n; i++)
        out->n_kept += g->gifts[i].made.n_kept;
    share_out(g);
    decide(g, v);
    return rc;
}
