// SPDX-License-Identifier: MIT
// A list under a lock: asked only while a config loads or goes, never on the path. Loads are rare and a config has
// at most some thousands of backends, hence the small hash table.
#include "backend.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1024 };

struct node {
    struct rx_backend_state state; // first: callers hold a pointer to it
    struct node *next;
};

static struct node *buckets[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct node **bucket_of(const struct rx_addr *a)
{
    uint32_t h = 2166136261u;
    const uint8_t *bytes = (const uint8_t *)&a->sa;
    size_t len = a->sa.sa_family == AF_UNIX ? strlen(a->un.sun_path) + offsetof(struct sockaddr_un, sun_path) : a->len;
    for (size_t i = 0; i < len; i++)
        h = (h ^ bytes[i]) * 16777619u;
    return &buckets[h % BUCKETS];
}

struct rx_backend_state *rx_backend_state_get(const struct rx_addr *addr)
{
    pthread_mutex_lock(&lock);
    struct node **at = bucket_of(addr), *n = *at;
    while (n && !rx_addr_equal(&n->state.addr.sa, &addr->sa))
        n = n->next;
    if (n) {
        n->state.refs++;
    } else if ((n = calloc(1, sizeof *n))) {
        n->state.addr = *addr;
        n->state.refs = 1;
        n->next = *at;
        *at = n;
    }
    pthread_mutex_unlock(&lock);
    return n ? &n->state : NULL;
}

void rx_backend_state_put(struct rx_backend_state *s)
{
    pthread_mutex_lock(&lock);
    if (--s->refs == 0) {
        struct node **at = bucket_of(&s->addr);
        while (&(*at)->state != s)
            at = &(*at)->next;
        struct node *gone = *at;
        *at = gone->next;
        free(gone);
    }
    pthread_mutex_unlock(&lock);
}
