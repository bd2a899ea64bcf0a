// SPDX-License-Identifier: MIT
// What the builder's files share: the draft, and their helpers under short names. Nobody else includes this.
#pragma once

#include "build.h"
#include "cond.h"

// A listener while it is being built; its routes are moved into the conf at the end.
struct draft_route {
    struct rx_route r;
    int32_t listen;
    struct rx_target_spec to, fallback;
};

// A place a hook was put.
struct rx_hook_use {
    uint32_t scope; // enum rx_hook_scope
    int32_t owner;
    struct rx_hook *hook;
};

struct rx_build {
    struct rx_conf *conf; // owned until finish
    struct draft_route *routes;
    uint32_t n_routes;
    struct rx_target_spec server_fallback[2];
    struct rx_hook_use *hook_uses; // in the arena
    uint32_t n_hook_uses;
    rx_report_fn *report;
    void *report_data;
    unsigned n_errors;
    char error[RX_COND_ERROR];
};

#define fail rx_build_fail
#define no_memory rx_build_no_memory
#define keep rx_build_keep
#define as_string rx_build_string
#define fn_check rx_build_fn_check
#define known_at rx_build_known_at

// Words for door->error(); always -1.
int fail(struct rx_build *b, const char *fmt, ...) RX_PRINTF(2, 3);
int no_memory(struct rx_build *b);
// A copy that lives as long as the generation; NULL when out of memory.
char *keep(struct rx_build *b, struct rx_slice s);
// Slices are not NUL-terminated; the parsers want strings. NULL, with words, when it does not fit.
const char *as_string(struct rx_build *b, struct rx_slice s, char *buf, size_t size);
// *out: place in conf->fns of the function a spec names, -1 for none.
int fn_check(struct rx_build *b, int32_t fn, enum rx_fn_kind kind, int32_t *out);
struct rx_known *known_at(struct rx_build *b, int32_t id);

// build_pool.c
int rx_door_pool_new(struct rx_build *b, const struct rx_pool_spec *s);
int rx_door_pool_backend(struct rx_build *b, int32_t pool, const struct rx_backend_spec *s);
int rx_build_pool_finish(struct rx_build *b, struct rx_pool *p);

// build_health.c
int rx_door_pool_health(struct rx_build *b, int32_t pool, const struct rx_health_spec *s);
int rx_door_pool_source(struct rx_build *b, int32_t pool, struct rx_slice text);
int rx_door_pool_health_status(struct rx_build *b, int32_t pool, uint32_t low, uint32_t high);
int rx_door_pool_health_expect(struct rx_build *b, int32_t pool, struct rx_slice text);
int rx_build_health_finish(struct rx_build *b, struct rx_pool *p);

// build_state.c
int rx_door_metric_new(struct rx_build *b, const struct rx_metric_spec *s);
int rx_door_shared_new(struct rx_build *b, const struct rx_shared_spec *s);

// build_guard.c
int rx_door_sessions_new(struct rx_build *b, const struct rx_sessions_spec *s);
int rx_door_sessions_limit(struct rx_build *b, int32_t sessions, uint32_t max_ips, struct rx_slice identity);
int rx_door_sessions_exempt(struct rx_build *b, int32_t sessions, struct rx_slice network);
int rx_door_tail_new(struct rx_build *b, const struct rx_tail_spec *s);

// build_listen.c
int rx_door_listen_new(struct rx_build *b, const struct rx_listen_spec *s);
int rx_door_listen_bind(struct rx_build *b, int32_t listen, struct rx_slice addr);
int rx_door_listen_proxy(struct rx_build *b, int32_t listen, struct rx_slice from);
int rx_door_route_new(struct rx_build *b, int32_t listen, const struct rx_route_spec *s);
int rx_door_route_cond(struct rx_build *b, int32_t route, uint32_t cond, struct rx_slice value);
int rx_build_listen_finish(struct rx_build *b, uint32_t id);
int rx_build_server_rates(struct rx_build *b); // before the listeners are finished
struct rx_rate rx_build_rate(const struct rx_rate_spec *s);

// build_digest.c
uint64_t rx_build_digest_server(const struct rx_build *b, const struct rx_server_spec *s);
uint64_t rx_build_digest_proto(const struct rx_build *b, const struct rx_proto_spec *s);
uint64_t rx_build_digest_pool(const struct rx_build *b, const struct rx_pool_spec *s);
uint64_t rx_build_digest_listen(const struct rx_build *b, const struct rx_listen_spec *s);
uint64_t rx_build_digest_route(const struct rx_build *b, const struct rx_route_spec *s);
// With one more part of it: h is the digest so far.
uint64_t rx_build_digest_hook(const struct rx_build *b, const struct rx_hook_spec *s);
uint64_t rx_build_digest_backend(uint64_t h, const struct rx_backend_spec *s);
uint64_t rx_build_digest_bytes(uint64_t h, uint32_t kind, struct rx_slice bytes);
// build_hook.c
int rx_door_hook_new(struct rx_build *b, const struct rx_hook_spec *s);
int rx_door_hook_use(struct rx_build *b, const struct rx_hook_use_spec *s);
int rx_door_timer_new(struct rx_build *b, int32_t fn, uint32_t every_ms);
int rx_door_file_new(struct rx_build *b, const struct rx_file_spec *s);
// What a connection of a route meets; route -1: one that no route takes. NULL in *out: nothing.
int rx_build_hooks(struct rx_build *b, uint32_t listen, int32_t route, const struct rx_hooks **out);
