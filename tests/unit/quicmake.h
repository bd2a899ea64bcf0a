// SPDX-License-Identifier: MIT
// Writes what a QUIC client sends: protected Initial packets with any frames. For tests and fuzzers.
#pragma once

#include "proto/quic_open.h"

// One Initial packet with `frames` for its payload, protected (RFC 9001 5); pn_len 1 to 4 bytes of `pn` are written.
// Returns its length in `out`, which must have room for n + 128 bytes.
uint32_t quic_initial(const struct rx_quic_version *v, const uint8_t *dcid, uint32_t dcid_len, uint32_t token_len,
                      uint32_t pn, uint32_t pn_len, const uint8_t *frames, uint32_t n, uint8_t *out);
// A CRYPTO frame; returns its length.
uint32_t quic_crypto(uint32_t offset, const uint8_t *p, uint32_t n, uint8_t *out);
// A ClientHello handshake message with this name and the ALPN "h3"; returns its length (less than 512).
uint32_t quic_hello(const char *sni, uint8_t *out);
