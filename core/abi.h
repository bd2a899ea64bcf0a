// SPDX-License-Identifier: MIT
// The door between C and Lua: declarations only, because two compilers read this text. The C compiler includes
// it after base.h; LuaJIT gets it as ffi.cdef input (the one directive it accepts is the pragma below).
//
// Lua validates a config against lua/refractium/schema.lua and then calls these builders; a C embedder calls
// the very same ones. Strings are borrowed for the call: the builder copies what it keeps. Every builder
// returns an id >= 0, or -1 after which error() tells why in words for the user. Door functions are leaves:
// they never call back into Lua and never raise.
#pragma once

enum { RX_ABI_VERSION = 2 };

struct rx_build; // a config being built; opaque to Lua

struct rx_slice {
    const char *ptr;
    uint32_t len;
};

// What a route does with a connection.
enum rx_target_kind {
    RX_TO_NONE = 0,     // nothing said: for a fallback, drop
    RX_TO_POOL = 1,     // connect to a backend of `pool`
    RX_TO_REFUSE = 2,   // reset
    RX_TO_DROP = 3,     // close without a word
    RX_TO_TARPIT = 4,   // hold it, reading slowly, never answering
    RX_TO_RESPOND = 5,  // send `text`, then close
    RX_TO_DESCRIBE = 6, // say what was recognised, in the client's own protocol, then close
    RX_TO_ECHO = 7,     // send back what comes
    RX_TO_SCRIPT = 8    // what function number `pool` says, per connection
};

struct rx_target_spec {
    uint32_t kind;        // enum rx_target_kind
    int32_t pool;         // RX_TO_POOL: id from pool_new; RX_TO_SCRIPT: id from fn_new
    struct rx_slice text; // RX_TO_RESPOND
};

enum rx_priority {
    RX_PRIORITY_BOTH = 0,      // adaptive: copy, and splice once a direction streams
    RX_PRIORITY_LATENCY = 1,   // copy only
    RX_PRIORITY_THROUGHPUT = 2 // splice from the first byte
};

enum rx_balance {
    RX_BALANCE_ROUND_ROBIN = 0,
    RX_BALANCE_LEAST_CONN = 1,
    RX_BALANCE_RANDOM = 2,
    RX_BALANCE_P2C = 3,
    RX_BALANCE_SOURCE_IP = 4,
    RX_BALANCE_SOURCE_SOCKET = 5,
    RX_BALANCE_MAGLEV = 6,
    RX_BALANCE_FIRST = 7
};

enum rx_access_log {
    RX_ACCESS_AUTO = 0, // on when standard output is a terminal
    RX_ACCESS_OFF = 1,
    RX_ACCESS_STDOUT = 2,
    RX_ACCESS_FILE = 3,
    RX_ACCESS_JOURNAL = 4,
    RX_ACCESS_SYSLOG = 5
};

enum rx_log_to {
    RX_LOG_TO_STDERR = 0,
    RX_LOG_TO_JOURNAL = 1,
    RX_LOG_TO_SYSLOG = 2,
    RX_LOG_TO_FILE = 3
};

enum rx_log_format {
    RX_LOG_AUTO = 0,
    RX_LOG_TEXT = 1,
    RX_LOG_JSON = 2
};

// "50/s" with a burst. count 0: no limit.
struct rx_rate_spec {
    uint32_t count, per_ms;
    uint32_t burst; // at once; 0: count
};

// What the process gives up before it serves (core/sandbox.h).
enum rx_sandbox {
    RX_SANDBOX_OFF = 0,
    RX_SANDBOX_ON = 1,
    RX_SANDBOX_STRICT = 2 // files are read only where it has some
};

struct rx_server_spec {
    uint32_t workers;         // 0: one per core
    uint32_t max_connections; // all listeners together
    uint32_t max_sessions;    // the same for UDP
    uint32_t drain_ms;        // how long SIGTERM lets connections finish
    uint32_t upgrade_ms;      // how long a new binary may take to be ready; 0: half a minute
    uint32_t hot_reload;      // 1: watch the file
    uint32_t canary_ppm;      // millionths of new connections a new config gets first, at most half; 0: no canary
    uint32_t canary_ms;       // for so long
    uint32_t script_budget_ms; // how long one call of a function of the config may take; 0: the default
    uint32_t access_log;      // enum rx_access_log
    struct rx_slice access_log_file;
    uint32_t access_log_ppm;  // of a million connections; 0: all
    uint32_t log;             // enum rx_log_to
    struct rx_slice log_file;
    struct rx_slice user;     // who the program becomes; empty: it stays who it is
    struct rx_slice group;    // empty: the user's
    struct rx_slice chroot;   // the root directory it takes; empty: it keeps it
    uint32_t sandbox;         // enum rx_sandbox
    struct rx_slice record_file; // empty: nothing is recorded
    double record_max;           // bytes the file may have
    uint32_t record_ppm;         // of a million decisions
    uint32_t record_bytes;       // first bytes kept of each
    uint32_t log_format; // enum rx_log_format
    struct rx_slice store;    // URL of a Redis; empty: nothing is shared with other nodes
    struct rx_slice resolver; // DNS servers, "127.0.0.1:5353,[::1]:53"; empty: the system's
    uint32_t is_admin_off;    // 1: no admin socket
    struct rx_slice metrics;  // address of the HTTP port for monitoring; empty: none
    struct rx_slice metrics_token; // what a reader of it must show; empty: nothing
    struct rx_slice metrics_host;  // names it may be asked under, "a.test,b.test"; empty: none
    struct rx_slice admin;    // its path; empty: after the first listener's port
    struct rx_rate_spec connection_rate; // new connections, all listeners together
    struct rx_rate_spec rate_per_ip;     // the same, of one client address
    uint32_t over_limit;      // enum rx_target_kind: refuse, drop or tarpit whom no limit lets in; 0: refuse
    struct rx_target_spec fallback_tcp;
    struct rx_target_spec fallback_udp;
};

struct rx_proto_spec {
    struct rx_slice name;
    uint32_t transport; // enum rx_transport: 1 tcp, 2 udp, 3 both
    uint32_t within;    // patterns are looked for in this many first bytes
    int32_t identify;   // id from fn_new; 0: none. With prefixes it is asked only when one of them is there.
    uint32_t is_server_first; // 1: its clients wait for a greeting, so it also takes the silent
};

// What a backend is told of the client first, in a PROXY header. Bits.
enum rx_send_proxy {
    RX_SEND_PROXY_V1 = 1,
    RX_SEND_PROXY_V2 = 2,
    RX_SEND_PROXY_ID = 4, // with RX_SEND_PROXY_V2: the connection's id
    RX_SEND_PROXY_CRC = 8 // with RX_SEND_PROXY_V2: a checksum
};

struct rx_pool_spec {
    struct rx_slice name; // empty: made for one route's `to`
    uint32_t balance;     // enum rx_balance
    uint32_t tries;       // backends tried per connection; 0: each once
    int32_t policy;       // id from fn_new; 0: none
    uint32_t slow_start_ms; // a backend that came (back) reaches its weight in this time; 0: at once
    uint32_t eject_after;   // failures in a row that eject a backend; 0: never
    uint32_t eject_ms;      // for how long the first time; 0: a second
    uint32_t ttl_min_ms, ttl_max_ms; // bounds on how long an answer to a name stands; 0: 5 s, 5 min
    uint32_t send_proxy;    // enum rx_send_proxy bits; 0: none
    uint32_t keepalive_ms;    // 0: no keepalive. Of sockets to backends, as are the next four
    uint32_t user_timeout_ms; // 0: the system's
    uint32_t mark;            // 0: none
    struct rx_slice congestion, interface; // empty: the system's
};

struct rx_backend_spec {
    struct rx_slice addr; // "10.0.0.1:80", "[::1]:80", "name:80", "unix:/path"
    uint32_t weight;      // >= 1
    uint32_t is_backup;   // 1: used only when no other is left
    uint32_t max_connections; // at one time; 0: no limit
};

enum rx_check_kind {
    RX_CHECK_TCP = 0,
    RX_CHECK_TLS = 1,
    RX_CHECK_HTTP = 2,
    RX_CHECK_HTTPS = 3,
    RX_CHECK_UDP = 4
};

// How the health of a pool's backends is checked.
struct rx_health_spec {
    uint32_t kind; // enum rx_check_kind
    uint32_t every_ms, timeout_ms;
    uint32_t rise, fall; // results in a row that change the state
    uint32_t port;       // 0: the backend's own
    uint32_t is_verified;   // TLS: 1: the certificate must be good for the name
    struct rx_slice sni;    // TLS: empty: the host, or the backend's name where it is one
    struct rx_slice host, path, method; // HTTP; empty: the backend, "/", "GET"
    struct rx_slice send;   // not HTTP
    int32_t expect;         // id from fn_new; 0: none
};

struct rx_listen_spec {
    struct rx_slice where; // "refractium.lua:31", for messages
    uint32_t max_connections;        // 0: only the server's
    uint32_t max_connections_per_ip; // 0: no limit
    uint32_t ipv6_prefix;            // bits that make one IPv6 client
    uint32_t peek_ms;
    uint32_t peek_bytes; // ceiling on first bytes kept
    uint32_t max_pending; // connections not yet identified; 0: no limit
    struct rx_rate_spec connection_rate; // new connections
    struct rx_rate_spec rate_per_ip;     // the same, of one client address
    uint32_t over_limit; // as the server's; 0: the server's
    uint32_t backlog;   // 0: as many as the system allows
    uint32_t fast_open; // how many may be on their way with data in their SYN; 0: none
    uint32_t keepalive_ms, user_timeout_ms, mark; // of accepted connections, as a pool's
    struct rx_slice congestion, interface;        // empty: the system's
    uint32_t max_sessions;        // UDP flows; 0: only the server's
    uint32_t max_sessions_per_ip; // the same of one client; 0: no limit
    uint32_t udp_idle_ms;
    uint32_t connect_ms;
    uint32_t idle_ms;
    struct rx_target_spec fallback_tcp; // RX_TO_NONE: the server's
    struct rx_target_spec fallback_udp;
    int32_t on_accept; // id from fn_new; 0: none
    int32_t identify;  // likewise: asked before the routes
};

// A number that scripts count with and that /metrics shows.
struct rx_metric_spec {
    struct rx_slice name, help;
    struct rx_slice labels; // names, with commas between them
    uint32_t is_gauge;
};

// A table that all workers share.
struct rx_shared_spec {
    struct rx_slice name;
    uint32_t max_entries;
    double ttl_ms; // 0: entries have no end
};

// How many addresses an identity may use at once.
struct rx_sessions_spec {
    struct rx_slice name;
    struct rx_slice where;
    int32_t by;     // id from fn_new: who a connection is; 0: none, only what is tailed counts
    int32_t limits; // id from fn_new; 0: none
    uint32_t max_ips;
    uint32_t max_identities;
    uint32_t ipv6_prefix; // bits that make one IPv6 address of a client
    double window_ms, timeout_ms;
    uint32_t is_last_kept; // 1: a newcomer takes the place of who came first
    uint32_t kernel; // what the kernel does to who sends to these ports: 1 drop, 2 close connections, 4 forget flows
    struct rx_slice ports; // as nft reads them: "443, 8000-8099"
    uint32_t transport;    // of those: enum rx_transport
    uint32_t has_ban;      // 1: who is put out is banned for timeout_ms
    uint32_t is_dry;       // 1: nobody is put out, only counted and logged
    struct rx_slice block_log; // empty: none
    uint32_t is_log_json;
    uint32_t is_shared; // 1: by the server's store
};

enum rx_tail_kind {
    RX_TAIL_SCRIPT = 0, // its function reads the lines
    RX_TAIL_XRAY = 1
};

// A log that tells who is active from where.
struct rx_tail_spec {
    struct rx_slice path;
    struct rx_slice where;
    uint32_t kind;    // enum rx_tail_kind
    int32_t parse;    // RX_TAIL_SCRIPT: id from fn_new
    int32_t sessions; // id from sessions_new
};

// Conditions a route may carry; several values of one kind mean "any of them".
enum rx_cond {
    RX_COND_SNI = 0,      // "name", "*.suffix" (any depth), "~regex"
    RX_COND_HOST = 1,     // the same
    RX_COND_QNAME = 2,    // the same
    RX_COND_ALPN = 3,     // exact
    RX_COND_PATH = 4,     // prefix, or "~regex"
    RX_COND_METHOD = 5,   // exact
    RX_COND_SOFTWARE = 6, // prefix without regard to case, or "~regex"
    RX_COND_FROM = 7,     // address or CIDR
    RX_COND_NOT_FROM = 8, // address or CIDR
    RX_COND_TO_PORT = 9,  // "443" or "8000-8099"
    RX_COND_QTYPE = 10,   // "AAAA", "TYPE65" or a number
    RX_COND_KEY = 11,     // exact
    RX_COND_DURING = 12   // "Mon-Fri 08:00-18:00"
};

struct rx_route_spec {
    struct rx_slice where;    // "refractium.lua:34"
    struct rx_slice name;     // as logs and metrics show it; empty: made from protocol and conditions
    int32_t proto;            // id from proto_new or proto_builtin
    uint32_t transport;       // 0: the protocol's own; else enum rx_transport, to narrow it
    uint32_t priority;        // enum rx_priority
    uint32_t ech;             // 0: either, 1: must offer ECH, 2: must not
    uint32_t idle_ms;         // 0: the listener's
    uint32_t connect_ms;      // 0: the listener's
    uint32_t max_connections; // 0: no limit
    double rate;              // bytes a second in each direction, of each connection; 0: no limit
    double rate_total;        // the same, of all its connections together
    int32_t when;             // id from fn_new; 0: none
    struct rx_target_spec to;
    struct rx_target_spec fallback; // when the pool has no backend left; RX_TO_NONE: refuse
    struct rx_target_spec mirror;   // a pool that gets a copy of what clients say; RX_TO_NONE: no
    uint32_t send_proxy;            // enum rx_send_proxy bits; 0: the pool's
    uint32_t sessions;              // the number sessions_new gave, plus 1; 0: none
    uint32_t is_transparent;        // 1: connect to backends from the client's address
    uint32_t is_eager;              // 1: a backend is connected to while the client may still speak
};

struct rx_hook_spec {
    struct rx_slice name;
    struct rx_slice where;
    int32_t on_open, on_data, on_close, filter; // ids from fn_new; 0: none
};

enum rx_hook_scope {
    RX_HOOK_ON_SERVER = 0,
    RX_HOOK_ON_LISTEN = 1,
    RX_HOOK_ON_ROUTE = 2
};

struct rx_hook_use_spec {
    uint32_t scope; // enum rx_hook_scope
    int32_t owner;  // id from listen_new or route_new
    int32_t hook;   // id from hook_new
};

struct rx_file_spec {
    struct rx_slice path;
    struct rx_slice where;
    uint64_t max_bytes; // it grows no further; 0: no limit
};

struct rx_test_spec {
    struct rx_slice name;
    struct rx_slice where;
    struct rx_slice from;     // client address, "192.0.2.1" or with ":port"; empty: 192.0.2.1
    struct rx_slice at;       // "2026-01-05 09:00", for `during`; empty: now
    struct rx_slice listener; // which listener, by one of its addresses; empty: the first
    uint32_t transport;       // 1 tcp, 2 udp
    uint32_t is_silent;       // 1: says nothing until peek_timeout (after `send`, if any)
    uint32_t is_eof;          // 1: then half-closes
    // expectations; empty or 0: not asked
    struct rx_slice protocol;
    struct rx_slice to;     // "drop", "refuse", "respond", "echo", "tarpit", "describe", an address, or a pool's name
    struct rx_slice route;  // the route's name
    struct rx_slice reason; // why it was turned away: "no_route", "tls_invalid", ... (core/reason.h)
    uint32_t expect_more;   // 1: still waiting for bytes
};

enum rx_report {
    RX_REPORT_ERROR = 0,
    RX_REPORT_WARNING = 1
};

enum rx_addr_kind {
    RX_ADDR_LISTEN = 0, // "A.B.C.D:P", "[::]:P", "*:P", "unix:/path"; P may be a range
    RX_ADDR_TARGET = 1, // "host:port", "unix:/path"
    RX_ADDR_CIDR = 2    // "10.0.0.0/8", "2001:db8::1"
};

// ---- functions of the config that run in the path ----------------------------------------------------------------
//
// Each worker has a Lua state of its own, in which the config's text has run again, with builders that do nothing.
// Functions are known by the number fn_new gave, which is the order of declaration (from 1) and so the same in every
// state.
// A call: C fills struct rx_call and calls the function's wrapper (lua/refractium/dispatch.lua) without arguments;
// the wrapper's results are the answer.

enum rx_fn_kind {
    RX_FN_IDENTIFY = 0, // () → verdict (enum rx_verdict) [, key string]
    RX_FN_WHEN = 1,     // () → boolean
    RX_FN_TO = 2,       // () → enum rx_target_kind [, pool id | address string | text]; nil: the route is skipped
    RX_FN_POLICY = 3,   // () → backend number from 0, or nil
    RX_FN_ACCEPT = 4,   // () → true: go on, false: refuse
    RX_FN_LISTEN = 5,   // () → enum rx_said; behind RX_SAID_PROTOCOL its name [, key string], behind RX_SAID_TARGET as TO
    RX_FN_OPEN = 6,     // () → nothing, as the next two
    RX_FN_DATA = 7,
    RX_FN_CLOSE = 8,
    RX_FN_FILTER = 9,   // () → nil: pass, false: refuse, or the string to pass instead
    RX_FN_EVERY = 10,   // () → nothing
    RX_FN_EXPECT = 11,  // () → enum rx_verdict [, why it is bad]
    RX_FN_BY = 12,      // () → identity string, or nil
    RX_FN_LIMITS = 13,  // () → number or nil; the identity is the call's bytes, as for the next the line
    RX_FN_PARSE = 14    // () → nil | identity, address [, "udp"]
};

// What a listener's `identify` says of a connection.
enum rx_said {
    RX_SAID_NOTHING = 0, // the routes decide
    RX_SAID_MORE = 1,
    RX_SAID_PROTOCOL = 2,
    RX_SAID_TARGET = 3
};

enum rx_shared_kind {
    RX_SHARED_NONE = 0, // no such entry
    RX_SHARED_TEXT = 1,
    RX_SHARED_NUMBER = 2,
    RX_SHARED_TRUE = 3,
    RX_SHARED_FALSE = 4
};

// What a call is about. One per Lua state, at a fixed address; valid only during a call.
struct rx_call {
    const uint8_t *ptr; // first bytes
    uint32_t len;
    uint32_t is_open;       // 1 during a call: buf and conn are errors outside
    const void *conn;       // for rx_view_door; NULL when this call has none
    const void *pool;       // RX_FN_POLICY: its roster
    uint64_t until_ns;      // the script budget ends here
    struct rx_slice text;   // where conn_text puts its answer
    uint32_t spans[20];     // where re_find puts its
    double number;          // where functions of rx_state_door put theirs
    uint32_t direction;     // RX_FN_DATA, RX_FN_FILTER: 0 to the server, 1 to the client
    uint32_t serial;        // of the calls of hooks: a conn kept from one is none in the next
};

// What scripts keep beyond a call: metrics and shared tables by the numbers metric_new and shared_new gave, and bans.
// Where no connection is served (tests, explain, warming up) metrics and bans are left alone and tables are the
// state's own. Durations in ms; 0: the table's. All return 0 or more, or -1.
struct rx_state_door {
    uint32_t size;
    // Appends one label value to those of the next metric_add or metric_set.
    void (*metric_label)(struct rx_call *call, const char *value, uint32_t len);
    int (*metric_add)(struct rx_call *call, int32_t metric, double by);
    int (*metric_set)(struct rx_call *call, int32_t metric, double value);
    // Returns enum rx_shared_kind; the value is in call->text or call->number.
    int (*shared_get)(struct rx_call *call, int32_t shared, const char *key, uint32_t len);
    // The value to set next.
    void (*shared_value)(struct rx_call *call, uint32_t kind, double number, const char *text, uint32_t len);
    // 1: set; 0: only_new and it is there. -1: out of memory.
    int (*shared_set)(struct rx_call *call, int32_t shared, const char *key, uint32_t len, double ttl_ms,
                      uint32_t only_new);
    // call->number: the sum. -1: it is no number; -2: out of memory.
    int (*shared_incr)(struct rx_call *call, int32_t shared, const char *key, uint32_t len, double by, double ttl_ms);
    int (*shared_delete)(struct rx_call *call, int32_t shared, const char *key, uint32_t len); // 1: it was there
    // 1; 0: no room is left. -1: no address or block.
    int (*ban)(struct rx_call *call, const char *whom, uint32_t len, double ttl_ms);
    int (*unban)(struct rx_call *call, const char *whom, uint32_t len); // 1: it was banned
};

enum rx_conn_text {
    RX_CONN_CLIENT_IP = 0,
    RX_CONN_LISTENER = 1,
    RX_CONN_TRANSPORT = 2,
    RX_CONN_PROTOCOL = 3,
    RX_CONN_SNI = 4,
    RX_CONN_ALPN = 5, // raw: (length byte, name)*
    RX_CONN_HOST = 6,
    RX_CONN_PATH = 7,
    RX_CONN_METHOD = 8,
    RX_CONN_SOFTWARE = 9,
    RX_CONN_QNAME = 10,
    RX_CONN_KEY = 11,
    RX_CONN_ROUTE = 12,
    RX_CONN_USER = 13,
    RX_CONN_POOL = 14,
    RX_CONN_BACKEND = 15,
    RX_CONN_JA4 = 16,
    RX_CONN_WHY = 17, // RX_FN_CLOSE
    RX_CONN_VIA = 18, // the proxy that sent a PROXY header
    // plus a type: the value of the header's TLV of that type, and of one within its SSL TLV
    RX_CONN_TLV = 0x100,
    RX_CONN_TLV_SSL = 0x200
};

enum rx_conn_number {
    RX_CONN_ID = 0,
    RX_CONN_CLIENT_PORT = 1,
    RX_CONN_TO_PORT = 2,
    RX_CONN_QTYPE = 3,
    RX_CONN_ECH = 4, // -1 unknown, 0, 1
    // in hooks
    RX_CONN_BYTES_IN = 5,
    RX_CONN_BYTES_OUT = 6,
    RX_CONN_AGE = 7,  // seconds since it came
    RX_CONN_LOST = 8, // bytes on_data was not shown
    RX_CONN_PROXY = 10, // version of the PROXY header
    RX_CONN_TIME = 9  // seconds since 1970 when what the call is about happened
};

// What running scripts may ask of C. Leaves, like the door.
struct rx_view_door {
    uint32_t version, size;
    struct rx_call *call;
    // 1 and call->text, or 0 when the connection has no such fact.
    int (*conn_text)(struct rx_call *call, uint32_t what);
    double (*conn_number)(struct rx_call *call, uint32_t what); // -1: unknown
    uint32_t (*pool_size)(struct rx_call *call);
    int (*backend_name)(struct rx_call *call, uint32_t i); // like conn_text
    uint32_t (*backend_active)(struct rx_call *call, uint32_t i);
    uint64_t (*now_ns)(void);
    // 0 error … 3 debug; rate-limited. No structs by value from here on: the VM does not compile such calls.
    void (*log)(uint32_t level, const char *text, uint32_t len);
    // A compiled regular expression: its number, or -1 and why in call->text. They live as long as the Lua state.
    int (*re_new)(struct rx_call *call, const char *pattern, uint32_t len);
    // Its first match at or after `from` in `text` (NULL: in the call's bytes): how many spans call->spans holds, begin and
    // end of each, UINT32_MAX for a group that took no part; 0: none; -1: a limit ended it.
    int (*re_find)(struct rx_call *call, uint32_t re, const char *text, uint32_t len, uint32_t from);
    const struct rx_state_door *state;
    // Appends to file number i: 0, 1 when it is full, -1 where files cannot be written (only hooks write them).
    int (*file_write)(struct rx_call *call, uint32_t i, const char *text, uint32_t len);
    double (*file_size)(struct rx_call *call, uint32_t i); // bytes; -1 as above
    double (*spent_s)(void); // CPU time of this thread
};

struct rx_door {
    uint32_t version; // RX_ABI_VERSION
    uint32_t size;    // sizeof(struct rx_door)

    // Words for the last -1. Borrowed until the next call on `b`.
    const char *(*error)(struct rx_build *b);
    // Hand one finding to the user; `text` is the whole line. Any error makes the load fail.
    void (*report)(struct rx_build *b, uint32_t severity, struct rx_slice text);
    // 0 when `text` reads as an address of that kind (enum rx_addr_kind), else -1.
    int (*addr_check)(struct rx_build *b, uint32_t kind, struct rx_slice text);
    // 0 when PCRE2 compiles it, else -1.
    int (*regex_check)(struct rx_build *b, struct rx_slice pattern);
    // 0 when it is the URL of a store, else -1; the words show nothing of it.
    int (*store_check)(struct rx_build *b, struct rx_slice url);
    // Name of built-in protocol number i, NULL past the end; aliases follow their protocol as "alias=name".
    const char *(*builtin_name)(uint32_t i);

    int (*server_set)(struct rx_build *b, const struct rx_server_spec *spec);

    // The next function number, from 1. `where` is "file:line" of the function, for messages.
    int (*fn_new)(struct rx_build *b, uint32_t kind, struct rx_slice where);
    // Its text, by which a reload tells whether an edit changed it. May be left out.
    int (*fn_text)(struct rx_build *b, int32_t fn, struct rx_slice text);

    int (*metric_new)(struct rx_build *b, const struct rx_metric_spec *spec);
    int (*shared_new)(struct rx_build *b, const struct rx_shared_spec *spec);

    int (*proto_builtin)(struct rx_build *b, struct rx_slice name); // also "any" and "silent"
    int (*proto_new)(struct rx_build *b, const struct rx_proto_spec *spec);
    int (*proto_prefix)(struct rx_build *b, int32_t proto, struct rx_slice bytes);
    int (*proto_pattern)(struct rx_build *b, int32_t proto, struct rx_slice bytes);
    // Bytes low to high are among those its function is asked about when a client begins with one; without: all.
    int (*proto_first)(struct rx_build *b, int32_t proto, uint32_t low, uint32_t high);
    // A sample that must (yes = 1) or must not be this protocol; run with the config's tests.
    int (*proto_sample)(struct rx_build *b, int32_t proto, uint32_t yes, struct rx_slice bytes);

    int (*pool_new)(struct rx_build *b, const struct rx_pool_spec *spec);
    int (*pool_backend)(struct rx_build *b, int32_t pool, const struct rx_backend_spec *spec);
    // What to connect from: "10.0.0.1", "10.0.0.1-10.0.0.9", "10.0.0.0/28". Several times: all of them; never: the system
    // chooses.
    int (*pool_source)(struct rx_build *b, int32_t pool, struct rx_slice text);
    // Once; then what an answer may be: statuses (none: 200 to 399), and texts or "~regex", any of which will do.
    int (*pool_health)(struct rx_build *b, int32_t pool, const struct rx_health_spec *spec);
    int (*pool_health_status)(struct rx_build *b, int32_t pool, uint32_t low, uint32_t high);
    int (*pool_health_expect)(struct rx_build *b, int32_t pool, struct rx_slice text);

    int (*listen_new)(struct rx_build *b, const struct rx_listen_spec *spec);
    int (*listen_bind)(struct rx_build *b, int32_t listen, struct rx_slice addr);
    // Who must send a PROXY header: an address, a block, or "unix" for clients of unix sockets.
    int (*listen_proxy)(struct rx_build *b, int32_t listen, struct rx_slice from);

    int (*route_new)(struct rx_build *b, int32_t listen, const struct rx_route_spec *spec);
    int (*route_cond)(struct rx_build *b, int32_t route, uint32_t cond, struct rx_slice value);

    int (*hook_new)(struct rx_build *b, const struct rx_hook_spec *spec);
    int (*hook_use)(struct rx_build *b, const struct rx_hook_use_spec *spec);
    int (*timer_new)(struct rx_build *b, int32_t fn, uint32_t every_ms);
    int (*file_new)(struct rx_build *b, const struct rx_file_spec *spec);

    int (*sessions_new)(struct rx_build *b, const struct rx_sessions_spec *spec);
    // An identity with a limit of its own; 0: it has none.
    int (*sessions_limit)(struct rx_build *b, int32_t sessions, uint32_t max_ips, struct rx_slice identity);
    int (*sessions_exempt)(struct rx_build *b, int32_t sessions, struct rx_slice network);
    int (*tail_new)(struct rx_build *b, const struct rx_tail_spec *spec);

    int (*test_new)(struct rx_build *b, const struct rx_test_spec *spec);
    int (*test_send)(struct rx_build *b, int32_t test, struct rx_slice bytes); // one segment
};
