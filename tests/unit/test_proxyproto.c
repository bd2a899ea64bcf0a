// SPDX-License-Identifier: MIT
// Enters: PROXY headers, right and wrong, cut anywhere. Leaves: what they say, and that what is written can be read.
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxyproto.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\x0a\1\2\3\xc0\0\2\1\x10\x92\1\xbb" // 10.1.2.3:4242 → 192.0.2.1:443
#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

// From a copy that ends where the bytes end, so that a sanitizer sees reads beyond.
static enum rx_proxy_verdict read_copy(const uint8_t *p, size_t n, struct rx_proxy *out)
{
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, p, n);
    enum rx_proxy_verdict v = rx_proxy_read(copy, n, out);
    free(copy);
    return v;
}

static struct rx_proxy expect(enum rx_proxy_verdict want, const uint8_t *p, size_t n)
{
    struct rx_proxy out;
    assert_int_equal(read_copy(p, n, &out), want);
    rx_proxy_read(p, n, &out); // its TLVs point into p
    return out;
}

static void is_from(const struct rx_proxy *h, const char *from, const char *to)
{
    char text[RX_ADDR_TEXT];
    assert_true(h->has_addresses);
    assert_string_equal(rx_addr_print(&h->from.sa, text), from);
    assert_string_equal(rx_addr_print(&h->to.sa, text), to);
}

static void a_line_says_who_and_where(void **state)
{
    (void)state;
    struct rx_proxy h = expect(RX_PROXY_READ, BYTES("PROXY TCP4 10.1.2.3 192.0.2.1 4242 443\r\nGET /"));
    assert_int_equal(h.version, 1);
    assert_int_equal(h.len, 40);
    is_from(&h, "10.1.2.3:4242", "192.0.2.1:443");
    h = expect(RX_PROXY_READ, BYTES("PROXY TCP6 2001:db8::7 ::1 65535 0\r\n"));
    is_from(&h, "[2001:db8::7]:65535", "[::1]:0");
}

static void unknown_leaves_the_addresses(void **state)
{
    (void)state;
    struct rx_proxy h = expect(RX_PROXY_READ, BYTES("PROXY UNKNOWN\r\n"));
    assert_false(h.has_addresses);
    h = expect(RX_PROXY_READ, BYTES("PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n"));
    assert_false(h.has_addresses);
    assert_int_equal(h.len, 41);
}

static void broken_lines_are_invalid(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "PROXY \r\n", "PROXY TCP4\r\n", "PROXY TCP4 \r\n", "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rx", "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY unknown\r\n",
    };
    for (unsigned i = 0; i < RX_COUNT(lines); i++)
        expect(RX_PROXY_INVALID, (const uint8_t *)lines[i], strlen(lines[i]));
    expect(RX_PROXY_INVALID, BYTES("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n"));
}

static void a_line_has_107_bytes_at_most(void **state)
{
    (void)state;
    char line[120] = "PROXY UNKNOWN ";
    memset(line + 14, 'x', sizeof line - 14);
    memcpy(line + 105, "\r\n", 2);
    expect(RX_PROXY_READ, (const uint8_t *)line, 107);
    memcpy(line + 105, "x\r\n", 3);
    expect(RX_PROXY_INVALID, (const uint8_t *)line, 106);
    expect(RX_PROXY_INVALID, (const uint8_t *)line, 108);
}

static void other_first_bytes_are_no_header(void **state)
{
    (void)state;
    expect(RX_PROXY_MORE, BYTES(""));
    expect(RX_PROXY_MISSING, BYTES("G"));
    expect(RX_PROXY_MISSING, BYTES("POST / HTTP/1.1\r\n"));
    expect(RX_PROXY_MISSING, BYTES("PROXYING"));
    expect(RX_PROXY_MISSING, BYTES("\r\nGET"));
    expect(RX_PROXY_MISSING, BYTES("\x16\3\1"));
    expect(RX_PROXY_MISSING, BYTES("\r\n\r\n\0\r\nQUIT\r"));
}

static void a_binary_header_says_who_and_where(void **state)
{
    (void)state;
    struct rx_proxy h = expect(RX_PROXY_READ, BYTES(SIG "\x21\x11\0\x0c" V4 "hello"));
    assert_int_equal(h.version, 2);
    assert_int_equal(h.len, 28);
    assert_int_equal(h.tlvs.len, 0);
    is_from(&h, "10.1.2.3:4242", "192.0.2.1:443");
    h = expect(RX_PROXY_READ, BYTES(SIG "\x21\x22\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7"
                                    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\1\0\2"));
    is_from(&h, "[2001:db8::7]:1", "[::1]:2");
}

static void a_unix_client_has_no_ip(void **state)
{
    (void)state;
    uint8_t bytes[16 + 216] = SIG "\x21\x31\0\xd8/tmp/a";
    struct rx_proxy h = expect(RX_PROXY_READ, bytes, sizeof bytes);
    assert_true(h.has_addresses);
    assert_int_equal(h.from.sa.sa_family, AF_UNSPEC);
}

static void local_and_unspec_leave_the_addresses(void **state)
{
    (void)state;
    struct rx_proxy h = expect(RX_PROXY_READ, BYTES(SIG "\x20\0\0\0"));
    assert_false(h.has_addresses);
    h = expect(RX_PROXY_READ, BYTES(SIG "\x20\x11\0\x0c" V4)); // a family is ignored
    assert_false(h.has_addresses);
    h = expect(RX_PROXY_READ, BYTES(SIG "\x20\xff\0\3abc")); // whatever it is
    assert_false(h.has_addresses);
    assert_int_equal(h.len, 19);
    h = expect(RX_PROXY_READ, BYTES(SIG "\x21\0\0\3abc"));
    assert_false(h.has_addresses);
    h = expect(RX_PROXY_READ, BYTES(SIG "\x21\0\0\5\5\0\2id"));
    assert_int_equal(h.tlvs.len, 5);
}

static void broken_binary_headers_are_invalid(void **state)
{
    (void)state;
    expect(RX_PROXY_INVALID, BYTES(SIG "\x11\x11\0\x0c" V4));           // version 1
    expect(RX_PROXY_INVALID, BYTES(SIG "\x22\x11\0\x0c" V4));           // no such command
    expect(RX_PROXY_INVALID, BYTES(SIG "\x21\x10\0\x0c" V4));           // a family without a transport
    expect(RX_PROXY_INVALID, BYTES(SIG "\x21\x01\0\x0c" V4));           // and the other way round
    expect(RX_PROXY_INVALID, BYTES(SIG "\x21\x41\0\x0c" V4));           // no such family
    expect(RX_PROXY_INVALID, BYTES(SIG "\x21\x13\0\x0c" V4));           // no such transport
    expect(RX_PROXY_INVALID, BYTES(SIG "\x21\x11\0\x0b" V4));           // no room for the addresses
    expect(RX_PROXY_INVALID, BYTES(SIG "\x21\x11\xff\xff" V4));         // longer than is taken
    expect(RX_PROXY_INVALID, BYTES(SIG "\x21\x11\0\x0e" V4 "\5\0"));    // half a TLV
    expect(RX_PROXY_INVALID, BYTES(SIG "\x21\x11\0\x10" V4 "\5\0\2x")); // one that is longer than the header
    expect(RX_PROXY_INVALID, BYTES(SIG "\x21\x11\0\x11" V4 "\x20\0\2xy")); // an SSL one that is too short
    expect(RX_PROXY_INVALID, BYTES(SIG "\x21\x11\0\x13" V4 "\3\0\4\0\0\0\0")); // a checksum that is wrong
    expect(RX_PROXY_INVALID, BYTES(SIG "\x21\x11\0\x12" V4 "\3\0\3\0\0\0"));   // or no checksum
}

static void values_are_found_by_type(void **state)
{
    (void)state;
    struct rx_text v, inner;
    struct rx_proxy h = expect(RX_PROXY_READ, BYTES(SIG "\x21\x11\0\x27" V4 "\2\0\6a.test" "\xee\0\0"
                                                    "\x20\0\x0c\1\0\0\0\0\x21\0\4TLSx"));
    assert_true(rx_proxy_tlv(h.tlvs, RX_TLV_AUTHORITY, &v));
    assert_memory_equal(v.ptr, "a.test", v.len);
    assert_true(rx_proxy_tlv(h.tlvs, 0xee, &v));
    assert_int_equal(v.len, 0);
    assert_false(rx_proxy_tlv(h.tlvs, RX_TLV_ALPN, &v));
    assert_true(rx_proxy_tlv(h.tlvs, RX_TLV_SSL, &v));
    inner = (struct rx_text){ v.ptr + RX_TLV_SSL_HEAD, v.len - RX_TLV_SSL_HEAD };
    assert_true(rx_proxy_tlv(inner, 0x21, &v));
    assert_memory_equal(v.ptr, "TLSx", 4);
}

static struct rx_proxy_say all_of_it(void)
{
    struct rx_proxy_say say = { .version = 2, .has_crc = true };
    char why[RX_ADDR_TEXT];
    assert_int_equal(rx_ip_parse("[2001:db8::7]:4242", &say.from, why), 0);
    assert_int_equal(rx_ip_parse("[2001:db8::1]:443", &say.to, why), 0);
    static uint8_t longest[300];
    memset(longest, 'n', sizeof longest);
    say.unique_id = (struct rx_text){ longest, RX_PROXY_ID_MAX };
    say.authority = say.alpn = (struct rx_text){ longest, 255 };
    return say;
}

static void what_is_written_can_be_read(void **state)
{
    (void)state;
    uint8_t out[RX_PROXY_OUT_MAX];
    struct rx_proxy_say say = all_of_it();
    struct rx_text v;
    size_t n = rx_proxy_write(out, &say);
    struct rx_proxy h = expect(RX_PROXY_READ, out, n);
    assert_int_equal(h.len, n);
    is_from(&h, "[2001:db8::7]:4242", "[2001:db8::1]:443");
    assert_true(rx_proxy_tlv(h.tlvs, RX_TLV_CRC32C, &v));
    assert_true(rx_proxy_tlv(h.tlvs, RX_TLV_UNIQUE_ID, &v) && v.len == RX_PROXY_ID_MAX);
    assert_true(rx_proxy_tlv(h.tlvs, RX_TLV_AUTHORITY, &v) && v.len == 255);
    for (size_t i = 16; i < n; i++) { // the checksum covers all of it
        out[i] ^= 1;
        struct rx_proxy broken;
        if (i < n - 7)
            assert_int_equal(read_copy(out, n, &broken) == RX_PROXY_READ, false);
        out[i] ^= 1;
    }
    say.is_datagram = true;
    rx_proxy_write(out, &say);
    assert_int_equal(out[13], 0x22);
    say.version = 1;
    n = rx_proxy_write(out, &say);
    is_from((h = expect(RX_PROXY_READ, out, n), &h), "[2001:db8::7]:4242", "[2001:db8::1]:443");
}

static void who_is_not_known_is_not_named(void **state)
{
    (void)state;
    uint8_t out[RX_PROXY_OUT_MAX];
    struct rx_proxy_say say = all_of_it();
    say.from.sa.sa_family = AF_UNSPEC;
    struct rx_proxy h = expect(RX_PROXY_READ, out, rx_proxy_write(out, &say));
    assert_false(h.has_addresses);
    say.version = 1;
    assert_int_equal(rx_proxy_write(out, &say), 15);
    assert_memory_equal(out, "PROXY UNKNOWN\r\n", 15);
}

static void what_is_too_long_is_left_out(void **state)
{
    (void)state;
    uint8_t out[RX_PROXY_OUT_MAX];
    struct rx_proxy_say say = all_of_it();
    struct rx_text v;
    say.unique_id.len = RX_PROXY_ID_MAX + 1;
    say.authority.len = 256;
    struct rx_proxy h = expect(RX_PROXY_READ, out, rx_proxy_write(out, &say));
    assert_false(rx_proxy_tlv(h.tlvs, RX_TLV_UNIQUE_ID, &v));
    assert_false(rx_proxy_tlv(h.tlvs, RX_TLV_AUTHORITY, &v));
    assert_true(rx_proxy_tlv(h.tlvs, RX_TLV_ALPN, &v));
}

static void the_checksum_is_that_of_others(void **state)
{
    (void)state;
    // The sum is from a program that knows RFC 3720 B.4: 32 zeros come to 0x8a9136aa.
    static const uint8_t sent[] = SIG "\x21\x11\0\x13\x7f\0\0\1\x7f\0\0\1\x30\x39\x1f\x90\3\0\4";
    uint8_t out[RX_PROXY_OUT_MAX];
    struct rx_proxy_say say = { .version = 2, .has_crc = true };
    char why[RX_ADDR_TEXT];
    rx_ip_parse("127.0.0.1:12345", &say.from, why);
    rx_ip_parse("127.0.0.1:8080", &say.to, why);
    size_t n = rx_proxy_write(out, &say);
    assert_int_equal(n, sizeof sent - 1 + 4);
    assert_memory_equal(out, sent, sizeof sent - 1);
    assert_memory_equal(out + n - 4, "\xf2\x58\x87\xab", 4);
}

static void a_header_may_be_cut_anywhere(void **state)
{
    (void)state;
    uint8_t out[RX_PROXY_OUT_MAX];
    for (int version = 1; version <= 2; version++) {
        struct rx_proxy_say say = all_of_it();
        say.version = (uint8_t)version;
        size_t n = rx_proxy_write(out, &say);
        struct rx_proxy h;
        for (size_t i = 0; i < n; i++)
            assert_int_equal(read_copy(out, i, &h), RX_PROXY_MORE);
        out[n] = 'x';
        assert_int_equal(read_copy(out, n + 1, &h), RX_PROXY_READ);
        assert_int_equal(h.len, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_says_who_and_where),
        cmocka_unit_test(unknown_leaves_the_addresses),
        cmocka_unit_test(broken_lines_are_invalid),
        cmocka_unit_test(a_line_has_107_bytes_at_most),
        cmocka_unit_test(other_first_bytes_are_no_header),
        cmocka_unit_test(a_binary_header_says_who_and_where),
        cmocka_unit_test(a_unix_client_has_no_ip),
        cmocka_unit_test(local_and_unspec_leave_the_addresses),
        cmocka_unit_test(broken_binary_headers_are_invalid),
        cmocka_unit_test(values_are_found_by_type),
        cmocka_unit_test(what_is_written_can_be_read),
        cmocka_unit_test(who_is_not_known_is_not_named),
        cmocka_unit_test(what_is_too_long_is_left_out),
        cmocka_unit_test(the_checksum_is_that_of_others),
        cmocka_unit_test(a_header_may_be_cut_anywhere),
    };
    return cmocka_run_group_tests_name("proxyproto", tests, NULL, NULL);
}
