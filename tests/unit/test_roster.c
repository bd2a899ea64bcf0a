// SPDX-License-Identifier: MIT
// Enters: pools with names, answers to them, threads that take rosters while others are published. Leaves: that a
// roster lists what the answers say, that nobody ever reads one that is gone, and that each one goes in the end.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "athome.h"
#include "roster.h"
#include "world.h"

static struct rx_conf *conf_of(const char *a, const char *b)
{
    struct draft d;
    draft_begin(&d);
    int pool = draft_pool(&d, a, b, NULL);
    draft_route_to_pool(&d, draft_builtin(&d, "any"), pool);
    return draft_finish(&d);
}

static struct rx_place place(const char *addr, uint32_t rank, uint32_t weight, const char *name)
{
    struct rx_place p = { .rank = rank, .weight = weight };
    struct rx_target_text t;
    char why[RX_ADDR_TEXT];
    assert_int_equal(rx_addr_parse_target(addr, &t, why), 0);
    p.addr = t.addr;
    snprintf(p.name, sizeof p.name, "%s", name);
    return p;
}

// ---- what is listed -----------------------------------------------------------------------------------------------

static void a_name_without_an_answer_is_listed_and_nobody_is_sent_there(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of("app.test:80", NULL);
    const struct rx_roster *r = rx_roster_of(c->pools[0]);
    struct rx_dice dice = { .first = -1 };
    assert_int_equal(r->n, 1);
    assert_int_equal(r->n_known, 0);
    assert_null(rx_pick(r, &dice, NULL));
    dice.is_rehearsal = true; // explain shows it
    assert_string_equal(rx_pick(r, &dice, NULL)->name, "app.test:80");
    rx_conf_unref(c);
}

static void each_answer_is_a_backend_of_its_rank_and_weight(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of("srv:_a._tcp.test", "10.0.0.9:9");
    struct rx_place list[] = { place("10.0.0.1:81", 0, 10, "one.test:81"), place("10.0.0.2:82", 0, 30, "two.test:82"),
                               place("10.0.0.3:83", 1, 0, "three.test:83") };
    const struct rx_places places = { list, 3 }, *const answers[] = { &places, NULL };
    struct rx_roster *r = rx_roster_new(c->pools[0], answers);
    assert_int_equal(r->n, 4);
    assert_int_equal(r->n_known, 4);
    assert_int_equal(r->n_tiers, 2);
    assert_string_equal(r->backends[0].name, "one.test:81");
    assert_string_equal(r->backends[2].name, "10.0.0.9:9");
    assert_int_equal(r->backends[0].weight * 3, r->backends[1].weight);
    assert_string_equal(r->backends[3].name, "three.test:83");
    assert_int_equal(r->backends[3].tier, 1);
    rx_roster_unref(r);
    rx_conf_unref(c);
}

static void who_is_new_among_others_begins_slowly(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    struct rx_pool_spec spec = { .name = world_slice("p"), .slow_start_ms = 5000 };
    int pool = rx_door.pool_new(d.b, &spec);
    rx_door.pool_backend(d.b, pool, &(struct rx_backend_spec){ .addr = world_slice("app.test:80"), .weight = 1 });
    struct rx_conf *c = draft_finish(&d);
    struct rx_place list[] = { place("10.0.0.1:80", 0, 1, ""), place("10.0.0.2:80", 0, 1, "") };
    const struct rx_places one = { list, 1 }, two = { list, 2 }, *const first[] = { &one }, *const then[] = { &two };
    struct rx_limbo limbo = { 0 };
    rx_roster_publish(c->pools[0], rx_roster_new(c->pools[0], first), &limbo, 1000);
    assert_int_equal(rx_roster_of(c->pools[0])->backends[0].state->warm_since_ms, 0); // there was nobody to spare it
    rx_roster_publish(c->pools[0], rx_roster_new(c->pools[0], then), &limbo, 2000);
    assert_int_equal(rx_roster_of(c->pools[0])->backends[0].state->warm_since_ms, 0);
    assert_int_equal(rx_roster_of(c->pools[0])->backends[1].state->warm_since_ms, 2000);
    assert_true(rx_limbo_sweep(&limbo, UINT64_MAX));
    rx_conf_unref(c);
}

static void a_replaced_roster_goes_only_when_all_have_passed(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of("10.0.0.7:7", NULL);
    struct rx_backend_state *s = rx_roster_of(c->pools[0])->backends[0].state;
    struct rx_limbo limbo = { 0 };
    assert_int_equal(s->refs, 1);
    rx_roster_publish(c->pools[0], rx_roster_new(c->pools[0], NULL), &limbo, 0);
    uint64_t first = limbo.epoch;
    struct rx_roster *taken = rx_roster_take(c->pools[0]);
    rx_roster_publish(c->pools[0], rx_roster_new(c->pools[0], NULL), &limbo, 0);
    assert_int_equal(s->refs, 3);
    assert_false(rx_limbo_sweep(&limbo, first - 1));
    assert_int_equal(s->refs, 3);
    assert_false(rx_limbo_sweep(&limbo, first));
    assert_int_equal(s->refs, 2);
    assert_true(rx_limbo_sweep(&limbo, limbo.epoch));
    assert_int_equal(s->refs, 2); // somebody counted has it still
    rx_roster_unref(taken);
    assert_int_equal(s->refs, 1);
    rx_conf_unref(c);
}

// ---- threads ------------------------------------------------------------------------------------------------------

enum { THREADS = 4, ROUNDS = 3000, HELD = 8 };

static struct model {
    const struct rx_pool *pool;
    atomic_bool is_over;
    atomic_ullong asked;
    struct {
        _Alignas(64) atomic_ullong passed;
        unsigned long n;
    } thread[THREADS];
} model;

// A worker: takes within a turn, keeps some, and between two turns says what it was asked.
static void *take_all_along(void *arg)
{
    size_t me = (size_t)arg;
    struct rx_roster *held[HELD] = { 0 };
    struct rx_dice dice = { .first = -1, .random = me };
    while (!atomic_load(&model.is_over)) {
        for (unsigned i = 0; i < 16; i++) {
            unsigned slot = (unsigned)(dice.random = rx_mix(dice.random + i)) % HELD;
            rx_roster_unref(held[slot]);
            struct rx_roster *r = held[slot] = rx_roster_take(model.pool);
            dice.cursor = (uint32_t)model.thread[me].n++;
            const struct rx_backend *b = rx_pick(r, &dice, NULL);
            assert_true(b && rx_backend_take(b->state, 0, 1) == RX_TAKEN);
            rx_backend_connected(b->state, 1);
            rx_backend_leave(b->state);
        }
        atomic_store(&model.thread[me].passed, atomic_load(&model.asked));
    }
    for (unsigned i = 0; i < HELD; i++)
        rx_roster_unref(held[i]);
    return NULL;
}

static uint64_t passed_by_all(void)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < THREADS; i++)
        least = RX_MIN(least, atomic_load(&model.thread[i].passed));
    return least;
}

static void rosters_are_replaced_under_those_who_take_them(void **state)
{
    (void)state;
    struct rx_conf *c = conf_of("app.test:80", "10.0.0.1:1");
    struct rx_place list[3] = { place("10.0.1.1:80", 0, 1, ""), place("10.0.1.2:80", 0, 2, ""),
                                place("10.0.1.3:80", 0, 1, "") };
    struct rx_backend_state *mine = rx_backend_state_get(&rx_test_home()->backends, &list[0].addr, NULL, "mine");
    pthread_t thread[THREADS];
    struct rx_limbo limbo = { 0 };
    unsigned most = 0;
    model.pool = c->pools[0];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, take_all_along, (void *)i), 0);
    for (unsigned k = 0; k < ROUNDS; k++) {
        const struct rx_places places = { list, 1 + k % 3 }, *const answers[] = { &places, NULL };
        rx_roster_publish(c->pools[0], rx_roster_new(c->pools[0], answers), &limbo, k);
        atomic_store(&model.asked, limbo.epoch);
        rx_limbo_sweep(&limbo, passed_by_all());
        unsigned n = 0;
        for (struct rx_roster *r = limbo.first; r; r = r->next)
            n++;
        most = RX_MAX(most, n);
        if (n > 64)
            sched_yield();
    }
    while (!rx_limbo_sweep(&limbo, passed_by_all())) // it all goes while they run on
        sched_yield();
    atomic_store(&model.is_over, true);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        assert_true(model.thread[i].n > 0);
    }
    assert_true(most > 0);
    rx_conf_unref(c);
    assert_int_equal(mine->refs, 1);
    assert_int_equal(mine->active, 0);
    rx_backend_state_put(mine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_without_an_answer_is_listed_and_nobody_is_sent_there),
        cmocka_unit_test(each_answer_is_a_backend_of_its_rank_and_weight),
        cmocka_unit_test(who_is_new_among_others_begins_slowly),
        cmocka_unit_test(a_replaced_roster_goes_only_when_all_have_passed),
        cmocka_unit_test(rosters_are_replaced_under_those_who_take_them),
    };
    return cmocka_run_group_tests_name("roster", tests, NULL, NULL);
}
