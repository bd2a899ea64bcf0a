// SPDX-License-Identifier: MIT
// The ids in datagrams. First byte: which kind, and how long an id to try. Laws: an id lies within the datagram, is as long as
// it says, and what follows it does not matter; a longer QUIC or OpenVPN datagram says the same id.
#include <stdlib.h>
#include <string.h>

#include "udp_roam.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct rx_roam_id *id, enum rx_roam_kind kind, const uint8_t *p, size_t n)
{
    if (id->kind != kind || !id->len || id->len > RX_ROAM_ID_MAX || id->len > n)
        abort();
    for (unsigned i = id->len; i < RX_ROAM_ID_MAX; i++)
        if (id->bytes[i])
            abort(); // ids are compared whole
    if (!memmem(p, n, id->bytes, id->len))
        abort();
}

static bool ask(unsigned what, enum rx_roam_kind kind, const uint8_t *p, uint32_t n, uint32_t len,
                struct rx_roam_id *id)
{
    switch (what) {
    case 0:
        return rx_roam_told(kind, p, n, id);
    case 1:
        return rx_roam_introduced(kind, p, n, id);
    default:
        return rx_roam_said(kind, p, n, len, id);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > 1500)
        return 0;
    enum rx_roam_kind kind = RX_ROAM_QUIC + data[0] % 3;
    uint32_t len = data[0] / 3 % (RX_ROAM_ID_MAX + 1), n = (uint32_t)size - 1;
    uint8_t *exact = malloc(n ? n : 1), longer[1501] = { 0 };
    memcpy(exact, data + 1, n);
    memcpy(longer, data + 1, n);
    for (unsigned what = 0; what < 3; what++) {
        struct rx_roam_id id, again;
        memset(&id, 0xaa, sizeof id);
        if (!ask(what, kind, exact, n, len, &id))
            continue;
        check(&id, kind, exact, n);
        if (kind != RX_ROAM_WIREGUARD &&
            (!ask(what, kind, longer, n + 1, len, &again) || memcmp(&id, &again, sizeof id)))
            abort();
    }
    free(exact);
    return 0;
}
