// SPDX-License-Identifier: MIT
// Room PEEK: waits for the client's first bytes, bounded by peek_timeout and peek_buffer_size.
// Enters: a fresh connection. Leaves: to CONNECT or ANSWER with the head in hand, or closed.
// The bytes are read, not peeked: libev is level-triggered, so bytes left in the socket would spin. Nearly every
// client says enough in its first segment; that segment is decided straight from the worker's buffer and nothing
// is allocated. Only when an identifier says "more" are bytes kept with the connection.
// This file owns the "need more bytes" loop; there is no other way back into PEEK.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hook.h"
#include "home.h"
#include "log.h"
#include "proxied.h"
#include "record.h"
#include "script.h"
#include "sessions.h"
#include "sys.h"
#include "worker.h"

static void leave_pending(struct rx_conn *c)
{
    if (c->is_pending)
        atomic_fetch_sub_explicit(c->listen->pending, 1, memory_order_relaxed);
    c->is_pending = false;
}

struct rx_ask rx_peek_ask(struct rx_conn *c, const uint8_t *head, uint32_t len, enum rx_ended ended)
{
    return (struct rx_ask){ .p = head,
                            .n = len,
                            .ended = ended,
                            .from = &c->client,
                            .to_port = c->to_port,
                            .is_udp = c->is_udp,
                            .week_minute = RX_UNLIKELY(c->listen->has_during) ? rx_worker_week_minute(c->worker) : 0,
                            .proxied = c->proxied,
                            .scratch = c->worker->scratch,
                            .script = c->script,
                            .id = c->id,
                            .also_want = c->listen->has_hooks ? ~0u : c->worker->also_want };
}

static int64_t ask_policy(struct rx_conn *c, const struct rx_pool *pool, const struct rx_ask *ask,
                          const struct rx_decision *d)
{
    struct rx_script_conn view = { .ask = ask, .facts = d->seen ? &d->facts : NULL, .known = d->seen,
                                   .listen = c->listen, .route = c->route };
    c->roster = rx_roster_take(pool); // the one it is connected by: numbers mean the same backends
    return rx_script_policy(c->script, &view, pool, c->roster);
}

// False: its identity may not come from one more address.
static bool take_seat(struct rx_conn *c, const struct rx_ask *ask, const struct rx_decision *d)
{
    const struct rx_sessions *s = d->route->sessions;
    struct rx_script_conn view = { .ask = ask, .facts = d->seen ? &d->facts : NULL, .known = d->seen,
                                   .listen = c->listen, .route = d->route };
    char id[RX_LEDGER_ID_MAX];
    struct rx_heard h = { .id = id, .ip = c->client, .is_held = true, .is_udp = c->is_udp, .tag = d->route->name,
                          .tag_len = (uint32_t)strlen(d->route->name) };
    if (s->by_fn < 0 || !(h.id_len = rx_script_by(c->script, (uint32_t)s->by_fn, &view, id, sizeof id)))
        return true; // nobody in particular
    if (s->limits_fn >= 0)
        h.max_ips = rx_script_limits(c->script, (uint32_t)s->limits_fn, id, h.id_len);
    return rx_sessions_hear(s, &h, &c->seat);
}

// First bytes meet the filters before a backend is chosen. False: the connection is closed.
static bool filter_head(struct rx_conn *c, const uint8_t **head, uint32_t *len)
{
    struct rx_filtered io = { *head, *len, NULL };
    enum rx_filter verdict = *len ? rx_hook_filter(c, RX_TO_SERVER, &io) : RX_FILTER_PASS;
    bool is_short = verdict == RX_FILTER_PASS && io.owned && io.n &&
                    rx_conn_keep_head(c, io.p, (uint32_t)io.n, (uint32_t)io.n);
    if (io.owned && !io.n)
        rx_conn_drop_head(c);
    free(io.owned);
    if (verdict != RX_FILTER_PASS || is_short) {
        rx_close(c, is_short                       ? RX_REASON_NO_MEMORY
                    : verdict == RX_FILTER_REFUSED ? RX_REASON_FILTER_REFUSED
                                                   : RX_REASON_FILTER_FAILED);
        return false;
    }
    if (io.owned) {
        c->bytes[RX_TO_SERVER] += *len - io.n; // what came counts, not what is passed on
        *head = c->head;
        *len = (uint32_t)io.n;
    }
    return true;
}

static void follow(struct rx_conn *c, const struct rx_target *to, const struct rx_decision *d, const uint8_t *head,
                   uint32_t len, enum rx_reason otherwise)
{
    switch (to->kind) {
    case RX_TO_POOL:
        if (c->hooked && c->hooked->set->has_filter && !filter_head(c, &head, &len))
            return;
        rx_connect_begin(c, to, head, len);
        return;
    case RX_TO_SCRIPT: // a function's answer is never another function
    case RX_TO_REFUSE:
        rx_close(c, RX_REASON_REFUSED);
        return;
    case RX_TO_DROP:
        rx_close(c, RX_REASON_DROPPED);
        return;
    case RX_TO_NONE:
        rx_close(c, otherwise);
        return;
    case RX_TO_RESPOND:
    case RX_TO_DESCRIBE:
    case RX_TO_ECHO:
    case RX_TO_TARPIT:
        rx_answer_begin(c, to, c->seen ? &d->facts : NULL, head, len);
        return;
    }
}

static bool route_is_full(const struct rx_route *r)
{
    // Counted without a limit too: an edit may set one.
    if (atomic_fetch_add_explicit(r->active, 1, memory_order_relaxed) < r->max_connections || !r->max_connections)
        return false;
    atomic_fetch_sub_explicit(r->active, 1, memory_order_relaxed);
    return true;
}

// From here on it counts for its route.
static void count_for(struct rx_conn *c, const struct rx_route *r)
{
    if (!c->cell || !r->served)
        return;
    rx_cell_add(&c->cell->moved, 1);
    c->cell = &r->served->cells[c->worker->index];
    rx_cell_add(&c->cell->opened, 1);
}

// False: the connection is closed.
static bool begin_hooks(struct rx_conn *c, const struct rx_hooks *set, const struct rx_decision *d, const uint8_t *head,
                        uint32_t len)
{
    if (RX_LIKELY(!set) || rx_hook_begin(c, d, head, len) == 0)
        return true;
    rx_close(c, RX_REASON_NO_MEMORY);
    return false;
}

// Where to without a route.
static const struct rx_target *fallback_of(const struct rx_conn *c)
{
    return c->is_udp ? &c->listen->fallback_udp : &c->listen->fallback_tcp;
}

static RX_COLD void record(const struct rx_conn *c, const struct rx_decision *d, const struct rx_ask *ask)
{
    const struct rx_target *to = d->verdict == RX_MATCH ? d->to : fallback_of(c);
    const struct rx_record r = { .from = c->client,
                                 .to_port = c->to_port,
                                 .ended = ask->ended,
                                 .listen = c->listen->name,
                                 .protocol = d->seen ? d->seen->name : NULL,
                                 .route = d->route ? d->route->name : NULL,
                                 .to = rx_target_word(to),
                                 .bytes = ask->p,
                                 .len = ask->n,
                                 .gram_len = ask->gram_len,
                                 .n_grams = ask->n_grams };
    rx_record_decision(c->conf->home->recorder, c->worker->index, &r);
}

const struct rx_target *rx_peek_settle(struct rx_conn *c, const struct rx_ask *ask, const struct rx_decision *d)
{
    const struct rx_target *to = d->verdict == RX_MATCH ? d->to : fallback_of(c);
    leave_pending(c);
    rx_histogram_add(&c->worker->stat.identify, rx_now_ms() - c->start_ms);
    if (RX_UNLIKELY(atomic_load_explicit(rx_recorder_is_on(c->conf->home->recorder), memory_order_acquire)))
        record(c, d, ask);
    c->seen = d->seen;
    rx_worker_tried(c, RX_MEASURE_UNIDENTIFIED);
    if (!d->route)
        rx_worker_failed(c, RX_MEASURE_UNIDENTIFIED);
    if (rx_access_is_on() && d->seen)
        c->told = rx_told_new(d);
    if (rx_log_is(RX_LOG_DEBUG))
        rx_log(RX_LOG_DEBUG, "conn=%lx protocol=%s route=%s bytes=%u note=%s", (unsigned long)c->id,
               d->seen ? d->seen->name : "-", d->route ? d->route->name : "-", ask->n, rx_note_name(d->note));
    if (d->route) {
        count_for(c, d->route);
        if (c->early != d->route && route_is_full(d->route)) {
            rx_close(c, RX_REASON_LIMIT_ROUTE);
            return NULL;
        }
        c->route = d->route;
    } else {
        c->is_identified = d->verdict == RX_MATCH;
    }
    if (c->route && c->route->sessions && !take_seat(c, ask, d)) {
        rx_close(c, RX_REASON_SESSION_LIMIT);
        return NULL;
    }
    if (!begin_hooks(c, d->route ? d->route->hooks : c->listen->hooks, d, ask->p, ask->n))
        return NULL;
    c->to_kind = (uint8_t)to->kind;
    if (to->kind == RX_TO_POOL && to->pool->policy_fn >= 0)
        c->turn = ask_policy(c, to->pool, ask, d);
    return to;
}

// Decides on what is there; true when the connection has left the room.
static bool decide(struct rx_conn *c, const uint8_t *head, uint32_t len, enum rx_ended ended)
{
    struct rx_ask ask = rx_peek_ask(c, head, len, ended);
    struct rx_decision d;
    if (rx_decide(c->listen, &ask, &d) == RX_MORE) {
        c->need = d.need;
        return false;
    }
    if (RX_UNLIKELY(c->early != NULL) && c->early != d.route)
        rx_connect_drop_early(c);
    const struct rx_target *to = rx_peek_settle(c, &ask, &d);
    if (to)
        follow(c, to, &d, head, len, rx_reason_of_note(d.note));
    return true;
}

static void peek_on_readable(struct ev_loop *loop, ev_io *io, int events);

static void wait_more(struct rx_conn *c)
{
    rx_conn_watch(c, RX_CLIENT, EV_READ);
}

// Room for the next bytes: the worker's buffer while nothing is kept, else behind what is kept.
static uint8_t *room(struct rx_conn *c, size_t *size)
{
    uint32_t most = c->listen->peek_bytes + (c->is_headless ? RX_PROXY_IN_MAX : 0);
    if (!c->head) {
        *size = RX_MIN(most, (uint32_t)RX_WORKER_BUFFER);
        return c->worker->buffer;
    }
    if (c->head_len == c->head_cap) {
        uint32_t cap = RX_MIN(c->head_cap * 2, most);
        if (rx_conn_keep_head(c, c->head, c->head_len, cap))
            return NULL;
    }
    *size = c->head_cap - c->head_len;
    return c->head + c->head_len;
}

// Kept with some room to grow: a client that trickles must not cost a reallocation per byte.
static void keep_on(struct rx_conn *c, const uint8_t *head, uint32_t len)
{
    uint32_t most = c->listen->peek_bytes + (c->is_headless ? RX_PROXY_IN_MAX : 0);
    if (len && !c->head && rx_conn_keep_head(c, head, len, RX_MIN(RX_MAX(len * 2, 512u), most))) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    c->head_len = len;
    wait_more(c);
}

// ---- a PROXY header before everything else --------------------------------------------------------------------------

// The client is who the header says; only now it is known whether it may come in. False: the connection is closed.
static bool believe(struct rx_conn *c, const struct rx_proxy *h)
{
    c->proxied = rx_proxied_new(h, &c->client);
    if (!c->proxied) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return false;
    }
    if (h->has_addresses) {
        c->client = h->from;
        rx_ip_unmap(&c->client);
        if (h->to.sa.sa_family != AF_UNSPEC)
            c->to_port = rx_addr_port(&h->to.sa);
    }
    if (!rx_accept_named(c))
        return false;
    c->is_headless = false;
    return true;
}

// Takes the header off the first bytes. False: it is not whole yet, or the connection has left the room.
static bool take_header(struct rx_conn *c, uint8_t **head, uint32_t *len)
{
    struct rx_proxy h;
    switch (rx_proxy_read(*head, *len, &h)) {
    case RX_PROXY_MORE:
        keep_on(c, *head, *len);
        return false;
    case RX_PROXY_MISSING:
        rx_close(c, RX_REASON_PROXY_MISSING);
        return false;
    case RX_PROXY_INVALID:
        rx_close(c, RX_REASON_PROXY_INVALID);
        return false;
    case RX_PROXY_READ:
        break;
    }
    if (!believe(c, &h))
        return false;
    *len -= h.len;
    if (c->head)
        memmove(c->head, c->head + h.len, *len);
    else
        *head += h.len;
    c->head_len = c->head ? *len : 0;
    return rx_peek_admit(c);
}

// One read, then a decision. Level-triggered: what is left over comes back by itself.
static void peek_read(struct rx_conn *c)
{
    size_t size, n;
    uint8_t *at = room(c, &size);
    if (!at) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    switch (rx_sys_recv(c->ends[RX_CLIENT].io.fd, at, size, &n)) {
    case RX_IO_AGAIN:
        wait_more(c);
        return;
    case RX_IO_FAIL:
        rx_close(c, RX_REASON_CLIENT_RESET);
        return;
    case RX_IO_EOF:
        // The end of input ends the wait. Who left without a word is gone; who half-closed may still be answered.
        if (!c->head_len || c->is_headless) {
            rx_close(c, c->head_len ? RX_REASON_PROXY_INVALID : RX_REASON_CLIENT_GONE);
            return;
        }
        c->dir[RX_TO_SERVER].is_eof = true;
        decide(c, c->head, c->head_len, RX_ENDED_EOF);
        return;
    case RX_IO_DONE:
        break;
    }
    c->active_ms = rx_now_ms();
    uint32_t len = c->head_len + (uint32_t)n;
    uint8_t *head = c->head ? c->head : at;
    if (RX_UNLIKELY(c->is_headless) && !take_header(c, &head, &len))
        return;
    bool is_full = len >= c->listen->peek_bytes;
    if (len >= c->need && decide(c, head, len, RX_OPEN))
        return;
    if (is_full) {
        decide(c, head, len, RX_ENDED_FULL);
        return;
    }
    keep_on(c, head, len);
}

static void peek_on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct rx_conn *c = RX_CONTAINER(io, struct rx_conn, ends[RX_CLIENT].io);
    if (RX_UNLIKELY(events & EV_ERROR)) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    peek_read(c);
}

bool rx_peek_admit(struct rx_conn *c)
{
    if (c->listen->accept_fn < 0)
        return true;
    struct rx_ask ask = rx_peek_ask(c, NULL, 0, RX_OPEN);
    struct rx_script_conn view = { .ask = &ask, .listen = c->listen };
    if (rx_script_accept(c->script, (uint32_t)c->listen->accept_fn, &view))
        return true;
    rx_close(c, RX_REASON_REFUSED);
    return false;
}

// How long a client may be silent before eager routes are looked for: those who speak, mostly do at once, and need not
// cost a backend a connection.
static uint32_t patience_ms(const struct rx_listen *l)
{
    return l->peek_ms / 10;
}

void rx_peek_begin(struct rx_conn *c)
{
    c->room = RX_ROOM_PEEK;
    c->turn = -1;
    if (!c->is_headless && !rx_peek_admit(c))
        return;
    ev_set_cb(&c->ends[RX_CLIENT].io, peek_on_readable);
    rx_conn_deadline(c, c->listen->has_eager ? patience_ms(c->listen) : c->listen->peek_ms);
    // A first route that needs no byte (rx.any), or that this client may not take, can settle it before a word is said.
    if (!c->is_headless &&
        (c->listen->n_routes == 0 || c->listen->routes[0].proto->is_any || !c->listen->routes[0].is_plain))
        if (decide(c, NULL, 0, RX_OPEN))
            return;
    peek_read(c);
}

// Nothing has been said for a while: what would become of it if that went on?
static void look_ahead(struct rx_conn *c)
{
    struct rx_ask ask = rx_peek_ask(c, NULL, 0, RX_ENDED_TIMEOUT);
    struct rx_decision d;
    c->was_early = true;
    rx_conn_deadline(c, c->listen->peek_ms - patience_ms(c->listen));
    if (!c->is_headless && !c->head_len && rx_decide(c->listen, &ask, &d) == RX_MATCH && d.route && d.route->is_eager)
        rx_connect_early(c, d.route);
}

void rx_peek_adopt(struct rx_conn *c, bool is_decided)
{
    uint64_t spent = rx_now_ms() - c->start_ms;
    c->room = RX_ROOM_PEEK;
    c->turn = -1;
    c->was_early = true; // its time is over, or nearly
    is_decided |= !c->is_headless && c->head_len >= c->listen->peek_bytes; // peek_buffer_size is smaller here: it is full
    ev_set_cb(&c->ends[RX_CLIENT].io, peek_on_readable);
    if (!is_decided && !c->dir[RX_TO_SERVER].is_eof)
        wait_more(c);
    // What was decided once is decided again as soon as the loop turns: nothing more is waited for.
    rx_conn_deadline(c, is_decided || spent >= c->listen->peek_ms ? 0 : (uint32_t)(c->listen->peek_ms - spent));
}

void rx_peek_on_deadline(struct rx_conn *c)
{
    if (c->listen->has_eager && !c->was_early)
        look_ahead(c);
    else if (c->is_headless)
        rx_close(c, c->head_len ? RX_REASON_PROXY_INVALID : RX_REASON_PROXY_MISSING);
    else
        decide(c, c->head, c->head_len, RX_ENDED_TIMEOUT);
}
