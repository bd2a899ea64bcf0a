// SPDX-License-Identifier: MIT
// Enters: events at moments the tests choose. Leaves: that core/rate.c lets so many through and no more, over any time,
// and that its table forgets in the client's favour only.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "rate.h"

#define MS 1000000ull
#define S (1000 * MS)

static union rx_ip numbered(uint32_t k)
{
    return (union rx_ip){ .v4 = { .sin_family = AF_INET, .sin_addr = { htonl(0x0a000000 + k) } } };
}

// How many of `tries` at one moment are let through.
static unsigned at_once(struct rx_rates *t, uint32_t who, const struct rx_rate *r, unsigned tries, uint64_t now)
{
    union rx_ip ip = numbered(who);
    unsigned n = 0;
    while (tries--)
        n += rx_rates_take(t, &ip, 64, r, now);
    return n;
}

static void a_client_may_come_in_a_burst_and_then_at_its_rate(void **state)
{
    (void)state;
    struct rx_rates *t = rx_rates_new();
    struct rx_rate r = rx_rate_of(50, 1000, 0);
    assert_int_equal(at_once(t, 1, &r, 1000, 100 * S), 50);
    assert_int_equal(at_once(t, 1, &r, 1000, 100 * S + 19 * MS), 0);
    assert_int_equal(at_once(t, 1, &r, 1000, 100 * S + 20 * MS), 1);
    assert_int_equal(at_once(t, 1, &r, 1000, 100 * S + 220 * MS), 10);
    assert_int_equal(at_once(t, 2, &r, 1000, 100 * S + 220 * MS), 50); // another is not concerned
    assert_int_equal(at_once(t, 1, &r, 1000, 200 * S), 50);
    rx_rates_free(t);
}

static void who_is_refused_pays_nothing(void **state)
{
    (void)state;
    struct rx_rates *t = rx_rates_new();
    struct rx_rate r = rx_rate_of(10, 1000, 1);
    unsigned n = 0;
    for (uint64_t ms = 0; ms < 10000; ms++)
        n += at_once(t, 1, &r, 3, S + ms * MS);
    assert_int_equal(n, 100); // ten seconds of ten a second, however often it tries
    rx_rates_free(t);
}

static void over_any_rate_and_time_no_more_come_than_burst_and_rate_allow(void **state)
{
    (void)state;
    static const struct { uint32_t count, per_ms, burst; } rates[] = {
        { 1, 1000, 0 }, { 50, 1000, 0 }, { 50, 1000, 7 }, { 3, 60000, 0 }, { 10, 3600000, 2 }, { 20000, 1000, 100 },
    };
    for (unsigned i = 0; i < RX_COUNT(rates); i++) {
        struct rx_rates *t = rx_rates_new();
        struct rx_rate r = rx_rate_of(rates[i].count, rates[i].per_ms, rates[i].burst);
        uint64_t span = 20ull * rates[i].per_ms * MS, now = 5 * S, step = span / 40000;
        unsigned burst = rates[i].burst ? rates[i].burst : rates[i].count, n = 0;
        for (uint64_t at = 0; at < span; at += step)
            n += at_once(t, 9, &r, 2 + burst, now + at);
        double most = burst + 20.0 * rates[i].count;
        assert_in_range(n, (unsigned)(most * 0.99) - 1, (unsigned)(most * 1.01) + 1);
        rx_rates_free(t);
    }
}

static void ipv6_clients_share_their_prefix_and_unix_clients_have_none(void **state)
{
    (void)state;
    struct rx_rates *t = rx_rates_new();
    struct rx_rate r = rx_rate_of(1, 1000, 0);
    union rx_ip a = { .v6 = { .sin6_family = AF_INET6, .sin6_addr = { .s6_addr = { 0x20, 1, [15] = 1 } } } }, b = a, c = a;
    b.v6.sin6_addr.s6_addr[15] = 2;
    c.v6.sin6_addr.s6_addr[7] = 1;
    assert_true(rx_rates_take(t, &a, 64, &r, S));
    assert_false(rx_rates_take(t, &b, 64, &r, S));
    assert_true(rx_rates_take(t, &c, 64, &r, S));
    assert_true(rx_rates_take(t, &b, 128, &r, S));
    const union rx_ip none = { .sa = { .sa_family = AF_UNSPEC } };
    for (int i = 0; i < 10; i++)
        assert_true(rx_rates_take(t, &none, 64, &r, S));
    rx_rates_free(t);
}

static void a_slower_rate_of_a_reload_holds_at_once_and_a_faster_one_too(void **state)
{
    (void)state;
    struct rx_rates *t = rx_rates_new();
    struct rx_rate slow = rx_rate_of(1, 1000, 0), fast = rx_rate_of(100, 1000, 0);
    assert_int_equal(at_once(t, 1, &slow, 10, S), 1);
    assert_true(at_once(t, 1, &fast, 1000, S + MS) <= 100);
    assert_true(at_once(t, 1, &fast, 1000, 2 * S) >= 99);
    struct rx_rate rare = rx_rate_of(5, 3600000, 0);
    assert_int_equal(at_once(t, 2, &rare, 10, S), 5);
    assert_int_equal(at_once(t, 2, &rare, 10, 2 * S), 0);
    assert_int_equal(at_once(t, 2, &fast, 1000, 2 * S), 100);
    struct rx_meter m = { 0 };
    for (int i = 0; i < 5; i++)
        assert_true(rx_meter_take(&m, &rare, S));
    assert_false(rx_meter_take(&m, &rare, S));
    assert_true(rx_meter_take(&m, &fast, S));
    rx_rates_free(t);
}

static void the_clock_going_round_stops_nobody(void **state)
{
    (void)state;
    struct rx_rates *t = rx_rates_new();
    struct rx_rate r = rx_rate_of(50, 1000, 0);
    const uint64_t round = 1ull << 46; // 2^40 ticks of 64 ns
    for (uint64_t at = round - 3 * S; at < round + 3 * S; at += 100 * MS)
        assert_true(at_once(t, 1, &r, 5, at) == 5);
    assert_int_equal(at_once(t, 2, &r, 100, round * 2 - 10 * MS), 50);
    assert_int_equal(at_once(t, 2, &r, 100, round * 2 + 30 * MS), 2);
    assert_int_equal(at_once(t, 2, &r, 100, round * 2 + 12 * 3600 * S), 50); // idle for half a round
    rx_rates_free(t);
}

static void a_crowd_of_a_million_is_let_in_and_those_used_up_are_remembered_the_longest(void **state)
{
    (void)state;
    struct rx_rates *t = rx_rates_new();
    struct rx_rate r = rx_rate_of(10, 60000, 0);
    assert_int_equal(at_once(t, 0xabcdef, &r, 100, S), 10);
    for (uint32_t k = 0; k < 1000000; k++) // one each, in one minute: 16 times as many as there are words
        assert_int_equal(at_once(t, k, &r, 1, S + k * 60000ull), 1);
    assert_true(at_once(t, 0xabcdef, &r, 100, S + 5 * MS) <= 10);
    rx_rates_free(t);
    t = rx_rates_new();
    assert_int_equal(at_once(t, 0xabcdef, &r, 100, S), 10);
    for (uint32_t k = 0; k < 20000; k++) // a crowd that fits
        assert_int_equal(at_once(t, k, &r, 1, S), 1);
    assert_int_equal(at_once(t, 0xabcdef, &r, 100, S + MS), 0);
    rx_rates_free(t);
}

struct crowd {
    struct rx_rates *rates;
    struct rx_meter *meter;
    struct rx_rate rate;
    atomic_uint one, all;
    atomic_ulong bytes;
};

static void *hammer(void *arg)
{
    struct crowd *c = arg;
    union rx_ip ip = numbered(7);
    for (int i = 0; i < 100000; i++) {
        uint64_t now = S + (uint64_t)i * 10000;
        atomic_fetch_add(&c->one, rx_rates_take(c->rates, &ip, 64, &c->rate, now));
        atomic_fetch_add(&c->all, rx_meter_take(c->meter, &c->rate, now));
        atomic_fetch_add(&c->bytes, rx_meter_draw(&c->meter[1], 1000000, 100 * MS, 1500, now));
    }
    return NULL;
}

static void threads_share_one_rate(void **state)
{
    (void)state;
    struct rx_meter meter[2] = { 0 };
    struct crowd c = { .rates = rx_rates_new(), .meter = meter, .rate = rx_rate_of(1000, 1000, 10) };
    union rx_ip ip = numbered(7);
    assert_true(rx_rates_take(c.rates, &ip, 64, &c.rate, S));
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer, &c), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    // One second of 1000 with ten ahead. Threads see different moments: the furthest one counts.
    assert_in_range(c.one, 900, 1011);
    assert_in_range(c.all, 900, 1011);
    assert_in_range(c.bytes, 900000, 1101500);
    rx_rates_free(c.rates);
}

static void bytes_are_drawn_at_the_rate_and_what_is_not_used_returns(void **state)
{
    (void)state;
    struct rx_meter m = { 0 };
    uint64_t sum = 0;
    assert_int_equal(rx_meter_draw(&m, 1000000, 100 * MS, 1 << 20, S), 100000); // the depth
    assert_int_equal(rx_meter_draw(&m, 1000000, 100 * MS, 1 << 20, S), 0);
    assert_int_equal(rx_meter_wait_ns(&m, 1000000, 100 * MS, 50000, S), 50 * MS);
    rx_meter_return(&m, 1000000, 40000);
    assert_int_equal(rx_meter_draw(&m, 1000000, 100 * MS, 1 << 20, S), 40000);
    assert_int_equal(rx_meter_draw(&m, 1000000, 100 * MS, 1 << 20, S + 50 * MS), 50000);
    assert_int_equal(rx_meter_wait_ns(&m, 1000000, 100 * MS, 1, S + 200 * MS), 0);
    for (uint64_t at = 10 * S; at < 20 * S; at += 4 * MS)
        sum += rx_meter_draw(&m, 1234567, 100 * MS, 700, at) + rx_meter_draw(&m, 1234567, 100 * MS, 65536, at);
    assert_in_range(sum, 12345670, 12345670 + 123456 + 700);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_may_come_in_a_burst_and_then_at_its_rate),
        cmocka_unit_test(who_is_refused_pays_nothing),
        cmocka_unit_test(over_any_rate_and_time_no_more_come_than_burst_and_rate_allow),
        cmocka_unit_test(ipv6_clients_share_their_prefix_and_unix_clients_have_none),
        cmocka_unit_test(a_slower_rate_of_a_reload_holds_at_once_and_a_faster_one_too),
        cmocka_unit_test(the_clock_going_round_stops_nobody),
        cmocka_unit_test(a_crowd_of_a_million_is_let_in_and_those_used_up_are_remembered_the_longest),
        cmocka_unit_test(threads_share_one_rate),
        cmocka_unit_test(bytes_are_drawn_at_the_rate_and_what_is_not_used_returns),
    };
    return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
