// SPDX-License-Identifier: MIT
// Enters: anything a DNS server may answer. Leaves: a TTL that a record may have, or -1; and no other answer for a
// copy that ends against other bytes.
#include <stdlib.h>

#include "resolve.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    int64_t ttl = rx_dns_least_ttl(p, n);
    if (ttl < -1 || ttl > INT32_MAX)
        abort();
    return 0;
}
