// SPDX-License-Identifier: MIT
// A connection and the rooms it waits in: the header to read first.
//
//   accept ──► PEEK ──► CONNECT ──► WELD ──► close        (UDP: PEEK ──► FLOW ──► close, see udp.c)
//                │         │ ▲
//                │         └─┘ another backend (connect.c owns this loop)
//                └─► ANSWER ──► close          (no backend: respond, describe, echo, tarpit)
//
// Laws
//  1. A room has one door in, rx_<room>_begin(c, …), and its ways out are the next room's _begin and
//     rx_close(c, why). After calling either a function returns and never touches `c` again.
//  2. rx_close may be called anywhere, twice too. Memory goes back when the loop next prepares to sleep (the
//     worker's graveyard), so no callback ever sees a freed connection.
//  3. Half-close is a bit per direction, never a room.
//  4. A flow of datagrams (is_udp) is a connection cut short: the members of `dir` and what follows are not there.
//  5. The two ends are `client` and `server`; the directions are named by where bytes go.
#pragma once

#include <ev.h>

#include "conf.h"
#include "reason.h"
#include "roster.h"
#include "route.h"
#include "udp_table.h"
#include "wheel.h"

struct rx_worker;
struct rx_listener;
struct rx_proxied; // proxied.h

enum rx_room {
    RX_ROOM_PEEK,    // for the client's first bytes
    RX_ROOM_CONNECT, // for a backend
    RX_ROOM_WELD,    // moving bytes
    RX_ROOM_ANSWER,  // being answered by the program itself
    RX_ROOM_FLOW,    // UDP: passing datagrams on
    RX_ROOM_DEAD,    // on the graveyard
};

enum rx_side { RX_CLIENT = 0, RX_SERVER = 1 };

// Direction d moves bytes from side d to the other side.
enum rx_direction { RX_TO_SERVER = 0, RX_TO_CLIENT = 1 };

struct rx_end {
    ev_io io; // io.fd is the socket, -1 when there is none; owned
};

struct rx_dir {
    uint8_t *rest; // owned: what a short send left over
    uint32_t rest_at, rest_len;
    int pipe[2]; // held only while bytes are in it; -1 otherwise; owned
    uint32_t in_pipe;
    uint16_t letter;     // its place in the worker's outbox, counted from 1; 0: none
    uint8_t is_spliced;  // the splice pump serves it now
    uint8_t may_splice;  // not pinned to copy, and the kernel has not refused
    uint8_t run;         // consecutive reads that speak for the other pump
    uint8_t is_eof;      // its source has ended
    uint8_t is_shut;     // and its sink was told
    uint8_t is_paused;   // it has used up its rate (shape.h)
    uint8_t is_eof_seen; // the source's watcher fired again after the end: now it must be stopped
};

// UDP: a flow's client is one of many at a listening socket, and has no watcher of its own.
struct rx_udp_client {
    struct rx_udp_node node;      // among the worker's flows, by address
    struct rx_listener *listener; // borrowed: stays open while flows use it
    uint8_t local[16];            // the address the client asked, of the family of its own
    uint32_t local_scope;
    bool has_local;   // else the socket has one only
    bool may_segment; // the backend's side takes UDP_SEGMENT
    uint8_t roams;    // enum rx_roam_kind: its backend gives out such ids
    uint8_t run;      // what it is sent in this turn: a number in the worker's runs, from 1; 0: none
};

// Owned, and NULL where there is none.
struct rx_udp_more {
    struct rx_mirror_udp *mirror;
    union {
        struct rx_udp_grams *grams;     // PEEK: how long the datagrams in `head` are
        struct rx_udp_preface *preface; // FLOW: a PROXY header before datagrams for the backend
    };
    struct rx_udp_named *named; // ids it is known by, too
};

struct rx_conn {
    // identity
    uint64_t id;
    struct rx_worker *worker; // borrowed: outlives every connection
    union rx_ip client;
    uint32_t ip_place; // where its address is counted (limit.h); 0: nowhere
    uint64_t start_ms;
    uint64_t active_ms; // last byte moved

    // config, frozen
    struct rx_conf *conf;             // ref
    const struct rx_listen *listen;   // borrowed from conf, as are the next four
    const struct rx_route *route;     // NULL: none yet, or a fallback
    const struct rx_known *seen;      // protocol recognised
    const struct rx_pool *pool;
    struct rx_roster *roster;         // ref: who the pool's backends were when the connection came to it
    const struct rx_backend *backend; // the roster's; counted in its state while set
    struct rx_script *script;         // borrowed from conf: the worker's Lua state; NULL without functions
    struct rx_cell *cell;             // where it is counted, under its route or listener; NULL: nowhere
    struct rx_proxied *proxied;       // ref: what a PROXY header said; NULL: there was none
    const struct rx_route *early;     // in PEEK: the eager route whose backend it has, or will have; NULL: none

    // connect.c: which backends were tried
    uint64_t *tried; // owned: a bit for each backend of the roster; NULL: none was
    uint32_t cursor, attempt;
    uint64_t until_ms; // connect_timeout ends here, for all attempts together
    int32_t turn;      // a policy's choice in the roster, -1: the pool's balance

    uint16_t to_port;
    uint8_t room;
    uint8_t to_kind;       // enum rx_target_kind: what was to become of it
    bool is_pending;       // counted in listen->pending
    bool is_udp;           // a flow of datagrams (udp.h): its memory ends before `dir`
    bool is_headless;      // its PROXY header has not come: client is the proxy, counted nowhere (ip_place)
    bool is_identified;    // the listener's identify said where to, without a route
    bool is_fallback_used; // the pool's fallback was taken already
    bool is_probe;         // it finds out whether an ejected backend is back
    bool is_tapped;        // welding, bytes are shown to hooks or a mirror
    bool is_filtered;      // and go through filters

    struct rx_wheel_node deadline;
    struct rx_conn *next, *prev; // worker's list of the living, or (next) its graveyard

    // first bytes kept while the connection waits for more, or for a backend; owned
    uint8_t *head;
    uint32_t head_len, head_cap;

    uint64_t bytes[2]; // moved, by direction
    struct {           // flow.c's: bytes per second, and the counts they were measured from
        uint64_t seen[2];
        uint32_t rate[2];
    } pace;

    struct rx_seat *seat;     // held at its route's sessions; NULL: none
    struct rx_hooked *hooked; // ref; NULL: no hook sees it
    char *route_was;          // owned: its route, in another process, that this config has not; NULL: it was none
    char *told;               // owned: "sni=… host=…" for the access log; NULL when that is off

    union {
        struct rx_end ends[2];
        struct rx_udp_client udp; // is_udp: in the place of ends[RX_CLIENT]
    };

    union {
        struct rx_udp_more more; // is_udp; behind it there is nothing then
        struct {
            struct rx_dir dir[2];
            bool was_early;               // peek.c: eager routes were looked for
            uint32_t need;                // peek.c: deciding again is idle before so many bytes
            struct rx_shape *shape;       // owned; NULL: it may be as fast as it can
            struct rx_answer *answer;     // answer.c's; owned
            struct rx_mirror *mirror;     // owned; NULL: none
        };
    };
};

_Static_assert(sizeof(struct rx_udp_client) <= sizeof(struct rx_end), "it reaches into the server's end");

// ---- the path, in the order a connection walks it ---------------------------------------------------------------

// (Everything that is watched may be told EV_ERROR: epoll had no room for it, and it is watched no more.)
void rx_accept_on_readable(struct ev_loop *loop, ev_io *w, int events);
// Takes nobody in for a moment: the system has run out of something.
void rx_accept_rest(struct rx_listener *l);
// A client's connection, counted everywhere and not yet in any room; NULL with *why when it is turned away.
struct rx_conn *rx_accept_conn(struct rx_listener *l, const union rx_ip *ip, bool is_udp, enum rx_reason *why);
// Says that one was.
void rx_accept_tell(struct rx_listener *l, const union rx_ip *ip, enum rx_reason why);
void rx_peek_begin(struct rx_conn *c);
void rx_peek_on_deadline(struct rx_conn *c);
// One that another process was deciding on, with what it had read. is_decided: it had come to an end of that.
void rx_peek_adopt(struct rx_conn *c, bool is_decided);
// For UDP, which has its own way to wait: what the decider is asked; whether on_accept lets it in (else it is closed); what
// follows from a decision: where it goes, NULL when that closed it.
struct rx_ask rx_peek_ask(struct rx_conn *c, const uint8_t *head, uint32_t len, enum rx_ended ended);
bool rx_peek_admit(struct rx_conn *c);
const struct rx_target *rx_peek_settle(struct rx_conn *c, const struct rx_ask *ask, const struct rx_decision *d);
// `head` is what the client said so far; it may lie in the worker's buffer and is copied when it must be kept.
void rx_connect_begin(struct rx_conn *c, const struct rx_target *to, const uint8_t *head, uint32_t len);
void rx_connect_on_deadline(struct rx_conn *c);
// A connection in PEEK, whose client has said nothing yet, gets a backend of this eager route. May close it.
void rx_connect_early(struct rx_conn *c, const struct rx_route *r);
// It goes elsewhere: that backend never heard of it, nor will the client of the backend.
void rx_connect_drop_early(struct rx_conn *c);
// For UDP, which need not wait: a pool's backends are to be tried; the next one, counted as c->backend (NULL: none is left,
// with *why); it failed with this errno: false when that closed c.
void rx_connect_enter(struct rx_conn *c, const struct rx_pool *pool);
const struct rx_backend *rx_connect_next(struct rx_conn *c, enum rx_reason *why);
bool rx_connect_failed(struct rx_conn *c, int err);
// A socket (SOCK_STREAM or SOCK_DGRAM) to a backend from one of its pool's source addresses, connected or about to be; -1 with errno.
// `as`: the client's address to come from (a transparent route), or NULL.
int rx_connect_dial(const struct rx_pool *pool, const struct rx_backend *b, int type, const union rx_ip *as,
                    bool *is_connected);
const union rx_ip *rx_connect_as(const struct rx_conn *c);
void rx_connect_forget(struct rx_conn *c); // gives up what it holds of a pool: the connection is being closed
// `sent` bytes of the head have reached the backend already.
void rx_weld_begin(struct rx_conn *c, const uint8_t *head, uint32_t len, uint32_t sent);
void rx_weld_on_deadline(struct rx_conn *c);
// One that another process was welding: its ends and directions are as they were there.
void rx_weld_adopt(struct rx_conn *c);
// A direction that was paused may go on.
void rx_weld_resume(struct rx_conn *c);
// Sends what the turn's small messages left in the outbox; before the loop sleeps. May close connections.
void rx_weld_flush(struct rx_worker *w);
// Takes a connection's letters out of the outbox: it is being closed.
void rx_weld_forget(struct rx_conn *c);
// f: the facts of c->seen, valid for the call; NULL when nothing was recognised.
void rx_answer_begin(struct rx_conn *c, const struct rx_target *to, const struct rx_facts *f, const uint8_t *head,
                     uint32_t len);
void rx_answer_on_deadline(struct rx_conn *c);
// What the bare rx.respond says to one datagram, at most `size` bytes; 0: nothing one answers.
size_t rx_answer_datagram(struct rx_conn *c, const struct rx_decision *d, const uint8_t *p, uint32_t len, uint8_t *out,
                          size_t size);
void rx_answer_free(struct rx_answer *a);
void rx_close(struct rx_conn *c, enum rx_reason why);

// (pick.c decides which backend: rx_pick, in roster.h)

// ---- helpers ----------------------------------------------------------------------------------------------------

// Keeps the first bytes with the connection; 0 or -ENOMEM. `head` may be c->head itself.
int rx_conn_keep_head(struct rx_conn *c, const uint8_t *head, uint32_t len, uint32_t cap);
void rx_conn_drop_head(struct rx_conn *c);
// Makes an end's watcher want exactly these events (EV_READ, EV_WRITE, both or 0).
void rx_conn_watch(struct rx_conn *c, enum rx_side side, int events);
void rx_conn_deadline(struct rx_conn *c, uint32_t ms);
// How the access line and the list of flows call its route and what became of it.
const char *rx_conn_route_word(const struct rx_conn *c);
const char *rx_conn_to_word(const struct rx_conn *c);
// Admits a connection as the client its PROXY header named. False: it is closed.
bool rx_accept_named(struct rx_conn *c);
// Counts one that another process let in, whatever the limits; its place among those of its address.
uint32_t rx_admission_adopt(struct rx_conn *c, bool is_proxy);
// Gives back the places accept.c took.
void rx_admission_give(struct rx_worker *w, const struct rx_listen *l, uint32_t place, bool is_udp, bool is_pending);
