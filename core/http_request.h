// SPDX-License-Identifier: MIT
// What the files of the HTTP port share.
#pragma once

#include <ev.h>
#include <microhttpd.h>

#include "http.h"
#include "round.h"

enum { RX_HTTP_BODY = 16 * 1024, RX_HTTP_WAITING = 16 };

struct rx_http {
    struct ev_loop *loop;              // borrowed, as is the next
    const struct rx_instance *instance;
    struct MHD_Daemon *daemon;         // owned
    struct rx_addr wanted;             // where it listens, as configured
    ev_io io;
    ev_timer timer;
    struct rx_rounds rounds;
    struct rx_http_ask *waiting;       // list
    unsigned n_waiting;
    bool is_closing;
    char policy[512]; // of the page, as Content-Security-Policy
};

// A request on its way.
struct rx_http_ask {
    struct rx_http *http;         // borrowed
    struct MHD_Connection *link;  // borrowed
    char *body;                   // owned
    size_t n_body;
    struct rx_round *round;       // borrowed; while it waits for this the link is suspended
    struct rx_http_ask *next, *prev; // in http->waiting, with `round`
    char *text;                   // owned: what came of it
    size_t len;
};

// For microhttpd; data: the struct rx_http.
enum MHD_Result rx_http_on_request(void *data, struct MHD_Connection *c, const char *path, const char *method,
                                   const char *version, const char *body, size_t *n_body, void **state);
void rx_http_on_done(void *data, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode why);
// Nobody is waited for any more; who waits is told so when the daemon runs next.
void rx_http_give_up(struct rx_http *h);
// Lets the daemon work on what has become possible.
void rx_http_serve(struct rx_http *h);

// http_gate.c: who may ask. Whether Host names this port in a way that no stranger's web site could; whether the token
// was shown, where there is one.
bool rx_http_is_host(const char *host, const char *names);
bool rx_http_is_token(const char *authorization, const char *token);
// The page's Content-Security-Policy: its own script and style, by their digests, and nothing else. -1: no such page.
int rx_http_policy(const char *page, size_t len, char *policy, size_t size);
