// SPDX-License-Identifier: MIT
// Which generation is served, and how another one takes its place. The engine thread's alone.
#pragma once

#include <ev.h>

#include "args.h"
#include "build.h"
#include "conf.h"

struct rx_watch;
struct rx_worker;

// Who wants to know what becomes of reloads, beside the log. Called on the engine thread, and must not call back.
struct rx_reload_ear {
    rx_report_fn *finding;                                         // each finding of a reload being decided
    void (*outcome)(void *data, bool is_taken, const char *line); // then this, once
    void *data;
};

struct rx_reload {
    struct ev_loop *loop;       // borrowed: the engine's
    const struct rx_args *args; // borrowed: main's
    struct rx_worker *workers;  // borrowed: the engine's, as many as it has
    unsigned n_workers;

    struct rx_conf *conf;     // ref: what is served
    uint32_t n_bound;         // of its addresses, in their order, so many are bound
    struct rx_watch *watch;   // owned; NULL without a file, or with hot reload off
    atomic_uint n_taking;     // workers that have yet to take the last generation
    ev_timer again;           // a reload that had to wait for them
    const char *again_why;
    bool is_stopped;
    struct rx_reload_ear ear; // all NULL: nobody
};

// Takes over the caller's reference; loop, args and workers are set by the engine.
void rx_reload_init(struct rx_reload *r, struct rx_conf *conf);
// From now on edits are noticed. Called again when a config was taken.
void rx_reload_watch(struct rx_reload *r);
// Loads the config again and serves it if it is good; the ear hears of it, now or, when workers are still taking the
// last one, soon. `why` must stay readable.
void rx_reload_request(struct rx_reload *r, const char *why);
// No further reload: the program is stopping.
void rx_reload_stop(struct rx_reload *r);
void rx_reload_fini(struct rx_reload *r);
// A Lua state for each worker, where the config has functions; 0 or negative errno.
int rx_reload_spawn(struct rx_reload *r, struct rx_conf *conf);
