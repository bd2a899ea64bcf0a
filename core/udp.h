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

// As much of a connection as a flow has, zeroed; NULL: out of memory. Goes by free().
struct rx_conn *rx_udp_conn_new(void);
// 0 or -ENOMEM; once per worker.
int rx_udp_init(struct rx_worker *w);
void rx_udp_fini(struct rx_worker *w);
void rx_udp_on_readable(struct ev_loop *loop, ev_io *w, int events);
// The address a flow's client asked, without port; AF_UNSPEC: its socket has one only.
union rx_ip rx_udp_local(const struct rx_conn *c);
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
