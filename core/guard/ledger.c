// SPDX-License-Identifier: MIT
// Enters: events from any thread, with their time. Leaves: who is in and who is out.
//
// As in store.c, a ledger is cut into stripes by hash, each with a lock that is held for one event, a chained hash table
// and a list of identities by last event. Invariants:
//  * an identity with held seats is not in that list: it is never dropped; connections are bounded elsewhere;
//  * a seat belongs to its identity's list (home) or, once put out while held, to its holders alone;
//  * the hash has a secret key, since clients choose what becomes an identity.
// Nothing needs a timer: each event looks at the seats of its own identity, and at the identities heard of least
// recently, which are the first whose time is over.
#include "ledger.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

enum { STRIPES_MAX = 64, SHARE = 256, BUCKETS_MIN = 16, SWEEP = 2, OUTS_MAX = 4 };

struct rx_identity {
    struct rx_identity *chain;
    struct rx_identity *newer, *older; // by last event, while is_idle
    struct rx_seat *seats;             // owned
    uint64_t hash, last_ms;
    uint32_t n_held, max_ips;
    uint16_t id_len;
    bool is_idle;
    char id[];
};

struct stripe {
    _Alignas(64) pthread_mutex_t lock;
    struct rx_identity **buckets; // owned, and each identity
    struct rx_identity *newest, *oldest;
    uint32_t mask, n, n_in;
    unsigned long evicted;
};

struct rx_ledger {
    struct rx_hash_key secret;
    atomic_ullong window_ms, timeout_ms, tell_ms;
    atomic_bool is_last_kept;
    atomic_uint share; // identities of one stripe
    uint32_t n_stripes;
    struct stripe stripes[];
};

// ---- identities: all under the stripe's lock ------------------------------------------------------------------------

static void unlist(struct stripe *t, struct rx_identity *i)
{
    if (!i->is_idle)
        return;
    *(i->newer ? &i->newer->older : &t->newest) = i->older;
    *(i->older ? &i->older->newer : &t->oldest) = i->newer;
    i->is_idle = false;
}

static void enlist(struct stripe *t, struct rx_identity *i)
{
    i->newer = NULL;
    i->older = t->newest;
    *(t->newest ? &t->newest->newer : &t->oldest) = i;
    t->newest = i;
    i->is_idle = true;
}

// Out of its identity's list; freed unless connections hold it.
static void unseat(struct stripe *t, struct rx_seat *s)
{
    struct rx_seat **at = &s->home->seats;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    t->n_in -= !s->out_ms;
    s->home->n_held -= s->n_held;
    s->home = NULL;
    if (!s->n_held)
        free(s);
}

static void drop(struct stripe *t, struct rx_identity *i)
{
    struct rx_identity **at = &t->buckets[i->hash & t->mask];
    while (*at != i)
        at = &(*at)->chain;
    *at = i->chain;
    unlist(t, i);
    while (i->seats)
        unseat(t, i->seats);
    t->n--;
    free(i);
}

static bool widen(struct stripe *t)
{
    uint32_t old = t->buckets ? t->mask + 1 : 0, cap = old ? old * 2 : BUCKETS_MIN;
    struct rx_identity **buckets = calloc(cap, sizeof *buckets);
    if (!buckets)
        return t->buckets; // longer chains do no harm
    for (uint32_t b = 0; b < old; b++)
        for (struct rx_identity *i = t->buckets[b], *next; i; i = next) {
            next = i->chain;
            i->chain = buckets[i->hash & (cap - 1)];
            buckets[i->hash & (cap - 1)] = i;
        }
    free(t->buckets);
    t->buckets = buckets;
    t->mask = cap - 1;
    return true;
}

static uint64_t patience(struct rx_ledger *l)
{
    return RX_MAX(atomic_load_explicit(&l->window_ms, memory_order_relaxed),
                  atomic_load_explicit(&l->timeout_ms, memory_order_relaxed));
}

// Drops up to `most` identities of which nothing is to be remembered any more.
static void sweep(struct rx_ledger *l, struct stripe *t, uint64_t now, uint32_t most)
{
    uint64_t wait = patience(l);
    while (most-- && t->oldest && t->oldest->last_ms + wait <= now)
        drop(t, t->oldest);
}

static struct rx_identity *find(struct stripe *t, const struct rx_ledger_event *e, uint64_t hash)
{
    struct rx_identity *i = t->buckets ? t->buckets[hash & t->mask] : NULL;
    while (i && (i->hash != hash || i->id_len != e->id_len || memcmp(i->id, e->id, e->id_len)))
        i = i->chain;
    return i;
}

static struct rx_identity *add(struct rx_ledger *l, struct stripe *t, const struct rx_ledger_event *e, uint64_t hash)
{
    if ((!t->buckets || t->n > t->mask) && !widen(t))
        return NULL;
    struct rx_identity *i = malloc(sizeof *i + e->id_len);
    if (!i)
        return NULL;
    *i = (struct rx_identity){ .hash = hash, .id_len = (uint16_t)e->id_len };
    memcpy(i->id, e->id, e->id_len);
    sweep(l, t, e->now_ms, SWEEP);
    for (uint32_t share = atomic_load_explicit(&l->share, memory_order_relaxed); t->n >= share && t->oldest;) {
        t->evicted++;
        drop(t, t->oldest);
    }
    i->chain = t->buckets[hash & t->mask];
    t->buckets[hash & t->mask] = i;
    t->n++;
    return i;
}

// ---- seats ----------------------------------------------------------------------------------------------------------

static bool is_over(struct rx_ledger *l, const struct rx_seat *s, uint64_t now)
{
    if (s->out_ms)
        return s->out_ms + atomic_load_explicit(&l->timeout_ms, memory_order_relaxed) <= now;
    return !s->n_held && s->far_ms <= now &&
           s->seen_ms + atomic_load_explicit(&l->window_ms, memory_order_relaxed) <= now;
}

// What an identity's seats look like to an event.
struct seen {
    struct rx_seat *mine;  // of the event's address, in or out
    struct rx_seat *first; // has been in longest
    struct rx_seat *gone;  // has been out longest
    uint32_t n_in, n_out;
};

static struct seen look(struct rx_ledger *l, struct stripe *t, struct rx_identity *i, const struct rx_ledger_event *e)
{
    struct seen v = { 0 };
    for (struct rx_seat *s = i->seats, *next; s; s = next) {
        next = s->next;
        if (is_over(l, s, e->now_ms)) {
            unseat(t, s);
            continue;
        }
        if (!memcmp(&s->who, &e->who, sizeof s->who))
            v.mine = s;
        if (s->out_ms) {
            v.n_out++;
            if (!v.gone || s->out_ms < v.gone->out_ms)
                v.gone = s;
        } else {
            v.n_in++;
            if (!v.first || s->since_ms <= v.first->since_ms) // the list begins with the latest
                v.first = s;
        }
    }
    return v;
}

static struct rx_seat *seat_add(struct stripe *t, uint32_t stripe, struct rx_identity *i, const struct rx_cidr *who,
                                uint64_t now, bool is_out)
{
    struct rx_seat *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->home = i;
    s->stripe = stripe;
    s->who = *who;
    s->since_ms = s->seen_ms = now;
    s->out_ms = is_out ? RX_MAX(now, (uint64_t)1) : 0;
    s->next = i->seats;
    i->seats = s;
    t->n_in += !is_out;
    return s;
}

// Remembered for the timeout, as long as it is not one of very many.
static void remember_out(struct stripe *t, uint32_t stripe, struct rx_identity *i, const struct seen *v,
                         const struct rx_cidr *who, uint64_t now)
{
    if (v->n_out >= OUTS_MAX)
        unseat(t, v->gone);
    seat_add(t, stripe, i, who, now, true);
}

static void put_out(struct stripe *t, struct rx_identity *i, struct seen *v, uint64_t now, struct rx_ledger_answer *out)
{
    struct rx_seat *s = v->first;
    struct rx_cidr who = s->who;
    uint32_t stripe = s->stripe;
    if (s->n_held) {
        atomic_store_explicit(&s->is_out, true, memory_order_release);
        out->must_close = true;
    }
    unseat(t, s);
    remember_out(t, stripe, i, v, &who, now);
    out->out[out->n_out++] = who;
    out->is_new = true;
}

// Whether the other nodes are to hear that somebody has a seat.
static bool is_told(struct rx_ledger *l, struct rx_seat *s, const struct rx_ledger_event *e)
{
    uint64_t every = atomic_load_explicit(&l->tell_ms, memory_order_relaxed);
    if (!every || (s->told_ms && s->told_ms + every > e->now_ms && !(e->is_held && s->n_held == 1)))
        return false;
    s->told_ms = e->now_ms;
    return true;
}

static void judge(struct rx_ledger *l, uint32_t stripe, struct rx_identity *i, const struct rx_ledger_event *e,
                  struct rx_ledger_answer *out)
{
    struct stripe *t = &l->stripes[stripe];
    struct seen v = look(l, t, i, e);
    if (v.mine && v.mine->out_ms)
        return;
    bool is_last_kept = atomic_load_explicit(&l->is_last_kept, memory_order_relaxed);
    out->origin = e->who;
    while (!v.mine && is_last_kept && v.n_in >= e->max_ips && v.first && out->n_out < RX_LEDGER_PUT_OUT) {
        put_out(t, i, &v, e->now_ms, out);
        v = look(l, t, i, e);
    }
    if (!v.mine && v.n_in >= e->max_ips && !out->n_out) { // else those who are left go for the next newcomers
        out->is_new = true;
        out->origin = v.first->who;
        out->out[out->n_out++] = e->who;
        remember_out(t, stripe, i, &v, &e->who, e->now_ms);
        out->must_tell = atomic_load_explicit(&l->tell_ms, memory_order_relaxed);
        return;
    }
    struct rx_seat *s = v.mine ? v.mine : seat_add(t, stripe, i, &e->who, e->now_ms, false);
    out->is_in = true;
    if (!s)
        return;
    s->seen_ms = RX_MAX(s->seen_ms, e->now_ms);
    if (e->is_held) {
        s->n_held++;
        i->n_held++;
        out->seat = s;
    }
    out->must_tell = is_told(l, s, e);
    out->age_ms = e->now_ms - RX_MIN(s->since_ms, e->now_ms);
}

void rx_ledger_see(struct rx_ledger *l, const struct rx_ledger_event *e, struct rx_ledger_answer *out)
{
    uint64_t hash = rx_hash(&l->secret, e->id, e->id_len);
    uint32_t stripe = hash >> 32 & (l->n_stripes - 1);
    struct stripe *t = &l->stripes[stripe];
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&t->lock);
    struct rx_identity *i = find(t, e, hash);
    if (!i)
        i = add(l, t, e, hash);
    if (i) {
        unlist(t, i);
        i->max_ips = e->max_ips;
        judge(l, stripe, i, e, out);
        i->last_ms = RX_MAX(i->last_ms, e->now_ms);
        if (!i->n_held)
            enlist(t, i);
    } else {
        out->is_in = true;
    }
    pthread_mutex_unlock(&t->lock);
}

uint32_t rx_ledger_name(struct rx_ledger *l, const struct rx_seat *s, char *out)
{
    struct stripe *t = &l->stripes[s->stripe];
    pthread_mutex_lock(&t->lock);
    uint32_t n = s->home ? s->home->id_len : 0;
    if (n)
        memcpy(out, s->home->id, n);
    pthread_mutex_unlock(&t->lock);
    return n;
}

static struct rx_ledger_told tell(struct rx_ledger *l, const struct rx_identity *i, const struct rx_seat *s, uint64_t now)
{
    uint64_t from = s->out_ms ? s->out_ms : s->seen_ms, begin = s->out_ms ? s->out_ms : s->since_ms;
    uint64_t until = from + atomic_load_explicit(s->out_ms ? &l->timeout_ms : &l->window_ms, memory_order_relaxed);
    struct rx_ledger_told told = { .id_len = (uint8_t)i->id_len, .is_held = s->n_held, .is_out = s->out_ms,
                                   .max_ips = i->max_ips, .who = s->who, .age_ms = now - RX_MIN(begin, now),
                                   .left_ms = until - RX_MIN(until, now) };
    memcpy(told.id, i->id, i->id_len);
    return told;
}

bool rx_ledger_leave(struct rx_ledger *l, struct rx_seat *s, uint64_t now_ms, struct rx_ledger_told *told)
{
    struct stripe *t = &l->stripes[s->stripe];
    bool must_tell = false;
    pthread_mutex_lock(&t->lock);
    struct rx_identity *i = s->home;
    s->n_held--;
    s->seen_ms = RX_MAX(s->seen_ms, now_ms);
    if (!i && !s->n_held)
        free(s);
    if (i) {
        i->last_ms = RX_MAX(i->last_ms, now_ms);
        if (--i->n_held == 0)
            enlist(t, i);
        must_tell = !s->n_held && atomic_load_explicit(&l->tell_ms, memory_order_relaxed);
        if (must_tell)
            *told = tell(l, i, s, now_ms);
    }
    pthread_mutex_unlock(&t->lock);
    return must_tell;
}

// ---- other nodes ----------------------------------------------------------------------------------------------------

static struct rx_seat *seat_of(struct rx_identity *i, const struct rx_cidr *who)
{
    struct rx_seat *s = i->seats;
    while (s && memcmp(&s->who, who, sizeof *who))
        s = s->next;
    return s;
}

static void hear_out(struct rx_ledger *l, uint32_t stripe, struct rx_identity *i, const struct rx_ledger_far *f,
                     const struct rx_ledger_event *e, struct rx_ledger_answer *out)
{
    struct stripe *t = &l->stripes[stripe];
    struct rx_ledger_event of = *e;
    of.who = f->who;
    struct seen v = look(l, t, i, &of);
    if (!v.mine || !v.mine->out_ms) {
        if (v.mine && v.mine->n_held) {
            atomic_store_explicit(&v.mine->is_out, true, memory_order_release);
            out->must_close = true;
        }
        if (v.mine)
            unseat(t, v.mine);
        remember_out(t, stripe, i, &v, &f->who, e->now_ms);
        if (f->is_fresh && out->n_out < RX_LEDGER_PUT_OUT)
            out->out[out->n_out++] = f->who;
    }
    struct rx_seat *s = seat_of(i, &f->who);
    if (!s)
        return;
    uint64_t until = e->now_ms + f->left_ms, whole = atomic_load_explicit(&l->timeout_ms, memory_order_relaxed);
    s->out_ms = RX_MAX(until - RX_MIN(until, whole), (uint64_t)1);
    s->told_ms = e->now_ms;
}

static void hear_forgiven(struct rx_ledger *l, uint32_t stripe, struct rx_identity *i, const struct rx_ledger_far *f)
{
    struct rx_seat *s = seat_of(i, &f->who);
    if (s && s->out_ms)
        unseat(&l->stripes[stripe], s);
}

static void hear_in(struct rx_ledger *l, uint32_t stripe, struct rx_identity *i, const struct rx_ledger_far *f, uint64_t now)
{
    struct rx_seat *s = seat_of(i, &f->who);
    if (s && s->out_ms)
        return;
    if (!s) {
        if (!(s = seat_add(&l->stripes[stripe], stripe, i, &f->who, now, false)))
            return;
        s->seen_ms = 0; // not by us
    }
    s->since_ms = RX_MIN(s->since_ms, now - RX_MIN(now, f->age_ms));
    s->far_ms = now + f->left_ms;
}

// Those it does not name are only ours.
static void hear_all(struct rx_ledger *l, uint32_t stripe, struct rx_identity *i, const struct rx_ledger_far *far, uint32_t n,
                     const struct rx_ledger_event *e, struct rx_ledger_answer *out)
{
    uint64_t last = e->now_ms, wait = patience(l);
    for (struct rx_seat *s = i->seats; s; s = s->next)
        s->far_ms = 0;
    for (uint32_t k = 0; k < n; k++) {
        if (far[k].is_out)
            hear_out(l, stripe, i, &far[k], e, out);
        else if (far[k].is_fresh)
            hear_forgiven(l, stripe, i, &far[k]);
        else
            hear_in(l, stripe, i, &far[k], e->now_ms);
        uint64_t until = e->now_ms + far[k].left_ms;
        last = RX_MAX(last, until - RX_MIN(until, wait));
    }
    i->last_ms = RX_MAX(i->last_ms, last);
}

void rx_ledger_hear(struct rx_ledger *l, const struct rx_ledger_event *e, const struct rx_ledger_far *far, uint32_t n,
                    struct rx_ledger_answer *out)
{
    uint64_t hash = rx_hash(&l->secret, e->id, e->id_len);
    uint32_t stripe = hash >> 32 & (l->n_stripes - 1);
    struct stripe *t = &l->stripes[stripe];
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&t->lock);
    struct rx_identity *i = find(t, e, hash);
    if (!i && n)
        i = add(l, t, e, hash);
    if (i) {
        unlist(t, i);
        hear_all(l, stripe, i, far, n, e, out);
        if (!i->n_held)
            enlist(t, i);
    }
    pthread_mutex_unlock(&t->lock);
}

uint32_t rx_ledger_stripes(const struct rx_ledger *l)
{
    return l->n_stripes;
}

static bool is_due(struct rx_ledger *l, const struct rx_seat *s, const struct rx_ledger_due *due)
{
    if (is_over(l, s, due->now_ms))
        return false;
    bool is_ours = s->out_ms || s->n_held ||
                   s->seen_ms + atomic_load_explicit(&l->window_ms, memory_order_relaxed) > due->now_ms;
    return is_ours && (s->told_ms < due->since_ms || (s->n_held && s->told_ms < due->held_ms));
}

size_t rx_ledger_gather(struct rx_ledger *l, uint32_t stripe, const struct rx_ledger_due *due,
                        struct rx_ledger_told **list)
{
    struct stripe *t = &l->stripes[stripe];
    size_t n = 0, cap = 0;
    *list = NULL;
    pthread_mutex_lock(&t->lock);
    for (uint32_t b = 0; t->buckets && b <= t->mask; b++)
        for (struct rx_identity *i = t->buckets[b]; i; i = i->chain)
            for (struct rx_seat *s = i->seats; s; s = s->next) {
                if (!is_due(l, s, due))
                    continue;
                if (n == cap) {
                    struct rx_ledger_told *grown = realloc(*list, (cap = cap ? cap * 2 : 64) * sizeof *grown);
                    if (!grown)
                        goto end; // another time
                    *list = grown;
                }
                (*list)[n++] = tell(l, i, s, due->now_ms);
                s->told_ms = due->now_ms;
            }
end:
    pthread_mutex_unlock(&t->lock);
    return n;
}

// Under the stripe's lock.
static bool forgive_in(struct rx_ledger *l, struct stripe *t, const struct rx_cidr *who, rx_ledger_forgiven_fn *each,
                       void *data)
{
    bool must_tell = atomic_load_explicit(&l->tell_ms, memory_order_relaxed);
    bool is_any = false;
    for (uint32_t b = 0; t->buckets && b <= t->mask; b++)
        for (struct rx_identity *i = t->buckets[b]; i; i = i->chain)
            for (struct rx_seat *s = i->seats, *next; s; s = next) {
                next = s->next;
                if (!s->out_ms || (!rx_cidr_covers(who, &s->who) && !rx_cidr_covers(&s->who, who)))
                    continue;
                const struct rx_ledger_told told = tell(l, i, s, s->out_ms);
                if (must_tell)
                    each(&told, data);
                unseat(t, s);
                is_any = true;
            }
    return is_any;
}

bool rx_ledger_forgive(struct rx_ledger *l, const struct rx_cidr *who, rx_ledger_forgiven_fn *each, void *data)
{
    bool is_any = false;
    for (uint32_t s = 0; s < l->n_stripes; s++) {
        pthread_mutex_lock(&l->stripes[s].lock);
        is_any |= forgive_in(l, &l->stripes[s], who, each, data);
        pthread_mutex_unlock(&l->stripes[s].lock);
    }
    return is_any;
}

// Under the stripe's lock. Identities that were refreshed are the latest of their list: all others have an older event.
static void refresh_in(struct rx_ledger *l, struct stripe *t, rx_ledger_there_fn *is_there, void *data, uint64_t now)
{
    for (uint32_t b = 0; t->buckets && b <= t->mask; b++)
        for (struct rx_identity *i = t->buckets[b]; i; i = i->chain)
            for (struct rx_seat *s = i->seats; s; s = s->next) {
                if (s->out_ms || is_over(l, s, now) || !is_there(&s->who, data))
                    continue;
                s->seen_ms = RX_MAX(s->seen_ms, now);
                i->last_ms = RX_MAX(i->last_ms, now);
                if (i->is_idle) {
                    unlist(t, i);
                    enlist(t, i);
                }
            }
}

void rx_ledger_refresh(struct rx_ledger *l, rx_ledger_there_fn *is_there, void *data, uint64_t now_ms)
{
    for (uint32_t s = 0; s < l->n_stripes; s++) {
        pthread_mutex_lock(&l->stripes[s].lock);
        refresh_in(l, &l->stripes[s], is_there, data, now_ms);
        pthread_mutex_unlock(&l->stripes[s].lock);
    }
}

// ---- its own life ---------------------------------------------------------------------------------------------------

void rx_ledger_set(struct rx_ledger *l, const struct rx_ledger_rule *rule)
{
    atomic_store(&l->window_ms, rule->window_ms);
    atomic_store(&l->timeout_ms, rule->timeout_ms);
    atomic_store(&l->is_last_kept, rule->is_last_kept);
    atomic_store(&l->tell_ms, rule->tell_ms);
    atomic_store(&l->share, RX_MAX((rule->max_identities + l->n_stripes - 1) / l->n_stripes, 1u));
}

uint64_t rx_ledger_window(const struct rx_ledger *l)
{
    return atomic_load_explicit(&l->window_ms, memory_order_relaxed);
}

struct rx_ledger *rx_ledger_new(const struct rx_ledger_rule *rule)
{
    uint32_t n = 1;
    while (n < STRIPES_MAX && n * 2 * SHARE <= rule->max_identities)
        n *= 2;
    size_t size = sizeof(struct rx_ledger) + n * sizeof(struct stripe);
    struct rx_ledger *l = aligned_alloc(64, (size + 63) / 64 * 64);
    if (!l)
        return NULL;
    memset(l, 0, size);
    l->n_stripes = n;
    l->secret = rx_hash_key_new();
    for (uint32_t i = 0; i < n; i++)
        pthread_mutex_init(&l->stripes[i].lock, NULL);
    rx_ledger_set(l, rule);
    return l;
}

void rx_ledger_free(struct rx_ledger *l)
{
    if (!l)
        return;
    for (uint32_t s = 0; s < l->n_stripes; s++) {
        struct stripe *t = &l->stripes[s];
        for (uint32_t b = 0; t->buckets && b <= t->mask; b++)
            while (t->buckets[b])
                drop(t, t->buckets[b]);
        free(t->buckets);
        pthread_mutex_destroy(&t->lock);
    }
    free(l);
}

struct rx_ledger_totals rx_ledger_totals(struct rx_ledger *l, uint64_t now_ms)
{
    struct rx_ledger_totals all = { 0 };
    for (uint32_t s = 0; s < l->n_stripes; s++) {
        struct stripe *t = &l->stripes[s];
        pthread_mutex_lock(&t->lock);
        sweep(l, t, now_ms, UINT32_MAX);
        all.identities += t->n;
        all.addresses += t->n_in;
        all.evicted += t->evicted;
        pthread_mutex_unlock(&t->lock);
    }
    return all;
}
