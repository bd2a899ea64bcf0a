// SPDX-License-Identifier: MIT
// A mirror: a second backend that is given a copy of what clients say, and whose answers are thrown away.
// It never delays the flow. One that cannot keep up, or cannot be reached, is given up for that connection: a stream
// with a hole is of no use to it.
#pragma once

#include "conn.h"

struct rx_mirror;

// Connects to the route's mirror; c->mirror stays NULL when that cannot even be begun.
void rx_mirror_begin(struct rx_conn *c);
// What the client said; may give the mirror up.
void rx_mirror_data(struct rx_conn *c, const uint8_t *bytes, size_t n);
// n bytes lie in the pipe of the direction to the server, and nothing else does.
void rx_mirror_tee(struct rx_conn *c, size_t n);
// The client has said all.
void rx_mirror_finish(struct rx_conn *c);
// The connection closes: what the mirror was not sent yet goes on its way for a short time.
void rx_mirror_end(struct rx_conn *c);
// The worker ends.
void rx_mirror_end_all(struct rx_worker *w);

// The same for UDP: a socket that copies of the client's datagrams leave by. What the mirror answers, or that nobody is
// there, is not looked at; what finds no room is lost and counted.
struct rx_mirror_udp;

struct rx_mirror_udp *rx_mirror_udp_open(struct rx_conn *c); // NULL: cannot be begun
void rx_mirror_udp_send(struct rx_mirror_udp *m, const uint8_t *p, size_t n);
void rx_mirror_udp_free(struct rx_mirror_udp *m);
