// SPDX-License-Identifier: MIT
// Sockets, the opening frame and the content pattern: what both ends of a measurement agree on.
#include "loadgen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN_TIMEOUT_S = 5, LOOPBACK_NET = 127 };

void lg_die(const char *format, ...)
{
    int why = errno;
    va_list args;
    va_start(args, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, ": %s\n", strerror(why));
    exit(1);
}

// ---- addresses ------------------------------------------------------------------------------------------------

int lg_addr_parse(const char *text, struct sockaddr_in *addr)
{
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || (size_t)(colon - text) >= sizeof host)
        return -EINVAL;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';

    char *end;
    long port = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end || port < 1 || port > 65535)
        return -EINVAL;
    *addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    if (inet_pton(AF_INET, host, &addr->sin_addr) != 1)
        return -EINVAL;
    return ntohl(addr->sin_addr.s_addr) >> 24 == LOOPBACK_NET ? 0 : -EPERM;
}

// ---- the frame ------------------------------------------------------------------------------------------------

struct lg_frame lg_frame_build(enum lg_job job, uint64_t number)
{
    char head[LG_FRAME_BYTES * 2];
    int n = snprintf(head, sizeof head, "GET /%c%" PRIu64 " HTTP/1.1\r\nHost: app.example.test\r\nX:", job, number);
    if (n < 0 || n > LG_FRAME_BYTES - 4) {
        errno = EOVERFLOW;
        lg_die("frame number %" PRIu64, number);
    }
    struct lg_frame frame;
    memset(frame.text, '.', sizeof frame.text);
    memcpy(frame.text, head, (size_t)n);
    memcpy(frame.text + LG_FRAME_BYTES - 4, "\r\n\r\n", 4);
    return frame;
}

enum lg_job lg_frame_parse(const uint8_t *bytes, uint64_t *number)
{
    static const char jobs[] = { LG_JOB_ECHO,   LG_JOB_SINK,         LG_JOB_SOURCE, LG_JOB_BOTH,
                                 LG_JOB_VERIFY, LG_JOB_VERIFY_FIRST, LG_JOB_VERDICT };
    if (memcmp(bytes, "GET /", 5) != 0 || !memchr(jobs, bytes[5], sizeof jobs))
        return LG_JOB_NONE;
    char digits[24] = "";
    memcpy(digits, bytes + 6, sizeof digits - 1);
    *number = strtoull(digits, NULL, 10);
    return (enum lg_job)bytes[5];
}

// ---- the content pattern --------------------------------------------------------------------------------------

// Every byte depends on its position in the stream, so that a lost, repeated or misplaced block shows.
static uint64_t pattern_word(enum lg_pattern which, uint64_t index)
{
    uint64_t x = (index * 2 + 1) * 0xd6e8feb86659fd93u + (uint64_t)which * 0xa0761d6478bd642fu;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    return x ^ (x >> 29);
}

static size_t pattern_piece(uint64_t at, size_t n)
{
    size_t room = 8 - (size_t)(at % 8);
    return n < room ? n : room;
}

void lg_pattern_fill(enum lg_pattern which, uint64_t at, uint8_t *bytes, size_t n)
{
    for (size_t piece; n; at += piece, bytes += piece, n -= piece) {
        uint64_t word = pattern_word(which, at / 8);
        piece = pattern_piece(at, n);
        memcpy(bytes, (const uint8_t *)&word + at % 8, piece);
    }
}

int64_t lg_pattern_check(enum lg_pattern which, uint64_t at, const uint8_t *bytes, size_t n)
{
    for (size_t piece; n; at += piece, bytes += piece, n -= piece) {
        uint64_t word = pattern_word(which, at / 8);
        piece = pattern_piece(at, n);
        if (memcmp(bytes, (const uint8_t *)&word + at % 8, piece) != 0)
            return (int64_t)at;
    }
    return -1;
}

// ---- connecting -----------------------------------------------------------------------------------------------

int lg_connect_begin(const struct lg_options *opt)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (const struct sockaddr *)&opt->target, sizeof opt->target) == -1 && errno != EINPROGRESS) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

int lg_frame_send(const struct lg_options *opt, int fd, const struct lg_frame *frame)
{
    struct iovec parts[2] = { { (void *)(uintptr_t)opt->preamble, opt->preamble_bytes },
                              { (void *)(uintptr_t)frame->text, LG_FRAME_BYTES } };
    struct msghdr msg = { .msg_iov = parts, .msg_iovlen = 2 };
    ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL);
    if (n == -1)
        return -1;
    if ((size_t)n != opt->preamble_bytes + LG_FRAME_BYTES) {
        errno = EMSGSIZE;
        return -1;
    }
    return 0;
}

// Blocking on purpose: opening is not what is measured, and a timeout on the socket bounds every step.
int lg_open(const struct lg_options *opt, const struct lg_frame *frame, size_t n_answer)
{
    int one = 1;
    struct timeval limit = { .tv_sec = OPEN_TIMEOUT_S };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        lg_die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (const struct sockaddr *)&opt->target, sizeof opt->target) == -1)
        lg_die("connect");
    if (lg_frame_send(opt, fd, frame))
        lg_die("send the frame");
    char answer[LG_FRAME_BYTES];
    if (n_answer) {
        errno = 0;
        ssize_t n = recv(fd, answer, n_answer, MSG_WAITALL);
        if (n != (ssize_t)n_answer)
            lg_die("connection ended or stalled before its first answer (%zd of %zu bytes)", n, n_answer);
    }
    if (fcntl(fd, F_SETFL, O_NONBLOCK) == -1)
        lg_die("fcntl");
    return fd;
}

static void poll_set(int poll_fd, int how, int fd, struct epoll_event event)
{
    if (epoll_ctl(poll_fd, how, fd, &event) == -1)
        lg_die("epoll_ctl");
}

void lg_poll_add(int poll_fd, int fd, void *owner, uint32_t events)
{
    poll_set(poll_fd, EPOLL_CTL_ADD, fd, (struct epoll_event){ .events = events, .data.ptr = owner });
}

void lg_poll_change(int poll_fd, int fd, void *owner, uint32_t events)
{
    poll_set(poll_fd, EPOLL_CTL_MOD, fd, (struct epoll_event){ .events = events, .data.ptr = owner });
}
