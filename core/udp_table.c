// SPDX-License-Identifier: MIT
// Enters: addresses. Leaves: the node kept under them. Chained buckets, doubled as the table fills; when memory is short
// it stays as it is and only gets slower. The hash is SipHash-1-3 with a secret of the process' own: whoever can choose
// addresses and ports cannot make them collide.
#include "udp_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { FIRST_BUCKETS = 256 };

int rx_udp_table_init(struct rx_udp_table *t)
{
    *t = (struct rx_udp_table){ .n_buckets = FIRST_BUCKETS };
    if (getrandom(t->secret, sizeof t->secret, 0) != sizeof t->secret)
        t->secret[0] = (uint64_t)time(NULL) ^ (uintptr_t)t; // before the machine has any randomness
    t->buckets = calloc(t->n_buckets, sizeof *t->buckets);
    return t->buckets ? 0 : -ENOMEM;
}

void rx_udp_table_fini(struct rx_udp_table *t)
{
    free(t->buckets);
    t->buckets = NULL;
}

// ---- SipHash-1-3 (Aumasson, Bernstein 2012), over whole words ------------------------------------------------------

struct sip {
    uint64_t v[4];
};

static uint64_t rotl(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static void sip_round(struct sip *s)
{
    s->v[0] += s->v[1];
    s->v[1] = rotl(s->v[1], 13) ^ s->v[0];
    s->v[0] = rotl(s->v[0], 32);
    s->v[2] += s->v[3];
    s->v[3] = rotl(s->v[3], 16) ^ s->v[2];
    s->v[0] += s->v[3];
    s->v[3] = rotl(s->v[3], 21) ^ s->v[0];
    s->v[2] += s->v[1];
    s->v[1] = rotl(s->v[1], 17) ^ s->v[2];
    s->v[2] = rotl(s->v[2], 32);
}

static void sip_word(struct sip *s, uint64_t word)
{
    s->v[3] ^= word;
    sip_round(s);
    s->v[0] ^= word;
}

static void sip_ip(struct sip *s, const union rx_ip *ip)
{
    uint64_t half[2];
    switch (ip->sa.sa_family) {
    case AF_INET:
        sip_word(s, (uint64_t)ip->v4.sin_addr.s_addr << 32 | (uint64_t)ip->v4.sin_port << 8 | 4);
        break;
    case AF_INET6:
        memcpy(half, &ip->v6.sin6_addr, sizeof half);
        sip_word(s, half[0]);
        sip_word(s, half[1]);
        sip_word(s, (uint64_t)ip->v6.sin6_scope_id << 32 | (uint64_t)ip->v6.sin6_port << 8 | 6);
        break;
    default:
        break;
    }
}

static struct sip sip_begin(const struct rx_udp_table *t, const void *socket)
{
    struct sip s = { { t->secret[0] ^ 0x736f6d6570736575u, t->secret[1] ^ 0x646f72616e646f6du,
                       t->secret[0] ^ 0x6c7967656e657261u, t->secret[1] ^ 0x7465646279746573u } };
    sip_word(&s, (uintptr_t)socket);
    return s;
}

static uint64_t sip_end(struct sip *s)
{
    s->v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(s);
    return s->v[0] ^ s->v[1] ^ s->v[2] ^ s->v[3];
}

uint64_t rx_udp_hash(const struct rx_udp_table *t, const struct rx_udp_key *k)
{
    struct sip s = sip_begin(t, k->socket);
    sip_ip(&s, k->from);
    sip_ip(&s, k->to);
    return sip_end(&s);
}

uint64_t rx_udp_hash_words(const struct rx_udp_table *t, const void *socket, const uint64_t *words, size_t n)
{
    struct sip s = sip_begin(t, socket);
    for (size_t i = 0; i < n; i++)
        sip_word(&s, words[i]);
    return sip_end(&s);
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
