// SPDX-License-Identifier: MIT
// Enters: answers of backends, whole and cut anywhere. Leaves: that each is judged as the rule says, that cutting it
// changes nothing but when, and that rules which cannot work are refused with words.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "health.h"
#include "roster.h"
#include "world.h"

static const struct rx_health_spec usual = {
    .kind = RX_CHECK_HTTP, .every_ms = 1000, .timeout_ms = 500, .rise = 2, .fall = 3
};

static struct rx_conf *conf_with(enum rx_check_kind kind, const char *send, const unsigned (*status)[2],
                                 const char *const *expect)
{
    struct draft d;
    struct rx_health_spec s = usual;
    draft_begin(&d);
    int pool = draft_pool(&d, "10.0.0.1:80", NULL);
    s.kind = kind;
    s.send = world_slice(send ? send : "");
    assert_true(rx_door.pool_health(d.b, pool, &s) >= 0);
    for (; status && (*status)[0]; status++)
        assert_int_equal(rx_door.pool_health_status(d.b, pool, (*status)[0], (*status)[1]), 0);
    for (; expect && *expect; expect++)
        assert_int_equal(rx_door.pool_health_expect(d.b, pool, world_slice(*expect)), 0);
    draft_route_to_pool(&d, draft_builtin(&d, "any"), pool);
    return draft_finish(&d);
}

static char why[RX_HEALTH_WHY];

// The bytes lie at the end of their memory.
static enum rx_judgement judge(const struct rx_conf *c, const char *text, size_t n, bool is_over)
{
    uint8_t *copy = malloc(n + !n);
    memcpy(copy, text, n);
    enum rx_judgement j = rx_health_judge(c->pools[0]->health, NULL, copy, (uint32_t)n, is_over, why);
    free(copy);
    return j;
}

// As it comes, byte by byte, and then its end: what is said once stands.
static enum rx_judgement judge_all(const struct rx_conf *c, const char *text)
{
    size_t len = strlen(text);
    enum rx_judgement whole = judge(c, text, len, true), first = RX_JUDGED_MORE;
    assert_int_not_equal(whole, RX_JUDGED_MORE);
    for (size_t n = 0; n <= len; n++) {
        enum rx_judgement j = judge(c, text, n, false);
        if (first == RX_JUDGED_MORE)
            first = j;
        else
            assert_int_equal(j, first);
    }
    if (first != RX_JUDGED_MORE)
        assert_int_equal(first, whole);
    judge(c, text, len, true); // for its words
    return whole;
}

struct answer {
    const char *text;
    enum rx_judgement judgement;
    const char *why;
};

static void judged(struct rx_conf *c, const struct answer *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(judge_all(c, list[i].text), list[i].judgement);
        assert_string_equal(why, list[i].why);
    }
    rx_conf_unref(c);
}

static void http_statuses_are_judged(void **state)
{
    (void)state;
    static const struct answer answers[] = {
        { "HTTP/1.1 200 OK\r\n\r\n", RX_JUDGED_GOOD, "" },
        { "HTTP/1.0 399\r\n\r\n", RX_JUDGED_GOOD, "" },
        { "HTTP/1.1 503 Busy\r\n\r\n", RX_JUDGED_BAD, "status 503, not 200-399" },
        { "HTTP/1.1 400 Bad\r\n", RX_JUDGED_BAD, "status 400, not 200-399" },
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\nLink: x\n\nHTTP/1.1 204 \r\n", RX_JUDGED_GOOD, "" },
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 \r\n", RX_JUDGED_BAD, "status 500, not 200-399" },
        { "HTTP/1.1 101 Upgrade\r\n\r\n", RX_JUDGED_BAD, "status 101, not 200-399" },
        { "HTTP/1.1 100 Continue\r\n\r\n", RX_JUDGED_BAD, "closed without an answer" },
        { "HTTP/1.1 100 Continue\r\nX: ", RX_JUDGED_BAD, "the answer ends within its header" },
        { "HTTP/1.1 20", RX_JUDGED_BAD, "the answer ends within its header" },
        { "HTTP/1.1 2000 OK\r\n", RX_JUDGED_BAD, "no HTTP answer: \"HTTP/1.1 2000 OK\\x0d\\x0a\"" },
        { "HTTP/1.1 099 OK\r\n", RX_JUDGED_BAD, "no HTTP answer: \"HTTP/1.1 099 OK\\x0d\\x0a\"" },
        { "HTTP/x.1 200 OK\r\n", RX_JUDGED_BAD, "no HTTP answer: \"HTTP/x.1 200 OK\\x0d\\x0a\"" },
        { "220 mail.test ESMTP and so much more\r\n", RX_JUDGED_BAD, "no HTTP answer: \"220 mail.test ESMTP and ...\"" },
        { "", RX_JUDGED_BAD, "closed without an answer" },
    };
    judged(conf_with(RX_CHECK_HTTP, NULL, NULL, NULL), answers, RX_COUNT(answers));
}

static void a_list_of_statuses_replaces_the_usual_ones(void **state)
{
    (void)state;
    static const unsigned wanted[][2] = { { 204, 204 }, { 401, 403 }, { 500, 500 }, { 0, 0 } };
    static const struct answer answers[] = {
        { "HTTP/1.1 204 x\r\n", RX_JUDGED_GOOD, "" },
        { "HTTP/1.1 402 x\r\n", RX_JUDGED_GOOD, "" },
        { "HTTP/1.1 500 x\r\n", RX_JUDGED_GOOD, "" },
        { "HTTP/1.1 200 x\r\n", RX_JUDGED_BAD, "status 200, not 204, 401-403 or 500" },
        { "HTTP/1.1 404 x\r\n", RX_JUDGED_BAD, "status 404, not 204, 401-403 or 500" },
    };
    judged(conf_with(RX_CHECK_HTTPS, NULL, wanted, NULL), answers, RX_COUNT(answers));
}

static void what_http_expects_is_sought_in_the_body(void **state)
{
    (void)state;
    static const char *const wanted[] = { "well", "~^f[io]ne", NULL };
    static const struct answer answers[] = {
        { "HTTP/1.1 200 OK\r\nX: y\r\n\r\nall is well", RX_JUDGED_GOOD, "" },
        { "HTTP/1.1 200 OK\r\n\r\nfine", RX_JUDGED_GOOD, "" },
        { "HTTP/1.1 200 OK\n\nwell", RX_JUDGED_GOOD, "" },
        { "HTTP/1.1 200 OK\r\nX: well\r\n\r\nill", RX_JUDGED_BAD, "what is expected is not in the answer" },
        { "HTTP/1.1 200 OK\r\nX: well\r\n", RX_JUDGED_BAD, "the answer ends within its header" },
        { "HTTP/1.1 500 OK\r\n\r\nwell", RX_JUDGED_BAD, "status 500, not 200-399" },
    };
    judged(conf_with(RX_CHECK_HTTP, NULL, NULL, wanted), answers, RX_COUNT(answers));
}

static void other_answers_begin_with_what_is_expected(void **state)
{
    (void)state;
    static const char *const wanted[] = { "+PONG", "+PARDON", "~ready$", NULL };
    static const struct answer answers[] = {
        { "+PONG\r\n", RX_JUDGED_GOOD, "" },
        { "+PARDON", RX_JUDGED_GOOD, "" },
        { "not yet ready", RX_JUDGED_GOOD, "" },
        { "-LOADING\r\n", RX_JUDGED_BAD, "unexpected answer \"-LOADING\\x0d\\x0a\"" },
        { "+PON", RX_JUDGED_BAD, "unexpected answer \"+PON\"" },
        { "", RX_JUDGED_BAD, "closed without an answer" },
    };
    judged(conf_with(RX_CHECK_TCP, "PING\r\n", NULL, wanted), answers, RX_COUNT(answers));
    static const char *const plain[] = { "220", "221", NULL };
    struct rx_conf *c = conf_with(RX_CHECK_TCP, NULL, NULL, plain);
    assert_int_equal(judge(c, "22", 2, false), RX_JUDGED_MORE);
    assert_int_equal(judge(c, "25", 2, false), RX_JUDGED_BAD); // no more bytes are waited for
    rx_conf_unref(c);
}

static void any_answer_will_do_when_none_is_described(void **state)
{
    (void)state;
    struct rx_conf *c = conf_with(RX_CHECK_TCP, "x", NULL, NULL);
    assert_true(rx_health_wants_answer(c->pools[0]->health));
    assert_int_equal(judge(c, "", 0, false), RX_JUDGED_MORE);
    assert_int_equal(judge(c, "y", 1, false), RX_JUDGED_GOOD);
    rx_conf_unref(c);
    c = conf_with(RX_CHECK_TCP, NULL, NULL, NULL);
    assert_false(rx_health_wants_answer(c->pools[0]->health));
    rx_conf_unref(c);
}

static void a_request_names_the_backend_or_the_host(void **state)
{
    (void)state;
    char buf[512];
    struct rx_conf *c = conf_with(RX_CHECK_HTTP, NULL, NULL, NULL);
    struct rx_health_rule r = *c->pools[0]->health;
    int n = rx_health_request(&r, "10.0.0.1:80", buf, sizeof buf);
    assert_int_equal(n, strlen(buf));
    assert_memory_equal(buf, "GET / HTTP/1.1\r\nHost: 10.0.0.1:80\r\n", 35);
    assert_non_null(strstr(buf, "\r\nConnection: close\r\n\r\n"));
    assert_true(rx_health_request(&r, "unix:/run/a.sock", buf, sizeof buf) > 0);
    assert_non_null(strstr(buf, "\r\nHost: localhost\r\n"));
    r.host = "a.test", r.path = "/x?y", r.method = "HEAD";
    rx_health_request(&r, "10.0.0.1:80", buf, sizeof buf);
    assert_memory_equal(buf, "HEAD /x?y HTTP/1.1\r\nHost: a.test\r\n", 33);
    assert_int_equal(rx_health_request(&r, "10.0.0.1:80", buf, 40), -1);
    rx_conf_unref(c);
}

static const char *key_of(struct rx_conf **keep, const struct rx_health_spec *s)
{
    struct draft d;
    draft_begin(&d);
    int pool = draft_pool(&d, "10.0.0.1:80", NULL);
    assert_true(rx_door.pool_health(d.b, pool, s) >= 0);
    draft_route_to_pool(&d, draft_builtin(&d, "any"), pool);
    *keep = draft_finish(&d);
    return (*keep)->pools[0]->check;
}

static void the_same_rule_has_the_same_key_and_state_and_any_other_has_not(void **state)
{
    (void)state;
    struct rx_health_spec others[12];
    struct rx_conf *first, *again, *other;
    const char *key = key_of(&first, &usual);
    assert_string_equal(key, key_of(&again, &usual));
    assert_ptr_equal(rx_roster_of(first->pools[0])->backends[0].state, rx_roster_of(again->pools[0])->backends[0].state);
    for (unsigned i = 0; i < RX_COUNT(others); i++)
        others[i] = usual;
    others[0].every_ms++, others[1].timeout_ms++, others[2].rise++, others[3].fall++, others[4].port = 1;
    others[5].is_verified = 1, others[6].kind = RX_CHECK_HTTPS, others[7].path = world_slice("/x");
    others[8].host = world_slice("x"), others[9].sni = world_slice("x"), others[10].method = world_slice("HEAD");
    others[11].kind = RX_CHECK_TCP, others[11].send = world_slice("x");
    for (unsigned i = 0; i < RX_COUNT(others); i++) {
        assert_string_not_equal(key, key_of(&other, &others[i]));
        rx_conf_unref(other);
    }
    rx_conf_unref(first);
    rx_conf_unref(again);
}

static void rules_that_cannot_work_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct rx_health_spec spec;
        const char *words;
    } bad[] = {
        { { .kind = 9 }, "unknown check" },
        { { .kind = RX_CHECK_TCP }, "every, timeout, rise and fall must be more than 0, port at most 65535" },
        { { .kind = RX_CHECK_UDP, .every_ms = 1, .timeout_ms = 1, .rise = 1, .fall = 1 },
          "a udp check needs something to send" },
        { { .every_ms = 1, .timeout_ms = 1, .rise = 1, .fall = 1, .host = { "a\r\nb", 4 } },
          "host, path, method and sni have no blanks or control characters, and at most 1024 bytes" },
        { { .kind = RX_CHECK_HTTP, .every_ms = 1, .timeout_ms = 1, .rise = 1, .fall = 1, .send = { "x", 1 } },
          "an http check has a request of its own: leave send out" },
    };
    struct draft d;
    draft_begin(&d);
    int pool = draft_pool(&d, "10.0.0.1:80", NULL);
    for (unsigned i = 0; i < RX_COUNT(bad); i++) {
        assert_int_equal(rx_door.pool_health(d.b, pool, &bad[i].spec), -1);
        assert_string_equal(rx_door.error(d.b), bad[i].words);
    }
    assert_int_equal(rx_door.pool_health_expect(d.b, pool, world_slice("x")), -1); // there is no rule yet
    assert_int_equal(rx_door.pool_health(d.b, pool, &usual), pool);
    assert_int_equal(rx_door.pool_health(d.b, pool, &usual), -1);
    assert_int_equal(rx_door.pool_health(d.b, 77, &usual), -1);
    assert_int_equal(rx_door.pool_health_expect(d.b, pool, world_slice("~(")), -1);
    assert_int_equal(rx_door.pool_health_expect(d.b, pool, world_slice("")), -1);
    assert_int_equal(rx_door.pool_health_status(d.b, pool, 99, 200), -1);
    assert_int_equal(rx_door.pool_health_status(d.b, pool, 300, 200), -1);
    draft_route_to_pool(&d, draft_builtin(&d, "any"), pool);
    rx_conf_unref(draft_finish(&d));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_statuses_are_judged),
        cmocka_unit_test(a_list_of_statuses_replaces_the_usual_ones),
        cmocka_unit_test(what_http_expects_is_sought_in_the_body),
        cmocka_unit_test(other_answers_begin_with_what_is_expected),
        cmocka_unit_test(any_answer_will_do_when_none_is_described),
        cmocka_unit_test(a_request_names_the_backend_or_the_host),
        cmocka_unit_test(the_same_rule_has_the_same_key_and_state_and_any_other_has_not),
        cmocka_unit_test(rules_that_cannot_work_are_refused),
    };
    return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
