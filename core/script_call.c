// SPDX-License-Identifier: MIT
// The calls: one function per place of the path where a config may decide. Enters: what the call is about. Leaves: a
// decision of C's own kind; what a function said that is no such decision counts as if it had failed.
#include "script_state.h"

#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "roster.h"
#include "log.h"
#include "route.h"

enum { DYNAMIC_MAX = 4096, ADDRESS_SHOWN = 100 };

// A target that a function named by its address: made on first use, kept as long as the generation.
struct rx_script_dynamic {
    struct rx_script_dynamic *next;
    struct rx_target target;
    struct rx_pool pool;
    struct rx_member member;
    struct rx_pool_live live;
    char name[];
};

// The string at stack place `at`, kept for as long as one decision takes.
static struct rx_text keep_key(struct rx_script *s, int at)
{
    size_t len;
    const char *key = lua_type(s->L, at) == LUA_TSTRING ? lua_tolstring(s->L, at, &len) : NULL;
    if (!key || len > RX_SCRIPT_KEY_MAX)
        return (struct rx_text){ NULL, 0 };
    char *kept = s->keys[s->next_key++ % RX_SCRIPT_KEYS];
    memcpy(kept, key, len);
    return (struct rx_text){ (const uint8_t *)kept, (uint32_t)len };
}

static enum rx_verdict ask_identify(struct rx_script *s, uint32_t fn, const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    s->call.ptr = p;
    s->call.len = n;
    if (!rx_script_call(s, fn, 2))
        return RX_NO;
    int v = (int)lua_tointeger(s->L, 1);
    if (f && v == RX_MATCH && lua_type(s->L, 2) == LUA_TSTRING && (f->key = keep_key(s, 2)).ptr)
        f->have = RX_FACT_KEY;
    lua_settop(s->L, 0);
    return v == RX_MATCH || v == RX_MORE ? (enum rx_verdict)v : RX_NO;
}

// With how many bytes that function is first asked: behind a prefix only once that is there.
static uint32_t first_asked(const struct rx_conf *conf, uint32_t fn, const uint8_t *p, uint32_t n)
{
    uint32_t least = 0;
    for (uint32_t i = 0; i < conf->n_known; i++) {
        const struct rx_texts *t = &conf->known[i]->prefix;
        for (uint32_t k = 0; conf->known[i]->identify_fn == (int32_t)fn && k < t->n; k++)
            if (t->len[k] <= n && !memcmp(t->text[k], p, t->len[k]) && (!least || t->len[k] < least))
                least = t->len[k];
    }
    return RX_MAX(least, 1u);
}

// The law of prefixes, checked where somebody wants to know: what was final for fewer bytes must be what is said now.
// Told once for each function.
static __attribute__((noinline)) void check_prefixes(struct rx_script *s, uint32_t fn, const uint8_t *p, uint32_t n,
                                                     enum rx_verdict said)
{
    enum { EVERY = 64, STRIDE = 61 };
    static const char *const words[] = { "no", "match", "more" };
    struct rx_fn *f = &s->conf->fns[fn];
    for (uint32_t k = first_asked(s->conf, fn, p, n); k < n; k += k < EVERY ? 1 : STRIDE) {
        unsigned long errors = atomic_load_explicit(&f->errors, memory_order_relaxed);
        enum rx_verdict then = ask_identify(s, fn, p, k, NULL);
        if (atomic_load_explicit(&f->is_quarantined, memory_order_relaxed))
            return;
        if (then == RX_MORE || then == said || atomic_load_explicit(&f->errors, memory_order_relaxed) != errors)
            continue;
        if (!atomic_exchange(&f->is_fickle, true))
            rx_log(RX_LOG_WARN, "script: %s: verdict changes with more bytes: %s after %u, %s after %u", f->where,
                   words[then], k, words[said], n);
        return;
    }
}

enum rx_verdict rx_script_identify(struct rx_script *s, uint32_t fn, const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    f->have = f->pending = f->need = 0;
    f->note = RX_NOTE_NONE;
    if (!s)
        return RX_NO;
    enum rx_verdict v = ask_identify(s, fn, p, n, f);
    if (RX_UNLIKELY(rx_log_is(RX_LOG_DEBUG)) && !s->lent_until_ns && fn < s->n_refs && !atomic_load(&s->conf->fns[fn].is_fickle))
        check_prefixes(s, fn, p, n, v);
    return v;
}

bool rx_script_expect(struct rx_script *s, uint32_t fn, const uint8_t *p, uint32_t n, enum rx_verdict *v, char *why,
                      size_t size)
{
    size_t len;
    if (!s)
        return false;
    s->call.ptr = p;
    s->call.len = n;
    if (!rx_script_call(s, fn, 2))
        return false;
    int said = (int)lua_tointeger(s->L, 1);
    *v = said == RX_MATCH || said == RX_MORE ? (enum rx_verdict)said : RX_NO;
    const char *text = lua_type(s->L, 2) == LUA_TSTRING ? lua_tolstring(s->L, 2, &len) : NULL;
    if (text)
        rx_log_escape((const uint8_t *)text, len, why, size);
    lua_settop(s->L, 0);
    return true;
}

bool rx_script_when(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c)
{
    if (!rx_script_call_about(s, fn, c, 1))
        return false;
    bool holds = lua_toboolean(s->L, 1);
    lua_settop(s->L, 0);
    return holds;
}

bool rx_script_accept(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c)
{
    return rx_script_when(s, fn, c); // an error refuses, as nothing is known of the client yet
}

int64_t rx_script_policy(struct rx_script *s, const struct rx_script_conn *c, const struct rx_pool *pool,
                         const struct rx_roster *roster)
{
    int64_t turn = -1;
    if (!s)
        return -1;
    s->call.pool = roster;
    if (rx_script_call_about(s, (uint32_t)pool->policy_fn, c, 1)) {
        double i = lua_isnumber(s->L, 1) ? lua_tonumber(s->L, 1) : -1;
        if (i >= 0 && i < roster->tiers[0].n)
            turn = (int64_t)i;
        lua_settop(s->L, 0);
    }
    s->call.pool = NULL;
    return turn;
}

// A pool of the one address a function named. Names are not looked up here: that would stop the worker.
static const struct rx_target *dynamic_target(struct rx_script *s, const char *address)
{
    for (struct rx_script_dynamic *d = s->dynamics; d; d = d->next)
        if (!strcmp(d->name, address))
            return &d->target;
    char why[RX_ADDR_TEXT] = "needs an address, not a name: use a pool";
    struct rx_target_text t;
    if (s->n_dynamics >= DYNAMIC_MAX || rx_addr_parse_target(address, &t, why) || !t.addr.len) {
        char shown[4 * ADDRESS_SHOWN + 1]; // it may be made of what a client said
        rx_log_escape((const uint8_t *)address, RX_MIN(strlen(address), (size_t)ADDRESS_SHOWN), shown, sizeof shown);
        rx_log_limited(RX_LOG_WARN, "script: to = \"%s\": %s", shown, why);
        return NULL;
    }
    size_t len = strlen(address) + 1;
    struct rx_script_dynamic *d = calloc(1, sizeof *d + len);
    if (!d)
        return NULL;
    memcpy(d->name, address, len);
    d->member = (struct rx_member){ .name = d->name, .addr = t.addr, .weight = 1 };
    d->pool = (struct rx_pool){
        .home = s->conf->home, .name = d->name, .is_anonymous = true, .members = &d->member, .n_members = 1,
        .policy_fn = -1, .live = &d->live
    };
    d->target = (struct rx_target){ .kind = RX_TO_POOL, .pool = &d->pool };
    struct rx_roster *roster = rx_roster_new(&d->pool, NULL);
    if (!roster) {
        free(d);
        return NULL;
    }
    atomic_store(&d->live.roster, roster);
    d->next = s->dynamics;
    s->dynamics = d;
    s->n_dynamics++;
    return &d->target;
}

void rx_script_dynamics_free(struct rx_script *s)
{
    while (s->dynamics) {
        struct rx_script_dynamic *d = s->dynamics;
        s->dynamics = d->next;
        rx_roster_unref(atomic_load(&d->live.roster));
        free(d);
    }
}

static const struct rx_target *action_target(struct rx_script *s, enum rx_target_kind kind, int at)
{
    size_t len = 0;
    const char *text = lua_tolstring(s->L, at, &len);
    free(s->text);
    s->text = NULL;
    if (kind == RX_TO_RESPOND && text && (s->text = malloc(len + 1)))
        memcpy(s->text, text, len);
    s->action = (struct rx_target){ .kind = kind, .text = s->text, .text_len = s->text ? (uint32_t)len : 0 };
    return &s->action;
}

// The target at stack places `at` (its kind) and behind; NULL: none.
static const struct rx_target *target_at(struct rx_script *s, int at)
{
    int kind = lua_type(s->L, at) == LUA_TNUMBER ? (int)lua_tointeger(s->L, at) : -1;
    if (kind == RX_TO_POOL && lua_type(s->L, at + 1) == LUA_TSTRING)
        return dynamic_target(s, lua_tostring(s->L, at + 1));
    if (kind == RX_TO_POOL && lua_type(s->L, at + 1) == LUA_TNUMBER) {
        uint32_t pool = (uint32_t)lua_tointeger(s->L, at + 1);
        return pool < s->conf->n_pools ? s->conf->pools[pool]->target : NULL;
    }
    return kind > RX_TO_POOL && kind < RX_TO_SCRIPT ? action_target(s, (enum rx_target_kind)kind, at + 1) : NULL;
}

const struct rx_target *rx_script_target(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c)
{
    if (!rx_script_call_about(s, fn, c, 2))
        return NULL;
    const struct rx_target *to = target_at(s, 1);
    lua_settop(s->L, 0);
    return to;
}

// Protocols are known to Lua by name: the numbers are those of the state that built the generation.
static const struct rx_known *known_named(const struct rx_conf *conf, const char *name)
{
    for (uint32_t i = 0; name && i < conf->n_known; i++)
        if (!strcmp(conf->known[i]->name, name))
            return conf->known[i];
    return NULL;
}

void rx_script_listen(struct rx_script *s, uint32_t fn, const uint8_t *p, uint32_t n, struct rx_said_of *out)
{
    *out = (struct rx_said_of){ .said = RX_SAID_NOTHING };
    if (!s)
        return;
    s->call.ptr = p;
    s->call.len = n;
    if (!rx_script_call(s, fn, 3))
        return;
    enum rx_said said = (enum rx_said)lua_tointeger(s->L, 1);
    if (said == RX_SAID_MORE) {
        out->said = said;
    } else if (said == RX_SAID_PROTOCOL) {
        out->said = said;
        out->known = known_named(s->conf, lua_tostring(s->L, 2));
        out->key = keep_key(s, 3);
    } else if (said == RX_SAID_TARGET && (out->to = target_at(s, 2))) {
        out->said = said;
    }
    lua_settop(s->L, 0);
}
