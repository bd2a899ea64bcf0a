// SPDX-License-Identifier: MIT
// JA4 fingerprints: the published example, made from its own lists, and what the definition says of odd hellos.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/ja4.h"

struct bytes {
    uint8_t at[20000];
    uint32_t n;
};

static void put(struct bytes *b, const void *p, size_t n)
{
    assert_true(b->n + n <= sizeof b->at);
    memcpy(b->at + b->n, p, n);
    b->n += (uint32_t)n;
}

static void put16(struct bytes *b, uint32_t v)
{
    put(b, (uint8_t[]){ (uint8_t)(v >> 8), (uint8_t)v }, 2);
}

static void put_ext(struct bytes *b, uint32_t type, const void *p, size_t n)
{
    put16(b, type);
    put16(b, (uint32_t)n);
    put(b, p, n);
}

// A handshake message from words and ready extensions.
static struct bytes hello_of(uint32_t legacy, const uint16_t *ciphers, unsigned n, const struct bytes *extensions)
{
    struct bytes b = { .n = 4 };
    put16(&b, legacy);
    for (int i = 0; i < 32; i++)
        put(&b, "r", 1);
    put(&b, "\0", 1);
    put16(&b, n * 2);
    for (unsigned i = 0; i < n; i++)
        put16(&b, ciphers[i]);
    put(&b, "\1\0", 2);
    if (extensions) {
        put16(&b, extensions->n);
        put(&b, extensions->at, extensions->n);
    }
    uint32_t len = b.n - 4;
    memcpy(b.at, (uint8_t[]){ 1, (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len }, 4);
    return b;
}

static struct bytes records_of(const struct bytes *msg, uint32_t piece)
{
    struct bytes b = { .n = 0 };
    for (uint32_t at = 0; at < msg->n; at += piece) {
        uint32_t n = msg->n - at < piece ? msg->n - at : piece;
        put(&b, "\x16\3\1", 3);
        put16(&b, n);
        put(&b, msg->at + at, n);
    }
    return b;
}

// The lists behind "t13d1516h2_8daaf6152771_e5627efa2ab1" in the definition's own text, in another order, with GREASE.
static struct bytes published(void)
{
    static const uint16_t ciphers[] = { 0x1a1a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030,
                                        0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035 };
    struct bytes e = { .n = 0 };
    put_ext(&e, 0x2a2a, "", 0);
    put_ext(&e, 0x001b, "", 0);
    put_ext(&e, 0x0000, "\0\6\0\0\3a.b", 8);
    put_ext(&e, 0x0033, "", 0);
    put_ext(&e, 0x0010, "\0\14\2h2\10http/1.1", 14);
    put_ext(&e, 0x4469, "", 0);
    put_ext(&e, 0x0017, "", 0);
    put_ext(&e, 0x002d, "", 0);
    put_ext(&e, 0x000d, "\0\22\4\3\10\4\4\1\5\3\10\5\5\1\10\6\6\1\x0a\x0a", 20);
    put_ext(&e, 0x0005, "", 0);
    put_ext(&e, 0x0023, "", 0);
    put_ext(&e, 0x0012, "", 0);
    put_ext(&e, 0x002b, "\6\x5a\x5a\3\4\3\3", 7);
    put_ext(&e, 0xff01, "\0", 1);
    put_ext(&e, 0x000b, "", 0);
    put_ext(&e, 0x000a, "", 0);
    put_ext(&e, 0x0015, "", 0);
    put_ext(&e, 0x3a3a, "\0", 1);
    return hello_of(0x0303, ciphers, 16, &e);
}

static void the_published_example(void **state)
{
    (void)state;
    struct bytes msg = published();
    char out[RX_JA4_SIZE];
    assert_true(rx_ja4_of_hello(msg.at, msg.n, 't', out));
    assert_string_equal(out, "t13d1516h2_8daaf6152771_e5627efa2ab1");
    assert_true(rx_ja4_of_hello(msg.at, msg.n, 'q', out));
    assert_string_equal(out, "q13d1516h2_8daaf6152771_e5627efa2ab1");
}

static void the_same_however_records_cut_it(void **state)
{
    (void)state;
    struct bytes msg = published();
    char out[RX_JA4_SIZE];
    for (uint32_t piece = 1; piece <= msg.n; piece += piece < 20 ? 1 : 37) {
        struct bytes wire = records_of(&msg, piece);
        assert_true(rx_ja4(wire.at, wire.n, out));
        assert_string_equal(out, "t13d1516h2_8daaf6152771_e5627efa2ab1");
        for (uint32_t n = 0; n < wire.n; n += 1 + n / 50)
            assert_false(rx_ja4(wire.at, n, out)); // no fingerprint of a part
    }
}

static void a_hello_without_anything(void **state)
{
    (void)state;
    struct bytes msg = hello_of(0x0301, NULL, 0, NULL);
    char out[RX_JA4_SIZE];
    assert_true(rx_ja4_of_hello(msg.at, msg.n, 't', out));
    assert_string_equal(out, "t10i000000_000000000000_000000000000");
}

static void odd_alpn_values_are_told_by_their_hexadecimal_form(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        size_t n;
        const char *word;
    } cases[] = {
        { "\0\3\2\xab\xcd", 5, "ad" }, { "\0\3\2\x30\xab", 5, "3b" }, { "\0\2\1\xab", 4, "ab" },
        { "\0\2\1h", 4, "hh" },        { "\0\3\2h2", 5, "h2" },       { "\0\11\10http/1.1", 11, "h1" },
        { "\0\0", 2, "00" },
    };
    static const uint16_t cipher[] = { 0x1301 };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes e = { .n = 0 };
        char out[RX_JA4_SIZE];
        put_ext(&e, 16, cases[i].list, cases[i].n);
        struct bytes msg = hello_of(0x0303, cipher, 1, &e);
        assert_true(rx_ja4_of_hello(msg.at, msg.n, 't', out));
        assert_memory_equal(out, "t12i0101", 8);
        assert_memory_equal(out + 8, cases[i].word, 2);
    }
}

static void counts_stop_at_99(void **state)
{
    (void)state;
    uint16_t ciphers[300];
    struct bytes e = { .n = 0 };
    char out[RX_JA4_SIZE];
    for (unsigned i = 0; i < 300; i++)
        ciphers[i] = (uint16_t)(0x100 + i);
    for (unsigned i = 0; i < 120; i++)
        put_ext(&e, 0x200 + i, "", 0);
    struct bytes msg = hello_of(0x0303, ciphers, 300, &e);
    assert_true(rx_ja4_of_hello(msg.at, msg.n, 't', out));
    assert_memory_equal(out, "t12i999900_", 11);
}

static void broken_lengths_have_no_fingerprint(void **state)
{
    (void)state;
    struct bytes msg = published();
    char out[RX_JA4_SIZE];
    for (uint32_t n = 0; n < msg.n; n++) {
        uint8_t *copy = malloc(n + 1); // a read beyond is ASan's to find
        memcpy(copy, msg.at, n);
        assert_false(rx_ja4_of_hello(copy, n, 't', out));
        free(copy);
    }
    msg.at[0] = 2; // a ServerHello
    assert_false(rx_ja4_of_hello(msg.at, msg.n, 't', out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_example),
        cmocka_unit_test(the_same_however_records_cut_it),
        cmocka_unit_test(a_hello_without_anything),
        cmocka_unit_test(odd_alpn_values_are_told_by_their_hexadecimal_form),
        cmocka_unit_test(counts_stop_at_99),
        cmocka_unit_test(broken_lengths_have_no_fingerprint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
