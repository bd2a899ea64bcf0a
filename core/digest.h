// SPDX-License-Identifier: MIT
// FNV-1a, for telling texts of our own apart: nobody outside chooses them, so that it need not be secret.
#pragma once

#include "base.h"

#define RX_DIGEST_START 14695981039346656037ull

static inline uint64_t rx_digest(uint64_t h, const void *bytes, size_t len)
{
    for (const uint8_t *p = bytes; len--; p++)
        h = (h ^ *p) * 1099511628211ull;
    return h;
}
