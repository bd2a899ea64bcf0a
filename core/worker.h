// SPDX-License-Identifier: MIT
// A worker: one thread, one loop, its own listening sockets and connections. Workers share nothing mutable but
// atomics, and the engine talks to them through `wake`.
#pragma once

#include <pthread.h>

#include "bind.h"
#include "canary.h"
#include "conn.h"
#include "errand.h"
#include "pipe.h"
#include "served.h"
#include "watchdog.h"

enum { RX_WORKER_BUFFER = 64 * 1024, RX_OUTBOX_LETTERS = 256, RX_LETTER_MAX = 2048 };

// One listening socket of one worker.
struct rx_listener {
    ev_io io;
    ev_timer retry; // accepting again after the fds ran out
    struct rx_worker *worker;
    const struct rx_listen *listen; // borrowed from the worker's conf
    const struct rx_listen *trial;  // borrowed from its trial; NULL: the trial does not serve this address
    struct rx_addr wanted, addr;    // as configured, as bound
    bool is_unix;
    bool is_kept; // worker_take's
    bool is_udp, wants_to; // wants_to: clients reach it by several addresses
    bool is_extra;         // one more of its address, left to us by a process that had more workers
    uint32_t slot;         // which socket of its address it is (handover.h)
    bool is_retired;       // its address is not served any more; open while flows use it
    struct rx_linger linger;
    unsigned n_flows;
    uint32_t n_missed; // UDP: datagrams the kernel had no room for, as it counts them
};

enum rx_swap_kind {
    RX_SWAP_SERVE, // conf is served; a trial ends
    RX_SWAP_TRY,   // conf is on trial
    RX_SWAP_END,   // the trial ends; conf is NULL
};

// A new generation on its way to a worker. Where fd is -1 the socket that has this address already goes on.
struct rx_swap {
    enum rx_swap_kind kind;
    struct rx_conf *conf; // ref, the worker's from then on
    atomic_uint *n_left;  // counted down when the worker has taken it; borrowed from the engine
    unsigned n;
    struct rx_swap_item {
        const struct rx_listen *listen;
        const struct rx_bind *bind;
        int fd; // owned
    } items[];
};

// Why a datagram went nowhere.
#define RX_LOSSES(X)                                                                                                   \
    X(QUEUE, "queue")             /* the kernel had no room for it in front of a listening socket */                   \
    X(TURNED_AWAY, "turned_away") /* a limit, a ban, on_accept, or stopping: it began no flow */                       \
    X(WAITING, "waiting")         /* too many wait with it for what its flow is */                                     \
    X(FILTERED, "filtered")       /* a filter dropped it */                                                            \
    X(TO_BACKEND, "to_backend")   /* the system did not take it */                                                     \
    X(TO_CLIENT, "to_client")

enum rx_lost {
#define X(name, word) RX_LOST_##name,
    RX_LOSSES(X)
#undef X
        RX_LOST_COUNT
};

// Counters only this worker writes; anyone may read them.
struct rx_stat {
    atomic_ulong accepted;
    atomic_ulong closed[RX_REASON_COUNT];
    atomic_ulong bytes[2]; // by rx_direction
    atomic_ulong spliced[2];
    atomic_ulong retries; // another backend was tried
    atomic_ulong lost[RX_LOST_COUNT]; // datagrams that went nowhere
    struct rx_histogram identify, connect, duration;
    atomic_ulong mirrored, mirror_lost; // bytes given to mirrors; bytes that one could not take, and so was given up
    atomic_ulong mirrors_given_up;
};

static inline void rx_stat_add(atomic_ulong *counter, unsigned long n)
{
    rx_cell_add(counter, n);
}

// Small messages read in one turn of the loop, sent together before it sleeps: doing many reads and then many
// writes keeps each path of the kernel warm (docs/decisions/0011).
struct rx_outbox {
    struct rx_letter {
        struct rx_conn *conn; // NULL: its connection has closed
        uint32_t at;          // where its bytes begin in `bytes`
        uint16_t len;
        uint8_t direction;
    } letters[RX_OUTBOX_LETTERS];
    unsigned n;
    uint32_t used;
    uint8_t *bytes; // RX_WORKER_BUFFER; owned
};

struct rx_worker {
    unsigned index;
    atomic_uint *active;      // connections of all workers, UDP flows among them; borrowed from the engine
    atomic_uint *sessions;    // the UDP flows among these; the same
    uint32_t also_want;       // facts the access line shows
    struct ev_loop *loop;     // owned
    pthread_t thread;
    struct rx_conf *conf; // ref: what new connections get
    struct rx_conf *trial; // ref: what a share of them get instead; NULL: none is on trial
    uint32_t trial_turn;   // grows by the trial's share with each; when it runs over, the trial has its turn
    struct rx_tally tally[2]; // while one is on trial: conf's and the trial's

    struct rx_listener **listeners; // owned, and each of them
    unsigned n_listeners;
    struct rx_listener **retired; // owned, and each of them
    unsigned n_retired;
    struct rx_udp *udp; // owned; NULL until it listens there

    ev_async wake;
    ev_prepare tidy;
    ev_check waking;
    struct rx_pulse pulse;
    ev_timer turn_out; // soon: look for the banned among the living
    atomic_uint orders; // enum rx_order bits
    bool is_draining, is_running;
    _Atomic(struct rx_swap *) swap; // owned: waiting to be taken
    _Atomic(struct rx_errand *) errands; // borrowed from who sent them; to be run

    struct rx_wheel wheel;
    struct rx_pipes pipes;
    struct rx_conn living; // list head: only next and prev are used
    struct rx_conn *graveyard, *spare_conns;
    unsigned n_conns, n_spare;
    uint64_t last_id;
    uint64_t paced_ms; // when flow.c last measured rates
    uint64_t dice;     // stirred by rx_worker_roll
    int spare_fd; // given up to shed a connection when fds run out

    struct rx_stat stat;
    char *log_buf; // access lines waiting for one write; owned
    size_t log_len;

    uint8_t *scratch; // RX_SCRATCH_SIZE, for identifiers; owned
    uint8_t *buffer;  // RX_WORKER_BUFFER, for first bytes; owned
    struct rx_outbox outbox;
    uint64_t minute;              // of the time, for which
    uint32_t week_minute;         // is this
    struct rx_pit *pit;           // owned; NULL until somebody is held in it
    struct rx_hook_line *hook_line; // borrowed: to the hook thread; NULL: there is none
    struct rx_mirror *leaving;      // owned: mirrors whose connection has closed, still sending
    unsigned n_leaving;
};

// n bytes went in this direction.
static inline void rx_conn_count(struct rx_conn *c, enum rx_direction dir, size_t n)
{
    c->bytes[dir] += n;
    rx_cell_add(&c->worker->stat.bytes[dir], n);
    if (c->cell)
        rx_cell_add(&c->cell->bytes[dir], n);
}

enum rx_order {
    RX_ORDER_DRAIN = 1, // stop accepting, end when the last connection has gone
    RX_ORDER_STOP = 2,  // close every connection now
    RX_ORDER_BANS = 4,  // somebody was banned or put out of his sessions: close who is inside
};

// 0 or negative errno; listeners are bound by the engine before and handed over.
int rx_worker_init(struct rx_worker *w, unsigned index, struct rx_conf *conf, atomic_uint *active,
                   atomic_uint *sessions);
int rx_worker_listen(struct rx_worker *w, const struct rx_listen *listen, const struct rx_bind *bind, int fd);
int rx_worker_start(struct rx_worker *w);
void rx_worker_swap(struct rx_worker *w, struct rx_swap *s); // from any thread; the last one must have been taken
void rx_worker_order(struct rx_worker *w, enum rx_order order); // from any thread
void rx_worker_leave(struct rx_worker *w); // on its own thread: as ordered to drain
void rx_worker_join(struct rx_worker *w);
void rx_worker_fini(struct rx_worker *w);

// For accept.c, close.c and connect.c.
uint64_t rx_worker_roll(struct rx_worker *w); // 64 bits of chance, good enough to share load out
uint64_t rx_worker_next_id(struct rx_worker *w);
// Zeroed; of this generation, w->conf or another; for UDP cut short (conn.h). NULL when out of memory.
struct rx_conn *rx_worker_conn_new(struct rx_worker *w, struct rx_conf *conf, bool is_udp);
uint32_t rx_worker_week_minute(struct rx_worker *w); // now, in local time
// Whether the next connection is the trial's.
bool rx_worker_is_trials_turn(struct rx_worker *w);

// Counts for the comparison, while there is one.
void rx_worker_count(struct rx_worker *w, const struct rx_conf *conf, enum rx_measure m, bool is_failure);
static inline void rx_worker_tried(struct rx_conn *c, enum rx_measure m)
{
    if (RX_UNLIKELY(c->worker->trial))
        rx_worker_count(c->worker, c->conf, m, false);
}
static inline void rx_worker_failed(struct rx_conn *c, enum rx_measure m)
{
    if (RX_UNLIKELY(c->worker->trial))
        rx_worker_count(c->worker, c->conf, m, true);
}
void rx_worker_conn_bury(struct rx_conn *c);
