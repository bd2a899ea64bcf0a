// SPDX-License-Identifier: MIT
// Enters: what a config says of addresses to connect from. Leaves: one of them. Nothing here asks the system whether it
// has them.
#include "origin.h"

#include <stdio.h>
#include <string.h>

enum { SOURCE_MOST = 65536 };

static int fail(char *err, const char *why)
{
    snprintf(err, RX_ADDR_TEXT, "%s", why);
    return -1;
}

static unsigned size_of(int family)
{
    return family == AF_INET ? 4 : 16;
}

// The last 32 bits; a range or block may only differ there.
static uint32_t tail_of(const uint8_t *bytes, unsigned size)
{
    return (uint32_t)bytes[size - 4] << 24 | (uint32_t)bytes[size - 3] << 16 | (uint32_t)bytes[size - 2] << 8 | bytes[size - 1];
}

static void set_tail(uint8_t *bytes, unsigned size, uint32_t v)
{
    for (unsigned i = 1; i <= 4; i++, v >>= 8)
        bytes[size - i] = (uint8_t)v;
}

static int parse_range(const char *text, const char *dash, struct rx_origin *out, char *err)
{
    char low[64], high[64];
    struct rx_cidr a, b;
    size_t n = (size_t)(dash - text);
    if (n >= sizeof low || strlen(dash + 1) >= sizeof high)
        return fail(err, "not an address");
    memcpy(low, text, n);
    low[n] = 0;
    strcpy(high, dash + 1);
    if (strchr(text, '/'))
        return fail(err, "a range is of addresses, not of blocks");
    if (rx_cidr_parse(low, &a, err) || rx_cidr_parse(high, &b, err))
        return -1;
    unsigned size = size_of(a.family);
    if (a.family != b.family || memcmp(a.bytes, b.bytes, size - 4))
        return fail(err, "the ends of the range are too far apart");
    uint32_t first = tail_of(a.bytes, size), last = tail_of(b.bytes, size);
    if (last < first)
        return fail(err, "the range runs backwards");
    if (last - first >= SOURCE_MOST)
        return fail(err, "the range has more than 65536 addresses");
    *out = (struct rx_origin){ .family = a.family, .n = last - first + 1 };
    memcpy(out->low, a.bytes, size);
    return 0;
}

int rx_origin_parse(const char *text, struct rx_origin *out, char *err)
{
    struct rx_cidr block;
    const char *dash = strchr(text, '-');
    if (dash)
        return parse_range(text, dash, out, err);
    if (rx_cidr_parse(text, &block, err))
        return -1;
    unsigned bits = size_of(block.family) * 8 - block.bits;
    *out = (struct rx_origin){ .family = block.family, .n = bits >= 16 ? SOURCE_MOST : 1u << bits };
    memcpy(out->low, block.bytes, sizeof out->low);
    return 0;
}

uint32_t rx_origins_count(const struct rx_origins *s, int family)
{
    return family == AF_INET ? s->n_v4 : family == AF_INET6 ? s->n_v6 : 0;
}

void rx_origins_pick(const struct rx_origins *s, int family, uint32_t turn, union rx_ip *out)
{
    const struct rx_origin *one = s->list;
    turn %= rx_origins_count(s, family);
    for (; one->family != family || turn >= one->n; one++)
        turn -= one->family == family ? one->n : 0;
    uint8_t bytes[16];
    unsigned size = size_of(family);
    memcpy(bytes, one->low, sizeof bytes);
    set_tail(bytes, size, tail_of(bytes, size) + turn);
    memset(out, 0, sizeof *out);
    out->sa.sa_family = (sa_family_t)family;
    if (family == AF_INET)
        memcpy(&out->v4.sin_addr, bytes, 4);
    else
        memcpy(&out->v6.sin6_addr, bytes, 16);
}
