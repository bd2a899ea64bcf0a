// SPDX-License-Identifier: MIT
// What tests of the rooms share: a worker whose loop the test itself turns, and sockets to both sides of it.
#pragma once

#include "worker.h"

struct room {
    struct rx_worker w;
    atomic_uint active;
    atomic_uint sessions;
};

unsigned room_fds(void); // file descriptors this process has open
// For cmocka: after the test as many are open as before it.
int room_set_up(void **state);
int room_tear_down(void **state);
#define room_test(f) cmocka_unit_test_setup_teardown(f, room_set_up, room_tear_down)

// Begins with a worker of its own and ends only when nothing is left: no connection, no count.
// conf is taken over; it comes from world.h's draft_finish.
void room_open(struct room *r, struct rx_conf *conf);
void room_close(struct room *r);

// Turns the loop: what is ready now; or for so many milliseconds, come what may.
void room_turn(struct room *r);
void room_turn_for(struct room *r, unsigned ms);
// Lets the loop run by itself for so long, sleeping when it wants to; returns how often it woke.
unsigned room_wakes(struct room *r, unsigned ms);
// Turns until there are n live connections; fails the test after two seconds.
void room_until_alive(struct room *r, unsigned n);
// Turns until so many connections have ended for this reason.
void room_until_closed(struct room *r, enum rx_reason why, unsigned n);

// A real listening socket of listener 0 of the config; returns its port.
uint16_t room_serve(struct room *r);

// A connection as accept.c makes it, with its client's end; and one that is welded already.
struct rx_conn *room_conn(struct room *r, int client_end);
struct rx_conn *room_weld(struct room *r, const struct rx_route *route, int client_end, int server_end);

// ---- sockets: not blocking, closed by the test --------------------------------------------------------------------

void room_pair(int fd[2]);                      // connected over TCP on loopback
void room_small_pair(int fd[2]);                // what is written to fd[1] soon waits
int room_listen(const char *addr, int backlog); // "127.0.0.1:0" and the like
uint16_t room_port(int listener);
int room_fill(int listener);                   // takes the last place of a backlog of 0: nobody gets in any more
int room_accept(struct room *r, int listener); // turns until somebody comes
int room_connect(uint16_t port);
void room_send(int fd, const void *bytes, size_t n); // all of it must go
void room_sends(int fd, const char *text);
// Turns until n bytes have come, which must be these.
void room_expect(struct room *r, int fd, const void *bytes, size_t n);
void room_expects(struct room *r, int fd, const char *text);
// Turns until the stream ends; 0 after an orderly end, else the errno. Bytes before the end fail the test.
int room_end_of(struct room *r, int fd);
void room_no_end(struct room *r, int fd); // nothing comes and nothing ends
void room_reset(int *fd);                 // closes with a reset
void room_bye(int *fd);                   // closes
