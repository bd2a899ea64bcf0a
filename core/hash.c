// SPDX-License-Identifier: MIT
// SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012; the variant with fewer rounds that
// hash tables use). Enters: bytes and a key. Leaves: 64 bits. Little-endian reads, as on every machine it runs on.
#include "hash.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

struct state {
    uint64_t a, b, c, d;
};

static inline uint64_t turn(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void mix(struct state *s)
{
    s->a += s->b, s->b = turn(s->b, 13) ^ s->a, s->a = turn(s->a, 32);
    s->c += s->d, s->d = turn(s->d, 16) ^ s->c;
    s->a += s->d, s->d = turn(s->d, 21) ^ s->a;
    s->c += s->b, s->b = turn(s->b, 17) ^ s->c, s->c = turn(s->c, 32);
}

struct rx_hash_key rx_hash_key_new(void)
{
    struct rx_hash_key key;
    if (getrandom(&key, sizeof key, 0) != sizeof key) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        key.word[0] = (uint64_t)(uintptr_t)&key ^ (uint64_t)now.tv_nsec << 32;
        key.word[1] = (uint64_t)(uintptr_t)rx_hash ^ (uint64_t)now.tv_sec;
    }
    return key;
}

uint64_t rx_hash(const struct rx_hash_key *key, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint64_t word, last = (uint64_t)n << 56;
    struct state s = { key->word[0] ^ 0x736f6d6570736575ull, key->word[1] ^ 0x646f72616e646f6dull,
                       key->word[0] ^ 0x6c7967656e657261ull, key->word[1] ^ 0x7465646279746573ull };
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&word, p, 8);
        s.d ^= word;
        mix(&s);
        s.a ^= word;
    }
    for (size_t i = 0; i < n; i++)
        last |= (uint64_t)p[i] << 8 * i;
    s.d ^= last;
    mix(&s);
    s.a ^= last;
    s.c ^= 0xff;
    for (int i = 0; i < 3; i++)
        mix(&s);
    return s.a ^ s.b ^ s.c ^ s.d;
}
