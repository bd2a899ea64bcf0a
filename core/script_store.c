// SPDX-License-Identifier: MIT
// What scripts keep: struct rx_state_door. Enters: the call that is on, numbers of metrics and tables, strings of Lua.
// Leaves: copies, in the process's metrics, tables and bans. All are leaves: they never call Lua, never raise. Lua
// checks types, lengths and ranges with words for the user; here they are checked so that nothing breaks.
//
// Functions also run where no connection is served: a config's tests, explain, and the warming up of a state. There
// nothing may be counted or banned, and tables are the state's own, so that a test can still see what an earlier
// connection of the test left behind.
#include "script_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ban.h"
#include "log.h"
#include "sessions.h"

enum { OWN_ENTRIES = 1000 };

_Static_assert((int)RX_SHARED_TEXT == RX_STORE_TEXT && (int)RX_SHARED_NUMBER == RX_STORE_NUMBER &&
                   (int)RX_SHARED_TRUE == RX_STORE_TRUE && (int)RX_SHARED_FALSE == RX_STORE_FALSE,
               "the door's kinds are the store's");

static struct rx_script *script_of(struct rx_call *call)
{
    return RX_CONTAINER(call, struct rx_script, call);
}

// scripts[0] is the one that loaded the config and tries it; a state that warms up has no call running.
static bool is_serving(const struct rx_script *s)
{
    return rx_script_running == s && s->conf && (!s->conf->n_scripts || s->conf->scripts[0] != s);
}

// ---- metrics --------------------------------------------------------------------------------------------------------

static void metric_label(struct rx_call *call, const char *value, uint32_t len)
{
    rx_metric_key_add(&script_of(call)->labels, value, len);
}

static int metric_use(struct rx_call *call, int32_t id, double v,
                      void (*use)(struct rx_metric *, const struct rx_metric_key *, double))
{
    struct rx_script *s = script_of(call);
    if (is_serving(s) && id >= 0 && (uint32_t)id < s->conf->n_metrics)
        use(s->conf->metrics[id], &s->labels, v);
    s->labels.n = s->labels.len = 0;
    return 0;
}

static int metric_add(struct rx_call *call, int32_t id, double by)
{
    return metric_use(call, id, by, rx_metric_add);
}

static int metric_set(struct rx_call *call, int32_t id, double value)
{
    return metric_use(call, id, value, rx_metric_set);
}

// ---- shared tables --------------------------------------------------------------------------------------------------

// A table of the state's own; those of one name are one.
static struct rx_store *own_store(struct rx_script *s, uint32_t id)
{
    const struct rx_shared *list = s->conf->shared;
    for (uint32_t i = 0; i < id; i++)
        if (!strcmp(list[i].name, list[id].name))
            id = i;
    if (!s->own && !(s->own = calloc(s->conf->n_shared, sizeof(struct rx_store *))))
        return NULL;
    if (!s->own[id])
        s->own[id] = rx_store_new(RX_MIN(list[id].max_entries, (uint32_t)OWN_ENTRIES), list[id].ttl_ms);
    return s->own[id];
}

static struct rx_store *store_of(struct rx_script *s, int32_t id)
{
    if (!s->conf || id < 0 || (uint32_t)id >= s->conf->n_shared)
        return NULL;
    return is_serving(s) ? s->conf->shared[id].store : own_store(s, (uint32_t)id);
}

static uint64_t ttl_of(double ms)
{
    return ms >= 1 && ms < 1e15 ? (uint64_t)ms : ms > 0 ? 1 : 0;
}

static int shared_get(struct rx_call *call, int32_t id, const char *key, uint32_t len)
{
    struct rx_script *s = script_of(call);
    struct rx_store *store = store_of(s, id);
    if (!store)
        return RX_SHARED_NONE;
    struct rx_store_value v = rx_store_read(store, key, len, s->entry);
    call->text = (struct rx_slice){ s->entry, v.len };
    call->number = v.number;
    return (int)v.kind;
}

static void shared_value(struct rx_call *call, uint32_t kind, double number, const char *text, uint32_t len)
{
    script_of(call)->value = (struct rx_store_value){ .kind = kind, .number = number, .text = text, .len = len };
}

static int shared_set(struct rx_call *call, int32_t id, const char *key, uint32_t len, double ttl_ms,
                      uint32_t only_new)
{
    struct rx_script *s = script_of(call);
    struct rx_store *store = store_of(s, id);
    int rc = store ? rx_store_write(store, key, len, &s->value, ttl_of(ttl_ms), only_new) : -ENOMEM;
    return rc == 0 ? 1 : rc == -EEXIST ? 0 : -1;
}

static int shared_incr(struct rx_call *call, int32_t id, const char *key, uint32_t len, double by, double ttl_ms)
{
    struct rx_store *store = store_of(script_of(call), id);
    int rc = store ? rx_store_add(store, key, len, by, ttl_of(ttl_ms), &call->number) : -ENOMEM;
    return rc == 0 ? 0 : rc == -EINVAL ? -1 : -2;
}

static int shared_delete(struct rx_call *call, int32_t id, const char *key, uint32_t len)
{
    struct rx_store *store = store_of(script_of(call), id);
    return store && rx_store_delete(store, key, len);
}

void rx_script_state_free(struct rx_script *s)
{
    for (uint32_t i = 0; s->own && i < s->conf->n_shared; i++)
        rx_store_put(s->own[i]);
    free(s->own);
}

// ---- bans -----------------------------------------------------------------------------------------------------------

static bool cidr_of(const char *whom, uint32_t len, struct rx_cidr *out)
{
    char text[RX_ADDR_TEXT], why[RX_ADDR_TEXT];
    if (len >= sizeof text || memchr(whom, 0, len))
        return false;
    memcpy(text, whom, len);
    text[len] = '\0';
    return rx_cidr_parse(text, out, why) == 0;
}

static int ban(struct rx_call *call, const char *whom, uint32_t len, double ttl_ms)
{
    struct rx_cidr c;
    if (!cidr_of(whom, len, &c))
        return -1;
    if (!is_serving(script_of(call)))
        return 1;
    uint64_t ttl = RX_MAX(ttl_of(ttl_ms), (uint64_t)1);
    int rc = rx_ban_add(&c, ttl);
    if (!rc)
        rx_sessions_order(&c, ttl);
    if (rc)
        rx_log_limited(RX_LOG_WARN, "script: cannot ban %.*s: %s", (int)len, whom,
                       rc == -ENOSPC ? "as many are banned as may be" : "out of memory");
    return rc == 0;
}

static int unban(struct rx_call *call, const char *whom, uint32_t len)
{
    struct rx_cidr c;
    if (!cidr_of(whom, len, &c))
        return -1;
    return is_serving(script_of(call)) && (rx_sessions_forgive(&c, false) | rx_ban_remove(&c));
}

const struct rx_state_door rx_script_state_door = { .size = sizeof rx_script_state_door,
                                                    .metric_label = metric_label,
                                                    .metric_add = metric_add,
                                                    .metric_set = metric_set,
                                                    .shared_get = shared_get,
                                                    .shared_value = shared_value,
                                                    .shared_set = shared_set,
                                                    .shared_incr = shared_incr,
                                                    .shared_delete = shared_delete,
                                                    .ban = ban,
                                                    .unban = unban };
