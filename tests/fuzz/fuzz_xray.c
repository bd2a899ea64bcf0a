// SPDX-License-Identifier: MIT
// Enters: a line. Leaves: aborted when core/guard/xray.c says something that is not in the line.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xray.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(x)                                                                                                     \
    do {                                                                                                             \
        if (!(x)) {                                                                                                  \
            fprintf(stderr, "does not hold: %s\n", #x);                                                              \
            abort();                                                                                                 \
        }                                                                                                            \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line = malloc(size ? size : 1); // of exactly this size: what is read beyond is found
    struct rx_tail_said s;
    if (!line)
        return 0;
    if (size)
        memcpy(line, data, size);
    if (rx_xray_parse(line, size, &s) == RX_LINE_SESSION) {
        HOLDS(s.id_len > 0 && s.id_len <= 255);
        HOLDS(s.id > line && s.id + s.id_len <= line + size);
        HOLDS(!s.tag || (s.tag_len && s.tag > line && s.tag + s.tag_len < s.id));
        HOLDS(!memmem(s.id, s.id_len, " email:", 7));
        HOLDS(s.ip.sa.sa_family == AF_INET || s.ip.sa.sa_family == AF_INET6);
        HOLDS(memmem(line, size, "accepted", 8));
    }
    free(line);
    return 0;
}
