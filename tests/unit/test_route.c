// SPDX-License-Identifier: MIT
// Enters: configs and first bytes. Leaves: that core/route.c takes the first route whose conditions all hold, and
// says what it saw. (When it waits: test_route_wait.c.)
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "identify.h"
#include "world.h"

static uint8_t buf[64 * 1024];
static const char get[] = "GET /a/b HTTP/1.1\r\nHost: a.test\r\n\r\n";
static const char ssh[] = "SSH-2.0-OpenSSH_9.2p1\r\n";

static size_t hello(const char *sni)
{
    return world_hello(&(struct world_hello){ .sni = sni }, buf, sizeof buf);
}

static int route_of_hello(const struct rx_conf *c, const char *sni)
{
    return world_route_n(c, buf, hello(sni));
}

// One built-in protocol, one route, one condition with one value.
static struct rx_conf *one_cond(const char *proto, enum rx_cond cond, const char *value)
{
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_builtin(&d, proto), cond, value, -1);
    return draft_finish(&d);
}

// ---- order --------------------------------------------------------------------------------------------------------

static void the_first_route_that_holds_takes_it(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int http = draft_builtin(&d, "http"), tls = draft_builtin(&d, "tls");
    draft_route(&d, http, RX_COND_METHOD, "POST", -1);
    draft_route(&d, tls, -1);
    draft_route(&d, http, RX_COND_PATH, "/a", -1);
    draft_route(&d, http, -1);
    draft_route(&d, http, RX_COND_HOST, "a.test", -1); // never reached
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, get), 2);
    assert_int_equal(world_route(c, "POST /a HTTP/1.1\r\nHost: a.test\r\n\r\n"), 0);
    assert_int_equal(world_route(c, "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n"), 3);
    assert_int_equal(route_of_hello(c, "a.test"), 1);
    rx_conf_unref(c);
}

static void what_no_route_takes_is_known_at_once(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_builtin(&d, "http"), RX_COND_HOST, "a.test", -1);
    draft_route(&d, draft_builtin(&d, "tls"), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "\1\2\3"), WORLD_NONE);
    assert_int_equal(world_route(c, "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n"), WORLD_NONE);
    assert_int_equal(world_route(c, ssh), WORLD_NONE);
    rx_conf_unref(c);
}

static void a_listener_without_routes_takes_nothing(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, ""), WORLD_NONE);
    assert_int_equal(world_route(c, get), WORLD_NONE);
    rx_conf_unref(c);
}

static void a_route_can_be_narrowed_to_one_transport(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int both = draft_prefixes(&d, "p", "GET ", NULL);
    draft_route_spec(&d, &(struct rx_route_spec){ .proto = both, .transport = RX_UDP });
    draft_route_spec(&d, &(struct rx_route_spec){ .proto = both, .transport = RX_TCP });
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, get), 1);
    rx_conf_unref(c);
}

static void a_protocol_for_datagrams_is_not_asked_about_streams(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int id = rx_door.proto_new(d.b, &(struct rx_proto_spec){ .name = world_slice("u"), .transport = RX_UDP });
    assert_int_equal(rx_door.proto_prefix(d.b, id, world_slice("GET ")), 0);
    draft_route(&d, id, -1);
    draft_route(&d, draft_builtin(&d, "http"), -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, get), 1);
    rx_conf_unref(c);
}

static void the_same_protocol_may_stand_on_both_sides_of_another(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int http = draft_builtin(&d, "http"), pre = draft_prefixes(&d, "pre", "GET /a", NULL);
    draft_route(&d, http, RX_COND_HOST, "x.test", -1);
    draft_route(&d, pre, -1);
    draft_route(&d, http, -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "GET /a HTTP/1.1\r\nHost: x.test\r\n\r\n"), 0);
    assert_int_equal(world_route(c, "GET /a HTTP/1.1\r\nHost: y.test\r\n\r\n"), 1);
    assert_int_equal(world_route(c, "GET /b HTTP/1.1\r\nHost: y.test\r\n\r\n"), 2);
    rx_conf_unref(c);
}

// ---- names --------------------------------------------------------------------------------------------------------

static void names_are_told_apart_by_table_and_by_list_alike(void **state)
{
    (void)state;
    for (int is_list = 0; is_list < 2; is_list++) {
        struct draft d;
        draft_begin(&d);
        int tls = draft_builtin(&d, "tls");
        static const char *const names[] = { "a.test", "*.b.test", "C.Test.", "*.x.b.test" };
        for (unsigned i = 0; i < RX_COUNT(names); i++) {
            int r = draft_route(&d, tls, RX_COND_SNI, names[i], -1);
            if (is_list) // one regular expression takes the whole list out of the table
                draft_cond(&d, r, RX_COND_SNI, "~^never-matches$");
        }
        struct rx_conf *c = draft_finish(&d);
        assert_int_equal(route_of_hello(c, "a.test"), 0);
        assert_int_equal(route_of_hello(c, "A.TEST"), 0);
        assert_int_equal(route_of_hello(c, "x.b.test"), 1);
        assert_int_equal(route_of_hello(c, "y.x.b.test"), 1); // first match wins over the closer suffix
        assert_int_equal(route_of_hello(c, "b.test"), WORLD_NONE);
        assert_int_equal(route_of_hello(c, "c.test"), 2);
        assert_int_equal(route_of_hello(c, "xa.test"), WORLD_NONE);
        assert_int_equal(route_of_hello(c, NULL), WORLD_NONE);
        rx_conf_unref(c);
    }
}

static void lists_and_tables_keep_their_order_among_each_other(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int tls = draft_builtin(&d, "tls");
    draft_route(&d, tls, RX_COND_SNI, "z.test", -1);
    draft_route(&d, tls, RX_COND_SNI, "~^w[0-9]+\\.", -1);
    draft_route(&d, tls, RX_COND_SNI, "w1.test", -1);
    draft_route(&d, tls, RX_COND_SNI, "*.test", -1);
    draft_route(&d, tls, RX_COND_SNI, "~.", -1);
    draft_route(&d, tls, -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(route_of_hello(c, "w1.test"), 1);
    assert_int_equal(route_of_hello(c, "W23.test"), 1); // names have no case
    assert_int_equal(route_of_hello(c, "wx.test"), 3);
    assert_int_equal(route_of_hello(c, "other"), 4);
    assert_int_equal(route_of_hello(c, NULL), 5);
    rx_conf_unref(c);
}

static void a_name_and_a_further_condition_must_both_hold(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int tls = draft_builtin(&d, "tls");
    draft_route(&d, tls, RX_COND_SNI, "a.test", RX_COND_ALPN, "h2", -1);
    draft_route(&d, tls, RX_COND_SNI, "a.test", RX_COND_FROM, "10.0.0.0/8", -1);
    draft_route(&d, tls, RX_COND_SNI, "a.test", -1);
    struct rx_conf *c = draft_finish(&d);
    size_t n = world_hello(&(struct world_hello){ .sni = "a.test", .alpn = { "http/1.1", "h2" } }, buf, sizeof buf);
    assert_int_equal(world_route_n(c, buf, n), 0);
    n = hello("a.test");
    assert_int_equal(world_route_n(c, buf, n), 2);
    struct rx_decision x = world_decide(c, &(struct world_client){ .from = "10.9.9.9" }, buf, n);
    assert_int_equal(world_place(&x), 1);
    rx_conf_unref(c);
}

static void a_hello_in_many_records_is_routed_by_the_same_name(void **state)
{
    (void)state;
    struct rx_conf *c = one_cond("tls", RX_COND_SNI, "a.test");
    for (unsigned record = 1; record < 120; record += 7) {
        size_t n = world_hello(&(struct world_hello){ .sni = "a.test", .record = record }, buf, sizeof buf);
        assert_int_equal(world_route_n(c, buf, n), 0);
        assert_int_equal(world_route_n(c, buf, n - 1), WORLD_MORE);
    }
    rx_conf_unref(c);
}

static void a_hundred_thousand_names_cost_one_lookup(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    char name[32];
    struct draft d;
    draft_begin(&d);
    int tls = draft_builtin(&d, "tls");
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "h%d.test", i);
        draft_route(&d, tls, RX_COND_SNI, name, -1);
    }
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(route_of_hello(c, "h0.test"), 0);
    assert_int_equal(route_of_hello(c, "h99999.test"), MANY - 1);
    assert_int_equal(route_of_hello(c, "h100000.test"), WORLD_NONE);
    rx_conf_unref(c);
}

// ---- the other conditions -----------------------------------------------------------------------------------------

static int route_of_alpn(const struct rx_conf *c, const char *a, const char *b)
{
    return world_route_n(c, buf, world_hello(&(struct world_hello){ .alpn = { a, b } }, buf, sizeof buf));
}

static void alpn_is_exact_and_any_offer_will_do(void **state)
{
    (void)state;
    struct rx_conf *c = one_cond("tls", RX_COND_ALPN, "h2");
    assert_int_equal(route_of_alpn(c, "h2", NULL), 0);
    assert_int_equal(route_of_alpn(c, "http/1.1", "h2"), 0);
    assert_int_equal(route_of_alpn(c, "h2c", "h"), WORLD_NONE);
    assert_int_equal(route_of_alpn(c, "H2", NULL), WORLD_NONE);
    assert_int_equal(route_of_alpn(c, NULL, NULL), WORLD_NONE);
    rx_conf_unref(c);
}

static void ech_can_be_demanded_and_forbidden(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int tls = draft_builtin(&d, "tls");
    draft_route_spec(&d, &(struct rx_route_spec){ .proto = tls, .ech = 1, .to = { .kind = RX_TO_DROP } });
    draft_route_spec(&d, &(struct rx_route_spec){ .proto = tls, .ech = 2, .to = { .kind = RX_TO_DROP } });
    struct rx_conf *c = draft_finish(&d);
    size_t n = world_hello(&(struct world_hello){ .sni = "a.test", .has_ech = true }, buf, sizeof buf);
    assert_int_equal(world_route_n(c, buf, n), 0);
    assert_int_equal(route_of_hello(c, "a.test"), 1);
    rx_conf_unref(c);
}

static void a_path_is_a_prefix_and_a_method_is_not(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int http = draft_builtin(&d, "http");
    draft_route(&d, http, RX_COND_PATH, "/api/", -1);
    draft_route(&d, http, RX_COND_PATH, "~\\.php$", -1);
    draft_route(&d, http, RX_COND_METHOD, "PUT", RX_COND_METHOD, "POST", -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "GET /api/x HTTP/1.1\r\n\r\n"), 0);
    assert_int_equal(world_route(c, "GET /api HTTP/1.1\r\n\r\n"), WORLD_NONE);
    assert_int_equal(world_route(c, "GET /API/x HTTP/1.1\r\n\r\n"), WORLD_NONE);
    assert_int_equal(world_route(c, "GET /a.php HTTP/1.1\r\n\r\n"), 1);
    assert_int_equal(world_route(c, "POST / HTTP/1.1\r\n\r\n"), 2);
    assert_int_equal(world_route(c, "PUT / HTTP/1.1\r\n\r\n"), 2);
    assert_int_equal(world_route(c, "GET / HTTP/1.1\r\n\r\n"), WORLD_NONE);
    rx_conf_unref(c);
}

static void software_is_a_prefix_without_case(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int id = draft_builtin(&d, "ssh");
    draft_route(&d, id, RX_COND_SOFTWARE, "openssh", -1);
    draft_route(&d, id, RX_COND_SOFTWARE, "~^go$", -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, ssh), 0);
    assert_int_equal(world_route(c, "SSH-2.0-Go\r\n"), 1);
    assert_int_equal(world_route(c, "SSH-2.0-libssh_0.1\r\n"), WORLD_NONE);
    assert_int_equal(world_route(c, "SSH-2.0-Open"), WORLD_MORE);
    assert_int_equal(world_route_ended(c, "SSH-2.0-Open", RX_ENDED_EOF), WORLD_NONE);
    rx_conf_unref(c);
}

static void names_and_types_of_queries_are_conditions(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int dns = draft_builtin(&d, "dns");
    draft_route(&d, dns, RX_COND_QNAME, "*.corp.test", RX_COND_QTYPE, "A", RX_COND_QTYPE, "AAAA", -1);
    draft_route(&d, dns, RX_COND_QTYPE, "TYPE65", -1);
    draft_route(&d, dns, RX_COND_QTYPE, "257", -1);
    struct rx_conf *c = draft_finish(&d);
    static const struct {
        const char *name;
        uint16_t type;
        int route;
    } t[] = { { "a.corp.test", 1, 0 },    { "A.Corp.Test", 28, 0 }, { "a.corp.test", 15, WORLD_NONE },
              { "a.corp.test", 65, 1 },   { "x.test", 65, 1 },      { "x.test", 257, 2 },
              { "x.test", 1, WORLD_NONE } };
    for (size_t i = 0; i < RX_COUNT(t); i++)
        assert_int_equal(world_route_n(c, buf, world_query(t[i].name, t[i].type, buf, sizeof buf)), t[i].route);
    rx_conf_unref(c);
}

static int route_from(const struct rx_conf *c, const char *from, uint16_t port)
{
    struct rx_decision d = world_decide(c, &(struct world_client){ .from = from, .to_port = port }, ssh, strlen(ssh));
    return world_place(&d);
}

static void who_comes_and_where_to_are_conditions(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int id = draft_builtin(&d, "ssh");
    draft_route(&d, id, RX_COND_FROM, "10.0.0.0/8", RX_COND_FROM, "2001:db8::/32", RX_COND_NOT_FROM, "10.6.6.6", -1);
    draft_route(&d, id, RX_COND_TO_PORT, "2222", RX_COND_TO_PORT, "8000-8099", -1);
    draft_route(&d, id, RX_COND_NOT_FROM, "0.0.0.0/0", -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(route_from(c, "10.1.2.3", 0), 0);
    assert_int_equal(route_from(c, "2001:db8::9", 0), 0);
    assert_int_equal(route_from(c, "10.6.6.6", 22), WORLD_NONE);
    assert_int_equal(route_from(c, "10.6.6.6", 2222), 1);
    assert_int_equal(route_from(c, "192.0.2.1", 8000), 1);
    assert_int_equal(route_from(c, "192.0.2.1", 8099), 1);
    assert_int_equal(route_from(c, "192.0.2.1", 8100), WORLD_NONE);
    assert_int_equal(route_from(c, "192.0.2.1", 7999), WORLD_NONE);
    assert_int_equal(route_from(c, "fe80::1", 9), 2);
    rx_conf_unref(c);
}

static void a_key_is_never_there_for_protocols_without_a_script(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_prefixes(&d, "p", "P", NULL), RX_COND_KEY, "k", -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(world_route(c, "Pk"), WORLD_NONE);
    rx_conf_unref(c);
}

static void a_key_is_compared_exactly(void **state)
{
    (void)state;
    struct rx_conf *c = one_cond("any", RX_COND_KEY, "blue");
    union rx_ip from = { .v4 = { .sin_family = AF_INET } };
    struct rx_ask ask = { .from = &from };
    struct rx_facts f = { .have = RX_FACT_KEY, .key = { (const uint8_t *)"blue", 4 } };
    const struct rx_route *r = &c->listens[0]->routes[0];
    assert_int_equal(rx_route_holds(r, &f, &ask), RX_MATCH);
    f.key.len = 3;
    assert_int_equal(rx_route_holds(r, &f, &ask), RX_NO);
    f = (struct rx_facts){ .pending = RX_FACT_KEY };
    assert_int_equal(rx_route_holds(r, &f, &ask), RX_MORE);
    f.pending = 0;
    assert_int_equal(rx_route_holds(r, &f, &ask), RX_NO);
    rx_conf_unref(c);
}

// ---- what is said beside the route --------------------------------------------------------------------------------

static void facts_of_a_match_survive_a_later_protocol_that_does_not_take_it(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_builtin(&d, "tls"), RX_COND_SNI, "a.test", -1);
    draft_route(&d, draft_prefixes(&d, "p", "\x16\x03", NULL), RX_COND_TO_PORT, "1", -1);
    draft_route(&d, draft_patterns(&d, "q", 64, "\x16", NULL), RX_COND_TO_PORT, "1", -1);
    draft_route(&d, draft_builtin(&d, "any"), RX_COND_TO_PORT, "1", -1);
    struct rx_conf *c = draft_finish(&d);
    struct rx_decision x = world_decide(c, &(struct world_client){ 0 }, buf, hello("b.test"));
    assert_int_equal(world_place(&x), WORLD_NONE);
    assert_non_null(x.seen);
    rx_conf_unref(c);

    draft_begin(&d);
    draft_route(&d, draft_builtin(&d, "tls"), RX_COND_SNI, "a.test", -1);
    draft_route(&d, draft_patterns(&d, "q", 64, "\x16", NULL), RX_COND_TO_PORT, "1", -1);
    draft_route(&d, draft_builtin(&d, "any"), RX_COND_TO_PORT, "1", -1);
    c = draft_finish(&d);
    x = world_decide(c, &(struct world_client){ 0 }, buf, hello("b.test"));
    assert_string_equal(x.seen->name, "tls");
    assert_true(x.facts.have & RX_FACT_SNI);
    assert_memory_equal(x.facts.sni.ptr, "b.test", 6);
    rx_conf_unref(c);
}

static void an_any_that_does_not_take_it_has_recognised_nothing(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_builtin(&d, "any"), RX_COND_FROM, "10.0.0.0/8", -1);
    draft_route(&d, draft_builtin(&d, "tls"), RX_COND_SNI, "a.test", -1);
    struct rx_conf *c = draft_finish(&d);
    struct rx_decision x = world_decide(c, &(struct world_client){ 0 }, buf, hello("b.test"));
    assert_string_equal(x.seen->name, "tls");
    assert_true(x.facts.have & RX_FACT_SNI);
    x = world_decide(c, &(struct world_client){ 0 }, "zzz", 3);
    assert_null(x.seen);
    rx_conf_unref(c);
}

static void seen_and_facts_are_those_of_the_protocol_that_takes_it(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_patterns(&d, "q", 8, "GET", NULL), RX_COND_TO_PORT, "1", -1);
    draft_route(&d, draft_builtin(&d, "http"), RX_COND_HOST, "a.test", -1);
    struct rx_conf *c = draft_finish(&d);
    struct rx_decision x = world_decide(c, &(struct world_client){ 0 }, get, strlen(get));
    assert_int_equal(world_place(&x), 1);
    assert_string_equal(x.seen->name, "http");
    assert_memory_equal(x.facts.host.ptr, "a.test", 6);
    assert_ptr_equal(x.route->proto, x.seen);
    rx_conf_unref(c);
}

static enum rx_note note_of(const struct rx_conf *c, size_t n, enum rx_ended ended)
{
    struct rx_decision d = world_decide(c, &(struct world_client){ .ended = ended }, buf, n);
    assert_int_equal(d.verdict, RX_NO);
    return d.note;
}

static void what_looked_like_a_protocol_is_noted(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_route(&d, draft_builtin(&d, "tls"), RX_COND_SNI, "a.test", -1);
    draft_route(&d, draft_builtin(&d, "http"), RX_COND_HOST, "a.test", -1);
    struct rx_conf *c = draft_finish(&d);
    size_t n = hello("a.test");
    assert_int_equal(note_of(c, n - 5, RX_ENDED_FULL), RX_NOTE_TLS_OVERSIZE);
    assert_int_equal(note_of(c, n - 5, RX_ENDED_EOF), RX_NOTE_NONE);
    assert_int_equal(note_of(c, hello("b.test"), RX_OPEN), RX_NOTE_NONE);
    n = hello("a.test");
    buf[43] = 200; // a session id longer than RFC 8446 4.1.2 allows
    assert_int_equal(note_of(c, n, RX_OPEN), RX_NOTE_TLS_INVALID);
    memcpy(buf, "GET / HTTP/9.9\r\n\r\n", 18);
    assert_int_equal(note_of(c, 18, RX_OPEN), RX_NOTE_HTTP_INVALID);
    memcpy(buf, "\x99\x99\x99\x99", 4);
    assert_int_equal(note_of(c, 4, RX_OPEN), RX_NOTE_NONE);
    rx_conf_unref(c);
}

static void an_oversize_hello_does_not_count_as_one_without_a_name(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int tls = draft_builtin(&d, "tls");
    draft_route(&d, tls, RX_COND_SNI, "a.test", -1);
    draft_route(&d, tls, -1);
    struct rx_conf *c = draft_finish(&d);
    size_t n = world_hello(&(struct world_hello){ .sni = "a.test", .padding = 3000 }, buf, sizeof buf);
    assert_int_equal(note_of(c, n - 1000, RX_ENDED_FULL), RX_NOTE_TLS_OVERSIZE);
    assert_int_equal(world_route_n(c, buf, n), 0);
    rx_conf_unref(c);
}

static void an_oversize_http_head_is_noted(void **state)
{
    (void)state;
    struct rx_conf *c = one_cond("http", RX_COND_HOST, "a.test");
    int n = snprintf((char *)buf, sizeof buf, "GET /%04000d HTTP/1.1\r\nAccept: %01000d", 0, 0);
    assert_int_equal(note_of(c, 3000, RX_ENDED_FULL), RX_NOTE_HTTP_OVERSIZE);
    assert_int_equal(note_of(c, (size_t)n, RX_ENDED_FULL), RX_NOTE_HTTP_OVERSIZE);
    rx_conf_unref(c);
}

static void words_for_how_input_ended_are_distinct(void **state)
{
    (void)state;
    assert_string_equal(rx_ended_word(RX_OPEN), "open");
    assert_string_equal(rx_ended_word(RX_ENDED_EOF), "eof");
    assert_string_equal(rx_ended_word(RX_ENDED_FULL), "full");
    assert_string_equal(rx_ended_word(RX_ENDED_TIMEOUT), "timeout");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_route_that_holds_takes_it),
        cmocka_unit_test(what_no_route_takes_is_known_at_once),
        cmocka_unit_test(a_listener_without_routes_takes_nothing),
        cmocka_unit_test(a_route_can_be_narrowed_to_one_transport),
        cmocka_unit_test(a_protocol_for_datagrams_is_not_asked_about_streams),
        cmocka_unit_test(the_same_protocol_may_stand_on_both_sides_of_another),
        cmocka_unit_test(names_are_told_apart_by_table_and_by_list_alike),
        cmocka_unit_test(lists_and_tables_keep_their_order_among_each_other),
        cmocka_unit_test(a_name_and_a_further_condition_must_both_hold),
        cmocka_unit_test(a_hello_in_many_records_is_routed_by_the_same_name),
        cmocka_unit_test(a_hundred_thousand_names_cost_one_lookup),
        cmocka_unit_test(alpn_is_exact_and_any_offer_will_do),
        cmocka_unit_test(ech_can_be_demanded_and_forbidden),
        cmocka_unit_test(a_path_is_a_prefix_and_a_method_is_not),
        cmocka_unit_test(software_is_a_prefix_without_case),
        cmocka_unit_test(names_and_types_of_queries_are_conditions),
        cmocka_unit_test(who_comes_and_where_to_are_conditions),
        cmocka_unit_test(a_key_is_never_there_for_protocols_without_a_script),
        cmocka_unit_test(a_key_is_compared_exactly),
        cmocka_unit_test(facts_of_a_match_survive_a_later_protocol_that_does_not_take_it),
        cmocka_unit_test(an_any_that_does_not_take_it_has_recognised_nothing),
        cmocka_unit_test(seen_and_facts_are_those_of_the_protocol_that_takes_it),
        cmocka_unit_test(what_looked_like_a_protocol_is_noted),
        cmocka_unit_test(an_oversize_hello_does_not_count_as_one_without_a_name),
        cmocka_unit_test(an_oversize_http_head_is_noted),
        cmocka_unit_test(words_for_how_input_ended_are_distinct),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
