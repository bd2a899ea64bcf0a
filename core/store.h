// SPDX-License-Identifier: MIT
// What scripts remember together: named tables of the instance, bounded in entries, keys and values, whose entries may
// have an end. A table is shared by all workers and by the generations that name it.
#pragma once

#include <pthread.h>

#include "base.h"

enum { RX_STORE_KEY_MAX = 255, RX_STORE_TEXT_MAX = 4096 };

enum rx_store_kind {
    RX_STORE_NONE = 0, // no such entry
    RX_STORE_TEXT = 1,
    RX_STORE_NUMBER = 2,
    RX_STORE_TRUE = 3,
    RX_STORE_FALSE = 4
};

struct rx_store_value {
    uint32_t kind; // enum rx_store_kind
    uint32_t len;  // RX_STORE_TEXT
    double number; // RX_STORE_NUMBER
    const char *text;
};

struct rx_store;

// All of an instance.
struct rx_stores {
    pthread_mutex_t lock;
    struct rx_store *first;
};

// The table of this name, made on first use with these limits; NULL: out of memory. ttl_ms 0: entries have no end.
struct rx_store *rx_store_get(struct rx_stores *in, const char *name, uint32_t max_entries, uint64_t ttl_ms);
// One that nobody else can find.
struct rx_store *rx_store_new(uint32_t max_entries, uint64_t ttl_ms);
void rx_store_put(struct rx_store *s);
// Other limits from now on; what is above them goes as others come.
void rx_store_limit(struct rx_store *s, uint32_t max_entries, uint64_t ttl_ms);

// All may be called by any thread. A key or a text that is too long is -EINVAL. ttl_ms 0: the table's.

// What is there; a text is copied to `text` (RX_STORE_TEXT_MAX bytes).
struct rx_store_value rx_store_read(struct rx_store *s, const char *key, uint32_t len, char *text);
// 0 or negative errno. With `only_new` an entry that is there stays as it is: -EEXIST.
int rx_store_write(struct rx_store *s, const char *key, uint32_t len, const struct rx_store_value *v, uint64_t ttl_ms,
                   bool only_new);
// Adds to a number, and to 0 where there is none; *sum: what it is then. A number that is there keeps its end unless
// ttl_ms gives another. -EINVAL: it is no number.
int rx_store_add(struct rx_store *s, const char *key, uint32_t len, double by, uint64_t ttl_ms, double *sum);
bool rx_store_delete(struct rx_store *s, const char *key, uint32_t len); // true when it was there

struct rx_store_totals {
    unsigned long entries; // those whose end has come among them until somebody looks
    unsigned long evicted; // to make room, before their end
};
struct rx_store_totals rx_store_totals(struct rx_store *s);
// Every named table, under the lock that finds them.
typedef void rx_store_each_fn(const char *name, struct rx_store *s, void *data);
void rx_store_each(struct rx_stores *in, rx_store_each_fn *each, void *data);
