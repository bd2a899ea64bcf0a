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
    if (RX_UNLIKELY(events & EV_ERROR)) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    struct rx_udp *u = rx_udp_in(c);
    for (int turn = 0; turn < RX_UDP_TURNS; turn++) {
        struct rx_udp_msg *msgs;
        struct rx_udp_run run = { .n = 0 };
        union rx_ip from;
        struct rx_udp_path path = rx_udp_client_path(c, &from);
        uint32_t lost = 0;
        int n = rx_udp_receive(u->back, io->fd, RX_UDP_BATCH, &msgs);
        if (n < 0) {
            rx_udp_lose_backend(c, -n);
            return;
        }
        if (n == 0)
            return;
        c->active_ms = rx_now_ms();
        if (!c->bytes[RX_TO_CLIENT])
            rx_backend_connected(c->backend->state, c->active_ms);
        for (int i = 0; i < n; i++) {
            rx_conn_count(c, RX_TO_CLIENT, msgs[i].len);
            if (c->udp.roams)
                rx_udp_learn(c, &msgs[i]);
            if (RX_LIKELY(!c->is_tapped))
                rx_udp_run_add(&run, &path, &msgs[i], &lost); // a client that cannot be reached loses what is for it
            else if (!rx_udp_pass_all(c, RX_TO_CLIENT, &msgs[i]))
                return;
        }
        rx_udp_run_send(&run, &path, &lost);
        rx_udp_lost(c->worker, RX_LOST_TO_CLIENT, lost);
        if (n < RX_UDP_BATCH)
            return;
    }
}

void rx_udp_hear_backend(struct rx_conn *c, int fd)
{
    ev_io *io = &c->ends[RX_SERVER].io;
    ev_io_set(io, fd, EV_READ);
    ev_set_cb(io, udp_on_backend);
    ev_io_start(c->worker->loop, io);
}

static bool open_to(struct rx_conn *c, const struct rx_backend *b)
{
    bool is_connected;
    int fd = rx_connect_dial(c->pool, b, SOCK_DGRAM, rx_connect_as(c), &is_connected);
    if (fd == -1)
        return false;
    rx_udp_setup(fd);
    c->ends[RX_SERVER].io.fd = fd;
    return true;
}

// A socket to a backend of the pool, or of the route's fallback; false when the flow was closed for want of one.
static bool open_any(struct rx_conn *c, const struct rx_target *to)
{
    const struct rx_backend *b;
    enum rx_reason why;
    c->room = RX_ROOM_FLOW;
    rx_connect_enter(c, to->pool);
    while ((b = rx_connect_next(c, &why))) {
        atomic_fetch_add_explicit(&b->state->connects, 1, memory_order_relaxed);
        rx_worker_tried(c, RX_MEASURE_CONNECT);
        if (open_to(c, b))
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
        return open_any(c, next);
    }
    rx_close(c, why);
    return false;
}

// The PROXY header that each datagram of the flow has in front; the same for all. False: out of memory.
static bool make_preface(struct rx_conn *c, const struct rx_proxied_head *head)
{
    uint8_t out[RX_PROXY_OUT_MAX];
    if (RX_LIKELY(!rx_proxied_is_said(c)))
        return true;
    uint32_t len = (uint32_t)rx_proxied_say(c, head, out);
    c->more.preface = malloc(sizeof *c->more.preface + len);
    if (!c->more.preface)
        return false;
    c->more.preface->len = len;
    memcpy(c->more.preface->bytes, out, len);
    return true;
}

// Sends the datagrams that are there to a backend.
void rx_udp_connect_begin(struct rx_conn *c, const struct rx_target *to, const uint8_t *p, const uint32_t *len,
                          uint32_t n)
{
    struct rx_proxied_head first = { .p = p, .gram_len = len, .n_grams = n };
    for (uint32_t i = 0; i < n; i++)
        first.len += len[i];
    if (!open_any(c, to))
        return;
    if (!make_preface(c, &first)) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    c->udp.may_segment = true;
    c->udp.roams = rx_udp_roams(c);
    rx_udp_hear_backend(c, c->ends[RX_SERVER].io.fd);
    rx_conn_deadline(c, rx_udp_idle_ms(c));
    if (c->udp.roams && n)
        rx_udp_introduce(c, p, len[0]);
    rx_udp_tap_begin(c);
    for (uint32_t i = 0; i < n; p += len[i++]) {
        rx_conn_count(c, RX_TO_SERVER, len[i]);
        if (!rx_udp_pass(c, RX_TO_SERVER, p, len[i]))
            return;
    }
    rx_conn_drop_head(c);
}
