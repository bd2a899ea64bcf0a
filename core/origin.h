// SPDX-License-Identifier: MIT
// Addresses to connect from, as a pool names them: single ones, ranges and blocks of this machine's.
#pragma once

#include "addr.h"

struct rx_origin {
    uint8_t family;
    uint8_t low[16]; // network order; IPv4 in the first four
    uint32_t n;      // this one and those after it
};

struct rx_origins {
    struct rx_origin *list;
    uint32_t n;
    uint32_t n_v4, n_v6; // addresses, in all of the list
};

// "10.0.0.1", "10.0.0.1-10.0.0.9" or "10.0.0.0/28"; of a larger block the first 65536. 0, or -1 with why in
// err[RX_ADDR_TEXT].
int rx_origin_parse(const char *text, struct rx_origin *out, char *err);
uint32_t rx_origins_count(const struct rx_origins *s, int family);
// Address number `turn`, round and round; port 0. There must be one of that family.
void rx_origins_pick(const struct rx_origins *s, int family, uint32_t turn, union rx_ip *out);
