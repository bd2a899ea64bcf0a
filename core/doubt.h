// SPDX-License-Identifier: MIT
// What `check` warns about although it loads: routes that can never match, and decisions that hang on how a client's
// bytes are cut.
#pragma once

#include "check.h"

// Whether all that route b takes is taken by route a, which stands before it. Functions may say no: they cover nothing.
bool rx_doubt_covers(const struct rx_route *a, const struct rx_route *b);
// Adds a warning for each.
void rx_doubt_run(const struct rx_conf *conf, struct rx_findings *f);
