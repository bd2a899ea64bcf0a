// SPDX-License-Identifier: MIT
// What a program and the one that takes its place say to each other over a socket pair (docs/decisions/0015). Messages keep
// their boundaries and carry descriptors. Both ends are on one machine: numbers are in its own order.
#pragma once

#include "base.h"

enum {
    RX_UPGRADE_BASE = 1,  // of the messages themselves; another one cannot be talked to
    RX_UPGRADE_FDS = 250, // of one message: the kernel takes 253
    RX_UPGRADE_DATA = 2048,
};

enum rx_upgrade_kind {
    RX_UPGRADE_HELLO, // new: a = RX_UPGRADE_BASE, b = RX_HANDOVER_VERSION; I want the listening sockets
    RX_UPGRADE_LISTENER, // old: some of one address: a = is_udp, b = number of the first, c, d = its file, data = rx_addr
    RX_UPGRADE_LISTENED, // old: that was all of them
    RX_UPGRADE_FINDING,  // new: a = severity, data = text: what is wrong with the config
    RX_UPGRADE_READY,    // new: I can serve
    RX_UPGRADE_CARRY,    // old: descriptors of the flows that follow
    RX_UPGRADE_FLOWS, // old: c = bytes of flows (handover.h), in the memory this descriptor is; they own what was carried
    RX_UPGRADE_BANS,    // old: c = bytes of bans (upgrade_state.c), in that memory
    RX_UPGRADE_DRAINED, // old: data = the address of a backend
    RX_UPGRADE_END,     // old: that was all
    RX_UPGRADE_HAVE,    // new: c = flows taken, d = not taken; the memory has a byte for each flow: not taken
    RX_UPGRADE_KINDS
};

struct rx_upgrade_msg {
    uint32_t magic, kind;
    uint32_t a, b;
    uint64_t c, d;
    uint32_t len;
    uint8_t data[RX_UPGRADE_DATA];
};

// 0 and two ends, both closed on exec; or -errno.
int rx_upgrade_pair(int fds[2]);
// Waits until `until_ms` (rx_now_ms). 0, or -errno: -EPIPE when nobody is there any more, -ETIMEDOUT.
int rx_upgrade_send(int fd, struct rx_upgrade_msg *m, const int *fds, unsigned n, uint64_t until_ms);
// 1, 0 when the other end is closed and has said all, or -errno: -ETIMEDOUT, -EPROTO, -EMFILE when descriptors were lost.
// fds has room for RX_UPGRADE_FDS; those it gets are the caller's.
int rx_upgrade_recv(int fd, struct rx_upgrade_msg *m, int *fds, unsigned *n, uint64_t until_ms);
// Whether `size` bytes are a message. Pure.
bool rx_upgrade_is_sound(const struct rx_upgrade_msg *m, size_t size);

// A descriptor that holds these bytes, or -errno.
int rx_upgrade_memory(const void *bytes, size_t len);
// `len` bytes out of one, malloc'ed; NULL when it holds fewer, or memory is short.
uint8_t *rx_upgrade_recall(int fd, size_t len);
