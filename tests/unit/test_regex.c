// SPDX-License-Identifier: MIT
// core/regex.c: what is found where, and that no pattern on no text takes long.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "regex.h"
#include "sys.h"

static uint32_t spans[2 * RX_REGEX_SPANS];

static struct rx_regex *compile(const char *pattern, unsigned flags)
{
    char err[128] = "";
    struct rx_regex *r = rx_regex_new(pattern, strlen(pattern), flags, err);
    if (!r)
        fail_msg("%s: %s", pattern, err);
    return r;
}

static int find(const char *pattern, const char *text, size_t from)
{
    struct rx_regex *r = compile(pattern, RX_REGEX_GROUPS);
    int n = rx_regex_find(r, (const uint8_t *)text, strlen(text), from, 0, spans);
    rx_regex_free(r);
    return n;
}

static void a_match_tells_where_it_and_its_groups_are(void **state)
{
    (void)state;
    assert_int_equal(find("b+", "aabbc", 0), 1);
    assert_true(spans[0] == 2 && spans[1] == 4);
    assert_int_equal(find("a(b)?(c)(x)?", "xxac", 0), 4);
    assert_true(spans[0] == 2 && spans[1] == 4);
    assert_true(spans[2] == UINT32_MAX && spans[3] == UINT32_MAX);
    assert_true(spans[4] == 3 && spans[5] == 4);
    assert_true(spans[6] == UINT32_MAX && spans[7] == UINT32_MAX);
    assert_int_equal(find("b", "abab", 2), 1);
    assert_int_equal(spans[0], 3);
    assert_int_equal(find("^b", "bb", 1), 0);
    assert_int_equal(find("(?<=a)b", "ab", 1), 1);
    assert_int_equal(find("x", "abc", 9), 0);
    assert_int_equal(find("", "", 0), 1);
}

static void case_counts_unless_said_otherwise(void **state)
{
    (void)state;
    assert_int_equal(find("ABC", "abc", 0), 0);
    assert_int_equal(find("(?i)ABC", "abc", 0), 1);
    struct rx_regex *r = compile("ABC", RX_REGEX_CASELESS);
    assert_true(rx_regex_has(r, (const uint8_t *)"xabcx", 5));
    rx_regex_free(r);
}

// Every place of a long text is a starting place, also those at the seams of the windows.
static void what_stands_anywhere_in_a_long_text_is_found(void **state)
{
    (void)state;
    char text[1000];
    for (size_t at = 0; at + 3 < sizeof text; at++) {
        memset(text, 'a', sizeof text - 1);
        text[sizeof text - 1] = 0;
        memcpy(text + at, "xyz", 3);
        assert_int_equal(find("x(y)z", text, 0), 2);
        assert_int_equal(spans[0], at);
        assert_int_equal(find("x(y)z", text, at), 2);
        assert_int_equal(find("x(y)z", text, at + 1), 0);
    }
}

static void patterns_that_do_not_compile_say_why(void **state)
{
    (void)state;
    char err[128];
    assert_null(rx_regex_new("a(b", 3, 0, err));
    assert_string_equal(err, "missing closing parenthesis at character 4");
    static const char many[] = "()()()()()()()()()()";
    assert_null(rx_regex_new(many, strlen(many), RX_REGEX_GROUPS, err));
    assert_non_null(strstr(err, "has 10 groups and may have 9"));
    rx_regex_free(compile(many, RX_REGEX_CASELESS));
}

static void no_pattern_runs_for_long_on_any_text(void **state)
{
    (void)state;
    static const char *const evil[] = { "(a+)+$", "(a|aa)+$", "(.*)*x", "a.*b.*c.*x", "(?:a?){30}a{30}x", "a.*x" };
    size_t len = 64 * 1024;
    uint8_t *text = malloc(len);
    memset(text, 'a', len);
    text[len - 1] = '!';
    for (unsigned i = 0; i < RX_COUNT(evil); i++)
        for (size_t n = 16; n <= len; n *= 2) {
            struct rx_regex *r = compile(evil[i], 0);
            uint64_t since = rx_sys_now_ns();
            int rc = rx_regex_find(r, text + len - n, n, 0, since + 20 * 1000000, spans);
            uint64_t took = rx_sys_now_ns() - since;
            assert_true(rc <= 0);
            assert_true(took < 500 * 1000000ul); // one window more than asked for, on a busy machine with a sanitizer
            assert_false(rx_regex_has(r, text + len - n, n));
            rx_regex_free(r);
        }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_match_tells_where_it_and_its_groups_are),
        cmocka_unit_test(case_counts_unless_said_otherwise),
        cmocka_unit_test(what_stands_anywhere_in_a_long_text_is_found),
        cmocka_unit_test(patterns_that_do_not_compile_say_why),
        cmocka_unit_test(no_pattern_runs_for_long_on_any_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
