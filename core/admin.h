// SPDX-License-Identifier: MIT
// The admin socket: where `refractium status`, `top`, `kill` and their like talk to the running program.
// Lives on the engine thread. The protocol is docs/reference/admin.md.
#pragma once

#include "status.h"

struct rx_admin;

// Opens the socket that the config names, or that of the first listener's port. Failing to is a warning, and tried
// again every second: the one who has the place may be about to end. NULL: switched off, or out of memory.
// The instance is borrowed. Before workers start.
struct rx_admin *rx_admin_new(struct ev_loop *loop, const struct rx_instance *i);
// Gives the place up, for a successor; who is connected stays.
void rx_admin_leave(struct rx_admin *a);
// The open socket and its address, -1: none; a successor is given both.
int rx_admin_socket(const struct rx_admin *a, struct rx_bind *bind);
// The successor has it: as rx_admin_leave, and the file stays.
void rx_admin_hand_on(struct rx_admin *a);
// Whether somebody waits for an answer, or for the rest of one.
bool rx_admin_is_busy(const struct rx_admin *a);
// After the workers were joined.
void rx_admin_free(struct rx_admin *a);

// Where sockets are looked for: directory number i, NULL past the end. buf has PATH_MAX bytes.
const char *rx_admin_directory(unsigned i, char *buf);
