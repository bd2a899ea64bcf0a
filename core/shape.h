// SPDX-License-Identifier: MIT
// How fast a connection's bytes may go when its route has a `rate` or a `rate_total`. Each direction has its own.
#pragma once

#include "conn.h"

// For a route with rates; c->shape is NULL without, and then nothing here is called. `len` first bytes have come already
// and are on the account. 0 or -ENOMEM.
int rx_shape_begin(struct rx_conn *c, uint32_t len);
void rx_shape_free(struct rx_conn *c);
// How many of `want` bytes may be read now. 0: none; the direction is paused, and rx_weld_resume is called when some may.
size_t rx_shape_allow(struct rx_conn *c, enum rx_direction dir, size_t want);
// That many of what was allowed were not there.
void rx_shape_return(struct rx_conn *c, enum rx_direction dir, size_t n);
