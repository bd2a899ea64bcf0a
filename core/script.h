// SPDX-License-Identifier: MIT
// The door to Lua. script.c is the only file that includes lua.h.
#pragma once

#include "args.h"
#include "build.h"

// Loads the config file (when there is one) and the command line's wishes into a generation. NULL when anything
// was wrong; every finding went to `report`. The caller owns one reference.
struct rx_conf *rx_script_load(const struct rx_args *a, rx_report_fn *report, void *data);
// The text of the default refractium.lua, as `init` writes it.
const char *rx_script_template(size_t *len);
