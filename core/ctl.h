// SPDX-License-Identifier: MIT
// The commands that talk to a running instance over its admin socket.
#pragma once

#include <jansson.h>

#include "args.h"

// Does what a->command says; the exit code.
int rx_ctl_run(const struct rx_args *a);

// ---- what its files share -------------------------------------------------------------------------------------------

// A connection to an instance.
struct rx_ctl {
    int fd; // owned
    char path[108];
    const char *word; // the command, for messages
    char *buf;        // owned
    size_t len, cap;
};

// Finds the instance that -p, -c or --admin mean and connects to it. 0, or the exit code after a message.
int rx_ctl_open(struct rx_ctl *c, const struct rx_args *a);
void rx_ctl_close(struct rx_ctl *c);
// The answer, the caller's; NULL after a message when the instance has gone. Takes over the reference to `request`.
json_t *rx_ctl_ask(struct rx_ctl *c, json_t *request);
// The result in an answer, or NULL after its error was printed; *code is the exit code then.
const json_t *rx_ctl_result(const struct rx_ctl *c, const json_t *answer, int *code);

const char *rx_ctl_text(const json_t *object, const char *key); // "" when there is none
uint64_t rx_ctl_number(const json_t *object, const char *key);
// "1.5M"; "3m12s". Return buf.
char *rx_ctl_bytes(uint64_t n, char buf[16]);
char *rx_ctl_span(uint64_t ms, char buf[16]);

void rx_ctl_print_status(const json_t *status);
int rx_ctl_top(struct rx_ctl *c, const struct rx_args *a);
