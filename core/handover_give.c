// SPDX-License-Identifier: MIT
// Enters: a worker between two turns of its loop. Leaves: what its connections are, as bytes and descriptors; the
// connections themselves are not touched, so that they can go on when nobody takes them.
//
// What stays with the old process, and finishes there: TCP connections that hooks, filters or a mirror look on (what these
// know of them lives in the process), those that are answered here, and flows of addresses that are not served any more.
// A connection that waits for a backend goes as one that is still to be decided: no backend has seen a byte of it.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "handover.h"
#include "hook.h"
#include "proxied.h"
#include "sessions.h"
#include "udp.h"
#include "worker.h"

static struct rx_text text_of(const char *s)
{
    return (struct rx_text){ (const uint8_t *)s, s ? (uint32_t)strlen(s) : 0 };
}

// ---- descriptors ----------------------------------------------------------------------------------------------------

static bool has_room_for_fds(struct rx_handover *o)
{
    enum { MOST = 8 };
    if (o->fds_cap - o->n_fds >= MOST)
        return true;
    unsigned cap = RX_MAX(o->fds_cap * 2, 64u);
    int *grown = realloc(o->fds, cap * sizeof *grown);
    if (!grown)
        return false;
    o->fds = grown;
    o->fds_cap = cap;
    return true;
}

static int32_t add_fd(struct rx_handover *o, int fd)
{
    if (fd < 0)
        return -1;
    o->fds[o->n_fds] = fd;
    return (int32_t)o->n_fds++;
}

// ---- a connection ---------------------------------------------------------------------------------------------------

static uint32_t nth_of(const struct rx_conn *c)
{
    uint32_t n = 0;
    for (const struct rx_route *r = c->listen->routes; r < c->route; r++)
        n += !strcmp(r->name, c->route->name);
    return n;
}

static void fill_route(const struct rx_conn *c, struct rx_handed *h)
{
    if (c->route || c->route_was) {
        h->flags |= RX_HANDED_HAS_ROUTE;
        h->route = text_of(c->route ? c->route->name : c->route_was);
        h->route_nth = c->route ? nth_of(c) : 0;
    }
    h->seen = text_of(c->seen ? c->seen->name : NULL);
    h->pool = text_of(c->pool ? c->pool->name : NULL);
    h->told = text_of(c->told);
    h->to_kind = c->to_kind;
    if (c->is_identified)
        h->flags |= RX_HANDED_IDENTIFIED;
    if (c->is_fallback_used)
        h->flags |= RX_HANDED_FALLBACK_USED;
    if (c->backend) {
        h->backend = text_of(c->backend->name);
        h->to = c->backend->addr;
    }
}

static void fill_proxied(const struct rx_conn *c, struct rx_handed *h)
{
    const struct rx_proxied *p = c->proxied;
    if (c->is_headless)
        h->flags |= RX_HANDED_HEADLESS;
    if (!p)
        return;
    h->flags |= RX_HANDED_HAS_PROXIED | (p->has_addresses ? RX_HANDED_HAS_ADDRESSES : 0u);
    h->proxy_version = p->version;
    h->via = p->via;
    h->proxy_to = p->to;
    h->tlvs = rx_proxied_tlvs(p);
}

static void fill_dir(struct rx_handover *o, const struct rx_dir *d, struct rx_handed_dir *h)
{
    h->flags = (d->is_eof ? RX_HANDED_EOF : 0) | (d->is_shut ? RX_HANDED_SHUT : 0) | (d->is_spliced ? RX_HANDED_SPLICED : 0);
    if (d->rest_len)
        h->rest = (struct rx_text){ d->rest + d->rest_at, d->rest_len };
    if (!d->in_pipe)
        return;
    h->in_pipe = d->in_pipe;
    h->pipe[0] = add_fd(o, d->pipe[0]);
    h->pipe[1] = add_fd(o, d->pipe[1]);
}

static bool may_go(struct rx_conn *c)
{
    switch ((enum rx_room)c->room) {
    case RX_ROOM_PEEK:
    case RX_ROOM_CONNECT:
    case RX_ROOM_WELD:
        return c->is_udp ? rx_udp_may_go(c) : !c->hooked && !c->mirror;
    case RX_ROOM_FLOW:
        return rx_udp_may_go(c);
    case RX_ROOM_ANSWER:
    case RX_ROOM_DEAD:
        break;
    }
    return false;
}

static void fill(struct rx_handover *o, struct rx_conn *c, struct rx_handed *h, char *seat)
{
    bool is_flow = c->room == RX_ROOM_WELD || c->is_udp;
    h->id = c->id;
    h->start_ms = c->start_ms;
    h->active_ms = c->active_ms;
    h->client = c->client;
    h->to_port = c->to_port;
    h->listen = text_of(c->listen->name);
    h->kind = c->is_udp ? RX_HANDED_UDP : is_flow ? RX_HANDED_WELD : RX_HANDED_PEEK;
    fill_proxied(c, h);
    h->head = (struct rx_text){ c->head, c->head_len };
    h->fds[RX_CLIENT] = c->is_udp ? -1 : add_fd(o, c->ends[RX_CLIENT].io.fd);
    h->fds[RX_SERVER] = is_flow ? add_fd(o, c->ends[RX_SERVER].io.fd) : -1;
    for (int d = 0; d < 2; d++) {
        h->dir[d] = (struct rx_handed_dir){ .bytes = c->bytes[d], .pipe = { -1, -1 } };
        if (!c->is_udp)
            fill_dir(o, &c->dir[d], &h->dir[d]);
    }
    if (c->room == RX_ROOM_CONNECT)
        h->flags |= RX_HANDED_DECIDED;
    if (is_flow)
        fill_route(c, h);
    if (is_flow && c->seat)
        h->seat = (struct rx_text){ (uint8_t *)seat, rx_sessions_name(c->route->sessions, c->seat, seat) };
    if (c->is_udp)
        rx_udp_tell(c, h);
}

static int add(struct rx_handover *o, struct rx_conn *c)
{
    struct rx_handed h = { 0 };
    char seat[RX_LEDGER_ID_MAX];
    if (o->n == o->conns_cap) {
        unsigned cap = RX_MAX(o->conns_cap * 2, 64u);
        struct rx_conn **grown = realloc(o->conns, cap * sizeof(struct rx_conn *));
        if (!grown)
            return -ENOMEM;
        o->conns = grown;
        o->conns_cap = cap;
    }
    if (!has_room_for_fds(o))
        return -ENOMEM;
    fill(o, c, &h, seat);
    int rc = rx_handover_add(o, &h);
    if (!rc)
        o->conns[o->n++] = c;
    return rc;
}

int rx_handover_make(struct rx_worker *w, struct rx_handover *o)
{
    rx_weld_flush(w);
    int rc = rx_handover_begin(o, w->last_id);
    for (struct rx_conn *c = w->living.next; c != &w->living && !rc; c = c->next) {
        if (may_go(c))
            rc = add(o, c);
        else
            o->n_kept++;
    }
    return rc;
}
