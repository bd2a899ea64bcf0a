// SPDX-License-Identifier: MIT
// DNS types by name and number.
#pragma once

#include "base.h"

// "AAAA", "TYPE28" (RFC 3597 5) or "28", in any case; -1 when it is none of these.
int rx_qtype_number(const char *text);
// "AAAA", or "TYPE12345" for those without a name here. Returns buf, or a constant.
const char *rx_qtype_name(uint16_t qtype, char buf[16]);
