// SPDX-License-Identifier: MIT
// The fuzz target of an identifier:
//
//     #include "proto/list.h"
//     #define FUZZ_PROTO rx_proto_tls
//     #include "fuzz_ident.h"
//
// Checks the contract of core/proto.h (see tests/unit/identcheck.c) at every prefix of short inputs and at
// random ones of long inputs, and aborts with a sentence when it is broken. FUZZ_PROTOS, a list, tries
// several at once. The input is the client's bytes as they are, so captures are seeds; splits and wants are
// drawn from a hash of them.
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "../unit/identcheck.h"

#ifndef FUZZ_PROTOS
#define FUZZ_PROTOS &FUZZ_PROTO
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t fuzz_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

static int fuzz_order(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { SHORT = 96, SPLITS = 40 };
    static const struct rx_proto *const protos[] = { FUZZ_PROTOS };
    static uint32_t at[SHORT + SPLITS + 1];
    if (size > IDENT_MAX)
        return 0;
    uint32_t n = (uint32_t)size, n_at = 0;
    uint64_t seed = 14695981039346656037u;
    for (uint32_t i = 0; i < n; i++)
        seed = (seed ^ data[i]) * 1099511628211u;
    for (; n_at < SHORT && n_at < n; n_at++)
        at[n_at] = n_at;
    for (uint32_t i = 0; i < SPLITS && n > SHORT; i++)
        at[n_at++] = SHORT + fuzz_random(&seed) % (n - SHORT);
    at[n_at++] = n;
    qsort(at, n_at, sizeof at[0], fuzz_order);
    uint32_t want = fuzz_random(&seed) % 4 == 0 ? 0 : UINT32_MAX;
    for (unsigned i = 0; i < RX_COUNT(protos); i++) {
        const char *broken = ident_law_at(protos[i], data, at, n_at, want, NULL);
        if (broken) {
            fprintf(stderr, "%s\n", broken);
            abort();
        }
    }
    return 0;
}
