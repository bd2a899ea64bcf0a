// SPDX-License-Identifier: MIT
#include "seen.h"

#include <stdlib.h>
#include <string.h>

#include "digest.h"

uint64_t rx_seen_digest(const void *text, size_t len)
{
    return rx_digest(RX_DIGEST_START, text, len) | 1;
}

static void add(struct rx_seen *s, const char *path, uint64_t digest)
{
    for (unsigned i = 0; i < s->n; i++)
        if (!strcmp(s->list[i].path, path)) {
            s->list[i].digest = digest;
            return;
        }
    struct rx_seen_file *list = realloc(s->list, (s->n + 1) * sizeof *list);
    if (!list)
        return;
    s->list = list;
    if ((list[s->n].path = strdup(path)))
        list[s->n++].digest = digest;
}

void rx_seen_add(struct rx_seen *s, const char *path, const void *text, size_t len)
{
    add(s, path, text ? rx_seen_digest(text, len) : 0);
}

void rx_seen_add_all(struct rx_seen *s, const struct rx_seen *more)
{
    for (unsigned i = 0; i < more->n; i++)
        add(s, more->list[i].path, more->list[i].digest);
}

void rx_seen_free(struct rx_seen *s)
{
    while (s->n)
        free(s->list[--s->n].path);
    free(s->list);
    *s = (struct rx_seen){ 0 };
}
