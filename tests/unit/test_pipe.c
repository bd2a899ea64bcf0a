// SPDX-License-Identifier: MIT
// Enters: requests for pipes. Leaves: that core/pipe.c hands out large ones, keeps the empty, closes the full, and
// stays within its limit.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "pipe.h"
#include "rooms.h"

static struct rx_pipes pool;
static unsigned fds_before;

static int set_up(void **state)
{
    (void)state;
    fds_before = room_fds();
    rx_pipes_init(&pool, 4);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(pool.n_out, 0);
    rx_pipes_fini(&pool);
    assert_int_equal(room_fds(), fds_before);
    return 0;
}

static void a_pipe_is_large_and_does_not_block(void **state)
{
    (void)state;
    int p[2];
    char byte;
    assert_int_equal(rx_pipe_get(&pool, p), 0);
    assert_true(fcntl(p[1], F_GETPIPE_SZ) >= RX_PIPE_SIZE / 4);
    assert_int_equal(read(p[0], &byte, 1), -1);
    assert_true(fcntl(p[0], F_GETFD) & FD_CLOEXEC);
    rx_pipe_put(&pool, p, true);
    assert_int_equal(p[0], -1);
    assert_int_equal(p[1], -1);
}

static void an_empty_pipe_is_handed_out_again(void **state)
{
    (void)state;
    int p[2], first[2];
    assert_int_equal(rx_pipe_get(&pool, p), 0);
    memcpy(first, p, sizeof p);
    rx_pipe_put(&pool, p, true);
    assert_int_equal(rx_pipe_get(&pool, p), 0);
    assert_memory_equal(first, p, sizeof p);
    rx_pipe_put(&pool, p, true);
}

static void a_pipe_with_bytes_in_it_is_not(void **state)
{
    (void)state;
    int p[2];
    char byte;
    assert_int_equal(rx_pipe_get(&pool, p), 0);
    assert_int_equal(write(p[1], "secret", 6), 6);
    rx_pipe_put(&pool, p, false);
    assert_int_equal(pool.n_free, 0);
    assert_int_equal(rx_pipe_get(&pool, p), 0);
    assert_int_equal(read(p[0], &byte, 1), -1); // somebody else's bytes are gone
    rx_pipe_put(&pool, p, true);
}

static void no_more_than_the_limit_are_out_at_once(void **state)
{
    (void)state;
    int p[5][2];
    for (int i = 0; i < 4; i++)
        assert_int_equal(rx_pipe_get(&pool, p[i]), 0);
    assert_int_equal(rx_pipe_get(&pool, p[4]), -1);
    rx_pipe_put(&pool, p[1], true);
    assert_int_equal(rx_pipe_get(&pool, p[4]), 0);
    rx_pipe_put(&pool, p[0], false);
    rx_pipe_put(&pool, p[2], true);
    rx_pipe_put(&pool, p[3], true);
    rx_pipe_put(&pool, p[4], true);
}

static void the_pool_keeps_a_bounded_number(void **state)
{
    (void)state;
    enum { MANY = RX_PIPE_POOL + 10 };
    static int p[MANY][2];
    unsigned n = 0;
    pool.limit = MANY;
    while (n < MANY && !rx_pipe_get(&pool, p[n]))
        n++;
    assert_true(n > 0); // the user may be short of pipe pages
    for (unsigned i = 0; i < n; i++)
        rx_pipe_put(&pool, p[i], true);
    assert_in_range(pool.n_free, 1, RX_PIPE_POOL);
    assert_int_equal(room_fds(), fds_before + 2 * pool.n_free);
}

int main(void)
{
#define pipe_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        pipe_test(a_pipe_is_large_and_does_not_block), pipe_test(an_empty_pipe_is_handed_out_again),
        pipe_test(a_pipe_with_bytes_in_it_is_not),     pipe_test(no_more_than_the_limit_are_out_at_once),
        pipe_test(the_pool_keeps_a_bounded_number),
    };
    return cmocka_run_group_tests_name("pipe", tests, NULL, NULL);
}
