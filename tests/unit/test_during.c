// SPDX-License-Identifier: MIT
// Enters: hours of the week as users write them. Leaves: that they are read, told again and compared as they are meant.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "during.h"

static uint32_t at(const char *text)
{
    uint32_t minute;
    if (rx_week_minute_parse(text, &minute))
        fail_msg("%s", text);
    return minute;
}

static bool has(const char *span, const char *when)
{
    char why[RX_DURING_TEXT];
    struct rx_span s;
    if (rx_during_parse(span, &s, why))
        fail_msg("%s: %s", span, why);
    return rx_during_has(&s, at(when));
}

static void office_hours_begin_and_end_on_the_minute(void **state)
{
    (void)state;
    // 2026-01-05 is a Monday.
    assert_false(has("Mon-Fri 08:00-18:00", "2026-01-05 07:59"));
    assert_true(has("Mon-Fri 08:00-18:00", "2026-01-05 08:00"));
    assert_true(has("Mon-Fri 08:00-18:00", "2026-01-09 17:59"));
    assert_false(has("Mon-Fri 08:00-18:00", "2026-01-09 18:00"));
    assert_false(has("Mon-Fri 08:00-18:00", "2026-01-10 12:00"));
}

static void a_night_belongs_to_the_day_it_begins_on(void **state)
{
    (void)state;
    assert_true(has("Fri 22:00-06:00", "2026-01-09 22:00"));
    assert_true(has("Fri 22:00-06:00", "2026-01-10 05:59"));
    assert_false(has("Fri 22:00-06:00", "2026-01-10 06:00"));
    assert_false(has("Fri 22:00-06:00", "2026-01-09 05:00"));
    assert_true(has("Sun 22:00-06:00", "2026-01-05 01:00")); // over the end of the week
    assert_true(has("22:00-06:00", "2026-01-07 23:00") && has("22:00-06:00", "2026-01-07 00:00"));
    assert_false(has("22:00-06:00", "2026-01-07 12:00"));
}

static void days_alone_are_whole_days_and_lists_and_ranges_over_the_weekend_work(void **state)
{
    (void)state;
    assert_true(has("sat,SUN", "2026-01-10 00:00") && has("sat,SUN", "2026-01-11 23:59"));
    assert_false(has("sat,SUN", "2026-01-12 00:00") || has("sat,SUN", "2026-01-09 23:59"));
    assert_true(has("Sat-Mon", "2026-01-05 10:00") && has("Sat-Mon", "2026-01-04 10:00"));
    assert_false(has("Sat-Mon", "2026-01-06 10:00"));
    assert_true(has("Mon,Wed-Thu 00:00-24:00", "2026-01-08 23:59"));
    assert_false(has("Mon,Wed-Thu 00:00-24:00", "2026-01-06 23:59"));
}

static void what_is_printed_reads_as_the_same(void **state)
{
    (void)state;
    static const char *const texts[] = { "Mon-Fri 08:00-18:00", "Sat-Sun", "22:00-06:00", "Mon,Wed,Fri-Sat 23:59-00:01",
                                         "00:00-24:00", "Mon,Sun 12:00-24:00" };
    for (unsigned i = 0; i < RX_COUNT(texts); i++) {
        char why[RX_DURING_TEXT], buf[RX_DURING_TEXT];
        struct rx_span s;
        assert_int_equal(rx_during_parse(texts[i], &s, why), 0);
        assert_string_equal(rx_during_print(&s, buf), texts[i]);
    }
}

static void what_is_no_time_is_refused_with_words(void **state)
{
    (void)state;
    static const char *const texts[] = { "", " ", "Mo", "Mon-", "Mon,", "Mon 8:00-18:00", "Mon 08:00", "08:00-08:00",
                                         "24:00-06:00", "08:00-24:01", "08:60-09:00", "Mon  08:00-09:00",
                                         "Mon 08:00-09:00 ", "Monday", "08:00-18:00 Mon", "Mon;Tue" };
    for (unsigned i = 0; i < RX_COUNT(texts); i++) {
        char why[RX_DURING_TEXT] = "";
        struct rx_span s;
        if (!rx_during_parse(texts[i], &s, why))
            fail_msg("%s was taken", texts[i]);
        assert_non_null(strstr(why, "as in"));
    }
}

static void dates_fall_on_their_day_of_the_week(void **state)
{
    (void)state;
    char buf[16];
    assert_string_equal(rx_week_minute_print(at("2026-01-05 09:00"), buf), "Mon 09:00");
    assert_string_equal(rx_week_minute_print(at("2024-02-29 23:59"), buf), "Thu 23:59");
    assert_string_equal(rx_week_minute_print(at("2000-03-01 00:00"), buf), "Wed 00:00");
    assert_string_equal(rx_week_minute_print(at("1999-12-31 12:30"), buf), "Fri 12:30");
    static const char *const bad[] = { "2026-02-29 10:00", "2026-13-01 10:00", "2026-01-32 10:00", "2026-01-05",
                                       "2026-01-05 24:00", "2026-01-05 09:00:00", "26-01-05 09:00", "", "1900-02-29 00:00" };
    for (unsigned i = 0; i < RX_COUNT(bad); i++) {
        uint32_t minute;
        if (!rx_week_minute_parse(bad[i], &minute))
            fail_msg("%s was taken", bad[i]);
    }
}

static void the_local_time_zone_is_what_counts(void **state)
{
    (void)state;
    const time_t monday_0900_utc = 1767603600; // 2026-01-05
    setenv("TZ", "UTC", 1);
    tzset();
    assert_int_equal(rx_week_minute(monday_0900_utc), at("2026-01-05 09:00"));
    setenv("TZ", "XXX-5:30", 1);
    tzset();
    assert_int_equal(rx_week_minute(monday_0900_utc), at("2026-01-05 14:30"));
    setenv("TZ", "XXX+12", 1);
    tzset();
    assert_int_equal(rx_week_minute(monday_0900_utc), at("2026-01-04 21:00"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(office_hours_begin_and_end_on_the_minute),
        cmocka_unit_test(a_night_belongs_to_the_day_it_begins_on),
        cmocka_unit_test(days_alone_are_whole_days_and_lists_and_ranges_over_the_weekend_work),
        cmocka_unit_test(what_is_printed_reads_as_the_same),
        cmocka_unit_test(what_is_no_time_is_refused_with_words),
        cmocka_unit_test(dates_fall_on_their_day_of_the_week),
        cmocka_unit_test(the_local_time_zone_is_what_counts),
    };
    return cmocka_run_group_tests_name("during", tests, NULL, NULL);
}
