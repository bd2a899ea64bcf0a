// SPDX-License-Identifier: MIT
// A table of nftables that drops what addresses send to some ports. The guard's thread alone.
#pragma once

#include "addr.h"

struct rx_nft;

struct rx_nft_rule {
    bool is_tcp, is_udp;
    const char *ports; // as nft reads them: "443, 8000-8099"
    uint32_t ipv6_prefix; // of most IPv6 entries
};

// An address that is kept out, and for how long from now on.
struct rx_nft_entry {
    struct rx_cidr who;
    uint64_t left_ms;
};

// `name` becomes the table's, behind "refractium_". NULL: out of memory.
struct rx_nft *rx_nft_new(const char *name);
void rx_nft_forget(struct rx_nft *t); // the table is somebody else's from now on: freeing leaves it
// Takes the table away, and frees.
void rx_nft_free(struct rx_nft *t);
// The table as it should be, with these entries and no others, in one step: what a crash left under this name goes. True:
// it is there. Else *why has words, valid until the next call. `list` is sorted, and what another entry has in it left out.
bool rx_nft_put(struct rx_nft *t, const struct rx_nft_rule *rule, struct rx_nft_entry *list, size_t n, const char **why);
// With more entries, or other times for those it has. Cheap, however many there are. False also for blocks of unusual
// length: rx_nft_put takes those.
bool rx_nft_add(struct rx_nft *t, const struct rx_nft_entry *list, size_t n, const char **why);
// Whether nobody took the table, its sets or its rules away. Cheap as long as nobody changes anything in nftables.
bool rx_nft_is_whole(struct rx_nft *t, const struct rx_nft_rule *rule);
// Whether an entry had to wait for another one's end, which has come: rx_nft_put it again.
bool rx_nft_is_due(const struct rx_nft *t);
