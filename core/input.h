// SPDX-License-Identifier: MIT
// What `refractium explain` is given: a client's first bytes from files, standard input or a capture.
#pragma once

#include "addr.h"
#include "args.h"

enum { RX_INPUT_ERROR = 256, RX_INPUT_MOST = 8 * 1024 * 1024 };

struct rx_input {
    uint8_t *bytes; // owned
    uint32_t len;
    uint32_t *cuts; // owned: where each segment ends, ascending; the last is `len`
    uint32_t n_cuts;

    // from a capture
    bool is_captured;
    bool is_server_first; // the server spoke before the client did
    bool has_gap;         // bytes are missing behind the last one
    union rx_ip client, server;
};

// 0, or -1 with one line in err.
int rx_input_read(struct rx_input *in, const struct rx_args *a, char err[RX_INPUT_ERROR]);
void rx_input_free(struct rx_input *in);

// For the readers: adds bytes, and ends a segment there. 0 or -1 when memory or RX_INPUT_MOST is exceeded.
int rx_input_append(struct rx_input *in, const uint8_t *p, size_t n);
int rx_input_cut(struct rx_input *in);

// Decodes hexadecimal text; white space, commas, colons, "0x" and "\x" may stand between bytes. Returns how many
// bytes were written to out (which needs n / 2), or -1 with *at where it went wrong and *why.
long rx_hex_decode(const char *text, size_t n, uint8_t *out, size_t *at, const char **why);

// The client's bytes of the first TCP flow in a capture (capture.c).
int rx_capture_read(struct rx_input *in, const char *path, char err[RX_INPUT_ERROR]);
