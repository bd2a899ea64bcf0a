// SPDX-License-Identifier: MIT
// The decider: (listener, first bytes, client) → route. Pure: no fd, no clock, no dice, no allocation; the live
// path, `check`, `explain`, tests and fuzzers all call rx_decide.
#pragma once

#include "conf.h"
#include "proto.h"

// Why no more bytes will come; RX_OPEN while they may.
enum rx_ended {
    RX_OPEN = 0,
    RX_ENDED_EOF,     // the client half-closed
    RX_ENDED_FULL,    // peek_buffer_size reached
    RX_ENDED_TIMEOUT, // peek_timeout passed
};

struct rx_proxied;

struct rx_ask {
    const uint8_t *p;
    uint32_t n;
    enum rx_ended ended;
    const union rx_ip *from;
    uint16_t to_port;
    const struct rx_proxied *proxied; // what a PROXY header said; NULL: nothing
    uint8_t *scratch;   // RX_SCRATCH_SIZE bytes; borrowed
    struct rx_script *script; // runs the functions of the config; NULL: there are none
    uint64_t id;              // the connection's, for those functions
    uint32_t also_want; // facts wanted beyond what routes ask for (the access log, explain)
    uint32_t week_minute; // local time, for `during` (during.h)
    const uint32_t *gram_len; // UDP: the length of each datagram in p; borrowed
    uint32_t n_grams;         // TCP: 0
    bool is_udp;              // also where none of them is shown
};

struct rx_decision {
    enum rx_verdict verdict;      // MATCH: `route`; MORE: `need`; NO: the fallback
    const struct rx_route *route; // borrowed from the generation; NULL with MATCH: the listener's identify said where to
    const struct rx_target *to;   // with MATCH: the route's, or what a function said; borrowed like the route
    uint32_t need;                // with MORE: asking again is idle before this many bytes
    enum rx_note note;            // why bytes that looked like a protocol were not taken for it
    const struct rx_known *seen;  // the protocol recognised, also when no route takes it; NULL: none
    struct rx_facts facts;        // valid with `seen`: what it said
};

// Whether its `during` holds at this minute of the week.
bool rx_route_is_during(const struct rx_route *r, uint32_t week_minute);
enum rx_verdict rx_decide(const struct rx_listen *listen, const struct rx_ask *ask, struct rx_decision *out);

// Whether one route's conditions hold. MORE: a fact it needs is still pending.
enum rx_verdict rx_route_holds(const struct rx_route *r, const struct rx_facts *f, const struct rx_ask *ask);
// The same for a route that rx_names_find, or the list of those it does not know, has brought up.
enum rx_verdict rx_route_holds_listed(const struct rx_route *r, const struct rx_facts *f, const struct rx_ask *ask);
// Whether its conditions on the client and the time hold, which are known from the first moment.
bool rx_route_admits(const struct rx_route *r, const struct rx_ask *ask);
// The name fact (sni, host, qname) that a protocol's routes are told apart by; 0 when it has none.
uint32_t rx_name_fact(const struct rx_known *known);
const struct rx_text *rx_fact_text(const struct rx_facts *f, uint32_t fact);

// Why nothing matched, as a word for logs and metrics.
const char *rx_ended_word(enum rx_ended ended);
