// SPDX-License-Identifier: MIT
// What of nftables is asked for often, over netlink without the way through text: entries of a set, and whether anything
// was changed. The guard's thread alone.
#pragma once

#include "nft.h"

struct rx_nftlink;

struct rx_nftlink *rx_nftlink_new(void); // NULL with errno
void rx_nftlink_free(struct rx_nftlink *l);
// Adds entries of one family to a set without intervals, all or none; the time of one that is there becomes the new one. 0
// or negative errno.
int rx_nftlink_add(struct rx_nftlink *l, const char *table, const char *set, const struct rx_nft_entry *list, size_t n);
// A number that each change of anything in nftables makes another; 0: not to be had.
uint32_t rx_nftlink_generation(struct rx_nftlink *l);
