// SPDX-License-Identifier: MIT
// What an edit changed, by name.
#pragma once

#include "conf.h"
#include "json.h"

enum rx_diff_kind {
    RX_DIFF_LISTENERS,
    RX_DIFF_ROUTES, // "web", or "127.0.0.1:80 web" where there are several listeners
    RX_DIFF_POOLS,
    RX_DIFF_PROTOCOLS, // the config's own
    RX_DIFF_LIMITS,    // "127.0.0.1:80 max_connections 5 -> 10"
    RX_DIFF_SERVER,    // "options"
    RX_DIFF_KINDS
};

enum rx_diff_change { RX_DIFF_ADDED, RX_DIFF_REMOVED, RX_DIFF_CHANGED, RX_DIFF_CHANGES };

enum { RX_DIFF_NAMES = 20 }; // kept of each; all are counted

struct rx_diff {
    struct rx_diff_list {
        char *names[RX_DIFF_NAMES]; // owned
        uint32_t n;                 // may be more than are kept
    } lists[RX_DIFF_KINDS][RX_DIFF_CHANGES];
};

// NULL when out of memory.
struct rx_diff *rx_diff_new(const struct rx_conf *old, const struct rx_conf *conf);
void rx_diff_free(struct rx_diff *d);
// "routes: +web ~ssh -ftp; limits: …", cut to size; "no change" when there is none. Returns buf.
char *rx_diff_text(const struct rx_diff *d, char *buf, size_t size);
// An object: what has changed, by kind and change.
void rx_diff_json(const struct rx_diff *d, struct rx_json *j);
