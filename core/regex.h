// SPDX-License-Identifier: MIT
// Regular expressions for conditions and for functions of the config: PCRE2 with limits, because what they run on
// comes from clients.
#pragma once

#include "base.h"

enum {
    RX_REGEX_CASELESS = 1, // names and software are compared so
    RX_REGEX_GROUPS = 2    // groups will be asked for, so there may be no more than can be shown
};

enum { RX_REGEX_SPANS = 10 }; // the whole match and at most so many - 1 groups

struct rx_regex;

// NULL with a reason in err[128] when it does not compile.
struct rx_regex *rx_regex_new(const char *pattern, size_t len, unsigned flags, char err[128]);
void rx_regex_free(struct rx_regex *r);
// False also when a limit ends the search.
bool rx_regex_has(const struct rx_regex *r, const uint8_t *text, size_t len);
// The first match at or after `from`: how many spans there are, spans[2 * i] and spans[2 * i + 1] being begin and end of
// the i-th (UINT32_MAX both for a group that took no part); 0: no match; -1: ended by a limit. `until_ns` (rx_sys_now_ns)
// ends a search that needs more than one look at the clock.
int rx_regex_find(const struct rx_regex *r, const uint8_t *text, size_t len, size_t from, uint64_t until_ns,
                  uint32_t spans[2 * RX_REGEX_SPANS]);
