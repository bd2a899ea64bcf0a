// SPDX-License-Identifier: MIT
// Hours of the week, for the route condition `during`.
#pragma once

#include <time.h>

#include "base.h"

enum { RX_WEEK_MINUTES = 7 * 24 * 60, RX_DURING_TEXT = 128 };

// On some days of the week, from one minute of the day to another; past midnight when `to` is not behind `from`.
struct rx_span {
    uint8_t days; // bit 0: Monday
    uint16_t from, to;
};

// "Mon-Fri 08:00-18:00", "Sat,Sun", "22:00-06:00". 0, or -1 and why not.
int rx_during_parse(const char *text, struct rx_span *out, char why[RX_DURING_TEXT]);
// The minute of the week counts from Monday 00:00. Pure.
bool rx_during_has(const struct rx_span *s, uint32_t week_minute);
const char *rx_during_print(const struct rx_span *s, char buf[RX_DURING_TEXT]);
// "Mon 09:00"
const char *rx_week_minute_print(uint32_t week_minute, char buf[16]);
// "2026-01-05 09:00" as a clock on the wall shows it. 0, or -1 when there is no such minute.
int rx_week_minute_parse(const char *text, uint32_t *week_minute);
// Of a moment, in the local time zone: the one thing here that is not pure.
uint32_t rx_week_minute(time_t at);
