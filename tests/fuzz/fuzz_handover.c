// SPDX-License-Identifier: MIT
// What one process tells another about its connections: read without a look beyond it, and, where it is believed, written
// again as the very same bytes. The first byte is how many descriptors came along.
#include <stdlib.h>
#include <string.h>

#include "handover.h"
#include "upgrade_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rx_handover_reader r;
    struct rx_handover again = { 0 };
    struct rx_handed h;
    struct rx_upgrade_msg m;
    if (!size)
        return 0;
    memset(&m, 0, sizeof m);
    memcpy(&m, data, RX_MIN(size, sizeof m));
    RX_REQUIRE(!rx_upgrade_is_sound(&m, size) || m.len <= RX_UPGRADE_DATA);
    size--;
    uint8_t *exact = malloc(size ? size : 1); // so that a read beyond it is seen
    memcpy(exact, data + 1, size);
    int more = 1;
    if (rx_handover_open(&r, exact, size, data[0]) == 0 && rx_handover_begin(&again, r.last_id) == 0)
        while ((more = rx_handover_next(&r, &h)) > 0)
            rx_handover_add(&again, &h);
    if (more == 0) // all was believed; only the count is not compared
        RX_REQUIRE(again.len == size && !memcmp(again.bytes + 8, exact + 8, size - 8));
    rx_handover_fini(&again);
    free(exact);
    return 0;
}
