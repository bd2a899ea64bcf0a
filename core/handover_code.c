// SPDX-License-Identifier: MIT
// Enters: struct rx_handed. Leaves: bytes, or the other way round. One function walks the fields for both ways, so that
// they cannot differ. Reading believes nothing: lengths, numbers and descriptors are within bounds, addresses are ones.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "handover.h"
#include "udp_names.h"

enum { GRAMS_MOST = 1024 };

struct coder {
    uint8_t *p; // reading: of others, not written
    size_t at, len;
    struct rx_handover *to; // NULL: reading
    unsigned n_fds;
    bool is_bad;
};

// ---- fields ---------------------------------------------------------------------------------------------------------

static bool make_room(struct rx_handover *o, size_t n)
{
    if (o->cap - o->len >= n)
        return true;
    size_t cap = RX_MAX(o->cap * 2, o->len + n + 4096);
    uint8_t *grown = realloc(o->bytes, cap);
    if (!grown)
        return false;
    o->bytes = grown;
    o->cap = cap;
    return true;
}

static void raw(struct coder *c, void *v, size_t n)
{
    if (c->is_bad)
        return;
    if (!c->to) {
        if ((c->is_bad = c->len - c->at < n))
            memset(v, 0, n);
        else
            memcpy(v, c->p + c->at, n);
        c->at += c->is_bad ? 0 : n;
        return;
    }
    if ((c->is_bad = !make_room(c->to, n)))
        return;
    if (n)
        memcpy(c->to->bytes + c->to->len, v, n);
    c->to->len += n;
}

static void text(struct coder *c, struct rx_text *t)
{
    uint32_t n = t->len;
    raw(c, &n, sizeof n);
    if (c->to) {
        raw(c, (void *)(uintptr_t)t->ptr, n);
        return;
    }
    if (c->is_bad || c->len - c->at < n) {
        c->is_bad = true;
        *t = (struct rx_text){ 0 };
        return;
    }
    *t = (struct rx_text){ c->p + c->at, n };
    c->at += n;
}

// A name becomes a C string: nothing after its end.
static void name(struct coder *c, struct rx_text *t)
{
    text(c, t);
    if (!c->to && t->len && memchr(t->ptr, 0, t->len))
        c->is_bad = true;
}

static void ip(struct coder *c, union rx_ip *v)
{
    raw(c, v, sizeof *v);
    int family = v->sa.sa_family;
    if (!c->to && family != AF_INET && family != AF_INET6 && family != AF_UNSPEC)
        c->is_bad = true;
}

static void address(struct coder *c, struct rx_addr *a)
{
    uint32_t n = a->len;
    raw(c, &n, sizeof n);
    if (c->is_bad || n > sizeof a->un) {
        c->is_bad = true;
        return;
    }
    raw(c, &a->un, n);
    a->len = n;
    if (c->to || !n)
        return;
    switch (n >= sizeof(sa_family_t) ? a->sa.sa_family : AF_UNSPEC) {
    case AF_INET:
        c->is_bad |= n != sizeof a->v4;
        break;
    case AF_INET6:
        c->is_bad |= n != sizeof a->v6;
        break;
    case AF_UNIX:
        c->is_bad |= n != sizeof a->un || !memchr(a->un.sun_path, 0, sizeof a->un.sun_path);
        break;
    default:
        c->is_bad = true;
    }
}

static void descriptor(struct coder *c, int32_t *fd)
{
    raw(c, fd, sizeof *fd);
    if (!c->to && (*fd < -1 || (*fd >= 0 && (unsigned)*fd >= c->n_fds)))
        c->is_bad = true;
}

static void direction(struct coder *c, struct rx_handed_dir *d)
{
    raw(c, &d->flags, sizeof d->flags);
    raw(c, &d->bytes, sizeof d->bytes);
    text(c, &d->rest);
    raw(c, &d->in_pipe, sizeof d->in_pipe);
    descriptor(c, &d->pipe[0]);
    descriptor(c, &d->pipe[1]);
}

// ---- a connection ---------------------------------------------------------------------------------------------------

static void walk_udp(struct coder *c, struct rx_handed *h)
{
    address(c, &h->at);
    raw(c, &h->slot, sizeof h->slot);
    ip(c, &h->local);
    text(c, &h->preface);
    text(c, &h->name);
    text(c, &h->grams);
    raw(c, &h->roams, sizeof h->roams);
}

static void walk(struct coder *c, struct rx_handed *h)
{
    raw(c, &h->kind, sizeof h->kind);
    raw(c, &h->to_kind, sizeof h->to_kind);
    raw(c, &h->flags, sizeof h->flags);
    raw(c, &h->id, sizeof h->id);
    raw(c, &h->start_ms, sizeof h->start_ms);
    raw(c, &h->active_ms, sizeof h->active_ms);
    ip(c, &h->client);
    raw(c, &h->to_port, sizeof h->to_port);
    struct rx_text *names[] = { &h->listen, &h->route, &h->seen, &h->pool, &h->backend, &h->told };
    for (unsigned i = 0; i < RX_COUNT(names); i++)
        name(c, names[i]);
    text(c, &h->seat);
    raw(c, &h->route_nth, sizeof h->route_nth);
    address(c, &h->to);
    text(c, &h->head);
    descriptor(c, &h->fds[0]);
    descriptor(c, &h->fds[1]);
    direction(c, &h->dir[0]);
    direction(c, &h->dir[1]);
    if (h->flags & RX_HANDED_HAS_PROXIED) {
        raw(c, &h->proxy_version, sizeof h->proxy_version);
        ip(c, &h->via);
        ip(c, &h->proxy_to);
        text(c, &h->tlvs);
    }
    if (h->kind == RX_HANDED_UDP)
        walk_udp(c, h);
}

static bool has_pipe_right(const struct rx_handed_dir *d)
{
    bool has = d->pipe[0] >= 0 && d->pipe[1] >= 0;
    return has ? d->in_pipe > 0 && !d->rest.len : d->pipe[0] < 0 && d->pipe[1] < 0 && !d->in_pipe;
}

static bool are_grams_right(const struct rx_handed *h)
{
    uint64_t sum = 0;
    uint32_t n;
    if (h->grams.len % sizeof n || h->grams.len / sizeof n > GRAMS_MOST)
        return false;
    for (uint32_t at = 0; at < h->grams.len; at += (uint32_t)sizeof n) {
        memcpy(&n, h->grams.ptr + at, sizeof n);
        sum += n;
    }
    return sum == h->head.len;
}

// What can be wrong although every field is well formed.
static bool is_right(const struct rx_handed *h)
{
    if (h->kind >= RX_HANDED_KINDS || h->to_kind > RX_TO_SCRIPT)
        return false;
    if (!has_pipe_right(&h->dir[0]) || !has_pipe_right(&h->dir[1]))
        return false;
    switch ((enum rx_handed_kind)h->kind) {
    case RX_HANDED_PEEK:
        return h->fds[RX_CLIENT] >= 0 && h->fds[RX_SERVER] < 0;
    case RX_HANDED_WELD:
        return h->fds[RX_CLIENT] >= 0 && h->fds[RX_SERVER] >= 0 && h->to.len;
    case RX_HANDED_UDP:
        return h->fds[RX_CLIENT] < 0 && h->at.len && (h->fds[RX_SERVER] < 0 || h->to.len) && are_grams_right(h) &&
               h->name.len % sizeof(struct rx_roam_id) == 0 && h->name.len <= RX_UDP_IDS * sizeof(struct rx_roam_id) &&
               h->roams <= RX_ROAM_OPENVPN;
    case RX_HANDED_KINDS:
        break;
    }
    return false;
}

// ---- all of them ----------------------------------------------------------------------------------------------------

enum { HEADER = 4 + 4 + 8, COUNT_AT = 4 };

int rx_handover_begin(struct rx_handover *o, uint64_t last_id)
{
    struct coder c = { .to = o };
    uint32_t version = RX_HANDOVER_VERSION, n = 0;
    raw(&c, &version, sizeof version);
    raw(&c, &n, sizeof n);
    raw(&c, &last_id, sizeof last_id);
    return c.is_bad ? -ENOMEM : 0;
}

int rx_handover_add(struct rx_handover *o, const struct rx_handed *h)
{
    struct coder c = { .to = o };
    size_t at = o->len;
    uint32_t size = 0;
    struct rx_handed copy = *h;
    raw(&c, &size, sizeof size);
    walk(&c, &copy);
    if (c.is_bad || o->len - at > UINT32_MAX) {
        o->len = at;
        return -ENOMEM;
    }
    size = (uint32_t)(o->len - at - sizeof size);
    memcpy(o->bytes + at, &size, sizeof size);
    uint32_t n;
    memcpy(&n, o->bytes + COUNT_AT, sizeof n);
    n++;
    memcpy(o->bytes + COUNT_AT, &n, sizeof n);
    return 0;
}

void rx_handover_fini(struct rx_handover *o)
{
    free(o->bytes);
    free(o->fds);
    free(o->conns);
    *o = (struct rx_handover){ 0 };
}

int rx_handover_open(struct rx_handover_reader *r, const uint8_t *p, size_t len, unsigned n_fds)
{
    uint32_t version;
    *r = (struct rx_handover_reader){ .p = p, .len = len, .at = HEADER, .n_fds = n_fds };
    if (len < HEADER)
        return -EPROTO;
    memcpy(&version, p, sizeof version);
    memcpy(&r->n, p + COUNT_AT, sizeof r->n);
    memcpy(&r->last_id, p + 8, sizeof r->last_id);
    return version == RX_HANDOVER_VERSION && r->n <= len / sizeof r->n ? 0 : -EPROTO;
}

int rx_handover_next(struct rx_handover_reader *r, struct rx_handed *h)
{
    uint32_t size;
    if (r->at == r->len)
        return 0;
    if (r->len - r->at < sizeof size)
        return -EPROTO;
    memcpy(&size, r->p + r->at, sizeof size);
    r->at += sizeof size;
    if (r->len - r->at < size)
        return -EPROTO;
    struct coder c = { .p = (uint8_t *)(uintptr_t)r->p + r->at, .len = size, .n_fds = r->n_fds };
    memset(h, 0, sizeof *h);
    walk(&c, h);
    if (c.is_bad || c.at != size || !is_right(h))
        return -EPROTO;
    r->at += size;
    return 1;
}
