// SPDX-License-Identifier: MIT
// Every UDP identifier: on the input as one datagram, so that captures are seeds, and on datagrams cut from it, two bytes of
// length before each.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/identcheck.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const uint8_t *p, const uint32_t *len, uint32_t n)
{
    for (unsigned i = 0; i < rx_n_protos; i++) {
        const char *broken =
            rx_protos[i]->datagram ? ident_law_grams(rx_protos[i], p, len, n, UINT32_MAX, NULL) : NULL;
        if (broken) {
            fprintf(stderr, "%s\n", broken);
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { GRAMS = 8 };
    static uint8_t joined[65536];
    uint32_t len[GRAMS] = { (uint32_t)size }, n = 0, used = 0;
    if (size > sizeof joined)
        return 0;
    check(data, len, 1);
    for (size_t at = 0; at + 2 <= size && n < GRAMS; n++) {
        len[n] = (uint32_t)RX_MIN((size_t)data[at] << 8 | data[at + 1], size - at - 2);
        memcpy(joined + used, data + at + 2, len[n]);
        used += len[n];
        at += 2 + len[n];
    }
    if (n)
        check(joined, len, n);
    return 0;
}
