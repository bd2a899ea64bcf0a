// SPDX-License-Identifier: MIT
// The pit: where clients whom a limit keeps out are held, when the config says tarpit. They are not connections: nothing
// is read of them or said to them, and each worker holds so many, so long, and no more.
#pragma once

#include "base.h"

struct rx_worker;

enum { RX_PIT_GUESTS = 256, RX_PIT_MS = 30 * 1000 };

// Takes the descriptor over. When the pit is full the one who is in it longest leaves, by a reset.
void rx_pit_take(struct rx_worker *w, int fd);
// All leave: descriptors are needed, or the worker ends.
void rx_pit_empty(struct rx_worker *w);
void rx_pit_free(struct rx_worker *w);
