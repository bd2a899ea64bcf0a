// SPDX-License-Identifier: MIT
// Which client an address stands for when clients are counted.
#pragma once

#include "addr.h"

// *hash: of the address, of IPv6 its first v6_bits. Seeded at start: who owns many addresses cannot make them collide.
// False for a client without an address (unix socket).
bool rx_whom_hash(const union rx_ip *ip, uint32_t v6_bits, uint64_t *hash);
