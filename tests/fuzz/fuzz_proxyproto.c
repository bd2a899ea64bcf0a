// SPDX-License-Identifier: MIT
// Enters: what may be a PROXY header. Leaves: a verdict that no further byte changes, TLVs that lie within the header,
// and, when what was read is written again, the same addresses.
#include <stdlib.h>
#include <string.h>

#include "proxyproto.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static enum rx_proxy_verdict read_copy(const uint8_t *p, size_t n, struct rx_proxy *out)
{
    uint8_t *copy = malloc(n ? n : 1);
    if (n)
        memcpy(copy, p, n);
    enum rx_proxy_verdict v = rx_proxy_read(copy, n, out);
    free(copy);
    return v;
}

static void write_again(const struct rx_proxy *h, uint8_t version)
{
    uint8_t out[RX_PROXY_OUT_MAX];
    struct rx_proxy_say say = { .version = version, .has_crc = true, .from = h->from, .to = h->to };
    struct rx_proxy again;
    rx_proxy_tlv(h->tlvs, RX_TLV_UNIQUE_ID, &say.unique_id);
    rx_proxy_tlv(h->tlvs, RX_TLV_AUTHORITY, &say.authority);
    rx_proxy_tlv(h->tlvs, RX_TLV_ALPN, &say.alpn);
    if (rx_proxy_read(out, rx_proxy_write(out, &say), &again) != RX_PROXY_READ)
        abort();
    bool has_ip = h->has_addresses && h->from.sa.sa_family != AF_UNSPEC;
    if (again.has_addresses != has_ip || (has_ip && (!rx_addr_equal(&again.from.sa, &h->from.sa) ||
                                                     !rx_addr_equal(&again.to.sa, &h->to.sa))))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    enum rx_proxy_verdict before = RX_PROXY_MORE;
    uint32_t len = 0;
    for (size_t i = 0; i <= n; i += i < 300 ? 1 : 97) {
        struct rx_proxy h;
        enum rx_proxy_verdict now = read_copy(p, i, &h);
        if (before != RX_PROXY_MORE && (now != before || (now == RX_PROXY_READ && h.len != len)))
            abort();
        if (now == RX_PROXY_READ && (h.len > i || h.len > RX_PROXY_IN_MAX))
            abort();
        before = now, len = h.len;
    }
    struct rx_proxy whole;
    if (rx_proxy_read(p, n, &whole) != RX_PROXY_READ)
        return 0;
    if (whole.tlvs.len && (whole.tlvs.ptr < p || whole.tlvs.ptr + whole.tlvs.len > p + whole.len))
        abort();
    write_again(&whole, 1);
    write_again(&whole, 2);
    return 0;
}
