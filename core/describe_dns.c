// SPDX-License-Identifier: MIT
// A DNS message → its answer (RFC 1035 4.1): the question, no answers, and in the additional section a TXT record
// with the text, which dig prints. NOERROR, because a resolver that is told SERVFAIL asks again.
//
// Invariants
//  * Nothing is read past query[n - 1]; a name of the query is followed forwards only.
//  * The answer is never larger than the caller allows, and OPT is sent to those who sent one (RFC 6891 6.1.1).
//  * What is itself an answer gets none: two of us would never stop talking.
//
// Deliberately not done: cookies (RFC 7873), several messages on one connection.
#include <stdio.h>
#include <string.h>

#include "describe.h"
#include "log.h"
#include "proto/wire.h"
#include "table.h"

enum {
    HEADER = 12,
    LABEL_MAX = 63,
    NAME_MAX_LEN = 255,
    RR_FIXED = 10,    // type, class, TTL, length of the data
    RECORDS_MAX = 16, // of a query, looked through for OPT

    TYPE_TXT = 16,
    TYPE_OPT = 41,
    CLASS_IN = 1,
    OPT_LEN = 1 + RR_FIXED,
    OPT_SIZE = 1232, // datagrams of that size are not fragmented anywhere

    FLAG_QR = 0x8000,
    FLAG_RD = 0x0100,
    FLAG_RA = 0x0080,
    FLAG_CD = 0x0010,
    OPCODE = 0x7800,
    FORMERR = 1,
    NOTIMP = 4,
};

// Where the name at `at` ends; 0 when it does not.
static size_t name_end(const uint8_t *q, size_t n, size_t at, bool may_point)
{
    size_t start = at;
    while (at < n && at - start < NAME_MAX_LEN) {
        uint8_t label = q[at++];
        if (label == 0)
            return at;
        if (label >= 0xc0)
            return may_point && at < n ? at + 1 : 0;
        if (label > LABEL_MAX)
            return 0;
        at += label;
    }
    return 0;
}

// Whether an OPT record is among those behind the question.
static bool has_opt(const uint8_t *q, size_t n, size_t at)
{
    uint32_t records = wire_be16(q + 6) + wire_be16(q + 8) + wire_be16(q + 10);
    for (uint32_t i = 0; i < RX_MIN(records, (uint32_t)RECORDS_MAX); i++) {
        at = name_end(q, n, at, true);
        if (!at || n - at < RR_FIXED)
            return false;
        if (wire_be16(q + at) == TYPE_OPT)
            return true;
        at += RR_FIXED + wire_be16(q + at + 8);
        if (at >= n)
            return false;
    }
    return false;
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

// The question's name, labels joined by dots, as printable text
static void name_text(const uint8_t *name, char *buf, size_t size)
{
    uint8_t joined[NAME_MAX_LEN];
    size_t n = 0;
    for (uint32_t label; (label = *name++) != 0; name += label) {
        if (n)
            joined[n++] = '.';
        memcpy(joined + n, name, label);
        n += label;
    }
    if (!n)
        joined[n++] = '.';
    rx_log_escape(joined, n, buf, size);
}

// The text of the TXT record: one character-string, so at most 255 bytes
static size_t text_of(const struct rx_about *about, const uint8_t *name, uint32_t qtype, char text[256])
{
    char name_buf[100], route[60], listener[60], type[16];
    name_text(name, name_buf, sizeof name_buf);
    rx_log_escape((const uint8_t *)about->listener, strlen(about->listener), listener, sizeof listener);
    const char *route_name = about->route ? about->route : "";
    rx_log_escape((const uint8_t *)route_name, strlen(route_name), route, sizeof route);
    int n = snprintf(text, 256, "refractium recognised dns: %s? %s, %s%s, listener %s",
                     rx_qtype_name((uint16_t)qtype, type), name_buf, about->route ? "route " : "fallback", route,
                     listener);
    return RX_MIN((size_t)n, (size_t)255);
}

static size_t put_txt(uint8_t *out, const char *text, size_t len)
{
    put16(out, 0xc000 | HEADER); // RFC 1035 4.1.4: the question's name
    put16(out + 2, TYPE_TXT);
    put16(out + 4, CLASS_IN);
    memset(out + 6, 0, 4);
    put16(out + 10, (uint32_t)len + 1);
    out[12] = (uint8_t)len;
    memcpy(out + 13, text, len);
    return 13 + len;
}

static size_t put_opt(uint8_t *out)
{
    memset(out, 0, OPT_LEN);
    put16(out + 1, TYPE_OPT);
    put16(out + 3, OPT_SIZE);
    return OPT_LEN;
}

size_t rx_describe_dns(const struct rx_about *about, const uint8_t *query, size_t n, uint8_t *out, size_t size)
{
    if (n < HEADER || size < HEADER || query[2] & FLAG_QR >> 8)
        return 0;
    uint32_t flags = wire_be16(query + 2), n_extra = 0, rcode = 0;
    size_t end = wire_be16(query + 4) == 1 ? name_end(query, n, HEADER, false) : 0;
    if (flags & OPCODE)
        rcode = NOTIMP;
    else if (!end || n - end < 4)
        rcode = FORMERR;
    memset(out, 0, HEADER);
    memcpy(out, query, 2);
    put16(out + 2, FLAG_QR | (flags & (OPCODE | FLAG_RD | FLAG_CD)) | FLAG_RA | rcode);
    if (rcode || end + 4 > size)
        return HEADER;
    end += 4;
    memcpy(out + HEADER, query + HEADER, end - HEADER);
    put16(out + 4, 1);
    char text[256];
    size_t at = end, len = text_of(about, query + HEADER, wire_be16(query + end - 4), text);
    bool is_edns = has_opt(query, n, end);
    if (at + 13 + len + (is_edns ? OPT_LEN : 0) <= size) {
        at += put_txt(out + at, text, len);
        n_extra++;
    }
    if (is_edns && at + OPT_LEN <= size) {
        at += put_opt(out + at);
        n_extra++;
    }
    put16(out + 10, n_extra);
    return at;
}

bool rx_talk_dns(struct rx_talk *t)
{
    uint8_t answer[1024];
    if (t->in.len < 2 || t->in.len - 2 < wire_be16(t->in.ptr)) // RFC 1035 4.2.2
        return t->is_ended;
    size_t len = rx_describe_dns(&t->about, t->in.ptr + 2, wire_be16(t->in.ptr), answer, sizeof answer);
    if (len)
        rx_bytes_be(&t->out, (uint32_t)len, 2);
    rx_bytes_add(&t->out, answer, len);
    return true;
}
