// SPDX-License-Identifier: MIT
// Enters: the URL of a store, and what Redis may send: its first byte chooses which. Leaves: aborted when a URL shows its
// password or has parts out of range, or when news name what they cannot.
#include <stdlib.h>
#include <string.h>

#include "sync_news.h"
#include "sync_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void url(const char *text, size_t n)
{
    struct rx_sync_url u;
    char why[RX_SYNC_URL_WHY] = "";
    if (rx_sync_url_parse(text, n, &u, why)) {
        if (!*why)
            abort();
        return;
    }
    for (const char *p = u.shown; *p; p++)
        if (*p <= ' ' || *p > '~')
            abort();
    if (!*u.host == !*u.path || u.db > 65535 || (*u.host && !u.port) || (*u.user && !*u.password) || !*u.prefix)
        abort();
    if (strchr(u.shown, '@') && !strchr(u.host, '@') && !strchr(u.path, '@'))
        abort();
}

static void shown(const struct rx_cidr *whom, uint64_t left_ms, void *data)
{
    (void)data;
    if (whom->bits > 128 || !left_ms)
        abort();
}

static void news(const char *text, size_t n)
{
    static struct rx_sync_news w;
    char next[24];
    if (rx_sync_read(text, n, &w) && w.kind == RX_SYNC_SESSION &&
        (!w.id_len || w.id_len > RX_LEDGER_ID_MAX || w.id + w.id_len != text + n || w.n_far > RX_SYNC_FAR_MAX ||
         strlen(w.name) >= sizeof w.name))
        abort();
    rx_sync_read_page(text, n, next, shown, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    char *text = malloc(size); // ends against other bytes
    memcpy(text, data + 1, size - 1);
    (data[0] & 1 ? url : news)(text, size - 1);
    free(text);
    return 0;
}
