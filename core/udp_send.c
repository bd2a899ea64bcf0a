// SPDX-License-Identifier: MIT
// Enters: datagrams of a flow. Leaves: the same at its backend or its client, as they look to hooks, filters and mirrors.
//
//  * What one receive brought is sent when all of it has been sorted by flow: runs of equal-sized datagrams leave as one send.
//  * What finds no room in a socket is lost, as on any full queue, and counted.
#include "udp_flow.h"

#include <stdlib.h>

#include "hook.h"
#include "mirror.h"

void rx_udp_lost(struct rx_worker *w, enum rx_lost why, uint32_t n)
{
    if (n)
        rx_stat_add(&w->stat.lost[why], n);
}

// ---- towards the client ---------------------------------------------------------------------------------------------

struct rx_udp_path rx_udp_client_path(struct rx_conn *c, union rx_ip *from)
{
    *from = rx_udp_local(c);
    return (struct rx_udp_path){
        .fd = c->udp.listener->io.fd, .to = &c->client, .from = from, .may_segment = &rx_udp_in(c)->may_segment
    };
}

void rx_udp_tell_client(struct rx_conn *c, const uint8_t *p, uint32_t len)
{
    union rx_ip from;
    struct rx_udp_path path = rx_udp_client_path(c, &from);
    if (rx_udp_send(&path, p, len)) {
        rx_udp_lost(c->worker, RX_LOST_TO_CLIENT, 1);
        return;
    }
    rx_conn_count(c, RX_TO_CLIENT, len);
    if (c->hooked)
        rx_hook_data(c, RX_TO_CLIENT, p, len);
}

// ---- towards the backend --------------------------------------------------------------------------------------------

static struct rx_udp_path server_path(struct rx_conn *c)
{
    return (struct rx_udp_path){ .fd = c->ends[RX_SERVER].io.fd, .may_segment = &c->udp.may_segment };
}

void rx_udp_lose_backend(struct rx_conn *c, int err)
{
    if (rx_connect_failed(c, err))
        rx_close(c, RX_REASON_BACKEND_DOWN);
}

// Sends what a flow got in this turn; the flow may be closed by it.
static void flush_run(struct rx_udp *u, unsigned i)
{
    struct rx_conn *c = u->touched[i];
    uint32_t lost = 0;
    if (!c)
        return;
    c->udp.run = 0;
    struct rx_udp_path path = server_path(c);
    int rc = rx_udp_run_send(&u->runs[i], &path, &lost);
    rx_udp_lost(c->worker, RX_LOST_TO_BACKEND, lost);
    if (rc && !rx_udp_is_loss(rc))
        rx_udp_lose_backend(c, -rc);
}

void rx_udp_flush(struct rx_udp *u)
{
    for (unsigned i = 0; i < u->n_touched; i++)
        flush_run(u, i);
    u->n_touched = 0;
}

// False when the flow was closed.
bool rx_udp_to_backend(struct rx_conn *c, const struct rx_udp_msg *m)
{
    struct rx_udp *u = rx_udp_in(c);
    struct rx_udp_path path = server_path(c);
    uint32_t lost = 0;
    if (!c->udp.run) {
        u->touched[u->n_touched] = c;
        u->runs[u->n_touched] = (struct rx_udp_run){ .n = 0 };
        c->udp.run = (uint8_t)++u->n_touched;
    }
    rx_conn_count(c, RX_TO_SERVER, m->len);
    int rc = rx_udp_run_add(&u->runs[c->udp.run - 1], &path, m, &lost);
    rx_udp_lost(c->worker, RX_LOST_TO_BACKEND, lost);
    if (!rc || rx_udp_is_loss(rc))
        return true;
    rx_udp_lose_backend(c, -rc);
    return false;
}

// ---- who looks on: hooks, filters and mirrors ------------------------------------------------------------------------

// The flow has reached its backend, or is answered here.
void rx_udp_tap_begin(struct rx_conn *c)
{
    if (c->hooked) {
        c->is_filtered = c->hooked->set->has_filter && c->backend;
        rx_hook_open(c);
    }
    if (c->backend && c->route && c->route->mirror.kind == RX_TO_POOL)
        c->more.mirror = rx_mirror_udp_open(c);
    c->is_tapped = c->hooked || c->more.mirror;
}

void rx_udp_tap(struct rx_conn *c, enum rx_direction dir, const uint8_t *p, uint32_t len)
{
    if (c->hooked)
        rx_hook_data(c, dir, p, len);
    if (c->more.mirror && dir == RX_TO_SERVER)
        rx_mirror_udp_send(c->more.mirror, p, len);
}

// One datagram of a flow that somebody looks at, counted by the caller. False when the flow was closed.
bool rx_udp_pass(struct rx_conn *c, enum rx_direction dir, const uint8_t *p, uint32_t len)
{
    struct rx_filtered io = { p, len, NULL };
    enum rx_filter verdict = c->is_filtered ? rx_hook_filter(c, dir, &io) : RX_FILTER_PASS;
    if (verdict != RX_FILTER_PASS || (io.owned && !io.n)) { // nothing in its place: it is dropped
        free(io.owned);
        if (verdict != RX_FILTER_PASS)
            rx_close(c, verdict == RX_FILTER_REFUSED ? RX_REASON_FILTER_REFUSED : RX_REASON_FILTER_FAILED);
        else
            rx_udp_lost(c->worker, RX_LOST_FILTERED, 1);
        return verdict == RX_FILTER_PASS;
    }
    rx_udp_tap(c, dir, io.p, (uint32_t)io.n);
    union rx_ip from;
    struct rx_udp_path path = dir == RX_TO_SERVER ? server_path(c) : rx_udp_client_path(c, &from);
    struct rx_udp_preface *preface = dir == RX_TO_SERVER ? c->more.preface : NULL;
    const struct rx_udp_msg before = { .p = preface ? preface->bytes : NULL, .len = preface ? preface->len : 0 };
    int rc =
        preface ? rx_udp_send_behind(&path, &before, io.p, (uint32_t)io.n) : rx_udp_send(&path, io.p, (uint32_t)io.n);
    free(io.owned);
    bool is_backend_gone = rc && !rx_udp_is_loss(rc) && dir == RX_TO_SERVER;
    rx_udp_lost(c->worker, dir == RX_TO_SERVER ? RX_LOST_TO_BACKEND : RX_LOST_TO_CLIENT, rc && !is_backend_gone);
    if (is_backend_gone)
        rx_udp_lose_backend(c, -rc);
    return !is_backend_gone;
}

bool rx_udp_pass_all(struct rx_conn *c, enum rx_direction dir, const struct rx_udp_msg *m)
{
    uint32_t at = 0;
    do {
        uint32_t len = RX_MIN(m->size, m->len - at);
        if (!rx_udp_pass(c, dir, m->p + at, len))
            return false;
        at += len;
    } while (at < m->len);
    return true;
}
