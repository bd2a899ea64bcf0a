// SPDX-License-Identifier: MIT
// Enters: addresses and ports. Leaves: the conntrack table without their UDP flows, by libnetfilter_conntrack: what a NAT
// sent elsewhere, or a rule accepts as established, is looked at anew. The kernel lists the table once for all of them.
#ifndef RX_WITHOUT_GUARD
#include "flows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <netinet/in.h>
#include <string.h>

struct purge {
    const struct rx_cidr *who;
    size_t n;
    const struct rx_ports *ports;
    struct nfct_handle *second; // the first one is busy listing
    int deleted, rc;
};

static bool is_meant(const struct purge *p, const struct nf_conntrack *ct)
{
    union rx_ip from = { 0 };
    if (nfct_get_attr_u8(ct, ATTR_ORIG_L4PROTO) != IPPROTO_UDP ||
        !rx_ports_has(p->ports, ntohs(nfct_get_attr_u16(ct, ATTR_ORIG_PORT_DST))))
        return false;
    if (nfct_get_attr_u8(ct, ATTR_ORIG_L3PROTO) == AF_INET) {
        from.v4.sin_family = AF_INET;
        from.v4.sin_addr.s_addr = nfct_get_attr_u32(ct, ATTR_ORIG_IPV4_SRC);
    } else {
        from.v6.sin6_family = AF_INET6;
        memcpy(&from.v6.sin6_addr, nfct_get_attr(ct, ATTR_ORIG_IPV6_SRC), 16);
    }
    for (size_t i = 0; i < p->n; i++)
        if (rx_cidr_has(&p->who[i], &from))
            return true;
    return false;
}

static int on_flow(enum nf_conntrack_msg_type type, struct nf_conntrack *ct, void *data)
{
    (void)type;
    struct purge *p = data;
    if (!is_meant(p, ct))
        return NFCT_CB_CONTINUE;
    if (nfct_query(p->second, NFCT_Q_DESTROY, ct) == 0)
        p->deleted++;
    else if (errno != ENOENT)
        p->rc = -errno;
    return NFCT_CB_CONTINUE;
}

static int purge_family(struct nfct_handle *h, uint8_t family)
{
    struct nfct_filter_dump *filter = nfct_filter_dump_create();
    if (!filter)
        return -ENOMEM;
    nfct_filter_dump_set_attr_u8(filter, NFCT_FILTER_DUMP_L3NUM, family);
    int rc = nfct_query(h, NFCT_Q_DUMP_FILTER, filter) == -1 ? -errno : 0;
    nfct_filter_dump_destroy(filter);
    return rc;
}

int rx_flows_delete(const struct rx_cidr *who, size_t n, const struct rx_ports *ports)
{
    struct nfct_handle *h = nfct_open(CONNTRACK, 0);
    struct purge p = { .who = who, .n = n, .ports = ports, .second = nfct_open(CONNTRACK, 0) };
    int rc = h && p.second ? 0 : -errno;
    bool has[2] = { false, false };
    for (size_t i = 0; i < n; i++)
        has[who[i].family == AF_INET6] = true;
    if (!rc)
        nfct_callback_register(h, NFCT_T_ALL, on_flow, &p);
    for (int f = 0; f < 2 && !rc; f++)
        if (has[f])
            rc = purge_family(h, f ? AF_INET6 : AF_INET);
    if (h)
        nfct_close(h);
    if (p.second)
        nfct_close(p.second);
    return rc ? rc : p.rc ? p.rc : p.deleted;
}
#endif
