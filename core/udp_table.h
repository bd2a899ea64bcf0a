// SPDX-License-Identifier: MIT
// The flows of one worker by who talks to which of its sockets: found in one probe however many there are, and in an order
// no client can foresee.
#pragma once

#include "addr.h"
#include "hash.h"

struct rx_udp_key {
    const void *socket; // told apart by address
    const union rx_ip *from, *to;
};

// Embedded in what is kept.
struct rx_udp_node {
    struct rx_udp_node *next;
    uint64_t hash;
};

struct rx_udp_table {
    struct rx_udp_node **buckets; // owned; a power of two
    size_t n_buckets, n;
    struct rx_hash_key secret;
};

int rx_udp_table_init(struct rx_udp_table *t); // 0 or -ENOMEM
void rx_udp_table_fini(struct rx_udp_table *t);
uint64_t rx_udp_hash(const struct rx_udp_table *t, const struct rx_udp_key *k);
// The first node with this hash after `n` (NULL: from the start); the caller compares the rest.
struct rx_udp_node *rx_udp_table_find(const struct rx_udp_table *t, uint64_t hash, const struct rx_udp_node *n);
void rx_udp_table_add(struct rx_udp_table *t, struct rx_udp_node *n, uint64_t hash);
void rx_udp_table_del(struct rx_udp_table *t, struct rx_udp_node *n);
