// SPDX-License-Identifier: MIT
// What a service manager is told (sd_notify(3)): that the program is ready, reloads, stops, and that its workers turn.
// Where nobody listens, and in a program built without libsystemd, all of this does nothing. The engine thread's alone.
#pragma once

#include <ev.h>

#include "base.h"

// Says what is being done, in one line: `systemctl status` shows it.
typedef void rx_notify_status_fn(void *data, char *line, size_t size);

// It serves. From now on the manager's watchdog is answered as long as no worker is stuck, and `status` (called with
// data) is told every few seconds, when it changes.
void rx_notify_ready(struct ev_loop *loop, rx_notify_status_fn *status, void *data);
void rx_notify_reloading(void);
void rx_notify_reloaded(const char *outcome);
// It may take so long, and the manager is asked for that.
void rx_notify_stopping(uint32_t drain_ms, const char *status);
// Another process serves from now on, and is the one to be watched.
void rx_notify_successor(int pid);
// The loop is about to end.
void rx_notify_end(struct ev_loop *loop);
