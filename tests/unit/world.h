// SPDX-License-Identifier: MIT
// What tests of the deciders share: a config built through the door, as an embedder would, and first bytes worth
// deciding on.
#pragma once

#include "build.h"
#include "conf.h"
#include "route.h"

// ---- a config -----------------------------------------------------------------------------------------------------

struct draft {
    struct rx_build *b;
    int listen;        // the listener routes are added to
    char said[2048];   // what was reported, line by line
    unsigned n_errors; // how many of those lines are errors
};

struct rx_slice world_slice(const char *text);

void draft_begin(struct draft *d);                                           // one listener on 127.0.0.1:0
void draft_begin_with(struct draft *d, const struct rx_listen_spec *listen); // the same with these settings
int draft_builtin(struct draft *d, const char *name);
int draft_prefixes(struct draft *d, const char *name, ...);                  // prefixes, then NULL
int draft_patterns(struct draft *d, const char *name, uint32_t within, ...); // patterns, then NULL
int draft_pool(struct draft *d, const char *addr, ...);                      // addresses, then NULL
void draft_cond(struct draft *d, int route, enum rx_cond cond, const char *value);
// A route that drops; then pairs of condition and text, and -1.
int draft_route(struct draft *d, int proto, ...);
int draft_route_spec(struct draft *d, const struct rx_route_spec *spec);
int draft_route_to_pool(struct draft *d, int proto, int pool);
struct rx_conf *draft_finish(struct draft *d);        // the config, or the test fails
void draft_refused(struct draft *d, const char *why); // the config must be refused in these words

// ---- a question ---------------------------------------------------------------------------------------------------

struct world_client {
    const char *from; // NULL: 192.0.2.1
    uint16_t to_port; // 0: 8080
    enum rx_ended ended;
    uint32_t also_want; // facts beyond what routes ask for
};

// Decides on a copy that ends where its memory ends. Facts can be read until the call after the next.
struct rx_decision world_decide(const struct rx_conf *conf, const struct world_client *who, const void *p, size_t n);

// The route's place in the listener, or one of these.
enum { WORLD_NONE = -1, WORLD_MORE = -2 };
int world_place(const struct rx_decision *d);
int world_route(const struct rx_conf *conf, const char *text); // an open connection that said `text`
int world_route_n(const struct rx_conf *conf, const void *p, size_t n);
int world_route_ended(const struct rx_conf *conf, const char *text, enum rx_ended ended);

struct world_hello {
    const char *sni;     // NULL: no extension
    const char *alpn[4]; // up to the first NULL
    bool has_ech;
    unsigned padding; // bytes of an extension without meaning
    unsigned record;  // bytes of the message in each record; 0: all in one
};

// A TLS ClientHello; returns its length.
size_t world_hello(const struct world_hello *h, uint8_t *buf, size_t size);
// A DNS query over TCP for one name.
size_t world_query(const char *name, uint16_t type, uint8_t *buf, size_t size);
