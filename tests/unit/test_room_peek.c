// SPDX-License-Identifier: MIT
// Enters: clients that talk at once, in pieces, too much or not at all. Leaves: that core/peek.c decides when it can,
// waits no longer than it must, keeps every byte for who comes next, and says why it turns somebody away.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handover.h"
#include "rooms.h"
#include "world.h"

static const char request[] = "GET /some/where HTTP/1.1\r\nUser-Agent: a test\r\nHost: a.test\r\n\r\n";
static struct room room;
static struct rx_conn *conn;
static int client = -1, listener = -1;
static uint8_t hello[16 * 1024];

// http with its host goes to the backend; then what each test adds.
static int begin_draft(struct draft *d, const struct rx_listen_spec *spec)
{
    char addr[32];
    listener = room_listen("127.0.0.1:0", 16);
    snprintf(addr, sizeof addr, "127.0.0.1:%u", room_port(listener));
    draft_begin_with(d, spec);
    int pool = draft_pool(d, addr, NULL);
    draft_cond(d, draft_route_to_pool(d, draft_builtin(d, "http"), pool), RX_COND_HOST, "a.test");
    return pool;
}

static void start(const struct rx_listen_spec *spec)
{
    struct draft d;
    begin_draft(&d, spec);
    room_open(&room, draft_finish(&d));
}

static void start_with_timeout(uint32_t peek_ms)
{
    start(&(struct rx_listen_spec){ .peek_ms = peek_ms });
}

// A client that has said `first` before anybody looks.
static void come(const char *first)
{
    int fd[2];
    room_pair(fd);
    client = fd[0];
    room_sends(client, first);
    if (*first)
        usleep(1000);
    conn = room_conn(&room, fd[1]);
    rx_peek_begin(conn);
}

static int backend(void)
{
    return room_accept(&room, listener);
}

static void finish(void)
{
    room_bye(&client);
    room_bye(&listener);
    room_until_alive(&room, 0);
    room_close(&room);
}

// ---- bytes --------------------------------------------------------------------------------------------------------

static void one_segment_is_decided_at_once_and_nothing_is_kept(void **state)
{
    (void)state;
    start_with_timeout(1000);
    come(request);
    assert_int_equal(conn->room, RX_ROOM_WELD); // before the loop was turned
    assert_null(conn->head);
    assert_string_equal(conn->route->proto->name, "http");
    assert_ptr_equal(conn->seen, conn->route->proto);
    int s = backend();
    room_expects(&room, s, request);
    close(s);
    finish();
}

static void bytes_that_come_one_by_one_arrive_whole(void **state)
{
    (void)state;
    start_with_timeout(3000);
    come("");
    for (size_t i = 0; i < strlen(request); i++) {
        if (i < strlen(request) - 2) { // up to the end of the line with the host
            assert_int_equal(conn->room, RX_ROOM_PEEK);
            assert_int_equal(conn->head_len, i);
        }
        room_send(client, request + i, 1);
        room_turn_for(&room, 1);
    }
    int s = backend();
    room_expects(&room, s, request);
    close(s);
    finish();
}

static void any_two_segments_arrive_whole(void **state)
{
    (void)state;
    start_with_timeout(3000);
    for (size_t cut = 1; cut < strlen(request); cut += 7) {
        char first[sizeof request];
        snprintf(first, sizeof first, "%.*s", (int)cut, request);
        come(first);
        assert_int_equal(conn->room, RX_ROOM_PEEK);
        room_sends(client, request + cut);
        int s = backend();
        room_expects(&room, s, request);
        close(s);
        room_bye(&client);
        room_until_alive(&room, 0);
    }
    finish();
}

// A hello of 6 KB in pieces: kept bytes grow, and until the length it names is there nobody is asked again.
static void a_long_hello_in_pieces_arrives_whole(void **state)
{
    (void)state;
    struct draft d;
    int pool = begin_draft(&d, &(struct rx_listen_spec){ .peek_ms = 3000 });
    draft_cond(&d, draft_route_to_pool(&d, draft_builtin(&d, "tls"), pool), RX_COND_SNI, "a.test");
    room_open(&room, draft_finish(&d));
    size_t n = world_hello(&(struct world_hello){ .sni = "a.test", .padding = 6000 }, hello, sizeof hello);
    come("\x16");
    for (size_t at = 1; at < n;) {
        size_t k = RX_MIN((size_t)500, n - at);
        assert_int_equal(conn->room, RX_ROOM_PEEK);
        room_send(client, hello + at, k);
        room_turn_for(&room, 2);
        at += k;
        if (at > 10 && at < n)
            assert_int_equal(conn->need, n);
    }
    int s = backend();
    room_expect(&room, s, hello, n);
    close(s);
    finish();
}

static void what_cannot_match_any_more_is_not_waited_for(void **state)
{
    (void)state;
    start_with_timeout(60000);
    come("\1\2\3");
    assert_int_equal(conn->room, RX_ROOM_DEAD);
    assert_int_equal(room.w.stat.closed[RX_REASON_NO_ROUTE], 1);
    assert_int_equal(room_end_of(&room, client), 0);
    finish();
}

static void a_first_route_that_takes_anybody_needs_no_byte(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int first = draft_route(&d, draft_builtin(&d, "any"), -1);
    assert_int_equal(first, 0);
    room_open(&room, draft_finish(&d));
    come("");
    assert_int_equal(room.w.stat.closed[RX_REASON_DROPPED], 1);
    finish();
}

// ---- ends ---------------------------------------------------------------------------------------------------------

static void who_leaves_without_a_word_is_gone(void **state)
{
    (void)state;
    start_with_timeout(60000);
    come("");
    room_bye(&client);
    room_until_closed(&room, RX_REASON_CLIENT_GONE, 1);
    finish();
}

static void who_resets_is_said_to_have_reset(void **state)
{
    (void)state;
    start_with_timeout(60000);
    come("GET ");
    room_reset(&client);
    room_until_closed(&room, RX_REASON_CLIENT_RESET, 1);
    finish();
}

static void half_closing_ends_the_wait_and_is_passed_on(void **state)
{
    (void)state;
    struct draft d;
    int pool = begin_draft(&d, &(struct rx_listen_spec){ .peek_ms = 60000 });
    draft_route_to_pool(&d, draft_builtin(&d, "any"), pool);
    room_open(&room, draft_finish(&d));
    come("GET /unfinished");
    assert_int_equal(conn->room, RX_ROOM_PEEK);
    shutdown(client, SHUT_WR);
    int s = backend();
    room_expects(&room, s, "GET /unfinished");
    assert_int_equal(room_end_of(&room, s), 0);
    room_sends(s, "an answer");
    room_expects(&room, client, "an answer");
    close(s);
    assert_int_equal(room_end_of(&room, client), 0);
    finish();
}

static void bytes_and_end_in_one_segment_are_both_passed_on(void **state)
{
    (void)state;
    start_with_timeout(60000);
    int fd[2];
    room_pair(fd);
    client = fd[0];
    room_sends(client, request);
    shutdown(client, SHUT_WR);
    usleep(1000);
    conn = room_conn(&room, fd[1]);
    rx_peek_begin(conn);
    int s = backend();
    room_expects(&room, s, request);
    assert_int_equal(room_end_of(&room, s), 0);
    close(s);
    finish();
}

// ---- time ---------------------------------------------------------------------------------------------------------

static void who_says_nothing_is_decided_at_the_timeout(void **state)
{
    (void)state;
    start_with_timeout(100);
    come("");
    uint64_t since = rx_now_ms();
    room_until_closed(&room, RX_REASON_NO_ROUTE, 1);
    assert_in_range(rx_now_ms() - since, 90, 1000);
    finish();
}

static void the_silent_can_have_a_route(void **state)
{
    (void)state;
    struct draft d;
    int pool = begin_draft(&d, &(struct rx_listen_spec){ .peek_ms = 100 });
    draft_route_to_pool(&d, draft_builtin(&d, "silent"), pool);
    room_open(&room, draft_finish(&d));
    come("");
    int s = backend();
    room_sends(s, "220 ready");
    room_expects(&room, client, "220 ready");
    close(s);
    finish();
}

static void the_timeout_is_for_all_first_bytes_together(void **state)
{
    (void)state;
    start_with_timeout(200);
    come("G");
    uint64_t since = rx_now_ms();
    for (int i = 1; i < 40 && room.w.n_conns; i++) { // a trickle does not keep it alive
        room_send(client, &request[i], 1);
        room_turn_for(&room, 20);
    }
    room_until_closed(&room, RX_REASON_NO_ROUTE, 1);
    assert_in_range(rx_now_ms() - since, 190, 1000);
    finish();
}

static void waiting_costs_no_turns_of_the_loop(void **state)
{
    (void)state;
    start_with_timeout(60000);
    come("GET /");
    assert_in_range(room_wakes(&room, 100), 0, 10);
    finish();
}

// ---- too much -----------------------------------------------------------------------------------------------------

static void peek_buffer_size_bounds_what_is_kept(void **state)
{
    (void)state;
    struct draft d;
    int pool = begin_draft(&d, &(struct rx_listen_spec){ .peek_ms = 60000, .peek_bytes = 1000 });
    draft_route_to_pool(&d, draft_builtin(&d, "any"), pool);
    room_open(&room, draft_finish(&d));
    static char much[5000];
    memset(much, 'x', sizeof much);
    memcpy(much, "GET /", 5);
    come("");
    for (size_t at = 0; at < sizeof much; at += 250) {
        room_send(client, much + at, 250);
        room_turn_for(&room, 2);
        assert_true(conn->head_cap <= 1000);
    }
    int s = backend(); // the buffer is full: decided, and not a byte is lost
    room_expect(&room, s, much, sizeof much);
    close(s);
    finish();
}

static void one_of_another_process_that_said_more_than_is_kept_here_is_decided_and_not_ended(void **state)
{
    (void)state;
    struct draft d;
    const char *head = "GET /unfinished";
    int fd[2];
    int pool = begin_draft(&d, &(struct rx_listen_spec){ .peek_ms = 60000, .peek_bytes = 8 });
    draft_route_to_pool(&d, draft_builtin(&d, "any"), pool);
    room_open(&room, draft_finish(&d));
    room_pair(fd);
    client = fd[0];
    const char *listen = room.w.conf->listens[0]->name;
    struct rx_handed h = { .kind = RX_HANDED_PEEK,
                           .start_ms = rx_now_ms(),
                           .listen = { (const uint8_t *)listen, (uint32_t)strlen(listen) },
                           .head = { (const uint8_t *)head, (uint32_t)strlen(head) },
                           .fds = { 0, -1 },
                           .dir = { { .pipe = { -1, -1 } }, { .pipe = { -1, -1 } } } };
    assert_int_equal(rx_handover_take(&room.w, 1, &h, &(int){ fd[1] }), 0);
    room_sends(client, " and more");
    int s = backend();
    room_expects(&room, s, "GET /unfinished and more");
    room_no_end(&room, s);
    close(s);
    finish();
}

static void an_oversize_hello_is_turned_away_by_name(void **state)
{
    (void)state;
    struct draft d;
    draft_begin_with(&d, &(struct rx_listen_spec){ .peek_ms = 60000, .peek_bytes = 1000 });
    draft_route(&d, draft_builtin(&d, "tls"), RX_COND_SNI, "a.test", -1);
    room_open(&room, draft_finish(&d));
    size_t n = world_hello(&(struct world_hello){ .sni = "a.test", .padding = 2000 }, hello, sizeof hello);
    come("");
    room_send(client, hello, n);
    room_until_closed(&room, RX_REASON_TLS_OVERSIZE, 1);
    finish();
}

// ---- where to -----------------------------------------------------------------------------------------------------

static void to_fallback(enum rx_target_kind kind)
{
    start(&(struct rx_listen_spec){ .peek_ms = 60000,
                                    .fallback_tcp = { .kind = kind, .text = world_slice("not here") } });
    come("\1\2\3");
}

static void a_fallback_does_what_it_says(void **state)
{
    (void)state;
    to_fallback(RX_TO_REFUSE);
    assert_int_equal(room_end_of(&room, client), ECONNRESET);
    assert_int_equal(room.w.stat.closed[RX_REASON_REFUSED], 1);
    finish();
    to_fallback(RX_TO_DROP);
    assert_int_equal(room_end_of(&room, client), 0);
    assert_int_equal(room.w.stat.closed[RX_REASON_DROPPED], 1);
    finish();
    to_fallback(RX_TO_RESPOND);
    room_expects(&room, client, "not here");
    assert_int_equal(room_end_of(&room, client), 0);
    finish();
    to_fallback(RX_TO_ECHO);
    room_expects(&room, client, "\1\2\3");
    finish();
}

static void why_nobody_takes_it_is_counted_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *says;
        enum rx_reason why;
    } t[] = { { "GET / HTTP/9.9\r\nHost: a.test\r\n\r\n", RX_REASON_HTTP_INVALID },
              { "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n", RX_REASON_NO_ROUTE },
              { "hello?", RX_REASON_NO_ROUTE } };
    for (size_t i = 0; i < RX_COUNT(t); i++) {
        start_with_timeout(60000);
        come(t[i].says);
        room_until_closed(&room, t[i].why, 1);
        finish();
    }
}

static void a_route_that_is_full_turns_the_next_one_away(void **state)
{
    (void)state;
    struct draft d;
    int pool = begin_draft(&d, &(struct rx_listen_spec){ .peek_ms = 60000 });
    draft_route_spec(&d, &(struct rx_route_spec){ .proto = draft_prefixes(&d, "p", "\1P", NULL),
                                                  .max_connections = 1,
                                                  .to = { .kind = RX_TO_POOL, .pool = pool } });
    room_open(&room, draft_finish(&d));
    const atomic_uint *active = room.w.conf->listens[0]->routes[1].active;
    come("\1P");
    int first = client, s = backend();
    assert_int_equal(*active, 1);
    come("\1P");
    assert_int_equal(room_end_of(&room, client), ECONNRESET);
    assert_int_equal(room.w.stat.closed[RX_REASON_LIMIT_ROUTE], 1);
    assert_int_equal(*active, 1);
    room_bye(&client);
    room_bye(&first);
    close(s);
    room_until_alive(&room, 0);
    assert_int_equal(*active, 0);
    come("\1P"); // and then there is room again
    s = backend();
    room_expects(&room, s, "\1P");
    close(s);
    finish();
}

static void who_is_decided_is_no_longer_pending(void **state)
{
    (void)state;
    start(&(struct rx_listen_spec){ .peek_ms = 60000, .max_pending = 5 });
    const atomic_uint *pending = room.w.conf->listens[0]->pending;
    come("GET ");
    assert_int_equal(*pending, 1);
    room_sends(client, request + 4);
    int s = backend();
    assert_int_equal(*pending, 0);
    close(s);
    room_bye(&client);
    room_until_alive(&room, 0);
    come("GET ");
    room_reset(&client);
    room_until_closed(&room, RX_REASON_CLIENT_RESET, 1);
    assert_int_equal(*pending, 0);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        room_test(one_segment_is_decided_at_once_and_nothing_is_kept),
        room_test(bytes_that_come_one_by_one_arrive_whole),
        room_test(any_two_segments_arrive_whole),
        room_test(a_long_hello_in_pieces_arrives_whole),
        room_test(what_cannot_match_any_more_is_not_waited_for),
        room_test(a_first_route_that_takes_anybody_needs_no_byte),
        room_test(who_leaves_without_a_word_is_gone),
        room_test(who_resets_is_said_to_have_reset),
        room_test(half_closing_ends_the_wait_and_is_passed_on),
        room_test(bytes_and_end_in_one_segment_are_both_passed_on),
        room_test(who_says_nothing_is_decided_at_the_timeout),
        room_test(the_silent_can_have_a_route),
        room_test(the_timeout_is_for_all_first_bytes_together),
        room_test(waiting_costs_no_turns_of_the_loop),
        room_test(peek_buffer_size_bounds_what_is_kept),
        room_test(one_of_another_process_that_said_more_than_is_kept_here_is_decided_and_not_ended),
        room_test(an_oversize_hello_is_turned_away_by_name),
        room_test(a_fallback_does_what_it_says),
        room_test(why_nobody_takes_it_is_counted_by_name),
        room_test(a_route_that_is_full_turns_the_next_one_away),
        room_test(who_is_decided_is_no_longer_pending),
    };
    return cmocka_run_group_tests_name("peek", tests, NULL, NULL);
}
