// SPDX-License-Identifier: MIT
// Enters: DNS answers, whole and cut. Leaves: that the least TTL is found, and nothing is read that is not there.
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "resolve.h"

// Two SRV records for "a.test", compressed names, TTLs 300 and 60.
static const uint8_t reply[] = "\x12\x34\x81\x80\0\1\0\2\0\0\0\0\1a\4test\0\0\x21\0\1"
                               "\xc0\x0c\0\x21\0\1\0\0\1\x2c\0\x09\0\1\0\1\0\x50\1b\0"
                               "\xc0\x0c\0\x21\0\1\0\0\0\x3c\0\x09\0\1\0\1\0\x50\1c\0";

static void the_least_ttl_is_found(void **state)
{
    (void)state;
    assert_int_equal(rx_dns_least_ttl(reply, sizeof reply - 1), 60);
}

static void a_cut_message_has_none(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof reply - 1; n++) {
        uint8_t *copy = malloc(n + 1);
        memcpy(copy, reply, n);
        assert_int_equal(rx_dns_least_ttl(copy, n), -1);
        free(copy);
    }
}

static void a_negative_ttl_is_zero(void **state)
{
    (void)state;
    uint8_t copy[sizeof reply];
    memcpy(copy, reply, sizeof reply);
    copy[12 + 8 + 4 + 6] = 0x80;
    assert_int_equal(rx_dns_least_ttl(copy, sizeof reply - 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_ttl_is_found),
        cmocka_unit_test(a_cut_message_has_none),
        cmocka_unit_test(a_negative_ttl_is_zero),
    };
    return cmocka_run_group_tests_name("resolve_ttl", tests, NULL, NULL);
}
