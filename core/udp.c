// SPDX-License-Identifier: MIT
// Rooms PEEK and FLOW for UDP. Enters: datagrams at a listening socket. Leaves: the same datagrams at a backend, its
// answers at the client, from the address the client asked.
//
// Invariants
//  * A flow is one client address and port, one local address, one listening socket; one socket of its own is connected to
//    its backend, so that an ICMP answer speaks for this flow alone.
//  * Datagrams keep their boundaries and, within a flow, their order. What has to wait (an undecided flow's) is bounded by
//    peek_buffer_size and GRAMS_MAX; what finds no room in a socket is lost, as on any full queue, and counted.
//  * What one receive brought is sent when all of it has been sorted by flow: runs of equal-sized datagrams leave as one send.
//  * A flow whose backend is gone ends. Its client's next datagram is a new flow, which what it says must identify: a DNS
//    query and a QUIC Initial move on to another backend, the middle of a conversation does not.
//
//  * A client that comes from another address, and calls its server by an id this server gave out, gets a flow of its own to
//    the same backend. Nothing of the old flow moves: whether the new path is the client's is for the backend to find out, as
//    QUIC and WireGuard do, and a forged datagram gets no more than what the backend says to it.
//
// Deliberately not done: answers to what is turned away (a source address may be forged), and following a client to another
// worker, whose socket the kernel may choose for its new address.
#include "udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "hook.h"
#include "log.h"
#include "mirror.h"
#include "proxied.h"
#include "proto/list.h"
#include "roster.h"
#include "udp_io.h"
#include "udp_roam.h"
#include "worker.h"

enum {
    TURNS = 4,          // receives one event may do
    GRAMS_MAX = 32,     // datagrams an undecided flow may wait with
    DNS_IDLE_MS = 10000, // a query is answered by then, or never
    DRAIN_IDLE_MS = 2000, // while the program ends, a flow that rests so long has ended
    ANSWER_FACTOR = 3,  // an answer of our own is at most so many times what was asked (RFC 9000 8.1's bound)
    DNS_ANSWER_MAX = 512, // RFC 1035 4.2.1
};

struct rx_udp {
    struct rx_udp_batch *in, *back; // from clients, from backends
    struct rx_udp_table table;
    struct rx_udp_table ids; // of struct named
    uint32_t id_lens;        // QUIC ids of so many bytes were given out: a bit for each length
    struct rx_udp_run runs[RX_UDP_BATCH];
    struct rx_udp_flow *touched[RX_UDP_BATCH]; // whose run it is; NULL: closed meanwhile
    unsigned n_touched;
    bool may_segment; // towards clients
};

int rx_udp_init(struct rx_worker *w)
{
    struct rx_udp *u = calloc(1, sizeof *u);
    if (!u)
        return -ENOMEM;
    u->in = rx_udp_batch_new();
    u->back = rx_udp_batch_new();
    u->may_segment = true;
    if (!u->in || !u->back || rx_udp_table_init(&u->table) || rx_udp_table_init(&u->ids)) {
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
    rx_udp_table_fini(&w->udp->ids);
    free(w->udp);
    w->udp = NULL;
}

static struct rx_udp *udp_of(const struct rx_udp_flow *f)
{
    return f->c.worker->udp;
}

static void count_lost(struct rx_worker *w, uint32_t lost)
{
    if (lost)
        rx_stat_add(&w->stat.lost, lost);
}

static uint32_t idle_ms(const struct rx_conn *c)
{
    uint32_t ms = c->route ? c->route->udp_idle_ms : c->listen->udp_idle_ms;
    if (c->seen && c->seen->def && c->seen->def->facts & RX_FACT_QNAME)
        ms = RX_MIN(ms, (uint32_t)DNS_IDLE_MS);
    return c->worker->is_draining ? RX_MIN(ms, (uint32_t)DRAIN_IDLE_MS) : ms;
}

// ---- towards the client ---------------------------------------------------------------------------------------------

static struct rx_udp_path client_path(struct rx_udp_flow *f)
{
    return (struct rx_udp_path){ .fd = f->listener->io.fd,
                                 .to = &f->c.client,
                                 .from = &f->local,
                                 .may_segment = &udp_of(f)->may_segment };
}

static void tell_client(struct rx_udp_flow *f, const uint8_t *p, uint32_t len)
{
    struct rx_udp_path path = client_path(f);
    if (rx_udp_send(&path, p, len)) {
        count_lost(f->c.worker, 1);
        return;
    }
    rx_conn_count(&f->c, RX_TO_CLIENT, len);
    if (f->c.hooked)
        rx_hook_data(&f->c, RX_TO_CLIENT, p, len);
}

// ---- towards the backend --------------------------------------------------------------------------------------------

static struct rx_udp_path server_path(struct rx_udp_flow *f)
{
    return (struct rx_udp_path){ .fd = f->c.ends[RX_SERVER].io.fd, .may_segment = &f->may_segment };
}

static bool is_loss(int rc)
{
    return rc == -EAGAIN || rc == -EWOULDBLOCK || rc == -ENOBUFS || rc == -EMSGSIZE || rc == -EPERM;
}

static void lose_backend(struct rx_udp_flow *f, int err)
{
    if (rx_connect_failed(&f->c, err))
        rx_close(&f->c, RX_REASON_BACKEND_DOWN);
}

// Sends what a flow got in this turn; the flow may be closed by it.
static void flush_run(struct rx_udp *u, unsigned i)
{
    struct rx_udp_flow *f = u->touched[i];
    uint32_t lost = 0;
    if (!f)
        return;
    f->run = 0;
    struct rx_udp_path path = server_path(f);
    int rc = rx_udp_run_send(&u->runs[i], &path, &lost);
    count_lost(f->c.worker, lost);
    if (rc && !is_loss(rc))
        lose_backend(f, -rc);
}

static void flush_runs(struct rx_udp *u)
{
    for (unsigned i = 0; i < u->n_touched; i++)
        flush_run(u, i);
    u->n_touched = 0;
}

// False when the flow was closed.
static bool to_backend(struct rx_udp_flow *f, const struct rx_udp_msg *m)
{
    struct rx_udp *u = udp_of(f);
    struct rx_udp_path path = server_path(f);
    uint32_t lost = 0;
    if (!f->run) {
        u->touched[u->n_touched] = f;
        u->runs[u->n_touched] = (struct rx_udp_run){ .n = 0 };
        f->run = (uint8_t)++u->n_touched;
    }
    rx_conn_count(&f->c, RX_TO_SERVER, m->len);
    int rc = rx_udp_run_add(&u->runs[f->run - 1], &path, m, &lost);
    count_lost(f->c.worker, lost);
    if (!rc || is_loss(rc))
        return true;
    lose_backend(f, -rc);
    return false;
}

// ---- who looks on: hooks, filters and mirrors ------------------------------------------------------------------------

// The flow has reached its backend, or is answered here.
static void tap_begin(struct rx_udp_flow *f)
{
    struct rx_conn *c = &f->c;
    if (c->hooked) {
        c->is_filtered = c->hooked->set->has_filter && c->backend;
        rx_hook_open(c);
    }
    if (c->backend && c->route && c->route->mirror.kind == RX_TO_POOL)
        f->mirror = rx_mirror_udp_open(c);
    c->is_tapped = c->hooked || f->mirror;
}

static void tap(struct rx_udp_flow *f, enum rx_direction dir, const uint8_t *p, uint32_t len)
{
    if (f->c.hooked)
        rx_hook_data(&f->c, dir, p, len);
    if (f->mirror && dir == RX_TO_SERVER)
        rx_mirror_udp_send(f->mirror, p, len);
}

// One datagram of a flow that somebody looks at, counted by the caller. False when the flow was closed.
static bool pass(struct rx_udp_flow *f, enum rx_direction dir, const uint8_t *p, uint32_t len)
{
    struct rx_conn *c = &f->c;
    struct rx_filtered io = { p, len, NULL };
    enum rx_filter verdict = c->is_filtered ? rx_hook_filter(c, dir, &io) : RX_FILTER_PASS;
    if (verdict != RX_FILTER_PASS || (io.owned && !io.n)) { // nothing in its place: it is dropped
        free(io.owned);
        if (verdict != RX_FILTER_PASS)
            rx_close(c, verdict == RX_FILTER_REFUSED ? RX_REASON_FILTER_REFUSED : RX_REASON_FILTER_FAILED);
        return verdict == RX_FILTER_PASS;
    }
    tap(f, dir, io.p, (uint32_t)io.n);
    struct rx_udp_path path = dir == RX_TO_SERVER ? server_path(f) : client_path(f);
    const struct rx_udp_msg preface = { .p = f->preface, .len = f->preface_len };
    int rc = f->preface && dir == RX_TO_SERVER ? rx_udp_send_behind(&path, &preface, io.p, (uint32_t)io.n)
                                               : rx_udp_send(&path, io.p, (uint32_t)io.n);
    free(io.owned);
    bool is_backend_gone = rc && !is_loss(rc) && dir == RX_TO_SERVER;
    count_lost(c->worker, rc && !is_backend_gone);
    if (is_backend_gone)
        lose_backend(f, -rc);
    return !is_backend_gone;
}

static bool pass_all(struct rx_udp_flow *f, enum rx_direction dir, const struct rx_udp_msg *m)
{
    uint32_t at = 0;
    do {
        uint32_t len = RX_MIN(m->size, m->len - at);
        if (!pass(f, dir, m->p + at, len))
            return false;
        at += len;
    } while (at < m->len);
    return true;
}

// ---- ids --------------------------------------------------------------------------------------------------------------

// A flow's id; at most one each.
struct named {
    struct rx_udp_node node;
    struct rx_udp_flow *flow;
    struct rx_roam_id id;
};

static enum rx_roam_kind roam_kind(const struct rx_conn *c)
{
    const struct rx_route *r = c->route;
    const struct rx_proto *def = c->seen ? c->seen->def : NULL;
    if (c->is_identified || (r && (r->n_from || r->n_not_from || r->when_fn >= 0)))
        return RX_ROAM_NONE; // it was for that client, or for that address
    return def == &rx_proto_quic ? RX_ROAM_QUIC : def == &rx_proto_wireguard ? RX_ROAM_WIREGUARD : RX_ROAM_NONE;
}

static void forget_id(struct rx_udp_flow *f)
{
    if (f->named)
        rx_udp_table_del(&udp_of(f)->ids, &f->named->node);
    free(f->named);
    f->named = NULL;
}

static void keep_id(struct rx_udp_flow *f, const struct rx_roam_id *id)
{
    struct rx_udp *u = udp_of(f);
    if (f->named && !memcmp(&f->named->id, id, sizeof *id))
        return;
    forget_id(f);
    f->named = malloc(sizeof *f->named);
    if (!f->named)
        return;
    f->named->flow = f;
    f->named->id = *id;
    if (id->kind == RX_ROAM_QUIC)
        u->id_lens |= 1u << id->len;
    rx_udp_table_add(&u->ids, &f->named->node, rx_roam_hash(&u->ids, f->listener, id));
}

static void learn_id(struct rx_udp_flow *f, const struct rx_udp_msg *m)
{
    struct rx_roam_id id;
    if (rx_roam_told(f->roams, m->p, RX_MIN(m->len, m->size), &id))
        keep_id(f, &id);
}

static struct rx_udp_flow *find_id(struct rx_udp *u, const struct rx_listener *l, const struct rx_roam_id *id)
{
    struct rx_udp_node *n = NULL;
    uint64_t hash = rx_roam_hash(&u->ids, l, id);
    while ((n = rx_udp_table_find(&u->ids, hash, n))) {
        struct named *named = RX_CONTAINER(n, struct named, node);
        if (named->flow->listener == l && !memcmp(&named->id, id, sizeof *id))
            return named->flow;
    }
    return NULL;
}

// The flow whose conversation a datagram from an unknown address belongs to.
static struct rx_udp_flow *find_kin(struct rx_udp *u, const struct rx_listener *l, const struct rx_udp_msg *m)
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

static void udp_on_backend(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop, (void)events;
    struct rx_conn *c = RX_CONTAINER(io, struct rx_conn, ends[RX_SERVER].io);
    struct rx_udp_flow *f = rx_udp_of(c);
    struct rx_udp *u = udp_of(f);
    for (int turn = 0; turn < TURNS; turn++) {
        struct rx_udp_msg *msgs;
        struct rx_udp_run run = { .n = 0 };
        struct rx_udp_path path = client_path(f);
        uint32_t lost = 0;
        int n = rx_udp_receive(u->back, io->fd, RX_UDP_BATCH, &msgs);
        if (n < 0) {
            lose_backend(f, -n);
            return;
        }
        if (n == 0)
            return;
        c->active_ms = rx_now_ms();
        if (!c->dir[RX_TO_CLIENT].bytes)
            rx_backend_connected(c->backend->state, c->active_ms);
        for (int i = 0; i < n; i++) {
            rx_conn_count(c, RX_TO_CLIENT, msgs[i].len);
            if (f->roams)
                learn_id(f, &msgs[i]);
            if (RX_LIKELY(!c->is_tapped))
                rx_udp_run_add(&run, &path, &msgs[i], &lost); // a client that cannot be reached loses what is for it
            else if (!pass_all(f, RX_TO_CLIENT, &msgs[i]))
                return;
        }
        rx_udp_run_send(&run, &path, &lost);
        count_lost(c->worker, lost);
        if (n < RX_UDP_BATCH)
            return;
    }
}

static bool open_to(struct rx_udp_flow *f, const struct rx_backend *b)
{
    bool is_connected;
    int fd = rx_connect_dial(f->c.pool, b, SOCK_DGRAM, rx_connect_as(&f->c), &is_connected);
    if (fd == -1)
        return false;
    rx_udp_setup(fd);
    ev_io_set(&f->c.ends[RX_SERVER].io, fd, EV_READ);
    return true;
}

// A socket to a backend of the pool, or of the route's fallback; false when the flow was closed for want of one.
static bool open_any(struct rx_udp_flow *f, const struct rx_target *to)
{
    struct rx_conn *c = &f->c;
    const struct rx_backend *b;
    enum rx_reason why;
    c->room = RX_ROOM_FLOW;
    rx_connect_enter(c, to->pool);
    while ((b = rx_connect_next(c, &why))) {
        atomic_fetch_add_explicit(&b->state->connects, 1, memory_order_relaxed);
        rx_worker_tried(c, RX_MEASURE_CONNECT);
        if (open_to(f, b))
            return true;
        if (errno == EMFILE || errno == ENFILE) {
            rx_close(c, RX_REASON_NO_FDS);
            return false;
        }
        if (!rx_connect_failed(c, errno))
            return false;
    }
    const struct rx_target *next = c->route ? &c->route->fallback : NULL;
    if (next && next->kind == RX_TO_POOL && !c->is_fallback_used) {
        c->is_fallback_used = true;
        c->turn = -1; // was for the other pool
        return open_any(f, next);
    }
    rx_close(c, why);
    return false;
}

// The PROXY header that each datagram of the flow has in front; the same for all. False: out of memory.
static bool make_preface(struct rx_udp_flow *f, const struct rx_proxied_head *head)
{
    uint8_t out[RX_PROXY_OUT_MAX];
    if (RX_LIKELY(!rx_proxied_is_said(&f->c)))
        return true;
    f->preface_len = (uint32_t)rx_proxied_say(&f->c, head, out);
    f->preface = malloc(f->preface_len);
    if (f->preface)
        memcpy(f->preface, out, f->preface_len);
    return f->preface;
}

// Sends the datagrams that are there to a backend.
static void connect_begin(struct rx_udp_flow *f, const struct rx_target *to, const uint8_t *p, const uint32_t *len,
                          uint32_t n)
{
    struct rx_conn *c = &f->c;
    struct rx_proxied_head first = { .p = p, .gram_len = len, .n_grams = n };
    for (uint32_t i = 0; i < n; i++)
        first.len += len[i];
    if (!open_any(f, to))
        return;
    if (!make_preface(f, &first)) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    f->may_segment = true;
    f->roams = roam_kind(c);
    ev_set_cb(&c->ends[RX_SERVER].io, udp_on_backend);
    ev_io_start(c->worker->loop, &c->ends[RX_SERVER].io);
    rx_conn_deadline(c, idle_ms(c));
    tap_begin(f);
    for (uint32_t i = 0; i < n; p += len[i++]) {
        rx_conn_count(c, RX_TO_SERVER, len[i]);
        if (!pass(f, RX_TO_SERVER, p, len[i]))
            return;
    }
    rx_conn_drop_head(c);
}

// ---- deciding -------------------------------------------------------------------------------------------------------

// What is said to the program itself.
static void hear_ourselves(struct rx_udp_flow *f, const uint8_t *p, uint32_t len)
{
    rx_conn_count(&f->c, RX_TO_SERVER, len);
    if (RX_UNLIKELY(f->c.is_tapped))
        tap(f, RX_TO_SERVER, p, len);
}

// An answer of our own, to the first datagram.
static void answer(struct rx_udp_flow *f, const struct rx_target *to, const struct rx_decision *d, const uint8_t *p,
                   uint32_t len)
{
    struct rx_conn *c = &f->c;
    uint8_t out[DNS_ANSWER_MAX];
    tap_begin(f);
    hear_ourselves(f, p, len);
    if (to->kind == RX_TO_RESPOND) {
        if (to->text_len <= ANSWER_FACTOR * len)
            tell_client(f, (const uint8_t *)to->text, to->text_len);
    } else {
        size_t n = rx_answer_datagram(c, d, p, len, out, sizeof out);
        bool is_dns = d->seen && d->seen->def && d->seen->def->facts & RX_FACT_QNAME;
        if (n && (is_dns || n <= (size_t)ANSWER_FACTOR * len))
            tell_client(f, out, (uint32_t)n);
    }
    rx_close(c, RX_REASON_ANSWERED);
}

static void echo(struct rx_udp_flow *f, const uint8_t *p, uint32_t len)
{
    hear_ourselves(f, p, len);
    tell_client(f, p, len);
}

static void follow(struct rx_udp_flow *f, const struct rx_target *to, const struct rx_decision *d, const uint8_t *p,
                   const uint32_t *len, uint32_t n, enum rx_reason otherwise)
{
    struct rx_conn *c = &f->c;
    c->to_kind = (uint8_t)to->kind;
    switch (to->kind) {
    case RX_TO_POOL:
        connect_begin(f, to, p, len, n);
        return;
    case RX_TO_ECHO:
        c->room = RX_ROOM_FLOW;
        rx_conn_deadline(c, idle_ms(c));
        tap_begin(f);
        for (uint32_t i = 0; i < n; p += len[i++])
            echo(f, p, len[i]);
        rx_conn_drop_head(c);
        return;
    case RX_TO_RESPOND:
    case RX_TO_DESCRIBE:
        answer(f, to, d, p, len[0]);
        return;
    case RX_TO_DROP:
    case RX_TO_TARPIT: // nothing is held by not answering
        rx_close(c, RX_REASON_DROPPED);
        return;
    case RX_TO_REFUSE: // there is no reset to send; an ICMP answer would need privileges
    case RX_TO_SCRIPT:
        rx_close(c, RX_REASON_REFUSED);
        return;
    case RX_TO_NONE:
        rx_close(c, otherwise);
        return;
    }
}

// Decides on the datagrams that are there; false when further ones may tell. After true the flow may be closed.
static bool decide(struct rx_udp_flow *f, const uint8_t *p, uint32_t n, const uint32_t *len, uint32_t n_grams,
                   enum rx_ended ended)
{
    struct rx_conn *c = &f->c;
    struct rx_ask ask = rx_peek_ask(c, p, n, ended);
    struct rx_decision d;
    ask.gram_len = len;
    ask.n_grams = n_grams;
    if (rx_decide(c->listen, &ask, &d) == RX_MORE)
        return false;
    const struct rx_target *to = rx_peek_settle(c, &ask, &d);
    if (to)
        follow(f, to, &d, p, len, n_grams, rx_reason_of_note(d.note));
    return true;
}

// ---- undecided ------------------------------------------------------------------------------------------------------

// Keeps a datagram behind those that wait. False when there is no room, or no memory.
static bool keep(struct rx_udp_flow *f, const uint8_t *p, uint32_t len)
{
    struct rx_conn *c = &f->c;
    if (f->n_grams == GRAMS_MAX || c->head_len + len > c->listen->peek_bytes)
        return false;
    if (!f->gram_len && !(f->gram_len = malloc(GRAMS_MAX * sizeof *f->gram_len)))
        return false;
    uint8_t *head = realloc(c->head, RX_MAX(c->head_len + len, 1u));
    if (!head)
        return false;
    memcpy(head + c->head_len, p, len);
    c->head = head;
    c->head_len = c->head_cap = c->head_len + len;
    f->gram_len[f->n_grams++] = len;
    return true;
}

static void drop_kept(struct rx_udp_flow *f)
{
    free(f->gram_len);
    f->gram_len = NULL;
    f->n_grams = 0;
}

static void decide_kept(struct rx_udp_flow *f, enum rx_ended ended)
{
    uint32_t *len = f->gram_len, n = f->n_grams;
    f->gram_len = NULL; // the flow may be closed before we are done with it
    f->n_grams = 0;
    if (!decide(f, f->c.head, f->c.head_len, len, n, ended)) {
        f->gram_len = len;
        f->n_grams = (uint16_t)n;
        return;
    }
    free(len);
}

// One datagram of a flow that is not decided.
static void hear_undecided(struct rx_udp_flow *f, const uint8_t *p, uint32_t len)
{
    f->c.active_ms = rx_now_ms();
    if (!f->n_grams && decide(f, p, len, &len, 1, RX_OPEN))
        return;
    bool is_kept = keep(f, p, len);
    if (is_kept && f->n_grams > 1) {
        decide_kept(f, RX_OPEN);
    } else if (!is_kept && f->n_grams) {
        decide_kept(f, RX_ENDED_FULL); // this one is lost; its sender will repeat it if it matters
    } else if (!is_kept) {
        decide(f, p, len, &len, 1, RX_ENDED_FULL);
    }
}

// ---- flows ----------------------------------------------------------------------------------------------------------

static bool is_ip(const union rx_ip *a, const union rx_ip *b)
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

static bool is_flow_of(const struct rx_udp_flow *f, const struct rx_listener *l, const struct rx_udp_msg *m)
{
    return f->listener == l && is_ip(&f->c.client, &m->from) && is_ip(&f->local, &m->to);
}

static struct rx_udp_flow *find(struct rx_listener *l, const struct rx_udp_msg *m, uint64_t hash)
{
    struct rx_udp_node *n = NULL;
    while ((n = rx_udp_table_find(&l->worker->udp->table, hash, n))) {
        struct rx_udp_flow *f = RX_CONTAINER(n, struct rx_udp_flow, node);
        if (is_flow_of(f, l, m))
            return f;
    }
    return NULL;
}

void rx_udp_forget(struct rx_conn *c)
{
    struct rx_udp_flow *f = rx_udp_of(c);
    if (f->run) {
        udp_of(f)->touched[f->run - 1] = NULL;
        f->run = 0;
    }
    drop_kept(f);
    forget_id(f);
    free(f->preface);
    if (f->mirror)
        rx_mirror_udp_free(f->mirror);
    rx_udp_table_del(&udp_of(f)->table, &f->node);
    f->listener->n_flows--;
}

void rx_udp_leave(struct rx_listener *l)
{
    for (struct rx_conn *c = l->worker->living.next, *next; l->n_flows; c = next) {
        next = c->next;
        if (c->is_udp && rx_udp_of(c)->listener == l)
            rx_close(c, RX_REASON_SHUTDOWN);
    }
}

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
    struct rx_decision d = { .verdict = kin->c.route ? RX_MATCH : RX_NO,
                             .route = kin->c.route,
                             .to = &to,
                             .seen = kin->c.seen };
    struct rx_ask ask = rx_peek_ask(c, m->p, RX_MIN(m->len, m->size), RX_OPEN);
    if (!rx_peek_settle(c, &ask, &d))
        return false;
    rx_roster_unref(c->roster); // a policy's
    c->roster = rx_roster_ref(kin->c.roster);
    c->turn = kin->c.backend - kin->c.roster->backends;
    c->is_fallback_used = kin->c.is_fallback_used;
    c->to_kind = RX_TO_POOL;
    connect_begin(f, &to, NULL, NULL, 0);
    if (c->room != RX_ROOM_FLOW)
        return false;
    keep_id(f, &kin->named->id); // it may move on when its kin has ended
    return true;
}

// The flow of an address not known yet; NULL: turned away.
static struct rx_udp_flow *meet(struct rx_listener *l, const struct rx_udp_msg *m, uint64_t hash)
{
    const struct rx_udp_flow *kin = find_kin(l->worker->udp, l, m);
    struct rx_udp_flow *f = birth(l, m, hash, kin);
    return f && kin && !adopt(f, kin, m) ? NULL : f;
}

// What came for one flow in one message; false when the flow was closed or has not been there.
static bool hear(struct rx_udp_flow *f, struct rx_udp_msg *m)
{
    struct rx_conn *c = &f->c;
    uint32_t at = 0;
    // Datagram by datagram until the flow is decided.
    while (c->room == RX_ROOM_PEEK && (at < m->len || (at == 0 && m->len == 0))) {
        uint32_t len = RX_MIN(m->size, m->len - at);
        hear_undecided(f, m->p + at, len);
        if (!m->size)
            return c->room != RX_ROOM_DEAD;
        at += len;
    }
    if (c->room != RX_ROOM_FLOW || (at && at >= m->len))
        return c->room != RX_ROOM_DEAD;
    c->active_ms = rx_now_ms();
    struct rx_udp_msg rest = { .p = m->p + at, .len = m->len - at, .size = m->size };
    if (c->to_kind != RX_TO_ECHO && (RX_UNLIKELY(c->is_tapped) || f->preface)) {
        rx_conn_count(c, RX_TO_SERVER, rest.len);
        return pass_all(f, RX_TO_SERVER, &rest);
    }
    if (c->to_kind != RX_TO_ECHO)
        return to_backend(f, &rest);
    for (at = 0; at < rest.len || at == 0; at += rest.size) {
        echo(f, rest.p + at, RX_MIN(rest.size, rest.len - at));
        if (!rest.size)
            break;
    }
    return true;
}

void rx_udp_on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop, (void)events;
    struct rx_listener *l = RX_CONTAINER(io, struct rx_listener, io);
    struct rx_udp *u = l->worker->udp;
    for (int turn = 0; turn < TURNS; turn++) {
        struct rx_udp_msg *msgs;
        struct rx_udp_flow *f = NULL; // the last one: often the next one's, too
        int n = rx_udp_receive(u->in, io->fd, RX_UDP_BATCH, &msgs);
        for (int i = 0; i < n; i++) {
            struct rx_udp_msg *m = &msgs[i];
            if (!l->wants_to)
                m->to.sa.sa_family = AF_UNSPEC;
            if (!f || !is_flow_of(f, l, m)) {
                struct rx_udp_key key = { l, &m->from, &m->to };
                uint64_t hash = rx_udp_hash(&u->table, &key);
                f = find(l, m, hash);
                if (!f)
                    f = meet(l, m, hash);
            }
            if (f && !hear(f, m))
                f = NULL;
        }
        flush_runs(u);
        if (n < RX_UDP_BATCH)
            return;
    }
}

void rx_udp_on_deadline(struct rx_conn *c)
{
    struct rx_udp_flow *f = rx_udp_of(c);
    if (c->room == RX_ROOM_PEEK) {
        decide_kept(f, RX_ENDED_TIMEOUT);
        return;
    }
    uint64_t now = rx_now_ms();
    uint32_t ms = idle_ms(c);
    if (now - c->active_ms >= ms)
        rx_close(c, RX_REASON_IDLE_TIMEOUT);
    else
        rx_conn_deadline(c, (uint32_t)(ms - (now - c->active_ms)));
}
