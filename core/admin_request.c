// SPDX-License-Identifier: MIT
// Enters: one line, at most RX_REQUEST_LINE bytes of anything. Leaves: a request whose every member was understood, or
// words that say which was not. An unknown member is an error: a client that was misheard must learn it.
#include "admin_request.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TTL_MOST_MS (366 * 24 * 3600 * 1000ll)
enum { HOUR_MS = 3600 * 1000 };

static const struct {
    const char *word;
    unsigned may, must;
} kinds[] = {
#define X(id, word, may, must) { word, (may) | (must), must },
    RX_REQUEST_LIST(X)
#undef X
};

static int fail(char *error, const char *fmt, ...) RX_PRINTF(2, 3);
static int fail(char *error, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(error, RX_REQUEST_ERROR, fmt, ap);
    va_end(ap);
    return -1;
}

static const char *show(const char *text, char buf[64])
{
    return rx_log_escape((const uint8_t *)text, strlen(text), buf, 64);
}

// ---- members ------------------------------------------------------------------------------------------------------

static int take_conn(const json_t *v, struct rx_request *r, char *error)
{
    const char *text = json_string_value(v), *digits = "0123456789abcdef";
    if (!text || !*text || strlen(text) > 16 || text[strspn(text, digits)])
        return fail(error, "conn: a connection's id is hexadecimal text, as in the access log");
    r->conn = strtoull(text, NULL, 16);
    return 0;
}

static int take_level(const json_t *v, struct rx_request *r, char *error)
{
    const char *text = json_string_value(v);
    int level = text ? rx_log_level_of(text) : -1;
    if (level < 0)
        return fail(error, "level: must be error, warning, info or debug");
    r->level = (enum rx_level)level;
    return 0;
}

static int take_sort(const json_t *v, struct rx_request *r, char *error)
{
    static const char *const words[] = {
#define X(id, word) word,
        RX_FLOW_SORTS(X)
#undef X
    };
    const char *text = json_string_value(v);
    for (unsigned i = 0; text && i < RX_COUNT(words); i++)
        if (!strcmp(text, words[i])) {
            r->flows.sort = (enum rx_flow_sort)i;
            return 0;
        }
    return fail(error, "sort: must be rate, bytes, age or idle");
}

static int take_filter(const json_t *v, struct rx_request *r, char *error)
{
    const char *text = json_string_value(v);
    if (!text || strlen(text) >= sizeof r->flows.filter)
        return fail(error, "filter: must be text of at most %zu bytes", sizeof r->flows.filter - 1);
    strcpy(r->flows.filter, text);
    return 0;
}

static int take_limit(const json_t *v, struct rx_request *r, char *error)
{
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > RX_FLOW_MOST)
        return fail(error, "limit: must be a whole number between 1 and %d", RX_FLOW_MOST);
    r->flows.limit = (uint32_t)json_integer_value(v);
    return 0;
}

static int take_ip(const json_t *v, struct rx_request *r, char *error)
{
    char why[RX_ADDR_TEXT];
    const char *text = json_string_value(v);
    if (!text)
        return fail(error, "ip: must be text: an address, or a block as in 10.0.0.0/8");
    return rx_cidr_parse(text, &r->ip, why) ? fail(error, "ip: %s", why) : 0;
}

static int take_ttl(const json_t *v, struct rx_request *r, char *error)
{
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > TTL_MOST_MS)
        return fail(error, "ttl_ms: must be a whole number between 1 and %lld", TTL_MOST_MS);
    r->ttl_ms = (uint64_t)json_integer_value(v);
    return 0;
}

static int take_backend(const json_t *v, struct rx_request *r, char *error)
{
    const char *text = json_string_value(v);
    if (!text || !*text || strlen(text) >= sizeof r->backend)
        return fail(error, "backend: must be an address, as status shows it, or a name as the config has it");
    strcpy(r->backend, text);
    return 0;
}

static int take_file(const json_t *v, struct rx_request *r, char *error)
{
    const char *text = json_string_value(v);
    if (!text || *text != '/' || strlen(text) >= sizeof r->file)
        return fail(error, "file: must be an absolute path of at most %zu bytes", sizeof r->file - 1);
    strcpy(r->file, text);
    return 0;
}

static const struct member {
    const char *name;
    unsigned bit;
    int (*take)(const json_t *v, struct rx_request *r, char *error);
} members[] = {
    { "conn", RX_HAS_CONN, take_conn },       { "level", RX_HAS_LEVEL, take_level },
    { "sort", RX_HAS_SORT, take_sort },       { "filter", RX_HAS_FILTER, take_filter },
    { "limit", RX_HAS_LIMIT, take_limit },    { "ip", RX_HAS_IP, take_ip },
    { "ttl_ms", RX_HAS_TTL, take_ttl },       { "backend", RX_HAS_BACKEND, take_backend },
    { "file", RX_HAS_FILE, take_file },
};

static const struct member *member_of(const char *name)
{
    for (unsigned i = 0; i < RX_COUNT(members); i++)
        if (!strcmp(members[i].name, name))
            return &members[i];
    return NULL;
}

// ---- the request --------------------------------------------------------------------------------------------------

static int take_kind(const json_t *object, struct rx_request *r, char *error)
{
    char shown[64];
    const char *word = json_string_value(json_object_get(object, "cmd"));
    if (!word)
        return fail(error, "a request is an object with a member \"cmd\"");
    for (unsigned i = 0; i < RX_COUNT(kinds); i++)
        if (!strcmp(kinds[i].word, word)) {
            r->kind = (enum rx_request_kind)i;
            return 0;
        }
    return fail(error, "unknown cmd \"%s\"", show(word, shown));
}

static int take_members(json_t *object, struct rx_request *r, char *error)
{
    char shown[64];
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) {
        const struct member *m = member_of(name);
        if (!strcmp(name, "cmd"))
            continue;
        if (!m || !(m->bit & kinds[r->kind].may))
            return fail(error, "%s: unknown member \"%s\"", kinds[r->kind].word, show(name, shown));
        if (m->take(value, r, error))
            return -1;
        r->has |= m->bit;
    }
    for (unsigned i = 0; i < RX_COUNT(members); i++)
        if (members[i].bit & kinds[r->kind].must & ~r->has)
            return fail(error, "%s: needs a member \"%s\"", kinds[r->kind].word, members[i].name);
    return 0;
}

int rx_request_parse(const char *line, size_t len, struct rx_request *r, char *error)
{
    json_error_t wrong;
    *r = (struct rx_request){ .flows = { .limit = 100 }, .ttl_ms = HOUR_MS };
    if (len > RX_REQUEST_LINE)
        return fail(error, "a request may have at most %d bytes", RX_REQUEST_LINE);
    json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &wrong);
    if (!object)
        return fail(error, "not JSON, at byte %d", wrong.position);
    int rc = json_is_object(object) ? take_kind(object, r, error) : fail(error, "a request is an object");
    if (!rc)
        rc = take_members(object, r, error);
    json_decref(object);
    return rc;
}
