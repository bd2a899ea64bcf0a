// SPDX-License-Identifier: MIT
// Enters: patterns while a config is built, names while it runs. Leaves: lists of route numbers.
// The table is filled by one thread and then only read. Its keys come from the config, so a client cannot
// choose collisions; it can only choose which slot to miss.
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct slot {
    uint64_t hash; // 0: empty
    uint32_t key;  // place in `words`
    uint16_t len;
    bool is_suffix;
    uint32_t n, cap;
    uint32_t *ids; // owned
};

struct rx_names {
    struct slot *slots; // owned; open addressing, power of two
    uint32_t mask, used;
    uint64_t *words; // owned; all keys one after the other, as word_at gives them
    uint32_t n_words, cap_words;
    bool has_suffix;
};

static uint64_t lower8(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101ull;
    uint64_t low = x & (0x7f * ones);
    uint64_t from_a = low + (0x80 - 'A') * ones, past_z = low + (0x80 - 'Z' - 1) * ones;
    return x | ((from_a & ~past_z & ~x & (0x80 * ones)) >> 2);
}

// The eight bytes of a name from `at` on, in lower case, zeros behind its end. Words compare and hash alike whatever
// the machine's byte order, as long as it is one machine.
static inline uint64_t word_at(const uint8_t *name, size_t len, size_t at)
{
    uint64_t x = 0;
    size_t left = len - at;
    if (left >= 8) {
        memcpy(&x, name + at, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    } else if (len >= 8) { // the last eight, without those that were seen
        memcpy(&x, name + len - 8, 8);
        x >>= 8 * (8 - left);
#endif
    } else {
        uint8_t part[8] = { 0 };
        for (size_t i = 0; i < left; i++)
            part[i] = name[at + i];
        memcpy(&x, part, 8);
    }
    return lower8(x);
}

static inline size_t without_dot(const uint8_t *name, size_t len)
{
    return len && name[len - 1] == '.' ? len - 1 : len;
}

static inline uint64_t hash(const uint8_t *name, size_t len, uint64_t seed)
{
    uint64_t h = seed ^ (len * 0x9e3779b97f4a7c15ull);
    for (size_t i = 0; i < len; i += 8) {
        h = (h ^ word_at(name, len, i)) * 0xd6e8feb86659fd93ull;
        h ^= h >> 32;
    }
    h *= 0xd6e8feb86659fd93ull;
    h ^= h >> 29;
    return h ? h : 1;
}

enum { SEED_EXACT = 1, SEED_SUFFIX = 2 };

struct rx_names *rx_names_new(void)
{
    struct rx_names *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->mask = 15;
    t->slots = calloc(t->mask + 1, sizeof *t->slots);
    if (!t->slots) {
        free(t);
        return NULL;
    }
    return t;
}

void rx_names_free(struct rx_names *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; i <= t->mask; i++)
        free(t->slots[i].ids);
    free(t->slots);
    free(t->words);
    free(t);
}

static inline bool is_key(const uint64_t *key, const uint8_t *name, size_t len)
{
    for (size_t i = 0; i < len; i += 8)
        if (key[i / 8] != word_at(name, len, i))
            return false;
    return true;
}

// The slot of `name`, or the empty one where it would be.
static inline struct slot *seek(const struct rx_names *t, const uint8_t *name, size_t len, uint64_t h, bool is_suffix)
{
    for (uint32_t i = (uint32_t)h & t->mask;; i = (i + 1) & t->mask) {
        struct slot *s = &t->slots[i];
        if (!s->hash)
            return s;
        if (s->hash == h && s->len == len && s->is_suffix == is_suffix && is_key(t->words + s->key, name, len))
            return s;
    }
}

static int grow(struct rx_names *t)
{
    uint32_t old = t->mask + 1, size = old * 2;
    struct slot *was = t->slots, *slots = calloc(size, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    t->slots = slots;
    t->mask = size - 1;
    for (uint32_t i = 0; i < old; i++)
        if (was[i].hash) { // no two are alike: the first free slot will do
            uint32_t k = (uint32_t)was[i].hash & t->mask;
            while (slots[k].hash)
                k = (k + 1) & t->mask;
            slots[k] = was[i];
        }
    free(was);
    return 0;
}

static int keep_key(struct rx_names *t, const uint8_t *name, size_t len)
{
    uint32_t n = (uint32_t)(len + 7) / 8;
    if (t->n_words + n > t->cap_words) {
        uint32_t cap = RX_MAX(t->cap_words * 2, 512u);
        uint64_t *words = realloc(t->words, cap * sizeof *words);
        if (!words)
            return -ENOMEM;
        t->words = words;
        t->cap_words = cap;
    }
    for (uint32_t i = 0; i < n; i++)
        t->words[t->n_words++] = word_at(name, len, 8 * i);
    return 0;
}

int rx_names_add(struct rx_names *t, const char *pattern, size_t len, uint32_t route)
{
    const uint8_t *name = (const uint8_t *)pattern;
    bool is_suffix = len > 2 && name[0] == '*' && name[1] == '.';
    if (is_suffix)
        name += 2, len -= 2;
    if (len > RX_NAME_MAX)
        return -EINVAL;
    len = without_dot(name, len);
    if (t->used * 2 > t->mask && grow(t))
        return -ENOMEM;
    uint64_t h = hash(name, len, is_suffix ? SEED_SUFFIX : SEED_EXACT);
    struct slot *s = seek(t, name, len, h, is_suffix);
    if (!s->hash) {
        uint32_t key = t->n_words;
        if (keep_key(t, name, len))
            return -ENOMEM;
        *s = (struct slot){ .hash = h, .key = key, .len = (uint16_t)len, .is_suffix = is_suffix };
        t->used++;
        t->has_suffix |= is_suffix;
    }
    if (s->n && s->ids[s->n - 1] == route)
        return 0;
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 1;
        uint32_t *ids = realloc(s->ids, cap * sizeof *ids);
        if (!ids)
            return -ENOMEM;
        s->ids = ids;
        s->cap = cap;
    }
    s->ids[s->n++] = route;
    return 0;
}

static inline unsigned probe(const struct rx_names *t, const uint8_t *name, size_t len, bool is_suffix,
                             struct rx_ids *out)
{
    const struct slot *s = seek(t, name, len, hash(name, len, is_suffix ? SEED_SUFFIX : SEED_EXACT), is_suffix);
    if (!s->hash)
        return 0;
    *out = (struct rx_ids){ s->ids, s->n };
    return 1;
}

unsigned rx_names_find(const struct rx_names *t, const uint8_t *name, size_t len, struct rx_ids out[RX_NAME_LISTS])
{
    if (len > RX_NAME_MAX)
        return 0;
    len = without_dot(name, len);
    unsigned n = probe(t, name, len, false, out);
    if (!t->has_suffix)
        return n;
    // The byte before the suffix must be a dot and something must stand before that.
    for (size_t i = 1; i + 1 < len; i++)
        if (name[i] == '.' && n < RX_NAME_LISTS)
            n += probe(t, name + i + 1, len - i - 1, true, &out[n]);
    return n;
}
