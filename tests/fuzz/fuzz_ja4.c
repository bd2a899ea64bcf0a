// SPDX-License-Identifier: MIT
// Any bytes have a fingerprint of 36 characters, or none.
#include <stdlib.h>
#include <string.h>

#include "proto/ja4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char out[RX_JA4_SIZE];
    if (size > 100000)
        return 0;
    if (rx_ja4(data, (uint32_t)size, out) && strlen(out) != RX_JA4_SIZE - 1)
        abort();
    if (rx_ja4_of_hello(data, (uint32_t)size, 'q', out) && strlen(out) != RX_JA4_SIZE - 1)
        abort();
    return 0;
}
