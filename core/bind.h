// SPDX-License-Identifier: MIT
// Listening sockets: opened by the engine, handed to workers.
#pragma once

#include "conf.h"

// Opens the sockets of one address, one per worker in fds[n] (a unix socket once, duplicated). 0, or negative errno.
// All share the address by SO_REUSEPORT, yet one that another process holds is refused. *bound: the real address.
// Sockets that were left to us are taken instead (heir.h): of UDP those beyond them are -1 then.
int rx_bind_open(struct rx_bind *bind, int *fds, unsigned n, struct rx_addr *bound);
// A UDP socket that is not served any more, but open while its flows last: its address is ours still, and may be opened again
// beside it. From any thread; the node's owner keeps it until it ends.
struct rx_linger {
    struct rx_linger *next;
    struct rx_addr addr;
};
void rx_bind_linger(struct rx_linger *l);
void rx_bind_linger_end(struct rx_linger *l);

// Removes the socket file of a unix address, if it is still the one rx_bind_open made.
void rx_bind_unlink(const struct rx_bind *bind);

// The same, and fills in bind->bound; says why not in the log. 0, 1 when it may be left out ("*:P" on a machine without IPv6), or -1.
int rx_bind_open_told(struct rx_bind *bind, int *fds, unsigned n);
// The line in the log that it is open. At start the last thing: who waits for it finds everything there.
void rx_bind_tell(const struct rx_bind *bind);
uint32_t rx_bind_count(const struct rx_conf *conf);
bool rx_bind_is_in(const struct rx_conf *conf, const struct rx_bind *b);
// Removes the socket files of the first n addresses of `conf`, but for those that `keep` (NULL: nobody) serves.
void rx_bind_unlink_first(const struct rx_conf *conf, uint32_t n, const struct rx_conf *keep);
