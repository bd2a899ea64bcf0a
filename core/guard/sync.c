// SPDX-License-Identifier: MIT
// Enters: what was decided here, from any thread, and news of the other nodes. Leaves: calls of sync.lua, which judges what
// was decided here by what all have; seats and bans of others, in this node's ledgers and list.
//
// All news comes by one connection in the order in which the script ran, this node's own as well, so that nothing has to
// be merged. The ledger decides without waiting; when two nodes did at once, the script says who has the place, and the
// other's connections are closed. Seats with connections are told again every LEASE_MS / 3, so those of a node that died
// end by themselves. After every connect everything is told anew: what Redis lost comes back. Nothing here waits, and
// what there is no room for is left to the next time it is told.
#include "sync.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ban.h"
#include "conf.h"
#include "hash.h"
#include "log.h"
#include "sessions.h"
#include "sync_link.h"
#include "sync_news.h"
#include "wheel.h"

static atomic_bool is_on, is_up;
static atomic_ulong n_told, n_heard, n_lost, n_failed, n_outages;

struct rx_sync_totals rx_sync_totals(void)
{
    return (struct rx_sync_totals){ atomic_load(&is_on),  atomic_load(&is_up),    atomic_load(&n_told),
                                    atomic_load(&n_heard), atomic_load(&n_lost), atomic_load(&n_failed),
                                    atomic_load(&n_outages) };
}

#ifndef RX_WITHOUT_REDIS

enum {
    LEASE_MS = 5000,    // how long a seat with connections outlives its node
    SILENT_MS = 3000,   // without our own news for so long, Redis is gone
    QUEUE_MAX = 16384,  // of each kind
    WAITING_MAX = 8192, // calls without an answer, while everything is told anew
    WAITING_HARD = 65536,
    MISSED_MAX = 1024, // bans have half of it
    BEATS = 10 // ticks of the walk for each beat
};

#define WALK_S 0.1

struct ban_said {
    struct rx_cidr whom;
    uint64_t ttl_ms; // 0: taken back
};

// What other threads said and the engine has not sent yet.
struct queue {
    struct rx_sync_said *said; // owned, as the next
    struct ban_said *bans;
    unsigned n_said, said_cap, n_bans, bans_cap;
};

struct rx_sync {
    struct ev_loop *loop; // borrowed: the engine's
    struct rx_conf *conf; // ref; NULL: none yet
    struct rx_sync_url url;
    struct rx_sync_link *link; // owned; NULL: no store
    char node[RX_SYNC_NODE];
    ev_async wake;
    ev_timer walk;
    unsigned tick;
    uint64_t alive_ms; // when our own news came last

    uint64_t since_ms;         // seats told before are to be told anew
    uint32_t session, stripe;  // where the walk is
    bool is_anew;              // it goes as fast as it can until it was everywhere
    struct ban_said *anew;     // owned: bans to be told anew
    size_t n_anew, anew_cap, anew_at;
    struct ban_said missed[MISSED_MAX]; // given and taken back while nobody could be told, in order; ttl_ms: until then
    unsigned n_missed;
    char cursor[24]; // of the bans that Redis has

    struct rx_sync_news news; // too large for a stack
};

static struct {
    pthread_mutex_t lock;
    struct rx_sync *ear; // NULL: nobody shares
    struct queue queue;
} mouth = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void count(atomic_ulong *n)
{
    atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
}

// ---- other threads ------------------------------------------------------------------------------------------------------

// Room for one more; NULL: there is none.
static void *grow(void *list, unsigned n, unsigned *cap, size_t size)
{
    if (n < *cap)
        return list;
    unsigned more = *cap ? *cap * 2 : 64;
    void *grown = more <= QUEUE_MAX ? realloc(list, more * size) : NULL;
    if (grown)
        *cap = more;
    return grown;
}

void rx_sync_say(const struct rx_sync_said *said)
{
    struct queue *q = &mouth.queue;
    if (!atomic_load_explicit(&is_up, memory_order_relaxed))
        return; // told anew later
    pthread_mutex_lock(&mouth.lock);
    struct rx_sync_said *list = mouth.ear ? grow(q->said, q->n_said, &q->said_cap, sizeof *list) : NULL;
    if (list) {
        q->said = list;
        list[q->n_said++] = *said;
        ev_async_send(mouth.ear->loop, &mouth.ear->wake);
    } else {
        count(&n_lost);
    }
    pthread_mutex_unlock(&mouth.lock);
}

// Under the ban list's lock.
static void sync_on_ban(void *data, const struct rx_cidr *whom, uint64_t ttl_ms)
{
    (void)data;
    struct queue *q = &mouth.queue;
    pthread_mutex_lock(&mouth.lock);
    struct ban_said *list = mouth.ear ? grow(q->bans, q->n_bans, &q->bans_cap, sizeof *list) : NULL;
    if (list) {
        q->bans = list;
        list[q->n_bans++] = (struct ban_said){ *whom, ttl_ms };
        ev_async_send(mouth.ear->loop, &mouth.ear->wake);
    } else {
        count(&n_lost);
    }
    pthread_mutex_unlock(&mouth.lock);
}

// ---- telling ------------------------------------------------------------------------------------------------------------

// A call being put together, with room for its numbers and keys.
struct call {
    struct rx_sync_call call;
    char text[1024];
    size_t used;
};

static void put(struct call *c, const char *bytes, size_t n)
{
    c->call.arg[c->call.n] = bytes;
    c->call.len[c->call.n++] = n;
}

static void put_word(struct call *c, const char *text)
{
    put(c, text, strlen(text));
}

static void RX_PRINTF(2, 3) put_text(struct call *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *at = c->text + c->used;
    size_t room = sizeof c->text - c->used;
    int n = vsnprintf(at, room, fmt, args);
    va_end(args);
    size_t len = RX_MIN((size_t)RX_MAX(n, 0), room - 1);
    put(c, at, len);
    c->used += len + 1;
}

static void put_verb(struct rx_sync *y, struct call *c, const char *verb)
{
    c->call.n_keys = c->call.n;
    put_word(c, rx_sync_link_channel(y->link));
    put_word(c, y->node);
    put_word(c, verb);
}

static bool call(struct rx_sync *y, const struct call *c)
{
    bool is_sent = rx_sync_link_waiting(y->link) < WAITING_HARD && rx_sync_link_call(y->link, &c->call);
    count(is_sent ? &n_told : &n_lost);
    return is_sent;
}

static void tell_ban(struct rx_sync *y, const struct ban_said *b, bool is_anew)
{
    struct call c = { 0 };
    char whom[RX_ADDR_TEXT];
    put_text(&c, "%s:bans", y->url.prefix);
    put_text(&c, "%s:unbans", y->url.prefix);
    put_verb(y, &c, !b->ttl_ms ? "unban" : is_anew ? "again" : "ban");
    put_word(&c, rx_cidr_print(&b->whom, whom));
    put_text(&c, "%llu", (unsigned long long)RX_MIN(b->ttl_ms, (uint64_t)1e12));
    call(y, &c);
}

static void ask_bans(struct rx_sync *y);

static void sync_on_listed(const struct rx_cidr *whom, uint64_t left_ms, void *data)
{
    (void)data;
    rx_ban_hear(whom, left_ms);
}

static void sync_on_page(void *data, const char *text, size_t n)
{
    struct rx_sync *y = data;
    if (!rx_sync_read_page(text, n, y->cursor, sync_on_listed, NULL))
        count(&n_failed);
    else if (strcmp(y->cursor, "0"))
        ask_bans(y);
}

static void ask_bans(struct rx_sync *y)
{
    struct call c = { .call.answer = sync_on_page };
    put_text(&c, "%s:bans", y->url.prefix);
    put_verb(y, &c, "page");
    put_word(&c, y->cursor);
    call(y, &c);
}

static void tell_session(struct rx_sync *y, const struct rx_sync_said *s)
{
    struct call c = { 0 };
    char key[2 * RX_SYNC_NAME + RX_LEDGER_ID_MAX + 16], whom[RX_ADDR_TEXT];
    int n = snprintf(key, sizeof key, "%s:sessions:%s:", y->url.prefix, s->name);
    memcpy(key + n, s->seat.id, s->seat.id_len);
    put(&c, key, (size_t)n + s->seat.id_len);
    put_verb(y, &c, s->is_forgiven ? "in" : s->seat.is_out ? "out" : s->is_left ? "left" : "see");
    put_word(&c, s->name);
    put_word(&c, rx_cidr_print(&s->seat.who, whom));
    uint64_t lease = s->seat.is_held ? RX_MAX(s->window_ms, (uint64_t)LEASE_MS) : s->seat.left_ms;
    put_text(&c, "%llu", (unsigned long long)RX_MAX(lease, (uint64_t)1));
    put_text(&c, "%llu", (unsigned long long)(s->seat.is_out ? s->seat.left_ms : s->timeout_ms));
    put_text(&c, "%u", s->seat.max_ips);
    put_word(&c, s->is_last_kept ? "last" : "first");
    put_text(&c, "%llu", (unsigned long long)s->seat.age_ms);
    put_word(&c, s->is_udp ? "udp" : "tcp");
    put(&c, s->seat.id, s->seat.id_len);
    call(y, &c);
}

// A ban is told anew in any case, but not in its order: one that follows its own taking back would be taken for old.
static void remember_missed(struct rx_sync *y, const struct ban_said *b)
{
    if (y->n_missed < (b->ttl_ms ? MISSED_MAX / 2 : MISSED_MAX))
        y->missed[y->n_missed++] = (struct ban_said){ b->whom, b->ttl_ms ? rx_now_ms() + RX_MIN(b->ttl_ms, (uint64_t)1e12) : 0 };
    else if (!b->ttl_ms)
        count(&n_lost);
}

static void tell_missed(struct rx_sync *y)
{
    uint64_t now = rx_now_ms();
    for (unsigned i = 0; i < y->n_missed; i++) {
        struct ban_said b = y->missed[i];
        if (b.ttl_ms && b.ttl_ms <= now)
            continue;
        b.ttl_ms -= b.ttl_ms ? now : 0;
        tell_ban(y, &b, false);
    }
    y->n_missed = 0;
}

static void sync_on_wake(struct ev_loop *loop, ev_async *a, int events)
{
    (void)loop, (void)events;
    struct rx_sync *y = a->data;
    pthread_mutex_lock(&mouth.lock);
    struct queue q = mouth.queue;
    mouth.queue = (struct queue){ 0 };
    pthread_mutex_unlock(&mouth.lock);
    for (unsigned i = 0; y->link && i < q.n_bans; i++)
        if (atomic_load(&is_up))
            tell_ban(y, &q.bans[i], false);
        else
            remember_missed(y, &q.bans[i]);
    for (unsigned i = 0; y->link && atomic_load(&is_up) && i < q.n_said; i++)
        tell_session(y, &q.said[i]);
    free(q.bans);
    free(q.said);
}

// ---- walking: what is to be told again, or anew ---------------------------------------------------------------------------

static void tell_stripe(struct rx_sync *y, const struct rx_sessions *s, uint32_t stripe)
{
    uint64_t now = rx_now_ms();
    const struct rx_ledger_due due = { now, y->since_ms, now - RX_MIN(now, (uint64_t)LEASE_MS / 3) };
    struct rx_sync_said said = { .is_last_kept = s->rule.is_last_kept, .window_ms = s->rule.window_ms,
                                 .timeout_ms = s->rule.timeout_ms };
    struct rx_ledger_told *list;
    size_t n = rx_ledger_gather(rx_sessions_ledger(s), stripe, &due, &list);
    snprintf(said.name, sizeof said.name, "%s", s->name);
    for (size_t i = 0; i < n; i++) {
        said.seat = list[i];
        tell_session(y, &said);
    }
    free(list);
}

static uint32_t all_stripes(const struct rx_conf *conf)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < conf->n_sessions; i++)
        n += conf->sessions[i]->is_shared ? rx_ledger_stripes(rx_sessions_ledger(conf->sessions[i])) : 0;
    return n;
}

// So many stripes on; the end is followed by the beginning.
static void walk(struct rx_sync *y, uint32_t steps)
{
    const struct rx_conf *c = y->conf;
    while (steps && rx_sync_link_waiting(y->link) < WAITING_MAX) {
        const struct rx_sessions *s = y->session < c->n_sessions ? c->sessions[y->session] : NULL;
        if (!s) {
            y->session = 0;
            y->is_anew = false;
        } else if (!s->is_shared || y->stripe >= rx_ledger_stripes(rx_sessions_ledger(s))) {
            y->session++;
            y->stripe = 0;
        } else {
            tell_stripe(y, s, y->stripe++);
            steps--;
        }
    }
}

static bool sync_on_own_ban(const struct rx_cidr *whom, uint64_t left_ms, void *data)
{
    struct rx_sync *y = data;
    if (y->n_anew == y->anew_cap) {
        size_t cap = y->anew_cap ? y->anew_cap * 2 : 64;
        struct ban_said *grown = realloc(y->anew, cap * sizeof *grown);
        if (!grown)
            return false;
        y->anew = grown;
        y->anew_cap = cap;
    }
    y->anew[y->n_anew++] = (struct ban_said){ *whom, left_ms };
    return true;
}

static void tell_bans_anew(struct rx_sync *y)
{
    while (y->anew_at < y->n_anew && rx_sync_link_waiting(y->link) < WAITING_MAX)
        tell_ban(y, &y->anew[y->anew_at++], true);
    if (y->anew_at < y->n_anew)
        return;
    free(y->anew);
    y->anew = NULL;
    y->n_anew = y->anew_cap = y->anew_at = 0;
}

static void walk_on(struct rx_sync *y)
{
    uint32_t n = all_stripes(y->conf);
    tell_bans_anew(y);
    if (n)
        walk(y, y->is_anew ? n : (n + BEATS - 1) / BEATS);
}

static void sync_on_walk(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct rx_sync *y = t->data;
    if (!atomic_load(&is_up))
        return;
    if (y->alive_ms + SILENT_MS < rx_now_ms()) {
        rx_sync_link_fail(y->link, "it does not answer");
        return;
    }
    if (y->tick++ % BEATS == 0) {
        struct call c = { 0 };
        put_verb(y, &c, "beat");
        call(y, &c);
    }
    walk_on(y);
}

// ---- hearing ------------------------------------------------------------------------------------------------------------

static void hear_session(struct rx_sync *y, const struct rx_sync_news *w, bool is_ours)
{
    for (uint32_t i = 0; i < y->conf->n_sessions; i++) {
        const struct rx_sessions *s = y->conf->sessions[i];
        if (s->is_shared && !strcmp(s->name, w->name)) {
            const struct rx_heard h = { .id = w->id, .id_len = w->id_len, .is_udp = w->is_udp };
            rx_sessions_hear_far(s, &h, w->far, w->n_far, is_ours ? &w->origin : NULL);
            return;
        }
    }
}

static void sync_on_news(void *data, const char *text, size_t n)
{
    struct rx_sync *y = data;
    struct rx_sync_news *w = &y->news;
    if (!rx_sync_read(text, n, w)) {
        count(&n_failed);
        return;
    }
    bool is_ours = !strcmp(w->node, y->node);
    if (!is_ours)
        count(&n_heard);
    switch (w->kind) {
    case RX_SYNC_BEAT:
        if (is_ours)
            y->alive_ms = rx_now_ms();
        return;
    case RX_SYNC_BAN: // ours, too: what another node said in between is undone by what we said last
        rx_ban_hear(&w->whom, w->left_ms);
        return;
    case RX_SYNC_UNBAN:
        rx_ban_hear_removed(&w->whom);
        return;
    case RX_SYNC_SESSION:
        hear_session(y, w, is_ours);
        return;
    }
}

static void sync_on_up(void *data)
{
    struct rx_sync *y = data;
    rx_log(RX_LOG_INFO, "store %s: sessions and bans are shared", y->url.shown);
    atomic_store(&is_up, true);
    y->alive_ms = rx_now_ms();
    y->since_ms = y->alive_ms + 1;
    y->session = y->stripe = 0;
    y->is_anew = true;
    tell_missed(y);
    snprintf(y->cursor, sizeof y->cursor, "0");
    ask_bans(y);
    y->n_anew = y->anew_at = 0;
    rx_ban_each(sync_on_own_ban, y);
    y->tick = 0;
    sync_on_walk(y->loop, &y->walk, 0);
}

static void sync_on_down(void *data, const char *why)
{
    struct rx_sync *y = data;
    if (atomic_exchange(&is_up, false))
        count(&n_outages);
    rx_log(RX_LOG_WARN, "store %s: %s; this node decides alone until it is there", y->url.shown, why);
}

static void sync_on_failed(void *data, const char *why)
{
    struct rx_sync *y = data;
    char text[200];
    count(&n_failed);
    rx_log_escape((const uint8_t *)why, strlen(why), text, sizeof text);
    rx_log_limited(RX_LOG_WARN, "store %s: %s", y->url.shown, text);
}

// ---- its own life -------------------------------------------------------------------------------------------------------

struct rx_sync *rx_sync_new(struct ev_loop *loop)
{
    struct rx_sync *y = calloc(1, sizeof *y);
    if (!y)
        return NULL;
    y->loop = loop;
    snprintf(y->node, sizeof y->node, "%016llx", (unsigned long long)rx_hash_key_new().word[0]);
    ev_async_init(&y->wake, sync_on_wake);
    ev_timer_init(&y->walk, sync_on_walk, WALK_S, WALK_S);
    y->wake.data = y->walk.data = y;
    ev_async_start(loop, &y->wake);
    return y;
}

static void stop(struct rx_sync *y)
{
    rx_ban_on_change(NULL, NULL);
    pthread_mutex_lock(&mouth.lock);
    mouth.ear = NULL;
    free(mouth.queue.said);
    free(mouth.queue.bans);
    mouth.queue = (struct queue){ 0 };
    pthread_mutex_unlock(&mouth.lock);
    ev_timer_stop(y->loop, &y->walk);
    rx_sync_link_free(y->link);
    y->link = NULL;
    atomic_store(&is_up, false);
    atomic_store(&is_on, false);
    free(y->anew);
    y->anew = NULL;
    y->n_anew = y->anew_cap = y->anew_at = y->n_missed = 0;
}

static void start(struct rx_sync *y, const struct rx_conf *conf)
{
    const struct rx_sync_link_ear ear = { sync_on_up, sync_on_down, sync_on_news, sync_on_failed, y };
    y->url = *conf->store;
    y->link = rx_sync_link_new(y->loop, &y->url, conf->resolver, &ear);
    if (!y->link) {
        rx_log(RX_LOG_ERROR, "store %s: out of memory", y->url.shown);
        return;
    }
    atomic_store(&is_on, true);
    pthread_mutex_lock(&mouth.lock);
    mouth.ear = y;
    pthread_mutex_unlock(&mouth.lock);
    rx_ban_on_change(sync_on_ban, NULL);
    ev_timer_again(y->loop, &y->walk);
}

void rx_sync_use(struct rx_sync *y, struct rx_conf *conf)
{
    struct rx_conf *old = y->conf;
    bool is_same = y->link && conf->store && !memcmp(&y->url, conf->store, sizeof y->url);
    rx_conf_ref(conf);
    y->conf = conf;
    y->session = y->stripe = 0;
    y->since_ms = rx_now_ms() + 1; // sessions that were not shared are told
    if (!is_same && y->link)
        stop(y);
    if (!is_same && conf->store)
        start(y, conf);
    if (old)
        rx_conf_unref(old);
}

void rx_sync_free(struct rx_sync *y)
{
    if (!y)
        return;
    if (y->link)
        stop(y);
    ev_async_stop(y->loop, &y->wake);
    if (y->conf)
        rx_conf_unref(y->conf);
    free(y);
}

#else

struct rx_sync *rx_sync_new(struct ev_loop *loop)
{
    (void)loop;
    return calloc(1, 1);
}

void rx_sync_use(struct rx_sync *y, struct rx_conf *conf)
{
    (void)y, (void)conf;
}

void rx_sync_free(struct rx_sync *y)
{
    free(y);
}

void rx_sync_say(const struct rx_sync_said *said)
{
    (void)said;
}

#endif
