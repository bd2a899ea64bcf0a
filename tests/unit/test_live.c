// SPDX-License-Identifier: MIT
// Enters: names of listeners and routes, generations. Leaves: that core/live.c gives one count to what is one route.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "athome.h"
#include "live.h"

static void a_route_keeps_its_count_from_one_generation_to_the_next(void **state)
{
    (void)state;
    atomic_uint *old = rx_live_get(&rx_test_home()->lives, "0.0.0.0:80", "web", 1);
    atomic_fetch_add(old, 3);
    atomic_uint *new = rx_live_get(&rx_test_home()->lives, "0.0.0.0:80", "web", 2);
    assert_ptr_equal(old, new);
    rx_live_put(old);
    assert_int_equal(atomic_load(new), 3);
    rx_live_put(new);
}

static void who_has_left_for_good_is_forgotten(void **state)
{
    (void)state;
    atomic_uint *c = rx_live_get(&rx_test_home()->lives, "0.0.0.0:80", "web", 1);
    atomic_fetch_add(c, 3);
    rx_live_put(c);
    c = rx_live_get(&rx_test_home()->lives, "0.0.0.0:80", "web", 2);
    assert_int_equal(atomic_load(c), 0);
    rx_live_put(c);
    rx_live_put(NULL);
}

static void names_do_not_run_into_each_other(void **state)
{
    (void)state;
    static const char *const pairs[][2] = { { "a", "bc" }, { "ab", "c" }, { "a", "b" }, { "ab", "bc" }, { "", "abc" } };
    atomic_uint *list[5];
    for (int i = 0; i < 5; i++) {
        list[i] = rx_live_get(&rx_test_home()->lives, pairs[i][0], pairs[i][1], 7);
        for (int k = 0; k < i; k++)
            assert_ptr_not_equal(list[i], list[k]);
    }
    for (int i = 0; i < 5; i++)
        rx_live_put(list[i]);
}

static void routes_of_one_name_are_told_apart_by_their_order(void **state)
{
    (void)state;
    atomic_uint *a = rx_live_get(&rx_test_home()->lives, "l", "web", 1), *b = rx_live_get(&rx_test_home()->lives, "l", "web", 1);
    assert_ptr_not_equal(a, b);
    atomic_uint *c = rx_live_get(&rx_test_home()->lives, "l", "web", 2), *d = rx_live_get(&rx_test_home()->lives, "l", "web", 2), *e = rx_live_get(&rx_test_home()->lives, "l", "web", 2);
    assert_ptr_equal(a, c);
    assert_ptr_equal(b, d);
    assert_ptr_not_equal(e, c);
    assert_ptr_not_equal(e, d);
    rx_live_put(a), rx_live_put(b), rx_live_put(c), rx_live_put(d), rx_live_put(e);
}

static void thousands_share_no_cache_line(void **state)
{
    (void)state;
    enum { N = 10000 };
    static atomic_uint *list[N];
    char name[32];
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "route %d", i);
        list[i] = rx_live_get(&rx_test_home()->lives, "l", name, 1);
        assert_int_equal((uintptr_t)list[i] % 64, 0);
    }
    for (int i = 0; i < N; i++)
        rx_live_put(list[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_keeps_its_count_from_one_generation_to_the_next),
        cmocka_unit_test(who_has_left_for_good_is_forgotten),
        cmocka_unit_test(names_do_not_run_into_each_other),
        cmocka_unit_test(routes_of_one_name_are_told_apart_by_their_order),
        cmocka_unit_test(thousands_share_no_cache_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
