// SPDX-License-Identifier: MIT
// Enters: hours of the week as a config writes them, and moments. Leaves: whether they fall together. A span that runs
// past midnight belongs to the day it begins on: "Fri 22:00-06:00" ends on Saturday morning.
#include "during.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { DAY = 24 * 60 };

static const char names[7][4] = { "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun" };

static int no(char why[RX_DURING_TEXT], const char *text)
{
    snprintf(why, RX_DURING_TEXT, "%s, as in \"Mon-Fri 08:00-18:00\"", text);
    return -1;
}

// Steps over a day's name; -1: there is none.
static int day_at(const char **p)
{
    for (int i = 0; i < 7; i++)
        if (!strncasecmp(*p, names[i], 3)) {
            *p += 3;
            return i;
        }
    return -1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// Steps over "HH:MM"; -1: there is none.
static int minute_at(const char **p)
{
    const char *s = *p;
    if (!is_digit(s[0]) || !is_digit(s[1]) || s[2] != ':' || !is_digit(s[3]) || !is_digit(s[4]))
        return -1;
    int hour = (s[0] - '0') * 10 + s[1] - '0', minute = (s[3] - '0') * 10 + s[4] - '0';
    if (hour > 24 || minute > 59 || (hour == 24 && minute))
        return -1;
    *p += 5;
    return hour * 60 + minute;
}

// "Mon-Fri,Sun"; a range may run over the end of the week.
static bool days_at(const char **p, uint8_t *days)
{
    for (;;) {
        int first = day_at(p), last = first;
        if (first >= 0 && **p == '-') {
            (*p)++;
            last = day_at(p);
        }
        if (last < 0)
            return false;
        for (int d = first;; d = (d + 1) % 7) {
            *days |= (uint8_t)(1u << d);
            if (d == last)
                break;
        }
        if (**p != ',')
            return true;
        (*p)++;
    }
}

int rx_during_parse(const char *text, struct rx_span *out, char why[RX_DURING_TEXT])
{
    const char *p = text;
    *out = (struct rx_span){ .days = 0, .from = 0, .to = DAY };
    if (!is_digit(*p)) {
        if (!days_at(&p, &out->days))
            return no(why, "days are Mon, Tue, Wed, Thu, Fri, Sat, Sun");
        if (!*p)
            return 0;
        if (*p++ != ' ')
            return no(why, "behind the days stand a space and hours");
    } else {
        out->days = 0x7f;
    }
    int from = minute_at(&p), to = -1;
    if (from >= 0 && *p == '-') {
        p++;
        to = minute_at(&p);
    }
    if (from < 0 || to < 0 || *p)
        return no(why, "hours are HH:MM-HH:MM");
    if (from == to || from == DAY)
        return no(why, "these hours never come");
    out->from = (uint16_t)from;
    out->to = (uint16_t)to;
    return 0;
}

bool rx_during_has(const struct rx_span *s, uint32_t week_minute)
{
    uint32_t day = week_minute / DAY, minute = week_minute % DAY;
    bool is_today = s->days >> day & 1, is_from_yesterday = s->days >> (day + 6) % 7 & 1;
    if (s->from < s->to)
        return is_today && minute >= s->from && minute < s->to;
    return (is_today && minute >= s->from) || (is_from_yesterday && minute < s->to);
}

const char *rx_during_print(const struct rx_span *s, char buf[RX_DURING_TEXT])
{
    size_t n = 0;
    buf[0] = 0;
    for (unsigned d = 0; d < 7 && s->days != 0x7f; d++) {
        unsigned last = d;
        if (!(s->days >> d & 1))
            continue;
        while (last < 6 && s->days >> (last + 1) & 1)
            last++;
        n += (size_t)snprintf(buf + n, RX_DURING_TEXT - n, last == d ? "%s%s" : "%s%s-%s", n ? "," : "", names[d],
                              names[last]);
        d = last;
    }
    if (!n || s->from || s->to != DAY)
        snprintf(buf + n, RX_DURING_TEXT - n, "%s%02u:%02u-%02u:%02u", n ? " " : "", s->from / 60u, s->from % 60u,
                 s->to / 60u, s->to % 60u);
    return buf;
}

const char *rx_week_minute_print(uint32_t week_minute, char buf[16])
{
    uint32_t minute = week_minute % DAY;
    snprintf(buf, 16, "%s %02u:%02u", names[week_minute / DAY % 7], minute / 60 % 24, minute % 60);
    return buf;
}

static bool number_at(const char **p, int digits, int low, int high, int *out)
{
    *out = 0;
    while (digits--) {
        if (!is_digit(**p))
            return false;
        *out = *out * 10 + *(*p)++ - '0';
    }
    return *out >= low && *out <= high;
}

int rx_week_minute_parse(const char *text, uint32_t *week_minute)
{
    static const int length[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    static const int shift[] = { 0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4 }; // of a month's first day, the year from March on
    const char *p = text;
    int year, month, day;
    if (!number_at(&p, 4, 1583, 9999, &year) || *p++ != '-' || !number_at(&p, 2, 1, 12, &month) || *p++ != '-' ||
        !number_at(&p, 2, 1, length[month - 1], &day) || *p++ != ' ')
        return -1;
    bool is_leap = year % 4 == 0 && (year % 100 || year % 400 == 0);
    int minute = minute_at(&p);
    if ((month == 2 && day == 29 && !is_leap) || minute < 0 || minute == DAY || *p)
        return -1;
    int y = month < 3 ? year - 1 : year;
    int from_sunday = (y + y / 4 - y / 100 + y / 400 + shift[month - 1] + day) % 7;
    *week_minute = (uint32_t)((from_sunday + 6) % 7 * DAY + minute);
    return 0;
}

uint32_t rx_week_minute(time_t at)
{
    struct tm tm;
    if (!localtime_r(&at, &tm))
        return 0;
    return (uint32_t)((tm.tm_wday + 6) % 7 * DAY + tm.tm_hour * 60 + tm.tm_min);
}
