// SPDX-License-Identifier: MIT
// The timed client modes: connection churn, ping-pong, streams, and streams beside ping-pong.
//
// Each keeps a fixed number of connections busy from one epoll loop: a closed loop, so a slow proxy is
// offered less, and rates are comparable only at equal concurrency. In the mixed mode the streams run in a
// thread of their own, because the latency to be measured is the proxy's and not this process's.
//
// A lost connection ends a mode with an error, except under churn, where it is counted and replaced.
#include "loadgen.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    WAIT_MS = 20, // how late the end of a window may be noticed when nothing moves
    RETRY_WAIT_MS = 1,
};

struct flow {
    int fd; // -1: to be opened again
    bool is_frame_sent;
    uint32_t got_bytes; // of the answer being received
    uint64_t since_ns;
};

static struct flow *flows_new(uint32_t n)
{
    struct flow *flows = calloc(n, sizeof *flows);
    if (!flows)
        lg_die("memory");
    for (uint32_t i = 0; i < n; i++)
        flows[i].fd = -1;
    return flows;
}

static int poller_new(void)
{
    int poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poll_fd == -1)
        lg_die("epoll");
    return poll_fd;
}

// ---- churn ----------------------------------------------------------------------------------------------------

struct churn {
    const struct lg_options *opt;
    int poll_fd;
    struct flow *flows;
    struct lg_frame frame;
    uint32_t n_closed;
    uint64_t n_errors;
    int last_errno;  // 0: the connection ended before its answer
    uint64_t due_ns; // with a rate: when the next may be opened
};

static void churn_fail(struct churn *c, struct flow *f, int why)
{
    if (f->fd != -1)
        close(f->fd);
    f->fd = -1;
    c->n_closed++;
    c->n_errors++;
    c->last_errno = why;
}

// Over loopback the handshake is over when connect() returns, so the frame is sent at once; when it is not,
// the first EPOLLOUT sends it.
static void churn_open(struct churn *c, struct flow *f)
{
    *f = (struct flow){ .since_ns = lg_now_ns() };
    f->fd = lg_connect_begin(c->opt);
    if (f->fd == -1) {
        churn_fail(c, f, errno);
        return;
    }
    f->is_frame_sent = lg_frame_send(c->opt, f->fd, &c->frame) == 0;
    if (!f->is_frame_sent && errno != EAGAIN && errno != ENOTCONN) {
        churn_fail(c, f, errno);
        return;
    }
    lg_poll_add(c->poll_fd, f->fd, f, EPOLLIN | (f->is_frame_sent ? 0 : EPOLLOUT));
}

static void churn_on_ready(struct churn *c, struct flow *f)
{
    uint8_t answer[LG_FRAME_BYTES];
    if (!f->is_frame_sent) {
        if (lg_frame_send(c->opt, f->fd, &c->frame) == 0) {
            f->is_frame_sent = true;
            lg_poll_change(c->poll_fd, f->fd, f, EPOLLIN);
        } else if (errno != EAGAIN) {
            churn_fail(c, f, errno);
        }
        return;
    }
    ssize_t n = recv(f->fd, answer, sizeof answer - f->got_bytes, 0);
    if (n == -1 && errno == EAGAIN)
        return;
    if (n <= 0) {
        churn_fail(c, f, n ? errno : 0);
        return;
    }
    f->got_bytes += (uint32_t)n;
    if (f->got_bytes < LG_FRAME_BYTES)
        return;
    lg_latency_add(lg_now_ns() - f->since_ns);
    close(f->fd);
    f->fd = -1;
    if (c->opt->rate)
        c->n_closed++;
    else
        churn_open(c, f);
}

static bool churn_is_due(struct churn *c, uint64_t now_ns)
{
    if (!c->opt->rate)
        return true;
    if (c->due_ns > now_ns)
        return false;
    c->due_ns += 1000000000ull / c->opt->rate;
    return true;
}

static void churn_reopen(struct churn *c)
{
    uint64_t now_ns = lg_now_ns();
    c->n_closed = 0;
    for (uint32_t i = 0; i < c->opt->n_flows; i++) {
        if (c->flows[i].fd != -1)
            continue;
        if (churn_is_due(c, now_ns))
            churn_open(c, &c->flows[i]);
        else
            c->n_closed++;
    }
}

int lg_churn_run(const struct lg_options *opt)
{
    struct churn c = { .opt = opt,
                       .poll_fd = poller_new(),
                       .flows = flows_new(opt->n_flows),
                       .frame = lg_frame_build(LG_JOB_ECHO, 0),
                       .n_closed = opt->n_flows,
                       .due_ns = lg_now_ns() };
    struct epoll_event events[LG_EVENTS_MAX];
    struct lg_window window;
    lg_window_init(&window, opt);
    bool was_open = false;
    while (lg_window_tick(&window)) {
        if (window.is_open && !was_open) {
            was_open = true;
            c.n_errors = 0;
        }
        if (c.n_closed)
            churn_reopen(&c);
        int n = epoll_wait(c.poll_fd, events, LG_EVENTS_MAX, c.n_closed ? RETRY_WAIT_MS : WAIT_MS);
        for (int i = 0; i < n; i++)
            churn_on_ready(&c, events[i].data.ptr);
    }
    lg_window_close(&window);
    lg_json_begin("connrate", opt);
    lg_json_number("flows", opt->n_flows);
    lg_json_rate(&window, "connection", (double)lg_latency_count());
    lg_json_latency("");
    lg_json_number("errors", (double)c.n_errors);
    if (c.n_errors)
        lg_json_text("last_error", c.last_errno ? strerror(c.last_errno) : "ended before its answer");
    lg_json_end();
    return 0;
}

// ---- ping-pong ------------------------------------------------------------------------------------------------

struct pingpong {
    const struct lg_options *opt;
    int poll_fd;
    uint32_t n_flows;
    struct flow *flows;
    uint8_t message[LG_CHUNK_BYTES], answer[LG_CHUNK_BYTES];
};

static void ping(const struct pingpong *pp, struct flow *f)
{
    f->got_bytes = 0;
    f->since_ns = lg_now_ns();
    errno = EMSGSIZE;
    if (send(f->fd, pp->message, pp->opt->msg_bytes, MSG_NOSIGNAL) != (ssize_t)pp->opt->msg_bytes)
        lg_die("ping-pong: send");
}

static struct pingpong *pingpong_new(const struct lg_options *opt, uint32_t n_flows)
{
    struct pingpong *pp = calloc(1, sizeof *pp);
    if (!pp)
        lg_die("memory");
    pp->opt = opt;
    pp->n_flows = n_flows;
    pp->poll_fd = poller_new();
    pp->flows = flows_new(n_flows);
    lg_pattern_fill(LG_FROM_CLIENT, 0, pp->message, sizeof pp->message);
    struct lg_frame frame = lg_frame_build(LG_JOB_ECHO, 0);
    for (uint32_t i = 0; i < n_flows; i++) {
        pp->flows[i].fd = lg_open(opt, &frame, LG_FRAME_BYTES);
        lg_poll_add(pp->poll_fd, pp->flows[i].fd, &pp->flows[i], EPOLLIN);
    }
    return pp;
}

static void pong(struct pingpong *pp, struct flow *f)
{
    ssize_t n = recv(f->fd, pp->answer, pp->opt->msg_bytes - f->got_bytes, 0);
    if (n == -1 && errno == EAGAIN)
        return;
    if (n <= 0) {
        errno = n ? errno : ECONNRESET;
        lg_die("ping-pong: connection lost");
    }
    f->got_bytes += (uint32_t)n;
    if (f->got_bytes < pp->opt->msg_bytes)
        return;
    lg_latency_add(lg_now_ns() - f->since_ns);
    ping(pp, f);
}

static void pingpong_measure(struct pingpong *pp, struct lg_window *window, void (*on_open)(void *), void *arg)
{
    struct epoll_event events[LG_EVENTS_MAX];
    bool was_open = false;
    for (uint32_t i = 0; i < pp->n_flows; i++)
        ping(pp, &pp->flows[i]);
    while (lg_window_tick(window)) {
        if (window->is_open && !was_open) {
            was_open = true;
            if (on_open)
                on_open(arg);
        }
        int n = epoll_wait(pp->poll_fd, events, LG_EVENTS_MAX, WAIT_MS);
        for (int i = 0; i < n; i++)
            pong(pp, events[i].data.ptr);
    }
    lg_window_close(window);
}

int lg_pingpong_run(const struct lg_options *opt)
{
    struct pingpong *pp = pingpong_new(opt, opt->n_flows);
    struct lg_window window;
    lg_window_init(&window, opt);
    pingpong_measure(pp, &window, NULL, NULL);
    lg_json_begin("pingpong", opt);
    lg_json_number("flows", opt->n_flows);
    lg_json_number("message_bytes", opt->msg_bytes);
    lg_json_rate(&window, "message", (double)lg_latency_count());
    lg_json_latency("");
    lg_json_end();
    return 0;
}

// ---- streams --------------------------------------------------------------------------------------------------

struct bulk {
    const struct lg_options *opt;
    int poll_fd;
    struct flow *flows;
    uint8_t *source, *sink;
    _Atomic uint64_t moved_bytes; // read by the measuring thread, in the mixed mode
    _Atomic bool is_stopped;
};

static struct bulk *bulk_new(const struct lg_options *opt)
{
    struct bulk *b = calloc(1, sizeof *b);
    if (!b || !(b->source = malloc(LG_CHUNK_BYTES)) || !(b->sink = malloc(LG_CHUNK_BYTES)))
        lg_die("memory");
    b->opt = opt;
    b->poll_fd = poller_new();
    b->flows = flows_new(opt->n_flows);
    lg_pattern_fill(LG_FROM_CLIENT, 0, b->source, LG_CHUNK_BYTES);

    bool is_up = strcmp(opt->direction, "down") != 0, is_down = strcmp(opt->direction, "up") != 0;
    struct lg_frame frame = lg_frame_build(is_up && is_down ? LG_JOB_BOTH : is_up ? LG_JOB_SINK : LG_JOB_SOURCE, 0);
    uint32_t events = (is_down ? EPOLLIN : 0) | (is_up ? EPOLLOUT : 0);
    for (uint32_t i = 0; i < opt->n_flows; i++) {
        b->flows[i].fd = lg_open(opt, &frame, 0);
        lg_poll_add(b->poll_fd, b->flows[i].fd, &b->flows[i], events);
    }
    return b;
}

static void bulk_count(struct bulk *b, ssize_t n, const char *what)
{
    if (n == -1 && errno == EAGAIN)
        return;
    if (n <= 0) {
        errno = n ? errno : ECONNRESET;
        lg_die("bulk: %s", what);
    }
    atomic_fetch_add_explicit(&b->moved_bytes, (uint64_t)n, memory_order_relaxed);
}

static void bulk_turn(struct bulk *b)
{
    struct epoll_event events[LG_EVENTS_MAX];
    int n = epoll_wait(b->poll_fd, events, LG_EVENTS_MAX, WAIT_MS);
    for (int i = 0; i < n; i++) {
        const struct flow *f = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            bulk_count(b, send(f->fd, b->source, LG_CHUNK_BYTES, MSG_NOSIGNAL), "send");
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            bulk_count(b, recv(f->fd, b->sink, LG_CHUNK_BYTES, b->opt->is_discarding ? MSG_TRUNC : 0), "receive");
    }
}

static uint64_t bulk_moved(struct bulk *b)
{
    return atomic_load_explicit(&b->moved_bytes, memory_order_relaxed);
}

int lg_bulk_run(const struct lg_options *opt)
{
    struct bulk *b = bulk_new(opt);
    struct lg_window window;
    uint64_t before_bytes = 0;
    bool was_open = false;
    lg_window_init(&window, opt);
    while (lg_window_tick(&window)) {
        if (window.is_open && !was_open) {
            was_open = true;
            before_bytes = bulk_moved(b);
        }
        bulk_turn(b);
    }
    lg_window_close(&window);
    lg_json_begin("bulk", opt);
    lg_json_text("direction", opt->direction);
    lg_json_number("flows", opt->n_flows);
    lg_json_rate(&window, "GB", (double)(bulk_moved(b) - before_bytes) / 1e9);
    lg_json_end();
    return 0;
}

// ---- streams beside ping-pong ---------------------------------------------------------------------------------

static void *bulk_thread(void *arg)
{
    struct bulk *b = arg;
    while (!atomic_load_explicit(&b->is_stopped, memory_order_relaxed))
        bulk_turn(b);
    return NULL;
}

struct mixed {
    struct bulk *bulk;
    uint64_t before_bytes;
};

static void mixed_on_open(void *arg)
{
    struct mixed *m = arg;
    m->before_bytes = bulk_moved(m->bulk);
}

int lg_mixed_run(const struct lg_options *opt)
{
    // The small connections are opened first: opening is bounded by a timeout that streams may stretch.
    struct pingpong *pp = pingpong_new(opt, opt->n_small);
    struct mixed m = { .bulk = bulk_new(opt) };
    struct lg_window window;
    pthread_t thread;
    errno = pthread_create(&thread, NULL, bulk_thread, m.bulk);
    if (errno)
        lg_die("thread");
    lg_window_init(&window, opt);
    pingpong_measure(pp, &window, mixed_on_open, &m);
    double streamed_gb = (double)(bulk_moved(m.bulk) - m.before_bytes) / 1e9;
    atomic_store_explicit(&m.bulk->is_stopped, true, memory_order_relaxed);
    pthread_join(thread, NULL);

    lg_json_begin("mixed", opt);
    lg_json_text("direction", opt->direction);
    lg_json_number("flows", opt->n_flows);
    lg_json_number("small_flows", opt->n_small);
    lg_json_rate(&window, "message", (double)lg_latency_count());
    lg_json_latency("");
    lg_json_number("bulk_gb_per_s", window.elapsed_s > 0 ? streamed_gb / window.elapsed_s : 0);
    if (opt->n_pids && streamed_gb > 0)
        lg_json_number("cpu_s_per_bulk_gb", window.cpu_s / streamed_gb);
    lg_json_end();
    return 0;
}
