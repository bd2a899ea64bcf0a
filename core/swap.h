// SPDX-License-Identifier: MIT
// Generations on their way to the workers.
#pragma once

#include "worker.h"

// One for each worker, with the sockets of addresses of `conf` that `old` has not; NULL when one cannot be had, which
// then was told in the log. With RX_SWAP_TRY no socket is opened.
struct rx_swap **rx_swaps_new(struct rx_conf *conf, const struct rx_conf *old, enum rx_swap_kind kind, unsigned n,
                              atomic_uint *n_left);
// Hands them over; each worker gets a reference to the generation. The list is freed.
void rx_swaps_send(struct rx_swap **swaps, struct rx_worker *workers, unsigned n);
