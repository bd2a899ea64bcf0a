// SPDX-License-Identifier: MIT
// A block log: lines from any thread, gathered in memory and written by one, so that nobody waits for a disk.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base.h"

struct rx_block_log {
    pthread_mutex_t lock;
    char *path;    // owned; NULL: none
    char *waiting; // owned: lines to be written
    size_t n_waiting;
    atomic_bool is_brimming; // much is waiting: it should be written before more comes
    atomic_ulong lost;       // lines that could not be kept or written

    // the writer's alone
    int fd;
    char *open_path; // owned
};

void rx_block_log_init(struct rx_block_log *b);
void rx_block_log_fini(struct rx_block_log *b);
void rx_block_log_set(struct rx_block_log *b, const char *path); // any thread; NULL: none
// n == 0: a line that could not be made.
void rx_block_log_add(struct rx_block_log *b, const char *line, size_t n);
// The writer. `whose`: for messages. `is_anew`: looks for files that were moved away, though nothing waits.
void rx_block_log_flush(struct rx_block_log *b, const char *whose, bool is_anew);
