// SPDX-License-Identifier: MIT
// What the program tells its operator. Never blocks on a peer's behalf: what peers can trigger is rate-limited and
// counted, and their bytes are printed escaped.
#pragma once

#include <stdatomic.h>

#include "base.h"

#include "abi.h" // after base.h

enum rx_level { RX_LOG_ERROR = 0, RX_LOG_WARN, RX_LOG_INFO, RX_LOG_DEBUG };

struct rx_log_setup {
    enum rx_level level;
    enum rx_log_format format; // RX_LOG_AUTO: colour on a terminal, else text with journal priorities
};

void rx_log_init(const struct rx_log_setup *setup);
// Until then, and where that place does not take it, to standard error. 0 or -errno. Before there are threads.
int rx_log_direct(enum rx_log_to to, const char *file);
unsigned long rx_log_lost(void); // lines of any log that nobody has
bool rx_log_is(enum rx_level level);
// Any thread; at once.
void rx_log_set_level(enum rx_level level);
const char *rx_log_level_word(void); // the one in force
const char *rx_log_word_of(enum rx_level level);
int rx_log_level_of(const char *word); // enum rx_level, -1: no such word
// One line.
void rx_log(enum rx_level level, const char *fmt, ...) RX_PRINTF(2, 3);

// At most ten lines a second from one place, then a count of what was left out.
struct rx_log_gate {
    atomic_ulong second;
    atomic_uint n, n_dropped;
};
bool rx_log_pass(struct rx_log_gate *g, unsigned *dropped);
#define rx_log_limited(level, fmt, ...)                                                                      \
    do {                                                                                                     \
        static struct rx_log_gate gate_;                                                                     \
        unsigned dropped_;                                                                                   \
        if (rx_log_is(level) && rx_log_pass(&gate_, &dropped_)) {                                            \
            if (dropped_)                                                                                    \
                rx_log(level, fmt " (%u more like this)", ##__VA_ARGS__, dropped_);                          \
            else                                                                                             \
                rx_log(level, fmt, ##__VA_ARGS__);                                                           \
        }                                                                                                    \
    } while (0)

// Text of unknown origin as printable ASCII: \xHH for the rest, and "..." when it is cut. Returns buf.
char *rx_log_escape(const uint8_t *text, size_t len, char *buf, size_t size);

// ---- access lines: one per connection, written by close.c ---------------------------------------------------------

struct rx_worker;
struct rx_conn;

// 0 or negative errno when the file cannot be opened. Called before workers start.
struct rx_decision;
// "sni=… host=…" for the access line, malloc'ed; NULL when there is nothing to tell.
char *rx_told_new(const struct rx_decision *d);
int rx_access_open(enum rx_access_log mode, const char *file);
// So many of a million connections have a line; all until it is called.
void rx_access_sample(uint32_t ppm);
bool rx_access_is_on(void);
void rx_access_line(struct rx_conn *c, int why); // why: enum rx_reason
void rx_access_flush(struct rx_worker *w);
