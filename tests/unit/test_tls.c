// SPDX-License-Identifier: MIT
// Enters: hellos built byte by byte. Leaves: that core/proto/tls.c reads the good ones however they are cut,
// refuses the broken ones by name, and keeps the contract at every prefix of all of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "identcheck.h"
#include "proto/list.h"

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

enum { ALL = UINT32_MAX, INVALID = RX_NOTE_TLS_INVALID };

struct bytes {
    uint8_t at[128 * 1024];
    uint32_t n;
};

static struct bytes hello, wire;

static void put(struct bytes *b, const void *p, size_t n)
{
    assert_true(b->n + n <= sizeof b->at);
    if (n)
        memcpy(b->at + b->n, p, n);
    b->n += (uint32_t)n;
}

static void put16(struct bytes *b, uint32_t v)
{
    put(b, BYTES((uint8_t)(v >> 8), (uint8_t)v));
}

// The fields of a hello; whatever a test breaks, it breaks here.
struct shape {
    const uint8_t *ciphers, *compressions;
    uint32_t ciphers_len, compressions_len, session_id_len, session_id_says, legacy;
    bool has_extensions;
};

static const struct shape plain = {
    .ciphers = (const uint8_t *)"\x13\x01",
    .ciphers_len = 2,
    .compressions = (const uint8_t *)"",
    .compressions_len = 1,
    .legacy = 0x0303,
    .has_extensions = true,
};

static void start_hello(const struct shape *s)
{
    hello.n = 0;
    put(&hello, BYTES(1, 0, 0, 0));
    put16(&hello, s->legacy);
    for (int i = 0; i < 32; i++)
        put(&hello, BYTES((uint8_t)(i * 7)));
    put(&hello, BYTES((uint8_t)(s->session_id_says ? s->session_id_says : s->session_id_len)));
    for (uint32_t i = 0; i < s->session_id_len; i++)
        put(&hello, BYTES(0x5e));
    put16(&hello, s->ciphers_len);
    put(&hello, s->ciphers, s->ciphers_len);
    put(&hello, BYTES((uint8_t)s->compressions_len));
    put(&hello, s->compressions, s->compressions_len);
    if (s->has_extensions)
        put16(&hello, 0);
}

static void patch16(uint32_t at, uint32_t v)
{
    hello.at[at] = (uint8_t)(v >> 8);
    hello.at[at + 1] = (uint8_t)v;
}

static uint32_t extensions_at(const struct shape *s)
{
    return 4 + 35 + s->session_id_len + 2 + s->ciphers_len + 1 + s->compressions_len;
}

static void extension(uint32_t type, const void *p, size_t n)
{
    put16(&hello, type);
    put16(&hello, (uint32_t)n);
    put(&hello, p, n);
}

static void sni(const char *name, size_t len)
{
    uint8_t ext[5 + 65000] = { (uint8_t)((len + 3) >> 8), (uint8_t)(len + 3), 0, (uint8_t)(len >> 8), (uint8_t)len };
    memcpy(ext + 5, name, len);
    extension(0, ext, 5 + len);
}

static void end_lengths(const struct shape *s)
{
    if (s->has_extensions)
        patch16(extensions_at(s), hello.n - extensions_at(s) - 2);
    hello.at[1] = (uint8_t)((hello.n - 4) >> 16);
    patch16(2, hello.n - 4);
}

// The hello in records of at most `size` bytes
static void to_records(uint32_t size)
{
    wire.n = 0;
    for (uint32_t at = 0; at < hello.n; at += size) {
        uint32_t len = hello.n - at < size ? hello.n - at : size;
        put(&wire, BYTES(22, 3, 1));
        put16(&wire, len);
        put(&wire, hello.at + at, len);
    }
}

static struct ident_result law_of_wire(void)
{
    struct ident_result r;
    const char *broken = ident_law(&rx_proto_tls, wire.at, wire.n, ALL, &r);
    if (broken)
        fail_msg("%s", broken);
    return r;
}

// What is said of the hello in one record; the same must be said of it in others.
static struct ident_result ask_all_ways(const struct shape *s)
{
    static const uint32_t sizes[] = { 1, 2, 3, 4, 5, 7, 64, 100, 16384 };
    struct ident_result r = { 0 };
    end_lengths(s);
    for (unsigned i = 0; i < RX_COUNT(sizes); i++) {
        to_records(sizes[i]);
        struct ident_result now = law_of_wire();
        if (i > 0) {
            assert_int_equal(now.verdict, r.verdict);
            assert_int_equal(now.f.have, r.f.have);
            assert_int_equal(now.f.note, r.f.note);
        }
        r = now;
    }
    return r;
}

static void assert_match(const struct ident_result *r, const char *name)
{
    assert_int_equal(r->verdict, RX_MATCH);
    assert_int_equal(r->f.note, RX_NOTE_NONE);
    assert_int_equal(r->f.pending, 0);
    if (name)
        assert_true(ident_is(r, RX_FACT_SNI, name));
    else
        assert_false(r->f.have & RX_FACT_SNI);
}

static void assert_invalid(const struct ident_result *r)
{
    assert_int_equal(r->verdict, RX_NO);
    assert_int_equal(r->f.note, INVALID);
}

static struct ident_result with_sni(const char *name, size_t len)
{
    start_hello(&plain);
    sni(name, len);
    return ask_all_ways(&plain);
}

static struct ident_result with_extension(uint32_t type, const void *p, size_t n)
{
    start_hello(&plain);
    extension(type, p, n);
    return ask_all_ways(&plain);
}

// ---- good hellos
// ------------------------------------------------------------------------------------------------

static void reads_a_name_however_it_is_cut(void **state)
{
    (void)state;
    struct ident_result r = with_sni("Www.Example.test.", 17);
    assert_match(&r, "Www.Example.test.");
    assert_int_equal(r.f.version, 0x0303);
    assert_true(r.f.have & RX_FACT_ECH);
    assert_int_equal(r.f.ech, 0);
    wire.n = 0; // unequal records, with unequal versions
    put(&wire, BYTES(22, 3, 1, 0, 1));
    put(&wire, hello.at, 1);
    put(&wire, BYTES(22, 3, 3, 0, 60));
    put(&wire, hello.at + 1, 60);
    put(&wire, BYTES(22, 3, 0));
    put16(&wire, hello.n - 61);
    put(&wire, hello.at + 61, hello.n - 61);
    r = law_of_wire();
    assert_match(&r, "Www.Example.test.");
}

static void asks_once_a_record(void **state)
{
    (void)state;
    start_hello(&plain);
    sni("example.test", 12);
    end_lengths(&plain);
    to_records(16384);
    struct ident_result r = ident_ask(&rx_proto_tls, wire.at, 11, ALL);
    assert_int_equal(r.verdict, RX_MORE);
    assert_int_equal(r.f.need, wire.n);
    to_records(20);
    r = ident_ask(&rx_proto_tls, wire.at, 12, ALL);
    assert_int_equal(r.f.need, 2 * 5 + 20);
    r = ident_ask(&rx_proto_tls, wire.at, r.f.need, ALL);
    assert_int_equal(r.verdict, RX_MORE);
    assert_int_equal(r.f.need, 3 * 5 + 2 * 20);
}

static void reads_hellos_without_extensions(void **state)
{
    (void)state;
    struct shape s = plain;
    s.has_extensions = false;
    s.legacy = 0x0301;
    start_hello(&s);
    struct ident_result r = ask_all_ways(&s);
    assert_match(&r, NULL);
    assert_int_equal(r.f.version, 0x0301);
    assert_true(r.f.have & RX_FACT_ECH);
    start_hello(&plain); // an empty block of them
    r = ask_all_ways(&plain);
    assert_match(&r, NULL);
    s = plain;
    s.session_id_len = 32;
    s.compressions = (const uint8_t *)"\x01";
    s.compressions_len = 2;
    start_hello(&s);
    sni("a", 1);
    r = ask_all_ways(&s);
    assert_match(&r, "a");
}

static void reads_alpn_versions_and_ech(void **state)
{
    (void)state;
    start_hello(&plain);
    extension(0x0a0a, "", 0); // GREASE, RFC 8701
    extension(43, "\x08\x3a\x3a\x03\x04\x7f\x1c\x03\x03", 9);
    extension(0xfe0d, "\0\0\1\0\1x", 6);
    extension(16, "\0\x0c\x02h2\x08http/1.1", 14);
    struct ident_result r = ask_all_ways(&plain);
    assert_match(&r, NULL);
    assert_int_equal(r.f.version, 0x0304);
    assert_int_equal(r.f.ech, 1);
    assert_true(ident_is(&r, RX_FACT_ALPN, "\x02h2\x08http/1.1"));
    r = with_extension(43, "\x04\x0a\x0a\xfa\xfa", 5); // nothing but GREASE: what the hello itself says
    assert_int_equal(r.f.version, 0x0303);
    r = with_extension(0xfe0d, "\1", 1); // ECH's inner hello, in the clear
    assert_match(&r, NULL);
    assert_int_equal(r.f.ech, 0);
}

static void takes_what_follows_the_hello(void **state)
{
    (void)state;
    start_hello(&plain);
    sni("example.test", 12);
    end_lengths(&plain);
    to_records(50);
    put(&wire, BYTES(20, 3, 3, 0, 1, 1, 23, 3, 3, 0xff, 0xff, 0, 0)); // 0-RTT, then nonsense
    struct ident_result r = law_of_wire();
    assert_match(&r, "example.test");
}

static void reads_sixteen_kilobytes_and_no_more(void **state)
{
    (void)state;
    static uint8_t zeros[16384];
    for (uint32_t over = 0; over < 2; over++) {
        start_hello(&plain);
        sni("example.test", 12);
        extension(21, zeros, 16384 + over - (hello.n - 4) - 4);
        end_lengths(&plain);
        assert_int_equal(hello.n, 4 + 16384 + over);
        static const uint32_t sizes[] = { 1, 333, 16384 };
        for (unsigned i = 0; i < RX_COUNT(sizes); i++) {
            to_records(sizes[i]);
            struct ident_result r = law_of_wire();
            if (over)
                assert_invalid(&r);
            else
                assert_match(&r, "example.test");
        }
    }
}

// ---- names
// ------------------------------------------------------------------------------------------------------

static void refuses_names_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = { "a/b", "a b", "a\r\nb", "\ta", "a\x7f", "/", " ", "a.test/" };
    struct ident_result r;
    for (unsigned i = 0; i < RX_COUNT(bad); i++) {
        r = with_sni(bad[i], strlen(bad[i]));
        assert_invalid(&r);
    }
    r = with_sni("a.test\0.b.test", 14);
    assert_invalid(&r);
    r = with_sni("", 0);
    assert_invalid(&r);
    static char long_name[256];
    memset(long_name, 'a', sizeof long_name);
    r = with_sni(long_name, 255);
    assert_int_equal(r.verdict, RX_MATCH);
    r = with_sni(long_name, 256);
    assert_invalid(&r);
    r = with_sni("_x.a-b.xn--0.*.test", 19);
    assert_match(&r, "_x.a-b.xn--0.*.test");
}

static void refuses_name_lists_that_break(void **state)
{
    (void)state;
    static const struct {
        const char *ext;
        size_t n;
    } bad[] = {
        { "", 0 },                          // RFC 6066 3 allows this in a server's answer only
        { "\0\0", 2 },                      // empty list
        { "\0\x03\0\0\0", 5 },              // empty name
        { "\0\x04\0\0\x01", 5 },            // list past the end
        { "\0\x04\0\0\x02q", 6 },           // name past the end
        { "\0\x04\0\0\x01qq", 7 },          // bytes after the list
        { "\0\x05\0\0\x01qq", 7 },          // half a name more
        { "\0\x08\0\0\x01q\0\0\x01r", 10 }, // two names of one type
        { "\0\x04\x07\0\x01q", 6 },         // a type nobody defined
    };
    for (unsigned i = 0; i < RX_COUNT(bad); i++) {
        struct ident_result r = with_extension(0, bad[i].ext, bad[i].n);
        assert_invalid(&r);
    }
}

// ---- broken hellos
// ----------------------------------------------------------------------------------------------

static void refuses_broken_extensions(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        const char *ext;
        size_t n;
    } bad[] = {
        { 16, "", 0 },
        { 16, "\0\0", 2 },
        { 16, "\0\x01\0", 3 },
        { 16, "\0\x04\x02h2\0", 6 }, // an empty name
        { 16, "\0\x03\x03h2", 5 },   // a name past the end
        { 16, "\0\x04\x02h2", 5 },   // the list past the end
        { 16, "\0\x02\x01hh", 5 },   // bytes after the list
        { 43, "", 0 },
        { 43, "\0", 1 },
        { 43, "\x01\x03", 2 },
        { 43, "\x04\x03\x04", 3 },
        { 0xfe0d, "", 0 },
    };
    for (unsigned i = 0; i < RX_COUNT(bad); i++) {
        struct ident_result r = with_extension(bad[i].type, bad[i].ext, bad[i].n);
        assert_invalid(&r);
    }
    static const uint32_t twice[] = { 0, 10, 16, 23, 0xfe0d };
    for (unsigned i = 0; i < RX_COUNT(twice); i++) {
        start_hello(&plain);
        for (int k = 0; k < 2; k++) {
            if (twice[i] == 0)
                sni("a", 1);
            else
                extension(twice[i], "\0\x03\x02h2", 5);
        }
        struct ident_result r = ask_all_ways(&plain);
        assert_invalid(&r);
    }
    start_hello(&plain); // unknown ones may repeat: nobody keeps count of 65 536 types
    extension(0x1234, "", 0);
    extension(0x1234, "", 0);
    struct ident_result r = ask_all_ways(&plain);
    assert_match(&r, NULL);
}

static void refuses_broken_fields(void **state)
{
    (void)state;
    struct shape bad[6];
    for (unsigned i = 0; i < RX_COUNT(bad); i++)
        bad[i] = plain;
    bad[0].ciphers_len = 0;
    bad[1].ciphers = (const uint8_t *)"\x13\x01\x13";
    bad[1].ciphers_len = 3;
    bad[2].compressions_len = 0;
    bad[3].session_id_len = 33;
    bad[4].session_id_says = 32;
    bad[5].legacy = 0x0203;
    for (unsigned i = 0; i < RX_COUNT(bad); i++) {
        start_hello(&bad[i]);
        sni("a", 1);
        struct ident_result r = ask_all_ways(&bad[i]);
        assert_invalid(&r);
    }
}

static void refuses_lengths_that_do_not_add_up(void **state)
{
    (void)state;
    for (int by = -3; by <= 3; by++) {
        uint32_t base = extensions_at(&plain);
        for (unsigned field = 0; field < 2 && by; field++) {
            start_hello(&plain);
            sni("example.test", 12);
            end_lengths(&plain);
            uint32_t at = field ? base + 2 + 2 : base; // one extension's length, that of all
            patch16(at, (uint32_t)((int)(hello.at[at] << 8 | hello.at[at + 1]) + by));
            to_records(16384);
            struct ident_result r = law_of_wire();
            assert_invalid(&r);
        }
    }
    start_hello(&plain);
    end_lengths(&plain);
    put(&hello, BYTES(0)); // one byte inside the hello that no length covers
    patch16(2, hello.n - 4);
    to_records(16384);
    struct ident_result r = law_of_wire();
    assert_invalid(&r);
    patch16(2, 40); // too short for a hello at all
    to_records(16384);
    r = ident_ask(&rx_proto_tls, wire.at, 9, ALL);
    assert_invalid(&r);
}

// ---- records
// ----------------------------------------------------------------------------------------------------

static struct ident_result ask_bytes(const void *p, size_t n)
{
    wire.n = 0;
    put(&wire, p, n);
    return law_of_wire();
}

static void refuses_broken_records(void **state)
{
    (void)state;
    struct ident_result r = ask_bytes("\x16\x03\x01\0\0", 5);
    assert_invalid(&r);
    r = ask_bytes("\x16\x03\x01\x40\x01", 5);
    assert_invalid(&r);
    r = ask_bytes("\x16\x03\x01\xff\xff\x01", 6);
    assert_invalid(&r);
    r = ask_bytes("\x16\x03\x03\0\x40\x02", 6); // a ServerHello
    assert_invalid(&r);
    r = ask_bytes("\x16\x03\x01\0\xff\x01\xff\xff\xff", 9);
    assert_invalid(&r);
    static const char *const middle[] = { "\x15\x03\x01\0\x02", "\x16\x02\x01\0\x02", "\x16\x03\x01\0\0",
                                          "\x16\x03\x01\x40\x01", "\x17\x03\x03\0\x10" };
    for (unsigned i = 0; i < RX_COUNT(middle); i++) {
        start_hello(&plain);
        sni("example.test", 12);
        end_lengths(&plain);
        to_records(30);
        wire.n = 35;
        put(&wire, middle[i], 5);
        r = law_of_wire();
        assert_invalid(&r);
    }
}

static void leaves_other_protocols_alone(void **state)
{
    (void)state;
    static const struct {
        const char *p;
        size_t n;
    } others[] = {
        { "\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10", 11 }, // an SSLv2-compatible hello
        { "\x16\x02\0\0\x40\x01", 6 },
        { "\x16\xfe\xff\0\0\0", 6 }, // DTLS over TCP
        { "GET / HTTP/1.1\r\n", 16 },
        { "\x15\x03\x01\0\x02\x02\x46", 7 },
    };
    for (unsigned i = 0; i < RX_COUNT(others); i++) {
        struct ident_result r = ask_bytes(others[i].p, others[i].n);
        assert_int_equal(r.verdict, RX_NO);
        assert_int_equal(r.f.note, RX_NOTE_NONE);
    }
    struct ident_result r = ask_bytes("", 0);
    assert_int_equal(r.verdict, RX_MORE);
}

static void no_single_byte_breaks_the_law(void **state)
{
    (void)state;
    start_hello(&plain);
    sni("example.test", 12);
    extension(43, "\x04\x03\x04\x03\x03", 5);
    extension(16, "\0\x0c\x02h2\x08http/1.1", 14);
    end_lengths(&plain);
    for (uint32_t size = 40; size <= 16384; size += 16344) {
        to_records(size);
        for (uint32_t at = 0; at < wire.n; at++) {
            static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
            uint8_t was = wire.at[at];
            for (unsigned i = 0; i < RX_COUNT(values) + 2; i++) {
                wire.at[at] = i < RX_COUNT(values) ? values[i] : (uint8_t)(was + (i % 2 ? 1 : -1));
                law_of_wire();
            }
            wire.at[at] = was;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_name_however_it_is_cut),     cmocka_unit_test(asks_once_a_record),
        cmocka_unit_test(reads_hellos_without_extensions),    cmocka_unit_test(reads_alpn_versions_and_ech),
        cmocka_unit_test(takes_what_follows_the_hello),       cmocka_unit_test(reads_sixteen_kilobytes_and_no_more),
        cmocka_unit_test(refuses_names_that_are_none),        cmocka_unit_test(refuses_name_lists_that_break),
        cmocka_unit_test(refuses_broken_extensions),          cmocka_unit_test(refuses_broken_fields),
        cmocka_unit_test(refuses_lengths_that_do_not_add_up), cmocka_unit_test(refuses_broken_records),
        cmocka_unit_test(leaves_other_protocols_alone),       cmocka_unit_test(no_single_byte_breaks_the_law),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
