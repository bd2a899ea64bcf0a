// SPDX-License-Identifier: MIT
// How every identifier is tried, by unit tests and fuzzers alike: inputs end flush against a page that
// faults, the facts start as garbage, and the contract of core/proto.h is checked for every prefix asked
// about.
#pragma once

#include "proto.h"

enum { IDENT_MAX = 256 * 1024 };

// What one call gave. Texts point into the guarded copies and live until the call after the next.
struct ident_result {
    enum rx_verdict verdict;
    struct rx_facts f;
};

// Asks once (in fact twice, with other garbage in the facts: an identifier is a pure function).
struct ident_result ident_ask(const struct rx_proto *proto, const void *p, uint32_t n, uint32_t want);

// Asks about the prefixes 0 … n, leaving some out beyond 1500, and checks what holds between them. NULL, or
// what was broken (static; with the prefix it was seen at). `last` gets what was said of all n bytes.
const char *ident_law(const struct rx_proto *proto, const void *p, uint32_t n, uint32_t want,
                      struct ident_result *last);

// Asks about the given ascending prefixes only.
const char *ident_law_at(const struct rx_proto *proto, const void *p, const uint32_t *at, uint32_t n_at,
                         uint32_t want, struct ident_result *last);

// A text fact; NULL if that fact is not a text.
const struct rx_text *ident_text(const struct rx_facts *f, uint32_t fact);

// Whether a fact is present and has this value.
bool ident_is(const struct ident_result *r, uint32_t fact, const char *value);

// The same for UDP: p holds n datagrams one after another, len[i] bytes each; the law is checked after each of them.
struct ident_result ident_ask_grams(const struct rx_proto *proto, const void *p, const uint32_t *len, uint32_t n,
                                    uint32_t want);
const char *ident_law_grams(const struct rx_proto *proto, const void *p, const uint32_t *len, uint32_t n,
                            uint32_t want, struct ident_result *last);
