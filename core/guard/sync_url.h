// SPDX-License-Identifier: MIT
// Where the Redis is that several nodes share.
#pragma once

#include "base.h"

enum { RX_SYNC_URL_WHY = 160 };

struct rx_sync_url {
    char host[256]; // "": a unix socket
    char path[108]; // of that
    char user[128]; // "": none
    char password[256];
    char prefix[64]; // of its keys
    uint16_t port;
    uint32_t db;
    char shown[400]; // without user and password
};

// "redis://[user:password@]host[:port][/db][?prefix=x]" or "unix:[//[user:password@]]/path[?db=n&prefix=x]". 0, or -1
// with words in `why` that show nothing of the text but names of parameters.
int rx_sync_url_parse(const char *text, size_t n, struct rx_sync_url *out, char why[RX_SYNC_URL_WHY]);
