// SPDX-License-Identifier: MIT
// Enters: metrics as scripts declare and use them. Leaves: that core/metric.c counts exactly, keeps its bounds, and
// prints what Prometheus reads, whatever a client made the label values say.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>

#include "athome.h"
#include "metric.h"

static struct rx_metric *get(const char *name, enum rx_metric_kind kind, const char *labels)
{
    const char *why;
    return rx_metric_get(&rx_test_home()->metrics, name, "words", kind, labels, &why);
}

static void add(struct rx_metric *m, double by, const char *a, const char *b)
{
    struct rx_metric_key key = { 0 };
    if (a)
        rx_metric_key_add(&key, a, strlen(a));
    if (b)
        rx_metric_key_add(&key, b, strlen(b));
    rx_metric_add(m, &key, by);
}

static char *printed(void)
{
    static char *text;
    size_t n;
    free(text);
    FILE *f = open_memstream(&text, &n);
    rx_metric_print(&rx_test_home()->metrics, f);
    fclose(f);
    return text;
}

static void shows(const char *line)
{
    const char *at = strstr(printed(), line);
    if (!at)
        fail_msg("no %s in\n%s", line, printed());
}

static void every_set_of_labels_has_a_value_of_its_own(void **state)
{
    (void)state;
    struct rx_metric *m = get("knocks_total", RX_METRIC_COUNTER, "route,result"), *g = get("depth", RX_METRIC_GAUGE, "");
    shows("# HELP depth words\n# TYPE depth gauge\ndepth 0\n# HELP knocks_total words\n# TYPE knocks_total counter\n");
    add(m, 1, "ssh", "ok");
    add(m, 2, "ssh", "ok");
    add(m, 5, "ssh", "no");
    add(m, 7, "", "sshok");
    struct rx_metric_key none = { 0 };
    rx_metric_set(g, &none, 2.5);
    rx_metric_add(g, &none, -1);
    shows("knocks_total{route=\"ssh\",result=\"ok\"} 3\n");
    shows("knocks_total{route=\"ssh\",result=\"no\"} 5\n");
    shows("knocks_total{route=\"\",result=\"sshok\"} 7\n");
    shows("depth 1.5\n");
    add(m, 1, "ssh", NULL); // one label too few: nothing
    shows("result=\"ok\"} 3\n");
    rx_metric_put(m);
    rx_metric_put(g);
    assert_string_equal(printed(), "");
}

static void a_metric_lives_while_somebody_has_it_and_conflicts_are_told(void **state)
{
    (void)state;
    const char *why;
    struct rx_metric *a = get("a_total", RX_METRIC_COUNTER, "x");
    add(a, 3, "1", NULL);
    struct rx_metric *again = rx_metric_get(&rx_test_home()->metrics, "a_total", "other words", RX_METRIC_COUNTER, "x", &why);
    assert_ptr_equal(a, again);
    assert_null(rx_metric_get(&rx_test_home()->metrics, "a_total", "", RX_METRIC_GAUGE, "x", &why));
    assert_string_equal(why, "is in use as a counter");
    assert_null(rx_metric_get(&rx_test_home()->metrics, "a_total", "", RX_METRIC_COUNTER, "x,y", &why));
    assert_string_equal(why, "is in use with other labels");
    rx_metric_put(a);
    shows("# HELP a_total other words\n");
    shows("a_total{x=\"1\"} 3\n");
    rx_metric_put(again);
    a = get("a_total", RX_METRIC_GAUGE, "");
    shows("a_total 0\n");
    rx_metric_put(a);
}

static void peers_cannot_break_the_text(void **state)
{
    (void)state;
    struct rx_metric *m = get("m_total", RX_METRIC_COUNTER, "v");
    add(m, 1, "a\"b\\c\nd", NULL);
    add(m, 2, "\xff\xc3\xa9\xc3(\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82", NULL);
    add(m, 3, "\x01\x7f", NULL);
    shows("m_total{v=\"a\\\"b\\\\c\\nd\"} 1\n");
    shows("m_total{v=\"\\\\xff\xc3\xa9\\\\xc3(\\\\xed\\\\xa0\\\\x80\\\\xf4\\\\x90\\\\x80\\\\x80\\\\xe2\\\\x82\"} 2\n");
    shows("m_total{v=\"\\\\x01\\\\x7f\"} 3\n");
    char longest[RX_METRIC_LABEL_MAX + 50];
    memset(longest, 'y', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    add(m, 4, longest, NULL);
    longest[RX_METRIC_LABEL_MAX] = '\0';
    char line[RX_METRIC_LABEL_MAX + 80];
    snprintf(line, sizeof line, "m_total{v=\"%s\"} 4\n", longest);
    shows(line);
    rx_metric_put(m);
}

static void numbers_are_printed_as_prometheus_reads_them(void **state)
{
    (void)state;
    struct rx_metric *m = get("n", RX_METRIC_GAUGE, "");
    struct rx_metric_key none = { 0 };
    const struct {
        double v;
        const char *line;
    } all[] = { { 0.1, "n 0.10000000000000001\n" }, { -5, "n -5\n" },      { 1e300, "n 1.0000000000000001e+300\n" },
                { NAN, "n NaN\n" },                 { INFINITY, "n +Inf\n" }, { -INFINITY, "n -Inf\n" } };
    for (unsigned i = 0; i < RX_COUNT(all); i++) {
        rx_metric_set(m, &none, all[i].v);
        shows(all[i].line);
    }
    rx_metric_put(m);
}

static void one_set_of_labels_too_many_is_counted_and_nothing_else(void **state)
{
    (void)state;
    struct rx_metric *m = get("m_total", RX_METRIC_COUNTER, "v");
    char value[16];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < RX_METRIC_SERIES + 50; i++) {
            snprintf(value, sizeof value, "%d", i);
            add(m, 1, value, NULL);
        }
    shows("m_total{v=\"999\"} 2\n");
    shows("refractium_script_metric_overflow_total{metric=\"m_total\"} 100\n");
    assert_null(strstr(printed(), "m_total{v=\"1000\"}"));
    rx_metric_put(m);
}

enum { THREADS = 4, ROUNDS = 30000 };

static void *work(void *arg)
{
    char value[16];
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(value, sizeof value, "%d", i % 100);
        add(arg, 1, value, NULL);
    }
    return NULL;
}

static void threads_count_exactly_together(void **state)
{
    (void)state;
    struct rx_metric *m = get("m_total", RX_METRIC_COUNTER, "v");
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, work, m), 0);
    for (int i = 0; i < 20; i++)
        printed();
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 100; i++) {
        char line[40];
        snprintf(line, sizeof line, "m_total{v=\"%d\"} %d\n", i, THREADS * ROUNDS / 100);
        shows(line);
    }
    shows("refractium_script_metric_overflow_total{metric=\"m_total\"} 0\n");
    rx_metric_put(m);
    printed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_of_labels_has_a_value_of_its_own),
        cmocka_unit_test(a_metric_lives_while_somebody_has_it_and_conflicts_are_told),
        cmocka_unit_test(peers_cannot_break_the_text),
        cmocka_unit_test(numbers_are_printed_as_prometheus_reads_them),
        cmocka_unit_test(one_set_of_labels_too_many_is_counted_and_nothing_else),
        cmocka_unit_test(threads_count_exactly_together),
    };
    return cmocka_run_group_tests_name("metric", tests, NULL, NULL);
}
