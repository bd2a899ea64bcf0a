// SPDX-License-Identifier: MIT
// The side of a program that takes another one's place: it was started by it, has its listening sockets before it opens
// any, and its connections before it serves (docs/decisions/0015). In every other program all of this does nothing. The
// engine thread's alone.
#pragma once

#include "conf.h"

struct rx_worker;

// First of all: whether there is one to follow, from the environment.
void rx_heir_begin(void);
bool rx_heir_is(void);
// What is wrong with the config, for who asked for the upgrade.
void rx_heir_tell(unsigned severity, const char *text, size_t len);
// Asks for the listening sockets. 0, or negative: it cannot be followed. One that has ended meanwhile is no reason not to
// serve.
int rx_heir_ask(void);
// Those of this address, at most n, and its file's identity; how many there were. The others come by rx_heir_more: -1, no
// more.
unsigned rx_heir_take(struct rx_bind *b, int *fds, unsigned n);
int rx_heir_more(void);
// Ready to serve: takes the connections over. From then on nobody else does; on an error (negative) we must not.
int rx_heir_succeed(struct rx_worker *workers, unsigned n_workers);
void rx_heir_end(void);
