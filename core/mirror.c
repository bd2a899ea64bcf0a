// SPDX-License-Identifier: MIT
// Enters: a connection that is being welded, on a route with `mirror`. Leaves: its client's bytes at a second backend.
//
// Invariants
//  * What the mirror has not taken lies in one pipe, in order: written there when the flow copies, tee'd when it
//    splices. The pipe's size is the bound; what does not fit ends the mirroring of that connection.
//  * Nothing here closes or delays the connection: every call is non-blocking.
//  * When the connection has closed, the mirror leaves by itself: it is sent the rest, half-closed, and read to its
//    end, for at most LEAVE_S.
#include "mirror.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "pipe.h"
#include "sys.h"
#include "worker.h"

enum { LEAVE_S = 5, LEAVING_MAX = 256, TURNS = 4 };

struct rx_mirror {
    ev_io io; // io.fd: the socket; owned
    ev_timer timer;
    struct rx_worker *worker;
    struct rx_conn *conn; // NULL: leaving
    struct rx_conf *conf; // ref, for the name
    struct rx_roster *roster; // ref, for the name
    const char *name;     // of the backend
    int pipe[2];          // owned
    size_t in_pipe;
    bool is_connected, is_finished, is_shut, is_deaf;
    struct rx_mirror *next, **at; // in the worker's list of those that leave
};

static void mirror_free(struct rx_mirror *m)
{
    ev_io_stop(m->worker->loop, &m->io);
    ev_timer_stop(m->worker->loop, &m->timer);
    if (m->conn) {
        m->conn->mirror = NULL;
    } else {
        *m->at = m->next;
        if (m->next)
            m->next->at = m->at;
        m->worker->n_leaving--;
    }
    if (m->io.fd >= 0)
        close(m->io.fd);
    if (m->pipe[0] >= 0) {
        close(m->pipe[0]);
        close(m->pipe[1]);
    }
    rx_roster_unref(m->roster);
    rx_conf_unref(m->conf);
    free(m);
}

static void give_up(struct rx_mirror *m, const char *why, size_t lost)
{
    struct rx_stat *stat = &m->worker->stat;
    rx_stat_add(&stat->mirrors_given_up, 1);
    rx_stat_add(&stat->mirror_lost, lost + m->in_pipe);
    rx_log_limited(RX_LOG_WARN, "mirror %s: %s; given up for this connection", m->name, why);
    mirror_free(m);
}

static void watch(struct rx_mirror *m)
{
    int events = (m->is_deaf ? 0 : EV_READ) | (m->in_pipe || !m->is_connected ? EV_WRITE : 0);
    if (ev_is_active(&m->io) && (m->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(m->worker->loop, &m->io);
    ev_io_set(&m->io, m->io.fd, events);
    if (events)
        ev_io_start(m->worker->loop, &m->io);
}

// Sends what the pipe holds. False: the mirror is gone.
static bool flush(struct rx_mirror *m)
{
    while (m->is_connected && m->in_pipe) {
        size_t n;
        enum rx_io io = rx_sys_splice(m->pipe[0], m->io.fd, m->in_pipe, &n);
        if (io == RX_IO_AGAIN)
            break;
        if (io != RX_IO_DONE) {
            give_up(m, io == RX_IO_FAIL ? strerror(errno) : "its pipe fell short", 0);
            return false;
        }
        m->in_pipe -= n;
        rx_stat_add(&m->worker->stat.mirrored, n);
    }
    if (m->is_finished && m->is_connected && !m->in_pipe && !m->is_shut) {
        m->is_shut = true;
        shutdown(m->io.fd, SHUT_WR);
    }
    if (!m->conn && m->is_shut && m->is_deaf) { // all is said, on both sides
        mirror_free(m);
        return false;
    }
    watch(m);
    return true;
}

// Its answers are for nobody. False: the mirror is gone.
static bool discard(struct rx_mirror *m)
{
    for (int turn = 0; turn < TURNS; turn++) {
        size_t n;
        switch (rx_sys_recv(m->io.fd, m->worker->buffer, RX_WORKER_BUFFER, &n)) {
        case RX_IO_DONE:
            break;
        case RX_IO_AGAIN:
            return true;
        case RX_IO_EOF:
            m->is_deaf = true;
            return true;
        case RX_IO_FAIL:
            give_up(m, strerror(errno), 0);
            return false;
        }
    }
    return true;
}

static void mirror_on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct rx_mirror *m = RX_CONTAINER(io, struct rx_mirror, io);
    if (RX_UNLIKELY(events & EV_ERROR)) {
        give_up(m, strerror(ENOMEM), 0);
        return;
    }
    if (!m->is_connected) {
        int err = rx_sys_take_error(io->fd);
        if (err) {
            give_up(m, strerror(err), 0);
            return;
        }
        m->is_connected = true;
        if (m->conn)
            ev_timer_stop(loop, &m->timer);
    }
    if (events & EV_READ && !discard(m))
        return;
    flush(m);
}

static void mirror_on_timer(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct rx_mirror *m = RX_CONTAINER(t, struct rx_mirror, timer);
    if (m->is_connected && !m->in_pipe)
        mirror_free(m); // it had everything, and goes on answering
    else
        give_up(m, m->is_connected ? "too slow" : "does not answer", 0);
}

static bool open_pipe(struct rx_mirror *m)
{
    if (pipe2(m->pipe, O_CLOEXEC | O_NONBLOCK))
        return false;
    for (int size = RX_PIPE_SIZE; size >= RX_PIPE_SIZE / 16; size /= 2)
        if (fcntl(m->pipe[1], F_SETPIPE_SZ, size) != -1)
            break;
    return true;
}

// One of the mirror's backends; NULL: there is none now. *roster is referenced in any case.
static const struct rx_backend *choose(struct rx_conn *c, struct rx_roster **roster)
{
    const struct rx_pool *pool = c->route->mirror.pool;
    struct rx_dice dice = { .cursor = atomic_fetch_add_explicit(&pool->live->cursor, 1, memory_order_relaxed),
                            .random = rx_worker_roll(c->worker),
                            .key = rx_client_key(pool->balance, &c->client),
                            .now_ms = rx_now_ms(),
                            .first = -1 };
    *roster = rx_roster_take(pool);
    return rx_pick(*roster, &dice, NULL);
}

void rx_mirror_begin(struct rx_conn *c)
{
    struct rx_roster *roster;
    const struct rx_backend *b = choose(c, &roster);
    struct rx_mirror *m = b ? calloc(1, sizeof *m) : NULL;
    if (!m) {
        rx_roster_unref(roster);
        rx_stat_add(&c->worker->stat.mirrors_given_up, 1);
        return;
    }
    m->worker = c->worker;
    m->conn = c;
    m->conf = c->conf;
    rx_conf_ref(m->conf);
    m->roster = roster;
    m->name = b->name;
    m->pipe[0] = m->pipe[1] = -1;
    ev_io_init(&m->io, mirror_on_io, -1, 0);
    ev_timer_init(&m->timer, mirror_on_timer, c->route->connect_ms / 1000.0, 0.);
    c->mirror = m;
    if (open_pipe(m))
        m->io.fd = rx_connect_dial(c->route->mirror.pool, b, SOCK_STREAM, NULL, &m->is_connected);
    if (m->io.fd == -1) {
        give_up(m, strerror(errno), 0);
        return;
    }
    if (!m->is_connected)
        ev_timer_start(c->worker->loop, &m->timer);
    watch(m);
}

void rx_mirror_data(struct rx_conn *c, const uint8_t *bytes, size_t n)
{
    struct rx_mirror *m = c->mirror;
    size_t sent = 0;
    if (!n)
        return;
    if (m->is_connected && !m->in_pipe && rx_sys_send(m->io.fd, bytes, n, &sent) == RX_IO_FAIL) {
        give_up(m, strerror(errno), n);
        return;
    }
    rx_stat_add(&c->worker->stat.mirrored, sent);
    if (sent == n)
        return;
    ssize_t k = write(m->pipe[1], bytes + sent, n - sent);
    m->in_pipe += (size_t)RX_MAX(k, (ssize_t)0);
    if (k < (ssize_t)(n - sent)) {
        give_up(m, "too slow", n - sent - (size_t)RX_MAX(k, (ssize_t)0));
        return;
    }
    watch(m);
}

void rx_mirror_tee(struct rx_conn *c, size_t n)
{
    struct rx_mirror *m = c->mirror;
    ssize_t k = tee(c->dir[RX_TO_SERVER].pipe[0], m->pipe[1], n, SPLICE_F_NONBLOCK);
    m->in_pipe += (size_t)RX_MAX(k, (ssize_t)0);
    if (k < (ssize_t)n)
        give_up(m, "too slow", n - (size_t)RX_MAX(k, (ssize_t)0));
    else
        flush(m);
}

void rx_mirror_finish(struct rx_conn *c)
{
    c->mirror->is_finished = true;
    flush(c->mirror);
}

void rx_mirror_end(struct rx_conn *c)
{
    struct rx_mirror *m = c->mirror;
    struct rx_worker *w = c->worker;
    if (w->n_leaving >= LEAVING_MAX) {
        mirror_free(m);
        return;
    }
    c->mirror = NULL;
    m->conn = NULL;
    m->next = w->leaving;
    m->at = &w->leaving;
    if (m->next)
        m->next->at = &m->next;
    w->leaving = m;
    w->n_leaving++;
    ev_timer_stop(w->loop, &m->timer);
    ev_timer_set(&m->timer, (double)LEAVE_S, 0.);
    ev_timer_start(w->loop, &m->timer);
    m->is_finished = true;
    flush(m);
}

void rx_mirror_end_all(struct rx_worker *w)
{
    while (w->leaving)
        mirror_free(w->leaving);
}

// ---- UDP --------------------------------------------------------------------------------------------------------------

struct rx_mirror_udp {
    struct rx_worker *worker; // borrowed: outlives the flow
    int fd;                   // owned
};

struct rx_mirror_udp *rx_mirror_udp_open(struct rx_conn *c)
{
    struct rx_roster *roster;
    const struct rx_backend *b = choose(c, &roster);
    struct rx_mirror_udp *m = b ? malloc(sizeof *m) : NULL;
    bool is_connected;
    int least = 1; // its answers are dropped by the kernel: there is no room for them
    if (m) {
        *m = (struct rx_mirror_udp){ .worker = c->worker };
        m->fd = rx_connect_dial(c->route->mirror.pool, b, SOCK_DGRAM, NULL, &is_connected);
        if (m->fd < 0) {
            rx_log_limited(RX_LOG_WARN, "mirror %s: %s; given up for this flow", b->name, strerror(errno));
            free(m);
            m = NULL;
        } else {
            setsockopt(m->fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
        }
    }
    if (!m)
        rx_stat_add(&c->worker->stat.mirrors_given_up, 1);
    rx_roster_unref(roster);
    return m;
}

void rx_mirror_udp_send(struct rx_mirror_udp *m, const uint8_t *p, size_t n)
{
    ssize_t rc = send(m->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (rc == -1 && errno == ECONNREFUSED) // an earlier one's answer, told now in the place of sending
        rc = send(m->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    rx_stat_add(rc == -1 ? &m->worker->stat.mirror_lost : &m->worker->stat.mirrored, n);
}

void rx_mirror_udp_free(struct rx_mirror_udp *m)
{
    close(m->fd);
    free(m);
}
