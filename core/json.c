// SPDX-License-Identifier: MIT
// Enters: calls in document order. Leaves: one line of JSON (RFC 8259), always valid UTF-8.
// Invariants: the caller balances open and close and gives every member of an object a key; commas and colons
// follow from that. Bytes from clients go through rx_json_text, which lets nothing but UTF-8 pass.
#include "json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void put(struct rx_json *j, const char *bytes, size_t n)
{
    if (j->is_broken)
        return;
    if (j->len + n > j->cap) {
        size_t cap = RX_MAX(j->len + n, RX_MAX(j->cap * 2, (size_t)1024));
        char *grown = realloc(j->text, cap);
        if (!grown) {
            j->is_broken = true;
            return;
        }
        j->text = grown;
        j->cap = cap;
    }
    memcpy(j->text + j->len, bytes, n);
    j->len += n;
}

// Whatever separates the next value from what stands before it.
static void begin_value(struct rx_json *j)
{
    uint32_t bit = 1u << j->depth;
    if (j->is_after_key)
        j->is_after_key = false;
    else if (j->has_item & bit)
        put(j, ",", 1);
    j->has_item |= bit;
}

void rx_json_open(struct rx_json *j, char bracket)
{
    RX_REQUIRE(j->depth < RX_JSON_DEPTH);
    begin_value(j);
    put(j, &bracket, 1);
    j->close[j->depth++] = bracket == '{' ? '}' : ']';
    j->has_item &= ~(1u << j->depth);
}

void rx_json_close(struct rx_json *j)
{
    RX_REQUIRE(j->depth > 0);
    put(j, &j->close[--j->depth], 1);
}

// The length of the UTF-8 sequence at p (Unicode 15, table 3-7), or 0 with *broken set to how many bytes the
// broken part is long.
static size_t sequence(const uint8_t *p, size_t n, size_t *broken)
{
    uint8_t low = 0x80, high = 0xbf;
    size_t len;
    *broken = 1;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < len; i++, low = 0x80, high = 0xbf) {
        *broken = i;
        if (i >= n || p[i] < low || p[i] > high)
            return 0;
    }
    return len;
}

static void put_escaped(struct rx_json *j, uint8_t c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    char buf[8];
    const char *at = c ? strchr(from, c) : NULL;
    int n = at ? snprintf(buf, sizeof buf, "\\%c", to[at - from]) : snprintf(buf, sizeof buf, "\\u%04x", c);
    put(j, buf, (size_t)n);
}

void rx_json_text(struct rx_json *j, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    begin_value(j);
    put(j, "\"", 1);
    for (size_t i = 0; i < len;) {
        size_t broken, n = sequence(p + i, len - i, &broken);
        if (!n)
            put(j, "\xef\xbf\xbd", 3);
        else if (p[i] < 0x20 || p[i] == '"' || p[i] == '\\' || p[i] == 0x7f)
            put_escaped(j, p[i]);
        else
            put(j, (const char *)p + i, n);
        i += n ? n : broken;
    }
    put(j, "\"", 1);
}

void rx_json_key(struct rx_json *j, const char *key)
{
    rx_json_text(j, key, strlen(key));
    put(j, ":", 1);
    j->is_after_key = true;
}

void rx_json_string(struct rx_json *j, const char *s)
{
    if (s)
        rx_json_text(j, s, strlen(s));
    else
        rx_json_null(j);
}

static void put_word(struct rx_json *j, const char *word)
{
    begin_value(j);
    put(j, word, strlen(word));
}

void rx_json_number(struct rx_json *j, uint64_t v)
{
    char buf[24];
    snprintf(buf, sizeof buf, "%" PRIu64, v);
    put_word(j, buf);
}

void rx_json_bool(struct rx_json *j, bool v)
{
    put_word(j, v ? "true" : "false");
}

void rx_json_null(struct rx_json *j)
{
    put_word(j, "null");
}

void rx_json_free(struct rx_json *j)
{
    free(j->text);
    *j = (struct rx_json){ 0 };
}

int rx_json_take(struct rx_json *j, char **text, size_t *len)
{
    put(j, "\n", 1);
    if (j->is_broken) {
        rx_json_free(j);
        return -ENOMEM;
    }
    *text = j->text;
    *len = j->len;
    *j = (struct rx_json){ 0 };
    return 0;
}

int rx_json_write(struct rx_json *j, FILE *out)
{
    int rc = 0;
    put(j, "\n", 1);
    if (j->is_broken)
        rc = -ENOMEM;
    else if (fwrite(j->text, 1, j->len, out) != j->len || fflush(out))
        rc = errno ? -errno : -EIO;
    rx_json_free(j);
    return rc;
}
