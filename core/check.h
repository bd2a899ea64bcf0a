// SPDX-License-Identifier: MIT
// What asks the deciders without a socket: the config's own tests and `refractium check`, and `refractium explain`.
#pragma once

#include "args.h"
#include "conf.h"

// Runs every rx.test and sample of the config; each failure is one line to `report`. Returns how many failed.
unsigned rx_check_tests(const struct rx_conf *conf, void (*report)(void *data, const char *line), void *data);
// `refractium check`: the tests, then the routing table, as text or JSON on stdout. Returns the exit code.
int rx_check_run(struct rx_conf *conf, const struct rx_args *a);
// `refractium explain`; conf is NULL with --builtin.
int rx_explain_run(struct rx_conf *conf, const struct rx_args *a);
