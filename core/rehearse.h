// SPDX-License-Identifier: MIT
// What peek.c would decide, without a socket: `check` and `explain` play a client's segments through here.
#pragma once

#include "route.h"

struct rx_client {
    const uint8_t *p;
    const uint32_t *cuts; // where each segment, or UDP datagram, ends, ascending; borrowed
    uint32_t n_cuts;
    enum rx_ended after; // what follows the last segment; RX_OPEN: it may still speak
    union rx_ip from;
    uint16_t to_port;
    uint32_t week_minute; // when it comes
    bool is_udp;
    struct rx_script *script; // runs the config's functions; borrowed
};

struct rx_outcome {
    struct rx_decision d;
    enum rx_ended ended; // what the decision knew about the end
    uint32_t len;        // bytes that had come
    uint32_t n_segments; // segments that had come
    bool is_gone;        // it left without a word
    bool is_udp;
};

// Facts in out->d point into the client's bytes and `scratch` (RX_SCRATCH_SIZE).
void rx_rehearse(const struct rx_listen *l, const struct rx_client *c, uint8_t *scratch, uint32_t also_want,
                 struct rx_outcome *out);

// Where it goes: the route's target, the fallback, or nowhere; NULL while it is not decided.
const struct rx_target *rx_outcome_target(const struct rx_listen *l, const struct rx_outcome *o);
