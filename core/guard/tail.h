// SPDX-License-Identifier: MIT
// Follows a file that others append to, line by line: through rotation, truncation, renaming and late creation.
#pragma once

#include <ev.h>
#include <stdatomic.h>

#include "base.h"

struct rx_follower;

// `line` has no newline and is borrowed for the call.
typedef void rx_line_fn(void *data, const char *line, size_t n);

struct rx_tail_totals {
    unsigned long lines, sessions, other, bad;
};

// What became of the lines. Written by the follower's thread (long lines count as bad) and by its line function.
struct rx_tail_count {
    atomic_ulong lines, sessions, other, bad;
};

// What is in the file now is the past; a file that comes later is read from its beginning. NULL: out of memory.
struct rx_follower *rx_follower_new(struct ev_loop *loop, const char *path, rx_line_fn *line, void *data,
                                    struct rx_tail_count *count);
void rx_follower_free(struct rx_follower *f);
