// SPDX-License-Identifier: MIT
// What the udp_*.c files share: the flows of one worker, and what leads from one file to the next.
// A function that "may close" the flow says by false that it did; then nothing of it is touched any more.
#pragma once

#include "udp.h"
#include "udp_io.h"
#include "udp_names.h"
#include "worker.h"

enum {
    RX_UDP_TURNS = 4,  // receives one event may do
    RX_UDP_GRAMS = 32, // datagrams an undecided flow may wait with
};

struct rx_udp {
    struct rx_udp_batch *in, *back; // from clients, from backends
    struct rx_udp_table table;
    struct rx_udp_run runs[RX_UDP_BATCH];
    struct rx_conn *touched[RX_UDP_BATCH]; // whose run it is; NULL: closed meanwhile
    unsigned n_touched;
    bool may_segment; // towards clients
};

struct rx_udp_grams {
    uint32_t n, len[RX_UDP_GRAMS];
};

struct rx_udp_preface {
    uint32_t len;
    uint8_t bytes[];
};

static inline struct rx_udp *rx_udp_in(const struct rx_conn *c)
{
    return c->worker->udp;
}

// udp.c: how long a flow may rest.
uint32_t rx_udp_idle_ms(const struct rx_conn *c);

// udp_meet.c: the flow of an address not known yet; NULL: turned away.
void rx_udp_keep_local(struct rx_conn *c, const union rx_ip *to); // the address its client asked
struct rx_conn *rx_udp_meet(struct rx_listener *l, const struct rx_udp_msg *m, uint64_t hash);

// udp_decide.c: one datagram of a flow in PEEK, which may close it, and what ends its waiting.
void rx_udp_hear_undecided(struct rx_conn *c, const uint8_t *p, uint32_t len);
void rx_udp_decide_kept(struct rx_conn *c, enum rx_ended ended);
bool rx_udp_take_kept(struct rx_conn *c, const struct rx_text *lengths); // of the datagrams in its head
void rx_udp_echo(struct rx_conn *c, const uint8_t *p, uint32_t len);

// udp_server.c: sends the datagrams that are there to a backend of the pool, and what follows from then on. May close.
void rx_udp_connect_begin(struct rx_conn *c, const struct rx_target *to, const uint8_t *p, const uint32_t *len,
                          uint32_t n);
void rx_udp_hear_backend(struct rx_conn *c, int fd); // this is the socket to it

// udp_send.c
struct rx_udp_path rx_udp_client_path(struct rx_conn *c, union rx_ip *from); // from: room for it, which it points to
void rx_udp_tell_client(struct rx_conn *c, const uint8_t *p, uint32_t len);  // an answer of our own
bool rx_udp_to_backend(struct rx_conn *c, const struct rx_udp_msg *m);       // in this turn's run; may close
void rx_udp_flush(struct rx_udp *u);                                         // the turn is over; may close flows
void rx_udp_tap_begin(struct rx_conn *c); // the flow has reached its backend, or is answered here
void rx_udp_tap(struct rx_conn *c, enum rx_direction dir, const uint8_t *p, uint32_t len);
// Datagrams of a flow that somebody looks at, counted by the caller. May close.
bool rx_udp_pass(struct rx_conn *c, enum rx_direction dir, const uint8_t *p, uint32_t len);
bool rx_udp_pass_all(struct rx_conn *c, enum rx_direction dir, const struct rx_udp_msg *m);
void rx_udp_lost(struct rx_worker *w, enum rx_lost why, uint32_t n);
void rx_udp_lose_backend(struct rx_conn *c, int err); // its socket said so; closes
