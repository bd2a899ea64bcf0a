// SPDX-License-Identifier: MIT
// A bounded queue of records between two threads: one writes, one reads, neither ever waits.
// Records lie in one ring, each in one piece and aligned to 16 bytes, so that the reader uses them where they are.
#pragma once

#include <stdatomic.h>
#include <stddef.h>

#include "base.h"

struct rx_queue {
    uint8_t *bytes; // owned
    size_t size;    // a power of two
    // the writer's
    _Alignas(64) atomic_size_t head; // bytes ever written
    size_t tail_seen, staged;
    // the reader's
    _Alignas(64) atomic_size_t tail; // bytes ever given back
    size_t head_seen;
};

// size: a power of two, at least 4096. 0 or -ENOMEM. Memory is used only as far as the queue was filled.
int rx_queue_init(struct rx_queue *q, size_t size);
void rx_queue_fini(struct rx_queue *q);

// The writer: room for a record of len bytes, or NULL when there would then be less than `spare` bytes left. What is
// written there is the reader's after rx_queue_push; reserving again instead forgets it.
void *rx_queue_reserve(struct rx_queue *q, size_t len, size_t spare);
void rx_queue_push(struct rx_queue *q);
// The writer: bytes in use, at most.
size_t rx_queue_used(struct rx_queue *q);

// The reader: the oldest record, NULL when there is none. It stays until rx_queue_pop.
void *rx_queue_peek(struct rx_queue *q, size_t *len);
void rx_queue_pop(struct rx_queue *q);
