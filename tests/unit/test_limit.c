// SPDX-License-Identifier: MIT
// Enters: connections of many addresses coming and going. Leaves: that core/limit.c counts each address on its own,
// forgets none and keeps none, also when threads meet.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "athome.h"
#include "limit.h"

static union rx_ip ip_of(const char *text)
{
    char why[RX_ADDR_TEXT];
    union rx_ip ip;
    assert_int_equal(rx_ip_parse(text, &ip, why), 0);
    return ip;
}

// Where each address is counted, the last first.
static struct {
    char ip[64];
    uint32_t place;
} places[64];
static unsigned n_places;

static bool take(struct rx_limit *l, const char *ip)
{
    union rx_ip a = ip_of(ip);
    uint32_t place;
    if (!rx_limit_take(l, &a, &place))
        return false;
    assert_true(place && n_places < 64);
    snprintf(places[n_places].ip, sizeof places[0].ip, "%s", ip);
    places[n_places++].place = place;
    return true;
}

static void give(struct rx_limit *l, const char *ip)
{
    for (unsigned i = n_places; i-- > 0;)
        if (!strcmp(places[i].ip, ip)) {
            rx_limit_give(l, places[i].place);
            places[i] = places[--n_places];
            return;
        }
    fail_msg("%s is nowhere", ip);
}

static int forget_places(void **state)
{
    (void)state;
    n_places = 0;
    return 0;
}

static void an_address_gets_so_many_places_and_no_more(void **state)
{
    (void)state;
    struct rx_limit *l = rx_limit_new(2, 64);
    assert_true(take(l, "192.0.2.1") && take(l, "192.0.2.1:5"));
    assert_false(take(l, "192.0.2.1"));
    assert_true(take(l, "192.0.2.2")); // another is not concerned
    rx_limit_free(l);
}

static void a_refused_place_is_not_counted_and_a_returned_one_is_free(void **state)
{
    (void)state;
    struct rx_limit *l = rx_limit_new(1, 64);
    assert_true(take(l, "192.0.2.1"));
    for (int i = 0; i < 50; i++)
        assert_false(take(l, "192.0.2.1"));
    give(l, "192.0.2.1");
    assert_true(take(l, "192.0.2.1"));
    assert_false(take(l, "192.0.2.1"));
    rx_limit_free(l);
}

static void a_client_that_is_counted_nowhere_gives_nothing_back(void **state)
{
    (void)state;
    struct rx_limit *l = rx_limit_new(1, 64);
    rx_limit_give(l, 0);
    assert_true(take(l, "192.0.2.1"));
    rx_limit_give(l, 0);
    assert_false(take(l, "192.0.2.1"));
    rx_limit_free(l);
}

static void ipv6_clients_share_their_prefix(void **state)
{
    (void)state;
    struct rx_limit *l = rx_limit_new(1, 64);
    assert_true(take(l, "2001:db8:0:1::1"));
    assert_false(take(l, "2001:db8:0:1:ffff::9"));
    assert_true(take(l, "2001:db8:0:2::1"));
    rx_limit_free(l);
    l = rx_limit_new(1, 57);
    assert_true(take(l, "2001:db8:0:80::1"));
    assert_false(take(l, "2001:db8:0:ff::1"));
    assert_true(take(l, "2001:db8:0:7f::1"));
    rx_limit_free(l);
    l = rx_limit_new(1, 128);
    assert_true(take(l, "2001:db8::1") && take(l, "2001:db8::2"));
    rx_limit_free(l);
    l = rx_limit_new(1, 0);
    assert_true(take(l, "2001:db8::1"));
    assert_false(take(l, "fe80::1"));
    rx_limit_free(l);
}

static void the_prefix_of_ipv6_does_not_touch_ipv4(void **state)
{
    (void)state;
    struct rx_limit *l = rx_limit_new(1, 0);
    assert_true(take(l, "192.0.2.1") && take(l, "192.0.2.2"));
    rx_limit_free(l);
}

static void a_client_without_an_address_is_never_refused(void **state)
{
    (void)state;
    struct rx_limit *l = rx_limit_new(1, 64);
    union rx_ip none = { .sa = { .sa_family = AF_UNSPEC } };
    for (int i = 0; i < 10; i++) {
        uint32_t place = 1;
        assert_true(rx_limit_take(l, &none, &place));
        assert_int_equal(place, 0);
    }
    rx_limit_free(l);
}

static union rx_ip numbered(uint32_t k)
{
    return (union rx_ip){ .v4 = { .sin_family = AF_INET, .sin_addr = { htonl(0x0a000000 + k * 7) } } };
}

// Words are given up and taken by others, levels are added: beside plain counts nothing may differ.
static void random_comings_and_goings_agree_with_plain_counts(void **state)
{
    (void)state;
    enum { ADDRS = 5000, MOST = 3, STEPS = 300000 };
    static uint32_t place[ADDRS][MOST];
    static uint8_t count[ADDRS];
    struct rx_limit *l = rx_limit_new(MOST, 64);
    uint32_t seed = 1, at;
    for (int i = 0; i < STEPS; i++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t k = (seed >> 8) % ADDRS;
        bool is_coming = (seed >> 28) < (i < STEPS / 2 ? 10u : 5u); // it fills, then empties
        union rx_ip ip = numbered(k);
        if (is_coming) {
            bool is_free = count[k] < MOST;
            assert_int_equal(rx_limit_take(l, &ip, &at), is_free);
            if (is_free)
                place[k][count[k]++] = at;
        } else if (count[k]) {
            rx_limit_give(l, place[k][--count[k]]);
        }
    }
    for (uint32_t k = 0; k < ADDRS; k++) {
        union rx_ip ip = numbered(k);
        while (count[k])
            rx_limit_give(l, place[k][--count[k]]);
        for (int i = 0; i < MOST; i++)
            assert_true(rx_limit_take(l, &ip, &at));
        assert_false(rx_limit_take(l, &ip, &at));
    }
    rx_limit_free(l);
}

static void a_million_addresses_at_once_are_all_counted_in_bounded_memory(void **state)
{
    (void)state;
    enum { ADDRS = 1000000 };
    struct rx_limit *l = rx_limit_new(1, 64);
    uint32_t *place = calloc(ADDRS, sizeof *place), at;
    size_t small = rx_limit_memory(l);
    for (uint32_t k = 0; k < ADDRS; k++) {
        union rx_ip ip = numbered(k);
        assert_true(rx_limit_take(l, &ip, &place[k]));
        assert_int_not_equal(place[k], 0);
    }
    print_message("%zu bytes, %.1f for each address\n", rx_limit_memory(l), (double)rx_limit_memory(l) / ADDRS);
    assert_in_range(rx_limit_memory(l), ADDRS * 8, ADDRS * 100);
    for (uint32_t k = 0; k < ADDRS; k++) {
        union rx_ip ip = numbered(k);
        assert_false(rx_limit_take(l, &ip, &at));
    }
    size_t most = rx_limit_memory(l);
    for (uint32_t k = 0; k < ADDRS; k++)
        rx_limit_give(l, place[k]);
    for (uint32_t k = 0; k < ADDRS; k++) { // others, one after the other
        union rx_ip ip = numbered(k + ADDRS);
        assert_true(rx_limit_take(l, &ip, &at));
        rx_limit_give(l, at);
    }
    assert_int_equal(rx_limit_memory(l), most);
    assert_true(small < 1024);
    free(place);
    rx_limit_free(l);
}

static void another_limit_holds_from_then_on_and_turns_nobody_out(void **state)
{
    (void)state;
    struct rx_limit *l = rx_limit_new(3, 64);
    assert_true(take(l, "192.0.2.1") && take(l, "192.0.2.1") && take(l, "192.0.2.1"));
    rx_limit_set(l, 1);
    give(l, "192.0.2.1");
    give(l, "192.0.2.1");
    assert_false(take(l, "192.0.2.1")); // one is inside
    give(l, "192.0.2.1");
    assert_true(take(l, "192.0.2.1"));
    rx_limit_set(l, 2);
    assert_true(take(l, "192.0.2.1"));
    rx_limit_free(l);
}

static void a_listener_s_gate_is_the_same_for_every_generation(void **state)
{
    (void)state;
    struct rx_gate *a = rx_gate_get(&rx_test_home()->gates, "127.0.0.1:80", 64), *again = rx_gate_get(&rx_test_home()->gates, "127.0.0.1:80", 64);
    struct rx_gate *other = rx_gate_get(&rx_test_home()->gates, "127.0.0.1:81", 64), *prefix = rx_gate_get(&rx_test_home()->gates, "127.0.0.1:80", 56);
    assert_true(a && a == again && a != other && a != prefix && other != prefix);
    assert_true(take(a->per_ip, "192.0.2.1")); // no limit until it is set
    a->active = 7;
    rx_gate_put(a);
    assert_int_equal(again->active, 7); // still held by the other
    rx_gate_put(again);
    a = rx_gate_get(&rx_test_home()->gates, "127.0.0.1:80", 64);
    assert_int_equal(a->active, 0); // everybody had gone
    rx_gate_put(a);
    rx_gate_put(other);
    rx_gate_put(prefix);
    rx_gate_put(NULL);
}

enum { THREADS = 4, CROWD = 40, PLACES = 2 };

struct crowd {
    struct rx_limit *limit;
    atomic_uint held[CROWD], over, seed;
};

// Few addresses, so that threads meet: each holds one place at a time and counts along.
static void *come_and_go(void *arg)
{
    struct crowd *c = arg;
    uint32_t seed = atomic_fetch_add(&c->seed, 77), place;
    for (int i = 0; i < 100000; i++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t k = (seed >> 16) % CROWD;
        union rx_ip ip = numbered(k);
        if (!rx_limit_take(c->limit, &ip, &place))
            continue;
        if (atomic_fetch_add(&c->held[k], 1) >= PLACES)
            atomic_fetch_add(&c->over, 1);
        atomic_fetch_sub(&c->held[k], 1);
        rx_limit_give(c->limit, place);
    }
    return NULL;
}

static void threads_never_hold_more_than_the_limit_together(void **state)
{
    (void)state;
    struct crowd c = { .limit = rx_limit_new(PLACES, 64) };
    pthread_t t[THREADS];
    uint32_t place;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, come_and_go, &c), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(c.over, 0);
    for (uint32_t k = 0; k < CROWD; k++) { // and none is counted for ever
        union rx_ip ip = numbered(k);
        for (int i = 0; i < PLACES; i++)
            assert_true(rx_limit_take(c.limit, &ip, &place));
        assert_false(rx_limit_take(c.limit, &ip, &place));
    }
    rx_limit_free(c.limit);
}

// Each thread fills the table with addresses of its own, so that levels are made at the same time.
static void *fill(void *arg)
{
    struct crowd *c = arg;
    uint32_t first = atomic_fetch_add(&c->seed, 1) * 20000, place;
    for (uint32_t k = first; k < first + 20000; k++) {
        union rx_ip ip = numbered(k);
        if (!rx_limit_take(c->limit, &ip, &place) || !place)
            atomic_fetch_add(&c->over, 1);
    }
    return NULL;
}

static void threads_that_fill_the_table_at_once_lose_nobody(void **state)
{
    (void)state;
    struct crowd c = { .limit = rx_limit_new(1, 64) };
    pthread_t t[THREADS];
    uint32_t place;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, fill, &c), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(c.over, 0);
    for (uint32_t k = 0; k < THREADS * 20000; k++) {
        union rx_ip ip = numbered(k);
        assert_false(rx_limit_take(c.limit, &ip, &place));
    }
    rx_limit_free(c.limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_address_gets_so_many_places_and_no_more, forget_places),
        cmocka_unit_test_setup(a_refused_place_is_not_counted_and_a_returned_one_is_free, forget_places),
        cmocka_unit_test_setup(a_client_that_is_counted_nowhere_gives_nothing_back, forget_places),
        cmocka_unit_test_setup(ipv6_clients_share_their_prefix, forget_places),
        cmocka_unit_test_setup(the_prefix_of_ipv6_does_not_touch_ipv4, forget_places),
        cmocka_unit_test_setup(a_client_without_an_address_is_never_refused, forget_places),
        cmocka_unit_test_setup(random_comings_and_goings_agree_with_plain_counts, forget_places),
        cmocka_unit_test_setup(another_limit_holds_from_then_on_and_turns_nobody_out, forget_places),
        cmocka_unit_test_setup(a_listener_s_gate_is_the_same_for_every_generation, forget_places),
        cmocka_unit_test_setup(a_million_addresses_at_once_are_all_counted_in_bounded_memory, forget_places),
        cmocka_unit_test_setup(threads_that_fill_the_table_at_once_lose_nobody, forget_places),
        cmocka_unit_test_setup(threads_never_hold_more_than_the_limit_together, forget_places),
    };
    return cmocka_run_group_tests_name("limit", tests, NULL, NULL);
}
