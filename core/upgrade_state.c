// SPDX-License-Identifier: MIT
// What an operator, or the config, has said for a while and no config says: bans, and backends that are drained. Enters: the
// process's lists. Leaves: the same in the process that takes its place.
// Deliberately not done: what scripts share, health, counters. They come about anew.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "ban.h"
#include "home.h"
#include "upgrade.h"
#include "upgrade_wire.h"

struct ban {
    struct rx_cidr whom;
    uint64_t left_ms;
};

struct bans {
    struct ban *list; // owned
    size_t n, cap;
};

static bool add_ban(const struct rx_cidr *whom, uint64_t left_ms, void *data)
{
    struct bans *b = data;
    if (b->n == b->cap) {
        size_t cap = RX_MAX(b->cap * 2, (size_t)64);
        struct ban *grown = realloc(b->list, cap * sizeof *grown);
        if (!grown)
            return false;
        b->list = grown;
        b->cap = cap;
    }
    memset(&b->list[b->n], 0, sizeof b->list[0]);
    b->list[b->n].whom = *whom;
    b->list[b->n++].left_ms = left_ms;
    return true;
}

static int give_bans(int fd, uint64_t until_ms)
{
    struct bans b = { 0 };
    rx_ban_each(add_ban, &b);
    size_t size = b.n * sizeof *b.list;
    int memory = b.n ? rx_upgrade_memory(b.list, size) : -1, rc = 0;
    free(b.list);
    if (b.n && memory < 0)
        return memory;
    struct rx_upgrade_msg m = { .kind = RX_UPGRADE_BANS, .c = size };
    if (b.n)
        rc = rx_upgrade_send(fd, &m, &memory, 1, until_ms);
    if (memory >= 0)
        close(memory);
    return rc;
}

struct giving {
    int fd, rc;
    uint64_t until_ms;
};

static void give_drained(const char *name, void *data)
{
    struct giving *g = data;
    struct rx_upgrade_msg m = { .kind = RX_UPGRADE_DRAINED, .len = (uint32_t)strnlen(name, RX_UPGRADE_DATA) };
    memcpy(m.data, name, m.len);
    if (!g->rc)
        g->rc = rx_upgrade_send(g->fd, &m, NULL, 0, g->until_ms);
}

int rx_upgrade_give_state(struct rx_home *home, int fd, uint64_t until_ms)
{
    struct giving g = { fd, give_bans(fd, until_ms), until_ms };
    if (!g.rc)
        rx_backend_each_drained(&home->backends, give_drained, &g);
    return g.rc;
}

int rx_upgrade_take_bans(int memory, uint64_t size)
{
    struct ban one;
    if (size % sizeof one || size / sizeof one > RX_BANS_MAX)
        return -EPROTO;
    uint8_t *bytes = rx_upgrade_recall(memory, (size_t)size);
    if (!bytes)
        return -EPROTO;
    for (size_t at = 0; at < size; at += sizeof one) {
        memcpy(&one, bytes + at, sizeof one);
        rx_ban_add(&one.whom, one.left_ms); // a list that is full loses the last: no reason to stop
    }
    free(bytes);
    return 0;
}

void rx_upgrade_take_drained(struct rx_home *home, const struct rx_upgrade_msg *m)
{
    char name[RX_UPGRADE_DATA + 1];
    memcpy(name, m->data, m->len);
    name[m->len] = 0;
    rx_backend_drain(&home->backends, name, true, rx_now_ms());
}
