// SPDX-License-Identifier: MIT
// Connections on their way from a program to the one that takes its place. A worker's are one run of bytes, and descriptors
// that the bytes refer to by number. The format has a version: a program that does not know it gets none and the old one
// lets its connections finish.
#pragma once

#include "addr.h"
#include "proto.h"

#include "abi.h" // after base.h

struct rx_conn;
struct rx_worker;

enum { RX_HANDOVER_VERSION = 1 };

enum rx_handed_kind {
    RX_HANDED_PEEK, // to be decided again, with the bytes that came
    RX_HANDED_WELD, // between two ends
    RX_HANDED_UDP,
    RX_HANDED_KINDS
};

enum rx_handed_flag {
    RX_HANDED_DECIDED = 1, // PEEK: it was waiting for a backend; UDP: it has one, or is answered here
    RX_HANDED_HEADLESS = 2,
    RX_HANDED_IDENTIFIED = 4,
    RX_HANDED_FALLBACK_USED = 8,
    RX_HANDED_HAS_ROUTE = 16,
    RX_HANDED_HAS_PROXIED = 32,
    RX_HANDED_HAS_ADDRESSES = 64, // the PROXY header did
    RX_HANDED_MAY_SEGMENT = 128,
};

enum rx_handed_dir_flag { RX_HANDED_EOF = 1, RX_HANDED_SHUT = 2, RX_HANDED_SPLICED = 4 };

struct rx_handed_dir {
    uint8_t flags; // enum rx_handed_dir_flag
    uint64_t bytes;
    struct rx_text rest; // not taken by the sink yet
    uint32_t in_pipe;
    int32_t pipe[2]; // numbers of descriptors, -1: none; as all fds here
};

// One connection. Texts are borrowed; names are empty where there is none.
struct rx_handed {
    uint8_t kind;    // enum rx_handed_kind
    uint8_t to_kind; // enum rx_target_kind
    uint32_t flags;  // enum rx_handed_flag
    uint64_t id, start_ms, active_ms;
    union rx_ip client;
    uint16_t to_port;
    struct rx_text listen, route, seen, pool, backend, told, seat;
    uint32_t route_nth; // of the routes of that name, this one
    struct rx_addr to;  // the backend's address
    struct rx_text head;
    int32_t fds[2]; // by enum rx_side
    struct rx_handed_dir dir[2];

    uint8_t proxy_version;
    union rx_ip via, proxy_to;
    struct rx_text tlvs;

    // UDP
    struct rx_addr at; // the socket it came to: as configured,
    uint32_t slot;     // and which of those
    union rx_ip local;
    struct rx_text preface, name, grams; // name: a struct rx_roam_id; grams: uint32_t each
    uint8_t roams;
};

// What one worker gives away.
struct rx_handover {
    uint8_t *bytes; // owned
    size_t len, cap;
    int *fds; // owned, what they stand for is not: still the connections'
    unsigned n_fds, fds_cap;
    struct rx_conn **conns; // owned; by number
    unsigned n, conns_cap;
    unsigned n_kept; // connections that stay
};

// ---- the format (handover_code.c); pure but for memory --------------------------------------------------------------

// A new run of bytes; 0 or -ENOMEM. `last_id`: no id of the worker's is above.
int rx_handover_begin(struct rx_handover *o, uint64_t last_id);
int rx_handover_add(struct rx_handover *o, const struct rx_handed *h);
void rx_handover_fini(struct rx_handover *o);

struct rx_handover_reader {
    const uint8_t *p;
    size_t len, at;
    unsigned n_fds;
    uint32_t n; // connections there should be
    uint64_t last_id;
};

// 0, or -EPROTO: another version, or no such bytes.
int rx_handover_open(struct rx_handover_reader *r, const uint8_t *p, size_t len, unsigned n_fds);
// 1 with the next connection, 0 when that was all, -EPROTO. What *h refers to lies within the bytes, and its descriptors are
// among n_fds.
int rx_handover_next(struct rx_handover_reader *r, struct rx_handed *h);

// ---- out of one program (handover_give.c), into another (handover_take.c) --------------------------------------------

// Everything that can go of a worker, on its thread, between two turns of its loop. 0 or -ENOMEM.
int rx_handover_make(struct rx_worker *w, struct rx_handover *o);
// The new one has it: our part ends, and the other end of nothing notices. May be told for each of o->conns.
void rx_handover_let_go(struct rx_conn *c);

// Makes it one of these workers', before their threads run. Takes descriptors out of fds (-1 then). 0, or -errno: it is not
// taken, and its descriptors are the caller's or closed.
int rx_handover_take(struct rx_worker *workers, unsigned n_workers, const struct rx_handed *h, int *fds);
