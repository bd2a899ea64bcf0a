// SPDX-License-Identifier: MIT
// Enters: lines; those before the first empty one are patterns, the rest names. Leaves: aborted when core/names.c
// finds something else than comparing every pattern with the name, or gives its lists in another shape than it
// promises.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "names.h"

enum { PATTERNS = 48 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct line {
    const uint8_t *ptr;
    size_t len;
};

static bool next_line(const uint8_t **at, const uint8_t *end, struct line *out)
{
    if (*at >= end)
        return false;
    const uint8_t *stop = memchr(*at, '\n', (size_t)(end - *at));
    out->ptr = *at;
    out->len = (size_t)((stop ? stop : end) - *at);
    *at = stop ? stop + 1 : end;
    return true;
}

static bool is_same(const uint8_t *a, const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t x = a[i], y = b[i];
        if (x >= 'A' && x <= 'Z')
            x |= 32;
        if (y >= 'A' && y <= 'Z')
            y |= 32;
        if (x != y)
            return false;
    }
    return true;
}

static struct line without_dot(struct line l)
{
    l.len -= l.len && l.ptr[l.len - 1] == '.';
    return l;
}

static bool covers(struct line pattern, struct line name)
{
    bool is_suffix = pattern.len > 2 && pattern.ptr[0] == '*' && pattern.ptr[1] == '.';
    if (is_suffix)
        pattern = (struct line){ pattern.ptr + 2, pattern.len - 2 };
    pattern = without_dot(pattern);
    name = without_dot(name);
    if (!is_suffix)
        return name.len == pattern.len && is_same(name.ptr, pattern.ptr, name.len);
    if (!pattern.len || name.len < pattern.len + 2)
        return false;
    size_t at = name.len - pattern.len;
    return name.ptr[at - 1] == '.' && is_same(name.ptr + at, pattern.ptr, pattern.len);
}

static void look_up(const struct rx_names *t, const struct line *patterns, unsigned n, struct line name)
{
    struct rx_ids lists[RX_NAME_LISTS];
    uint8_t *copy = malloc(name.len + !name.len);
    if (name.len)
        memcpy(copy, name.ptr, name.len);
    unsigned n_lists = rx_names_find(t, copy, name.len, lists);
    uint64_t found = 0, want = 0;
    for (unsigned i = 0; i < n_lists; i++)
        for (uint32_t k = 0; k < lists[i].n; k++) {
            if ((k && lists[i].ids[k] <= lists[i].ids[k - 1]) || lists[i].ids[k] >= n)
                abort();
            found |= 1ull << lists[i].ids[k];
        }
    for (unsigned i = 0; i < n && name.len <= RX_NAME_MAX; i++)
        want |= (uint64_t)covers(patterns[i], name) << i;
    if (found != want) {
        fprintf(stderr, "\"%.*s\": found %llx, not %llx\n", (int)name.len, (const char *)name.ptr,
                (unsigned long long)found, (unsigned long long)want);
        abort();
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *at = data, *end = data + size;
    struct line patterns[PATTERNS], l;
    unsigned n = 0;
    struct rx_names *t = rx_names_new();
    while (n < PATTERNS && next_line(&at, end, &l) && l.len) {
        uint8_t *copy = malloc(l.len);
        memcpy(copy, l.ptr, l.len);
        if (rx_names_add(t, (const char *)copy, l.len, n) == 0)
            patterns[n++] = l;
        free(copy);
    }
    while (next_line(&at, end, &l))
        look_up(t, patterns, n, l);
    for (unsigned i = 0; i < n; i++)
        look_up(t, patterns, n, patterns[i]);
    rx_names_free(t);
    return 0;
}
