// SPDX-License-Identifier: MIT
// rx.sessions: how many addresses an identity may use at once, and what becomes of those above. The names live in the
// process, so that a reload forgets nobody; the rules are a generation's.
#pragma once

#include "arena.h"
#include "kernel.h"
#include "ledger.h"

enum { RX_ENFORCE_BAN = 1, RX_ENFORCE_KERNEL = 2 };

struct rx_sessions_live;

// An identity with a limit of its own; 0: exempt.
struct rx_sessions_own {
    const char *id; // NULL: an empty place
    uint32_t id_len, max_ips;
};

struct rx_sessions {
    const char *name, *where;
    int32_t by_fn, limits_fn; // -1: none
    uint32_t max_ips, ipv6_prefix, enforce;
    bool is_dry, is_log_json;
    bool is_shared; // with other nodes
    struct rx_ledger_rule rule;
    struct rx_sessions_own *own; // a hash table in the generation's memory
    uint32_t n_own, own_cap;
    struct rx_cidr *exempt;
    uint32_t n_exempt;
    const char *block_log; // NULL: none
    struct rx_kernel_rule kernel; // RX_ENFORCE_KERNEL
    struct rx_sessions_live *live; // ref
};

// What was heard of an identity.
struct rx_heard {
    const char *id, *tag;
    uint32_t id_len, tag_len; // id_len 0: nobody
    union rx_ip ip;
    uint32_t max_ips; // what `limits` said; 0: nothing
    bool is_held, is_udp;
};

// 0, -ENOMEM, or -EEXIST: it has another limit.
int rx_sessions_own_add(struct rx_sessions *s, struct rx_arena *a, const char *id, uint32_t len, uint32_t max_ips);
// True: it may stay, with *seat (may be NULL) to be given back to rx_sessions_leave when it ends. False: it was put
// out. Whoever else was put out is dealt with. Any thread.
bool rx_sessions_hear(const struct rx_sessions *s, const struct rx_heard *h, struct rx_seat **seat);
void rx_sessions_leave(const struct rx_sessions *s, struct rx_seat *seat);
// Whose it is, into RX_LEDGER_ID_MAX bytes; its length, 0: nobody's any more.
uint32_t rx_sessions_name(const struct rx_sessions *s, const struct rx_seat *seat, char *out);
// What all nodes know of an identity (h->id). `origin`: this node's doing, and who has the place; NULL: another's.
void rx_sessions_hear_far(const struct rx_sessions *s, const struct rx_heard *h, const struct rx_ledger_far *far,
                          uint32_t n, const struct rx_cidr *origin);
struct rx_ledger *rx_sessions_ledger(const struct rx_sessions *s);

// Found by name, or made; NULL: out of memory.
struct rx_sessions_live *rx_sessions_get(const char *name, const struct rx_ledger_rule *rule);
void rx_sessions_put(struct rx_sessions_live *l);
// The generation is served from now on: its rules hold, for bans that are in force too.
void rx_sessions_apply(const struct rx_sessions *s);
// What every worker and the guard's thread are woken for; called on any thread, under a lock.
struct rx_sessions_ear {
    void (*put_out)(void *data); // connections of somebody are to be closed
    void (*logged)(void *data);  // the block log has lines
    void *data;
};
void rx_sessions_listen(const struct rx_sessions_ear *ear); // NULL: nobody any more

// Whether some have entries in the kernel, which are to be looked after every few seconds.
bool rx_sessions_has_kernel(void);
// The kernel's tables as they should be; by the thread that flushes. `is_check`: also looks whether they are whole.
void rx_sessions_kernel(bool is_check);
// Those who have connections that the kernel knows of count as heard of; true: there may be such. Asked for again within
// *again_ms, so that nobody is forgotten meanwhile.
bool rx_sessions_refresh(uint64_t *again_ms);
// Takes them away: the program ends.
void rx_sessions_kernel_leave(void);
// They are another process's from now on: nothing of them is touched any more.
void rx_sessions_kernel_hand_on(void);
// No others are in the config any more: theirs is to go.
void rx_sessions_only(struct rx_sessions *const *served, uint32_t n_served);
// Somebody banned an address by hand, or took back what was done to it: the kernel's part, and that of sessions. True:
// there was something to take back. Any thread; `is_all` also looks through every identity, which takes a while.
void rx_sessions_order(const struct rx_cidr *who, uint64_t ttl_ms);
bool rx_sessions_forgive(const struct rx_cidr *who, bool is_all);

// Writes what the block logs have gathered; by one thread. `is_anew`: look for files that were moved away at once.
void rx_sessions_flush(bool is_anew);
// Its block log has gathered much: who is heard of next may not find room.
bool rx_sessions_is_brimming(const struct rx_sessions *s);

struct rx_sessions_totals {
    unsigned long identities, addresses, evicted;
    unsigned long violations; // since start
    unsigned long banned;     // bans given
    unsigned long log_lost;   // lines the block log could not take
    unsigned long killed, flows, kernel_failed; // connections closed by the kernel, conntrack entries deleted, failures
};
struct rx_sessions_totals rx_sessions_totals(struct rx_sessions_live *l);
typedef void rx_sessions_each_fn(const char *name, struct rx_sessions_live *l, void *data);
void rx_sessions_each(rx_sessions_each_fn *each, void *data);
