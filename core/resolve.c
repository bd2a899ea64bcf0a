// SPDX-License-Identifier: MIT
// Enters: configs whose pools have names in them. Leaves: rosters with what the names stand for now.
// c-ares asks, on this loop's sockets and one timer; /etc/hosts and search domains are its business. Each name is
// looked up once however many pools have it, again when its TTL is over (within the pool's bounds), and after a
// failure soon and then more rarely. The last good answer stands until there is another. After a failure the system's
// resolver configuration is read anew: it may have been written since.
#include "resolve.h"

#include <arpa/nameser.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "asker.h"
#include "conf.h"
#include "errand.h"
#include "log.h"
#include "wheel.h"
#include "worker.h"

enum {
    BUCKETS = 256,
    PLACES_MAX = 1024, // of one name
    RETRY_FIRST_MS = 1000,
    RETRY_MOST_MS = 30 * 1000,
};

struct name {
    struct name *next; // in its bucket
    struct rx_resolve *r;
    char *host; // owned
    uint16_t port;
    bool is_srv;
    uint32_t ttl_min_ms, ttl_max_ms;
    unsigned stamp;          // the last of the resolver's that wanted it; 0: nobody does
    struct rx_places places; // the last good answer
    bool is_settled;         // a first look has ended, one way or the other
    unsigned failures;       // looks in a row
    ev_timer timer;          // when to look again
    // the look under way
    unsigned n_asked;       // questions without an answer
    struct rx_places draft; // what came so far
    int64_t least_ttl;      // seconds; -1: none said
    int error;              // ares status of the last question that failed; ARES_SUCCESS
};

// A question for addresses.
struct question {
    struct name *name;
    uint32_t rank, weight;
    uint16_t port;
    char host[256]; // of SRV; else ""
};

struct rx_resolve {
    struct ev_loop *loop;
    struct rx_worker *workers;
    unsigned n_workers;
    struct rx_asker asker;
    bool is_stale; // make another channel before the next question
    unsigned n_asked;
    struct name *buckets[BUCKETS];

    unsigned stamp;           // of what is served
    struct rx_conf *confs[2]; // refs: what is served, and what is tried
    ev_timer settle;          // active: somebody waits for the first answers to some names

    void (*changed)(void *data); // NULL: nobody asks
    void *changed_data;

    struct rx_limbo limbo;
    struct rx_errands errands;
    struct pass {
        struct rx_errand errand;
        struct rx_resolve *r;
    } *passes; // one a worker; owned
    unsigned n_passing;
    uint64_t passing; // the epoch they are about
};

// ---- rosters ------------------------------------------------------------------------------------------------------

static void send_passes(struct rx_resolve *r);

static void pass_run(struct rx_errand *e, struct rx_worker *w)
{
    (void)e, (void)w; // that the worker came by is all: between two callbacks it holds nothing uncounted
}

static void pass_done(struct rx_errand *e)
{
    struct rx_resolve *r = RX_CONTAINER(e, struct pass, errand)->r;
    if (--r->n_passing)
        return;
    rx_limbo_sweep(&r->limbo, r->passing);
    if (r->limbo.first)
        send_passes(r);
}

static void send_passes(struct rx_resolve *r)
{
    if (r->n_passing)
        return; // pass_done will see to what came meanwhile
    r->passing = r->limbo.epoch;
    r->n_passing = r->n_workers;
    for (unsigned i = 0; i < r->n_workers; i++) {
        r->passes[i] = (struct pass){ { .home = &r->errands, .run = pass_run, .done = pass_done }, r };
        rx_errand_send(&r->passes[i].errand, &r->workers[i]);
    }
}

static struct name **bucket_of(struct rx_resolve *r, const char *host)
{
    return &r->buckets[rx_hash_bytes(host, strlen(host)) % BUCKETS];
}

static struct name *name_find(struct rx_resolve *r, const struct rx_member *m)
{
    struct name *n = *bucket_of(r, m->host);
    while (n && (n->port != m->port || n->is_srv != m->is_srv || strcmp(n->host, m->host)))
        n = n->next;
    return n;
}

static bool has_name(struct rx_resolve *r, const struct rx_pool *p, const struct name *one)
{
    for (uint32_t i = 0; i < p->n_members; i++)
        if (p->members[i].host && (!one || name_find(r, &p->members[i]) == one))
            return true;
    return false;
}

static struct rx_roster *roster_for(struct rx_resolve *r, const struct rx_pool *p)
{
    const struct rx_places **places = calloc(p->n_members, sizeof *places);
    if (!places)
        return NULL;
    for (uint32_t i = 0; i < p->n_members; i++) {
        const struct name *n = p->members[i].host ? name_find(r, &p->members[i]) : NULL;
        places[i] = n ? &n->places : NULL;
    }
    struct rx_roster *roster = rx_roster_new(p, places);
    free(places);
    return roster;
}

// For pools that have this name (NULL: any name). What their clients saw before is kept until none of them can still
// be reaching for it.
static void publish(struct rx_resolve *r, const struct rx_conf *conf, const struct name *n)
{
    for (uint32_t i = 0; i < conf->n_pools; i++) {
        const struct rx_pool *p = conf->pools[i];
        struct rx_roster *roster = has_name(r, p, n) ? roster_for(r, p) : NULL;
        if (roster)
            rx_roster_publish(p, roster, &r->limbo, rx_now_ms());
    }
    if (r->limbo.first)
        send_passes(r);
}

// Nobody can have taken the old ones.
void rx_resolve_furnish(struct rx_resolve *r, const struct rx_conf *conf)
{
    for (uint32_t i = 0; i < conf->n_pools; i++) {
        const struct rx_pool *p = conf->pools[i];
        struct rx_roster *roster = has_name(r, p, NULL) ? roster_for(r, p) : NULL;
        if (roster)
            rx_roster_unref(atomic_exchange(&p->live->roster, roster));
    }
}

// ---- what a look found --------------------------------------------------------------------------------------------

static void place_add(struct name *n, const struct question *q, const struct sockaddr *sa, socklen_t len)
{
    struct rx_places *d = &n->draft;
    if (d->n == PLACES_MAX || len > sizeof d->list->addr.v6)
        return;
    if ((d->n & (d->n - 1)) == 0) {
        struct rx_place *list = realloc(d->list, (d->n ? d->n * 2 : 1) * sizeof *list);
        if (!list) {
            n->error = ARES_ENOMEM;
            return;
        }
        d->list = list;
    }
    struct rx_place *p = &d->list[d->n++];
    memset(p, 0, sizeof *p); // compared byte by byte
    p->rank = q->rank;
    p->weight = q->weight;
    p->addr.len = len;
    memcpy(&p->addr.sa, sa, len);
    if (sa->sa_family == AF_INET6)
        p->addr.v6.sin6_flowinfo = 0;
    if (q->host[0])
        snprintf(p->name, sizeof p->name, "%s:%u", q->host, q->port);
}

static const char *name_text(const struct name *n, char buf[300])
{
    if (n->is_srv)
        snprintf(buf, 300, "srv:%s", n->host);
    else
        snprintf(buf, 300, "%s:%u", n->host, n->port);
    return buf;
}

static void tell_places(const struct name *n)
{
    char text[300], line[400], addr[RX_ADDR_TEXT];
    size_t len = 0;
    line[0] = 0;
    for (uint32_t i = 0; i < n->places.n && len < sizeof line - RX_ADDR_TEXT; i++)
        len += (size_t)snprintf(line + len, sizeof line - len, "%s%s", i ? ", " : "",
                                rx_addr_print(&n->places.list[i].addr.sa, addr));
    rx_log(RX_LOG_INFO, "name %s: %s", name_text(n, text), line);
}

static void name_free(struct name *n)
{
    ev_timer_stop(n->r->loop, &n->timer);
    free(n->places.list);
    free(n->draft.list);
    free(n->host);
    free(n);
}

static void look_again_in(struct name *n, int64_t ms)
{
    ev_timer_set(&n->timer, (double)ms / 1000, 0.);
    ev_timer_start(n->r->loop, &n->timer);
}

static void look_failed(struct name *n)
{
    char text[300];
    if (n->failures++ == 0)
        rx_log(RX_LOG_WARN, "name %s: %s; %s", name_text(n, text),
               n->error == ARES_SUCCESS ? "it has no address" : ares_strerror(n->error),
               n->places.n ? "the last good answer stands" : "its pools do without until it resolves");
    n->r->is_stale = true;
    uint32_t doubled = RX_MIN(n->failures - 1, 5u);
    look_again_in(n, RX_MIN((int64_t)RETRY_FIRST_MS << doubled, RETRY_MOST_MS));
}

static bool each_name(struct rx_resolve *r, bool (*fn)(struct name *n));
static bool is_settled(struct name *n);

static void look_finish(struct name *n)
{
    struct rx_resolve *r = n->r;
    if (n->stamp == 0) { // nobody has it any more
        name_free(n);
        return;
    }
    if (n->error == ARES_EDESTRUCTION || n->error == ARES_ECANCELLED) { // by us: other servers are asked from now on
        look_again_in(n, 0);
        return;
    }
    // Part of an answer is better than none, but not than the whole of the last.
    bool is_good = n->draft.n && (n->error == ARES_SUCCESS || !n->places.n);
    bool is_changed = false;
    n->is_settled = true;
    if (is_good) {
        rx_places_normalise(&n->draft);
        is_changed = !rx_places_are_same(&n->draft, &n->places);
        if (is_changed) {
            struct rx_places old = n->places;
            n->places = n->draft;
            n->draft = old;
        }
        if (is_changed || n->failures)
            tell_places(n);
        n->failures = 0;
        int64_t ttl_ms = RX_MAX(n->least_ttl, 0) * 1000;
        look_again_in(n, RX_MIN(RX_MAX(ttl_ms, n->ttl_min_ms), n->ttl_max_ms));
    } else {
        look_failed(n);
    }
    for (unsigned k = 0; is_changed && k < RX_COUNT(r->confs); k++)
        if (r->confs[k])
            publish(r, r->confs[k], n);
    if (is_changed && r->changed)
        r->changed(r->changed_data);
    if (ev_is_active(&r->settle) && each_name(r, is_settled))
        ev_timer_stop(r->loop, &r->settle);
}

static void answered(struct name *n)
{
    n->r->n_asked--;
    if (--n->n_asked == 0)
        look_finish(n);
}

static void resolve_on_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *found)
{
    (void)timeouts;
    struct question *q = arg;
    struct name *n = q->name;
    if (status != ARES_SUCCESS)
        n->error = status;
    for (struct ares_addrinfo_node *a = found ? found->nodes : NULL; a; a = a->ai_next) {
        place_add(n, q, a->ai_addr, a->ai_addrlen);
        n->least_ttl = n->least_ttl < 0 ? a->ai_ttl : RX_MIN(n->least_ttl, a->ai_ttl);
    }
    if (found)
        ares_freeaddrinfo(found);
    free(q);
    answered(n);
}

static void ask_addresses(struct name *n, const char *host, const struct question *like)
{
    static const struct ares_addrinfo_hints hints = { .ai_socktype = SOCK_STREAM,
                                                      .ai_flags = ARES_AI_NUMERICSERV | ARES_AI_NOSORT };
    char port[8];
    struct question *q = malloc(sizeof *q);
    n->n_asked++;
    n->r->n_asked++;
    if (!q) {
        n->error = ARES_ENOMEM;
        answered(n);
        return;
    }
    *q = *like;
    snprintf(port, sizeof port, "%u", q->port);
    ares_getaddrinfo(n->r->asker.channel, host, port, &hints, resolve_on_addresses, q);
}

static void resolve_on_srv(void *arg, int status, int timeouts, unsigned char *reply, int len)
{
    (void)timeouts;
    struct name *n = arg;
    struct ares_srv_reply *list = NULL;
    unsigned asked = 0;
    if (status == ARES_SUCCESS)
        status = ares_parse_srv_reply(reply, len, &list);
    if (status == ARES_SUCCESS)
        n->least_ttl = rx_dns_least_ttl(reply, (size_t)len);
    else
        n->error = status;
    for (struct ares_srv_reply *s = list; s && asked < PLACES_MAX; s = s->next) {
        // A target of "." says that there is no such service; what has no dot but that is empty here.
        struct question q = { .name = n, .rank = s->priority, .weight = s->weight, .port = s->port };
        if (!s->host[0] || !s->port || strlen(s->host) >= sizeof q.host)
            continue;
        strcpy(q.host, s->host);
        ask_addresses(n, s->host, &q);
        asked++;
    }
    if (list)
        ares_free_data(list);
    answered(n);
}

static void look(struct name *n)
{
    struct rx_resolve *r = n->r;
    if (r->is_stale && !r->n_asked)
        rx_asker_close(&r->asker);
    if (!r->asker.channel) {
        r->is_stale = false;
        rx_asker_open(&r->asker);
    }
    n->draft.n = 0;
    n->least_ttl = -1;
    n->error = ARES_SUCCESS;
    n->n_asked++; // so that an answer at once does not end the look
    r->n_asked++;
    if (!r->asker.channel) {
        n->error = ARES_ENOMEM;
        answered(n);
    } else if (n->is_srv) {
        ares_search(r->asker.channel, n->host, ns_c_in, ns_t_srv, resolve_on_srv, n);
    } else {
        ask_addresses(n, n->host, &(struct question){ .name = n, .weight = 1, .port = n->port });
        answered(n);
    }
    rx_asker_rearm(&r->asker);
}

static void resolve_on_due(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    look(RX_CONTAINER(t, struct name, timer));
}

// ---- configs ------------------------------------------------------------------------------------------------------

static struct name *name_new(struct rx_resolve *r, const struct rx_member *m)
{
    struct name *n = calloc(1, sizeof *n), **bucket = bucket_of(r, m->host);
    if (!n || !(n->host = strdup(m->host))) {
        free(n);
        return NULL;
    }
    n->r = r;
    n->port = m->port;
    n->is_srv = m->is_srv;
    ev_timer_init(&n->timer, resolve_on_due, 0., 0.);
    n->next = *bucket;
    *bucket = n;
    return n;
}

static void want(struct rx_resolve *r, const struct rx_pool *p, const struct rx_member *m)
{
    struct name *n = name_find(r, m);
    bool is_new = !n;
    if (is_new && !(n = name_new(r, m)))
        return; // out of memory: the pool does without
    bool is_first = n->stamp != r->stamp;
    n->stamp = r->stamp;
    n->ttl_min_ms = is_first ? p->ttl_min_ms : RX_MIN(n->ttl_min_ms, p->ttl_min_ms);
    n->ttl_max_ms = is_first ? p->ttl_max_ms : RX_MIN(n->ttl_max_ms, p->ttl_max_ms);
    if (is_new)
        look(n);
}

// Calls fn for each name until it says false.
static bool each_name(struct rx_resolve *r, bool (*fn)(struct name *n))
{
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct name *n = r->buckets[i], *next; n; n = next) {
            next = n->next;
            if (!fn(n))
                return false;
        }
    return true;
}

static bool is_settled(struct name *n)
{
    return n->is_settled;
}

static bool tell_missing(struct name *n)
{
    char text[300];
    if (!is_settled(n))
        rx_log(RX_LOG_WARN, "name %s: no answer within %u ms; its pools do without until there is one",
               name_text(n, text), RX_RESOLVE_SETTLE_MS);
    return true;
}

static bool forget_unless_wanted(struct name *n)
{
    if (n->stamp == n->r->stamp)
        return true;
    struct name **at = bucket_of(n->r, n->host);
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    n->stamp = 0;
    if (!n->n_asked)
        name_free(n); // else when the last answer has come
    return true;
}

static void resolve_on_settled(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    each_name(t->data, tell_missing);
}

static void want_all(struct rx_resolve *r, const struct rx_conf *conf)
{
    for (uint32_t i = 0; i < conf->n_pools; i++)
        for (uint32_t k = 0; k < conf->pools[i]->n_members; k++)
            if (conf->pools[i]->members[k].host)
                want(r, conf->pools[i], &conf->pools[i]->members[k]);
}

void rx_resolve_prepare(struct rx_resolve *r, const struct rx_conf *conf)
{
    rx_asker_use(&r->asker, conf->resolver);
    want_all(r, conf);
    ev_timer_stop(r->loop, &r->settle);
    if (each_name(r, is_settled))
        return;
    ev_timer_set(&r->settle, RX_RESOLVE_SETTLE_MS / 1000.0, 0.);
    ev_timer_start(r->loop, &r->settle);
}

bool rx_resolve_is_waiting(const struct rx_resolve *r)
{
    return ev_is_active(&r->settle);
}

void rx_resolve_serve(struct rx_resolve *r, struct rx_conf *conf, struct rx_conf *tried)
{
    struct rx_conf *old[2] = { r->confs[0], r->confs[1] }, *now[2] = { conf, tried };
    r->stamp++;
    for (unsigned k = 0; k < 2; k++)
        if ((r->confs[k] = now[k])) {
            rx_conf_ref(now[k]);
            want_all(r, now[k]);
        }
    each_name(r, forget_unless_wanted);
    for (unsigned k = 0; k < 2; k++)
        if (now[k] && now[k] != old[0] && now[k] != old[1])
            publish(r, now[k], NULL); // what came since it was furnished
    rx_conf_unref(old[0]);
    rx_conf_unref(old[1]);
}

struct rx_resolve *rx_resolve_new(struct ev_loop *loop, struct rx_worker *workers, unsigned n_workers)
{
    struct rx_resolve *r = calloc(1, sizeof *r);
    if (!r || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
        free(r);
        return NULL;
    }
    r->loop = loop;
    r->stamp = 1;
    r->workers = workers;
    r->n_workers = n_workers;
    r->passes = calloc(n_workers + 1, sizeof *r->passes);
    rx_asker_init(&r->asker, loop);
    ev_timer_init(&r->settle, resolve_on_settled, 0., 0.);
    r->settle.data = r;
    rx_errands_init(&r->errands, loop);
    if (r->passes)
        return r;
    rx_resolve_free(r);
    return NULL;
}

void rx_resolve_on_change(struct rx_resolve *r, void (*fn)(void *data), void *data)
{
    r->changed = fn;
    r->changed_data = data;
}

void rx_resolve_free(struct rx_resolve *r)
{
    if (!r)
        return;
    r->stamp++;
    each_name(r, forget_unless_wanted); // those with questions go when the channel does
    rx_asker_fini(&r->asker);
    ev_timer_stop(r->loop, &r->settle);
    rx_errands_fini(&r->errands);
    rx_limbo_sweep(&r->limbo, UINT64_MAX);
    rx_conf_unref(r->confs[0]);
    rx_conf_unref(r->confs[1]);
    free(r->passes);
    free(r);
    ares_library_cleanup();
}
