// SPDX-License-Identifier: MIT
// Enters: one line of the admin socket. Leaves: aborted when it was refused without words that are fit for a terminal,
// or understood with a value outside its bounds.
#include <stdlib.h>
#include <string.h>

#include "admin_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rx_request r;
    char error[RX_REQUEST_ERROR];
    char *line = malloc(size + !size);
    if (size)
        memcpy(line, data, size);
    memset(error, 1, sizeof error);
    if (rx_request_parse(line, size, &r, error)) {
        const char *end = memchr(error, 0, sizeof error);
        if (!end || end == error)
            abort();
        for (const char *p = error; p < end; p++)
            if (*p < 0x20 || *p == 0x7f)
                abort();
    } else if (r.kind >= RX_REQUEST_COUNT || r.flows.limit < 1 || r.flows.limit > RX_FLOW_MOST || !r.ttl_ms ||
               strlen(r.flows.filter) >= sizeof r.flows.filter || strlen(r.backend) >= sizeof r.backend) {
        abort();
    }
    free(line);
    return 0;
}
