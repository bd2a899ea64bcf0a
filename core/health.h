// SPDX-License-Identifier: MIT
// Active health checks, on the engine's thread: every backend of a pool with `health` is asked again and again, all of
// them side by side, and what comes of it is written to its state. A check lives as long as some served config wants it:
// a reload that leaves a pool's `health` and an address as they were leaves the check, and what it knows, alone.
#pragma once

#include <ev.h>

#include "conf.h"

struct rx_health_watch;
struct rx_script;

// NULL when out of memory.
struct rx_health_watch *rx_health_new(struct ev_loop *loop);
void rx_health_free(struct rx_health_watch *h);
// Backends of these (the second may be NULL) are checked from now on, others no longer.
void rx_health_serve(struct rx_health_watch *h, struct rx_conf *conf, struct rx_conf *tried);
// Rosters have changed: looked at soon.
void rx_health_refresh(struct rx_health_watch *h);

const char *rx_health_kind_word(enum rx_check_kind kind);

// ---- what an answer means (health_answer.c) -------------------------------------------------------------------------

enum rx_judgement {
    RX_JUDGED_GOOD,
    RX_JUDGED_BAD,  // and why
    RX_JUDGED_MORE, // more bytes may tell
    RX_JUDGED_NOT,  // nothing can be said of the backend: the function that should have judged failed
};

enum { RX_HEALTH_BYTES = 64 * 1024 }; // of an answer are looked at

// What the bytes that came so far say; is_over: no more will come, and then it is never MORE. `s` is for functions.
enum rx_judgement rx_health_judge(const struct rx_health_rule *r, struct rx_script *s, const uint8_t *p, uint32_t n,
                                  bool is_over, char why[RX_HEALTH_WHY]);
// Whether a rule asks for an answer at all; without one it is enough to be connected.
bool rx_health_wants_answer(const struct rx_health_rule *r);
// What to say to a backend, into buf: its length, 0 for nothing, -1 when it does not fit.
int rx_health_request(const struct rx_health_rule *r, const char *backend, char *buf, size_t size);

// ---- one look (health_probe.c) --------------------------------------------------------------------------------------

struct ssl_ctx_st;
struct ssl_st;

struct rx_probe {
    struct ev_loop *loop;              // borrowed, as is the next
    const struct rx_health_rule *rule; // may be exchanged for an equal one while the probe is on its way
    struct rx_script *script;          // for its function; borrowed likewise
    void (*done)(struct rx_probe *p, enum rx_judgement j, const char *why); // once; the probe has ended then
    ev_io io;           // io.fd: owned; -1: no probe is on its way
    struct ssl_st *ssl; // owned; NULL: no TLS
    char *request;      // owned
    uint32_t request_len, sent;
    uint8_t *answer; // owned
    uint32_t len, cap;
    uint8_t preface[64]; // a PROXY header, sent before all else
    uint32_t preface_len, prefaced;
    bool is_connected, is_secure;
};

// Begins; may call done at once. The pool says what to connect from, and whether its backends want a PROXY header; `tls`
// is needed for checks with TLS.
void rx_probe_start(struct rx_probe *p, const struct rx_backend_state *s, const struct rx_pool *pool,
                    struct ssl_ctx_st *tls);
// The time is over: what has come is judged, and done is called.
void rx_probe_expire(struct rx_probe *p);
// Ends without calling done.
void rx_probe_stop(struct rx_probe *p);
// A context for such checks; NULL when out of memory.
struct ssl_ctx_st *rx_probe_tls(bool is_verified);
