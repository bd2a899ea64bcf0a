// SPDX-License-Identifier: MIT
// core/udp_table.c against a plain array, with hashes of its own making and with such as a client might wish for.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "udp_table.h"

enum { MANY = 5000 };

static struct rx_udp_table table;
static struct rx_udp_node nodes[MANY];

static int set_up(void **state)
{
    (void)state;
    memset(nodes, 0, sizeof nodes);
    return rx_udp_table_init(&table);
}

static int tear_down(void **state)
{
    (void)state;
    rx_udp_table_fini(&table);
    return 0;
}

static bool has(const struct rx_udp_node *node, uint64_t hash)
{
    struct rx_udp_node *n = NULL;
    unsigned times = 0;
    while ((n = rx_udp_table_find(&table, hash, n))) {
        assert_int_equal(n->hash, hash);
        times += n == node;
    }
    assert_true(times <= 1);
    return times;
}

static union rx_ip ipv4(uint32_t host, uint16_t port)
{
    return (union rx_ip){ .v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(host), .sin_port = htons(port) } };
}

static void grows_with_what_it_holds_and_loses_nothing(void **state)
{
    (void)state;
    size_t before = table.n_buckets;
    for (uint64_t i = 0; i < MANY; i++)
        rx_udp_table_add(&table, &nodes[i], i * 0x9e3779b97f4a7c15u);
    assert_int_equal(table.n, MANY);
    assert_true(table.n_buckets > before && table.n_buckets >= MANY && table.n_buckets < 4 * MANY);
    assert_int_equal(table.n_buckets & (table.n_buckets - 1), 0);
    for (uint64_t i = 0; i < MANY; i++)
        assert_true(has(&nodes[i], i * 0x9e3779b97f4a7c15u));
}

static void equal_hashes_are_all_found_and_removed_one_by_one(void **state)
{
    (void)state;
    enum { SAME = 700 }; // over a growth or two
    for (unsigned i = 0; i < SAME; i++)
        rx_udp_table_add(&table, &nodes[i], 42);
    rx_udp_table_add(&table, &nodes[SAME], 42 + table.n_buckets); // the same bucket, another hash
    for (unsigned i = 0; i < SAME; i += 2)
        rx_udp_table_del(&table, &nodes[i]);
    for (unsigned i = 0; i < SAME; i++)
        assert_int_equal(has(&nodes[i], 42), i % 2);
    assert_true(has(&nodes[SAME], nodes[SAME].hash));
    assert_null(rx_udp_table_find(&table, 43, NULL));
    assert_int_equal(table.n, SAME / 2 + 1);
}

static void adding_and_removing_at_random_agrees_with_an_array(void **state)
{
    (void)state;
    static bool is_in[MANY];
    static uint64_t hash[MANY];
    uint32_t seed = 7;
    size_t n = 0;
    memset(is_in, 0, sizeof is_in);
    for (unsigned step = 0; step < 200000; step++) {
        seed = seed * 1664525 + 1013904223;
        unsigned i = (seed >> 8) % MANY;
        if (is_in[i]) {
            assert_true(has(&nodes[i], hash[i]));
            rx_udp_table_del(&table, &nodes[i]);
            n--;
        } else {
            hash[i] = (seed >> 5) % 3000; // some are equal
            rx_udp_table_add(&table, &nodes[i], hash[i]);
            n++;
        }
        is_in[i] = !is_in[i];
        assert_int_equal(table.n, n);
        assert_int_equal(has(&nodes[i], hash[i]), is_in[i]);
    }
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(has(&nodes[i], hash[i]), is_in[i]);
}

static void the_hash_is_over_everything_that_tells_flows_apart(void **state)
{
    (void)state;
    int one, two;
    union rx_ip from = ipv4(0x7f000001, 1000), to = ipv4(0x7f000001, 0), none = { .sa.sa_family = AF_UNSPEC };
    union rx_ip other_port = ipv4(0x7f000001, 1001), other_host = ipv4(0x7f000002, 1000), other_to = ipv4(0x7f000009, 0);
    union rx_ip six = { .v6 = { .sin6_family = AF_INET6, .sin6_port = htons(1000) } }, linked = six;
    linked.v6.sin6_scope_id = 3;
    const struct rx_udp_key keys[] = {
        { &one, &from, &to },       { &two, &from, &to },       { &one, &other_port, &to }, { &one, &other_host, &to },
        { &one, &from, &other_to }, { &one, &from, &none },     { &one, &six, &none },      { &one, &linked, &none },
    };
    for (size_t i = 0; i < RX_COUNT(keys); i++)
        for (size_t k = 0; k < RX_COUNT(keys); k++)
            assert_int_equal(rx_udp_hash(&table, &keys[i]) == rx_udp_hash(&table, &keys[k]), i == k);
}

// Neighbouring ports and addresses, as one client or a scan has them, spread like dice; so does every new process.
static void neighbours_spread_and_secrets_differ(void **state)
{
    (void)state;
    enum { BUCKETS = 1024, KEYS = 65536 };
    static unsigned count[BUCKETS];
    struct rx_udp_table other;
    unsigned equal = 0;
    assert_int_equal(rx_udp_table_init(&other), 0);
    memset(count, 0, sizeof count);
    for (uint32_t i = 0; i < KEYS; i++) {
        union rx_ip from = ipv4(0x0a000000 + i / 256, (uint16_t)(1024 + i % 256)), to = ipv4(0x0a000001, 0);
        struct rx_udp_key key = { &table, &from, &to };
        uint64_t hash = rx_udp_hash(&table, &key);
        count[hash % BUCKETS]++;
        equal += hash % BUCKETS == rx_udp_hash(&other, &key) % BUCKETS;
    }
    for (unsigned i = 0; i < BUCKETS; i++)
        assert_in_range(count[i], 16, 128); // 64 on average, eight its deviation
    assert_true(equal < KEYS / BUCKETS * 4);
    rx_udp_table_fini(&other);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(grows_with_what_it_holds_and_loses_nothing),
        CASE(equal_hashes_are_all_found_and_removed_one_by_one),
        CASE(adding_and_removing_at_random_agrees_with_an_array),
        CASE(the_hash_is_over_everything_that_tells_flows_apart),
        CASE(neighbours_spread_and_secrets_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
