// SPDX-License-Identifier: MIT
// Enters: a client's address. Leaves: 64 bits that stand for it until the program ends. Two clients that share them are
// counted as one; among a million connected at once that has a chance of one in 30 million.
#include "whom.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static uint64_t seed[2];
static pthread_once_t seeded = PTHREAD_ONCE_INIT;

static void seed_once(void)
{
    if (getrandom(seed, sizeof seed, 0) != sizeof seed)
        seed[0] = (uint64_t)time(NULL) * 0x9e3779b97f4a7c15ull;
}

static bool key_of(const union rx_ip *ip, uint32_t v6_bits, uint64_t key[2])
{
    uint8_t b[16] = { [10] = 0xff, [11] = 0xff };
    if (ip->sa.sa_family == AF_INET) {
        memcpy(b + 12, &ip->v4.sin_addr, 4);
    } else if (ip->sa.sa_family == AF_INET6) {
        memcpy(b, &ip->v6.sin6_addr, 16);
        for (uint32_t i = v6_bits; i < 128; i++)
            b[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
    } else {
        return false;
    }
    memcpy(key, b, 16);
    return true;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
    __uint128_t m = (__uint128_t)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

bool rx_whom_hash(const union rx_ip *ip, uint32_t v6_bits, uint64_t *hash)
{
    uint64_t key[2];
    if (!key_of(ip, v6_bits, key))
        return false;
    pthread_once(&seeded, seed_once);
    uint64_t h = fold(key[0] ^ seed[0], key[1] ^ seed[1] ^ 0x9e3779b97f4a7c15ull) ^ seed[0];
    *hash = fold(h ^ seed[1], 0xd6e8feb86659fd93ull);
    return true;
}
