// SPDX-License-Identifier: MIT
// Room CONNECT: waits for a backend to take the connection.
// Enters: a pool and the first bytes. Leaves: to WELD with a connected backend, or closed when none is left.
// The head is sent right after connect(): on a local network the handshake is over by then, which saves a turn of
// the loop and two epoll calls. A backend that refuses, resets or does not answer within connect_timeout (for all
// attempts together) is followed by the next; this file owns that loop. Once a byte was sent to a backend it is
// never sent to another.
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "sys.h"
#include "worker.h"

static void connect_on_writable(struct ev_loop *loop, ev_io *io, int events);

static void let_go(struct rx_conn *c)
{
    if (c->backend)
        atomic_fetch_sub_explicit(&c->backend->state->active, 1, memory_order_relaxed);
    c->backend = NULL;
    rx_conn_watch(c, RX_SERVER, 0);
    if (c->ends[RX_SERVER].io.fd >= 0)
        close(c->ends[RX_SERVER].io.fd);
    c->ends[RX_SERVER].io.fd = -1;
}

static void failed(struct rx_conn *c, int err)
{
    atomic_fetch_add_explicit(&c->backend->state->refused, 1, memory_order_relaxed);
    rx_worker_failed(c, RX_MEASURE_CONNECT);
    rx_log_limited(RX_LOG_WARN, "backend %s: %s", c->backend->name, strerror(err));
    let_go(c);
    rx_stat_add(&c->worker->stat.retries, 1);
    c->attempt++;
}

enum outcome { CONNECTED, WAITING, FAILED };

// The backend took the connection, or will. *sent: how much of the head it has.
static enum outcome send_head(struct rx_conn *c, bool is_connected, const uint8_t *head, uint32_t len, uint32_t *sent)
{
    size_t n = 0;
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

static enum outcome open_to(struct rx_conn *c, const struct rx_backend *b, const uint8_t *head, uint32_t len,
                            uint32_t *sent)
{
    c->backend = b;
    atomic_fetch_add_explicit(&b->state->active, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&b->state->connects, 1, memory_order_relaxed);
    rx_worker_tried(c, RX_MEASURE_CONNECT);
    int fd = socket(b->addr.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    c->ends[RX_SERVER].io.fd = fd;
    if (fd == -1)
        return FAILED;
    if (b->addr.sa.sa_family != AF_UNIX)
        rx_sys_nodelay(fd);
    int rc;
    do
        rc = connect(fd, &b->addr.sa, b->addr.len);
    while (rc == -1 && errno == EINTR);
    if (rc == -1 && errno != EINPROGRESS)
        return FAILED;
    return send_head(c, rc == 0, head, len, sent);
}

static uint32_t patience_ms(const struct rx_conn *c)
{
    return c->route ? c->route->connect_ms : c->listen->connect_ms;
}

static void connected(struct rx_conn *c, const uint8_t *head, uint32_t len, uint32_t sent)
{
    uint64_t since = c->until_ms - patience_ms(c), now = rx_now_ms();
    rx_histogram_add(&c->worker->stat.connect, now > since ? now - since : 0);
    rx_weld_begin(c, head, len, sent);
}

static void all_down(struct rx_conn *c, const uint8_t *head, uint32_t len)
{
    const struct rx_target *next = c->route ? &c->route->fallback : NULL;
    if (!next || next->kind == RX_TO_NONE || c->is_fallback_used) {
        rx_close(c, RX_REASON_BACKEND_DOWN);
        return;
    }
    c->is_fallback_used = true;
    switch (next->kind) {
    case RX_TO_POOL:
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
        rx_close(c, RX_REASON_BACKEND_DOWN);
        return;
    }
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
    // leaves time for the others.
    uint64_t now = rx_now_ms(), left = c->until_ms > now ? c->until_ms - now : 1;
    rx_conn_deadline(c, (uint32_t)RX_MAX(left / (c->pool->tries - c->attempt), 1u));
}

// Tries backends until one is connected, is on its way, or none is left.
static void try_next(struct rx_conn *c, const uint8_t *head, uint32_t len)
{
    const struct rx_backend *b;
    while ((b = rx_pick(c->pool, c->cursor, c->attempt))) {
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
            failed(c, errno);
            break;
        }
    }
    all_down(c, head, len);
}

static void connect_on_writable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop, (void)events;
    struct rx_conn *c = RX_CONTAINER(io, struct rx_conn, ends[RX_SERVER].io);
    int err = rx_sys_take_error(io->fd);
    uint32_t sent = 0;
    if (!err && send_head(c, true, c->head, c->head_len, &sent) != FAILED) {
        connected(c, c->head, c->head_len, sent);
        return;
    }
    failed(c, err ? err : errno);
    try_next(c, c->head, c->head_len);
}

void rx_connect_begin(struct rx_conn *c, const struct rx_target *to, const uint8_t *head, uint32_t len)
{
    c->room = RX_ROOM_CONNECT;
    c->pool = to->pool;
    c->attempt = 0;
    c->cursor = c->turn >= 0 ? (uint32_t)c->turn
                             : atomic_fetch_add_explicit(to->pool->cursor, 1, memory_order_relaxed);
    c->turn = -1; // for this pool, not for a fallback's
    ev_set_cb(&c->ends[RX_SERVER].io, connect_on_writable);
    c->until_ms = rx_now_ms() + patience_ms(c);
    try_next(c, head, len);
}

void rx_connect_on_deadline(struct rx_conn *c)
{
    failed(c, ETIMEDOUT);
    try_next(c, c->head, c->head_len);
}
