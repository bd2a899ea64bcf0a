// SPDX-License-Identifier: MIT
// Enters: numbers with label values, from any thread. Leaves: the text format of Prometheus (exposition format 0.0.4).
//
// The values of a metric stand in a table of pointers that never grows: a slot goes from NULL to its series once and
// stays, so finding one takes no lock, and who loses the race for a slot uses the winner's series. The table has twice
// the slots that series may be, so a probe always ends. Metrics themselves are counted by the generations that declare
// them and looked up by name only while a config loads.
#include "metric.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

enum { SLOTS = 2048 };
_Static_assert(SLOTS >= 2 * RX_METRIC_SERIES, "a probe must find an end");

struct series {
    atomic_ullong value; // the bits of a double
    uint32_t len;
    uint8_t key[]; // (length byte, label value)*
};

struct rx_metric {
    struct rx_metrics *in; // borrowed
    struct rx_metric *next;
    unsigned refs; // under its lock
    enum rx_metric_kind kind;
    char *name, *help, *labels; // owned
    unsigned n_labels;
    struct rx_hash_key secret;
    atomic_uint n_series;
    atomic_ulong overflow; // uses that found no room
    _Atomic(struct series *) slots[SLOTS]; // owned
};

// ---- the list -----------------------------------------------------------------------------------------------------

static void metric_free(struct rx_metric *m)
{
    for (int i = 0; i < SLOTS; i++)
        free(atomic_load_explicit(&m->slots[i], memory_order_relaxed));
    free(m->name);
    free(m->help);
    free(m->labels);
    free(m);
}

static struct rx_metric *metric_new(const char *name, const char *help, enum rx_metric_kind kind, const char *labels)
{
    struct rx_metric *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->refs = 1;
    m->kind = kind;
    m->name = strdup(name);
    m->help = strdup(help);
    m->labels = strdup(labels);
    m->secret = rx_hash_key_new();
    m->n_labels = *labels != '\0';
    for (const char *p = labels; *p; p++)
        m->n_labels += *p == ',';
    if (m->name && m->help && m->labels && m->n_labels <= RX_METRIC_LABELS)
        return m;
    metric_free(m);
    return NULL;
}

static struct rx_metric *take(struct rx_metric *m, const char *help, enum rx_metric_kind kind, const char *labels,
                              const char **why)
{
    if (m->kind != kind)
        *why = kind == RX_METRIC_GAUGE ? "is in use as a counter" : "is in use as a gauge";
    else if (strcmp(m->labels, labels))
        *why = "is in use with other labels";
    char *words = *why || !strcmp(m->help, help) ? NULL : strdup(help);
    if (words) {
        free(m->help);
        m->help = words;
    }
    if (*why)
        return NULL;
    m->refs++;
    return m;
}

struct rx_metric *rx_metric_get(struct rx_metrics *in, const char *name, const char *help, enum rx_metric_kind kind,
                                const char *labels, const char **why)
{
    *why = NULL;
    pthread_mutex_lock(&in->lock);
    struct rx_metric **at = &in->first, *m;
    while (*at && strcmp((*at)->name, name) < 0)
        at = &(*at)->next;
    if (*at && !strcmp((*at)->name, name)) {
        m = take(*at, help, kind, labels, why);
    } else if ((m = metric_new(name, help, kind, labels))) {
        m->in = in;
        m->next = *at;
        *at = m;
    } else {
        *why = "out of memory";
    }
    pthread_mutex_unlock(&in->lock);
    return m;
}

void rx_metric_put(struct rx_metric *m)
{
    if (!m)
        return;
    struct rx_metrics *in = m->in;
    pthread_mutex_lock(&in->lock);
    bool is_last = --m->refs == 0;
    if (is_last) {
        struct rx_metric **at = &in->first;
        while (*at != m)
            at = &(*at)->next;
        *at = m->next;
    }
    pthread_mutex_unlock(&in->lock);
    if (is_last)
        metric_free(m);
}

unsigned rx_metric_n_labels(const struct rx_metric *m)
{
    return m->n_labels;
}

// ---- values -------------------------------------------------------------------------------------------------------

void rx_metric_key_add(struct rx_metric_key *key, const char *value, size_t len)
{
    uint8_t n = (uint8_t)RX_MIN(len, (size_t)RX_METRIC_LABEL_MAX);
    if (key->n == RX_METRIC_LABELS)
        return;
    key->n++;
    key->bytes[key->len++] = n;
    memcpy(key->bytes + key->len, value, n);
    key->len += n;
}

static struct series *series_new(struct rx_metric *m, const struct rx_metric_key *key)
{
    if (atomic_fetch_add(&m->n_series, 1) >= RX_METRIC_SERIES) {
        atomic_fetch_sub(&m->n_series, 1);
        return NULL;
    }
    struct series *s = malloc(sizeof *s + key->len);
    if (!s) {
        atomic_fetch_sub(&m->n_series, 1);
        return NULL;
    }
    atomic_init(&s->value, 0);
    s->len = key->len;
    memcpy(s->key, key->bytes, key->len);
    return s;
}

static bool is_of(const struct series *s, const struct rx_metric_key *key)
{
    return s->len == key->len && !memcmp(s->key, key->bytes, key->len);
}

// The series of these values, made when there is none; NULL when there are too many.
static struct series *series_of(struct rx_metric *m, const struct rx_metric_key *key)
{
    uint32_t i = (uint32_t)rx_hash(&m->secret, key->bytes, key->len) % SLOTS;
    struct series *made = NULL, *s;
    for (;; i = (i + 1) % SLOTS) {
        s = atomic_load_explicit(&m->slots[i], memory_order_acquire);
        if (!s) {
            if (!made && !(made = series_new(m, key))) {
                atomic_fetch_add_explicit(&m->overflow, 1, memory_order_relaxed);
                return NULL;
            }
            if (atomic_compare_exchange_strong(&m->slots[i], &s, made))
                return made;
        }
        if (is_of(s, key))
            break;
    }
    if (made) { // another thread was faster
        free(made);
        atomic_fetch_sub(&m->n_series, 1);
    }
    return s;
}

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static double value_of(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

void rx_metric_add(struct rx_metric *m, const struct rx_metric_key *key, double by)
{
    struct series *s = key->n == m->n_labels ? series_of(m, key) : NULL;
    if (!s)
        return;
    unsigned long long old = atomic_load_explicit(&s->value, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&s->value, &old, bits_of(value_of(old) + by)))
        ;
}

void rx_metric_set(struct rx_metric *m, const struct rx_metric_key *key, double value)
{
    struct series *s = key->n == m->n_labels ? series_of(m, key) : NULL;
    if (s)
        atomic_store_explicit(&s->value, bits_of(value), memory_order_relaxed);
}

// ---- text ---------------------------------------------------------------------------------------------------------

// Bytes of the UTF-8 character at p; 0 when there is none (RFC 3629, section 4).
static size_t utf8_len(const uint8_t *p, size_t n)
{
    static const struct {
        uint8_t low, high, second_low, second_high, len;
    } forms[] = {
        { 0x00, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };
    for (unsigned i = 0; i < RX_COUNT(forms); i++) {
        if (p[0] < forms[i].low || p[0] > forms[i].high)
            continue;
        if (forms[i].len > n || (n > 1 && forms[i].len > 1 && (p[1] < forms[i].second_low || p[1] > forms[i].second_high)))
            return 0;
        for (size_t k = 2; k < forms[i].len; k++)
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].len;
    }
    return 0;
}

void rx_metric_print_label(FILE *out, const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text;
    putc('"', out);
    for (size_t i = 0; i < len;) {
        size_t n = utf8_len(p + i, len - i);
        if (p[i] == '"' || p[i] == '\\')
            fprintf(out, "\\%c", p[i]);
        else if (p[i] == '\n')
            fputs("\\n", out);
        else if (!n || p[i] < 0x20 || p[i] == 0x7f)
            fprintf(out, "\\\\x%02x", p[i]);
        else
            fwrite(p + i, 1, n, out);
        i += RX_MAX(n, (size_t)1);
    }
    putc('"', out);
}

void rx_metric_print_number(FILE *out, double v)
{
    if (isnan(v))
        fputs("NaN", out);
    else if (isinf(v))
        fputs(v > 0 ? "+Inf" : "-Inf", out);
    else if (v == floor(v) && fabs(v) < 1e15)
        fprintf(out, "%.0f", v);
    else
        fprintf(out, "%.17g", v);
}

static void print_help(FILE *out, const struct rx_metric *m)
{
    if (*m->help)
        fprintf(out, "# HELP %s ", m->name);
    for (const char *p = m->help; *p; p++) {
        if (*p == '\\')
            fputs("\\\\", out);
        else if (*p == '\n')
            fputs("\\n", out);
        else
            putc(*p, out);
    }
    fprintf(out, "%s# TYPE %s %s\n", *m->help ? "\n" : "", m->name, m->kind == RX_METRIC_COUNTER ? "counter" : "gauge");
}

static void print_series(FILE *out, const struct rx_metric *m, struct series *s)
{
    const char *label = m->labels;
    uint32_t at = 0;
    fputs(m->name, out);
    for (unsigned i = 0; i < m->n_labels; i++) {
        size_t n = strcspn(label, ",");
        fprintf(out, "%c%.*s=", i ? ',' : '{', (int)n, label);
        rx_metric_print_label(out, (const char *)s->key + at + 1, s->key[at]);
        at += s->key[at] + 1u;
        label += n + (label[n] == ',');
    }
    fputs(m->n_labels ? "} " : " ", out);
    rx_metric_print_number(out, value_of(atomic_load_explicit(&s->value, memory_order_relaxed)));
    putc('\n', out);
}

static void print_overflow(const struct rx_metrics *in, FILE *out)
{
    static const char name[] = "refractium_script_metric_overflow_total";
    if (!in->first)
        return;
    fprintf(out, "# HELP %s Uses of a script's metric with one set of label values too many.\n# TYPE %s counter\n", name,
            name);
    for (struct rx_metric *m = in->first; m; m = m->next)
        fprintf(out, "%s{metric=\"%s\"} %lu\n", name, m->name, atomic_load(&m->overflow));
}

void rx_metric_print(struct rx_metrics *in, FILE *out)
{
    pthread_mutex_lock(&in->lock);
    for (struct rx_metric *m = in->first; m; m = m->next) {
        print_help(out, m);
        for (int i = 0; i < SLOTS; i++) {
            struct series *s = atomic_load_explicit(&m->slots[i], memory_order_acquire);
            if (s)
                print_series(out, m, s);
        }
        // What was never used is 0, not unknown.
        if (!m->n_labels && !atomic_load(&m->n_series))
            fprintf(out, "%s 0\n", m->name);
    }
    print_overflow(in, out);
    pthread_mutex_unlock(&in->lock);
}
