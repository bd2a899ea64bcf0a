// SPDX-License-Identifier: MIT
// Enters: generations with routes. Leaves: that core/served.c finds the same counts by name for each, keeps no more than
// it says, and adds up what workers wrote.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "athome.h"
#include "conf.h"
#include "served.h"

struct world {
    struct rx_conf conf;
    struct rx_listen listen, *listens[1];
    struct rx_known known;
    struct rx_route *routes;
    char (*names)[24];
};

static struct world *world_new(const char *listen, const char *prefix, uint32_t n)
{
    struct world *w = calloc(1, sizeof *w);
    w->routes = calloc(n, sizeof *w->routes);
    w->names = calloc(n, sizeof *w->names);
    w->known.name = "tls";
    for (uint32_t i = 0; i < n; i++) {
        snprintf(w->names[i], sizeof w->names[i], "%s%u", prefix, i);
        w->routes[i].name = w->names[i];
        w->routes[i].proto = &w->known;
    }
    w->listen.name = listen;
    w->listen.routes = w->routes;
    w->listen.n_routes = n;
    w->listens[0] = &w->listen;
    w->conf.home = rx_test_home();
    w->conf.listens = w->listens;
    w->conf.n_listens = 1;
    assert_int_equal(rx_served_attach(&w->conf, 3), 0);
    return w;
}

static void world_free(struct world *w)
{
    rx_served_detach(&w->conf);
    free(w->routes);
    free(w->names);
    free(w);
}

static void count_one(const struct rx_served *t, void *data)
{
    (void)t;
    ++*(unsigned *)data;
}

static unsigned count(void)
{
    unsigned n = 0;
    rx_served_each(&rx_test_home()->serveds, count_one, &n);
    return n;
}

static void counts_follow_the_name_from_one_generation_to_the_next(void **state)
{
    (void)state;
    struct world *old = world_new("a:1", "r", 3);
    rx_cell_add(&old->routes[1].served->cells[2].opened, 5);
    rx_cell_add(&old->routes[1].served->cells[2].closed[RX_REASON_DONE], 3);
    struct world *new = world_new("a:1", "r", 2), *other = world_new("b:1", "r", 2);
    assert_ptr_equal(old->routes[1].served, new->routes[1].served);
    assert_ptr_equal(old->listen.served, new->listen.served);
    assert_ptr_not_equal(old->routes[1].served, other->routes[1].served);
    assert_int_equal(count(), 4 + 3);
    world_free(old);
    assert_int_equal(count(), 3 + 3);
    struct rx_served_sum s = rx_served_sum(new->routes[1].served);
    assert_int_equal(s.active, 2);
    assert_int_equal(s.closed[RX_REASON_DONE], 3);
    world_free(new);
    world_free(other);
    assert_int_equal(count(), 0);
}

static void routes_of_one_name_share_their_counts(void **state)
{
    (void)state;
    struct world *w = world_new("a:1", "r", 2);
    rx_served_detach(&w->conf);
    w->routes[1].name = w->routes[0].name;
    assert_int_equal(rx_served_attach(&w->conf, 3), 0);
    assert_ptr_equal(w->routes[0].served, w->routes[1].served);
    world_free(w);
    assert_int_equal(count(), 0);
}

static void sums_are_over_all_workers_and_never_below_zero(void **state)
{
    (void)state;
    struct world *w = world_new("a:1", "r", 1);
    struct rx_served *t = w->listen.served;
    for (int i = 0; i < 3; i++) {
        rx_cell_add(&t->cells[i].opened, 10);
        rx_cell_add(&t->cells[i].moved, 2);
        rx_cell_add(&t->cells[i].closed[RX_REASON_BANNED], 1);
        rx_cell_add(&t->cells[i].bytes[1], 100);
    }
    struct rx_served_sum s = rx_served_sum(t);
    assert_int_equal(s.active, 21);
    assert_int_equal(s.closed[RX_REASON_BANNED], 3);
    assert_int_equal(s.bytes[1], 300);
    rx_cell_add(&t->cells[0].moved, 1000);
    assert_int_equal(rx_served_sum(t).active, 0);
    world_free(w);
}

static void routes_beyond_the_bound_share_one(void **state)
{
    (void)state;
    struct world *w = world_new("a:1", "name-", RX_SERVED_ROUTES + 5000);
    assert_int_equal(count(), 1 + RX_SERVED_ROUTES + 1);
    assert_string_equal(w->routes[RX_SERVED_ROUTES].served->route, RX_SERVED_OTHERS);
    assert_ptr_equal(w->routes[RX_SERVED_ROUTES].served, w->routes[RX_SERVED_ROUTES + 4999].served);
    world_free(w);
    assert_int_equal(count(), 0);
}

static void times_fall_into_the_bucket_that_holds_them(void **state)
{
    (void)state;
    struct rx_histogram h = { 0 };
    rx_histogram_add(&h, 0);
    rx_histogram_add(&h, 5);
    rx_histogram_add(&h, 6);
    rx_histogram_add(&h, UINT32_MAX);
    assert_int_equal(h.buckets[0], 2);
    assert_int_equal(h.buckets[1], 1);
    assert_int_equal(h.buckets[RX_HISTOGRAM_BUCKETS - 1], 1);
    assert_int_equal(h.sum_ms, 11ul + UINT32_MAX);
    for (int i = 1; i < RX_HISTOGRAM_BUCKETS - 1; i++)
        assert_true(rx_histogram_bounds_ms[i] > rx_histogram_bounds_ms[i - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_follow_the_name_from_one_generation_to_the_next),
        cmocka_unit_test(routes_of_one_name_share_their_counts),
        cmocka_unit_test(sums_are_over_all_workers_and_never_below_zero),
        cmocka_unit_test(routes_beyond_the_bound_share_one),
        cmocka_unit_test(times_fall_into_the_bucket_that_holds_them),
    };
    return cmocka_run_group_tests_name("served", tests, NULL, NULL);
}
