// SPDX-License-Identifier: MIT
// Enters: patterns and names. Leaves: that core/names.c finds what a naive comparison finds, however many there are.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "names.h"

static void add(struct rx_names *t, const char *pattern, uint32_t route)
{
    assert_int_equal(rx_names_add(t, pattern, strlen(pattern), route), 0);
}

static struct rx_names *table(const char *const *patterns)
{
    struct rx_names *t = rx_names_new();
    assert_non_null(t);
    for (uint32_t i = 0; patterns[i]; i++)
        add(t, patterns[i], i);
    return t;
}

// The routes found for a name, as a set of bits; lists must be ascending.
static uint64_t find_n(const struct rx_names *t, const char *name, size_t len)
{
    struct rx_ids lists[RX_NAME_LISTS];
    uint64_t set = 0;
    unsigned n = rx_names_find(t, (const uint8_t *)name, len, lists);
    for (unsigned i = 0; i < n; i++) {
        assert_true(lists[i].n > 0);
        for (uint32_t k = 0; k < lists[i].n; k++) {
            assert_true(k == 0 || lists[i].ids[k] > lists[i].ids[k - 1]);
            set |= 1ull << lists[i].ids[k];
        }
    }
    return set;
}

static uint64_t find(const struct rx_names *t, const char *name)
{
    return find_n(t, name, strlen(name));
}

static void an_exact_name_is_found_alone(void **state)
{
    (void)state;
    struct rx_names *t = table((const char *const[]){ "a.test", "b.test", NULL });
    assert_int_equal(find(t, "a.test"), 1);
    assert_int_equal(find(t, "b.test"), 2);
    assert_int_equal(find(t, "c.test"), 0);
    assert_int_equal(find(t, "x.a.test"), 0);
    assert_int_equal(find(t, "a.tes"), 0);
    assert_int_equal(find(t, "a.testt"), 0);
    assert_int_equal(find(t, ""), 0);
    rx_names_free(t);
}

static void a_suffix_covers_any_depth_but_not_itself(void **state)
{
    (void)state;
    struct rx_names *t = table((const char *const[]){ "*.a.test", NULL });
    assert_int_equal(find(t, "x.a.test"), 1);
    assert_int_equal(find(t, "x.y.z.a.test"), 1);
    assert_int_equal(find(t, "a.test"), 0);
    assert_int_equal(find(t, ".a.test"), 0);
    assert_int_equal(find(t, "xa.test"), 0);
    assert_int_equal(find(t, "x.a.test.b"), 0);
    rx_names_free(t);
}

static void all_lists_that_cover_a_name_are_found(void **state)
{
    (void)state;
    struct rx_names *t = table((const char *const[]){ "*.test", "x.a.test", "*.a.test", "*.b.test", NULL });
    assert_int_equal(find(t, "x.a.test"), 1 | 2 | 4);
    assert_int_equal(find(t, "a.test"), 1);
    rx_names_free(t);
}

static void case_and_one_trailing_dot_do_not_matter(void **state)
{
    (void)state;
    struct rx_names *t = table((const char *const[]){ "ExAmple.TEST", "*.Sub.test.", "dotted.test.", NULL });
    assert_int_equal(find(t, "eXample.test"), 1);
    assert_int_equal(find(t, "example.test."), 1);
    assert_int_equal(find(t, "example.test.."), 0);
    assert_int_equal(find(t, "A.SUB.TEST"), 2);
    assert_int_equal(find(t, "a.sub.test."), 2);
    assert_int_equal(find(t, "dotted.test"), 4);
    rx_names_free(t);
}

// Folding works on eight bytes at a time: only letters may change.
static void only_letters_are_folded(void **state)
{
    (void)state;
    for (unsigned c = 1; c < 256; c++) {
        char pattern[12], name[12];
        snprintf(pattern, sizeof pattern, "abcdef%c.t", (int)c);
        struct rx_names *t = table((const char *const[]){ pattern, NULL });
        for (unsigned d = 1; d < 256; d++) {
            snprintf(name, sizeof name, "abcdef%c.t", (int)d);
            bool is_letter = (c | 32) >= 'a' && (c | 32) <= 'z' && c < 128;
            bool is_same = c == d || (is_letter && (c ^ d) == 32);
            if (find(t, name) != is_same)
                fail_msg("pattern byte %02x, name byte %02x", c, d);
        }
        rx_names_free(t);
    }
}

static void a_name_with_a_nul_byte_is_not_the_name_before_it(void **state)
{
    (void)state;
    struct rx_names *t = table((const char *const[]){ "a.test", "*.b.test", NULL });
    assert_int_equal(find_n(t, "a.test\0", 7), 0);
    assert_int_equal(find_n(t, "a.test\0.b.test", 14), 2);
    rx_names_free(t);
}

static void one_name_may_have_many_routes_each_once(void **state)
{
    (void)state;
    struct rx_names *t = rx_names_new();
    for (uint32_t i = 0; i < 40; i++) {
        add(t, "a.test", i);
        add(t, "A.TEST", i); // the same route again
    }
    struct rx_ids lists[RX_NAME_LISTS];
    assert_int_equal(rx_names_find(t, (const uint8_t *)"a.test", 6, lists), 1);
    assert_int_equal(lists[0].n, 40);
    rx_names_free(t);
}

static void the_longest_names_are_looked_up_and_longer_ones_are_not(void **state)
{
    (void)state;
    char name[300];
    memset(name, 'n', sizeof name);
    struct rx_names *t = rx_names_new();
    assert_int_equal(rx_names_add(t, name, RX_NAME_MAX, 0), 0);
    assert_int_not_equal(rx_names_add(t, name, RX_NAME_MAX + 1, 1), 0);
    assert_int_equal(find_n(t, name, RX_NAME_MAX), 1);
    assert_int_equal(find_n(t, name, RX_NAME_MAX + 1), 0);
    assert_int_equal(find_n(t, name, RX_NAME_MAX - 1), 0);
    rx_names_free(t);
}

// 127 labels, each boundary with its own suffix: no list may be left out, none written past the array.
static void a_name_of_nothing_but_labels_finds_every_suffix(void **state)
{
    (void)state;
    char pattern[300] = "*.", name[256];
    struct rx_names *t = rx_names_new();
    for (unsigned i = 0; i < 255; i++)
        name[i] = i % 2 ? '.' : 'a';
    for (uint32_t n = 1; n < 255; n += 2) {
        memcpy(pattern + 2, name, n); // "a", "a.a", …: what stands behind each dot
        assert_int_equal(rx_names_add(t, pattern, n + 2, n), 0);
    }
    struct rx_ids lists[RX_NAME_LISTS];
    assert_int_equal(rx_names_find(t, (const uint8_t *)name, 255, lists), 127);
    assert_int_equal(rx_names_find(t, (const uint8_t *)name, 3, lists), 1);
    rx_names_free(t);
}

static void a_hundred_thousand_names_are_each_found(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    struct rx_ids lists[RX_NAME_LISTS];
    char name[64];
    struct rx_names *t = rx_names_new();
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, i % 2 ? "*.host%u.example" : "host%u.example", i);
        add(t, name, i);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, i % 2 ? "www.host%u.example" : "host%u.example", i);
        if (rx_names_find(t, (const uint8_t *)name, strlen(name), lists) != 1 || lists[0].n != 1 ||
            lists[0].ids[0] != i)
            fail_msg("%s", name);
    }
    assert_int_equal(rx_names_find(t, (const uint8_t *)"host100001.example", 18, lists), 0);
    rx_names_free(t);
}

// ---- beside a naive matcher ---------------------------------------------------------------------------------------

static uint64_t naive(char patterns[][16], unsigned n, const char *name)
{
    size_t len = strlen(name);
    uint64_t set = 0;
    len -= len && name[len - 1] == '.';
    for (unsigned i = 0; i < n; i++) {
        const char *p = patterns[i];
        size_t want = strlen(p);
        bool is_suffix = want > 2 && p[0] == '*' && p[1] == '.';
        p += is_suffix, want -= is_suffix; // ".suffix"
        want -= want && p[want - 1] == '.';
        if (is_suffix ? len > want && !strncasecmp(name + len - want, p, want)
                      : len == want && !strncasecmp(name, p, want))
            set |= 1ull << i;
    }
    return set;
}

static void random_name(char *out, uint32_t *seed)
{
    static const char letters[] = "aAbB.-";
    unsigned n = 0;
    do {
        *seed = *seed * 1103515245 + 12345;
        out[n] = letters[(*seed >> 16) % 6];
        if (n && out[n] == '.' && out[n - 1] == '.')
            out[n] = 'a';
    } while (++n < 3 || (n < 12 && (*seed >> 24) % 4));
    if (out[0] == '.')
        out[0] = 'b';
    out[n] = 0;
}

static void random_tables_find_what_a_naive_matcher_finds(void **state)
{
    (void)state;
    uint32_t seed = 7;
    for (unsigned round = 0; round < 2000; round++) {
        char patterns[24][16], name[16];
        struct rx_names *t = rx_names_new();
        for (uint32_t i = 0; i < RX_COUNT(patterns); i++) {
            random_name(patterns[i], &seed);
            if (i % 2)
                memcpy(patterns[i], "*.", 2), patterns[i][2] = 'a';
            add(t, patterns[i], i);
        }
        for (unsigned k = 0; k < 30; k++) {
            random_name(name, &seed);
            if (find(t, name) != naive(patterns, RX_COUNT(patterns), name))
                fail_msg("round %u, name %s", round, name);
        }
        rx_names_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exact_name_is_found_alone),
        cmocka_unit_test(a_suffix_covers_any_depth_but_not_itself),
        cmocka_unit_test(all_lists_that_cover_a_name_are_found),
        cmocka_unit_test(case_and_one_trailing_dot_do_not_matter),
        cmocka_unit_test(only_letters_are_folded),
        cmocka_unit_test(a_name_with_a_nul_byte_is_not_the_name_before_it),
        cmocka_unit_test(one_name_may_have_many_routes_each_once),
        cmocka_unit_test(the_longest_names_are_looked_up_and_longer_ones_are_not),
        cmocka_unit_test(a_name_of_nothing_but_labels_finds_every_suffix),
        cmocka_unit_test(a_hundred_thousand_names_are_each_found),
        cmocka_unit_test(random_tables_find_what_a_naive_matcher_finds),
    };
    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
