// SPDX-License-Identifier: MIT
// `refractium import`: what a predecessor's config says, as a list of events, for lua/refractium/import.lua.
#pragma once

#include "args.h"

enum rx_import_kind {
    RX_IMPORT_TABLE, // until its END
    RX_IMPORT_LIST,  // until its END
    RX_IMPORT_END,
    RX_IMPORT_STRING,
    RX_IMPORT_NUMBER,
    RX_IMPORT_BOOLEAN, // text is "true" or "false"
    RX_IMPORT_PLAIN,   // YAML without quotes: Lua tells what it is
};

struct rx_import_event {
    enum rx_import_kind kind;
    uint32_t line;        // from 1
    const char *key;      // of an entry of a table; NULL elsewhere; of the arena
    const char *text;     // of the arena
    uint32_t key_len, text_len;
};

enum { RX_IMPORT_ERROR = 200, RX_IMPORT_DEPTH = 64, RX_IMPORT_MOST = 4 * 1024 * 1024 };

struct rx_import {
    struct rx_import_event *events; // of the arena
    uint32_t n, cap;
    struct rx_arena *arena; // borrowed
    uint32_t error_line;
    char error[RX_IMPORT_ERROR];
};

// Readers of one syntax: 0, or -1 with error and error_line. The library is loaded by the first call.
int rx_import_yaml(struct rx_import *in, const char *text, size_t len);
// `@include` looks beside the file, in `dir`. The text is NUL-terminated.
int rx_import_libconfig(struct rx_import *in, const char *text, const char *dir);

// For the readers. `key` may be NULL. -1: out of memory.
int rx_import_add(struct rx_import *in, enum rx_import_kind kind, uint32_t line, const char *key, const char *text,
                  size_t text_len);
int rx_import_fail(struct rx_import *in, uint32_t line, const char *fmt, ...) RX_PRINTF(3, 4); // -1

// The command. Returns the exit code.
int rx_import_run(const struct rx_args *a);
