// SPDX-License-Identifier: MIT
// Regular expressions for conditions: PCRE2 with a match limit, because what they run on comes from clients.
#pragma once

#include "base.h"

struct rx_regex;

// NULL with a reason in err[128] when it does not compile. Case is ignored: names and software are compared so.
struct rx_regex *rx_regex_new(const char *pattern, size_t len, char err[128]);
void rx_regex_free(struct rx_regex *r);
// False also when the match limit ends the search.
bool rx_regex_has(const struct rx_regex *r, const uint8_t *text, size_t len);
