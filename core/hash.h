// SPDX-License-Identifier: MIT
// A keyed hash for tables whose keys others choose: without the key nobody can make them collide.
#pragma once

#include "base.h"

struct rx_hash_key {
    uint64_t word[2];
};

// A secret from the system's random numbers. Falls back to addresses and the clock where there are none.
struct rx_hash_key rx_hash_key_new(void);
uint64_t rx_hash(const struct rx_hash_key *key, const void *bytes, size_t n);
