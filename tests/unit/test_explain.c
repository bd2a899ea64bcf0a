// SPDX-License-Identifier: MIT
// `refractium explain`: what it reads (raw, hexadecimal, captures), what it answers, and the JSON it writes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "athome.h"
#include "build.h"
#include "check.h"
#include "input.h"
#include "json.h"

#define S(text) ((struct rx_slice){ text, sizeof(text) - 1 })

static char out[2][65536], path[2][64];

static int explain(struct rx_conf *conf, const struct rx_args *a)
{
    int saved[2];
    FILE *to[2];
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        to[i] = tmpfile();
        saved[i] = dup(i + 1);
        dup2(fileno(to[i]), i + 1);
    }
    int code = rx_explain_run(rx_test_home(), conf, a);
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        dup2(saved[i], i + 1);
        close(saved[i]);
        rewind(to[i]);
        out[i][fread(out[i], 1, sizeof out[i] - 1, to[i])] = 0;
        fclose(to[i]);
    }
    return code;
}

static void save(int i, const void *bytes, size_t n)
{
    FILE *f = fopen(path[i], "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static struct rx_args args_for(int n)
{
    static const char *files[2];
    files[0] = path[0];
    files[1] = path[1];
    return (struct rx_args){
        .command = RX_CMD_EXPLAIN, .is_builtin = true, .is_json = true, .files = files, .n_files = (unsigned)n
    };
}

// The JSON of explaining these bytes without a config.
static json_t *builtin(const void *bytes, size_t n)
{
    struct rx_args a = args_for(1);
    save(0, bytes, n);
    assert_int_equal(explain(NULL, &a), 0);
    assert_string_equal(out[1], "");
    json_t *j = json_loads(out[0], JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    return j;
}

static void is(json_t *j, const char *key, const char *value)
{
    const char *got = json_string_value(json_object_get(j, key));
    if (value ? !got || strcmp(got, value) : !json_is_null(json_object_get(j, key)))
        fail_msg("%s is not %s: %s", key, value ? value : "null", out[0]);
}

// A ClientHello with an optional name, RFC 8446 4.1.2.
static size_t hello(uint8_t *p, const char *name)
{
    uint8_t *start = p;
    size_t n = name ? strlen(name) : 0, extensions = name ? n + 9 : 0, body = 2 + 32 + 1 + 4 + 2 + 2 + extensions;
    const uint8_t head[] = { 22, 3, 1, 0, (uint8_t)(body + 4), 1, 0, 0, (uint8_t)body, 3, 3 };
    memcpy(p, head, sizeof head);
    memset(p + 11, 7, 32);
    p += 43;
    const uint8_t rest[] = { 0, 0, 2, 0x13, 1, 1, 0, 0, (uint8_t)extensions };
    memcpy(p, rest, sizeof rest);
    p += sizeof rest;
    if (name) {
        const uint8_t sni[] = { 0, 0, 0, (uint8_t)(n + 5), 0, (uint8_t)(n + 3), 0, 0, (uint8_t)n };
        memcpy(p, sni, sizeof sni);
        memcpy(p + sizeof sni, name, n);
        p += sizeof sni + n;
    }
    return (size_t)(p - start);
}

// ---- the writer -----------------------------------------------------------------------------------------------

static void json_nests_and_escapes(void **state)
{
    (void)state;
    struct rx_json j = { 0 };
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    rx_json_open(&j, '[');
    rx_json_open(&j, '{');
    rx_json_key(&j, "a\"b");
    rx_json_text(&j, "\0\x1f\n\\\x7f/", 6);
    rx_json_key(&j, "n");
    rx_json_number(&j, UINT64_MAX);
    rx_json_key(&j, "e");
    rx_json_open(&j, '[');
    rx_json_close(&j);
    rx_json_close(&j);
    rx_json_null(&j);
    rx_json_bool(&j, true);
    rx_json_string(&j, NULL);
    rx_json_close(&j);
    assert_int_equal(rx_json_write(&j, f), 0);
    fclose(f);
    assert_string_equal(text,
                        "[{\"a\\\"b\":\"\\u0000\\u001f\\n\\\\\\u007f/\",\"n\":18446744073709551615,\"e\":[]},null,"
                        "true,null]\n");
    free(text);
}

static void whatever_goes_in_json_is_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } cases[] = { { "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80" },
                  { "\xff\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
                  { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, // a surrogate
                  { "\xe2\x82x", "\xef\xbf\xbdx" },                           // one maximal broken part
                  { "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" } };
    for (unsigned i = 0; i < RX_COUNT(cases); i++) {
        struct rx_json j = { 0 };
        rx_json_text(&j, cases[i].in, strlen(cases[i].in));
        assert_int_equal(j.len, strlen(cases[i].want) + 2);
        assert_memory_equal(j.text + 1, cases[i].want, strlen(cases[i].want));
        rx_json_free(&j);
    }
    for (unsigned i = 0; i < 65536; i++) {
        struct rx_json j = { 0 };
        const char bytes[4] = { (char)(i >> 8), (char)i, (char)0x80, (char)(i * 7) };
        rx_json_text(&j, bytes, sizeof bytes);
        json_t *back = json_loadb(j.text, j.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(back);
        json_decref(back);
        rx_json_free(&j);
    }
}

// ---- what is read ---------------------------------------------------------------------------------------------

static void hexadecimal_is_read_in_many_ways(void **state)
{
    (void)state;
    static const char *const good[] = { "5353482d", "53 53\n48\t2D", "0x53,0x53, 0x48 0x2d", "\\x53\\x53\\x48\\x2D",
                                        "53:53:48:2d\r\n" };
    static const struct {
        const char *text;
        size_t at;
    } bad[] = { { "53 5", 3 }, { "53zz", 2 }, { "0x", 2 }, { "5 3", 0 }, { "0xg", 2 } };
    uint8_t bytes[64];
    size_t at;
    const char *why;
    for (unsigned i = 0; i < RX_COUNT(good); i++) {
        assert_int_equal(rx_hex_decode(good[i], strlen(good[i]), bytes, &at, &why), 4);
        assert_memory_equal(bytes, "SSH-", 4);
    }
    for (unsigned i = 0; i < RX_COUNT(bad); i++) {
        at = 99;
        assert_int_equal(rx_hex_decode(bad[i].text, strlen(bad[i].text), bytes, &at, &why), -1);
        assert_int_equal(at, bad[i].at);
    }
    struct rx_args a = args_for(1);
    a.is_hex = true;
    save(0, "53 53 4g", 8);
    assert_int_equal(explain(NULL, &a), 1);
    assert_non_null(strstr(out[1], "half a byte: digits come in pairs at offset 6"));
}

static void segments_are_cut_where_they_are_told(void **state)
{
    (void)state;
    struct rx_args a = args_for(1);
    a.is_json = false;
    save(0, "SSH-2.0-x\r\n", 11);
    a.segments = "3,4";
    assert_int_equal(explain(NULL, &a), 0);
    assert_ptr_equal(strstr(out[0], "11 bytes in 3 segments; 11 looked at"), out[0]);
    a.segments = "9";
    assert_int_equal(explain(NULL, &a), 0);
    assert_ptr_equal(strstr(out[0], "11 bytes in 2 segments; 9 looked at"), out[0]); // decided without the rest
    assert_non_null(strstr(out[0], "software=\"x\""));                               // which is read all the same
    static const char *const bad[] = { "12", "3,", "x", "-1", "3,4,5", "99999999999999999999" };
    for (unsigned i = 0; i < RX_COUNT(bad); i++) {
        a.segments = bad[i];
        assert_int_equal(explain(NULL, &a), 1);
        assert_non_null(strstr(out[1], "--segments: "));
    }
    a = args_for(2); // several files: segments in order
    save(0, "SSH", 3);
    save(1, "-2.0-y\r\n", 8);
    assert_int_equal(explain(NULL, &a), 0);
    assert_non_null(strstr(out[0], "\"software\":\"y\""));
}

static size_t put_packet(uint8_t *p, bool is_from_client, uint32_t seq, uint8_t flags, const char *payload)
{
    uint8_t head[16 + 14 + 20 + 20] = { 0 }, *ip = head + 30, *tcp = head + 50;
    size_t n = strlen(payload);
    uint32_t size = (uint32_t)(54 + n);
    memcpy(head + 8, &size, 4);
    memcpy(head + 12, &size, 4);
    head[28] = 8; // IPv4
    ip[0] = 0x45;
    ip[3] = (uint8_t)(40 + n);
    ip[9] = 6;
    ip[12] = is_from_client ? 10 : 20;
    ip[16] = is_from_client ? 20 : 10;
    tcp[is_from_client ? 0 : 2] = 0x90;
    tcp[is_from_client ? 3 : 1] = 22;
    for (int i = 0; i < 4; i++)
        tcp[4 + i] = (uint8_t)(seq >> (24 - 8 * i));
    tcp[12] = 0x50;
    tcp[13] = flags;
    memcpy(p, head, sizeof head);
    memcpy(p + sizeof head, payload, n);
    return sizeof head + n;
}

// Out of order, twice, and across the end of the sequence numbers.
static void a_capture_is_put_together(void **state)
{
    (void)state;
    static const uint8_t file[24] = { 0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, [16] = 0xff, 0xff, 0, 0, 1 };
    uint8_t bytes[2048];
    size_t n = sizeof file;
    uint32_t first = 0xfffffffeu;
    memcpy(bytes, file, n);
    n += put_packet(bytes + n, true, first, 2, "");
    n += put_packet(bytes + n, false, 77, 18, "");
    n += put_packet(bytes + n, true, first + 1 + 4, 24, "2.0-z\r\n");
    n += put_packet(bytes + n, true, first + 1, 24, "SS");
    n += put_packet(bytes + n, true, first + 1, 24, "XX");
    n += put_packet(bytes + n, true, first + 1 + 1, 24, "SH-");
    n += put_packet(bytes + n, false, 78, 24, "SSH-2.0-server\r\n");
    n += put_packet(bytes + n, true, first + 1 + 11, 24, "key exchange");
    struct rx_args a = args_for(1);
    a.is_pcap = true;
    save(0, bytes, n);
    struct rx_input in;
    char err[RX_INPUT_ERROR];
    assert_int_equal(rx_input_read(&in, &a, err), 0);
    assert_int_equal(in.len, 11);
    assert_memory_equal(in.bytes, "SSH-2.0-z\r\n", 11);
    assert_int_equal(in.n_cuts, 2);
    assert_int_equal(in.cuts[0], 2);
    assert_false(in.is_server_first || in.has_gap);
    assert_int_equal(rx_addr_port(&in.client.sa), 0x9000);
    rx_input_free(&in);
    for (size_t cut = 0; cut < n; cut++) { // however short, it is an answer or an error
        save(0, bytes, cut);
        if (rx_input_read(&in, &a, err) == 0)
            rx_input_free(&in);
        else
            assert_non_null(strstr(err, "--pcap: "));
        if (cut % 32) // all that ships is loaded each time
            continue;
        int code = explain(NULL, &a);
        assert_true(code == 0 || (code == 1 && strstr(out[1], "--pcap: ")));
    }
}

// ---- what is answered -----------------------------------------------------------------------------------------

static void builtin_names_protocol_and_facts(void **state)
{
    (void)state;
    uint8_t bytes[512];
    json_t *j = builtin(bytes, hello(bytes, "a.test")), *facts = json_object_get(j, "facts");
    is(j, "transport", "tcp");
    is(j, "verdict", "match");
    is(j, "protocol", "tls");
    is(j, "route", NULL);
    is(j, "to", NULL);
    is(j, "backend", NULL);
    is(facts, "sni", "a.test");
    assert_true(json_is_array(json_object_get(facts, "alpn")));
    assert_null(json_object_get(j, "note"));
    json_t *tried = json_array_get(json_object_get(j, "tried"), 0);
    is(tried, "protocol", "tls");
    is(tried, "verdict", "match");
    json_decref(j);

    j = builtin(bytes, hello(bytes, NULL));
    is(json_object_get(j, "facts"), "sni", NULL);
    json_decref(j);

    static const char request[] = "POST /a?b HTTP/1.1\r\nUser-Agent: x\r\nHost: www.a.test:80\r\n\r\n";
    j = builtin(request, sizeof request - 1);
    facts = json_object_get(j, "facts");
    is(j, "protocol", "http");
    is(facts, "method", "POST");
    is(facts, "host", "www.a.test");
    is(facts, "version", "1.1");
    assert_null(json_object_get(facts, "sni"));
    json_decref(j);
}

static void too_little_is_need_more_and_garbage_is_none(void **state)
{
    (void)state;
    uint8_t bytes[512];
    size_t n = hello(bytes, "a.test");
    json_t *j = builtin(bytes, n - 1);
    is(j, "verdict", "need_more");
    is(j, "protocol", NULL);
    assert_int_equal(json_object_size(json_object_get(j, "facts")), 0);
    json_t *tried = json_array_get(json_object_get(j, "tried"), 0);
    is(tried, "verdict", "more");
    assert_int_equal(json_integer_value(json_object_get(tried, "bytes")), n - 1);
    json_decref(j);
    j = builtin("", 0);
    is(j, "verdict", "need_more");
    json_decref(j);
    j = builtin("\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6\xf5\xf4\xf3\xf2\xf1\xf0", 16);
    is(j, "verdict", "none");
    is(j, "protocol", NULL);
    json_decref(j);
    bytes[n - 7]++; // the name is longer than its extension
    j = builtin(bytes, n);
    is(j, "verdict", "none");
    is(j, "note", "tls_invalid");
    json_decref(j);
}

static void bytes_is_where_the_verdict_fell(void **state)
{
    (void)state;
    static const char line[] = "SSH-2.0-OpenSSH_9.2p1\r\n";
    json_t *j = builtin(line, sizeof line - 1), *t;
    size_t i;
    json_array_foreach(json_object_get(j, "tried"), i, t)
    {
        const char *name = json_string_value(json_object_get(t, "protocol"));
        size_t n = (size_t)json_integer_value(json_object_get(t, "bytes"));
        json_t *shorter = builtin(line, n), *longer = NULL, *k;
        size_t at;
        json_array_foreach(json_object_get(shorter, "tried"), at,
                           k) if (!strcmp(name, json_string_value(json_object_get(k, "protocol")))) longer = k;
        is(longer, "verdict", json_string_value(json_object_get(t, "verdict")));
        json_decref(shorter);
    }
    json_decref(j);
}

static void no_report(void *data, unsigned severity, const char *text, size_t len)
{
    (void)data, (void)severity;
    fail_msg("%.*s", (int)len, text);
}

static int route(struct rx_build *b, int listen, const char *name, int pool)
{
    struct rx_route_spec spec = { .where = S("c.lua:7"), .to = { .kind = RX_TO_POOL, .pool = pool } };
    spec.proto = rx_door.proto_builtin(b, (struct rx_slice){ name, (uint32_t)strlen(name) });
    return rx_door.route_new(b, listen, &spec);
}

// tls for *.a.test, ssh from inside, any on the second listener.
static struct rx_conf *config(void)
{
    struct rx_build *b = rx_build_new(rx_test_home(), no_report, NULL);
    struct rx_pool_spec pool = { .name = S("web") };
    int web = rx_door.pool_new(b, &pool);
    static const char *const backends[] = { "10.0.0.1:80", "10.0.0.2:80" };
    for (int i = 0; i < 2; i++) {
        struct rx_backend_spec one = { .addr = { backends[i], 11 }, .weight = 1 };
        rx_door.pool_backend(b, web, &one);
    }
    struct rx_listen_spec spec = { .where = S("c.lua:1"), .peek_bytes = 300 };
    int l = rx_door.listen_new(b, &spec), m = rx_door.listen_new(b, &spec);
    rx_door.listen_bind(b, l, S("0.0.0.0:8080"));
    rx_door.listen_bind(b, m, S("127.0.0.1:9000-9009"));
    rx_door.route_cond(b, route(b, l, "tls", web), RX_COND_SNI, S("*.a.test"));
    rx_door.route_cond(b, route(b, l, "ssh", web), RX_COND_FROM, S("10.0.0.0/8"));
    route(b, m, "any", web);
    struct rx_conf *conf = rx_build_finish(b, "c.lua");
    assert_non_null(conf);
    rx_build_free(b);
    return conf;
}

static void a_config_decides_and_says_why(void **state)
{
    (void)state;
    struct rx_conf *conf = config();
    struct rx_args a = args_for(1);
    uint8_t bytes[512];
    a.is_builtin = false;
    save(0, bytes, hello(bytes, "www.a.test"));
    assert_int_equal(explain(conf, &a), 0);
    json_t *j = json_loads(out[0], 0, NULL);
    is(j, "verdict", "match");
    is(j, "route", "tls sni=*.a.test");
    is(j, "to", "web");
    is(j, "backend", "10.0.0.1:80");
    json_decref(j);

    save(0, "SSH-2.0-x\r\n", 11); // recognised, but its route's condition fails
    assert_int_equal(explain(conf, &a), 0);
    j = json_loads(out[0], 0, NULL);
    is(j, "verdict", "none");
    is(j, "protocol", "ssh");
    is(j, "route", NULL);
    is(j, "to", "drop");
    json_decref(j);
    a.is_json = false;
    assert_int_equal(explain(conf, &a), 0);
    assert_non_null(strstr(out[0], "fails from=10.0.0.0/8  (192.0.2.1)"));
    assert_non_null(strstr(out[0], "counted as no_route"));
    a.from = "[::ffff:10.1.2.3]:5";
    assert_int_equal(explain(conf, &a), 0);
    assert_non_null(strstr(out[0], "holds from=10.0.0.0/8  (10.1.2.3)"));
    assert_non_null(strstr(out[0], "=> route 2 \"ssh\" (c.lua:7)\n   to web: 10.0.0.1:80, 10.0.0.2:80\n"));
    rx_conf_unref(conf);
}

// Who may not take any route is turned away before a word is said; what it says is named all the same.
static void who_may_not_is_named_too(void **state)
{
    (void)state;
    struct rx_build *b = rx_build_new(rx_test_home(), no_report, NULL);
    struct rx_listen_spec spec = { .where = S("c.lua:1") };
    int l = rx_door.listen_new(b, &spec);
    rx_door.listen_bind(b, l, S("0.0.0.0:8080"));
    struct rx_route_spec ssh = { .where = S("c.lua:7"), .to = { .kind = RX_TO_ECHO } };
    ssh.proto = rx_door.proto_builtin(b, S("ssh"));
    rx_door.route_cond(b, rx_door.route_new(b, l, &ssh), RX_COND_FROM, S("10.0.0.0/8"));
    struct rx_conf *conf = rx_build_finish(b, "c.lua");
    rx_build_free(b);
    struct rx_args a = args_for(1);
    a.is_builtin = false;
    save(0, "SSH-2.0-x\r\n", 11);
    assert_int_equal(explain(conf, &a), 0);
    json_t *j = json_loads(out[0], 0, NULL);
    is(j, "verdict", "none");
    is(j, "protocol", "ssh");
    is(json_object_get(j, "facts"), "software", "x");
    json_decref(j);
    a.is_json = false;
    assert_int_equal(explain(conf, &a), 0);
    assert_non_null(strstr(out[0], "fails from=10.0.0.0/8  (192.0.2.1)"));
    rx_conf_unref(conf);
}

static void a_listener_can_be_chosen(void **state)
{
    (void)state;
    struct rx_conf *conf = config();
    struct rx_args a = args_for(1);
    a.is_builtin = false;
    save(0, "SSH-2.0-x\r\n", 11);
    a.listener = "127.0.0.1:9004"; // one of a range
    assert_int_equal(explain(conf, &a), 0);
    json_t *j = json_loads(out[0], 0, NULL);
    is(j, "verdict", "match");
    is(j, "route", "any");
    is(j, "protocol", NULL);
    json_decref(j);
    a.listener = "127.0.0.1:9010";
    assert_int_equal(explain(conf, &a), 1);
    assert_non_null(strstr(out[1], "no listener \"127.0.0.1:9010\"; there are 0.0.0.0:8080, 127.0.0.1:9000-9009"));
    a.listener = NULL;
    a.from = "nobody";
    assert_int_equal(explain(conf, &a), 1);
    assert_non_null(strstr(out[1], "--from: \"nobody\" is not an IP address"));
    rx_conf_unref(conf);
}

static void a_full_buffer_ends_it(void **state)
{
    (void)state;
    struct rx_conf *conf = config();
    struct rx_args a = args_for(1);
    uint8_t bytes[1024] = { 22, 3, 1, 3, 0, 1, 0, 2, 0xfc, 3, 3 }; // a hello of 768 bytes where 300 may be peeked
    a.is_builtin = false;
    save(0, bytes, 500);
    assert_int_equal(explain(conf, &a), 0);
    json_t *j = json_loads(out[0], 0, NULL);
    is(j, "verdict", "none");
    is(j, "note", "tls_oversize");
    json_decref(j);
    rx_conf_unref(conf);
}

static void files_are_datagrams_of_a_udp_client(void **state)
{
    (void)state;
    static const char *grams[] = { "tests/corpus/quic/firefox-h3-1.d1", "tests/corpus/quic/firefox-h3-1.d0" };
    struct rx_args a = args_for(0);
    a.is_udp = a.is_builtin = a.is_json = true;
    a.files = grams;
    for (a.n_files = 1; a.n_files <= 2; a.n_files++) {
        assert_int_equal(explain(NULL, &a), 0);
        json_t *j = json_loads(out[0], 0, NULL);
        is(j, "transport", "udp");
        is(j, "verdict", a.n_files == 1 ? "need_more" : "match");
        if (a.n_files == 2)
            is(j, "protocol", "quic");
        json_decref(j);
    }
}

static int make_files(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "/tmp/rx_test_explain_XXXXXX");
        close(mkstemp(path[i]));
    }
    return 0;
}

static int drop_files(void **state)
{
    (void)state;
    return unlink(path[0]) | unlink(path[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_nests_and_escapes),
        cmocka_unit_test(whatever_goes_in_json_is_utf8),
        cmocka_unit_test(hexadecimal_is_read_in_many_ways),
        cmocka_unit_test(segments_are_cut_where_they_are_told),
        cmocka_unit_test(a_capture_is_put_together),
        cmocka_unit_test(builtin_names_protocol_and_facts),
        cmocka_unit_test(too_little_is_need_more_and_garbage_is_none),
        cmocka_unit_test(bytes_is_where_the_verdict_fell),
        cmocka_unit_test(a_config_decides_and_says_why),
        cmocka_unit_test(who_may_not_is_named_too),
        cmocka_unit_test(a_listener_can_be_chosen),
        cmocka_unit_test(a_full_buffer_ends_it),
        cmocka_unit_test(files_are_datagrams_of_a_udp_client),
    };
    return cmocka_run_group_tests(tests, make_files, drop_files);
}
