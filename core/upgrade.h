// SPDX-License-Identifier: MIT
// Upgrading without loss: the binary on disk is started beside this process, is given its listening sockets, and, once it
// is ready, its connections (docs/decisions/0015). Until that moment anything that fails leaves this process as it was.
// The engine thread's alone.
#pragma once

#include "build.h"
#include "status.h"

struct rx_admin;
struct rx_giving;
struct rx_http;

#define RX_UPGRADE_VARIABLE "REFRACTIUM_UPGRADE"
enum { RX_UPGRADE_HAND_MS = 5000 }; // nothing moves meanwhile

// Who wants to know what becomes of it, beside the log. Called on the engine thread.
struct rx_upgrade_ear {
    rx_report_fn *finding;
    void (*outcome)(void *data, bool is_done, const char *line);
    void *data;
};

struct rx_upgrade {
    struct ev_loop *loop; // borrowed, as all but the pipe: the engine's
    const struct rx_instance *about;
    struct rx_admin *admin;    // NULL: none
    struct rx_http *http;      // the same
    void (*leave)(void *data); // the new process serves: ours is to end when its last connection has; NULL: not yet
    void *data;
    struct rx_upgrade_ear ear; // all NULL: nobody

    int fd; // to the new process, -1: none; owned
    int pid;
    char who[64];
    ev_io io;
    ev_timer limit, again;
    uint32_t version;         // of handing over, that it knows
    struct rx_errands home;   // outlives what is given: a worker still wakes it afterwards
    struct rx_giving *giving; // owned: what workers are giving
    bool is_done, is_stopped;
};

void rx_upgrade_init(struct rx_upgrade *u, struct ev_loop *loop, const struct rx_instance *about);
// Why none can be begun now; NULL: it can.
const char *rx_upgrade_obstacle(const struct rx_upgrade *u);
// Starts one; the ear hears of it, unless there is an obstacle.
void rx_upgrade_request(struct rx_upgrade *u, const char *who);
// The program stops instead: the new one is ended, if there is one.
void rx_upgrade_stop(struct rx_upgrade *u);
// The workers have ended.
void rx_upgrade_fini(struct rx_upgrade *u);

// ---- upgrade_state.c ------------------------------------------------------------------------------------------------

struct rx_upgrade_msg;

// What was said for a while, bans and drained backends, to the new process; 0 or -errno. And there.
int rx_upgrade_give_state(struct rx_home *home, int fd, uint64_t until_ms);
int rx_upgrade_take_bans(int memory, uint64_t size);
void rx_upgrade_take_drained(struct rx_home *home, const struct rx_upgrade_msg *m);

// ---- upgrade_give.c -------------------------------------------------------------------------------------------------

struct rx_given {
    uint64_t n, n_refused; // connections handed over; those that the new one did not take
    unsigned n_kept;       // those that were not offered
    bool is_changed;       // the new process serves
};

// Sends all listening sockets; 0 or -errno.
int rx_upgrade_give_sockets(struct rx_upgrade *u, uint64_t until_ms);
// The workers stop, and are given (`with_flows`) or not; then they let go of what was taken and leave, or go on. 0 or
// -errno; `out` says whether the new process has it all the same.
int rx_upgrade_give_all(struct rx_upgrade *u, bool with_flows, struct rx_given *out);
void rx_giving_free(struct rx_giving *g);
