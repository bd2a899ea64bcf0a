// SPDX-License-Identifier: MIT
// Enters: deadlines, and a clock this file turns by hand (it stands in for the C library's clock_gettime, so days
// pass in no time). Leaves: that core/wheel.c fires each deadline once, never early and at most a little late.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "wheel.h"

enum { TICK = RX_WHEEL_TICK_MS, LATE = 2 * TICK + 2 };

static uint64_t clock_ms = 5000000;

// Hides the C library's for this program's own objects.
int clock_gettime(clockid_t id, struct timespec *ts)
{
    (void)id;
    ts->tv_sec = (time_t)(clock_ms / 1000);
    ts->tv_nsec = (long)(clock_ms % 1000) * 1000000;
    return 0;
}

struct thing {
    struct rx_wheel_node node;
    unsigned fired;
    uint64_t fired_ms;
    uint64_t again_ms; // set anew this much later when it fires; 0: not
    struct thing *kills;
};

static struct rx_wheel wheel;
static struct ev_loop *loop;

static void on_fire(struct rx_wheel_node *n)
{
    struct thing *t = RX_CONTAINER(n, struct thing, node);
    assert_null(n->next); // off the wheel by then
    t->fired++;
    t->fired_ms = clock_ms;
    if (t->kills)
        rx_wheel_del(&wheel, &t->kills->node);
    if (t->again_ms)
        rx_wheel_set(&wheel, &t->node, clock_ms + t->again_ms);
}

static int set_up(void **state)
{
    (void)state;
    loop = ev_loop_new(EVFLAG_AUTO);
    rx_wheel_init(&wheel, loop, on_fire);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rx_wheel_fini(&wheel);
    ev_loop_destroy(loop);
    return 0;
}

static void set(struct thing *t, uint64_t in_ms)
{
    rx_wheel_set(&wheel, &t->node, clock_ms + in_ms);
}

// Lets time pass, invoking the timer whenever it is due, `jitter` late.
static unsigned pass(uint64_t ms, unsigned jitter)
{
    uint64_t end = clock_ms + ms;
    unsigned wakes = 0;
    while (ev_is_active(&wheel.timer)) {
        uint64_t due = wheel.armed_tick * TICK + 1 + jitter;
        if (due > end)
            break;
        clock_ms = RX_MAX(clock_ms, due);
        ev_timer_stop(loop, &wheel.timer); // it does not repeat
        ev_invoke(loop, &wheel.timer, EV_TIMER);
        wakes++;
    }
    clock_ms = end;
    return wakes;
}

static void a_deadline_fires_once_not_early_and_soon_after(void **state)
{
    (void)state;
    for (uint64_t ms = 0; ms < 200; ms++) {
        struct thing t = { 0 };
        uint64_t due = clock_ms + ms;
        set(&t, ms);
        pass(400, 0);
        assert_int_equal(t.fired, 1);
        assert_true(t.fired_ms >= due && t.fired_ms <= due + LATE);
        clock_ms += 7;
    }
}

static void the_timer_sleeps_while_nothing_is_due(void **state)
{
    (void)state;
    struct thing t = { 0 };
    assert_false(ev_is_active(&wheel.timer));
    set(&t, 1000);
    assert_true(ev_is_active(&wheel.timer));
    ev_tstamp left = ev_timer_remaining(loop, &wheel.timer);
    assert_true(left > 0.99 && left < 1.0 + LATE / 1000.0);
    assert_int_equal(pass(2000, 0), 1);
    assert_false(ev_is_active(&wheel.timer));
}

static void a_later_deadline_replaces_an_earlier_one(void **state)
{
    (void)state;
    struct thing t = { 0 };
    set(&t, 100);
    for (int i = 0; i < 50; i++) { // as a busy connection does
        pass(50, 0);
        set(&t, 100);
        assert_int_equal(t.fired, 0);
    }
    uint64_t due = t.node.deadline_ms;
    pass(300, 0);
    assert_int_equal(t.fired, 1);
    assert_true(t.fired_ms >= due && t.fired_ms <= due + LATE);
}

static void an_earlier_deadline_replaces_a_later_one(void **state)
{
    (void)state;
    struct thing t = { 0 };
    set(&t, 5000);
    set(&t, 100);
    uint64_t due = t.node.deadline_ms;
    pass(6000, 0);
    assert_int_equal(t.fired, 1);
    assert_true(t.fired_ms >= due && t.fired_ms <= due + LATE);
}

static void a_deleted_deadline_never_fires(void **state)
{
    (void)state;
    struct thing t = { 0 }, other = { 0 };
    set(&t, 100);
    set(&other, 100);
    rx_wheel_del(&wheel, &t.node);
    rx_wheel_del(&wheel, &t.node); // twice is fine
    pass(1000, 0);
    assert_int_equal(t.fired, 0);
    assert_int_equal(other.fired, 1);
    set(&t, 100); // and it can be used again
    pass(1000, 0);
    assert_int_equal(t.fired, 1);
}

static void a_deadline_beyond_the_horizon_waits_its_full_time(void **state)
{
    (void)state;
    const uint64_t hour = 3600 * 1000;
    struct thing t = { 0 }, day = { 0 };
    uint64_t due = clock_ms + hour, due_day = clock_ms + 24 * hour;
    set(&t, hour);
    set(&day, 24 * hour);
    unsigned wakes = pass(25 * hour, 0);
    assert_true(t.fired == 1 && t.fired_ms >= due && t.fired_ms <= due + LATE);
    assert_true(day.fired == 1 && day.fired_ms >= due_day && day.fired_ms <= due_day + LATE);
    assert_true(wakes < 25 * 120); // about one look per round of the wheel
}

static void one_that_fires_may_remove_its_neighbour_and_set_itself(void **state)
{
    (void)state;
    struct thing a = { 0 }, b = { 0 };
    a.kills = &b;
    b.kills = &a;
    a.again_ms = b.again_ms = 500;
    set(&a, 100);
    set(&b, 100);
    pass(400, 0);
    assert_int_equal(a.fired + b.fired, 1); // whoever came first removed the other
    pass(550, 0);
    assert_int_equal(a.fired + b.fired, 2);
    rx_wheel_del(&wheel, &a.node);
    rx_wheel_del(&wheel, &b.node);
}

static void a_stalled_loop_catches_up_and_forgets_none(void **state)
{
    (void)state;
    static struct thing t[200];
    memset(t, 0, sizeof t);
    for (unsigned i = 0; i < 200; i++)
        set(&t[i], i * 500);
    clock_ms += 300 * 1000; // more than a whole turn of the wheel
    pass(100, 0);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(t[i].fired, 1);
}

static void a_deadline_set_after_a_long_sleep_is_on_time(void **state)
{
    (void)state;
    struct thing t = { 0 };
    clock_ms += 10ull * 24 * 3600 * 1000;
    uint64_t due = clock_ms + 100;
    set(&t, 100);
    pass(1000, 0);
    assert_true(t.fired == 1 && t.fired_ms >= due && t.fired_ms <= due + LATE);
}

static void ten_thousand_deadlines_wake_once_per_slot(void **state)
{
    (void)state;
    enum { MANY = 10000 };
    struct thing *t = calloc(MANY, sizeof *t);
    for (unsigned i = 0; i < MANY; i++)
        set(&t[i], 1000 + i % 320);
    assert_in_range(pass(3000, 0), 10, 12);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(t[i].fired, 1);
    free(t);
}

// Everything at once, beside the plain truth: what was last set or deleted.
static void random_deadlines_fire_when_they_should(void **state)
{
    (void)state;
    enum { THINGS = 60, STEPS = 60000 };
    static struct thing t[THINGS];
    uint64_t due[THINGS] = { 0 };
    uint32_t seed = 99;
    memset(t, 0, sizeof t);
    for (int i = 0; i < STEPS; i++) {
        static const uint32_t spans[] = { 40, 400, 5000, 40000, 400000 };
        seed = seed * 1664525 + 1013904223;
        uint32_t r = seed >> 8;
        struct thing *x = &t[r % THINGS];
        unsigned jitter = r / 64 % 100;
        switch (seed >> 29) {
        case 0:
            rx_wheel_del(&wheel, &x->node);
            due[r % THINGS] = 0;
            break;
        case 1:
        case 2:
        case 3:
            set(x, r / 7 % spans[r % RX_COUNT(spans)]);
            due[r % THINGS] = x->node.deadline_ms;
            break;
        default:
            pass(r / 5 % spans[r % 3], jitter);
        }
        for (unsigned k = 0; k < THINGS; k++) {
            if (t[k].fired &&
                (!due[k] || t[k].fired > 1 || t[k].fired_ms < due[k] || t[k].fired_ms > due[k] + LATE + 200))
                fail_msg("step %d, thing %u: due %lu, fired %u times at %lu", i, k, (unsigned long)due[k], t[k].fired,
                         (unsigned long)t[k].fired_ms);
            if (t[k].fired)
                due[k] = t[k].fired = 0;
            if (due[k] && due[k] + LATE + 200 < clock_ms)
                fail_msg("step %d, thing %u: missed by %lu ms", i, k, (unsigned long)(clock_ms - due[k]));
        }
    }
}

int main(void)
{
#define wheel_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        wheel_test(a_deadline_fires_once_not_early_and_soon_after),
        wheel_test(the_timer_sleeps_while_nothing_is_due),
        wheel_test(a_later_deadline_replaces_an_earlier_one),
        wheel_test(an_earlier_deadline_replaces_a_later_one),
        wheel_test(a_deleted_deadline_never_fires),
        wheel_test(a_deadline_beyond_the_horizon_waits_its_full_time),
        wheel_test(one_that_fires_may_remove_its_neighbour_and_set_itself),
        wheel_test(a_stalled_loop_catches_up_and_forgets_none),
        wheel_test(a_deadline_set_after_a_long_sleep_is_on_time),
        wheel_test(ten_thousand_deadlines_wake_once_per_slot),
        wheel_test(random_deadlines_fire_when_they_should),
    };
    return cmocka_run_group_tests_name("wheel", tests, NULL, NULL);
}
