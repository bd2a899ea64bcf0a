// SPDX-License-Identifier: MIT
// Enters: a connection with its first bytes, and backends good, gone and slow. Leaves: that core/connect.c finds one
// that takes it, gives it the bytes exactly once, says when none is left, and counts and frees what it tried.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rooms.h"
#include "world.h"

static struct room room;
static int client = -1, near_client = -1; // the test's end and the connection's
static char dir[64], unix_path[100];

// ---- backends -----------------------------------------------------------------------------------------------------

// A listening socket and how a config names it.
static int backend(char addr[32], int backlog)
{
    int fd = room_listen("127.0.0.1:0", backlog);
    snprintf(addr, 32, "127.0.0.1:%u", room_port(fd));
    return fd;
}

// A port nobody listens on.
static void gone(char addr[32])
{
    close(backend(addr, 1));
}

// A config whose one route goes to these backends, with this to happen when none is left.
static void start_with(const struct rx_route_spec *spec, const char *a, const char *b, const char *c)
{
    struct draft d;
    struct rx_route_spec route = *spec;
    draft_begin(&d);
    route.proto = draft_builtin(&d, "http");
    int pool = draft_pool(&d, a, b, c, NULL);
    if (!route.to.kind)
        route.to = (struct rx_target_spec){ .kind = RX_TO_POOL, .pool = pool };
    draft_route_spec(&d, &route);
    room_open(&room, draft_finish(&d));
}

static void start(const char *a, const char *b, const char *c)
{
    start_with(&(struct rx_route_spec){ .connect_ms = 3000 }, a, b, c);
}

static struct rx_conn *come(void)
{
    int fd[2];
    room_pair(fd);
    client = fd[0];
    struct rx_conn *c = room_conn(&room, near_client = fd[1]);
    c->is_pending = false;
    (*c->listen->pending)--;
    c->route = &room.w.conf->listens[0]->routes[0];
    atomic_fetch_add(c->route->active, 1);
    return c;
}

static void connect_n(const char *head, size_t len)
{
    struct rx_conn *c = come();
    rx_connect_begin(c, &c->route->to, (const uint8_t *)head, (uint32_t)len);
}

static void connect_head(const char *head)
{
    connect_n(head, strlen(head));
}

static const struct rx_backend *backend_at(unsigned i)
{
    return &rx_roster_of(room.w.conf->pools[0])->backends[i];
}

static void finish(void)
{
    room_bye(&client);
    room_until_alive(&room, 0);
    room_close(&room);
}

// ---- one that takes it --------------------------------------------------------------------------------------------

static void a_backend_gets_the_head_and_the_rest_follows(void **state)
{
    (void)state;
    char addr[32];
    int l = backend(addr, 8);
    start(addr, NULL, NULL);
    connect_head("GET / HTTP/1.1\r\n");
    room_sends(client, "\r\n");
    int s = room_accept(&room, l);
    room_expects(&room, s, "GET / HTTP/1.1\r\n\r\n");
    room_sends(s, "hi");
    room_expects(&room, client, "hi");
    assert_int_equal(backend_at(0)->state->active, 1);
    assert_int_equal(room.w.stat.retries, 0);
    close(s);
    close(l);
    finish();
}

static void without_first_bytes_the_backend_may_speak_first(void **state)
{
    (void)state;
    char addr[32];
    int l = backend(addr, 8);
    start(addr, NULL, NULL);
    connect_head("");
    int s = room_accept(&room, l);
    room_sends(s, "220 welcome");
    room_expects(&room, client, "220 welcome");
    room_sends(client, "EHLO");
    room_expects(&room, s, "EHLO");
    close(s);
    close(l);
    finish();
}

static void turns_go_round_the_pool(void **state)
{
    (void)state;
    char a[32], b[32];
    int la = backend(a, 8), lb = backend(b, 8);
    start(a, b, NULL);
    for (int i = 0; i < 6; i++) {
        connect_head("x");
        int s = room_accept(&room, i % 2 ? lb : la);
        room_expects(&room, s, "x");
        close(s);
        room_bye(&client);
        room_until_alive(&room, 0);
    }
    assert_int_equal(backend_at(0)->state->connects, 3);
    assert_int_equal(backend_at(1)->state->connects, 3);
    close(la);
    close(lb);
    finish();
}

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/rx-connect-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(unix_path, sizeof unix_path, "unix:%s/sock", dir);
    return room_set_up(state);
}

static int remove_dir(void **state)
{
    room_tear_down(state);
    unlink(unix_path + 5);
    return rmdir(dir);
}

static void a_unix_socket_is_a_backend_and_a_missing_one_is_not(void **state)
{
    (void)state;
    char missing[120];
    snprintf(missing, sizeof missing, "unix:%s/missing", dir);
    int l = room_listen(unix_path, 4);
    start(missing, unix_path, NULL);
    connect_head("hello");
    int s = room_accept(&room, l);
    room_expects(&room, s, "hello");
    assert_int_equal(room.w.stat.retries, 1);
    close(s);
    close(l);
    finish();
}

static void a_head_larger_than_a_backend_takes_at_once_arrives_whole(void **state)
{
    (void)state;
    static char head[1024 * 1024];
    int l = room_listen(unix_path, 4);
    for (size_t i = 0; i < sizeof head; i++)
        head[i] = (char)(i * 31 >> 3);
    start(unix_path, NULL, NULL);
    connect_n(head, sizeof head);
    room_sends(client, "and the rest");
    int s = room_accept(&room, l);
    room_expect(&room, s, head, sizeof head);
    room_expects(&room, s, "and the rest");
    close(s);
    close(l);
    finish();
}

// ---- the next one -------------------------------------------------------------------------------------------------

static void a_backend_that_refuses_is_followed_by_the_next(void **state)
{
    (void)state;
    char a[32], b[32], c[32];
    gone(a);
    gone(b);
    int l = backend(c, 8);
    start(a, b, c);
    connect_head("precious");
    int s = room_accept(&room, l);
    room_expects(&room, s, "precious");
    assert_int_equal(room.w.stat.retries, 2);
    assert_int_equal(backend_at(0)->state->refused, 1);
    assert_int_equal(backend_at(0)->state->active, 0);
    assert_int_equal(backend_at(2)->state->active, 1);
    room_no_end(&room, client); // who saw nothing of it
    close(s);
    close(l);
    finish();
}

static void without_first_bytes_too(void **state)
{
    (void)state;
    char a[32], b[32];
    gone(a);
    int l = backend(b, 8);
    start(a, b, NULL);
    connect_head("");
    int s = room_accept(&room, l);
    room_sends(s, "hi");
    room_expects(&room, client, "hi");
    close(s);
    close(l);
    finish();
}

static void when_none_is_left_the_client_is_reset(void **state)
{
    (void)state;
    char a[32], b[32];
    gone(a);
    gone(b);
    start(a, b, NULL);
    connect_head("x");
    assert_int_equal(room_end_of(&room, client), ECONNRESET);
    room_until_closed(&room, RX_REASON_BACKEND_DOWN, 1);
    assert_int_equal(room.w.stat.retries, 2);
    finish();
}

static void a_backend_that_took_bytes_is_never_followed_by_another(void **state)
{
    (void)state;
    char a[32], b[32];
    int la = backend(a, 8), lb = backend(b, 8);
    start(a, b, NULL);
    connect_head("pay 5 coins");
    int s = room_accept(&room, la);
    room_reset(&s); // it may have paid
    room_end_of(&room, client);
    room_turn_for(&room, 20);
    assert_int_equal(accept(lb, NULL, NULL), -1);
    assert_int_equal(backend_at(1)->state->connects, 0);
    close(la);
    close(lb);
    finish();
}

// ---- slow ones ----------------------------------------------------------------------------------------------------

// A full backlog drops what knocks: connect() neither succeeds nor fails.
static void one_that_does_not_answer_leaves_time_for_the_next(void **state)
{
    (void)state;
    char a[32], b[32];
    int la = backend(a, 0), lb = backend(b, 8), filler = room_fill(la);
    start_with(&(struct rx_route_spec){ .connect_ms = 1200 }, a, b, NULL);
    connect_head("patience");
    uint64_t since = rx_now_ms();
    int s = room_accept(&room, lb);
    assert_in_range(rx_now_ms() - since, 500, 1100); // half of it
    room_expects(&room, s, "patience");
    assert_int_equal(backend_at(0)->state->active, 0);
    close(s);
    close(filler);
    close(la);
    close(lb);
    finish();
}

static void connect_timeout_is_for_all_attempts_together(void **state)
{
    (void)state;
    char a[32], b[32], c[32];
    int l[3] = { backend(a, 0), backend(b, 0), backend(c, 0) }, filler[3];
    for (int i = 0; i < 3; i++)
        filler[i] = room_fill(l[i]);
    start_with(&(struct rx_route_spec){ .connect_ms = 300 }, a, b, c);
    connect_head("x");
    uint64_t since = rx_now_ms();
    room_until_closed(&room, RX_REASON_BACKEND_DOWN, 1);
    assert_in_range(rx_now_ms() - since, 250, 1000);
    assert_int_equal(room_end_of(&room, client), ECONNRESET);
    assert_int_equal(room.w.stat.retries, 3);
    for (int i = 0; i < 3; i++) {
        close(filler[i]);
        close(l[i]);
    }
    finish();
}

// Its first bytes came in two pieces, the backend answers late, and the client talks on meanwhile: nothing is lost,
// nothing comes twice, and it is not read from before somebody takes the bytes.
static void a_head_of_two_segments_waits_whole_for_a_slow_backend(void **state)
{
    (void)state;
    char a[32];
    int fd[2], l = backend(a, 0), filler = room_fill(l);
    start(a, NULL, NULL);
    room_pair(fd);
    client = fd[0];
    struct rx_conn *c = room_conn(&room, fd[1]);
    rx_peek_begin(c);
    room_sends(client, "GE");
    room_turn_for(&room, 5);
    assert_int_equal(c->room, RX_ROOM_PEEK);
    room_sends(client, "T /the-second-segment HTTP/1.1\r\nHost: a.test\r\n\r\n");
    room_turn_for(&room, 20);
    assert_int_equal(c->room, RX_ROOM_CONNECT);
    room_sends(client, "and a third");
    assert_in_range(room_wakes(&room, 50), 0, 10);
    int first = room_accept(&room, l); // the filler's: now there is room
    int s = room_accept(&room, l);
    room_expects(&room, s, "GET /the-second-segment HTTP/1.1\r\nHost: a.test\r\n\r\nand a third");
    close(first);
    close(filler);
    close(s);
    close(l);
    finish();
}

static void a_client_that_leaves_while_waiting_leaves_nothing(void **state)
{
    (void)state;
    char a[32];
    int l = backend(a, 0), filler = room_fill(l);
    start_with(&(struct rx_route_spec){ .connect_ms = 150 }, a, NULL, NULL);
    connect_head("x");
    room_reset(&client);
    assert_in_range(room_wakes(&room, 50), 0, 10);
    room_until_alive(&room, 0);
    close(filler);
    close(l);
    finish();
}

// ---- the fallback of a route --------------------------------------------------------------------------------------

// Route 0 goes to a pool whose one backend is gone; pool 1 is its fallback.
static void start_fallback(enum rx_target_kind kind, const char *other)
{
    struct draft d;
    char a[32];
    gone(a);
    draft_begin(&d);
    int first = draft_pool(&d, a, NULL), second = other ? draft_pool(&d, other, NULL) : 0;
    struct rx_route_spec route = { .proto = draft_builtin(&d, "http"),
                                   .to = { .kind = RX_TO_POOL, .pool = first },
                                   .fallback = { .kind = kind, .pool = second, .text = world_slice("sorry") } };
    draft_route_spec(&d, &route);
    room_open(&room, draft_finish(&d));
    connect_head("bytes");
}

static void a_fallback_pool_takes_over_with_the_same_bytes(void **state)
{
    (void)state;
    char b[32];
    int l = backend(b, 8);
    start_fallback(RX_TO_POOL, b);
    int s = room_accept(&room, l);
    room_expects(&room, s, "bytes");
    close(s);
    close(l);
    finish();
}

static void a_fallback_pool_that_is_down_as_well_is_the_end(void **state)
{
    (void)state;
    char b[32];
    gone(b);
    start_fallback(RX_TO_POOL, b);
    assert_int_equal(room_end_of(&room, client), ECONNRESET);
    room_until_closed(&room, RX_REASON_BACKEND_DOWN, 1);
    finish();
}

static void a_fallback_may_answer_or_drop(void **state)
{
    (void)state;
    start_fallback(RX_TO_RESPOND, NULL);
    room_expects(&room, client, "sorry");
    finish();
    start_fallback(RX_TO_DROP, NULL);
    assert_int_equal(room_end_of(&room, client), 0);
    room_until_closed(&room, RX_REASON_DROPPED, 1);
    finish();
    start_fallback(RX_TO_REFUSE, NULL);
    assert_int_equal(room_end_of(&room, client), ECONNRESET);
    finish();
}

// ---- when descriptors run out -------------------------------------------------------------------------------------

static void without_a_descriptor_left_one_connection_is_lost_and_no_backend_blamed(void **state)
{
    (void)state;
    char a[32], b[32];
    struct rlimit was, now;
    int la = backend(a, 8), lb = backend(b, 8), hole = dup(0);
    start(a, b, NULL);
    struct rx_conn *c = come();
    getrlimit(RLIMIT_NOFILE, &was);
    now = was;
    close(hole);
    now.rlim_cur = (rlim_t)hole; // every number below is taken
    for (int fd = 0; fd < hole; fd++)
        if (fcntl(fd, F_GETFD) == -1)
            skip();
    setrlimit(RLIMIT_NOFILE, &now);
    rx_connect_begin(c, &c->route->to, (const uint8_t *)"x", 1);
    setrlimit(RLIMIT_NOFILE, &was);
    assert_int_equal(room.w.stat.closed[RX_REASON_NO_FDS], 1);
    assert_int_equal(room_end_of(&room, client), ECONNRESET);
    assert_int_equal(backend_at(0)->state->refused + backend_at(1)->state->refused, 0);
    close(la);
    close(lb);
    finish();
}

int main(void)
{
#define unix_test(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        room_test(a_backend_gets_the_head_and_the_rest_follows),
        room_test(without_first_bytes_the_backend_may_speak_first),
        room_test(turns_go_round_the_pool),
        unix_test(a_unix_socket_is_a_backend_and_a_missing_one_is_not),
        unix_test(a_head_larger_than_a_backend_takes_at_once_arrives_whole),
        room_test(a_backend_that_refuses_is_followed_by_the_next),
        room_test(without_first_bytes_too),
        room_test(when_none_is_left_the_client_is_reset),
        room_test(a_backend_that_took_bytes_is_never_followed_by_another),
        room_test(one_that_does_not_answer_leaves_time_for_the_next),
        room_test(connect_timeout_is_for_all_attempts_together),
        room_test(a_head_of_two_segments_waits_whole_for_a_slow_backend),
        room_test(a_client_that_leaves_while_waiting_leaves_nothing),
        room_test(a_fallback_pool_takes_over_with_the_same_bytes),
        room_test(a_fallback_pool_that_is_down_as_well_is_the_end),
        room_test(a_fallback_may_answer_or_drop),
        room_test(without_a_descriptor_left_one_connection_is_lost_and_no_backend_blamed),
    };
    return cmocka_run_group_tests_name("connect", tests, NULL, NULL);
}
