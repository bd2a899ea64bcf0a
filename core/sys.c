// SPDX-License-Identifier: MIT
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

void rx_require_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "refractium: broken invariant at %s:%d: %s\n", file, line, what);
    abort();
}

// recv(3) and send(3) are cancellation points: in a program with threads each call pays for being one, some 3 % of a
// small message. Nothing here is ever cancelled, so the system is called directly. Sanitizers want to see the calls.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define sys_recv(fd, buf, len) recv(fd, buf, len, 0)
#define sys_send(fd, buf, len) send(fd, buf, len, MSG_NOSIGNAL)
#else
#define sys_recv(fd, buf, len) syscall(SYS_recvfrom, fd, buf, len, 0, NULL, NULL)
#define sys_send(fd, buf, len) syscall(SYS_sendto, fd, buf, len, MSG_NOSIGNAL, NULL, 0)
#endif

static enum rx_io outcome(ssize_t r, size_t *n, bool is_read)
{
    if (r > 0) {
        *n = (size_t)r;
        return RX_IO_DONE;
    }
    *n = 0;
    if (r == 0)
        return is_read ? RX_IO_EOF : RX_IO_AGAIN;
    return errno == EAGAIN || errno == EWOULDBLOCK ? RX_IO_AGAIN : RX_IO_FAIL;
}

enum rx_io rx_sys_recv(int fd, void *buf, size_t len, size_t *n)
{
    ssize_t r;
    do
        r = sys_recv(fd, buf, len);
    while (r == -1 && errno == EINTR);
    return outcome(r, n, true);
}

enum rx_io rx_sys_send(int fd, const void *buf, size_t len, size_t *n)
{
    ssize_t r;
    do
        r = sys_send(fd, buf, len);
    while (r == -1 && errno == EINTR);
    return outcome(r, n, false);
}

enum rx_io rx_sys_send_two(int fd, const void *a, size_t a_len, const void *b, size_t b_len, size_t *n)
{
    struct iovec pieces[] = { { (void *)(uintptr_t)a, a_len }, { (void *)(uintptr_t)b, b_len } };
    struct msghdr m = { .msg_iov = pieces, .msg_iovlen = b_len ? 2 : 1 };
    ssize_t r;
    do
        r = sendmsg(fd, &m, MSG_NOSIGNAL);
    while (r == -1 && errno == EINTR);
    return outcome(r, n, false);
}

enum rx_io rx_sys_splice(int from, int to, size_t len, size_t *n)
{
    ssize_t r;
    do
        r = splice(from, NULL, to, NULL, len, SPLICE_F_NONBLOCK);
    while (r == -1 && errno == EINTR);
    return outcome(r, n, true);
}

void rx_sys_nodelay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void rx_sys_reset_on_close(int fd)
{
    struct linger now = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

bool rx_sys_is_alive(int fd)
{
    char one;
    ssize_t n;
    do
        n = recv(fd, &one, 1, MSG_PEEK | MSG_DONTWAIT);
    while (n == -1 && errno == EINTR);
    return n > 0 || (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

int rx_sys_take_error(int fd)
{
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1)
        return errno;
    return err;
}

unsigned long rx_sys_raise_nofile(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) == -1)
        return 1024;
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
    getrlimit(RLIMIT_NOFILE, &lim);
    return (unsigned long)lim.rlim_cur;
}

uint64_t rx_sys_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}
