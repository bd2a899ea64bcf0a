// SPDX-License-Identifier: MIT
// The config's own tests and samples: what passes, what fails, and in which words; and `refractium check`.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "athome.h"
#include "build.h"
#include "check.h"

#define S(text) ((struct rx_slice){ text, sizeof(text) - 1 })

static struct rx_build *b;
static char lines[16384];

static void keep_report(void *data, unsigned severity, const char *text, size_t len)
{
    (void)data, (void)severity;
    fail_msg("%.*s", (int)len, text);
}

static void keep_line(void *data, const char *line)
{
    (void)data;
    size_t n = strlen(lines);
    snprintf(lines + n, sizeof lines - n, "%s\n", line);
}

static int proto(const char *name)
{
    int id = rx_door.proto_builtin(b, (struct rx_slice){ name, (uint32_t)strlen(name) });
    assert_true(id >= 0);
    return id;
}

static int pool(const char *name, const char *first, const char *second)
{
    struct rx_pool_spec spec = { .name = { name, (uint32_t)strlen(name) } };
    int id = rx_door.pool_new(b, &spec);
    const char *all[] = { first, second };
    for (int i = 0; i < 2 && all[i]; i++) {
        struct rx_backend_spec one = { .addr = { all[i], (uint32_t)strlen(all[i]) }, .weight = 1 };
        assert_int_equal(rx_door.pool_backend(b, id, &one), 0);
    }
    return id;
}

static int route(int listen, int id, struct rx_target_spec to, struct rx_slice where)
{
    struct rx_route_spec spec = { .proto = id, .to = to, .where = where };
    int r = rx_door.route_new(b, listen, &spec);
    assert_true(r >= 0);
    return r;
}

static int listen_on(struct rx_slice addr, struct rx_target_spec fallback)
{
    struct rx_listen_spec spec = { .where = S("refractium.lua:1"), .peek_bytes = 256, .fallback_tcp = fallback };
    int id = rx_door.listen_new(b, &spec);
    assert_int_equal(rx_door.listen_bind(b, id, addr), 0);
    return id;
}

static const struct rx_target_spec to_drop = { .kind = RX_TO_DROP }, to_echo = { .kind = RX_TO_ECHO },
                                   to_refuse = { .kind = RX_TO_REFUSE };

static struct rx_target_spec to_pool(int id)
{
    return (struct rx_target_spec){ .kind = RX_TO_POOL, .pool = id };
}

// ssh from inside to its own backend, http to a pool of two, ftp refused; the rest to 127.0.0.1:8080.
static void begin(void)
{
    b = rx_build_new(rx_test_home(), keep_report, NULL);
    int inside = pool("", "10.0.0.22:22", NULL), web = pool("web", "10.0.0.1:80", "10.0.0.2:80"),
        rest = pool("", "127.0.0.1:8080", NULL);
    int l = listen_on(S("0.0.0.0:8080"), to_pool(rest));
    int r = route(l, proto("ssh"), to_pool(inside), S("refractium.lua:31"));
    assert_int_equal(rx_door.route_cond(b, r, RX_COND_FROM, S("10.0.0.0/8")), 0);
    route(l, proto("http"), to_pool(web), S("refractium.lua:32"));
    route(l, proto("ftp"), to_refuse, S("refractium.lua:33"));
    listen_on(S("127.0.0.1:9"), (struct rx_target_spec){ 0 });
}

// Adds a test and its segments; ends with NULL.
static void test_of(struct rx_test_spec spec, ...)
{
    va_list ap;
    spec.where = S("refractium.lua:52");
    if (!spec.name.len)
        spec.name = S("t");
    int id = rx_door.test_new(b, &spec);
    assert_true(id >= 0);
    va_start(ap, spec);
    for (const char *s; (s = va_arg(ap, const char *));)
        assert_int_equal(rx_door.test_send(b, id, (struct rx_slice){ s, (uint32_t)strlen(s) }), 0);
    va_end(ap);
}

static struct rx_conf *finish(void)
{
    struct rx_conf *conf = rx_build_finish(b, "refractium.lua");
    assert_non_null(conf);
    rx_build_free(b);
    return conf;
}

static unsigned run(void)
{
    struct rx_conf *conf = finish();
    lines[0] = 0;
    unsigned n = rx_check_tests(conf, keep_line, NULL);
    rx_conf_unref(conf);
    return n;
}

static void expectations_that_hold_pass(void **state)
{
    (void)state;
    begin();
    test_of(
        (struct rx_test_spec){
            .from = S("10.1.2.3"), .to = S("10.0.0.22:22"), .route = S("ssh"), .protocol = S("ssh") },
        "SSH-2.0-x\r\n", NULL);
    test_of((struct rx_test_spec){ .from = S("203.0.113.9"), .to = S("127.0.0.1:8080"), .protocol = S("ssh") },
            "SSH-2.0-x\r\n", NULL);
    test_of((struct rx_test_spec){ .to = S("web"), .route = S("http") }, "GE", "T / HTTP/1.1\r\nHo", "st: a\r\n\r\n",
            NULL);
    test_of((struct rx_test_spec){ .expect_more = 1 }, "SS", NULL);
    test_of((struct rx_test_spec){ .is_eof = 1, .to = S("127.0.0.1:8080") }, "SS", NULL);
    test_of((struct rx_test_spec){ .is_eof = 1, .to = S("drop"), .reason = S("client_gone") }, NULL);
    test_of((struct rx_test_spec){ .is_silent = 1, .to = S("refuse"), .reason = S("refused"), .protocol = S("ftp") },
            NULL);
    test_of((struct rx_test_spec){ .listener = S("127.0.0.1:9"), .to = S("drop"), .reason = S("no_route") }, "x",
            NULL);
    test_of((struct rx_test_spec){ .listener = S("127.0.0.1:9"), .to = S("drop"), .reason = S("no-route") }, "x",
            NULL);
    unsigned n = run();
    if (n)
        fail_msg("%s", lines);
}

static void a_full_buffer_ends_the_wait(void **state)
{
    (void)state;
    char head[600];
    begin();
    memset(head, 'a', sizeof head);
    memcpy(head, "GET /", 5);
    head[599] = 0;
    test_of((struct rx_test_spec){ .to = S("127.0.0.1:8080") }, head, NULL);
    unsigned n = run();
    if (n)
        fail_msg("%s", lines);
}

static void a_failure_says_what_came_instead(void **state)
{
    (void)state;
    begin();
    test_of((struct rx_test_spec){ .name = S("ssh from outside"), .from = S("10.0.0.9"), .to = S("127.0.0.1:8080") },
            "SSH-2.0-x\r\n", NULL);
    assert_int_equal(run(), 1);
    assert_string_equal(lines, "refractium.lua:52: test \"ssh from outside\": expected to = \"127.0.0.1:8080\", got "
                               "\"10.0.0.22:22\" (route \"ssh\", refractium.lua:31)\n");
}

static void each_kind_of_failure_is_told(void **state)
{
    (void)state;
    begin();
    test_of((struct rx_test_spec){ .to = S("10.0.0.1:80") }, "GET / HTTP/1.1\r\n\r\n", NULL); // one of two
    test_of((struct rx_test_spec){ .to = S("drop") }, "SS", NULL);
    test_of((struct rx_test_spec){ .expect_more = 1 }, "\x01\x02\x03\x04", NULL);
    test_of((struct rx_test_spec){ .reason = S("no_route") }, "\x01\x02\x03\x04", NULL);
    test_of((struct rx_test_spec){ .protocol = S("ftp"), .route = S("ftp") }, "GET / HTTP/1.1\r\n\r\n", NULL);
    test_of((struct rx_test_spec){ .transport = RX_UDP, .to = S("refuse") }, "x", NULL);
    assert_int_equal(run(), 6);
    assert_non_null(strstr(lines, "expected to = \"10.0.0.1:80\", got \"web\" (route \"http\""));
    assert_non_null(strstr(lines, "not decided after 2 bytes"));
    assert_non_null(strstr(lines, "expected more = true, got \"127.0.0.1:8080\" after 4 bytes"));
    assert_non_null(strstr(lines, "expected reason = \"no_route\", got none (no route takes it: the fallback)"));
    assert_non_null(
        strstr(lines, "expected protocol = \"ftp\", got \"http\"; expected route = \"ftp\", got \"http\""));
    assert_non_null(strstr(lines, "expected to = \"refuse\", got \"drop\""));
}

static void samples_are_tried(void **state)
{
    (void)state;
    begin();
    struct rx_proto_spec spec = { .name = S("game"), .transport = RX_TCP };
    int id = rx_door.proto_new(b, &spec);
    rx_door.proto_prefix(b, id, S("GAME1"));
    rx_door.proto_sample(b, id, 1, S("GAME1 hello"));
    rx_door.proto_sample(b, id, 1, S("GAM"));
    rx_door.proto_sample(b, id, 1, S("GAME2"));
    rx_door.proto_sample(b, id, 0, S("GET / HTTP/1.1\r\n"));
    rx_door.proto_sample(b, id, 0, S("GAME12"));
    assert_int_equal(run(), 3);
    assert_non_null(strstr(lines, "protocol \"game\": samples.yes \"GAM\" (sample 2) is not recognised (more than"));
    assert_non_null(strstr(lines, "samples.yes \"GAME2\" (sample 3) is not recognised (decided after 5 bytes)"));
    assert_non_null(strstr(lines, "samples.no \"GAME12\" (sample 2) is recognised (after 5 bytes)"));
}

static void a_thousand_tests_are_quick(void **state)
{
    (void)state;
    struct timespec from, to;
    begin();
    for (int i = 0; i < 1000; i++)
        test_of((struct rx_test_spec){ .to = S("web") }, "GET / HT", "TP/1.1\r\nHost: a\r\n\r\n", NULL);
    struct rx_conf *conf = finish();
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_int_equal(rx_check_tests(conf, keep_line, NULL), 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    rx_conf_unref(conf);
    double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    printf("             1000 tests: %.2f ms\n", ms);
    assert_true(ms < 200);
}

// ---- the command ----------------------------------------------------------------------------------------------

static char out[2][65536];

static int check(struct rx_conf *conf, const struct rx_args *a, struct rx_findings *f)
{
    int saved[2];
    FILE *to[2];
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        to[i] = tmpfile();
        saved[i] = dup(i + 1);
        dup2(fileno(to[i]), i + 1);
    }
    int code = rx_check_run(conf, a, f);
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        dup2(saved[i], i + 1);
        close(saved[i]);
        rewind(to[i]);
        out[i][fread(out[i], 1, sizeof out[i] - 1, to[i])] = 0;
        fclose(to[i]);
    }
    return code;
}

static void the_table_shows_every_route(void **state)
{
    (void)state;
    const struct rx_args a = { .command = RX_CMD_CHECK }, quiet = { .command = RX_CMD_CHECK, .is_quiet = true };
    struct rx_findings f = { 0 };
    begin();
    test_of((struct rx_test_spec){ .to = S("web") }, "GET / HTTP/1.1\r\n\r\n", NULL);
    struct rx_conf *conf = finish();
    assert_int_equal(check(conf, &a, &f), 0);
    assert_non_null(strstr(out[0], "listen 0.0.0.0:8080  (refractium.lua:1)"));
    assert_non_null(strstr(out[0], "1  ssh   from=10.0.0.0/8 -> 10.0.0.22:22  (refractium.lua:31)"));
    assert_non_null(strstr(out[0], "-> web: 10.0.0.1:80, 10.0.0.2:80  (refractium.lua:32)"));
    assert_non_null(strstr(out[0], "else  tcp -> 127.0.0.1:8080"));
    assert_non_null(strstr(out[0], "dropped and counted: there is no fallback"));
    assert_non_null(strstr(out[0], "\n1 test passed\n"));
    assert_string_equal(out[1], "");
    assert_int_equal(check(conf, &quiet, &f), 0);
    assert_string_equal(out[0], "");
    rx_findings_free(&f);
    rx_conf_unref(conf);
}

static void dead_routes_are_warned_about(void **state)
{
    (void)state;
    const struct rx_args a = { .command = RX_CMD_CHECK };
    struct rx_findings f = { 0 };
    b = rx_build_new(rx_test_home(), keep_report, NULL);
    int l = listen_on(S("0.0.0.0:80"), to_drop);
    route(l, proto("ssh"), to_echo, S("c.lua:1"));
    int r = route(l, proto("http"), to_echo, S("c.lua:2"));
    assert_int_equal(rx_door.route_cond(b, r, RX_COND_HOST, S("a")), 0);
    route(l, proto("http"), to_echo, S("c.lua:3")); // has a part of its own
    route(l, proto("sftp"), to_echo, S("c.lua:4")); // ssh took them
    route(l, proto("ftp"), to_echo, S("c.lua:5"));
    route(l, proto("silent"), to_echo, S("c.lua:6")); // ftp took them
    route(l, proto("http"), to_echo, S("c.lua:7"));
    route(l, proto("any"), to_echo, S("c.lua:8"));
    route(l, proto("tls"), to_echo, S("c.lua:9"));
    struct rx_conf *conf = finish();
    // What loading has said is not said again.
    static const char told[] = "c.lua:7: listen \"0.0.0.0:80\".routes[7]: is never reached";
    rx_findings_add(&f, RX_REPORT_WARNING, told, sizeof told - 1);
    assert_int_equal(check(conf, &a, &f), 0);
    assert_int_equal(f.n, 4);
    assert_string_equal(f.list[1].text,
                        "c.lua:4: route 4 (sftp) can never match: route 1 (ssh, c.lua:1) takes all of it");
    assert_string_equal(f.list[2].text,
                        "c.lua:6: route 6 (silent) can never match: route 5 (ftp, c.lua:5) takes all of it");
    assert_string_equal(f.list[3].text,
                        "c.lua:9: route 9 (tls) can never match: route 8 (any, c.lua:8) takes all of it");
    rx_findings_free(&f);
    rx_conf_unref(conf);
}

static void json_is_one_object(void **state)
{
    (void)state;
    const struct rx_args a = { .command = RX_CMD_CHECK, .is_json = true };
    struct rx_findings f = { 0 };
    json_error_t wrong;
    begin();
    test_of((struct rx_test_spec){ .name = S("b\xff\"d"), .to = S("web") }, "SS", NULL);
    struct rx_conf *conf = finish();
    assert_int_equal(check(conf, &a, &f), 1);
    json_t *j = json_loads(out[0], JSON_REJECT_DUPLICATES, &wrong);
    assert_non_null(j);
    assert_string_equal(out[1], "");
    assert_true(json_is_false(json_object_get(j, "ok")));
    assert_string_equal(json_string_value(json_object_get(j, "file")), "refractium.lua");
    json_t *tests = json_object_get(j, "tests"), *listeners = json_object_get(j, "listeners");
    assert_int_equal(json_integer_value(json_object_get(tests, "failed")), 1);
    assert_int_equal(json_array_size(json_object_get(tests, "failures")), 1);
    assert_int_equal(json_array_size(listeners), 2);
    json_t *routes = json_object_get(json_array_get(listeners, 0), "routes");
    assert_int_equal(json_array_size(routes), 3);
    json_t *to = json_object_get(json_array_get(routes, 1), "to");
    assert_string_equal(json_string_value(json_object_get(to, "pool")), "web");
    assert_int_equal(json_array_size(json_object_get(to, "backends")), 2);
    assert_true(json_is_null(json_object_get(json_array_get(listeners, 1), "fallback_tcp")));
    json_decref(j);
    rx_conf_unref(conf);

    rx_findings_add(&f, RX_REPORT_ERROR, "x.lua:1: wrong", 14); // a config that did not load
    assert_int_equal(check(NULL, &a, &f), 1);
    j = json_loads(out[0], 0, &wrong);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_array_get(json_object_get(j, "errors"), 0)), "x.lua:1: wrong");
    json_decref(j);
    rx_findings_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expectations_that_hold_pass),
        cmocka_unit_test(a_full_buffer_ends_the_wait),
        cmocka_unit_test(a_failure_says_what_came_instead),
        cmocka_unit_test(each_kind_of_failure_is_told),
        cmocka_unit_test(samples_are_tried),
        cmocka_unit_test(a_thousand_tests_are_quick),
        cmocka_unit_test(the_table_shows_every_route),
        cmocka_unit_test(dead_routes_are_warned_about),
        cmocka_unit_test(json_is_one_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
