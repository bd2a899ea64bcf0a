// SPDX-License-Identifier: MIT
// The decider that chooses a backend. The dice and the turn come in as arguments; which backends a connection has
// tried is the attempt number, because attempts walk the primaries in a ring from the first pick, then the backups.
#include "conn.h"

const struct rx_backend *rx_pick(const struct rx_pool *pool, uint32_t cursor, uint32_t attempt)
{
    if (attempt >= pool->tries)
        return NULL;
    if (attempt >= pool->n_primary)
        return &pool->backends[attempt];
    uint32_t first = pool->order[cursor % pool->n_order];
    return &pool->backends[(first + attempt) % pool->n_primary];
}
