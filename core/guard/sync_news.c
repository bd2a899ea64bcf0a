// SPDX-License-Identifier: MIT
// Enters: a text from Redis, which others may write to. Leaves: what it says, or that it says nothing.
#include "sync_news.h"

#include <string.h>

enum { WORD_MAX = 64, MS_DIGITS = 13 };

struct reader {
    const char *at, *end;
};

// The next word, which ends at `stop` or the text's end; false when it does not fit.
static bool word(struct reader *r, char stop, char *out, size_t size)
{
    if (r->at > r->end)
        return false;
    size_t n = (size_t)(r->end - r->at);
    const char *end = memchr(r->at, stop, n);
    size_t len = end ? (size_t)(end - r->at) : n;
    if (!len || len >= size || memchr(r->at, 0, len))
        return false;
    memcpy(out, r->at, len);
    out[len] = 0;
    r->at += len + 1;
    return true;
}

static bool number(struct reader *r, char stop, uint64_t *out)
{
    char text[MS_DIGITS + 1];
    if (!word(r, stop, text, sizeof text))
        return false;
    *out = 0;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        *out = *out * 10 + (uint64_t)(*p - '0');
    }
    return true;
}

static bool cidr(struct reader *r, char stop, struct rx_cidr *out)
{
    char text[WORD_MAX], why[RX_ADDR_TEXT];
    memset(out, 0, sizeof *out);
    return word(r, stop, text, sizeof text) && rx_cidr_parse(text, out, why) == 0;
}

static bool far(struct reader *r, struct rx_ledger_far *out)
{
    char kind[2];
    if (!word(r, ',', kind, sizeof kind) || !cidr(r, ',', &out->who) || !number(r, ',', &out->age_ms) ||
        !number(r, ' ', &out->left_ms))
        return false;
    out->is_fresh = *kind == 'n' || *kind == 'f';
    out->is_out = *kind == 'n' || *kind == 'o';
    return out->is_out || out->is_fresh || *kind == 'i';
}

static bool session(struct reader *r, struct rx_sync_news *out)
{
    char transport[4], origin[WORD_MAX], why[RX_ADDR_TEXT];
    uint64_t n;
    if (!word(r, ' ', transport, sizeof transport) || !word(r, ' ', out->name, sizeof out->name) ||
        !word(r, ' ', origin, sizeof origin) || !number(r, ' ', &n) || n > RX_SYNC_FAR_MAX)
        return false;
    out->is_udp = !strcmp(transport, "udp");
    out->has_origin = strcmp(origin, "-") != 0;
    memset(&out->origin, 0, sizeof out->origin);
    if (out->has_origin && rx_cidr_parse(origin, &out->origin, why))
        return false;
    out->n_far = (uint32_t)n;
    if (!n && !word(r, ' ', origin, sizeof origin)) // "-"
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!far(r, &out->far[i]))
            return false;
    if (r->at >= r->end || r->end - r->at > RX_LEDGER_ID_MAX)
        return false;
    out->id = r->at;
    out->id_len = (uint32_t)(r->end - r->at);
    return true;
}

bool rx_sync_read(const char *text, size_t n, struct rx_sync_news *out)
{
    struct reader r = { text, text + n };
    char kind[2];
    if (!word(&r, ' ', kind, sizeof kind) || !word(&r, ' ', out->node, sizeof out->node))
        return false;
    switch (*kind) {
    case 'p':
        out->kind = RX_SYNC_BEAT;
        return true;
    case 'b':
        out->kind = RX_SYNC_BAN;
        return number(&r, ' ', &out->left_ms) && out->left_ms && cidr(&r, ' ', &out->whom);
    case 'u':
        out->kind = RX_SYNC_UNBAN;
        return cidr(&r, ' ', &out->whom);
    case 's':
        out->kind = RX_SYNC_SESSION;
        return session(&r, out);
    default:
        return false;
    }
}

bool rx_sync_read_page(const char *text, size_t n, char next[24], rx_sync_ban_fn *each, void *data)
{
    struct reader r = { text, text + n };
    if (!word(&r, ' ', next, 24) || strspn(next, "0123456789") != strlen(next))
        return false;
    while (r.at < r.end) {
        struct rx_cidr whom;
        uint64_t left;
        if (!cidr(&r, ',', &whom) || !number(&r, ' ', &left) || !left)
            return false;
        each(&whom, left, data);
    }
    return true;
}
