// SPDX-License-Identifier: MIT
// Enters: what a config declares, right and wrong. Leaves: that core/build.c compiles the one, refuses the other with
// words for the user, and gives everything back.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "athome.h"
#include "limit.h"
#include "roster.h"
#include "world.h"

static const struct rx_slice empty = { 0 };

// A call that was refused; the words must hold `why`.
static void refused(struct draft *d, int rc, const char *why)
{
    assert_int_equal(rc, -1);
    if (!strstr(rx_door.error(d->b), why))
        fail_msg("\"%s\" is not in \"%s\"", why, rx_door.error(d->b));
}

// ---- what is refused ----------------------------------------------------------------------------------------------

static void ids_that_were_never_given_are_refused(void **state)
{
    (void)state;
    static const int bad[] = { -1, 5, INT32_MAX, INT32_MIN };
    struct draft d;
    draft_begin(&d);
    int any = draft_builtin(&d, "any");
    for (size_t i = 0; i < RX_COUNT(bad); i++) {
        int id = bad[i];
        struct rx_backend_spec backend = { .addr = world_slice("127.0.0.1:1") };
        struct rx_route_spec route = { .proto = id };
        refused(&d, rx_door.proto_prefix(d.b, id, world_slice("x")), "no such protocol");
        refused(&d, rx_door.proto_pattern(d.b, id, world_slice("x")), "no such protocol");
        refused(&d, rx_door.proto_sample(d.b, id, 1, world_slice("x")), "no such protocol");
        refused(&d, rx_door.pool_backend(d.b, id, &backend), "no such pool");
        refused(&d, rx_door.listen_bind(d.b, id, world_slice("127.0.0.1:1")), "no such listener");
        refused(&d, rx_door.route_new(d.b, d.listen, &route), "no such protocol");
        route.proto = any;
        refused(&d, rx_door.route_new(d.b, id, &route), "no such listener");
        route.to = (struct rx_target_spec){ .kind = RX_TO_POOL, .pool = id };
        refused(&d, rx_door.route_new(d.b, d.listen, &route), "no such pool");
        refused(&d, rx_door.route_cond(d.b, id, RX_COND_FROM, world_slice("::/0")), "no such route");
        refused(&d, rx_door.test_send(d.b, id, world_slice("x")), "no such test");
    }
    rx_conf_unref(draft_finish(&d));
}

static void a_route_that_was_refused_leaves_nothing_behind(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int any = draft_builtin(&d, "any"), http = draft_builtin(&d, "http");
    struct rx_route_spec bad = { .proto = any, .to = { .kind = RX_TO_POOL, .pool = 7 } };
    assert_int_equal(rx_door.route_new(d.b, d.listen, &bad), -1);
    draft_route(&d, http, -1);
    assert_int_equal(rx_door.route_new(d.b, d.listen, &bad), -1);
    draft_route(&d, any, -1);
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(c->listens[0]->n_routes, 2);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(c->listens[0]->routes[i].index, i);
    assert_int_equal(world_route(c, "GET / HTTP/1.1\r\n\r\n"), 0);
    assert_int_equal(world_route(c, "x"), 1);
    rx_conf_unref(c);
}

static void unknown_protocols_are_refused_by_name(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    refused(&d, rx_door.proto_builtin(d.b, world_slice("htttp")), "no protocol named \"htttp\"");
    refused(&d, rx_door.proto_builtin(d.b, empty), "no protocol");
    refused(&d, rx_door.proto_builtin(d.b, (struct rx_slice){ "tls\0x", 5 }), "NUL");
    refused(&d, rx_door.proto_prefix(d.b, draft_builtin(&d, "tls"), world_slice("x")), "");
    refused(&d, rx_door.proto_prefix(d.b, draft_prefixes(&d, "p", "x", NULL), empty), "empty");
    refused(&d, rx_door.proto_pattern(d.b, draft_prefixes(&d, "p", "x", NULL), empty), "empty");
    rx_build_free(d.b);
}

static void addresses_that_do_not_read_are_refused(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int pool = draft_pool(&d, "127.0.0.1:1", NULL);
    static const char *const bad[] = { "", "x", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "a b:1" };
    for (size_t i = 0; i < RX_COUNT(bad); i++) {
        struct rx_backend_spec spec = { .addr = world_slice(bad[i]) };
        assert_int_equal(rx_door.pool_backend(d.b, pool, &spec), -1);
        assert_int_equal(rx_door.addr_check(d.b, RX_ADDR_TARGET, world_slice(bad[i])), -1);
    }
    refused(&d, rx_door.listen_bind(d.b, d.listen, world_slice("name:80")), "not an IP address");
    refused(&d, rx_door.listen_bind(d.b, d.listen, empty), "no port");
    refused(&d, rx_door.addr_check(d.b, RX_ADDR_CIDR, world_slice("10.0.0.1/8")), "beyond the prefix");
    refused(&d, rx_door.addr_check(d.b, 77, world_slice("10.0.0.1:8")), "");
    assert_int_equal(rx_door.addr_check(d.b, RX_ADDR_LISTEN, world_slice("*:8000-8010")), 0);
    assert_int_equal(rx_door.addr_check(d.b, RX_ADDR_CIDR, world_slice("10.0.0.0/8")), 0);
    assert_int_equal(rx_door.addr_check(d.b, RX_ADDR_TARGET, world_slice("name:80")), 0);
    char text[600];
    memset(text, 'a', sizeof text);
    refused(&d, rx_door.addr_check(d.b, RX_ADDR_TARGET, (struct rx_slice){ text, sizeof text }), "too long");
    rx_build_free(d.b);
}

static void conditions_that_do_not_read_are_refused(void **state)
{
    (void)state;
    static const struct {
        enum rx_cond cond;
        const char *text;
    } bad[] = { { RX_COND_SNI, "~(" },         { RX_COND_PATH, "~[" },     { RX_COND_SOFTWARE, "~*" },
                { RX_COND_FROM, "10/8" },      { RX_COND_NOT_FROM, "x" },  { RX_COND_TO_PORT, "0" },
                { RX_COND_TO_PORT, "65536" },  { RX_COND_TO_PORT, "9-8" }, { RX_COND_TO_PORT, "80x" },
                { RX_COND_TO_PORT, "" },       { RX_COND_TO_PORT, "+80" }, { RX_COND_TO_PORT, "80-" },
                { RX_COND_TO_PORT, "80- 90" }, { RX_COND_QTYPE, "AAAAA" }, { RX_COND_QTYPE, "65536" },
                { RX_COND_QTYPE, "" },         { RX_COND_QTYPE, "TYPE" },  { RX_COND_QTYPE, "-1" },
                { RX_COND_QTYPE, "TYPE+5" },   { RX_COND_HOST, "a.test" }, { RX_COND_QNAME, "a.test" } };
    struct draft d;
    draft_begin(&d);
    int route = draft_route(&d, draft_builtin(&d, "tls"), -1);
    for (size_t i = 0; i < RX_COUNT(bad); i++)
        if (!rx_door.route_cond(d.b, route, bad[i].cond, world_slice(bad[i].text)))
            fail_msg("condition %d takes \"%s\"", bad[i].cond, bad[i].text);
    static const enum rx_cond read_as_text[] = { RX_COND_FROM, RX_COND_NOT_FROM, RX_COND_TO_PORT, RX_COND_QTYPE, RX_COND_DURING };
    for (size_t i = 0; i < RX_COUNT(read_as_text); i++)
        refused(&d, rx_door.route_cond(d.b, route, read_as_text[i], (struct rx_slice){ "8\0", 3 }), "NUL");
    refused(&d, rx_door.route_cond(d.b, route, 99, world_slice("x")), "unknown condition");
    refused(&d, rx_door.route_cond(d.b, route, RX_COND_TO_PORT, empty), "");
    refused(&d, rx_door.route_cond(d.b, route, RX_COND_FROM, empty), "");
    assert_int_equal(rx_door.regex_check(d.b, world_slice("a|b")), 0);
    refused(&d, rx_door.regex_check(d.b, world_slice("a(b")), "character");
    rx_build_free(d.b);
}

static void names_too_long_for_any_lookup_are_refused_as_such(void **state)
{
    (void)state;
    char name[600] = "*.";
    memset(name + 2, 'n', sizeof name - 2);
    struct draft d;
    draft_begin(&d);
    int route = draft_route(&d, draft_builtin(&d, "tls"), -1);
    assert_int_equal(rx_door.route_cond(d.b, route, RX_COND_SNI, (struct rx_slice){ name, 257 }), 0);
    refused(&d, rx_door.route_cond(d.b, route, RX_COND_SNI, (struct rx_slice){ name, 258 }), "longer than 255");
    assert_int_equal(rx_door.route_cond(d.b, route, RX_COND_SNI, (struct rx_slice){ name + 2, 255 }), 0);
    refused(&d, rx_door.route_cond(d.b, route, RX_COND_SNI, (struct rx_slice){ name + 2, 256 }), "longer than 255");
    rx_conf_unref(draft_finish(&d));
}

static void count_errors(void *data, unsigned severity, const char *text, size_t len)
{
    *(unsigned *)data += severity == RX_REPORT_ERROR && text && len;
}

static void a_config_without_listener_or_address_is_refused(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int other = rx_door.listen_new(d.b, &(struct rx_listen_spec){ .where = world_slice("x.lua:9") });
    assert_int_equal(other, 1);
    draft_refused(&d, "x.lua:9: a listener without an address");

    struct rx_build *b = rx_build_new(rx_test_home(), count_errors, &d.n_errors);
    d.n_errors = 0;
    assert_null(rx_build_finish(b, NULL));
    assert_int_equal(d.n_errors, 1);
    rx_build_free(b);
}

static void a_pool_without_a_backend_is_refused_by_name(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    rx_door.pool_new(d.b, &(struct rx_pool_spec){ .name = world_slice("web") });
    draft_refused(&d, "pool \"web\" has no backend");
    draft_begin(&d);
    refused(&d, rx_door.pool_new(d.b, &(struct rx_pool_spec){ .balance = 9 }), "balance");
    rx_build_free(d.b);
}

static void one_reported_error_refuses_the_whole_config(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    rx_door.report(d.b, RX_REPORT_WARNING, world_slice("test.lua:3: unwise"));
    assert_int_equal(rx_build_errors(d.b), 0);
    rx_door.report(d.b, RX_REPORT_ERROR, world_slice("test.lua:4: wrong"));
    assert_int_equal(rx_build_errors(d.b), 1);
    draft_refused(&d, "test.lua:3: unwise\ntest.lua:4: wrong\n");
}

static void a_refused_config_gives_back_regexes_and_backends(void **state)
{
    (void)state;
    struct draft d;
    struct rx_addr addr = { .v4 = { .sin_family = AF_INET, .sin_port = htons(4711) } };
    addr.len = sizeof addr.v4;
    addr.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    draft_begin(&d);
    int route = draft_route(&d, draft_builtin(&d, "tls"), RX_COND_SNI, "~^a", RX_COND_PATH, "~b", -1);
    draft_cond(&d, route, RX_COND_SOFTWARE, "~c");
    draft_pool(&d, "127.0.0.1:4711", NULL);
    rx_door.report(d.b, RX_REPORT_ERROR, world_slice("wrong"));
    draft_refused(&d, "wrong");
    struct rx_backend_state *s = rx_backend_state_get(&rx_test_home()->backends, &addr, NULL, "");
    assert_int_equal(s->refs, 1); // nobody else
    rx_backend_state_put(s);
}

// ---- what is compiled ---------------------------------------------------------------------------------------------

static void what_is_left_out_gets_its_default(void **state)
{
    (void)state;
    struct draft d;
    draft_begin_with(&d, &(struct rx_listen_spec){ 0 });
    draft_route(&d, draft_builtin(&d, "any"), -1);
    struct rx_conf *c = draft_finish(&d);
    const struct rx_listen *l = c->listens[0];
    assert_int_equal(l->peek_ms, 3000);
    assert_int_equal(l->peek_bytes, 16384);
    assert_int_equal(l->connect_ms, 5000);
    assert_int_equal(l->idle_ms, 3600 * 1000);
    assert_int_equal(l->ipv6_prefix, 64);
    assert_null(l->per_ip);
    assert_int_equal(c->max_connections, 10000);
    assert_int_equal(l->routes[0].idle_ms, l->idle_ms);
    assert_int_equal(l->routes[0].connect_ms, l->connect_ms);
    assert_int_equal(l->routes[0].max_connections, 0);
    assert_string_equal(c->file, "test.lua");
    rx_conf_unref(c);
}

static void what_is_said_is_kept_even_when_the_text_goes(void **state)
{
    (void)state;
    char name[] = "web pool", prefix[] = "GAME", where[] = "f.lua:7", route[] = "r";
    struct draft d;
    draft_begin(&d);
    int p = rx_door.proto_new(d.b, &(struct rx_proto_spec){ .name = world_slice(name), .transport = RX_TCP });
    rx_door.proto_prefix(d.b, p, world_slice(prefix));
    draft_route_spec(&d, &(struct rx_route_spec){ .where = world_slice(where),
                                                  .name = world_slice(route),
                                                  .proto = p,
                                                  .to = { .kind = RX_TO_RESPOND, .text = world_slice(name) } });
    memset(name, 'x', 8), memset(prefix, 'x', 4), memset(where, 'x', 7), memset(route, 'x', 1);
    struct rx_conf *c = draft_finish(&d);
    const struct rx_route *r = &c->listens[0]->routes[0];
    assert_string_equal(r->name, "r");
    assert_string_equal(r->where, "f.lua:7");
    assert_string_equal(r->proto->name, "web pool");
    assert_int_equal(r->to.text_len, 8);
    assert_memory_equal(r->to.text, "web pool", 8);
    assert_int_equal(world_route(c, "GAME"), 0);
    rx_conf_unref(c);
}

static void routes_without_a_name_are_called_by_what_they_take(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int tls = draft_builtin(&d, "https"); // an alias
    draft_route(&d, tls, RX_COND_SNI, "a.test", -1);
    draft_route(&d, tls, RX_COND_SNI, "a.test", RX_COND_SNI, "b.test", -1);
    draft_route(&d, draft_builtin(&d, "http"), RX_COND_HOST, "c.test", -1);
    draft_route(&d, draft_builtin(&d, "dns"), RX_COND_QNAME, "d.test", -1);
    draft_route(&d, tls, RX_COND_ALPN, "h2", -1);
    draft_route(&d, tls, RX_COND_SNI, "~regex", -1);
    struct rx_conf *c = draft_finish(&d);
    const struct rx_route *r = c->listens[0]->routes;
    assert_string_equal(r[0].name, "tls sni=a.test");
    assert_string_equal(r[1].name, "tls sni=a.test,...");
    assert_string_equal(r[2].name, "http host=c.test");
    assert_string_equal(r[3].name, "dns qname=d.test");
    assert_string_equal(r[4].name, "tls");
    for (uint32_t i = 0; i < c->listens[0]->n_routes; i++)
        for (uint32_t k = 0; k < i; k++)
            assert_string_not_equal(r[i].name, r[k].name); // logs must tell them apart
    rx_conf_unref(c);
}

static void routes_go_to_the_listener_they_were_made_for(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int other = rx_door.listen_new(d.b, &(struct rx_listen_spec){ .idle_ms = 77 }), http = draft_builtin(&d, "http");
    rx_door.listen_bind(d.b, other, world_slice("*:8000-8001"));
    for (int i = 0; i < 6; i++)
        assert_true(rx_door.route_new(d.b, i % 2 ? other : d.listen, &(struct rx_route_spec){ .proto = http }) == i);
    struct rx_conf *c = draft_finish(&d);
    for (int k = 0; k < 2; k++) {
        assert_int_equal(c->listens[k]->n_routes, 3);
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(c->listens[k]->routes[i].index, i);
    }
    assert_int_equal(c->listens[1]->routes[2].idle_ms, 77);
    assert_int_equal(c->listens[1]->n_binds, 4);
    assert_string_equal(c->listens[1]->name, "*:8000-8001");
    rx_conf_unref(c);
}

static void a_builtin_asked_for_twice_is_one_protocol(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_prefixes(&d, "first", "x", NULL);
    int tls = draft_builtin(&d, "tls");
    assert_int_equal(draft_builtin(&d, "https"), tls);
    assert_int_not_equal(draft_builtin(&d, "any"), draft_builtin(&d, "silent"));
    assert_int_equal(draft_builtin(&d, "any"), draft_builtin(&d, "any"));
    assert_int_not_equal(draft_prefixes(&d, "tls", "x", NULL), tls); // one's own may have any name
    rx_build_free(d.b);
}

static void the_server_s_fallback_serves_listeners_without_one(void **state)
{
    (void)state;
    struct draft d;
    draft_begin_with(&d, &(struct rx_listen_spec){ .fallback_tcp = { .kind = RX_TO_ECHO } });
    int other = rx_door.listen_new(d.b, &(struct rx_listen_spec){ .peek_ms = 1 });
    rx_door.listen_bind(d.b, other, world_slice("127.0.0.1:0"));
    rx_door.server_set(
        d.b, &(struct rx_server_spec){ .fallback_tcp = { .kind = RX_TO_RESPOND, .text = world_slice("bye") } });
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(c->listens[0]->fallback_tcp.kind, RX_TO_ECHO);
    assert_int_equal(c->listens[1]->fallback_tcp.kind, RX_TO_RESPOND);
    assert_int_equal(c->listens[1]->fallback_tcp.text_len, 3);
    assert_int_equal(c->listens[1]->fallback_udp.kind, RX_TO_NONE);
    rx_conf_unref(c);
}

static void primaries_stand_before_backups_and_keep_their_order(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int pool = rx_door.pool_new(d.b, &(struct rx_pool_spec){ .name = empty });
    for (unsigned i = 0; i < 5; i++) {
        char addr[32];
        snprintf(addr, sizeof addr, "127.0.0.1:%u", 2000 + i);
        struct rx_backend_spec spec = { .addr = world_slice(addr), .weight = 1, .is_backup = i % 2 == 0 };
        assert_int_equal(rx_door.pool_backend(d.b, pool, &spec), 0);
    }
    struct rx_conf *c = draft_finish(&d);
    const struct rx_pool *p = c->pools[0];
    const struct rx_roster *r = rx_roster_of(p);
    static const uint16_t want[] = { 2001, 2003, 2000, 2002, 2004 };
    assert_int_equal(r->n_tiers, 2);
    assert_int_equal(r->tiers[0].n, 2);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(rx_addr_port(&r->backends[i].addr.sa), want[i]);
    assert_string_equal(p->name, "127.0.0.1:2001+4"); // what an unnamed pool is called
    assert_int_equal(r->n_known, 5);
    rx_conf_unref(c);
}

static void many_backends_of_any_weight_make_a_bounded_order(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int pool = rx_door.pool_new(d.b, &(struct rx_pool_spec){ .name = world_slice("p") });
    for (unsigned i = 0; i < 300; i++) {
        struct rx_backend_spec spec = { .addr = world_slice("127.0.0.1:1"), .weight = UINT32_MAX - i * 7 };
        assert_int_equal(rx_door.pool_backend(d.b, pool, &spec), 0);
    }
    struct rx_conf *c = draft_finish(&d);
    const struct rx_tier *t = &rx_roster_of(c->pools[0])->tiers[0];
    assert_in_range(t->n_order, 1, 65536 + 300);
    for (uint32_t i = 0; i < t->n_order; i++)
        assert_in_range(t->order[i], 0, 299);
    rx_conf_unref(c);
}

static struct rx_backend_state *state_of(const struct rx_conf *c, unsigned pool, unsigned i)
{
    return rx_roster_of(c->pools[pool])->backends[i].state;
}

static void one_address_has_one_state_in_every_pool_and_generation(void **state)
{
    (void)state;
    struct draft d;
    struct rx_conf *c[2];
    for (int i = 0; i < 2; i++) {
        draft_begin(&d);
        draft_pool(&d, "127.0.0.1:4712", "unix:/tmp/x.sock", NULL);
        draft_pool(&d, "127.0.0.1:4712", "127.0.0.1:4713", NULL);
        c[i] = draft_finish(&d);
    }
    struct rx_backend_state *s = state_of(c[0], 0, 0);
    assert_ptr_equal(state_of(c[0], 1, 0), s);
    assert_ptr_equal(state_of(c[1], 0, 0), s);
    assert_ptr_not_equal(state_of(c[0], 1, 1), s);
    assert_ptr_equal(state_of(c[0], 0, 1), state_of(c[1], 0, 1));
    assert_int_equal(s->refs, 4);
    rx_conf_unref(c[0]);
    assert_int_equal(s->refs, 2);
    assert_int_equal(state_of(c[1], 1, 0)->refs, 2);
    rx_conf_unref(c[1]);
}

static void limits_are_made_only_where_they_are_asked_for(void **state)
{
    (void)state;
    struct draft d;
    draft_begin_with(&d, &(struct rx_listen_spec){ .max_connections_per_ip = 1, .ipv6_prefix = 56 });
    draft_route_spec(&d, &(struct rx_route_spec){ .proto = draft_builtin(&d, "any"), .max_connections = 3 });
    struct rx_conf *c = draft_finish(&d);
    char why[RX_ADDR_TEXT];
    uint32_t place;
    union rx_ip a, b;
    assert_int_equal(rx_ip_parse("2001:db8:0:1::1", &a, why) | rx_ip_parse("2001:db8:0:ff::1", &b, why), 0);
    assert_true(rx_limit_take(c->listens[0]->per_ip, &a, &place));
    assert_false(rx_limit_take(c->listens[0]->per_ip, &b, &place));
    assert_non_null(c->listens[0]->routes[0].active);
    rx_conf_unref(c);
}

static void tests_and_samples_are_kept_with_their_bytes(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    int p = draft_prefixes(&d, "p", "x", NULL);
    assert_int_equal(rx_door.proto_sample(d.b, p, 1, (struct rx_slice){ "a\0b", 3 }), 0);
    assert_int_equal(rx_door.proto_sample(d.b, p, 0, empty), 0);
    struct rx_test_spec spec = { .name = world_slice("t"), .from = world_slice("[2001:db8::1]:5"), .is_eof = 1 };
    int t = rx_door.test_new(d.b, &spec);
    assert_int_equal(t, 0);
    assert_int_equal(rx_door.test_send(d.b, t, (struct rx_slice){ "1\0", 2 }), 0);
    assert_int_equal(rx_door.test_send(d.b, t, empty), 0);
    spec.from = world_slice("somewhere");
    refused(&d, rx_door.test_new(d.b, &spec), "from");
    spec = (struct rx_test_spec){ .listener = world_slice("127.0.0.1:9") };
    refused(&d, rx_door.test_new(d.b, &spec), "no listener \"127.0.0.1:9\"");
    struct rx_conf *c = draft_finish(&d);
    assert_int_equal(c->n_samples, 2);
    assert_memory_equal(c->samples[0].bytes.ptr, "a\0b", 3);
    assert_true(c->samples[0].yes && !c->samples[1].yes);
    assert_int_equal(c->n_tests, 1);
    assert_int_equal(c->tests[0]->n_send, 2);
    assert_int_equal(c->tests[0]->send[0].len, 2);
    assert_int_equal(c->tests[0]->from.sa.sa_family, AF_INET6);
    rx_conf_unref(c);
}

static void builtin_names_are_listed_with_their_aliases(void **state)
{
    (void)state;
    unsigned n_alias = 0, i = 0;
    for (const char *name; (name = rx_door.builtin_name(i)); i++) {
        const char *equals = strchr(name, '=');
        n_alias += equals != NULL;
        if (equals)
            assert_string_equal(rx_proto_find(equals + 1)->name, equals + 1);
        else
            assert_non_null(rx_proto_find(name));
    }
    assert_true(i > rx_n_protos && n_alias == i - rx_n_protos);
    assert_null(rx_door.builtin_name(UINT32_MAX));
}

static void a_generation_lives_until_its_last_reference_goes(void **state)
{
    (void)state;
    struct draft d;
    draft_begin(&d);
    draft_pool(&d, "127.0.0.1:4714", NULL);
    struct rx_conf *c = draft_finish(&d);
    struct rx_backend_state *s = state_of(c, 0, 0);
    struct rx_addr addr = s->addr;
    rx_conf_ref(c);
    rx_conf_unref(c);
    struct rx_backend_state *mine = rx_backend_state_get(&rx_test_home()->backends, &addr, NULL, "");
    assert_int_equal(mine->refs, 2);
    rx_conf_unref(c);
    assert_int_equal(mine->refs, 1);
    rx_backend_state_put(mine);
    rx_conf_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_that_were_never_given_are_refused),
        cmocka_unit_test(a_route_that_was_refused_leaves_nothing_behind),
        cmocka_unit_test(unknown_protocols_are_refused_by_name),
        cmocka_unit_test(addresses_that_do_not_read_are_refused),
        cmocka_unit_test(conditions_that_do_not_read_are_refused),
        cmocka_unit_test(names_too_long_for_any_lookup_are_refused_as_such),
        cmocka_unit_test(a_config_without_listener_or_address_is_refused),
        cmocka_unit_test(a_pool_without_a_backend_is_refused_by_name),
        cmocka_unit_test(one_reported_error_refuses_the_whole_config),
        cmocka_unit_test(a_refused_config_gives_back_regexes_and_backends),
        cmocka_unit_test(what_is_left_out_gets_its_default),
        cmocka_unit_test(what_is_said_is_kept_even_when_the_text_goes),
        cmocka_unit_test(routes_without_a_name_are_called_by_what_they_take),
        cmocka_unit_test(routes_go_to_the_listener_they_were_made_for),
        cmocka_unit_test(a_builtin_asked_for_twice_is_one_protocol),
        cmocka_unit_test(the_server_s_fallback_serves_listeners_without_one),
        cmocka_unit_test(primaries_stand_before_backups_and_keep_their_order),
        cmocka_unit_test(many_backends_of_any_weight_make_a_bounded_order),
        cmocka_unit_test(one_address_has_one_state_in_every_pool_and_generation),
        cmocka_unit_test(limits_are_made_only_where_they_are_asked_for),
        cmocka_unit_test(tests_and_samples_are_kept_with_their_bytes),
        cmocka_unit_test(builtin_names_are_listed_with_their_aliases),
        cmocka_unit_test(a_generation_lives_until_its_last_reference_goes),
    };
    return cmocka_run_group_tests_name("build", tests, NULL, NULL);
}
