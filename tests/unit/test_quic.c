// SPDX-License-Identifier: MIT
// QUIC Initials as clients may lawfully, or not so lawfully, write them; the corpus has what real ones do.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "identcheck.h"
#include "proto/list.h"
#include "quicmake.h"

static const uint8_t dcid[8] = { 0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08 }; // RFC 9001 A
static const char name[] = "www.example.test";

struct grams {
    uint8_t bytes[65536];
    uint32_t len[70], n, used;
};

static void add(struct grams *g, const uint8_t *p, uint32_t n)
{
    memcpy(g->bytes + g->used, p, n);
    g->used += g->len[g->n++] = n;
}

static const struct rx_quic_version *v1(void)
{
    return rx_quic_version_find(1);
}

// A datagram with one Initial of these frames, filled up with PADDING.
static void add_initial(struct grams *g, uint32_t pn, const uint8_t *frames, uint32_t n)
{
    uint8_t padded[1400] = { 0 }, out[1600];
    memcpy(padded, frames, n);
    add(g, out, quic_initial(v1(), dcid, sizeof dcid, 0, pn, 4, padded, n < 1162 ? 1162 : n, out));
}

static struct ident_result ask(const struct grams *g)
{
    struct ident_result r;
    const char *broken = ident_law_grams(&rx_proto_quic, g->bytes, g->len, g->n, UINT32_MAX, &r);
    if (broken)
        fail_msg("%s", broken);
    return r;
}

static void keys_are_those_of_the_specifications(void **state)
{
    (void)state;
    static const uint8_t key1[] = { 0x1f, 0x36, 0x96, 0x13, 0xdd, 0x76, 0xd5, 0x46,
                                    0x77, 0x30, 0xef, 0xcb, 0xe3, 0xb1, 0xa2, 0x2d };
    static const uint8_t iv1[] = { 0xfa, 0x04, 0x4b, 0x2f, 0x42, 0xa3, 0xfd, 0x3b, 0x46, 0xfb, 0x25, 0x5c };
    static const uint8_t hp1[] = { 0x9f, 0x50, 0x44, 0x9e, 0x04, 0xa0, 0xe8, 0x10,
                                   0x28, 0x3a, 0x1e, 0x99, 0x33, 0xad, 0xed, 0xd2 };
    static const uint8_t key2[] = { 0x8b, 0x1a, 0x0b, 0xc1, 0x21, 0x28, 0x42, 0x90,
                                    0xa2, 0x9e, 0x09, 0x71, 0xb5, 0xcd, 0x04, 0x5d };
    struct rx_quic_keys k;
    rx_quic_keys_make(v1(), dcid, sizeof dcid, &k); // RFC 9001 A.1
    assert_memory_equal(k.key, key1, sizeof key1);
    assert_memory_equal(k.iv, iv1, sizeof iv1);
    assert_memory_equal(k.hp, hp1, sizeof hp1);
    rx_quic_keys_make(rx_quic_version_find(0x6b3343cf), dcid, sizeof dcid, &k); // RFC 9369 A.1
    assert_memory_equal(k.key, key2, sizeof key2);
}

static void every_known_version_is_read(void **state)
{
    (void)state;
    static const uint32_t numbers[] = { 1, 0x6b3343cf, 0x709a50c4, 0xff00001d };
    for (unsigned i = 0; i < RX_COUNT(numbers); i++)
        for (uint32_t pn_len = 1; pn_len <= 4; pn_len++)
            for (uint32_t token = 0; token <= 100; token += 50) {
                static struct grams g;
                uint8_t hello[512], frames[1300] = { 0 }, out[1500];
                memset(&g, 0, sizeof g);
                quic_crypto(0, hello, quic_hello(name, hello), frames);
                add(&g, out,
                    quic_initial(rx_quic_version_find(numbers[i]), dcid, 8, token, 0xfe, pn_len, frames, 1200, out));
                struct ident_result r = ask(&g);
                assert_int_equal(r.verdict, RX_MATCH);
                assert_true(ident_is(&r, RX_FACT_SNI, name));
                assert_true(ident_is(&r, RX_FACT_ALPN, "\x02h3"));
            }
}

// Bytes of the hello one at a time, last first, with PING and PADDING between and an ACK in front
static void one_byte_frames_in_any_order_are_put_together(void **state)
{
    (void)state;
    static struct grams g;
    memset(&g, 0, sizeof g);
    uint8_t hello[512], frames[1300];
    uint32_t len = quic_hello(name, hello), at = 0, pn = 70000;
    static const uint8_t ack[] = { 2, 0x40, 0x10, 0, 0, 3 };
    memcpy(frames, ack, at = sizeof ack);
    for (uint32_t i = len; i-- > 0;) {
        at += quic_crypto(i, hello + i, 1, frames + at);
        frames[at++] = (uint8_t)(i % 2); // PADDING or PING
        if (at > 1100 || i == 0) {
            struct ident_result r = g.n ? ask(&g) : (struct ident_result){ .verdict = RX_MORE };
            assert_int_equal(r.verdict, RX_MORE);
            add_initial(&g, pn++, frames, at);
            at = 0;
        }
    }
    struct ident_result r = ask(&g);
    assert_int_equal(r.verdict, RX_MATCH);
    assert_true(ident_is(&r, RX_FACT_SNI, name));
}

static void overlaps_that_agree_are_fine_and_others_are_refused(void **state)
{
    (void)state;
    for (int lie = 0; lie < 2; lie++) {
        static struct grams g;
        memset(&g, 0, sizeof g);
        uint8_t hello[512], frames[1300];
        uint32_t len = quic_hello(name, hello), at = quic_crypto(10, hello + 10, 40, frames);
        hello[30] ^= (uint8_t)lie;
        at += quic_crypto(0, hello, len, frames + at);
        add_initial(&g, 1, frames, at);
        struct ident_result r = ask(&g);
        assert_int_equal(r.verdict, lie ? RX_NO : RX_MATCH);
        assert_int_equal(r.f.note, lie ? RX_NOTE_TLS_INVALID : RX_NOTE_NONE);
    }
}

static void two_initials_may_share_a_datagram(void **state)
{
    (void)state;
    static struct grams g;
    memset(&g, 0, sizeof g);
    uint8_t hello[512], a[200] = { 0 }, b[1000] = { 0 }, out[2000];
    uint32_t len = quic_hello(name, hello);
    quic_crypto(0, hello, 50, a);
    quic_crypto(50, hello + 50, len - 50, b);
    uint32_t n = quic_initial(v1(), dcid, 8, 0, 0, 1, a, sizeof a, out);
    n += quic_initial(v1(), dcid, 8, 0, 1, 1, b, sizeof b, out + n);
    add(&g, out, n);
    struct ident_result r = ask(&g);
    assert_true(ident_is(&r, RX_FACT_SNI, name));
}

static void early_data_in_front_waits_for_the_hello(void **state)
{
    (void)state;
    static struct grams g;
    memset(&g, 0, sizeof g);
    uint8_t early[1200] = { 0xd0, 0, 0, 0, 1, 8 }, hello[512], frames[600];
    memcpy(early + 6, dcid, 8);
    early[15] = 0x44; // a length of 1183 in two bytes, behind an empty source id
    early[16] = 0x9f;
    add(&g, early, sizeof early);
    assert_int_equal(ask(&g).verdict, RX_MORE);
    add_initial(&g, 0, frames, quic_crypto(0, hello, quic_hello(name, hello), frames));
    struct ident_result r = ask(&g);
    assert_true(ident_is(&r, RX_FACT_SNI, name));
}

static void what_is_no_hello_is_refused_by_name(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        static struct grams g;
        memset(&g, 0, sizeof g);
        uint8_t hello[512], frames[700];
        uint32_t len = quic_hello(name, hello);
        if (kind == 0)
            hello[0] = 2; // a ServerHello
        else if (kind == 1)
            hello[3] = 3; // shorter than any hello
        else
            hello[40] = 0xff; // cipher suites past the end
        add_initial(&g, 0, frames, quic_crypto(0, hello, len, frames));
        struct ident_result r = ask(&g);
        assert_int_equal(r.verdict, RX_NO);
        assert_int_equal(r.f.note, RX_NOTE_TLS_INVALID);
    }
}

static void lengths_that_lie_are_harmless(void **state)
{
    (void)state;
    static const uint8_t known[] = { 0xc0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 1, 0x7a };
    for (uint32_t n = 0; n <= sizeof known; n++)
        assert_int_equal(ident_ask_grams(&rx_proto_quic, known, &n, 1, UINT32_MAX).verdict, RX_NO);
    srandom(9); // the same every time
    for (unsigned i = 0; i < 300000; i++) {
        uint8_t p[64];
        uint32_t n = 7 + (uint32_t)random() % 57;
        memcpy(p, known, sizeof known);
        for (uint32_t k = 5; k < n; k++)
            p[k] = (uint8_t)(random() % 3 ? random() % 24 : random());
        assert_int_not_equal(ident_ask_grams(&rx_proto_quic, p, &n, 1, UINT32_MAX).verdict, RX_MATCH);
    }
}

static void a_broken_tag_shows_no_name(void **state)
{
    (void)state;
    static struct grams g;
    memset(&g, 0, sizeof g);
    uint8_t hello[512], frames[600];
    add_initial(&g, 0, frames, quic_crypto(0, hello, quic_hello(name, hello), frames));
    for (uint32_t i = 0; i < g.len[0]; i += 97) {
        g.bytes[i] ^= 0x10;
        struct ident_result r = ask(&g);
        assert_false(r.verdict == RX_MATCH && r.f.have & RX_FACT_SNI);
        g.bytes[i] ^= 0x10;
    }
    assert_int_equal(ask(&g).verdict, RX_MATCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_those_of_the_specifications),
        cmocka_unit_test(every_known_version_is_read),
        cmocka_unit_test(one_byte_frames_in_any_order_are_put_together),
        cmocka_unit_test(overlaps_that_agree_are_fine_and_others_are_refused),
        cmocka_unit_test(two_initials_may_share_a_datagram),
        cmocka_unit_test(early_data_in_front_waits_for_the_hello),
        cmocka_unit_test(what_is_no_hello_is_refused_by_name),
        cmocka_unit_test(lengths_that_lie_are_harmless),
        cmocka_unit_test(a_broken_tag_shows_no_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
