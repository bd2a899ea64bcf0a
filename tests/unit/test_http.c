// SPDX-License-Identifier: MIT
// Enters: request heads, good, odd and foreign. Leaves: that core/proto/http.c matches the first, refuses the
// last by the right note, reads their facts, and keeps the contract at every prefix of all of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "identcheck.h"
#include "proto/list.h"

static struct ident_result ask_n(const char *p, size_t n, uint32_t want)
{
    struct ident_result r;
    const char *broken = ident_law(&rx_proto_http, p, (uint32_t)n, want, &r);
    if (broken)
        fail_msg("'%s': %s", p, broken);
    return r;
}

static struct ident_result ask(const char *p)
{
    return ask_n(p, strlen(p), UINT32_MAX);
}

static void assert_text(const struct ident_result *r, uint32_t fact, const char *value, const char *of)
{
    if (value ? !ident_is(r, fact, value) : r->f.have & fact)
        fail_msg("fact %x of '%s' is not '%s'", fact, of, value ? value : "absent");
}

// NULL: absent
static void expect(const char *head, const char *method, const char *path, const char *host)
{
    struct ident_result r = ask(head);
    if (r.verdict != RX_MATCH)
        fail_msg("'%s': verdict %d", head, (int)r.verdict);
    assert_int_equal(r.f.note, RX_NOTE_NONE);
    assert_text(&r, RX_FACT_METHOD, method, head);
    assert_text(&r, RX_FACT_PATH, path, head);
    assert_text(&r, RX_FACT_HOST, host, head);
    assert_int_equal(r.f.pending, 0);
}

static void expect_no(const char *head, enum rx_note note)
{
    struct ident_result r = ask(head);
    if (r.verdict != RX_NO || r.f.note != note)
        fail_msg("'%s': verdict %d, note %s", head, (int)r.verdict, r.f.note == note ? "right" : "wrong");
}

static void expect_more(const char *head)
{
    if (ask(head).verdict != RX_MORE)
        fail_msg("'%s': should ask for more", head);
}

static void matches_every_method(void **state)
{
    (void)state;
    static const char *const methods[] = {
        "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LABEL",
        "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MOVE", "MKWORKSPACE",
        "OPTIONS", "ORDERPATCH", "PATCH", "POST", "PRI", "PROPFIND", "PROPPATCH", "PUT", "QUERY", "REBIND", "REPORT",
        "SEARCH", "TRACE", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF",
        "VERSION-CONTROL",
        // not registered: tea, UPnP, BITS, SSTP, RD Gateway, one letter, and as long as may be
        "BREW", "M-SEARCH", "BITS_POST", "SSTP_DUPLEX_POST", "RDG_OUT_DATA", "X", "ABCDEFGHIJKLMNOPQRSTUVWX"
    };
    for (unsigned i = 0; i < RX_COUNT(methods); i++) {
        char head[128];
        snprintf(head, sizeof head, "%s /a?b HTTP/1.1\r\nHost: h.test\r\n\r\n", methods[i]);
        expect(head, methods[i], "/a?b", "h.test");
        // what decides is the version
        struct ident_result r = ask_n(head, strlen(methods[i]) + strlen(" /a?b HTTP/1.1"), UINT32_MAX);
        assert_int_equal(r.verdict, RX_MATCH);
        assert_int_equal(r.f.pending, RX_FACT_HOST);
        assert_int_equal(r.f.version, 0x0101);
        r = ask_n(head, strlen(methods[i]) + strlen(" /a?b HTTP/1."), UINT32_MAX);
        assert_int_equal(r.verdict, RX_MORE);
    }
    expect_no("ABCDEFGHIJKLMNOPQRSTUVWXY", RX_NOTE_NONE);
    expect_more("ABCDEFGHIJKLMNOPQRSTUVWX");
}

static void reads_every_form_of_target(void **state)
{
    (void)state;
    expect("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS", "*", "a");
    expect("GET http://a.test/p?q HTTP/1.1\r\nHost: b.test\r\n\r\n", "GET", "/p?q", "a.test");
    expect("GET http://a.test HTTP/1.1\r\nHost: b.test\r\n\r\n", "GET", "/", "a.test");
    expect("GET http://a.test?q=/x HTTP/1.1\r\n\r\n", "GET", "/", "a.test");
    expect("GET HTTP://me:pw@x@a.test:81/p HTTP/1.1\r\n\r\n", "GET", "/p", "a.test");
    expect("GET ws+unix://[2001:db8::1]:81/p HTTP/1.1\r\n\r\n", "GET", "/p", "[2001:db8::1]");
    expect("GET http:///p HTTP/1.1\r\nHost: b.test\r\n\r\n", "GET", "/p", "b.test");
    expect("GET urn:x HTTP/1.1\r\nHost: b.test\r\n\r\n", "GET", "urn:x", "b.test");
    expect("CONNECT a.test:443 HTTP/1.1\r\nHost: b.test\r\n\r\n", "CONNECT", NULL, "a.test");
    expect("CONNECT [::1]:443 HTTP/1.0\n\n", "CONNECT", NULL, "[::1]");
    expect("GET /\xc3\xbc\xff HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/\xc3\xbc\xff", "a");
    struct ident_result r = ask("GET http://a.test/ HTTP/1.1");
    assert_true(ident_is(&r, RX_FACT_HOST, "a.test")); // and nothing left to wait for
    assert_int_equal(r.f.pending, 0);
}

static void reads_the_host_line(void **state)
{
    (void)state;
    static const struct {
        const char *lines, *host;
    } heads[] = {
        { "Host: a.test\r\n\r\n", "a.test" },
        { "Host:a.test\n\n", "a.test" },
        { "hOsT: \t A.Test:8080 \t\r\n\r\n", "A.Test" },
        { "A: b\r\nHostess: x\r\nhost: a.test\r\n", "a.test" },
        { "Host: [2001:db8::1]:80\r\n\r\n", "[2001:db8::1]" },
        { "Host: [::1]\r\n\r\n", "[::1]" },
        { "Host: fe80::1\r\n\r\n", "fe80::1" },
        { "Host: a.test:\r\n\r\n", "a.test" },
        { "Host: a.test\r\nHost: b.test\r\n\r\n", "a.test" },
        { "\r\nHost: body.test\r\n", NULL },
        { "\nHost: body.test\n", NULL },
        { "A: b\r\n Host: folded.test\r\n\r\n", NULL },
        { "Host : a.test\r\n\r\n", NULL },
        { "Host:\r\n\r\n", NULL },
        { "Host: :80\r\n\r\n", NULL },
        { "Host: a b\r\n\r\n", NULL },
        { "Host: a/b\r\n\r\n", NULL },
        { "Host: x@a.test\r\n\r\n", NULL },
        { "Host: [::1\r\n\r\n", NULL },
        { "Host: [::1]x\r\n\r\n", NULL },
        { "Host: a\rb\r\n\r\n", NULL },
        { "Host: a.test\r\r\n\r\n", NULL },
        { "\x01\x02 garbage\r\n:\r\nHost: a.test\r\n", "a.test" },
    };
    for (unsigned i = 0; i < RX_COUNT(heads); i++) {
        char head[256];
        snprintf(head, sizeof head, "GET / HTTP/1.1\r\n%s", heads[i].lines);
        expect(head, "GET", "/", heads[i].host);
    }
    struct ident_result r = ask_n("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 28, UINT32_MAX);
    assert_int_equal(r.verdict, RX_MATCH);
    assert_int_equal(r.f.have & RX_FACT_HOST, 0);
}

static void waits_for_the_host_only_if_wanted(void **state)
{
    (void)state;
    const char *head = "GET / HTTP/1.1\r\nA: b\r\nHost: a.tes";
    struct ident_result r = ask(head);
    assert_int_equal(r.f.pending, RX_FACT_HOST);
    assert_int_equal(r.f.have & RX_FACT_HOST, 0);
    r = ask_n(head, strlen(head), RX_FACT_PATH);
    assert_int_equal(r.f.pending, 0);
    assert_true(ident_is(&r, RX_FACT_PATH, "/"));
}

static void matches_versions(void **state)
{
    (void)state;
    assert_int_equal(ask("GET / HTTP/1.0\n\n").f.version, 0x0100);
    assert_int_equal(ask("GET / HTTP/1.9\r\n").f.version, 0x0109);
    expect("GET /\r\n", "GET", "/", NULL);
    expect("GET /x\n", "GET", "/x", NULL);
    expect("GET http://a.test/x\r\n", "GET", "/x", "a.test");
    assert_int_equal(ask("GET /\r\nHost: a\r\n").f.version, 0x0009);
    expect_more("GET /\r");
    expect_no("GET /\rX", RX_NOTE_HTTP_INVALID);
    expect_no("GET / HTTP/2.0\r\n", RX_NOTE_HTTP_INVALID);
    expect_no("GET / HTTP/9.9\r\n", RX_NOTE_HTTP_INVALID);
    expect_no("GET / HTTP/1.x\r\n", RX_NOTE_HTTP_INVALID);
    expect_no("GET / HTTP/11\r\n", RX_NOTE_HTTP_INVALID);
    expect_no("GET / http/1.1\r\n", RX_NOTE_HTTP_INVALID);
}

static void matches_prior_knowledge(void **state)
{
    (void)state;
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct ident_result r = ask(preface);
    assert_int_equal(r.verdict, RX_MATCH);
    assert_int_equal(r.f.version, 0x0200);
    assert_int_equal(r.f.have, RX_FACT_VERSION);
    assert_int_equal(r.f.pending, 0);
    r = ask_n(preface, sizeof preface - 2, UINT32_MAX);
    assert_int_equal(r.verdict, RX_MORE);
    expect_no("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", RX_NOTE_HTTP_INVALID);
    expect_no("PRI /* HTTP/2.0\r\n\r\nSM\r\n\r\n", RX_NOTE_HTTP_INVALID);
    expect_no("\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", RX_NOTE_HTTP_INVALID);
}

static void skips_empty_lines(void **state)
{
    (void)state;
    expect("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/", "a");
    expect("\n\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/", "a");
    expect_more("\r\n\r\n");
    expect_more("\r");
    expect_no("\r\n\r\n\r\n\r\n\r\n", RX_NOTE_NONE);
    expect_no("\rGET / HTTP/1.1\r\n", RX_NOTE_NONE);
    expect_no("\r\n GET / HTTP/1.1\r\n", RX_NOTE_NONE);
    struct ident_result r = ask_n("\r\n\r\n\0", 5, UINT32_MAX); // PROXY v2
    assert_int_equal(r.verdict, RX_NO);
}

static void leaves_other_protocols_alone(void **state)
{
    (void)state;
    static const char *const others[] = {
        "OPTIONS rtsp://a.test/s RTSP/1.0\r\n",
        "OPTIONS * RTSP/1.0\r\n",
        "OPTIONS sip:a@b SIP/2.0\r\n",
        "REGISTER sip:b SIP/2.0\r\n",
        "OPTIONS icap://a.test/s ICAP/1.0\r\n",
        "CONNECT {\"verbose\":fal",
        "CONNECT\naccept-version:1.2\n",
        "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
        "HTTP/1.1 200 OK\r\n",
        "get / HTTP/1.1",
        "Get / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET foo\r\n",
        "SET a b\r\n",
        "EHLO a.test\r\n",
        "MAIL FROM:<a@b> SIZE=3\r\n",
        "USER a\r\n",
        "USER a b c :d\r\n",
        "NICK a\r\n",
        "QUIT\r\n",
        "STAT\r\n",
        "SSH-2.0-x\r\n",
        "HELP\r\n",
        "\x16\x03\x01",
        "DESCRIBE rtsp://a.test/s RTSP/1.0\r\n",
        "GET \r\n",
        "GET \x01",
        "INFO {",
        "-X / HTTP/1.1",
        "1X / HTTP/1.1",
    };
    for (unsigned i = 0; i < RX_COUNT(others); i++)
        expect_no(others[i], RX_NOTE_NONE);
    expect_no("GET /a b HTTP/1.1\r\n", RX_NOTE_HTTP_INVALID);
    expect_no("GET /a\x01 HTTP/1.1\r\n", RX_NOTE_HTTP_INVALID);
    expect_no("GET /a\x7f HTTP/1.1\r\n", RX_NOTE_HTTP_INVALID);
    expect_no("POST /a\r\n", RX_NOTE_HTTP_INVALID);
    expect_no("BREW /a b\r\n", RX_NOTE_NONE);
}

static void finds_every_control_byte_wherever_it_is(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        for (unsigned at = 0; at < 18; at++) {
            char head[64] = "GET /aaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n";
            size_t n = strlen(head);
            head[5 + at] = (char)c;
            bool is_text = c > ' ' && c != 0x7f;
            struct ident_result r = ask_n(head, n, UINT32_MAX);
            bool is_simple = c == '\n'; // ends a request of version 0.9
            assert_int_equal(r.verdict, is_text || is_simple ? RX_MATCH : RX_NO);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_every_method),
        cmocka_unit_test(reads_every_form_of_target),
        cmocka_unit_test(reads_the_host_line),
        cmocka_unit_test(waits_for_the_host_only_if_wanted),
        cmocka_unit_test(matches_versions),
        cmocka_unit_test(matches_prior_knowledge),
        cmocka_unit_test(skips_empty_lines),
        cmocka_unit_test(leaves_other_protocols_alone),
        cmocka_unit_test(finds_every_control_byte_wherever_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
