// SPDX-License-Identifier: MIT
// Enters: blocks with a time, from scripts and the administrator; addresses of clients. Leaves: whether they may come.
//
// One open-addressing table holds blocks of every length. Writers take a lock. Readers take none: they read the
// version, probe, and read it again; an odd or changed version means a writer was at work, and they look again. All
// words of the table are atomics, so what a reader sees meanwhile is at worst useless, never undefined. A table that
// has become too small is kept until the end: a reader may still be in it. Tables double, so all the old ones together
// are no larger than the one in use.
//
// Removal moves entries back over the gap, so there are no tombstones. Each addition also looks at a few slots for
// entries whose time is over; what nobody adds to needs no cleaning, since readers compare times themselves.
#include "ban.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "wheel.h"

enum { SLOTS_MIN = 64, SWEEP = 8, TRIES = 64, LENGTHS = 129, FAMILIES = 2, WORDS = 3 };

struct slot {
    atomic_ullong key[2]; // the block's address, network order; IPv4 in the first four bytes
    atomic_ullong tag;    // 0: empty; else family and prefix length
    atomic_ullong until_ms;
};

struct table {
    struct table *older; // owned
    uint32_t mask;
    struct slot slots[];
};

// What is looked for, in registers.
struct key {
    uint64_t word[2];
    uint64_t tag;
};

static struct {
    _Atomic(struct table *) table; // owned
    atomic_ulong version;          // odd while a writer moves things
    atomic_uint used;              // entries in the table, those whose time is over among them
    atomic_ullong lengths[FAMILIES][WORDS]; // bit n: blocks of n bits may be there
    atomic_ulong added, refused;

    // under the lock
    pthread_mutex_t lock;
    uint32_t count[FAMILIES][LENGTHS];
    uint32_t hand;
    struct rx_hash_key secret;
    bool is_seeded;
    rx_ban_tell_fn *tell;
    void *tell_data;
    rx_ban_share_fn *share;
    void *share_data;
} bans = { .lock = PTHREAD_MUTEX_INITIALIZER };

#define RELAXED memory_order_relaxed

// ---- keys ---------------------------------------------------------------------------------------------------------

static void mask_bits(uint8_t bytes[16], unsigned bits)
{
    for (unsigned i = bits / 8; i < 16; i++)
        bytes[i] &= i == bits / 8 ? (uint8_t) ~(0xffu >> bits % 8) : 0;
}

static struct key key_make(const uint8_t bytes[16], unsigned family, unsigned bits)
{
    uint8_t masked[16];
    struct key k = { .tag = 1u << 16 | family << 8 | bits };
    memcpy(masked, bytes, 16);
    mask_bits(masked, bits);
    memcpy(k.word, masked, 16);
    return k;
}

// The key of a block; an IPv4 one written as IPv6 (::ffff:a.b.c.d/96+n) is the IPv4 one. False: no such block.
static bool key_of_cidr(const struct rx_cidr *c, struct key *k)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    uint8_t bytes[16] = { 0 };
    if (c->family == AF_INET && c->bits <= 32) {
        memcpy(bytes, c->bytes, 4);
        *k = key_make(bytes, 0, c->bits);
    } else if (c->family == AF_INET6 && c->bits <= 128 && c->bits >= 96 && !memcmp(c->bytes, mapped, 12)) {
        memcpy(bytes, c->bytes + 12, 4);
        *k = key_make(bytes, 0, c->bits - 96u);
    } else if (c->family == AF_INET6 && c->bits <= 128) {
        *k = key_make(c->bytes, 1, c->bits);
    } else {
        return false;
    }
    return true;
}

static struct rx_cidr cidr_of_key(const struct key *k)
{
    struct rx_cidr c = { .bits = (uint8_t)k->tag, .family = k->tag >> 8 & 1 ? AF_INET6 : AF_INET };
    memcpy(c.bytes, k->word, 16);
    return c;
}

static uint32_t home_of(const struct table *t, const struct key *k)
{
    return (uint32_t)rx_hash(&bans.secret, k, sizeof *k) & t->mask;
}

// ---- writing: all under the lock ----------------------------------------------------------------------------------

static void write_begin(void)
{
    atomic_fetch_add_explicit(&bans.version, 1, memory_order_seq_cst);
}

static void write_end(void)
{
    atomic_fetch_add_explicit(&bans.version, 1, memory_order_seq_cst);
}

// Release: whoever sees a word of a change also sees that the version is odd.
static void slot_set(struct slot *s, const struct key *k, uint64_t until_ms)
{
    atomic_store_explicit(&s->key[0], k->word[0], memory_order_release);
    atomic_store_explicit(&s->key[1], k->word[1], memory_order_release);
    atomic_store_explicit(&s->until_ms, until_ms, memory_order_release);
    atomic_store_explicit(&s->tag, k->tag, memory_order_release);
}

static struct key key_of_slot(struct slot *s)
{
    return (struct key){ { atomic_load_explicit(&s->key[0], RELAXED), atomic_load_explicit(&s->key[1], RELAXED) },
                         atomic_load_explicit(&s->tag, RELAXED) };
}

static bool slot_has(struct slot *s, const struct key *k)
{
    return atomic_load_explicit(&s->tag, memory_order_acquire) == k->tag
        && atomic_load_explicit(&s->key[0], memory_order_acquire) == k->word[0]
        && atomic_load_explicit(&s->key[1], memory_order_acquire) == k->word[1];
}

// Where the key is, or the empty slot where it would be. There always is one: the table is at most half full.
static uint32_t seek(struct table *t, const struct key *k)
{
    uint32_t i = home_of(t, k);
    while (atomic_load_explicit(&t->slots[i].tag, RELAXED) && !slot_has(&t->slots[i], k))
        i = (i + 1) & t->mask;
    return i;
}

static void count_length(uint64_t tag, int by)
{
    unsigned family = tag >> 8 & 1, bits = tag & 0xff;
    bans.count[family][bits] += (uint32_t)by;
    if (bans.count[family][bits])
        atomic_fetch_or(&bans.lengths[family][bits / 64], 1ull << bits % 64);
    else
        atomic_fetch_and(&bans.lengths[family][bits / 64], ~(1ull << bits % 64));
    atomic_fetch_add(&bans.used, (unsigned)by);
}

// Closes the gap at i by moving back what a probe would otherwise no longer reach.
static void vacate(struct table *t, uint32_t i)
{
    write_begin();
    count_length(atomic_load_explicit(&t->slots[i].tag, RELAXED), -1);
    for (uint32_t k = (i + 1) & t->mask; atomic_load_explicit(&t->slots[k].tag, RELAXED); k = (k + 1) & t->mask) {
        struct key moved = key_of_slot(&t->slots[k]);
        if (((k - home_of(t, &moved)) & t->mask) >= ((k - i) & t->mask)) {
            slot_set(&t->slots[i], &moved, atomic_load_explicit(&t->slots[k].until_ms, RELAXED));
            i = k;
        }
    }
    atomic_store_explicit(&t->slots[i].tag, 0, memory_order_release);
    write_end();
}

static void sweep(struct table *t, uint64_t now)
{
    for (int n = 0; n < SWEEP; n++) {
        struct slot *s = &t->slots[bans.hand & t->mask];
        if (atomic_load_explicit(&s->tag, RELAXED) && atomic_load_explicit(&s->until_ms, RELAXED) <= now)
            vacate(t, bans.hand & t->mask); // something else may stand there now: look again
        else
            bans.hand++;
    }
}

static struct table *grow(struct table *old)
{
    uint32_t cap = old ? (old->mask + 1) * 2 : SLOTS_MIN;
    struct table *t = calloc(1, sizeof *t + cap * sizeof *t->slots);
    if (!t)
        return NULL;
    t->mask = cap - 1;
    t->older = old;
    if (!bans.is_seeded) {
        bans.secret = rx_hash_key_new();
        bans.is_seeded = true;
    }
    for (uint32_t i = 0; old && i <= old->mask; i++) {
        struct key k = key_of_slot(&old->slots[i]);
        if (k.tag)
            slot_set(&t->slots[seek(t, &k)], &k, atomic_load_explicit(&old->slots[i].until_ms, RELAXED));
    }
    atomic_store_explicit(&bans.table, t, memory_order_release);
    return t;
}

static int add(const struct key *k, uint64_t until_ms, uint64_t now)
{
    struct table *t = atomic_load_explicit(&bans.table, RELAXED);
    if (t)
        sweep(t, now);
    uint32_t used = atomic_load_explicit(&bans.used, RELAXED);
    if ((!t || (used + 1) * 2 > t->mask + 1) && !(t = grow(t)))
        return -ENOMEM;
    struct slot *s = &t->slots[seek(t, k)];
    if (atomic_load_explicit(&s->tag, RELAXED)) {
        if (atomic_load_explicit(&s->until_ms, RELAXED) < until_ms)
            atomic_store_explicit(&s->until_ms, until_ms, memory_order_release);
        return 0;
    }
    if (used >= RX_BANS_MAX)
        return -ENOSPC;
    write_begin();
    slot_set(s, k, until_ms);
    count_length(k->tag, 1);
    write_end();
    return 0;
}

// Under the lock.
static void share(const struct key *k, uint64_t ttl_ms)
{
    struct rx_cidr c = cidr_of_key(k);
    if (bans.share)
        bans.share(bans.share_data, &c, ttl_ms);
}

static int give(const struct rx_cidr *whom, uint64_t ttl_ms, bool is_heard)
{
    struct key k;
    if (!key_of_cidr(whom, &k) || !ttl_ms)
        return -EINVAL;
    uint64_t now = rx_now_ms();
    pthread_mutex_lock(&bans.lock);
    int rc = add(&k, ttl_ms > UINT64_MAX - now ? UINT64_MAX : now + ttl_ms, now);
    atomic_fetch_add_explicit(rc ? &bans.refused : &bans.added, 1, RELAXED);
    if (!rc && bans.tell)
        bans.tell(bans.tell_data);
    if (!rc && !is_heard)
        share(&k, ttl_ms);
    pthread_mutex_unlock(&bans.lock);
    return rc;
}

int rx_ban_add(const struct rx_cidr *whom, uint64_t ttl_ms)
{
    return give(whom, ttl_ms, false);
}

int rx_ban_hear(const struct rx_cidr *whom, uint64_t ttl_ms)
{
    return give(whom, ttl_ms, true);
}

static bool take(const struct rx_cidr *whom, bool is_heard)
{
    struct key k;
    if (!key_of_cidr(whom, &k))
        return false;
    pthread_mutex_lock(&bans.lock);
    struct table *t = atomic_load_explicit(&bans.table, RELAXED);
    uint32_t i = t ? seek(t, &k) : 0;
    bool is_there = t && atomic_load_explicit(&t->slots[i].tag, RELAXED);
    bool is_over = is_there && atomic_load_explicit(&t->slots[i].until_ms, RELAXED) <= rx_now_ms();
    if (is_there)
        vacate(t, i);
    if (is_there && !is_over && !is_heard)
        share(&k, 0);
    pthread_mutex_unlock(&bans.lock);
    return is_there && !is_over;
}

bool rx_ban_remove(const struct rx_cidr *whom)
{
    return take(whom, false);
}

void rx_ban_hear_removed(const struct rx_cidr *whom)
{
    take(whom, true);
}

void rx_ban_on_change(rx_ban_share_fn *fn, void *data)
{
    pthread_mutex_lock(&bans.lock);
    bans.share = fn;
    bans.share_data = data;
    pthread_mutex_unlock(&bans.lock);
}

void rx_ban_on_add(rx_ban_tell_fn *tell, void *data)
{
    pthread_mutex_lock(&bans.lock);
    bans.tell = tell;
    bans.tell_data = data;
    pthread_mutex_unlock(&bans.lock);
}

// ---- asking -------------------------------------------------------------------------------------------------------

// One probe; bounded, since what moves under it may lead it round.
static bool is_listed(struct table *t, const struct key *k, uint64_t now)
{
    uint32_t i = home_of(t, k);
    for (uint32_t n = 0; n <= t->mask; n++, i = (i + 1) & t->mask) {
        if (!atomic_load_explicit(&t->slots[i].tag, memory_order_acquire))
            return false;
        if (slot_has(&t->slots[i], k))
            return atomic_load_explicit(&t->slots[i].until_ms, memory_order_acquire) > now;
    }
    return false;
}

static bool any_length(struct table *t, const uint8_t bytes[16], unsigned family, uint64_t now)
{
    for (int w = family ? WORDS - 1 : 0; w >= 0; w--) {
        uint64_t left = atomic_load_explicit(&bans.lengths[family][w], memory_order_acquire);
        while (left) {
            unsigned bit = 63u - (unsigned)__builtin_clzll(left);
            struct key k = key_make(bytes, family, (unsigned)w * 64 + bit);
            if (is_listed(t, &k, now))
                return true;
            left &= ~(1ull << bit);
        }
    }
    return false;
}

bool rx_ban_has(const union rx_ip *ip)
{
    if (RX_LIKELY(!atomic_load_explicit(&bans.used, memory_order_acquire)))
        return false;
    union rx_ip plain = *ip;
    uint8_t bytes[16] = { 0 };
    rx_ip_unmap(&plain);
    if (plain.sa.sa_family == AF_INET)
        memcpy(bytes, &plain.v4.sin_addr, 4);
    else if (plain.sa.sa_family == AF_INET6)
        memcpy(bytes, &plain.v6.sin6_addr, 16);
    else
        return false;
    uint64_t now = rx_now_ms();
    bool is_banned = false;
    for (int tries = 0; tries < TRIES; tries++) {
        unsigned long before = atomic_load_explicit(&bans.version, memory_order_acquire);
        struct table *t = atomic_load_explicit(&bans.table, memory_order_acquire);
        is_banned = t && any_length(t, bytes, plain.sa.sa_family == AF_INET6, now);
        if (!(before & 1) && atomic_load_explicit(&bans.version, memory_order_acquire) == before)
            return is_banned;
    }
    // A writer that was put to sleep halfway: better to sleep as well than to spin.
    pthread_mutex_lock(&bans.lock);
    struct table *t = atomic_load_explicit(&bans.table, RELAXED);
    is_banned = t && any_length(t, bytes, plain.sa.sa_family == AF_INET6, now);
    pthread_mutex_unlock(&bans.lock);
    return is_banned;
}

void rx_ban_each(rx_ban_each_fn *each, void *data)
{
    pthread_mutex_lock(&bans.lock);
    struct table *t = atomic_load_explicit(&bans.table, RELAXED);
    uint64_t now = rx_now_ms();
    for (uint32_t i = 0; t && i <= t->mask; i++) {
        uint64_t until = atomic_load_explicit(&t->slots[i].until_ms, RELAXED);
        if (!atomic_load_explicit(&t->slots[i].tag, RELAXED) || until <= now)
            continue;
        struct key k = key_of_slot(&t->slots[i]);
        struct rx_cidr c = cidr_of_key(&k);
        if (!each(&c, until - now, data))
            break;
    }
    pthread_mutex_unlock(&bans.lock);
}

static bool count_one(const struct rx_cidr *whom, uint64_t left_ms, void *data)
{
    (void)whom, (void)left_ms;
    ++*(unsigned long *)data;
    return true;
}

struct rx_ban_totals rx_ban_totals(void)
{
    struct rx_ban_totals t = { .added = atomic_load_explicit(&bans.added, RELAXED),
                               .refused = atomic_load_explicit(&bans.refused, RELAXED) };
    if (atomic_load_explicit(&bans.used, RELAXED))
        rx_ban_each(count_one, &t.now);
    return t;
}

void rx_ban_clear(void)
{
    pthread_mutex_lock(&bans.lock);
    struct table *t = atomic_exchange(&bans.table, NULL);
    while (t) {
        struct table *older = t->older;
        free(t);
        t = older;
    }
    atomic_store(&bans.used, 0);
    for (int f = 0; f < FAMILIES; f++)
        for (int w = 0; w < WORDS; w++)
            atomic_store(&bans.lengths[f][w], 0);
    memset(bans.count, 0, sizeof bans.count);
    bans.hand = 0;
    pthread_mutex_unlock(&bans.lock);
}
