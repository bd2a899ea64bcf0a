// SPDX-License-Identifier: MIT
// Enters: keys and values from any thread. Leaves: copies of them.
//
// A table is cut into stripes by hash, each with a lock, a chained hash table and a list of its entries by last use.
// A lock is held for one look-up and one copy, never while Lua runs. A stripe that is full drops the entry that was
// used least recently. Each write also looks at a few entries for those whose end has come, so what nobody asks for
// again goes too, without a timer. The hash has a secret key: clients, whose words become keys, cannot make chains long.
//
// Memory: each entry costs about 72 bytes and its key and text; RX_STORE_KEY_MAX + RX_STORE_TEXT_MAX at most.
#include "store.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "wheel.h"

// Few entries make few stripes: a stripe is full when its share is used up, and shares of many are about even.
enum { STRIPES_MAX = 64, SHARE = 1024, BUCKETS_MIN = 16, SWEEP = 2 };

struct entry {
    struct entry *chain;
    struct entry *newer, *older; // by last use
    uint64_t hash, until_ms;     // 0: no end
    double number;
    uint32_t text_len;
    uint16_t key_len;
    uint8_t kind;
    char bytes[]; // the key, then the text
};

struct stripe {
    _Alignas(64) pthread_mutex_t lock;
    struct entry **buckets; // owned, and each entry
    uint32_t mask, n, hand;
    struct entry *newest, *oldest;
    unsigned long evicted;
};

struct rx_store {
    struct rx_stores *in;  // borrowed; NULL: private
    struct rx_store *next; // there
    char *name;            // owned; NULL: private
    unsigned refs;         // under the lock of `in`
    struct rx_hash_key secret;
    atomic_ullong ttl_ms;
    atomic_uint share; // entries of one stripe
    uint32_t n_stripes;
    struct stripe stripes[];
};

// ---- tables -------------------------------------------------------------------------------------------------------

void rx_store_limit(struct rx_store *s, uint32_t max_entries, uint64_t ttl_ms)
{
    atomic_store(&s->share, RX_MAX((max_entries + s->n_stripes - 1) / s->n_stripes, 1u));
    atomic_store(&s->ttl_ms, ttl_ms);
}

struct rx_store *rx_store_new(uint32_t max_entries, uint64_t ttl_ms)
{
    uint32_t n = 1;
    while (n < STRIPES_MAX && n * 2 * SHARE <= max_entries)
        n *= 2;
    size_t size = sizeof(struct rx_store) + n * sizeof(struct stripe);
    struct rx_store *s = aligned_alloc(64, (size + 63) / 64 * 64);
    if (!s)
        return NULL;
    memset(s, 0, size);
    s->refs = 1;
    s->n_stripes = n;
    s->secret = rx_hash_key_new();
    for (uint32_t i = 0; i < n; i++)
        pthread_mutex_init(&s->stripes[i].lock, NULL);
    rx_store_limit(s, max_entries, ttl_ms);
    return s;
}

static void store_free(struct rx_store *s)
{
    for (uint32_t i = 0; i < s->n_stripes; i++) {
        for (struct entry *e = s->stripes[i].newest, *older; e; e = older) {
            older = e->older;
            free(e);
        }
        free(s->stripes[i].buckets);
        pthread_mutex_destroy(&s->stripes[i].lock);
    }
    free(s->name);
    free(s);
}

struct rx_store *rx_store_get(struct rx_stores *in, const char *name, uint32_t max_entries, uint64_t ttl_ms)
{
    pthread_mutex_lock(&in->lock);
    struct rx_store *s = in->first;
    while (s && strcmp(s->name, name))
        s = s->next;
    if (s) {
        s->refs++;
    } else if ((s = rx_store_new(max_entries, ttl_ms))) {
        if ((s->name = strdup(name))) {
            s->in = in;
            s->next = in->first;
            in->first = s;
        } else {
            store_free(s);
            s = NULL;
        }
    }
    pthread_mutex_unlock(&in->lock);
    return s;
}

void rx_store_put(struct rx_store *s)
{
    if (!s)
        return;
    struct rx_stores *in = s->in;
    if (!in) {
        store_free(s);
        return;
    }
    pthread_mutex_lock(&in->lock);
    bool is_last = --s->refs == 0;
    if (is_last) {
        struct rx_store **at = &in->first;
        while (*at != s)
            at = &(*at)->next;
        *at = s->next;
    }
    pthread_mutex_unlock(&in->lock);
    if (is_last)
        store_free(s);
}

void rx_store_each(struct rx_stores *in, rx_store_each_fn *each, void *data)
{
    pthread_mutex_lock(&in->lock);
    for (struct rx_store *s = in->first; s; s = s->next)
        each(s->name, s, data);
    pthread_mutex_unlock(&in->lock);
}

struct rx_store_totals rx_store_totals(struct rx_store *s)
{
    struct rx_store_totals t = { 0 };
    for (uint32_t i = 0; i < s->n_stripes; i++) {
        pthread_mutex_lock(&s->stripes[i].lock);
        t.entries += s->stripes[i].n;
        t.evicted += s->stripes[i].evicted;
        pthread_mutex_unlock(&s->stripes[i].lock);
    }
    return t;
}

// ---- entries: all under the stripe's lock ---------------------------------------------------------------------------

static struct stripe *enter(struct rx_store *s, const char *key, uint32_t len, uint64_t *hash)
{
    *hash = rx_hash(&s->secret, key, len);
    struct stripe *t = &s->stripes[*hash >> 32 & (s->n_stripes - 1)];
    pthread_mutex_lock(&t->lock);
    return t;
}

static void leave(struct stripe *t)
{
    pthread_mutex_unlock(&t->lock);
}

static void unlist(struct stripe *t, struct entry *e)
{
    *(e->newer ? &e->newer->older : &t->newest) = e->older;
    *(e->older ? &e->older->newer : &t->oldest) = e->newer;
}

static void enlist(struct stripe *t, struct entry *e)
{
    e->newer = NULL;
    e->older = t->newest;
    *(t->newest ? &t->newest->newer : &t->oldest) = e;
    t->newest = e;
}

static void drop(struct stripe *t, struct entry *e)
{
    struct entry **at = &t->buckets[e->hash & t->mask];
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    unlist(t, e);
    t->n--;
    free(e);
}

static bool is_over(const struct entry *e, uint64_t now)
{
    return e->until_ms && e->until_ms <= now;
}

// The entry, made the one used last; NULL when there is none, or its end has come.
static struct entry *find(struct stripe *t, const char *key, uint32_t len, uint64_t hash, uint64_t now)
{
    struct entry *e = t->buckets ? t->buckets[hash & t->mask] : NULL;
    while (e && (e->hash != hash || e->key_len != len || memcmp(e->bytes, key, len)))
        e = e->chain;
    if (e && is_over(e, now)) {
        drop(t, e);
        return NULL;
    }
    if (e && e != t->newest) {
        unlist(t, e);
        enlist(t, e);
    }
    return e;
}

static bool widen(struct stripe *t)
{
    uint32_t cap = t->buckets ? (t->mask + 1) * 2 : BUCKETS_MIN;
    struct entry **buckets = calloc(cap, sizeof *buckets);
    if (!buckets)
        return t->buckets; // longer chains do no harm
    for (struct entry *e = t->newest; e; e = e->older) {
        e->chain = buckets[e->hash & (cap - 1)];
        buckets[e->hash & (cap - 1)] = e;
    }
    free(t->buckets);
    t->buckets = buckets;
    t->mask = cap - 1;
    return true;
}

static void sweep(struct stripe *t, uint64_t now)
{
    for (int i = 0; i < SWEEP; i++)
        for (struct entry *e = t->buckets[t->hand++ & t->mask], *next; e; e = next) {
            next = e->chain;
            if (is_over(e, now))
                drop(t, e);
        }
}

static int insert(struct rx_store *s, struct stripe *t, struct entry *e, uint64_t now)
{
    uint32_t share = atomic_load_explicit(&s->share, memory_order_relaxed);
    if ((!t->buckets || t->n > t->mask) && !widen(t))
        return -ENOMEM;
    sweep(t, now);
    while (t->n >= share) { // more than one where the limit has become lower
        t->evicted += !is_over(t->oldest, now);
        drop(t, t->oldest);
    }
    e->chain = t->buckets[e->hash & t->mask];
    t->buckets[e->hash & t->mask] = e;
    enlist(t, e);
    t->n++;
    return 0;
}

static struct entry *entry_new(const char *key, uint32_t len, uint64_t hash, const struct rx_store_value *v)
{
    uint32_t text_len = v->kind == RX_STORE_TEXT ? v->len : 0;
    struct entry *e = malloc(sizeof *e + len + text_len);
    if (!e)
        return NULL;
    *e = (struct entry){ .hash = hash, .key_len = (uint16_t)len, .text_len = text_len, .kind = (uint8_t)v->kind,
                         .number = v->number };
    memcpy(e->bytes, key, len);
    if (text_len)
        memcpy(e->bytes + len, v->text, text_len);
    return e;
}

static uint64_t end_of(const struct rx_store *s, uint64_t ttl_ms, uint64_t now)
{
    if (!ttl_ms)
        ttl_ms = atomic_load_explicit(&s->ttl_ms, memory_order_relaxed);
    return !ttl_ms ? 0 : ttl_ms > UINT64_MAX - now ? UINT64_MAX : now + ttl_ms;
}

// ---- verbs --------------------------------------------------------------------------------------------------------

struct rx_store_value rx_store_read(struct rx_store *s, const char *key, uint32_t len, char *text)
{
    struct rx_store_value v = { .kind = RX_STORE_NONE };
    if (len > RX_STORE_KEY_MAX)
        return v;
    uint64_t hash;
    struct stripe *t = enter(s, key, len, &hash);
    struct entry *e = find(t, key, len, hash, rx_now_ms());
    if (e) {
        v = (struct rx_store_value){ .kind = e->kind, .len = e->text_len, .number = e->number, .text = text };
        memcpy(text, e->bytes + e->key_len, e->text_len);
    }
    leave(t);
    return v;
}

int rx_store_write(struct rx_store *s, const char *key, uint32_t len, const struct rx_store_value *v, uint64_t ttl_ms,
                   bool only_new)
{
    if (len > RX_STORE_KEY_MAX || (v->kind == RX_STORE_TEXT && v->len > RX_STORE_TEXT_MAX))
        return -EINVAL;
    uint64_t hash, now = rx_now_ms();
    struct stripe *t = enter(s, key, len, &hash);
    struct entry *old = find(t, key, len, hash, now);
    int rc = 0;
    if (old && only_new) {
        rc = -EEXIST;
    } else if (old && v->kind != RX_STORE_TEXT && old->kind != RX_STORE_TEXT) {
        old->kind = (uint8_t)v->kind;
        old->number = v->number;
        old->until_ms = end_of(s, ttl_ms, now);
    } else {
        struct entry *e = entry_new(key, len, hash, v);
        if (e) {
            e->until_ms = end_of(s, ttl_ms, now);
            if (old)
                drop(t, old);
        }
        rc = e ? insert(s, t, e, now) : -ENOMEM;
        if (rc)
            free(e);
    }
    leave(t);
    return rc;
}

int rx_store_add(struct rx_store *s, const char *key, uint32_t len, double by, uint64_t ttl_ms, double *sum)
{
    if (len > RX_STORE_KEY_MAX)
        return -EINVAL;
    uint64_t hash, now = rx_now_ms();
    struct rx_store_value v = { .kind = RX_STORE_NUMBER, .number = by };
    struct stripe *t = enter(s, key, len, &hash);
    struct entry *e = find(t, key, len, hash, now);
    int rc = 0;
    if (e && e->kind != RX_STORE_NUMBER) {
        rc = -EINVAL;
    } else if (e) {
        *sum = e->number += by;
        if (ttl_ms)
            e->until_ms = end_of(s, ttl_ms, now);
    } else if ((e = entry_new(key, len, hash, &v))) {
        *sum = by;
        e->until_ms = end_of(s, ttl_ms, now);
        if ((rc = insert(s, t, e, now)))
            free(e);
    } else {
        rc = -ENOMEM;
    }
    leave(t);
    return rc;
}

bool rx_store_delete(struct rx_store *s, const char *key, uint32_t len)
{
    if (len > RX_STORE_KEY_MAX)
        return false;
    uint64_t hash;
    struct stripe *t = enter(s, key, len, &hash);
    struct entry *e = find(t, key, len, hash, rx_now_ms());
    if (e)
        drop(t, e);
    leave(t);
    return e;
}
