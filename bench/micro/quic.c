// SPDX-License-Identifier: MIT
// Nanoseconds from a QUIC client's first datagrams, as real clients sent them, to its server name: keys derived, packets
// opened, the hello put together and read. Prints a table. What shows no name ends the run.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/list.h"

enum { REPEATS = 25, CALLS = 400, GRAM_MAX = 2048, GRAMS_MAX = 2 };

static uint8_t scratch[RX_SCRATCH_SIZE], bytes[GRAMS_MAX * GRAM_MAX];
static uint32_t lens[GRAMS_MAX];

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint32_t load(const char *name, uint32_t n_grams)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_grams; i++) {
        char path[256];
        snprintf(path, sizeof path, "tests/corpus/quic/%s.d%u", name, i);
        FILE *file = fopen(path, "rb");
        if (!file) {
            perror(path);
            exit(1);
        }
        lens[i] = (uint32_t)fread(bytes + n, 1, GRAM_MAX, file);
        n += lens[i];
        fclose(file);
    }
    return n;
}

static void identify(uint32_t n, uint32_t n_grams, struct rx_facts *f)
{
    *f = (struct rx_facts){ .want = RX_FACT_SNI, .scratch = scratch, .gram_len = lens, .n_grams = n_grams };
    if (rx_proto_quic.datagram(bytes, n, f) != RX_MATCH || !(f->have & RX_FACT_SNI)) {
        fprintf(stderr, "no name\n");
        exit(1);
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void row(const char *what, const char *name, uint32_t n_grams)
{
    struct rx_facts f;
    double took[REPEATS];
    uint32_t n = load(name, n_grams);
    for (int i = 0; i < REPEATS; i++) {
        double start = now_ns();
        for (int k = 0; k < CALLS; k++)
            identify(n, n_grams, &f);
        took[i] = (now_ns() - start) / CALLS;
    }
    qsort(took, REPEATS, sizeof *took, by_size);
    printf("| %s | %u | %.*s | %.0f | %.0f |\n", what, n, (int)f.sni.len, (const char *)f.sni.ptr, took[0],
           took[REPEATS / 2]);
}

int main(void)
{
    printf("| Initial → name | bytes | name | ns: least | median |\n|---|---|---|---|---|\n");
    row("ngtcp2, one datagram", "ngtcp2_gnutls-dcid18-scid0", 1);
    row("Firefox, two datagrams", "firefox-h3-1", 2);
    return 0;
}
