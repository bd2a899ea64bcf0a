// SPDX-License-Identifier: MIT
// What functions of the config cost: nanoseconds per call, alone and through the whole decider, memory left behind, the
// first calls after a load, and how long configs take to load and to test.
// Prints a table; --json prints one object. Every verdict is checked: a wrong one ends the run.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "athome.h"
#include "check.h"
#include "route.h"
#include "script.h"
#include "sys.h"

enum { REPEATS = 15, CALLS = 200000, FIRST = 1000, LOADS = 20, MEMORY_CALLS = 1000000 };

static uint8_t scratch[RX_SCRATCH_SIZE];
static union rx_ip client;
static char path[] = "/tmp/rx-bench-XXXXXX";
static bool is_json, is_first_row = true;

static void on_report(void *data, unsigned severity, const char *text, size_t len)
{
    (void)data;
    if (severity == RX_REPORT_ERROR)
        fprintf(stderr, "%.*s\n", (int)len, text);
}

static void on_failure(void *data, const char *line)
{
    (void)data;
    fprintf(stderr, "%s\n", line);
}

static void row(const char *what, const char *unit, double value)
{
    if (is_json)
        printf("%s{\"what\":\"%s\",\"unit\":\"%s\",\"value\":%.2f}", is_first_row ? "" : ",\n", what, unit, value);
    else
        printf("%-52s %10.1f %s\n", what, value, unit);
    is_first_row = false;
    fflush(stdout);
}

// The thread's own time: other work on the machine does not count.
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *list, unsigned n)
{
    qsort(list, n, sizeof *list, by_value);
    return list[n / 2];
}

// A config of this text, with a state for one worker.
static struct rx_conf *load(const char *text)
{
    static const struct rx_args args = { .config = path, .is_config_typed = true };
    FILE *f = fopen(path, "w");
    if (!f || fputs(text, f) < 0 || fclose(f))
        exit(1);
    struct rx_conf *conf = rx_script_load(rx_test_home(), &args, NULL, on_report, NULL);
    if (!conf || rx_script_spawn(conf, &args, 1, on_report, NULL))
        exit(1);
    return conf;
}

// ---- calls --------------------------------------------------------------------------------------------------------

static const char *const bodies[][2] = {
    { "a byte and a number", "return buf[0] == 0x47 and buf:u16(1) == 0x414d" },
    { "starts", "return buf:starts 'GAME'" },
    { "a length, then a loop over 16 bytes",
      "if #buf < 20 then return rx.more end local n = 0 for i = 4, 19 do n = n + buf[i] end return n == 0x61 * 16" },
    { "find", "return buf:find 'aaaaZ' ~= nil" },
    { "rx.re", "return re:test(buf)" },
    { "a key", "return true, 'k'" },
};

static const char HEAD[] = "local rx = require 'refractium' local re = rx.re 'a{4}Z'\n";
static const char SAMPLE[] = "GAMEaaaaaaaaaaaaaaaaZZZZ";

static struct rx_decision decide(const struct rx_conf *conf, const char *bytes, uint32_t n)
{
    struct rx_decision d;
    struct rx_ask ask = { .p = (const uint8_t *)bytes,
                          .n = n,
                          .from = &client,
                          .to_port = 1,
                          .scratch = scratch,
                          .script = rx_conf_script(conf, 0) };
    rx_decide(conf->listens[0], &ask, &d);
    return d;
}

static void must(bool is_right, const char *what)
{
    if (is_right)
        return;
    fprintf(stderr, "%s: wrong\n", what);
    exit(1);
}

// Alone: one call of the function. Decided: rx_decide with that one route.
static void measure_body(const char *name, const char *body, bool has_sample)
{
    char text[1024], what[128];
    snprintf(text, sizeof text,
             "%slocal g = rx.protocol 'g' { transport = 'tcp', identify = function(buf) %s end, %s }\n"
             "rx.listen '127.0.0.1:1' { routes = { { g, to = rx.drop } } }\n",
             HEAD, body, has_sample ? "samples = { yes = 'GAMEaaaaaaaaaaaaaaaaZZZZ' }" : "");
    struct rx_conf *conf = load(text);
    struct rx_script *s = rx_conf_script(conf, 0);
    double alone[REPEATS], decided[REPEATS];
    const uint32_t n = sizeof SAMPLE - 1;
    struct rx_facts f = { .scratch = scratch };
    unsigned long wrong = 0;
    for (unsigned r = 0; r < REPEATS; r++) {
        uint64_t start = cpu_ns();
        for (unsigned i = 0; i < CALLS; i++)
            wrong += rx_script_identify(s, 0, (const uint8_t *)SAMPLE, n, &f) != RX_MATCH;
        alone[r] = (double)(cpu_ns() - start) / CALLS;
        start = cpu_ns();
        for (unsigned i = 0; i < CALLS; i++)
            wrong += decide(conf, SAMPLE, n).verdict != RX_MATCH;
        decided[r] = (double)(cpu_ns() - start) / CALLS;
    }
    must(!wrong, name);
    size_t before = rx_script_memory(s);
    for (unsigned i = 0; i < MEMORY_CALLS; i++)
        rx_script_identify(s, 0, (const uint8_t *)SAMPLE, n, &f);
    snprintf(what, sizeof what, "identify, %s: alone", name);
    row(what, "ns", median(alone, REPEATS));
    snprintf(what, sizeof what, "identify, %s: through the decider", name);
    row(what, "ns", median(decided, REPEATS));
    snprintf(what, sizeof what, "identify, %s: left behind by 1e6 calls", name);
    row(what, "bytes", (double)rx_script_memory(s) - (double)before);
    rx_conf_unref(conf);
}

// So many protocols, each asked by function; the last one takes it.
static void measure_many(unsigned n_protocols, bool has_prefix)
{
    static char text[200000];
    char what[128];
    size_t at = (size_t)snprintf(text, sizeof text, "%slocal r = {}\n", HEAD);
    for (unsigned i = 0; i < n_protocols; i++)
        at += (size_t)snprintf(text + at, sizeof text - at,
                               "r[%u] = { rx.protocol 'g%u' { transport = 'tcp', %s%s%s%s identify = function(buf) "
                               "return buf[0] == 0x%x and buf:u16(1) == %u end }, to = rx.drop }\n",
                               i + 1, i, has_prefix ? "prefix = '" : "",
                               has_prefix ? (char[2]){ (char)(0x80 + i), 0 } : "", has_prefix ? "'" : "",
                               has_prefix ? "," : "", 0x80 + i, i);
    snprintf(text + at, sizeof text - at, "rx.listen '127.0.0.1:1' { routes = r }\n");
    struct rx_conf *conf = load(text);
    unsigned last = n_protocols - 1;
    char bytes[] = { (char)(0x80 + last), (char)(last >> 8), (char)last, 0, 0, 0, 0, 0 };
    double ns[REPEATS];
    unsigned long wrong = 0;
    for (unsigned r = 0; r < REPEATS; r++) {
        uint64_t start = cpu_ns();
        for (unsigned i = 0; i < CALLS / 10; i++)
            wrong += decide(conf, bytes, sizeof bytes).verdict != RX_MATCH;
        ns[r] = (double)(cpu_ns() - start) / (CALLS / 10);
    }
    snprintf(what, sizeof what, "%u protocols%s, the last one it is", n_protocols,
             has_prefix ? " with a prefix" : "");
    must(!wrong, what);
    row(what, "ns", median(ns, REPEATS));
    rx_conf_unref(conf);
}

// ---- after a load -------------------------------------------------------------------------------------------------

static double p99_of_next(const struct rx_conf *conf)
{
    static const char *const inputs[] = { SAMPLE, "GET / HTTP/1.1\r\n\r\n", "SSH-2.0-x\r\n",
                                          "\x16\x03\x01\x02\x00\x01", "\x05\x01" };
    double ns[FIRST];
    for (unsigned i = 0; i < FIRST; i++) {
        const char *in = inputs[i * 7 % RX_COUNT(inputs)];
        uint64_t start = rx_sys_now_ns();
        decide(conf, in, (uint32_t)strlen(in));
        ns[i] = (double)(rx_sys_now_ns() - start);
    }
    qsort(ns, FIRST, sizeof *ns, by_value);
    return ns[FIRST * 99 / 100];
}

// And of a thousand later on: what the machine and the clock make of it.
static void measure_first(void)
{
    double first[LOADS], later[LOADS];
    for (unsigned k = 0; k < LOADS; k++) {
        char text[2048];
        snprintf(text, sizeof text,
                 "%slocal a = rx.protocol 'a' { transport = 'tcp', identify = function(buf) %s end, samples = { yes "
                 "= '%s' } }\n"
                 "local b = rx.protocol 'b' { transport = 'tcp', identify = function(buf) %s end }\n"
                 "rx.listen '127.0.0.1:1' { routes = { { b, to = rx.drop }, { a, to = rx.drop } } }\n",
                 HEAD, bodies[2][1], SAMPLE, bodies[0][1]);
        struct rx_conf *conf = load(text);
        first[k] = p99_of_next(conf);
        for (unsigned i = 0; i < 10; i++)
            later[k] = p99_of_next(conf);
        rx_conf_unref(conf);
    }
    row("p99 of the first 1000 decisions (two functions each)", "ns", median(first, LOADS));
    row("p99 of 1000 decisions later on", "ns", median(later, LOADS));
}

static double load_ms(const char *text, unsigned times, bool is_tested)
{
    double ms[LOADS];
    for (unsigned k = 0; k < times; k++) {
        uint64_t start = cpu_ns();
        struct rx_conf *conf = load(text);
        if (is_tested) {
            start = cpu_ns();
            must(!rx_check_tests(conf, on_failure, NULL), "tests");
        }
        ms[k] = (double)(cpu_ns() - start) / 1e6;
        rx_conf_unref(conf);
    }
    return median(ms, times);
}

// Every so many routes have a function; 0: none has.
static void write_routes(char *text, size_t size, unsigned with_function)
{
    size_t at =
        (size_t)snprintf(text, size, "local rx = require 'refractium'\nrx.listen '127.0.0.1:1' { routes = {\n");
    for (unsigned i = 0; i < 3000; i++) {
        bool has_function = with_function && i % with_function == 0;
        at += (size_t)snprintf(
            text + at, size - at, "{ rx.tls, sni = 'host%u.example.net', to = '10.0.%u.%u:443'%s },\n", i, i / 250,
            i % 250 + 1, has_function ? ", when = function(conn) return conn.client.port > 1024 end" : "");
    }
    snprintf(text + at, size - at, "} }\n");
}

static void measure_loads(void)
{
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE);
    if (!text)
        exit(1);
    write_routes(text, SIZE, 0);
    row("a config of 3000 routes: load", "ms", load_ms(text, 7, false));
    write_routes(text, SIZE, 30);
    row("a config of 3000 routes, 100 functions: load", "ms", load_ms(text, 7, false));
    size_t at =
        (size_t)snprintf(text, SIZE,
                         "%slocal g = rx.protocol 'g' { transport = 'tcp', identify = function(buf) %s end }\n"
                         "rx.listen '127.0.0.1:1' { routes = { { g, to = rx.drop }, { rx.http, to = rx.echo } } }\n",
                         HEAD, bodies[1][1]);
    for (unsigned i = 0; i < 1000; i++)
        at +=
            (size_t)snprintf(text + at, SIZE - at,
                             "rx.test 't%u' { send = 'GAME %u', expect = { to = 'drop', protocol = 'g' } }\n", i, i);
    row("1000 tests of a config: run", "ms", load_ms(text, 7, true));
    free(text);
}

int main(int argc, char **argv)
{
    is_json = argc > 1 && !strcmp(argv[1], "--json");
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    if (is_json)
        printf("{\"rows\":[");
    for (unsigned i = 0; i < RX_COUNT(bodies); i++)
        measure_body(bodies[i][0], bodies[i][1], true);
    measure_body("a byte and a number, no sample", bodies[0][1], false);
    for (unsigned n = 1; n <= 100; n *= 10) {
        measure_many(n, true);
        measure_many(n, false);
    }
    measure_first();
    measure_loads();
    if (is_json)
        printf("]}\n");
    unlink(path);
    return 0;
}
