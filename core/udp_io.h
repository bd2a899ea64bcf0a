// SPDX-License-Identifier: MIT
// Datagrams in and out, many at a time: recvmmsg with UDP_GRO, and runs of equal-sized datagrams as one send that the
// kernel cuts again (UDP_SEGMENT). Nothing here knows of flows.
#pragma once

#include "addr.h"

enum {
    RX_UDP_BATCH = 64,        // messages of one receive
    RX_UDP_SIZE = 65536,      // bytes of one message: the largest datagram, or several of one size together
    RX_UDP_SEGMENTS = 64,     // datagrams the kernel cuts from one send (UDP_MAX_SEGMENTS)
    RX_UDP_RUN_BYTES = 65000, // of one send
};

// What one receive brought: one datagram, or several of `size` bytes each one after another, the last maybe shorter.
struct rx_udp_msg {
    uint8_t *p;
    uint32_t len, size;
    uint32_t missed;      // of its socket: how many the kernel had no room for so far, as far as it said
    union rx_ip from, to; // to: the address it was sent to, without port; AF_UNSPEC when not asked for
};

struct rx_udp_batch; // buffers of a worker; their memory is touched only as far as traffic needs it

struct rx_udp_batch *rx_udp_batch_new(void); // NULL: out of memory
void rx_udp_batch_free(struct rx_udp_batch *b);
// Up to RX_UDP_BATCH messages. Returns how many (`msgs` is valid until the next call), 0: none now, or negative errno.
// `most`: at most so many. A socket's error (an ICMP answer to something sent) comes here, too.
int rx_udp_receive(struct rx_udp_batch *b, int fd, unsigned most, struct rx_udp_msg **msgs);

// Datagrams on their way to one peer.
struct rx_udp_run {
    struct {
        const uint8_t *p;
        uint32_t len;
    } part[RX_UDP_SEGMENTS];
    uint32_t n, total, size, segments;
    bool is_full; // nothing can follow: its last datagram is shorter
};

struct rx_udp_path {
    int fd;
    const union rx_ip *to;   // NULL: the socket is connected
    const union rx_ip *from; // the address to send from; NULL or AF_UNSPEC: the kernel's choice
    bool *may_segment;       // cleared when the kernel or the device refuses UDP_SEGMENT
};

// Adds a message's datagrams; what does not fit is sent first. 0, or negative errno of a send that failed: -EAGAIN and
// -ENOBUFS lost datagrams (counted in *lost), others speak for the path.
int rx_udp_run_add(struct rx_udp_run *r, const struct rx_udp_path *path, const struct rx_udp_msg *m, uint32_t *lost);
int rx_udp_run_send(struct rx_udp_run *r, const struct rx_udp_path *path, uint32_t *lost);
// Whether an error of a send lost datagrams only, and says nothing of the path.
bool rx_udp_is_loss(int rc);
// One datagram.
int rx_udp_send(const struct rx_udp_path *path, const uint8_t *p, uint32_t len);
// The same, with the bytes of `before` in front of it in the same datagram.
int rx_udp_send_behind(const struct rx_udp_path *path, const struct rx_udp_msg *before, const uint8_t *p, uint32_t len);

// A backend's socket takes trains; a listening one has room for bursts of all its clients, too, and tells addresses of
// arrival (wants_to).
void rx_udp_setup(int fd);
void rx_udp_setup_listener(int fd, int family, bool wants_to);
