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
    FILE *errors;               // borrowed
    const char *prefix, *dashes; // of what is said there; static
    const struct rx_conf *conf;
    const struct rx_listen *listen;
    struct rx_input in;
    struct rx_client client;
    struct rx_outcome outcome;
    uint8_t *scratch; // RX_SCRATCH_SIZE; owned
    uint32_t *gram_len; // UDP: the length of each datagram; NULL for TCP; owned

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
// What a function of the config says of this client, asked once more.
struct rx_reply {
    const char *where;          // "refractium.lua:12"
    const char *error;          // NULL: it did not fail
    bool holds;                 // when: true; to: something
    enum rx_verdict verdict;    // identify
    const struct rx_target *to; // to; may be NULL
};
struct rx_reply rx_explain_when(const struct rx_explained *x, const struct rx_route *r, const struct rx_facts *f);
struct rx_reply rx_explain_to(const struct rx_explained *x, const struct rx_route *r, const struct rx_facts *f);
// With facts: the key.
struct rx_reply rx_explain_identify(const struct rx_explained *x, const struct rx_known *known, struct rx_facts *f);
// How a route stands to this client; *f: its facts, valid when its protocol matched.
enum rx_standing {
    RX_STANDS_OTHER,   // another transport, or not asked
    RX_STANDS_NOT,     // another protocol
    RX_STANDS_WAITS,   // its protocol may still come
    RX_STANDS_SILENT,  // waits for silence
    RX_STANDS_SPOKEN,  // it was for silence
    RX_STANDS_FAILS,   // a condition, or its function
    RX_STANDS_UNKNOWN, // a condition is not known yet
    RX_STANDS_TAKES,
    RX_STANDS_WOULD    // an earlier one took it, or one must be waited for
};
enum rx_standing rx_explain_standing(const struct rx_explained *x, const struct rx_route *r, struct rx_facts *f);
// One condition by its number (table.h).
enum rx_verdict rx_explain_condition(const struct rx_explained *x, const struct rx_route *r, unsigned i,
                                     const struct rx_facts *f);
// What the client showed where that condition looks, as text: "" for nothing. buf has RX_SAW bytes.
enum { RX_SAW = 512 };
const char *rx_explain_saw(const struct rx_explained *x, const struct rx_route *r, unsigned i, const struct rx_facts *f,
                           char *buf);

// "1.3" for TLS, "1.1" for HTTP, "2.0" for SSH.
const char *rx_explain_version(const struct rx_known *known, uint16_t version, char buf[16]);

void rx_explain_text(const struct rx_explained *x, FILE *out);
int rx_explain_json(const struct rx_explained *x, FILE *out); // 0 or negative errno
