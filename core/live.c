// SPDX-License-Identifier: MIT
// A hash table under a lock: asked only while a config loads or goes, never on the path.
#include "live.h"

#include <stdlib.h>
#include <string.h>

#include "digest.h"

struct rx_live {
    _Alignas(64) atomic_uint count; // first: callers hold a pointer to it; no two share a cache line
    struct rx_meter meter[2];
    struct rx_lives *in; // borrowed
    struct rx_live *next;
    uint64_t key, generation; // the last one that asked for it
    unsigned refs;
    uint32_t listen_len;
    char name[]; // the listener's, then the route's
};

static bool is_named(const struct rx_live *l, const char *listen, const char *route)
{
    return !strncmp(l->name, listen, l->listen_len) && !listen[l->listen_len] && !strcmp(l->name + l->listen_len, route);
}

static struct rx_live *live_new(struct rx_live **at, uint64_t key, const char *listen, const char *route)
{
    size_t a = strlen(listen), b = strlen(route) + 1, size = (sizeof(struct rx_live) + a + b + 63) / 64 * 64;
    struct rx_live *l = aligned_alloc(64, size);
    if (!l)
        return NULL;
    memset(l, 0, sizeof *l);
    l->key = key;
    l->listen_len = (uint32_t)a;
    memcpy(l->name, listen, a);
    memcpy(l->name + a, route, b);
    *at = l; // at the end: those of one name keep their order
    return l;
}

atomic_uint *rx_live_get(struct rx_lives *in, const char *listen, const char *route, uint64_t generation)
{
    uint64_t key = rx_digest(rx_digest(RX_DIGEST_START, listen, strlen(listen) + 1), route, strlen(route));
    pthread_mutex_lock(&in->lock);
    struct rx_live **at = &in->buckets[key % RX_LIVE_BUCKETS];
    while (*at && ((*at)->key != key || (*at)->generation == generation || !is_named(*at, listen, route)))
        at = &(*at)->next;
    struct rx_live *l = *at ? *at : live_new(at, key, listen, route);
    if (l) {
        l->in = in;
        l->generation = generation;
        l->refs++;
    }
    pthread_mutex_unlock(&in->lock);
    return l ? &l->count : NULL;
}

struct rx_meter *rx_live_meters(atomic_uint *count)
{
    return RX_CONTAINER(count, struct rx_live, count)->meter;
}

void rx_live_put(atomic_uint *count)
{
    if (!count)
        return;
    struct rx_live *l = RX_CONTAINER(count, struct rx_live, count);
    struct rx_lives *in = l->in;
    pthread_mutex_lock(&in->lock);
    if (--l->refs == 0) {
        struct rx_live **at = &in->buckets[l->key % RX_LIVE_BUCKETS];
        while (*at != l)
            at = &(*at)->next;
        *at = l->next;
        free(l);
    }
    pthread_mutex_unlock(&in->lock);
}
