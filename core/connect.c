// SPDX-License-Identifier: MIT
// Room CONNECT: waits for a backend to take the connection.
// Enters: a pool and the first bytes. Leaves: to WELD with a connected backend, or closed when none is left.
// The head is sent right after connect(): on a local network the handshake is over by then, which saves a turn of
// the loop and two epoll calls. A backend that refuses, resets or does not answer within connect_timeout (for all
// attempts together) is followed by the next; this file owns that loop.
// Also here, for PEEK: the backend of an eager route, reached before the client has spoken.
// Once a backend may have seen a byte, no other ever sees it: the kernel takes bytes for a socket only when its
// handshake is over (TCP fast open is not used), and a send that took any ends this room.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dial.h"
#include "log.h"
#include "proxied.h"
#include "roster.h"
#include "sys.h"
#include "worker.h"

static void connect_on_writable(struct ev_loop *loop, ev_io *io, int events);

static const struct rx_route *route_of(const struct rx_conn *c)
{
    return c->early ? c->early : c->route;
}

static void let_go(struct rx_conn *c)
{
    if (c->backend)
        rx_backend_leave(c->backend->state);
    c->backend = NULL;
    c->is_probe = false;
    rx_conn_watch(c, RX_SERVER, 0);
    if (c->ends[RX_SERVER].io.fd >= 0)
        close(c->ends[RX_SERVER].io.fd);
    c->ends[RX_SERVER].io.fd = -1;
}

void rx_connect_forget(struct rx_conn *c)
{
    if (c->backend)
        rx_backend_leave(c->backend->state);
    free(c->tried);
    c->backend = NULL;
    c->tried = NULL;
    rx_roster_unref(c->roster);
    c->roster = NULL;
}

// 0, or -ENOMEM: what was tried cannot be kept in mind, so nothing more may be.
static int keep_tried(struct rx_conn *c)
{
    size_t i = (size_t)(c->backend - c->roster->backends);
    if (!c->tried && !(c->tried = calloc((c->roster->n + 63) / 64, sizeof *c->tried)))
        return -ENOMEM;
    c->tried[i / 64] |= 1ull << i % 64;
    return 0;
}

bool rx_connect_failed(struct rx_conn *c, int err)
{
    const struct rx_backend *b = c->backend;
    rx_worker_failed(c, RX_MEASURE_CONNECT);
    rx_log_limited(RX_LOG_WARN, "backend %s: %s", b->name, strerror(err));
    if (c->pool) // else one of another process's config: nobody is sent there
        rx_backend_failed(b->state, &c->pool->eject, c->is_probe, err, rx_now_ms(), (uint32_t)rx_worker_roll(c->worker));
    int rc = keep_tried(c);
    let_go(c);
    rx_stat_add(&c->worker->stat.retries, 1);
    c->attempt++;
    if (rc)
        rx_close(c, RX_REASON_NO_MEMORY);
    return !rc;
}

enum outcome { CONNECTED, WAITING, FAILED };

// Keeps what a backend has not taken yet of a PROXY header, and the head behind it: weld sends both.
static int keep_preface(struct rx_conn *c, const uint8_t *preface, size_t n, const uint8_t *head, uint32_t len)
{
    struct rx_dir *d = &c->dir[RX_TO_SERVER];
    d->rest = malloc(n + len);
    if (!d->rest)
        return -1; // errno: ENOMEM
    memcpy(d->rest, preface, n);
    if (len)
        memcpy(d->rest + n, head, len);
    d->rest_at = 0;
    d->rest_len = (uint32_t)n + len;
    return 0;
}

// As send_head, behind a PROXY header, which is written anew for each backend. It goes even when there is no head.
static RX_COLD enum outcome send_behind_header(struct rx_conn *c, bool is_connected, const uint8_t *head, uint32_t len,
                                               uint32_t *sent)
{
    uint8_t preface[RX_PROXY_OUT_MAX];
    const struct rx_proxied_head first = { .p = head, .len = len };
    size_t size = rx_proxied_say(c, &first, preface), n = 0;
    *sent = 0;
    switch (rx_sys_send_two(c->ends[RX_SERVER].io.fd, preface, size, head, len, &n)) {
    case RX_IO_DONE:
        break;
    case RX_IO_AGAIN:
        if (!is_connected)
            return WAITING;
        break;
    case RX_IO_EOF:
    case RX_IO_FAIL:
        return FAILED;
    }
    if (n >= size)
        *sent = (uint32_t)(n - size);
    else if (keep_preface(c, preface + n, size - n, head, len) == 0)
        *sent = len;
    else
        return FAILED;
    return CONNECTED;
}

// The backend took the connection, or will. *sent: how much of the head it has.
static enum outcome send_head(struct rx_conn *c, bool is_connected, const uint8_t *head, uint32_t len, uint32_t *sent)
{
    size_t n = 0;
    if (RX_UNLIKELY(rx_proxied_is_said(c)))
        return send_behind_header(c, is_connected, head, len, sent);
    *sent = 0;
    if (!len)
        return is_connected ? CONNECTED : WAITING;
    switch (rx_sys_send(c->ends[RX_SERVER].io.fd, head, len, &n)) {
    case RX_IO_DONE:
        *sent = (uint32_t)n;
        return CONNECTED;
    case RX_IO_AGAIN:
        return is_connected ? CONNECTED : WAITING;
    case RX_IO_EOF:
    case RX_IO_FAIL:
        break;
    }
    return FAILED;
}

const union rx_ip *rx_connect_as(const struct rx_conn *c)
{
    const struct rx_route *r = route_of(c);
    return r && r->is_transparent ? &c->client : NULL;
}

int rx_connect_dial(const struct rx_pool *pool, const struct rx_backend *b, int type, const union rx_ip *as,
                    bool *is_connected)
{
    struct rx_dial d = { .to = &b->addr, .name = b->name, .type = type, .as = as };
    int fd = rx_dial(pool, &d);
    *is_connected = d.is_connected;
    return fd;
}

static enum outcome open_to(struct rx_conn *c, const struct rx_backend *b, const uint8_t *head, uint32_t len,
                            uint32_t *sent)
{
    atomic_fetch_add_explicit(&b->state->connects, 1, memory_order_relaxed);
    rx_worker_tried(c, RX_MEASURE_CONNECT);
    bool is_connected;
    c->ends[RX_SERVER].io.fd = rx_connect_dial(c->pool, b, SOCK_STREAM, rx_connect_as(c), &is_connected);
    return c->ends[RX_SERVER].io.fd == -1 ? FAILED : send_head(c, is_connected, head, len, sent);
}

static uint32_t patience_ms(const struct rx_conn *c)
{
    const struct rx_route *r = route_of(c);
    return r ? r->connect_ms : c->listen->connect_ms;
}

static void all_down(struct rx_conn *c, enum rx_reason why, const uint8_t *head, uint32_t len)
{
    const struct rx_target *next = c->route ? &c->route->fallback : NULL;
    if (!next || next->kind == RX_TO_NONE || c->is_fallback_used) {
        rx_close(c, why);
        return;
    }
    c->is_fallback_used = true;
    switch (next->kind) {
    case RX_TO_POOL:
        c->turn = -1; // was for the other pool
        rx_connect_begin(c, next, head, len);
        return;
    case RX_TO_RESPOND:
    case RX_TO_DESCRIBE:
    case RX_TO_ECHO:
    case RX_TO_TARPIT:
        rx_answer_begin(c, next, NULL, head, len);
        return;
    case RX_TO_DROP:
        rx_close(c, RX_REASON_DROPPED);
        return;
    case RX_TO_REFUSE:
    case RX_TO_SCRIPT:
    case RX_TO_NONE:
        rx_close(c, why);
        return;
    }
}

static uint32_t most_tries(const struct rx_conn *c)
{
    uint32_t n = c->roster->n_known;
    return c->pool->tries ? RX_MIN(c->pool->tries, n) : n;
}

static void wait_connected(struct rx_conn *c, const uint8_t *head, uint32_t len)
{
    if (len && rx_conn_keep_head(c, head, len, len)) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    // The client may talk on or leave meanwhile; it is not watched, so that it cannot fill memory.
    rx_conn_watch(c, RX_CLIENT, 0);
    rx_conn_watch(c, RX_SERVER, EV_WRITE);
    // What is left of connect_timeout is shared out among the backends left, so that one that swallows packets
    // leaves time for the others; but a quarter at least, because far ones need some.
    uint64_t now = rx_now_ms(), left = c->until_ms > now ? c->until_ms - now : 1;
    uint32_t sharers = RX_MIN(most_tries(c) - c->attempt, 4u);
    rx_conn_deadline(c, (uint32_t)RX_MAX(left / RX_MAX(sharers, 1u), 1u));
}

static bool is_by_client(enum rx_balance b)
{
    return b == RX_BALANCE_MAGLEV || b == RX_BALANCE_SOURCE_IP || b == RX_BALANCE_SOURCE_SOCKET;
}

// Chooses and counts; NULL when none is left, with *why. A backend that was full or probed by another connection the
// moment it was to be taken shows as such to the next look.
const struct rx_backend *rx_connect_next(struct rx_conn *c, enum rx_reason *why)
{
    struct rx_dice dice = { .cursor = c->cursor,
                            .now_ms = rx_now_ms(),
                            .first = c->turn,
                            .random = rx_worker_roll(c->worker),
                            .key = is_by_client(c->roster->balance) ? rx_client_key(c->roster->balance, &c->client) : 0,
                            .tried = c->tried,
                            .is_udp = c->room == RX_ROOM_FLOW };
    bool is_full = false;
    *why = RX_REASON_BACKEND_DOWN;
    if (c->attempt && (c->attempt >= most_tries(c) || dice.now_ms >= c->until_ms))
        return NULL;
    for (;;) {
        const struct rx_backend *b = rx_pick(c->roster, &dice, &is_full);
        if (!b) {
            *why = is_full ? RX_REASON_BACKEND_FULL : RX_REASON_BACKEND_DOWN;
            return NULL;
        }
        switch (rx_backend_take(b->state, b->max_connections, dice.now_ms)) {
        case RX_TAKEN_PROBE:
            c->is_probe = true;
            return c->backend = b;
        case RX_TAKEN:
            return c->backend = b;
        case RX_TAKEN_NOT:
            break;
        }
    }
}

static void count_connected(struct rx_conn *c)
{
    uint64_t since = c->until_ms - patience_ms(c), now = rx_now_ms();
    rx_histogram_add(&c->worker->stat.connect, now > since ? now - since : 0);
    rx_backend_connected(c->backend->state, now);
    free(c->tried);
    c->tried = NULL;
}

static void connected(struct rx_conn *c, const uint8_t *head, uint32_t len, uint32_t sent)
{
    count_connected(c);
    rx_weld_begin(c, head, len, sent);
}

// Tries backends until one is connected, is on its way, or none is left.
static void try_next(struct rx_conn *c, const uint8_t *head, uint32_t len)
{
    const struct rx_backend *b;
    enum rx_reason why;
    while ((b = rx_connect_next(c, &why))) {
        uint32_t sent;
        switch (open_to(c, b, head, len, &sent)) {
        case CONNECTED:
            connected(c, head, len, sent);
            return;
        case WAITING:
            wait_connected(c, head, len);
            return;
        case FAILED:
            if (errno == EMFILE || errno == ENFILE) {
                rx_close(c, RX_REASON_NO_FDS);
                return;
            }
            if (!rx_connect_failed(c, errno))
                return;
            break;
        }
    }
    all_down(c, why, head, len);
}

static void connect_on_writable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct rx_conn *c = RX_CONTAINER(io, struct rx_conn, ends[RX_SERVER].io);
    if (RX_UNLIKELY(events & EV_ERROR)) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    int err = rx_sys_take_error(io->fd);
    uint32_t sent = 0;
    if (!err && send_head(c, true, c->head, c->head_len, &sent) != FAILED) {
        connected(c, c->head, c->head_len, sent);
        return;
    }
    if (rx_connect_failed(c, err ? err : errno))
        try_next(c, c->head, c->head_len);
}

void rx_connect_enter(struct rx_conn *c, const struct rx_pool *pool)
{
    if (!c->roster || c->pool) { // a policy took the roster it chose from; a fallback has its own
        rx_connect_forget(c);
        c->roster = rx_roster_take(pool);
    }
    c->pool = pool;
    c->attempt = 0;
    if (pool->balance <= RX_BALANCE_LEAST_CONN)
        c->cursor = atomic_fetch_add_explicit(&pool->live->cursor, 1, memory_order_relaxed);
    c->until_ms = rx_now_ms() + patience_ms(c);
}

// ---- before the client has spoken ------------------------------------------------------------------------------------
// An eager route's backend is connected to while the connection waits in PEEK, which has its deadline. What the backend
// says stays in the kernel's buffer, where the window bounds it, until the client is known to be one of this route's.
// Up to here nothing of the client's was sent but a PROXY header; so a backend that is gone by then is no loss.

static void early_on_writable(struct ev_loop *loop, ev_io *io, int events);

static void drop_backend(struct rx_conn *c)
{
    let_go(c);
    rx_connect_forget(c);
    free(c->dir[RX_TO_SERVER].rest);
    c->dir[RX_TO_SERVER].rest = NULL;
    c->dir[RX_TO_SERVER].rest_len = 0;
    c->pool = NULL;
    c->attempt = 0;
}

void rx_connect_drop_early(struct rx_conn *c)
{
    drop_backend(c);
    if (c->route != c->early)
        atomic_fetch_sub_explicit(c->early->active, 1, memory_order_relaxed);
    c->early = NULL;
}

static void early_connected(struct rx_conn *c)
{
    rx_conn_watch(c, RX_SERVER, 0);
    count_connected(c);
    if (c->dir[RX_TO_SERVER].rest) // not even a PROXY header fits: nobody to wait for
        rx_connect_drop_early(c);
}

static void early_try(struct rx_conn *c)
{
    enum rx_reason why;
    const struct rx_backend *b;
    while ((b = rx_connect_next(c, &why))) {
        uint32_t sent;
        switch (open_to(c, b, NULL, 0, &sent)) {
        case CONNECTED:
            early_connected(c);
            return;
        case WAITING:
            rx_conn_watch(c, RX_SERVER, EV_WRITE);
            return;
        case FAILED:
            if (errno == EMFILE || errno == ENFILE) {
                rx_connect_drop_early(c);
                return;
            }
            if (!rx_connect_failed(c, errno))
                return;
            break;
        }
    }
    rx_connect_drop_early(c); // they are tried anew when the client's silence is over
}

static void early_on_writable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct rx_conn *c = RX_CONTAINER(io, struct rx_conn, ends[RX_SERVER].io);
    if (RX_UNLIKELY(events & EV_ERROR)) { // nobody would tell that it is connected
        rx_connect_drop_early(c);
        return;
    }
    int err = rx_sys_take_error(io->fd);
    uint32_t sent;
    if (!err && send_head(c, true, NULL, 0, &sent) != FAILED)
        early_connected(c);
    else if (rx_connect_failed(c, err ? err : errno))
        early_try(c);
}

void rx_connect_early(struct rx_conn *c, const struct rx_route *r)
{
    if (atomic_fetch_add_explicit(r->active, 1, memory_order_relaxed) >= r->max_connections && r->max_connections) {
        atomic_fetch_sub_explicit(r->active, 1, memory_order_relaxed);
        return;
    }
    c->early = r;
    rx_connect_enter(c, r->to.pool);
    ev_set_cb(&c->ends[RX_SERVER].io, early_on_writable);
    early_try(c);
}

// The client is one of the eager route's. False: its backend is gone again.
static bool take_early(struct rx_conn *c, const uint8_t *head, uint32_t len)
{
    bool is_waiting = ev_is_active(&c->ends[RX_SERVER].io);
    c->early = NULL;
    ev_set_cb(&c->ends[RX_SERVER].io, connect_on_writable);
    if (is_waiting) {
        c->until_ms = rx_now_ms() + patience_ms(c);
        wait_connected(c, head, len);
        return true;
    }
    if (!rx_sys_is_alive(c->ends[RX_SERVER].io.fd)) {
        drop_backend(c);
        return false;
    }
    rx_weld_begin(c, head, len, 0);
    return true;
}

void rx_connect_begin(struct rx_conn *c, const struct rx_target *to, const uint8_t *head, uint32_t len)
{
    c->room = RX_ROOM_CONNECT;
    if (c->early && take_early(c, head, len))
        return;
    rx_connect_enter(c, to->pool);
    ev_set_cb(&c->ends[RX_SERVER].io, connect_on_writable);
    try_next(c, head, len);
}

void rx_connect_on_deadline(struct rx_conn *c)
{
    if (rx_connect_failed(c, ETIMEDOUT))
        try_next(c, c->head, c->head_len);
}
