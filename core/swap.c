// SPDX-License-Identifier: MIT
// Enters: a generation. Leaves: a swap in every worker's box, or everything as it was.
#include "swap.h"

#include <stdlib.h>
#include <unistd.h>

#include "bind.h"

static void swaps_free(struct rx_swap **swaps, unsigned n)
{
    for (unsigned i = 0; swaps && i < n; i++)
        if (swaps[i]) {
            for (unsigned k = 0; k < swaps[i]->n; k++)
                if (swaps[i]->items[k].fd >= 0)
                    close(swaps[i]->items[k].fd);
            free(swaps[i]);
        }
    free(swaps);
}

static struct rx_swap **swaps_empty(struct rx_conf *conf, enum rx_swap_kind kind, unsigned n, atomic_uint *n_left)
{
    size_t size = sizeof(struct rx_swap) + (conf ? rx_bind_count(conf) : 0) * sizeof(struct rx_swap_item);
    struct rx_swap **swaps = calloc(n, sizeof *swaps);
    for (unsigned i = 0; swaps && i < n; i++) {
        if (!(swaps[i] = calloc(1, size))) {
            swaps_free(swaps, n);
            return NULL;
        }
        swaps[i]->kind = kind;
        swaps[i]->conf = conf;
        swaps[i]->n_left = n_left;
    }
    return swaps;
}

// 0 with fds, or 1 when none is needed, or -1.
static int open_new(struct rx_bind *b, const struct rx_conf *old, enum rx_swap_kind kind, int *fds, unsigned n)
{
    int rc = kind == RX_SWAP_TRY || rx_bind_is_in(old, b) ? 1 : rx_bind_open_told(b, fds, n);
    if (rc == 0)
        rx_bind_tell(b);
    return rc;
}

struct rx_swap **rx_swaps_new(struct rx_conf *conf, const struct rx_conf *old, enum rx_swap_kind kind, unsigned n,
                              atomic_uint *n_left)
{
    struct rx_swap **swaps = swaps_empty(conf, kind, n, n_left);
    int *fds = calloc(n, sizeof *fds);
    bool is_good = swaps && fds;
    uint32_t n_opened = 0;
    for (uint32_t i = 0; is_good && conf && i < conf->n_listens; i++)
        for (uint32_t k = 0; is_good && k < conf->listens[i]->n_binds; k++) {
            struct rx_bind *b = &conf->listens[i]->binds[k];
            int rc = open_new(b, old, kind, fds, n);
            is_good = rc >= 0;
            n_opened += is_good;
            for (unsigned w = 0; is_good && w < n; w++)
                swaps[w]->items[swaps[w]->n++] = (struct rx_swap_item){ conf->listens[i], b, rc == 0 ? fds[w] : -1 };
        }
    free(fds);
    if (is_good)
        return swaps;
    if (conf)
        rx_bind_unlink_first(conf, n_opened, old);
    swaps_free(swaps, n);
    return NULL;
}

void rx_swaps_send(struct rx_swap **swaps, struct rx_worker *workers, unsigned n)
{
    atomic_store(swaps[0]->n_left, n);
    for (unsigned i = 0; i < n; i++) {
        if (swaps[i]->conf)
            rx_conf_ref(swaps[i]->conf);
        rx_worker_swap(&workers[i], swaps[i]);
    }
    free(swaps);
}
