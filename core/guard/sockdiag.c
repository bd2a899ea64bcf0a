// SPDX-License-Identifier: MIT
// Enters: addresses and ports. Leaves: their connections, closed by the kernel (SOCK_DIAG over netlink, INET_DIAG_DESTROY).
// Which sockets are meant is asked of the kernel as a program of inet_diag conditions, so that it does not list every
// socket of a busy machine. An IPv4 condition there also holds for IPv6 sockets with a mapped address. Listed first and
// destroyed afterwards, each by its cookie: a port that was used again meanwhile is not hit.
#ifndef RX_WITHOUT_GUARD
#include "sockdiag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

enum { UNANSWERED = 2, WHO_MAX = 64, WAIT_MS = 1000, TCP_ESTABLISHED_BIT = 1 << 1, TCP_LISTEN_BIT = 1 << 10, TCP_TIME_WAIT_BIT = 1 << 6 };
enum { ALIVE = 0xfff & ~(TCP_LISTEN_BIT | TCP_TIME_WAIT_BIT) };

struct found {
    struct inet_diag_sockid id;
    uint8_t family;
};

struct search {
    const struct rx_ports *ports;
    struct found *list; // owned
    size_t n, cap;
    bool is_short; // of memory
    bool is_lively; // not those whose other end has not answered for a while
};

bool rx_ports_has(const struct rx_ports *p, uint16_t port)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (port >= p->list[i].low && port <= p->list[i].high)
            return true;
    return false;
}

// ---- the question -----------------------------------------------------------------------------------------------------

// For each address: D_COND, which goes on behind it or to the next address; behind it a JMP to the end, which accepts. The
// last address's failure goes beyond the end, which refuses.
static size_t write_program(uint8_t *to, const struct rx_cidr *who, size_t n)
{
    size_t at = 0, total = 0;
    for (size_t i = 0; i < n; i++)
        total += 2 * sizeof(struct inet_diag_bc_op) + sizeof(struct inet_diag_hostcond) + (who[i].family == AF_INET ? 4 : 16);
    for (size_t i = 0; i < n; i++) {
        size_t addr = who[i].family == AF_INET ? 4 : 16;
        size_t len = sizeof(struct inet_diag_bc_op) + sizeof(struct inet_diag_hostcond) + addr;
        struct inet_diag_bc_op cond = { INET_DIAG_BC_D_COND, (uint8_t)len,
                                        (uint16_t)(len + sizeof cond + (i + 1 == n ? sizeof cond : 0)) };
        struct inet_diag_hostcond host = { .family = who[i].family, .prefix_len = who[i].bits, .port = -1 };
        memcpy(to + at, &cond, sizeof cond);
        memcpy(to + at + sizeof cond, &host, sizeof host);
        memcpy(to + at + sizeof cond + sizeof host, who[i].bytes, addr);
        at += len;
        struct inet_diag_bc_op jump = { INET_DIAG_BC_JMP, sizeof jump, (uint16_t)(total - at) };
        memcpy(to + at, &jump, sizeof jump);
        at += sizeof jump;
    }
    return at;
}

static struct mnl_socket *open_diag(void)
{
    struct mnl_socket *s = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
    struct timeval wait = { .tv_sec = WAIT_MS / 1000 };
    if (s && mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0) {
        int rc = errno;
        mnl_socket_close(s);
        errno = rc;
        return NULL;
    }
    if (s)
        setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    return s;
}

static int on_socket(const struct nlmsghdr *h, void *data)
{
    struct search *s = data;
    const struct inet_diag_msg *m = mnl_nlmsg_get_payload(h);
    if (mnl_nlmsg_get_payload_len(h) < sizeof *m || !rx_ports_has(s->ports, ntohs(m->id.idiag_sport)))
        return MNL_CB_OK;
    if (s->is_lively && m->idiag_retrans >= UNANSWERED)
        return MNL_CB_OK; // somebody who went to another network left it behind
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct found *grown = realloc(s->list, cap * sizeof *grown);
        if (!grown) {
            s->is_short = true;
            return MNL_CB_OK;
        }
        s->list = grown;
        s->cap = cap;
    }
    s->list[s->n++] = (struct found){ m->id, m->idiag_family };
    return MNL_CB_OK;
}

static int answers(struct mnl_socket *s, uint32_t seq, mnl_cb_t each, void *data)
{
    _Alignas(struct nlmsghdr) char buf[32 * 1024];
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(s, buf, sizeof buf);
        if (n < 0 && errno == EINTR)
            continue;
        int rc = n < 0 ? -1 : mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(s), each, data);
        if (rc < 0)
            return -errno;
        if (rc == MNL_CB_STOP)
            return 0;
    }
}

static int list(struct mnl_socket *s, uint8_t family, uint32_t states, const struct rx_cidr *who, size_t n, struct search *to)
{
    _Alignas(struct nlmsghdr) char buf[8 * 1024];
    uint8_t program[WHO_MAX * 32];
    static _Atomic uint32_t seq;
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = SOCK_DIAG_BY_FAMILY;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    h->nlmsg_seq = ++seq;
    struct inet_diag_req_v2 *q = mnl_nlmsg_put_extra_header(h, sizeof *q);
    q->sdiag_family = family;
    q->sdiag_protocol = IPPROTO_TCP;
    q->idiag_states = states;
    mnl_attr_put(h, INET_DIAG_REQ_BYTECODE, write_program(program, who, n), program);
    if (mnl_socket_sendto(s, h, h->nlmsg_len) < 0)
        return -errno;
    return answers(s, h->nlmsg_seq, on_socket, to);
}

static int list_both(struct mnl_socket *s, uint32_t states, const struct rx_cidr *who, size_t n, struct search *to)
{
    bool has_v4 = false;
    for (size_t i = 0; i < n; i++)
        has_v4 |= who[i].family == AF_INET;
    int rc = has_v4 ? list(s, AF_INET, states, who, n, to) : 0;
    if (!rc)
        rc = list(s, AF_INET6, states, who, n, to);
    return rc == -ENOENT ? 0 : rc; // a kernel without IPv6
}

// ---- what is done -----------------------------------------------------------------------------------------------------

static int destroy(struct mnl_socket *s, const struct found *f, uint32_t seq)
{
    _Alignas(struct nlmsghdr) char buf[256];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = SOCK_DESTROY;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    h->nlmsg_seq = seq;
    struct inet_diag_req_v2 *q = mnl_nlmsg_put_extra_header(h, sizeof *q);
    q->sdiag_family = f->family;
    q->sdiag_protocol = IPPROTO_TCP;
    q->idiag_states = ~0u;
    q->id = f->id;
    if (mnl_socket_sendto(s, h, h->nlmsg_len) < 0)
        return -errno;
    return answers(s, seq, NULL, NULL);
}

static int kill_some(struct mnl_socket *s, const struct rx_cidr *who, size_t n, const struct rx_ports *ports)
{
    struct search found = { .ports = ports };
    int killed = 0, rc = list_both(s, ALIVE, who, n, &found);
    for (size_t i = 0; !rc && i < found.n; i++) {
        rc = destroy(s, &found.list[i], (uint32_t)i + 1);
        killed += rc == 0;
        if (rc == -ENOENT)
            rc = 0; // it ended by itself
    }
    free(found.list);
    return rc ? rc : found.is_short ? -ENOMEM : killed;
}

int rx_sockdiag_kill(const struct rx_cidr *who, size_t n, const struct rx_ports *ports)
{
    struct mnl_socket *s = open_diag();
    int killed = 0;
    if (!s)
        return -errno;
    for (size_t at = 0; at < n && killed >= 0; at += WHO_MAX) {
        int some = kill_some(s, who + at, RX_MIN(n - at, (size_t)WHO_MAX), ports);
        killed = some < 0 ? some : killed + some;
    }
    mnl_socket_close(s);
    return killed;
}

// ---- who is there -----------------------------------------------------------------------------------------------------

static struct rx_cidr peer_of(const struct found *f)
{
    union rx_ip ip = { 0 };
    struct rx_cidr who = { 0 };
    if (f->family == AF_INET) {
        ip.v4.sin_family = AF_INET;
        memcpy(&ip.v4.sin_addr, f->id.idiag_dst, 4);
    } else {
        ip.v6.sin6_family = AF_INET6;
        memcpy(&ip.v6.sin6_addr, f->id.idiag_dst, 16);
        rx_ip_unmap(&ip);
    }
    who.family = (uint8_t)ip.sa.sa_family;
    who.bits = who.family == AF_INET ? 32 : 128;
    if (who.family == AF_INET)
        memcpy(who.bytes, &ip.v4.sin_addr, 4);
    else
        memcpy(who.bytes, &ip.v6.sin6_addr, 16);
    return who;
}

static int compare(const void *a, const void *b)
{
    const struct rx_cidr *x = a, *y = b;
    return x->family != y->family ? x->family - y->family : memcmp(x->bytes, y->bytes, sizeof x->bytes);
}

int rx_sockdiag_peers(const struct rx_ports *ports, struct rx_cidr **peers, size_t *n)
{
    static const struct rx_cidr any[] = { { .family = AF_INET }, { .family = AF_INET6 } };
    struct mnl_socket *s = open_diag();
    struct search found = { .ports = ports, .is_lively = true };
    *n = 0;
    *peers = NULL;
    if (!s)
        return -errno;
    int rc = list_both(s, TCP_ESTABLISHED_BIT, any, RX_COUNT(any), &found);
    mnl_socket_close(s);
    if (!rc && (found.is_short || !(*peers = malloc((found.n + 1) * sizeof **peers))))
        rc = -ENOMEM;
    for (size_t i = 0; !rc && i < found.n; i++)
        (*peers)[i] = peer_of(&found.list[i]);
    free(found.list);
    if (rc)
        return rc;
    qsort(*peers, found.n, sizeof **peers, compare);
    for (size_t i = 0; i < found.n; i++)
        if (!*n || compare(&(*peers)[*n - 1], &(*peers)[i]))
            (*peers)[(*n)++] = (*peers)[i];
    return 0;
}

bool rx_sockdiag_is_among(const struct rx_cidr *block, const struct rx_cidr *peers, size_t n)
{
    size_t low = 0, high = n;
    while (low < high) { // the first that is not before the block's first address
        size_t middle = low + (high - low) / 2;
        if (compare(&peers[middle], block) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && rx_cidr_covers(block, &peers[low]);
}
#endif
