// SPDX-License-Identifier: MIT
// A hash table under a lock: asked only while a config loads or goes, never on the path.
#include "live.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"

enum { BUCKETS = 4096 };

struct live {
    _Alignas(64) atomic_uint count; // first: callers hold a pointer to it; no two share a cache line
    struct rx_meter meter[2];
    struct live *next;
    uint64_t key, generation; // the last one that asked for it
    unsigned refs;
    uint32_t listen_len;
    char name[]; // the listener's, then the route's
};

static struct live *buckets[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_named(const struct live *l, const char *listen, const char *route)
{
    return !strncmp(l->name, listen, l->listen_len) && !listen[l->listen_len] && !strcmp(l->name + l->listen_len, route);
}

static struct live *live_new(struct live **at, uint64_t key, const char *listen, const char *route)
{
    size_t a = strlen(listen), b = strlen(route) + 1, size = (sizeof(struct live) + a + b + 63) / 64 * 64;
    struct live *l = aligned_alloc(64, size);
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

atomic_uint *rx_live_get(const char *listen, const char *route, uint64_t generation)
{
    uint64_t key = rx_digest(rx_digest(RX_DIGEST_START, listen, strlen(listen) + 1), route, strlen(route));
    pthread_mutex_lock(&lock);
    struct live **at = &buckets[key % BUCKETS];
    while (*at && ((*at)->key != key || (*at)->generation == generation || !is_named(*at, listen, route)))
        at = &(*at)->next;
    struct live *l = *at ? *at : live_new(at, key, listen, route);
    if (l) {
        l->generation = generation;
        l->refs++;
    }
    pthread_mutex_unlock(&lock);
    return l ? &l->count : NULL;
}

struct rx_meter *rx_live_meters(atomic_uint *count)
{
    return RX_CONTAINER(count, struct live, count)->meter;
}

void rx_live_put(atomic_uint *count)
{
    if (!count)
        return;
    pthread_mutex_lock(&lock);
    struct live *l = RX_CONTAINER(count, struct live, count);
    if (--l->refs == 0) {
        struct live **at = &buckets[l->key % BUCKETS];
        while (*at != l)
            at = &(*at)->next;
        *at = l->next;
        free(l);
    }
    pthread_mutex_unlock(&lock);
}
