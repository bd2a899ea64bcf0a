// SPDX-License-Identifier: MIT
// Two client modes that are not about speed: what an idle connection costs the proxy, and whether every byte
// arrives.
#include "loadgen.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// ---- idle -----------------------------------------------------------------------------------------------------

// Opened and kept before counting starts, so that what a proxy allocates once is not charged to each
// connection.
enum { IDLE_WARM = 64 };

static void pause_s(double seconds)
{
    struct timespec left = { .tv_sec = (time_t)seconds };
    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) == -1 && errno == EINTR)
        continue;
}

int lg_idle_run(const struct lg_options *opt)
{
    // The sockets are left to the end of the process: nothing is to close while they are counted.
    struct lg_frame frame = lg_frame_build(LG_JOB_ECHO, 0);
    for (uint32_t i = 0; i < IDLE_WARM; i++)
        lg_open(opt, &frame, LG_FRAME_BYTES);
    pause_s(opt->warmup_s);
    struct lg_usage before = lg_usage_all(opt);

    for (uint32_t i = 0; i < opt->n_idle; i++)
        lg_open(opt, &frame, LG_FRAME_BYTES);
    double cpu_opened_s = lg_usage_cpu(opt);
    pause_s(opt->window_s);
    struct lg_usage after = lg_usage_all(opt);

    lg_json_begin("idle", opt);
    lg_json_number("connections", opt->n_idle);
    if (opt->n_pids) {
        double n = opt->n_idle;
        lg_json_number("rss_kb", (double)after.rss_kb);
        lg_json_number("rss_bytes_per_connection", ((double)after.rss_kb - (double)before.rss_kb) * 1024 / n);
        lg_json_number("fds_per_connection", ((double)after.n_fds - (double)before.n_fds) / n);
        lg_json_number("cpu_s_while_idle", after.cpu_s - cpu_opened_s);
    }
    lg_json_end();
    return 0;
}

// ---- verify ---------------------------------------------------------------------------------------------------
// The client sends its pattern and checks the backend's at the same time; one side closes its half while the
// other is still sending, so a proxy that drops a direction at the first EOF is caught. With the client
// first, the backend's verdict follows its stream; with the backend first, it is asked for on another
// connection.

struct stream {
    int fd;
    bool is_done, is_read_closed, is_write_closed;
    uint32_t watched, verdict_bytes, ticket;
    uint64_t sent_bytes, received_bytes;
    char verdict[LG_FRAME_BYTES + 1];
};

struct verify {
    const struct lg_options *opt;
    int poll_fd;
    uint32_t n_left;
    struct stream *streams;
    uint8_t chunk[LG_CHUNK_BYTES];
    char problem[160]; // the first one found
};

static void problem_note(struct verify *v, const char *what, uint64_t at)
{
    if (!v->problem[0])
        snprintf(v->problem, sizeof v->problem, "%s, at byte %" PRIu64 " of %" PRIu64, what, at,
                 v->opt->verify_bytes);
}

static void stream_end(struct verify *v, struct stream *s)
{
    close(s->fd);
    s->is_done = true;
    v->n_left--;
}

// How much may be sent by now: with the backend first, the second half waits for its EOF.
static uint64_t send_limit(const struct verify *v, const struct stream *s)
{
    bool is_held = v->opt->is_server_first && !s->is_read_closed;
    return is_held ? v->opt->verify_bytes / 2 : v->opt->verify_bytes;
}

static bool stream_send(struct verify *v, struct stream *s)
{
    uint64_t limit = send_limit(v, s);
    if (s->sent_bytes < limit) {
        size_t n = limit - s->sent_bytes < LG_CHUNK_BYTES ? (size_t)(limit - s->sent_bytes) : LG_CHUNK_BYTES;
        lg_pattern_fill(LG_FROM_CLIENT, s->sent_bytes, v->chunk, n);
        ssize_t sent = send(s->fd, v->chunk, n, MSG_NOSIGNAL);
        if (sent == -1 && errno != EAGAIN) {
            problem_note(v, strerror(errno), s->sent_bytes);
            return false;
        }
        s->sent_bytes += sent > 0 ? (uint64_t)sent : 0;
    }
    if (s->sent_bytes == v->opt->verify_bytes && !s->is_write_closed) {
        shutdown(s->fd, SHUT_WR);
        s->is_write_closed = true;
    }
    return true;
}

static void stream_check(struct verify *v, struct stream *s, size_t n)
{
    uint64_t goal = v->opt->verify_bytes;
    size_t content = s->received_bytes >= goal                ? 0
                     : goal - s->received_bytes < (uint64_t)n ? (size_t)(goal - s->received_bytes)
                                                              : n;
    int64_t wrong_at = lg_pattern_check(LG_FROM_BACKEND, s->received_bytes, v->chunk, content);
    if (wrong_at >= 0)
        problem_note(v, "content received is wrong", (uint64_t)wrong_at);
    for (size_t i = content; i < n; i++)
        if (s->verdict_bytes < LG_FRAME_BYTES)
            s->verdict[s->verdict_bytes++] = (char)v->chunk[i];
    s->received_bytes += n;
}

static bool stream_receive(struct verify *v, struct stream *s)
{
    ssize_t n = recv(s->fd, v->chunk, LG_CHUNK_BYTES, 0);
    if (n == -1) {
        if (errno == EAGAIN)
            return true;
        problem_note(v, strerror(errno), s->received_bytes);
        return false;
    }
    if (n > 0) {
        stream_check(v, s, (size_t)n);
        return true;
    }
    s->is_read_closed = true;
    if (s->received_bytes < v->opt->verify_bytes) {
        problem_note(v, "EOF before everything was received", s->received_bytes);
        return false;
    }
    return true;
}

static void stream_on_ready(struct verify *v, struct stream *s, uint32_t events)
{
    bool is_alive = true;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !s->is_read_closed)
        is_alive = stream_receive(v, s);
    if (is_alive && !s->is_write_closed)
        is_alive = stream_send(v, s);
    if (!is_alive || (s->is_read_closed && s->is_write_closed)) {
        stream_end(v, s);
        return;
    }
    uint32_t want = (s->is_read_closed ? 0 : EPOLLIN) | (s->sent_bytes < send_limit(v, s) ? EPOLLOUT : 0);
    if (want != s->watched) {
        lg_poll_change(v->poll_fd, s->fd, s, want);
        s->watched = want;
    }
}

static void verdict_fetch(const struct verify *v, struct stream *s)
{
    struct lg_frame question = lg_frame_build(LG_JOB_VERDICT, s->ticket);
    int fd = lg_open(v->opt, &question, 0);
    for (int tries = 0; tries < 100 && s->verdict_bytes < LG_FRAME_BYTES; tries++) {
        ssize_t n = recv(fd, s->verdict + s->verdict_bytes, LG_FRAME_BYTES - s->verdict_bytes, 0);
        if (n > 0)
            s->verdict_bytes += (uint32_t)n;
        else if (n == 0 || errno != EAGAIN)
            break;
        else
            pause_s(0.01);
    }
    close(fd);
}

static void verdicts_check(struct verify *v)
{
    if (v->opt->is_server_first)
        pause_s(0.2); // the last bytes may still be on their way through the proxy
    for (uint32_t i = 0; i < v->opt->n_flows && !v->problem[0]; i++) {
        struct stream *s = &v->streams[i];
        if (v->opt->is_server_first)
            verdict_fetch(v, s);
        if (strcmp(s->verdict, "OK") != 0)
            snprintf(v->problem, sizeof v->problem, "backend: %s", s->verdict[0] ? s->verdict : "gave no verdict");
    }
}

static void streams_open(struct verify *v)
{
    for (uint32_t i = 0; i < v->opt->n_flows; i++) {
        struct stream *s = &v->streams[i];
        s->ticket = i % LG_TICKETS;
        uint64_t number = v->opt->verify_bytes;
        if (v->opt->is_server_first)
            number |= (uint64_t)s->ticket << LG_TICKET_SHIFT;
        struct lg_frame frame = lg_frame_build(v->opt->is_server_first ? LG_JOB_VERIFY_FIRST : LG_JOB_VERIFY, number);
        s->fd = lg_open(v->opt, &frame, 0);
        s->watched = EPOLLIN | EPOLLOUT;
        lg_poll_add(v->poll_fd, s->fd, s, s->watched);
    }
}

int lg_verify_run(const struct lg_options *opt)
{
    struct verify *v = calloc(1, sizeof *v);
    if (!v || !(v->streams = calloc(opt->n_flows, sizeof *v->streams)))
        lg_die("memory");
    v->opt = opt;
    v->n_left = opt->n_flows;
    v->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    streams_open(v);

    struct epoll_event events[LG_EVENTS_MAX];
    uint64_t began_ns = lg_now_ns(), gives_up_ns = began_ns + (uint64_t)((opt->window_s + LG_SETTLE_S / 2.0) * 1e9);
    while (v->n_left && lg_now_ns() < gives_up_ns) {
        int n = epoll_wait(v->poll_fd, events, LG_EVENTS_MAX, 100);
        for (int i = 0; i < n; i++)
            stream_on_ready(v, events[i].data.ptr, events[i].events);
    }
    double elapsed_s = (double)(lg_now_ns() - began_ns) / 1e9;
    for (uint32_t i = 0; i < opt->n_flows && v->n_left; i++)
        if (!v->streams[i].is_done)
            problem_note(v, "timed out; received", v->streams[i].received_bytes);
    if (!v->problem[0])
        verdicts_check(v);

    lg_json_begin("verify", opt);
    lg_json_number("flows", opt->n_flows);
    lg_json_number("bytes_each_way", (double)opt->verify_bytes);
    lg_json_number("elapsed_s", elapsed_s);
    lg_json_text("result", v->problem[0] ? v->problem : "ok");
    lg_json_end();
    return 0;
}
