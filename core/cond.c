// SPDX-License-Identifier: MIT
// Enters: one condition of a route as text (enum rx_cond). Leaves: its compiled form in the route, or words for what
// is wrong with it. Used only while a generation is built.
#include "cond.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "names.h"
#include "qtype.h"
#include "regex.h"
#include "route.h"

static int fail(char *err, const char *fmt, ...) RX_PRINTF(2, 3);
static int fail(char *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err, RX_COND_ERROR, fmt, ap);
    va_end(ap);
    return -1;
}

static int no_memory(char *err)
{
    return fail(err, "out of memory");
}

const char *rx_slice_string(struct rx_slice s, char *buf, size_t size)
{
    if (s.len >= size || (s.len && memchr(s.ptr, 0, s.len)))
        return NULL;
    if (s.len)
        memcpy(buf, s.ptr, s.len);
    buf[s.len] = 0;
    return buf;
}

int rx_texts_add(struct rx_arena *arena, struct rx_texts *t, struct rx_slice s)
{
    const char **text = rx_arena_grow(arena, t->text, t->n, sizeof *text);
    uint32_t *len = rx_arena_grow(arena, t->len, t->n, sizeof *len);
    char *copy = rx_arena_copy(arena, s.ptr, s.len);
    if (!text || !len || !copy)
        return -1;
    t->text = text;
    t->len = len;
    text[t->n] = copy;
    len[t->n++] = s.len;
    return 0;
}

static int cond_text(struct rx_arena *arena, struct rx_texts *t, struct rx_slice v, bool may_be_regex, char *err)
{
    if (!may_be_regex || !v.len || v.ptr[0] != '~')
        return rx_texts_add(arena, t, v) ? no_memory(err) : 0;
    char why[128];
    struct rx_regex **list = rx_arena_grow(arena, t->regex, t->n_regex, sizeof *list);
    const char **text = rx_arena_grow(arena, t->regex_text, t->n_regex, sizeof *text);
    char *copy = rx_arena_copy(arena, v.ptr, v.len);
    if (!list || !text || !copy)
        return no_memory(err);
    struct rx_regex *r = rx_regex_new(v.ptr + 1, v.len - 1, RX_REGEX_CASELESS, why);
    if (!r)
        return fail(err, "%s", why);
    t->regex = list;
    t->regex_text = text;
    text[t->n_regex] = copy;
    list[t->n_regex++] = r;
    return 0;
}

static int cond_cidr(struct rx_arena *arena, struct rx_cidr **list, uint32_t *n, struct rx_slice v, char *err)
{
    char buf[128], why[RX_ADDR_TEXT];
    struct rx_cidr one;
    if (!rx_slice_string(v, buf, sizeof buf))
        return fail(err, "too long, or contains a NUL byte");
    if (rx_cidr_parse(buf, &one, why))
        return fail(err, "%s", why);
    struct rx_cidr *grown = rx_arena_grow(arena, *list, *n, sizeof *grown);
    if (!grown)
        return no_memory(err);
    *list = grown;
    grown[(*n)++] = one;
    return 0;
}

static int cond_port(struct rx_arena *arena, struct rx_route *r, struct rx_slice v, char *err)
{
    char buf[32];
    char why[RX_ADDR_TEXT];
    unsigned low, high;
    if (!rx_slice_string(v, buf, sizeof buf))
        return fail(err, "too long, or contains a NUL byte");
    if (rx_ports_parse(buf, &low, &high, why))
        return fail(err, "%s", why);
    if (low == 0)
        return fail(err, "port out of range");
    struct rx_port_range *list = rx_arena_grow(arena, r->to_port, r->n_to_port, sizeof *list);
    if (!list)
        return no_memory(err);
    r->to_port = list;
    list[r->n_to_port++] = (struct rx_port_range){ (uint16_t)low, (uint16_t)high };
    return 0;
}

static int cond_qtype(struct rx_arena *arena, struct rx_route *r, struct rx_slice v, char *err)
{
    char buf[32];
    if (!rx_slice_string(v, buf, sizeof buf))
        return fail(err, "too long, or contains a NUL byte");
    int number = rx_qtype_number(buf);
    if (number < 0)
        return fail(err, "not a DNS type");
    uint16_t *list = rx_arena_grow(arena, r->qtype, r->n_qtype, sizeof *list);
    if (!list)
        return no_memory(err);
    r->qtype = list;
    list[r->n_qtype++] = (uint16_t)number;
    return 0;
}

static int cond_during(struct rx_arena *arena, struct rx_route *r, struct rx_slice v, char *err)
{
    char buf[RX_DURING_TEXT], why[RX_DURING_TEXT];
    struct rx_span one;
    if (!rx_slice_string(v, buf, sizeof buf))
        return fail(err, "too long, or contains a NUL byte");
    if (rx_during_parse(buf, &one, why))
        return fail(err, "%s", why);
    struct rx_span *list = rx_arena_grow(arena, r->during, r->n_during, sizeof *list);
    if (!list)
        return no_memory(err);
    r->during = list;
    list[r->n_during++] = one;
    return 0;
}

int rx_cond_add(struct rx_arena *arena, struct rx_route *r, uint32_t cond, struct rx_slice v, char *err)
{
    if (cond > RX_COND_QNAME)
        r->is_plain = false;
    switch ((enum rx_cond)cond) {
    case RX_COND_SNI:
    case RX_COND_HOST:
    case RX_COND_QNAME: {
        static const uint32_t facts[] = { RX_FACT_SNI, RX_FACT_HOST, RX_FACT_QNAME };
        if (rx_name_fact(r->proto) != facts[cond])
            return fail(err, "protocol \"%s\" has no such fact", r->proto->name);
        bool is_suffix = v.len > 2 && v.ptr[0] == '*' && v.ptr[1] == '.';
        if (v.len > RX_NAME_MAX + (is_suffix ? 2u : 0u) && v.ptr[0] != '~')
            return fail(err, "name longer than %d bytes", RX_NAME_MAX);
        r->want |= facts[cond];
        return cond_text(arena, &r->name_cond, v, true, err);
    }
    case RX_COND_ALPN:
        r->want |= RX_FACT_ALPN;
        return cond_text(arena, &r->alpn, v, false, err);
    case RX_COND_PATH:
        r->want |= RX_FACT_PATH;
        return cond_text(arena, &r->path, v, true, err);
    case RX_COND_METHOD:
        r->want |= RX_FACT_METHOD;
        return cond_text(arena, &r->method, v, false, err);
    case RX_COND_SOFTWARE:
        r->want |= RX_FACT_SOFTWARE;
        return cond_text(arena, &r->software, v, true, err);
    case RX_COND_KEY:
        r->want |= RX_FACT_KEY;
        return cond_text(arena, &r->key, v, false, err);
    case RX_COND_FROM:
        return cond_cidr(arena, &r->from, &r->n_from, v, err);
    case RX_COND_NOT_FROM:
        return cond_cidr(arena, &r->not_from, &r->n_not_from, v, err);
    case RX_COND_TO_PORT:
        return cond_port(arena, r, v, err);
    case RX_COND_QTYPE:
        r->want |= RX_FACT_QTYPE;
        return cond_qtype(arena, r, v, err);
    case RX_COND_DURING:
        return cond_during(arena, r, v, err);
    }
    return fail(err, "unknown condition");
}
