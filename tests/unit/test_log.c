// SPDX-License-Identifier: MIT
// Enters: messages, and connections that end. Leaves: that core/log.c writes lines of one line, lets no peer write
// anything but printable text, and bounds what peers can cause.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "rooms.h"
#include "world.h"

// ---- escaping -----------------------------------------------------------------------------------------------------

static const char *escape(const char *text, size_t len, size_t size)
{
    static char buf[400];
    memset(buf, 'Z', sizeof buf);
    assert_ptr_equal(rx_log_escape((const uint8_t *)text, len, buf, size), buf);
    assert_int_equal(buf[size], 'Z'); // not past the end
    assert_true(memchr(buf, 0, size) != NULL);
    return buf;
}

static void printable_text_stays_and_the_rest_is_hex(void **state)
{
    (void)state;
    assert_string_equal(escape("a.test/x?y=z ok", 15, 300), "a.test/x?y=z ok");
    assert_string_equal(escape("a\nb\r\t\0c", 7, 300), "a\\x0ab\\x0d\\x09\\x00c");
    assert_string_equal(escape("\x1b[31m", 5, 300), "\\x1b[31m");
    assert_string_equal(escape("\"\\", 2, 300), "\\x22\\x5c");
    assert_string_equal(escape("\x7f\x80\xff", 3, 300), "\\x7f\\x80\\xff");
    assert_string_equal(escape("", 0, 300), "");
}

static void every_byte_is_escaped_to_printable_ascii(void **state)
{
    (void)state;
    for (unsigned b = 0; b < 256; b++)
        for (const char *p = escape(&(char){ (char)b }, 1, 300); *p; p++)
            assert_in_range(*p, 0x20, 0x7e);
}

static void what_does_not_fit_is_cut_and_says_so(void **state)
{
    (void)state;
    char text[200];
    memset(text, 'x', sizeof text);
    for (size_t size = 8; size < 100; size++) {
        const char *got = escape(text, sizeof text, size);
        assert_true(strlen(got) < size);
        assert_string_equal(got + strlen(got) - 3, "...");
        memset(text, '\n', 100);
        got = escape(text, sizeof text, size);
        assert_true(strlen(got) < size);
        memset(text, 'x', 100);
    }
    for (size_t size = 1; size < 8; size++)
        assert_true(strlen(escape(text, sizeof text, size)) < size);
}

// ---- messages -----------------------------------------------------------------------------------------------------

// What `say` writes to standard error with this setup.
static const char *heard(const struct rx_log_setup *setup, void (*say)(void))
{
    static char buf[8192];
    int p[2], old = dup(STDERR_FILENO);
    assert_int_equal(pipe(p), 0);
    rx_log_init(setup);
    dup2(p[1], STDERR_FILENO);
    say();
    dup2(old, STDERR_FILENO);
    close(old);
    close(p[1]);
    ssize_t n, k = 0;
    while ((n = read(p[0], buf + k, sizeof buf - 1 - (size_t)k)) > 0)
        k += n;
    close(p[0]);
    buf[k] = 0;
    return buf;
}

static void say_one_of_each(void)
{
    rx_log(RX_LOG_ERROR, "e %d", 1);
    rx_log(RX_LOG_WARN, "w %s", "2");
    rx_log(RX_LOG_INFO, "i");
    rx_log(RX_LOG_DEBUG, "d");
}

static unsigned lines_of(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void messages_below_the_level_are_not_written(void **state)
{
    (void)state;
    for (int level = RX_LOG_ERROR; level <= RX_LOG_DEBUG; level++) {
        struct rx_log_setup setup = { .level = (enum rx_level)level, .format = RX_LOG_TEXT };
        assert_int_equal(lines_of(heard(&setup, say_one_of_each)), level + 1);
        assert_true(rx_log_is((enum rx_level)level));
        assert_true(level == RX_LOG_DEBUG || !rx_log_is((enum rx_level)(level + 1)));
    }
}

static void a_text_message_has_time_level_and_words(void **state)
{
    (void)state;
    const char *out = heard(&(struct rx_log_setup){ .level = RX_LOG_ERROR, .format = RX_LOG_TEXT }, say_one_of_each);
    int year, month, day, hour, minute, second, ms, end = 0;
    assert_int_equal(
        sscanf(out, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour, &minute, &second, &ms, &end), 7);
    assert_string_equal(out + end, " error e 1\n");
}

static void say_something_nasty(void)
{
    rx_log(RX_LOG_INFO, "quote \" backslash \\ tab \t newline \n and the rest");
}

static void a_json_message_is_one_object_a_line(void **state)
{
    (void)state;
    struct rx_log_setup setup = { .level = RX_LOG_DEBUG, .format = RX_LOG_JSON };
    const char *out = heard(&setup, say_something_nasty);
    assert_int_equal(lines_of(out), 1);
    json_error_t error;
    json_t *o = json_loads(out, 0, &error);
    if (!o)
        fail_msg("%s in %s", error.text, out);
    assert_string_equal(json_string_value(json_object_get(o, "msg")),
                        "quote \" backslash \\ tab \t newline \n and the rest");
    assert_string_equal(json_string_value(json_object_get(o, "level")), "info");
    json_decref(o);
}

static void say_very_much(void)
{
    char text[5000];
    memset(text, '"', sizeof text - 1);
    text[sizeof text - 1] = 0;
    rx_log(RX_LOG_INFO, "%s", text);
}

static void a_message_too_long_is_cut_but_ends_its_line(void **state)
{
    (void)state;
    static const enum rx_log_format formats[] = { RX_LOG_TEXT, RX_LOG_JSON };
    for (size_t i = 0; i < RX_COUNT(formats); i++) {
        const char *out = heard(&(struct rx_log_setup){ .level = RX_LOG_INFO, .format = formats[i] }, say_very_much);
        assert_int_equal(lines_of(out), 1);
        assert_int_equal(out[strlen(out) - 1], '\n');
    }
    json_t *o = json_loads(
        heard(&(struct rx_log_setup){ .level = RX_LOG_INFO, .format = RX_LOG_JSON }, say_very_much), 0, NULL);
    assert_non_null(o);
    json_decref(o);
}

static void say_the_same_a_hundred_times(void)
{
    for (int i = 0; i < 100; i++)
        rx_log_limited(RX_LOG_WARN, "peer %d", i);
}

static void what_peers_cause_is_written_ten_times_a_second(void **state)
{
    (void)state;
    const char *out =
        heard(&(struct rx_log_setup){ .level = RX_LOG_WARN, .format = RX_LOG_TEXT }, say_the_same_a_hundred_times);
    assert_in_range(lines_of(out), 10, 20); // a second may have begun in between
    static struct rx_log_gate gate;
    unsigned dropped, passed = 0, told = 0;
    for (int i = 0; i < 1000; i++)
        passed += rx_log_pass(&gate, &dropped);
    assert_in_range(passed, 10, 20);
    gate.second--; // as if a second had passed
    assert_true(rx_log_pass(&gate, &told));
    assert_in_range(told, 980, 990);
    assert_true(rx_log_pass(&gate, &told));
    assert_int_equal(told, 0);
}

// ---- access lines -------------------------------------------------------------------------------------------------

static char path[] = "/tmp/rx-access-XXXXXX";

static int make_file(void **state)
{
    (void)state;
    strcpy(path + sizeof path - 7, "XXXXXX");
    int fd = mkstemp(path);
    return fd == -1 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    rx_access_open(RX_ACCESS_OFF, NULL);
    rx_log_init(&(struct rx_log_setup){ .level = RX_LOG_INFO });
    return unlink(path);
}

static const char *written(void)
{
    static char buf[256 * 1024];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(buf, 1, sizeof buf - 1, f);
    fclose(f);
    buf[n] = 0;
    return buf;
}

static int access_fd_of_file(void)
{
    return room_listen("127.0.0.1:0", 1); // any descriptor will do as a client's end
}

static struct rx_conf *some_conf(void)
{
    struct draft d;
    draft_begin(&d);
    int http = draft_builtin(&d, "http"), pool = draft_pool(&d, "127.0.0.1:9", "127.0.0.1:10", NULL);
    draft_route_spec(&d, &(struct rx_route_spec){ .proto = http,
                                                  .name = world_slice("a \"quoted\" route"),
                                                  .to = { .kind = RX_TO_POOL, .pool = pool } });
    return draft_finish(&d);
}

// One connection that was routed and ended, and its line.
static const char *line_of(enum rx_log_format format, const char *request, void (*change)(struct rx_conn *c))
{
    struct room r;
    rx_log_init(&(struct rx_log_setup){ .level = RX_LOG_ERROR, .format = format });
    assert_int_equal(rx_access_open(RX_ACCESS_FILE, path), 0);
    unsigned fds = room_fds();
    room_open(&r, some_conf());
    struct rx_conn *c = room_conn(&r, access_fd_of_file());
    if (request) {
        struct rx_decision d =
            world_decide(r.w.conf, &(struct world_client){ .also_want = ~0u }, request, strlen(request));
        c->route = d.route;
        c->seen = d.seen;
        c->told = d.seen ? rx_told_new(&d) : NULL;
    }
    c->bytes[RX_TO_SERVER] = 12;
    c->bytes[RX_TO_CLIENT] = 34;
    if (change)
        change(c);
    rx_close(c, RX_REASON_DONE);
    room_close(&r);
    assert_int_equal(room_fds(), fds);
    return written();
}

static void has(const char *line, const char *part)
{
    if (!strstr(line, part))
        fail_msg("\"%s\" is not in: %s", part, line);
}

static void an_access_line_says_who_what_where_and_why(void **state)
{
    (void)state;
    const char *line = line_of(RX_LOG_TEXT, "GET /p HTTP/1.1\r\nHost: a.test\r\n\r\n", NULL);
    assert_int_equal(lines_of(line), 1);
    has(line, "conn=100 client=192.0.2.1:");
    has(line, "listen=127.0.0.1:0 protocol=http ");
    has(line, "method=GET host=a.test path=/p ");
    has(line, "route=\"a \\x22quoted\\x22 route\" to=pool ");
    has(line, "in=12 out=34 ");
    has(line, "reason=done\n");
    assert_null(strchr(line, '\033')); // colour is for terminals
}

static void what_a_peer_said_cannot_forge_a_line(void **state)
{
    (void)state;
    static const char nasty[] = "GET /a\"b\\c'd=e HTTP/1.1\r\nHost: x.test\r\n\r\n";
    const char *line = line_of(RX_LOG_TEXT, nasty, NULL);
    assert_int_equal(lines_of(line), 1);
    has(line, "path=/a\\x22b\\x5cc'd=e ");
}

static void a_json_access_line_is_an_object(void **state)
{
    (void)state;
    const char *line = line_of(RX_LOG_JSON, "GET /a\"b HTTP/1.1\r\nHost: a.test\r\n\r\n", NULL);
    json_error_t error;
    json_t *o = json_loads(line, 0, &error);
    if (!o)
        fail_msg("%s in %s", error.text, line);
    static const char *const keys[] = { "time",  "conn",  "client", "listen", "protocol",
                                        "facts", "route", "to",     "reason" };
    for (size_t i = 0; i < RX_COUNT(keys); i++)
        assert_true(json_is_string(json_object_get(o, keys[i])));
    assert_string_equal(json_string_value(json_object_get(o, "route")), "a \"quoted\" route");
    assert_int_equal(json_integer_value(json_object_get(o, "bytes_in")), 12);
    assert_int_equal(json_integer_value(json_object_get(o, "bytes_out")), 34);
    json_decref(o);
}

static void a_connection_nobody_recognised_has_a_line_too(void **state)
{
    (void)state;
    has(line_of(RX_LOG_TEXT, NULL, NULL), "protocol=- route=\"fallback\" to=drop ");
    json_t *o = json_loads(strchr(line_of(RX_LOG_JSON, NULL, NULL), '\n') + 1, 0, NULL);
    assert_non_null(o);
    assert_true(json_is_null(json_object_get(o, "protocol")));
    json_decref(o);
}

static char long_name[4000];

static void with_a_very_long_route_name(struct rx_conn *c)
{
    static struct rx_route route;
    memset(long_name, '"', sizeof long_name - 1);
    route = c->listen->routes[0];
    route.name = long_name;
    c->route = &route;
}

static void a_line_too_long_is_cut_and_ends(void **state)
{
    (void)state;
    const char *line = line_of(RX_LOG_TEXT, NULL, with_a_very_long_route_name);
    assert_int_equal(lines_of(line), 1);
    assert_int_equal(line[strlen(line) - 1], '\n');
    json_t *o = json_loads(line_of(RX_LOG_JSON, NULL, with_a_very_long_route_name) + strlen(line), 0, NULL);
    (void)o;
}

static void the_longest_facts_still_make_valid_json(void **state)
{
    (void)state;
    char request[6000];
    int n = snprintf(request, sizeof request, "GET /%02000d HTTP/1.1\r\nHost: ", 0);
    memset(request + n, 'h', 250);
    request[6] = '"';
    strcpy(request + n + 250, ".test\r\n\r\n");
    json_error_t error;
    json_t *o = json_loads(line_of(RX_LOG_JSON, request, with_a_very_long_route_name), 0, &error);
    if (!o)
        fail_msg("%s in %s", error.text, written());
    json_decref(o);
}

static void many_lines_are_gathered_and_none_is_lost(void **state)
{
    (void)state;
    enum { MANY = 600 }; // more than one buffer holds
    struct room r;
    rx_log_init(&(struct rx_log_setup){ .level = RX_LOG_ERROR, .format = RX_LOG_TEXT });
    assert_int_equal(rx_access_open(RX_ACCESS_FILE, path), 0);
    room_open(&r, some_conf());
    for (int i = 0; i < MANY; i++)
        rx_close(room_conn(&r, -1), RX_REASON_NO_ROUTE);
    room_close(&r);
    assert_int_equal(lines_of(written()), MANY);
}

static void a_full_disk_costs_lines_and_nothing_else(void **state)
{
    (void)state;
    struct room r;
    if (access("/dev/full", W_OK))
        skip();
    rx_log_init(&(struct rx_log_setup){ .level = RX_LOG_ERROR, .format = RX_LOG_TEXT });
    assert_int_equal(rx_access_open(RX_ACCESS_FILE, "/dev/full"), 0);
    room_open(&r, some_conf());
    for (int i = 0; i < 1000; i++)
        rx_close(room_conn(&r, -1), RX_REASON_NO_ROUTE);
    room_turn(&r);
    assert_int_equal(r.w.log_len, 0);
    room_close(&r);
}

static void a_reader_that_has_stalled_stalls_nobody(void **state)
{
    (void)state;
    static char much[4096];
    int p[2], old = dup(STDERR_FILENO);
    assert_int_equal(pipe2(p, O_NONBLOCK), 0);
    while (write(p[1], much, sizeof much) > 0)
        ; // nobody reads
    fcntl(p[1], F_SETFL, 0);
    dup2(p[1], STDERR_FILENO);
    rx_log_init(&(struct rx_log_setup){ .level = RX_LOG_INFO, .format = RX_LOG_TEXT });
    uint64_t since = rx_now_ms();
    for (int i = 0; i < 100; i++)
        rx_log(RX_LOG_INFO, "a line that is lost");
    dup2(old, STDERR_FILENO);
    assert_in_range(rx_now_ms() - since, 0, 1000);
    close(old);
    close(p[0]);
    close(p[1]);
    assert_int_equal(unlink(path) | mkfifo(path, 0600), 0);
    assert_true(rx_access_open(RX_ACCESS_FILE, path) < 0); // a pipe without a reader: said, not waited for
}

static void a_file_that_cannot_be_opened_is_said(void **state)
{
    (void)state;
    assert_true(rx_access_open(RX_ACCESS_FILE, "/nonexistent/dir/log") < 0);
    assert_false(rx_access_is_on());
    assert_int_equal(rx_access_open(RX_ACCESS_OFF, NULL), 0);
    assert_false(rx_access_is_on());
}

static void facts_that_do_not_fit_are_left_out_whole(void **state)
{
    (void)state;
    uint8_t text[300];
    memset(text, ' ', sizeof text); // makes them quoted
    struct rx_text t = { text, sizeof text };
    struct rx_decision d = { .facts = { .have = ~0u,
                                        .sni = t,
                                        .method = t,
                                        .host = t,
                                        .path = t,
                                        .user = t,
                                        .software = t,
                                        .qname = t,
                                        .alpn = { (const uint8_t *)"\2h2", 3 } } };
    char *told = rx_told_new(&d);
    unsigned quotes = 0;
    for (const char *p = told; *p; p++)
        quotes += *p == '"';
    assert_int_equal(quotes % 2, 0);
    has(told, "sni=\"");
    free(told);
    d.facts.have = 0;
    assert_null(rx_told_new(&d));
}

int main(void)
{
#define access_test(f) cmocka_unit_test_setup_teardown(f, make_file, remove_file)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printable_text_stays_and_the_rest_is_hex),
        cmocka_unit_test(every_byte_is_escaped_to_printable_ascii),
        cmocka_unit_test(what_does_not_fit_is_cut_and_says_so),
        cmocka_unit_test(messages_below_the_level_are_not_written),
        cmocka_unit_test(a_text_message_has_time_level_and_words),
        cmocka_unit_test(a_json_message_is_one_object_a_line),
        cmocka_unit_test(a_message_too_long_is_cut_but_ends_its_line),
        cmocka_unit_test(what_peers_cause_is_written_ten_times_a_second),
        access_test(an_access_line_says_who_what_where_and_why),
        access_test(what_a_peer_said_cannot_forge_a_line),
        access_test(a_json_access_line_is_an_object),
        access_test(a_connection_nobody_recognised_has_a_line_too),
        access_test(a_line_too_long_is_cut_and_ends),
        access_test(the_longest_facts_still_make_valid_json),
        access_test(many_lines_are_gathered_and_none_is_lost),
        access_test(a_full_disk_costs_lines_and_nothing_else),
        access_test(a_reader_that_has_stalled_stalls_nobody),
        access_test(a_file_that_cannot_be_opened_is_said),
        access_test(facts_that_do_not_fit_are_left_out_whole),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
