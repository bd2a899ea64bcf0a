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
    return !c->udp.listener->is_retired;
}

void rx_udp_tell(struct rx_conn *c, struct rx_handed *h)
{
    const struct rx_udp_grams *g = c->room == RX_ROOM_PEEK ? c->more.grams : NULL;
    const struct rx_udp_preface *preface = c->room == RX_ROOM_FLOW ? c->more.preface : NULL;
    h->at = c->udp.listener->addr;
    h->slot = c->udp.listener->slot;
    h->local = rx_udp_local(c);
    h->roams = c->udp.roams;
    h->name = rx_udp_ids(c);
    if (preface)
        h->preface = (struct rx_text){ preface->bytes, preface->len };
    if (g)
        h->grams = (struct rx_text){ (const uint8_t *)g->len, g->n * (uint32_t)sizeof *g->len };
    if (c->room == RX_ROOM_FLOW)
        h->flags |= RX_HANDED_DECIDED;
    if (c->udp.may_segment)
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
    struct rx_udp_table *table = &rx_udp_in(c)->table;
    struct rx_udp_key key = { l, &c->client, &h->local };
    c->udp.listener = l;
    rx_udp_keep_local(c, &h->local);
    l->n_flows++;
    rx_udp_table_add(table, &c->udp.node, rx_udp_hash(table, &key));
}

static bool take_preface(struct rx_conn *c, const struct rx_text *t)
{
    if (!t->len)
        return true;
    if (!(c->more.preface = malloc(sizeof *c->more.preface + t->len)))
        return false;
    c->more.preface->len = t->len;
    memcpy(c->more.preface->bytes, t->ptr, t->len);
    return true;
}

// A client that moves is sent to the backend of its kin; that must still be one of a pool.
static void take_names(struct rx_conn *c, const struct rx_text *t)
{
    struct rx_roam_id id;
    c->udp.roams = c->pool && c->roster->n_tiers ? rx_udp_roams(c) : RX_ROAM_NONE;
    for (uint32_t at = 0; c->udp.roams && at + sizeof id <= t->len; at += (uint32_t)sizeof id) {
        memcpy(&id, t->ptr + at, sizeof id);
        if (id.kind == c->udp.roams && id.len <= RX_ROAM_ID_MAX)
            rx_udp_know(c, &id);
    }
}

void rx_udp_adopt(struct rx_conn *c, const struct rx_handed *h)
{
    const struct rx_hooks *hooks = c->route ? c->route->hooks : c->listen->hooks;
    bool is_decided = h->flags & RX_HANDED_DECIDED;
    c->room = is_decided ? RX_ROOM_FLOW : RX_ROOM_PEEK;
    c->turn = -1;
    c->udp.may_segment = h->flags & RX_HANDED_MAY_SEGMENT;
    bool is_taken = is_decided ? take_preface(c, &h->preface) : rx_udp_take_kept(c, &h->grams);
    if (!is_taken ||
        (is_decided && hooks && rx_hook_begin(c, NULL, NULL, 0))) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    uint64_t spent = rx_now_ms() - c->start_ms;
    rx_conn_deadline(c, is_decided || spent >= c->listen->peek_ms ? 0 : (uint32_t)(c->listen->peek_ms - spent));
    if (!is_decided)
        return;
    if (c->ends[RX_SERVER].io.fd >= 0) {
        take_names(c, &h->name);
        rx_udp_hear_backend(c, c->ends[RX_SERVER].io.fd);
    }
    rx_udp_tap_begin(c);
}
