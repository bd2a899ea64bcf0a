// SPDX-License-Identifier: MIT
// Enters: a decided flow with its first datagrams. Leaves: a socket connected to a backend, through which the datagrams go; and
// what the backend answers, at the client, from the address the client asked.
// The socket is the flow's own, so that an ICMP answer speaks for this flow alone.
#include "udp_flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "proxied.h"

static void udp_on_backend(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct rx_conn *c = RX_CONTAINER(io, struct rx_conn, ends[RX_SERVER].io);
    struct rx_udp_flow *f = rx_udp_of(c);
    if (RX_UNLIKELY(events & EV_ERROR)) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    struct rx_udp *u = rx_udp_in(f);
    for (int turn = 0; turn < RX_UDP_TURNS; turn++) {
        struct rx_udp_msg *msgs;
        struct rx_udp_run run = { .n = 0 };
        struct rx_udp_path path = rx_udp_client_path(f);
        uint32_t lost = 0;
        int n = rx_udp_receive(u->back, io->fd, RX_UDP_BATCH, &msgs);
        if (n < 0) {
            rx_udp_lose_backend(f, -n);
            return;
        }
        if (n == 0)
            return;
        c->active_ms = rx_now_ms();
        if (!c->dir[RX_TO_CLIENT].bytes)
            rx_backend_connected(c->backend->state, c->active_ms);
        for (int i = 0; i < n; i++) {
            rx_conn_count(c, RX_TO_CLIENT, msgs[i].len);
            if (f->roams)
                rx_udp_learn_id(f, &msgs[i]);
            if (RX_LIKELY(!c->is_tapped))
                rx_udp_run_add(&run, &path, &msgs[i], &lost); // a client that cannot be reached loses what is for it
            else if (!rx_udp_pass_all(f, RX_TO_CLIENT, &msgs[i]))
                return;
        }
        rx_udp_run_send(&run, &path, &lost);
        rx_udp_lost(c->worker, lost);
        if (n < RX_UDP_BATCH)
            return;
    }
}

void rx_udp_hear_backend(struct rx_udp_flow *f, int fd)
{
    ev_io *io = &f->c.ends[RX_SERVER].io;
    ev_io_set(io, fd, EV_READ);
    ev_set_cb(io, udp_on_backend);
    ev_io_start(f->c.worker->loop, io);
}

static bool open_to(struct rx_udp_flow *f, const struct rx_backend *b)
{
    bool is_connected;
    int fd = rx_connect_dial(f->c.pool, b, SOCK_DGRAM, rx_connect_as(&f->c), &is_connected);
    if (fd == -1)
        return false;
    rx_udp_setup(fd);
    f->c.ends[RX_SERVER].io.fd = fd;
    return true;
}

// A socket to a backend of the pool, or of the route's fallback; false when the flow was closed for want of one.
static bool open_any(struct rx_udp_flow *f, const struct rx_target *to)
{
    struct rx_conn *c = &f->c;
    const struct rx_backend *b;
    enum rx_reason why;
    c->room = RX_ROOM_FLOW;
    rx_connect_enter(c, to->pool);
    while ((b = rx_connect_next(c, &why))) {
        atomic_fetch_add_explicit(&b->state->connects, 1, memory_order_relaxed);
        rx_worker_tried(c, RX_MEASURE_CONNECT);
        if (open_to(f, b))
            return true;
        if (errno == EMFILE || errno == ENFILE) {
            rx_close(c, RX_REASON_NO_FDS);
            return false;
        }
        if (!rx_connect_failed(c, errno))
            return false;
    }
    const struct rx_target *next = c->route ? &c->route->fallback : NULL;
    if (next && next->kind == RX_TO_POOL && !c->is_fallback_used) {
        c->is_fallback_used = true;
        c->turn = -1; // was for the other pool
        return open_any(f, next);
    }
    rx_close(c, why);
    return false;
}

// The PROXY header that each datagram of the flow has in front; the same for all. False: out of memory.
static bool make_preface(struct rx_udp_flow *f, const struct rx_proxied_head *head)
{
    uint8_t out[RX_PROXY_OUT_MAX];
    if (RX_LIKELY(!rx_proxied_is_said(&f->c)))
        return true;
    f->preface_len = (uint32_t)rx_proxied_say(&f->c, head, out);
    f->preface = malloc(f->preface_len);
    if (f->preface)
        memcpy(f->preface, out, f->preface_len);
    return f->preface;
}

// Sends the datagrams that are there to a backend.
void rx_udp_connect_begin(struct rx_udp_flow *f, const struct rx_target *to, const uint8_t *p, const uint32_t *len,
                          uint32_t n)
{
    struct rx_conn *c = &f->c;
    struct rx_proxied_head first = { .p = p, .gram_len = len, .n_grams = n };
    for (uint32_t i = 0; i < n; i++)
        first.len += len[i];
    if (!open_any(f, to))
        return;
    if (!make_preface(f, &first)) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    f->may_segment = true;
    f->roams = rx_udp_roam_kind(c);
    rx_udp_hear_backend(f, c->ends[RX_SERVER].io.fd);
    rx_conn_deadline(c, rx_udp_idle_ms(c));
    rx_udp_tap_begin(f);
    for (uint32_t i = 0; i < n; p += len[i++]) {
        rx_conn_count(c, RX_TO_SERVER, len[i]);
        if (!rx_udp_pass(f, RX_TO_SERVER, p, len[i]))
            return;
    }
    rx_conn_drop_head(c);
}
