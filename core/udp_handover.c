// SPDX-License-Identifier: MIT
// Enters: a flow that another process is to serve, or one that another has served. Leaves: what is to be told of it, or a flow
// in the table as if it had begun here.
// All flows of a socket go together: whoever has the socket gets its clients' datagrams, so none can finish in the old process.
// Those that hooks watch end there, for the hooks, and begin here.
#include <stdlib.h>
#include <string.h>

#include "hook.h"
#include "udp_flow.h"

bool rx_udp_may_go(struct rx_conn *c)
{
    return !rx_udp_of(c)->listener->is_retired;
}

void rx_udp_tell(struct rx_conn *c, struct rx_handed *h)
{
    const struct rx_udp_flow *f = rx_udp_of(c);
    h->at = f->listener->addr;
    h->slot = f->listener->slot;
    h->local = f->local;
    h->roams = f->roams;
    h->preface = (struct rx_text){ f->preface, f->preface_len };
    h->grams = (struct rx_text){ (const uint8_t *)f->gram_len, f->n_grams * (uint32_t)sizeof *f->gram_len };
    if (f->named)
        h->name = (struct rx_text){ (const uint8_t *)&f->named->id, sizeof f->named->id };
    if (c->room == RX_ROOM_FLOW)
        h->flags |= RX_HANDED_DECIDED;
    if (f->may_segment)
        h->flags |= RX_HANDED_MAY_SEGMENT;
}

struct rx_listener *rx_udp_listener_of(struct rx_worker *workers, unsigned n, const struct rx_handed *h)
{
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < workers[i].n_listeners; k++) {
            struct rx_listener *l = workers[i].listeners[k];
            if (l->is_udp && l->slot == h->slot && rx_addr_equal(&l->addr.sa, &h->at.sa))
                return l;
        }
    return NULL;
}

void rx_udp_settle_in(struct rx_conn *c, struct rx_listener *l, const struct rx_handed *h)
{
    struct rx_udp_flow *f = rx_udp_of(c);
    struct rx_udp_table *table = &rx_udp_in(f)->table;
    f->listener = l;
    f->local = h->local;
    l->n_flows++;
    struct rx_udp_key key = { l, &c->client, &f->local };
    rx_udp_table_add(table, &f->node, rx_udp_hash(table, &key));
}

static bool take_preface(struct rx_udp_flow *f, const struct rx_text *t)
{
    if (!t->len)
        return true;
    if (!(f->preface = malloc(t->len)))
        return false;
    memcpy(f->preface, t->ptr, t->len);
    f->preface_len = t->len;
    return true;
}

// A client that moves is sent to the backend of its kin; that must still be one of a pool.
static void take_name(struct rx_udp_flow *f, const struct rx_text *t)
{
    struct rx_roam_id id;
    const struct rx_conn *c = &f->c;
    f->roams = c->pool && c->roster->n_tiers ? (uint8_t)rx_udp_roam_kind(c) : RX_ROAM_NONE;
    if (!f->roams || t->len != sizeof id)
        return;
    memcpy(&id, t->ptr, sizeof id);
    if (id.kind == f->roams && id.len <= RX_ROAM_ID_MAX)
        rx_udp_keep_id(f, &id);
}

void rx_udp_adopt(struct rx_conn *c, const struct rx_handed *h)
{
    struct rx_udp_flow *f = rx_udp_of(c);
    const struct rx_hooks *hooks = c->route ? c->route->hooks : c->listen->hooks;
    bool is_decided = h->flags & RX_HANDED_DECIDED;
    c->room = is_decided ? RX_ROOM_FLOW : RX_ROOM_PEEK;
    c->turn = -1;
    f->may_segment = h->flags & RX_HANDED_MAY_SEGMENT;
    if (!take_preface(f, &h->preface) || !rx_udp_take_kept(f, &h->grams) ||
        (is_decided && hooks && rx_hook_begin(c, NULL, NULL, 0))) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    uint64_t spent = rx_now_ms() - c->start_ms;
    rx_conn_deadline(c, is_decided || spent >= c->listen->peek_ms ? 0 : (uint32_t)(c->listen->peek_ms - spent));
    if (!is_decided)
        return;
    if (c->ends[RX_SERVER].io.fd >= 0) {
        take_name(f, &h->name);
        rx_udp_hear_backend(f, c->ends[RX_SERVER].io.fd);
    }
    rx_udp_tap_begin(f);
}
