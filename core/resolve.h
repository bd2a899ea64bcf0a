// SPDX-License-Identifier: MIT
// Names of pools, looked up and kept fresh on the engine's thread, without ever blocking it. A change becomes a new
// roster of each pool that has the name; a failure changes nothing.
#pragma once

#include <ev.h>

#include "roster.h"

struct rx_conf;
struct rx_resolve;
struct rx_worker;

enum { RX_RESOLVE_SETTLE_MS = 2000 }; // how long a start or a reload waits for names

// workers: who may be using rosters; borrowed, may not be running yet. NULL when out of memory.
struct rx_resolve *rx_resolve_new(struct ev_loop *loop, struct rx_worker *workers, unsigned n_workers);
// fn is called when a change has made new rosters.
void rx_resolve_on_change(struct rx_resolve *r, void (*fn)(void *data), void *data);
void rx_resolve_free(struct rx_resolve *r); // after the workers have ended

// Looks up what conf names and is not known yet: a config that will be served. Until that is over, at most
// RX_RESOLVE_SETTLE_MS, rx_resolve_is_waiting; what is still unknown then is said in the log.
void rx_resolve_prepare(struct rx_resolve *r, const struct rx_conf *conf);
bool rx_resolve_is_waiting(const struct rx_resolve *r);
// Gives conf's pools what is known. Before anybody is served by it.
void rx_resolve_furnish(struct rx_resolve *r, const struct rx_conf *conf);
// Names of these (the second may be NULL: another one is not tried) are kept fresh from now on, others forgotten.
void rx_resolve_serve(struct rx_resolve *r, struct rx_conf *conf, struct rx_conf *tried);

// Seconds the records of a DNS answer may be kept, the least of them; -1 when it cannot be read.
int64_t rx_dns_least_ttl(const uint8_t *reply, size_t n);
