// SPDX-License-Identifier: MIT
// Enters: the rosters of what is served. Leaves: the health of each backend whose pool has it checked. A check is a timer
// and, now and then, a probe; all of them run side by side on the engine's loop. The timer says when to look next or,
// while a probe is on its way, when to give up on it. The first result counts at once; after that it takes `rise` or
// `fall` of them in a row. A look that says nothing of the backend (no descriptors here, a function that failed) changes
// nothing. Looks are spread out by a tenth, so that those that began together do not stay together.
#include "health.h"

#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "home.h"
#include "log.h"
#include "sys.h"
#include "roster.h"
#include "wheel.h"

enum { AT_ONCE = 16, SPREAD_US = 2000 }; // so many first looks together, then the next so much later

struct rx_health_check {
    struct rx_health_check *next, **at; // where it hangs
    struct rx_health_watch *health;
    struct rx_backend_state *state;    // ref
    const struct rx_health_rule *rule; // borrowed from a config that is served, as is the next
    const struct rx_pool *pool;
    unsigned stamp;
    unsigned good, bad; // results in a row
    uint64_t begun_ns;
    bool is_looking; // its probe is on its way
    ev_timer timer;
    struct rx_probe probe;
};

struct rx_health_watch {
    struct ev_loop *loop;     // borrowed
    struct rx_conf *confs[2]; // refs: what is served, and what is tried
    struct rx_health_check *first;
    unsigned stamp, n_new;
    uint64_t dice;
    ev_timer soon;             // rosters have changed
    struct ssl_ctx_st *tls[2]; // owned, made when they are needed: [1] verifies
};

static uint64_t roll(struct rx_health_watch *h)
{
    return h->dice = rx_mix(h->dice + 0x9e3779b97f4a7c15ull);
}

static struct ssl_ctx_st *tls_for(struct rx_health_watch *h, const struct rx_health_rule *r)
{
    if (r->kind != RX_CHECK_TLS && r->kind != RX_CHECK_HTTPS)
        return NULL;
    if (!h->tls[r->is_verified])
        h->tls[r->is_verified] = rx_probe_tls(r->is_verified);
    return h->tls[r->is_verified];
}

static void set_timer(struct rx_health_check *c, double seconds)
{
    ev_timer_stop(c->health->loop, &c->timer);
    ev_timer_set(&c->timer, RX_MAX(seconds, 0.), 0.);
    ev_timer_start(c->health->loop, &c->timer);
}

static void rest(struct rx_health_check *c)
{
    double every = c->rule->every_ms / 1e3, took = (double)(rx_sys_now_ns() - c->begun_ns) / 1e9;
    double share = (double)(roll(c->health) % 2001) / 10000 - 0.1;
    set_timer(c, RX_MAX(every * (1 + share) - took, 0.01));
}

// ---- results --------------------------------------------------------------------------------------------------------

static void tell(const struct rx_health_check *c, bool is_up, unsigned n, unsigned of)
{
    char text[RX_ADDR_TEXT], name[300];
    const struct rx_backend_state *s = c->state;
    rx_addr_print(&s->addr.sa, text);
    if (strcmp(s->name, text))
        snprintf(name, sizeof name, "%.150s (%s)", s->name, text);
    else
        snprintf(name, sizeof name, "%s", text);
    if (is_up)
        rx_log(RX_LOG_INFO, "pool %s: %s is up (%u of %u)", c->pool->name, name, n, of);
    else
        rx_log(RX_LOG_WARN, "pool %s: %s is down: %s (%u of %u)", c->pool->name, name, s->why, n, of);
}

static void passed(struct rx_health_check *c)
{
    struct rx_backend_state *s = c->state;
    bool was_down = atomic_load(&s->health) == RX_HEALTH_DOWN;
    c->good += c->good < c->rule->rise;
    c->bad = 0;
    if ((!was_down || c->good >= c->rule->rise) && rx_backend_set_health(s, RX_HEALTH_UP, rx_now_ms()) && was_down)
        tell(c, true, c->good, c->rule->rise);
}

static void failed(struct rx_health_check *c)
{
    struct rx_backend_state *s = c->state;
    bool is_first = atomic_load(&s->health) == RX_HEALTH_UNKNOWN;
    c->bad += c->bad < c->rule->fall;
    c->good = 0;
    atomic_fetch_add(&s->checks_failed, 1);
    if ((is_first || c->bad >= c->rule->fall) && rx_backend_set_health(s, RX_HEALTH_DOWN, rx_now_ms()))
        tell(c, false, c->bad, is_first ? 1 : c->rule->fall);
}

static void health_on_done(struct rx_probe *p, enum rx_judgement j, const char *why)
{
    struct rx_health_check *c = RX_CONTAINER(p, struct rx_health_check, probe);
    struct rx_backend_state *s = c->state;
    c->is_looking = false;
    rest(c);
    if (j == RX_JUDGED_NOT || j == RX_JUDGED_MORE) {
        rx_log_limited(RX_LOG_WARN, "pool %s: %s could not be checked: %s", c->pool->name, s->name,
                       *why ? why : "expect failed");
        return;
    }
    snprintf(s->why, sizeof s->why, "%s", j == RX_JUDGED_BAD ? why : "");
    atomic_store(&s->check_us, (unsigned)RX_MIN((rx_sys_now_ns() - c->begun_ns) / 1000, (uint64_t)UINT32_MAX));
    atomic_fetch_add(&s->checks, 1);
    if (j == RX_JUDGED_GOOD)
        passed(c);
    else
        failed(c);
}

static void health_on_timer(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct rx_health_check *c = RX_CONTAINER(t, struct rx_health_check, timer);
    if (c->is_looking) {
        rx_probe_expire(&c->probe);
        return;
    }
    c->is_looking = true;
    c->begun_ns = rx_sys_now_ns();
    set_timer(c, c->rule->timeout_ms / 1e3);
    rx_probe_start(&c->probe, c->state, c->pool, tls_for(c->health, c->rule));
}

// ---- who is checked -------------------------------------------------------------------------------------------------

static void check_free(struct rx_health_check *c)
{
    ev_timer_stop(c->health->loop, &c->timer);
    if (c->is_looking)
        rx_probe_stop(&c->probe);
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
    c->state->checker = NULL;
    rx_backend_state_put(c->state);
    free(c);
}

static struct rx_health_check *check_new(struct rx_health_watch *h, const struct rx_backend *b,
                                         const struct rx_pool *p)
{
    struct rx_health_check *c = calloc(1, sizeof *c);
    if (!c || !(c->state = rx_backend_state_get(&p->home->backends, &b->addr, p->check, b->name))) {
        free(c);
        return NULL;
    }
    c->state->checker = c;
    c->health = h;
    c->probe.loop = h->loop;
    c->probe.done = health_on_done;
    c->probe.io.fd = -1;
    c->rule = p->health;
    ev_timer_init(&c->timer, health_on_timer, 0., 0.);
    set_timer(c, h->n_new++ / AT_ONCE * SPREAD_US / 1e6);
    c->next = h->first;
    c->at = &h->first;
    if (c->next)
        c->next->at = &c->next;
    h->first = c;
    return c;
}

static void want(struct rx_health_watch *h, const struct rx_conf *conf, const struct rx_pool *p)
{
    const struct rx_roster *r = rx_roster_of(p);
    for (uint32_t i = 0; i < r->n; i++) {
        const struct rx_backend *b = &r->backends[i];
        struct rx_health_check *c = b->state ? b->state->checker : NULL;
        if (!b->state || (!c && !(c = check_new(h, b, p))))
            continue; // a name without an address; or out of memory: it stays unknown until the next time
        c->stamp = h->stamp;
        c->pool = p;
        c->rule = c->probe.rule = p->health;
        c->probe.script = rx_conf_script(conf, RX_SCRIPT_OFFLINE);
    }
}

static void review(struct rx_health_watch *h)
{
    h->stamp++;
    h->n_new = 0;
    for (unsigned k = RX_COUNT(h->confs); k--;) // what is served has the last word
        for (uint32_t i = 0; h->confs[k] && i < h->confs[k]->n_pools; i++)
            if (h->confs[k]->pools[i]->health)
                want(h, h->confs[k], h->confs[k]->pools[i]);
    for (struct rx_health_check *c = h->first, *next; c; c = next) {
        next = c->next;
        if (c->stamp != h->stamp)
            check_free(c);
    }
}

static void health_on_soon(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    review(t->data);
}

void rx_health_refresh(struct rx_health_watch *h)
{
    if (!ev_is_active(&h->soon)) {
        ev_timer_set(&h->soon, 0.02, 0.); // many names may change at the same time
        ev_timer_start(h->loop, &h->soon);
    }
}

void rx_health_serve(struct rx_health_watch *h, struct rx_conf *conf, struct rx_conf *tried)
{
    struct rx_conf *old[2] = { h->confs[0], h->confs[1] };
    h->confs[0] = conf;
    h->confs[1] = tried;
    for (unsigned k = 0; k < RX_COUNT(h->confs); k++)
        if (h->confs[k])
            rx_conf_ref(h->confs[k]);
    review(h);
    rx_conf_unref(old[0]);
    rx_conf_unref(old[1]);
}

struct rx_health_watch *rx_health_new(struct ev_loop *loop)
{
    struct rx_health_watch *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->loop = loop;
    h->dice = rx_sys_now_ns();
    ev_timer_init(&h->soon, health_on_soon, 0., 0.);
    h->soon.data = h;
    return h;
}

void rx_health_free(struct rx_health_watch *h)
{
    if (!h)
        return;
    ev_timer_stop(h->loop, &h->soon);
    while (h->first)
        check_free(h->first);
    rx_conf_unref(h->confs[0]);
    rx_conf_unref(h->confs[1]);
    for (unsigned k = 0; k < RX_COUNT(h->tls); k++)
        SSL_CTX_free(h->tls[k]);
    free(h);
}
