// SPDX-License-Identifier: MIT
// Enters: what clients say. Leaves: that core/describe*.c answers each in its own protocol, says what was recognised
// and nothing a client could have smuggled in, and ends whatever it is told.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "describe.h"
#include "proto/list.h"
#include "proto/wire.h"

static uint8_t scratch[RX_SCRATCH_SIZE];

static struct rx_about about_of(const struct rx_proto *def)
{
    struct rx_about a = {
        .def = def,
        .name = def ? def->name : NULL,
        .route = "r1",
        .listener = "127.0.0.1:9090",
        .client = "192.0.2.1:4000",
        .scratch = scratch,
    };
    return a;
}

static void talk_open(struct rx_talk *t, const struct rx_proto *def)
{
    struct rx_about a = about_of(def);
    rx_talk_init(t, &a, NULL);
}

static void talk_silent(struct rx_talk *t, const struct rx_proto *def)
{
    struct rx_about a = about_of(def);
    a.silent_ms = 3000;
    rx_talk_init(t, &a, NULL);
}

static bool hear(struct rx_talk *t, const char *text)
{
    return rx_talk_hear(t, (const uint8_t *)text, strlen(text));
}

static bool has(const struct rx_bytes *b, const char *text)
{
    return b->len && memmem(b->ptr, b->len, text, strlen(text)) != NULL;
}

static bool starts(const struct rx_bytes *b, const void *p, size_t n)
{
    return b->len >= n && !memcmp(b->ptr, p, n);
}

// Says all of it at once, which must be enough, and has the answer compared to a text.
static void expect_exact(const struct rx_proto *def, const void *said, size_t n, const void *answer, size_t len)
{
    struct rx_talk t;
    talk_open(&t, def);
    assert_true(rx_talk_hear(&t, said, n));
    assert_int_equal(t.out.len, len);
    assert_memory_equal(t.out.ptr, answer, len);
    rx_talk_fini(&t);
}

#define EXPECT(def, said, answer) expect_exact(&(def), said, sizeof(said) - 1, answer, sizeof(answer) - 1)
#define LINE(what) "refractium recognised " what ", route r1, listener 127.0.0.1:9090"

// ---- texts ------------------------------------------------------------------------------------------------------

static void line_protocols_get_their_line(void **state)
{
    (void)state;
    EXPECT(rx_proto_redis, "*1\r\n$4\r\nPING\r\n", "-ERR " LINE("redis") "\r\n");
    EXPECT(rx_proto_smtp, "EHLO a.test\r\n", "554 " LINE("smtp") "\r\n");
    EXPECT(rx_proto_ftp, "USER joe\r\n", "421 " LINE("ftp (user joe)") "\r\n");
    EXPECT(rx_proto_pop3, "CAPA\r\n", "-ERR " LINE("pop3") "\r\n");
    EXPECT(rx_proto_imap, "a1 CAPABILITY\r\n", "* BYE " LINE("imap") "\r\n");
    EXPECT(rx_proto_openvpn, "\x00\x0e\x38xxxxxxxxxxxxx", LINE("openvpn") "\r\n");
}

static void the_silent_are_told_so(void **state)
{
    (void)state;
    static const char smtp[] = "554 refractium: you said nothing for 3s, as smtp clients do, route r1, "
                               "listener 127.0.0.1:9090\r\n";
    struct rx_talk t;
    talk_silent(&t, &rx_proto_smtp);
    assert_true(hear(&t, ""));
    assert_int_equal(t.out.len, sizeof smtp - 1);
    assert_memory_equal(t.out.ptr, smtp, sizeof smtp - 1);
    rx_talk_fini(&t);

    talk_silent(&t, NULL);
    t.about.silent_ms = 250;
    t.about.route = NULL;
    assert_true(hear(&t, ""));
    assert_true(has(&t.out, "refractium: you said nothing for 250ms, fallback, listener"));
    rx_talk_fini(&t);
}

static void declared_protocols_get_text(void **state)
{
    (void)state;
    struct rx_about a = about_of(NULL);
    struct rx_talk t;
    a.name = "game\n\x1b[31m";
    rx_talk_init(&t, &a, NULL);
    assert_true(hear(&t, "GAME1"));
    assert_true(has(&t.out, "refractium recognised game\\x0a\\x1b[31m, route r1"));
    rx_talk_fini(&t);
}

static void what_no_route_knows_is_recognised_all_the_same(void **state)
{
    (void)state;
    struct rx_talk t;
    talk_open(&t, NULL);
    assert_false(hear(&t, "")); // rx.any: the client has not had its turn yet
    assert_false(hear(&t, "GET / HT"));
    assert_true(hear(&t, "TP/1.0\r\n\r\n"));
    assert_true(starts(&t.out, "HTTP/1.1 200 OK\r\n", 17));
    rx_talk_fini(&t);

    talk_open(&t, NULL);
    assert_true(hear(&t, "\xff\xfe hello \"<\r\n"));
    assert_true(has(&t.out, "refractium recognised no protocol in \"\\xff\\xfe hello \\x22<\\x0d\\x0a\", route r1"));
    rx_talk_fini(&t);

    talk_open(&t, NULL);
    assert_false(hear(&t, "SSH"));
    rx_talk_end(&t);
    assert_true(has(&t.out, "no protocol in \"SSH\""));
    rx_talk_fini(&t);
}

static void long_facts_do_not_hide_the_route(void **state)
{
    (void)state;
    char said[4096] = "GET /";
    memset(said + 5, 'p', 1500);
    strcpy(said + 1505, " HTTP/1.1\r\nHost: ");
    memset(said + strlen(said), 'h', 250);
    strcat(said, "\r\n\r\n");
    struct rx_talk t;
    char line[RX_TALK_LINE];
    talk_open(&t, &rx_proto_http);
    assert_true(hear(&t, said));
    assert_non_null(strstr(rx_talk_line(&t, line), ", route r1, listener 127.0.0.1:9090"));
    assert_non_null(strstr(line, "ppp..."));
    rx_talk_fini(&t);
}

// ---- http -------------------------------------------------------------------------------------------------------

static void check_http_length(const struct rx_bytes *out)
{
    const char *body = memmem(out->ptr, out->len, "\r\n\r\n", 4), *length = "Content-Length: ";
    const char *at = memmem(out->ptr, out->len, length, strlen(length));
    assert_true(body && at && at < body);
    assert_int_equal(strtoul(at + strlen(length), NULL, 10), out->len - (size_t)(body + 4 - (char *)out->ptr));
}

static void http_gets_a_page(void **state)
{
    (void)state;
    struct rx_talk t;
    talk_open(&t, &rx_proto_http);
    assert_false(hear(&t, "GET /a?b HTTP/1.1\r\n")); // the host may still come
    assert_true(hear(&t, "Host: h.test:81\r\n\r\n"));
    assert_true(starts(&t.out, "HTTP/1.1 200 OK\r\n", 17));
    assert_true(has(&t.out, "Connection: close\r\n"));
    assert_true(has(&t.out, "  method    GET\n") && has(&t.out, "  host      h.test\n"));
    assert_true(has(&t.out, "  path      /a?b\n") && has(&t.out, "  route     r1\n"));
    assert_true(has(&t.out, "  listener  127.0.0.1:9090\n") && has(&t.out, "  client    192.0.2.1:4000\n"));
    check_http_length(&t.out);
    rx_talk_fini(&t);
}

static void http_that_ends_early_is_answered(void **state)
{
    (void)state;
    struct rx_talk t;
    talk_open(&t, &rx_proto_http);
    assert_false(hear(&t, "GET /a HTTP/1.1\r\nX: y\r\n"));
    rx_talk_end(&t);
    check_http_length(&t.out);
    rx_talk_fini(&t);
}

static void http_methods_without_a_body(void **state)
{
    (void)state;
    struct rx_talk t;
    talk_open(&t, &rx_proto_http);
    assert_true(hear(&t, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_memory_equal(t.out.ptr + t.out.len - 4, "\r\n\r\n", 4);
    assert_true(has(&t.out, "Content-Length: ") && !has(&t.out, "Content-Length: 0"));
    rx_talk_fini(&t);

    talk_open(&t, &rx_proto_http); // a 2xx would open a tunnel
    assert_true(hear(&t, "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    assert_true(starts(&t.out, "HTTP/1.1 501 ", 13));
    rx_talk_fini(&t);

    talk_open(&t, &rx_proto_http);
    assert_true(hear(&t, "GET /\r\n"));
    assert_true(starts(&t.out, "refractium recognised http\n", 27));
    rx_talk_fini(&t);
}

// ---- http/2 -----------------------------------------------------------------------------------------------------

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static void put_frame(struct rx_bytes *b, unsigned type, unsigned flags, uint32_t stream, const void *p, uint32_t n)
{
    rx_bytes_be(b, n, 3);
    rx_bytes_be(b, type << 8 | flags, 2);
    rx_bytes_be(b, stream, 4);
    rx_bytes_add(b, p, n);
}

// The n-th frame of a type among what was said; its length in *len. NULL: there is none.
static const uint8_t *find_frame(const struct rx_bytes *b, unsigned type, uint32_t *len)
{
    for (uint32_t at = 0; at + 9 <= b->len; at += 9 + *len) {
        *len = wire_be32(b->ptr + at) >> 8;
        assert_true(at + 9 + *len <= b->len);
        if (b->ptr[at + 3] == type)
            return b->ptr + at;
    }
    return NULL;
}

// RFC 7541 C.4.1: GET, http, /, "www.example.com" as Huffman code
static const uint8_t example_block[] = { 0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5,
                                         0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff };

static struct rx_bytes h2_request(const void *settings, uint32_t settings_len, unsigned flags, const void *block,
                                  uint32_t block_len)
{
    struct rx_bytes b = { 0 };
    rx_bytes_text(&b, preface);
    put_frame(&b, 4, 0, 0, settings, settings_len);
    put_frame(&b, 6, 0, 0, "pingpong", 8);
    put_frame(&b, 1, flags | 4, 7, block, block_len);
    return b;
}

static void h2_gets_a_page(void **state)
{
    (void)state;
    struct rx_bytes said = h2_request("", 0, 1, example_block, sizeof example_block);
    struct rx_talk t;
    uint32_t len;
    talk_open(&t, &rx_proto_http);
    for (uint32_t i = 0; i + 1 < said.len; i++)
        assert_false(rx_talk_hear(&t, said.ptr + i, 1));
    assert_true(rx_talk_hear(&t, said.ptr + said.len - 1, 1));
    assert_int_equal(t.out.ptr[3], 4); // SETTINGS come first
    assert_memory_equal(find_frame(&t.out, 6, &len) + 4, "\1\0\0\0\0pingpong", 13);
    const uint8_t *headers = find_frame(&t.out, 1, &len);
    assert_memory_equal(headers + 4, "\4\0\0\0\7\x88", 6);
    assert_memory_equal(find_frame(&t.out, 0, &len) + 4, "\1\0\0\0\7", 5);
    assert_true(has(&t.out, "  host      www.example.com\n") && has(&t.out, "  path      /\n"));
    assert_true(has(&t.out, "  method    GET\n") && has(&t.out, "  version   2\n"));
    const uint8_t *bye = find_frame(&t.out, 7, &len);
    assert_memory_equal(bye + 9, "\0\0\0\7\0\0\0\0refractium recognised http", 34);
    rx_bytes_free(&said);
    rx_talk_fini(&t);
}

// One symbol and more of every length that is read
static void h2_reads_the_huffman_code(void **state)
{
    (void)state;
    static const char path[] = "/!*'();:@&=+$,?#[]%~-_.azAZ09{|}<>^`\"";
    // RFC 7541 appendix B
    static const struct {
        char symbol;
        uint16_t code;
        uint8_t bits;
    } codes[] = {
        { '/', 0x18, 6 },    { '!', 0x3f8, 10 },  { '*', 0xf9, 8 },    { '\'', 0x7fa, 11 }, { '(', 0x3fa, 10 },
        { ')', 0x3fb, 10 },  { ';', 0xfb, 8 },    { ':', 0x5c, 7 },    { '@', 0x1ffa, 13 }, { '&', 0xf8, 8 },
        { '=', 0x20, 6 },    { '+', 0x7fb, 11 },  { '$', 0x1ff9, 13 }, { ',', 0xfa, 8 },    { '?', 0x3fc, 10 },
        { '#', 0xffa, 12 },  { '[', 0x1ffb, 13 }, { ']', 0x1ffc, 13 }, { '%', 0x15, 6 },    { '~', 0x1ffd, 13 },
        { '-', 0x16, 6 },    { '_', 0x22, 6 },    { '.', 0x17, 6 },    { 'a', 0x3, 5 },     { 'z', 0x7b, 7 },
        { 'A', 0x21, 6 },    { 'Z', 0xfd, 8 },    { '0', 0x0, 5 },     { '9', 0x1f, 6 },    { '{', 0x7ffe, 15 },
        { '|', 0x7fc, 11 },  { '}', 0x3ffd, 14 }, { '<', 0x7ffc, 15 }, { '>', 0xffb, 12 },  { '^', 0x3ffc, 14 },
        { '`', 0x7ffd, 15 }, { '"', 0x3f9, 10 },
    };
    uint8_t fields[128] = { 0x82, 0x04 };
    uint32_t bit = 0;
    for (const char *s = path; *s; s++) {
        unsigned k = 0;
        while (codes[k].symbol != *s)
            k++;
        for (unsigned i = codes[k].bits; i-- > 0; bit++)
            fields[3 + bit / 8] |= (uint8_t)((codes[k].code >> i & 1) << (7 - bit % 8));
    }
    for (; bit % 8; bit++)
        fields[3 + bit / 8] |= (uint8_t)(1 << (7 - bit % 8));
    fields[2] = (uint8_t)(0x80 | bit / 8);
    struct rx_bytes said = h2_request("", 0, 1, fields, 3 + bit / 8);
    struct rx_talk t;
    talk_open(&t, &rx_proto_http);
    assert_true(rx_talk_hear(&t, said.ptr, said.len));
    assert_true(has(&t.out, "/!*'();:@&=+$,?#[]%~-_.azAZ09{|}<>^`\\x22\n"));
    rx_bytes_free(&said);
    rx_talk_fini(&t);
}

static void h2_keeps_to_the_window_and_to_the_method(void **state)
{
    (void)state;
    uint32_t len;
    struct rx_talk t;
    struct rx_bytes said = h2_request("\0\4\0\0\0\0", 6, 1, example_block, sizeof example_block);
    talk_open(&t, &rx_proto_http);
    assert_true(rx_talk_hear(&t, said.ptr, said.len));
    assert_non_null(find_frame(&t.out, 0, &len));
    assert_int_equal(len, 0);
    rx_bytes_free(&said);
    rx_talk_fini(&t);

    said = h2_request("", 0, 1, "\x02\x04HEAD\x84", 7);
    talk_open(&t, &rx_proto_http);
    assert_true(rx_talk_hear(&t, said.ptr, said.len));
    assert_null(find_frame(&t.out, 0, &len));
    assert_int_equal(find_frame(&t.out, 1, &len)[4], 5); // END_STREAM is on HEADERS
    rx_bytes_free(&said);
    rx_talk_fini(&t);
}

static void h2_survives_what_it_does_not_read(void **state)
{
    (void)state;
    static const struct {
        unsigned flags;
        const char *block;
        uint32_t len;
    } odd[] = {
        { 0, "", 0 },
        { 0x8, "", 0 },                       // PADDED without a length
        { 0x8, "\xff\x82", 2 },               // more padding than there is
        { 0x20, "\x82", 1 },                  // PRIORITY without one
        { 0, "\x7f\xff\xff\xff\xff\xff", 6 }, // an integer that does not end
        { 0, "\xbe\xff\x80\x80\x80\x01", 6 },
        { 0,
          "\x04\x85"
          "ab",
          4 }, // a string that is not all there
        { 0, "\x04", 1 },
        { 0, "\x00\x05:path\x01/", 9 },
        { 0, "\x3f\xe1\x1f\x82", 4 }, // a size of the dynamic table
    };
    for (unsigned i = 0; i < RX_COUNT(odd); i++) {
        struct rx_bytes said = h2_request("", 0, odd[i].flags, odd[i].block, odd[i].len);
        struct rx_talk t;
        uint32_t len;
        talk_open(&t, &rx_proto_http);
        assert_true(rx_talk_hear(&t, said.ptr, said.len));
        assert_non_null(find_frame(&t.out, 7, &len));
        rx_bytes_free(&said);
        rx_talk_fini(&t);
    }
    struct rx_talk t; // a frame beyond what is allowed
    talk_open(&t, &rx_proto_http);
    assert_false(hear(&t, preface));
    t.out.len = 0;
    assert_true(rx_talk_hear(&t, (const uint8_t *)"\x00\x40\x01\x00\x00\x00\x00\x00\x01", 9));
    assert_memory_equal(t.out.ptr + 9, "\0\0\0\0\0\0\0\6", 8);
    rx_talk_fini(&t);
}

// ---- ssh --------------------------------------------------------------------------------------------------------

static void ssh_is_disconnected_with_words(void **state)
{
    (void)state;
    static const char id[] = "SSH-2.0-refractium\r\n";
    static const char text[] = LINE("ssh (software OpenSSH_9.2p1 Debian-2, version 2.0)");
    struct rx_talk t;
    talk_open(&t, &rx_proto_ssh);
    assert_false(hear(&t, "SSH-2.0-OpenSSH_9.2p1 "));
    assert_int_equal(t.out.len, sizeof id - 1);
    assert_memory_equal(t.out.ptr, id, sizeof id - 1);
    t.out.len = 0;
    assert_true(hear(&t, "Debian-2\r\n"));
    const uint8_t *p = t.out.ptr;
    uint32_t len = wire_be32(p), padding = p[4];
    assert_int_equal(t.out.len, 4 + len);
    assert_int_equal((4 + len) % 8, 0);
    assert_in_range(padding, 4, 255);
    assert_memory_equal(p + 5, "\1\0\0\0\x0b", 5);
    assert_int_equal(wire_be32(p + 10), sizeof text - 1);
    assert_memory_equal(p + 14, text, sizeof text - 1);
    assert_int_equal(len, 1 + 9 + (sizeof text - 1) + 6 + padding);
    rx_talk_fini(&t);
}

static void ssh_packets_of_every_length(void **state)
{
    (void)state;
    char route[32] = "";
    for (unsigned i = 0; i < 16; i++) {
        struct rx_talk t;
        memset(route, 'r', i);
        talk_open(&t, &rx_proto_ssh);
        t.about.route = route;
        assert_true(hear(&t, "SSH-2.0-x\r\n"));
        const uint8_t *p = t.out.ptr + 20;
        assert_int_equal((t.out.len - 20) % 8, 0);
        assert_int_equal(t.out.len - 20, 4 + wire_be32(p));
        assert_in_range(p[4], 4, 11);
        rx_talk_fini(&t);
    }
}

// ---- dns --------------------------------------------------------------------------------------------------------

static const uint8_t dns_query[] = "\x12\x34\x01\x10\0\1\0\0\0\0\0\1\7example\3com\0\0\1\0\1" // A? example.com, RD CD
                                   "\0\0\x29\x10\0\0\0\0\0\0\0";                              // OPT
enum { DNS_LEN = sizeof dns_query - 1, DNS_QUESTION = 12 + 17 };

static void dns_answers_with_a_txt_record(void **state)
{
    (void)state;
    static const char text[] = "refractium recognised dns: A? example.com, route r1, listener 127.0.0.1:9090";
    struct rx_about a = about_of(&rx_proto_dns);
    uint8_t out[512];
    size_t n = rx_describe_dns(&a, dns_query, DNS_LEN, out, sizeof out);
    assert_int_equal(n, DNS_QUESTION + 13 + sizeof text - 1 + 11);
    assert_memory_equal(out, "\x12\x34\x81\x90\0\1\0\0\0\0\0\2", 12);
    assert_memory_equal(out + 12, dns_query + 12, 17);
    assert_memory_equal(out + DNS_QUESTION, "\xc0\x0c\0\x10\0\1\0\0\0\0", 10);
    assert_int_equal(out[DNS_QUESTION + 12], sizeof text - 1);
    assert_memory_equal(out + DNS_QUESTION + 13, text, sizeof text - 1);
    assert_memory_equal(out + n - 11, "\0\0\x29\x04\xd0\0\0\0\0\0\0", 11);
}

static void dns_leaves_out_what_does_not_fit(void **state)
{
    (void)state;
    struct rx_about a = about_of(&rx_proto_dns);
    uint8_t out[512];
    for (size_t size = 0; size < sizeof out; size++) {
        memset(out, 0xee, sizeof out);
        size_t n = rx_describe_dns(&a, dns_query, DNS_LEN, out, size);
        assert_true(n <= size);
        assert_true(size < 12 ? n == 0 : n >= 12);
        for (size_t i = size; i < sizeof out; i++)
            assert_int_equal(out[i], 0xee);
    }
    assert_int_equal(rx_describe_dns(&a, dns_query, DNS_LEN, out, 100), DNS_QUESTION + 11);
}

static void dns_judges_the_hostile(void **state)
{
    (void)state;
    struct rx_about a = about_of(&rx_proto_dns);
    uint8_t out[512], query[600];
    memcpy(query, dns_query, DNS_LEN);
    query[2] |= 0x80; // an answer gets none
    assert_int_equal(rx_describe_dns(&a, query, DNS_LEN, out, sizeof out), 0);
    query[2] = 0x28; // UPDATE
    assert_int_equal(rx_describe_dns(&a, query, DNS_LEN, out, sizeof out), 12);
    assert_memory_equal(out + 2, "\xa8\x94", 2); // NOTIMP
    query[2] = 1;
    query[12] = 0xc0; // a pointer in the question
    query[13] = 0x0c;
    assert_int_equal(rx_describe_dns(&a, query, DNS_LEN, out, sizeof out), 12);
    assert_int_equal(out[3] & 15, 1);      // FORMERR
    for (size_t n = 0; n < DNS_LEN; n++) { // truncated anywhere, on the heap so that a sanitizer sees
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, dns_query, n);
        size_t len = rx_describe_dns(&a, cut, n, out, sizeof out);
        assert_true(n < 12 ? len == 0 : n < DNS_QUESTION ? len == 12 : len > 12);
        free(cut);
    }
    memset(query + 12, 63, sizeof query - 12); // a name without an end
    assert_int_equal(rx_describe_dns(&a, query, sizeof query, out, sizeof out), 12);
    memcpy(query + 12, "\5\"\n\x1b.\\\0\0\x10\0\1", 11);
    size_t len = rx_describe_dns(&a, query, 12 + 11, out, sizeof out);
    assert_non_null(memmem(out, len, "TXT? \\x22\\x0a\\x1b.\\x5c, route", 28));
}

static void dns_over_tcp_has_its_length(void **state)
{
    (void)state;
    struct rx_talk t;
    talk_open(&t, &rx_proto_dns);
    assert_false(rx_talk_hear(&t, (const uint8_t *)"\0\x28", 2));
    for (uint32_t i = 0; i + 1 < DNS_LEN; i++)
        assert_false(rx_talk_hear(&t, dns_query + i, 1));
    assert_int_equal(DNS_LEN, 0x28);
    assert_true(rx_talk_hear(&t, dns_query + DNS_LEN - 1, 1));
    assert_int_equal(wire_be16(t.out.ptr), t.out.len - 2);
    rx_talk_fini(&t);
}

// ---- databases and the rest -------------------------------------------------------------------------------------

static void postgres_refuses_encryption_then_tells(void **state)
{
    (void)state;
    static const uint8_t ssl[] = "\0\0\0\10\4\xd2\x16\x2f", gss[] = "\0\0\0\10\4\xd2\x16\x30";
    static const uint8_t startup[] = "\0\0\0\x12\0\3\0\0user\0joe\0";
    static const char text[] = LINE("postgres (user joe)");
    struct rx_talk t;
    talk_open(&t, &rx_proto_postgres);
    assert_false(rx_talk_hear(&t, ssl, 8));
    assert_false(rx_talk_hear(&t, gss, 8));
    assert_int_equal(t.out.len, 2);
    assert_memory_equal(t.out.ptr, "NN", 2);
    t.out.len = 0;
    for (unsigned i = 0; i + 1 < 18; i++)
        rx_talk_hear(&t, startup + i, 1);
    assert_true(t.out.len == 0 || t.out.ptr[0] == 'E');
    rx_talk_fini(&t);

    talk_open(&t, &rx_proto_postgres);
    assert_true(rx_talk_hear(&t, startup, 18));
    assert_int_equal(t.out.ptr[0], 'E');
    assert_int_equal(wire_be32(t.out.ptr + 1), t.out.len - 1);
    assert_memory_equal(t.out.ptr + 5, "SFATAL\0VFATAL\0C08004\0M", 22);
    assert_memory_equal(t.out.ptr + 27, text, sizeof text);
    assert_int_equal(t.out.ptr[t.out.len - 1], 0);
    rx_talk_fini(&t);

    talk_open(&t, &rx_proto_postgres); // CancelRequest
    assert_true(rx_talk_hear(&t, (const uint8_t *)"\0\0\0\x10\4\xd2\x16\x2e\0\0\0\1\0\0\0\2", 16));
    assert_int_equal(t.out.len, 0);
    rx_talk_fini(&t);
}

static void mysql_gets_an_error_packet(void **state)
{
    (void)state;
    struct rx_talk t;
    talk_silent(&t, &rx_proto_mysql);
    assert_true(hear(&t, ""));
    const uint8_t *p = t.out.ptr;
    assert_int_equal(p[0] | p[1] << 8 | p[2] << 16, t.out.len - 4);
    assert_memory_equal(p + 3, "\0\xff\x51\4refractium: you said nothing", 31);
    rx_talk_fini(&t);

    uint8_t login[4 + 32 + 6] = { 38, 0, 0, 1, 0x85, 0xa6 }; // a HandshakeResponse41 of "joe"
    memcpy(login + 36, "joe", 4);
    talk_open(&t, &rx_proto_mysql);
    assert_true(rx_talk_hear(&t, login, sizeof login));
    p = t.out.ptr;
    assert_int_equal(p[0] | p[1] << 8 | p[2] << 16, t.out.len - 4);
    assert_memory_equal(p + 3, "\2\xff\x51\4#HY000refractium recognised mysql", 36);
    rx_talk_fini(&t);
}

static void mqtt_gets_a_connack(void **state)
{
    (void)state;
    static const uint8_t v4[] = "\x10\x0e\0\4MQTT\4\2\0\x3c\0\2me", v5[] = "\x10\x0f\0\4MQTT\5\2\0\x3c\0\0\2me";
    struct rx_talk t;
    expect_exact(&rx_proto_mqtt, v4, sizeof v4 - 1, "\x20\2\0\3", 4);
    talk_open(&t, &rx_proto_mqtt);
    assert_true(rx_talk_hear(&t, v5, sizeof v5 - 1));
    const uint8_t *p = t.out.ptr;
    assert_int_equal(p[0], 0x20);
    assert_int_equal(p[1], t.out.len - 2);
    assert_memory_equal(p + 2, "\0\x88", 2);
    assert_int_equal(p[4], t.out.len - 5);
    assert_int_equal(p[5], 0x1f);
    assert_int_equal(wire_be16(p + 6), t.out.len - 8);
    rx_talk_fini(&t);
}

static void xmpp_text_is_xml(void **state)
{
    (void)state;
    struct rx_talk t;
    talk_open(&t, &rx_proto_xmpp);
    assert_true(hear(&t, "<?xml version='1.0'?><stream:stream to=\"a'&b>.test\" version='1.0'>"));
    assert_true(has(&t.out, " from='a&apos;&amp;b&gt;.test'>") || !has(&t.out, "from="));
    assert_true(has(&t.out, "<undefined-condition ") && has(&t.out, "</stream:stream>"));
    rx_talk_fini(&t);
}

static void vnc_gives_the_reason(void **state)
{
    (void)state;
    static const char text[] = LINE("vnc");
    struct rx_talk t;
    talk_silent(&t, &rx_proto_vnc);
    assert_false(hear(&t, ""));
    assert_int_equal(t.out.len, 12);
    assert_memory_equal(t.out.ptr, "RFB 003.008\n", 12);
    t.out.len = 0;
    assert_true(hear(&t, "RFB 003.008\n"));
    assert_int_equal(t.out.ptr[0], 0);
    assert_int_equal(wire_be32(t.out.ptr + 1), sizeof text - 1);
    assert_int_equal(t.out.len, 5 + sizeof text - 1);
    rx_talk_fini(&t);

    talk_open(&t, &rx_proto_vnc);
    assert_true(hear(&t, "RFB 003.003\n"));
    assert_int_equal(t.out.len, 12 + 8 + sizeof text - 1);
    rx_talk_fini(&t);
}

static void those_without_text_are_refused(void **state)
{
    (void)state;
    EXPECT(rx_proto_socks5, "\5\1\0", "\5\xff");
    EXPECT(rx_proto_socks4, "\4\1\0\x50\x7f\0\0\1\0", "\0\x5b\0\0\0\0\0\0");
    EXPECT(rx_proto_rdp, "\3\0\0\x13\x0e\xe0\0\0\0\0\0\1\0\10\0\3\0\0\0",
           "\3\0\0\x13\x0e\xd0\0\0\0\0\0\3\0\10\0\3\0\0\0");
}

// ---- tls --------------------------------------------------------------------------------------------------------

struct client {
    SSL_CTX *ctx;
    SSL *ssl;
    struct rx_talk talk;
    bool is_over; // the talk is
};

static void client_open(struct client *k, const char *sni, const char *alpn, unsigned alpn_len)
{
    k->ctx = SSL_CTX_new(TLS_client_method());
    k->ssl = SSL_new(k->ctx);
    k->is_over = false;
    SSL_set_bio(k->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(k->ssl);
    if (sni)
        SSL_set_tlsext_host_name(k->ssl, sni);
    if (alpn)
        SSL_set_alpn_protos(k->ssl, (const unsigned char *)alpn, alpn_len);
    talk_open(&k->talk, &rx_proto_tls);
}

// Carries bytes both ways, `step` at a time, until nobody has more to say.
static void client_pump(struct client *k, size_t step)
{
    uint8_t chunk[4096];
    for (int idle = 0; idle < 2; idle++) {
        int n;
        if (!SSL_is_init_finished(k->ssl))
            SSL_do_handshake(k->ssl);
        while ((n = BIO_read(SSL_get_wbio(k->ssl), chunk, (int)RX_MIN(step, sizeof chunk))) > 0) {
            if (!k->is_over)
                k->is_over = rx_talk_hear(&k->talk, chunk, (size_t)n);
            idle = -1;
        }
        if (k->talk.out.len) {
            BIO_write(SSL_get_rbio(k->ssl), k->talk.out.ptr, (int)k->talk.out.len);
            k->talk.out.len = 0;
            idle = -1;
        }
    }
}

static void client_read(struct client *k, char *text, size_t size)
{
    size_t at = 0;
    int n;
    while (at < size - 1 && (n = SSL_read(k->ssl, text + at, (int)(size - 1 - at))) > 0)
        at += (size_t)n;
    text[at] = 0;
}

static void client_close(struct client *k)
{
    SSL_free(k->ssl);
    SSL_CTX_free(k->ctx);
    rx_talk_fini(&k->talk);
}

static void check_subject(struct client *k, const char *cn, const char *dns)
{
    char text[128] = "";
    X509 *cert = SSL_get1_peer_certificate(k->ssl);
    assert_non_null(cert);
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, text, sizeof text);
    assert_string_equal(text, cn);
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    if (dns) {
        assert_non_null(names);
        assert_int_equal(sk_GENERAL_NAME_num(names), 1);
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, 0);
        assert_int_equal(name->type, GEN_DNS);
        assert_int_equal(ASN1_STRING_length(name->d.dNSName), strlen(dns));
        assert_memory_equal(ASN1_STRING_get0_data(name->d.dNSName), dns, strlen(dns));
    } else {
        assert_null(names);
    }
    GENERAL_NAMES_free(names);
    X509_free(cert);
}

static void tls_says_it_in_the_certificate_and_inside(void **state)
{
    (void)state;
    static const size_t steps[] = { 1, 7, 4096 };
    for (unsigned i = 0; i < RX_COUNT(steps); i++) {
        struct client k;
        char text[2048];
        client_open(&k, "a.test", "\2h2\10http/1.1", 12);
        client_pump(&k, steps[i]);
        assert_true(SSL_is_init_finished(k.ssl) && !k.is_over);
        check_subject(&k, "refractium: tls sni=a.test alpn=h2,http/1.1", "a.test");
        const unsigned char *alpn;
        unsigned alpn_len;
        SSL_get0_alpn_selected(k.ssl, &alpn, &alpn_len);
        assert_int_equal(alpn_len, 8);
        assert_memory_equal(alpn, "http/1.1", 8);
        static const char request[] = "GET /in HTTP/1.1\r\nHost: a.test\r\n\r\n";
        SSL_write(k.ssl, request, sizeof request - 1);
        client_pump(&k, steps[i]);
        assert_true(k.is_over);
        client_read(&k, text, sizeof text);
        assert_non_null(strstr(text, "HTTP/1.1 200 OK\r\n"));
        assert_non_null(strstr(text, "refractium recognised http inside tls\n"));
        assert_non_null(strstr(text, "  path      /in\n"));
        assert_non_null(strstr(text, "  sni       a.test\n"));
        assert_int_equal(SSL_get_shutdown(k.ssl), SSL_RECEIVED_SHUTDOWN); // its end is authentic
        client_close(&k);
    }
}

static void tls_that_says_nothing_gets_a_line(void **state)
{
    (void)state;
    struct client k;
    char text[1024];
    client_open(&k, NULL, "\2h2", 3);
    client_pump(&k, 4096);
    check_subject(&k, "refractium: tls alpn=h2", NULL);
    rx_talk_end(&k.talk);
    k.is_over = true;
    client_pump(&k, 4096);
    client_read(&k, text, sizeof text);
    assert_string_equal(text, LINE("tls (alpn h2, version TLS 1.3)") "\r\n");
    client_close(&k);
}

static void tls_puts_only_host_names_into_a_certificate(void **state)
{
    (void)state;
    static const struct {
        const char *sni, *cn, *dns;
    } names[] = {
        { "a.test,IP:192.0.2.1", "refractium: tls sni=a.test,IP:192.0.2.1", NULL },
        { "a\"b\\\x01.test", "refractium: tls", NULL }, // to the identifier this is no name at all
        { "xn--bcher-kva.test", "refractium: tls sni=xn--bcher-kva.test", "xn--bcher-kva.test" },
        { "a-name-that-is-rather-long.and-then-some.example.test",
          "refractium: tls sni=a-name-that-is-rather-long.and-then-some....",
          "a-name-that-is-rather-long.and-then-some.example.test" },
    };
    for (unsigned i = 0; i < RX_COUNT(names); i++) {
        struct client k;
        client_open(&k, names[i].sni, NULL, 0);
        client_pump(&k, 4096);
        check_subject(&k, names[i].cn, names[i].dns);
        client_close(&k);
    }
}

static void tls_ends_on_garbage_and_on_floods(void **state)
{
    (void)state;
    struct client k;
    client_open(&k, "a.test", NULL, 0);
    client_pump(&k, 4096);
    assert_true(rx_talk_hear(&k.talk, (const uint8_t *)"\x17\3\3\0\4zzzz", 9)); // no record of this session
    assert_true(k.talk.out.len > 0);                                            // an alert
    client_close(&k);

    static const uint8_t flood[4096];
    talk_open(&k.talk, &rx_proto_tls);
    bool is_over = false;
    for (unsigned i = 0; i < RX_TALK_HEARD / sizeof flood + 1 && !is_over; i++)
        is_over = rx_talk_hear(&k.talk, flood, sizeof flood);
    assert_true(is_over);
    rx_talk_fini(&k.talk);
}

// ---- all of them ------------------------------------------------------------------------------------------------

static const struct {
    const struct rx_proto *def;
    const char *said;
    uint32_t len;
} samples[] = {
#define S(def, said)                                                                                                 \
    {                                                                                                                \
        &(def), said, sizeof(said) - 1                                                                               \
    }
    S(rx_proto_http, "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    S(rx_proto_http, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\3\1\5\0\0\0\1\x82\x84\x86"),
    S(rx_proto_ssh, "SSH-2.0-OpenSSH_9.2p1\r\n"),
    S(rx_proto_dns, "\0\x1d\x12\x34\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1"),
    S(rx_proto_postgres, "\0\0\0\10\4\xd2\x16\x2f\0\0\0\x12\0\3\0\0user\0joe\0\0"),
    S(rx_proto_redis, "*1\r\n$4\r\nPING\r\n"),
    S(rx_proto_smtp, "EHLO a.test\r\n"),
    S(rx_proto_imap, "a1 CAPABILITY\r\n"),
    S(rx_proto_vnc, "RFB 003.008\n"),
    S(rx_proto_xmpp, "<?xml version='1.0'?><stream:stream to='a.test' version='1.0'>"),
    S(rx_proto_mqtt, "\x10\x0f\0\4MQTT\5\2\0\x3c\0\0\2me"),
    S(rx_proto_socks5, "\5\1\0"),
    S(rx_proto_tls, "\x16\3\1\0\x2f\1\0\0\x2b\3\3xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\0\0\2\x13\1\1\0\0\0"),
#undef S
};

// However the network cuts it, the answer is the same. (TLS has a certificate made each time.)
static void cuts_do_not_matter(void **state)
{
    (void)state;
    for (unsigned i = 0; i < RX_COUNT(samples); i++) {
        if (samples[i].def == &rx_proto_tls)
            continue;
        struct rx_talk whole, cut;
        const uint8_t *said = (const uint8_t *)samples[i].said;
        talk_open(&whole, samples[i].def);
        talk_open(&cut, samples[i].def);
        if (!rx_talk_hear(&whole, said, samples[i].len))
            rx_talk_end(&whole);
        bool is_over = false;
        for (uint32_t k = 0; k < samples[i].len && !is_over; k++)
            is_over = rx_talk_hear(&cut, said + k, 1);
        if (!is_over)
            rx_talk_end(&cut);
        assert_int_equal(whole.out.len, cut.out.len);
        assert_memory_equal(whole.out.ptr, cut.out.ptr, whole.out.len);
        rx_talk_fini(&whole);
        rx_talk_fini(&cut);
    }
}

static uint32_t dice(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

// Samples with bytes changed, to the one who expects them and to all others, in pieces: it ends, within bounds.
static void the_hostile_get_no_further(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = dice(&seed) % RX_COUNT(samples), d = dice(&seed) % (rx_n_protos + 1);
        uint8_t said[256];
        uint32_t len = samples[i].len, at = 0;
        memcpy(said, samples[i].said, len);
        for (uint32_t k = dice(&seed) % 4; k > 0; k--)
            said[dice(&seed) % len] = (uint8_t)dice(&seed);
        struct rx_talk t;
        talk_open(&t, round & 1 ? samples[i].def : d == rx_n_protos ? NULL : rx_protos[d]);
        bool is_over = false;
        while (at < len && !is_over) {
            uint32_t n = 1 + dice(&seed) % (len - at);
            uint8_t *piece = malloc(n); // exactly as long as it is, for the sanitizer
            memcpy(piece, said + at, n);
            is_over = rx_talk_hear(&t, piece, n);
            free(piece);
            at += n;
        }
        if (!is_over)
            rx_talk_end(&t);
        assert_false(t.out.is_short);
        assert_true(t.out.len < 8192);
        rx_talk_fini(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_protocols_get_their_line),
        cmocka_unit_test(the_silent_are_told_so),
        cmocka_unit_test(declared_protocols_get_text),
        cmocka_unit_test(what_no_route_knows_is_recognised_all_the_same),
        cmocka_unit_test(long_facts_do_not_hide_the_route),
        cmocka_unit_test(http_gets_a_page),
        cmocka_unit_test(http_that_ends_early_is_answered),
        cmocka_unit_test(http_methods_without_a_body),
        cmocka_unit_test(h2_gets_a_page),
        cmocka_unit_test(h2_reads_the_huffman_code),
        cmocka_unit_test(h2_keeps_to_the_window_and_to_the_method),
        cmocka_unit_test(h2_survives_what_it_does_not_read),
        cmocka_unit_test(ssh_is_disconnected_with_words),
        cmocka_unit_test(ssh_packets_of_every_length),
        cmocka_unit_test(dns_answers_with_a_txt_record),
        cmocka_unit_test(dns_leaves_out_what_does_not_fit),
        cmocka_unit_test(dns_judges_the_hostile),
        cmocka_unit_test(dns_over_tcp_has_its_length),
        cmocka_unit_test(postgres_refuses_encryption_then_tells),
        cmocka_unit_test(mysql_gets_an_error_packet),
        cmocka_unit_test(mqtt_gets_a_connack),
        cmocka_unit_test(xmpp_text_is_xml),
        cmocka_unit_test(vnc_gives_the_reason),
        cmocka_unit_test(those_without_text_are_refused),
        cmocka_unit_test(tls_says_it_in_the_certificate_and_inside),
        cmocka_unit_test(tls_that_says_nothing_gets_a_line),
        cmocka_unit_test(tls_puts_only_host_names_into_a_certificate),
        cmocka_unit_test(tls_ends_on_garbage_and_on_floods),
        cmocka_unit_test(cuts_do_not_matter),
        cmocka_unit_test(the_hostile_get_no_further),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
