// SPDX-License-Identifier: MIT
// Watching the files of a config: whatever an editor, a deployment tool or Kubernetes does to replace it.
#pragma once

#include <ev.h>

#include "seen.h"

struct rx_watch;

// Calls `changed` on the loop when the bytes of any file are no longer those it was loaded from, or last seen with, and
// have been quiet for a moment; an edit made since they were loaded counts. `which` names one that changed. A file that
// is not there is waited for, as are its directories. NULL when they cannot be watched (errno says why). The files are
// read again by the caller, not here. `changed` may free the watch.
struct rx_watch *rx_watch_new(struct ev_loop *loop, const struct rx_seen *files,
                              void (*changed)(void *data, const char *which), void *data);
void rx_watch_free(struct rx_watch *w);
