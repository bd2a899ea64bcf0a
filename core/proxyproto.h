// SPDX-License-Identifier: MIT
// The PROXY protocol, versions 1 and 2: reading and writing the header by which one proxy tells the next whose
// connection it passes on. Pure: bytes in, bytes out.
// Source: "The PROXY protocol, Versions 1 & 2" (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt), named by
// section below.
#pragma once

#include "addr.h"
#include "proto.h"

enum {
    RX_PROXY_V1_MAX = 107,  // section 2.1: the longest line, its end included
    RX_PROXY_IN_MAX = 4096, // the longest header that is taken
    RX_PROXY_OUT_MAX = 1024, // room for any that is written
    RX_PROXY_ID_MAX = 128,  // section 2.2.5
};

// Types of TLVs, section 2.2
enum rx_proxy_tlv_type {
    RX_TLV_ALPN = 0x01,
    RX_TLV_AUTHORITY = 0x02,
    RX_TLV_CRC32C = 0x03,
    RX_TLV_NOOP = 0x04,
    RX_TLV_UNIQUE_ID = 0x05,
    RX_TLV_SSL = 0x20,
    RX_TLV_NETNS = 0x30,
};

enum { RX_TLV_SSL_HEAD = 5 }; // before the TLVs within the SSL one: a byte of flags, four of the verification's result

enum rx_proxy_verdict {
    RX_PROXY_MORE,    // so far it may become a header
    RX_PROXY_READ,    // a whole header; what follows it does not matter
    RX_PROXY_MISSING, // something else, whatever follows
    RX_PROXY_INVALID, // begins like a header and is none, whatever follows
};

struct rx_proxy {
    uint32_t len;    // of the header
    uint8_t version; // 1 or 2
    bool has_addresses; // else (LOCAL, UNKNOWN, UNSPEC) those of the socket stand
    union rx_ip from, to; // the client, and where it went; AF_UNSPEC for unix sockets
    struct rx_text tlvs;  // version 2: they are whole; borrowed from the bytes
};

enum rx_proxy_verdict rx_proxy_read(const uint8_t *p, size_t n, struct rx_proxy *out);

// The value of the first TLV of this type; false: none. Also for the TLVs within the SSL one. Whatever is not a
// whole TLV ends the search.
bool rx_proxy_tlv(struct rx_text tlvs, uint8_t type, struct rx_text *value);

// What a header is to say.
struct rx_proxy_say {
    uint8_t version;            // 1 or 2
    bool is_datagram;           // UDP: version 2 only
    bool has_crc;               // adds a checksum, version 2
    union rx_ip from, to;       // of one family, or the header says that the addresses are not known
    struct rx_text unique_id, authority, alpn; // len 0: left out. Version 2; too long: left out, too.
};

// Returns the header's length.
size_t rx_proxy_write(uint8_t out[RX_PROXY_OUT_MAX], const struct rx_proxy_say *say);
