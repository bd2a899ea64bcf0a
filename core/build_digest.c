// SPDX-License-Identifier: MIT
// Enters: specs, as the door gets them. Leaves: a digest of each thing in a config, by which a reload tells what an
// edit changed (diff.c). What a number in a spec stands for goes in, never the number, which other edits shift; where
// a thing stands and what it is called stay out. The rest of a spec is digested as it lies in memory, so that a new
// option needs no line here unless it is a text or a number of something.
#include <string.h>

#include "build_draft.h"
#include "digest.h"

static uint64_t add_text(uint64_t h, struct rx_slice s)
{
    return rx_digest(rx_digest(h, &s.len, sizeof s.len), s.ptr ? s.ptr : "", s.len);
}

static uint64_t add_fn(uint64_t h, const struct rx_build *b, int32_t fn)
{
    bool is_known = fn > 0 && (uint32_t)fn <= b->conf->n_fns;
    return is_known ? rx_digest(h, &b->conf->fns[fn - 1].digest, sizeof(uint64_t)) : rx_digest(h, "-", 1);
}

static uint64_t add_target(uint64_t h, const struct rx_build *b, const struct rx_target_spec *t)
{
    h = add_text(rx_digest(h, &t->kind, sizeof t->kind), t->text);
    if (t->kind == RX_TO_SCRIPT)
        return add_fn(h, b, t->pool);
    if (t->kind != RX_TO_POOL || t->pool < 0 || (uint32_t)t->pool >= b->conf->n_pools)
        return h;
    const struct rx_pool *p = b->conf->pools[t->pool];
    return p->is_anonymous ? rx_digest(h, &p->digest, sizeof p->digest) : rx_digest(h, p->name, strlen(p->name));
}

#define CLEAR(field) memset(&(field), 0, sizeof(field))

uint64_t rx_build_digest_server(const struct rx_build *b, const struct rx_server_spec *spec)
{
    struct rx_server_spec s = *spec;
    uint64_t h = add_target(add_target(RX_DIGEST_START, b, &s.fallback_tcp), b, &s.fallback_udp);
    h = add_text(add_text(add_text(add_text(h, s.access_log_file), s.admin), s.metrics), s.metrics_token);
    h = add_text(add_text(add_text(h, s.record_file), s.resolver), s.metrics_host);
    CLEAR(s.record_file), CLEAR(s.resolver), CLEAR(s.metrics_host);
    CLEAR(s.access_log_file), CLEAR(s.admin), CLEAR(s.metrics), CLEAR(s.metrics_token);
    CLEAR(s.fallback_tcp), CLEAR(s.fallback_udp), CLEAR(s.max_connections), CLEAR(s.max_sessions);
    h = add_text(add_text(add_text(h, s.log_file), s.user), s.group);
    h = add_text(add_text(h, s.store), s.chroot);
    CLEAR(s.log_file), CLEAR(s.user), CLEAR(s.group), CLEAR(s.store), CLEAR(s.chroot);
    return rx_digest(h, &s, sizeof s);
}

uint64_t rx_build_digest_proto(const struct rx_build *b, const struct rx_proto_spec *spec)
{
    struct rx_proto_spec s = *spec;
    uint64_t h = add_fn(RX_DIGEST_START, b, s.identify);
    CLEAR(s.name), CLEAR(s.identify);
    return rx_digest(h, &s, sizeof s);
}

uint64_t rx_build_digest_bytes(uint64_t h, uint32_t kind, struct rx_slice bytes)
{
    return add_text(rx_digest(h, &kind, sizeof kind), bytes);
}

uint64_t rx_build_digest_pool(const struct rx_build *b, const struct rx_pool_spec *spec)
{
    struct rx_pool_spec s = *spec;
    uint64_t h = add_fn(RX_DIGEST_START, b, s.policy);
    h = add_text(add_text(h, s.congestion), s.interface);
    CLEAR(s.congestion), CLEAR(s.interface);
    CLEAR(s.name), CLEAR(s.policy);
    return rx_digest(h, &s, sizeof s);
}

uint64_t rx_build_digest_hook(const struct rx_build *b, const struct rx_hook_spec *s)
{
    uint64_t h = add_fn(add_fn(add_text(RX_DIGEST_START, s->name), b, s->on_open), b, s->on_data);
    return add_fn(add_fn(h, b, s->on_close), b, s->filter);
}

uint64_t rx_build_digest_backend(uint64_t h, const struct rx_backend_spec *spec)
{
    struct rx_backend_spec s = *spec;
    h = add_text(h, s.addr);
    CLEAR(s.addr);
    return rx_digest(h, &s, sizeof s);
}

uint64_t rx_build_digest_listen(const struct rx_build *b, const struct rx_listen_spec *spec)
{
    struct rx_listen_spec s = *spec;
    uint64_t h = add_target(add_target(RX_DIGEST_START, b, &s.fallback_tcp), b, &s.fallback_udp);
    h = add_fn(add_fn(h, b, s.on_accept), b, s.identify);
    h = add_text(add_text(h, s.congestion), s.interface);
    CLEAR(s.congestion), CLEAR(s.interface);
    CLEAR(s.where), CLEAR(s.fallback_tcp), CLEAR(s.fallback_udp), CLEAR(s.on_accept), CLEAR(s.identify);
    CLEAR(s.max_sessions), CLEAR(s.max_sessions_per_ip);
    CLEAR(s.max_connections), CLEAR(s.max_connections_per_ip), CLEAR(s.max_pending); // told as limits
    return rx_digest(h, &s, sizeof s);
}

uint64_t rx_build_digest_route(const struct rx_build *b, const struct rx_route_spec *spec)
{
    struct rx_route_spec s = *spec;
    const struct rx_known *proto = b->conf->known[s.proto];
    uint64_t h = add_target(add_target(RX_DIGEST_START, b, &s.to), b, &s.fallback);
    h = add_target(h, b, &s.mirror);
    h = add_fn(rx_digest(h, proto->name, strlen(proto->name)), b, s.when);
    CLEAR(s.where), CLEAR(s.name), CLEAR(s.proto), CLEAR(s.when), CLEAR(s.to), CLEAR(s.fallback);
    CLEAR(s.mirror), CLEAR(s.max_connections);
    return rx_digest(h, &s, sizeof s);
}
