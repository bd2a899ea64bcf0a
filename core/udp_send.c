// SPDX-License-Identifier: MIT
// Enters: datagrams of a flow. Leaves: the same at its backend or its client, as they look to hooks, filters and mirrors.
//
//  * What one receive brought is sent when all of it has been sorted by flow: runs of equal-sized datagrams leave as one send.
//  * What finds no room in a socket is lost, as on any full queue, and counted.
#include "udp_flow.h"

#include <stdlib.h>

#include "hook.h"
#include "mirror.h"

void rx_udp_lost(struct rx_worker *w, uint32_t lost)
{
    if (lost)
        rx_stat_add(&w->stat.lost, lost);
}

// ---- towards the client ---------------------------------------------------------------------------------------------

struct rx_udp_path rx_udp_client_path(struct rx_udp_flow *f)
{
    return (struct rx_udp_path){
        .fd = f->listener->io.fd, .to = &f->c.client, .from = &f->local, .may_segment = &rx_udp_in(f)->may_segment
    };
}

void rx_udp_tell_client(struct rx_udp_flow *f, const uint8_t *p, uint32_t len)
{
    struct rx_udp_path path = rx_udp_client_path(f);
    if (rx_udp_send(&path, p, len)) {
        rx_udp_lost(f->c.worker, 1);
        return;
    }
    rx_conn_count(&f->c, RX_TO_CLIENT, len);
    if (f->c.hooked)
        rx_hook_data(&f->c, RX_TO_CLIENT, p, len);
}

// ---- towards the backend --------------------------------------------------------------------------------------------

static struct rx_udp_path server_path(struct rx_udp_flow *f)
{
    return (struct rx_udp_path){ .fd = f->c.ends[RX_SERVER].io.fd, .may_segment = &f->may_segment };
}

void rx_udp_lose_backend(struct rx_udp_flow *f, int err)
{
    if (rx_connect_failed(&f->c, err))
        rx_close(&f->c, RX_REASON_BACKEND_DOWN);
}

// Sends what a flow got in this turn; the flow may be closed by it.
static void flush_run(struct rx_udp *u, unsigned i)
{
    struct rx_udp_flow *f = u->touched[i];
    uint32_t lost = 0;
    if (!f)
        return;
    f->run = 0;
    struct rx_udp_path path = server_path(f);
    int rc = rx_udp_run_send(&u->runs[i], &path, &lost);
    rx_udp_lost(f->c.worker, lost);
    if (rc && !rx_udp_is_loss(rc))
        rx_udp_lose_backend(f, -rc);
}

void rx_udp_flush(struct rx_udp *u)
{
    for (unsigned i = 0; i < u->n_touched; i++)
        flush_run(u, i);
    u->n_touched = 0;
}

// False when the flow was closed.
bool rx_udp_to_backend(struct rx_udp_flow *f, const struct rx_udp_msg *m)
{
    struct rx_udp *u = rx_udp_in(f);
    struct rx_udp_path path = server_path(f);
    uint32_t lost = 0;
    if (!f->run) {
        u->touched[u->n_touched] = f;
        u->runs[u->n_touched] = (struct rx_udp_run){ .n = 0 };
        f->run = (uint8_t)++u->n_touched;
    }
    rx_conn_count(&f->c, RX_TO_SERVER, m->len);
    int rc = rx_udp_run_add(&u->runs[f->run - 1], &path, m, &lost);
    rx_udp_lost(f->c.worker, lost);
    if (!rc || rx_udp_is_loss(rc))
        return true;
    rx_udp_lose_backend(f, -rc);
    return false;
}

// ---- who looks on: hooks, filters and mirrors ------------------------------------------------------------------------

// The flow has reached its backend, or is answered here.
void rx_udp_tap_begin(struct rx_udp_flow *f)
{
    struct rx_conn *c = &f->c;
    if (c->hooked) {
        c->is_filtered = c->hooked->set->has_filter && c->backend;
        rx_hook_open(c);
    }
    if (c->backend && c->route && c->route->mirror.kind == RX_TO_POOL)
        f->mirror = rx_mirror_udp_open(c);
    c->is_tapped = c->hooked || f->mirror;
}

void rx_udp_tap(struct rx_udp_flow *f, enum rx_direction dir, const uint8_t *p, uint32_t len)
{
    if (f->c.hooked)
        rx_hook_data(&f->c, dir, p, len);
    if (f->mirror && dir == RX_TO_SERVER)
        rx_mirror_udp_send(f->mirror, p, len);
}

// One datagram of a flow that somebody looks at, counted by the caller. False when the flow was closed.
bool rx_udp_pass(struct rx_udp_flow *f, enum rx_direction dir, const uint8_t *p, uint32_t len)
{
    struct rx_conn *c = &f->c;
    struct rx_filtered io = { p, len, NULL };
    enum rx_filter verdict = c->is_filtered ? rx_hook_filter(c, dir, &io) : RX_FILTER_PASS;
    if (verdict != RX_FILTER_PASS || (io.owned && !io.n)) { // nothing in its place: it is dropped
        free(io.owned);
        if (verdict != RX_FILTER_PASS)
            rx_close(c, verdict == RX_FILTER_REFUSED ? RX_REASON_FILTER_REFUSED : RX_REASON_FILTER_FAILED);
        return verdict == RX_FILTER_PASS;
    }
    rx_udp_tap(f, dir, io.p, (uint32_t)io.n);
    struct rx_udp_path path = dir == RX_TO_SERVER ? server_path(f) : rx_udp_client_path(f);
    const struct rx_udp_msg preface = { .p = f->preface, .len = f->preface_len };
    int rc = f->preface && dir == RX_TO_SERVER ? rx_udp_send_behind(&path, &preface, io.p, (uint32_t)io.n)
                                               : rx_udp_send(&path, io.p, (uint32_t)io.n);
    free(io.owned);
    bool is_backend_gone = rc && !rx_udp_is_loss(rc) && dir == RX_TO_SERVER;
    rx_udp_lost(c->worker, rc && !is_backend_gone);
    if (is_backend_gone)
        rx_udp_lose_backend(f, -rc);
    return !is_backend_gone;
}

bool rx_udp_pass_all(struct rx_udp_flow *f, enum rx_direction dir, const struct rx_udp_msg *m)
{
    uint32_t at = 0;
    do {
        uint32_t len = RX_MIN(m->size, m->len - at);
        if (!rx_udp_pass(f, dir, m->p + at, len))
            return false;
        at += len;
    } while (at < m->len);
    return true;
}
