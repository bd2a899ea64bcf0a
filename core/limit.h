// SPDX-License-Identifier: MIT
// How many connections each client address has: bounded by the number of live connections, whoever they are.
#pragma once

#include "addr.h"

struct rx_limit;

struct rx_limit *rx_limit_new(uint32_t per_ip, uint32_t ipv6_prefix);
void rx_limit_free(struct rx_limit *l);
// Takes one place for this address; false when it has `per_ip` already (then nothing was taken). A client without
// an address (unix socket) always gets one.
bool rx_limit_take(struct rx_limit *l, const union rx_ip *ip);
void rx_limit_give(struct rx_limit *l, const union rx_ip *ip);
