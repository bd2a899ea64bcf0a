// SPDX-License-Identifier: MIT
// Enters: URLs of stores, news of other nodes, and ledgers that hear them. Leaves: that each says what it says and no
// more, and that a ledger holds together what was decided here and elsewhere.
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sync_news.h"
#include "sync_url.h"

static struct rx_sync_url good(const char *text)
{
    struct rx_sync_url u;
    char why[RX_SYNC_URL_WHY] = "";
    if (rx_sync_url_parse(text, strlen(text), &u, why))
        fail_msg("%s: %s", text, why);
    return u;
}

static void bad(const char *text, const char *words)
{
    struct rx_sync_url u;
    char why[RX_SYNC_URL_WHY] = "";
    assert_int_equal(rx_sync_url_parse(text, strlen(text), &u, why), -1);
    if (!strstr(why, words))
        fail_msg("%s: %s", text, why);
    assert_null(strstr(why, "secret"));
}

static void a_url_has_these_parts(void **state)
{
    (void)state;
    struct rx_sync_url u = good("redis://me:s%40%3A%2f@r1.lan:7000/12?prefix=blue");
    assert_string_equal(u.host, "r1.lan");
    assert_string_equal(u.user, "me");
    assert_string_equal(u.password, "s@:/");
    assert_string_equal(u.prefix, "blue");
    assert_string_equal(u.shown, "redis://r1.lan:7000/12");
    assert_int_equal(u.port, 7000);
    assert_int_equal(u.db, 12);
    u = good("redis://[::1]");
    assert_string_equal(u.host, "::1");
    assert_int_equal(u.port, 6379);
    assert_string_equal(u.prefix, "refractium");
    assert_string_equal(u.shown, "redis://[::1]:6379/0");
    u = good("redis://:p@127.0.0.1/");
    assert_string_equal(u.user, "");
    assert_string_equal(u.password, "p");
    u = good("unix:/run/redis.sock");
    assert_string_equal(u.path, "/run/redis.sock");
    u = good("unix://:a@b@/run/r.sock?db=3&prefix=x");
    assert_string_equal(u.password, "a@b");
    assert_string_equal(u.shown, "unix:/run/r.sock?db=3");
}

static void a_url_that_is_none_is_told_why_without_its_secret(void **state)
{
    (void)state;
    bad("", "must be");
    bad("http://secret@h", "must be");
    bad("rediss://me:secret@h", "TLS");
    bad("redis://", "no host");
    bad("redis://:6379", "no host");
    bad("redis://me:secret@", "no host");
    bad("redis://secret@h", "missing the password");
    bad("redis://me:@h", "empty password");
    bad("redis://me:secret%2@h", "cannot be read");
    bad("redis://me:secret%00@h", "cannot be read");
    bad("redis://h:0", "port");
    bad("redis://h:65536", "port");
    bad("redis://h:x", "port");
    bad("redis://[::1", "host");
    bad("redis://[::1]x", "port");
    bad("redis://a b", "host");
    bad("redis://h/x", "database");
    bad("redis://h/65536", "database");
    bad("redis://h/1?secret=1", "neither db nor prefix");
    bad("redis://h?prefix=", "prefix");
    bad("redis://h?prefix=a*b", "prefix");
    bad("redis://h?db=-1", "db");
    bad("unix:run", "no path");
    bad("unix://me:secret@run", "no path");
    bad("unix:/a\033b", "odd bytes");
}

static bool reads(const char *text, struct rx_sync_news *w)
{
    return rx_sync_read(text, strlen(text), w);
}

static void news_says_who_is_in_and_out(void **state)
{
    (void)state;
    static struct rx_sync_news w;
    assert_true(reads("s node1 udp vpn 10.0.0.1 3 i,10.0.0.1,50,4000 n,2001:db8::/64,0,60000 o,10.0.0.3,1,2 a b c", &w));
    assert_int_equal(w.kind, RX_SYNC_SESSION);
    assert_string_equal(w.node, "node1");
    assert_string_equal(w.name, "vpn");
    assert_true(w.is_udp && w.has_origin && w.origin.bits == 32);
    assert_int_equal(w.n_far, 3);
    assert_true(!w.far[0].is_out && w.far[0].age_ms == 50 && w.far[0].left_ms == 4000);
    assert_true(w.far[1].is_out && w.far[1].is_fresh && w.far[1].who.bits == 64);
    assert_true(w.far[2].is_out && !w.far[2].is_fresh);
    assert_int_equal(w.id_len, 5);
    assert_memory_equal(w.id, "a b c", 5);
    assert_true(reads("s n tcp vpn - 0 - x", &w));
    assert_true(reads("b n 5000 10.0.0.0/8", &w) && w.left_ms == 5000 && w.whom.bits == 8);
    assert_true(reads("u - 10.0.0.0/8", &w) && reads("p n", &w));
}

static void news_that_is_none_is_nothing(void **state)
{
    (void)state;
    static struct rx_sync_news w;
    static const char *const texts[] = {
        "", " ", "p", "p ", "x n", "b n 0 10.0.0.1", "b n -5 10.0.0.1", "b n 99999999999999 10.0.0.1", "b n 5 nobody", "u n ",
        "s n tcp vpn - 1 i,10.0.0.1,5,5", "s n tcp vpn - 1 i,10.0.0.1,5,5 ", "s n tcp vpn - 1 x,10.0.0.1,5,5 a",
        "s n tcp vpn - 2 i,10.0.0.1,5,5 a", "s n tcp vpn - 99999 i,10.0.0.1,5,5 a", "s n tcp vpn who 0 - a", "s n tcp vpn - 0 a",
    };
    for (unsigned i = 0; i < RX_COUNT(texts); i++)
        if (reads(texts[i], &w))
            fail_msg("read: %s", texts[i]);
}

static void sum(const struct rx_cidr *whom, uint64_t left_ms, void *data)
{
    (void)whom;
    *(uint64_t *)data += left_ms;
}

static void a_page_of_bans_is_read_to_its_end(void **state)
{
    (void)state;
    char next[24];
    uint64_t n = 0;
    assert_true(rx_sync_read_page("17 10.0.0.1,5 10.0.0.0/8,6", 26, next, sum, &n));
    assert_string_equal(next, "17");
    assert_int_equal(n, 11);
    assert_true(rx_sync_read_page("0 ", 2, next, sum, &n));
    assert_false(rx_sync_read_page("x 10.0.0.1,5", 12, next, sum, &n));
    assert_false(rx_sync_read_page("0 10.0.0.1", 10, next, sum, &n));
}

// ---- ledgers that hear ----------------------------------------------------------------------------------------------

static const struct rx_ledger_rule rule = { 100, 5000, 60000, false, 1000 };

static struct rx_cidr ip(uint8_t last)
{
    return (struct rx_cidr){ .family = AF_INET, .bits = 32, .bytes = { 10, 0, 0, last } };
}

static struct rx_ledger_event event(uint8_t from, uint64_t now, bool is_held)
{
    return (struct rx_ledger_event){ "u", 1, 1, ip(from), now, is_held };
}

static struct rx_ledger_answer see(struct rx_ledger *l, uint8_t from, uint64_t now, bool is_held)
{
    struct rx_ledger_event e = event(from, now, is_held);
    struct rx_ledger_answer a;
    rx_ledger_see(l, &e, &a);
    return a;
}

static struct rx_ledger_answer hear(struct rx_ledger *l, uint64_t now, const struct rx_ledger_far *far, uint32_t n)
{
    struct rx_ledger_event e = event(0, now, false);
    struct rx_ledger_answer a;
    rx_ledger_hear(l, &e, far, n, &a);
    return a;
}

static void an_address_of_another_node_takes_the_place_until_its_end(void **state)
{
    (void)state;
    struct rx_ledger *l = rx_ledger_new(&rule);
    hear(l, 1000, &(struct rx_ledger_far){ ip(1), 100, 9000, false, false }, 1);
    assert_true(see(l, 1, 9000, false).is_in); // the same address
    assert_false(see(l, 2, 9999, false).is_in);
    hear(l, 10000, &(struct rx_ledger_far){ ip(1), 0, 100, false, false }, 1);
    assert_true(see(l, 3, 14000, false).is_in); // 1 was seen here at 9000
    rx_ledger_free(l);
}

static void who_lost_the_race_is_put_out_with_connections(void **state)
{
    (void)state;
    struct rx_ledger *l = rx_ledger_new(&rule);
    struct rx_ledger_answer mine = see(l, 2, 1000, true);
    assert_true(mine.is_in && mine.must_tell);
    const struct rx_ledger_far far[] = { { ip(1), 5, 5000, false, false }, { ip(2), 0, 60000, true, true } };
    struct rx_ledger_answer a = hear(l, 1001, far, 2);
    assert_true(a.must_close && atomic_load(&mine.seat->is_out));
    assert_int_equal(a.n_out, 1);
    a = hear(l, 1002, far, 2); // told again
    assert_false(a.must_close);
    assert_int_equal(a.n_out, 0);
    assert_false(see(l, 2, 60000, false).is_in);
    assert_true(see(l, 2, 61002, false).is_in); // as long as the others said
    struct rx_ledger_told told;
    assert_false(rx_ledger_leave(l, mine.seat, 62000, &told));
    rx_ledger_free(l);
}

static void what_was_told_is_told_again_in_time_and_after_an_outage(void **state)
{
    (void)state;
    struct rx_ledger *l = rx_ledger_new(&rule);
    struct rx_ledger_told *list, told;
    struct rx_ledger_answer held = see(l, 1, 1000, true);
    assert_true(held.must_tell);
    assert_false(see(l, 1, 1500, false).must_tell);
    assert_true(see(l, 1, 2000, false).must_tell);
    struct rx_ledger_due due = { .now_ms = 3000, .held_ms = 1999 };
    assert_int_equal(rx_ledger_gather(l, 0, &due, &list), 0);
    due.held_ms = 2001;
    assert_int_equal(rx_ledger_gather(l, 0, &due, &list), 1);
    assert_true(list[0].is_held && !list[0].is_out && list[0].max_ips == 1 && list[0].age_ms == 2000);
    free(list);
    assert_int_equal(rx_ledger_gather(l, 0, &due, &list), 0); // it was, just now
    assert_false(see(l, 2, 3000, false).is_in);
    due = (struct rx_ledger_due){ .now_ms = 4000, .since_ms = 3500 };
    assert_int_equal(rx_ledger_gather(l, 0, &due, &list), 2); // who is out, too
    free(list);
    assert_true(rx_ledger_leave(l, held.seat, 5000, &told));
    assert_true(!told.is_held && told.left_ms == 5000);
    due = (struct rx_ledger_due){ .now_ms = 11000, .since_ms = 11000 };
    assert_int_equal(rx_ledger_gather(l, 0, &due, &list), 1); // the place is free by now
    assert_true(list[0].is_out);
    free(list);
    rx_ledger_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_has_these_parts),
        cmocka_unit_test(a_url_that_is_none_is_told_why_without_its_secret),
        cmocka_unit_test(news_says_who_is_in_and_out),
        cmocka_unit_test(news_that_is_none_is_nothing),
        cmocka_unit_test(a_page_of_bans_is_read_to_its_end),
        cmocka_unit_test(an_address_of_another_node_takes_the_place_until_its_end),
        cmocka_unit_test(who_lost_the_race_is_put_out_with_connections),
        cmocka_unit_test(what_was_told_is_told_again_in_time_and_after_an_outage),
    };
    return cmocka_run_group_tests_name("sync", tests, NULL, NULL);
}
