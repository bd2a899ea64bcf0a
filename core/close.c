// SPDX-License-Identifier: MIT
// The one place a connection ends, and the helpers all rooms share.
// Enters: a connection in any room, and a reason. Leaves: a dead one on the worker's graveyard, every fd closed,
// every count given back, one access line written. Calling it again does nothing.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handover.h"
#include "hook.h"
#include "log.h"
#include "mirror.h"
#include "proxied.h"
#include "shape.h"
#include "sessions.h"
#include "sys.h"
#include "udp.h"
#include "worker.h"

int rx_conn_keep_head(struct rx_conn *c, const uint8_t *head, uint32_t len, uint32_t cap)
{
    if (head == c->head && cap <= c->head_cap) {
        c->head_len = len;
        return 0;
    }
    uint8_t *kept = head == c->head ? realloc(c->head, cap) : malloc(cap);
    if (!kept)
        return -ENOMEM;
    if (head != c->head) {
        memcpy(kept, head, len);
        free(c->head);
    }
    c->head = kept;
    c->head_len = len;
    c->head_cap = cap;
    return 0;
}

void rx_conn_drop_head(struct rx_conn *c)
{
    free(c->head);
    c->head = NULL;
    c->head_len = c->head_cap = 0;
}

void rx_conn_watch(struct rx_conn *c, enum rx_side side, int events)
{
    ev_io *io = &c->ends[side].io;
    int now = ev_is_active(io) ? io->events & (EV_READ | EV_WRITE) : 0;
    if (now == events)
        return;
    if (now)
        ev_io_stop(c->worker->loop, io);
    if (!events)
        return;
    ev_io_set(io, io->fd, events);
    ev_io_start(c->worker->loop, io);
}

void rx_conn_deadline(struct rx_conn *c, uint32_t ms)
{
    rx_wheel_set(&c->worker->wheel, &c->deadline, rx_now_ms() + ms);
}

// What the other end should see: a peer that reset is passed on as a reset, and refusing says so too.
static bool resets(enum rx_reason why, enum rx_side side)
{
    switch (why) {
    case RX_REASON_SESSION_TAKEN:
    case RX_REASON_KILLED: // neither end may take what it got for the whole
    case RX_REASON_FILTER_REFUSED:
    case RX_REASON_FILTER_FAILED:
        return true;
    case RX_REASON_CLIENT_RESET:
        return side == RX_SERVER;
    case RX_REASON_SERVER_RESET:
    case RX_REASON_REFUSED:
    case RX_REASON_BANNED:
    case RX_REASON_BACKEND_DOWN:
    case RX_REASON_BACKEND_FULL:
    case RX_REASON_LIMIT_ROUTE:
    case RX_REASON_SESSION_LIMIT:
    case RX_REASON_NO_FDS:
    case RX_REASON_NO_MEMORY:
        return side == RX_CLIENT;
    default:
        return false;
    }
}

static void end_close(struct rx_conn *c, enum rx_side side, enum rx_reason why)
{
    ev_io *io = &c->ends[side].io;
    ev_io_stop(c->worker->loop, io);
    if (io->fd < 0)
        return;
    if (resets(why, side))
        rx_sys_reset_on_close(io->fd);
    close(io->fd);
    io->fd = -1;
}

// What flows of datagrams do not have.
static void stream_end(struct rx_conn *c, enum rx_reason why)
{
    end_close(c, RX_CLIENT, why);
    rx_weld_forget(c);
    if (c->shape)
        rx_shape_free(c);
    for (int d = 0; d < 2; d++) {
        free(c->dir[d].rest);
        if (c->dir[d].pipe[0] >= 0)
            rx_pipe_put(&c->worker->pipes, c->dir[d].pipe, c->dir[d].in_pipe == 0);
    }
    rx_answer_free(c->answer);
}

// Everything it holds goes back.
static void release(struct rx_conn *c, enum rx_reason why)
{
    struct rx_worker *w = c->worker;
    c->room = RX_ROOM_DEAD;
    rx_wheel_del(&w->wheel, &c->deadline);
    if (c->is_udp)
        rx_udp_forget(c);
    else
        stream_end(c, why);
    end_close(c, RX_SERVER, why);
    rx_conn_drop_head(c);
    free(c->told);
    free(c->route_was);
    rx_connect_forget(c);
    if (c->seat)
        rx_sessions_leave(c->route->sessions, c->seat);
    if (c->route)
        atomic_fetch_sub_explicit(c->route->active, 1, memory_order_relaxed);
    rx_admission_give(w, c->listen, c->ip_place, c->is_udp, c->is_pending);
    rx_proxied_unref(c->proxied);
    rx_worker_conn_bury(c);
}

void rx_close(struct rx_conn *c, enum rx_reason why)
{
    struct rx_worker *w = c->worker;
    if (c->room == RX_ROOM_DEAD)
        return;
    if (c->early)
        rx_connect_drop_early(c);
    rx_access_line(c, why);
    rx_stat_add(&w->stat.closed[why], 1);
    rx_histogram_add(&w->stat.duration, rx_now_ms() - c->start_ms);
    if (c->cell)
        rx_cell_add(&c->cell->closed[why], 1);
    c->room = RX_ROOM_DEAD;
    if (c->listen->has_hooks)
        rx_hook_close(c, why);
    if (!c->is_udp && c->mirror)
        rx_mirror_end(c);
    release(c, why);
}

void rx_handover_let_go(struct rx_conn *c)
{
    if (c->early)
        rx_connect_drop_early(c);
    if (c->hooked)
        rx_hook_close(c, RX_REASON_SHUTDOWN);
    release(c, RX_REASON_SHUTDOWN); // which resets nobody
}
