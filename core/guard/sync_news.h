// SPDX-License-Identifier: MIT
// What the nodes that share a Redis tell each other, as sync.lua writes it. Deciders: they only read.
#pragma once

#include "ledger.h"

enum { RX_SYNC_NODE = 17, RX_SYNC_NAME = 64, RX_SYNC_FAR_MAX = RX_LEDGER_IPS_MAX + 24 };

enum rx_sync_kind {
    RX_SYNC_BEAT,   // a node is there
    RX_SYNC_BAN,    // whom, left_ms
    RX_SYNC_UNBAN,  // whom
    RX_SYNC_SESSION // everything that is known of one identity
};

struct rx_sync_news {
    enum rx_sync_kind kind;
    char node[RX_SYNC_NODE]; // whose doing it was; "-": nobody's
    struct rx_cidr whom;
    uint64_t left_ms;
    char name[RX_SYNC_NAME]; // of the sessions
    bool is_udp, has_origin;
    struct rx_cidr origin; // who has the place that others were put out for
    struct rx_ledger_far far[RX_SYNC_FAR_MAX];
    uint32_t n_far;
    const char *id; // borrowed: in the text
    uint32_t id_len;
};

// False: no such thing.
bool rx_sync_read(const char *text, size_t n, struct rx_sync_news *out);

// Some of the bans, and where the next ones are: "0" after the last. False: no such thing, though some may have been
// shown.
typedef void rx_sync_ban_fn(const struct rx_cidr *whom, uint64_t left_ms, void *data);
bool rx_sync_read_page(const char *text, size_t n, char next[24], rx_sync_ban_fn *each, void *data);
