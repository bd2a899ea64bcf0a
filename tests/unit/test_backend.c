// SPDX-License-Identifier: MIT
// Enters: what became of connections to a backend, and a clock. Leaves: that core/backend.c ejects after so many
// failures in a row, for longer each time, lets one connection probe, counts places exactly, and keeps one state for
// each address and way of checking.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>

#include "athome.h"
#include "backend.h"

static struct rx_addr addr_of(unsigned port)
{
    struct rx_addr a = { .v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) } };
    a.len = sizeof a.v4;
    a.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static struct rx_backend_state *fresh(unsigned port)
{
    struct rx_addr a = addr_of(port);
    return rx_backend_state_get(&rx_test_home()->backends, &a, NULL, "one");
}

static const struct rx_eject_rule rule = { 3, 1000 };

// `dice` of 100 is no jitter for a rest of a second: 1000 - 100 + 100.
static void fails(struct rx_backend_state *s, uint64_t now_ms)
{
    rx_backend_failed(s, &rule, false, ECONNREFUSED, now_ms, 100);
}

static void failures_in_a_row_eject_and_a_success_between_does_not_count(void **state)
{
    (void)state;
    struct rx_backend_state *s = fresh(1);
    fails(s, 10);
    fails(s, 20);
    assert_true(rx_backend_is_usable(s, 20));
    rx_backend_connected(s, 25);
    fails(s, 30);
    fails(s, 40);
    assert_true(rx_backend_is_usable(s, 40));
    fails(s, 50);
    assert_false(rx_backend_is_usable(s, 50));
    assert_false(rx_backend_is_usable(s, 1049));
    assert_true(rx_backend_is_usable(s, 1050));
    assert_true(rx_backend_is_last_resort(s));
    assert_int_equal(s->refused, 5);
    assert_int_equal(s->ejected, 1);
    rx_backend_state_put(s);
}

static void one_connection_probes_when_the_rest_is_over(void **state)
{
    (void)state;
    struct rx_backend_state *s = fresh(2);
    for (int i = 0; i < 3; i++)
        fails(s, 0);
    assert_int_equal(rx_backend_take(s, 0, 500), RX_TAKEN); // somebody's last resort
    assert_int_equal(rx_backend_take(s, 0, 1000), RX_TAKEN_PROBE);
    assert_false(rx_backend_is_usable(s, 1000)); // for the others
    rx_backend_failed(s, &rule, true, ECONNREFUSED, 1000, 0);
    assert_int_equal(s->ejected, 1); // still the same
    assert_false(rx_backend_is_usable(s, 1000 + 1799));
    assert_true(rx_backend_is_usable(s, 1000 + 1800)); // twice a second, less a tenth
    assert_int_equal(rx_backend_take(s, 0, 3000), RX_TAKEN_PROBE);
    rx_backend_connected(s, 3000);
    assert_true(rx_backend_is_usable(s, 3000));
    assert_int_equal(s->warm_since_ms, 3000);
    assert_int_equal(rx_backend_take(s, 0, 3000), RX_TAKEN);
    for (int i = 0; i < 4; i++)
        rx_backend_leave(s);
    assert_int_equal(s->active, 0);
    rx_backend_state_put(s);
}

static void a_probe_that_comes_to_nothing_is_followed_by_another(void **state)
{
    (void)state;
    struct rx_backend_state *s = fresh(3);
    for (int i = 0; i < 3; i++)
        fails(s, 0);
    assert_int_equal(rx_backend_take(s, 0, 1000), RX_TAKEN_PROBE);
    rx_backend_leave(s); // its client left
    assert_false(rx_backend_is_usable(s, 1500));
    assert_int_equal(rx_backend_take(s, 0, 2000), RX_TAKEN_PROBE);
    rx_backend_leave(s);
    rx_backend_state_put(s);
}

static void rests_double_up_to_a_minute_and_begin_anew_after_peace(void **state)
{
    (void)state;
    struct rx_backend_state *s = fresh(4);
    uint64_t now = 0;
    for (int i = 0; i < 3; i++)
        fails(s, now);
    static const uint64_t rests[] = { 1, 2, 4, 8, 16, 32, 60, 60 };
    for (unsigned i = 0; i < RX_COUNT(rests); i++) {
        uint64_t rest = s->rests_until_ms - now;
        assert_in_range(rest, rests[i] * 900, rests[i] * 1100);
        now += rest;
        assert_int_equal(rx_backend_take(s, 0, now), RX_TAKEN_PROBE);
        rx_backend_leave(s);
        rx_backend_failed(s, &rule, true, ECONNREFUSED, now, 100);
    }
    rx_backend_came_back(s, now);
    now += 59 * 1000;
    for (int i = 0; i < 3; i++)
        fails(s, now);
    assert_in_range(s->rests_until_ms - now, 54000, 66000); // no peace in between
    rx_backend_came_back(s, now);
    now += 61 * 1000;
    for (int i = 0; i < 3; i++)
        fails(s, now);
    assert_in_range(s->rests_until_ms - now, 900, 1100);
    rx_backend_state_put(s);
}

static void what_is_our_own_trouble_ejects_nobody(void **state)
{
    (void)state;
    static const int ours[] = { EADDRNOTAVAIL, ENOBUFS, ENOMEM, EAGAIN };
    struct rx_backend_state *s = fresh(5);
    for (unsigned i = 0; i < 20; i++)
        rx_backend_failed(s, &rule, false, ours[i % 4], 0, 0);
    assert_true(rx_backend_is_usable(s, 0));
    for (unsigned i = 0; i < 20; i++)
        rx_backend_failed(s, &(struct rx_eject_rule){ 0, 1000 }, false, ECONNREFUSED, 0, 0);
    assert_true(rx_backend_is_usable(s, 0));
    rx_backend_state_put(s);
}

static void one_state_for_each_address_and_way_of_checking(void **state)
{
    (void)state;
    struct rx_addr a = addr_of(6);
    struct rx_backend_state *x = rx_backend_state_get(&rx_test_home()->backends, &a, NULL, "x"), *y = rx_backend_state_get(&rx_test_home()->backends, &a, "http /", "y");
    assert_ptr_not_equal(x, y);
    assert_ptr_equal(x, rx_backend_state_get(&rx_test_home()->backends, &a, "", "z"));
    rx_backend_set_health(y, RX_HEALTH_DOWN, 5);
    assert_true(rx_backend_is_usable(x, 5));
    assert_false(rx_backend_is_usable(y, 5));
    rx_backend_set_health(y, RX_HEALTH_UP, 9);
    assert_true(rx_backend_is_usable(y, 9));
    assert_int_equal(y->warm_since_ms, 9);
    assert_int_equal(rx_backend_drain(&rx_test_home()->backends, "127.0.0.1:6", true, 0), 2);
    assert_false(rx_backend_is_usable(x, 9) || rx_backend_is_usable(y, 9) || rx_backend_is_last_resort(x));
    assert_int_equal(rx_backend_drain(&rx_test_home()->backends, "y", false, 12), 1);
    assert_true(rx_backend_is_usable(y, 12));
    assert_int_equal(rx_backend_drain(&rx_test_home()->backends, "nobody", true, 0), 0);
    rx_backend_state_put(x);
    rx_backend_state_put(x);
    rx_backend_state_put(y);
}

// ---- threads ------------------------------------------------------------------------------------------------------

enum { THREADS = 4, ROUNDS = 20000, MOST = 3 };

static struct rx_backend_state *crowded;
static atomic_uint inside, peak, n_taken, n_probes;

static void *crowd(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (rx_backend_take(crowded, MOST, 10) == RX_TAKEN_NOT)
            continue;
        unsigned now = atomic_fetch_add(&inside, 1) + 1, was = atomic_load(&peak);
        while (now > was && !atomic_compare_exchange_weak(&peak, &was, now))
            continue;
        atomic_fetch_add(&n_taken, 1);
        atomic_fetch_sub(&inside, 1);
        rx_backend_leave(crowded);
    }
    return NULL;
}

static void *probe(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 1000; i++) {
        enum rx_taken taken = rx_backend_take(crowded, 0, 5000);
        atomic_fetch_add(&n_probes, taken == RX_TAKEN_PROBE);
        if (taken != RX_TAKEN_NOT)
            rx_backend_leave(crowded);
    }
    return NULL;
}

static void in_threads(void *(*fn)(void *))
{
    pthread_t thread[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, fn, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
}

static void a_crowd_never_takes_more_places_than_there_are(void **state)
{
    (void)state;
    crowded = fresh(7);
    in_threads(crowd);
    assert_true(n_taken > 0);
    assert_in_range(peak, 1, MOST);
    assert_int_equal(crowded->active, 0);
    rx_backend_state_put(crowded);
}

static void of_a_crowd_one_probes(void **state)
{
    (void)state;
    crowded = fresh(8);
    for (int i = 0; i < 3; i++)
        fails(crowded, 1000);
    in_threads(probe);
    assert_int_equal(n_probes, 1);
    assert_int_equal(crowded->active, 0);
    rx_backend_state_put(crowded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_in_a_row_eject_and_a_success_between_does_not_count),
        cmocka_unit_test(one_connection_probes_when_the_rest_is_over),
        cmocka_unit_test(a_probe_that_comes_to_nothing_is_followed_by_another),
        cmocka_unit_test(rests_double_up_to_a_minute_and_begin_anew_after_peace),
        cmocka_unit_test(what_is_our_own_trouble_ejects_nobody),
        cmocka_unit_test(one_state_for_each_address_and_way_of_checking),
        cmocka_unit_test(a_crowd_never_takes_more_places_than_there_are),
        cmocka_unit_test(of_a_crowd_one_probes),
    };
    return cmocka_run_group_tests_name("backend", tests, NULL, NULL);
}
