// SPDX-License-Identifier: MIT
// Deadlines of many connections on one timer. Setting a later deadline costs a store; the node is moved only when
// its slot comes round. Resolution is RX_WHEEL_TICK_MS; a deadline never fires early.
#pragma once

#include <ev.h>

#include "base.h"

enum { RX_WHEEL_TICK_MS = 32, RX_WHEEL_SLOTS = 1024 };

struct rx_wheel_node {
    struct rx_wheel_node *next, *prev; // NULL when not on the wheel
    uint64_t deadline_ms;
    uint64_t slot_ms; // when it will next be looked at
};

struct rx_wheel {
    struct ev_loop *loop; // borrowed
    ev_timer timer;
    struct rx_wheel_node slots[RX_WHEEL_SLOTS]; // list heads
    uint64_t busy[RX_WHEEL_SLOTS / 64];         // which slots hold a node
    uint64_t at_tick;                           // ticks up to this one have been served
    uint64_t armed_tick;                        // 0: timer is stopped
    void (*fire)(struct rx_wheel_node *n);      // the node is off the wheel when called
};

void rx_wheel_init(struct rx_wheel *w, struct ev_loop *loop, void (*fire)(struct rx_wheel_node *n));
void rx_wheel_fini(struct rx_wheel *w);
void rx_wheel_set(struct rx_wheel *w, struct rx_wheel_node *n, uint64_t deadline_ms);
void rx_wheel_del(struct rx_wheel *w, struct rx_wheel_node *n);
// Monotonic milliseconds, coarse (one clock tick) and cheap.
uint64_t rx_now_ms(void);
