// SPDX-License-Identifier: MIT
// Enters: a pool as the builder leaves it, a turn, an attempt. Leaves: that core/pick.c takes turns by weight, tries
// every backend once and the backups last, and depends on nothing but its arguments.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conn.h"
#include "world.h"

struct spec {
    unsigned weight;
    bool is_backup;
};

// Backend i listens on port 1000 + i, in the order of the specs.
static struct rx_conf *conf_of(uint32_t tries, const struct spec *specs, unsigned n)
{
    struct draft d;
    draft_begin(&d);
    int pool = rx_door.pool_new(d.b, &(struct rx_pool_spec){ .name = world_slice("p"), .tries = tries });
    for (unsigned i = 0; i < n; i++) {
        char addr[32];
        snprintf(addr, sizeof addr, "127.0.0.1:%u", 1000 + i);
        assert_int_equal(rx_door.pool_backend(d.b, pool,
                                              &(struct rx_backend_spec){ .addr = world_slice(addr),
                                                                         .weight = specs[i].weight,
                                                                         .is_backup = specs[i].is_backup }),
                         0);
    }
    draft_route_to_pool(&d, draft_builtin(&d, "any"), pool);
    return draft_finish(&d);
}

static int pick(const struct rx_conf *c, uint32_t cursor, uint32_t attempt)
{
    const struct rx_backend *b = rx_pick(c->pools[0], cursor, attempt);
    return b ? rx_addr_port(&b->addr.sa) - 1000 : -1;
}

static void turns_go_round(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of(0, (struct spec[]){ { .weight = 1 }, { .weight = 1 }, { .weight = 1 } }, 3);
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(pick(c, i, 0), (int)(i % 3));
    rx_conf_unref(c);
}

static void every_backend_is_tried_once_whoever_was_first(void **state)
{
    (void)state;
    struct rx_conf *c =
        conf_of(0, (struct spec[]){ { .weight = 3 }, { .weight = 1 }, { .weight = 2 }, { .weight = 1 } }, 4);
    for (uint32_t cursor = 0; cursor < 20; cursor++) {
        unsigned seen = 0;
        for (uint32_t attempt = 0; attempt < 4; attempt++)
            seen |= 1u << pick(c, cursor, attempt);
        assert_int_equal(seen, 15);
        assert_int_equal(pick(c, cursor, 4), -1);
    }
    rx_conf_unref(c);
}

static void weights_share_the_turns_smoothly(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of(0, (struct spec[]){ { .weight = 5 }, { .weight = 1 }, { .weight = 1 } }, 3);
    static const int smooth[] = { 0, 0, 1, 0, 2, 0, 0 }; // never more than two in a row
    for (uint32_t i = 0; i < 70; i++)
        assert_int_equal(pick(c, i, 0), smooth[i % 7]);
    rx_conf_unref(c);
}

static void a_round_gives_each_backend_its_weight(void **state)
{
    (void)state;
    static const struct spec specs[] = {
        { .weight = 7 }, { .weight = 2 }, { .weight = 256 }, { .weight = 1 }, { .weight = 30 }
    };
    struct rx_conf *c = conf_of(0, specs, 5);
    unsigned count[5] = { 0 };
    for (uint32_t i = 0; i < 7 + 2 + 256 + 1 + 30; i++)
        count[pick(c, i, 0)]++;
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(count[i], specs[i].weight);
    rx_conf_unref(c);
}

static void backups_come_after_all_primaries_and_never_first(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of(0,
                                (struct spec[]){ { .weight = 9, .is_backup = true },
                                                 { .weight = 1 },
                                                 { .weight = 1 },
                                                 { .weight = 1, .is_backup = true } },
                                4);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(pick(c, i, 0) + pick(c, i, 1), 1 + 2);
        assert_int_equal(pick(c, i, 2), 0);
        assert_int_equal(pick(c, i, 3), 3);
        assert_int_equal(pick(c, i, 4), -1);
    }
    rx_conf_unref(c);
}

static void backups_alone_take_turns(void **state)
{
    (void)state;
    struct rx_conf *c =
        conf_of(0, (struct spec[]){ { .weight = 1, .is_backup = true }, { .weight = 1, .is_backup = true } }, 2);
    assert_int_equal(pick(c, 0, 0), 0);
    assert_int_equal(pick(c, 1, 0), 1);
    assert_int_equal(pick(c, 1, 1), 0);
    rx_conf_unref(c);
}

static void tries_bounds_the_attempts(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of(2, (struct spec[]){ { .weight = 1 }, { .weight = 1 }, { .weight = 1 } }, 3);
    assert_int_equal(pick(c, 2, 0), 2);
    assert_int_equal(pick(c, 2, 1), 0);
    assert_int_equal(pick(c, 2, 2), -1);
    rx_conf_unref(c);
    c = conf_of(99, (struct spec[]){ { .weight = 1 }, { .weight = 1 } }, 2);
    assert_int_equal(pick(c, 0, 2), -1);
    rx_conf_unref(c);
}

static void a_cursor_that_wraps_stays_in_range(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of(0, (struct spec[]){ { .weight = 2 }, { .weight = 1 } }, 2);
    for (uint32_t i = UINT32_MAX - 4; i != 4; i++)
        assert_in_range(pick(c, i, 0), 0, 1);
    rx_conf_unref(c);
}

static void large_weights_keep_their_proportion(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of(0, (struct spec[]){ { .weight = 300000 }, { .weight = 100000 } }, 2);
    unsigned first = 0;
    for (uint32_t i = 0; i < 4000; i++)
        first += pick(c, i, 0) == 0;
    assert_in_range(first, 2990, 3010);
    rx_conf_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_go_round),
        cmocka_unit_test(every_backend_is_tried_once_whoever_was_first),
        cmocka_unit_test(weights_share_the_turns_smoothly),
        cmocka_unit_test(a_round_gives_each_backend_its_weight),
        cmocka_unit_test(backups_come_after_all_primaries_and_never_first),
        cmocka_unit_test(backups_alone_take_turns),
        cmocka_unit_test(tries_bounds_the_attempts),
        cmocka_unit_test(a_cursor_that_wraps_stays_in_range),
        cmocka_unit_test(large_weights_keep_their_proportion),
    };
    return cmocka_run_group_tests_name("pick", tests, NULL, NULL);
}
