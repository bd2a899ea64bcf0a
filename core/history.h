// SPDX-License-Identifier: MIT
// What became of reloads: the last of them, for the log, `status` and the dashboard. The engine thread's alone.
#pragma once

#include "check.h"
#include "diff.h"

enum { RX_HISTORY_KEPT = 50, RX_HISTORY_FINDINGS = 20 };

enum rx_reload_result {
    RX_RELOAD_ACCEPTED,    // served by every worker
    RX_RELOAD_REFUSED,     // nothing was changed
    RX_RELOAD_TRIED,       // a canary: gets its share of new connections
    RX_RELOAD_PROMOTED,    // was a canary, is served by every worker
    RX_RELOAD_ROLLED_BACK, // was a canary that did worse
    RX_RELOAD_REPLACED,    // was a canary when a later edit came
};

struct rx_history_entry {
    uint64_t number; // from 1
    uint64_t at_ms;  // when it was asked for, since the epoch
    char *why, *who; // owned; "SIGHUP", "pid 12, uid 0"
    enum rx_reload_result result;
    char *note; // owned: why it was refused or rolled back; NULL
    struct rx_findings findings;
    struct rx_diff *changes; // owned; NULL when it did not load
    uint64_t took_us;        // until it was served, tried or refused
    uint64_t from, to;       // generations; to is 0 when it did not load
};

struct rx_history {
    struct rx_history_entry ring[RX_HISTORY_KEPT];
    uint64_t n; // so far, since the start
};

// A new entry, in place of the oldest when there are too many.
struct rx_history_entry *rx_history_add(struct rx_history *h, const char *why, const char *who);
// NULL when it was never there, or is no longer.
struct rx_history_entry *rx_history_find(struct rx_history *h, uint64_t number);
// No more findings than RX_HISTORY_FINDINGS.
void rx_history_cut(struct rx_history_entry *e);
void rx_history_settle(struct rx_history_entry *e, enum rx_reload_result result, const char *note);
const char *rx_reload_result_word(enum rx_reload_result result);
// A list, the latest first.
void rx_history_json(const struct rx_history *h, struct rx_json *j);
void rx_history_fini(struct rx_history *h);
