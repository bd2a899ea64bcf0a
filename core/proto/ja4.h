// SPDX-License-Identifier: MIT
// JA4, the fingerprint of a TLS client (FoxIO, https://github.com/FoxIO-LLC/ja4: the BSD-licensed part).
#pragma once

#include "base.h"

enum { RX_JA4_SIZE = 37 }; // with its NUL

// p: what a client sent from its first byte on. The fingerprint, or false when that is no complete ClientHello.
bool rx_ja4(const uint8_t *p, uint32_t n, char out[RX_JA4_SIZE]);
// The same of a ClientHello handshake message, header included. transport: 't' over TCP, 'q' in QUIC.
bool rx_ja4_of_hello(const uint8_t *msg, uint32_t n, char transport, char out[RX_JA4_SIZE]);
