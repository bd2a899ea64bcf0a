// SPDX-License-Identifier: MIT
// Room WELD: moves bytes between a client and its backend until both have said all.
// Enters: two connected ends and the first bytes, some of which may be with the backend already. Leaves: closed.
//
// Each direction is pumped on its own, by copying through the worker's one buffer while messages are small, by
// splice through a pooled pipe once it streams: FULL_RUN consecutive reads of at least STREAM bytes move it there,
// as many small ones move it back. (Below ~32 KB a read, splice costs more than it saves: docs/architecture.md.)
//
// Invariants
//  * A direction holds bytes in one place: its letter in the outbox until the turn ends, then `rest`, or its pipe.
//  * While it holds bytes its source is not watched and its sink is watched for writing: that is the backpressure.
//    In the steady state both ends are watched for reading and no watcher changes, so epoll_ctl is never called.
//  * The end of a stream is passed on as a half-close when all its bytes are; a reset is passed on as a reset.
//  * An end that is at its end stays watched until it fires once more: usually the other end closes first and
//    stopping the watcher would have been a wasted system call.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "hook.h"
#include "log.h"
#include "mirror.h"
#include "shape.h"
#include "sys.h"
#include "worker.h"

enum {
    FULL_RUN = 4,                    // reads that must agree before the pump changes
    STREAM = 32 * 1024,              // a read that speaks for splice
    TRICKLE = 8 * 1024,              // a splice that speaks for copying
    SPLICE_MAX = 1024 * 1024,        // a ceiling on the kernel pages one stuck direction can pin
    TURNS = 4,                       // reads one event may do, so that one stream cannot starve the others
};

static bool holds_bytes(const struct rx_dir *d)
{
    return d->rest_len || d->in_pipe;
}

static bool is_pinned(const struct rx_conn *c)
{
    return c->route && c->route->priority == RX_PRIORITY_THROUGHPUT;
}

static bool fail_end(struct rx_conn *c, enum rx_side side)
{
    rx_close(c, side == RX_CLIENT ? RX_REASON_CLIENT_RESET : RX_REASON_SERVER_RESET);
    return false;
}

// ---- one direction; every function returns false when the connection is closed ----------------------------------

// The source has ended and everything it sent has been passed on.
static void pass_on_end(struct rx_conn *c, enum rx_direction dir)
{
    struct rx_dir *d = &c->dir[dir];
    if (d->is_shut)
        return;
    d->is_shut = true;
    if (c->mirror && dir == RX_TO_SERVER)
        rx_mirror_finish(c);
    if (!c->dir[!dir].is_shut) // else both are done and closing says it
        shutdown(c->ends[!dir].io.fd, SHUT_WR);
}

static bool keep_rest(struct rx_conn *c, struct rx_dir *d, const uint8_t *bytes, size_t len)
{
    d->rest = malloc(len);
    if (!d->rest) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return false;
    }
    memcpy(d->rest, bytes, len);
    d->rest_at = 0;
    d->rest_len = (uint32_t)len;
    return true;
}

static bool flush_rest(struct rx_conn *c, enum rx_direction dir)
{
    struct rx_dir *d = &c->dir[dir];
    size_t n;
    switch (rx_sys_send(c->ends[!dir].io.fd, d->rest + d->rest_at, d->rest_len, &n)) {
    case RX_IO_DONE:
        d->rest_at += (uint32_t)n;
        d->rest_len -= (uint32_t)n;
        break;
    case RX_IO_AGAIN:
        return true;
    case RX_IO_EOF:
    case RX_IO_FAIL:
        return fail_end(c, (enum rx_side)!dir);
    }
    if (!d->rest_len) {
        free(d->rest);
        d->rest = NULL;
    }
    return true;
}

static bool flush_pipe(struct rx_conn *c, enum rx_direction dir)
{
    struct rx_dir *d = &c->dir[dir];
    size_t n;
    switch (rx_sys_splice(d->pipe[0], c->ends[!dir].io.fd, d->in_pipe, &n)) {
    case RX_IO_DONE:
        d->in_pipe -= (uint32_t)n;
        return true;
    case RX_IO_AGAIN:
        return true;
    case RX_IO_EOF:
    case RX_IO_FAIL:
        break;
    }
    return fail_end(c, (enum rx_side)!dir);
}

static void count(struct rx_conn *c, enum rx_direction dir, size_t n)
{
    rx_conn_count(c, dir, n);
}

// ---- who looks on: hooks and mirrors ------------------------------------------------------------------------------

static void tap(struct rx_conn *c, enum rx_direction dir, const uint8_t *bytes, size_t n)
{
    if (c->hooked)
        rx_hook_data(c, dir, bytes, n);
    if (c->mirror && dir == RX_TO_SERVER)
        rx_mirror_data(c, bytes, n);
}

static void tap_pipe(struct rx_conn *c, enum rx_direction dir, size_t n)
{
    if (c->hooked)
        rx_hook_tee(c, dir, n);
    if (c->mirror && dir == RX_TO_SERVER)
        rx_mirror_tee(c, n);
}

// What is spliced can be looked on only through a pipe of their own.
static bool may_splice(struct rx_conn *c, enum rx_direction dir)
{
    return !c->hooked || rx_hook_may_splice(c, dir);
}

static void tap_begin(struct rx_conn *c, const uint8_t *head, uint32_t len)
{
    c->is_tapped = true;
    if (c->hooked) {
        c->is_filtered = c->hooked->set->has_filter;
        rx_hook_open(c);
    }
    if (c->route && c->route->mirror.kind == RX_TO_POOL)
        rx_mirror_begin(c);
    for (int d = 0; d < 2; d++) {
        if (c->is_filtered || (c->dir[d].is_spliced && !may_splice(c, (enum rx_direction)d)))
            c->dir[d].may_splice = c->dir[d].is_spliced = false;
    }
    tap(c, RX_TO_SERVER, head, len);
}

// Passes len bytes of the worker's buffer to the sink, keeping what does not go.
static bool pass(struct rx_conn *c, enum rx_direction dir, const uint8_t *bytes, size_t len)
{
    size_t n;
    switch (rx_sys_send(c->ends[!dir].io.fd, bytes, len, &n)) {
    case RX_IO_DONE:
    case RX_IO_AGAIN:
        return n == len || keep_rest(c, &c->dir[dir], bytes + n, len - n);
    case RX_IO_EOF:
    case RX_IO_FAIL:
        break;
    }
    return fail_end(c, (enum rx_side)!dir);
}

// ---- the outbox: small messages of one turn leave together ---------------------------------------------------------

static void settle(struct rx_conn *c);

void rx_weld_forget(struct rx_conn *c)
{
    for (int d = 0; d < 2; d++)
        if (c->dir[d].letter)
            c->worker->outbox.letters[c->dir[d].letter - 1].conn = NULL;
}

void rx_weld_flush(struct rx_worker *w)
{
    struct rx_outbox *o = &w->outbox;
    for (unsigned i = 0; i < o->n; i++) {
        const struct rx_letter *l = &o->letters[i];
        if (!l->conn)
            continue;
        struct rx_dir *d = &l->conn->dir[l->direction];
        d->letter = 0;
        if (pass(l->conn, (enum rx_direction)l->direction, o->bytes + l->at, l->len) && d->rest_len)
            settle(l->conn);
    }
    o->n = o->used = 0;
}

static void post(struct rx_conn *c, enum rx_direction dir, size_t len)
{
    struct rx_outbox *o = &c->worker->outbox;
    o->letters[o->n++] = (struct rx_letter){ c, o->used, (uint16_t)len, (uint8_t)dir };
    o->used += (uint32_t)len;
    c->dir[dir].letter = (uint16_t)o->n;
}

// Half of its bytes are kept free, so that a stream is still read in large pieces.
static bool is_outbox_full(const struct rx_outbox *o)
{
    return o->n == RX_OUTBOX_LETTERS || o->used > RX_WORKER_BUFFER / 2;
}

// Reads at most *size bytes, or what the rate allows: *size is then less, 0 when the direction is paused.
static inline enum rx_io receive(struct rx_conn *c, enum rx_direction dir, uint8_t *at, size_t *size, size_t *n)
{
    if (RX_LIKELY(!c->shape))
        return rx_sys_recv(c->ends[dir].io.fd, at, *size, n);
    *n = 0;
    if (!(*size = rx_shape_allow(c, dir, *size)))
        return RX_IO_AGAIN;
    enum rx_io io = rx_sys_recv(c->ends[dir].io.fd, at, *size, n);
    rx_shape_return(c, dir, *size - (io == RX_IO_DONE ? *n : 0));
    return io;
}

static bool pump_copy(struct rx_conn *c, enum rx_direction dir)
{
    struct rx_dir *d = &c->dir[dir];
    struct rx_outbox *o = &c->worker->outbox;
    if (is_outbox_full(o))
        rx_weld_flush(c->worker);
    if (c->room == RX_ROOM_DEAD)
        return false;
    for (int turn = 0; turn < TURNS; turn++) {
        uint8_t *at = o->bytes + o->used;
        size_t n, size = RX_WORKER_BUFFER - o->used;
        enum rx_io io = receive(c, dir, at, &size, &n);
        if (RX_UNLIKELY(!size))
            return true;
        switch (io) {
        case RX_IO_AGAIN:
            return true;
        case RX_IO_EOF:
            d->is_eof = true;
            pass_on_end(c, dir);
            return true;
        case RX_IO_FAIL:
            return fail_end(c, (enum rx_side)dir);
        case RX_IO_DONE:
            break;
        }
        count(c, dir, n);
        if (RX_UNLIKELY(c->is_tapped))
            tap(c, dir, at, n);
        if (n <= RX_LETTER_MAX && n < size) {
            d->run = 0;
            post(c, dir, n);
            return true;
        }
        if (!pass(c, dir, at, n))
            return false;
        d->run = n >= STREAM ? d->run + 1 : 0;
        if (d->run >= FULL_RUN && d->may_splice && (RX_LIKELY(!c->is_tapped) || may_splice(c, dir))) {
            d->is_spliced = true;
            d->run = 0;
            rx_stat_add(&c->worker->stat.spliced[dir], 1);
            return true;
        }
        // A short read emptied the socket: another would only say "again".
        if (n < size || d->rest_len)
            return true;
    }
    return true;
}

// What a filter makes of the bytes leaves at once and in order. False: the connection is closed.
static bool pass_filtered(struct rx_conn *c, enum rx_direction dir, const uint8_t *bytes, size_t n)
{
    struct rx_filtered io = { bytes, n, NULL };
    enum rx_filter verdict = rx_hook_filter(c, dir, &io);
    bool is_open = verdict == RX_FILTER_PASS;
    if (is_open) {
        tap(c, dir, io.p, io.n);
        is_open = !io.n || pass(c, dir, io.p, io.n);
    } else {
        rx_close(c, verdict == RX_FILTER_REFUSED ? RX_REASON_FILTER_REFUSED : RX_REASON_FILTER_FAILED);
    }
    free(io.owned);
    return is_open;
}

static bool pump_filter(struct rx_conn *c, enum rx_direction dir)
{
    struct rx_dir *d = &c->dir[dir];
    for (int turn = 0; turn < TURNS && !d->rest_len; turn++) {
        size_t n, size = RX_WORKER_BUFFER;
        enum rx_io io = receive(c, dir, c->worker->buffer, &size, &n);
        if (RX_UNLIKELY(!size))
            return true;
        switch (io) {
        case RX_IO_AGAIN:
            return true;
        case RX_IO_EOF:
            d->is_eof = true;
            pass_on_end(c, dir);
            return true;
        case RX_IO_FAIL:
            return fail_end(c, (enum rx_side)dir);
        case RX_IO_DONE:
            break;
        }
        count(c, dir, n);
        if (!pass_filtered(c, dir, c->worker->buffer, n))
            return false;
        if (n < size)
            return true;
    }
    return true;
}

static void give_pipe(struct rx_conn *c, struct rx_dir *d)
{
    if (d->pipe[0] >= 0 && !d->in_pipe)
        rx_pipe_put(&c->worker->pipes, d->pipe, true);
}

// Reads into the pipe. *n is 0 when there was nothing; the direction may turn back to copying.
static bool fill_pipe(struct rx_conn *c, enum rx_direction dir, size_t *n)
{
    struct rx_dir *d = &c->dir[dir];
    size_t most = SPLICE_MAX;
    *n = 0;
    if (RX_UNLIKELY(c->shape) && !(most = rx_shape_allow(c, dir, most)))
        return true;
    if (d->pipe[0] < 0 && rx_pipe_get(&c->worker->pipes, d->pipe)) {
        d->is_spliced = false; // no pipe to be had: copy on, and ask again after another run
        if (c->shape)
            rx_shape_return(c, dir, most);
        return true;
    }
    enum rx_io io = rx_sys_splice(c->ends[dir].io.fd, d->pipe[1], most, n);
    if (RX_UNLIKELY(c->shape))
        rx_shape_return(c, dir, most - (io == RX_IO_DONE ? *n : 0));
    switch (io) {
    case RX_IO_DONE:
        d->in_pipe = (uint32_t)*n;
        count(c, dir, *n);
        if (RX_UNLIKELY(c->is_tapped))
            tap_pipe(c, dir, *n);
        d->run = *n < TRICKLE ? d->run + 1 : 0;
        return true;
    case RX_IO_AGAIN:
        return true;
    case RX_IO_EOF:
        d->is_eof = true;
        return true;
    case RX_IO_FAIL:
        break;
    }
    if (errno != EINVAL)
        return fail_end(c, (enum rx_side)dir);
    // This socket cannot be spliced (kTLS, an odd family): copy for good.
    d->is_spliced = d->may_splice = false;
    return true;
}

static bool pump_splice(struct rx_conn *c, enum rx_direction dir)
{
    struct rx_dir *d = &c->dir[dir];
    for (int turn = 0; turn < TURNS; turn++) {
        size_t n;
        if (!fill_pipe(c, dir, &n))
            return false;
        if (n && !flush_pipe(c, dir))
            return false;
        if (d->in_pipe)
            return true; // the sink is full; the pipe stays until it drains
        if (d->is_eof)
            pass_on_end(c, dir);
        if (d->run >= FULL_RUN && !is_pinned(c)) {
            d->is_spliced = false;
            d->run = 0;
        }
        if (n < STREAM || !d->is_spliced || (RX_UNLIKELY(c->is_tapped) && !may_splice(c, dir)))
            break;
    }
    give_pipe(c, d);
    return true;
}

static bool pump(struct rx_conn *c, enum rx_direction dir)
{
    struct rx_dir *d = &c->dir[dir];
    if (d->letter) { // never overtaken by what came after it
        rx_weld_flush(c->worker);
        if (c->room == RX_ROOM_DEAD)
            return false;
    }
    if (d->rest_len && !flush_rest(c, dir))
        return false;
    if (d->in_pipe && !flush_pipe(c, dir))
        return false;
    if (holds_bytes(d))
        return true;
    give_pipe(c, d);
    if (d->is_eof) {
        pass_on_end(c, dir);
        return true;
    }
    if (RX_UNLIKELY(c->is_tapped) && d->is_spliced && !may_splice(c, dir)) {
        d->is_spliced = false;
        d->run = 0;
    }
    if (d->is_spliced && !pump_splice(c, dir))
        return false;
    // A direction that could not be spliced after all is copied now: its watcher has fired.
    if (d->is_spliced || d->is_eof || holds_bytes(d))
        return true;
    return RX_UNLIKELY(c->is_filtered) ? pump_filter(c, dir) : pump_copy(c, dir);
}

// ---- both directions --------------------------------------------------------------------------------------------

static bool wants_read(const struct rx_conn *c, enum rx_side side)
{
    const struct rx_dir *d = &c->dir[side];
    if (d->is_eof)
        return !d->is_eof_seen && ev_is_active(&c->ends[side].io);
    return !holds_bytes(d) && !d->is_paused;
}

// After any progress: closed when both directions are done, else the watchers are what the invariants say.
static void settle(struct rx_conn *c)
{
    if (c->dir[RX_TO_SERVER].is_shut && c->dir[RX_TO_CLIENT].is_shut) {
        rx_close(c, RX_REASON_DONE);
        return;
    }
    for (int side = 0; side < 2; side++) {
        int events = wants_read(c, (enum rx_side)side) ? EV_READ : 0;
        if (holds_bytes(&c->dir[!side]))
            events |= EV_WRITE;
        rx_conn_watch(c, (enum rx_side)side, events);
    }
}

void rx_weld_resume(struct rx_conn *c)
{
    c->active_ms = rx_now_ms();
    settle(c);
}

static void weld_on_io(struct rx_conn *c, enum rx_side side, int events)
{
    if (RX_UNLIKELY(events & EV_ERROR)) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    c->active_ms = rx_now_ms();
    struct rx_dir *in = &c->dir[side];
    if (events & EV_READ) {
        if (in->is_eof)
            in->is_eof_seen = true;
        else if (!holds_bytes(in) && !pump(c, (enum rx_direction)side))
            return;
    }
    if (events & EV_WRITE && holds_bytes(&c->dir[!side]) && !pump(c, (enum rx_direction)!side))
        return;
    settle(c);
}

static void weld_on_client(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    weld_on_io(RX_CONTAINER(io, struct rx_conn, ends[RX_CLIENT].io), RX_CLIENT, events);
}

static void weld_on_server(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    weld_on_io(RX_CONTAINER(io, struct rx_conn, ends[RX_SERVER].io), RX_SERVER, events);
}

void rx_weld_begin(struct rx_conn *c, const uint8_t *head, uint32_t len, uint32_t sent)
{
    c->room = RX_ROOM_WELD;
    enum rx_priority priority = c->route ? c->route->priority : RX_PRIORITY_BOTH;
    for (int d = 0; d < 2; d++) {
        c->dir[d].may_splice = priority != RX_PRIORITY_LATENCY;
        c->dir[d].is_spliced = priority == RX_PRIORITY_THROUGHPUT;
    }
    ev_set_cb(&c->ends[RX_CLIENT].io, weld_on_client);
    ev_set_cb(&c->ends[RX_SERVER].io, weld_on_server);
    c->active_ms = rx_now_ms();
    rx_conn_deadline(c, c->route ? c->route->idle_ms : c->listen->idle_ms);
    count(c, RX_TO_SERVER, len);
    if (c->hooked || (c->route && c->route->mirror.kind != RX_TO_NONE))
        tap_begin(c, head, len);
    if (sent < len && !keep_rest(c, &c->dir[RX_TO_SERVER], head + sent, len - sent))
        return;
    rx_conn_drop_head(c);
    if (c->route && (c->route->rate || c->route->rate_total) && rx_shape_begin(c, len)) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    if (c->dir[RX_TO_SERVER].is_eof && !holds_bytes(&c->dir[RX_TO_SERVER]))
        pass_on_end(c, RX_TO_SERVER);
    settle(c);
}

void rx_weld_adopt(struct rx_conn *c)
{
    enum rx_priority priority = c->route ? c->route->priority : RX_PRIORITY_BOTH;
    c->room = RX_ROOM_WELD;
    for (int d = 0; d < 2; d++) {
        c->dir[d].may_splice = priority != RX_PRIORITY_LATENCY;
        c->dir[d].is_spliced &= c->dir[d].may_splice;
    }
    ev_set_cb(&c->ends[RX_CLIENT].io, weld_on_client);
    ev_set_cb(&c->ends[RX_SERVER].io, weld_on_server);
    rx_conn_deadline(c, 0); // which knows since when it rests
    if (c->route && (c->route->rate || c->route->rate_total) && rx_shape_begin(c, 0))
        rx_close(c, RX_REASON_NO_MEMORY);
    else
        settle(c);
}

void rx_weld_on_deadline(struct rx_conn *c)
{
    uint32_t idle_ms = c->route ? c->route->idle_ms : c->listen->idle_ms;
    uint64_t now = rx_now_ms();
    if (c->dir[RX_TO_SERVER].is_paused || c->dir[RX_TO_CLIENT].is_paused)
        c->active_ms = now; // it is we who wait
    if (now - c->active_ms >= idle_ms)
        rx_close(c, RX_REASON_IDLE_TIMEOUT);
    else
        rx_conn_deadline(c, (uint32_t)(idle_ms - (now - c->active_ms)));
}
