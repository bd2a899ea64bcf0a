// SPDX-License-Identifier: MIT
// A file that the config's hooks append to (rx.file). Written by one thread; freed by whoever lets go of it last.
#pragma once

#include <pthread.h>

#include "conf.h"

struct rx_sink;

// Those of an instance that have gathered something.
struct rx_sinks {
    pthread_mutex_t lock;
    struct rx_sink *dirty;
};

// Opened, or made; NULL with errno. The file's description is borrowed.
struct rx_sink *rx_sink_new(struct rx_sinks *in, const struct rx_out_file *f);
void rx_sink_free(struct rx_sink *s);
// Takes all of it, or nothing: 0, or -1 when it would grow beyond its limit, or the disk is full.
int rx_sink_write(struct rx_sink *s, const void *text, size_t len);
// Bytes in the file; 0 after it was rotated away.
uint64_t rx_sink_size(struct rx_sink *s);
// Writes what all sinks have gathered.
void rx_sink_flush_all(struct rx_sinks *in);
