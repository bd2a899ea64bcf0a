// SPDX-License-Identifier: MIT
// Enters: two connected ends. Leaves: that core/weld.c passes on every byte in order, each end of a stream as what it
// was, and never holds more than a sink takes; that both pumps do so; and that nothing is left.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handover.h"
#include "rooms.h"
#include "world.h"

// The far ends are the test's; the near ones are the connection's.
static struct room room;
static struct rx_conn *conn;
static int client, server, near_client, near_server;

static struct rx_conf *conf_with(uint32_t idle_ms)
{
    struct draft d;
    draft_begin_with(&d, &(struct rx_listen_spec){ .idle_ms = idle_ms });
    int any = draft_builtin(&d, "any");
    for (uint32_t priority = RX_PRIORITY_BOTH; priority <= RX_PRIORITY_THROUGHPUT; priority++)
        draft_route_spec(&d,
                         &(struct rx_route_spec){ .proto = any, .priority = priority, .to = { .kind = RX_TO_DROP } });
    return draft_finish(&d);
}

static void make_ends(bool is_small)
{
    int a[2], b[2];
    if (is_small) {
        room_small_pair(a);
        room_small_pair(b);
    } else {
        room_pair(a);
        room_pair(b);
    }
    client = a[0], near_client = a[1];
    server = b[0], near_server = b[1];
}

static void start_idle(enum rx_priority priority, bool is_small, uint32_t idle_ms)
{
    static struct rx_conf *conf;
    conf = conf_with(idle_ms);
    room_open(&room, conf);
    make_ends(is_small);
    conn = room_weld(&room, &room.w.conf->listens[0]->routes[priority], near_client, near_server);
}

static void start(enum rx_priority priority)
{
    start_idle(priority, false, 60000);
}

static void finish(enum rx_reason why)
{
    room_until_closed(&room, why, 1);
    room_bye(&client);
    room_bye(&server);
    room_close(&room);
}

static const enum rx_priority priorities[] = { RX_PRIORITY_BOTH, RX_PRIORITY_LATENCY, RX_PRIORITY_THROUGHPUT };

// ---- bytes --------------------------------------------------------------------------------------------------------

static void bytes_pass_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < RX_COUNT(priorities); i++) {
        start(priorities[i]);
        for (int k = 0; k < 20; k++) {
            room_sends(client, "ping");
            room_expects(&room, server, "ping");
            room_sends(server, "pong!");
            room_expects(&room, client, "pong!");
        }
        assert_int_equal(conn->bytes[RX_TO_SERVER], 20 * 4);
        assert_int_equal(conn->bytes[RX_TO_CLIENT], 20 * 5);
        room_bye(&client);
        room_bye(&server);
        finish(RX_REASON_DONE);
    }
}

static void the_head_goes_first_and_only_what_is_left_of_it(void **state)
{
    (void)state;
    for (uint32_t sent = 0; sent <= 5; sent++) {
        room_open(&room, conf_with(60000));
        make_ends(false);
        room_sends(client, " then");
        conn = room_conn(&room, near_client);
        conn->is_pending = false;
        (*conn->listen->pending)--;
        conn->ends[RX_SERVER].io.fd = near_server;
        assert_int_equal(rx_conn_keep_head(conn, (const uint8_t *)"first", 5, 64), 0);
        rx_weld_begin(conn, conn->head, 5, sent);
        assert_null(conn->head);
        room_expects(&room, server, &"first then"[sent]);
        assert_int_equal(conn->bytes[RX_TO_SERVER], 10);
        room_bye(&client);
        room_bye(&server);
        finish(RX_REASON_DONE);
    }
}

// Far more than sockets hold, to a reader who starts late and reads in odd pieces.
static void stream(enum rx_direction dir, size_t total)
{
    int from = dir == RX_TO_SERVER ? client : server, to = dir == RX_TO_SERVER ? server : client;
    static uint8_t out[100000], in[70001];
    size_t sent = 0, got = 0, idle = 0;
    while (got < total) {
        size_t k = RX_MIN(sizeof out, total - sent), was = got + sent;
        for (size_t i = 0; i < k; i++)
            out[i] = (uint8_t)((sent + i) * 7919 >> 5);
        ssize_t n = k ? send(from, out, k, MSG_NOSIGNAL) : 0;
        sent += n > 0 ? (size_t)n : 0;
        room_turn(&room);
        n = sent > total / 2 || n < 0 ? recv(to, in, sizeof in, 0) : 0; // starts late
        for (ssize_t i = 0; i < n; i++)
            if (in[i] != (uint8_t)((got + (size_t)i) * 7919 >> 5))
                fail_msg("byte %zu is wrong", got + (size_t)i);
        got += n > 0 ? (size_t)n : 0;
        idle = got + sent == was ? idle + 1 : 0;
        if (idle > 1000)
            room_turn_for(&room, 1);
        if (idle > 4000)
            fail_msg("stuck: %zu sent, %zu of %zu came", sent, got, total);
    }
    assert_int_equal(got, total);
}

static void long_streams_arrive_whole_through_either_pump(void **state)
{
    (void)state;
    for (size_t i = 0; i < RX_COUNT(priorities); i++)
        for (int dir = 0; dir < 2; dir++) {
            start(priorities[i]);
            stream((enum rx_direction)dir, 12 * 1000 * 1000);
            assert_int_equal(conn->bytes[dir], 12 * 1000 * 1000);
            room_bye(&client);
            room_bye(&server);
            finish(RX_REASON_DONE);
        }
}

static void a_sink_that_takes_little_gets_everything(void **state)
{
    (void)state;
    for (size_t i = 0; i < RX_COUNT(priorities); i++) {
        start_idle(priorities[i], true, 60000);
        stream(RX_TO_SERVER, 700 * 1000);
        stream(RX_TO_CLIENT, 700 * 1000);
        room_bye(&client);
        room_bye(&server);
        finish(RX_REASON_DONE);
    }
}

// What a source sends while its sink takes nothing stays with the source.
static void a_sink_that_takes_nothing_stops_its_source(void **state)
{
    (void)state;
    for (size_t i = 0; i < RX_COUNT(priorities); i++) {
        start_idle(priorities[i], true, 60000);
        static uint8_t bytes[64 * 1024];
        size_t sent = 0;
        for (int quiet = 0; quiet < 20;) {
            ssize_t n = send(client, bytes, sizeof bytes, MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
            quiet = n > 0 ? 0 : quiet + 1;
            room_turn_for(&room, 2);
        }
        assert_true(sent < 8 * 1000 * 1000);
        const struct rx_dir *d = &conn->dir[RX_TO_SERVER];
        assert_true(d->rest_len || d->in_pipe);
        assert_true(!d->rest_len || !d->in_pipe);
        assert_false(ev_is_active(&conn->ends[RX_CLIENT].io) && conn->ends[RX_CLIENT].io.events & EV_READ);
        assert_true(conn->ends[RX_SERVER].io.events & EV_WRITE);
        room_sends(server, "still alive"); // the other direction is not concerned
        room_expects(&room, client, "still alive");
        room_bye(&client);
        room_bye(&server);
        room_turn_for(&room, 20);
        if (room.w.n_conns) // a reset reaches it by now
            rx_close(conn, RX_REASON_SHUTDOWN);
        room_close(&room);
    }
}

// What one message of the turn could not say is said once there is room, though nobody speaks again.
static void a_small_message_that_finds_no_room_is_not_forgotten(void **state)
{
    (void)state;
    start_idle(RX_PRIORITY_LATENCY, true, 60000);
    static uint8_t sent[4 * 1024 * 1024];
    size_t n = 0;
    while (!conn->dir[RX_TO_SERVER].rest_len && n + 1500 < sizeof sent) {
        memset(sent + n, (int)(n / 1500), 1500);
        room_send(client, sent + n, 1500);
        n += 1500;
        room_turn(&room);
        room_turn(&room);
    }
    assert_true(conn->dir[RX_TO_SERVER].rest_len > 0);
    room_expect(&room, server, sent, n);
    room_bye(&client);
    room_bye(&server);
    finish(RX_REASON_DONE);
}

static void a_closed_connection_gives_back_what_it_held(void **state)
{
    (void)state;
    for (size_t i = 0; i < RX_COUNT(priorities); i++) {
        start_idle(priorities[i], true, 60000);
        static uint8_t bytes[256 * 1024];
        for (int k = 0; k < 20; k++) {
            send(client, bytes, sizeof bytes, MSG_NOSIGNAL);
            send(server, bytes, sizeof bytes, MSG_NOSIGNAL);
            room_turn(&room);
        }
        rx_close(conn, RX_REASON_SHUTDOWN);
        rx_close(conn, RX_REASON_DONE); // again: nothing happens
        assert_int_equal(room.w.stat.closed[RX_REASON_DONE], 0);
        room_bye(&client);
        room_bye(&server);
        room_close(&room);
    }
}

// ---- small messages of one turn -----------------------------------------------------------------------------------

enum { CROWD = 300 }; // more than one turn's outbox holds

static int crowd[CROWD][2];

static void start_crowd(void)
{
    room_open(&room, conf_with(60000));
    for (int i = 0; i < CROWD; i++) {
        make_ends(true);
        crowd[i][0] = client, crowd[i][1] = server;
        room_weld(&room, NULL, near_client, near_server);
    }
}

static void finish_crowd(void)
{
    for (int i = 0; i < CROWD; i++) {
        room_bye(&crowd[i][0]);
        room_bye(&crowd[i][1]);
    }
    client = server = -1;
    room_until_alive(&room, 0);
    room_close(&room);
}

static void many_small_messages_of_one_turn_reach_their_own(void **state)
{
    (void)state;
    start_crowd();
    for (int round = 0; round < 3; round++) {
        char text[2][300];
        for (int i = 0; i < CROWD; i++) {
            snprintf(text[0], sizeof text[0], "%d to server in %d %0*d", i, round, i % 200 + 1, 0);
            snprintf(text[1], sizeof text[1], "%d to client in %d %0*d", i, round, 200 - i % 200, 0);
            room_sends(crowd[i][0], text[0]);
            room_sends(crowd[i][1], text[1]);
        }
        for (int i = 0; i < CROWD; i++) {
            snprintf(text[0], sizeof text[0], "%d to server in %d %0*d", i, round, i % 200 + 1, 0);
            snprintf(text[1], sizeof text[1], "%d to client in %d %0*d", i, round, 200 - i % 200, 0);
            room_expects(&room, crowd[i][1], text[0]);
            room_expects(&room, crowd[i][0], text[1]);
        }
    }
    finish_crowd();
}

static void small_messages_to_those_who_left_are_dropped_with_them(void **state)
{
    (void)state;
    start_crowd();
    for (int i = 0; i < CROWD; i++) {
        room_sends(crowd[i][i & 1], "for one who may have gone");
        if (i % 3 == 0)
            room_bye(&crowd[i][!(i & 1)]);
    }
    room_turn(&room);
    for (struct rx_conn *c = room.w.living.next, *next; c != &room.w.living; c = next) {
        next = c->next;
        if (c->id % 5 == 0)
            rx_close(c, RX_REASON_SHUTDOWN); // with a message in hand, perhaps
    }
    finish_crowd();
}

// Sizes around those where the way changes: small ones wait for the end of the turn, large ones do not.
static void no_message_overtakes_another(void **state)
{
    (void)state;
    for (size_t i = 0; i < RX_COUNT(priorities); i++) {
        static uint8_t bytes[600 * 1024];
        uint32_t seed = 3;
        size_t at = 0;
        start(priorities[i]);
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (uint8_t)(k * 31 >> 4);
        while (at < sizeof bytes) {
            static const size_t sizes[] = { 1, 100, 4000, 4096, 4097, 8192, 30000, 33000, 60000 };
            seed = seed * 1664525 + 1013904223;
            size_t n = RX_MIN(sizes[(seed >> 16) % RX_COUNT(sizes)], sizeof bytes - at);
            room_send(client, bytes + at, n);
            if (seed >> 30)
                room_turn(&room);
            room_expect(&room, server, bytes + at, n);
            at += n;
        }
        room_bye(&client);
        room_bye(&server);
        finish(RX_REASON_DONE);
    }
}

// ---- the pumps ----------------------------------------------------------------------------------------------------

static void full_read(void)
{
    static uint8_t bytes[64 * 1024], in[64 * 1024];
    size_t sent = 0, got = 0;
    while (sent < sizeof bytes) { // all of it waits in the socket before the loop turns
        ssize_t n = send(client, bytes + sent, sizeof bytes - sent, MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
    }
    usleep(500);
    for (int i = 0; i < 4000 && got < sizeof in; i++) {
        room_turn(&room);
        ssize_t n = recv(server, in, sizeof in - got, 0);
        got += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(got, sizeof in);
}

static void a_direction_that_streams_is_spliced_and_one_that_trickles_is_not(void **state)
{
    (void)state;
    start(RX_PRIORITY_BOTH);
    assert_false(conn->dir[RX_TO_SERVER].is_spliced);
    for (int i = 0; i < 50 && !conn->dir[RX_TO_SERVER].is_spliced; i++)
        full_read();
    assert_true(conn->dir[RX_TO_SERVER].is_spliced);
    assert_false(conn->dir[RX_TO_CLIENT].is_spliced);
    assert_int_equal(room.w.stat.spliced[RX_TO_SERVER], 1);
    for (int i = 0; i < 4; i++) {
        room_sends(client, "small");
        room_expects(&room, server, "small");
    }
    assert_false(conn->dir[RX_TO_SERVER].is_spliced);
    assert_int_equal(room.w.pipes.n_out, 0);
    room_bye(&client);
    room_bye(&server);
    finish(RX_REASON_DONE);
}

static void latency_never_splices_and_throughput_always_does(void **state)
{
    (void)state;
    start(RX_PRIORITY_LATENCY);
    for (int i = 0; i < 20; i++)
        full_read();
    assert_false(conn->dir[RX_TO_SERVER].is_spliced);
    assert_int_equal(room.w.stat.spliced[RX_TO_SERVER], 0);
    room_bye(&client);
    room_bye(&server);
    finish(RX_REASON_DONE);

    start(RX_PRIORITY_THROUGHPUT);
    assert_true(conn->dir[RX_TO_SERVER].is_spliced && conn->dir[RX_TO_CLIENT].is_spliced);
    for (int i = 0; i < 10; i++) {
        room_sends(client, "small");
        room_expects(&room, server, "small");
    }
    assert_true(conn->dir[RX_TO_SERVER].is_spliced);
    room_bye(&client);
    room_bye(&server);
    finish(RX_REASON_DONE);
}

static void without_a_pipe_bytes_are_copied(void **state)
{
    (void)state;
    start(RX_PRIORITY_THROUGHPUT);
    room.w.pipes.limit = 0;
    room_sends(client, "all the same");
    room_expects(&room, server, "all the same");
    assert_false(conn->dir[RX_TO_SERVER].is_spliced);
    stream(RX_TO_CLIENT, 1000 * 1000);
    room_bye(&client);
    room_bye(&server);
    finish(RX_REASON_DONE);
}

static void a_pipe_is_held_only_while_bytes_are_in_it(void **state)
{
    (void)state;
    start(RX_PRIORITY_THROUGHPUT);
    room_sends(client, "x");
    room_expects(&room, server, "x");
    assert_int_equal(room.w.pipes.n_out, 0);
    assert_true(room.w.pipes.n_free > 0);
    room_bye(&client);
    room_bye(&server);
    finish(RX_REASON_DONE);
}

static void a_pipe_that_another_process_filled_is_counted_and_given_back(void **state)
{
    (void)state;
    int pipe[2], fds[4];
    room_open(&room, conf_with(60000));
    make_ends(false);
    assert_int_equal(pipe2(pipe, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(write(pipe[1], "stuck", 5), 5);
    memcpy(fds, (int[]){ near_client, near_server, pipe[0], pipe[1] }, sizeof fds);
    const char *listen = room.w.conf->listens[0]->name;
    struct rx_handed h = { .kind = RX_HANDED_WELD,
                           .listen = { (const uint8_t *)listen, (uint32_t)strlen(listen) },
                           .fds = { 0, 1 },
                           .dir = { { .in_pipe = 5, .pipe = { 2, 3 } }, { .pipe = { -1, -1 } } } };
    assert_int_equal(rx_handover_take(&room.w, 1, &h, fds), 0);
    assert_int_equal(room.w.pipes.n_out, 1);
    room_expects(&room, server, "stuck");
    assert_int_equal(room.w.pipes.n_out, 0);
    room_bye(&client);
    room_bye(&server);
    finish(RX_REASON_DONE);
}

// ---- ends ---------------------------------------------------------------------------------------------------------

static void half_close_is_passed_on_and_the_other_half_works(void **state)
{
    (void)state;
    for (size_t i = 0; i < RX_COUNT(priorities); i++)
        for (int first = 0; first < 2; first++) {
            start(priorities[i]);
            int *a = first ? &server : &client, *b = first ? &client : &server;
            room_sends(*a, "last words");
            shutdown(*a, SHUT_WR);
            room_expects(&room, *b, "last words");
            assert_int_equal(room_end_of(&room, *b), 0);
            room_no_end(&room, *a);
            for (int k = 0; k < 3; k++) {
                room_sends(*b, "an answer");
                room_expects(&room, *a, "an answer");
            }
            assert_int_equal(room.w.n_conns, 1);
            room_bye(b);
            assert_int_equal(room_end_of(&room, *a), 0);
            finish(RX_REASON_DONE);
        }
}

static void a_half_closed_end_does_not_make_the_loop_spin(void **state)
{
    (void)state;
    start(RX_PRIORITY_BOTH);
    shutdown(client, SHUT_WR);
    assert_int_equal(room_end_of(&room, server), 0);
    room_turn_for(&room, 10);
    assert_false(ev_is_active(&conn->ends[RX_CLIENT].io));
    assert_in_range(room_wakes(&room, 100), 0, 10);
    room_bye(&server);
    finish(RX_REASON_DONE);
}

static void both_ends_closing_at_once_is_done(void **state)
{
    (void)state;
    start(RX_PRIORITY_BOTH);
    room_bye(&client);
    room_bye(&server);
    finish(RX_REASON_DONE);
}

static void bytes_still_held_are_passed_on_before_the_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < RX_COUNT(priorities); i++) {
        start_idle(priorities[i], true, 60000);
        static uint8_t bytes[40 * 1024];
        size_t sent = 0;
        for (int k = 0; k < 40; k++) {
            ssize_t n = send(client, bytes, sizeof bytes, MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
            room_turn(&room);
        }
        shutdown(client, SHUT_WR);
        room_turn_for(&room, 5);
        static uint8_t in[4 * 1024 * 1024];
        assert_true(sent <= sizeof in);
        memset(in, 0, sizeof in);
        room_expect(&room, server, in, sent);
        assert_int_equal(room_end_of(&room, server), 0);
        room_bye(&server);
        finish(RX_REASON_DONE);
    }
}

static void a_reset_is_passed_on_as_a_reset(void **state)
{
    (void)state;
    for (size_t i = 0; i < RX_COUNT(priorities); i++)
        for (int first = 0; first < 2; first++) {
            start(priorities[i]);
            room_sends(client, "hello");
            room_expects(&room, server, "hello");
            room_reset(first ? &server : &client);
            assert_int_equal(room_end_of(&room, first ? client : server), ECONNRESET);
            finish(first ? RX_REASON_SERVER_RESET : RX_REASON_CLIENT_RESET);
        }
}

static void a_reset_while_bytes_wait_closes_and_frees(void **state)
{
    (void)state;
    for (size_t i = 0; i < RX_COUNT(priorities); i++) {
        start_idle(priorities[i], true, 60000);
        static uint8_t bytes[256 * 1024];
        for (int k = 0; k < 20; k++) {
            send(client, bytes, sizeof bytes, MSG_NOSIGNAL);
            room_turn(&room);
        }
        room_reset(&server);
        finish(RX_REASON_SERVER_RESET);
    }
}

// ---- time ---------------------------------------------------------------------------------------------------------

static void an_idle_connection_ends_in_time_and_an_active_one_does_not(void **state)
{
    (void)state;
    start_idle(RX_PRIORITY_BOTH, false, 150);
    for (int i = 0; i < 12; i++) { // longer than the timeout
        room_sends(i % 2 ? client : server, "x");
        room_expects(&room, i % 2 ? server : client, "x");
        room_turn_for(&room, 30);
    }
    assert_int_equal(room.w.n_conns, 1);
    uint64_t quiet_since = rx_now_ms();
    room_until_closed(&room, RX_REASON_IDLE_TIMEOUT, 1);
    assert_in_range(rx_now_ms() - quiet_since, 100, 1500);
    assert_int_equal(room_end_of(&room, client), 0);
    assert_int_equal(room_end_of(&room, server), 0);
    finish(RX_REASON_IDLE_TIMEOUT);
}

static void hundreds_of_connections_leave_nothing(void **state)
{
    (void)state;
    enum { MANY = 300 };
    static int far[MANY][2];
    room_open(&room, conf_with(60000));
    for (int i = 0; i < MANY; i++) {
        make_ends(false);
        far[i][0] = client, far[i][1] = server;
        room_weld(&room, i % 2 ? NULL : &room.w.conf->listens[0]->routes[0], near_client, near_server);
        room_sends(client, "x");
    }
    for (int i = 0; i < MANY; i++) {
        room_expects(&room, far[i][1], "x");
        if (i % 3 == 0)
            room_reset(&far[i][0]);
        room_bye(&far[i][0]);
        room_bye(&far[i][1]);
    }
    room_until_alive(&room, 0);
    room_turn(&room);
    assert_true(room.w.n_spare > 0 && room.w.n_spare < MANY); // some memory is kept, not all
    client = server = -1;
    room_close(&room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        room_test(bytes_pass_both_ways),
        room_test(the_head_goes_first_and_only_what_is_left_of_it),
        room_test(long_streams_arrive_whole_through_either_pump),
        room_test(a_sink_that_takes_little_gets_everything),
        room_test(a_sink_that_takes_nothing_stops_its_source),
        room_test(a_small_message_that_finds_no_room_is_not_forgotten),
        room_test(a_closed_connection_gives_back_what_it_held),
        room_test(many_small_messages_of_one_turn_reach_their_own),
        room_test(small_messages_to_those_who_left_are_dropped_with_them),
        room_test(no_message_overtakes_another),
        room_test(a_direction_that_streams_is_spliced_and_one_that_trickles_is_not),
        room_test(latency_never_splices_and_throughput_always_does),
        room_test(without_a_pipe_bytes_are_copied),
        room_test(a_pipe_is_held_only_while_bytes_are_in_it),
        room_test(a_pipe_that_another_process_filled_is_counted_and_given_back),
        room_test(half_close_is_passed_on_and_the_other_half_works),
        room_test(a_half_closed_end_does_not_make_the_loop_spin),
        room_test(both_ends_closing_at_once_is_done),
        room_test(bytes_still_held_are_passed_on_before_the_end),
        room_test(a_reset_is_passed_on_as_a_reset),
        room_test(a_reset_while_bytes_wait_closes_and_frees),
        room_test(an_idle_connection_ends_in_time_and_an_active_one_does_not),
        room_test(hundreds_of_connections_leave_nothing),
    };
    return cmocka_run_group_tests_name("weld", tests, NULL, NULL);
}
