// SPDX-License-Identifier: MIT
// The files a load looked at: what they said then, or that they were not there.
#pragma once

#include "base.h"

struct rx_seen {
    struct rx_seen_file {
        char *path;      // owned
        uint64_t digest; // 0: not there
    } *list;             // owned
    unsigned n;
};

// text NULL: not there. A path that is known already gets the new digest.
void rx_seen_add(struct rx_seen *s, const char *path, const void *text, size_t len);
void rx_seen_add_all(struct rx_seen *s, const struct rx_seen *more);
void rx_seen_free(struct rx_seen *s);
// Never 0.
uint64_t rx_seen_digest(const void *text, size_t len);
