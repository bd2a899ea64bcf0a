// SPDX-License-Identifier: MIT
// A worker's pool of kernel pipes for splice. A pipe is held only while bytes sit in it.
#pragma once

#include "base.h"

enum { RX_PIPE_POOL = 48, RX_PIPE_SIZE = 1024 * 1024 };

struct rx_pipes {
    int free[RX_PIPE_POOL][2];
    unsigned n_free, n_out;
    unsigned limit; // pipes that may be out at once
    bool is_denied; // the kernel gave no large pipe: fall back to copying until some come back
};

void rx_pipes_init(struct rx_pipes *p, unsigned limit);
void rx_pipes_fini(struct rx_pipes *p);
// 0 and two fds, or -1: copy instead.
int rx_pipe_get(struct rx_pipes *p, int out[2]);
void rx_pipe_adopt(struct rx_pipes *p); // one that was not got here is out, and will be put here
// Empty pipes are pooled; one that still holds bytes is closed.
void rx_pipe_put(struct rx_pipes *p, int fds[2], bool is_empty);
