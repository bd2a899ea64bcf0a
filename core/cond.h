// SPDX-License-Identifier: MIT
// Conditions of routes, from text to what route.c compares.
#pragma once

#include "arena.h"
#include "conf.h"

enum { RX_COND_ERROR = 256 };

// Adds a value of condition `cond` (enum rx_cond). 0, or -1 with words for the user in err[RX_COND_ERROR].
int rx_cond_add(struct rx_arena *arena, struct rx_route *r, uint32_t cond, struct rx_slice v, char *err);
// 0, or -1 when out of memory.
int rx_texts_add(struct rx_arena *arena, struct rx_texts *t, struct rx_slice s);
// A NUL-terminated copy; NULL when it does not fit or holds a NUL byte.
const char *rx_slice_string(struct rx_slice s, char *buf, size_t size);
