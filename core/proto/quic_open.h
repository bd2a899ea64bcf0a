// SPDX-License-Identifier: MIT
// Opening the Initial packets of a QUIC client: the one part of recognition that needs cryptography. Its keys follow from
// the packet itself (RFC 9001 5.2): they keep middleboxes that do not know QUIC from meddling, not readers out.
#pragma once

#include "base.h"

// How a version protects its Initial packets and numbers its packet types.
struct rx_quic_version {
    uint32_t number;
    uint8_t salt[20];                                            // RFC 9001 5.2, RFC 9369 3.3.1
    const char *key_label, *iv_label, *hp_label;                 // RFC 9001 5.1, RFC 9369 3.3.2
    uint8_t type_initial, type_0rtt, type_handshake, type_retry; // RFC 9000 17.2, RFC 9369 3.2
};

// NULL when the version is not known here.
const struct rx_quic_version *rx_quic_version_find(uint32_t number);

struct rx_quic_keys {
    uint8_t key[16], iv[12], hp[16];
};

// The client's keys for Initial packets towards this connection id; 0, or -1 when the library failed.
int rx_quic_keys_make(const struct rx_quic_version *v, const uint8_t *dcid, uint32_t len, struct rx_quic_keys *k);

// Opens one packet that begins at p: its packet number lies at `pn_at` and it ends at `end`. The plaintext, of *len bytes,
// goes to `out`, which has room for end - pn_at bytes. False when it does not authenticate.
bool rx_quic_open(const struct rx_quic_keys *k, const uint8_t *p, uint32_t pn_at, uint32_t end, uint8_t *out,
                  uint32_t *len);
