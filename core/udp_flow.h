// SPDX-License-Identifier: MIT
// What the udp_*.c files share: the flows of one worker, and what leads from one file to the next.
// A function that "may close" the flow says by false that it did; then nothing of it is touched any more.
#pragma once

#include "udp.h"
#include "udp_io.h"
#include "udp_roam.h"
#include "worker.h"

enum { RX_UDP_TURNS = 4 }; // receives one event may do

struct rx_udp {
    struct rx_udp_batch *in, *back; // from clients, from backends
    struct rx_udp_table table;
    struct rx_udp_table ids; // of struct rx_udp_named
    uint32_t id_lens;        // QUIC ids of so many bytes were given out: a bit for each length
    struct rx_udp_run runs[RX_UDP_BATCH];
    struct rx_udp_flow *touched[RX_UDP_BATCH]; // whose run it is; NULL: closed meanwhile
    unsigned n_touched;
    bool may_segment; // towards clients
};

// A flow's id; at most one each.
struct rx_udp_named {
    struct rx_udp_node node;
    struct rx_udp_flow *flow;
    struct rx_roam_id id;
};

static inline struct rx_udp *rx_udp_in(const struct rx_udp_flow *f)
{
    return f->c.worker->udp;
}

// udp.c: how long a flow may rest.
uint32_t rx_udp_idle_ms(const struct rx_conn *c);

// udp_meet.c: the flow of an address not known yet; NULL: turned away.
struct rx_udp_flow *rx_udp_meet(struct rx_listener *l, const struct rx_udp_msg *m, uint64_t hash);

// udp_decide.c: one datagram of a flow in PEEK, which may close it, and what ends its waiting.
void rx_udp_hear_undecided(struct rx_udp_flow *f, const uint8_t *p, uint32_t len);
void rx_udp_decide_kept(struct rx_udp_flow *f, enum rx_ended ended);
void rx_udp_drop_kept(struct rx_udp_flow *f);
bool rx_udp_take_kept(struct rx_udp_flow *f, const struct rx_text *lengths); // of the datagrams in its head
void rx_udp_echo(struct rx_udp_flow *f, const uint8_t *p, uint32_t len);

// udp_server.c: sends the datagrams that are there to a backend of the pool, and what follows from then on. May close.
void rx_udp_connect_begin(struct rx_udp_flow *f, const struct rx_target *to, const uint8_t *p, const uint32_t *len,
                          uint32_t n);
void rx_udp_hear_backend(struct rx_udp_flow *f, int fd); // this is the socket to it

// udp_send.c
struct rx_udp_path rx_udp_client_path(struct rx_udp_flow *f);
void rx_udp_tell_client(struct rx_udp_flow *f, const uint8_t *p, uint32_t len); // an answer of our own
bool rx_udp_to_backend(struct rx_udp_flow *f, const struct rx_udp_msg *m);      // in this turn's run; may close
void rx_udp_flush(struct rx_udp *u);                                            // the turn is over; may close flows
void rx_udp_tap_begin(struct rx_udp_flow *f); // the flow has reached its backend, or is answered here
void rx_udp_tap(struct rx_udp_flow *f, enum rx_direction dir, const uint8_t *p, uint32_t len);
// Datagrams of a flow that somebody looks at, counted by the caller. May close.
bool rx_udp_pass(struct rx_udp_flow *f, enum rx_direction dir, const uint8_t *p, uint32_t len);
bool rx_udp_pass_all(struct rx_udp_flow *f, enum rx_direction dir, const struct rx_udp_msg *m);
void rx_udp_lost(struct rx_worker *w, uint32_t lost);
void rx_udp_lose_backend(struct rx_udp_flow *f, int err); // its socket said so; closes

// udp_names.c: whether and how clients of the flow may move; learning from what its backend says; the flow whose conversation
// a datagram from an unknown address belongs to.
enum rx_roam_kind rx_udp_roam_kind(const struct rx_conn *c);
void rx_udp_learn_id(struct rx_udp_flow *f, const struct rx_udp_msg *m);
void rx_udp_keep_id(struct rx_udp_flow *f, const struct rx_roam_id *id);
void rx_udp_forget_id(struct rx_udp_flow *f);
struct rx_udp_flow *rx_udp_find_kin(struct rx_udp *u, const struct rx_listener *l, const struct rx_udp_msg *m);
