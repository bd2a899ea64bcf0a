// SPDX-License-Identifier: MIT
// `refractium replay`: what a recording holds, decided again.
#pragma once

#include "args.h"
#include "conf.h"

// Returns the exit code: 0 nothing changes, 1 something does or the file cannot be read.
int rx_replay_run(const struct rx_conf *conf, const struct rx_args *a);
