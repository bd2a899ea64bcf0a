// SPDX-License-Identifier: MIT
// Enters: a datagram from an address not known yet. Leaves: its flow, new; or nothing, when it is turned away.
//
//  * A client that comes from another address, and calls its server by an id this server gave out, gets a flow of its own to
//    the same backend. Nothing of the old flow moves: whether the new path is the client's is for the backend to find out, as
//    QUIC and WireGuard do, and a forged datagram gets no more than what the backend says to it.
#include "udp_flow.h"

#include <string.h>

// A flow of the generation the place is of, counted as any.
static struct rx_conn *accept_at(struct rx_listener *l, const union rx_ip *from, const struct rx_udp_place *place,
                                 enum rx_reason *why)
{
    struct rx_worker *w = l->worker;
    struct rx_conf *conf = w->conf;
    const struct rx_listen *listen = l->listen, *trial = l->trial;
    w->conf = place->conf;
    l->listen = place->listen;
    l->trial = NULL;
    struct rx_conn *c = rx_accept_conn(l, from, true, why);
    w->conf = conf;
    l->listen = listen;
    l->trial = trial;
    return c;
}

void rx_udp_keep_local(struct rx_conn *c, const union rx_ip *to)
{
    struct rx_udp_client *u = &c->udp;
    u->has_local = to->sa.sa_family != AF_UNSPEC;
    if (to->sa.sa_family == AF_INET) {
        memcpy(u->local, &to->v4.sin_addr, sizeof to->v4.sin_addr);
    } else if (to->sa.sa_family == AF_INET6) {
        memcpy(u->local, &to->v6.sin6_addr, sizeof to->v6.sin6_addr);
        u->local_scope = to->v6.sin6_scope_id;
    }
}

// NULL: turned away. place: where it goes; NULL: that is to be decided.
static struct rx_conn *birth(struct rx_listener *l, const struct rx_udp_msg *m, uint64_t hash,
                             const struct rx_udp_place *place)
{
    struct rx_worker *w = l->worker;
    if (l->is_retired || w->is_draining) {
        rx_udp_lost(w, RX_LOST_TURNED_AWAY, 1);
        return NULL;
    }
    enum rx_reason why;
    struct rx_conn *c = place ? accept_at(l, &m->from, place, &why) : rx_accept_conn(l, &m->from, true, &why);
    if (!c) {
        rx_accept_tell(l, &m->from, why);
        rx_udp_lost(w, RX_LOST_TURNED_AWAY, 1);
        return NULL;
    }
    c->room = RX_ROOM_PEEK;
    c->udp.listener = l;
    rx_udp_keep_local(c, &m->to);
    l->n_flows++;
    rx_udp_table_add(&w->udp->table, &c->udp.node, hash);
    if (!rx_peek_admit(c)) {
        rx_udp_lost(w, RX_LOST_TURNED_AWAY, 1);
        return NULL;
    }
    rx_conn_deadline(c, c->listen->peek_ms);
    return c;
}

// A flow to where its kin went. False when it was closed.
static bool adopt(struct rx_conn *c, const struct rx_udp_place *place, const struct rx_udp_msg *m)
{
    struct rx_target to = { .kind = RX_TO_POOL, .pool = place->pool };
    struct rx_decision d = {
        .verdict = place->route ? RX_MATCH : RX_NO, .route = place->route, .to = &to, .seen = place->seen
    };
    struct rx_ask ask = rx_peek_ask(c, m->p, RX_MIN(m->len, m->size), RX_OPEN);
    if (!rx_peek_settle(c, &ask, &d))
        return false;
    rx_roster_unref(c->roster); // a policy's
    c->roster = rx_roster_ref(place->roster);
    c->turn = (int32_t)(place->backend - place->roster->backends);
    c->is_fallback_used = place->is_fallback_used;
    c->to_kind = RX_TO_POOL;
    rx_udp_connect_begin(c, &to, NULL, NULL, 0);
    return c->room == RX_ROOM_FLOW;
}

struct rx_conn *rx_udp_meet(struct rx_listener *l, const struct rx_udp_msg *m, uint64_t hash)
{
    struct rx_udp_place place;
    struct rx_roam_id said;
    if (!rx_udp_find_place(l, m, &place, &said))
        return birth(l, m, hash, NULL);
    struct rx_conn *c = birth(l, m, hash, &place);
    if (c && !adopt(c, &place, m))
        c = NULL;
    if (c)
        rx_udp_know(c, &said); // it may move on when its kin has ended
    rx_udp_place_unref(&place);
    return c;
}
