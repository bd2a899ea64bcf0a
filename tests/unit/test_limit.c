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

#include "limit.h"

static union rx_ip ip_of(const char *text)
{
    char why[RX_ADDR_TEXT];
    union rx_ip ip;
    assert_int_equal(rx_ip_parse(text, &ip, why), 0);
    return ip;
}

static bool take(struct rx_limit *l, const char *ip)
{
    union rx_ip a = ip_of(ip);
    return rx_limit_take(l, &a);
}

static void give(struct rx_limit *l, const char *ip)
{
    union rx_ip a = ip_of(ip);
    rx_limit_give(l, &a);
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

static void giving_back_what_was_never_taken_changes_nothing(void **state)
{
    (void)state;
    struct rx_limit *l = rx_limit_new(1, 64);
    give(l, "192.0.2.1");
    assert_true(take(l, "192.0.2.1"));
    assert_false(take(l, "192.0.2.1"));
    give(l, "192.0.2.9");
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
    for (int i = 0; i < 10; i++)
        assert_true(rx_limit_take(l, &none));
    for (int i = 0; i < 10; i++)
        rx_limit_give(l, &none);
    rx_limit_free(l);
}

// Tables grow and shrink, slots move when a neighbour goes: beside a plain array of counts nothing may differ.
static void random_comings_and_goings_agree_with_plain_counts(void **state)
{
    (void)state;
    enum { ADDRS = 5000, MOST = 3, STEPS = 300000 };
    static uint8_t count[ADDRS];
    struct rx_limit *l = rx_limit_new(MOST, 64);
    uint32_t seed = 1;
    for (int i = 0; i < STEPS; i++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t k = (seed >> 8) % ADDRS;
        bool is_coming = (seed >> 28) < (i < STEPS / 2 ? 10u : 5u); // the table fills, then empties
        union rx_ip ip = { .v4 = { .sin_family = AF_INET, .sin_addr = { htonl(0x0a000000 + k * 7) } } };
        if (is_coming) {
            bool is_free = count[k] < MOST;
            assert_int_equal(rx_limit_take(l, &ip), is_free);
            count[k] += is_free;
        } else if (count[k]) {
            rx_limit_give(l, &ip);
            count[k]--;
        }
    }
    for (uint32_t k = 0; k < ADDRS; k++) {
        union rx_ip ip = { .v4 = { .sin_family = AF_INET, .sin_addr = { htonl(0x0a000000 + k * 7) } } };
        for (; count[k]; count[k]--)
            rx_limit_give(l, &ip);
        for (int i = 0; i < MOST; i++)
            assert_true(rx_limit_take(l, &ip));
        assert_false(rx_limit_take(l, &ip));
    }
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
    struct rx_gate *a = rx_gate_get("127.0.0.1:80", 64), *again = rx_gate_get("127.0.0.1:80", 64);
    struct rx_gate *other = rx_gate_get("127.0.0.1:81", 64), *prefix = rx_gate_get("127.0.0.1:80", 56);
    assert_true(a && a == again && a != other && a != prefix && other != prefix);
    assert_true(take(a->per_ip, "192.0.2.1")); // no limit until it is set
    a->active = 7;
    rx_gate_put(a);
    assert_int_equal(again->active, 7); // still held by the other
    rx_gate_put(again);
    a = rx_gate_get("127.0.0.1:80", 64);
    assert_int_equal(a->active, 0); // everybody had gone
    rx_gate_put(a);
    rx_gate_put(other);
    rx_gate_put(prefix);
    rx_gate_put(NULL);
}

struct crowd {
    struct rx_limit *limit;
    atomic_uint *held;
    atomic_uint *over;
};

static void *come_and_go(void *arg)
{
    struct crowd *c = arg;
    union rx_ip ip = ip_of("192.0.2.1");
    for (int i = 0; i < 20000; i++) {
        if (!rx_limit_take(c->limit, &ip))
            continue;
        if (atomic_fetch_add(c->held, 1) >= 2)
            atomic_fetch_add(c->over, 1);
        atomic_fetch_sub(c->held, 1);
        rx_limit_give(c->limit, &ip);
    }
    return NULL;
}

static void threads_never_hold_more_than_the_limit_together(void **state)
{
    (void)state;
    atomic_uint held = 0, over = 0;
    struct crowd c = { rx_limit_new(2, 64), &held, &over };
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, come_and_go, &c), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(over, 0);
    assert_true(take(c.limit, "192.0.2.1") && take(c.limit, "192.0.2.1"));
    assert_false(take(c.limit, "192.0.2.1"));
    rx_limit_free(c.limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_gets_so_many_places_and_no_more),
        cmocka_unit_test(a_refused_place_is_not_counted_and_a_returned_one_is_free),
        cmocka_unit_test(giving_back_what_was_never_taken_changes_nothing),
        cmocka_unit_test(ipv6_clients_share_their_prefix),
        cmocka_unit_test(the_prefix_of_ipv6_does_not_touch_ipv4),
        cmocka_unit_test(a_client_without_an_address_is_never_refused),
        cmocka_unit_test(random_comings_and_goings_agree_with_plain_counts),
        cmocka_unit_test(another_limit_holds_from_then_on_and_turns_nobody_out),
        cmocka_unit_test(a_listener_s_gate_is_the_same_for_every_generation),
        cmocka_unit_test(threads_never_hold_more_than_the_limit_together),
    };
    return cmocka_run_group_tests_name("limit", tests, NULL, NULL);
}
