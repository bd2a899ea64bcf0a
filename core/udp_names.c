// SPDX-License-Identifier: MIT
// Enters: what backends answer, and datagrams of unknown addresses. Leaves: where the conversation of such a datagram goes on.
//
//  * An id stands with the place its flow went to, not with the flow: whoever looks it up, on any worker, gets refs of its own.
//  * Flows bound the list: RX_UDP_IDS each. A stripe's memory goes with its last id.
//  * An id that two backends gave out is nobody's.
#include "udp_names.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "proto/list.h"
#include "worker.h"

enum { STRIPES = 16, STRIPE_BITS = 4 };

struct name {
    struct rx_udp_node node;
    struct rx_udp_named *of;
};

struct rx_udp_named {
    struct rx_udp_place place;
    union rx_ip at; // our address
    unsigned next;  // whose turn it is to be forgotten
    struct name names[RX_UDP_IDS];
    struct rx_roam_id ids[RX_UDP_IDS]; // one each; kind RX_ROAM_NONE: none
};

static struct stripe {
    pthread_mutex_t lock;
    struct rx_udp_table table; // n_buckets 0: none yet
} stripes[STRIPES] = { [0 ... STRIPES - 1] = { .lock = PTHREAD_MUTEX_INITIALIZER } };

static struct rx_hash_key key;
static pthread_once_t has_key = PTHREAD_ONCE_INIT;
static atomic_ulong n_names;
static atomic_uint quic_lens; // QUIC ids of so many bytes were given out: a bit for each length

static void make_key(void)
{
    key = rx_hash_key_new();
}

static struct stripe *stripe_of(uint64_t hash)
{
    return &stripes[hash >> (64 - STRIPE_BITS)];
}

static struct rx_roam_id *id_of(const struct name *name)
{
    return &name->of->ids[name - name->of->names];
}

// Comparable byte by byte.
static union rx_ip address_of(const struct rx_listener *l)
{
    union rx_ip at;
    memset(&at, 0, sizeof at);
    at.sa.sa_family = l->addr.sa.sa_family;
    if (at.sa.sa_family == AF_INET) {
        at.v4.sin_addr = l->addr.v4.sin_addr;
        at.v4.sin_port = l->addr.v4.sin_port;
    } else {
        at.v6.sin6_addr = l->addr.v6.sin6_addr;
        at.v6.sin6_port = l->addr.v6.sin6_port;
        at.v6.sin6_scope_id = l->addr.v6.sin6_scope_id;
    }
    return at;
}

static bool is_name(const struct name *name, const union rx_ip *at, const struct rx_roam_id *id)
{
    return !memcmp(id_of(name), id, sizeof *id) && !memcmp(&name->of->at, at, sizeof *at);
}

// ---- places -----------------------------------------------------------------------------------------------------------

void rx_udp_place_unref(struct rx_udp_place *p)
{
    rx_roster_unref(p->roster);
    rx_conf_unref(p->conf);
}

static void place_ref(const struct rx_udp_place *p)
{
    rx_roster_ref(p->roster);
    rx_conf_ref(p->conf);
}

uint8_t rx_udp_roams(const struct rx_conn *c)
{
    const struct rx_route *r = c->route;
    const struct rx_proto *def = c->seen ? c->seen->def : NULL;
    if (c->is_identified || (r && (r->n_from || r->n_not_from || r->when_fn >= 0)))
        return RX_ROAM_NONE; // it was for that client, or for that address
    return def == &rx_proto_quic        ? RX_ROAM_QUIC
           : def == &rx_proto_wireguard ? RX_ROAM_WIREGUARD
           : def == &rx_proto_openvpn   ? RX_ROAM_OPENVPN
                                        : RX_ROAM_NONE;
}

// ---- learning -----------------------------------------------------------------------------------------------------------

static struct rx_udp_named *named_of(struct rx_conn *c)
{
    struct rx_udp_named *named = c->more.named;
    if (named || !(named = calloc(1, sizeof *named)))
        return named;
    for (unsigned i = 0; i < RX_UDP_IDS; i++)
        named->names[i].of = named;
    named->at = address_of(c->udp.listener);
    named->place = (struct rx_udp_place){ .conf = c->conf,
                                          .listen = c->listen,
                                          .route = c->route,
                                          .seen = c->seen,
                                          .pool = c->pool,
                                          .roster = c->roster,
                                          .backend = c->backend,
                                          .is_fallback_used = c->is_fallback_used };
    place_ref(&named->place);
    return c->more.named = named;
}

static void name_del(struct name *name)
{
    struct stripe *s = stripe_of(name->node.hash);
    if (id_of(name)->kind == RX_ROAM_NONE)
        return;
    pthread_mutex_lock(&s->lock);
    rx_udp_table_del(&s->table, &name->node);
    if (!s->table.n) {
        rx_udp_table_fini(&s->table);
        s->table.n_buckets = 0;
    }
    pthread_mutex_unlock(&s->lock);
    id_of(name)->kind = RX_ROAM_NONE;
    atomic_fetch_sub_explicit(&n_names, 1, memory_order_relaxed);
}

static void name_add(struct name *name, const struct rx_roam_id *id)
{
    uint64_t hash = rx_roam_hash(&key, &name->of->at, id);
    struct stripe *s = stripe_of(hash);
    *id_of(name) = *id;
    pthread_mutex_lock(&s->lock);
    bool has_table = s->table.n_buckets || rx_udp_table_init(&s->table) == 0;
    if (has_table)
        rx_udp_table_add(&s->table, &name->node, hash);
    else
        s->table.n_buckets = 0;
    pthread_mutex_unlock(&s->lock);
    if (!has_table) { // no memory: it cannot be followed
        id_of(name)->kind = RX_ROAM_NONE;
        return;
    }
    atomic_fetch_add_explicit(&n_names, 1, memory_order_relaxed);
    if (id->kind == RX_ROAM_QUIC)
        atomic_fetch_or_explicit(&quic_lens, 1u << id->len, memory_order_relaxed);
}

void rx_udp_know(struct rx_conn *c, const struct rx_roam_id *id)
{
    struct rx_udp_named *named = named_of(c);
    if (!named)
        return;
    for (unsigned i = 0; i < RX_UDP_IDS; i++) // ours to read: only this thread writes them
        if (!memcmp(&named->ids[i], id, sizeof *id))
            return;
    pthread_once(&has_key, make_key);
    struct name *name = &named->names[named->next++ % RX_UDP_IDS];
    name_del(name);
    name_add(name, id);
}

struct rx_text rx_udp_ids(const struct rx_conn *c)
{
    const struct rx_udp_named *named = c->more.named;
    return named ? (struct rx_text){ (const uint8_t *)named->ids, sizeof named->ids } : (struct rx_text){ NULL, 0 };
}

void rx_udp_introduce(struct rx_conn *c, const uint8_t *p, uint32_t len)
{
    struct rx_roam_id id;
    if (rx_roam_introduced(c->udp.roams, p, len, &id))
        rx_udp_know(c, &id);
}

void rx_udp_learn(struct rx_conn *c, const struct rx_udp_msg *m)
{
    struct rx_roam_id id;
    if (rx_roam_told(c->udp.roams, m->p, RX_MIN(m->len, m->size), &id))
        rx_udp_know(c, &id);
}

void rx_udp_unlearn(struct rx_conn *c)
{
    struct rx_udp_named *named = c->more.named;
    if (!named)
        return;
    for (unsigned i = 0; i < RX_UDP_IDS; i++)
        name_del(&named->names[i]);
    rx_udp_place_unref(&named->place);
    free(named);
    c->more.named = NULL;
}

// ---- looking up -----------------------------------------------------------------------------------------------------------

// Under the stripe's lock. Backends are told apart by their state, which generations share.
static const struct rx_udp_place *place_at(const struct rx_udp_table *t, uint64_t hash, const union rx_ip *at,
                                           const struct rx_roam_id *id)
{
    const struct rx_udp_place *found = NULL;
    struct rx_udp_node *n = NULL;
    while ((n = rx_udp_table_find(t, hash, n))) {
        const struct name *name = RX_CONTAINER(n, struct name, node);
        if (!is_name(name, at, id))
            continue;
        if (found && found->backend->state != name->of->place.backend->state)
            return NULL;
        if (!found)
            found = &name->of->place;
    }
    return found;
}

static bool find(const struct rx_listener *l, const struct rx_roam_id *id, struct rx_udp_place *place)
{
    union rx_ip at = address_of(l);
    uint64_t hash = rx_roam_hash(&key, &at, id);
    struct stripe *s = stripe_of(hash);
    pthread_mutex_lock(&s->lock);
    const struct rx_udp_place *found = s->table.n_buckets ? place_at(&s->table, hash, &at, id) : NULL;
    if (found) {
        *place = *found;
        place_ref(place);
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

bool rx_udp_find_place(const struct rx_listener *l, const struct rx_udp_msg *m, struct rx_udp_place *place,
                       struct rx_roam_id *said)
{
    uint32_t n = RX_MIN(m->len, m->size);
    if (!atomic_load_explicit(&n_names, memory_order_relaxed))
        return false;
    pthread_once(&has_key, make_key);
    if (rx_roam_said(RX_ROAM_WIREGUARD, m->p, n, 0, said) && find(l, said, place))
        return true;
    if (rx_roam_said(RX_ROAM_QUIC, m->p, n, 0, said) && find(l, said, place))
        return true;
    uint32_t lens = atomic_load_explicit(&quic_lens, memory_order_relaxed);
    for (uint32_t len = RX_ROAM_QUIC_MIN; len <= RX_ROAM_ID_MAX; len++)
        if (lens >> len & 1 && rx_roam_said(RX_ROAM_QUIC, m->p, n, len, said) && find(l, said, place))
            return true;
    return rx_roam_said(RX_ROAM_OPENVPN, m->p, n, 0, said) && find(l, said, place); // least to go by: last
}
