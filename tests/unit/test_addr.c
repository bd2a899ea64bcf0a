// SPDX-License-Identifier: MIT
// Enters: addresses as users write them. Leaves: that core/addr.c reads what the guide promises, refuses the rest
// with a reason, and prints what it read in a form it reads again.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "addr.h"

static char why[RX_ADDR_TEXT];

// ---- listening ----------------------------------------------------------------------------------------------------

// What `text` means to listen on, as one line: "127.0.0.1:80 127.0.0.1:81".
static const char *listens(const char *text)
{
    static char line[1024];
    struct rx_addr *list = NULL;
    unsigned n = 0;
    line[0] = why[0] = 0;
    if (rx_addr_parse_listen(text, &list, &n, why)) {
        assert_true(why[0] != 0);
        return NULL;
    }
    for (unsigned i = 0; i < n; i++) {
        char one[RX_ADDR_TEXT];
        rx_addr_print(&list[i].sa, one);
        snprintf(line + strlen(line), sizeof line - strlen(line), "%s%s", i ? " " : "", one);
    }
    free(list);
    return line;
}

static void listen_addresses_of_every_form_are_read(void **state)
{
    (void)state;
    assert_string_equal(listens("127.0.0.1:80"), "127.0.0.1:80");
    assert_string_equal(listens("0.0.0.0:0"), "0.0.0.0:0");
    assert_string_equal(listens("[::1]:65535"), "[::1]:65535");
    assert_string_equal(listens("[::]:443"), "[::]:443");
    assert_string_equal(listens("*:443"), "0.0.0.0:443 [::]:443");
    assert_string_equal(listens("unix:/run/x.sock"), "unix:/run/x.sock");
    assert_string_equal(listens("127.0.0.1:8000-8002"), "127.0.0.1:8000 127.0.0.1:8001 127.0.0.1:8002");
    assert_string_equal(listens("*:7-8"), "0.0.0.0:7 [::]:7 0.0.0.0:8 [::]:8");
    assert_string_equal(listens("1.2.3.4:9-9"), "1.2.3.4:9");
}

static void broken_listen_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "80",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "a.test:80",
        "1.2.3:80",
        "1.2.3.4:80x",
        "1.2.3.4:-1",
        "1.2.3.4:9-8",
        "1.2.3.4:0-5",
        "[::1]",
        "[::1",
        "[::1]80",
        "::1:80",
        "[]:80",
        "unix:",
        "1.2.3.4:1-",
        "1.2.3.4:1-x",
        "1.2.3.4:1-2-3",
        "1.2.3.4:1-65536",
        "1.2.3.4:+80",
        "1.2.3.4: 80",
        "** :80",
        "[::g]:80",
        "1.2.3.4:8 0",
        "[::1]:",
        "256.0.0.1:80",
        "1.2.3.4:99999999999999999999",
    };
    for (size_t i = 0; i < RX_COUNT(bad); i++)
        if (listens(bad[i]))
            fail_msg("\"%s\" is taken as %s", bad[i], listens(bad[i]));
}

static void a_unix_path_has_to_fit(void **state)
{
    (void)state;
    char text[160] = "unix:";
    memset(text + 5, 'p', 107);
    assert_string_equal(listens(text), text);
    text[5 + 107] = 'p';
    assert_null(listens(text));
    assert_string_equal(why, "unix path too long");
}

static void a_host_longer_than_any_name_is_refused_not_cut(void **state)
{
    (void)state;
    char text[600];
    memset(text, '1', sizeof text);
    strcpy(text + 500, ":80");
    assert_null(listens(text));
}

// ---- targets ------------------------------------------------------------------------------------------------------

static const char *target(const char *text)
{
    static char line[RX_ADDR_TEXT];
    struct rx_target_text t;
    why[0] = 0;
    if (rx_addr_parse_target(text, &t, why)) {
        assert_true(why[0] != 0);
        return NULL;
    }
    assert_int_equal(t.addr.len == 0, t.host[0] != 0);
    if (t.addr.len)
        return rx_addr_print(&t.addr.sa, line);
    snprintf(line, sizeof line, "%s%.100s port %u", t.is_srv ? "srv " : "", t.host, t.port);
    return line;
}

static void targets_are_read_and_names_left_for_later(void **state)
{
    (void)state;
    assert_string_equal(target("10.0.0.1:80"), "10.0.0.1:80");
    assert_string_equal(target("[2001:db8::1]:80"), "[2001:db8::1]:80");
    assert_string_equal(target("unix:/x"), "unix:/x");
    assert_string_equal(target("a-b_c.example.com:80"), "a-b_c.example.com port 80");
    assert_string_equal(target("127.0.0.1:65535"), "127.0.0.1:65535");
    assert_string_equal(target("srv:_http._tcp.example.com"), "srv _http._tcp.example.com port 0");
}

static void broken_targets_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",        "a.test",   "a.test:",      "a.test:0",   "a.test:65536",   "a b:80",
        ":80",     "1.2.3:80", "1.2.3.4.5:80", "a.test:1-2", "2001:db8::1:80", "a/b:80",
        "[::1]:0", "[::1:80",  "a.test:http",  "unix:", "srv:", "srv:_a._tcp.b:80", "srv:a..b",
        ".a:80",   "a..b:80",  "srv:a b",      "srv:1.2.3.4"
    };
    for (size_t i = 0; i < RX_COUNT(bad); i++)
        if (target(bad[i]))
            fail_msg("\"%s\" is taken as %s", bad[i], target(bad[i]));
}

static void brackets_are_for_ipv6_alone(void **state)
{
    (void)state;
    assert_null(target("[127.0.0.1]:80"));
    assert_null(target("[example.com]:80"));
    assert_null(listens("[127.0.0.1]:80"));
    assert_null(listens("[*]:80"));
}

// ---- blocks -------------------------------------------------------------------------------------------------------

static bool has(const char *block, const char *ip)
{
    struct rx_cidr c;
    union rx_ip a;
    if (rx_cidr_parse(block, &c, why) || rx_ip_parse(ip, &a, why))
        fail_msg("%s or %s: %s", block, ip, why);
    return rx_cidr_has(&c, &a);
}

static void a_block_holds_its_first_and_last_address_and_no_neighbour(void **state)
{
    (void)state;
    static const struct {
        const char *block, *first, *last, *before, *after;
    } t[] = {
        { "10.0.0.0/8", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0" },
        { "192.0.2.64/26", "192.0.2.64", "192.0.2.127", "192.0.2.63", "192.0.2.128" },
        { "192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.6", "192.0.2.8" },
        { "192.0.2.6/31", "192.0.2.6", "192.0.2.7", "192.0.2.5", "192.0.2.8" },
        { "128.0.0.0/1", "128.0.0.0", "255.255.255.255", "127.255.255.255", "0.0.0.0" },
        { "2001:db8::/33", "2001:db8::", "2001:db8:7fff::1", "2001:db7::", "2001:db8:8000::" },
        { "2001:db8::5", "2001:db8::5", "2001:db8::5", "2001:db8::4", "2001:db8::6" },
        { "fe80::/10", "fe80::1", "febf::1", "fe7f::", "fec0::" },
    };
    for (size_t i = 0; i < RX_COUNT(t); i++) {
        assert_true(has(t[i].block, t[i].first) && has(t[i].block, t[i].last));
        assert_false(has(t[i].block, t[i].before) || has(t[i].block, t[i].after));
    }
}

static void a_block_of_everything_holds_its_own_family_only(void **state)
{
    (void)state;
    assert_true(has("0.0.0.0/0", "203.0.113.9"));
    assert_false(has("0.0.0.0/0", "2001:db8::1"));
    assert_true(has("::/0", "2001:db8::1"));
    assert_false(has("::/0", "203.0.113.9"));
}

static void a_mapped_client_counts_as_ipv4_once_unmapped(void **state)
{
    (void)state;
    struct rx_cidr c;
    union rx_ip ip;
    assert_int_equal(rx_ip_parse("[::ffff:10.1.2.3]:4000", &ip, why), 0);
    assert_int_equal(rx_cidr_parse("10.0.0.0/8", &c, why), 0);
    assert_false(rx_cidr_has(&c, &ip));
    rx_ip_unmap(&ip);
    assert_true(rx_cidr_has(&c, &ip));
    assert_int_equal(rx_addr_port(&ip.sa), 4000);
    assert_int_equal(rx_ip_parse("2001:db8::1", &ip, why), 0);
    rx_ip_unmap(&ip);
    assert_int_equal(ip.sa.sa_family, AF_INET6);
}

static void a_client_without_address_is_in_no_block(void **state)
{
    (void)state;
    struct rx_cidr c;
    union rx_ip ip = { .sa = { .sa_family = AF_UNSPEC } };
    assert_int_equal(rx_cidr_parse("0.0.0.0/0", &c, why), 0);
    assert_false(rx_cidr_has(&c, &ip));
}

static void broken_blocks_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",     "10.0.0.0/33", "10.0.0.0/",      "10.0.0.0/-1", "10.0.0.0/8x", "10.0.0.1/8", "::/129",
        "10/8", "a.test",      "2001:db8::1/64", "10.0.0.0/ 8", "10.0.0.0/+8", "10.0.0.0//8"
    };
    struct rx_cidr c;
    for (size_t i = 0; i < RX_COUNT(bad); i++)
        if (!rx_cidr_parse(bad[i], &c, why))
            fail_msg("\"%s\" is taken", bad[i]);
}

// ---- printing and comparing ---------------------------------------------------------------------------------------

static void an_ip_is_read_with_and_without_port(void **state)
{
    (void)state;
    char text[RX_ADDR_TEXT];
    union rx_ip ip;
    assert_int_equal(rx_ip_parse("192.0.2.1:4000", &ip, why), 0);
    assert_string_equal(rx_addr_print(&ip.sa, text), "192.0.2.1:4000");
    assert_int_equal(rx_ip_parse("2001:db8::1", &ip, why), 0);
    assert_string_equal(rx_addr_print_host(&ip.sa, text), "2001:db8::1");
    assert_int_equal(rx_ip_parse("[2001:db8::1]:7", &ip, why), 0);
    assert_string_equal(rx_addr_print(&ip.sa, text), "[2001:db8::1]:7");
    static const char *const bad[] = { "", "192.0.2", "a.test:1", "192.0.2.1:65536", "[::1]", "192.0.2.1:" };
    for (size_t i = 0; i < RX_COUNT(bad); i++)
        assert_int_equal(rx_ip_parse(bad[i], &ip, why), -1);
}

static void the_longest_addresses_fit_when_printed(void **state)
{
    (void)state;
    char text[RX_ADDR_TEXT], path[160] = "unix:/";
    union rx_ip ip;
    assert_int_equal(rx_ip_parse("[1111:2222:3333:4444:5555:6666:7777:8888]:65535", &ip, why), 0);
    assert_string_equal(rx_addr_print(&ip.sa, text), "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
    memset(path + 6, 'y', 106);
    assert_string_equal(listens(path), path);
}

static void an_unnamed_unix_peer_has_a_word_and_no_port(void **state)
{
    (void)state;
    char text[RX_ADDR_TEXT];
    struct sockaddr sa = { .sa_family = AF_UNSPEC };
    assert_string_equal(rx_addr_print(&sa, text), "unix");
    assert_int_equal(rx_addr_port(&sa), 0);
}

static bool are_equal(const char *a, const char *b)
{
    struct rx_target_text x, y;
    assert_int_equal(rx_addr_parse_target(a, &x, why), 0);
    assert_int_equal(rx_addr_parse_target(b, &y, why), 0);
    return rx_addr_equal(&x.addr.sa, &y.addr.sa);
}

static void equality_looks_at_family_address_port_and_path(void **state)
{
    (void)state;
    assert_true(are_equal("10.0.0.1:80", "10.0.0.1:80"));
    assert_false(are_equal("10.0.0.1:80", "10.0.0.1:81"));
    assert_false(are_equal("10.0.0.1:80", "10.0.0.2:80"));
    assert_true(are_equal("[::1]:80", "[0:0::1]:80"));
    assert_false(are_equal("[::1]:80", "[::2]:80"));
    assert_false(are_equal("[::1]:80", "[::1]:81"));
    assert_false(are_equal("127.0.0.1:80", "[::1]:80"));
    assert_true(are_equal("unix:/a", "unix:/a"));
    assert_false(are_equal("unix:/a", "unix:/b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listen_addresses_of_every_form_are_read),
        cmocka_unit_test(broken_listen_addresses_are_refused),
        cmocka_unit_test(a_unix_path_has_to_fit),
        cmocka_unit_test(a_host_longer_than_any_name_is_refused_not_cut),
        cmocka_unit_test(targets_are_read_and_names_left_for_later),
        cmocka_unit_test(broken_targets_are_refused),
        cmocka_unit_test(brackets_are_for_ipv6_alone),
        cmocka_unit_test(a_block_holds_its_first_and_last_address_and_no_neighbour),
        cmocka_unit_test(a_block_of_everything_holds_its_own_family_only),
        cmocka_unit_test(a_mapped_client_counts_as_ipv4_once_unmapped),
        cmocka_unit_test(a_client_without_address_is_in_no_block),
        cmocka_unit_test(broken_blocks_are_refused),
        cmocka_unit_test(an_ip_is_read_with_and_without_port),
        cmocka_unit_test(the_longest_addresses_fit_when_printed),
        cmocka_unit_test(an_unnamed_unix_peer_has_a_word_and_no_port),
        cmocka_unit_test(equality_looks_at_family_address_port_and_path),
    };
    return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
