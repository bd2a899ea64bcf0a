// SPDX-License-Identifier: MIT
// Enters: a DNS message as it came. Leaves: the least TTL of its answers. c-ares gives TTLs for addresses alone.
// RFC 1035, section 4.1; names are skipped by c-ares, which knows compression.
#include <ares.h>
#include <netinet/in.h>

#include "resolve.h"

enum { HEADER = 12, QUESTION_TAIL = 4, RECORD_TAIL = 10 };

static unsigned u16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

// Past the name at `p`; NULL when there is none.
static const uint8_t *skip_name(const uint8_t *p, const uint8_t *reply, size_t n)
{
    char *name;
    long len;
    if (p >= reply + n || ares_expand_name(p, reply, (int)n, &name, &len) != ARES_SUCCESS)
        return NULL;
    ares_free_string(name);
    return len > 0 && len <= reply + n - p ? p + len : NULL;
}

int64_t rx_dns_least_ttl(const uint8_t *reply, size_t n)
{
    if (n < HEADER || n > UINT16_MAX)
        return -1;
    const uint8_t *p = reply + HEADER, *end = reply + n;
    int64_t least = -1;
    for (unsigned i = u16(reply + 4); i; i--) {
        if (!(p = skip_name(p, reply, n)) || end - p < QUESTION_TAIL)
            return -1;
        p += QUESTION_TAIL;
    }
    for (unsigned i = u16(reply + 6); i; i--) {
        if (!(p = skip_name(p, reply, n)) || end - p < RECORD_TAIL)
            return -1;
        int64_t ttl = (int64_t)u16(p + 4) << 16 | u16(p + 6);
        size_t len = u16(p + 8);
        if ((size_t)(end - p) < RECORD_TAIL + len)
            return -1;
        if (ttl > INT32_MAX) // RFC 2181, section 8: taken as zero
            ttl = 0;
        least = least < 0 || ttl < least ? ttl : least;
        p += RECORD_TAIL + len;
    }
    return least;
}
