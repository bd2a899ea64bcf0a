// SPDX-License-Identifier: MIT
// Enters: a connection of another process, told. Leaves: the same in one of our workers, counted everywhere as if it had
// come in here. The config may be another one by now: a route or a backend it does not have is kept by name, so that the
// connection goes on; one whose listener is gone is not taken. A flow of datagrams is the socket's, whatever its listener is
// called now: two processes that read one socket would take each other's.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handover.h"
#include "proxied.h"
#include "sessions.h"
#include "udp.h"
#include "worker.h"

static bool is_named(const char *name, const struct rx_text *t)
{
    return strlen(name) == t->len && (!t->len || !memcmp(name, t->ptr, t->len));
}

static char *copy_of(const struct rx_text *t)
{
    return t->len ? strndup((const char *)t->ptr, t->len) : NULL;
}

// ---- what it refers to ----------------------------------------------------------------------------------------------

static const struct rx_listen *listen_of(const struct rx_conf *conf, const struct rx_handed *h)
{
    for (uint32_t i = 0; i < conf->n_listens; i++)
        if (is_named(conf->listens[i]->name, &h->listen))
            return conf->listens[i];
    return NULL;
}

static const struct rx_route *route_of(const struct rx_listen *l, const struct rx_handed *h)
{
    const struct rx_route *last = NULL;
    if (!(h->flags & RX_HANDED_HAS_ROUTE))
        return NULL;
    for (uint32_t i = 0, nth = 0; i < l->n_routes && nth <= h->route_nth; i++)
        if (is_named(l->routes[i].name, &h->route)) {
            last = &l->routes[i];
            nth++;
        }
    return last;
}

static const struct rx_known *known_of(const struct rx_conf *conf, const struct rx_handed *h)
{
    for (uint32_t i = 0; i < conf->n_known && h->seen.len; i++)
        if (is_named(conf->known[i]->name, &h->seen))
            return conf->known[i];
    return NULL;
}

static const struct rx_pool *pool_of(const struct rx_conf *conf, const struct rx_handed *h)
{
    for (uint32_t i = 0; i < conf->n_pools && h->pool.len; i++)
        if (is_named(conf->pools[i]->name, &h->pool))
            return conf->pools[i];
    return NULL;
}

static const struct rx_backend *backend_in(const struct rx_roster *r, const struct rx_handed *h)
{
    const struct rx_backend *found = NULL;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct rx_backend *b = &r->backends[i];
        if (b->addr.len && rx_addr_equal(&b->addr.sa, &h->to.sa) && (!found || is_named(b->name, &h->backend)))
            found = b;
    }
    return found;
}

// Counts it as its backend's: the pool's, or, where that has it no more, one that only its connections know.
static int join_backend(struct rx_conn *c, const struct rx_handed *h)
{
    if (!h->to.len)
        return 0;
    c->pool = pool_of(c->conf, h);
    if (c->pool) {
        c->roster = rx_roster_take(c->pool);
        c->backend = backend_in(c->roster, h);
    }
    if (!c->backend) {
        rx_roster_unref(c->roster);
        c->roster = rx_roster_alone(c->conf->home, &h->to, (const char *)h->backend.ptr, h->backend.len);
        if (!c->roster)
            return -ENOMEM;
        c->backend = c->roster->backends;
    }
    atomic_fetch_add_explicit(&c->backend->state->active, 1, memory_order_relaxed);
    return 0;
}

static void join_route(struct rx_conn *c, const struct rx_handed *h)
{
    c->route = route_of(c->listen, h);
    c->seen = known_of(c->conf, h);
    c->to_kind = h->to_kind;
    c->is_identified = h->flags & RX_HANDED_IDENTIFIED;
    c->is_fallback_used = h->flags & RX_HANDED_FALLBACK_USED;
    c->told = copy_of(&h->told);
    if (c->route)
        atomic_fetch_add_explicit(c->route->active, 1, memory_order_relaxed);
    else if (h->flags & RX_HANDED_HAS_ROUTE)
        c->route_was = copy_of(&h->route);
    const struct rx_served *served = c->route ? c->route->served : c->listen->served;
    if (served)
        c->cell = &served->cells[c->worker->index];
}

// False: its identity may be used from fewer addresses now, and not from this one.
static bool join_sessions(struct rx_conn *c, const struct rx_handed *h)
{
    if (!h->seat.len || !c->route || !c->route->sessions)
        return true;
    struct rx_heard heard = { .id = (const char *)h->seat.ptr,
                              .id_len = h->seat.len,
                              .ip = c->client,
                              .is_held = true,
                              .is_udp = c->is_udp,
                              .tag = c->route->name,
                              .tag_len = (uint32_t)strlen(c->route->name) };
    return rx_sessions_hear(c->route->sessions, &heard, &c->seat);
}

// ---- its bytes ------------------------------------------------------------------------------------------------------

static int take_fd(int *fds, int32_t i)
{
    if (i < 0)
        return -1;
    int fd = fds[i];
    fds[i] = -1;
    return fd;
}

static int take_bytes(const struct rx_text *t, uint8_t **out)
{
    if (!t->len)
        return 0;
    if (!(*out = malloc(t->len)))
        return -ENOMEM;
    memcpy(*out, t->ptr, t->len);
    return 0;
}

static int take_dir(struct rx_conn *c, struct rx_dir *d, const struct rx_handed_dir *h, int *fds)
{
    d->is_eof = h->flags & RX_HANDED_EOF ? 1 : 0;
    d->is_shut = h->flags & RX_HANDED_SHUT ? 1 : 0;
    d->is_spliced = h->flags & RX_HANDED_SPLICED ? 1 : 0;
    d->rest_len = h->rest.len;
    if (h->in_pipe) {
        d->pipe[0] = take_fd(fds, h->pipe[0]);
        d->pipe[1] = take_fd(fds, h->pipe[1]);
        d->in_pipe = h->in_pipe;
        rx_pipe_adopt(&c->worker->pipes);
    }
    return take_bytes(&h->rest, &d->rest);
}

static int take_proxied(struct rx_conn *c, const struct rx_handed *h)
{
    struct rx_proxy head = { .version = h->proxy_version,
                             .has_addresses = h->flags & RX_HANDED_HAS_ADDRESSES,
                             .to = h->proxy_to,
                             .tlvs = h->tlvs };
    if (!(h->flags & RX_HANDED_HAS_PROXIED))
        return 0;
    c->proxied = rx_proxied_new(&head, &h->via);
    return c->proxied ? 0 : -ENOMEM;
}

// Everything but what makes it run.
static int fill(struct rx_conn *c, const struct rx_handed *h, int *fds)
{
    bool is_flow = h->kind != RX_HANDED_PEEK;
    c->id = h->id;
    c->start_ms = h->start_ms;
    c->active_ms = h->active_ms;
    c->is_headless = h->flags & RX_HANDED_HEADLESS;
    if (c->listen->served)
        c->cell = &c->listen->served->cells[c->worker->index];
    if (is_flow)
        join_route(c, h);
    c->ends[RX_SERVER].io.fd = take_fd(fds, h->fds[RX_SERVER]);
    if (!c->is_udp)
        c->ends[RX_CLIENT].io.fd = take_fd(fds, h->fds[RX_CLIENT]);
    int rc = 0;
    for (int d = 0; d < 2; d++) {
        c->bytes[d] = h->dir[d].bytes;
        if (!rc && !c->is_udp)
            rc = take_dir(c, &c->dir[d], &h->dir[d], fds);
    }
    if (!rc)
        rc = take_bytes(&h->head, &c->head);
    if (!rc)
        c->head_len = c->head_cap = h->head.len;
    if (!rc)
        rc = take_proxied(c, h);
    return rc || !is_flow ? rc : join_backend(c, h);
}

// ---- a connection ---------------------------------------------------------------------------------------------------

static void run(struct rx_conn *c, const struct rx_handed *h)
{
    if (!join_sessions(c, h)) {
        rx_close(c, RX_REASON_SESSION_LIMIT);
        return;
    }
    switch ((enum rx_handed_kind)h->kind) {
    case RX_HANDED_PEEK:
        rx_peek_adopt(c, h->flags & RX_HANDED_DECIDED);
        return;
    case RX_HANDED_WELD:
        rx_weld_adopt(c);
        return;
    case RX_HANDED_UDP:
        rx_udp_adopt(c, h);
        return;
    case RX_HANDED_KINDS:
        break;
    }
}

// As it was before; what has been taken of it is closed.
static void undo(struct rx_conn *c)
{
    c->room = RX_ROOM_ANSWER; // any but a dead one
    rx_handover_let_go(c);
}

int rx_handover_take(struct rx_worker *workers, unsigned n_workers, const struct rx_handed *h, int *fds)
{
    struct rx_worker *w = &workers[(h->id & 0xff) % n_workers];
    struct rx_listener *at = NULL;
    const struct rx_listen *listen;
    if (h->kind == RX_HANDED_UDP && !(at = rx_udp_listener_of(workers, n_workers, h)))
        return -ENOENT;
    if (at)
        w = at->worker;
    listen = at && is_named(at->listen->name, &h->listen) ? at->listen : listen_of(w->conf, h);
    if (!listen && !(listen = at ? at->listen : NULL))
        return -ENOENT;
    struct rx_conn *c = rx_worker_conn_new(w, w->conf, h->kind == RX_HANDED_UDP);
    if (!c)
        return -ENOMEM;
    c->listen = listen;
    c->client = h->client;
    c->to_port = h->to_port;
    c->is_pending = h->kind == RX_HANDED_PEEK || (at && !(h->flags & RX_HANDED_DECIDED));
    c->ip_place = rx_admission_adopt(c, h->flags & RX_HANDED_HEADLESS);
    if (at)
        rx_udp_settle_in(c, at, h);
    int rc = fill(c, h, fds);
    if (rc) {
        undo(c);
        return rc;
    }
    rx_stat_add(&w->stat.accepted, 1);
    if (c->cell)
        rx_cell_add(&c->cell->opened, 1);
    w->last_id = RX_MAX(w->last_id, h->id >> 8);
    run(c, h);
    return 0;
}
