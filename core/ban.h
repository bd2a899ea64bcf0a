// SPDX-License-Identifier: MIT
// Who may not come in for a while: addresses and blocks, each until a time. One list for the process, so a reload
// forgets nobody. Asked before anything is spent on a connection; entries end by themselves.
#pragma once

#include "addr.h"

enum { RX_BANS_MAX = 1000000 };

// Any thread. A ban of what is banned already lasts until the later of the two. Live connections of the client are
// closed by the workers, who are told. 0, or negative errno: -EINVAL, -ENOMEM, -ENOSPC (RX_BANS_MAX are there).
int rx_ban_add(const struct rx_cidr *whom, uint64_t ttl_ms);
// Takes back exactly this entry; true when it was there.
bool rx_ban_remove(const struct rx_cidr *whom);
// The same, as another node has done it: who shares bans is not told.
int rx_ban_hear(const struct rx_cidr *whom, uint64_t ttl_ms);
void rx_ban_hear_removed(const struct rx_cidr *whom);
// Whether this client is banned now. Any thread, no lock: with no bans one load, else one probe for every length of
// prefix in use. A client without an address never is.
bool rx_ban_has(const union rx_ip *ip);

// Shows every ban and how long it still lasts, in no order, until `each` returns false. Other threads' bans wait
// meanwhile (rx_ban_has does not); `each` must not ban.
typedef bool rx_ban_each_fn(const struct rx_cidr *whom, uint64_t left_ms, void *data);
void rx_ban_each(rx_ban_each_fn *each, void *data);

struct rx_ban_totals {
    unsigned long now;     // bans in force
    unsigned long added;   // since start
    unsigned long refused; // bans that found the list full, or no memory
};
struct rx_ban_totals rx_ban_totals(void);

// Who is told that somebody was banned (NULL: nobody any more): the engine. Called on the thread that bans, under
// the list's lock.
typedef void rx_ban_tell_fn(void *data);
void rx_ban_on_add(rx_ban_tell_fn *tell, void *data);

// Who tells other nodes of bans given and (ttl_ms 0) taken back here; likewise.
typedef void rx_ban_share_fn(void *data, const struct rx_cidr *whom, uint64_t ttl_ms);
void rx_ban_on_change(rx_ban_share_fn *share, void *data);

void rx_ban_clear(void); // everything, memory included; no other thread may ask meanwhile
