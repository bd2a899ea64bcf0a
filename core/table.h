// SPDX-License-Identifier: MIT
// Routes, targets and conditions in words, for `check` and `explain`.
#pragma once

#include <stdio.h>

#include "conf.h"
#include "qtype.h"
#include "json.h"

// Every kind of condition a route can have; the name is the one users write.
enum { RX_CONDITIONS = 12 };

// Name of condition number i of this route; NULL when the route does not have it.
const char *rx_condition_name(const struct rx_route *r, unsigned i);
// A copy of the route with that condition alone (shares what it points to), so that it can be asked about it.
struct rx_route rx_condition_alone(const struct rx_route *r, unsigned i);
uint32_t rx_condition_count(const struct rx_route *r, unsigned i);
// Value number k as written; buf has room for those that have to be printed.
const char *rx_condition_value(const struct rx_route *r, unsigned i, uint32_t k, char buf[RX_ADDR_TEXT]);
// "sni=a.test,*.b.test alpn=h2"; long lists are cut.
void rx_conditions_print(const struct rx_route *r, FILE *out);

// `web: 10.0.0.1:80, 10.0.0.2:80 weight 2`, `respond "hello"`, `drop`
void rx_target_print(const struct rx_target *t, FILE *out);
void rx_target_json(const struct rx_target *t, struct rx_json *j);


// The listeners with their routes.
void rx_table_print(const struct rx_conf *conf, FILE *out);
void rx_table_json(const struct rx_conf *conf, struct rx_json *j); // an array
