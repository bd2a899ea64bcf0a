// SPDX-License-Identifier: MIT
// Counters and gauges that scripts declare: found by name in the instance, so a reload loses no count. Each has one
// value for every set of label values it was used with, as many as RX_METRIC_SERIES.
#pragma once

#include <pthread.h>
#include <stdio.h>

#include "base.h"

enum { RX_METRIC_LABELS = 4, RX_METRIC_SERIES = 1000, RX_METRIC_LABEL_MAX = 128 };

enum rx_metric_kind { RX_METRIC_COUNTER = 0, RX_METRIC_GAUGE = 1 };

struct rx_metric;

// All of an instance.
struct rx_metrics {
    pthread_mutex_t lock;
    struct rx_metric *first; // by name
};

// The metric of this name, made when there is none. `labels`: names with commas between them. NULL after *why told
// what is wrong in words for the user: another generation still has it with another type or labels.
struct rx_metric *rx_metric_get(struct rx_metrics *in, const char *name, const char *help, enum rx_metric_kind kind,
                                const char *labels, const char **why);
void rx_metric_put(struct rx_metric *m);
unsigned rx_metric_n_labels(const struct rx_metric *m);

// A set of label values while it is collected.
struct rx_metric_key {
    uint32_t len, n;
    uint8_t bytes[RX_METRIC_LABELS * (RX_METRIC_LABEL_MAX + 1)];
};
// Beyond RX_METRIC_LABEL_MAX bytes a value is cut.
void rx_metric_key_add(struct rx_metric_key *key, const char *value, size_t len);

// Any thread, no lock. The key must have as many values as the metric has labels. A set that is one too many changes
// nothing but the count of those.
void rx_metric_add(struct rx_metric *m, const struct rx_metric_key *key, double by);
void rx_metric_set(struct rx_metric *m, const struct rx_metric_key *key, double value);

// All metrics in the text format of Prometheus, by name. Label values may be any bytes: what is no UTF-8 is escaped.
void rx_metric_print(struct rx_metrics *in, FILE *out);
// For whoever prints metrics of another source: a label value in quotes; a number.
void rx_metric_print_label(FILE *out, const char *text, size_t len);
void rx_metric_print_number(FILE *out, double v);
