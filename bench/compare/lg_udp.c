// SPDX-License-Identifier: MIT
// UDP: a backend that sends every datagram back, and a client that keeps so many of them on their way on each flow.
//
// A closed loop: what comes back is sent again, so that a slow proxy is offered less. A datagram begins with when it was
// sent, which gives the round trip. What does not come back within LOST_NS is taken for lost and replaced. Datagrams are
// sent and received in batches, without UDP_SEGMENT or UDP_GRO: what gathers them in between is the proxy's merit.
#include "loadgen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BATCH = 64,
    DATAGRAM_MAX = 65507,
    ROOM = 8 << 20,
    WAIT_MS = 20,
    LOST_NS = 200 * 1000 * 1000,
    FIRST_MS = 2000, // until an idle flow's one datagram must be back
};

static struct {
    struct mmsghdr heads[BATCH];
    struct iovec iov[BATCH];
    struct sockaddr_in from[BATCH];
    uint8_t bytes[BATCH][2048];
} batch;

static int udp_socket(const struct sockaddr_in *bind_to, const struct sockaddr_in *connect_to)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), room = ROOM;
    if (fd == -1)
        lg_die("socket");
    if (bind_to || !connect_to) // the one all flows come to; a client's socket holds little
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room))
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind_to && bind(fd, (const struct sockaddr *)bind_to, sizeof *bind_to))
        lg_die("bind");
    if (connect_to && connect(fd, (const struct sockaddr *)connect_to, sizeof *connect_to))
        lg_die("connect");
    return fd;
}

static void batch_prepare(bool has_name)
{
    for (int i = 0; i < BATCH; i++) {
        batch.iov[i] = (struct iovec){ batch.bytes[i], sizeof batch.bytes[i] };
        batch.heads[i].msg_hdr = (struct msghdr){ .msg_iov = &batch.iov[i],
                                                  .msg_iovlen = 1,
                                                  .msg_name = has_name ? &batch.from[i] : NULL,
                                                  .msg_namelen = has_name ? sizeof batch.from[i] : 0 };
    }
}

// ---- the backend --------------------------------------------------------------------------------------------------

int lg_udp_server_run(const struct sockaddr_in *listen_at, uint32_t n_listen)
{
    if (n_listen != 1)
        lg_die("one --listen is wanted");
    int fd = udp_socket(listen_at, NULL), poll_fd = epoll_create1(EPOLL_CLOEXEC);
    lg_poll_add(poll_fd, fd, NULL, EPOLLIN);
    for (;;) {
        struct epoll_event event;
        epoll_wait(poll_fd, &event, 1, -1);
        batch_prepare(true);
        int n = recvmmsg(fd, batch.heads, BATCH, MSG_DONTWAIT, NULL);
        for (int i = 0; i < n; i++)
            batch.iov[i].iov_len = batch.heads[i].msg_len;
        for (int at = 0, sent; at < n; at += sent)
            if ((sent = sendmmsg(fd, batch.heads + at, (unsigned)(n - at), 0)) <= 0)
                sent = 1; // that one could not be sent
    }
}

// ---- the client ---------------------------------------------------------------------------------------------------

struct udp_flow {
    int fd;
    uint32_t n_out;     // on their way
    uint64_t heard_ns;  // or sent anew
};

// Sends until `deep` datagrams are on their way.
static void udp_fill(const struct lg_options *opt, struct udp_flow *f)
{
    while (f->n_out < opt->depth) {
        uint32_t n = opt->depth - f->n_out < BATCH ? opt->depth - f->n_out : BATCH;
        uint64_t now_ns = lg_now_ns();
        batch_prepare(false);
        for (uint32_t i = 0; i < n; i++) {
            memcpy(batch.bytes[i], opt->preamble, opt->preamble_bytes);
            memcpy(batch.bytes[i] + opt->preamble_bytes, &now_ns, sizeof now_ns);
            batch.iov[i].iov_len = opt->msg_bytes;
        }
        int sent = sendmmsg(f->fd, batch.heads, n, 0);
        if (sent <= 0)
            return;
        f->n_out += (uint32_t)sent;
    }
}

// What came back; how many.
static uint32_t udp_hear(const struct lg_options *opt, struct udp_flow *f, uint64_t *n_wrong)
{
    batch_prepare(false);
    int n = recvmmsg(f->fd, batch.heads, BATCH, MSG_DONTWAIT, NULL);
    if (n <= 0)
        return 0;
    uint64_t now_ns = lg_now_ns(), then_ns;
    for (int i = 0; i < n; i++) {
        memcpy(&then_ns, batch.bytes[i] + opt->preamble_bytes, sizeof then_ns);
        *n_wrong += batch.heads[i].msg_len != opt->msg_bytes || then_ns > now_ns;
        lg_latency_add(now_ns - then_ns);
    }
    f->heard_ns = now_ns;
    f->n_out -= (uint32_t)n < f->n_out ? (uint32_t)n : f->n_out;
    return (uint32_t)n;
}

// Flows that say one thing and then rest. How many were not answered.
static uint32_t udp_rest(const struct lg_options *opt)
{
    uint32_t n_lost = 0;
    for (uint32_t i = 0; i < opt->n_idle; i++) {
        struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f010001 + i / 200) };
        struct udp_flow f = { .fd = udp_socket(NULL, NULL) };
        struct lg_options one = *opt;
        struct epoll_event event;
        int poll_fd = epoll_create1(EPOLL_CLOEXEC);
        uint64_t n_wrong = 0;
        one.depth = 1;
        if (bind(f.fd, (const struct sockaddr *)&from, sizeof from) ||
            connect(f.fd, (const struct sockaddr *)&opt->target, sizeof opt->target))
            lg_die("idle flow");
        udp_fill(&one, &f);
        lg_poll_add(poll_fd, f.fd, NULL, EPOLLIN);
        n_lost += epoll_wait(poll_fd, &event, 1, FIRST_MS) != 1 || !udp_hear(opt, &f, &n_wrong) || n_wrong;
        close(poll_fd);
        close(f.fd); // its flow in the proxy rests on
    }
    return n_lost;
}

int lg_udp_run(const struct lg_options *opt)
{
    struct udp_flow *flows = calloc(opt->n_flows, sizeof *flows);
    int poll_fd = epoll_create1(EPOLL_CLOEXEC);
    uint64_t n_back = 0, n_lost = 0, n_wrong = 0;
    if (opt->msg_bytes < opt->preamble_bytes + sizeof(uint64_t) || opt->msg_bytes > sizeof batch.bytes[0])
        lg_die("--bytes %u", opt->msg_bytes);
    uint64_t rss_before_kb = lg_usage_all(opt).rss_kb;
    uint32_t n_unanswered = udp_rest(opt);
    uint64_t rss_kb = lg_usage_all(opt).rss_kb;
    for (uint32_t i = 0; i < opt->n_flows; i++) {
        flows[i] = (struct udp_flow){ .fd = udp_socket(NULL, &opt->target), .heard_ns = lg_now_ns() };
        lg_poll_add(poll_fd, flows[i].fd, &flows[i], EPOLLIN);
        udp_fill(opt, &flows[i]);
    }
    struct lg_window window;
    lg_window_init(&window, opt);
    for (uint64_t checked_ns = lg_now_ns(); lg_window_tick(&window);) {
        struct epoll_event events[LG_EVENTS_MAX];
        int n = epoll_wait(poll_fd, events, LG_EVENTS_MAX, WAIT_MS);
        for (int i = 0; i < n; i++) {
            struct udp_flow *f = events[i].data.ptr;
            uint32_t back = udp_hear(opt, f, &n_wrong);
            n_back += window.is_open ? back : 0;
            udp_fill(opt, f);
        }
        uint64_t now_ns = lg_now_ns();
        for (uint32_t i = 0; now_ns - checked_ns > LOST_NS / 4 && i < opt->n_flows; i++)
            if (now_ns - flows[i].heard_ns > LOST_NS) {
                n_lost += window.is_open ? flows[i].n_out : 0;
                flows[i].n_out = 0;
                flows[i].heard_ns = now_ns;
                udp_fill(opt, &flows[i]);
            }
        if (now_ns - checked_ns > LOST_NS / 4)
            checked_ns = now_ns;
    }
    lg_window_close(&window);
    lg_json_begin("udp", opt);
    lg_json_rate(&window, "round trips", (double)n_back);
    lg_json_latency("rtt_");
    lg_json_number("lost", (double)n_lost);
    lg_json_number("errors", (double)n_wrong + n_unanswered);
    if (opt->n_idle)
        lg_json_number("bytes_per_idle_flow", ((double)rss_kb - (double)rss_before_kb) * 1024 / opt->n_idle);
    lg_json_end();
    return n_wrong || n_unanswered ? 1 : 0;
}
