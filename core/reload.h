// SPDX-License-Identifier: MIT
// Which generation is served, and how another one takes its place. The engine thread's alone.
#pragma once

#include <ev.h>
#include <pthread.h>

#include "args.h"
#include "build.h"
#include "canary.h"
#include "conf.h"
#include "history.h"
#include "seen.h"

struct rx_health_watch;
struct rx_guard;
struct rx_sync;
struct rx_hooker;
struct rx_resolve;
struct rx_watch;
struct rx_worker;

// Who wants to know what becomes of reloads, beside the log. Called on the engine thread, and must not call back.
struct rx_reload_ear {
    rx_report_fn *finding;                                         // each finding of a reload being decided
    void (*outcome)(void *data, bool is_taken, const char *line); // then this, once
    void *data;
};

// What asked for a reload; cut to size.
struct rx_reload_cause {
    char why[64], who[256];
};

struct rx_reload {
    struct ev_loop *loop;       // borrowed: the engine's
    const struct rx_args *args; // borrowed: main's
    struct rx_worker *workers;  // borrowed: the engine's, as many as it has
    unsigned n_workers;
    struct rx_hooker *hooker;   // borrowed: the engine's, as the next two
    struct rx_guard *guard;
    struct rx_sync *sync;

    struct rx_resolve *names;   // borrowed: the engine's
    struct rx_health_watch *health;   // likewise

    struct rx_conf *conf;   // ref: what is served
    uint32_t n_bound;       // of its addresses, in their order, so many are bound
    struct rx_watch *watch; // owned; NULL without a file, or with hot reload off
    struct rx_seen seen;    // what is watched
    atomic_uint n_taking;   // workers that have yet to take the last generation
    struct rx_history history;

    struct rx_reload_job *job; // owned: a config being loaded, or loaded and waiting for the workers; NULL: none
    ev_async loaded;           // the job's thread has ended
    ev_timer again;            // looks whether the workers are ready
    struct rx_reload_cause next;
    bool is_next;              // asked for once more, while a job was on its way

    struct rx_trial {
        struct rx_conf *conf; // ref; NULL: none
        uint64_t number;      // of its entry in the history
        uint64_t since_ms;
        uint64_t errors[2];   // of functions, when it began: the running config's, its own
        ev_timer tick;
    } trial;

    _Atomic(struct rx_conf *) dead; // generations nobody holds any more, to be taken apart
    ev_async died;
    pthread_t burial;
    bool is_burying;       // its thread is to be joined
    atomic_bool is_buried; // and has nothing more to do
    bool is_stopped;
    struct rx_reload_ear ear; // all NULL: nobody
};

// Takes over the caller's reference; loop, args and workers are set by the engine before rx_reload_start.
void rx_reload_init(struct rx_reload *r, struct rx_conf *conf);
// Recording as the config served now wants it; 0 or -errno.
int rx_reload_record(struct rx_reload *r);
// From now on edits are noticed.
void rx_reload_start(struct rx_reload *r);
// Loads the config again, beside the loop, and serves or tries it if it is good; the ear hears of it. `who` is for
// the history: "pid 12, uid 0", the file that changed.
void rx_reload_request(struct rx_reload *r, const char *why, const char *who);
// No further reload: the program is stopping.
void rx_reload_stop(struct rx_reload *r);
// The workers have ended.
void rx_reload_fini(struct rx_reload *r);
// A Lua state for each worker, where the config has functions, and a thread for its hooks; 0 or negative.
int rx_reload_spawn(struct rx_reload *r, struct rx_conf *conf);

// What is served or tried has changed: names are looked up, and health is checked, for that.
void rx_reload_names(struct rx_reload *r);

// ---- for trial.c ----------------------------------------------------------------------------------------------------

// Every worker serves conf from now on, and r holds the caller's reference; -1 when an address cannot be had.
int rx_reload_serve(struct rx_reload *r, struct rx_conf *conf);

// trial.c: conf is tried, and r holds the caller's reference; -1: out of memory.
int rx_trial_begin(struct rx_reload *r, struct rx_conf *conf, uint64_t number);
// What the running generation and the one on trial have been counted so far.
void rx_trial_count(const struct rx_reload *r, struct rx_counts counts[2]);
// Another one has taken its place; the workers are told by that.
void rx_trial_forget(struct rx_reload *r, const char *why);
