// SPDX-License-Identifier: MIT
// A load generator and its backends, for measuring TCP and UDP proxies over loopback.
//
// One process is the backend (`server`), another the client (every other mode). A connection opens with one
// 64-byte frame that says what the backend shall do with it (see loadgen.h), optionally behind a preamble
// such as a TLS ClientHello, which the backend passes over by itself. So one backend serves every workload,
// and a proxy in between sees plausible first bytes.
//
// Each client mode warms up, records for a fixed time, and prints one JSON object on one line. The proxy's
// processes are named by pid; their CPU time is read at both edges of the recorded window.
//
// Memory and sockets of a client are left to the end of its process, which is the end of its one measurement.
//
// Not done here: no TLS handshake (the proxies under test never decrypt), no remote targets.
//
// Read next: lg_flows.c (the timed modes), lg_hold.c (idle, verify), lg_udp.c, lg_backend.c, lg_proc.c, lg_net.c.
#include "loadgen.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LISTEN_MAX = 16, SERVER_LIFETIME_S = 3600 };

static const char usage_text[] =
    "usage: loadgen MODE [options]\n"
    "modes\n"
    "  server    the backend: --listen ADDR, repeatable; ends with its parent, after an hour or --seconds\n"
    "  connrate  connect, 64 bytes there, 64 bytes back, close; --flows at a time\n"
    "  pingpong  --flows kept connections, one message of --bytes outstanding on each\n"
    "  bulk      --flows streams, --direction up, down or both\n"
    "  mixed     --flows streams beside --small ping-pong connections, whose latency is reported\n"
    "  idle      open --count connections, one exchange on each, hold them for --seconds\n"
    "  verify    --flows streams of --bytes each way, every byte checked; one side closes its half early\n"
    "  udp       --flows flows with --depth datagrams of --bytes on their way each, beside --idle ones\n"
    "  udpserver the backend for it\n"
    "options\n"
    "  -a, --target ADDR     127.x.y.z:port, loopback only\n"
    "  -l, --listen ADDR     server only\n"
    "  -c, --flows N         connections at a time (32)\n"
    "  -k, --small N         mixed: ping-pong connections (8)\n"
    "  -n, --count N         idle: connections (4000)\n"
    "  -i, --idle N          udp: flows that said one thing before and rest (0)\n"
    "  -D, --depth N         udp: datagrams on their way on each flow (32)\n"
    "  -b, --bytes N         message size (64); verify: bytes each way (8388608)\n"
    "  -r, --rate N          connrate: so many a second, if --flows at a time suffice (0: as fast as they end)\n"
    "  -s, --seconds S       recorded window (1)\n"
    "  -w, --warmup S        unrecorded time before it (0.3)\n"
    "  -d, --direction DIR   bulk and mixed: up, down (default) or both, seen from the client\n"
    "  -z, --discard         receive bulk with MSG_TRUNC: cheaper than a real receiver, so the proxy is the\n"
    "                        bottleneck\n"
    "  -p, --pids P[,P...]   processes to account: CPU seconds, RSS, file descriptors\n"
    "  -H, --helpers P[,...] the backend's processes: with them, what others used of the machine is told\n"
    "  -P, --preamble FILE   bytes to send before the frame\n"
    "  -L, --label TEXT      copied into the result\n"
    "      --server-first    verify: it is the backend that closes its half first\n"
    "  -h, --help\n";

static const struct option long_options[] = {
    { "target", required_argument, NULL, 'a' },
    { "listen", required_argument, NULL, 'l' },
    { "flows", required_argument, NULL, 'c' },
    { "small", required_argument, NULL, 'k' },
    { "count", required_argument, NULL, 'n' },
    { "idle", required_argument, NULL, 'i' },
    { "depth", required_argument, NULL, 'D' },
    { "bytes", required_argument, NULL, 'b' },
    { "rate", required_argument, NULL, 'r' },
    { "seconds", required_argument, NULL, 's' },
    { "warmup", required_argument, NULL, 'w' },
    { "direction", required_argument, NULL, 'd' },
    { "discard", no_argument, NULL, 'z' },
    { "helpers", required_argument, NULL, 'H' },
    { "pids", required_argument, NULL, 'p' },
    { "preamble", required_argument, NULL, 'P' },
    { "label", required_argument, NULL, 'L' },
    { "server-first", no_argument, NULL, 'F' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

struct command {
    struct lg_options opt;
    struct sockaddr_in listen_at[LISTEN_MAX];
    uint32_t n_listen;
    uint64_t n_bytes;
    uint32_t n_resting;
    bool has_target, has_seconds;
};

static _Noreturn void usage_fail(const char *what, const char *value)
{
    fprintf(stderr, "loadgen: %s: %s (see loadgen --help)\n", what, value);
    exit(2);
}

static uint64_t number_parse(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || value < least || value > most)
        usage_fail("not a number in range", text);
    return value;
}

static double seconds_parse(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < 0 || value > SERVER_LIFETIME_S)
        usage_fail("not a time in seconds", text);
    return value;
}

static void pids_parse(pid_t *pids, uint32_t *n_pids, char *text)
{
    for (char *save = NULL, *one = strtok_r(text, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
        if (*n_pids == LG_PIDS_MAX)
            usage_fail("too many pids", one);
        pids[(*n_pids)++] = (pid_t)number_parse(one, 1, 1u << 30);
    }
}

static void preamble_load(struct lg_options *opt, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        lg_die("preamble %s", path);
    opt->preamble_bytes = fread(opt->preamble, 1, sizeof opt->preamble, file);
    bool is_whole = fgetc(file) == EOF && !ferror(file);
    fclose(file);
    if (!opt->preamble_bytes || !is_whole)
        usage_fail("preamble is empty or too long", path);
}

static void listen_add(struct command *cmd, const char *text)
{
    if (cmd->n_listen == LISTEN_MAX || lg_addr_parse(text, &cmd->listen_at[cmd->n_listen]))
        usage_fail("cannot listen at (loopback only, 16 at most)", text);
    cmd->n_listen++;
}

static void option_take(struct command *cmd, int letter, char *value)
{
    struct lg_options *opt = &cmd->opt;
    switch (letter) {
    case 'a':
        if (lg_addr_parse(value, &opt->target))
            usage_fail("not a loopback address", value);
        cmd->has_target = true;
        break;
    case 'l':
        listen_add(cmd, value);
        break;
    case 'c':
        opt->n_flows = (uint32_t)number_parse(value, 1, 10000);
        break;
    case 'k':
        opt->n_small = (uint32_t)number_parse(value, 1, 10000);
        break;
    case 'n':
        opt->n_idle = (uint32_t)number_parse(value, 1, 1000000);
        break;
    case 'i':
        cmd->n_resting = (uint32_t)number_parse(value, 0, 50000);
        break;
    case 'D':
        opt->depth = (uint32_t)number_parse(value, 1, 1000);
        break;
    case 'b':
        cmd->n_bytes = number_parse(value, 1, 1ull << 30);
        break;
    case 's':
        opt->window_s = seconds_parse(value);
        cmd->has_seconds = true;
        break;
    case 'r':
        opt->rate = (uint32_t)number_parse(value, 0, 1000000);
        break;
    case 'w':
        opt->warmup_s = seconds_parse(value);
        break;
    case 'd':
        opt->direction = value;
        break;
    case 'z':
        opt->is_discarding = true;
        break;
    case 'H':
        pids_parse(opt->helper_pids, &opt->n_helper_pids, value);
        break;
    case 'p':
        pids_parse(opt->pids, &opt->n_pids, value);
        break;
    case 'P':
        preamble_load(opt, value);
        break;
    case 'L':
        opt->label = value;
        break;
    case 'F':
        opt->is_server_first = true;
        break;
    case 'h':
        fputs(usage_text, stdout);
        exit(0);
    default:
        exit(2); // getopt has said why
    }
}

static void command_check(struct command *cmd, const char *mode)
{
    struct lg_options *opt = &cmd->opt;
    bool is_server = strcmp(mode, "server") == 0 || strcmp(mode, "udpserver") == 0;
    if (!is_server && !cmd->has_target)
        usage_fail("no --target for", mode);
    if (is_server && !cmd->n_listen)
        usage_fail("no --listen for", mode);
    if (strcmp(opt->direction, "up") != 0 && strcmp(opt->direction, "down") != 0 &&
        strcmp(opt->direction, "both") != 0)
        usage_fail("direction", opt->direction);
    if (cmd->n_bytes > LG_CHUNK_BYTES && strcmp(mode, "verify") != 0)
        usage_fail("--bytes too large for", mode);
    if (strcmp(mode, "udp") == 0)
        opt->n_idle = cmd->n_resting;
    opt->msg_bytes = cmd->n_bytes ? (uint32_t)cmd->n_bytes : LG_FRAME_BYTES;
    opt->verify_bytes = cmd->n_bytes ? cmd->n_bytes : 8u << 20;
}

// Every mode is bounded from outside its own logic, so that a proxy that swallows bytes cannot hang a whole
// suite.
static void bound_time(const struct command *cmd, bool is_server)
{
    double limit_s = cmd->opt.warmup_s + cmd->opt.window_s + LG_SETTLE_S;
    if (is_server)
        limit_s = cmd->has_seconds ? cmd->opt.window_s : SERVER_LIFETIME_S;
    alarm((unsigned)limit_s + 2);
    if (is_server)
        prctl(PR_SET_PDEATHSIG, SIGTERM);
}

static void fds_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static struct command cmd = {
        .opt = { .label = "",
                 .direction = "down",
                 .n_flows = 32,
                 .n_small = 8,
                 .depth = 32,
                 .n_idle = 4000,
                 .window_s = 1,
                 .warmup_s = 0.3 },
    };
    static const struct {
        const char *name;
        int (*run)(const struct lg_options *opt);
    } modes[] = { { "connrate", lg_churn_run }, { "pingpong", lg_pingpong_run }, { "bulk", lg_bulk_run },
                  { "mixed", lg_mixed_run },    { "idle", lg_idle_run },         { "verify", lg_verify_run },
                  { "udp", lg_udp_run } };

    int letter;
    while ((letter = getopt_long(argc, argv, "a:l:c:k:n:i:D:b:r:s:w:d:zp:H:P:L:h", long_options, NULL)) != -1)
        option_take(&cmd, letter, optarg);
    if (optind != argc - 1)
        usage_fail("one mode is wanted", optind < argc ? argv[optind + 1] : "none given");
    const char *mode = argv[optind];
    command_check(&cmd, mode);
    signal(SIGPIPE, SIG_IGN);
    fds_raise();

    if (strcmp(mode, "server") == 0) {
        bound_time(&cmd, true);
        return lg_backend_run(cmd.listen_at, cmd.n_listen, &cmd.opt);
    }
    if (strcmp(mode, "udpserver") == 0) {
        bound_time(&cmd, true);
        return lg_udp_server_run(cmd.listen_at, cmd.n_listen);
    }
    bound_time(&cmd, false);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(mode, modes[i].name) == 0)
            return modes[i].run(&cmd.opt);
    usage_fail("unknown mode", mode);
}
