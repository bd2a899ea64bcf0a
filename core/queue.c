// SPDX-License-Identifier: MIT
// Enters: records of one thread. Leaves: the same records, in order, in another.
// Invariants: head - tail <= size. A record never wraps: where it would, a pad fills the ring's end. Only the writer
// moves head, only the reader tail; each looks at the other's only when what it knows of it is not enough.
#include "queue.h"

#include <errno.h>
#include <sys/mman.h>

enum { ALIGN = 16 };

struct record {
    uint32_t size; // with this header, a multiple of ALIGN
    uint32_t len;
    uint32_t is_pad, unused;
};
_Static_assert(sizeof(struct record) == ALIGN, "records stay aligned");

int rx_queue_init(struct rx_queue *q, size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return -ENOMEM;
    q->bytes = p;
    q->size = size;
    atomic_init(&q->head, 0);
    atomic_init(&q->tail, 0);
    q->tail_seen = q->staged = q->head_seen = 0;
    return 0;
}

void rx_queue_fini(struct rx_queue *q)
{
    if (q->bytes)
        munmap(q->bytes, q->size);
    q->bytes = NULL;
}

static struct record *at(const struct rx_queue *q, size_t position)
{
    return (struct record *)(q->bytes + (position & (q->size - 1)));
}

void *rx_queue_reserve(struct rx_queue *q, size_t len, size_t spare)
{
    size_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    size_t size = (sizeof(struct record) + len + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    size_t to_end = q->size - (head & (q->size - 1)), pad = size > to_end ? to_end : 0;
    if (size > q->size / 2)
        return NULL;
    if (q->size - (head - q->tail_seen) < pad + size + spare) {
        q->tail_seen = atomic_load_explicit(&q->tail, memory_order_acquire);
        if (q->size - (head - q->tail_seen) < pad + size + spare)
            return NULL;
    }
    if (pad)
        *at(q, head) = (struct record){ .size = (uint32_t)pad, .is_pad = 1 };
    struct record *r = at(q, head + pad);
    *r = (struct record){ .size = (uint32_t)size, .len = (uint32_t)len };
    q->staged = head + pad + size;
    return r + 1;
}

void rx_queue_push(struct rx_queue *q)
{
    atomic_store_explicit(&q->head, q->staged, memory_order_release);
}

size_t rx_queue_used(struct rx_queue *q)
{
    size_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    if (head - q->tail_seen > q->size / 8) // below that, how far the reader was the last time will do
        q->tail_seen = atomic_load_explicit(&q->tail, memory_order_acquire);
    return head - q->tail_seen;
}

void *rx_queue_peek(struct rx_queue *q, size_t *len)
{
    for (;;) {
        size_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
        if (tail == q->head_seen) {
            q->head_seen = atomic_load_explicit(&q->head, memory_order_acquire);
            if (tail == q->head_seen)
                return NULL;
        }
        struct record *r = at(q, tail);
        if (!r->is_pad) {
            *len = r->len;
            return r + 1;
        }
        rx_queue_pop(q);
    }
}

void rx_queue_pop(struct rx_queue *q)
{
    size_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    atomic_store_explicit(&q->tail, tail + at(q, tail)->size, memory_order_release);
}
