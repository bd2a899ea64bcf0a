// SPDX-License-Identifier: MIT
// Enters: configs, and first bytes that are not all there. Leaves: that core/route.c waits while a route before may
// still come to hold and not longer, that the end of input ends every wait, and that an answer once given stays.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static uint8_t buf[64 * 1024];
static const char get[] = "GET /a/b HTTP/1.1\r\nHost: a.test\r\n\r\n";
static const char ssh[] = "SSH-2.0-OpenSSH_9.2p1\r\n";

static size_t hello(const char *sni)
{
    return world_hello(&(struct world_hello){ .sni = sni }, buf, sizeof buf);
}

// ---- waiting ------------------------------------------------------------------------------------------------------

static void a_route_still_waiting_holds_back_those_after_it(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_prefixes(&d, "long", "GET /a/b/c", NULL), -1);
    draft_route(&d, draft_builtin(&d, "http"), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "GET /a"), WORLD_MORE);
    assert_int_equal(world_route(c, "GET /a/b HTTP/1.1\r\n\r\n"), 1);
    assert_int_equal(world_route(c, "GET /a/b/c HTTP/1.1\r\n\r\n"), 0);
    rx_conf_unref(c);
}

static void a_route_still_waiting_does_not_hold_back_those_before_it(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_prefixes(&d, "short", "GE", NULL), -1);
    draft_route(&d, draft_builtin(&d, "http"), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "G"), WORLD_MORE);
    assert_int_equal(world_route(c, "GE"), 0);
    rx_conf_unref(c);
}

static void a_name_still_to_come_holds_back_a_plain_route(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int http = draft_builtin(&d, "http");
    draft_route(&d, http, RX_COND_HOST, "a.test", -1);
    draft_route(&d, http, -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "GET / HTTP/1.1\r\nAccept: x\r\n"), WORLD_MORE);
    assert_int_equal(world_route(c, "GET / HTTP/1.1\r\nAccept: x\r\nHost: a.test\r\n\r\n"), 0);
    assert_int_equal(world_route(c, "GET / HTTP/1.1\r\nAccept: x\r\nHost: b.test\r\n\r\n"), 1);
    assert_int_equal(world_route(c, "GET / HTTP/1.0\r\nAccept: x\r\n\r\n"), 1);
    rx_conf_unref(c);
}

static void a_fact_still_to_come_does_not_hold_back_a_route_before_it(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int http = draft_builtin(&d, "http");
    draft_route(&d, http, RX_COND_METHOD, "GET", -1);
    draft_route(&d, http, RX_COND_HOST, "a.test", -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "GET / HTTP/1.1\r\nAccept: x\r\n"), 0);
    assert_int_equal(world_route(c, "PUT / HTTP/1.1\r\nAccept: x\r\n"), WORLD_MORE);
    rx_conf_unref(c);
}

static void nobody_waits_for_a_route_it_may_not_take(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_patterns(&d, "p", 2000, "needle", NULL), RX_COND_FROM, "10.0.0.0/8", -1);
    draft_route(&d, draft_builtin(&d, "http"), -1);
    struct rx_conf *c = draft_finish(&d);
    struct rx_decision x = world_decide(c, &(struct world_client){ .from = "10.1.1.1" }, get, strlen(get));
    assert_int_equal(world_place(&x), WORLD_MORE);
    x = world_decide(c, &(struct world_client){ .from = "11.1.1.1" }, get, strlen(get));
    assert_int_equal(world_place(&x), 1);
    rx_conf_unref(c);
}

static void nobody_waits_for_a_name_of_a_route_it_may_not_take(void **state)
{
    (void)state;
    static const char some[] = "GET / HTTP/1.1\r\nAccept: x\r\n";
    struct draft d;
    draft_begin(&d);
    int http = draft_builtin(&d, "http");
    draft_route(&d, http, RX_COND_HOST, "a.test", RX_COND_FROM, "10.0.0.0/8", -1);
    draft_route(&d, http, -1);
    struct rx_conf *c = draft_finish(&d);
    for (enum rx_ended ended = RX_OPEN; ended <= RX_ENDED_TIMEOUT; ended++) {
        struct rx_decision x = world_decide(c, &(struct world_client){ .ended = ended }, some, strlen(some));
        assert_int_equal(world_place(&x), 1);
    }
    struct rx_decision x = world_decide(c, &(struct world_client){ .from = "10.0.0.1" }, some, strlen(some));
    assert_int_equal(world_place(&x), WORLD_MORE);
    rx_conf_unref(c);
}

// Every way to wait asks who the client is, or none does: what was final must stay final.
static void who_may_take_no_route_is_told_once_and_for_all(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "G", "GE", "GET", "GET /", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a"
    };
    for (int is_named = 0; is_named < 2; is_named++) {
        struct draft d;
        draft_begin(&d);
        if (is_named)
            draft_route(&d, draft_builtin(&d, "http"), RX_COND_HOST, "a.test", RX_COND_FROM, "10.0.0.0/8", -1);
        else
            draft_route(&d, draft_prefixes(&d, "p", "GET / HTTP/1.1\r\nHost: a.test", NULL), RX_COND_TO_PORT, "1",
                        -1);
        struct rx_conf *c = draft_finish(&d);
        bool is_final = false;
        for (size_t i = 0; i < RX_COUNT(texts); i++) {
            int now = world_route(c, texts[i]);
            assert_true(now == WORLD_NONE || (now == WORLD_MORE && !is_final));
            is_final |= now == WORLD_NONE;
        }
        rx_conf_unref(c);
    }
}

// Asking again before `need` bytes must be idle; `need` is what lets peek.c not ask.
static void need_is_where_the_answer_can_change(void **state)
{
    (void)state;
    for (int is_fast = 0; is_fast < 2; is_fast++) {
        struct draft d;
        draft_begin(&d);
        draft_route(&d, draft_builtin(&d, "tls"), RX_COND_SNI, "a.test", -1);
        draft_route(&d, draft_builtin(&d, "http"), -1);
        if (!is_fast) // a prefix with the same first byte leaves the shortcut
            draft_route(&d, draft_prefixes(&d, "p", "\x16zz", NULL), -1);
        struct rx_conf *c = draft_finish(&d);
        size_t n = hello("a.test");
        struct rx_decision x = world_decide(c, &(struct world_client){ 0 }, buf, 20);
        assert_int_equal(x.verdict, RX_MORE);
        assert_int_equal(x.need, n);
        for (size_t k = 20; k < n; k++)
            assert_int_equal(world_route_n(c, buf, k), WORLD_MORE);
        assert_int_equal(world_route_n(c, buf, n), 0);
        rx_conf_unref(c);
    }
}

static void need_is_the_next_byte_while_any_byte_could_decide(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_patterns(&d, "p", 2000, "needle", NULL), -1);
    draft_route(&d, draft_builtin(&d, "tls"), -1);
    struct rx_conf *c = draft_finish(&d);
    hello("a.test");
    struct rx_decision x = world_decide(c, &(struct world_client){ 0 }, buf, 20);
    assert_int_equal(x.verdict, RX_MORE);
    assert_int_equal(x.need, 21);
    rx_conf_unref(c);
}

// ---- the end of input ---------------------------------------------------------------------------------------------

static void the_end_of_input_ends_the_wait(void **state)
{
    (void)state;
    static const enum rx_ended ends[] = { RX_ENDED_EOF, RX_ENDED_FULL, RX_ENDED_TIMEOUT };
    struct draft d;
    draft_begin(&d);
    int http = draft_builtin(&d, "http");
    draft_route(&d, draft_prefixes(&d, "long", "GET /abc", NULL), -1);
    draft_route(&d, http, RX_COND_HOST, "a.test", -1);
    draft_route(&d, http, -1);
    struct rx_conf *c = draft_finish(&d);
    for (size_t i = 0; i < RX_COUNT(ends); i++) {
        // Only the end of input proves that no Host will come: padding or dawdling does not.
        int without_host = ends[i] == RX_ENDED_EOF ? 2 : WORLD_NONE;
        assert_int_equal(world_route_ended(c, "GET /a HTTP/1.1\r\nAcc", ends[i]), without_host);
        assert_int_equal(world_route_ended(c, "GET /ab", ends[i]), WORLD_NONE);
        assert_int_equal(world_route_ended(c, "GET /abc", ends[i]), 0);
    }
    rx_conf_unref(c);
}

static void a_name_not_told_in_time_is_not_the_same_as_no_name(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int http = draft_builtin(&d, "http");
    draft_route(&d, http, RX_COND_METHOD, "PUT", -1);
    draft_route(&d, http, RX_COND_HOST, "secret.test", -1);
    draft_route(&d, http, -1);
    draft_route(&d, draft_builtin(&d, "any"), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route_ended(c, "GET / HTTP/1.1\r\nX: y\r\n", RX_ENDED_TIMEOUT), 3);
    assert_int_equal(world_route_ended(c, "GET / HTTP/1.1\r\nX: y\r\n", RX_ENDED_EOF), 2);
    assert_int_equal(world_route_ended(c, "PUT / HTTP/1.1\r\nX: y\r\n", RX_ENDED_TIMEOUT), 0);
    assert_int_equal(world_route_ended(c, "GET / HTTP/1.1\r\nHost: secret.test\r\n", RX_ENDED_TIMEOUT), 1);
    rx_conf_unref(c);
}

static void nothing_said_by_the_timeout_is_silent(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_builtin(&d, "http"), -1);
    draft_route(&d, draft_builtin(&d, "silent"), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, ""), WORLD_MORE);
    assert_int_equal(world_route_ended(c, "", RX_ENDED_TIMEOUT), 1);
    assert_int_equal(world_route_ended(c, "", RX_ENDED_EOF), WORLD_NONE);
    assert_int_equal(world_route_ended(c, "x", RX_ENDED_TIMEOUT), WORLD_NONE);
    assert_int_equal(world_route(c, "x"), WORLD_NONE);
    rx_conf_unref(c);
}

static void silent_may_ask_who_the_client_is(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int silent = draft_builtin(&d, "silent");
    draft_route(&d, silent, RX_COND_FROM, "10.0.0.0/8", -1);
    draft_route(&d, silent, RX_COND_TO_PORT, "25", -1);
    struct rx_conf *c = draft_finish(&d);
    struct world_client who = { .ended = RX_ENDED_TIMEOUT };
    struct rx_decision x = world_decide(c, &who, "", 0);
    assert_int_equal(world_place(&x), WORLD_NONE);
    who.to_port = 25;
    x = world_decide(c, &who, "", 0);
    assert_int_equal(world_place(&x), 1);
    who.from = "10.0.0.1";
    x = world_decide(c, &who, "", 0);
    assert_int_equal(world_place(&x), 0);
    rx_conf_unref(c);
}

static void a_protocol_whose_server_greets_first_takes_the_silent(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_builtin(&d, "http"), -1);
    draft_route(&d, draft_builtin(&d, "smtp"), -1);
    draft_route(&d, draft_builtin(&d, "silent"), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_true(c->listens[0]->routes[1].proto->is_server_first);
    assert_int_equal(world_route_ended(c, "", RX_ENDED_TIMEOUT), 1);
    rx_conf_unref(c);
}

static void a_declared_protocol_may_say_that_its_server_greets_first(void **state)
{
    (void)state;
    for (unsigned is_first = 0; is_first < 2; is_first++) {
        struct draft d;
        draft_begin(&d);
        int id = rx_door.proto_new(
            d.b, &(struct rx_proto_spec){ .name = world_slice("g"), .transport = RX_TCP, .is_server_first = is_first });
        assert_int_equal(rx_door.proto_prefix(d.b, id, world_slice("HI")), 0);
        draft_route(&d, id, -1);
        struct rx_conf *c = draft_finish(&d);
        assert_int_equal(world_route_ended(c, "", RX_ENDED_TIMEOUT), is_first ? 0 : WORLD_NONE);
        assert_int_equal(world_route_ended(c, "", RX_ENDED_EOF), WORLD_NONE);
        assert_int_equal(world_route_ended(c, "H", RX_ENDED_TIMEOUT), WORLD_NONE);
        assert_int_equal(world_route(c, ""), WORLD_MORE);
        assert_int_equal(world_route(c, "HI"), 0);
        rx_conf_unref(c);
    }
}

static void any_takes_whoever_comes_without_waiting(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_builtin(&d, "any"), RX_COND_FROM, "192.0.2.0/24", -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, ""), 0);
    assert_int_equal(world_route(c, "\xff"), 0);
    struct rx_decision x = world_decide(c, &(struct world_client){ .from = "10.0.0.1" }, "", 0);
    assert_int_equal(world_place(&x), WORLD_NONE);
    rx_conf_unref(c);
}

static void any_after_others_waits_for_them(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_builtin(&d, "tls"), -1);
    draft_route(&d, draft_builtin(&d, "any"), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, ""), WORLD_MORE);
    assert_int_equal(world_route(c, "\x16"), WORLD_MORE);
    assert_int_equal(world_route(c, "G"), 1);
    assert_int_equal(world_route_ended(c, "\x16", RX_ENDED_EOF), 1);
    assert_int_equal(world_route_ended(c, "", RX_ENDED_TIMEOUT), 1);
    assert_int_equal(world_route_n(c, buf, hello(NULL)), 0);
    rx_conf_unref(c);
}

// ---- laws ---------------------------------------------------------------------------------------------------------

// Walks every prefix: MORE until an answer, the same answer ever after, and never a change before `need`.
static void walk(const struct rx_conf *c, const uint8_t *p, size_t n)
{
    int settled = WORLD_MORE;
    size_t need = 0;
    for (size_t k = 0; k <= n; k++) {
        struct rx_decision d = world_decide(c, &(struct world_client){ 0 }, p, k);
        int now = world_place(&d);
        if (settled != WORLD_MORE && now != settled)
            fail_msg("after %d at a shorter prefix, %d at %zu bytes", settled, now, k);
        if (now != WORLD_MORE && k < need)
            fail_msg("answered at %zu, needed %zu", k, need);
        settled = now;
        if (now == WORLD_MORE && d.need > need)
            need = d.need;
    }
}

static void every_prefix_agrees_with_the_answer(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int tls = draft_builtin(&d, "tls"), http = draft_builtin(&d, "http");
    draft_route(&d, draft_patterns(&d, "p", 40, "b.t", NULL), -1);
    draft_route(&d, tls, RX_COND_SNI, "a.test", RX_COND_ALPN, "h2", -1);
    draft_route(&d, draft_prefixes(&d, "q", "GET /a/b H", "SSH-2.0-Open", NULL), -1);
    draft_route(&d, http, RX_COND_HOST, "a.test", -1);
    draft_route(&d, tls, -1);
    draft_route(&d, draft_builtin(&d, "ssh"), RX_COND_SOFTWARE, "Go", -1);
    draft_route(&d, http, RX_COND_PATH, "/a", -1);
    struct rx_conf *c = draft_finish(&d);
    walk(c, (const uint8_t *)get, strlen(get));
    walk(c, (const uint8_t *)ssh, strlen(ssh));
    walk(c, buf, hello("a.test"));
    walk(c, buf, world_hello(&(struct world_hello){ .sni = "b.test", .record = 9 }, buf, sizeof buf));
    walk(c, buf, world_hello(&(struct world_hello){ .sni = "a.test", .alpn = { "h2" } }, buf, sizeof buf));
    walk(c, (const uint8_t *)"SSH-2.0-Go\r\nmore", 16);
    rx_conf_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_still_waiting_holds_back_those_after_it),
        cmocka_unit_test(a_route_still_waiting_does_not_hold_back_those_before_it),
        cmocka_unit_test(a_name_still_to_come_holds_back_a_plain_route),
        cmocka_unit_test(a_fact_still_to_come_does_not_hold_back_a_route_before_it),
        cmocka_unit_test(nobody_waits_for_a_route_it_may_not_take),
        cmocka_unit_test(nobody_waits_for_a_name_of_a_route_it_may_not_take),
        cmocka_unit_test(who_may_take_no_route_is_told_once_and_for_all),
        cmocka_unit_test(need_is_where_the_answer_can_change),
        cmocka_unit_test(need_is_the_next_byte_while_any_byte_could_decide),
        cmocka_unit_test(the_end_of_input_ends_the_wait),
        cmocka_unit_test(a_name_not_told_in_time_is_not_the_same_as_no_name),
        cmocka_unit_test(nothing_said_by_the_timeout_is_silent),
        cmocka_unit_test(silent_may_ask_who_the_client_is),
        cmocka_unit_test(a_protocol_whose_server_greets_first_takes_the_silent),
        cmocka_unit_test(a_declared_protocol_may_say_that_its_server_greets_first),
        cmocka_unit_test(any_takes_whoever_comes_without_waiting),
        cmocka_unit_test(any_after_others_waits_for_them),
        cmocka_unit_test(every_prefix_agrees_with_the_answer),
    };
    return cmocka_run_group_tests_name("route wait", tests, NULL, NULL);
}
