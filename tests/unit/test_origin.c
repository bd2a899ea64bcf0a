// SPDX-License-Identifier: MIT
// Enters: what a config says of addresses to connect from. Leaves: that all of them have their turn, in order, and what
// makes no sense is refused with a reason.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "origin.h"

static char why[RX_ADDR_TEXT];
static struct rx_origin list[4];
static struct rx_origins all = { .list = list };

static void add(const char *text)
{
    struct rx_origin *one = &list[all.n++];
    assert_int_equal(rx_origin_parse(text, one, why), 0);
    *(one->family == AF_INET ? &all.n_v4 : &all.n_v6) += one->n;
}

static const char *turn(int family, uint32_t n)
{
    static char text[RX_ADDR_TEXT];
    union rx_ip ip;
    rx_origins_pick(&all, family, n, &ip);
    assert_int_equal(rx_addr_port(&ip.sa), 0);
    return rx_addr_print_host(&ip.sa, text);
}

static void each_has_its_turn_among_those_of_its_family(void **state)
{
    (void)state;
    static const char *const v4[] = { "10.0.0.1", "10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1" };
    all.n = all.n_v4 = all.n_v6 = 0;
    add("10.0.0.1");
    add("2001:db8::fffe-2001:db8::1:1");
    add("10.0.0.254-10.0.1.1");
    assert_int_equal(rx_origins_count(&all, AF_INET), 5);
    assert_int_equal(rx_origins_count(&all, AF_INET6), 4);
    assert_int_equal(rx_origins_count(&all, AF_UNIX), 0);
    for (uint32_t i = 0; i < 15; i++)
        assert_string_equal(turn(AF_INET, i), v4[i % 5]);
    assert_string_equal(turn(AF_INET, UINT32_MAX), v4[UINT32_MAX % 5]);
    assert_string_equal(turn(AF_INET6, 1), "2001:db8::ffff");
    assert_string_equal(turn(AF_INET6, 2), "2001:db8::1:0");
}

static void a_block_is_all_of_it_up_to_65536(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t n;
    } blocks[] = { { "10.0.0.0/30", 4 },  { "10.0.0.0/16", 65536 }, { "10.0.0.0/8", 65536 },
                   { "::1", 1 },          { "2001:db8::/112", 65536 }, { "2001:db8::/64", 65536 },
                   { "10.0.0.0-10.0.255.255", 65536 } };
    struct rx_origin one;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        assert_int_equal(rx_origin_parse(blocks[i].text, &one, why), 0);
        assert_int_equal(one.n, blocks[i].n);
    }
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",        "-",          "10.0.0.1-",           "-10.0.0.1",
                                         "x",       "10.0.0.2-1", "10.0.0.2-10.0.0.1",   "10.0.0.1-::1",
                                         "10.0.0.0-10.1.0.0", "10.0.0.0/28-10.0.0.99", "10.0.0.1-10.0.0.0/28",
                                         "2001:db8::1-2001:db8:0:0:0:1::1", "10.0.0.1-10.0.0.2-10.0.0.3" };
    struct rx_origin one;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        why[0] = 0;
        assert_int_equal(rx_origin_parse(wrong[i], &one, why), -1);
        assert_true(why[0] != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_has_its_turn_among_those_of_its_family),
        cmocka_unit_test(a_block_is_all_of_it_up_to_65536),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
