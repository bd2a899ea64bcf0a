// SPDX-License-Identifier: MIT
// Two connections to a Redis, one that calls the script and one that hears its news, made again whenever they end. One
// thread's; nothing here waits.
#pragma once

#include <ev.h>

#include "sync_url.h"

struct rx_sync_link;

struct rx_sync_link_ear {
    void (*up)(void *data);                  // from now on both are there
    void (*down)(void *data, const char *why); // they were, or this is the first try; told once until they are up
    void (*news)(void *data, const char *text, size_t n);
    void (*failed)(void *data, const char *why); // a call was refused
    void *data;
};

enum { RX_SYNC_ARGS = 16 };

// KEYS, then ARGV.
struct rx_sync_call {
    unsigned n, n_keys;
    const char *arg[RX_SYNC_ARGS];
    size_t len[RX_SYNC_ARGS];
    void (*answer)(void *data, const char *text, size_t n); // NULL: nobody wants it
};

// `resolver`: DNS servers for its name (rx_asker_use). NULL: out of memory.
struct rx_sync_link *rx_sync_link_new(struct ev_loop *loop, const struct rx_sync_url *url, const char *resolver,
                                      const struct rx_sync_link_ear *ear);
void rx_sync_link_free(struct rx_sync_link *k);
// False: it is down, or its memory is full.
bool rx_sync_link_call(struct rx_sync_link *k, const struct rx_sync_call *call);
unsigned rx_sync_link_waiting(const struct rx_sync_link *k); // calls without an answer
void rx_sync_link_fail(struct rx_sync_link *k, const char *why); // begin anew
const char *rx_sync_link_channel(const struct rx_sync_link *k);
