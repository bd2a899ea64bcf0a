// SPDX-License-Identifier: MIT
// Metrics and shared tables of a config: found by name in the instance, or made. A load that fails lets go of them.
#include "build_draft.h"

#include <string.h>

#include "arena.h"
#include "home.h"
#include "metric.h"
#include "store.h"

enum { METRICS_MAX = 1000, SHARED_MAX = 1000, ENTRIES_MAX = 10000000 };

int rx_door_metric_new(struct rx_build *b, const struct rx_metric_spec *s)
{
    struct rx_conf *c = b->conf;
    struct rx_metric **list = rx_arena_grow(c->arena, c->metrics, c->n_metrics, sizeof *list);
    char *name = keep(b, s->name), *help = keep(b, s->help), *labels = keep(b, s->labels);
    const char *why;
    if (!list || !name || !help || !labels)
        return no_memory(b);
    c->metrics = list;
    if (c->n_metrics >= METRICS_MAX)
        return fail(b, "more than %d metrics", METRICS_MAX);
    if (!*name || strlen(name) != s->name.len)
        return fail(b, "a metric needs a name");
    unsigned n_labels = *labels != '\0';
    for (const char *p = labels; *p; p++)
        n_labels += *p == ',';
    if (n_labels > RX_METRIC_LABELS)
        return fail(b, "more than %d labels", RX_METRIC_LABELS);
    struct rx_metric *m = rx_metric_get(&c->home->metrics, name, help, s->is_gauge ? RX_METRIC_GAUGE : RX_METRIC_COUNTER,
                                        labels, &why);
    if (!m)
        return fail(b, "%s; one that changes its kind or labels needs another name, or a restart", why);
    list[c->n_metrics++] = m;
    return (int)c->n_metrics - 1;
}

int rx_door_shared_new(struct rx_build *b, const struct rx_shared_spec *s)
{
    struct rx_conf *c = b->conf;
    struct rx_shared *list = rx_arena_grow(c->arena, c->shared, c->n_shared, sizeof *list);
    struct rx_shared one = { .name = keep(b, s->name), .max_entries = s->max_entries ? s->max_entries : 10000 };
    if (!list || !one.name)
        return no_memory(b);
    c->shared = list;
    if (c->n_shared >= SHARED_MAX)
        return fail(b, "more than %d shared tables", SHARED_MAX);
    if (!*one.name || strlen(one.name) != s->name.len)
        return fail(b, "a shared table needs a name");
    if (one.max_entries > ENTRIES_MAX || !(s->ttl_ms >= 0 && s->ttl_ms < 1e15))
        return fail(b, "max_entries or ttl is out of range");
    one.ttl_ms = (uint64_t)s->ttl_ms;
    for (uint32_t i = 0; i < c->n_shared; i++)
        if (!strcmp(list[i].name, one.name) &&
            (list[i].max_entries != one.max_entries || list[i].ttl_ms != one.ttl_ms))
            return fail(b, "is declared twice, with other limits");
    if (!(one.store = rx_store_get(&c->home->stores, one.name, one.max_entries, one.ttl_ms)))
        return no_memory(b);
    list[c->n_shared++] = one;
    return (int)c->n_shared - 1;
}
