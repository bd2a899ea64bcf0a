// SPDX-License-Identifier: MIT
// What asks the deciders without a socket: the config's own tests and `refractium check`, and `refractium explain`.
#pragma once

#include <stdio.h>

#include "args.h"
#include "conf.h"

// What loading a config had to say, kept so that it can be shown together, as text or as JSON.
struct rx_finding {
    unsigned severity; // enum rx_report
    char *text;        // owned
};

struct rx_findings {
    struct rx_finding *list; // owned
    unsigned n;
};

void rx_findings_add(void *findings, unsigned severity, const char *text, size_t len); // an rx_report_fn
void rx_findings_print(const struct rx_findings *f, FILE *out, bool is_coloured);
void rx_findings_free(struct rx_findings *f);

// Runs every rx.test and sample of the config; each failure is one line to `report`. Returns how many failed.
unsigned rx_check_tests(const struct rx_conf *conf, void (*report)(void *data, const char *line), void *data);
// `refractium check`: the findings, the tests and the routing table, as text or JSON on stdout. `conf` is NULL when
// it did not load. Adds to the findings. Returns the exit code.
int rx_check_run(struct rx_conf *conf, const struct rx_args *a, struct rx_findings *f);
// `refractium explain`; conf is NULL with --builtin. Returns the exit code.
int rx_explain_run(struct rx_home *home, struct rx_conf *conf, const struct rx_args *a);
// The same of bytes at hand and a generation that is served: leaves no trace in it. For the one thread that may use its
// first script, the engine's. 0, or 1 with one line about what is wrong; either goes to `out`.
int rx_explain_bytes(struct rx_conf *conf, const struct rx_args *a, const uint8_t *p, size_t n, FILE *out);
