// SPDX-License-Identifier: MIT
// core/watchdog.c on a real worker: asleep is not stuck, stuck is told and counted, and so is its end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "rooms.h"
#include "script.h"
#include "watchdog.h"
#include "world.h"

static void on_busy(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    usleep(*(useconds_t *)t->data);
}

// A worker on its own thread that is kept busy for so long, 0: it just waits. Returns at how many looks it was stuck.
static unsigned watch_worker(useconds_t busy_us, unsigned limit_ms, unsigned watch_ms)
{
    struct room r;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_builtin(&d, "ssh"), -1);
    room_open(&r, draft_finish(&d));
    struct rx_pulse *pulse = &r.w.pulse;
    atomic_store(&pulse->limit_ms, limit_ms);
    ev_timer busy;
    ev_timer_init(&busy, on_busy, 0.05, 0.);
    busy.data = &busy_us;
    if (busy_us)
        ev_timer_start(r.w.loop, &busy);
    r.w.is_running = false;
    assert_int_equal(rx_worker_start(&r.w), 0);
    unsigned long before = rx_watchdog_stalls();
    assert_int_equal(rx_watchdog_start(&pulse, 1), 0);
    unsigned n_stuck = 0;
    for (unsigned ms = 0; ms < watch_ms; ms += 20) {
        usleep(20 * 1000);
        n_stuck += !rx_watchdog_is_healthy();
    }
    assert_true(rx_watchdog_is_healthy());
    assert_int_equal(rx_watchdog_stalls() - before, n_stuck > 0);
    rx_watchdog_stop();
    rx_worker_order(&r.w, RX_ORDER_DRAIN);
    rx_worker_join(&r.w);
    room_close(&r);
    return n_stuck;
}

static void who_sleeps_is_not_stuck(void **state)
{
    (void)state;
    assert_int_equal(watch_worker(0, 100, 1200), 0);
}

static void who_does_not_come_back_is_stuck_until_he_does(void **state)
{
    (void)state;
    assert_true(watch_worker(1500 * 1000, 300, 2600) > 5);
}

static void who_is_slow_within_the_limit_is_not(void **state)
{
    (void)state;
    assert_int_equal(watch_worker(500 * 1000, 5000, 1200), 0);
}

static void what_runs_is_named_and_nothing_after(void **state)
{
    (void)state;
    struct rx_pulse pulse = { 0 };
    struct rx_fn fn = { .where = "refractium.lua:31\n" };
    char text[64];
    assert_false(rx_script_doing(&pulse, text, sizeof text));
    atomic_store(&pulse.fn, &fn);
    assert_true(rx_script_doing(&pulse, text, sizeof text));
    assert_string_equal(text, "refractium.lua:31\\x0a");
}

static void the_limit_is_a_second_or_twenty_budgets(void **state)
{
    (void)state;
    assert_int_equal(rx_watchdog_limit_ms(1), 1000);
    assert_int_equal(rx_watchdog_limit_ms(50), 1000);
    assert_int_equal(rx_watchdog_limit_ms(1000), 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        room_test(who_sleeps_is_not_stuck),
        room_test(who_does_not_come_back_is_stuck_until_he_does),
        room_test(who_is_slow_within_the_limit_is_not),
        cmocka_unit_test(what_runs_is_named_and_nothing_after),
        cmocka_unit_test(the_limit_is_a_second_or_twenty_budgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
