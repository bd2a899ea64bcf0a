// SPDX-License-Identifier: MIT
// Pipes are sized 1 MiB, or 256 KiB where the user's pipe-user-pages-soft leaves no more; smaller ones would cost
// more than copying, so below that the answer is "no pipe" (docs/architecture.md, weld).
#include "pipe.h"

#include <fcntl.h>
#include <unistd.h>

void rx_pipes_init(struct rx_pipes *p, unsigned limit)
{
    *p = (struct rx_pipes){ .limit = limit };
}

void rx_pipes_fini(struct rx_pipes *p)
{
    while (p->n_free) {
        p->n_free--;
        close(p->free[p->n_free][0]);
        close(p->free[p->n_free][1]);
    }
}

static int pipe_open(int out[2])
{
    if (pipe2(out, O_NONBLOCK | O_CLOEXEC) == -1)
        return -1;
    for (int size = RX_PIPE_SIZE; size >= RX_PIPE_SIZE / 4; size /= 2)
        if (fcntl(out[1], F_SETPIPE_SZ, size) != -1)
            return 0;
    close(out[0]);
    close(out[1]);
    return -1;
}

int rx_pipe_get(struct rx_pipes *p, int out[2])
{
    if (p->n_free) {
        p->n_free--;
        out[0] = p->free[p->n_free][0];
        out[1] = p->free[p->n_free][1];
    } else {
        if (p->n_out >= p->limit || (p->is_denied && p->n_out))
            return -1;
        p->is_denied = false;
        if (pipe_open(out)) {
            p->is_denied = true;
            out[0] = out[1] = -1;
            return -1;
        }
    }
    p->n_out++;
    return 0;
}

void rx_pipe_adopt(struct rx_pipes *p)
{
    p->n_out++;
}

void rx_pipe_put(struct rx_pipes *p, int fds[2], bool is_empty)
{
    p->n_out--;
    if (is_empty && p->n_free < RX_PIPE_POOL) {
        p->free[p->n_free][0] = fds[0];
        p->free[p->n_free++][1] = fds[1];
    } else {
        close(fds[0]);
        close(fds[1]);
        p->is_denied = false;
    }
    fds[0] = fds[1] = -1;
}
