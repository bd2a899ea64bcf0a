// SPDX-License-Identifier: MIT
// Watching a config file: whatever an editor, a deployment tool or Kubernetes does to replace it.
#pragma once

#include <ev.h>

#include "base.h"

struct rx_watch;

// Calls `changed` on the loop when the file's bytes are no longer those last seen and have been quiet for a moment.
// NULL when it cannot be watched (errno says why); the file is read again by the caller, not here.
struct rx_watch *rx_watch_new(struct ev_loop *loop, const char *path, void (*changed)(void *data), void *data);
void rx_watch_free(struct rx_watch *w);
