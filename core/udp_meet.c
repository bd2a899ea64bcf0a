// SPDX-License-Identifier: MIT
// Enters: a datagram from an address not known yet. Leaves: its flow, new; or nothing, when it is turned away.
//
//  * A client that comes from another address, and calls its server by an id this server gave out, gets a flow of its own to
//    the same backend. Nothing of the old flow moves: whether the new path is the client's is for the backend to find out, as
//    QUIC and WireGuard do, and a forged datagram gets no more than what the backend says to it.
#include "udp_flow.h"

// A flow of the generation its kin is of, counted as any.
static struct rx_conn *accept_kin(struct rx_listener *l, const union rx_ip *from, const struct rx_conn *kin,
                                  enum rx_reason *why)
{
    struct rx_worker *w = l->worker;
    struct rx_conf *conf = w->conf;
    const struct rx_listen *listen = l->listen, *trial = l->trial;
    w->conf = kin->conf;
    l->listen = kin->listen;
    l->trial = NULL;
    struct rx_conn *c = rx_accept_conn(l, from, true, why);
    w->conf = conf;
    l->listen = listen;
    l->trial = trial;
    return c;
}

// NULL: turned away.
static struct rx_udp_flow *birth(struct rx_listener *l, const struct rx_udp_msg *m, uint64_t hash,
                                 const struct rx_udp_flow *kin)
{
    struct rx_worker *w = l->worker;
    if (l->is_retired || w->is_draining)
        return NULL;
    enum rx_reason why;
    struct rx_conn *c = kin ? accept_kin(l, &m->from, &kin->c, &why) : rx_accept_conn(l, &m->from, true, &why);
    if (!c) {
        rx_accept_tell(l, &m->from, why);
        return NULL;
    }
    struct rx_udp_flow *f = rx_udp_of(c);
    c->room = RX_ROOM_PEEK;
    f->listener = l;
    f->local = m->to;
    l->n_flows++;
    rx_udp_table_add(&w->udp->table, &f->node, hash);
    if (!rx_peek_admit(c))
        return NULL;
    rx_conn_deadline(c, c->listen->peek_ms);
    return f;
}

// A flow to where its kin goes. False when it was closed.
static bool adopt(struct rx_udp_flow *f, const struct rx_udp_flow *kin, const struct rx_udp_msg *m)
{
    struct rx_conn *c = &f->c;
    struct rx_target to = { .kind = RX_TO_POOL, .pool = kin->c.pool };
    struct rx_decision d = {
        .verdict = kin->c.route ? RX_MATCH : RX_NO, .route = kin->c.route, .to = &to, .seen = kin->c.seen
    };
    struct rx_ask ask = rx_peek_ask(c, m->p, RX_MIN(m->len, m->size), RX_OPEN);
    if (!rx_peek_settle(c, &ask, &d))
        return false;
    rx_roster_unref(c->roster); // a policy's
    c->roster = rx_roster_ref(kin->c.roster);
    c->turn = kin->c.backend - kin->c.roster->backends;
    c->is_fallback_used = kin->c.is_fallback_used;
    c->to_kind = RX_TO_POOL;
    rx_udp_connect_begin(f, &to, NULL, NULL, 0);
    if (c->room != RX_ROOM_FLOW)
        return false;
    rx_udp_keep_id(f, &kin->named->id); // it may move on when its kin has ended
    return true;
}

// The flow of an address not known yet; NULL: turned away.
struct rx_udp_flow *rx_udp_meet(struct rx_listener *l, const struct rx_udp_msg *m, uint64_t hash)
{
    const struct rx_udp_flow *kin = rx_udp_find_kin(l->worker->udp, l, m);
    struct rx_udp_flow *f = birth(l, m, hash, kin);
    return f && kin && !adopt(f, kin, m) ? NULL : f;
}
