// SPDX-License-Identifier: MIT
// Non-blocking socket I/O with a three-way outcome, and the socket options the path needs. EINTR ends here.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include "base.h"

enum rx_io {
    RX_IO_DONE = 0, // *n bytes moved, n > 0
    RX_IO_AGAIN,    // would block
    RX_IO_EOF,      // orderly end of the stream (reads only)
    RX_IO_FAIL,     // errno says why
};

enum rx_io rx_sys_recv(int fd, void *buf, size_t len, size_t *n);
enum rx_io rx_sys_send(int fd, const void *buf, size_t len, size_t *n);
// Two pieces in one send. *n counts both.
enum rx_io rx_sys_send_two(int fd, const void *a, size_t a_len, const void *b, size_t b_len, size_t *n);
// Both directions of a splice; len is a ceiling.
enum rx_io rx_sys_splice(int from, int to, size_t len, size_t *n);

void rx_sys_nodelay(int fd);
// Make the next close() send a reset instead of a FIN.
void rx_sys_reset_on_close(int fd);
// Whether a stream socket still has something to say, or may: false after a reset, and at the end of the stream.
bool rx_sys_is_alive(int fd);
// The pending SO_ERROR of a socket, cleared by reading it; 0 when there is none.
int rx_sys_take_error(int fd);
// Raise RLIMIT_NOFILE to its hard limit; returns the limit in force.
unsigned long rx_sys_raise_nofile(void);
uint64_t rx_sys_now_ns(void);
