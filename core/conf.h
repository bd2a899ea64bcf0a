// SPDX-License-Identifier: MIT
// A generation: one loaded config, compiled. Immutable once published and counted: the engine, every worker
// and every connection that was routed by it hold a reference. Built only through core/build.c, be it from Lua
// (core/abi.h) or by an embedder.
#pragma once

#include <stdatomic.h>

#include "base.h"

#include "abi.h" // after base.h, which gives it the integer types
#include "addr.h"
#include "during.h"
#include "backend.h"
#include "proto.h"
#include "sockopt.h"
#include "rate.h"
#include "origin.h"

struct rx_matcher;
struct rx_home; // home.h
struct rx_metric; // metric.h
struct rx_store;  // store.h
struct rx_served;  // served.h
struct rx_sessions; // guard/sessions.h
struct rx_sync_url; // guard/sync_url.h
struct rx_regex; // regex.h
struct rx_names;
struct rx_roster; // roster.h

// A set of texts a condition accepts.
struct rx_texts {
    const char **text; // borrowed from the generation's strings; NUL-terminated
    uint32_t *len;
    uint32_t n;
    struct rx_regex **regex; // owned by the generation
    const char **regex_text; // as written, with the "~"
    uint32_t n_regex;
};

struct rx_port_range {
    uint16_t low, high;
};

// A protocol as routes refer to it: a built-in, a pseudo one, or one declared by prefix and patterns.
struct rx_known {
    const char *name;
    int32_t identify_fn; // function of the config, -1: none
    const struct rx_proto *def; // NULL for declared and pseudo ones
    bool is_any, is_silent;     // rx.any, rx.silent
    enum rx_transport transport;
    struct rx_texts prefix, pattern;
    const bool *first; // 256: whether identify_fn is asked about what begins so; NULL: always
    bool is_server_first; // its clients wait for a greeting: also takes the silent
    uint32_t within;
    uint64_t digest; // of the config's own, as are the other digests here: what an edit changed (diff.h)
    uint8_t pattern_first[4]; // the bytes patterns begin with, repeated to fill; used when there are no more than 4
    uint16_t n_pattern_first; // how many different ones; above 4 the table below tells
    const bool *pattern_table;
};

// A backend as written: an address, or a name that stands for some (roster.h).
struct rx_member {
    const char *name; // as written
    struct rx_addr addr; // len 0: it is a name
    const char *host;    // the name, or what follows "srv:"; NULL for an address
    uint16_t port;       // 0: SRV says
    bool is_srv, is_backup;
    uint32_t weight, max_connections; // 0: no limit
};

// The part of a pool that changes.
struct rx_pool_live {
    atomic_uint cursor; // whose turn it is
    atomic_uint source_turn; // the same of its source addresses
    _Atomic(struct rx_roster *) roster; // ref; written by the engine alone
};

struct rx_status_range {
    uint16_t low, high;
};

struct rx_health_rule {
    enum rx_check_kind kind;
    uint32_t every_ms, timeout_ms, rise, fall;
    uint16_t port; // 0: the backend's own
    bool is_verified;
    const char *sni, *host; // NULL: made from the backend
    const char *path, *method;
    const char *send;
    uint32_t send_len;
    struct rx_status_range *status;
    uint32_t n_status;
    struct rx_texts expect;
    int32_t expect_fn; // -1: none
};

struct rx_pool {
    struct rx_home *home; // borrowed: its generation's
    uint64_t digest;
    const char *name; // "web", or the list of addresses for an anonymous one
    bool is_anonymous;
    enum rx_balance balance;
    uint32_t tries; // most backends one connection tries; 0: each once
    uint32_t slow_start_ms;
    uint32_t ttl_min_ms, ttl_max_ms; // how long an answer to a name stands
    struct rx_eject_rule eject;
    struct rx_origins sources; // what to connect from; none: the system chooses
    uint32_t send_proxy;   // enum rx_send_proxy bits; 0: none
    uint32_t check_proxy;  // the same for checks of health
    struct rx_sockopt sockopt;
    struct rx_health_rule *health; // how health is checked; NULL: nobody does
    const char *check;             // the same as a key, of all that makes a difference
    struct rx_member *members;
    uint32_t n_members;
    int32_t policy_fn; // -1: none
    struct rx_pool_live *live;
    const struct rx_target *target; // this pool as a function of the config may choose it
};

struct rx_target {
    enum rx_target_kind kind;
    const struct rx_pool *pool; // RX_TO_POOL
    int32_t fn;                 // RX_TO_SCRIPT
    const char *text;           // RX_TO_RESPOND
    uint32_t text_len;
};

// A hook of the config: functions that watch, or filter, the connections of where it stands.
struct rx_hook {
    const char *name, *where;
    int32_t open_fn, data_fn, close_fn, filter_fn; // -1: none
    atomic_ulong lost_bytes, lost_conns;           // what it was not told because its thread could not keep up
    uint64_t digest;                               // of its name and functions (build_digest.c)
};

// The hooks that one connection meets, the server's first, then the listener's, then the route's.
struct rx_hooks {
    struct rx_hook **list; // never changed but for their counters
    uint32_t n;
    bool is_observed, has_data, has_filter;
};

struct rx_timer {
    int32_t fn;
    uint32_t every_ms;
};

// A file that hooks write.
struct rx_out_file {
    const char *path, *where;
    uint64_t max_bytes; // 0: no limit
};

struct rx_route {
    const char *name, *where;
    uint32_t index; // place in its listener
    uint64_t digest;
    const struct rx_known *proto;
    enum rx_transport transport; // what it is for, at most the protocol's
    struct rx_target to, fallback;
    struct rx_target mirror;       // a pool that gets a copy of what clients say; RX_TO_NONE: no
    const struct rx_hooks *hooks;  // NULL: none
    uint32_t send_proxy; // enum rx_send_proxy bits; 0: the pool's
    bool is_transparent; // backends are connected to from the client's address
    bool is_eager;       // a backend is connected to while the client may still speak
    int32_t when_fn; // -1: none
    enum rx_priority priority;
    uint32_t idle_ms, udp_idle_ms, connect_ms, max_connections;
    atomic_uint *active; // connections now, of all generations (live.h)
    uint64_t rate, rate_total; // bytes a second and direction: of each connection, of all; 0: no limit
    struct rx_meter *total;    // rate_total's, by direction; lives with `active`

    struct rx_served *served; // ref: what it has served; NULL where nothing is served
    const struct rx_sessions *sessions; // NULL: none

    bool is_scripted; // a function sees the connection: it is asked when every fact is known
    // conditions; is_plain when there is none, is_by_name when they are all on the name
    bool is_plain, is_by_name;
    uint8_t ech; // 0 either, 1 must, 2 must not
    uint32_t want;
    struct rx_texts name_cond; // sni, host or qname: exact and suffix ones are in the matcher's table
    struct rx_texts alpn, path, method, software, key;
    struct rx_cidr *from, *not_from;
    uint32_t n_from, n_not_from;
    struct rx_port_range *to_port;
    uint32_t n_to_port;
    uint16_t *qtype;
    uint32_t n_qtype;
    struct rx_span *during;
    uint32_t n_during;
};

struct rx_bind {
    struct rx_addr addr;
    struct rx_addr bound; // once it is: the port 0 stands for
    const char *text;     // as written
    bool is_udp;
    const char *passed; // name of the socket a service manager passed, its nth; NULL: it is opened here
    unsigned nth;
    const struct rx_door_opt *opt; // its listener's; NULL: none
    struct {
        uint64_t device, inode;
    } file; // of the socket file made for it, so that no other program's is ever removed
};

struct rx_listen {
    const char *where;
    const char *name; // its first address as written
    uint64_t digest;  // without its routes
    struct rx_bind *binds;
    uint32_t n_binds;
    struct rx_door_opt opt; // of its sockets
    uint32_t max_connections, max_connections_per_ip, ipv6_prefix, max_pending;
    uint32_t max_sessions, max_sessions_per_ip;
    uint32_t peek_ms, peek_bytes, connect_ms, idle_ms, udp_idle_ms;
    struct rx_target fallback_tcp, fallback_udp;
    int32_t accept_fn, identify_fn; // -1: none
    struct rx_cidr *proxy_from;     // who must send a PROXY header
    uint32_t n_proxy_from;
    bool has_proxy_unix; // so must clients of its unix sockets
    const struct rx_hooks *hooks; // of connections that no route took; NULL: none
    bool has_hooks;               // somewhere in it
    struct rx_route *routes;
    uint32_t n_routes;
    struct rx_matcher *tcp, *udp; // owned; NULL when no route is for that transport
    struct rx_gate *gate;          // ref: live counts, shared by workers and generations
    atomic_uint *active, *pending; // in the gate
    struct rx_limit *per_ip;       // in the gate; NULL without limit
    atomic_uint *sessions;         // UDP, in the gate
    struct rx_limit *sessions_per_ip; // the same
    struct rx_rate connection_rate, rate_per_ip; // of new connections
    struct rx_rates *rates;                      // in the gate; NULL without rate_per_ip
    bool has_during;                             // some route of it asks for the time
    bool has_eager;                              // some route of it is eager
    bool has_rates;                              // here or of the server
    uint8_t over_limit;                          // enum rx_target_kind: what becomes of whom a limit keeps out
    struct rx_served *served;        // ref: of who is on no route; NULL where nothing is served
};

struct rx_test {
    const char *name, *where;
    union rx_ip from;
    const struct rx_listen *listen;
    uint16_t to_port; // of the address it comes to
    enum rx_transport transport;
    bool is_silent, is_eof, expect_more;
    bool has_at;
    uint32_t week_minute; // when it comes, with has_at
    const char *protocol, *to, *route, *reason; // NULL: not asked
    struct rx_text *send;
    uint32_t n_send;
};

struct rx_sample {
    const struct rx_known *proto;
    bool yes;
    struct rx_text bytes;
};

// A function of the config that runs in the path. One that outruns its budget is quarantined for this generation.
enum { RX_FN_WRONG = 240 };
struct rx_fn {
    enum rx_fn_kind kind;
    const char *where;
    uint64_t digest; // of its text
    atomic_bool is_quarantined;
    atomic_bool is_fickle; // an identify whose verdict changed with more bytes, and that was told
    atomic_ulong errors;
    char wrong[RX_FN_WRONG]; // script.c's, under its lock: what it last failed with
    uint64_t wrong_ms;       // and when, since the epoch; 0: never
};

// A log that tells who is active from where.
struct rx_tail {
    const char *path, *where;
    enum rx_tail_kind kind;
    int32_t parse_fn; // -1: none
    const struct rx_sessions *sessions;
};

// A table scripts share, and the limits this generation gives it.
struct rx_shared {
    struct rx_store *store; // ref
    const char *name;
    uint32_t max_entries;
    uint64_t ttl_ms;
};

struct rx_source {
    const char *path, *text;
    size_t len;
};

struct rx_conf {
    struct rx_home *home; // borrowed: outlives every generation
    atomic_uint refs;
    uint64_t id;
    void (*reap)(struct rx_conf *c); // takes it apart where that disturbs nobody; NULL: whoever lets go last does
    void *reaper;                    // reap's
    struct rx_conf *next_dead;       // reap's
    const char *file; // NULL: from the command line alone

    uint32_t workers, max_connections, max_sessions, drain_ms, upgrade_ms;
    struct rx_rate connection_rate, rate_per_ip; // of all listeners together
    struct rx_gate *gate;                        // ref: where they are counted; NULL without
    struct rx_rates *rates;                      // in the gate; NULL without rate_per_ip
    uint8_t over_limit;                          // where a listener says nothing
    bool hot_reload, is_admin_off;
    uint32_t canary_share, canary_ms; // of 2^32; 0: no canary
    uint64_t digest;                  // of what is said of the server
    const char *metrics_at, *metrics_token; // NULL: none
    const char *metrics_host;               // "a.test,b.test", in lower case; NULL: none
    const char *admin; // path of the admin socket; NULL: after the first listener's port
    enum rx_access_log access_log;
    const char *access_log_file;
    uint32_t access_log_ppm;
    enum rx_log_to log;
    const char *log_file;
    const char *user, *group, *chroot; // NULL: none said
    enum rx_sandbox sandbox;
    const char *record_file; // NULL: nothing is recorded
    uint64_t record_max;
    uint32_t record_ppm, record_bytes;
    enum rx_log_format log_format;
    const struct rx_sync_url *store; // the Redis that sessions and bans are shared through; NULL: none
    const char *resolver; // DNS servers, "address:port,…"; NULL: the system's

    struct rx_known **known;
    uint32_t n_known;
    struct rx_pool **pools;
    uint32_t n_pools;
    struct rx_listen **listens;
    uint32_t n_listens;
    struct rx_test **tests;
    uint32_t n_tests;
    struct rx_sample *samples;
    uint32_t n_samples;

    struct rx_hook **hooks;
    uint32_t n_hooks;
    struct rx_timer *timers; // rx.every
    uint32_t n_timers;
    struct rx_out_file *files; // rx.file
    uint32_t n_files;

    struct rx_fn *fns;
    uint32_t n_fns;
    uint32_t script_budget_ms;
    struct rx_metric **metrics; // refs
    uint32_t n_metrics;
    struct rx_shared *shared;
    uint32_t n_shared;
    struct rx_sessions **sessions;
    uint32_t n_sessions;
    struct rx_tail *tails; // rx.tail
    uint32_t n_tails;
    struct rx_source *sources; // the texts it was made from: what each Lua state runs
    uint32_t n_sources;
    struct rx_script **scripts; // owned; [0] for who asks without a socket, then one a worker; NULL: no functions
    unsigned n_scripts;
    struct rx_script *hook_script; // owned: the hook thread's; NULL: no hooks
    struct rx_script *guard_script; // owned: the guard thread's; NULL: it calls no function

    struct rx_arena *arena; // owned: every string and array above
};

enum { RX_SCRIPT_OFFLINE = -1, RX_SCRIPT_HOOKS = -2, RX_SCRIPT_GUARD = -3 };

// The Lua state of worker number `i`, or the one for deciding without a socket, or the hook or guard thread's; NULL when none is
// needed.
struct rx_script *rx_conf_script(const struct rx_conf *c, int i);
void rx_conf_ref(struct rx_conf *c);
void rx_conf_unref(struct rx_conf *c);
void rx_conf_free(struct rx_conf *c); // for reap
// A new generation goes on where an old one (NULL: none) stands: pool cursors, per-address limits.
void rx_conf_inherit_cursors(struct rx_conf *c, const struct rx_conf *old); // the pools' alone: all that a trial gets
void rx_conf_inherit(struct rx_conf *c, const struct rx_conf *old);
void rx_route_fini(struct rx_route *r); // what is not in the arena
const char *rx_target_word(const struct rx_target *t); // "drop", "echo", …; a pool's name
