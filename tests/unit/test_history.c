// SPDX-License-Identifier: MIT
// Enters: generations built through the door, reloads. Leaves: that core/diff.c names what changed, and that
// core/history.c keeps the last of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "history.h"
#include "world.h"

static void add_route(struct draft *d, const char *name, uint32_t max)
{
    draft_route_spec(d, &(struct rx_route_spec){ .name = world_slice(name),
                                                 .proto = draft_builtin(d, "tls"),
                                                 .to = { .kind = RX_TO_DROP },
                                                 .max_connections = max });
}

static struct rx_conf *conf_of(const char *first, ...)
{
    struct draft d;
    va_list ap;
    draft_begin(&d);
    va_start(ap, first);
    for (const char *name = first; name; name = va_arg(ap, const char *))
        add_route(&d, name, 0);
    va_end(ap);
    return draft_finish(&d);
}

static const char *told(struct rx_conf *old, struct rx_conf *now)
{
    static char text[400];
    struct rx_diff *d = rx_diff_new(old, now);
    assert_non_null(d);
    rx_diff_text(d, text, sizeof text);
    rx_diff_free(d);
    rx_conf_unref(old);
    rx_conf_unref(now);
    return text;
}

static void what_is_the_same_has_not_changed(void **state)
{
    (void)state;
    assert_string_equal(told(conf_of("a", "b", NULL), conf_of("a", "b", NULL)), "no change");
    assert_string_equal(told(conf_of("a", "b", NULL), conf_of("b", "a", NULL)), "no change");
    assert_string_equal(told(conf_of("a", "a", NULL), conf_of("a", "a", NULL)), "no change");
}

static void routes_that_come_and_go_are_named(void **state)
{
    (void)state;
    assert_string_equal(told(conf_of("a", "b", NULL), conf_of("b", "c", NULL)), "routes: +c, -a");
    assert_string_equal(told(conf_of("a", "a", NULL), conf_of("a", NULL)), "routes: -a");
}

static void many_are_counted(void **state)
{
    (void)state;
    struct draft d;
    char name[16];
    draft_begin(&d);
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "r%02d", i);
        add_route(&d, name, 0);
    }
    assert_string_equal(told(conf_of("r00", NULL), draft_finish(&d)), "routes: +r01, +r02, +r03, +r04 and 45 more added");
}

static void limits_are_told_with_their_numbers(void **state)
{
    (void)state;
    struct draft d;
    draft_begin_with(&d, &(struct rx_listen_spec){ .max_pending = 3 });
    add_route(&d, "a", 5);
    struct rx_conf *old = draft_finish(&d);
    draft_begin_with(&d, &(struct rx_listen_spec){ .max_connections_per_ip = 2 });
    add_route(&d, "a", 7);
    assert_string_equal(told(old, draft_finish(&d)), "limits: +127.0.0.1:0 max_connections_per_ip 2, "
                                                     "-127.0.0.1:0 max_pending 3, "
                                                     "~127.0.0.1:0 a max_connections 5 -> 7");
}

static void the_fifty_last_are_kept_and_shown_the_latest_first(void **state)
{
    (void)state;
    static struct rx_history h;
    char who[32];
    for (int i = 1; i <= 70; i++) {
        snprintf(who, sizeof who, "number %d", i);
        struct rx_history_entry *e = rx_history_add(&h, "test", who);
        for (int k = 0; k < 30; k++)
            rx_findings_add(&e->findings, RX_REPORT_ERROR, "\"bad\" \xff", 7);
        rx_history_cut(e);
        rx_history_settle(e, RX_RELOAD_REFUSED, "why not");
    }
    assert_null(rx_history_find(&h, 20));
    assert_null(rx_history_find(&h, 71));
    assert_null(rx_history_find(&h, 0));
    assert_string_equal(rx_history_find(&h, 21)->who, "number 21");
    rx_history_settle(rx_history_find(&h, 21), RX_RELOAD_ROLLED_BACK, NULL);
    rx_history_settle(rx_history_find(&h, 20), RX_RELOAD_ROLLED_BACK, "nobody");

    struct rx_json j = { 0 };
    rx_history_json(&h, &j);
    json_t *list = json_loadb(j.text, j.len, 0, NULL);
    assert_int_equal(json_array_size(list), 50);
    json_t *first = json_array_get(list, 0), *last = json_array_get(list, 49);
    assert_string_equal(json_string_value(json_object_get(first, "who")), "number 70");
    assert_string_equal(json_string_value(json_object_get(first, "note")), "why not");
    assert_int_equal(json_array_size(json_object_get(first, "findings")), RX_HISTORY_FINDINGS);
    assert_true(json_is_null(json_object_get(first, "to_generation")));
    assert_string_equal(json_string_value(json_object_get(last, "result")), "rolled_back");
    assert_true(json_is_null(json_object_get(last, "note")));
    json_decref(list);
    rx_json_free(&j);
    rx_history_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_the_same_has_not_changed),
        cmocka_unit_test(routes_that_come_and_go_are_named),
        cmocka_unit_test(many_are_counted),
        cmocka_unit_test(limits_are_told_with_their_numbers),
        cmocka_unit_test(the_fifty_last_are_kept_and_shown_the_latest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
