// SPDX-License-Identifier: MIT
// Enters: how often two generations tried and failed. Leaves: that core/canary.c tells worse from unlucky.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "canary.h"

static bool worse(uint64_t failed, uint64_t tried, uint64_t failed_before, uint64_t tried_before)
{
    struct rx_counts old = { { 0 }, { 0 } }, trial = { { 0 }, { 0 } };
    char why[200] = "";
    old.tried[RX_MEASURE_CONNECT] = tried_before, old.failed[RX_MEASURE_CONNECT] = failed_before;
    trial.tried[RX_MEASURE_CONNECT] = tried, trial.failed[RX_MEASURE_CONNECT] = failed;
    bool is_worse = rx_canary_is_worse(&old, &trial, why, sizeof why);
    assert_int_equal(is_worse, strlen(why) > 0);
    return is_worse;
}

static void failures_that_only_the_trial_has_are_enough_when_they_are_few(void **state)
{
    (void)state;
    assert_false(worse(2, 2, 0, 1000));
    assert_true(worse(3, 3, 0, 97));   // 5% of the share would draw all three: one in eight thousand
    assert_false(worse(3, 6, 0, 6));   // half of the share: one in eight
    assert_true(worse(12, 12, 0, 12)); // one in millions
}

static void what_both_have_is_no_reason(void **state)
{
    (void)state;
    assert_false(worse(50, 50, 950, 950));
    assert_false(worse(5, 50, 95, 950));
    assert_false(worse(9, 50, 95, 950));
    assert_false(worse(0, 50, 950, 950));
}

static void a_real_but_tiny_difference_is_no_reason(void **state)
{
    (void)state;
    assert_false(worse(1500, 100000, 0, 100000));
    assert_true(worse(2500, 100000, 0, 100000));
}

static void nothing_is_told_where_there_is_nothing_to_compare(void **state)
{
    (void)state;
    assert_false(worse(0, 0, 0, 0));
    assert_false(worse(100, 100, 0, 0));
    assert_false(worse(0, 0, 100, 100));
    assert_false(worse(5, 0, 0, 100)); // failed before they were counted as tried
}

static void large_counts_neither_overflow_nor_take_long(void **state)
{
    (void)state;
    uint64_t million = 1000 * 1000;
    assert_false(worse(50 * million, 500 * million, 1000 * million, 10000 * million));
    assert_true(worse(100 * million, 500 * million, 1000 * million, 10000 * million));
    assert_true(worse(500 * million, 500 * million, 0, 10000 * million));
}

static void chance_is_exact_at_the_border(void **state)
{
    (void)state;
    // All of x failures on the trial, of n with as many before: p = C(n,x) C(n,0) / C(2n,x). n = 20: x = 9 gives
    // 0.00061, x = 10 gives 0.00022.
    assert_false(worse(9, 20, 0, 20));
    assert_true(worse(10, 20, 0, 20));
}

static void each_measure_is_named(void **state)
{
    (void)state;
    static const char *const words[] = { "script errors", "connections no route took", "failed connects" };
    for (int m = 0; m < RX_MEASURES; m++) {
        struct rx_counts old = { { 0 }, { 0 } }, trial = { { 0 }, { 0 } };
        char why[200];
        old.tried[m] = 900;
        trial.tried[m] = trial.failed[m] = 100;
        assert_true(rx_canary_is_worse(&old, &trial, why, sizeof why));
        assert_non_null(strstr(why, words[m]));
        assert_non_null(strstr(why, "100 of 100, and 0 of 900"));
    }
}

static void tallies_of_workers_are_summed(void **state)
{
    (void)state;
    struct rx_counts sum = { { 0 }, { 0 } };
    struct rx_tally t = { .tried = { 1, 2, 3 }, .failed = { 4, 5, 6 } };
    rx_counts_add(&sum, &t);
    rx_counts_add(&sum, &t);
    assert_int_equal(sum.tried[2], 6);
    assert_int_equal(sum.failed[1], 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_that_only_the_trial_has_are_enough_when_they_are_few),
        cmocka_unit_test(what_both_have_is_no_reason),
        cmocka_unit_test(a_real_but_tiny_difference_is_no_reason),
        cmocka_unit_test(nothing_is_told_where_there_is_nothing_to_compare),
        cmocka_unit_test(large_counts_neither_overflow_nor_take_long),
        cmocka_unit_test(chance_is_exact_at_the_border),
        cmocka_unit_test(each_measure_is_named),
        cmocka_unit_test(tallies_of_workers_are_summed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
