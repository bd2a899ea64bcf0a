// SPDX-License-Identifier: MIT
// Enters: bytes as hours of the week, and as a moment. Leaves: aborted when they are read as a span that never comes, that
// is printed as another one, or as a minute outside the week.
#include <stdlib.h>
#include <string.h>

#include "during.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[RX_DURING_TEXT], again[RX_DURING_TEXT], why[RX_DURING_TEXT];
    struct rx_span s, t;
    uint32_t minute, held = 0;
    if (size >= sizeof text)
        return 0;
    if (size)
        memcpy(text, data, size);
    text[size] = 0;
    if (!rx_week_minute_parse(text, &minute) && minute >= RX_WEEK_MINUTES)
        abort();
    if (rx_during_parse(text, &s, why))
        return 0;
    if (rx_during_parse(rx_during_print(&s, again), &t, why) || s.days != t.days || s.from != t.from || s.to != t.to)
        abort();
    for (minute = 0; minute < RX_WEEK_MINUTES; minute++)
        held += rx_during_has(&s, minute);
    if (!held)
        abort();
    return 0;
}
