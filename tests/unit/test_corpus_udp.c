// SPDX-License-Identifier: MIT
// Enters: the UDP files of tests/corpus (or $RX_CORPUS). Leaves: for every flow, that each identifier keeps the contract of
// core/proto.h after each datagram, that asking them in order gives the labelled protocol and no other, that facts are what
// an independent parser read, and that a hello in several datagrams is read in whatever order they come, repeated too.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "identcheck.h"
#include "proto.h"

enum { GRAMS_MAX = 16 };

struct flow {
    json_t *row; // of its first datagram; borrowed
    const char *file;
    uint8_t *bytes; // owned
    uint32_t len[GRAMS_MAX], n;
};

static const char *folder;
static json_t *rows;
static unsigned n_failed, n_flows;

static void __attribute__((format(printf, 2, 3))) failed(const struct flow *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s: ", w->file);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    n_failed++;
}

static const char *text_of(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

static int append(struct flow *w, const char *file)
{
    char path[1024];
    uint32_t at = 0;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *in = fopen(path, "rb");
    if (!in)
        return -1;
    for (uint32_t i = 0; i < w->n; i++)
        at += w->len[i];
    w->len[w->n++] = (uint32_t)fread(w->bytes + at, 1, 65536, in);
    fclose(in);
    return 0;
}

// A flow is what shares a name up to ".dN".
static void for_each_flow(void (*check)(const struct flow *))
{
    size_t i;
    json_t *row;
    n_failed = n_flows = 0;
    json_array_foreach(rows, i, row)
    {
        const char *name = text_of(row, "file"), *end = strrchr(name, '.');
        if (strcmp(text_of(row, "transport"), "udp") || strcmp(end, ".d0"))
            continue;
        struct flow w = { .row = row, .file = name, .bytes = malloc(GRAMS_MAX * 65536) };
        char next[512];
        for (unsigned d = 0; d < GRAMS_MAX; d++) {
            snprintf(next, sizeof next, "%.*s.d%u", (int)(end - name), name, d);
            if (append(&w, next))
                break;
        }
        n_flows++;
        check(&w);
        free(w.bytes);
    }
    assert_int_equal(n_failed, 0);
    assert_true(n_flows > 50);
}

// ---- the law

static void check_law(const struct flow *w)
{
    for (unsigned i = 0; i < rx_n_protos; i++) {
        if (!rx_protos[i]->datagram)
            continue;
        for (int all = 0; all < 2; all++) {
            const char *broken = ident_law_grams(rx_protos[i], w->bytes, w->len, w->n, all ? UINT32_MAX : 0, NULL);
            if (broken)
                failed(w, "%s", broken);
        }
        // Every cut of the first datagram is a datagram as well: nothing may be read past it.
        for (uint32_t n = 0; n < w->len[0]; n += n < 200 ? 1 : 37)
            (void)ident_ask_grams(rx_protos[i], w->bytes, &n, 1, UINT32_MAX);
    }
}

static void every_datagram_keeps_the_law(void **state)
{
    (void)state;
    for_each_flow(check_law);
}

// ---- verdicts

static const struct rx_proto *proto_of(const char *name)
{
    if (!strcmp(name, "rtcp"))
        name = "rtp";
    if (!strcmp(name, "mdns") || !strcmp(name, "dnscrypt"))
        name = "dns"; // the same message, asked of another party; a DNS query for a certificate
    const struct rx_proto *proto = rx_proto_find(name);
    return proto && proto->datagram ? proto : NULL;
}

// The first identifier, in order, that does not say no of the first `n` datagrams
static const struct rx_proto *decide(const struct flow *w, uint32_t n, struct ident_result *r)
{
    for (unsigned i = 0; i < rx_n_protos; i++) {
        if (!rx_protos[i]->datagram)
            continue;
        *r = ident_ask_grams(rx_protos[i], w->bytes, w->len, n, UINT32_MAX);
        if (r->verdict != RX_NO)
            return rx_protos[i];
    }
    r->verdict = RX_NO;
    return NULL;
}

static void check_sni(const struct flow *w, const struct ident_result *r)
{
    const json_t *sni = json_object_get(w->row, "sni"), *alpn = json_object_get(w->row, "alpn");
    const char *name = json_string_value(sni);
    bool has = r->f.have & RX_FACT_SNI;
    if (sni && (has != (name != NULL) || (has && !ident_is(r, RX_FACT_SNI, name))))
        failed(w, "sni is '%.*s', should be '%s'", has ? (int)r->f.sni.len : 0, has ? (const char *)r->f.sni.ptr : "",
               name ? name : "absent");
    // Of a greased version nothing but the version can be read.
    bool is_readable = r->f.have & RX_FACT_ECH;
    if (is_readable && json_array_size(alpn) && !(r->f.have & RX_FACT_ALPN))
        failed(w, "alpn is missing");
}

static void check_label(const struct flow *w, const char *name)
{
    const struct rx_proto *wanted = proto_of(name), *got = NULL;
    struct ident_result r = { .verdict = RX_NO };
    for (uint32_t n = 1; n <= w->n; n++) {
        got = decide(w, n, &r);
        if (got != wanted) {
            failed(w, "is %s, after %u datagrams taken for %s", name, n, got ? got->name : "none");
            return;
        }
    }
    if (!wanted)
        return;
    if (r.verdict != RX_MATCH) {
        failed(w, "is %s, verdict %d", name, (int)r.verdict);
        return;
    }
    const char *version = text_of(w->row, "quic_version");
    if (wanted->facts & RX_FACT_SNI && !(version && strstr(version, "reserved")))
        check_sni(w, &r);
    const char *qname = text_of(w->row, "dns_qname");
    if (qname && wanted->facts & RX_FACT_QNAME &&
        (r.f.qname.len < strlen(qname) || strncasecmp((const char *)r.f.qname.ptr, qname, strlen(qname))))
        failed(w, "qname is '%.*s', should be '%s'", (int)r.f.qname.len, (const char *)r.f.qname.ptr, qname);
}

static void check_verdict(const struct flow *w)
{
    const char *name = text_of(w->row, "protocol"), *expect = text_of(w->row, "expect");
    struct ident_result r;
    if (!expect || !strcmp(expect, name)) {
        if (strcmp(name, "unknown")) {
            check_label(w, name);
            return;
        }
        expect = "unknown";
    }
    const struct rx_proto *got = decide(w, w->n, &r);
    const char *taken = got ? got->name : "none";
    if (!strncmp(expect, "tolerant:", 9)) {
        if (got && got != proto_of(expect + 9))
            failed(w, "taken for %s", taken);
        else if (got && r.f.have & RX_FACT_SNI && strstr(w->file, "tag-broken"))
            failed(w, "a name was read from what does not authenticate");
    } else if (!strcmp(expect, "unknown") || !strncmp(expect, "reject:", 7)) {
        if (got)
            failed(w, "taken for %s (verdict %d)", taken, (int)r.verdict);
    } else {
        check_label(w, expect);
    }
}

static void every_flow_is_what_its_label_says(void **state)
{
    (void)state;
    for_each_flow(check_verdict);
}

// ---- order

// The flow with its datagrams in another order
static struct flow reordered(const struct flow *w, const uint32_t *order, uint32_t n)
{
    struct flow out = { .row = w->row, .file = w->file, .bytes = malloc(GRAMS_MAX * 65536) };
    uint32_t to = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t from = 0;
        for (uint32_t k = 0; k < order[i]; k++)
            from += w->len[k];
        memcpy(out.bytes + to, w->bytes + from, w->len[order[i]]);
        to += out.len[out.n++] = w->len[order[i]];
    }
    return out;
}

static void check_order(const struct flow *w)
{
    const char *sni = text_of(w->row, "sni");
    const struct rx_proto *proto = proto_of(text_of(w->row, "protocol"));
    struct ident_result r;
    const char *version = text_of(w->row, "quic_version");
    bool is_hostile = json_is_true(json_object_get(w->row, "hostile"));
    if (w->n < 2 || is_hostile || !sni || !proto || !(proto->facts & RX_FACT_SNI) ||
        (version && strstr(version, "reserved")))
        return;
    static const uint32_t orders[][6] = { { 1, 0 }, { 1, 1, 0, 0 }, { 0, 0, 1 }, { 1, 0, 1, 0 } };
    static const uint32_t sizes[] = { 2, 4, 3, 4 };
    for (unsigned i = 0; i < RX_COUNT(sizes); i++) {
        struct flow turned = reordered(w, orders[i], sizes[i]);
        const char *broken = ident_law_grams(proto, turned.bytes, turned.len, turned.n, UINT32_MAX, &r);
        if (broken)
            failed(w, "%s", broken);
        else if (!ident_is(&r, RX_FACT_SNI, sni) && !strcmp(proto->name, "quic"))
            failed(w, "order %u: no name", i);
        free(turned.bytes);
    }
}

static void datagrams_may_come_in_any_order(void **state)
{
    (void)state;
    for_each_flow(check_order);
}

int main(void)
{
    folder = getenv("RX_CORPUS") ? getenv("RX_CORPUS") : "tests/corpus";
    char path[1024];
    snprintf(path, sizeof path, "%s/corpus.jsonl", folder);
    FILE *in = fopen(path, "r");
    if (!in) {
        perror(path);
        return 1;
    }
    rows = json_array();
    static char line[65536];
    while (fgets(line, sizeof line, in))
        json_array_append_new(rows, json_loads(line, 0, NULL));
    fclose(in);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_datagram_keeps_the_law),
        cmocka_unit_test(every_flow_is_what_its_label_says),
        cmocka_unit_test(datagrams_may_come_in_any_order),
    };
    int code = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(rows);
    return code;
}
