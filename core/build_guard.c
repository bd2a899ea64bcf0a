// SPDX-License-Identifier: MIT
// Sessions and tailed logs of a config. Names are found in the process, or made there; a load that fails lets go of them.
#include "build_draft.h"

#include <errno.h>
#include <string.h>

#include "digest.h"
#include "sessions.h"
#include "sockdiag.h"
#include "sync.h"

enum { SESSIONS_MAX = 100, TAILS_MAX = 100, IDENTITIES_MAX = 100000000 };

static struct rx_sessions *sessions_at(struct rx_build *b, int32_t id)
{
    if (id >= 0 && (uint32_t)id < b->conf->n_sessions)
        return b->conf->sessions[id];
    fail(b, "no such sessions");
    return NULL;
}

// Of no listener, so of the server: what an edit changed.
static void digest(struct rx_build *b, const void *bytes, size_t n)
{
    b->conf->digest = rx_digest(b->conf->digest, bytes, n);
}

static int check_numbers(struct rx_build *b, const struct rx_sessions_spec *s)
{
    if (!s->max_ips || s->max_ips > RX_LEDGER_IPS_MAX)
        return fail(b, "max_ips is from 1 to %d", RX_LEDGER_IPS_MAX);
    if (!s->max_identities || s->max_identities > IDENTITIES_MAX || !s->ipv6_prefix || s->ipv6_prefix > 128)
        return fail(b, "max_identities or ipv6_prefix is out of range");
    if (!(s->window_ms >= 1 && s->window_ms < 1e12) || !(s->timeout_ms >= 1 && s->timeout_ms < 1e12))
        return fail(b, "window or timeout is out of range");
    return 0;
}

// They become part of commands: nothing but numbers, commas, blanks and ranges.
static int check_kernel(struct rx_build *b, const struct rx_sessions_spec *s)
{
    const uint32_t known = RX_KERNEL_NFTABLES | RX_KERNEL_KILL | RX_KERNEL_CONNTRACK;
    uint32_t n_ports = 1;
    if (!s->kernel)
        return 0;
#ifdef RX_WITHOUT_GUARD
    return fail(b, "enforce: this program was built without what reaches the kernel (WITH_GUARD=0)");
#endif
    if (s->kernel & ~known || !s->ports.len || !(s->transport & RX_BOTH))
        return fail(b, "what the kernel does needs ports and a transport");
    for (uint32_t i = 0; i < s->ports.len; i++) {
        if (!strchr("0123456789-, ", s->ports.ptr[i]) || !s->ports.ptr[i])
            return fail(b, "ports are numbers and ranges");
        n_ports += s->ports.ptr[i] == ',';
    }
    return n_ports > RX_PORTS_MAX ? fail(b, "more than %d ports and ranges", RX_PORTS_MAX) : 0;
}

int rx_door_sessions_new(struct rx_build *b, const struct rx_sessions_spec *s)
{
    struct rx_conf *c = b->conf;
    struct rx_sessions **list = rx_arena_grow(c->arena, c->sessions, c->n_sessions, sizeof *list);
    struct rx_sessions *one = rx_arena_get(c->arena, sizeof *one);
    char path[4096];
    if (!list || !one || !(one->name = keep(b, s->name)) || !(one->where = keep(b, s->where)))
        return no_memory(b);
    if (c->n_sessions >= SESSIONS_MAX)
        return fail(b, "more than %d rx.sessions", SESSIONS_MAX);
    if (!*one->name || strlen(one->name) != s->name.len)
        return fail(b, "sessions need a name");
    for (uint32_t i = 0; i < c->n_sessions; i++)
        if (!strcmp(c->sessions[i]->name, one->name))
            return fail(b, "is declared twice");
    if (check_numbers(b, s) || fn_check(b, s->by, RX_FN_BY, &one->by_fn) ||
        fn_check(b, s->limits, RX_FN_LIMITS, &one->limits_fn))
        return -1;
    if (s->block_log.len && !as_string(b, s->block_log, path, sizeof path))
        return -1;
    one->block_log = s->block_log.len ? keep(b, s->block_log) : NULL;
    one->max_ips = s->max_ips;
    one->ipv6_prefix = s->ipv6_prefix;
    one->enforce = (s->has_ban ? RX_ENFORCE_BAN : 0u) | (s->kernel ? RX_ENFORCE_KERNEL : 0u);
    if (check_kernel(b, s))
        return -1;
    one->kernel = (struct rx_kernel_rule){ .what = s->kernel, .ports = s->kernel ? keep(b, s->ports) : NULL,
                                           .is_tcp = s->transport & RX_TCP, .is_udp = s->transport & RX_UDP,
                                           .ipv6_prefix = s->ipv6_prefix };
    one->is_dry = s->is_dry;
    one->is_log_json = s->is_log_json;
    one->is_shared = s->is_shared && s->name.len <= RX_SYNC_NAME_MAX;
    one->rule = (struct rx_ledger_rule){ .max_identities = s->max_identities,
                                         .window_ms = (uint64_t)s->window_ms,
                                         .timeout_ms = (uint64_t)s->timeout_ms,
                                         .is_last_kept = s->is_last_kept,
                                         .tell_ms = one->is_shared ? (uint64_t)s->window_ms / 4 + 1 : 0 };
    if (!(one->live = rx_sessions_get(one->name, &one->rule)))
        return no_memory(b);
    struct rx_sessions_spec numbers = *s;
    numbers.name = numbers.where = numbers.block_log = numbers.ports = (struct rx_slice){ 0 };
    digest(b, &numbers, sizeof numbers);
    digest(b, s->name.ptr, s->name.len);
    digest(b, s->block_log.ptr, s->block_log.len);
    digest(b, s->ports.ptr, s->ports.len);
    c->sessions = list;
    list[c->n_sessions++] = one;
    return (int)c->n_sessions - 1;
}

int rx_door_sessions_limit(struct rx_build *b, int32_t id, uint32_t max_ips, struct rx_slice identity)
{
    struct rx_sessions *s = sessions_at(b, id);
    if (!s)
        return -1;
    if (!identity.len || identity.len > RX_LEDGER_ID_MAX || max_ips > RX_LEDGER_IPS_MAX)
        return fail(b, "an identity has 1 to %d bytes, and at most %d addresses", RX_LEDGER_ID_MAX, RX_LEDGER_IPS_MAX);
    digest(b, &max_ips, sizeof max_ips);
    digest(b, identity.ptr, identity.len);
    int rc = rx_sessions_own_add(s, b->conf->arena, identity.ptr, identity.len, max_ips);
    return rc == -EEXIST ? fail(b, "\"%.*s\" has two different limits", (int)identity.len, identity.ptr)
           : rc          ? no_memory(b)
                         : 0;
}

int rx_door_sessions_exempt(struct rx_build *b, int32_t id, struct rx_slice network)
{
    struct rx_sessions *s = sessions_at(b, id);
    char text[128], why[RX_ADDR_TEXT];
    struct rx_cidr one;
    if (!s || !as_string(b, network, text, sizeof text))
        return -1;
    if (rx_cidr_parse(text, &one, why))
        return fail(b, "%s", why);
    struct rx_cidr *list = rx_arena_grow(b->conf->arena, s->exempt, s->n_exempt, sizeof *list);
    if (!list)
        return no_memory(b);
    digest(b, network.ptr, network.len);
    s->exempt = list;
    list[s->n_exempt++] = one;
    return 0;
}

int rx_door_tail_new(struct rx_build *b, const struct rx_tail_spec *s)
{
    struct rx_conf *c = b->conf;
    struct rx_tail *list = rx_arena_grow(c->arena, c->tails, c->n_tails, sizeof *list);
    struct rx_tail one = { .path = keep(b, s->path), .where = keep(b, s->where), .kind = s->kind };
    char path[4096];
    if (!list || !one.path || !one.where)
        return no_memory(b);
    if (c->n_tails >= TAILS_MAX)
        return fail(b, "more than %d rx.tail", TAILS_MAX);
    if (!s->path.len || !as_string(b, s->path, path, sizeof path))
        return s->path.len ? -1 : fail(b, "a tail needs the path of a file");
    for (uint32_t i = 0; i < c->n_tails; i++)
        if (!strcmp(list[i].path, one.path))
            return fail(b, "is declared twice");
    if (!(one.sessions = sessions_at(b, s->sessions)) || fn_check(b, s->parse, RX_FN_PARSE, &one.parse_fn))
        return -1;
    if (one.kind > RX_TAIL_XRAY || (one.kind == RX_TAIL_SCRIPT) != (one.parse_fn >= 0))
        return fail(b, "a tail is read by rx.xray or by a function");
    digest(b, s->path.ptr, s->path.len);
    digest(b, &s->kind, sizeof s->kind);
    c->tails = list;
    list[c->n_tails++] = one;
    return (int)c->n_tails - 1;
}
