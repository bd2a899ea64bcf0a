// SPDX-License-Identifier: MIT
// The engine: binds, starts the workers, and waits for signals. See docs/architecture.md.
#pragma once

#include "args.h"
#include "conf.h"

enum rx_exit { RX_EXIT_OK = 0, RX_EXIT_USAGE = 1, RX_EXIT_BIND = 2, RX_EXIT_RUNTIME = 3 };

// Serves until told to stop; takes over the caller's reference. Returns the exit code.
int rx_engine_run(struct rx_conf *conf, const struct rx_args *a);
