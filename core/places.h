// SPDX-License-Identifier: MIT
// What a name stands for.
#pragma once

#include "addr.h"

// What one member of a pool stands for at present: the answer to a name. Sorted by rank, then address.
struct rx_place {
    struct rx_addr addr;
    uint32_t rank;   // SRV: its priority, as 0, 1, 2, …
    uint32_t weight; // SRV; else 1
    char name[264];  // SRV: "host:port"; else ""
};

struct rx_places {
    struct rx_place *list; // owned
    uint32_t n;
};

// In an order that does not depend on the server's, each address once, ranks without gaps.
void rx_places_normalise(struct rx_places *p);
bool rx_places_are_same(const struct rx_places *a, const struct rx_places *b); // both normalised
