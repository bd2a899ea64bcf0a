// SPDX-License-Identifier: MIT
// Enters: what backends answer, and datagrams of unknown addresses. Leaves: the flow whose conversation such a datagram
// belongs to. The ids a worker's flows are known by are one table; a flow has at most one.
#include "udp_flow.h"

#include <stdlib.h>
#include <string.h>

#include "proto/list.h"

enum rx_roam_kind rx_udp_roam_kind(const struct rx_conn *c)
{
    const struct rx_route *r = c->route;
    const struct rx_proto *def = c->seen ? c->seen->def : NULL;
    if (c->is_identified || (r && (r->n_from || r->n_not_from || r->when_fn >= 0)))
        return RX_ROAM_NONE; // it was for that client, or for that address
    return def == &rx_proto_quic ? RX_ROAM_QUIC : def == &rx_proto_wireguard ? RX_ROAM_WIREGUARD : RX_ROAM_NONE;
}

void rx_udp_forget_id(struct rx_udp_flow *f)
{
    if (f->named)
        rx_udp_table_del(&rx_udp_in(f)->ids, &f->named->node);
    free(f->named);
    f->named = NULL;
}

void rx_udp_keep_id(struct rx_udp_flow *f, const struct rx_roam_id *id)
{
    struct rx_udp *u = rx_udp_in(f);
    if (f->named && !memcmp(&f->named->id, id, sizeof *id))
        return;
    rx_udp_forget_id(f);
    f->named = malloc(sizeof *f->named);
    if (!f->named)
        return;
    f->named->flow = f;
    f->named->id = *id;
    if (id->kind == RX_ROAM_QUIC)
        u->id_lens |= 1u << id->len;
    rx_udp_table_add(&u->ids, &f->named->node, rx_roam_hash(&u->ids, f->listener, id));
}

void rx_udp_learn_id(struct rx_udp_flow *f, const struct rx_udp_msg *m)
{
    struct rx_roam_id id;
    if (rx_roam_told(f->roams, m->p, RX_MIN(m->len, m->size), &id))
        rx_udp_keep_id(f, &id);
}

static struct rx_udp_flow *find_id(struct rx_udp *u, const struct rx_listener *l, const struct rx_roam_id *id)
{
    struct rx_udp_node *n = NULL;
    uint64_t hash = rx_roam_hash(&u->ids, l, id);
    while ((n = rx_udp_table_find(&u->ids, hash, n))) {
        struct rx_udp_named *named = RX_CONTAINER(n, struct rx_udp_named, node);
        if (named->flow->listener == l && !memcmp(&named->id, id, sizeof *id))
            return named->flow;
    }
    return NULL;
}

// The flow whose conversation a datagram from an unknown address belongs to.
struct rx_udp_flow *rx_udp_find_kin(struct rx_udp *u, const struct rx_listener *l, const struct rx_udp_msg *m)
{
    struct rx_roam_id id;
    struct rx_udp_flow *f = NULL;
    uint32_t n = RX_MIN(m->len, m->size);
    if (!u->ids.n)
        return NULL;
    if (rx_roam_said(RX_ROAM_WIREGUARD, m->p, n, 0, &id))
        return find_id(u, l, &id);
    for (uint32_t len = RX_ROAM_ID_MIN; !f && len <= RX_ROAM_ID_MAX; len++)
        if (u->id_lens >> len & 1 && rx_roam_said(RX_ROAM_QUIC, m->p, n, len, &id))
            f = find_id(u, l, &id);
    return f;
}
