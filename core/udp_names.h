// SPDX-License-Identifier: MIT
// Whose conversation a datagram from an unknown address belongs to: the ids flows are known by, of all workers, for the kernel
// may give a client's new address to any of them. A documented lock for each stripe: taken when a backend tells a new id,
// when such a flow ends, and when an unknown address says an id; never for datagrams of flows that are there.
#pragma once

#include "conn.h"
#include "udp_io.h"
#include "udp_roam.h"

enum { RX_UDP_IDS = 2 };

// Where a flow went, so that another can go there, too.
struct rx_udp_place {
    struct rx_conf *conf; // ref; what follows is its, or the roster's
    const struct rx_listen *listen;
    const struct rx_route *route;
    const struct rx_known *seen;
    const struct rx_pool *pool;
    struct rx_roster *roster; // ref
    const struct rx_backend *backend;
    bool is_fallback_used;
};

void rx_udp_place_unref(struct rx_udp_place *p);

// Whether and how clients of a flow that has reached its backend may move (enum rx_roam_kind).
uint8_t rx_udp_roams(const struct rx_conn *c);
// Learns from the flow's first datagram, and from what its backend says.
void rx_udp_introduce(struct rx_conn *c, const uint8_t *p, uint32_t len);
void rx_udp_learn(struct rx_conn *c, const struct rx_udp_msg *m);
void rx_udp_unlearn(struct rx_conn *c); // it ends
// False: nobody's. True: the place's refs are the caller's, and *said is what the datagram says.
bool rx_udp_find_place(const struct rx_listener *l, const struct rx_udp_msg *m, struct rx_udp_place *place,
                       struct rx_roam_id *said);
// The flow, which has reached its backend, is known by this id, too. At most RX_UDP_IDS; the oldest is forgotten.
void rx_udp_know(struct rx_conn *c, const struct rx_roam_id *id);
// All it is known by, struct rx_roam_id each, those of kind RX_ROAM_NONE for nothing.
struct rx_text rx_udp_ids(const struct rx_conn *c);
