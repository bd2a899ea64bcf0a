// SPDX-License-Identifier: MIT
// What explain.c found out, for its two ways of telling it (explain_text.c, explain_json.c).
#pragma once

#include <stdio.h>

#include "args.h"
#include "identify.h"
#include "input.h"
#include "rehearse.h"
#include "script.h"

// One matcher, as it was asked.
struct rx_tried {
    const struct rx_entry *entry; // borrowed from the generation
    enum rx_verdict verdict;
    uint32_t bytes; // the shortest beginning for which the verdict was final; with RX_MORE all there was
};

struct rx_explained {
    const struct rx_args *args;
    const struct rx_listen *listen;
    struct rx_input in;
    struct rx_client client;
    struct rx_outcome outcome;
    uint8_t *scratch; // RX_SCRATCH_SIZE; owned

    struct rx_said_of of;   // what the listener's identify says of these bytes; RX_SAID_NOTHING without one
    struct rx_tried *tried; // owned; in the order of the routes
    uint32_t n_tried;
    const struct rx_known *seen; // what it was recognised as; NULL: nothing
    struct rx_facts facts;       // with `seen`: what all the bytes told
    const struct rx_backend *backend;
};

// What matcher `e` says of the first n bytes.
enum rx_verdict rx_explain_ask(const struct rx_explained *x, const struct rx_entry *e, uint32_t n,
                               struct rx_facts *f);
// "1.3" for TLS, "1.1" for HTTP, "2.0" for SSH.
const char *rx_explain_version(const struct rx_known *known, uint16_t version, char buf[16]);

void rx_explain_text(const struct rx_explained *x, FILE *out);
int rx_explain_json(const struct rx_explained *x, FILE *out); // 0 or negative errno
