// SPDX-License-Identifier: MIT
// Enters: bytes with a key. Leaves: that core/hash.c is SipHash-1-3, reads no further than told, and that keys differ.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hash.h"

// The algorithm as the paper writes it, word by word, to compare with.
static uint64_t plain(const struct rx_hash_key *key, const uint8_t *p, size_t n)
{
    uint64_t v[4] = { key->word[0] ^ 0x736f6d6570736575ull, key->word[1] ^ 0x646f72616e646f6dull,
                      key->word[0] ^ 0x6c7967656e657261ull, key->word[1] ^ 0x7465646279746573ull };
    for (size_t at = 0; at <= n / 8 + 3; at++) {
        uint64_t m = 0;
        bool is_word = at <= n / 8;
        for (size_t i = 0; is_word && i < 8; i++)
            m |= (uint64_t)(at * 8 + i < n ? p[at * 8 + i] : 0) << 8 * i;
        if (at == n / 8)
            m |= (uint64_t)(n & 0xff) << 56;
        if (at == n / 8 + 1)
            v[2] ^= 0xff;
        v[3] ^= m;
        v[0] += v[1];
        v[2] += v[3];
        v[1] = (v[1] << 13 | v[1] >> 51) ^ v[0];
        v[3] = (v[3] << 16 | v[3] >> 48) ^ v[2];
        v[0] = v[0] << 32 | v[0] >> 32;
        v[2] += v[1];
        v[0] += v[3];
        v[1] = (v[1] << 17 | v[1] >> 47) ^ v[2];
        v[3] = (v[3] << 21 | v[3] >> 43) ^ v[0];
        v[2] = v[2] << 32 | v[2] >> 32;
        v[0] ^= m;
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void every_length_agrees_with_the_paper(void **state)
{
    (void)state;
    uint8_t bytes[300];
    struct rx_hash_key key = { { 0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull } };
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        uint8_t *copy = malloc(n + 1); // ends where the bytes end: a read beyond shows under ASan
        memcpy(copy, bytes, n);
        assert_true(rx_hash(&key, copy, n) == plain(&key, bytes, n));
        free(copy);
    }
    assert_true(rx_hash(&key, "", 0) == 0xabac0158050fc4dcull); // the first of the published vectors
}

static void another_key_gives_another_hash(void **state)
{
    (void)state;
    struct rx_hash_key a = rx_hash_key_new(), b = rx_hash_key_new();
    assert_memory_not_equal(&a, &b, sizeof a);
    assert_true(rx_hash(&a, "x", 1) != rx_hash(&b, "x", 1));
    assert_true(rx_hash(&a, "x", 1) == rx_hash(&a, "x", 1));
    assert_true(rx_hash(&a, "", 0) != rx_hash(&a, "\0", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_agrees_with_the_paper),
        cmocka_unit_test(another_key_gives_another_hash),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
