// SPDX-License-Identifier: MIT
// Enters: addresses with times. Leaves: entries in a set, in one transaction. Each is added, deleted and added again: only
// so has it the new time on every kernel, whether it was there or not.
#ifndef RX_WITHOUT_GUARD
#include "nftlink.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <sys/time.h>

enum { BATCH = 5, CHUNK = 200, MESSAGE_MAX = 16 * 1024, WAIT_MS = 1000 };

struct rx_nftlink {
    struct mnl_socket *socket; // owned
    uint32_t seq;
    _Alignas(struct nlmsghdr) uint8_t buf[BATCH * MESSAGE_MAX];
};

struct rx_nftlink *rx_nftlink_new(void)
{
    struct rx_nftlink *l = calloc(1, sizeof *l);
    struct timeval wait = { .tv_sec = WAIT_MS / 1000 };
    if (!l)
        return NULL;
    l->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    if (!l->socket || mnl_socket_bind(l->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        rx_nftlink_free(l);
        return NULL;
    }
    setsockopt(mnl_socket_get_fd(l->socket), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    return l;
}

void rx_nftlink_free(struct rx_nftlink *l)
{
    if (!l)
        return;
    if (l->socket)
        mnl_socket_close(l->socket);
    free(l);
}

static struct nlmsghdr *begin(uint8_t *at, unsigned type, unsigned flags, uint32_t seq, unsigned family, uint16_t res)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(at);
    h->nlmsg_type = (uint16_t)type;
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    h->nlmsg_seq = seq;
    struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof *g);
    g->nfgen_family = (uint8_t)family;
    g->version = NFNETLINK_V0;
    g->res_id = htons(res);
    return h;
}

static struct nlmsghdr *put_elements(uint8_t *at, unsigned verb, uint32_t seq, const char *const where[2],
                                     const struct rx_nft_entry *list, size_t n)
{
    bool is_add = verb == NFT_MSG_NEWSETELEM;
    struct nlmsghdr *h = begin(at, NFNL_SUBSYS_NFTABLES << 8 | verb, NLM_F_ACK | (is_add ? NLM_F_CREATE : 0), seq,
                               NFPROTO_INET, 0);
    mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, where[0]);
    mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, where[1]);
    struct nlattr *all = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
    for (size_t i = 0; i < n; i++) {
        struct nlattr *one = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
        struct nlattr *key = mnl_attr_nest_start(h, NFTA_SET_ELEM_KEY);
        mnl_attr_put(h, NFTA_DATA_VALUE, list[i].who.family == AF_INET ? 4 : 16, list[i].who.bytes);
        mnl_attr_nest_end(h, key);
        if (is_add)
            mnl_attr_put_u64(h, NFTA_SET_ELEM_TIMEOUT, htobe64(RX_MAX(list[i].left_ms, (uint64_t)1)));
        mnl_attr_nest_end(h, one);
    }
    mnl_attr_nest_end(h, all);
    return h;
}

static int take_answer(struct rx_nftlink *l, uint32_t *n_left)
{
    _Alignas(struct nlmsghdr) uint8_t buf[16 * 1024];
    ssize_t got = mnl_socket_recvfrom(l->socket, buf, sizeof buf);
    if (got < 0)
        return errno == EINTR ? 0 : -errno;
    int len = (int)got, rc = 0;
    for (struct nlmsghdr *h = (void *)buf; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
        const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
        if (h->nlmsg_type != NLMSG_ERROR || (int32_t)(h->nlmsg_seq - (l->seq - BATCH + 1)) < 0)
            continue; // an old one's
        if (e->error)
            rc = rc ? rc : e->error;
        *n_left -= *n_left > 0;
    }
    return rc;
}

static int add_some(struct rx_nftlink *l, const char *const where[2], const struct rx_nft_entry *list, size_t n)
{
    static const unsigned verbs[] = { NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM };
    uint8_t *at = l->buf;
    int rc = 0;
    at += begin(at, NFNL_MSG_BATCH_BEGIN, 0, ++l->seq, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len;
    for (unsigned i = 0; i < 3; i++)
        at += NLMSG_ALIGN(put_elements(at, verbs[i], ++l->seq, where, list, n)->nlmsg_len);
    at += begin(at, NFNL_MSG_BATCH_END, 0, ++l->seq, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len;
    if (mnl_socket_sendto(l->socket, l->buf, (size_t)(at - l->buf)) < 0)
        return -errno;
    for (uint32_t n_left = 3; n_left && !rc;)
        rc = take_answer(l, &n_left);
    return rc;
}

int rx_nftlink_add(struct rx_nftlink *l, const char *table, const char *set, const struct rx_nft_entry *list, size_t n)
{
    const char *const where[2] = { table, set };
    int rc = 0;
    for (size_t at = 0; at < n && !rc; at += CHUNK)
        rc = add_some(l, where, list + at, RX_MIN(n - at, (size_t)CHUNK));
    return rc;
}

static int on_generation(const struct nlmsghdr *h, void *data)
{
    struct nlattr *a;
    mnl_attr_for_each(a, h, sizeof(struct nfgenmsg))
        if (mnl_attr_get_type(a) == NFTA_GEN_ID)
            *(uint32_t *)data = ntohl(mnl_attr_get_u32(a));
    return MNL_CB_STOP;
}

uint32_t rx_nftlink_generation(struct rx_nftlink *l)
{
    _Alignas(struct nlmsghdr) uint8_t buf[4096];
    uint32_t generation = 0;
    struct nlmsghdr *h = begin(l->buf, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0, ++l->seq, AF_UNSPEC, 0);
    if (mnl_socket_sendto(l->socket, h, h->nlmsg_len) < 0)
        return 0;
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(l->socket, buf, sizeof buf);
        const struct nlmsghdr *first = (const void *)buf;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < (ssize_t)sizeof *first)
            return 0;
        if (first->nlmsg_seq != l->seq)
            continue; // an old one's answer
        return mnl_cb_run(buf, (size_t)n, l->seq, mnl_socket_get_portid(l->socket), on_generation, &generation) < 0
                   ? 0 : generation;
    }
}
#endif
