// SPDX-License-Identifier: MIT
// UDP: datagrams of one client to one of our addresses are a flow, which is recognised, routed and ended like a
// connection; indeed it is one (struct rx_conn), whose client side is a listening socket it shares.
#pragma once

#include "conn.h"
#include "handover.h"
#include "udp_table.h"

struct rx_listener;
struct rx_worker;

// What a worker needs for UDP; NULL until it listens there.
struct rx_udp;

struct rx_udp_flow {
    struct rx_conn c; // first: freed as one
    struct rx_udp_node node;
    struct rx_listener *listener; // borrowed: stays open while flows use it
    union rx_ip local;            // the address the client asked; AF_UNSPEC: the socket has one only
    struct rx_mirror_udp *mirror; // owned; NULL: none
    uint8_t *preface;             // a PROXY header before each datagram for the backend; owned; NULL: none
    uint32_t preface_len;
    uint32_t *gram_len;           // PEEK: the datagrams in c.head; owned
    struct rx_udp_named *named; // owned: an id it is known by, too; NULL: none
    uint16_t n_grams;
    uint8_t roams;      // enum rx_roam_kind: its backend gives out such ids
    uint8_t run;        // what it is sent in this turn: a number in the worker's runs, from 1; 0: none
    bool may_segment;   // the backend's side takes UDP_SEGMENT
};

static inline struct rx_udp_flow *rx_udp_of(struct rx_conn *c)
{
    return RX_CONTAINER(c, struct rx_udp_flow, c);
}

// 0 or -ENOMEM; once per worker.
int rx_udp_init(struct rx_worker *w);
void rx_udp_fini(struct rx_worker *w);
void rx_udp_on_readable(struct ev_loop *loop, ev_io *w, int events);
void rx_udp_on_deadline(struct rx_conn *c);
// The listening socket goes although it has flows (no memory to wait for them): closes these.
void rx_udp_leave(struct rx_listener *l);
// The flow is being closed: takes it out of the table.
void rx_udp_forget(struct rx_conn *c);

// ---- udp_handover.c: flows from one process to another ---------------------------------------------------------------

// Whether it can go; what is to be told of it.
bool rx_udp_may_go(struct rx_conn *c);
void rx_udp_tell(struct rx_conn *c, struct rx_handed *h);
// The socket it came to, among these workers'; NULL: it is not there.
struct rx_listener *rx_udp_listener_of(struct rx_worker *workers, unsigned n, const struct rx_handed *h);
// Puts a new flow into the table; makes it run, which may close it.
void rx_udp_settle_in(struct rx_conn *c, struct rx_listener *l, const struct rx_handed *h);
void rx_udp_adopt(struct rx_conn *c, const struct rx_handed *h);
