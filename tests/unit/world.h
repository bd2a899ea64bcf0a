// SPDX-License-Identifier: MIT
// What tests of the deciders and of the rooms share: a config built through the door as an embedder would, first
// bytes worth deciding on, and a worker whose loop the test itself turns.
#pragma once

#include "build.h"
#include "conf.h"
#include "route.h"
#include "worker.h"

// ---- a config -----------------------------------------------------------------------------------------------------

struct draft {
    struct rx_build *b;
    int listen;        // the listener that draft_route adds to
    char said[2048];   // what was reported, line by line
    unsigned n_errors; // how many of those lines are errors
};

struct rx_slice world_slice(const char *text);

void draft_begin(struct draft *d);                                           // one listener on 127.0.0.1:0
void draft_begin_with(struct draft *d, const struct rx_listen_spec *listen); // the same with these settings
int draft_builtin(struct draft *d, const char *name);
int draft_prefixes(struct draft *d, const char *name, ...);                   // prefixes, then NULL
int draft_patterns(struct draft *d, const char *name, uint32_t within, ...);  // patterns, then NULL
int draft_pool(struct draft *d, uint32_t tries, const char *const *addrs, unsigned n);
// A route that drops; conditions as pairs (enum rx_cond, text), then -1.
int draft_route(struct draft *d, int proto, ...);
int draft_route_to(struct draft *d, int proto, const struct rx_route_spec *spec);
struct rx_conf *draft_finish(struct draft *d); // fails the test when the config is refused
void draft_refused(struct draft *d, const char *why);

// ---- a question ---------------------------------------------------------------------------------------------------

struct world_client {
    const char *from; // NULL: 192.0.2.1
    uint16_t to_port; // 0: 8080
    enum rx_ended ended;
};

// Decides on a copy that ends where its memory ends. Facts stay readable until the call after the next.
struct rx_decision world_decide(const struct rx_conf *conf, const struct world_client *who, const void *p, size_t n);
// Its short forms: the route's place in the listener, or one of these.
enum { WORLD_NONE = -1, WORLD_MORE = -2 };
int world_route(const struct rx_conf *conf, const char *text);
int world_route_n(const struct rx_conf *conf, const void *p, size_t n);

struct world_hello {
    const char *sni;        // NULL: no extension
    const char *alpn[4];    // up to the first NULL
    bool has_ech;
    unsigned padding;       // bytes of an extension without meaning
    unsigned record;        // bytes of the message in each record; 0: all in one
};
// A TLS ClientHello; returns its length.
size_t world_hello(const struct world_hello *h, uint8_t *buf, size_t size);

// ---- a worker -----------------------------------------------------------------------------------------------------

struct room {
    struct rx_worker w;
    atomic_uint active;
    struct rx_conf *conf; // owned
    unsigned fds_before;
};

// conf is taken over. The worker's counts and the process's fds must be at the end what they were here.
void room_open(struct room *r, struct rx_conf *conf, unsigned fds_before);
void room_close(struct room *r);
void room_turn(struct room *r);                          // whatever is ready now
void room_turn_for(struct room *r, unsigned ms);         // that long, come what may
bool room_wait(struct room *r, bool (*is_done)(struct room *r), unsigned ms);
bool room_is_empty(struct room *r);                      // no connection is alive
unsigned room_closed(struct room *r, enum rx_reason why); // how many ended so
// A connection of the listener, as accept.c makes it, whose client end is fd.
struct rx_conn *room_conn(struct room *r, int fd);

unsigned world_fds(void);            // open file descriptors
void world_pair(int fd[2]);          // a connected pair of TCP sockets over loopback, not blocking
int world_listen(uint16_t *port, int backlog);
int world_listen_at(uint16_t port);  // 0: any
uint16_t world_port(int fd);
int world_accept(int listener);      // waits up to two seconds
int world_connect(uint16_t port);    // waits until connected; not blocking afterwards
// Reads exactly n bytes while turning the loop; false when they do not come within a second.
bool world_read(struct room *r, int fd, void *buf, size_t n);
void world_write(struct room *r, int fd, const void *buf, size_t n);
// What ends the stream at fd: 0 an orderly end, else errno; -1: neither within a second.
int world_end(struct room *r, int fd);
