// SPDX-License-Identifier: MIT
// Writes JSON: escaping, nesting and commas. There is no reader.
#pragma once

#include <stdio.h>

#include "base.h"

enum { RX_JSON_DEPTH = 31 };

// All zero is a fresh one. Running out of memory is remembered and told by rx_json_write.
struct rx_json {
    char *text; // owned
    size_t len, cap;
    uint32_t has_item; // by depth: whether a comma is due
    unsigned depth;
    char close[RX_JSON_DEPTH]; // by depth: the bracket that is due
    bool is_after_key, is_broken;
};

void rx_json_open(struct rx_json *j, char bracket); // '{' or '['
void rx_json_close(struct rx_json *j);              // the innermost one
void rx_json_key(struct rx_json *j, const char *key);
// Bytes of any origin: what is not UTF-8 becomes U+FFFD, one for each maximal broken part.
void rx_json_text(struct rx_json *j, const void *bytes, size_t len);
void rx_json_string(struct rx_json *j, const char *s); // NULL: null
void rx_json_number(struct rx_json *j, uint64_t v);
void rx_json_bool(struct rx_json *j, bool v);
void rx_json_null(struct rx_json *j);

// What there is, and a newline: *text is the caller's to free. 0 or -ENOMEM. Leaves a fresh one.
int rx_json_take(struct rx_json *j, char **text, size_t *len);
// Writes what there is and a newline; 0 or negative errno. Frees the text in any case.
int rx_json_write(struct rx_json *j, FILE *out);
void rx_json_free(struct rx_json *j);
