// SPDX-License-Identifier: MIT
// Enters: a line of a recording. Leaves: the decision in it, or a word why it is none. Pure.
// The file may have been edited, cut or made by somebody: nothing in it is believed.
#include "record.h"

#include <jansson.h>
#include <string.h>

#include "input.h"

static bool take_text(const json_t *o, const char *key, char out[RX_RECORD_TEXT], const char **field)
{
    const json_t *v = json_object_get(o, key);
    *field = NULL;
    if (!v || json_is_null(v))
        return true;
    if (!json_is_string(v) || json_string_length(v) >= RX_RECORD_TEXT || strlen(json_string_value(v)) !=
                                                                              json_string_length(v))
        return false;
    memcpy(out, json_string_value(v), json_string_length(v) + 1);
    *field = out;
    return true;
}

static bool take_number(const json_t *o, const char *key, uint64_t most, uint64_t *out)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > most)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static bool take_ended(const json_t *o, enum rx_ended *out)
{
    const char *word = json_string_value(json_object_get(o, "ended"));
    for (int i = RX_OPEN; word && i <= RX_ENDED_TIMEOUT; i++)
        if (!strcmp(word, rx_ended_word((enum rx_ended)i))) {
            *out = (enum rx_ended)i;
            return true;
        }
    return false;
}

// UDP: the length of each datagram; they make up `len`.
static bool take_grams(const json_t *o, uint64_t len, struct rx_record *r, uint32_t *out)
{
    const char *transport = json_string_value(json_object_get(o, "transport"));
    const json_t *list = json_object_get(o, "datagrams");
    uint64_t sum = 0;
    if (!transport || strcmp(transport, "udp"))
        return !list && (!transport || !strcmp(transport, "tcp"));
    size_t n = json_is_array(list) ? json_array_size(list) : 0;
    for (size_t i = 0; n <= RX_RECORD_GRAMS && i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT16_MAX)
            return false;
        sum += out[i] = (uint32_t)json_integer_value(v);
    }
    r->gram_len = out;
    r->n_grams = (uint32_t)n;
    return n >= 1 && n <= RX_RECORD_GRAMS && sum == len;
}

static const char *read_object(const json_t *o, struct rx_record *r, struct rx_record_text *t, uint8_t *bytes)
{
    char why_ip[RX_ADDR_TEXT];
    const char *from = json_string_value(json_object_get(o, "from")), *why;
    const json_t *hex = json_object_get(o, "bytes");
    uint64_t port, len;
    size_t at;
    if (!take_number(o, "ms", UINT64_MAX / 2, &r->ms) || !take_number(o, "port", 65535, &port) ||
        !take_number(o, "len", UINT32_MAX, &len))
        return "ms, port and len must be numbers";
    if (!take_text(o, "listen", t->listen, &r->listen) || !take_text(o, "protocol", t->protocol, &r->protocol) ||
        !take_text(o, "route", t->route, &r->route) || !take_text(o, "to", t->to, &r->to) || !r->listen || !r->to)
        return "listen, protocol, route and to must be short texts";
    if (!from || (strcmp(from, "unix") && rx_ip_parse(from, &r->from, why_ip)))
        return "from must be an address, or unix";
    if (!take_grams(o, len, r, t->gram_len))
        return "transport must be tcp, or udp with the lengths of its datagrams";
    if (!take_ended(o, &r->ended))
        return "ended must be open, eof, full or timeout";
    if (!json_is_string(hex) || json_string_length(hex) > RX_RECORD_LINE)
        return "bytes must be hexadecimal";
    long n = rx_hex_decode(json_string_value(hex), json_string_length(hex), bytes, &at, &why);
    if (n < 0 || (uint64_t)n > len)
        return n < 0 ? "bytes must be hexadecimal" : "there are more bytes than len says";
    if (r->from.sa.sa_family)
        rx_ip_unmap(&r->from);
    r->to_port = (uint16_t)port;
    r->len = (uint32_t)len;
    r->kept = (uint32_t)n;
    r->bytes = bytes;
    return NULL;
}

int rx_record_parse(const char *line, size_t len, struct rx_record *r, struct rx_record_text *text, uint8_t *bytes,
                    const char **why)
{
    json_error_t error;
    *r = (struct rx_record){ 0 };
    if (len > RX_RECORD_LINE) {
        *why = "is too long";
        return -1;
    }
    json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    *why = json_is_object(o) ? read_object(o, r, text, bytes) : "is no JSON object";
    json_decref(o);
    return *why ? -1 : 0;
}
