// SPDX-License-Identifier: MIT
// Lines of Xray's (and V2Ray's) access log.
#pragma once

#include "addr.h"

enum rx_tail_line {
    RX_LINE_SESSION, // somebody is active from somewhere
    RX_LINE_OTHER,   // read, and of no session
    RX_LINE_BAD      // not understood
};

struct rx_tail_said {
    const char *id, *tag; // borrowed from the line; tag: the inbound's, NULL: none
    uint32_t id_len, tag_len;
    union rx_ip ip;
    bool is_udp;
};

// `line` has no newline. Pure; reads nothing beyond n.
enum rx_tail_line rx_xray_parse(const char *line, size_t n, struct rx_tail_said *out);
