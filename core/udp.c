// SPDX-License-Identifier: MIT
// Rooms PEEK and FLOW for UDP: who is who. Enters: datagrams at a listening socket. Leaves: the same datagrams at a backend, its
// answers at the client, from the address the client asked. Each has its file: udp_meet.c for datagrams of clients not known
// yet, udp_decide.c for where a flow goes, udp_server.c for its backend and the answers, udp_send.c for what leaves,
// udp_names.c for clients that move.
//
// Invariants
//  * A flow is one client address and port, one local address, one listening socket.
//  * Datagrams keep their boundaries and, within a flow, their order.
//  * A flow whose backend is gone ends. Its client's next datagram is a new flow, which what it says must identify: a DNS
//    query and a QUIC Initial move on to another backend, the middle of a conversation does not.
#include "udp_flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mirror.h"

enum {
    DNS_IDLE_MS = 10000,  // a query is answered by then, or never
    DRAIN_IDLE_MS = 2000, // while the program ends, a flow that rests so long has ended
};

struct rx_conn *rx_udp_conn_new(void)
{
    return calloc(1, offsetof(struct rx_conn, dir) + sizeof(struct rx_udp_more));
}

int rx_udp_init(struct rx_worker *w)
{
    struct rx_udp *u = calloc(1, sizeof *u);
    if (!u)
        return -ENOMEM;
    u->in = rx_udp_batch_new();
    u->back = rx_udp_batch_new();
    u->may_segment = true;
    if (!u->in || !u->back || rx_udp_table_init(&u->table)) {
        rx_udp_table_fini(&u->table);
        rx_udp_batch_free(u->in);
        rx_udp_batch_free(u->back);
        free(u);
        return -ENOMEM;
    }
    w->udp = u;
    return 0;
}

void rx_udp_fini(struct rx_worker *w)
{
    if (!w->udp)
        return;
    rx_udp_batch_free(w->udp->in);
    rx_udp_batch_free(w->udp->back);
    rx_udp_table_fini(&w->udp->table);
    free(w->udp);
    w->udp = NULL;
}

uint32_t rx_udp_idle_ms(const struct rx_conn *c)
{
    uint32_t ms = c->route ? c->route->udp_idle_ms : c->listen->udp_idle_ms;
    if (c->seen && c->seen->def && c->seen->def->facts & RX_FACT_QNAME)
        ms = RX_MIN(ms, (uint32_t)DNS_IDLE_MS);
    return c->worker->is_draining ? RX_MIN(ms, (uint32_t)DRAIN_IDLE_MS) : ms;
}

// ---- flows ----------------------------------------------------------------------------------------------------------

static bool is_client(const union rx_ip *a, const union rx_ip *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    switch (a->sa.sa_family) {
    case AF_INET:
        return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr && a->v4.sin_port == b->v4.sin_port;
    case AF_INET6:
        return !memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) &&
               a->v6.sin6_port == b->v6.sin6_port && a->v6.sin6_scope_id == b->v6.sin6_scope_id;
    default:
        return true;
    }
}

union rx_ip rx_udp_local(const struct rx_conn *c)
{
    union rx_ip to = { .sa.sa_family = c->udp.has_local ? c->client.sa.sa_family : AF_UNSPEC };
    if (to.sa.sa_family == AF_INET) {
        memcpy(&to.v4.sin_addr, c->udp.local, sizeof to.v4.sin_addr);
    } else if (to.sa.sa_family == AF_INET6) {
        memcpy(&to.v6.sin6_addr, c->udp.local, sizeof to.v6.sin6_addr);
        to.v6.sin6_scope_id = c->udp.local_scope;
    }
    return to;
}

static bool is_local(const struct rx_udp_client *u, const union rx_ip *to)
{
    switch (to->sa.sa_family) {
    case AF_INET:
        return u->has_local && !memcmp(u->local, &to->v4.sin_addr, sizeof to->v4.sin_addr);
    case AF_INET6:
        return u->has_local && !memcmp(u->local, &to->v6.sin6_addr, sizeof to->v6.sin6_addr) &&
               u->local_scope == to->v6.sin6_scope_id;
    default:
        return !u->has_local;
    }
}

static bool is_flow_of(const struct rx_conn *c, const struct rx_listener *l, const struct rx_udp_msg *m)
{
    return c->udp.listener == l && is_client(&c->client, &m->from) && is_local(&c->udp, &m->to);
}

static struct rx_conn *find(struct rx_listener *l, const struct rx_udp_msg *m, uint64_t hash)
{
    struct rx_udp_node *n = NULL;
    while ((n = rx_udp_table_find(&l->worker->udp->table, hash, n))) {
        struct rx_conn *c = RX_CONTAINER(n, struct rx_conn, udp.node);
        if (is_flow_of(c, l, m))
            return c;
    }
    return NULL;
}

void rx_udp_forget(struct rx_conn *c)
{
    if (c->udp.run) {
        rx_udp_in(c)->touched[c->udp.run - 1] = NULL;
        c->udp.run = 0;
    }
    rx_udp_unlearn(c);
    free(c->more.grams); // or its preface
    if (c->more.mirror)
        rx_mirror_udp_free(c->more.mirror);
    rx_udp_table_del(&rx_udp_in(c)->table, &c->udp.node);
    c->udp.listener->n_flows--;
}

void rx_udp_leave(struct rx_listener *l)
{
    for (struct rx_conn *c = l->worker->living.next, *next; l->n_flows; c = next) {
        next = c->next;
        if (c->is_udp && c->udp.listener == l)
            rx_close(c, RX_REASON_SHUTDOWN);
    }
}

// What came for one flow in one message; false when the flow was closed or has not been there.
static bool hear(struct rx_conn *c, struct rx_udp_msg *m)
{
    uint32_t at = 0;
    // Datagram by datagram until the flow is decided.
    while (c->room == RX_ROOM_PEEK && (at < m->len || (at == 0 && m->len == 0))) {
        uint32_t len = RX_MIN(m->size, m->len - at);
        rx_udp_hear_undecided(c, m->p + at, len);
        if (!m->size)
            return c->room != RX_ROOM_DEAD;
        at += len;
    }
    if (c->room != RX_ROOM_FLOW || (at && at >= m->len))
        return c->room != RX_ROOM_DEAD;
    c->active_ms = rx_now_ms();
    struct rx_udp_msg rest = { .p = m->p + at, .len = m->len - at, .size = m->size };
    if (c->to_kind != RX_TO_ECHO && (RX_UNLIKELY(c->is_tapped) || c->more.preface)) {
        rx_conn_count(c, RX_TO_SERVER, rest.len);
        return rx_udp_pass_all(c, RX_TO_SERVER, &rest);
    }
    if (c->to_kind != RX_TO_ECHO)
        return rx_udp_to_backend(c, &rest);
    for (at = 0; at < rest.len || at == 0; at += rest.size) {
        rx_udp_echo(c, rest.p + at, RX_MIN(rest.size, rest.len - at));
        if (!rest.size)
            break;
    }
    return true;
}

// The kernel says how many so far, once there are any.
static void count_missed(struct rx_listener *l, uint32_t missed)
{
    if (!missed || missed == l->n_missed)
        return;
    rx_udp_lost(l->worker, RX_LOST_QUEUE, missed - l->n_missed);
    l->n_missed = missed;
}

void rx_udp_on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct rx_listener *l = RX_CONTAINER(io, struct rx_listener, io);
    if (RX_UNLIKELY(events & EV_ERROR)) {
        rx_accept_rest(l);
        return;
    }
    struct rx_udp *u = l->worker->udp;
    for (int turn = 0; turn < RX_UDP_TURNS; turn++) {
        struct rx_udp_msg *msgs;
        struct rx_conn *c = NULL; // the last one: often the next one's, too
        int n = rx_udp_receive(u->in, io->fd, RX_UDP_BATCH, &msgs);
        if (n > 0)
            count_missed(l, msgs[n - 1].missed);
        for (int i = 0; i < n; i++) {
            struct rx_udp_msg *m = &msgs[i];
            if (!l->wants_to)
                m->to.sa.sa_family = AF_UNSPEC;
            if (!c || !is_flow_of(c, l, m)) {
                struct rx_udp_key key = { l, &m->from, &m->to };
                uint64_t hash = rx_udp_hash(&u->table, &key);
                c = find(l, m, hash);
                if (!c)
                    c = rx_udp_meet(l, m, hash);
            }
            if (c && !hear(c, m))
                c = NULL;
        }
        rx_udp_flush(u);
        if (n < RX_UDP_BATCH)
            return;
    }
}

void rx_udp_on_deadline(struct rx_conn *c)
{
    if (c->room == RX_ROOM_PEEK) {
        rx_udp_decide_kept(c, RX_ENDED_TIMEOUT);
        return;
    }
    uint64_t now = rx_now_ms();
    uint32_t ms = rx_udp_idle_ms(c);
    if (now - c->active_ms >= ms)
        rx_close(c, RX_REASON_IDLE_TIMEOUT);
    else
        rx_conn_deadline(c, (uint32_t)(ms - (now - c->active_ms)));
}
