// SPDX-License-Identifier: MIT
// The queue between a worker and the hook thread: in order, bounded, never torn.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "queue.h"

static void records_come_out_in_order_and_whole(void **state)
{
    (void)state;
    struct rx_queue q;
    size_t len;
    assert_int_equal(rx_queue_init(&q, 4096), 0);
    assert_null(rx_queue_peek(&q, &len));
    for (unsigned round = 0; round < 1000; round++) { // many times around the ring
        for (unsigned i = 0; i < 3; i++) {
            unsigned n = (round * 7 + i * 131) % 900;
            uint8_t *p = rx_queue_reserve(&q, n, 0);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            memset(p, (int)(round + i), n);
            rx_queue_push(&q);
        }
        for (unsigned i = 0; i < 3; i++) {
            const uint8_t *p = rx_queue_peek(&q, &len);
            assert_non_null(p);
            assert_int_equal(len, (round * 7 + i * 131) % 900);
            for (size_t k = 0; k < len; k++)
                assert_int_equal(p[k], (uint8_t)(round + i));
            rx_queue_pop(&q);
        }
        assert_null(rx_queue_peek(&q, &len));
    }
    rx_queue_fini(&q);
}

static void a_full_queue_refuses_and_recovers(void **state)
{
    (void)state;
    struct rx_queue q;
    size_t len;
    unsigned n = 0, taken = 0;
    assert_int_equal(rx_queue_init(&q, 4096), 0);
    while (rx_queue_reserve(&q, 100, 0)) {
        rx_queue_push(&q);
        n++;
    }
    assert_in_range(n, 25, 36);
    assert_in_range(rx_queue_used(&q), 3900, 4096);
    while (rx_queue_peek(&q, &len)) {
        assert_int_equal(len, 100);
        rx_queue_pop(&q);
        taken++;
    }
    assert_int_equal(taken, n);
    assert_non_null(rx_queue_reserve(&q, 2000, 0));
    rx_queue_fini(&q);
}

static void spare_room_is_kept_for_those_that_ask_for_none(void **state)
{
    (void)state;
    struct rx_queue q;
    assert_int_equal(rx_queue_init(&q, 4096), 0);
    while (rx_queue_reserve(&q, 48, 1024))
        rx_queue_push(&q);
    for (unsigned i = 0; i < 1024 / 64; i++) {
        assert_non_null(rx_queue_reserve(&q, 48, 0));
        rx_queue_push(&q);
    }
    assert_null(rx_queue_reserve(&q, 48, 0));
    rx_queue_fini(&q);
}

static void what_is_too_large_for_the_ring_is_refused(void **state)
{
    (void)state;
    struct rx_queue q;
    assert_int_equal(rx_queue_init(&q, 4096), 0);
    assert_null(rx_queue_reserve(&q, 4096, 0));
    assert_null(rx_queue_reserve(&q, 2040, 0));
    assert_non_null(rx_queue_reserve(&q, 2032, 0));
    rx_queue_fini(&q);
}

static void a_reservation_that_is_not_pushed_was_never_there(void **state)
{
    (void)state;
    struct rx_queue q;
    size_t len;
    assert_int_equal(rx_queue_init(&q, 4096), 0);
    memset(rx_queue_reserve(&q, 64, 0), 1, 64);
    assert_null(rx_queue_peek(&q, &len));
    memset(rx_queue_reserve(&q, 16, 0), 2, 16);
    rx_queue_push(&q);
    assert_int_equal(*(uint8_t *)rx_queue_peek(&q, &len), 2);
    assert_int_equal(len, 16);
    rx_queue_fini(&q);
}

enum { MANY = 200000 };

static void *write_many(void *arg)
{
    struct rx_queue *q = arg;
    for (uint32_t i = 0; i < MANY;) {
        size_t n = 4 + (i * 2654435761u >> 20) % 700;
        uint8_t *p = rx_queue_reserve(q, n, 0);
        if (!p) {
            sched_yield();
            continue;
        }
        memcpy(p, &i, 4);
        memset(p + 4, (int)i, n - 4);
        rx_queue_push(q);
        i++;
    }
    return NULL;
}

static void two_threads_lose_nothing(void **state)
{
    (void)state;
    struct rx_queue q;
    pthread_t writer;
    assert_int_equal(rx_queue_init(&q, 16384), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_many, &q), 0);
    for (uint32_t i = 0; i < MANY;) {
        size_t len;
        uint32_t number;
        const uint8_t *p = rx_queue_peek(&q, &len);
        if (!p) {
            sched_yield();
            continue;
        }
        memcpy(&number, p, 4);
        assert_int_equal(number, i);
        assert_int_equal(len, 4 + (i * 2654435761u >> 20) % 700);
        if (len > 4) {
            assert_int_equal(p[4], (uint8_t)i);
            assert_int_equal(p[len - 1], (uint8_t)i);
        }
        rx_queue_pop(&q);
        i++;
    }
    pthread_join(writer, NULL);
    rx_queue_fini(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_out_in_order_and_whole),
        cmocka_unit_test(a_full_queue_refuses_and_recovers),
        cmocka_unit_test(spare_room_is_kept_for_those_that_ask_for_none),
        cmocka_unit_test(what_is_too_large_for_the_ring_is_refused),
        cmocka_unit_test(a_reservation_that_is_not_pushed_was_never_there),
        cmocka_unit_test(two_threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
