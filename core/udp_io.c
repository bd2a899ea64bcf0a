// SPDX-License-Identifier: MIT
// Enters: a UDP socket. Leaves: messages, or datagrams on their way.
// A send that the socket has no room for loses its datagrams, as a full queue on the way would: waiting would delay
// what comes after, and datagrams are meant to be fresh.
#include "udp_io.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { CONTROL = CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint32_t)), SOCKET_BUFFER = 1024 * 1024 };

struct rx_udp_batch {
    struct mmsghdr heads[RX_UDP_BATCH];
    struct iovec iov[RX_UDP_BATCH];
    struct rx_udp_msg msgs[RX_UDP_BATCH];
    union {
        uint8_t bytes[CONTROL];
        struct cmsghdr align;
    } control[RX_UDP_BATCH];
    unsigned n_used; // heads that the last receive wrote to
    uint8_t *bytes; // RX_UDP_BATCH times RX_UDP_SIZE, mapped
};

struct rx_udp_batch *rx_udp_batch_new(void)
{
    struct rx_udp_batch *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->bytes = mmap(NULL, (size_t)RX_UDP_BATCH * RX_UDP_SIZE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (b->bytes == MAP_FAILED) {
        free(b);
        return NULL;
    }
    for (unsigned i = 0; i < RX_UDP_BATCH; i++) {
        b->iov[i] = (struct iovec){ b->bytes + (size_t)i * RX_UDP_SIZE, RX_UDP_SIZE };
        b->heads[i].msg_hdr = (struct msghdr){ .msg_name = &b->msgs[i].from,
                                               .msg_iov = &b->iov[i],
                                               .msg_iovlen = 1,
                                               .msg_control = &b->control[i] };
    }
    b->n_used = RX_UDP_BATCH;
    return b;
}

void rx_udp_batch_free(struct rx_udp_batch *b)
{
    if (!b)
        return;
    munmap(b->bytes, (size_t)RX_UDP_BATCH * RX_UDP_SIZE);
    free(b);
}

// ---- receiving --------------------------------------------------------------------------------------------------

static void read_control(struct msghdr *h, struct rx_udp_msg *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(c), sizeof size);
            if (size > 0 && (uint32_t)size < m->len)
                m->size = (uint32_t)size;
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
            memcpy(&m->missed, CMSG_DATA(c), sizeof m->missed);
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            // Of a broadcast the address of ours it came to: none can answer from the broadcast's.
            m->to.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = info.ipi_spec_dst };
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            bool is_link_local = IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr);
            m->to.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
                                              .sin6_addr = info.ipi6_addr,
                                              .sin6_scope_id = is_link_local ? info.ipi6_ifindex : 0 };
        }
    }
}

int rx_udp_receive(struct rx_udp_batch *b, int fd, unsigned most, struct rx_udp_msg **msgs)
{
    for (unsigned i = 0; i < b->n_used; i++) {
        b->heads[i].msg_hdr.msg_namelen = sizeof b->msgs[i].from;
        b->heads[i].msg_hdr.msg_controllen = sizeof b->control[i];
    }
    b->n_used = 0;
    int n;
    do
        n = recvmmsg(fd, b->heads, most, 0, NULL);
    while (n == -1 && errno == EINTR);
    if (n == -1)
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
    b->n_used = (unsigned)n;
    for (int i = 0; i < n; i++) {
        struct rx_udp_msg *m = &b->msgs[i];
        m->p = b->iov[i].iov_base;
        m->len = m->size = b->heads[i].msg_len;
        m->to.sa.sa_family = AF_UNSPEC;
        m->missed = 0;
        read_control(&b->heads[i].msg_hdr, m);
    }
    *msgs = b->msgs;
    return n;
}

// ---- sending ----------------------------------------------------------------------------------------------------

static socklen_t length_of(const union rx_ip *ip)
{
    return ip->sa.sa_family == AF_INET6 ? sizeof ip->v6 : sizeof ip->v4;
}

static void put_control(struct msghdr *h, int level, int type, const void *data, size_t len)
{
    struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)h->msg_control + h->msg_controllen);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(c), data, len);
    h->msg_controllen += CMSG_SPACE(len);
}

static void put_from(struct msghdr *h, const union rx_ip *from)
{
    if (from->sa.sa_family == AF_INET) {
        struct in_pktinfo info = { .ipi_spec_dst = from->v4.sin_addr };
        put_control(h, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else if (from->sa.sa_family == AF_INET6) {
        struct in6_pktinfo info = { .ipi6_addr = from->v6.sin6_addr, .ipi6_ifindex = from->v6.sin6_scope_id };
        put_control(h, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
}

// One system call; `size` above 0 makes the kernel cut the bytes into datagrams.
static int send_parts(const struct rx_udp_path *path, struct iovec *iov, unsigned n, uint16_t size)
{
    union {
        uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr align;
    } control;
    struct msghdr h = { .msg_iov = iov, .msg_iovlen = n, .msg_control = &control };
    if (path->to) {
        h.msg_name = (void *)&path->to->sa;
        h.msg_namelen = length_of(path->to);
    }
    if (path->from || size)
        memset(&control, 0, sizeof control);
    if (path->from)
        put_from(&h, path->from);
    if (size)
        put_control(&h, SOL_UDP, UDP_SEGMENT, &size, sizeof size);
    if (!h.msg_controllen)
        h.msg_control = NULL;
    ssize_t rc;
    do
        rc = sendmsg(path->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (rc == -1 && errno == EINTR);
    return rc == -1 ? -errno : 0;
}

int rx_udp_send(const struct rx_udp_path *path, const uint8_t *p, uint32_t len)
{
    struct iovec iov = { (void *)p, len };
    return send_parts(path, &iov, 1, 0);
}

int rx_udp_send_behind(const struct rx_udp_path *path, const struct rx_udp_msg *before, const uint8_t *p, uint32_t len)
{
    struct iovec iov[] = { { before->p, before->len }, { (void *)p, len } };
    return send_parts(path, iov, 2, 0);
}

bool rx_udp_is_loss(int rc)
{
    return rc == -EAGAIN || rc == -EWOULDBLOCK || rc == -ENOBUFS || rc == -EMSGSIZE || rc == -EPERM;
}

// Datagram by datagram: where segmenting is refused, and where there is just one.
static int send_singly(struct rx_udp_run *r, const struct rx_udp_path *path, uint32_t *lost)
{
    int failed = 0;
    for (uint32_t i = 0; i < r->n; i++)
        for (uint32_t at = 0; at < r->part[i].len || at == 0; at += r->size) {
            uint32_t len = RX_MIN(r->size, r->part[i].len - at);
            int rc = rx_udp_send(path, r->part[i].p + at, len);
            if (rx_udp_is_loss(rc))
                ++*lost;
            if (rc && !rx_udp_is_loss(rc))
                return rc;
            failed = rc ? rc : failed;
            if (!r->size)
                break;
        }
    return failed;
}

// What sendmsg says when UDP_SEGMENT is not to be had here: an old kernel, no checksum offload, a tunnel.
static bool is_no_segmenting(int rc)
{
    return rc == -EIO || rc == -EINVAL || rc == -ENOPROTOOPT || rc == -EOPNOTSUPP;
}

int rx_udp_run_send(struct rx_udp_run *r, const struct rx_udp_path *path, uint32_t *lost)
{
    int rc;
    if (!r->n)
        return 0;
    if (r->segments == 1 || !*path->may_segment) {
        rc = send_singly(r, path, lost);
    } else {
        struct iovec iov[RX_UDP_SEGMENTS];
        for (uint32_t i = 0; i < r->n; i++)
            iov[i] = (struct iovec){ (void *)r->part[i].p, r->part[i].len };
        rc = send_parts(path, iov, r->n, (uint16_t)r->size);
        if (is_no_segmenting(rc)) {
            *path->may_segment = false;
            rc = send_singly(r, path, lost);
        } else if (rc == -EMSGSIZE) { // larger than the path's MTU: the kernel segments nothing that would be fragmented
            rc = send_singly(r, path, lost);
        } else if (rx_udp_is_loss(rc)) {
            *lost += r->segments;
        }
    }
    r->n = r->total = r->size = r->segments = 0;
    r->is_full = false;
    return rc;
}

int rx_udp_run_add(struct rx_udp_run *r, const struct rx_udp_path *path, const struct rx_udp_msg *m, uint32_t *lost)
{
    int rc = 0;
    uint32_t segments = m->size ? (m->len + m->size - 1) / m->size : 1;
    bool is_fit = r->n && !r->is_full && m->size && m->size <= r->size && r->n < RX_UDP_SEGMENTS &&
                  (m->size == r->size || segments == 1) && r->segments + segments <= RX_UDP_SEGMENTS &&
                  r->total + m->len <= RX_UDP_RUN_BYTES;
    if (r->n && !is_fit)
        rc = rx_udp_run_send(r, path, lost);
    if (!r->n)
        r->size = m->size;
    r->part[r->n].p = m->p;
    r->part[r->n++].len = m->len;
    r->total += m->len;
    r->segments += segments;
    r->is_full = m->len % RX_MAX(r->size, 1u) != 0 || !m->size;
    return rc;
}

void rx_udp_setup(int fd)
{
    int on = 1;
    setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on); // an old kernel says no, and datagrams come one by one
}

// Beyond what the system grants everybody, when the program may.
static void make_room(int fd, int forced, int granted)
{
    int size = SOCKET_BUFFER;
    if (setsockopt(fd, SOL_SOCKET, forced, &size, sizeof size))
        setsockopt(fd, SOL_SOCKET, granted, &size, sizeof size);
}

void rx_udp_setup_listener(int fd, int family, bool wants_to)
{
    int on = 1;
    rx_udp_setup(fd);
    setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
    if (wants_to && family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    else if (wants_to)
        setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    make_room(fd, SO_RCVBUFFORCE, SO_RCVBUF);
    make_room(fd, SO_SNDBUFFORCE, SO_SNDBUF);
}
