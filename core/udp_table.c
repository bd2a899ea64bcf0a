// SPDX-License-Identifier: MIT
// Enters: addresses. Leaves: the node kept under them. Chained buckets, doubled as the table fills; when memory is short
// it stays as it is and only gets slower. The hash has a secret of the table's own: whoever can choose addresses and ports
// cannot make them collide.
#include "udp_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BUCKETS = 256 };

int rx_udp_table_init(struct rx_udp_table *t)
{
    *t = (struct rx_udp_table){ .n_buckets = FIRST_BUCKETS };
    t->secret = rx_hash_key_new();
    t->buckets = calloc(t->n_buckets, sizeof *t->buckets);
    return t->buckets ? 0 : -ENOMEM;
}

void rx_udp_table_fini(struct rx_udp_table *t)
{
    free(t->buckets);
    t->buckets = NULL;
}

// ---- the hash -----------------------------------------------------------------------------------------------------

static size_t put_ip(uint64_t *at, const union rx_ip *ip)
{
    switch (ip->sa.sa_family) {
    case AF_INET:
        at[0] = (uint64_t)ip->v4.sin_addr.s_addr << 32 | (uint64_t)ip->v4.sin_port << 8 | 4;
        return 1;
    case AF_INET6:
        memcpy(at, &ip->v6.sin6_addr, sizeof ip->v6.sin6_addr);
        at[2] = (uint64_t)ip->v6.sin6_scope_id << 32 | (uint64_t)ip->v6.sin6_port << 8 | 6;
        return 3;
    default:
        return 0;
    }
}

uint64_t rx_udp_hash(const struct rx_udp_table *t, const struct rx_udp_key *k)
{
    uint64_t words[7] = { (uintptr_t)k->socket };
    size_t n = 1;
    n += put_ip(words + n, k->from);
    n += put_ip(words + n, k->to);
    return rx_hash(&t->secret, words, n * sizeof *words);
}

// ---- the table ----------------------------------------------------------------------------------------------------

struct rx_udp_node *rx_udp_table_find(const struct rx_udp_table *t, uint64_t hash, const struct rx_udp_node *n)
{
    struct rx_udp_node *at = n ? n->next : t->buckets[hash & (t->n_buckets - 1)];
    while (at && at->hash != hash)
        at = at->next;
    return at;
}

static void grow(struct rx_udp_table *t)
{
    size_t n = t->n_buckets * 2;
    struct rx_udp_node **list = calloc(n, sizeof *list);
    if (!list)
        return;
    for (size_t i = 0; i < t->n_buckets; i++)
        for (struct rx_udp_node *at = t->buckets[i], *next; at; at = next) {
            next = at->next;
            at->next = list[at->hash & (n - 1)];
            list[at->hash & (n - 1)] = at;
        }
    free(t->buckets);
    t->buckets = list;
    t->n_buckets = n;
}

void rx_udp_table_add(struct rx_udp_table *t, struct rx_udp_node *n, uint64_t hash)
{
    if (t->n >= t->n_buckets)
        grow(t);
    n->hash = hash;
    n->next = t->buckets[hash & (t->n_buckets - 1)];
    t->buckets[hash & (t->n_buckets - 1)] = n;
    t->n++;
}

void rx_udp_table_del(struct rx_udp_table *t, struct rx_udp_node *n)
{
    struct rx_udp_node **at = &t->buckets[n->hash & (t->n_buckets - 1)];
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    t->n--;
}
