// SPDX-License-Identifier: MIT
// Who is active from where: identities, and for each the addresses it uses now. Shared by all threads, bounded in
// identities, and kept across reloads by whoever holds it (sessions.c).
#pragma once

#include <stdatomic.h>

#include "addr.h"

enum { RX_LEDGER_ID_MAX = 255, RX_LEDGER_IPS_MAX = 1000, RX_LEDGER_PUT_OUT = 16 };

struct rx_ledger;

struct rx_ledger_rule {
    uint32_t max_identities;
    uint64_t window_ms;  // an address is active until so long after it was last seen
    uint64_t timeout_ms; // one that was put out stays out for so long
    bool is_last_kept;   // a newcomer above the limit takes the place of the one that has been there longest
    uint64_t tell_ms;    // other nodes want to know: how long they need not hear of a seat again; 0: there are none
};

// A place at an identity, held by connections from one address. While it is held the address stays active, however
// quiet.
struct rx_seat {
    struct rx_seat *next; // of its identity
    struct rx_identity *home; // NULL: its identity has gone on without it
    atomic_bool is_out;   // its connections are to be closed
    uint32_t stripe, n_held;
    struct rx_cidr who;
    uint64_t since_ms, seen_ms;
    uint64_t out_ms; // when it was put out; 0: it is in
    uint64_t far_ms;  // until when another node has it; 0: none has
    uint64_t told_ms; // when other nodes were told; 0: never
};

struct rx_ledger_event {
    const char *id;
    uint32_t id_len; // at most RX_LEDGER_ID_MAX
    uint32_t max_ips; // at most RX_LEDGER_IPS_MAX
    struct rx_cidr who;
    uint64_t now_ms;
    bool is_held; // a connection: the seat is to be given back
};

struct rx_ledger_answer {
    bool is_in;
    bool is_new;          // somebody was put out by this very event
    struct rx_cidr origin; // is_new: who has the place now
    struct rx_cidr out[RX_LEDGER_PUT_OUT]; // is_new: who was put out
    uint32_t n_out;
    bool must_close; // among those are some with connections
    bool must_tell;  // the other nodes: that it is in, or that it was put out
    uint64_t age_ms; // is_in: how long the address has its place
    struct rx_seat *seat; // is_in and is_held: until rx_ledger_leave; NULL when out of memory
};

struct rx_ledger *rx_ledger_new(const struct rx_ledger_rule *rule);
void rx_ledger_free(struct rx_ledger *l); // no seat is held any more
void rx_ledger_set(struct rx_ledger *l, const struct rx_ledger_rule *rule); // from now on
uint64_t rx_ledger_window(const struct rx_ledger *l);
// Something was heard of an identity. Any thread. Costs as much as the identity has addresses. Out of memory lets in.
void rx_ledger_see(struct rx_ledger *l, const struct rx_ledger_event *e, struct rx_ledger_answer *out);
// Whose it is, into RX_LEDGER_ID_MAX bytes; its length, 0: nobody's any more.
uint32_t rx_ledger_name(struct rx_ledger *l, const struct rx_seat *seat, char *out);

// A seat as other nodes are to hear of it.
struct rx_ledger_told {
    char id[RX_LEDGER_ID_MAX];
    uint8_t id_len;
    bool is_held, is_out;
    uint32_t max_ips;
    struct rx_cidr who;
    uint64_t age_ms;  // since when
    uint64_t left_ms; // how long it lasts without connections
};

// The connection has ended. True: it was the last one of its seat, and other nodes are to hear of *told.
bool rx_ledger_leave(struct rx_ledger *l, struct rx_seat *seat, uint64_t now_ms, struct rx_ledger_told *told);

// ---- with other nodes (sync.c) --------------------------------------------------------------------------------------

// What they say of one address of an identity.
struct rx_ledger_far {
    struct rx_cidr who;
    uint64_t age_ms, left_ms;
    bool is_out, is_fresh; // is_fresh: put out by what was just heard; not is_out: let in again by it
};
// All that is known of the identity of `e`, whose max_ips and who are not looked at. Who is out here stays out. Into
// *out: who was put out by this.
void rx_ledger_hear(struct rx_ledger *l, const struct rx_ledger_event *e, const struct rx_ledger_far *far, uint32_t n,
                    struct rx_ledger_answer *out);
struct rx_ledger_due {
    uint64_t now_ms, since_ms, held_ms;
};
uint32_t rx_ledger_stripes(const struct rx_ledger *l);
// Of one stripe, the seats the others were told of before `since_ms`, and the held ones they were told of before
// `held_ms`; now they count as told. Returns how many; *list is the caller's to free, NULL when out of memory.
size_t rx_ledger_gather(struct rx_ledger *l, uint32_t stripe, const struct rx_ledger_due *due,
                        struct rx_ledger_told **list);
// Those within this block, and the one that has it in it, are out no longer. True: some were. Takes as long as there are
// identities, but no lock for long. `each`, under a lock: of whom other nodes are to hear it.
typedef void rx_ledger_forgiven_fn(const struct rx_ledger_told *told, void *data);
bool rx_ledger_forgive(struct rx_ledger *l, const struct rx_cidr *who, rx_ledger_forgiven_fn *each, void *data);
// Those who are in and for whom `is_there` holds count as heard of now. Takes as long as the other.
typedef bool rx_ledger_there_fn(const struct rx_cidr *who, void *data);
void rx_ledger_refresh(struct rx_ledger *l, rx_ledger_there_fn *is_there, void *data, uint64_t now_ms);

struct rx_ledger_totals {
    unsigned long identities, addresses; // active; an address that fell silent may count until its identity is heard of
    unsigned long evicted;               // identities that made room for others before their time
};
struct rx_ledger_totals rx_ledger_totals(struct rx_ledger *l, uint64_t now_ms);
