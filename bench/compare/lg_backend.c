// SPDX-License-Identifier: MIT
// The backend: accepts, passes over TLS records in front of the frame, and does what the frame asks.
//
// Two threads, two epoll sets. The first accepts, reads frames and echoes; a connection that asks for
// anything longer moves to the second for the rest of its life. So the latency of short exchanges, measured
// while streams run, is the proxy's and not that of a backend busy with its own streams.
//
// A connection belongs to one thread at a time; nothing else is shared. Read next: lg_flows.c, the other end.
#include "loadgen.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TURNS_MAX = 4, // chunks one connection may move before others get their turn
    TLS_RECORD_HANDSHAKE = 0x16,
    TLS_HEADER_BYTES = 5,
    BACKLOG = 4096,
};

struct poller {
    int poll_fd;
    uint8_t *chunk; // LG_CHUNK_BYTES, this thread's
    bool is_discarding;
};

struct peer {
    int fd;
    bool is_listener;
    bool is_read_closed, is_write_closed;
    enum lg_job job;
    uint32_t watched;    // the epoll events asked for
    uint32_t skip_bytes; // left of the TLS record being passed over
    uint32_t head_bytes;
    uint32_t ticket;
    uint8_t head[LG_FRAME_BYTES];
    uint64_t goal_bytes, sent_bytes, received_bytes;
    int64_t wrong_at;
};

static struct poller short_poller, bulk_poller;
static uint8_t stream_bytes[LG_CHUNK_BYTES];
static char verdicts[LG_TICKETS][LG_FRAME_BYTES]; // the bulk thread's alone

static void peer_close(struct peer *p)
{
    close(p->fd);
    free(p);
}

// All or nothing: short answers fit an empty send buffer, and a client has at most one message outstanding.
static bool send_whole(int fd, const void *bytes, size_t n)
{
    return send(fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n;
}

// ---- streams: the second thread -------------------------------------------------------------------------------

static bool is_verifying(const struct peer *p)
{
    return p->job == LG_JOB_VERIFY || p->job == LG_JOB_VERIFY_FIRST;
}

static bool is_sending(const struct peer *p)
{
    if (is_verifying(p))
        return p->sent_bytes < p->goal_bytes;
    return p->job == LG_JOB_SOURCE || p->job == LG_JOB_BOTH;
}

static void stream_take(struct peer *p, const uint8_t *bytes, size_t n)
{
    if (is_verifying(p) && p->wrong_at < 0)
        p->wrong_at = lg_pattern_check(LG_FROM_CLIENT, p->received_bytes, bytes, n);
    p->received_bytes += n;
}

// false: the connection is gone.
static bool stream_read(struct peer *p)
{
    bool may_discard = bulk_poller.is_discarding && !is_verifying(p);
    for (int turn = 0; turn < TURNS_MAX; turn++) {
        ssize_t n = recv(p->fd, bulk_poller.chunk, LG_CHUNK_BYTES, may_discard ? MSG_TRUNC : 0);
        if (n == -1)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0) {
            p->is_read_closed = true;
            return is_verifying(p);
        }
        stream_take(p, bulk_poller.chunk, (size_t)n);
    }
    return true;
}

static bool stream_write(struct peer *p)
{
    for (int turn = 0; turn < TURNS_MAX && is_sending(p); turn++) {
        const uint8_t *bytes = stream_bytes;
        size_t n = LG_CHUNK_BYTES;
        if (is_verifying(p)) {
            if (n > p->goal_bytes - p->sent_bytes)
                n = (size_t)(p->goal_bytes - p->sent_bytes);
            lg_pattern_fill(LG_FROM_BACKEND, p->sent_bytes, bulk_poller.chunk, n);
            bytes = bulk_poller.chunk;
        }
        ssize_t sent = send(p->fd, bytes, n, MSG_NOSIGNAL);
        if (sent == -1)
            return errno == EAGAIN || errno == EINTR;
        p->sent_bytes += (uint64_t)sent;
    }
    return true;
}

static void verdict_write(const struct peer *p, char verdict[LG_FRAME_BYTES])
{
    bool is_right = p->wrong_at < 0 && p->received_bytes == p->goal_bytes;
    memset(verdict, 0, LG_FRAME_BYTES);
    if (is_right)
        snprintf(verdict, LG_FRAME_BYTES, "OK");
    else
        snprintf(verdict, LG_FRAME_BYTES, "received %" PRIu64 " of %" PRIu64 ", wrong at %" PRId64, p->received_bytes,
                 p->goal_bytes, p->wrong_at);
}

// What is due once a verified stream has sent everything, or received everything. false: the connection is
// done.
static bool verify_settle(struct peer *p)
{
    if (p->job == LG_JOB_VERIFY_FIRST && !is_sending(p) && !p->is_write_closed) {
        shutdown(p->fd, SHUT_WR);
        p->is_write_closed = true;
    }
    if (!p->is_read_closed || is_sending(p))
        return true;
    char verdict[LG_FRAME_BYTES];
    verdict_write(p, verdict);
    if (p->job == LG_JOB_VERIFY_FIRST)
        memcpy(verdicts[p->ticket], verdict, sizeof verdict);
    else if (!send_whole(p->fd, verdict, sizeof verdict))
        fprintf(stderr, "loadgen: verdict not sent: %s\n", strerror(errno));
    return false;
}

static void stream_on_ready(struct peer *p, uint32_t events)
{
    bool is_alive = !(events & EPOLLERR);
    if (is_alive && (events & (EPOLLIN | EPOLLHUP)) && !p->is_read_closed)
        is_alive = stream_read(p);
    if (is_alive && (events & EPOLLOUT))
        is_alive = stream_write(p);
    if (is_alive && is_verifying(p))
        is_alive = verify_settle(p);
    if (!is_alive) {
        peer_close(p);
        return;
    }
    uint32_t want = (p->is_read_closed ? 0 : EPOLLIN) | (is_sending(p) ? EPOLLOUT : 0);
    if (want != p->watched) {
        lg_poll_change(bulk_poller.poll_fd, p->fd, p, want);
        p->watched = want;
    }
}

// The verdict question is answered here because the answers are this thread's.
static void bulk_on_ready(struct peer *p, uint32_t events)
{
    if (p->job != LG_JOB_VERDICT) {
        stream_on_ready(p, events);
        return;
    }
    send_whole(p->fd, verdicts[p->ticket], LG_FRAME_BYTES);
    peer_close(p);
}

static _Noreturn void *bulk_thread(void *unused)
{
    struct epoll_event events[LG_EVENTS_MAX];
    (void)unused;
    for (;;) {
        int n = epoll_wait(bulk_poller.poll_fd, events, LG_EVENTS_MAX, -1);
        for (int i = 0; i < n; i++)
            bulk_on_ready(events[i].data.ptr, events[i].events);
    }
}

// ---- frames and echoes: the first thread ----------------------------------------------------------------------

// Consumes TLS records, then the frame, from what was read; returns how many bytes were left over.
static size_t head_take(struct peer *p, const uint8_t *bytes, size_t n)
{
    while (n && p->head_bytes < LG_FRAME_BYTES) {
        size_t piece = p->skip_bytes;
        if (!piece) {
            bool is_record = (p->head_bytes ? p->head[0] : bytes[0]) == TLS_RECORD_HANDSHAKE;
            piece = (is_record ? TLS_HEADER_BYTES : LG_FRAME_BYTES) - p->head_bytes;
        }
        if (piece > n)
            piece = n;
        if (p->skip_bytes) {
            p->skip_bytes -= (uint32_t)piece;
        } else {
            memcpy(p->head + p->head_bytes, bytes, piece);
            p->head_bytes += (uint32_t)piece;
        }
        bytes += piece;
        n -= piece;
        if (p->head_bytes == TLS_HEADER_BYTES && p->head[0] == TLS_RECORD_HANDSHAKE) {
            p->skip_bytes = (uint32_t)p->head[3] << 8 | p->head[4];
            p->head_bytes = 0;
        }
    }
    return n;
}

static bool job_begin(struct peer *p)
{
    uint64_t number = 0;
    p->job = lg_frame_parse(p->head, &number);
    p->wrong_at = -1;
    p->goal_bytes = number;
    if (p->job == LG_JOB_VERIFY_FIRST) {
        p->ticket = (uint32_t)(number >> LG_TICKET_SHIFT) % LG_TICKETS;
        p->goal_bytes = number & ((1ull << LG_TICKET_SHIFT) - 1);
    } else if (p->job == LG_JOB_VERDICT) {
        p->ticket = (uint32_t)number % LG_TICKETS;
    }
    return p->job != LG_JOB_NONE;
}

static void move_to_bulk(struct peer *p)
{
    epoll_ctl(short_poller.poll_fd, EPOLL_CTL_DEL, p->fd, NULL);
    p->watched = EPOLLIN | EPOLLOUT;
    lg_poll_add(bulk_poller.poll_fd, p->fd, p, p->watched);
}

// Bytes of a connection of the first thread. false: it is gone.
static bool short_take(struct peer *p, const uint8_t *bytes, size_t n)
{
    if (p->job == LG_JOB_ECHO)
        return send_whole(p->fd, bytes, n);
    size_t rest = head_take(p, bytes, n);
    if (p->head_bytes < LG_FRAME_BYTES)
        return true;
    if (!job_begin(p))
        return false;
    bytes += n - rest;
    if (p->job == LG_JOB_ECHO)
        return send_whole(p->fd, p->head, LG_FRAME_BYTES) && (!rest || send_whole(p->fd, bytes, rest));
    if (rest)
        stream_take(p, bytes, rest);
    move_to_bulk(p);
    return true;
}

static void short_on_ready(struct peer *p)
{
    ssize_t n = recv(p->fd, short_poller.chunk, LG_CHUNK_BYTES, 0);
    if (n == -1 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || !short_take(p, short_poller.chunk, (size_t)n))
        peer_close(p);
}

static void listener_on_ready(const struct peer *listener)
{
    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd == -1) {
            if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
                fprintf(stderr, "loadgen: accept: %s\n", strerror(errno));
            return;
        }
        struct peer *p = calloc(1, sizeof *p);
        if (!p) {
            close(fd);
            return;
        }
        p->fd = fd;
        lg_poll_add(short_poller.poll_fd, fd, p, EPOLLIN);
    }
}

static void listener_open(const struct sockaddr_in *at)
{
    int one = 1;
    struct peer *listener = calloc(1, sizeof *listener);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!listener || fd == -1)
        lg_die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    // Accepted sockets inherit it, which saves a call per connection on the side that is not being measured.
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)at, sizeof *at) == -1 || listen(fd, BACKLOG) == -1)
        lg_die("listen at port %u", ntohs(at->sin_port));
    *listener = (struct peer){ .fd = fd, .is_listener = true };
    lg_poll_add(short_poller.poll_fd, fd, listener, EPOLLIN);
}

static void poller_open(struct poller *poller, const struct lg_options *opt)
{
    poller->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    poller->chunk = malloc(LG_CHUNK_BYTES);
    poller->is_discarding = opt->is_discarding;
    if (poller->poll_fd == -1 || !poller->chunk)
        lg_die("epoll");
}

int lg_backend_run(const struct sockaddr_in *listen_at, uint32_t n_listen, const struct lg_options *opt)
{
    pthread_t thread;
    poller_open(&short_poller, opt);
    poller_open(&bulk_poller, opt);
    lg_pattern_fill(LG_FROM_BACKEND, 0, stream_bytes, sizeof stream_bytes);
    for (uint32_t i = 0; i < n_listen; i++)
        listener_open(&listen_at[i]);
    errno = pthread_create(&thread, NULL, bulk_thread, NULL);
    if (errno)
        lg_die("thread");
    puts("ready"); // whoever started us waits for this line
    fflush(stdout);

    struct epoll_event events[LG_EVENTS_MAX];
    for (;;) {
        int n = epoll_wait(short_poller.poll_fd, events, LG_EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            struct peer *p = events[i].data.ptr;
            if (p->is_listener)
                listener_on_ready(p);
            else
                short_on_ready(p);
        }
    }
}
