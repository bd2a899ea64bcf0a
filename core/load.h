// SPDX-License-Identifier: MIT
// From the command line to a generation.
#pragma once

#include "args.h"
#include "build.h"
#include "check.h"
#include "conf.h"
#include "seen.h"

// seen: what files were looked at, also by a load that failed; NULL: nobody asks.
// NULL when anything is wrong; the findings then hold at least one error. The caller owns one reference.
struct rx_conf *rx_load(struct rx_home *home, const struct rx_args *a, struct rx_seen *seen, struct rx_findings *f);
// The same, and the config's own tests must pass; findings and failures go to `report`, a line each.
struct rx_conf *rx_load_tested(struct rx_home *home, const struct rx_args *a, struct rx_seen *seen, rx_report_fn *report,
                               void *data);
// Whether messages on standard error may be coloured.
bool rx_load_is_coloured(void);
