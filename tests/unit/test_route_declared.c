// SPDX-License-Identifier: MIT
// Enters: protocols declared by prefixes and patterns, few and very many. Leaves: that they are told as one who
// compares them one by one would tell them.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "identify.h"
#include "world.h"

// ---- prefixes -----------------------------------------------------------------------------------------------------

static void a_prefix_is_there_or_coming_or_not(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_prefixes(&d, "game", "GAME1", "PLAY", NULL), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "G"), WORLD_MORE);
    assert_int_equal(world_route(c, "GAME"), WORLD_MORE);
    assert_int_equal(world_route(c, "GAME1"), 0);
    assert_int_equal(world_route(c, "GAME1 and more"), 0);
    assert_int_equal(world_route(c, "PLAY"), 0);
    assert_int_equal(world_route(c, "GAME2"), WORLD_NONE);
    assert_int_equal(world_route(c, "X"), WORLD_NONE);
    assert_int_equal(world_route(c, "PLAX"), WORLD_NONE);
    rx_conf_unref(c);
}

static void of_nested_prefixes_the_first_route_wins_once_it_is_certain(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_prefixes(&d, "longest", "ABCD", NULL), -1);
    draft_route(&d, draft_prefixes(&d, "short", "AB", NULL), -1);
    draft_route(&d, draft_prefixes(&d, "longer", "ABC", NULL), -1); // never: "short" is there first
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "AB"), WORLD_MORE);
    assert_int_equal(world_route(c, "ABC"), WORLD_MORE);
    assert_int_equal(world_route(c, "ABCD"), 0);
    assert_int_equal(world_route(c, "ABCX"), 1);
    assert_int_equal(world_route(c, "ABX"), 1);
    assert_int_equal(world_route_ended(c, "ABC", RX_ENDED_EOF), 1);
    rx_conf_unref(c);
}

static void equal_prefixes_of_two_protocols_go_to_the_first_that_holds(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_prefixes(&d, "one", "SAME", NULL), RX_COND_FROM, "10.0.0.0/8", -1);
    draft_route(&d, draft_prefixes(&d, "two", "SAME", NULL), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "SAME"), 1);
    struct rx_decision x = world_decide(c, &(struct world_client){ .from = "10.1.1.1" }, "SAME", 4);
    assert_int_equal(world_place(&x), 0);
    assert_string_equal(x.seen->name, "one");
    rx_conf_unref(c);
}

// However many prefixes lie on one path, one that does not hold never hides one that does.
static void a_hundred_nested_prefixes_hide_none(void **state)
{
    (void)state;
    enum { DEEP = 100 };
    char text[DEEP + 1];
    memset(text, 'A', DEEP);
    text[DEEP] = 0;
    struct draft d;
    draft_begin(&d);
    for (int i = 1; i < DEEP; i++) {
        char prefix[DEEP + 1];
        snprintf(prefix, sizeof prefix, "%.*s", i, text);
        draft_route(&d, draft_prefixes(&d, "deep", prefix, NULL), RX_COND_FROM, "10.0.0.0/8", -1);
    }
    draft_route(&d, draft_prefixes(&d, "deepest", text, NULL), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, text), DEEP - 1);
    struct rx_decision x = world_decide(c, &(struct world_client){ .from = "10.1.1.1" }, text, 3);
    assert_int_equal(world_place(&x), 0);
    rx_conf_unref(c);
}

static void one_protocol_with_many_nested_prefixes_hides_no_other(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int many = draft_prefixes(&d, "many", "A", NULL);
    for (uint32_t i = 2; i <= 40; i++) {
        static const char text[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert_int_equal(rx_door.proto_prefix(d.b, many, (struct rx_slice){ text, i }), 0);
    }
    draft_route(&d, many, RX_COND_FROM, "10.0.0.0/8", -1);
    draft_route(&d, draft_prefixes(&d, "other", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", NULL), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), 1);
    rx_conf_unref(c);
}

static void a_thousand_prefixes_are_each_told(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    char text[32];
    struct draft d;
    draft_begin(&d);
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "%cP%03d|", 'A' + i % 7, i);
        draft_route(&d, draft_prefixes(&d, text, text, NULL), -1);
    }
    struct rx_conf *c = draft_finish(&d);
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "%cP%03d|x", 'A' + i % 7, i);
        assert_int_equal(world_route(c, text), i);
        text[5] = 0;
        assert_int_equal(world_route(c, text), WORLD_MORE);
        text[4] = 'x';
        assert_int_equal(world_route(c, text), WORLD_NONE);
    }
    rx_conf_unref(c);
}

static void prefixes_of_any_bytes_work(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    for (unsigned b = 0; b < 256; b++) {
        int id = rx_door.proto_new(d.b, &(struct rx_proto_spec){ .name = world_slice("b") });
        char two[2] = { (char)b, 0 };
        assert_int_equal(rx_door.proto_prefix(d.b, id, (struct rx_slice){ two, 2 }), 0);
        draft_route(&d, id, -1);
    }
    int root = rx_door.proto_new(d.b, &(struct rx_proto_spec){ .name = world_slice("fan") });
    for (unsigned b = 0; b < 256; b++) {
        char three[3] = { 'z', 1, (char)b }; // one node with 256 branches
        assert_int_equal(rx_door.proto_prefix(d.b, root, (struct rx_slice){ three, 3 }), 0);
    }
    draft_route(&d, root, -1);
    struct rx_conf *c = draft_finish(&d);
    for (unsigned b = 0; b < 256; b++) {
        char two[3] = { (char)b, 0, 'x' }, three[3] = { 'z', 1, (char)b };
        assert_int_equal(world_route_n(c, two, 1), WORLD_MORE);
        assert_int_equal(world_route_n(c, two, 2), (int)b);
        assert_int_equal(world_route_n(c, two, 3), (int)b);
        assert_int_equal(world_route_n(c, three, 2), WORLD_MORE);
        assert_int_equal(world_route_n(c, three, 3), 256);
    }
    rx_conf_unref(c);
}

// Beside one who compares every prefix in order, on random sets full of shared beginnings.
static void random_prefixes_agree_with_comparing_one_by_one(void **state)
{
    (void)state;
    enum { PROTOS = 12 };
    uint32_t seed = 5;
    for (int round = 0; round < 400; round++) {
        char prefix[PROTOS][8], text[10];
        struct draft d;
        draft_begin(&d);
        for (unsigned i = 0; i < PROTOS; i++) {
            unsigned n = 1 + (seed >> 20) % 6;
            for (unsigned k = 0; k < n; k++, seed = seed * 1664525 + 1013904223)
                prefix[i][k] = "ABC"[(seed >> 16) % 3];
            prefix[i][n] = 0;
            draft_route(&d, draft_prefixes(&d, "r", prefix[i], NULL), -1);
        }
        struct rx_conf *c = draft_finish(&d);
        for (unsigned k = 0; k < 40; k++) {
            unsigned n = 1 + (seed >> 22) % 8;
            for (unsigned i = 0; i < n; i++, seed = seed * 1664525 + 1013904223)
                text[i] = "ABC"[(seed >> 16) % 3];
            text[n] = 0;
            int want = WORLD_NONE;
            for (int i = PROTOS - 1; i >= 0; i--) {
                size_t len = strlen(prefix[i]);
                if (!strncmp(prefix[i], text, RX_MIN(len, n)))
                    want = n >= len ? i : WORLD_MORE;
            }
            if (world_route(c, text) != want)
                fail_msg("round %d: \"%s\" is %d, not %d", round, text, world_route(c, text), want);
        }
        rx_conf_unref(c);
    }
}

static void a_longer_prefix_of_the_same_protocol_is_not_waited_for(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_prefixes(&d, "p", "AB", "ABCD", NULL), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "AB"), 0);
    assert_int_equal(world_route(c, "A"), WORLD_MORE);
    rx_conf_unref(c);
}

// ---- patterns -----------------------------------------------------------------------------------------------------

static uint8_t hay[4096];

static int find_at(const struct rx_conf *c, const char *needle, size_t at, size_t n)
{
    memset(hay, '.', sizeof hay);
    memcpy(hay + at, needle, strlen(needle));
    return world_route_n(c, hay, n);
}

static void a_pattern_is_found_anywhere_within(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_patterns(&d, "p", 300, "needle", "NADEL", NULL), -1);
    struct rx_conf *c = draft_finish(&d);
    for (size_t at = 0; at + 6 <= 300; at++) {
        assert_int_equal(find_at(c, "needle", at, at + 5), WORLD_MORE);
        assert_int_equal(find_at(c, "needle", at, at + 6), 0);
        assert_int_equal(find_at(c, "needle", at, 2000), 0);
        assert_int_equal(find_at(c, "NADEL", at, 400), 0);
    }
    rx_conf_unref(c);
}

static void a_pattern_across_the_end_of_within_does_not_count(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_patterns(&d, "p", 100, "needle", NULL), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(find_at(c, "needle", 94, 100), 0);
    for (size_t at = 95; at < 110; at++) {
        assert_int_equal(find_at(c, "needle", at, 99), WORLD_MORE);
        assert_int_equal(find_at(c, "needle", at, 100), WORLD_NONE); // for good
        assert_int_equal(find_at(c, "needle", at, 200), WORLD_NONE);
    }
    rx_conf_unref(c);
}

static void patterns_that_begin_with_many_different_bytes_are_found(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 9; n++) { // few first bytes are looked for in blocks, more by table
        struct draft d;
        draft_begin(&d);
        int id = rx_door.proto_new(d.b, &(struct rx_proto_spec){ .name = world_slice("p"), .within = 200 });
        for (unsigned i = 0; i < n; i++) {
            char text[3] = { (char)('a' + i * 3), 'x', (char)('0' + i) };
            assert_int_equal(rx_door.proto_pattern(d.b, id, (struct rx_slice){ text, 3 }), 0);
        }
        draft_route(&d, id, -1);
        struct rx_conf *c = draft_finish(&d);
        for (unsigned i = 0; i < 10; i++) {
            char text[4] = { (char)('a' + i * 3), 'x', (char)('0' + i), 0 };
            for (size_t at = 0; at < 197; at += 7)
                assert_int_equal(find_at(c, text, at, 250), i < n ? 0 : WORLD_NONE);
            text[2] = '!';
            assert_int_equal(find_at(c, text, 50, 250), WORLD_NONE);
        }
        rx_conf_unref(c);
    }
}

static void a_pattern_that_repeats_its_first_byte_is_found_behind_false_starts(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_patterns(&d, "p", 500, "aaab", NULL), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), 0);
    assert_int_equal(world_route(c, "aaaaaaaa"), WORLD_MORE);
    rx_conf_unref(c);
}

static void a_pattern_one_byte_long_is_found(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int id = rx_door.proto_new(d.b, &(struct rx_proto_spec){ .name = world_slice("p"), .within = 4 });
    assert_int_equal(rx_door.proto_pattern(d.b, id, (struct rx_slice){ "\0", 1 }), 0);
    draft_route(&d, id, -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route_n(c, "abc\0", 4), 0);
    assert_int_equal(world_route_n(c, "abcd\0", 5), WORLD_NONE);
    assert_int_equal(world_route_n(c, "abc", 3), WORLD_MORE);
    rx_conf_unref(c);
}

static void prefixes_and_patterns_of_one_protocol_are_alternatives(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int id = draft_patterns(&d, "both", 20, "needle", NULL);
    assert_int_equal(rx_door.proto_prefix(d.b, id, world_slice("HAY:")), 0);
    draft_route(&d, id, -1);
    draft_route(&d, draft_builtin(&d, "any"), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "HAY:"), 0);
    assert_int_equal(world_route(c, "HAY"), WORLD_MORE);
    assert_int_equal(world_route(c, "HAX needle"), 0);
    assert_int_equal(world_route(c, "........needle"), 0);
    assert_int_equal(world_route(c, "HAX................."), 1);
    assert_int_equal(world_route(c, "HAX................"), WORLD_MORE);
    rx_conf_unref(c);
}

static bool is_candidate(const struct rx_conf *c, unsigned byte)
{
    for (const struct rx_cand *k = c->listens[0]->tcp->first[byte].list; k->identify; k++)
        if (k->known)
            return true;
    return false;
}

static void a_function_is_a_candidate_for_its_first_bytes_alone(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int fn = rx_door.fn_new(d.b, RX_FN_IDENTIFY, world_slice("x.lua:1"));
    struct rx_proto_spec spec = { .name = world_slice("p"), .transport = RX_TCP, .identify = fn };
    int id = rx_door.proto_new(d.b, &spec);
    assert_int_equal(rx_door.proto_first(d.b, id, 'G', 'G'), 0);
    assert_int_equal(rx_door.proto_first(d.b, id, 250, 255), 0);
    assert_int_equal(rx_door.proto_first(d.b, id, 2, 1), -1);
    assert_int_equal(rx_door.proto_first(d.b, id, 250, 256), -1);
    assert_int_equal(rx_door.proto_first(d.b, draft_prefixes(&d, "q", "x", NULL), 1, 2), -1);
    draft_route(&d, id, -1);
    struct rx_conf *c = draft_finish(&d);
    for (unsigned b = 0; b < 256; b++)
        assert_int_equal(is_candidate(c, b), b == 'G' || b >= 250);
    rx_conf_unref(c);
}

// Their beginnings are hashed: what is there must be found however many there are, of whatever length.
static void prefixes_beside_a_built_in_that_begins_like_them_are_found(void **state)
{
    (void)state;
    enum { N = 600 };
    static const char get[] = "GET /index.html HTTP/1.1\r\n";
    for (unsigned least = 2; least <= 12; least++) {
        char text[N][24];
        struct draft d;
        draft_begin(&d);
        for (unsigned i = 0; i < N; i++) {
            snprintf(text[i], sizeof text[i], "G%*u;", (int)(least - 2 + i % 3), i);
            draft_route(&d, draft_prefixes(&d, text[i] + 0, text[i], NULL), -1);
        }
        draft_route(&d, draft_builtin(&d, "http"), -1);
        struct rx_conf *c = draft_finish(&d);
        assert_int_equal(world_route(c, get), N);
        for (unsigned i = 0; i < N; i++) {
            char more[64];
            snprintf(more, sizeof more, "%s and more", text[i]);
            assert_int_equal(world_route(c, text[i]), i);
            assert_int_equal(world_route(c, more), i);
            more[strlen(text[i]) - 1] = '\0';
            assert_int_equal(world_route(c, more), WORLD_MORE);
        }
        rx_conf_unref(c);
    }
}

static void an_entry_asked_alone_says_what_the_trie_says(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_prefixes(&d, "p", "AB", "ABCD", "X", NULL), -1);
    struct rx_conf *c = draft_finish(&d);
    const struct rx_entry *e = &c->listens[0]->tcp->entries[0];
    static const char *const texts[] = { "A", "AB", "ABC", "AC", "X", "Y", "XY" };
    for (size_t i = 0; i < RX_COUNT(texts); i++) {
        struct rx_facts f = { 0 };
        uint32_t n = (uint32_t)strlen(texts[i]);
        enum rx_verdict v = rx_known_ask(e->known, (const uint8_t *)texts[i], n, &f, NULL);
        int want = world_route(c, texts[i]);
        assert_int_equal(v == RX_MATCH ? 0 : v == RX_MORE ? WORLD_MORE : WORLD_NONE, want);
    }
    rx_conf_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_is_there_or_coming_or_not),
        cmocka_unit_test(of_nested_prefixes_the_first_route_wins_once_it_is_certain),
        cmocka_unit_test(equal_prefixes_of_two_protocols_go_to_the_first_that_holds),
        cmocka_unit_test(a_hundred_nested_prefixes_hide_none),
        cmocka_unit_test(one_protocol_with_many_nested_prefixes_hides_no_other),
        cmocka_unit_test(a_thousand_prefixes_are_each_told),
        cmocka_unit_test(prefixes_of_any_bytes_work),
        cmocka_unit_test(random_prefixes_agree_with_comparing_one_by_one),
        cmocka_unit_test(a_longer_prefix_of_the_same_protocol_is_not_waited_for),
        cmocka_unit_test(a_pattern_is_found_anywhere_within),
        cmocka_unit_test(a_pattern_across_the_end_of_within_does_not_count),
        cmocka_unit_test(patterns_that_begin_with_many_different_bytes_are_found),
        cmocka_unit_test(a_pattern_that_repeats_its_first_byte_is_found_behind_false_starts),
        cmocka_unit_test(a_pattern_one_byte_long_is_found),
        cmocka_unit_test(prefixes_and_patterns_of_one_protocol_are_alternatives),
        cmocka_unit_test(a_function_is_a_candidate_for_its_first_bytes_alone),
        cmocka_unit_test(prefixes_beside_a_built_in_that_begins_like_them_are_found),
        cmocka_unit_test(an_entry_asked_alone_says_what_the_trie_says),
    };
    return cmocka_run_group_tests_name("route declared", tests, NULL, NULL);
}
