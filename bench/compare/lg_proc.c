// SPDX-License-Identifier: MIT
// Measuring: clock, latency histogram, what the proxy's processes used, the recorded window, and the result
// line.
//
// CPU time is what the kernel counts as utime + stime of a process, but read through its CPU clock:
// /proc/PID/stat rounds the same sum to ticks of 10 ms, a whole percent of a one-second window. Where the
// clock is not available the file is used.
#include "loadgen.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(struct timespec t)
{
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

uint64_t lg_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// ---- latencies ------------------------------------------------------------------------------------------------
// Log-linear: 32 steps per power of two, so a percentile is right to about 3 %, in fixed memory.

enum { STEP_BITS = 5, N_STEPS = 1 << STEP_BITS, N_BUCKETS = (65 - STEP_BITS) * N_STEPS };

static uint32_t latency_count[N_BUCKETS];
static uint64_t latency_n, latency_max_ns;

static uint32_t bucket_of(uint64_t ns)
{
    if (ns < N_STEPS)
        return (uint32_t)ns;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(ns) - STEP_BITS;
    return shift * N_STEPS + (uint32_t)(ns >> shift);
}

// The middle of a bucket, in nanoseconds.
static double bucket_value(uint32_t bucket)
{
    if (bucket < 2 * N_STEPS)
        return bucket;
    uint32_t shift = bucket / N_STEPS - 1;
    return ((double)(bucket - shift * N_STEPS) + 0.5) * (double)(1ull << shift);
}

void lg_latency_add(uint64_t ns)
{
    latency_count[bucket_of(ns)]++;
    latency_n++;
    if (ns > latency_max_ns)
        latency_max_ns = ns;
}

void lg_latency_reset(void)
{
    memset(latency_count, 0, sizeof latency_count);
    latency_n = latency_max_ns = 0;
}

uint64_t lg_latency_count(void)
{
    return latency_n;
}

double lg_latency_us(double share)
{
    uint64_t rank = (uint64_t)(share * (double)latency_n), seen = 0;
    for (uint32_t i = 0; i < N_BUCKETS; i++) {
        seen += latency_count[i];
        if (seen > rank)
            return bucket_value(i) / 1e3;
    }
    return (double)latency_max_ns / 1e3;
}

// ---- processes ------------------------------------------------------------------------------------------------

static double cpu_from_stat(pid_t pid)
{
    char path[64], line[1024];
    unsigned long user = 0, kernel = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    // The command's name may hold spaces and parentheses: fields are counted from the last ')'.
    const char *rest = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    if (rest)
        sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
    fclose(file);
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static double cpu_of(const pid_t *pids, uint32_t n)
{
    double sum_s = 0;
    for (uint32_t i = 0; i < n; i++) {
        clockid_t clock;
        struct timespec used;
        if (clock_getcpuclockid(pids[i], &clock) == 0 && clock_gettime(clock, &used) == 0)
            sum_s += seconds_of(used);
        else
            sum_s += cpu_from_stat(pids[i]);
    }
    return sum_s;
}

double lg_usage_cpu(const struct lg_options *opt)
{
    return cpu_of(opt->pids, opt->n_pids);
}

// CPU seconds of the whole machine that neither we nor the backend nor the proxy used, including what a hypervisor
// took. A measurement during which it grew much is worth little; the report says so.
static double foreign_cpu(const struct lg_options *opt)
{
    unsigned long ticks[8] = { 0 }; // user nice system idle iowait irq softirq steal
    FILE *file = fopen("/proc/stat", "r");
    if (!file)
        return 0;
    int n = fscanf(file, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", &ticks[0], &ticks[1], &ticks[2], &ticks[3], &ticks[4],
                   &ticks[5], &ticks[6], &ticks[7]);
    fclose(file);
    if (n < 4)
        return 0;
    unsigned long busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7];
    struct timespec own;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    return (double)busy / (double)sysconf(_SC_CLK_TCK) - seconds_of(own) - lg_usage_cpu(opt) -
           cpu_of(opt->helper_pids, opt->n_helper_pids);
}

// smaps_rollup counts pages; statm may lag by a batch per CPU, which is much when divided by few connections.
static uint64_t rss_kb(pid_t pid)
{
    char path[64], line[256];
    uint64_t kb = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Rss: %" SCNu64 " kB", &kb) == 1)
            break;
    if (file)
        fclose(file);
    if (kb)
        return kb;

    unsigned long resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    file = fopen(path, "r");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %lu", &resident) != 1)
        resident = 0;
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

static uint64_t fds_count(pid_t pid)
{
    char path[64];
    uint64_t n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return 0;
    for (const struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

struct lg_usage lg_usage_all(const struct lg_options *opt)
{
    struct lg_usage sum = { .cpu_s = lg_usage_cpu(opt) };
    for (uint32_t i = 0; i < opt->n_pids; i++) {
        sum.rss_kb += rss_kb(opt->pids[i]);
        sum.n_fds += fds_count(opt->pids[i]);
    }
    return sum;
}

// ---- the recorded window --------------------------------------------------------------------------------------

void lg_window_init(struct lg_window *w, const struct lg_options *opt)
{
    *w = (struct lg_window){ .opt = opt, .opens_ns = lg_now_ns() + (uint64_t)(opt->warmup_s * 1e9) };
}

bool lg_window_tick(struct lg_window *w)
{
    uint64_t now_ns = lg_now_ns();
    if (w->is_open)
        return now_ns < w->closes_ns;
    if (now_ns >= w->opens_ns) {
        lg_latency_reset();
        w->foreign_before_s = foreign_cpu(w->opt);
        w->cpu_before_s = lg_usage_cpu(w->opt);
        w->opens_ns = lg_now_ns();
        w->closes_ns = w->opens_ns + (uint64_t)(w->opt->window_s * 1e9);
        w->is_open = true;
    }
    return true;
}

void lg_window_close(struct lg_window *w)
{
    w->elapsed_s = (double)(lg_now_ns() - w->opens_ns) / 1e9;
    w->cpu_s = lg_usage_cpu(w->opt) - w->cpu_before_s;
    w->foreign_s = foreign_cpu(w->opt) - w->foreign_before_s;
}

// ---- the result line ------------------------------------------------------------------------------------------

void lg_json_text(const char *key, const char *value)
{
    printf(", \"%s\": \"", key);
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

void lg_json_number(const char *key, double value)
{
    printf(", \"%s\": %.9g", key, value);
}

void lg_json_begin(const char *mode, const struct lg_options *opt)
{
    printf("{\"mode\": \"%s\"", mode);
    lg_json_text("label", opt->label);
}

void lg_json_latency(const char *prefix)
{
    static const struct {
        const char *name;
        double share;
    } points[] = { { "p50_us", 0.50 }, { "p99_us", 0.99 }, { "p999_us", 0.999 }, { "max_us", 1.0 } };
    if (!latency_n)
        return;
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s%s", prefix, points[i].name);
        lg_json_number(key, lg_latency_us(points[i].share));
    }
}

void lg_json_rate(const struct lg_window *w, const char *unit, double n_units)
{
    lg_json_text("unit", unit);
    lg_json_number("units", n_units);
    lg_json_number("elapsed_s", w->elapsed_s);
    lg_json_number("rate_per_s", w->elapsed_s > 0 ? n_units / w->elapsed_s : 0);
    if (w->opt->n_helper_pids && w->elapsed_s > 0) {
        double capacity_s = w->elapsed_s * (double)sysconf(_SC_NPROCESSORS_ONLN);
        lg_json_number("foreign_cpu_share", w->foreign_s > 0 ? w->foreign_s / capacity_s : 0);
    }
    if (!w->opt->n_pids)
        return;
    struct lg_usage now = lg_usage_all(w->opt);
    lg_json_number("cpu_s", w->cpu_s);
    if (n_units > 0)
        lg_json_number("cpu_s_per_unit", w->cpu_s / n_units);
    lg_json_number("rss_kb", (double)now.rss_kb);
    lg_json_number("fds", (double)now.n_fds);
}

void lg_json_end(void)
{
    puts("}");
    fflush(stdout);
}
