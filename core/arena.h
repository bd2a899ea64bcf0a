// SPDX-License-Identifier: MIT
// Memory that is given back all at once: a generation's strings and arrays.
#pragma once

#include "base.h"

struct rx_arena;

struct rx_arena *rx_arena_new(void);
void rx_arena_free(struct rx_arena *a);
void *rx_arena_get(struct rx_arena *a, size_t size); // zeroed, aligned to 16; NULL when out of memory
char *rx_arena_copy(struct rx_arena *a, const void *bytes, size_t len); // with a NUL behind
char *rx_arena_printf(struct rx_arena *a, const char *fmt, ...) RX_PRINTF(2, 3);
// A grown copy of an array (the old one stays until the arena goes); n is the count now held.
void *rx_arena_grow(struct rx_arena *a, void *old, size_t n, size_t item);
