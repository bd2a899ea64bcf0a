// SPDX-License-Identifier: MIT
// Hooks: functions of the config that watch connections (on_open, on_data, on_close: on one thread of their own, on
// copies) or stand in the flow (filter: in the worker).
//
// A worker writes what happens to its connections into its line; the hook thread reads all lines. Nobody waits: bytes
// that do not fit are lost to the hooks and counted. The open and the close of an observed connection are never lost.
#pragma once

#include "conn.h"
#include "queue.h"

struct rx_hooker;
struct rx_decision;

enum rx_hook_kind {
    RX_HOOK_OPEN,
    RX_HOOK_DATA,  // the bytes follow the event
    RX_HOOK_PIPED, // the bytes are in the side pipe
    RX_HOOK_CLOSE,
};

struct rx_hook_event {
    struct rx_hooked *hooked;
    uint64_t bytes[2]; // moved so far, by direction
    uint64_t lost;     // of them, so far
    uint64_t now_ms;
    uint32_t len;
    uint16_t why; // enum rx_reason
    uint8_t kind, direction;
};

// What hooks know of one connection. The worker fills it before the first event; from then on each field has one owner.
struct rx_hooked {
    atomic_uint refs;             // the connection's, and the hook thread's while it is observed
    struct rx_conf *conf;         // ref
    const struct rx_hooks *set;   // borrowed from conf, as are the next five
    const struct rx_listen *listen;
    const struct rx_route *route; // NULL: none, or a fallback
    const struct rx_known *known; // NULL: not recognised
    const char *pool, *backend;   // NULL: none; the latter is the roster's
    struct rx_roster *roster;     // ref
    struct rx_proxied *proxied;   // ref; NULL: none
    uint64_t id, start_ms;
    union rx_ip client;
    uint16_t to_port;
    bool is_udp;
    char ja4[40];          // empty: none
    struct rx_facts facts; // of `known`; they point into text

    // the worker's
    bool is_observed, is_opened, is_open_late, is_close_late;
    uint64_t lost;
    int side_in[2]; // write ends of the side pipes; -1: none
    uint64_t side_written[2];
    struct rx_hooked *next; // in the line's list of late ones
    struct rx_hook_event last; // what a late close says

    // the hook thread's, once the first piped event was pushed
    int side_out[2];
    atomic_ulong side_read[2]; // of what was written

    uint8_t text[];
};

// One worker's way to the hook thread.
struct rx_hook_line {
    struct rx_queue queue;
    struct rx_hooker *hooker;         // borrowed: outlives the workers
    struct rx_worker *worker;         // borrowed; NULL until it is there
    struct rx_hooked *late, **late_end; // opens and closes that found the queue full
    unsigned n_late, n_sides;
    bool is_dirty;         // the reader has not been woken yet
    atomic_bool is_short;  // the reader wakes the worker when there is room again
};

// ---- in the worker; nothing here closes a connection ---------------------------------------------------------------

// The connection was decided: d, NULL when it ended before. 0, or -ENOMEM when a filter would be passed by.
int rx_hook_begin(struct rx_conn *c, const struct rx_decision *d, const uint8_t *head, uint32_t len);
// It has reached its backend, or the program itself answers.
void rx_hook_open(struct rx_conn *c);
void rx_hook_data(struct rx_conn *c, enum rx_direction dir, const uint8_t *bytes, size_t n);
// The direction may be spliced now: its side pipe is empty, or nobody wants the bytes.
bool rx_hook_may_splice(struct rx_conn *c, enum rx_direction dir);
// n bytes lie in the direction's pipe, and nothing else does.
void rx_hook_tee(struct rx_conn *c, enum rx_direction dir, size_t n);
// From rx_close. Also for connections that no hook was told of.
void rx_hook_close(struct rx_conn *c, enum rx_reason why);
// Before the worker sleeps.
void rx_hook_tidy(struct rx_hook_line *line);

enum rx_filter { RX_FILTER_PASS, RX_FILTER_REFUSED, RX_FILTER_FAILED };

// Bytes on their way through the filters: what came in, what goes on. `owned` is to be freed.
struct rx_filtered {
    const uint8_t *p;
    size_t n;
    uint8_t *owned;
};
enum rx_filter rx_hook_filter(struct rx_conn *c, enum rx_direction dir, struct rx_filtered *io);

void rx_hooked_unref(struct rx_hooked *h);

// ---- the calls (script_hook.c) ---------------------------------------------------------------------------------------

// p: on_data's bytes. With a NULL script hooks are not called, and filters have failed.
void rx_script_hook(struct rx_script *s, uint32_t fn, const struct rx_hook_event *e, const uint8_t *p, size_t n);
void rx_script_every(struct rx_script *s, uint32_t fn);
enum rx_filter rx_script_filter(struct rx_script *s, uint32_t fn, const struct rx_hook_event *e,
                                struct rx_filtered *io);

// ---- the hook thread (hook_thread.c) ---------------------------------------------------------------------------------

// NULL when memory ran out.
struct rx_hooker *rx_hooker_new(struct rx_home *home, unsigned n_lines);
// Gives a worker its line.
void rx_hooker_join(struct rx_hooker *h, struct rx_worker *w);
// The thread, when this generation is the first that needs it. 0 or negative errno.
int rx_hooker_start(struct rx_hooker *h, const struct rx_conf *conf);
// The generation whose rx.every runs from now on.
void rx_hooker_use(struct rx_hooker *h, struct rx_conf *conf);
void rx_hooker_wake(struct rx_hooker *h); // from any thread
// When the workers have ended: what they said is still heard, for a bounded time.
void rx_hooker_free(struct rx_hooker *h);
