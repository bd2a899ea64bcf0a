// SPDX-License-Identifier: MIT
// A sorted list under a lock: asked only while a config is published or goes, and by who shows counts. Cells are
// written by their workers and read by anyone.
#include "served.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "home.h"

struct rx_served_node {
    struct rx_served served; // first: callers hold a pointer to it
    struct rx_served_node *next;
    unsigned refs;
    char names[];
};

const uint32_t rx_histogram_bounds_ms[] = {
#define X(ms) ms,
    RX_HISTOGRAM_BOUNDS_MS(X)
#undef X
};

static int compare(const struct rx_served *t, const char *listen, const char *route, const char *protocol)
{
    int c = strcmp(t->listen, listen);
    c = c ? c : strcmp(t->route, route);
    return c ? c : strcmp(t->protocol, protocol);
}

static struct rx_served_node *node_new(const char *listen, const char *route, const char *protocol, unsigned n_cells)
{
    size_t a = strlen(listen) + 1, b = strlen(route) + 1, c = strlen(protocol) + 1;
    struct rx_served_node *n = calloc(1, sizeof *n + a + b + c);
    if (!n)
        return NULL;
    struct rx_cell *cells = aligned_alloc(64, n_cells * sizeof *cells);
    if (!cells) {
        free(n);
        return NULL;
    }
    memset(cells, 0, n_cells * sizeof *cells);
    n->served = (struct rx_served){ .listen = memcpy(n->names, listen, a),
                                  .route = memcpy(n->names + a, route, b),
                                  .protocol = memcpy(n->names + a + b, protocol, c),
                                  .n_cells = n_cells,
                                  .cells = cells };
    return n;
}

// *at: where the search begins, a place at or before the one sought; left behind what was found.
static struct rx_served *get(struct rx_serveds *in, struct rx_served_node ***at, const char *const names[3], unsigned n)
{
    const char *listen = names[0], *route = names[1], *protocol = names[2];
    int c = -1;
    if (**at && compare(&(**at)->served, listen, route, protocol) > 0)
        *at = &in->first;
    while (**at && (c = compare(&(**at)->served, listen, route, protocol)) < 0)
        *at = &(**at)->next;
    struct rx_served_node *found = **at && c == 0 ? **at : NULL;
    if (found && found->served.n_cells < n)
        return NULL; // workers do not change while the program runs
    if (!found) {
        if (!(found = node_new(listen, route, protocol, n)))
            return NULL;
        found->next = **at;
        **at = found;
    }
    found->refs++;
    return &found->served;
}

static void put(struct rx_serveds *in, struct rx_served **served)
{
    if (!*served)
        return;
    struct rx_served_node *n = RX_CONTAINER(*served, struct rx_served_node, served);
    *served = NULL;
    if (--n->refs)
        return;
    struct rx_served_node **at = &in->first;
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    free(n->served.cells);
    free(n);
}

int rx_served_attach(struct rx_conf *conf, unsigned n_workers)
{
    uint32_t n_own = 0;
    bool is_good = true;
    struct rx_serveds *in = &conf->home->serveds;
    pthread_mutex_lock(&in->lock);
    struct rx_served_node **at = &in->first;
    for (uint32_t i = 0; i < conf->n_listens && is_good; i++) {
        struct rx_listen *l = conf->listens[i];
        is_good = (l->served = get(in, &at, (const char *[]){ l->name, "", "" }, n_workers));
        for (uint32_t k = 0; k < l->n_routes && is_good; k++) {
            struct rx_route *r = &l->routes[k];
            bool is_own = n_own++ < RX_SERVED_ROUTES;
            const char *names[] = { l->name, is_own ? r->name : RX_SERVED_OTHERS, is_own ? r->proto->name : "" };
            r->served = get(in, &at, names, n_workers);
            is_good = r->served;
        }
    }
    pthread_mutex_unlock(&in->lock);
    return is_good ? 0 : -ENOMEM;
}

void rx_served_detach(struct rx_conf *conf)
{
    struct rx_serveds *in = &conf->home->serveds;
    pthread_mutex_lock(&in->lock);
    for (uint32_t i = 0; i < conf->n_listens; i++) {
        struct rx_listen *l = conf->listens[i];
        put(in, &l->served);
        for (uint32_t k = 0; l->routes && k < l->n_routes; k++)
            put(in, &l->routes[k].served);
    }
    pthread_mutex_unlock(&in->lock);
}

void rx_served_each(struct rx_serveds *in, rx_served_each_fn *each, void *data)
{
    pthread_mutex_lock(&in->lock);
    for (struct rx_served_node *n = in->first; n; n = n->next)
        each(&n->served, data);
    pthread_mutex_unlock(&in->lock);
}

static unsigned long value(const atomic_ulong *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

struct rx_served_sum rx_served_sum(const struct rx_served *t)
{
    struct rx_served_sum s = { 0 };
    unsigned long opened = 0, left = 0;
    for (unsigned w = 0; w < t->n_cells; w++) {
        const struct rx_cell *c = &t->cells[w];
        left += value(&c->moved);
        for (int r = 0; r < RX_REASON_COUNT; r++) {
            unsigned long n = value(&c->closed[r]);
            s.closed[r] += n;
            left += n;
        }
        opened += value(&c->opened); // read last: never less than those who left
        for (int d = 0; d < 2; d++)
            s.bytes[d] += value(&c->bytes[d]);
    }
    s.active = opened > left ? opened - left : 0;
    return s;
}
