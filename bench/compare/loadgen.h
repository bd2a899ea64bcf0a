// SPDX-License-Identifier: MIT
// What the files of the load generator share: the options, the wire format between its two ends, the clock
// and the accounting of the processes under test. Nothing here is used by refractium itself.
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE // every file includes this header first
#endif

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    LG_FRAME_BYTES = 64,         // the request every connection opens with, and every short answer
    LG_CHUNK_BYTES = 256 * 1024, // most one read or write moves
    LG_EVENTS_MAX = 256,
    LG_PIDS_MAX = 64,
    LG_PREAMBLE_MAX = 16 * 1024,
    LG_SETTLE_S = 20, // on top of warm-up and window, after which a mode that hangs is ended
};

struct lg_options {
    struct sockaddr_in target;
    const char *label;
    const char *direction; // bulk: "up", "down" or "both", seen from the client
    uint8_t preamble[LG_PREAMBLE_MAX];
    size_t preamble_bytes;
    uint32_t n_flows;   // connections kept busy at once
    uint32_t n_small;   // mixed: how many of them exchange messages while the others stream
    uint32_t n_idle;    // idle: connections opened and held
    uint32_t msg_bytes; // one message of ping-pong
    uint64_t verify_bytes;
    uint32_t depth;     // udp: datagrams on their way on each flow
    uint32_t rate; // connrate: connections opened per second; 0: as fast as they end
    double window_s;
    double warmup_s;
    bool is_discarding;      // throw received bulk bytes away in the kernel instead of copying them out
    bool is_server_first;    // verify: the backend closes its half before the client does
    pid_t pids[LG_PIDS_MAX]; // the proxy
    uint32_t n_pids;
    pid_t helper_pids[LG_PIDS_MAX]; // the backend: ours, but not what is measured
    uint32_t n_helper_pids;
};

// ---- what a connection asks of the backend --------------------------------------------------------------------

// The frame is a small HTTP request so that a proxy can recognise it; its path carries the job and one number.
enum lg_job {
    LG_JOB_NONE = 0,
    LG_JOB_ECHO = 'e',
    LG_JOB_SINK = 's',
    LG_JOB_SOURCE = 'd',
    LG_JOB_BOTH = 'b',
    LG_JOB_VERIFY = 'v',       // number = bytes each way; the client closes its half first
    LG_JOB_VERIFY_FIRST = 'w', // the same, but the backend closes its half first; number also holds a ticket
    LG_JOB_VERDICT = 'q',      // number = a ticket; answers what the backend thought of that connection
};

// A VERIFY_FIRST connection cannot carry its own verdict back, so it leaves a ticket to ask with: number =
// ticket << 32 | bytes.
enum { LG_TICKET_SHIFT = 32, LG_TICKETS = 256 };

struct lg_frame {
    char text[LG_FRAME_BYTES];
};

struct lg_frame lg_frame_build(enum lg_job job, uint64_t number);
enum lg_job lg_frame_parse(const uint8_t *bytes, uint64_t *number);

// Which stream of the content pattern: what the client sends must differ from what the backend sends.
enum lg_pattern { LG_FROM_CLIENT = 1, LG_FROM_BACKEND = 2 };

void lg_pattern_fill(enum lg_pattern which, uint64_t at, uint8_t *bytes, size_t n);
// The offset in the stream of the first wrong byte, or -1.
int64_t lg_pattern_check(enum lg_pattern which, uint64_t at, const uint8_t *bytes, size_t n);

// ---- clock, latencies, processes ------------------------------------------------------------------------------

uint64_t lg_now_ns(void);

void lg_latency_add(uint64_t ns);
void lg_latency_reset(void);
uint64_t lg_latency_count(void);
double lg_latency_us(double share);

struct lg_usage {
    double cpu_s;
    uint64_t rss_kb;
    uint64_t n_fds;
};

// CPU only: cheap enough to be taken at the edges of a window.
double lg_usage_cpu(const struct lg_options *opt);
// Everything; walks the page tables of the processes, so never inside a window.
struct lg_usage lg_usage_all(const struct lg_options *opt);

// The recorded part of a run. `tick` opens it when the warm-up is over and answers false once it is past.
struct lg_window {
    const struct lg_options *opt;
    uint64_t opens_ns, closes_ns;
    double cpu_before_s, foreign_before_s;
    double cpu_s, foreign_s, elapsed_s; // valid after lg_window_close
    bool is_open;
};

void lg_window_init(struct lg_window *w, const struct lg_options *opt);
bool lg_window_tick(struct lg_window *w);
void lg_window_close(struct lg_window *w);

// ---- one JSON object on one line ------------------------------------------------------------------------------

void lg_json_begin(const char *mode, const struct lg_options *opt);
void lg_json_number(const char *key, double value);
void lg_json_text(const char *key, const char *value);
void lg_json_latency(const char *prefix);
void lg_json_rate(const struct lg_window *w, const char *unit, double n_units);
void lg_json_end(void);

// ---- sockets --------------------------------------------------------------------------------------------------

_Noreturn void lg_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Fills `addr` from "127.x.y.z:port". Anything that is not loopback is refused: this program floods.
int lg_addr_parse(const char *text, struct sockaddr_in *addr);

// A non-blocking connect under way, or -1 with errno.
int lg_connect_begin(const struct lg_options *opt);
// Sends preamble and frame in one call; 0, or -1 with errno. A short write is an error: both fit any send
// buffer.
int lg_frame_send(const struct lg_options *opt, int fd, const struct lg_frame *frame);
// Connects, sends the frame, awaits `n_answer` bytes (0 = none) and returns a non-blocking socket; dies on
// failure.
int lg_open(const struct lg_options *opt, const struct lg_frame *frame, size_t n_answer);

void lg_poll_add(int poll_fd, int fd, void *owner, uint32_t events);
void lg_poll_change(int poll_fd, int fd, void *owner, uint32_t events);

// ---- modes: each runs to its end and returns the exit code ----------------------------------------------------

int lg_backend_run(const struct sockaddr_in *listen_at, uint32_t n_listen, const struct lg_options *opt);
int lg_udp_server_run(const struct sockaddr_in *listen_at, uint32_t n_listen);
int lg_udp_run(const struct lg_options *opt);
int lg_churn_run(const struct lg_options *opt);
int lg_pingpong_run(const struct lg_options *opt);
int lg_bulk_run(const struct lg_options *opt);
int lg_mixed_run(const struct lg_options *opt);
int lg_idle_run(const struct lg_options *opt);
int lg_verify_run(const struct lg_options *opt);
