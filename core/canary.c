// SPDX-License-Identifier: MIT
// Enters: how often something was tried and failed, by the old generation and by the one on trial. Leaves: whether
// the trial is worse. Fisher's exact test, one-sided: were both alike, the failures seen would fall on the two as if
// drawn by lot; how likely is it that the lot gives the trial as many as it has, or more? Exact for few connections,
// where approximations err. MARGIN keeps a difference that is real but tiny from mattering, FAILED_MIN a single
// misfortune.
#include "canary.h"

#include <math.h>
#include <stdio.h>

static const double CHANCE = 0.0005, MARGIN = 0.02;
enum { FAILED_MIN = 3 };

void rx_counts_add(struct rx_counts *sum, const struct rx_tally *t)
{
    for (int m = 0; m < RX_MEASURES; m++) {
        sum->tried[m] += atomic_load_explicit(&t->tried[m], memory_order_relaxed);
        sum->failed[m] += atomic_load_explicit(&t->failed[m], memory_order_relaxed);
    }
}

static double ln_choose(uint64_t n, uint64_t k)
{
    int sign;
    return lgamma_r((double)n + 1, &sign) - lgamma_r((double)k + 1, &sign) - lgamma_r((double)(n - k) + 1, &sign);
}

// The chance that of n draws from all, of which bad are bad, at least x are. x <= n, x <= bad.
static double tail(uint64_t all, uint64_t bad, uint64_t n, uint64_t x)
{
    if (bad + n > all && x < bad + n - all)
        return 1.; // there are not enough good ones
    double p = exp(ln_choose(bad, x) + ln_choose(all - bad, n - x) - ln_choose(all, n)), sum = p;
    for (; x < n && x < bad; x++) {
        p *= (double)(bad - x) * (double)(n - x) / ((double)(x + 1) * (double)(all - bad - n + x + 1));
        sum += p;
        if (p < sum * 1e-9)
            break;
    }
    return sum;
}

static bool is_worse(uint64_t tried, uint64_t failed, uint64_t tried_before, uint64_t failed_before)
{
    if (failed < FAILED_MIN || !tried_before)
        return false;
    double rate = (double)failed / (double)tried, before = (double)failed_before / (double)tried_before;
    return rate > before + MARGIN && tail(tried + tried_before, failed + failed_before, tried, failed) < CHANCE;
}

bool rx_canary_is_worse(const struct rx_counts *old, const struct rx_counts *trial, char *text, size_t size)
{
    static const char *const words[] = { "script errors", "connections no route took", "failed connects" };
    for (int m = 0; m < RX_MEASURES; m++) {
        // An error may be counted before its connection is, and one connection may make several.
        uint64_t failed = RX_MIN(trial->failed[m], trial->tried[m]), before = RX_MIN(old->failed[m], old->tried[m]);
        if (!is_worse(trial->tried[m], failed, old->tried[m], before))
            continue;
        snprintf(text, size, "%s: %lu of %lu, and %lu of %lu with the running config", words[m], (unsigned long)failed,
                 (unsigned long)trial->tried[m], (unsigned long)before, (unsigned long)old->tried[m]);
        return true;
    }
    return false;
}
