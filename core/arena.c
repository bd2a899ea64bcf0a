// SPDX-License-Identifier: MIT
#include "arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct block {
    struct block *next;
    size_t used, size;
    _Alignas(16) char data[];
};

struct rx_arena {
    struct block *blocks;
};

struct rx_arena *rx_arena_new(void)
{
    return calloc(1, sizeof(struct rx_arena));
}

void rx_arena_free(struct rx_arena *a)
{
    if (!a)
        return;
    for (struct block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

void *rx_arena_get(struct rx_arena *a, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (!a->blocks || a->blocks->size - a->blocks->used < size) {
        size_t room = RX_MAX(size, (size_t)16 * 1024);
        struct block *b = calloc(1, sizeof *b + room);
        if (!b)
            return NULL;
        b->size = room;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = a->blocks->data + a->blocks->used;
    a->blocks->used += size;
    return p;
}

char *rx_arena_copy(struct rx_arena *a, const void *bytes, size_t len)
{
    char *p = rx_arena_get(a, len + 1);
    if (p && len)
        memcpy(p, bytes, len);
    return p;
}

char *rx_arena_printf(struct rx_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : rx_arena_get(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

// Doubles at powers of two, so that appending one at a time stays linear.
void *rx_arena_grow(struct rx_arena *a, void *old, size_t n, size_t item)
{
    if (n == 0)
        return rx_arena_get(a, item * 4);
    if (n < 4 || (n & (n - 1)))
        return old;
    void *p = rx_arena_get(a, n * 2 * item);
    if (p)
        memcpy(p, old, n * item);
    return p;
}
