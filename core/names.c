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
    uint32_t key;  // offset in `text`
    uint16_t len;
    bool is_suffix;
    uint32_t n, cap;
    uint32_t *ids; // owned
};

struct rx_names {
    struct slot *slots; // owned; open addressing, power of two
    uint32_t mask, used;
    char *text; // owned; all keys, lower case, one after the other
    uint32_t text_len, text_cap;
    bool has_suffix;
};

static uint64_t lower8(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101ull;
    uint64_t low = x & (0x7f * ones);
    uint64_t from_a = low + (0x80 - 'A') * ones, past_z = low + (0x80 - 'Z' - 1) * ones;
    return x | ((from_a & ~past_z & ~x & (0x80 * ones)) >> 2);
}

// Lower-cases into buf, which is padded with zeros to the next multiple of 8. Returns the length without dot.
static size_t fold(char buf[RX_NAME_MAX + 9], const uint8_t *name, size_t len)
{
    if (len && name[len - 1] == '.')
        len--;
    memcpy(buf, name, len);
    memset(buf + len, 0, 8);
    for (size_t i = 0; i < len; i += 8) {
        uint64_t x;
        memcpy(&x, buf + i, 8);
        x = lower8(x);
        memcpy(buf + i, &x, 8);
    }
    return len;
}

// `s` must be readable to the next multiple of 8 beyond len, zeros there (fold sees to it).
static uint64_t hash(const char *s, size_t len, uint64_t seed)
{
    uint64_t h = seed ^ (len * 0x9e3779b97f4a7c15ull);
    for (size_t i = 0; i < len; i += 8) {
        uint64_t x;
        memcpy(&x, s + i, 8);
        h = (h ^ x) * 0xd6e8feb86659fd93ull;
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
    free(t->text);
    free(t);
}

static struct slot *seek(const struct rx_names *t, const char *key, size_t len, uint64_t h, bool is_suffix)
{
    for (uint32_t i = (uint32_t)h & t->mask;; i = (i + 1) & t->mask) {
        struct slot *s = &t->slots[i];
        if (!s->hash)
            return s;
        if (s->hash == h && s->len == len && s->is_suffix == is_suffix && !memcmp(t->text + s->key, key, len))
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
        if (was[i].hash)
            *seek(t, t->text + was[i].key, was[i].len, was[i].hash, was[i].is_suffix) = was[i];
    free(was);
    return 0;
}

static int keep_text(struct rx_names *t, const char *key, size_t len)
{
    if (t->text_len + len > t->text_cap) {
        uint32_t cap = RX_MAX(t->text_cap * 2, 4096u);
        char *text = realloc(t->text, cap);
        if (!text)
            return -ENOMEM;
        t->text = text;
        t->text_cap = cap;
    }
    memcpy(t->text + t->text_len, key, len);
    t->text_len += (uint32_t)len;
    return 0;
}

int rx_names_add(struct rx_names *t, const char *pattern, size_t len, uint32_t route)
{
    char buf[RX_NAME_MAX + 9];
    bool is_suffix = len > 2 && pattern[0] == '*' && pattern[1] == '.';
    if (is_suffix)
        pattern += 2, len -= 2;
    if (len > RX_NAME_MAX)
        return -EINVAL;
    len = fold(buf, (const uint8_t *)pattern, len);
    if (t->used * 2 > t->mask && grow(t))
        return -ENOMEM;
    uint64_t h = hash(buf, len, is_suffix ? SEED_SUFFIX : SEED_EXACT);
    struct slot *s = seek(t, buf, len, h, is_suffix);
    if (!s->hash) {
        if (keep_text(t, buf, len))
            return -ENOMEM;
        *s = (struct slot){ .hash = h,
                            .key = t->text_len - (uint32_t)len,
                            .len = (uint16_t)len,
                            .is_suffix = is_suffix };
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

static unsigned probe(const struct rx_names *t, const char *key, size_t len, bool is_suffix, struct rx_ids *out)
{
    const struct slot *s = seek(t, key, len, hash(key, len, is_suffix ? SEED_SUFFIX : SEED_EXACT), is_suffix);
    if (!s->hash)
        return 0;
    *out = (struct rx_ids){ s->ids, s->n };
    return 1;
}

unsigned rx_names_find(const struct rx_names *t, const uint8_t *name, size_t len, struct rx_ids out[RX_NAME_LISTS])
{
    char buf[RX_NAME_MAX + 9];
    if (len > RX_NAME_MAX)
        return 0;
    len = fold(buf, name, len);
    unsigned n = probe(t, buf, len, false, out);
    if (!t->has_suffix)
        return n;
    // The byte before the suffix must be a dot and something must stand before that.
    for (size_t i = 1; i + 1 < len; i++)
        if (buf[i] == '.' && n < RX_NAME_LISTS)
            n += probe(t, buf + i + 1, len - i - 1, true, &out[n]);
    return n;
}
