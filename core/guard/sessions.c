// SPDX-License-Identifier: MIT
// Enters: who was heard of, from workers and the guard's thread. Leaves: whether he may stay; for those who were put
// out a ban, a line for the block log and word to the workers.
//
// A name's ledger, counters, bans and waiting lines outlive generations. The ledger has its own locks; `lock` here is
// held for moments, and never while one of those is.
#include "sessions.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ban.h"
#include "blocklog.h"
#include "digest.h"
#include "json.h"
#include "kernel.h"
#include "log.h"
#include "sync.h"
#include "wheel.h"

enum { BANS_MAX = 65536, WORD_MAX = 600, REFRESH_MIN_MS = 250, REFRESH_MAX_MS = 20000 };

// A ban that was given for this name: what a changed timeout is about.
struct given {
    struct rx_cidr who;
    uint64_t at_ms;
};

struct rx_sessions_live {
    struct rx_sessions_live *next; // in `all`
    char *name;                    // owned
    unsigned refs;                 // under all_lock
    struct rx_ledger *ledger;      // owned
    struct rx_kernel *kernel;      // owned
    struct rx_block_log log;
    atomic_ulong violations, banned;

    pthread_mutex_t lock;
    uint64_t timeout_ms;
    struct given *given; // owned: a ring, in order of time
    uint32_t given_at, n_given, given_cap;
};

static struct rx_sessions_live *all;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rx_sessions_ear ear;
static pthread_mutex_t ear_lock = PTHREAD_MUTEX_INITIALIZER;

// ---- names ----------------------------------------------------------------------------------------------------------

static void live_free(struct rx_sessions_live *l)
{
    if (!l)
        return;
    rx_ledger_free(l->ledger);
    rx_kernel_free(l->kernel);
    rx_block_log_fini(&l->log);
    free(l->given);
    free(l->name);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static struct rx_sessions_live *live_new(const char *name, const struct rx_ledger_rule *rule)
{
    struct rx_sessions_live *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    pthread_mutex_init(&l->lock, NULL);
    rx_block_log_init(&l->log);
    l->refs = 1;
    l->timeout_ms = rule->timeout_ms;
    l->name = strdup(name);
    l->ledger = rx_ledger_new(rule);
    l->kernel = rx_kernel_new(name);
    if (l->name && l->ledger && l->kernel)
        return l;
    live_free(l);
    return NULL;
}

struct rx_sessions_live *rx_sessions_get(const char *name, const struct rx_ledger_rule *rule)
{
    pthread_mutex_lock(&all_lock);
    struct rx_sessions_live *l = all;
    while (l && strcmp(l->name, name))
        l = l->next;
    if (l) {
        l->refs++;
    } else if ((l = live_new(name, rule))) {
        l->next = all;
        all = l;
    }
    pthread_mutex_unlock(&all_lock);
    return l;
}

void rx_sessions_put(struct rx_sessions_live *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&all_lock);
    bool is_last = --l->refs == 0;
    if (is_last) {
        struct rx_sessions_live **at = &all;
        while (*at != l)
            at = &(*at)->next;
        *at = l->next;
    }
    pthread_mutex_unlock(&all_lock);
    if (is_last)
        live_free(l);
}

void rx_sessions_each(rx_sessions_each_fn *each, void *data)
{
    pthread_mutex_lock(&all_lock);
    for (struct rx_sessions_live *l = all; l; l = l->next)
        each(l->name, l, data);
    pthread_mutex_unlock(&all_lock);
}

void rx_sessions_listen(const struct rx_sessions_ear *e)
{
    pthread_mutex_lock(&ear_lock);
    ear = e ? *e : (struct rx_sessions_ear){ 0 };
    pthread_mutex_unlock(&ear_lock);
}

static void tell(bool is_log)
{
    pthread_mutex_lock(&ear_lock);
    void (*fn)(void *) = is_log ? ear.logged : ear.put_out;
    if (fn)
        fn(ear.data);
    pthread_mutex_unlock(&ear_lock);
}

struct rx_sessions_totals rx_sessions_totals(struct rx_sessions_live *l)
{
    struct rx_ledger_totals t = rx_ledger_totals(l->ledger, rx_now_ms());
    struct rx_kernel_totals k = rx_kernel_totals(l->kernel);
    return (struct rx_sessions_totals){ .identities = t.identities,
                                        .addresses = t.addresses,
                                        .evicted = t.evicted,
                                        .violations = atomic_load(&l->violations),
                                        .banned = atomic_load(&l->banned),
                                        .killed = k.killed,
                                        .flows = k.flows,
                                        .kernel_failed = k.failed,
                                        .log_lost = atomic_load(&l->log.lost) };
}

// ---- limits of single identities --------------------------------------------------------------------------------------

static struct rx_sessions_own *own_place(struct rx_sessions_own *own, uint32_t cap, const char *id, uint32_t len)
{
    for (uint32_t i = (uint32_t)rx_digest(RX_DIGEST_START, id, len) & (cap - 1);; i = (i + 1) & (cap - 1))
        if (!own[i].id || (own[i].id_len == len && !memcmp(own[i].id, id, len)))
            return &own[i];
}

int rx_sessions_own_add(struct rx_sessions *s, struct rx_arena *a, const char *id, uint32_t len, uint32_t max_ips)
{
    if ((s->n_own + 1) * 2 > s->own_cap) {
        uint32_t cap = s->own_cap ? s->own_cap * 2 : 16;
        struct rx_sessions_own *grown = rx_arena_get(a, cap * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        for (uint32_t i = 0; i < s->own_cap; i++)
            if (s->own[i].id)
                *own_place(grown, cap, s->own[i].id, s->own[i].id_len) = s->own[i];
        s->own = grown;
        s->own_cap = cap;
    }
    struct rx_sessions_own *o = own_place(s->own, s->own_cap, id, len);
    if (o->id)
        return o->max_ips == max_ips ? 0 : -EEXIST;
    *o = (struct rx_sessions_own){ rx_arena_copy(a, id, len), len, max_ips };
    s->n_own += o->id != NULL;
    return o->id ? 0 : -ENOMEM;
}

static uint32_t limit_of(const struct rx_sessions *s, const struct rx_heard *h)
{
    const struct rx_sessions_own *o = s->n_own ? own_place(s->own, s->own_cap, h->id, h->id_len) : NULL;
    return o && o->id ? o->max_ips : h->max_ips ? h->max_ips : s->max_ips;
}

// ---- those who were put out -------------------------------------------------------------------------------------------

// Under the lock.
static void remember_ban(struct rx_sessions_live *l, const struct rx_cidr *who, uint64_t now)
{
    while (l->n_given && (l->given[l->given_at].at_ms + l->timeout_ms <= now || l->n_given >= BANS_MAX)) {
        l->given_at = (l->given_at + 1) % l->given_cap;
        l->n_given--;
    }
    if (l->n_given == l->given_cap) {
        uint32_t cap = l->given_cap ? l->given_cap * 2 : 16;
        struct given *grown = malloc(cap * sizeof *grown);
        if (!grown)
            return; // the ban holds; only a changed timeout will pass it by
        for (uint32_t i = 0; i < l->n_given; i++)
            grown[i] = l->given[(l->given_at + i) % l->given_cap];
        free(l->given);
        l->given = grown;
        l->given_cap = cap;
        l->given_at = 0;
    }
    l->given[(l->given_at + l->n_given++) % l->given_cap] = (struct given){ *who, now };
}

// is_ours: found out here; who shares bans has those of other nodes.
static void ban(const struct rx_sessions *s, const struct rx_cidr *who, bool is_ours)
{
    struct rx_sessions_live *l = s->live;
    uint64_t now = rx_now_ms();
    pthread_mutex_lock(&l->lock);
    int rc = is_ours && s->enforce & RX_ENFORCE_BAN ? rx_ban_add(who, l->timeout_ms) : 0;
    if (!rc)
        remember_ban(l, who, now);
    const struct rx_kernel_out out = { *who, now, l->timeout_ms, false };
    pthread_mutex_unlock(&l->lock);
    if (s->kernel.what) {
        rx_kernel_put_out(l->kernel, &out);
        tell(true);
    }
    if (rc)
        rx_log_limited(RX_LOG_WARN, "sessions %s: a ban cannot be had: %s", s->name, strerror(-rc));
    else if (is_ours)
        atomic_fetch_add_explicit(&l->banned, 1, memory_order_relaxed);
}

void rx_sessions_apply(const struct rx_sessions *s)
{
    struct rx_sessions_live *l = s->live;
    uint64_t now = rx_now_ms();
    rx_ledger_set(l->ledger, &s->rule);
    pthread_mutex_lock(&l->lock);
    if (l->timeout_ms != s->rule.timeout_ms)
        for (uint32_t i = 0; i < l->n_given; i++) {
            const struct given *g = &l->given[(l->given_at + i) % l->given_cap];
            if (g->at_ms + l->timeout_ms > now)
                rx_ban_remove(&g->who);
            if (s->enforce & RX_ENFORCE_BAN && g->at_ms + s->rule.timeout_ms > now)
                rx_ban_add(&g->who, g->at_ms + s->rule.timeout_ms - now);
        }
    l->timeout_ms = s->rule.timeout_ms;
    pthread_mutex_unlock(&l->lock);
    rx_kernel_retime(l->kernel, s->rule.timeout_ms);
    rx_kernel_set(l->kernel, s->is_dry ? NULL : &s->kernel);
    rx_block_log_set(&l->log, s->block_log);
    tell(true);
}

// ---- the block log ----------------------------------------------------------------------------------------------------

static int text_line(char *line, size_t size, const struct rx_sessions *s, const struct rx_heard *h, const char *out,
                     const char *origin)
{
    char id[WORD_MAX], tag[WORD_MAX], when[32];
    time_t now = time(NULL);
    struct tm tm;
    strftime(when, sizeof when, "%Y/%m/%d %H:%M:%S", localtime_r(&now, &tm));
    rx_log_escape((const uint8_t *)h->id, h->id_len, id, sizeof id);
    rx_log_escape((const uint8_t *)(h->tag ? h->tag : s->name), h->tag ? h->tag_len : strlen(s->name), tag, sizeof tag);
    return snprintf(line, size, "%s disallowed concurrent connection from %s w/ origin %s [%s] email: %s\n", when, out,
                    origin, tag, id);
}

static int json_line(char *line, size_t size, const struct rx_sessions *s, const struct rx_heard *h, const char *out,
                     const char *origin)
{
    struct rx_json j = { 0 };
    char when[32], *text;
    size_t len;
    time_t now = time(NULL);
    struct tm tm;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    rx_json_open(&j, '{');
    rx_json_key(&j, "time");
    rx_json_string(&j, when);
    rx_json_key(&j, "sessions");
    rx_json_string(&j, s->name);
    rx_json_key(&j, "identity");
    rx_json_text(&j, h->id, h->id_len);
    rx_json_key(&j, "address");
    rx_json_string(&j, out);
    rx_json_key(&j, "origin");
    rx_json_string(&j, origin);
    rx_json_key(&j, "tag");
    if (h->tag)
        rx_json_text(&j, h->tag, h->tag_len);
    else
        rx_json_null(&j);
    rx_json_key(&j, "transport");
    rx_json_string(&j, h->is_udp ? "udp" : "tcp");
    rx_json_key(&j, "is_dry_run");
    rx_json_bool(&j, s->is_dry);
    rx_json_close(&j);
    if (rx_json_take(&j, &text, &len))
        return -1;
    int n = snprintf(line, size, "%.*s", (int)len, text); // it ends without a NUL
    free(text);
    return n;
}

static void log_line(const struct rx_sessions *s, const struct rx_heard *h, const struct rx_cidr *out,
                     const struct rx_cidr *origin)
{
    char line[3 * WORD_MAX], a[RX_ADDR_TEXT], b[RX_ADDR_TEXT];
    rx_cidr_print(out, a);
    rx_cidr_print(origin, b);
    int n = (s->is_log_json ? json_line : text_line)(line, sizeof line, s, h, a, b);
    if (n < 0 || (size_t)n >= sizeof line)
        n = 0;
    rx_block_log_add(&s->live->log, line, (size_t)n);
    tell(true);
}

// ---- the kernel -------------------------------------------------------------------------------------------------------

// All names there are now, held; NULL: none, or out of memory. Nobody waits for a lock while files or the kernel do.
static struct rx_sessions_live **hold_all(uint32_t *n)
{
    *n = 0;
    pthread_mutex_lock(&all_lock);
    for (struct rx_sessions_live *l = all; l; l = l->next)
        ++*n;
    struct rx_sessions_live **list = *n ? malloc(*n * sizeof(struct rx_sessions_live *)) : NULL;
    uint32_t i = 0;
    for (struct rx_sessions_live *l = all; list && l; l = l->next) {
        l->refs++;
        list[i++] = l;
    }
    pthread_mutex_unlock(&all_lock);
    *n = i;
    return list;
}

static void let_go(struct rx_sessions_live **list, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        rx_sessions_put(list[i]);
    free(list);
}

void rx_sessions_flush(bool is_anew)
{
    uint32_t n;
    struct rx_sessions_live **list = hold_all(&n);
    for (uint32_t i = 0; i < n; i++)
        rx_block_log_flush(&list[i]->log, list[i]->name, is_anew);
    let_go(list, n);
}

void rx_sessions_kernel_hand_on(void)
{
    rx_kernel_hand_on();
}

bool rx_sessions_has_kernel(void)
{
    bool has = false;
    pthread_mutex_lock(&all_lock);
    for (struct rx_sessions_live *l = all; l; l = l->next)
        has |= rx_kernel_is_on(l->kernel);
    pthread_mutex_unlock(&all_lock);
    return has;
}

void rx_sessions_kernel(bool is_check)
{
    uint32_t n;
    struct rx_sessions_live **list = hold_all(&n);
    for (uint32_t i = 0; i < n; i++)
        rx_kernel_work(list[i]->kernel, list[i]->name, is_check);
    let_go(list, n);
}

struct peers {
    struct rx_cidr *list; // owned
    size_t n;
};

static bool is_connected(const struct rx_cidr *who, void *data)
{
    const struct peers *p = data;
    return rx_kernel_is_among(who, p->list, p->n);
}

bool rx_sessions_refresh(uint64_t *again_ms)
{
    uint32_t n;
    bool has_some = false;
    struct rx_sessions_live **list = hold_all(&n);
    *again_ms = REFRESH_MAX_MS;
    for (uint32_t i = 0; i < n; i++) {
        struct peers p;
        if (!rx_kernel_is_on(list[i]->kernel))
            continue;
        has_some = true;
        *again_ms = RX_MIN(*again_ms, RX_MAX(rx_ledger_window(list[i]->ledger) / 3, (uint64_t)REFRESH_MIN_MS));
        if (rx_kernel_peers(list[i]->kernel, &p.list, &p.n) == 0 && p.n)
            rx_ledger_refresh(list[i]->ledger, is_connected, &p, rx_now_ms());
        free(p.list);
    }
    let_go(list, n);
    return has_some;
}

void rx_sessions_kernel_leave(void)
{
    uint32_t n;
    struct rx_sessions_live **list = hold_all(&n);
    for (uint32_t i = 0; i < n; i++)
        rx_kernel_leave(list[i]->kernel);
    let_go(list, n);
}

void rx_sessions_only(struct rx_sessions *const *served, uint32_t n_served)
{
    uint32_t n;
    struct rx_sessions_live **list = hold_all(&n);
    for (uint32_t i = 0; i < n; i++) {
        bool is_served = false;
        for (uint32_t k = 0; k < n_served; k++)
            is_served |= served[k]->live == list[i];
        if (!is_served)
            rx_kernel_set(list[i]->kernel, NULL);
    }
    let_go(list, n);
}

void rx_sessions_order(const struct rx_cidr *who, uint64_t ttl_ms)
{
    const struct rx_kernel_out out = { *who, rx_now_ms(), ttl_ms, true };
    bool is_any = false;
    pthread_mutex_lock(&all_lock);
    for (struct rx_sessions_live *l = all; l; l = l->next)
        if (rx_kernel_is_on(l->kernel)) {
            rx_kernel_put_out(l->kernel, &out);
            is_any = true;
        }
    pthread_mutex_unlock(&all_lock);
    if (is_any)
        tell(true);
}

static void share_forgiven(const struct rx_ledger_told *seat, void *data)
{
    const struct rx_sessions_live *l = data;
    struct rx_sync_said said = { .is_forgiven = true, .seat = *seat };
    snprintf(said.name, sizeof said.name, "%s", l->name);
    rx_sync_say(&said);
}

// Takes those within the block out of the bans this name gave.
static bool forgive(struct rx_sessions_live *l, const struct rx_cidr *who, bool is_all)
{
    bool is_any = rx_kernel_let_in(l->kernel, who);
    pthread_mutex_lock(&l->lock);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < l->n_given; i++) {
        const struct given g = l->given[(l->given_at + i) % l->given_cap];
        if (!rx_cidr_covers(who, &g.who) && !rx_cidr_covers(&g.who, who)) {
            l->given[(l->given_at + kept++) % l->given_cap] = g;
            continue;
        }
        rx_ban_remove(&g.who);
        is_any = true;
    }
    l->n_given = kept;
    pthread_mutex_unlock(&l->lock);
    return (is_all && rx_ledger_forgive(l->ledger, who, share_forgiven, l)) || is_any;
}

bool rx_sessions_forgive(const struct rx_cidr *who, bool is_all)
{
    uint32_t n;
    bool is_any = false;
    struct rx_sessions_live **list = hold_all(&n);
    for (uint32_t i = 0; i < n; i++)
        is_any |= forgive(list[i], who, is_all);
    let_go(list, n);
    if (is_any)
        tell(true);
    return is_any;
}

// ---- hearing ----------------------------------------------------------------------------------------------------------

static bool who_of(const struct rx_sessions *s, const union rx_ip *ip, struct rx_cidr *out)
{
    union rx_ip plain = *ip;
    rx_ip_unmap(&plain);
    *out = (struct rx_cidr){ .family = (uint8_t)plain.sa.sa_family };
    if (plain.sa.sa_family == AF_INET) {
        memcpy(out->bytes, &plain.v4.sin_addr, 4);
        out->bits = 32;
    } else if (plain.sa.sa_family == AF_INET6) {
        memcpy(out->bytes, &plain.v6.sin6_addr, 16);
        out->bits = (uint8_t)s->ipv6_prefix;
        for (unsigned i = out->bits / 8; i < 16; i++)
            out->bytes[i] &= i == out->bits / 8 ? (uint8_t) ~(0xffu >> out->bits % 8) : 0;
    } else {
        return false; // a unix socket: nobody can tell those apart
    }
    return true;
}

static bool is_exempt(const struct rx_sessions *s, const union rx_ip *ip)
{
    for (uint32_t i = 0; i < s->n_exempt; i++)
        if (rx_cidr_has(&s->exempt[i], ip))
            return true;
    return false;
}

static void deal_with(const struct rx_sessions *s, const struct rx_heard *h, const struct rx_ledger_answer *a)
{
    for (uint32_t i = 0; i < a->n_out; i++) {
        atomic_fetch_add_explicit(&s->live->violations, 1, memory_order_relaxed);
        if (s->block_log)
            log_line(s, h, &a->out[i], &a->origin);
        if (!s->is_dry && s->enforce)
            ban(s, &a->out[i], true);
    }
    if (a->must_close && !s->is_dry)
        tell(false);
}

bool rx_sessions_is_brimming(const struct rx_sessions *s)
{
    return atomic_load_explicit(&s->live->log.is_brimming, memory_order_relaxed);
}

static void describe(const struct rx_sessions *s, struct rx_sync_said *said)
{
    snprintf(said->name, sizeof said->name, "%s", s->name);
    said->is_last_kept = s->rule.is_last_kept;
    said->window_ms = s->rule.window_ms;
    said->timeout_ms = s->rule.timeout_ms;
}

static void share(const struct rx_sessions *s, const struct rx_heard *h, const struct rx_ledger_event *e,
                  const struct rx_ledger_answer *a)
{
    struct rx_sync_said said = { .is_udp = h->is_udp };
    describe(s, &said);
    said.seat = (struct rx_ledger_told){ .id_len = (uint8_t)e->id_len, .is_held = a->is_in && e->is_held,
                                         .is_out = !a->is_in, .max_ips = e->max_ips, .who = e->who, .age_ms = a->age_ms,
                                         .left_ms = a->is_in ? s->rule.window_ms : s->rule.timeout_ms };
    memcpy(said.seat.id, e->id, e->id_len);
    rx_sync_say(&said);
}

bool rx_sessions_hear(const struct rx_sessions *s, const struct rx_heard *h, struct rx_seat **seat)
{
    struct rx_ledger_event e = { .id = h->id, .id_len = h->id_len, .now_ms = rx_now_ms(), .is_held = h->is_held };
    struct rx_ledger_answer a;
    *seat = NULL;
    if (!h->id_len || h->id_len > RX_LEDGER_ID_MAX || !who_of(s, &h->ip, &e.who) || is_exempt(s, &h->ip))
        return true;
    e.max_ips = limit_of(s, h);
    if (!e.max_ips)
        return true;
    rx_ledger_see(s->live->ledger, &e, &a);
    *seat = a.seat;
    if (a.must_tell)
        share(s, h, &e, &a);
    if (a.is_new)
        deal_with(s, h, &a);
    else if (!a.is_in && s->kernel.what && !s->is_dry) {
        rx_kernel_kill_again(s->live->kernel, &e.who);
        tell(true);
    }
    return a.is_in || s->is_dry;
}

uint32_t rx_sessions_name(const struct rx_sessions *s, const struct rx_seat *seat, char *out)
{
    return rx_ledger_name(s->live->ledger, seat, out);
}

void rx_sessions_leave(const struct rx_sessions *s, struct rx_seat *seat)
{
    struct rx_sync_said said = { .is_left = true };
    if (!rx_ledger_leave(s->live->ledger, seat, rx_now_ms(), &said.seat))
        return;
    describe(s, &said);
    said.is_udp = false;
    rx_sync_say(&said);
}

void rx_sessions_hear_far(const struct rx_sessions *s, const struct rx_heard *h, const struct rx_ledger_far *far,
                          uint32_t n, const struct rx_cidr *origin)
{
    const struct rx_ledger_event e = { .id = h->id, .id_len = h->id_len, .now_ms = rx_now_ms() };
    struct rx_ledger_answer a;
    rx_ledger_hear(s->live->ledger, &e, far, n, &a);
    if (origin) {
        a.origin = *origin;
    } else {
        for (uint32_t i = 0; i < a.n_out && !s->is_dry && s->enforce; i++)
            ban(s, &a.out[i], false);
        a.n_out = 0;
        for (uint32_t i = 0; i < n; i++)
            if (far[i].is_fresh && !far[i].is_out && forgive(s->live, &far[i].who, false))
                tell(true);
    }
    deal_with(s, h, &a);
}

struct rx_ledger *rx_sessions_ledger(const struct rx_sessions *s)
{
    return s->live->ledger;
}
