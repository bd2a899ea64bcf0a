// SPDX-License-Identifier: MIT
// Enters: events. Leaves: that core/guard/ledger.c says what a model without cleverness says, remembers no more than it
// may, and counts exactly when threads meet.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "roster.h"
#include "ledger.h"

static struct rx_cidr ip(uint32_t n)
{
    struct rx_cidr c = { .family = AF_INET, .bits = 32 };
    memcpy(c.bytes, &n, 4);
    return c;
}

static struct rx_ledger_answer see(struct rx_ledger *l, const char *id, uint32_t from, uint32_t max, uint64_t now,
                                   bool is_held)
{
    struct rx_ledger_event e = { id, (uint32_t)strlen(id), max, ip(from), now, is_held };
    struct rx_ledger_answer a;
    rx_ledger_see(l, &e, &a);
    return a;
}

static void leave(struct rx_ledger *l, struct rx_seat *seat, uint64_t now)
{
    struct rx_ledger_told told;
    assert_false(rx_ledger_leave(l, seat, now, &told)); // there is nobody to tell
}

static bool is_ip(const struct rx_cidr *c, uint32_t n)
{
    struct rx_cidr want = ip(n);
    return !memcmp(c, &want, sizeof want);
}

static void the_first_keeps_its_place_until_it_is_silent_for_the_window(void **state)
{
    (void)state;
    struct rx_ledger *l = rx_ledger_new(&(struct rx_ledger_rule){ 100, 5000, 60000, false, 0 });
    assert_true(see(l, "u", 1, 1, 1000, false).is_in);
    struct rx_ledger_answer a = see(l, "u", 2, 1, 2000, false);
    assert_false(a.is_in);
    assert_true(a.is_new);
    assert_int_equal(a.n_out, 1);
    assert_true(is_ip(&a.out[0], 2));
    assert_true(is_ip(&a.origin, 1));
    a = see(l, "u", 2, 1, 2001, false);
    assert_false(a.is_in); // once is enough
    assert_false(a.is_new);
    assert_true(see(l, "u", 1, 1, 3000, false).is_in);
    assert_true(see(l, "other", 2, 1, 3000, false).is_in); // of this identity alone
    assert_false(see(l, "u", 3, 1, 7999, false).is_in);
    assert_true(see(l, "u", 4, 1, 8000, false).is_in);
    assert_false(see(l, "u", 1, 1, 8001, false).is_in);
    assert_false(see(l, "u", 2, 1, 61999, false).is_in);
    assert_true(see(l, "u", 2, 1, 62000, false).is_in); // its timeout is over, and 4 has been silent
    rx_ledger_free(l);
}

static void an_address_with_connections_is_active_however_quiet(void **state)
{
    (void)state;
    struct rx_ledger *l = rx_ledger_new(&(struct rx_ledger_rule){ 1, 10, 10, false, 0 });
    struct rx_ledger_answer a = see(l, "u", 1, 1, 1, true), b = see(l, "u", 1, 1, 2, true);
    assert_non_null(a.seat);
    for (uint32_t i = 0; i < 100; i++) { // nor is its identity forgotten for others
        char id[8];
        snprintf(id, sizeof id, "v%u", i);
        assert_true(see(l, id, 9, 1, 1000, false).is_in);
    }
    assert_false(see(l, "u", 2, 1, 100000, false).is_in);
    leave(l, a.seat, 200000);
    assert_false(see(l, "u", 3, 1, 300000, false).is_in);
    leave(l, b.seat, 400000);
    assert_false(see(l, "u", 4, 1, 400009, false).is_in);
    assert_true(see(l, "u", 5, 1, 400010, false).is_in);
    rx_ledger_free(l);
}

static void the_last_takes_the_place_of_the_one_that_was_there_longest(void **state)
{
    (void)state;
    struct rx_ledger *l = rx_ledger_new(&(struct rx_ledger_rule){ 100, 5000, 60000, true, 0 });
    struct rx_ledger_answer one = see(l, "u", 1, 2, 1000, true), two = see(l, "u", 2, 2, 1001, true);
    see(l, "u", 1, 2, 1500, false); // being seen again does not make it come later
    struct rx_ledger_answer three = see(l, "u", 3, 2, 2000, true);
    assert_true(three.is_in);
    assert_true(three.is_new);
    assert_true(three.must_close);
    assert_int_equal(three.n_out, 1);
    assert_true(is_ip(&three.out[0], 1));
    assert_true(is_ip(&three.origin, 3));
    assert_true(atomic_load(&one.seat->is_out));
    assert_false(atomic_load(&two.seat->is_out));
    assert_false(see(l, "u", 1, 2, 2001, true).is_in); // no flapping: it is out for the timeout
    leave(l, one.seat, 2002);
    // A lower limit puts out as many as are too many.
    struct rx_ledger_answer four = see(l, "u", 4, 1, 3000, false);
    assert_true(four.is_in);
    assert_int_equal(four.n_out, 2);
    leave(l, two.seat, 3001);
    leave(l, three.seat, 3001);
    rx_ledger_free(l);
}

static void of_a_limit_that_fell_far_no_more_are_put_out_at_once_than_can_be_told(void **state)
{
    (void)state;
    struct rx_ledger *l = rx_ledger_new(&(struct rx_ledger_rule){ 100, 5000, 60000, true, 0 });
    for (uint32_t i = 1; i <= 20; i++)
        assert_true(see(l, "u", i, 100, 1000 + i, false).is_in);
    struct rx_ledger_answer a = see(l, "u", 21, 1, 2000, false), b = see(l, "u", 22, 1, 2001, false);
    assert_int_equal(a.n_out, RX_LEDGER_PUT_OUT);
    assert_true(a.is_in);
    for (uint32_t i = 0; i < a.n_out; i++)
        assert_true(is_ip(&a.out[i], i + 1));
    assert_true(b.is_in);
    assert_int_equal(b.n_out, 5);
    assert_int_equal(rx_ledger_totals(l, 2002).addresses, 1);
    rx_ledger_free(l);
}

static void a_changed_timeout_holds_for_those_who_are_out(void **state)
{
    (void)state;
    struct rx_ledger_rule rule = { 100, 1000000, 60000, false, 0 };
    struct rx_ledger *l = rx_ledger_new(&rule);
    see(l, "u", 1, 1, 1000, false);
    assert_true(see(l, "u", 2, 1, 1000, false).is_new);
    rule.timeout_ms = 10;
    rx_ledger_set(l, &rule);
    assert_true(see(l, "u", 2, 1, 1010, false).is_new); // out no more, and put out again
    rule.timeout_ms = 60000;
    rx_ledger_set(l, &rule);
    assert_false(see(l, "u", 2, 1, 60000, false).is_new);
    rx_ledger_free(l);
}

static void no_more_identities_than_allowed_are_remembered(void **state)
{
    (void)state;
    struct rx_ledger *l = rx_ledger_new(&(struct rx_ledger_rule){ 1000, 5000, 5000, false, 0 });
    for (uint32_t i = 0; i < 100000; i++) {
        char id[16];
        snprintf(id, sizeof id, "id%u", i);
        assert_true(see(l, id, i, 1, 1000, false).is_in);
    }
    struct rx_ledger_totals t = rx_ledger_totals(l, 1001);
    assert_in_range(t.identities, 900, 1000);
    assert_int_equal(t.identities + t.evicted, 100000);
    t = rx_ledger_totals(l, 6000);
    assert_int_equal(t.identities, 0);
    assert_int_equal(t.addresses, 0);
    rx_ledger_free(l);
}

// ---- the model --------------------------------------------------------------------------------------------------------

enum { IDENTITIES = 100000, EVENTS = 10 * IDENTITIES, WINDOW = 500, TIMEOUT = 700, PLACES = 16, OUTS = 4 };

struct model {
    struct {
        uint32_t ip;
        uint64_t seen, out; // out 0: in
    } p[PLACES]; // in the order they came
    unsigned n;
};

static void forget(struct model *m, unsigned i)
{
    memmove(&m->p[i], &m->p[i + 1], (--m->n - i) * sizeof m->p[0]);
}

static unsigned count(const struct model *m, bool is_out)
{
    unsigned n = 0;
    for (unsigned i = 0; i < m->n; i++)
        n += (m->p[i].out != 0) == is_out;
    return n;
}

static void model_add(struct model *m, uint32_t from, uint64_t now, bool is_out)
{
    if (is_out && count(m, true) == OUTS) {
        unsigned first = PLACES;
        for (unsigned i = 0; i < m->n; i++)
            if (m->p[i].out && (first == PLACES || m->p[i].out <= m->p[first].out))
                first = i;
        forget(m, first);
    }
    m->p[m->n].ip = from;
    m->p[m->n].seen = now;
    m->p[m->n++].out = is_out ? now : 0;
}

// Who is put out, -1 for nobody; *is_in: whether the event's address is in.
static int64_t model_see(struct model *m, uint32_t from, uint32_t max, uint64_t now, bool is_last, bool *is_in)
{
    for (unsigned i = 0; i < m->n;)
        if (m->p[i].out ? m->p[i].out + TIMEOUT <= now : m->p[i].seen + WINDOW <= now)
            forget(m, i);
        else
            i++;
    *is_in = true;
    for (unsigned i = 0; i < m->n; i++)
        if (m->p[i].ip == from) {
            *is_in = !m->p[i].out;
            if (*is_in)
                m->p[i].seen = now;
            return -1;
        }
    int64_t out = -1;
    if (count(m, false) >= max) {
        out = from;
        if (is_last) {
            unsigned i = 0;
            while (m->p[i].out)
                i++;
            out = m->p[i].ip;
            forget(m, i);
        }
        model_add(m, (uint32_t)out, now, true);
    }
    *is_in = out != from;
    if (*is_in)
        model_add(m, from, now, false);
    return out;
}

static void run_beside_model(bool is_last)
{
    struct rx_ledger *l = rx_ledger_new(&(struct rx_ledger_rule){ 4 * IDENTITIES, WINDOW, TIMEOUT, is_last, 0 });
    struct model *models = calloc(IDENTITIES, sizeof *models);
    uint64_t now = 1, dice = 42;
    unsigned n_out = 0;
    for (unsigned i = 0; i < EVENTS; i++) {
        dice = rx_mix(dice + 0x9e3779b97f4a7c15ull);
        uint32_t who = (uint32_t)(dice % 64 ? dice >> 8 & 1023 : dice >> 8) % IDENTITIES;
        uint32_t from = 1 + (dice >> 40) % 6, max = 1 + who % 3;
        now += dice % 8 == 0; // several in one millisecond: the order of coming counts then, too
        char id[16];
        snprintf(id, sizeof id, "%u", who);
        bool is_in;
        int64_t out = model_see(&models[who], from, max, now, is_last, &is_in);
        struct rx_ledger_answer a = see(l, id, from, max, now, false);
        assert_int_equal(a.is_in, is_in);
        assert_int_equal(a.is_new, out >= 0);
        assert_int_equal(a.n_out, out >= 0);
        if (out >= 0)
            assert_true(is_ip(&a.out[0], (uint32_t)out));
        n_out += out >= 0;
    }
    assert_true(n_out > 1000);
    free(models);
    rx_ledger_free(l);
}

static void a_million_events_go_as_the_model_says(void **state)
{
    (void)state;
    run_beside_model(false);
    run_beside_model(true);
}

// ---- threads ----------------------------------------------------------------------------------------------------------

enum { THREADS = 4, ROUNDS = 20000 };

static struct rx_ledger *shared;
static atomic_int inside[64];

static void *crowd(void *arg)
{
    uint64_t dice = (uint64_t)(uintptr_t)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        dice = rx_mix(dice + 0x9e3779b97f4a7c15ull);
        uint32_t who = dice % 64, from = 1 + (uint32_t)(uintptr_t)arg;
        char id[8];
        snprintf(id, sizeof id, "%u", who);
        struct rx_ledger_answer a = see(shared, id, from, 2, 1000, true);
        if (!a.is_in)
            continue;
        assert_in_range(atomic_fetch_add(&inside[who], 1), 0, 1); // each thread is one address
        atomic_fetch_sub(&inside[who], 1);
        leave(shared, a.seat, 1000);
    }
    return NULL;
}

static void threads_never_see_more_inside_than_the_limit(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    // A window of a millisecond that the clock of the events never passes: who came stays.
    shared = rx_ledger_new(&(struct rx_ledger_rule){ 1000, 1, 1, false, 0 });
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct rx_ledger_totals t = rx_ledger_totals(shared, 1000);
    assert_int_equal(t.identities, 64);
    assert_in_range(t.addresses, 64, 128);
    rx_ledger_free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_keeps_its_place_until_it_is_silent_for_the_window),
        cmocka_unit_test(an_address_with_connections_is_active_however_quiet),
        cmocka_unit_test(the_last_takes_the_place_of_the_one_that_was_there_longest),
        cmocka_unit_test(of_a_limit_that_fell_far_no_more_are_put_out_at_once_than_can_be_told),
        cmocka_unit_test(a_changed_timeout_holds_for_those_who_are_out),
        cmocka_unit_test(no_more_identities_than_allowed_are_remembered),
        cmocka_unit_test(a_million_events_go_as_the_model_says),
        cmocka_unit_test(threads_never_see_more_inside_than_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
