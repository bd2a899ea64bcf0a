// SPDX-License-Identifier: MIT
// One line of the admin socket, read: docs/reference/admin.md has the words.
#pragma once

#include "flow.h"
#include "log.h"

enum { RX_REQUEST_LINE = 4096, RX_REQUEST_TEXT = 256, RX_REQUEST_FILE = 1024, RX_REQUEST_ERROR = 256 };

// X(identifier, word, members it may have, members it must have)
#define RX_REQUEST_LIST(X)                                                                                   \
    X(HELLO, "hello", 0, 0)                                                                                  \
    X(STATUS, "status", 0, 0)                                                                                \
    X(TOP, "top", RX_HAS_SORT | RX_HAS_FILTER | RX_HAS_LIMIT, 0)                                             \
    X(KILL, "kill", 0, RX_HAS_CONN)                                                                          \
    X(RELOAD, "reload", 0, 0)                                                                                \
    X(UPGRADE, "upgrade", 0, 0)                                                                              \
    X(LOG, "log", RX_HAS_LEVEL, 0)                                                                           \
    X(BAN, "ban", RX_HAS_TTL, RX_HAS_IP)                                                                     \
    X(UNBAN, "unban", 0, RX_HAS_IP)                                                                          \
    X(DRAIN, "drain", 0, RX_HAS_BACKEND)                                                                     \
    X(UNDRAIN, "undrain", 0, RX_HAS_BACKEND)                                                                 \
    X(RECORD, "record", 0, RX_HAS_FILE)                                                                      \
    X(RECORD_STOP, "record_stop", 0, 0)

enum rx_request_kind {
#define X(id, word, may, must) RX_REQUEST_##id,
    RX_REQUEST_LIST(X)
#undef X
        RX_REQUEST_COUNT
};

enum rx_request_member {
    RX_HAS_CONN = 1,
    RX_HAS_LEVEL = 2,
    RX_HAS_SORT = 4,
    RX_HAS_FILTER = 8,
    RX_HAS_LIMIT = 16,
    RX_HAS_IP = 32,
    RX_HAS_TTL = 64,
    RX_HAS_BACKEND = 128,
    RX_HAS_FILE = 256,
};

struct rx_request {
    enum rx_request_kind kind;
    unsigned has; // enum rx_request_member
    uint64_t conn;
    enum rx_level level;
    struct rx_flow_query flows;
    struct rx_cidr ip;
    char backend[RX_REQUEST_TEXT], file[RX_REQUEST_FILE];
    uint64_t ttl_ms; // an hour when it was not said
};

// 0, or -1 with words for who asked, printable, in error[RX_REQUEST_ERROR]. Pure.
int rx_request_parse(const char *line, size_t len, struct rx_request *r, char *error);
