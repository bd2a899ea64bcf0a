// SPDX-License-Identifier: MIT
// Enters: a PROXY header that was read, or a connection on its way to a backend. Leaves: what is kept of the header,
// or the bytes of one that tells the backend who the client is.
// What came in such a header is passed on as if it had been seen here: addresses, a unique id, names. The names of a
// TLS client are read from its first bytes again, which costs less than keeping them for everybody.
#include "proxied.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "udp.h"
#include "worker.h"

bool rx_proxied_is_trusted(const struct rx_listen *l, const union rx_ip *ip)
{
    if (ip->sa.sa_family == AF_UNSPEC)
        return l->has_proxy_unix;
    for (uint32_t i = 0; i < l->n_proxy_from; i++)
        if (rx_cidr_has(&l->proxy_from[i], ip))
            return true;
    return false;
}

struct rx_proxied *rx_proxied_new(const struct rx_proxy *header, const union rx_ip *via)
{
    struct rx_proxied *p = malloc(sizeof *p + header->tlvs.len);
    if (!p)
        return NULL;
    *p = (struct rx_proxied){ .refs = 1,
                              .version = header->version,
                              .has_addresses = header->has_addresses,
                              .via = *via,
                              .to = header->to,
                              .tlvs_len = header->tlvs.len };
    if (header->tlvs.len)
        memcpy(p->tlvs, header->tlvs.ptr, header->tlvs.len);
    return p;
}

struct rx_proxied *rx_proxied_ref(struct rx_proxied *p)
{
    if (p)
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void rx_proxied_unref(struct rx_proxied *p)
{
    if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        free(p);
}

// ---- telling a backend --------------------------------------------------------------------------------------------

static uint32_t wanted(const struct rx_conn *c)
{
    const struct rx_route *r = c->early ? c->early : c->route;
    return r && r->send_proxy ? r->send_proxy : c->pool->send_proxy;
}

bool rx_proxied_is_said(const struct rx_conn *c)
{
    return wanted(c) != 0;
}

// A UDP socket serves all clients: where this one went came with its first datagram, or is the socket's one address.
static union rx_ip where_to_udp(const struct rx_conn *c)
{
    const struct rx_addr *bound = &c->udp.listener->addr;
    union rx_ip to = rx_udp_local(c);
    if (to.sa.sa_family == AF_UNSPEC)
        memcpy(&to, &bound->sa, RX_MIN(sizeof to, sizeof bound->v6));
    else if (to.sa.sa_family == AF_INET)
        to.v4.sin_port = htons(c->to_port);
    else
        to.v6.sin6_port = htons(c->to_port);
    return to;
}

static void say_where_to(const struct rx_conn *c, struct rx_proxy_say *say)
{
    socklen_t len = sizeof say->to;
    if (c->is_udp)
        say->to = where_to_udp(c);
    else if (c->proxied && c->proxied->has_addresses)
        say->to = c->proxied->to;
    else if (c->client.sa.sa_family == AF_UNSPEC || getsockname(c->ends[RX_CLIENT].io.fd, &say->to.sa, &len))
        say->to.sa.sa_family = AF_UNSPEC;
    rx_ip_unmap(&say->to);
}

// Of several application protocols that a client offers it is not known which it will speak.
static struct rx_text only_offer(struct rx_text alpn)
{
    if (alpn.len < 2 || alpn.ptr[0] != alpn.len - 1)
        return (struct rx_text){ NULL, 0 };
    return (struct rx_text){ alpn.ptr + 1, alpn.len - 1 };
}

static void say_names(const struct rx_conn *c, const struct rx_proxied_head *head, struct rx_proxy_say *say)
{
    const struct rx_proto *def = c->seen ? c->seen->def : NULL;
    struct rx_facts f = { .want = RX_FACT_SNI | RX_FACT_ALPN, .scratch = c->worker->scratch, .known = c->seen,
                          .gram_len = head->gram_len, .n_grams = head->n_grams };
    if (c->proxied) {
        rx_proxy_tlv(rx_proxied_tlvs(c->proxied), RX_TLV_AUTHORITY, &say->authority);
        rx_proxy_tlv(rx_proxied_tlvs(c->proxied), RX_TLV_ALPN, &say->alpn);
    }
    if (!head->len || !def || !(def->facts & RX_FACT_SNI) || rx_proto_ask(def, head->p, head->len, &f) != RX_MATCH)
        return;
    if (f.have & RX_FACT_SNI)
        say->authority = f.sni;
    if (f.have & RX_FACT_ALPN)
        say->alpn = only_offer(f.alpn);
}

size_t rx_proxied_say(const struct rx_conn *c, const struct rx_proxied_head *head, uint8_t out[RX_PROXY_OUT_MAX])
{
    uint32_t how = wanted(c);
    char id[24];
    struct rx_proxy_say say = { .version = how & RX_SEND_PROXY_V1 && !c->is_udp ? 1 : 2,
                                .is_datagram = c->is_udp,
                                .has_crc = how & RX_SEND_PROXY_CRC,
                                .from = c->client };
    say_where_to(c, &say);
    if (say.version == 2)
        say_names(c, head, &say);
    if (how & RX_SEND_PROXY_ID) {
        snprintf(id, sizeof id, "%lx", (unsigned long)c->id); // as the log has it
        say.unique_id = (struct rx_text){ (const uint8_t *)id, (uint32_t)strlen(id) };
        if (c->proxied)
            rx_proxy_tlv(rx_proxied_tlvs(c->proxied), RX_TLV_UNIQUE_ID, &say.unique_id);
    }
    return rx_proxy_write(out, &say);
}
