// SPDX-License-Identifier: MIT
// Enters: who was put out, and what is to become of them. Leaves: a table of nftables, closed connections, deleted flows.
// Invariants: the lock is held for moments, never while the kernel is asked; nftables, sockets and flows are the guard's
// thread's alone. Packets are dropped first and connections closed afterwards, so that none comes in between. What fails
// is tried again at the next check.
#include "kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "flows.h"
#include "log.h"
#include "nft.h"
#include "wheel.h"

enum { OUTS_MAX = 65536, AGAIN_MAX = 256 };

struct rx_kernel {
    char *name; // owned

    pthread_mutex_t lock;
    struct rx_kernel_rule rule; // its ports owned
    struct rx_ports ports;
    struct rx_kernel_out *outs; // owned: in the order they came
    size_t n_outs, cap;
    size_t n_fresh; // the last ones, which the kernel does not know
    struct rx_cidr again[AGAIN_MAX];
    size_t n_again;
    bool is_stale; // all is to be made anew

    struct rx_nft *nft; // owned; the guard's thread alone
    atomic_ulong killed, flows, failed;
};

#ifndef RX_WITHOUT_GUARD
static atomic_bool is_handed_on; // tables are another process's

void rx_kernel_hand_on(void)
{
    atomic_store(&is_handed_on, true);
}

// What was checked when the config was loaded.
static void read_ports(const char *text, struct rx_ports *out)
{
    out->n = 0;
    while (*text && out->n < RX_PORTS_MAX) {
        char *end;
        unsigned long low = strtoul(text, &end, 10), high = low;
        if (end == text)
            break;
        if (*end == '-')
            high = strtoul(end + 1, &end, 10);
        out->list[out->n++] = (struct rx_port_span){ (uint16_t)low, (uint16_t)high };
        text = end + strspn(end, ", ");
    }
}

struct rx_kernel *rx_kernel_new(const char *name)
{
    struct rx_kernel *k = calloc(1, sizeof *k);
    if (!k || !(k->name = strdup(name))) {
        free(k);
        return NULL;
    }
    pthread_mutex_init(&k->lock, NULL);
    return k;
}

void rx_kernel_free(struct rx_kernel *k)
{
    if (!k)
        return;
    rx_kernel_leave(k);
    free((char *)k->rule.ports);
    free(k->outs);
    free(k->name);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

void rx_kernel_set(struct rx_kernel *k, const struct rx_kernel_rule *rule)
{
    char *ports = rule && rule->what ? strdup(rule->ports) : NULL;
    pthread_mutex_lock(&k->lock);
    free((char *)k->rule.ports);
    k->rule = ports ? *rule : (struct rx_kernel_rule){ 0 };
    k->rule.ports = ports;
    k->ports.n = 0;
    if (ports)
        read_ports(ports, &k->ports);
    k->is_stale = true;
    pthread_mutex_unlock(&k->lock);
}

bool rx_kernel_is_on(struct rx_kernel *k)
{
    pthread_mutex_lock(&k->lock);
    bool is_on = k->rule.what;
    pthread_mutex_unlock(&k->lock);
    return is_on;
}

// ---- who is out: all under the lock -----------------------------------------------------------------------------------

static uint64_t end_of(const struct rx_kernel_out *o)
{
    return o->timeout_ms > UINT64_MAX - o->at_ms ? UINT64_MAX : o->at_ms + o->timeout_ms;
}

// Those whose time is over make room; is_all: the oldest does, should that not be enough.
static void make_room(struct rx_kernel *k, uint64_t now, bool is_all)
{
    size_t kept = 0, old = k->n_outs - k->n_fresh;
    for (size_t i = 0; i < k->n_outs; i++)
        if (i >= old || end_of(&k->outs[i]) > now)
            k->outs[kept++] = k->outs[i];
    k->n_outs = kept;
    if (is_all && kept >= OUTS_MAX) {
        memmove(k->outs, k->outs + 1, --k->n_outs * sizeof *k->outs);
        k->n_fresh = RX_MIN(k->n_fresh, k->n_outs);
    }
}

static bool has_room(struct rx_kernel *k, uint64_t now)
{
    if (k->n_outs < k->cap)
        return true;
    make_room(k, now, k->cap >= OUTS_MAX);
    if (k->n_outs < k->cap / 2 || k->cap >= OUTS_MAX)
        return k->n_outs < k->cap;
    size_t cap = k->cap ? k->cap * 2 : 16;
    struct rx_kernel_out *grown = realloc(k->outs, cap * sizeof *grown);
    if (grown) {
        k->outs = grown;
        k->cap = cap;
    }
    return k->n_outs < k->cap;
}

void rx_kernel_put_out(struct rx_kernel *k, const struct rx_kernel_out *out)
{
    pthread_mutex_lock(&k->lock);
    if (has_room(k, out->at_ms)) {
        k->outs[k->n_outs++] = *out;
        k->n_fresh++;
    } else {
        atomic_fetch_add(&k->failed, 1);
    }
    pthread_mutex_unlock(&k->lock);
}

void rx_kernel_kill_again(struct rx_kernel *k, const struct rx_cidr *who)
{
    pthread_mutex_lock(&k->lock);
    bool is_there = !(k->rule.what & (RX_KERNEL_KILL | RX_KERNEL_CONNTRACK));
    for (size_t i = 0; i < k->n_again && !is_there; i++)
        is_there = !memcmp(&k->again[i], who, sizeof *who);
    if (!is_there && k->n_again < AGAIN_MAX)
        k->again[k->n_again++] = *who;
    pthread_mutex_unlock(&k->lock);
}

void rx_kernel_retime(struct rx_kernel *k, uint64_t timeout_ms)
{
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->n_outs; i++)
        if (!k->outs[i].is_order)
            k->outs[i].timeout_ms = timeout_ms;
    k->is_stale = true;
    pthread_mutex_unlock(&k->lock);
}

// An address within a block that a violator is known by means that block; an order is taken back as it was given.
static bool is_meant(const struct rx_cidr *who, const struct rx_kernel_out *o)
{
    if (o->is_order)
        return !memcmp(&o->who, who, sizeof *who);
    return rx_cidr_covers(who, &o->who) || rx_cidr_covers(&o->who, who);
}

bool rx_kernel_let_in(struct rx_kernel *k, const struct rx_cidr *who)
{
    size_t kept = 0;
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->n_outs; i++)
        if (!is_meant(who, &k->outs[i]))
            k->outs[kept++] = k->outs[i];
    bool has_some = kept != k->n_outs;
    k->n_outs = kept;
    k->n_fresh = RX_MIN(k->n_fresh, kept);
    k->is_stale |= has_some;
    pthread_mutex_unlock(&k->lock);
    return has_some;
}

// ---- the guard's thread -----------------------------------------------------------------------------------------------

// What is to be done in one go, taken from under the lock.
struct errand {
    struct rx_kernel_rule rule; // its ports owned
    struct rx_ports ports;
    bool is_stale;
    struct rx_nft_entry *all; // owned: is_stale: everybody, else the fresh ones
    size_t n_all;
    struct rx_cidr *fresh; // owned: whose connections end
    size_t n_fresh;
};

static bool take_errand(struct rx_kernel *k, struct errand *e)
{
    uint64_t now = rx_now_ms();
    memset(e, 0, sizeof *e);
    pthread_mutex_lock(&k->lock);
    size_t old = k->n_outs - k->n_fresh, from = k->is_stale ? 0 : old;
    e->all = malloc((k->n_outs + 1) * sizeof *e->all);
    e->fresh = malloc((k->n_fresh + k->n_again + 1) * sizeof *e->fresh);
    e->rule = k->rule;
    e->rule.ports = k->rule.what ? strdup(k->rule.ports) : NULL;
    bool is_good = e->all && e->fresh && (!k->rule.what || e->rule.ports);
    e->ports = k->ports;
    e->is_stale = k->is_stale;
    for (size_t i = from; is_good && i < k->n_outs; i++)
        if (end_of(&k->outs[i]) > now) {
            e->all[e->n_all++] = (struct rx_nft_entry){ k->outs[i].who, end_of(&k->outs[i]) - now };
            if (i >= old)
                e->fresh[e->n_fresh++] = k->outs[i].who;
        }
    for (size_t i = 0; is_good && i < k->n_again; i++)
        e->fresh[e->n_fresh++] = k->again[i];
    if (is_good) {
        k->n_fresh = k->n_again = 0;
        k->is_stale = false;
    }
    pthread_mutex_unlock(&k->lock);
    return is_good;
}

static void errand_free(struct errand *e)
{
    free((char *)e->rule.ports);
    free(e->all);
    free(e->fresh);
}

static void set_stale(struct rx_kernel *k)
{
    pthread_mutex_lock(&k->lock);
    k->is_stale = true;
    pthread_mutex_unlock(&k->lock);
}

static void complain(struct rx_kernel *k, const char *whose, const char *what, const char *why)
{
    char text[300];
    atomic_fetch_add(&k->failed, 1);
    rx_log_escape((const uint8_t *)why, strcspn(why, "\n"), text, sizeof text);
    rx_log_limited(RX_LOG_ERROR, "sessions %s: %s: %s", whose, what, text);
}

static void filter(struct rx_kernel *k, const char *whose, struct errand *e, bool is_check)
{
    struct rx_nft_rule rule = { e->rule.is_tcp, e->rule.is_udp, e->rule.ports, e->rule.ipv6_prefix };
    const char *why = "";
    if (!(e->rule.what & RX_KERNEL_NFTABLES)) {
        rx_nft_free(k->nft);
        k->nft = NULL;
        return;
    }
    if (!k->nft && !(k->nft = rx_nft_new(k->name))) {
        complain(k, whose, "nftables", strerror(errno));
        set_stale(k);
        return;
    }
    if (!e->is_stale && is_check && rx_nft_is_due(k->nft)) {
        set_stale(k); // taken up at once by rx_kernel_work
        return;
    }
    if (!e->is_stale && is_check && !rx_nft_is_whole(k->nft, &rule)) {
        rx_log_limited(RX_LOG_WARN, "sessions %s: somebody changed the table of nftables: it is restored", whose);
        set_stale(k);
        return;
    }
    if (e->is_stale ? rx_nft_put(k->nft, &rule, e->all, e->n_all, &why) : rx_nft_add(k->nft, e->all, e->n_all, &why))
        return;
    set_stale(k);
    if (e->is_stale) // else the whole table may succeed where the entry did not
        complain(k, whose, "nftables", why);
}

static void cut(struct rx_kernel *k, const char *whose, const struct errand *e)
{
    if (e->n_fresh && e->rule.what & RX_KERNEL_KILL && e->rule.is_tcp) {
        int n = rx_sockdiag_kill(e->fresh, e->n_fresh, &e->ports);
        if (n < 0)
            complain(k, whose, "closing connections", strerror(-n));
        else
            atomic_fetch_add(&k->killed, (unsigned long)n);
    }
    if (e->n_fresh && e->rule.what & RX_KERNEL_CONNTRACK && e->rule.is_udp) {
        int n = rx_flows_delete(e->fresh, e->n_fresh, &e->ports);
        if (n < 0)
            complain(k, whose, "deleting flows", strerror(-n));
        else
            atomic_fetch_add(&k->flows, (unsigned long)n);
    }
}

// True: there is something to do at once.
static bool work(struct rx_kernel *k, const char *whose, bool is_check)
{
    struct errand e;
    pthread_mutex_lock(&k->lock);
    bool is_idle = !is_check && !k->is_stale && !k->n_fresh && !k->n_again;
    pthread_mutex_unlock(&k->lock);
    if (is_idle)
        return false;
    bool is_good = take_errand(k, &e);
    if (is_good) {
        filter(k, whose, &e, is_check);
        cut(k, whose, &e);
    }
    bool was_stale = e.is_stale;
    errand_free(&e);
    pthread_mutex_lock(&k->lock);
    bool is_again = is_good && k->is_stale && !was_stale;
    pthread_mutex_unlock(&k->lock);
    return is_again;
}

void rx_kernel_work(struct rx_kernel *k, const char *whose, bool is_check)
{
    if (!atomic_load(&is_handed_on) && work(k, whose, is_check))
        work(k, whose, false);
}

void rx_kernel_leave(struct rx_kernel *k)
{
    if (k->nft && atomic_load(&is_handed_on))
        rx_nft_forget(k->nft);
    rx_nft_free(k->nft);
    k->nft = NULL;
}

int rx_kernel_peers(struct rx_kernel *k, struct rx_cidr **list, size_t *n)
{
    pthread_mutex_lock(&k->lock);
    struct rx_ports ports = k->ports;
    bool is_on = k->rule.what & RX_KERNEL_KILL && k->rule.is_tcp;
    pthread_mutex_unlock(&k->lock);
    *list = NULL;
    *n = 0;
    return is_on ? rx_sockdiag_peers(&ports, list, n) : 0;
}

bool rx_kernel_is_among(const struct rx_cidr *block, const struct rx_cidr *list, size_t n)
{
    return rx_sockdiag_is_among(block, list, n);
}

struct rx_kernel_totals rx_kernel_totals(struct rx_kernel *k)
{
    return (struct rx_kernel_totals){ atomic_load(&k->killed), atomic_load(&k->flows), atomic_load(&k->failed) };
}
#endif
