// SPDX-License-Identifier: MIT
// Enters: messages. Leaves: the same at the other end of a pair, with their descriptors. Nothing waits longer than it is
// told to; a peer that ends is noticed at once.
#include "upgrade_wire.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wheel.h"

static const uint32_t magic = 0x50555852; // "RXUP"
enum { HEADER = offsetof(struct rx_upgrade_msg, data) };

int rx_upgrade_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == -1 ? -errno : 0;
}

// 0 when it may be tried again.
static int wait_for(int fd, short events, uint64_t until_ms)
{
    uint64_t now = rx_now_ms();
    struct pollfd p = { .fd = fd, .events = events };
    if (now >= until_ms)
        return -ETIMEDOUT;
    int rc = poll(&p, 1, (int)RX_MIN(until_ms - now, (uint64_t)1000));
    return rc == -1 && errno != EINTR ? -errno : 0;
}

// ETOOMANYREFS: the kernel holds so many descriptors on their way and no more; the other end has to take some first.
int rx_upgrade_send(int fd, struct rx_upgrade_msg *m, const int *fds, unsigned n, uint64_t until_ms)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(RX_UPGRADE_FDS * sizeof(int))];
    } control;
    m->magic = magic;
    struct iovec part = { .iov_base = m, .iov_len = HEADER + m->len };
    struct msghdr h = { .msg_iov = &part, .msg_iovlen = 1 };
    if (n) {
        memset(&control, 0, sizeof control);
        h.msg_control = &control;
        h.msg_controllen = CMSG_SPACE(n * sizeof(int));
        control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(n * sizeof(int)),
                                         .cmsg_level = SOL_SOCKET,
                                         .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(&control.head), fds, n * sizeof(int));
    }
    for (;;) {
        if (sendmsg(fd, &h, MSG_NOSIGNAL) >= 0)
            return 0;
        int err = errno;
        if (err == EINTR)
            continue;
        if (err != EAGAIN && err != ETOOMANYREFS && err != ENOBUFS)
            return err == ECONNRESET ? -EPIPE : -err;
        int rc =
            wait_for(fd, err == EAGAIN ? POLLOUT : 0, err == EAGAIN ? until_ms : RX_MIN(until_ms, rx_now_ms() + 2));
        if (rc && (err == EAGAIN || rx_now_ms() >= until_ms))
            return rc;
    }
}

bool rx_upgrade_is_sound(const struct rx_upgrade_msg *m, size_t size)
{
    return size >= HEADER && m->magic == magic && m->kind < RX_UPGRADE_KINDS && m->len <= RX_UPGRADE_DATA &&
           size == HEADER + m->len;
}

static void take_fds(struct msghdr *h, int *fds, unsigned *n)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds + *n, CMSG_DATA(c), k * sizeof(int));
        *n += (unsigned)k;
    }
}

static int judge(const struct rx_upgrade_msg *m, size_t size, int flags, int *fds, unsigned *n)
{
    int rc = flags & MSG_CTRUNC ? -EMFILE : flags & MSG_TRUNC || !rx_upgrade_is_sound(m, size) ? -EPROTO : 1;
    while (rc < 0 && *n)
        close(fds[--*n]);
    return rc;
}

int rx_upgrade_recv(int fd, struct rx_upgrade_msg *m, int *fds, unsigned *n, uint64_t until_ms)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(RX_UPGRADE_FDS * sizeof(int))];
    } control;
    *n = 0;
    for (;;) {
        struct iovec part = { .iov_base = m, .iov_len = sizeof *m };
        struct msghdr h = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
        };
        ssize_t k = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);
        if (k == 0)
            return 0;
        if (k > 0) {
            take_fds(&h, fds, n);
            return judge(m, (size_t)k, h.msg_flags, fds, n);
        }
        if (errno == ECONNRESET)
            return 0;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        int rc = wait_for(fd, POLLIN, until_ms);
        if (rc)
            return rc;
    }
}

int rx_upgrade_memory(const void *bytes, size_t len)
{
    int fd = memfd_create("rx-flows", MFD_CLOEXEC);
    if (fd == -1)
        return -errno;
    for (size_t at = 0; at < len;) {
        ssize_t n = pwrite(fd, (const uint8_t *)bytes + at, len - at, (off_t)at);
        if (n > 0) {
            at += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            int err = n ? errno : ENOSPC;
            close(fd);
            return -err;
        }
    }
    return fd;
}

uint8_t *rx_upgrade_recall(int fd, size_t len)
{
    struct stat st;
    uint8_t *p = fstat(fd, &st) == 0 && (uint64_t)st.st_size >= len ? malloc(RX_MAX(len, (size_t)1)) : NULL;
    for (size_t at = 0; p && at < len;) {
        ssize_t n = pread(fd, p + at, len - at, (off_t)at);
        if (n > 0) {
            at += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            free(p);
            return NULL;
        }
    }
    return p;
}
