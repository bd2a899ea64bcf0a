#include "describe.h"
#include <stdlib.h>
#include <string.h>
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
static uint8_t scratch[RX_SCRATCH_SIZE];
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (n < 2) return 0;
    unsigned d = p[0] % (rx_n_protos + 1), cut = p[1];
    p += 2; n -= 2;
    struct rx_about a = { .route = d & 1 ? "r" : NULL, .listener = "l", .scratch = scratch };
    if (d < rx_n_protos) a.def = rx_protos[d], a.name = a.def->name;
    if (!n) a.silent_ms = 1000;
    struct rx_talk t;
    rx_talk_init(&t, &a, NULL);
    bool over = false;
    size_t at = 0;
    while (!over && at < n) { size_t k = cut ? (cut < n - at ? cut : n - at) : n - at; 
        uint8_t *c = malloc(k); memcpy(c, p + at, k); over = rx_talk_hear(&t, c, k); free(c); at += k; }
    if (!over) rx_talk_end(&t);
    if (t.out.is_short) __builtin_trap();
    for (uint32_t i = 0; i < t.told.n; i++) for (char *s = t.told.fact[i].value; *s; s++) if (*s < 32 || *s > 126) __builtin_trap();
    uint8_t o[600]; size_t size = cut * 2; size_t r = rx_describe_dns(&a, p, n, o, size); if (r > size) __builtin_trap();
    rx_talk_fini(&t);
    return 0;
}
