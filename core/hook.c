// SPDX-License-Identifier: MIT
// The worker's side of hooks. Enters: what happens to a connection. Leaves: events in the worker's line, and filtered
// bytes.
//
// Invariants
//  * An observed connection has one open and one close, the open first. Where the queue is full they wait in the
//    line's list, for which their own rx_hooked is the memory; bytes never wait.
//  * Opens and closes may use the queue's last SPARE bytes, data not.
//  * Of a connection whose open waits, all bytes are lost: they would overtake it.
//  * A side pipe is written only here, and read only by the hook thread, as many bytes as each event says.
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "proxied.h"
#include "pipe.h"
#include "proto/ja4.h"
#include "worker.h"

enum {
    SPARE = 256 * 1024,
    LATE_MAX = 65536, // opens that may wait; beyond, connections are not observed
    SIDES_MAX = 128,  // side pipes of one worker: each may pin a megabyte
};

void rx_hooked_unref(struct rx_hooked *h)
{
    if (atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) != 1)
        return;
    rx_roster_unref(h->roster);
    rx_proxied_unref(h->proxied);
    rx_conf_unref(h->conf);
    free(h);
}

// ---- the snapshot -----------------------------------------------------------------------------------------------------

static const uint32_t text_facts[] = { RX_FACT_SNI,  RX_FACT_ALPN,     RX_FACT_HOST,  RX_FACT_PATH, RX_FACT_METHOD,
                                       RX_FACT_USER, RX_FACT_SOFTWARE, RX_FACT_QNAME, RX_FACT_KEY };

static struct rx_text *text_of(struct rx_facts *f, uint32_t fact)
{
    return fact == RX_FACT_ALPN ? &f->alpn : (struct rx_text *)rx_fact_text(f, fact);
}

static size_t texts_size(const struct rx_facts *f)
{
    size_t n = 0;
    for (unsigned i = 0; i < RX_COUNT(text_facts); i++)
        if (f->have & text_facts[i])
            n += text_of((struct rx_facts *)f, text_facts[i])->len;
    return n;
}

// The facts point into bytes that will be gone: they are moved behind the snapshot.
static void keep_texts(struct rx_hooked *h)
{
    uint8_t *at = h->text;
    h->facts.scratch = NULL;
    for (unsigned i = 0; i < RX_COUNT(text_facts); i++) {
        struct rx_text *t = text_of(&h->facts, text_facts[i]);
        if (!(h->facts.have & text_facts[i]))
            continue;
        memcpy(at, t->ptr, t->len);
        t->ptr = at;
        at += t->len;
    }
}

static struct rx_hooked *snapshot(struct rx_conn *c, const struct rx_hooks *set, const struct rx_decision *d,
                                  const uint8_t *head, uint32_t len)
{
    const struct rx_facts *f = d && d->seen ? &d->facts : NULL;
    struct rx_hooked *h = malloc(sizeof *h + (f ? texts_size(f) : 0));
    if (!h)
        return NULL;
    *h = (struct rx_hooked){ .refs = 1,
                             .conf = c->conf,
                             .set = set,
                             .listen = c->listen,
                             .route = c->route,
                             .known = d ? d->seen : NULL,
                             .id = c->id,
                             .start_ms = c->start_ms,
                             .client = c->client,
                             .proxied = rx_proxied_ref(c->proxied),
                             .to_port = c->to_port,
                             .is_udp = c->is_udp,
                             .side_in = { -1, -1 },
                             .side_out = { -1, -1 } };
    rx_conf_ref(h->conf);
    if (f) {
        h->facts = *f;
        keep_texts(h);
    }
    if (len && head[0] == 22) // a TLS handshake, whether or not a route asks for TLS
        rx_ja4(head, len, h->ja4);
    h->is_observed = set->is_observed && c->worker->hook_line;
    return h;
}

static const struct rx_hooks *set_of(const struct rx_conn *c)
{
    return c->route ? c->route->hooks : c->listen->hooks;
}

int rx_hook_begin(struct rx_conn *c, const struct rx_decision *d, const uint8_t *head, uint32_t len)
{
    const struct rx_hooks *set = set_of(c);
    c->hooked = snapshot(c, set, d, head, len);
    if (c->hooked)
        return 0;
    rx_log_limited(RX_LOG_WARN, "hooks: no memory to observe a connection");
    return set->has_filter ? -ENOMEM : 0;
}

// ---- events -----------------------------------------------------------------------------------------------------------

static void wake(struct rx_hook_line *line)
{
    line->is_dirty = false;
    rx_hooker_wake(line->hooker);
}

static void push(struct rx_hook_line *line)
{
    rx_queue_push(&line->queue);
    line->is_dirty = true;
    if (rx_queue_used(&line->queue) > line->queue.size / 4)
        wake(line);
}

static struct rx_hook_event event_of(const struct rx_conn *c, enum rx_hook_kind kind)
{
    return (struct rx_hook_event){ .hooked = c->hooked,
                                   .bytes = { c->bytes[0], c->bytes[1] },
                                   .lost = c->hooked->lost,
                                   .now_ms = rx_now_ms(),
                                   .kind = (uint8_t)kind };
}

static bool tell(struct rx_hook_line *line, const struct rx_hook_event *e)
{
    struct rx_hook_event *at = rx_queue_reserve(&line->queue, sizeof *at, 0);
    if (!at)
        return false;
    *at = *e;
    push(line);
    return true;
}

static void make_late(struct rx_hook_line *line, struct rx_hooked *h)
{
    if (!h->is_open_late && !h->is_close_late) {
        if (!line->late)
            line->late_end = &line->late;
        h->next = NULL;
        *line->late_end = h;
        line->late_end = &h->next;
        line->n_late++;
    }
    atomic_store(&line->is_short, true);
    line->is_dirty = true;
}

// Opens and closes that had to wait; in their order.
static void tell_late(struct rx_hook_line *line)
{
    while (line->late) {
        struct rx_hooked *h = line->late;
        struct rx_hook_event open = h->last;
        open.kind = RX_HOOK_OPEN;
        if (h->is_open_late && !tell(line, &open))
            break;
        h->is_open_late = false;
        struct rx_hooked *next = h->next; // once its close is told it may be freed
        if (h->is_close_late && !tell(line, &h->last))
            break;
        line->late = next;
        line->n_late--;
    }
    if (line->late)
        atomic_store(&line->is_short, true);
}

static void count_lost_connection(const struct rx_hooks *set)
{
    for (uint32_t i = 0; i < set->n; i++)
        atomic_fetch_add_explicit(&set->list[i]->lost_conns, 1, memory_order_relaxed);
    rx_log_limited(RX_LOG_WARN, "hooks cannot keep up: connections are not observed");
}

static void keep_backend(struct rx_conn *c)
{
    struct rx_roster *old = c->hooked->roster;
    c->hooked->pool = c->pool ? c->pool->name : NULL;
    c->hooked->backend = c->backend ? c->backend->name : NULL;
    c->hooked->roster = c->roster ? rx_roster_ref(c->roster) : NULL;
    rx_roster_unref(old);
}

void rx_hook_open(struct rx_conn *c)
{
    struct rx_hooked *h = c->hooked;
    struct rx_hook_line *line = c->worker->hook_line;
    keep_backend(c);
    h->is_opened = true;
    if (!h->is_observed)
        return;
    if (line->n_late >= LATE_MAX) {
        h->is_observed = false;
        count_lost_connection(h->set);
        return;
    }
    atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed); // the hook thread's
    struct rx_hook_event e = event_of(c, RX_HOOK_OPEN);
    if (tell(line, &e))
        return;
    make_late(line, h);
    h->last = e;
    h->is_open_late = true;
}

// Whether any hook of the set still listens: who outran the budget does not.
static bool is_heard(const struct rx_hooked *h)
{
    for (uint32_t i = 0; i < h->set->n; i++) {
        int32_t fn = h->set->list[i]->data_fn;
        if (fn >= 0 && !atomic_load_explicit(&h->conf->fns[fn].is_quarantined, memory_order_relaxed))
            return true;
    }
    return false;
}

static bool wants_data(const struct rx_hooked *h)
{
    return h->is_observed && h->set->has_data && is_heard(h);
}

static void lose(struct rx_hooked *h, size_t n)
{
    h->lost += n;
    for (uint32_t i = 0; i < h->set->n; i++)
        if (h->set->list[i]->data_fn >= 0)
            atomic_fetch_add_explicit(&h->set->list[i]->lost_bytes, n, memory_order_relaxed);
    rx_log_limited(RX_LOG_WARN, "hooks cannot keep up: bytes are lost to on_data");
}

void rx_hook_data(struct rx_conn *c, enum rx_direction dir, const uint8_t *bytes, size_t n)
{
    struct rx_hooked *h = c->hooked;
    struct rx_hook_line *line = c->worker->hook_line;
    if (!n || !wants_data(h))
        return;
    struct rx_hook_event *e = h->is_open_late ? NULL : rx_queue_reserve(&line->queue, sizeof *e + n, SPARE);
    if (!e) {
        lose(h, n);
        return;
    }
    *e = event_of(c, RX_HOOK_DATA);
    e->direction = (uint8_t)dir;
    e->len = (uint32_t)n;
    memcpy(e + 1, bytes, n);
    push(line);
}

// ---- spliced bytes ----------------------------------------------------------------------------------------------------

static bool open_side(struct rx_hook_line *line, struct rx_hooked *h, enum rx_direction dir)
{
    int fds[2];
    if (line->n_sides >= SIDES_MAX || pipe2(fds, O_CLOEXEC | O_NONBLOCK))
        return false;
    if (fcntl(fds[1], F_SETPIPE_SZ, RX_PIPE_SIZE) == -1) { // a smaller one could not hold all that a pipe brings
        close(fds[0]);
        close(fds[1]);
        return false;
    }
    h->side_out[dir] = fds[0];
    h->side_in[dir] = fds[1];
    line->n_sides++;
    return true;
}

// A side pipe holds what one read can bring, but not surely two: while the hook thread is behind, bytes are copied,
// since the queue holds more. When that, too, is filling up, being fast is worth more than being complete.
bool rx_hook_may_splice(struct rx_conn *c, enum rx_direction dir)
{
    struct rx_hooked *h = c->hooked;
    struct rx_hook_line *line = c->worker->hook_line;
    if (h->set->has_filter)
        return false;
    if (!wants_data(h))
        return true;
    if (h->side_in[dir] < 0)
        return open_side(line, h, dir);
    return atomic_load_explicit(&h->side_read[dir], memory_order_acquire) == h->side_written[dir] ||
           rx_queue_used(&line->queue) > line->queue.size / 8 * 7;
}

// tee(2) takes from the pipe's beginning only: what does not fit at once is lost.
void rx_hook_tee(struct rx_conn *c, enum rx_direction dir, size_t n)
{
    struct rx_hooked *h = c->hooked;
    struct rx_hook_line *line = c->worker->hook_line;
    if (h->side_in[dir] < 0 || !wants_data(h))
        return;
    struct rx_hook_event *e = h->is_open_late ? NULL : rx_queue_reserve(&line->queue, sizeof *e, SPARE);
    ssize_t k = e ? tee(c->dir[dir].pipe[0], h->side_in[dir], n, SPLICE_F_NONBLOCK) : 0;
    if (k > 0) {
        *e = event_of(c, RX_HOOK_PIPED);
        e->direction = (uint8_t)dir;
        e->len = (uint32_t)k;
        h->side_written[dir] += (uint64_t)k;
        push(line);
    }
    if (k < (ssize_t)n)
        lose(h, n - (size_t)RX_MAX(k, (ssize_t)0));
}

// ---- the end ----------------------------------------------------------------------------------------------------------

static void close_sides(struct rx_hook_line *line, struct rx_hooked *h)
{
    for (int d = 0; d < 2; d++)
        if (h->side_in[d] >= 0) {
            close(h->side_in[d]);
            line->n_sides--;
        }
}

void rx_hook_close(struct rx_conn *c, enum rx_reason why)
{
    if (!c->hooked) {
        const struct rx_hooks *set = set_of(c);
        if (!set || !set->is_observed || rx_hook_begin(c, NULL, NULL, 0) || !c->hooked)
            return;
    }
    struct rx_hooked *h = c->hooked;
    struct rx_hook_line *line = c->worker->hook_line;
    if (!h->is_opened)
        rx_hook_open(c);
    if (h->is_observed) {
        close_sides(line, h);
        struct rx_hook_event e = event_of(c, RX_HOOK_CLOSE);
        e.why = (uint16_t)why;
        if (h->is_open_late || !tell(line, &e)) {
            make_late(line, h);
            h->last = e;
            h->is_close_late = true;
        }
    }
    c->hooked = NULL;
    rx_hooked_unref(h);
}

void rx_hook_tidy(struct rx_hook_line *line)
{
    if (line->late)
        tell_late(line);
    if (line->is_dirty)
        wake(line);
}

// ---- filters ----------------------------------------------------------------------------------------------------------

enum rx_filter rx_hook_filter(struct rx_conn *c, enum rx_direction dir, struct rx_filtered *io)
{
    struct rx_hooked *h = c->hooked;
    struct rx_hook_event e = event_of(c, RX_HOOK_DATA);
    if (!h->is_opened) // else the hook thread may be reading
        keep_backend(c);
    e.direction = (uint8_t)dir;
    for (uint32_t i = 0; i < h->set->n && io->n; i++) {
        int32_t fn = h->set->list[i]->filter_fn;
        enum rx_filter verdict = fn < 0 ? RX_FILTER_PASS : rx_script_filter(c->script, (uint32_t)fn, &e, io);
        if (verdict != RX_FILTER_PASS)
            return verdict;
    }
    return RX_FILTER_PASS;
}
