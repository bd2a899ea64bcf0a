// SPDX-License-Identifier: MIT
// Nanoseconds per decision: first bytes in, route out, through the very rx_decide that serves connections.
// Prints a table; --json prints a list. Every decision's route is checked: a wrong one ends the run.
// A decision is timed with the filling in of its question, as a connection does it.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "athome.h"
#include "arena.h"
#include "build.h"
#include "load.h"
#include "route.h"
#include "sys.h"

enum { REPEATS = 15, MAX_INPUTS = 1024, SEQUENCE = 4096 };

struct input {
    const char *name;
    uint8_t *bytes;
    uint32_t len;
    const struct rx_route *expect; // what the first decision said
    enum rx_verdict verdict;
};

static struct input inputs[MAX_INPUTS];
static unsigned n_inputs;
static uint8_t scratch[RX_SCRATCH_SIZE];
static union rx_ip client;
static struct rx_script *script; // runs the functions of the config that is measured
static bool is_json, is_first_row = true;

static void on_report(void *data, unsigned severity, const char *text, size_t len)
{
    (void)data, (void)severity;
    fprintf(stderr, "%.*s\n", (int)len, text);
}

static struct rx_slice slice(const char *text)
{
    return (struct rx_slice){ text, (uint32_t)strlen(text) };
}

static void add_input(const char *name, const void *bytes, size_t len)
{
    if (n_inputs == MAX_INPUTS)
        return;
    // Each input lies at the end of its own allocation, as first bytes do; alignment varies.
    uint8_t *copy = malloc(len + 1);
    memcpy(copy, bytes, len);
    inputs[n_inputs++] = (struct input){ .name = name, .bytes = copy, .len = (uint32_t)len };
}

static size_t put(uint8_t *p, size_t at, unsigned value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[at + i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
    return at + bytes;
}

// One cipher, SNI as the first extension, padding after it up to `total` bytes (RFC 8446 4.1.2, RFC 7685).
static size_t make_hello(uint8_t *p, const char *name, size_t total)
{
    size_t at = 0, n = strlen(name), ext = n + 9, pad = 0;
    size_t plain = 5 + 4 + 2 + 32 + 1 + 2 + 2 + 2 + 2 + ext;
    if (total > plain + 4)
        pad = total - plain;
    size_t exts = ext + pad, body = plain - 9 + pad;
    at = put(p, at, 0x160301, 3);
    at = put(p, at, (unsigned)(body + 4), 2);
    at = put(p, at, (unsigned)(0x01000000u | body), 4);
    at = put(p, at, 0x0303, 2);
    for (int i = 0; i < 32; i++)
        p[at++] = (uint8_t)(i * 37 + 11);
    at = put(p, at, 0, 1);
    at = put(p, at, 2, 2);
    at = put(p, at, 0x1301, 2);
    at = put(p, at, 0x0100, 2);
    at = put(p, at, (unsigned)exts, 2);
    at = put(p, at, 0, 2);
    at = put(p, at, (unsigned)(n + 5), 2);
    at = put(p, at, (unsigned)(n + 3), 2);
    at = put(p, at, 0, 1);
    at = put(p, at, (unsigned)n, 2);
    memcpy(p + at, name, n);
    at += n;
    if (pad) {
        at = put(p, at, 21, 2);
        at = put(p, at, (unsigned)(pad - 4), 2);
        memset(p + at, 0, pad - 4);
        at += pad - 4;
    }
    return at;
}

static void make_inputs(void)
{
    static const char http[] = "GET /index.html HTTP/1.1\r\nHost: example.com\r\n\r\n";
    static const char ssh[] = "SSH-2.0-OpenSSH_8.2p1 Ubuntu-4ubuntu0.1\r\n";
    static const char ftp[] = "USER anonymous\r\n";
    // A length before the 29 bytes makes it DNS over TCP.
    static const char dns[] = "\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\7example\3com\0\0\1\0\1";
    uint8_t buf[4096];
    add_input("http", http, sizeof http - 1);
    add_input("tls+sni", buf, make_hello(buf, "google.com", 0));
    add_input("ssh", ssh, sizeof ssh - 1);
    add_input("dns", dns, sizeof dns - 1);
    add_input("ftp", ftp, sizeof ftp - 1);
    memset(buf, 0x5a, sizeof buf);
    memcpy(buf, "\xfe\x01\xfa", 3);
    add_input("custom", buf, 27);
    srand(7);
    for (int i = 0; i < 64; i++)
        buf[i] = (uint8_t)(rand() >> 7);
    buf[0] = 0x9d;
    add_input("random", buf, 64);
    memset(buf, 0xff, 128);
    add_input("miss", buf, 128);
    add_input("tls 517", buf, make_hello(buf, "google.com", 517));
    add_input("tls 1900", buf, make_hello(buf, "google.com", 1900));
}

static unsigned listed(void)
{
    return 7; // http … random: what "mixed" draws from
}

// ---- configs ------------------------------------------------------------------------------------------------------

static void check(struct rx_build *b, int rc)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "cannot build: %s\n", rx_door.error(b));
    exit(1);
}

static int add_route(struct rx_build *b, int listen, int proto, const char *sni)
{
    struct rx_route_spec r = { .where = slice("bench:1"), .proto = proto, .to = { .kind = RX_TO_DROP } };
    check(b, proto);
    int route = rx_door.route_new(b, listen, &r);
    check(b, route);
    if (sni)
        check(b, rx_door.route_cond(b, route, RX_COND_SNI, slice(sni)));
    return route;
}

// `starts`: the letters that prefixes begin with.
static void add_declared(struct rx_build *b, int listen, int n, const char *starts)
{
    for (int i = 0; i < n; i++) {
        char name[32], prefix[32];
        snprintf(name, sizeof name, "declared%d", i);
        snprintf(prefix, sizeof prefix, "%c%c%03d!", starts[(size_t)i % strlen(starts)], 'a' + i / 26 % 26, i);
        struct rx_proto_spec p = { .name = slice(name), .transport = RX_TCP };
        int id = rx_door.proto_new(b, &p);
        check(b, id);
        check(b, rx_door.proto_prefix(b, id, slice(prefix)));
        add_route(b, listen, id, NULL);
    }
}

static void add_names(struct rx_build *b, int listen, int n)
{
    int tls = rx_door.proto_builtin(b, slice("tls"));
    for (int i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, i == n / 2 ? "google.com" : "host%d.example.net", i);
        add_route(b, listen, tls, name);
    }
}

static void add_six(struct rx_build *b, int listen)
{
    static const char *const names[] = { "http", "tls", "ssh", "ftp", "dns" };
    for (unsigned i = 0; i < RX_COUNT(names); i++)
        add_route(b, listen, rx_door.proto_builtin(b, slice(names[i])), NULL);
    struct rx_proto_spec p = { .name = slice("custom"), .transport = RX_TCP, .within = 1024 };
    int id = rx_door.proto_new(b, &p);
    check(b, id);
    check(b, rx_door.proto_pattern(b, id, (struct rx_slice){ "\xfe\x01\xfa", 3 }));
    check(b, rx_door.proto_pattern(b, id, slice("MY_V1")));
    add_route(b, listen, id, NULL);
}

static const char all_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

static struct rx_conf *make_conf_with(int n_declared, const char *starts, int n_names, bool is_builtin)
{
    struct rx_build *b = rx_build_new(rx_test_home(), on_report, NULL);
    struct rx_listen_spec l = { .where = slice("bench:1") };
    int listen = rx_door.listen_new(b, &l);
    check(b, listen);
    check(b, rx_door.listen_bind(b, listen, slice("127.0.0.1:1")));
    add_declared(b, listen, n_declared, starts);
    add_names(b, listen, n_names);
    if (is_builtin)
        for (unsigned i = 0; i < rx_n_protos; i++)
            add_route(b, listen, rx_door.proto_builtin(b, slice(rx_protos[i]->name)), NULL);
    else
        add_six(b, listen);
    struct rx_conf *conf = rx_build_finish(b, NULL);
    rx_build_free(b);
    if (!conf)
        exit(1);
    return conf;
}

static struct rx_conf *make_conf(int n_declared, int n_names, bool is_builtin)
{
    return make_conf_with(n_declared, all_letters, n_names, is_builtin);
}

// n protocols told by a function and their first byte, then http: a config as users write it. NULL: cannot be loaded.
static struct rx_conf *make_scripted(int n)
{
    char path[] = "/tmp/refractium-bench-XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f)
        return NULL;
    fprintf(f,
            "local rx = require 'refractium'\nlocal routes = {}\n"
            "for i = 1, %d do\n"
            "  local b = 0x80 + i\n"
            "  local p = rx.protocol('p' .. i) { first = string.char(b), identify = function(buf)\n"
            "    if #buf < 4 then return rx.more end\n"
            "    return buf[1] == 1 and buf:u16(2) == 0x1234\n"
            "  end, samples = { yes = string.char(b, 1, 0x12, 0x34) } }\n"
            "  routes[i] = { p, to = rx.drop }\n"
            "end\n"
            "routes[#routes + 1] = { rx.http, to = rx.drop }\n"
            "rx.listen '127.0.0.1:1' { routes = routes }\n",
            n);
    fclose(f);
    struct rx_args a = { .config = path, .is_config_typed = true };
    struct rx_conf *conf = rx_load_tested(rx_test_home(), &a, NULL, on_report, NULL);
    unlink(path);
    return conf;
}

// ---- measuring ----------------------------------------------------------------------------------------------------

static enum rx_verdict once(const struct rx_listen *l, const struct input *in, struct rx_decision *d)
{
    struct rx_ask ask = {
        .p = in->bytes, .n = in->len, .from = &client, .to_port = 1, .scratch = scratch, .script = script
    };
    return rx_decide(l, &ask, d);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

// Median over REPEATS of the mean over one pass of `sequence`.
static double measure(const struct rx_listen *l, const unsigned *sequence, unsigned n, unsigned rounds)
{
    double ns[REPEATS];
    struct rx_decision d;
    for (unsigned i = 0; i < n_inputs; i++) {
        inputs[i].verdict = once(l, &inputs[i], &d);
        inputs[i].expect = d.route;
    }
    unsigned long wrong = 0;
    for (unsigned r = 0; r < REPEATS; r++) {
        uint64_t start = rx_sys_now_ns();
        for (unsigned k = 0; k < rounds; k++)
            for (unsigned i = 0; i < n; i++) {
                const struct input *in = &inputs[sequence[i]];
                wrong += once(l, in, &d) != in->verdict || d.route != in->expect;
            }
        ns[r] = (double)(rx_sys_now_ns() - start) / ((double)rounds * n);
    }
    if (wrong) {
        fprintf(stderr, "%lu decisions changed between calls\n", wrong);
        exit(1);
    }
    qsort(ns, REPEATS, sizeof *ns, by_value);
    return ns[REPEATS / 2];
}

static double measure_one(const struct rx_listen *l, unsigned input)
{
    unsigned sequence[SEQUENCE];
    for (unsigned i = 0; i < SEQUENCE; i++)
        sequence[i] = input;
    return measure(l, sequence, SEQUENCE, 20);
}

static double measure_mix(const struct rx_listen *l, unsigned from, unsigned n)
{
    unsigned sequence[SEQUENCE];
    srand(1);
    for (unsigned i = 0; i < SEQUENCE; i++)
        sequence[i] = from + (unsigned)rand() % n;
    return measure(l, sequence, SEQUENCE, 20);
}

static void row(const char *config, const char *input, double ns)
{
    if (is_json)
        printf("%s{\"config\":\"%s\",\"input\":\"%s\",\"ns\":%.2f}", is_first_row ? "" : ",\n", config, input, ns);
    else
        printf("%-28s %-10s %8.1f ns\n", config, input, ns);
    is_first_row = false;
    fflush(stdout);
}

static void table(const char *config, int n_declared, int n_names)
{
    struct rx_conf *conf = make_conf(n_declared, n_names, false);
    const struct rx_listen *l = conf->listens[0];
    for (unsigned i = 0; i < n_inputs; i++)
        row(config, inputs[i].name, measure_one(l, i));
    row(config, "mixed", measure_mix(l, 0, listed()));
    rx_conf_unref(conf);
}

// Prefixes that begin like HTTP and SSH do.
static void shared_table(int n)
{
    struct rx_conf *conf = make_conf_with(n, "GS", 0, false);
    char config[64];
    snprintf(config, sizeof config, "%d prefixes G.., S.. + 6", n);
    row(config, "http", measure_one(conf->listens[0], 0));
    row(config, "ssh", measure_one(conf->listens[0], 2));
    rx_conf_unref(conf);
}

static void scripted_table(int n)
{
    struct rx_conf *conf = make_scripted(n);
    if (!conf)
        exit(1);
    script = rx_conf_script(conf, -1);
    unsigned yes = n_inputs;
    char config[64];
    snprintf(config, sizeof config, "%d functions + http", n);
    add_input("script", "\x81\1\x12\x34 and the rest", 17);
    row(config, "script", measure_one(conf->listens[0], yes));
    row(config, "http", measure_one(conf->listens[0], 0));
    row(config, "tls+sni", measure_one(conf->listens[0], 1));
    n_inputs = yes;
    script = NULL;
    rx_conf_unref(conf);
}

static void names_table(int n)
{
    char config[64];
    struct rx_conf *conf = make_conf(0, n, false);
    snprintf(config, sizeof config, "%d sni routes", n);
    row(config, "tls+sni", measure_one(conf->listens[0], 1));
    row(config, "mixed", measure_mix(conf->listens[0], 0, listed()));
    rx_conf_unref(conf);
}

// ---- the corpus ---------------------------------------------------------------------------------------------------

static void load_corpus(const char *root)
{
    struct dirent **dirs, **files;
    char path[512];
    int n = scandir(root, &dirs, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", root, dirs[i]->d_name);
        int k = dirs[i]->d_name[0] == '.' ? -1 : scandir(path, &files, NULL, alphasort);
        for (int f = 0; f < k; f++) {
            static uint8_t bytes[16384];
            char file[1024];
            size_t len = strlen(files[f]->d_name);
            snprintf(file, sizeof file, "%s/%s", path, files[f]->d_name);
            int fd = len > 4 && !strcmp(files[f]->d_name + len - 4, ".bin") ? open(file, O_RDONLY) : -1;
            ssize_t got = fd >= 0 ? read(fd, bytes, sizeof bytes) : -1;
            if (fd >= 0)
                close(fd);
            if (got > 0)
                add_input("corpus", bytes, (size_t)got);
            free(files[f]);
        }
        if (k >= 0)
            free(files);
        free(dirs[i]);
    }
    if (n >= 0)
        free(dirs);
}

static void corpus_table(const char *root)
{
    unsigned from = n_inputs;
    load_corpus(root);
    if (n_inputs == from)
        return;
    struct rx_conf *conf = make_conf(0, 0, true);
    row("every built-in", "corpus", measure_mix(conf->listens[0], from, n_inputs - from));
    rx_conf_unref(conf);
}

int main(int argc, char **argv)
{
    is_json = argc > 1 && !strcmp(argv[1], "--json");
    client.v4.sin_family = AF_INET;
    make_inputs();
    if (is_json)
        printf("[");
    table("6 protocols", 0, 0);
    table("100 prefixes + 6", 100, 0);
    table("1000 prefixes + 6", 1000, 0);
    shared_table(1000);
    for (int n = 1; n <= 100000; n *= 10)
        names_table(n);
    for (int n = 1; n <= 100; n *= 10)
        scripted_table(n);
    corpus_table("tests/corpus");
    if (is_json)
        printf("]\n");
    return 0;
}
