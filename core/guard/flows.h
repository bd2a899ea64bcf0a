// SPDX-License-Identifier: MIT
// The kernel's connection tracking: UDP flows of addresses that were put out.
#pragma once

#include "sockdiag.h"

// Deletes the entries of UDP flows these addresses began to these ports. How many, or negative errno.
int rx_flows_delete(const struct rx_cidr *who, size_t n, const struct rx_ports *ports);
