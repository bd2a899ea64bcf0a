// SPDX-License-Identifier: MIT
// Enters: tests/corpus (or $RX_CORPUS, a folder with corpus.jsonl). Leaves: for every TCP file, that each
// built-in identifier keeps the contract of core/proto.h at its prefixes and at the client's own segments,
// that asking them in order gives the labelled protocol and no other, and that facts are what an independent
// parser read.
//
// A label that no identifier here has means that none of them may match. Hostile files carry `expect`, with
// the meaning the corpus' README gives it: a label, need-more, unknown, tolerant:X or reject:X.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>
#include <jansson.h>

#include "identcheck.h"
#include "proto.h"

struct sample {
    json_t *row; // borrowed from the list of rows
    const char *file;
    uint8_t *bytes; // owned
    uint32_t n;
};

static const char *folder;
static json_t *rows;
static unsigned n_failed;

static void __attribute__((format(printf, 2, 3))) failed(const struct sample *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s: ", s->file);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    n_failed++;
}

static const char *text_of(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

// What the independent parser read, else what was asked of the client. NULL: not labelled.
static const json_t *label(const struct sample *s, const char *key)
{
    const json_t *parsed = json_object_get(json_object_get(s->row, "parsed"), key);
    return parsed ? parsed : json_object_get(s->row, key);
}

static bool read_sample(struct sample *s, json_t *row)
{
    char path[1024];
    *s = (struct sample){ .row = row, .file = text_of(row, "file") };
    snprintf(path, sizeof path, "%s/%s", folder, s->file);
    FILE *in = fopen(path, "rb");
    if (!in) {
        failed(s, "cannot be read");
        return false;
    }
    s->bytes = malloc(IDENT_MAX);
    s->n = (uint32_t)fread(s->bytes, 1, IDENT_MAX, in);
    fclose(in);
    return true;
}

static void for_each_tcp(void (*check)(const struct sample *))
{
    size_t i;
    json_t *row;
    n_failed = 0;
    json_array_foreach(rows, i, row)
    {
        struct sample s;
        if (strcmp(text_of(row, "transport"), "tcp") == 0 && read_sample(&s, row)) {
            check(&s);
            free(s.bytes);
        }
    }
    assert_int_equal(n_failed, 0);
}

// ---- the law of prefixes
// ----------------------------------------------------------------------------------------

static void check_law(const struct sample *s)
{
    const json_t *segments = json_object_get(s->row, "segments");
    for (unsigned i = 0; i < rx_n_protos; i++) {
        const struct rx_proto *proto = rx_protos[i];
        if (!(proto->transport & RX_TCP))
            continue;
        const char *broken = ident_law(proto, s->bytes, s->n, UINT32_MAX, NULL);
        if (!broken)
            broken = ident_law(proto, s->bytes, s->n < 64 ? s->n : 64, 0, NULL);
        if (broken)
            failed(s, "%s", broken);
        uint32_t at[4096] = { 0 }, n_at = 1;
        for (size_t k = 0; k < json_array_size(segments) && n_at < RX_COUNT(at); k++, n_at++)
            at[n_at] = at[n_at - 1] + (uint32_t)json_integer_value(json_array_get(segments, k));
        if (at[n_at - 1] > s->n)
            failed(s, "segments are longer than the file");
        else if ((broken = ident_law_at(proto, s->bytes, at, n_at, UINT32_MAX, NULL)))
            failed(s, "in the client's segments: %s", broken);
    }
}

static void every_prefix_keeps_the_law(void **state)
{
    (void)state;
    for_each_tcp(check_law);
}

// ---- verdicts
// ---------------------------------------------------------------------------------------------------

// The built-in that stands for a label; NULL if none does
static const struct rx_proto *proto_of(const char *name)
{
    if (strcmp(name, "http2") == 0 || strcmp(name, "websocket") == 0)
        name = "http";
    const struct rx_proto *proto = rx_proto_find(name);
    return proto && proto->transport & RX_TCP ? proto : NULL;
}

// The first built-in, in order, that does not say no
static const struct rx_proto *decide(const struct sample *s, uint32_t n, enum rx_verdict *verdict)
{
    for (unsigned i = 0; i < rx_n_protos; i++) {
        if (!(rx_protos[i]->transport & RX_TCP))
            continue;
        *verdict = ident_ask(rx_protos[i], s->bytes, n, 0).verdict;
        if (*verdict != RX_NO)
            return rx_protos[i];
    }
    *verdict = RX_NO;
    return NULL;
}

// None but `allowed` (may be NULL) matches, in front of it or instead of it.
static bool is_alone(const struct sample *s, const struct rx_proto *allowed)
{
    for (unsigned i = 0; i < rx_n_protos && rx_protos[i] != allowed; i++) {
        if (rx_protos[i]->transport & RX_TCP && ident_ask(rx_protos[i], s->bytes, s->n, 0).verdict == RX_MATCH) {
            failed(s, "taken for %s", rx_protos[i]->name);
            return false;
        }
    }
    return true;
}

// A client that was greeted and only says good-bye: that is a word of FTP, SMTP, POP3, NNTP and others alike.
static bool is_bare_quit(const struct sample *s)
{
    return s->n == 6 && strncasecmp((const char *)s->bytes, "QUIT\r\n", 6) == 0;
}

static void check_label(const struct sample *s, const char *name)
{
    const struct rx_proto *wanted = proto_of(name);
    if (!is_alone(s, wanted) || !wanted || s->n == 0)
        return;
    enum rx_verdict verdict;
    const struct rx_proto *got = decide(s, s->n, &verdict);
    if ((got != wanted || verdict != RX_MATCH) && !(is_bare_quit(s) && !got))
        failed(s, "is %s, got %s (verdict %d)", name, got ? got->name : "none", (int)verdict);
    const json_t *segments = json_object_get(s->row, "segments");
    uint32_t n = 0;
    for (size_t k = 0; k < json_array_size(segments); k++) {
        n += (uint32_t)json_integer_value(json_array_get(segments, k));
        got = n <= s->n ? decide(s, n, &verdict) : NULL;
        if (got && verdict == RX_MATCH && got != wanted)
            failed(s, "is %s, after %u bytes taken for %s", name, n, got->name);
    }
}

static void check_rejected(const struct sample *s, const char *name)
{
    const struct rx_proto *proto = proto_of(name);
    if (!is_alone(s, NULL) || !proto)
        return;
    struct ident_result r = ident_ask(proto, s->bytes, s->n, 0);
    if (strcmp(proto->name, "tls") == 0 && (r.verdict != RX_NO || r.f.note != RX_NOTE_TLS_INVALID))
        failed(s, "verdict %d, note %s", (int)r.verdict, rx_note_name(r.f.note));
}

static void check_verdict(const struct sample *s)
{
    const char *name = text_of(s->row, "protocol"), *expect = text_of(s->row, "expect");
    if (!expect || strcmp(expect, name) == 0) {
        if (strcmp(name, "unknown") != 0) {
            check_label(s, name);
            return;
        }
        expect = "unknown";
    }
    if (strcmp(expect, "unknown") == 0) {
        is_alone(s, NULL);
    } else if (strncmp(expect, "tolerant:", 9) == 0) {
        is_alone(s, proto_of(expect + 9));
    } else if (strncmp(expect, "reject:", 7) == 0) {
        check_rejected(s, expect + 7);
    } else if (strcmp(expect, "need-more") == 0) {
        const struct rx_proto *proto = proto_of(name);
        enum rx_verdict verdict;
        if (is_alone(s, proto) && proto && !decide(s, s->n, &verdict))
            failed(s, "a proper prefix of %s was refused by all", name);
    } else {
        check_label(s, expect);
    }
}

static void every_file_is_what_its_label_says(void **state)
{
    (void)state;
    for_each_tcp(check_verdict);
}

// ---- facts
// ------------------------------------------------------------------------------------------------------

static void check_text(const struct sample *s, const struct ident_result *r, const char *key, uint32_t fact,
                       const char *value)
{
    const struct rx_text *text = ident_text(&r->f, fact);
    bool is_there = r->f.have & fact;
    if (r->f.pending & fact)
        failed(s, "%s is still pending", key);
    else if (!value && is_there)
        failed(s, "%s is '%.*s', should be absent", key, (int)text->len, (const char *)text->ptr);
    else if (value && (!is_there || text->len != strlen(value) || memcmp(text->ptr, value, text->len) != 0))
        failed(s, "%s is '%.*s', should be '%s'", key, is_there ? (int)text->len : 0,
               is_there ? (const char *)text->ptr : "", value);
}

static void check_alpn(const struct sample *s, const struct ident_result *r, const json_t *names)
{
    char list[1024];
    size_t len = 0, i;
    const json_t *name;
    json_array_foreach(names, i, name)
    {
        list[len++] = (char)json_string_length(name);
        memcpy(list + len, json_string_value(name), json_string_length(name));
        len += json_string_length(name);
    }
    list[len] = 0;
    check_text(s, r, "alpn", RX_FACT_ALPN, len ? list : NULL);
}

static void check_tls(const struct sample *s, const struct ident_result *r)
{
    const json_t *parsed = json_object_get(s->row, "parsed");
    if (label(s, "sni"))
        check_text(s, r, "sni", RX_FACT_SNI, json_string_value(label(s, "sni")));
    if (label(s, "alpn"))
        check_alpn(s, r, label(s, "alpn"));
    const json_t *ech = json_object_get(parsed, "ech"), *version;
    if (!(r->f.have & RX_FACT_ECH) || (ech && r->f.ech != json_is_true(ech)))
        failed(s, "ech is %d", r->f.ech);
    const json_t *legacy = json_object_get(parsed, "legacy_version");
    uint16_t highest = 0;
    size_t i;
    json_array_foreach(json_object_get(parsed, "versions"), i, version)
    {
        uint16_t v = (uint16_t)strtoul(json_string_value(version), NULL, 16);
        highest = v >> 8 == 3 && v > highest ? v : highest;
    }
    if (!highest && legacy)
        highest = (uint16_t)strtoul(json_string_value(legacy), NULL, 16);
    if (highest && r->f.version != highest)
        failed(s, "version is %04x, should be %04x", r->f.version, highest);
}

// The host in an authority or a Host line
static const char *without_port(const char *authority)
{
    static char host[1024];
    snprintf(host, sizeof host, "%s", authority);
    char *end = strchr(host, ']');
    char *colon = strchr(end ? end : host, ':');
    if (colon)
        *colon = 0;
    return host;
}

static void check_http(const struct sample *s, const struct ident_result *r)
{
    const json_t *host = label(s, "http_host"), *method = label(s, "http_method");
    const char *target = text_of(json_object_get(s->row, "parsed"), "connect_target");
    const char *version = json_string_value(label(s, "http_version"));
    const char *name = host && json_is_string(host) ? json_string_value(host) : target;
    if (host)
        check_text(s, r, "host", RX_FACT_HOST, name ? without_port(name) : NULL);
    if (method)
        check_text(s, r, "method", RX_FACT_METHOD, json_string_value(method));
    if (version && r->f.version != (((version[0] - '0') << 8) | (version[2] - '0')))
        failed(s, "version is %04x, should be %s", r->f.version, version);
}

static void check_dns(const struct sample *s, const struct ident_result *r)
{
    static const struct {
        const char *name;
        uint16_t number;
    } types[] = { { "A", 1 },    { "NS", 2 },    { "CNAME", 5 }, { "SOA", 6 },    { "PTR", 12 },   { "MX", 15 },
                  { "TXT", 16 }, { "AAAA", 28 }, { "SRV", 33 },  { "IXFR", 251 }, { "AXFR", 252 }, { "ANY", 255 } };
    const char *qname = json_string_value(label(s, "dns_qname")), *qtype = json_string_value(label(s, "dns_qtype"));
    size_t len = qname ? strlen(qname) : 0;
    if (qname && (!(r->f.have & RX_FACT_QNAME) || r->f.qname.len < len || r->f.qname.len > len + 1 ||
                  strncasecmp((const char *)r->f.qname.ptr, qname, len) != 0))
        failed(s, "qname is not '%s'", qname);
    for (unsigned i = 0; qtype && i < RX_COUNT(types); i++)
        if (strcmp(types[i].name, qtype) == 0 && (!(r->f.have & RX_FACT_QTYPE) || r->f.qtype != types[i].number))
            failed(s, "qtype is not %s", qtype);
}

static void check_facts(const struct sample *s)
{
    const char *name = text_of(s->row, "protocol"), *expect = text_of(s->row, "expect");
    const struct rx_proto *proto = proto_of(name);
    if (!proto || s->n == 0 || (expect && strcmp(expect, name) != 0))
        return;
    struct ident_result r = ident_ask(proto, s->bytes, s->n, UINT32_MAX);
    if (r.verdict != RX_MATCH)
        return; // reported by the test of verdicts
    if (strcmp(proto->name, "tls") == 0)
        check_tls(s, &r);
    else if (strcmp(proto->name, "http") == 0)
        check_http(s, &r);
    else if (strcmp(proto->name, "dns") == 0)
        check_dns(s, &r);
    else if (strcmp(proto->name, "ssh") == 0 && label(s, "ssh_software"))
        check_text(s, &r, "software", RX_FACT_SOFTWARE, json_string_value(label(s, "ssh_software")));
    else if (strcmp(proto->name, "xmpp") == 0 && label(s, "xmpp_to"))
        check_text(s, &r, "host", RX_FACT_HOST, json_string_value(label(s, "xmpp_to")));
}

static void facts_are_as_labelled(void **state)
{
    (void)state;
    for_each_tcp(check_facts);
}

// ---- the registry
// -----------------------------------------------------------------------------------------------

static void the_registry_is_sound(void **state)
{
    (void)state;
    for (unsigned i = 0; i < rx_n_protos; i++) {
        const struct rx_proto *proto = rx_protos[i];
        assert_ptr_equal(rx_proto_find(proto->name), proto);
        if (proto->alias)
            assert_ptr_equal(rx_proto_find(proto->alias), proto);
        assert_int_equal(proto->identify != NULL, (proto->transport & RX_TCP) != 0);
        assert_int_equal(proto->datagram != NULL, proto->datagram && proto->transport & RX_UDP);
        assert_int_equal(proto->first_udp_len % 2, 0);
        assert_true(proto->first_udp || proto->first_udp_len == 0);
        assert_int_equal(proto->first_len % 2, 0);
        assert_true(proto->first || proto->first_len == 0);
        assert_int_equal(proto->facts & ~((1u << RX_FACT_COUNT) - 1), 0);
    }
    assert_ptr_equal(rx_proto_find("https"), rx_proto_find("tls"));
    assert_null(rx_proto_find("TLS"));
    assert_null(rx_proto_find(""));
    assert_string_equal(rx_note_name(RX_NOTE_NONE), "none");
    for (unsigned i = 1; i < RX_NOTE_COUNT; i++)
        assert_string_not_equal(rx_note_name((enum rx_note)i), rx_note_name((enum rx_note)(i - 1)));
    assert_string_equal(rx_note_name(RX_NOTE_COUNT), "unknown");
}

static int load_corpus(void **state)
{
    (void)state;
    const char *given = getenv("RX_CORPUS");
    folder = given ? given : "tests/corpus";
    char path[1024];
    snprintf(path, sizeof path, "%s/corpus.jsonl", folder);
    FILE *in = fopen(path, "r");
    if (!in) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return -1;
    }
    rows = json_array();
    json_error_t error;
    json_t *row;
    while ((row = json_loadf(in, JSON_DISABLE_EOF_CHECK, &error)))
        json_array_append_new(rows, row);
    fclose(in);
    return json_array_size(rows) > 0 ? 0 : -1;
}

static int free_corpus(void **state)
{
    (void)state;
    json_decref(rows);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_registry_is_sound),
        cmocka_unit_test(every_prefix_keeps_the_law),
        cmocka_unit_test(every_file_is_what_its_label_says),
        cmocka_unit_test(facts_are_as_labelled),
    };
    return cmocka_run_group_tests(tests, load_corpus, free_corpus);
}
