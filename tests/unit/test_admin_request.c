// SPDX-License-Identifier: MIT
// Enters: lines as a client of the admin socket may send them. Leaves: that each is read as it was meant, or refused in
// words that name what is wrong.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin_request.h"

static struct rx_request r;
static char error[RX_REQUEST_ERROR];

// The line lies at the very end of its memory, so that reading past it is seen.
static int parse(const char *line)
{
    size_t len = strlen(line);
    char *copy = malloc(len + !len);
    memcpy(copy, line, len);
    memset(error, 'Z', sizeof error);
    int rc = rx_request_parse(copy, len, &r, error);
    if (rc)
        assert_non_null(memchr(error, 0, sizeof error));
    free(copy);
    return rc;
}

static void every_command_is_known_by_its_word(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum rx_request_kind kind;
    } lines[] = {
        { "{\"cmd\":\"hello\"}", RX_REQUEST_HELLO },
        { " { \"cmd\" : \"status\" } \r", RX_REQUEST_STATUS },
        { "{\"cmd\":\"top\"}", RX_REQUEST_TOP },
        { "{\"conn\":\"1a00\",\"cmd\":\"kill\"}", RX_REQUEST_KILL },
        { "{\"cmd\":\"reload\"}", RX_REQUEST_RELOAD },
        { "{\"cmd\":\"upgrade\"}", RX_REQUEST_UPGRADE },
        { "{\"cmd\":\"log\"}", RX_REQUEST_LOG },
        { "{\"cmd\":\"ban\",\"ip\":\"::1\"}", RX_REQUEST_BAN },
        { "{\"cmd\":\"unban\",\"ip\":\"10.0.0.0/8\"}", RX_REQUEST_UNBAN },
        { "{\"cmd\":\"drain\",\"backend\":\"10.0.0.1:80\"}", RX_REQUEST_DRAIN },
        { "{\"cmd\":\"undrain\",\"backend\":\"10.0.0.1:80\"}", RX_REQUEST_UNDRAIN },
        { "{\"cmd\":\"record\",\"file\":\"/tmp/x\"}", RX_REQUEST_RECORD },
        { "{\"cmd\":\"record_stop\"}", RX_REQUEST_RECORD_STOP },
    };
    assert_int_equal(RX_COUNT(lines), RX_REQUEST_COUNT);
    for (unsigned i = 0; i < RX_COUNT(lines); i++) {
        assert_int_equal(parse(lines[i].line), 0);
        assert_int_equal(r.kind, lines[i].kind);
    }
}

static void members_reach_their_fields(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"cmd\":\"kill\",\"conn\":\"ffffffffffffffff\"}"), 0);
    assert_true(r.conn == UINT64_MAX);
    assert_int_equal(parse("{\"cmd\":\"top\",\"sort\":\"idle\",\"filter\":\"\\u00fc SSH\",\"limit\":500}"), 0);
    assert_int_equal(r.flows.sort, RX_FLOW_IDLE);
    assert_string_equal(r.flows.filter, "\xc3\xbc SSH");
    assert_int_equal(r.flows.limit, 500);
    assert_int_equal(parse("{\"cmd\":\"top\"}"), 0);
    assert_int_equal(r.flows.limit, 100);
    assert_int_equal(r.flows.sort, RX_FLOW_RATE);
    assert_string_equal(r.flows.filter, "");
    assert_int_equal(parse("{\"cmd\":\"log\",\"level\":\"warning\"}"), 0);
    assert_int_equal(r.level, RX_LOG_WARN);
    assert_int_equal(r.has, RX_HAS_LEVEL);
    assert_int_equal(parse("{\"cmd\":\"ban\",\"ip\":\"10.0.0.0/8\",\"ttl_ms\":1}"), 0);
    assert_int_equal(r.ttl_ms, 1);
    assert_int_equal(r.ip.bits, 8);
    assert_int_equal(parse("{\"cmd\":\"record\",\"file\":\"/tmp/x\"}"), 0);
    assert_string_equal(r.file, "/tmp/x");
    assert_int_equal(parse("{\"cmd\":\"record\",\"file\":\"x\"}"), -1);
    assert_int_equal(parse("{\"cmd\":\"record\"}"), -1);
    assert_int_equal(parse("{\"cmd\":\"ban\",\"ip\":\"10.0.0.1\"}"), 0);
    assert_int_equal(r.ttl_ms, 3600000);
    assert_int_equal(parse("{\"cmd\":\"drain\",\"backend\":\"unix:/run/x\"}"), 0);
    assert_string_equal(r.backend, "unix:/run/x");
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        { "", "not JSON" },
        { "garbage", "not JSON" },
        { "{\"cmd\":\"hello\"} x", "not JSON" },
        { "{\"cmd\":\"hello\",\"cmd\":\"hello\"}", "not JSON" },
        { "{\"cmd\":\"kill\",\"conn\":\"\\u0000\"}", "not JSON" },
        { "[]", "an object" },
        { "7", "not JSON" },
        { "{}", "\"cmd\"" },
        { "{\"cmd\":1}", "\"cmd\"" },
        { "{\"cmd\":\"stat\\u001bus\"}", "unknown cmd \"stat\\x1bus\"" },
        { "{\"cmd\":\"status\",\"sort\":\"rate\"}", "status: unknown member \"sort\"" },
        { "{\"cmd\":\"hello\",\"x\\n\":1}", "hello: unknown member \"x\\x0a\"" },
        { "{\"cmd\":\"kill\"}", "kill: needs a member \"conn\"" },
        { "{\"cmd\":\"kill\",\"conn\":12}", "conn: " },
        { "{\"cmd\":\"kill\",\"conn\":\"\"}", "conn: " },
        { "{\"cmd\":\"kill\",\"conn\":\"0x12\"}", "conn: " },
        { "{\"cmd\":\"kill\",\"conn\":\"10000000000000000\"}", "conn: " },
        { "{\"cmd\":\"top\",\"sort\":\"size\"}", "sort: " },
        { "{\"cmd\":\"top\",\"limit\":0}", "limit: " },
        { "{\"cmd\":\"top\",\"limit\":501}", "limit: " },
        { "{\"cmd\":\"top\",\"limit\":1.0}", "limit: " },
        { "{\"cmd\":\"top\",\"filter\":null}", "filter: " },
        { "{\"cmd\":\"top\",\"filter\":\"1234567890123456789012345678901234567890123456789012345678901234\"}", "filter: " },
        { "{\"cmd\":\"log\",\"level\":\"loud\"}", "level: " },
        { "{\"cmd\":\"ban\"}", "ban: needs a member \"ip\"" },
        { "{\"cmd\":\"ban\",\"ip\":\"10.0.0.0/33\"}", "ip: " },
        { "{\"cmd\":\"ban\",\"ip\":\"::1\",\"ttl_ms\":0}", "ttl_ms: " },
        { "{\"cmd\":\"ban\",\"ip\":\"::1\",\"ttl_ms\":99999999999999}", "ttl_ms: " },
        { "{\"cmd\":\"unban\",\"ip\":\"::1\",\"ttl_ms\":1}", "unban: unknown member \"ttl_ms\"" },
        { "{\"cmd\":\"drain\",\"backend\":\"\"}", "backend: " },
    };
    for (unsigned i = 0; i < RX_COUNT(wrong); i++) {
        assert_int_equal(parse(wrong[i][0]), -1);
        if (!strstr(error, wrong[i][1]))
            fail_msg("%s: \"%s\" is not in \"%s\"", wrong[i][0], wrong[i][1], error);
    }
}

static void length_and_depth_are_bounded(void **state)
{
    (void)state;
    static char line[RX_REQUEST_LINE + 2];
    memset(line, '[', sizeof line - 1);
    assert_int_equal(parse(line), -1);
    assert_non_null(strstr(error, "at most 4096 bytes"));
    line[RX_REQUEST_LINE] = 0;
    assert_int_equal(parse(line), -1);
    assert_non_null(strstr(error, "not JSON"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_known_by_its_word),
        cmocka_unit_test(members_reach_their_fields),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(length_and_depth_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
