// SPDX-License-Identifier: MIT
// Name → routes: one hash table for exact names and one for "*.suffix" patterns, so that a lookup costs the
// same for one name and for a hundred thousand. Case and a trailing dot do not matter.
#pragma once

#include "base.h"

struct rx_names;

// Ascending route numbers.
struct rx_ids {
    const uint32_t *ids;
    uint32_t n;
};

enum { RX_NAME_MAX = 255, RX_NAME_LISTS = 130 }; // an exact list, and one for each label boundary of a name

struct rx_names *rx_names_new(void);
void rx_names_free(struct rx_names *t);
// `pattern` is "name" or "*.suffix"; routes are added in ascending order. 0 or -ENOMEM.
int rx_names_add(struct rx_names *t, const char *pattern, size_t len, uint32_t route);
// Fills out[] with the lists whose pattern matches; returns how many. A "*.suffix" matches any depth below it.
unsigned rx_names_find(const struct rx_names *t, const uint8_t *name, size_t len, struct rx_ids out[RX_NAME_LISTS]);
