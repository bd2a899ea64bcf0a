// SPDX-License-Identifier: MIT
// Enters: two generations. Leaves: the names of what was added, removed and changed. Things of one kind are sorted by
// name and walked side by side; two of one name are compared in their order. The digests are build_digest.c's.
#include "diff.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
    const char *scope, *name; // scope: the listener, or ""
    uint32_t place;
    uint64_t digest;
};

struct items {
    struct item *list; // owned
    uint32_t n;
};

static void note(struct rx_diff_list *l, const char *fmt, ...) RX_PRINTF(2, 3);
static void note(struct rx_diff_list *l, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (l->n < RX_DIFF_NAMES)
        l->names[l->n] = strdup(text);
    l->n++;
}

static int by_name(const struct item *a, const struct item *b)
{
    int order = strcmp(a->scope, b->scope);
    return order ? order : strcmp(a->name, b->name);
}

static int by_name_and_place(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int order = by_name(x, y);
    return order ? order : x->place < y->place ? -1 : x->place > y->place;
}

static bool items_make(struct items *all, uint32_t n)
{
    all->list = calloc(n + 1, sizeof *all->list);
    return all->list;
}

static void items_add(struct items *all, const char *scope, const char *name, uint64_t digest)
{
    all->list[all->n] = (struct item){ scope, name, all->n, digest };
    all->n++;
}

static void tell(struct rx_diff_list *l, const struct item *i)
{
    note(l, "%s%s%s", i->scope, *i->scope ? " " : "", i->name);
}

static void compare(struct rx_diff_list lists[RX_DIFF_CHANGES], struct items *old, struct items *now)
{
    uint32_t i = 0, k = 0;
    qsort(old->list, old->n, sizeof *old->list, by_name_and_place);
    qsort(now->list, now->n, sizeof *now->list, by_name_and_place);
    while (i < old->n || k < now->n) {
        int order = i == old->n ? 1 : k == now->n ? -1 : by_name(&old->list[i], &now->list[k]);
        if (order < 0) {
            tell(&lists[RX_DIFF_REMOVED], &old->list[i++]);
        } else if (order > 0) {
            tell(&lists[RX_DIFF_ADDED], &now->list[k++]);
        } else {
            if (old->list[i].digest != now->list[k].digest)
                tell(&lists[RX_DIFF_CHANGED], &now->list[k]);
            i++, k++;
        }
    }
}

static bool items_of(const struct rx_conf *c, enum rx_diff_kind kind, bool has_scopes, struct items *all)
{
    uint32_t n = c->n_listens + c->n_pools + c->n_known;
    for (uint32_t i = 0; i < c->n_listens; i++)
        n += c->listens[i]->n_routes;
    if (!items_make(all, n))
        return false;
    if (kind == RX_DIFF_LISTENERS)
        for (uint32_t i = 0; i < c->n_listens; i++)
            items_add(all, "", c->listens[i]->name, c->listens[i]->digest);
    if (kind == RX_DIFF_ROUTES)
        for (uint32_t i = 0; i < c->n_listens; i++)
            for (uint32_t k = 0; k < c->listens[i]->n_routes; k++)
                items_add(all, has_scopes ? c->listens[i]->name : "", c->listens[i]->routes[k].name,
                          c->listens[i]->routes[k].digest);
    if (kind == RX_DIFF_POOLS)
        for (uint32_t i = 0; i < c->n_pools; i++)
            if (!c->pools[i]->is_anonymous)
                items_add(all, "", c->pools[i]->name, c->pools[i]->digest);
    if (kind == RX_DIFF_PROTOCOLS)
        for (uint32_t i = 0; i < c->n_known; i++)
            if (!c->known[i]->def && !c->known[i]->is_any && !c->known[i]->is_silent)
                items_add(all, "", c->known[i]->name, c->known[i]->digest);
    return true;
}

// ---- limits -------------------------------------------------------------------------------------------------------

static void compare_limit(struct rx_diff_list lists[RX_DIFF_CHANGES], const char *scope, const char *name,
                          const char *what, uint32_t old, uint32_t now)
{
    const char *gap = *name ? " " : "", *wide = *scope ? " " : "";
    if (old == now)
        return;
    if (!old)
        note(&lists[RX_DIFF_ADDED], "%s%s%s%s%s %u", scope, wide, name, gap, what, now);
    else if (!now)
        note(&lists[RX_DIFF_REMOVED], "%s%s%s%s%s %u", scope, wide, name, gap, what, old);
    else
        note(&lists[RX_DIFF_CHANGED], "%s%s%s%s%s %u -> %u", scope, wide, name, gap, what, old, now);
}

// Routes in the order of their names; those of one name by their place.
static int by_route(const void *a, const void *b)
{
    const struct rx_route *const *x = a, *const *y = b;
    int order = strcmp((*x)->name, (*y)->name);
    return order ? order : (*x)->index < (*y)->index ? -1 : (*x)->index > (*y)->index;
}

static const struct rx_route **routes_sorted(const struct rx_listen *l)
{
    const struct rx_route **list = calloc(l->n_routes + 1, sizeof *list);
    for (uint32_t i = 0; list && i < l->n_routes; i++)
        list[i] = &l->routes[i];
    if (list)
        qsort(list, l->n_routes, sizeof *list, by_route);
    return list;
}

static void compare_listen(struct rx_diff_list *lists, const struct rx_listen *old, const struct rx_listen *now,
                           const char *scope)
{
    compare_limit(lists, scope, "", "max_connections", old->max_connections, now->max_connections);
    compare_limit(lists, scope, "", "max_connections_per_ip", old->max_connections_per_ip, now->max_connections_per_ip);
    compare_limit(lists, scope, "", "max_pending", old->max_pending, now->max_pending);
    compare_limit(lists, scope, "", "max_sessions", old->max_sessions, now->max_sessions);
    compare_limit(lists, scope, "", "max_sessions_per_ip", old->max_sessions_per_ip, now->max_sessions_per_ip);
    const struct rx_route **a = routes_sorted(old), **b = routes_sorted(now);
    for (uint32_t i = 0, k = 0; a && b && i < old->n_routes && k < now->n_routes;) {
        int order = strcmp(a[i]->name, b[k]->name);
        if (!order)
            compare_limit(lists, scope, b[k]->name, "max_connections", a[i]->max_connections, b[k]->max_connections);
        i += order <= 0;
        k += order >= 0;
    }
    free(a);
    free(b);
}

static void compare_limits(struct rx_diff_list *lists, const struct rx_conf *old, const struct rx_conf *now)
{
    compare_limit(lists, "server", "", "max_connections", old->max_connections, now->max_connections);
    compare_limit(lists, "server", "", "max_sessions", old->max_sessions, now->max_sessions);
    for (uint32_t i = 0; i < now->n_listens; i++)
        for (uint32_t k = 0; k < old->n_listens; k++)
            if (!strcmp(now->listens[i]->name, old->listens[k]->name)) {
                compare_listen(lists, old->listens[k], now->listens[i], now->listens[i]->name);
                break;
            }
}

struct rx_diff *rx_diff_new(const struct rx_conf *old, const struct rx_conf *conf)
{
    struct rx_diff *d = calloc(1, sizeof *d);
    bool has_scopes = old->n_listens != 1 || conf->n_listens != 1;
    for (int kind = RX_DIFF_LISTENERS; d && kind <= RX_DIFF_PROTOCOLS; kind++) {
        struct items a = { 0 }, b = { 0 };
        if (items_of(old, kind, has_scopes, &a) && items_of(conf, kind, has_scopes, &b))
            compare(d->lists[kind], &a, &b);
        free(a.list);
        free(b.list);
    }
    if (!d)
        return NULL;
    compare_limits(d->lists[RX_DIFF_LIMITS], old, conf);
    if (old->digest != conf->digest)
        note(&d->lists[RX_DIFF_SERVER][RX_DIFF_CHANGED], "options");
    return d;
}

void rx_diff_free(struct rx_diff *d)
{
    for (int kind = 0; d && kind < RX_DIFF_KINDS; kind++)
        for (int change = 0; change < RX_DIFF_CHANGES; change++)
            for (int i = 0; i < RX_DIFF_NAMES; i++)
                free(d->lists[kind][change].names[i]);
    free(d);
}

// ---- showing it -----------------------------------------------------------------------------------------------------

static const char *const kind_words[] = { "listeners", "routes", "pools", "protocols", "limits", "server" };
static const char *const change_words[] = { "added", "removed", "changed" };

struct line {
    char *text;
    size_t size, len;
};

static void say(struct line *l, const char *fmt, ...) RX_PRINTF(2, 3);
static void say(struct line *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(l->text + l->len, l->size - l->len, fmt, ap);
    va_end(ap);
    l->len = RX_MIN(l->len + (size_t)RX_MAX(n, 0), l->size - 1);
}

static void say_kind(struct line *l, const struct rx_diff_list lists[RX_DIFF_CHANGES], const char *word)
{
    enum { SHOWN = 4 };
    const char *gap = "";
    say(l, "%s%s:", l->len ? "; " : "", word);
    for (int change = 0; change < RX_DIFF_CHANGES; change++) {
        const struct rx_diff_list *all = &lists[change];
        for (uint32_t i = 0; i < all->n && i < SHOWN; i++, gap = ",")
            say(l, "%s %c%s", gap, "+-~"[change], all->names[i] ? all->names[i] : "?");
        if (all->n > SHOWN)
            say(l, " and %u more %s", all->n - SHOWN, change_words[change]);
    }
}

char *rx_diff_text(const struct rx_diff *d, char *buf, size_t size)
{
    struct line l = { buf, size, 0 };
    buf[0] = 0;
    for (int kind = 0; d && kind < RX_DIFF_KINDS; kind++) {
        const struct rx_diff_list *lists = d->lists[kind];
        if (lists[0].n + lists[1].n + lists[2].n)
            say_kind(&l, lists, kind_words[kind]);
    }
    if (!l.len)
        say(&l, "no change");
    return buf;
}

void rx_diff_json(const struct rx_diff *d, struct rx_json *j)
{
    rx_json_open(j, '{');
    for (int kind = 0; d && kind < RX_DIFF_KINDS; kind++) {
        const struct rx_diff_list *lists = d->lists[kind];
        if (!(lists[0].n + lists[1].n + lists[2].n))
            continue;
        rx_json_key(j, kind_words[kind]);
        rx_json_open(j, '{');
        for (int change = 0; change < RX_DIFF_CHANGES; change++) {
            if (!lists[change].n)
                continue;
            rx_json_key(j, change_words[change]);
            rx_json_open(j, '{');
            rx_json_key(j, "n");
            rx_json_number(j, lists[change].n);
            rx_json_key(j, "names");
            rx_json_open(j, '[');
            for (uint32_t i = 0; i < lists[change].n && i < RX_DIFF_NAMES; i++)
                rx_json_string(j, lists[change].names[i]);
            rx_json_close(j);
            rx_json_close(j);
        }
        rx_json_close(j);
    }
    rx_json_close(j);
}
