// SPDX-License-Identifier: MIT
#include "proto/list.h"

#define FUZZ_PROTO rx_proto_tls
#include "fuzz_ident.h"
#include "hello.h"

// The handshake bytes in the records of an input.
static uint32_t join(const uint8_t *p, size_t n, uint8_t *out)
{
    uint32_t used = 0;
    for (size_t at = 0; at + 5 <= n && p[at] == 22;) {
        uint32_t len = (uint32_t)RX_MIN((size_t)p[at + 3] << 8 | p[at + 4], n - at - 5);
        len = RX_MIN(len, HELLO_MAX - used);
        memcpy(out + used, p + at + 5, len);
        used += len;
        at += 5 + len;
        if (!len && used == HELLO_MAX)
            break;
    }
    return used;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static struct hello h;
    static uint8_t message[HELLO_MAX + 1024];
    struct hello_dice d = { seed };
    if (hello_roll(&d, 4) == 0)
        return LLVMFuzzerMutate(data, size, max);
    hello_read(message, join(data, size, message), &h);
    for (uint32_t i = 1 + hello_roll(&d, 3); i; i--)
        hello_change(&h, &d);
    uint32_t n = hello_write(&h, message, &d), at = 0;
    size_t used = 0;
    bool is_cut = hello_roll(&d, 2);
    while (at < n && used + 5 < max) {
        uint32_t len = is_cut ? 1 + hello_roll(&d, hello_roll(&d, 2) ? 8 : 400) : n;
        len = RX_MIN(len, n - at);
        len = (uint32_t)RX_MIN((size_t)len, max - used - 5);
        const uint8_t head[] = { 22, 3, (uint8_t)hello_roll(&d, 5), (uint8_t)(len >> 8), (uint8_t)len };
        memcpy(data + used, head, sizeof head);
        memcpy(data + used + 5, message + at, len);
        used += 5 + len;
        at += len;
    }
    return used;
}
