// SPDX-License-Identifier: MIT
// Enters: clients at a real listening socket, orders, a new generation. Leaves: that core/accept.c and core/worker.c
// admit as many as the limits say, end when told, and swap configs under living connections.
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

#include "bind.h"
#include "rooms.h"
#include "world.h"

static struct room room;
static int listener = -1;
static uint16_t port;

// Whoever says "P" goes to the backend; the rest is waited for. max: of rx.server.
static struct rx_conf *conf_of(const struct rx_listen_spec *spec, uint32_t max)
{
    struct draft d;
    char addr[32];
    snprintf(addr, sizeof addr, "127.0.0.1:%u", room_port(listener));
    draft_begin_with(&d, spec);
    rx_door.server_set(d.b, &(struct rx_server_spec){ .max_connections = max });
    int pool = draft_pool(&d, addr, NULL);
    draft_route_to_pool(&d, draft_prefixes(&d, "p", "P", NULL), pool);
    return draft_finish(&d);
}

static void start(const struct rx_listen_spec *spec, uint32_t max)
{
    listener = room_listen("127.0.0.1:0", 16);
    room_open(&room, conf_of(spec, max));
    port = room_serve(&room);
}

static void start_plain(void)
{
    start(&(struct rx_listen_spec){ .peek_ms = 60000 }, 100);
}

static void finish(void)
{
    room_bye(&listener);
    room_until_alive(&room, 0);
    room_close(&room);
}

static int come(const char *says)
{
    int fd = room_connect(port);
    room_sends(fd, says);
    room_turn_for(&room, 3);
    return fd;
}

// ---- limits -------------------------------------------------------------------------------------------------------

// The third is turned away with a reset; once one has left there is room again.
static void two_and_no_more(enum rx_reason why)
{
    int a = come(""), b = come("");
    assert_int_equal(room.w.n_conns, 2);
    int c = come("");
    assert_int_equal(room_end_of(&room, c), ECONNRESET);
    assert_int_equal(room.w.stat.closed[why], 1);
    assert_int_equal(room.w.n_conns, 2);
    close(a);
    room_until_alive(&room, 1);
    a = come("");
    assert_int_equal(room.w.n_conns, 2);
    assert_int_equal(room.w.stat.accepted, 4);
    close(a);
    close(b);
    close(c);
    finish();
}

static void the_server_s_limit_holds(void **state)
{
    (void)state;
    start(&(struct rx_listen_spec){ .peek_ms = 60000 }, 2);
    two_and_no_more(RX_REASON_LIMIT_SERVER);
}

static void a_listener_s_limit_holds(void **state)
{
    (void)state;
    start(&(struct rx_listen_spec){ .peek_ms = 60000, .max_connections = 2 }, 100);
    two_and_no_more(RX_REASON_LIMIT_LISTENER);
}

static void the_limit_of_those_not_yet_identified_holds(void **state)
{
    (void)state;
    start(&(struct rx_listen_spec){ .peek_ms = 60000, .max_pending = 2 }, 100);
    two_and_no_more(RX_REASON_LIMIT_PENDING);
}

static void the_limit_per_address_holds(void **state)
{
    (void)state;
    start(&(struct rx_listen_spec){ .peek_ms = 60000, .max_connections_per_ip = 2 }, 100);
    two_and_no_more(RX_REASON_LIMIT_IP);
}

static void who_is_turned_away_takes_no_place_elsewhere(void **state)
{
    (void)state;
    start(
        &(struct rx_listen_spec){
            .peek_ms = 60000, .max_connections = 50, .max_pending = 50, .max_connections_per_ip = 1 },
        100);
    int a = come("");
    for (int i = 0; i < 20; i++)
        close(come(""));
    const struct rx_listen *l = room.w.conf->listens[0];
    assert_int_equal(room.active, 1);
    assert_int_equal(*l->active, 1);
    assert_int_equal(*l->pending, 1);
    close(a);
    finish();
}

static void many_at_once_are_all_served(void **state)
{
    (void)state;
    enum { MANY = 150 }; // more than one round of accepting
    static int far[MANY];
    start(&(struct rx_listen_spec){ .peek_ms = 60000 }, 1000);
    for (int i = 0; i < MANY; i++)
        far[i] = room_connect(port);
    room_until_alive(&room, MANY);
    for (int i = 0; i < MANY; i++)
        close(far[i]);
    room_until_closed(&room, RX_REASON_CLIENT_GONE, MANY);
    finish();
}

static void a_connection_knows_where_it_came_from_and_to(void **state)
{
    (void)state;
    start_plain();
    int a = come("");
    const struct rx_conn *c = room.w.living.next;
    struct sockaddr_in mine;
    socklen_t len = sizeof mine;
    assert_int_equal(getsockname(a, (struct sockaddr *)&mine, &len), 0);
    assert_int_equal(c->to_port, port);
    assert_true(rx_addr_equal(&c->client.sa, (struct sockaddr *)&mine));
    close(a);
    finish();
}

// ---- when descriptors run out -------------------------------------------------------------------------------------

static void when_descriptors_run_out_clients_learn_at_once_and_service_resumes(void **state)
{
    (void)state;
    struct rlimit was, now;
    start_plain();
    int held[8], n = 0;
    int a = room_connect(port), b = room_connect(port), hole = dup(0); // connected, not yet accepted
    getrlimit(RLIMIT_NOFILE, &was);
    now = was;
    now.rlim_cur = (rlim_t)hole;
    close(hole);
    for (int fd = 0; fd < hole; fd++)
        if (fcntl(fd, F_GETFD) == -1 && n < 8)
            held[n++] = dup(0);
    setrlimit(RLIMIT_NOFILE, &now);
    room_turn(&room);
    assert_int_equal(room.w.stat.closed[RX_REASON_NO_FDS], 1);
    assert_in_range(room_wakes(&room, 50), 0, 10); // it rests instead of spinning
    setrlimit(RLIMIT_NOFILE, &was);
    assert_int_equal(room_end_of(&room, a), ECONNRESET);
    room_until_alive(&room, 1); // the other one, after the rest
    assert_true(room.w.spare_fd >= 0);
    while (n)
        close(held[--n]);
    close(a);
    close(b);
    finish();
}

// ---- orders -------------------------------------------------------------------------------------------------------

static void draining_lets_who_was_routed_finish_and_nobody_in(void **state)
{
    (void)state;
    start_plain();
    int quiet = come(""), half = come("?"), busy = come("P");
    (void)half;
    int s = room_accept(&room, listener);
    room_expects(&room, s, "P");
    rx_worker_order(&room.w, RX_ORDER_DRAIN);
    room_until_closed(&room, RX_REASON_SHUTDOWN, 1); // who has said nothing has nothing to lose
    assert_int_equal(room_end_of(&room, quiet), 0);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr = { htonl(INADDR_LOOPBACK) } };
    assert_int_equal(connect(late, (struct sockaddr *)&to, sizeof to), -1);
    room_sends(s, "still served");
    room_expects(&room, busy, "still served");
    close(s);
    close(busy);
    close(quiet);
    close(half);
    close(late);
    finish();
}

static void stopping_closes_everybody(void **state)
{
    (void)state;
    start_plain();
    int a = come(""), b = come("P");
    int s = room_accept(&room, listener);
    rx_worker_order(&room.w, RX_ORDER_STOP);
    room_until_closed(&room, RX_REASON_SHUTDOWN, 2);
    close(a);
    close(b);
    close(s);
    finish();
}

static void a_worker_ends_when_its_last_connection_has(void **state)
{
    (void)state;
    start_plain();
    room.w.is_running = false;
    assert_int_equal(rx_worker_start(&room.w), 0); // its own thread, as in earnest
    int a = room_connect(port);
    room_sends(a, "P");
    int s = room_accept(NULL, listener);
    rx_worker_order(&room.w, RX_ORDER_DRAIN);
    usleep(20000);
    room_sends(s, "bye");
    close(s);
    close(a);
    rx_worker_join(&room.w);
    assert_int_equal(room.w.n_conns, 0);
    room_bye(&listener);
    room_close(&room);
}

// ---- a new generation ---------------------------------------------------------------------------------------------

static void swap_to(struct rx_conf *conf, int fd)
{
    static atomic_uint left;
    struct rx_swap *s = calloc(1, sizeof *s + sizeof *s->items);
    left = 1;
    s->conf = conf;
    s->n_left = &left;
    s->n = 1;
    s->items[0] = (struct rx_swap_item){ conf->listens[0], &conf->listens[0]->binds[0], fd };
    rx_worker_swap(&room.w, s);
    room_turn(&room);
    assert_int_equal(left, 0);
}

static void new_connections_get_the_new_config_and_old_ones_keep_theirs(void **state)
{
    (void)state;
    start_plain();
    struct rx_conf *old = room.w.conf;
    rx_conf_ref(old);
    int a = come("P"), sa = room_accept(&room, listener);
    room_expects(&room, sa, "P");
    swap_to(conf_of(&(struct rx_listen_spec){ .peek_ms = 77 }, 100), -1); // the socket stays
    assert_int_equal(old->refs, 2);                                       // ours and the connection's
    int b = come("");
    assert_ptr_equal(room.w.living.next->conf, room.w.conf);
    assert_ptr_not_equal(room.w.conf, old);
    assert_int_equal(room.w.living.next->listen->peek_ms, 77);
    room_sends(sa, "old");
    room_expects(&room, a, "old");
    close(a);
    close(sa);
    room_until_alive(&room, 1);
    room_turn(&room);
    assert_int_equal(old->refs, 1);
    rx_conf_unref(old);
    close(b);
    finish();
}

static void a_socket_no_config_names_any_more_is_closed(void **state)
{
    (void)state;
    start_plain();
    struct rx_conf *conf = conf_of(&(struct rx_listen_spec){ .peek_ms = 60000 }, 100);
    struct rx_bind b = conf->listens[0]->binds[0];
    struct rx_addr bound;
    int fd;
    uint16_t old_port = port;
    assert_int_equal(rx_bind_open(&b, &fd, 1, &bound), 0);
    swap_to(conf, fd);
    port = rx_addr_port(&bound.sa);
    assert_int_equal(room.w.n_listeners, 1);
    int a = come("");
    assert_int_equal(room.w.n_conns, 1);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(old_port),
                              .sin_addr = { htonl(INADDR_LOOPBACK) } };
    assert_int_equal(connect(late, (struct sockaddr *)&to, sizeof to), -1);
    close(late);
    close(a);
    finish();
}

// While it drains, or when it has ended already.
static void a_swap_that_comes_too_late_is_freed(void **state)
{
    (void)state;
    for (int is_ended = 0; is_ended < 2; is_ended++) {
        static atomic_uint left;
        start_plain();
        left = 1;
        struct rx_conf *conf = conf_of(&(struct rx_listen_spec){ .peek_ms = 1 }, 100);
        struct rx_swap *s = calloc(1, sizeof *s + sizeof *s->items);
        s->conf = conf;
        s->n_left = &left;
        s->n = 1;
        s->items[0] = (struct rx_swap_item){ conf->listens[0], &conf->listens[0]->binds[0], dup(listener) };
        int a = is_ended ? -1 : come("P"), b = is_ended ? -1 : room_accept(&room, listener);
        rx_worker_order(&room.w, RX_ORDER_DRAIN);
        room_turn(&room);
        rx_worker_swap(&room.w, s);
        room_turn(&room);
        assert_int_equal(left, is_ended);
        room_bye(&a);
        room_bye(&b);
        finish();
        assert_int_equal(left, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        room_test(the_server_s_limit_holds),
        room_test(a_listener_s_limit_holds),
        room_test(the_limit_of_those_not_yet_identified_holds),
        room_test(the_limit_per_address_holds),
        room_test(who_is_turned_away_takes_no_place_elsewhere),
        room_test(many_at_once_are_all_served),
        room_test(a_connection_knows_where_it_came_from_and_to),
        room_test(when_descriptors_run_out_clients_learn_at_once_and_service_resumes),
        room_test(draining_lets_who_was_routed_finish_and_nobody_in),
        room_test(stopping_closes_everybody),
        room_test(a_worker_ends_when_its_last_connection_has),
        room_test(new_connections_get_the_new_config_and_old_ones_keep_theirs),
        room_test(a_socket_no_config_names_any_more_is_closed),
        room_test(a_swap_that_comes_too_late_is_freed),
    };
    return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
