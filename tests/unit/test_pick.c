// SPDX-License-Identifier: MIT
// Enters: rosters as the builder makes them, a turn, dice, a client. Leaves: that core/pick.c shares load out by weight
// and as each balance promises, never names a backend that was tried, is full, down or drained, asks tiers in order,
// and depends on nothing but its arguments and the state of the backends.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "athome.h"
#include "roster.h"
#include "world.h"

enum { MOST = 1200, NOW = 1000000 };

struct spec {
    unsigned weight, max_connections;
    bool is_backup;
    unsigned number; // its address; 0: its place
};

static struct rx_dice dice;

// Backend i listens on port 1000 + i, in the order of the specs.
static struct rx_conf *conf_with(const struct rx_pool_spec *like, const struct spec *specs, unsigned n)
{
    struct draft d;
    struct rx_pool_spec pool_spec = *like;
    draft_begin(&d);
    pool_spec.name = world_slice("p");
    int pool = rx_door.pool_new(d.b, &pool_spec);
    for (unsigned i = 0; i < n; i++) {
        char addr[32];
        snprintf(addr, sizeof addr, "127.0.0.1:%u", 1000 + (specs[i].number ? specs[i].number : i));
        assert_int_equal(rx_door.pool_backend(d.b, pool,
                                              &(struct rx_backend_spec){ .addr = world_slice(addr),
                                                                         .weight = specs[i].weight,
                                                                         .is_backup = specs[i].is_backup,
                                                                         .max_connections = specs[i].max_connections }),
                         0);
    }
    draft_route_to_pool(&d, draft_builtin(&d, "any"), pool);
    dice = (struct rx_dice){ .first = -1, .now_ms = NOW };
    return draft_finish(&d);
}

static struct rx_conf *conf_of(enum rx_balance balance, const struct spec *specs, unsigned n)
{
    return conf_with(&(struct rx_pool_spec){ .balance = balance }, specs, n);
}

static struct rx_conf *equals(enum rx_balance balance, unsigned n)
{
    struct spec specs[MOST];
    for (unsigned i = 0; i < n; i++)
        specs[i] = (struct spec){ .weight = 1 };
    return conf_of(balance, specs, n);
}

static const struct rx_roster *roster(const struct rx_conf *c)
{
    return rx_roster_of(c->pools[0]);
}

static struct rx_backend_state *state_at(const struct rx_conf *c, unsigned i)
{
    return roster(c)->backends[i].state;
}

// The number of who is picked with `dice`, -1 for nobody.
static int pick(const struct rx_conf *c)
{
    const struct rx_backend *b = rx_pick(roster(c), &dice, NULL);
    return b ? rx_addr_port(&b->addr.sa) - 1000 : -1;
}

static int pick_turn(const struct rx_conf *c, uint32_t cursor)
{
    dice.cursor = cursor;
    return pick(c);
}

// Everybody that is picked when each one fails, in order.
static unsigned walk(const struct rx_conf *c, int *order)
{
    uint64_t tried[MOST / 64 + 1] = { 0 };
    const struct rx_backend *b;
    unsigned n = 0;
    dice.tried = tried;
    while ((b = rx_pick(roster(c), &dice, NULL))) {
        size_t i = (size_t)(b - roster(c)->backends);
        assert_false(tried[i / 64] >> i % 64 & 1);
        tried[i / 64] |= 1ull << i % 64;
        order[n++] = rx_addr_port(&b->addr.sa) - 1000;
        assert_in_range(n, 1, roster(c)->n);
    }
    dice.tried = NULL;
    return n;
}

static const enum rx_balance all_balances[] = { RX_BALANCE_ROUND_ROBIN,   RX_BALANCE_LEAST_CONN, RX_BALANCE_RANDOM,
                                                RX_BALANCE_P2C,           RX_BALANCE_SOURCE_IP,
                                                RX_BALANCE_SOURCE_SOCKET, RX_BALANCE_MAGLEV,     RX_BALANCE_FIRST };

// ---- what holds for every balance ---------------------------------------------------------------------------------

static void every_backend_is_tried_once_and_backups_last(void **state)
{
    (void)state;
    static const struct spec specs[] = { { .weight = 9, .is_backup = true },
                                         { .weight = 3 },
                                         { .weight = 1 },
                                         { .weight = 2 },
                                         { .weight = 1, .is_backup = true } };
    for (unsigned k = 0; k < RX_COUNT(all_balances); k++) {
        struct rx_conf *c = conf_of(all_balances[k], specs, 5);
        for (unsigned seed = 0; seed < 50; seed++) {
            int order[MOST];
            dice.cursor = seed;
            dice.random = rx_mix(seed);
            dice.key = rx_mix(seed + 99);
            assert_int_equal(walk(c, order), 5);
            for (unsigned i = 0; i < 3; i++)
                assert_in_range(order[i], 1, 3);
            assert_int_equal(order[3] + order[4], 0 + 4);
        }
        rx_conf_unref(c);
    }
}

static void the_same_arguments_give_the_same_backend(void **state)
{
    (void)state;
    for (unsigned k = 0; k < RX_COUNT(all_balances); k++) {
        struct rx_conf *c = equals(all_balances[k], 7);
        for (unsigned seed = 0; seed < 200; seed++) {
            dice.cursor = seed;
            dice.random = dice.key = rx_mix(seed);
            assert_int_equal(pick(c), pick(c));
        }
        rx_conf_unref(c);
    }
}

static void who_is_down_drained_or_full_is_never_picked(void **state)
{
    (void)state;
    static const struct spec specs[] = { { .weight = 1 },
                                         { .weight = 1 },
                                         { .weight = 5, .max_connections = 2 },
                                         { .weight = 1 } };
    for (unsigned k = 0; k < RX_COUNT(all_balances); k++) {
        struct rx_conf *c = conf_of(all_balances[k], specs, 4);
        rx_backend_set_health(state_at(c, 0), RX_HEALTH_DOWN, NOW);
        assert_int_equal(rx_backend_drain(&rx_test_home()->backends, "127.0.0.1:1001", true, NOW), 1);
        state_at(c, 2)->active = 2;
        for (unsigned seed = 0; seed < 100; seed++) {
            dice.cursor = seed;
            dice.random = dice.key = rx_mix(seed);
            assert_int_equal(pick(c), 3);
        }
        bool is_full = false;
        rx_backend_set_health(state_at(c, 3), RX_HEALTH_DOWN, NOW);
        assert_null(rx_pick(roster(c), &dice, &is_full));
        assert_true(is_full); // there would be one
        state_at(c, 2)->active = 0;
        assert_int_equal(pick(c), 2);
        rx_backend_set_health(state_at(c, 2), RX_HEALTH_DOWN, NOW);
        assert_null(rx_pick(roster(c), &dice, &is_full));
        assert_false(is_full);
        rx_conf_unref(c);
    }
}

static void who_is_ejected_is_used_only_when_no_other_is_left(void **state)
{
    (void)state;
    static const struct rx_eject_rule rule = { 1, 1000 };
    static const struct spec specs[] = { { .weight = 1 }, { .weight = 1 }, { .weight = 1, .is_backup = true } };
    for (unsigned k = 0; k < RX_COUNT(all_balances); k++) {
        struct rx_conf *c = conf_of(all_balances[k], specs, 3);
        int order[MOST];
        rx_backend_failed(state_at(c, 0), &rule, false, ECONNREFUSED, NOW, 0);
        for (unsigned seed = 0; seed < 50; seed++) {
            dice.cursor = seed;
            dice.random = dice.key = rx_mix(seed);
            assert_int_equal(walk(c, order), 3);
            assert_int_equal(order[0], 1);
            assert_int_equal(order[1], 2); // a backup before an ejected one
            assert_int_equal(order[2], 0);
        }
        rx_conf_unref(c);
    }
}

static void a_policys_choice_comes_first_unless_it_cannot_be_had(void **state)
{
    (void)state;
    struct rx_conf *c = equals(RX_BALANCE_ROUND_ROBIN, 3);
    int order[MOST];
    dice.first = 2;
    assert_int_equal(walk(c, order), 3);
    assert_int_equal(order[0], 2);
    rx_backend_set_health(state_at(c, 2), RX_HEALTH_DOWN, NOW);
    assert_int_equal(pick(c), 0);
    dice.first = 99; // of a larger roster
    assert_int_equal(pick(c), 0);
    rx_conf_unref(c);
}

// ---- round_robin --------------------------------------------------------------------------------------------------

static void turns_go_round(void **state)
{
    (void)state;
    struct rx_conf *c = equals(RX_BALANCE_ROUND_ROBIN, 3);
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(pick_turn(c, i), (int)(i % 3));
    rx_conf_unref(c);
}

static void weights_share_the_turns_smoothly(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of(RX_BALANCE_ROUND_ROBIN,
                                (struct spec[]){ { .weight = 5 }, { .weight = 1 }, { .weight = 1 } }, 3);
    static const int smooth[] = { 0, 0, 1, 0, 2, 0, 0 }; // never more than two in a row
    for (uint32_t i = 0; i < 70; i++)
        assert_int_equal(pick_turn(c, i), smooth[i % 7]);
    rx_conf_unref(c);
}

static void a_round_gives_each_backend_its_weight(void **state)
{
    (void)state;
    static const struct spec specs[] = {
        { .weight = 7 }, { .weight = 2 }, { .weight = 256 }, { .weight = 1 }, { .weight = 30 }
    };
    struct rx_conf *c = conf_of(RX_BALANCE_ROUND_ROBIN, specs, 5);
    unsigned count[5] = { 0 };
    for (uint32_t i = 0; i < 7 + 2 + 256 + 1 + 30; i++)
        count[pick_turn(c, i)]++;
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(count[i], specs[i].weight);
    rx_conf_unref(c);
}

// Its neighbour must not get all of it.
static void the_turns_of_one_that_is_down_are_shared_by_the_others(void **state)
{
    (void)state;
    for (unsigned n = 3; n < 8; n++) {
        struct rx_conf *c = equals(RX_BALANCE_ROUND_ROBIN, n);
        unsigned count[8] = { 0 };
        rx_backend_set_health(state_at(c, 1), RX_HEALTH_DOWN, NOW);
        for (uint32_t i = 0; i < n * (n - 1); i++)
            count[pick_turn(c, i)]++;
        for (unsigned i = 0; i < n; i++)
            assert_int_equal(count[i], i == 1 ? 0 : n);
        rx_conf_unref(c);
    }
}

static void backups_alone_take_turns(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of(RX_BALANCE_ROUND_ROBIN,
                                (struct spec[]){ { .weight = 1, .is_backup = true }, { .weight = 1, .is_backup = true } },
                                2);
    assert_int_equal(pick_turn(c, 0), 0);
    assert_int_equal(pick_turn(c, 1), 1);
    rx_conf_unref(c);
}

static void a_cursor_that_wraps_stays_in_range(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of(RX_BALANCE_ROUND_ROBIN, (struct spec[]){ { .weight = 2 }, { .weight = 1 } }, 2);
    for (uint32_t i = UINT32_MAX - 4; i != 4; i++)
        assert_in_range(pick_turn(c, i), 0, 1);
    rx_conf_unref(c);
}

static void large_weights_keep_their_proportion(void **state)
{
    (void)state;
    struct rx_conf *c =
        conf_of(RX_BALANCE_ROUND_ROBIN, (struct spec[]){ { .weight = 300000 }, { .weight = 100000 } }, 2);
    unsigned first = 0;
    for (uint32_t i = 0; i < 4000; i++)
        first += pick_turn(c, i) == 0;
    assert_in_range(first, 2990, 3010);
    rx_conf_unref(c);
}

// ---- random, p2c, least_conn --------------------------------------------------------------------------------------

static void random_follows_the_weights(void **state)
{
    (void)state;
    static const struct spec specs[] = { { .weight = 1 }, { .weight = 2 }, { .weight = 5 }, { .weight = 2 } };
    struct rx_conf *c = conf_of(RX_BALANCE_RANDOM, specs, 4);
    unsigned count[4] = { 0 };
    for (unsigned i = 0; i < 100000; i++) {
        dice.random = rx_mix(i);
        count[pick(c)]++;
    }
    for (unsigned i = 0; i < 4; i++)
        assert_in_range(count[i], specs[i].weight * 10000 - 600, specs[i].weight * 10000 + 600);
    memset(count, 0, sizeof count);
    rx_backend_set_health(state_at(c, 2), RX_HEALTH_DOWN, NOW);
    for (unsigned i = 0; i < 50000; i++) {
        dice.random = rx_mix(i);
        count[pick(c)]++;
    }
    assert_int_equal(count[2], 0);
    assert_in_range(count[0], 9400, 10600); // of five parts one
    rx_conf_unref(c);
}

static void least_conn_fills_up_by_weight(void **state)
{
    (void)state;
    static const struct spec specs[] = { { .weight = 1 }, { .weight = 3 }, { .weight = 2 } };
    struct rx_conf *c = conf_of(RX_BALANCE_LEAST_CONN, specs, 3);
    for (uint32_t i = 0; i < 600; i++)
        state_at(c, (unsigned)pick_turn(c, i))->active++;
    for (unsigned i = 0; i < 3; i++)
        assert_in_range(state_at(c, i)->active, specs[i].weight * 100 - 1, specs[i].weight * 100 + 1);
    state_at(c, 1)->active = 250; // some left
    assert_int_equal(pick_turn(c, 0), 1);
    rx_conf_unref(c);
}

static void least_conn_gives_equals_their_turns(void **state)
{
    (void)state;
    struct rx_conf *c = equals(RX_BALANCE_LEAST_CONN, 3);
    unsigned count[3] = { 0 };
    for (uint32_t i = 0; i < 30; i++)
        count[pick_turn(c, i)]++; // who come and leave at once
    assert_int_equal(count[0] + count[1] + count[2], 30);
    assert_true(count[0] == 10 && count[1] == 10 && count[2] == 10);
    rx_conf_unref(c);
}

// Two choices keep the fullest of a hundred near the mean; blind chance does not.
static unsigned fullest(enum rx_balance balance)
{
    struct rx_conf *c = equals(balance, 100);
    unsigned most = 0;
    for (unsigned i = 0; i < 10000; i++) {
        dice.random = rx_mix(i * 3 + 1);
        state_at(c, (unsigned)pick(c))->active++;
    }
    for (unsigned i = 0; i < 100; i++)
        most = RX_MAX(most, state_at(c, i)->active);
    rx_conf_unref(c);
    return most;
}

static void p2c_is_more_even_than_random(void **state)
{
    (void)state;
    assert_in_range(fullest(RX_BALANCE_P2C), 100, 106);
    assert_in_range(fullest(RX_BALANCE_RANDOM), 112, 200);
}

static void first_fills_one_up_before_the_next(void **state)
{
    (void)state;
    static const struct spec specs[] = { { .weight = 1, .max_connections = 2 },
                                         { .weight = 1, .max_connections = 1 },
                                         { .weight = 1 } };
    static const int want[] = { 0, 0, 1, 2, 2, 2 };
    struct rx_conf *c = conf_of(RX_BALANCE_FIRST, specs, 3);
    for (unsigned i = 0; i < 6; i++) {
        int got = pick(c);
        assert_int_equal(got, want[i]);
        state_at(c, (unsigned)got)->active++;
    }
    state_at(c, 0)->active--;
    assert_int_equal(pick(c), 0);
    rx_conf_unref(c);
}

// ---- by client ----------------------------------------------------------------------------------------------------

static uint64_t key_of(enum rx_balance balance, unsigned client)
{
    union rx_ip ip = { .v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)(client * 7)) } };
    ip.v4.sin_addr.s_addr = htonl(0x0a000000 + client);
    return rx_client_key(balance, &ip);
}

static void the_key_of_a_client_is_its_address_alone_or_with_its_port(void **state)
{
    (void)state;
    union rx_ip a, b, c;
    char why[RX_ADDR_TEXT];
    rx_ip_parse("192.0.2.7:1", &a, why);
    rx_ip_parse("192.0.2.7:2", &b, why);
    rx_ip_parse("[2001:db8::7]:1", &c, why);
    assert_true(rx_client_key(RX_BALANCE_SOURCE_IP, &a) == rx_client_key(RX_BALANCE_MAGLEV, &b));
    assert_true(rx_client_key(RX_BALANCE_SOURCE_SOCKET, &a) != rx_client_key(RX_BALANCE_SOURCE_SOCKET, &b));
    assert_true(rx_client_key(RX_BALANCE_SOURCE_IP, &a) != rx_client_key(RX_BALANCE_SOURCE_IP, &c));
    // Nodes of different versions and machines must agree: this number may not change.
    assert_true(rx_client_key(RX_BALANCE_MAGLEV, &a) == 0x862b819742d1ecebull);
}

// Shares by weight; who loses its backend moves, nobody else does.
static void clients_keep_their_backend(void **state)
{
    (void)state;
    enum { CLIENTS = 20000 };
    static const enum rx_balance by_client[] = { RX_BALANCE_SOURCE_IP, RX_BALANCE_SOURCE_SOCKET, RX_BALANCE_MAGLEV };
    static const struct spec specs[] = { { .weight = 1 }, { .weight = 1 }, { .weight = 3 }, { .weight = 1 } };
    for (unsigned k = 0; k < RX_COUNT(by_client); k++) {
        struct rx_conf *c = conf_of(by_client[k], specs, 4);
        static int was[CLIENTS];
        unsigned count[4] = { 0 }, after[4] = { 0 };
        for (unsigned i = 0; i < CLIENTS; i++) {
            dice.key = key_of(by_client[k], i);
            count[was[i] = pick(c)]++;
        }
        for (unsigned i = 0; i < 4; i++)
            assert_in_range(count[i], specs[i].weight * CLIENTS / 6 * 92 / 100, specs[i].weight * CLIENTS / 6 * 108 / 100);
        rx_backend_set_health(state_at(c, 1), RX_HEALTH_DOWN, NOW);
        for (unsigned i = 0; i < CLIENTS; i++) {
            dice.key = key_of(by_client[k], i);
            int now = pick(c);
            assert_true(was[i] == 1 ? now != 1 : now == was[i]);
            after[now]++;
        }
        for (unsigned i = 0; i < 4; i++) // whose clients were shared out by weight as well
            assert_in_range(after[i], i == 1 ? 0 : specs[i].weight * CLIENTS / 5 * 92 / 100,
                            specs[i].weight * CLIENTS / 5 * 108 / 100);
        rx_conf_unref(c);
    }
}

// Of the clients of those that stay, how many in a thousand another roster moves.
static unsigned moved(enum rx_balance balance, const struct spec *a, unsigned na, const struct spec *b, unsigned nb,
                      int gone)
{
    struct rx_conf *x = conf_of(balance, a, na), *y = conf_of(balance, b, nb);
    unsigned n = 0, n_moved = 0;
    for (unsigned i = 0; i < 20000; i++) {
        dice.key = key_of(balance, i);
        int before = pick(x), now = pick(y);
        if (before == gone)
            continue;
        n++;
        n_moved += before != now;
    }
    rx_conf_unref(x);
    rx_conf_unref(y);
    return n_moved * 1000 / n;
}

static void the_order_backends_are_written_in_makes_no_difference(void **state)
{
    (void)state;
    struct spec a[20], b[20];
    for (unsigned i = 0; i < 20; i++) {
        a[i] = (struct spec){ .weight = 1 + i % 3, .number = i + 1 };
        b[19 - i] = a[i];
    }
    assert_int_equal(moved(RX_BALANCE_MAGLEV, a, 20, b, 20, -1), 0);
    assert_int_equal(moved(RX_BALANCE_SOURCE_IP, a, 20, b, 20, -1), 0);
    assert_int_equal(moved(RX_BALANCE_SOURCE_SOCKET, a, 20, b, 20, -1), 0);
}

static void removing_one_moves_hardly_any_other_client(void **state)
{
    (void)state;
    struct spec a[20];
    for (unsigned i = 0; i < 20; i++)
        a[i] = (struct spec){ .weight = 1, .number = i + 1 };
    assert_in_range(moved(RX_BALANCE_MAGLEV, a, 20, a, 19, 20), 0, 10); // 1 %, where a modulus moves 95 %
    for (unsigned n = 3; n <= 20; n++) // in all: its own share and 1 %
        assert_in_range(moved(RX_BALANCE_MAGLEV, a, n, a, n - 1, -1), 0, 1000 / n + 10);
    assert_int_equal(moved(RX_BALANCE_SOURCE_IP, a, 20, a, 19, 20), 0);
}

static void maglev_shares_its_places_by_weight_among_many(void **state)
{
    (void)state;
    struct rx_conf *c = equals(RX_BALANCE_MAGLEV, 700);
    const struct rx_tier *t = &roster(c)->tiers[0];
    static unsigned count[700];
    assert_int_equal(t->n_maglev, 655373);
    memset(count, 0, sizeof count);
    for (uint32_t i = 0; i < t->n_maglev; i++)
        count[t->maglev[i]]++;
    for (unsigned i = 0; i < 700; i++)
        assert_in_range(count[i], 655373 / 700, 655373 / 700 + 1);
    rx_conf_unref(c);
    c = conf_of(RX_BALANCE_MAGLEV, (struct spec[]){ { .weight = 1 }, { .weight = 4 }, { .weight = 2 } }, 3);
    t = &roster(c)->tiers[0];
    memset(count, 0, sizeof count);
    for (uint32_t i = 0; i < t->n_maglev; i++)
        count[t->maglev[i]]++;
    for (unsigned i = 0; i < 3; i++)
        assert_in_range(count[i], 65537 * (i == 1 ? 4 : i + 1 - (i == 2)) / 7 - 4, 65537 * (i == 1 ? 4 : i + 1 - (i == 2)) / 7 + 4);
    rx_conf_unref(c);
}

// ---- slow start ---------------------------------------------------------------------------------------------------

static unsigned share_of_zero(const struct rx_conf *c, bool is_kept)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 2; i++)
        state_at(c, i)->active = 0;
    for (uint32_t i = 0; i < 8000; i++) {
        dice.random = rx_mix(i);
        int got = pick_turn(c, i);
        n += got == 0;
        if (is_kept)
            state_at(c, (unsigned)got)->active++;
    }
    return n;
}

static void who_came_back_reaches_its_share_little_by_little(void **state)
{
    (void)state;
    static const enum rx_balance ramped[] = { RX_BALANCE_ROUND_ROBIN, RX_BALANCE_RANDOM, RX_BALANCE_LEAST_CONN,
                                              RX_BALANCE_P2C };
    for (unsigned k = 0; k < RX_COUNT(ramped); k++) {
        struct rx_conf *c =
            conf_with(&(struct rx_pool_spec){ .balance = ramped[k], .slow_start_ms = 10000 },
                      (struct spec[]){ { .weight = 1 }, { .weight = 1 } }, 2);
        bool is_kept = ramped[k] >= RX_BALANCE_LEAST_CONN && ramped[k] != RX_BALANCE_RANDOM;
        assert_in_range(share_of_zero(c, is_kept), 3800, 4200);
        rx_backend_set_health(state_at(c, 0), RX_HEALTH_DOWN, NOW);
        rx_backend_set_health(state_at(c, 0), RX_HEALTH_UP, NOW);
        unsigned last = 0, now[4];
        for (unsigned i = 0; i < 4; i++) {
            dice.now_ms = NOW + 1 + i * 3300;
            now[i] = share_of_zero(c, is_kept);
            assert_true(now[i] > last);
            last = now[i];
        }
        assert_in_range(now[0], 1, 500);
        assert_in_range(now[3], 3500, 4200);
        dice.now_ms = NOW + 20000;
        assert_in_range(share_of_zero(c, is_kept), 3800, 4200);
        rx_conf_unref(c);
    }
}

static void a_cold_one_alone_takes_all(void **state)
{
    (void)state;
    struct rx_conf *c = conf_with(&(struct rx_pool_spec){ .slow_start_ms = 10000 },
                                  (struct spec[]){ { .weight = 1 }, { .weight = 1 } }, 2);
    state_at(c, 0)->warm_since_ms = NOW - 1;
    rx_backend_set_health(state_at(c, 1), RX_HEALTH_DOWN, NOW);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(pick_turn(c, i), 0);
    rx_conf_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_backend_is_tried_once_and_backups_last),
        cmocka_unit_test(the_same_arguments_give_the_same_backend),
        cmocka_unit_test(who_is_down_drained_or_full_is_never_picked),
        cmocka_unit_test(who_is_ejected_is_used_only_when_no_other_is_left),
        cmocka_unit_test(a_policys_choice_comes_first_unless_it_cannot_be_had),
        cmocka_unit_test(turns_go_round),
        cmocka_unit_test(weights_share_the_turns_smoothly),
        cmocka_unit_test(a_round_gives_each_backend_its_weight),
        cmocka_unit_test(the_turns_of_one_that_is_down_are_shared_by_the_others),
        cmocka_unit_test(backups_alone_take_turns),
        cmocka_unit_test(a_cursor_that_wraps_stays_in_range),
        cmocka_unit_test(large_weights_keep_their_proportion),
        cmocka_unit_test(random_follows_the_weights),
        cmocka_unit_test(least_conn_fills_up_by_weight),
        cmocka_unit_test(least_conn_gives_equals_their_turns),
        cmocka_unit_test(p2c_is_more_even_than_random),
        cmocka_unit_test(first_fills_one_up_before_the_next),
        cmocka_unit_test(the_key_of_a_client_is_its_address_alone_or_with_its_port),
        cmocka_unit_test(clients_keep_their_backend),
        cmocka_unit_test(the_order_backends_are_written_in_makes_no_difference),
        cmocka_unit_test(removing_one_moves_hardly_any_other_client),
        cmocka_unit_test(maglev_shares_its_places_by_weight_among_many),
        cmocka_unit_test(who_came_back_reaches_its_share_little_by_little),
        cmocka_unit_test(a_cold_one_alone_takes_all),
    };
    return cmocka_run_group_tests_name("pick", tests, NULL, NULL);
}
