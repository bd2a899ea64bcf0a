// SPDX-License-Identifier: MIT
// The HTTP port for whoever watches the program: the dashboard, /metrics, /status.json, /flows.json,
// /explain, /healthz, /readyz. On the engine thread.
#pragma once

#include <ev.h>

#include "status.h"

struct rx_http;

// Serves the address that the config names. 0 and NULL when it names none, or negative errno after a line in the log.
int rx_http_new(struct rx_http **out, struct ev_loop *loop, const struct rx_instance *i);
// The listening socket and its address as configured, -1: none; a successor is given both.
int rx_http_socket(const struct rx_http *h, struct rx_bind *bind);
void rx_http_leave(struct rx_http *h); // the successor has it
void rx_http_free(struct rx_http *h); // NULL is fine
