// SPDX-License-Identifier: MIT
// Recording: the first bytes of connections and what was decided, in a bounded file that `refractium replay` decides
// again. The format is docs/reference/record.md.
#pragma once

#include <stdatomic.h>

#include "conf.h"
#include "route.h"

enum { RX_RECORD_VERSION = 1, RX_RECORD_LINE = 256 * 1024, RX_RECORD_TEXT = 256, RX_RECORD_GRAMS = 32 };

// One decision. In a worker the texts are borrowed for the call; read from a file they live in `text`.
struct rx_record {
    uint64_t ms; // since 1970
    union rx_ip from;
    uint16_t to_port;
    enum rx_ended ended;
    const char *listen;   // the listener's first address, as written
    const char *protocol; // NULL: not recognised
    const char *route;    // NULL: the fallback
    const char *to;       // a pool's name, or an action
    const uint8_t *bytes;
    uint32_t len, kept; // bytes there were, bytes kept
    const uint32_t *gram_len; // UDP: the length of each datagram, of which there are n_grams; borrowed
    uint32_t n_grams;         // TCP: 0
};

// What the config asks for; file NULL: nothing is recorded.
struct rx_record_setup {
    const char *file;
    uint64_t max_size;
    uint32_t sample_ppm, bytes;
};

struct rx_recorder;
struct rx_recorder *rx_recorder_new(void); // NULL: out of memory
void rx_recorder_free(struct rx_recorder *w); // it was stopped; NULL is fine

// Brings recording in line with a config: starts, stops, or goes on. Engine thread only; 0, or -errno (told).
int rx_record_apply(struct rx_recorder *w, const struct rx_record_setup *setup, unsigned n_workers);
// Writes out what is waiting and closes the file; false: nothing was recorded. Workers may still run.
bool rx_record_stop(struct rx_recorder *w);
// By the operator: a recording that only he, or the end, stops. -EALREADY: there is one. 0, or -errno (told).
int rx_record_order(struct rx_recorder *w, const struct rx_record_setup *setup, unsigned n_workers);
// Where to; NULL: nothing is recorded. Engine thread only.
const char *rx_record_file(struct rx_recorder *w);

atomic_bool *rx_recorder_is_on(struct rx_recorder *w); // for rx_record_decision's callers; any thread

// From worker number `worker`. Never waits: when the writer lags behind, it is counted and left out.
void rx_record_decision(struct rx_recorder *w, unsigned worker, const struct rx_record *r);

// One line of the file, read: 0, or -1 with a word why. `bytes` has room for RX_RECORD_LINE / 2; texts are in `text`.
struct rx_record_text {
    char listen[RX_RECORD_TEXT], protocol[RX_RECORD_TEXT], route[RX_RECORD_TEXT], to[RX_RECORD_TEXT];
    uint32_t gram_len[RX_RECORD_GRAMS];
};
int rx_record_parse(const char *line, size_t len, struct rx_record *r, struct rx_record_text *text, uint8_t *bytes,
                    const char **why);
