// SPDX-License-Identifier: MIT
// What a PROXY header said of a connection, and the header that is said of one to a backend (proxyproto.h has the
// bytes).
#pragma once

#include <stdatomic.h>

#include "proxyproto.h"

struct rx_conn;
struct rx_listen;

// Never changed; shared by a connection and its hooks.
struct rx_proxied {
    atomic_uint refs;
    uint8_t version;
    bool has_addresses; // else the connection keeps those of the socket
    union rx_ip via;    // the proxy that sent it
    union rx_ip to;     // where the client went
    uint32_t tlvs_len;
    uint8_t tlvs[];
};

// Whether a header is wanted from, and believed to, whoever comes from `ip` (AF_UNSPEC: a unix socket).
bool rx_proxied_is_trusted(const struct rx_listen *l, const union rx_ip *ip);

// One reference; NULL when out of memory.
struct rx_proxied *rx_proxied_new(const struct rx_proxy *header, const union rx_ip *via);
struct rx_proxied *rx_proxied_ref(struct rx_proxied *p);
void rx_proxied_unref(struct rx_proxied *p); // NULL is fine

static inline struct rx_text rx_proxied_tlvs(const struct rx_proxied *p)
{
    return (struct rx_text){ p->tlvs, p->tlvs_len };
}

// Whether a backend is to be told of the client, by the route's or the pool's send_proxy.
bool rx_proxied_is_said(const struct rx_conn *c);

// First bytes, in which the client's names are looked for.
struct rx_proxied_head {
    const uint8_t *p;
    uint32_t len;
    const uint32_t *gram_len; // UDP: the length of each datagram in p
    uint32_t n_grams;
};

// Writes that header; returns its length. For UDP, whose datagrams each have one, it is version 2 in any case.
size_t rx_proxied_say(const struct rx_conn *c, const struct rx_proxied_head *head, uint8_t out[RX_PROXY_OUT_MAX]);
