// SPDX-License-Identifier: MIT
// The ClientHello as TLS, DTLS and QUIC share it.
#pragma once

#include "proto.h"

enum {
    RX_TLS_CLIENT_HELLO = 1, // RFC 8446 4 HandshakeType
    RX_TLS_HS_HEADER = 4,
    RX_TLS_HELLO_MIN = 2 + 32 + 1 + 2 + 2 + 1 + 1, // version, random, no session id, a cipher, a compression method
    RX_TLS_HELLO_MAX = 1 << 14,
};

// The body of a ClientHello, at least RX_TLS_HELLO_MIN bytes (RFC 8446 4.1.2, RFC 5246 7.4.1.2): sets sni, alpn, ech and
// version in *f, which point into it. False when it breaks its own lengths or the rules stated in tls.c.
bool rx_tls_read_hello(const uint8_t *p, uint32_t n, struct rx_facts *f);
// The same from the cipher suites on: what comes before differs in DTLS. f->have is added to.
bool rx_tls_read_offers(const uint8_t *p, const uint8_t *end, struct rx_facts *f);
