// SPDX-License-Identifier: MIT
// The guard's thread: follows the logs of rx.tail and writes block logs, so that no worker waits for a file.
#pragma once

#include "conf.h"
#include "tail.h"

struct rx_guard;

struct rx_guard *rx_guard_new(void); // NULL: out of memory
// The thread, from the first config that needs it on; 0 or negative errno.
int rx_guard_start(struct rx_guard *g, const struct rx_conf *conf);
// From now on this generation's tails are followed. A file that was followed before goes on where it was.
void rx_guard_use(struct rx_guard *g, struct rx_conf *conf);
void rx_guard_wake(struct rx_guard *g); // any thread
void rx_guard_free(struct rx_guard *g);

typedef void rx_guard_each_fn(const char *path, const struct rx_tail_totals *t, void *data);
void rx_guard_each_tail(struct rx_guard *g, rx_guard_each_fn *each, void *data); // any thread
