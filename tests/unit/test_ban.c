// SPDX-License-Identifier: MIT
// Enters: bans of addresses and blocks. Leaves: that core/ban.c knows exactly who is banned, forgets in time, and that
// asking while others ban never gives a wrong answer.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "ban.h"
#include "wheel.h"

static struct rx_cidr cidr_of(const char *text)
{
    char why[RX_ADDR_TEXT];
    struct rx_cidr c;
    assert_int_equal(rx_cidr_parse(text, &c, why), 0);
    return c;
}

static bool has(const char *text)
{
    char why[RX_ADDR_TEXT];
    union rx_ip ip;
    assert_int_equal(rx_ip_parse(text, &ip, why), 0);
    return rx_ban_has(&ip);
}

static int ban(const char *text, uint64_t ttl_ms)
{
    struct rx_cidr c = cidr_of(text);
    return rx_ban_add(&c, ttl_ms);
}

static bool unban(const char *text)
{
    struct rx_cidr c = cidr_of(text);
    return rx_ban_remove(&c);
}

static int forget(void **state)
{
    (void)state;
    rx_ban_clear();
    return 0;
}

static void an_address_is_banned_and_its_neighbour_is_not(void **state)
{
    (void)state;
    assert_false(has("192.0.2.1"));
    assert_int_equal(ban("192.0.2.1", 60000), 0);
    assert_true(has("192.0.2.1"));
    assert_true(has("192.0.2.1:4000"));
    assert_true(has("::ffff:192.0.2.1"));
    assert_false(has("192.0.2.0") || has("192.0.2.2") || has("2001:db8::1"));
    assert_int_equal(ban("2001:db8::1", 60000), 0);
    assert_true(has("2001:db8::1"));
    assert_false(has("2001:db8::2"));
}

static void a_block_bans_all_of_it_and_nothing_else(void **state)
{
    (void)state;
    ban("10.0.0.0/8", 60000);
    ban("2001:db8:1::/48", 60000);
    ban("198.51.100.128/25", 60000);
    assert_true(has("10.0.0.0") && has("10.255.255.255") && has("198.51.100.128"));
    assert_false(has("9.255.255.255") || has("11.0.0.0") || has("198.51.100.127"));
    assert_true(has("2001:db8:1:ffff::") && !has("2001:db8:2::"));
    ban("0.0.0.0/0", 60000);
    assert_true(has("203.0.113.9") && !has("2001:db8:2::"));
}

static void a_mapped_block_is_the_ipv4_one(void **state)
{
    (void)state;
    ban("::ffff:192.0.2.0/120", 60000);
    assert_true(has("192.0.2.77") && !has("192.0.3.1"));
    assert_true(unban("192.0.2.0/24"));
    assert_false(has("192.0.2.77"));
}

static void a_ban_ends_by_itself(void **state)
{
    (void)state;
    ban("192.0.2.1", 50);
    assert_true(has("192.0.2.1"));
    uint64_t until = rx_now_ms() + 60;
    while (rx_now_ms() < until)
        usleep(2000);
    assert_false(has("192.0.2.1"));
    assert_int_equal(rx_ban_totals().now, 0);
    assert_false(unban("192.0.2.1"));
}

static void a_ban_again_lasts_until_the_later_of_the_two(void **state)
{
    (void)state;
    ban("192.0.2.1", 60000);
    ban("192.0.2.1", 1);
    usleep(20000);
    assert_true(has("192.0.2.1"));
    assert_int_equal(rx_ban_totals().now, 1);
}

static void taking_back_takes_back_that_entry_alone(void **state)
{
    (void)state;
    ban("192.0.2.0/24", 60000);
    ban("192.0.2.1", 60000);
    assert_true(unban("192.0.2.1"));
    assert_false(unban("192.0.2.1"));
    assert_true(has("192.0.2.1"));
    assert_true(unban("192.0.2.0/24"));
    assert_false(has("192.0.2.1"));
}

static void what_is_no_ban_is_refused(void **state)
{
    (void)state;
    struct rx_cidr odd = { .family = AF_INET, .bits = 33 };
    assert_int_equal(rx_ban_add(&odd, 1000), -EINVAL);
    odd = (struct rx_cidr){ .family = AF_UNIX };
    assert_int_equal(rx_ban_add(&odd, 1000), -EINVAL);
    assert_int_equal(ban("192.0.2.1", 0), -EINVAL);
    union rx_ip unnamed = { .sa.sa_family = AF_UNSPEC };
    ban("0.0.0.0/0", 1000);
    assert_false(rx_ban_has(&unnamed));
}

// ---- against a list walked from end to end ------------------------------------------------------------------------

enum { MODEL = 400 };
static struct rx_cidr model[MODEL];
static unsigned n_model;

static struct rx_cidr random_block(void)
{
    struct rx_cidr c = { .family = random() % 2 ? AF_INET : AF_INET6 };
    unsigned size = c.family == AF_INET ? 4 : 16;
    c.bits = (uint8_t)(random() % (size * 8 + 1));
    for (unsigned i = 0; i < size; i++)
        c.bytes[i] = (uint8_t)(random() % 3); // few different ones, so that blocks meet
    for (unsigned i = c.bits; i < size * 8; i++)
        c.bytes[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
    return c;
}

static bool same(const struct rx_cidr *a, const struct rx_cidr *b)
{
    return a->family == b->family && a->bits == b->bits && !memcmp(a->bytes, b->bytes, 16);
}

static bool model_has(const union rx_ip *ip)
{
    for (unsigned i = 0; i < n_model; i++)
        if (rx_cidr_has(&model[i], ip))
            return true;
    return false;
}

static void model_remove(const struct rx_cidr *c)
{
    for (unsigned i = 0; i < n_model; i++)
        if (same(&model[i], c))
            model[i--] = model[--n_model];
}

static void random_blocks_agree_with_a_plain_list(void **state)
{
    (void)state;
    unsigned hits = 0;
    srandom(11);
    n_model = 0;
    for (int round = 0; round < 20000; round++) {
        struct rx_cidr c = n_model && random() % 2 ? model[(unsigned)random() % n_model] : random_block();
        if (c.bits > 3 && random() % 2 && n_model < MODEL) {
            model_remove(&c);
            model[n_model++] = c;
            assert_int_equal(rx_ban_add(&c, 600000), 0);
        } else {
            unsigned before = n_model;
            model_remove(&c);
            assert_int_equal(rx_ban_remove(&c), before != n_model);
        }
        struct rx_cidr who = random_block();
        union rx_ip ip = { .sa.sa_family = who.family };
        if (who.family == AF_INET)
            memcpy(&ip.v4.sin_addr, who.bytes, 4);
        else
            memcpy(&ip.v6.sin6_addr, who.bytes, 16);
        bool expected = model_has(&ip);
        hits += expected;
        assert_int_equal(rx_ban_has(&ip), expected);
    }
    assert_int_equal(rx_ban_totals().now, n_model);
    assert_in_range(hits, 1000, 19000);
}

static void many_bans_are_all_there_and_the_list_has_an_end(void **state)
{
    (void)state;
    struct rx_cidr c = { .family = AF_INET, .bits = 32 };
    union rx_ip ip = { .v4.sin_family = AF_INET };
    for (uint32_t i = 0; i < RX_BANS_MAX; i++) {
        uint32_t host = htonl(0x0a000000 + i);
        memcpy(c.bytes, &host, 4);
        assert_int_equal(rx_ban_add(&c, 3600000), 0);
    }
    assert_int_equal(ban("192.0.2.1", 1000), -ENOSPC);
    unsigned long refused = rx_ban_totals().refused;
    assert_true(refused >= 1);
    for (uint32_t i = 0; i < RX_BANS_MAX; i += 997) {
        ip.v4.sin_addr.s_addr = htonl(0x0a000000 + i);
        assert_true(rx_ban_has(&ip));
    }
    assert_false(has("10.15.66.64")); // the next one
    assert_true(unban("10.0.0.0"));
    assert_int_equal(ban("192.0.2.1", 1000), 0);
}

static void those_whose_time_is_over_make_room(void **state)
{
    (void)state;
    struct rx_cidr c = { .family = AF_INET, .bits = 32 };
    for (uint32_t i = 0; i < 200000; i++) {
        uint32_t host = htonl(0x0a000000 + i);
        memcpy(c.bytes, &host, 4);
        assert_int_equal(rx_ban_add(&c, 1), 0);
        if (i % 20000 == 0)
            usleep(10000);
    }
    usleep(10000);
    assert_int_equal(rx_ban_totals().now, 0);
    for (int i = 0; i < 60000; i++) // as many looks as the table can have slots
        ban("192.0.2.1", 60000);
    assert_int_equal(rx_ban_totals().now, 1);
}

// ---- threads ------------------------------------------------------------------------------------------------------

static atomic_bool is_over;
static atomic_uint wrong;

static void *ask(void *arg)
{
    (void)arg;
    while (!is_over)
        if (!has("203.0.113.1") || has("203.0.113.2") || !has("2001:db8:7::9"))
            wrong++;
    return NULL;
}

static void *come_and_go(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < 30000; i++) {
        struct rx_cidr c = { .family = AF_INET, .bits = (uint8_t)(24 + rand_r(&seed) % 9) };
        c.bytes[0] = 10;
        c.bytes[1] = (uint8_t)(rand_r(&seed) % 64);
        c.bytes[2] = (uint8_t)rand_r(&seed);
        if (i % 3)
            rx_ban_add(&c, 60000);
        else
            rx_ban_remove(&c);
    }
    return NULL;
}

static void answers_stay_right_while_others_ban(void **state)
{
    (void)state;
    ban("203.0.113.1", 600000);
    ban("2001:db8:7::/48", 600000);
    is_over = false;
    wrong = 0;
    pthread_t askers[2], writers[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&askers[i], NULL, ask, NULL), 0);
        assert_int_equal(pthread_create(&writers[i], NULL, come_and_go, (void *)(uintptr_t)(i + 1)), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(writers[i], NULL);
    is_over = true;
    for (int i = 0; i < 2; i++)
        pthread_join(askers[i], NULL);
    assert_int_equal(wrong, 0);
    assert_true(rx_ban_totals().now > 100);
}

static void hear(void *data)
{
    ++*(int *)data;
}

static void who_listens_hears_of_every_ban(void **state)
{
    (void)state;
    int heard = 0;
    rx_ban_on_add(hear, &heard);
    ban("192.0.2.1", 1000);
    ban("192.0.2.1", 2000);
    unban("192.0.2.1");
    ban("192.0.2.1", 0);
    rx_ban_on_add(NULL, NULL);
    ban("192.0.2.1", 1000);
    assert_int_equal(heard, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_address_is_banned_and_its_neighbour_is_not, forget),
        cmocka_unit_test_teardown(a_block_bans_all_of_it_and_nothing_else, forget),
        cmocka_unit_test_teardown(a_mapped_block_is_the_ipv4_one, forget),
        cmocka_unit_test_teardown(a_ban_ends_by_itself, forget),
        cmocka_unit_test_teardown(a_ban_again_lasts_until_the_later_of_the_two, forget),
        cmocka_unit_test_teardown(taking_back_takes_back_that_entry_alone, forget),
        cmocka_unit_test_teardown(what_is_no_ban_is_refused, forget),
        cmocka_unit_test_teardown(random_blocks_agree_with_a_plain_list, forget),
        cmocka_unit_test_teardown(many_bans_are_all_there_and_the_list_has_an_end, forget),
        cmocka_unit_test_teardown(those_whose_time_is_over_make_room, forget),
        cmocka_unit_test_teardown(answers_stay_right_while_others_ban, forget),
        cmocka_unit_test_teardown(who_listens_hears_of_every_ban, forget),
    };
    return cmocka_run_group_tests_name("ban", tests, NULL, NULL);
}
