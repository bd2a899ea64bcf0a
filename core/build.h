// SPDX-License-Identifier: MIT
// Building a generation. Lua reaches these through struct rx_door, an embedder through refractium.h.
#pragma once

#include "conf.h"

// `report` receives every finding (enum rx_report) as one line of text.
typedef void rx_report_fn(void *data, unsigned severity, const char *text, size_t len);

// What outlives generations is found, or made, in `home`, which outlives this one.
struct rx_build *rx_build_new(struct rx_home *home, rx_report_fn *report, void *data);
void rx_build_free(struct rx_build *b); // also after a finish
// Compiles what was declared. NULL when anything was wrong (reported). The caller owns one reference.
struct rx_conf *rx_build_finish(struct rx_build *b, const char *file);
// A text the config was made from; kept with the generation. 0 or -1.
int rx_build_source(struct rx_build *b, const char *path, const char *text, size_t len);
uint32_t rx_build_functions(const struct rx_build *b);
unsigned rx_build_errors(const struct rx_build *b);
void rx_build_report(struct rx_build *b, unsigned severity, const char *fmt, ...) RX_PRINTF(3, 4);

extern const struct rx_door rx_door;
