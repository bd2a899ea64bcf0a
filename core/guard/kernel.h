// SPDX-License-Identifier: MIT
// What the kernel does to those whom one rx.sessions puts out: packets dropped, connections closed, flows forgotten.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "addr.h"

enum { RX_KERNEL_NFTABLES = 1, RX_KERNEL_KILL = 2, RX_KERNEL_CONNTRACK = 4 };

struct rx_kernel_rule {
    uint32_t what; // of those above; 0: nothing
    const char *ports; // "443, 8000-8099"
    bool is_tcp, is_udp;
    uint32_t ipv6_prefix;
};

struct rx_kernel;
struct rx_kernel_totals {
    unsigned long killed, flows, failed; // connections closed, conntrack entries deleted, attempts that failed
};
struct rx_kernel_out {
    struct rx_cidr who;
    uint64_t at_ms, timeout_ms;
    bool is_order; // somebody's, and no violation: changed timeouts do not touch it
};

#ifndef RX_WITHOUT_GUARD
// `name` goes into that of a table: letters, digits and _ alone. NULL: out of memory.
struct rx_kernel *rx_kernel_new(const char *name);
// Takes away what is left in the kernel.
void rx_kernel_free(struct rx_kernel *k);

// Any thread, and never waits for the kernel: the guard's thread does what follows, when it is woken.
void rx_kernel_set(struct rx_kernel *k, const struct rx_kernel_rule *rule); // NULL: nothing any more
bool rx_kernel_is_on(struct rx_kernel *k);
void rx_kernel_put_out(struct rx_kernel *k, const struct rx_kernel_out *out);
void rx_kernel_kill_again(struct rx_kernel *k, const struct rx_cidr *who); // it is out and has come again
void rx_kernel_retime(struct rx_kernel *k, uint64_t timeout_ms); // for all who are out, and the later ones
bool rx_kernel_let_in(struct rx_kernel *k, const struct rx_cidr *who); // and who is within this block; true: some were out

// The guard's thread. `whose`: for messages; `is_check`: look whether all is there still.
void rx_kernel_work(struct rx_kernel *k, const char *whose, bool is_check);
void rx_kernel_leave(struct rx_kernel *k); // the program ends
void rx_kernel_hand_on(void);              // what all of them have there is another process's now: nothing of it is touched
// Who has TCP connections to the ports now (sockdiag.h); none when nothing is to be killed. *list is the caller's to free.
int rx_kernel_peers(struct rx_kernel *k, struct rx_cidr **list, size_t *n);
bool rx_kernel_is_among(const struct rx_cidr *block, const struct rx_cidr *list, size_t n);

struct rx_kernel_totals rx_kernel_totals(struct rx_kernel *k);
#else
// A config that asks for any of it is refused (build_guard.c).
static inline struct rx_kernel *rx_kernel_new(const char *name)
{
    return (struct rx_kernel *)(uintptr_t)name; // never looked into
}
#define rx_kernel_free(k) ((void)(k))
#define rx_kernel_set(k, rule) ((void)(k), (void)(rule))
#define rx_kernel_is_on(k) ((void)(k), false)
#define rx_kernel_put_out(k, out) ((void)(k), (void)(out))
#define rx_kernel_kill_again(k, who) ((void)(k), (void)(who))
#define rx_kernel_retime(k, timeout_ms) ((void)(k), (void)(timeout_ms))
#define rx_kernel_let_in(k, who) ((void)(k), (void)(who), false)
#define rx_kernel_work(k, whose, is_check) ((void)(k), (void)(whose), (void)(is_check))
#define rx_kernel_leave(k) ((void)(k))
#define rx_kernel_hand_on() ((void)0)
#define rx_kernel_peers(k, list, n) ((void)(k), *(list) = NULL, *(n) = 0, 0)
#define rx_kernel_is_among(block, list, n) ((void)(block), (void)(list), (void)(n), false)
#define rx_kernel_totals(k) ((void)(k), (struct rx_kernel_totals){ 0 })
#endif
