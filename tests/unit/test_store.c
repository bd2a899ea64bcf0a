// SPDX-License-Identifier: MIT
// Enters: keys and values. Leaves: that core/store.c keeps what it is told, as long as it is told, never more than its
// bounds, and counts exactly when threads meet.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "athome.h"
#include "store.h"
#include "wheel.h"

static char text[RX_STORE_TEXT_MAX];

static struct rx_store_value get(struct rx_store *s, const char *key)
{
    return rx_store_read(s, key, (uint32_t)strlen(key), text);
}

static int set(struct rx_store *s, const char *key, double n, uint64_t ttl_ms)
{
    struct rx_store_value v = { .kind = RX_STORE_NUMBER, .number = n };
    return rx_store_write(s, key, (uint32_t)strlen(key), &v, ttl_ms, false);
}

static int set_text(struct rx_store *s, const char *key, const char *words, bool only_new)
{
    struct rx_store_value v = { .kind = RX_STORE_TEXT, .text = words, .len = (uint32_t)strlen(words) };
    return rx_store_write(s, key, (uint32_t)strlen(key), &v, 0, only_new);
}

static int add(struct rx_store *s, const char *key, double by, uint64_t ttl_ms, double *sum)
{
    return rx_store_add(s, key, (uint32_t)strlen(key), by, ttl_ms, sum);
}

static bool has(struct rx_store *s, const char *key)
{
    return get(s, key).kind != RX_STORE_NONE;
}

static void pass(uint64_t ms)
{
    for (uint64_t until = rx_now_ms() + ms; rx_now_ms() < until;)
        usleep(1000);
}

static void every_kind_of_value_comes_back(void **state)
{
    (void)state;
    struct rx_store *s = rx_store_new(100, 0);
    struct rx_store_value yes = { .kind = RX_STORE_TRUE }, no = { .kind = RX_STORE_FALSE };
    assert_false(has(s, "a"));
    assert_int_equal(set(s, "a", 1.5, 0), 0);
    assert_int_equal(set_text(s, "b", "words", false), 0);
    assert_int_equal(rx_store_write(s, "c\0d", 3, &yes, 0, false), 0);
    assert_int_equal(rx_store_write(s, "", 0, &no, 0, false), 0);
    assert_true(get(s, "a").number == 1.5);
    struct rx_store_value v = get(s, "b");
    assert_int_equal(v.kind, RX_STORE_TEXT);
    assert_int_equal(v.len, 5);
    assert_memory_equal(v.text, "words", 5);
    assert_int_equal(rx_store_read(s, "c\0d", 3, text).kind, RX_STORE_TRUE);
    assert_int_equal(rx_store_read(s, "c\0e", 3, text).kind, RX_STORE_NONE);
    assert_int_equal(get(s, "").kind, RX_STORE_FALSE);
    rx_store_put(s);
}

static void a_value_is_replaced_whatever_it_was(void **state)
{
    (void)state;
    struct rx_store *s = rx_store_new(100, 0);
    set(s, "a", 1, 0);
    set_text(s, "a", "long words", false);
    set_text(s, "a", "x", false);
    assert_int_equal(get(s, "a").len, 1);
    set(s, "a", 2, 0);
    assert_true(get(s, "a").kind == RX_STORE_NUMBER && get(s, "a").number == 2);
    assert_int_equal(rx_store_totals(s).entries, 1);
    rx_store_put(s);
}

static void what_is_too_long_is_refused(void **state)
{
    (void)state;
    struct rx_store *s = rx_store_new(100, 0);
    static char key[RX_STORE_KEY_MAX + 1], words[RX_STORE_TEXT_MAX + 1];
    struct rx_store_value v = { .kind = RX_STORE_TEXT, .text = words, .len = RX_STORE_TEXT_MAX };
    double sum;
    assert_int_equal(rx_store_write(s, key, RX_STORE_KEY_MAX, &v, 0, false), 0);
    assert_int_equal(rx_store_read(s, key, RX_STORE_KEY_MAX, text).len, RX_STORE_TEXT_MAX);
    assert_int_equal(rx_store_write(s, key, RX_STORE_KEY_MAX + 1, &v, 0, false), -EINVAL);
    assert_int_equal(rx_store_read(s, key, RX_STORE_KEY_MAX + 1, text).kind, RX_STORE_NONE);
    assert_int_equal(rx_store_add(s, key, RX_STORE_KEY_MAX + 1, 1, 0, &sum), -EINVAL);
    v.len++;
    assert_int_equal(rx_store_write(s, "a", 1, &v, 0, false), -EINVAL);
    rx_store_put(s);
}

static void entries_end_in_time(void **state)
{
    (void)state;
    struct rx_store *s = rx_store_new(100, 40);
    set(s, "table's", 1, 0);
    set(s, "own", 1, 60000);
    assert_true(has(s, "table's") && has(s, "own"));
    pass(60);
    assert_false(has(s, "table's"));
    assert_true(has(s, "own"));
    assert_int_equal(set_text(s, "table's", "new", true), 0); // what is over is not there
    rx_store_put(s);
}

static void adding_counts_and_keeps_the_end_it_had(void **state)
{
    (void)state;
    struct rx_store *s = rx_store_new(100, 0);
    double sum = 0;
    assert_int_equal(add(s, "n", 2, 80, &sum), 0);
    assert_true(sum == 2);
    pass(40);
    assert_int_equal(add(s, "n", -3, 0, &sum), 0);
    assert_true(sum == -1);
    pass(60);
    assert_int_equal(add(s, "n", 1, 0, &sum), 0);
    assert_true(sum == 1); // began anew
    assert_int_equal(add(s, "n", 1, 60000, &sum), 0);
    set_text(s, "t", "words", false);
    assert_int_equal(add(s, "t", 1, 0, &sum), -EINVAL);
    assert_int_equal(get(s, "t").kind, RX_STORE_TEXT);
    rx_store_put(s);
}

static void only_new_leaves_what_is_there(void **state)
{
    (void)state;
    struct rx_store *s = rx_store_new(100, 0);
    assert_int_equal(set_text(s, "a", "first", true), 0);
    assert_int_equal(set_text(s, "a", "second", true), -EEXIST);
    assert_memory_equal(get(s, "a").text, "first", 5);
    assert_true(rx_store_delete(s, "a", 1));
    assert_false(rx_store_delete(s, "a", 1));
    assert_int_equal(set_text(s, "a", "third", true), 0);
    rx_store_put(s);
}

static void a_full_table_drops_what_was_used_least_recently(void **state)
{
    (void)state;
    struct rx_store *s = rx_store_new(3, 0);
    set(s, "a", 1, 0);
    set(s, "b", 2, 0);
    set(s, "c", 3, 0);
    assert_true(has(s, "a")); // used: now b is the oldest
    set(s, "d", 4, 0);
    assert_true(has(s, "a") && has(s, "c") && has(s, "d"));
    assert_false(has(s, "b"));
    assert_int_equal(rx_store_totals(s).entries, 3);
    assert_int_equal(rx_store_totals(s).evicted, 1);
    set(s, "d", 5, 0); // no room is needed
    assert_int_equal(rx_store_totals(s).evicted, 1);
    rx_store_put(s);
}

static void those_whose_end_has_come_go_first_and_are_not_counted(void **state)
{
    (void)state;
    struct rx_store *s = rx_store_new(40, 0);
    char key[16];
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "%d", i);
        set(s, key, i, i < 20 ? 20 : 60000);
    }
    pass(40);
    for (int i = 40; i < 60; i++) {
        snprintf(key, sizeof key, "%d", i);
        set(s, key, i, 60000);
    }
    assert_int_equal(rx_store_totals(s).evicted, 0);
    for (int i = 20; i < 60; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_true(has(s, key));
    }
    rx_store_put(s);
}

static void a_large_table_holds_what_it_says_and_no_more(void **state)
{
    (void)state;
    struct rx_store *s = rx_store_new(100000, 0);
    char key[16];
    for (int i = 0; i < 90000; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_int_equal(set(s, key, i, 0), 0);
    }
    assert_int_equal(rx_store_totals(s).evicted, 0);
    for (int i = 0; i < 300000; i++) {
        snprintf(key, sizeof key, "x%d", i);
        set(s, key, i, 0);
    }
    assert_in_range(rx_store_totals(s).entries, 99000, 100000 + 64);
    assert_true(has(s, "x299999"));
    assert_false(has(s, "0"));
    rx_store_put(s);
}

static void a_lower_limit_is_kept_from_the_next_entry_on(void **state)
{
    (void)state;
    struct rx_store *s = rx_store_new(500, 0);
    char key[16];
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "%d", i);
        set(s, key, i, 0);
    }
    rx_store_limit(s, 10, 0);
    set(s, "new", 1, 0);
    assert_int_equal(rx_store_totals(s).entries, 10);
    assert_true(has(s, "499"));
    rx_store_put(s);
}

static void a_name_is_the_same_table_while_somebody_has_it(void **state)
{
    (void)state;
    struct rx_store *a = rx_store_get(&rx_test_home()->stores, "a", 10, 0), *again = rx_store_get(&rx_test_home()->stores, "a", 99, 0), *b = rx_store_get(&rx_test_home()->stores, "b", 10, 0);
    assert_ptr_equal(a, again);
    assert_ptr_not_equal(a, b);
    set(a, "k", 1, 0);
    rx_store_put(a);
    assert_true(has(again, "k"));
    rx_store_put(again);
    a = rx_store_get(&rx_test_home()->stores, "a", 10, 0);
    assert_false(has(a, "k"));
    rx_store_put(a);
    rx_store_put(b);
}

// The same steps on the table and on an array; few keys, so that they meet.
static void random_steps_agree_with_a_plain_array(void **state)
{
    (void)state;
    enum { KEYS = 300 };
    static double number[KEYS];
    static bool is_there[KEYS];
    struct rx_store *s = rx_store_new(KEYS, 0);
    srandom(5);
    for (int i = 0; i < 100000; i++) {
        unsigned k = (unsigned)random() % KEYS;
        char key[16];
        double sum;
        snprintf(key, sizeof key, "key%u", k);
        switch (random() % 4) {
        case 0:
            assert_int_equal(set(s, key, i, 0), 0);
            number[k] = i;
            is_there[k] = true;
            break;
        case 1:
            assert_int_equal(add(s, key, 1, 0, &sum), 0);
            number[k] = is_there[k] ? number[k] + 1 : 1;
            is_there[k] = true;
            assert_true(sum == number[k]);
            break;
        case 2:
            assert_int_equal(rx_store_delete(s, key, (uint32_t)strlen(key)), is_there[k]);
            is_there[k] = false;
            break;
        default:
            assert_int_equal(has(s, key), is_there[k]);
            if (is_there[k])
                assert_true(get(s, key).number == number[k]);
        }
    }
    assert_int_equal(rx_store_totals(s).evicted, 0);
    rx_store_put(s);
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *work(void *arg)
{
    struct rx_store *s = arg;
    char mine[RX_STORE_TEXT_MAX], key[16];
    for (int i = 0; i < ROUNDS; i++) {
        double sum;
        struct rx_store_value v = { .kind = RX_STORE_TEXT, .text = "some words", .len = 10 };
        rx_store_add(s, "all", 3, 1, 0, &sum);
        uint32_t n = (uint32_t)snprintf(key, sizeof key, "%d", i % 500);
        rx_store_write(s, key, n, &v, 1 + (uint64_t)i % 7, i % 2);
        rx_store_read(s, key, n, mine);
        if (i % 5 == 0)
            rx_store_delete(s, key, n);
    }
    return NULL;
}

static void threads_count_exactly_together(void **state)
{
    (void)state;
    struct rx_store *s = rx_store_get(&rx_test_home()->stores, "crowd", 4096, 0);
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, work, s), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    assert_true(get(s, "all").number == THREADS * ROUNDS);
    rx_store_put(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_comes_back),
        cmocka_unit_test(a_value_is_replaced_whatever_it_was),
        cmocka_unit_test(what_is_too_long_is_refused),
        cmocka_unit_test(entries_end_in_time),
        cmocka_unit_test(adding_counts_and_keeps_the_end_it_had),
        cmocka_unit_test(only_new_leaves_what_is_there),
        cmocka_unit_test(a_full_table_drops_what_was_used_least_recently),
        cmocka_unit_test(those_whose_end_has_come_go_first_and_are_not_counted),
        cmocka_unit_test(a_large_table_holds_what_it_says_and_no_more),
        cmocka_unit_test(a_lower_limit_is_kept_from_the_next_entry_on),
        cmocka_unit_test(a_name_is_the_same_table_while_somebody_has_it),
        cmocka_unit_test(random_steps_agree_with_a_plain_array),
        cmocka_unit_test(threads_count_exactly_together),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
