// SPDX-License-Identifier: MIT
// How often something may happen: so many times a second on average, and so many at once after a rest.
#pragma once

#include <stdatomic.h>

#include "addr.h"

// As the config says it. cost_ns 0: no limit.
struct rx_rate {
    uint64_t cost_ns;  // one of them for each so long
    uint64_t depth_ns; // how much of that may be drawn ahead
    uint32_t count, per_ms, burst; // as written, for who reads
};

enum { RX_RATE_DEPTH_MAX_S = 3600 }; // the most that depth_ns may be

// `count` in per_ms, `burst` at once (0: count).
struct rx_rate rx_rate_of(uint32_t count, uint32_t per_ms, uint32_t burst);

// One rate for all who share it. Zeroed it is fresh. From any thread.
struct rx_meter {
    atomic_ullong drawn_ns; // drawn up to then
};

bool rx_meter_take(struct rx_meter *m, const struct rx_rate *r, uint64_t now_ns);
// Bytes: draws as many of `want` as `per_s` allows by now, with `depth_ns` ahead; maybe none.
uint64_t rx_meter_draw(struct rx_meter *m, uint64_t per_s, uint64_t depth_ns, uint64_t want, uint64_t now_ns);
// Bytes that have gone already, however many.
void rx_meter_charge(struct rx_meter *m, uint64_t per_s, uint64_t bytes, uint64_t now_ns);
// Gives back what was drawn and not used.
void rx_meter_return(struct rx_meter *m, uint64_t per_s, uint64_t bytes);
// How long until `bytes` can be drawn at once.
uint64_t rx_meter_wait_ns(struct rx_meter *m, uint64_t per_s, uint64_t depth_ns, uint64_t bytes, uint64_t now_ns);

// A rate for each client address, in a table of fixed size. When it is too small for the crowd those are forgotten who
// are closest to a full rest; they may come a little more often then, never less.
struct rx_rates;

enum { RX_RATES_MEMORY = 512 * 1024 };

struct rx_rates *rx_rates_new(void);
void rx_rates_free(struct rx_rates *t);
// Whether this client may once more; v6_bits make one IPv6 client. One without an address always may. From any thread.
bool rx_rates_take(struct rx_rates *t, const union rx_ip *ip, uint32_t v6_bits, const struct rx_rate *r,
                   uint64_t now_ns);
