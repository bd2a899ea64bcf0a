// SPDX-License-Identifier: MIT
// States of backends, and when they rest. The table is a list under a lock: asked only while a roster is made or
// goes, never on the path. The rest is atomics: two workers that see the same failure at the same time agree through
// one compare-and-swap on who ejects and who says so.
#include "backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

enum { REST_MOST_MS = 60 * 1000, PEACE_MS = 60 * 1000 };

struct rx_backend_node {
    struct rx_backend_state state; // first: callers hold a pointer to it
    struct rx_backend_node *next;
};

static struct rx_backend_node **bucket_of(struct rx_backends *in, const struct rx_addr *a)
{
    uint32_t h = 2166136261u;
    const uint8_t *bytes = (const uint8_t *)&a->sa;
    size_t len = a->sa.sa_family == AF_UNIX ? strlen(a->un.sun_path) + offsetof(struct sockaddr_un, sun_path) : a->len;
    for (size_t i = 0; i < len; i++)
        h = (h ^ bytes[i]) * 16777619u;
    return &in->buckets[h % RX_BACKEND_BUCKETS];
}

static void node_free(struct rx_backend_node *n)
{
    if (!n)
        return;
    free(n->state.check);
    free(n->state.name);
    free(n);
}

static struct rx_backend_node *node_new(struct rx_backends *in, const struct rx_addr *addr, const char *check, const char *name)
{
    struct rx_backend_node *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->state.in = in;
    n->state.addr = *addr;
    n->state.check = strdup(check);
    n->state.name = strdup(name);
    if (n->state.check && n->state.name)
        return n;
    node_free(n);
    return NULL;
}

struct rx_backend_state *rx_backend_state_get(struct rx_backends *in, const struct rx_addr *addr, const char *check,
                                              const char *name)
{
    check = check ? check : "";
    pthread_mutex_lock(&in->lock);
    struct rx_backend_node **at = bucket_of(in, addr), *n = *at;
    while (n && (!rx_addr_equal(&n->state.addr.sa, &addr->sa) || strcmp(n->state.check, check)))
        n = n->next;
    if (!n && (n = node_new(in, addr, check, name))) {
        n->next = *at;
        *at = n;
    }
    if (n)
        n->state.refs++;
    pthread_mutex_unlock(&in->lock);
    return n ? &n->state : NULL;
}

void rx_backend_state_put(struct rx_backend_state *s)
{
    struct rx_backends *in = s->in;
    pthread_mutex_lock(&in->lock);
    if (--s->refs == 0) {
        struct rx_backend_node **at = bucket_of(in, &s->addr);
        while (&(*at)->state != s)
            at = &(*at)->next;
        struct rx_backend_node *gone = *at;
        *at = gone->next;
        node_free(gone);
    }
    pthread_mutex_unlock(&in->lock);
}

// ---- on the path --------------------------------------------------------------------------------------------------

// A rest that is over is prolonged by who may probe: the others go on seeing an ejected backend meanwhile.
static bool takes_probe(struct rx_backend_state *s, unsigned long long was, uint64_t now_ms)
{
    return atomic_compare_exchange_strong(&s->rests_until_ms, &was, now_ms + 1000);
}

enum rx_taken rx_backend_take(struct rx_backend_state *s, uint32_t most, uint64_t now_ms)
{
    uint32_t before = atomic_fetch_add_explicit(&s->active, 1, memory_order_relaxed);
    if (RX_UNLIKELY(most && before >= most)) {
        rx_backend_leave(s);
        return RX_TAKEN_NOT;
    }
    unsigned long long rests = atomic_load_explicit(&s->rests_until_ms, memory_order_relaxed);
    if (RX_LIKELY(!rests) || rests > now_ms)
        return RX_TAKEN; // ejected still: the last resort of somebody
    if (takes_probe(s, rests, now_ms))
        return RX_TAKEN_PROBE;
    rx_backend_leave(s);
    return RX_TAKEN_NOT;
}

// Out of ports or memory here, a socket option that is refused, or a full queue there, says nothing about whether it lives.
static bool is_its_fault(int why)
{
    return why != EADDRNOTAVAIL && why != ENOBUFS && why != ENOMEM && why != EAGAIN && why != EPERM &&
           why != ENODEV && why != ENOENT;
}

static uint64_t rest_ms(struct rx_backend_state *s, const struct rx_eject_rule *rule, uint64_t now_ms, uint32_t dice)
{
    uint64_t peace = atomic_load(&s->peace_since_ms), most = RX_MAX(REST_MOST_MS, rule->first_ms), rest = rule->first_ms;
    uint32_t level = peace && now_ms - peace < PEACE_MS ? atomic_load(&s->level) : 0;
    for (uint32_t i = 0; i < level && rest < most; i++)
        rest *= 2;
    rest = RX_MIN(rest, most);
    atomic_store(&s->level, level + 1);
    return rest - rest / 10 + dice % (rest / 5 + 1); // ± 10 %
}

void rx_backend_failed(struct rx_backend_state *s, const struct rx_eject_rule *rule, bool is_probe, int why,
                       uint64_t now_ms, uint32_t dice)
{
    char text[RX_ADDR_TEXT];
    atomic_fetch_add_explicit(&s->refused, 1, memory_order_relaxed);
    if (!rule->after || !is_its_fault(why))
        return;
    uint32_t n = atomic_fetch_add_explicit(&s->failed_in_row, 1, memory_order_relaxed) + 1;
    if (is_probe) {
        atomic_store(&s->peace_since_ms, now_ms); // there was none
        atomic_store(&s->rests_until_ms, now_ms + rest_ms(s, rule, now_ms, dice));
        return;
    }
    unsigned long long none = 0;
    if (n < rule->after || atomic_load(&s->rests_until_ms))
        return;
    uint64_t rest = rest_ms(s, rule, now_ms, dice);
    if (!atomic_compare_exchange_strong(&s->rests_until_ms, &none, now_ms + rest))
        return;
    atomic_fetch_add(&s->ejected, 1);
    rx_log(RX_LOG_WARN, "backend %s (%s): ejected for %.1f s after %u failures in a row: %s", s->name,
           rx_addr_print(&s->addr.sa, text), (double)rest / 1000, n, strerror(why));
}

void rx_backend_came_back(struct rx_backend_state *s, uint64_t now_ms)
{
    char text[RX_ADDR_TEXT];
    atomic_store(&s->failed_in_row, 0);
    if (!atomic_exchange(&s->rests_until_ms, 0))
        return;
    atomic_store(&s->peace_since_ms, now_ms);
    atomic_store(&s->warm_since_ms, now_ms);
    rx_log(RX_LOG_INFO, "backend %s (%s): back", s->name, rx_addr_print(&s->addr.sa, text));
}

// ---- off the path -------------------------------------------------------------------------------------------------

bool rx_backend_set_health(struct rx_backend_state *s, enum rx_health health, uint64_t now_ms)
{
    unsigned was = atomic_exchange(&s->health, health);
    if (was == (unsigned)health)
        return false;
    atomic_store(&s->health_since_ms, now_ms);
    if (health == RX_HEALTH_DOWN)
        atomic_fetch_add(&s->downs, 1);
    if (health == RX_HEALTH_UP && was == RX_HEALTH_DOWN) {
        atomic_store(&s->warm_since_ms, now_ms);
        atomic_store(&s->failed_in_row, 0);
        atomic_store(&s->rests_until_ms, 0); // who looked knows better than who failed before
    }
    return true;
}

static bool is_called(const struct rx_backend_state *s, const char *name_or_addr)
{
    char text[RX_ADDR_TEXT];
    return !strcmp(s->name, name_or_addr) || !strcmp(rx_addr_print(&s->addr.sa, text), name_or_addr);
}

unsigned rx_backend_drain(struct rx_backends *in, const char *name_or_addr, bool is_drained, uint64_t now_ms)
{
    unsigned n = 0;
    pthread_mutex_lock(&in->lock);
    for (unsigned i = 0; i < RX_BACKEND_BUCKETS; i++)
        for (struct rx_backend_node *k = in->buckets[i]; k; k = k->next)
            if (is_called(&k->state, name_or_addr)) {
                n++;
                if (atomic_exchange(&k->state.is_drained, is_drained) && !is_drained)
                    atomic_store(&k->state.warm_since_ms, now_ms);
            }
    pthread_mutex_unlock(&in->lock);
    return n;
}

void rx_backend_each_drained(struct rx_backends *in, rx_backend_drained_fn *each, void *data)
{
    char text[RX_ADDR_TEXT];
    pthread_mutex_lock(&in->lock);
    for (unsigned i = 0; i < RX_BACKEND_BUCKETS; i++)
        for (struct rx_backend_node *k = in->buckets[i]; k; k = k->next)
            if (atomic_load(&k->state.is_drained))
                each(rx_addr_print(&k->state.addr.sa, text), data);
    pthread_mutex_unlock(&in->lock);
}
