// SPDX-License-Identifier: MIT
// Enters: argv. Leaves: struct rx_args, or one line on stderr that names the flag.
// One table holds every option; getopt's tables, --help and the did-you-mean all come from it. Options may
// stand before or after the command, whatever POSIXLY_CORRECT says: words are collected and judged last.
// Deliberately not done: judging values. Lua does that, with the words it has for the same in a config.
#include "args.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifndef RX_VERSION
#define RX_VERSION "0.1.0"
#endif

// ---- what there is ----------------------------------------------------------------------------------------

enum place { IN_RUN = 1, IN_TCP = 2, IN_UDP = 4, IN_INIT = 8, IN_CHECK = 16, IN_EXPLAIN = 32, IN_IMPORT = 64,
             IN_STATUS = 128, IN_TOP = 256, IN_CTL = 512, IN_RECORD = 1024, IN_REPLAY = 2048,
             IN_GUARD = 4096 };
enum { IN_SERVING = IN_RUN | IN_TCP | IN_UDP | IN_RECORD, IN_LOADING = IN_SERVING | IN_CHECK | IN_EXPLAIN | IN_REPLAY,
       IN_RUNNING = IN_STATUS | IN_TOP | IN_CTL, IN_ALL = 8191 };

#define FINDING                                                                                              \
    "\n\nThe instance is found by its config (-c), by the port of its first listener (-p), or by its admin\n"  \
    "socket (--admin). None of them is needed when only one is running.\n"

static const struct command {
    const char *name, *operands, *line, *text;
    enum rx_command command;
    unsigned place;
    int most_words;
} commands[] = {
    { "", "", "serve",
      "Serves the config, or what -f says. Nothing is bound before the config was validated and its own\n"
      "tests have passed.\n",
      RX_CMD_RUN, IN_RUN, 0 },
    { "tcp", "", "serve TCP only", "Serves TCP alone; the config's UDP routes and fallbacks are ignored.\n",
      RX_CMD_RUN, IN_TCP, 0 },
    { "udp", "", "serve UDP only", "Serves UDP alone; the config's TCP routes and fallbacks are ignored.\n", RX_CMD_RUN,
      IN_UDP, 0 },
    { "init", " [FILE]", "write a commented config",
      "Writes a commented config to FILE, refractium.lua unless said otherwise. An existing file is left\n"
      "alone unless --force is given.\n",
      RX_CMD_INIT, IN_INIT, 1 },
    { "check", "", "validate the config, run its tests, print its routes",
      "Loads and validates the config, runs its tests and prints the routing table. Binds nothing.\n", RX_CMD_CHECK,
      IN_CHECK, 0 },
    { "explain", " [FILE...]", "say which route some first bytes take, and why",
      "Takes a client's first bytes from FILEs (each one segment, in order) or standard input, and prints\n"
      "which route they take and why: every matcher tried, its verdict, the bytes it needed, the backend.\n",
      RX_CMD_EXPLAIN, IN_EXPLAIN, -1 },
    { "import", " FILE", "turn another program's config into refractium.lua",
      "Prints a config made from FILE (\"-\": standard input): refractium.toml, rpxy-l4's config.toml, PortMux's\n"
      "config.yaml, sslh.cfg, or a unit or script with refract's flags. What has no equivalent becomes a comment.\n",
      RX_CMD_IMPORT, IN_IMPORT, 1 },
    { "record", " [start|stop]", "serve, and keep first bytes and decisions in a file",
      "Serves the config and keeps the first bytes of clients, and what was decided, in a file for \"replay\".\n"
      "The config's rx.server { record = ... } says how much of them. The file holds what clients say.\n"
      "With start or stop: has the running instance do so, whatever is reloaded meanwhile." FINDING,
      RX_CMD_RECORD, IN_RECORD, 1 },
    { "replay", " FILE", "decide a recording again and list what changes",
      "Decides what a recording holds again, under this config, and prints every decision that changes.\n"
      "Exit code 0: nothing changes; 1: something does, or the config is wrong.\n",
      RX_CMD_REPLAY, IN_REPLAY, 1 },
    { "guard", "", "keep accounts of Xray to so many addresses, without serving",
      "Follows the access log of Xray or V2Ray and keeps each user to so many addresses at one time: who is one\n"
      "too many is dropped by the kernel for a while (nftables), and his connections and UDP flows to the ports\n"
      "end. Needs CAP_NET_ADMIN, and no config; a config can do the same with rx.sessions and rx.tail.\n",
      RX_CMD_GUARD, IN_GUARD, 0 },
    { "status", "", "show what the running instance does", "Shows what the running instance does." FINDING,
      RX_CMD_STATUS, IN_STATUS, 0 },
    { "top", "", "show its busiest connections, live",
      "Shows the busiest connections of the running instance, live; the keys are shown there. Not on a\n"
      "terminal: once, as text." FINDING,
      RX_CMD_TOP, IN_TOP, 0 },
    { "reload", "", "have it load its config again",
      "Has the running instance load its config again, and says what came of it: exit code 1 when the\n"
      "config was refused and the old one stays." FINDING,
      RX_CMD_RELOAD, IN_CTL, 0 },
    { "upgrade", "", "have it replaced by the binary on disk, losing nothing",
      "Has the running instance start the binary that is on disk now, with the arguments it has itself, and\n"
      "hand everything over to it: listening sockets and live connections. Waits for the outcome: exit code\n"
      "1 when the new one was no good and the old one goes on." FINDING,
      RX_CMD_UPGRADE, IN_CTL, 0 },
    { "kill", " CONN", "end one of its connections",
      "Ends a connection of the running instance, named by its id as in the access log and in top." FINDING,
      RX_CMD_KILL, IN_CTL, 1 },
    { "log", " [LEVEL]", "change how much it logs",
      "Shows the running instance's log level, or sets it: error, warning, info or debug." FINDING, RX_CMD_LOG,
      IN_CTL, 1 },
    { "ban", " IP[/N] [TTL]", "keep an address or a block out for a while",
      "Closes the connections of an address, or of a block of addresses, and lets none in for TTL: 90s, 10m,\n"
      "2h, 1d; an hour when it is not given." FINDING,
      RX_CMD_BAN, IN_CTL, 2 },
    { "unban", " IP[/N]", "let it in again", "Takes back a ban: the very address or block that was banned." FINDING,
      RX_CMD_UNBAN, IN_CTL, 1 },
    { "drain", " BACKEND", "send a backend no new connections",
      "Sends a backend of the running instance no new connections; those it has go on. BACKEND is an address\n"
      "as status shows it, or the name that the config has. It holds until undrain, whatever is reloaded." FINDING,
      RX_CMD_DRAIN, IN_CTL, 1 },
    { "undrain", " BACKEND", "send it connections again", "Takes back a drain." FINDING, RX_CMD_UNDRAIN, IN_CTL, 1 },
};

// Options without a letter are numbered from here.
enum { OPT_FIRST = 256 };

static const struct option_row {
    int letter;
    const char *name, *value, *help;
    unsigned places;
    size_t at; // of its field in struct rx_args
    int more;  // of the flag that says it was typed; -1: none
} options[] = {
#define AT(field) offsetof(struct rx_args, field)
    { 'b', "bind", "ADDR", "address to listen on (0.0.0.0)", IN_LOADING, AT(bind), AT(is_bind_typed) },
    { 'p', "port", "PORT", "port to listen on (8080)", IN_LOADING | IN_RUNNING, AT(port), AT(is_port_typed) },
    { 'c', "config", "FILE", "config file (refractium.lua)", IN_LOADING | IN_RUNNING, AT(config), AT(is_config_typed) },
    { 'f', "forward", "RULE",
      "quick route, repeatable: [tcp:|udp:]PROTO[/NAME]=TARGET[,TARGET...];\n"
      "without -c no config file is read",
      IN_LOADING, AT(forward), -1 },
    { 'w', "workers", "N", "worker threads (one per core)", IN_LOADING, AT(workers), -1 },
    { 0, "peek-timeout", "DUR", "how long a client may take to say who it is, as in 3s", IN_LOADING, AT(peek_timeout),
      -1 },
    { 0, "peek-buffer", "SIZE", "how many first bytes are looked at, as in 16k", IN_LOADING, AT(peek_buffer), -1 },
    { 0, "max-connections", "N", "connections at one time, all listeners together", IN_LOADING, AT(max_connections),
      -1 },
    { 0, "no-hot-reload", NULL, "do not watch the config for changes", IN_LOADING, AT(no_hot_reload), -1 },
    { 0, "debug", NULL, "log every connection's decisions", IN_LOADING | IN_GUARD, AT(is_debug), -1 },
    { 0, "log-format", "FORMAT", "text, json or auto (coloured on a terminal)", IN_LOADING | IN_GUARD, AT(log_format), -1 },
    { 0, "hex", NULL, "input is hexadecimal text", IN_EXPLAIN, AT(is_hex), -1 },
    { 0, "pcap", NULL, "input is a packet capture; its first TCP flow counts", IN_EXPLAIN, AT(is_pcap), -1 },
    { 0, "segments", "N,N,...", "cut the one FILE where the client did, in bytes", IN_EXPLAIN, AT(segments), -1 },
    { 0, "udp", NULL, "each FILE is one datagram of a UDP client, in order", IN_EXPLAIN, AT(is_udp), -1 },
    { 0, "from", "ADDR", "the client's address (192.0.2.1)", IN_EXPLAIN, AT(from), -1 },
    { 0, "listener", "ADDR", "the listener it comes to (the first)", IN_EXPLAIN, AT(listener), -1 },
    { 0, "at", "TIME", "when it comes, as in \"2026-01-05 09:00\" (now)", IN_EXPLAIN, AT(at), -1 },
    { 0, "builtin", NULL, "no config: identify among everything that ships", IN_EXPLAIN, AT(is_builtin), -1 },
    { 0, "format", "NAME", "what FILE is, when it cannot be told: refractium, rpxy, portmux,\nsslh or refract",
      IN_IMPORT, AT(format), -1 },
    { 0, "json", NULL, "one JSON object instead of text", IN_CHECK | IN_EXPLAIN | IN_REPLAY | IN_STATUS | IN_TOP,
      AT(is_json), -1 },
    { 0, "admin", "PATH", "the instance's admin socket", IN_RUNNING | IN_RECORD, AT(admin), -1 },
    { 'o', "output", "FILE", "where to record (refractium.record)", IN_RECORD, AT(record), -1 },
    { 0, "dport", "PORTS", "ports that are guarded, as in 443 or 443,8000-8099", IN_GUARD, AT(guard.dport), -1 },
    { 0, "proto", "WORD", "tcp, udp or both (both)", IN_GUARD, AT(guard.proto), -1 },
    { 0, "window", "DUR", "an address is active until so long after its last line (5s)", IN_GUARD, AT(guard.window), -1 },
    { 0, "timeout", "DUR", "who is put out stays out for so long (1m)", IN_GUARD, AT(guard.timeout), -1 },
    { 0, "access.log", "FILE", "the log that is followed (/var/log/xray/access.log)", IN_GUARD, AT(guard.access_log), -1 },
    { 0, "block.log", "FILE", "where violations are written down (nowhere)", IN_GUARD, AT(guard.block_log), -1 },
    { 0, "max-ips", "N", "addresses of one user at one time (1)", IN_GUARD, AT(guard.max_ips), -1 },
    { 0, "keep", "WORD", "who keeps the place: first or last (first)", IN_GUARD, AT(guard.keep), -1 },
    { 0, "dry-run", NULL, "only count and write down; nobody is put out", IN_GUARD, AT(guard.is_dry), -1 },
    { 0, "force", NULL, "overwrite an existing file", IN_INIT, AT(is_forced), -1 },
    { 'q', "quiet", NULL, "warnings and errors only", IN_ALL, AT(is_quiet), -1 },
    { 'V', "version", NULL, "print the version", IN_ALL, 0, -1 },
    { 'h', "help", NULL, "this text", IN_ALL, 0, -1 },
#undef AT
};

static int code_of(const struct option_row *o)
{
    return o->letter ? o->letter : OPT_FIRST + (int)(o - options);
}

static const struct option_row *option_of(int code)
{
    for (unsigned i = 0; i < RX_COUNT(options); i++)
        if (code_of(&options[i]) == code)
            return &options[i];
    return NULL;
}

// ---- help -------------------------------------------------------------------------------------------------

static void print_option(const struct option_row *o)
{
    char left[48];
    const char *help = o->help, *end;
    snprintf(left, sizeof left, "%c%c%s--%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
             o->letter ? ", " : "  ", o->name, o->value ? " " : "", o->value ? o->value : "");
    while ((end = strchr(help, '\n'))) {
        printf("  %-26s%.*s\n", left, (int)(end - help), help);
        left[0] = 0;
        help = end + 1;
    }
    printf("  %-26s%s\n", left, help);
}

static int print_help(const struct command *c)
{
    bool is_main = c->place == IN_RUN;
    printf("Usage: refractium %s%s[OPTIONS]%s\n\n", c->name, is_main ? "" : " ",
           is_main ? " [COMMAND]" : c->operands);
    if (is_main) {
        printf("Serves many protocols on one port: looks at what a client says first, and hands it on.\n\n"
               "Commands:\n");
        for (unsigned i = 0; i < RX_COUNT(commands); i++)
            printf("  %-26s%s\n", commands[i].place == IN_RUN ? "(none)" : commands[i].name, commands[i].line);
        printf("\nOptions:\n");
    } else {
        printf("%s\nOptions:\n", c->text);
    }
    for (unsigned i = 0; i < RX_COUNT(options); i++)
        if (options[i].places & c->place)
            print_option(&options[i]);
    if (is_main)
        printf("\nEvery command has --help. Exit codes: 0 fine, 1 config or usage error, 2 could not bind,\n"
               "3 failure after start.\n");
    return 0;
}

// ---- did you mean -----------------------------------------------------------------------------------------

// Edits, a swap of neighbours counting as one (optimal string alignment).
static unsigned distance(const char *a, const char *b)
{
    enum { MOST = 40 };
    size_t n = strlen(a), m = strlen(b);
    unsigned row[3][MOST + 1];
    if (n > MOST || m > MOST)
        return MOST;
    for (unsigned k = 0; k <= m; k++)
        row[0][k] = k;
    for (unsigned i = 1; i <= n; i++) {
        unsigned *now = row[i % 3], *last = row[(i - 1) % 3], *older = row[(i + 1) % 3];
        now[0] = i;
        for (unsigned k = 1; k <= m; k++) {
            now[k] = RX_MIN(RX_MIN(last[k], now[k - 1]) + 1, last[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                now[k] = RX_MIN(now[k], older[k - 2] + 1);
        }
    }
    return row[n % 3][m];
}

struct guess {
    const char *typed, *best;
    unsigned least;
};

static struct guess guess_begin(const char *typed)
{
    return (struct guess){ typed, NULL, (unsigned)RX_MIN(strlen(typed) / 3 + 1, (size_t)3) };
}

static void guess_add(struct guess *g, const char *name)
{
    unsigned d = distance(g->typed, name);
    if (d > g->least || d >= strlen(name) || (g->best && d == g->least))
        return;
    g->best = name;
    g->least = d;
}

// ---- complaints -------------------------------------------------------------------------------------------

// What was typed, fit for one line of a terminal.
static const char *show(const char *text)
{
    static char buf[64];
    size_t i = 0;
    for (; text[i] && i < sizeof buf - 4; i++)
        buf[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
    memcpy(buf + i, text[i] ? "..." : "", text[i] ? 4 : 1);
    return buf;
}

static int unknown_option(const char *typed)
{
    char name[64];
    size_t len = strcspn(typed, "=");
    snprintf(name, sizeof name, "%.*s", (int)RX_MIN(len, sizeof name - 1), typed);
    struct guess g = guess_begin(name);
    const char *first = NULL;
    for (unsigned i = 0; i < RX_COUNT(options); i++) {
        guess_add(&g, options[i].name);
        if (*name && !strncmp(options[i].name, name, strlen(name))) {
            if (first) {
                fprintf(stderr, "refractium: --%s could be --%s or --%s\n", show(name), first, options[i].name);
                return 1;
            }
            first = options[i].name;
        }
    }
    if (g.best)
        fprintf(stderr, "refractium: unknown option --%s (did you mean --%s?)\n", show(name), g.best);
    else
        fprintf(stderr, "refractium: unknown option --%s (see refractium --help)\n", show(name));
    return 1;
}

static int unknown_command(const char *typed)
{
    struct guess g = guess_begin(typed);
    size_t len = strlen(typed);
    for (unsigned i = 0; i < RX_COUNT(commands); i++)
        if (commands[i].name[0])
            guess_add(&g, commands[i].name);
    if (g.best)
        fprintf(stderr, "refractium: unknown command \"%s\" (did you mean \"%s\"?)\n", show(typed), g.best);
    else if (len > 4 && !strcasecmp(typed + len - 4, ".lua"))
        fprintf(stderr, "refractium: unknown command \"%s\" (a config file is given with -c)\n", show(typed));
    else
        fprintf(stderr, "refractium: unknown command \"%s\" (see refractium --help)\n", show(typed));
    return 1;
}

// What getopt did not like: `code` is its answer, ':' for a missing value and '?' for the rest.
static int bad_option(int code, char **argv)
{
    const struct option_row *o = option_of(optopt);
    const char *word = argv[optind - 1];
    if (code == ':' && o && word[1] != '-')
        fprintf(stderr, "refractium: option -%c needs a value: %s\n", o->letter, o->value);
    else if (code == ':' && o)
        fprintf(stderr, "refractium: option --%s needs a value: %s\n", o->name, o->value);
    else if (o)
        fprintf(stderr, "refractium: option --%s takes no value\n", o->name);
    else if (!optopt && !strncmp(word, "--", 2))
        return unknown_option(word + 2);
    else
        fprintf(stderr, "refractium: unknown option -%c (see refractium --help)\n",
                optopt > 0x20 && optopt < 0x7f ? optopt : '?');
    return 1;
}

// ---- parsing ----------------------------------------------------------------------------------------------

struct parse {
    struct rx_args *a;
    const char **words;
    unsigned n_words;
    bool is_typed[RX_COUNT(options)];
};

static int take_option(struct parse *p, int code)
{
    const struct option_row *o = option_of(code);
    char *field = (char *)p->a + o->at;
    p->is_typed[o - options] = true;
    if (o->letter == 'f')
        p->a->forward[p->a->n_forward++] = optarg;
    else if (o->value)
        memcpy(field, &(const char *){ optarg }, sizeof(const char *));
    else if (o->at)
        *(bool *)field = true;
    if (o->more >= 0)
        *(bool *)((char *)p->a + o->more) = true;
    return 0;
}

static int read_words(struct parse *p, int argc, char **argv)
{
    char shorts[2 * RX_COUNT(options) + 3] = "-:"; // words in their order; errors are ours to tell
    struct option longs[RX_COUNT(options) + 1];
    size_t n = 2;
    memset(longs, 0, sizeof longs);
    for (unsigned i = 0; i < RX_COUNT(options); i++) {
        const struct option_row *o = &options[i];
        longs[i] = (struct option){ o->name, o->value ? required_argument : no_argument, NULL, code_of(o) };
        if (o->letter)
            shorts[n++] = (char)o->letter;
        if (o->letter && o->value)
            shorts[n++] = ':';
    }
    shorts[n] = 0;
    optind = 0; // glibc: start afresh
    opterr = 0;
    for (int code; (code = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        if (code == ':' || code == '?')
            return bad_option(code, argv);
        if (code == 1)
            p->words[p->n_words++] = optarg;
        else
            take_option(p, code);
    }
    while (optind < argc)
        p->words[p->n_words++] = argv[optind++];
    return -1;
}

static const struct command *command_of(const char *word)
{
    for (unsigned i = 0; i < RX_COUNT(commands); i++)
        if (!strcmp(commands[i].name, word))
            return &commands[i];
    return NULL;
}

static int check_places(const struct parse *p, const struct command *c)
{
    for (unsigned i = 0; i < RX_COUNT(options); i++) {
        const struct option_row *o = &options[i];
        if (!p->is_typed[i] || o->places & c->place)
            continue;
        fprintf(stderr, "refractium%s%s: option --%s does not belong here; it is for", *c->name ? " " : "", c->name,
                o->name);
        const char *glue = "";
        for (unsigned k = 0; k < RX_COUNT(commands); k++)
            if (o->places & commands[k].place) {
                fprintf(stderr, "%s %s", glue, commands[k].place == IN_RUN ? "serving" : commands[k].name);
                glue = ",";
            }
        fprintf(stderr, "\n");
        return 1;
    }
    return -1;
}

static int check_together(const struct rx_args *a)
{
    const char *wrong = NULL;
    if (a->is_hex && a->is_pcap)
        wrong = "--hex and --pcap exclude each other";
    else if (a->segments && a->is_pcap)
        wrong = "--segments and --pcap exclude each other: a capture knows its segments";
    else if (a->segments && a->is_udp)
        wrong = "--segments and --udp exclude each other: each FILE is a datagram";
    else if (a->segments && a->n_files > 1)
        wrong = "--segments cuts one FILE; several FILEs are segments already";
    else if (a->is_pcap && a->n_files > 1)
        wrong = "--pcap takes one FILE";
    else if (a->is_builtin && (a->is_config_typed || a->n_forward))
        wrong = "--builtin takes no config: leave -c and -f out";
    else if (a->is_builtin && a->listener)
        wrong = "--builtin has no listeners: leave --listener out";
    if (!wrong)
        return -1;
    fprintf(stderr, "refractium explain: %s\n", wrong);
    return 1;
}

// Operands in brackets may be left out.
static unsigned least_words(const struct command *c)
{
    unsigned n = 0;
    for (const char *p = c->operands; *p; p++)
        n += p[0] == ' ' && p[1] != '[';
    return n;
}

static int judge(struct parse *p)
{
    struct rx_args *a = p->a;
    const struct command *c = command_of(p->n_words ? p->words[0] : "");
    if (!c || (p->n_words && !c->name[0]))
        return unknown_command(p->words[0]);
    for (unsigned i = 0; i < RX_COUNT(options); i++) {
        if (p->is_typed[i] && options[i].letter == 'h')
            return print_help(c);
        if (p->is_typed[i] && options[i].letter == 'V')
            return printf("refractium %s\n", RX_VERSION) < 0;
    }
    unsigned n = p->n_words ? p->n_words - 1 : 0;
    if (c->most_words >= 0 && n > (unsigned)c->most_words) {
        fprintf(stderr, "refractium %s: unexpected argument \"%s\"\n", c->name, show(p->words[1 + c->most_words]));
        return 1;
    }
    if (n < least_words(c)) {
        fprintf(stderr, "refractium %s: needs%s (see refractium %s --help)\n", c->name, c->operands, c->name);
        return 1;
    }
    int rc = check_places(p, c);
    if (rc >= 0)
        return rc;
    a->command = c->command;
    a->word = c->name;
    a->only = c->place & (IN_TCP | IN_UDP) ? c->name : NULL;
    for (unsigned i = 0; i < n; i++)
        a->files[a->n_files++] = p->words[i + 1];
    if (!a->is_config_typed && !a->n_forward)
        a->config = "refractium.lua";
    return check_together(a);
}

int rx_args_parse(struct rx_args *a, int argc, char **argv)
{
    struct parse p = { .a = a };
    size_t most = (size_t)RX_MAX(argc, 1);
    *a = (struct rx_args){ .argv = argv, .bind = "0.0.0.0", .port = "8080", .record = "refractium.record" };
    a->forward = calloc(most, sizeof *a->forward);
    a->files = calloc(most, sizeof *a->files);
    p.words = calloc(most, sizeof *p.words);
    int rc = 1;
    if (!a->forward || !a->files || !p.words)
        fprintf(stderr, "refractium: out of memory\n");
    else if ((rc = read_words(&p, argc, argv)) < 0)
        rc = judge(&p);
    free(p.words);
    if (rc >= 0)
        rx_args_free(a);
    return rc;
}

void rx_args_free(struct rx_args *a)
{
    free(a->forward);
    free(a->files);
    a->forward = NULL;
    a->files = NULL;
    a->n_forward = a->n_files = 0;
}
