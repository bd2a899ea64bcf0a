// SPDX-License-Identifier: MIT
// The command line: what is accepted, what is refused, and in which words.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "args.h"

static char said[2][16384]; // stdout, stderr

// Parses "a b c"; what was printed ends up in `said`.
static int parse(struct rx_args *a, const char *line)
{
    static char words[512], *argv[64];
    int argc = 0, saved[2];
    FILE *to[2];
    snprintf(words, sizeof words, "refractium %s", line);
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
        argv[argc++] = w;
    argv[argc] = NULL;
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        to[i] = tmpfile();
        saved[i] = dup(i + 1);
        dup2(fileno(to[i]), i + 1);
    }
    int rc = rx_args_parse(a, argc, argv);
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        dup2(saved[i], i + 1);
        close(saved[i]);
        rewind(to[i]);
        said[i][fread(said[i], 1, sizeof said[i] - 1, to[i])] = 0;
        fclose(to[i]);
    }
    return rc;
}

static void defaults_need_nothing_typed(void **state)
{
    (void)state;
    struct rx_args a;
    assert_int_equal(parse(&a, ""), -1);
    assert_int_equal(a.command, RX_CMD_RUN);
    assert_null(a.only);
    assert_string_equal(a.bind, "0.0.0.0");
    assert_string_equal(a.port, "8080");
    assert_string_equal(a.config, "refractium.lua");
    assert_false(a.is_bind_typed || a.is_port_typed || a.is_config_typed || a.is_debug || a.is_quiet || a.is_json);
    assert_int_equal(a.n_forward, 0);
    rx_args_free(&a);
}

static void options_stand_before_and_after_the_command(void **state)
{
    (void)state;
    static const char *const lines[] = { "-p 81 --config=x.lua check --json", "check -p81 -cx.lua --json",
                                         "--json --port 81 check --config x.lua" };
    struct rx_args a;
    for (int posix = 0; posix < 2; posix++) {
        if (posix)
            setenv("POSIXLY_CORRECT", "1", 1);
        for (unsigned i = 0; i < RX_COUNT(lines); i++) {
            assert_int_equal(parse(&a, lines[i]), -1);
            assert_int_equal(a.command, RX_CMD_CHECK);
            assert_string_equal(a.port, "81");
            assert_string_equal(a.config, "x.lua");
            assert_true(a.is_port_typed && a.is_config_typed && a.is_json && !a.is_bind_typed);
            rx_args_free(&a);
        }
    }
    unsetenv("POSIXLY_CORRECT");
}

static void forward_does_without_a_config(void **state)
{
    (void)state;
    struct rx_args a;
    assert_int_equal(parse(&a, "-f ssh=a:22 tcp --forward tls/x=b:443,c:443"), -1);
    assert_string_equal(a.only, "tcp");
    assert_null(a.config);
    assert_int_equal(a.n_forward, 2);
    assert_string_equal(a.forward[0], "ssh=a:22");
    assert_string_equal(a.forward[1], "tls/x=b:443,c:443");
    rx_args_free(&a);
    assert_int_equal(parse(&a, "-f ssh=a:22 -c x.lua"), -1);
    assert_string_equal(a.config, "x.lua");
    rx_args_free(&a);
}

static void every_option_reaches_its_field(void **state)
{
    (void)state;
    struct rx_args a;
    assert_int_equal(parse(&a, "-b ::1 -w 3 --peek-timeout 2s --peek-buffer 4k --max-connections 9 --no-hot-reload"
                               " --debug --log-format json -q"),
                     -1);
    assert_string_equal(a.bind, "::1");
    assert_string_equal(a.workers, "3");
    assert_string_equal(a.peek_timeout, "2s");
    assert_string_equal(a.peek_buffer, "4k");
    assert_string_equal(a.max_connections, "9");
    assert_string_equal(a.log_format, "json");
    assert_true(a.is_bind_typed && a.no_hot_reload && a.is_debug && a.is_quiet);
    rx_args_free(&a);
    assert_int_equal(parse(&a, "explain --hex --segments 1,2 --from 10.0.0.1 --listener *:80 --json -- -odd-"), -1);
    assert_true(a.is_hex && a.is_json && !a.is_pcap && !a.is_builtin && !a.is_udp);
    assert_string_equal(a.segments, "1,2");
    assert_string_equal(a.from, "10.0.0.1");
    assert_string_equal(a.listener, "*:80");
    assert_int_equal(a.n_files, 1);
    assert_string_equal(a.files[0], "-odd-");
    rx_args_free(&a);
    assert_int_equal(parse(&a, "record -o x.rec -p 80"), -1);
    assert_true(a.command == RX_CMD_RECORD && a.is_port_typed);
    assert_string_equal(a.record, "x.rec");
    rx_args_free(&a);
    assert_int_equal(parse(&a, "replay --json x.rec -c new.lua"), -1);
    assert_true(a.command == RX_CMD_REPLAY && a.is_json && a.n_files == 1);
    rx_args_free(&a);
    assert_int_equal(parse(&a, "import --format sslh x.cfg"), -1);
    assert_true(a.command == RX_CMD_IMPORT && a.n_files == 1);
    assert_string_equal(a.format, "sslh");
    rx_args_free(&a);
    assert_int_equal(parse(&a, "init --force here.lua"), -1);
    assert_true(a.command == RX_CMD_INIT && a.is_forced && a.n_files == 1);
    rx_args_free(&a);
}

static void bad_flags_are_one_line_that_names_them(void **state)
{
    (void)state;
    static const struct {
        const char *line, *say;
    } bad[] = {
        { "--prt 80", "unknown option --prt (did you mean --port?)" },
        { "--prot 80", "option --proto does not belong here; it is for guard" },
        { "--workerz=3", "unknown option --workerz (did you mean --workers?)" },
        { "--quite", "unknown option --quite (did you mean --quiet?)" },
        { "--frobnicate", "unknown option --frobnicate (see refractium --help)" },
        { "--pe 3", "--pe could be --peek-timeout or --peek-buffer" },
        { "-x", "unknown option -x" },
        { "-qx", "unknown option -x" },
        { "-p", "option -p needs a value: PORT" },
        { "--bind", "option --bind needs a value: ADDR" },
        { "--debug=1", "option --debug takes no value" },
        { "chekc", "unknown command \"chekc\" (did you mean \"check\"?)" },
        { "site.lua", "a config file is given with -c" },
        { "recrod", "unknown command \"recrod\" (did you mean \"record\"?)" },
        { "check -o x", "option --output does not belong here; it is for record" },
        { "replay a b", "refractium replay: unexpected argument \"b\"" },
        { "check more", "refractium check: unexpected argument \"more\"" },
        { "init a b", "refractium init: unexpected argument \"b\"" },
        { "check --hex", "option --hex does not belong here; it is for explain" },
        { "--json", "option --json does not belong here; it is for check, explain, replay" },
        { "init -p 80", "option --port does not belong here" },
        { "explain --hex --pcap x", "--hex and --pcap exclude each other" },
        { "explain --segments 1 a b", "--segments cuts one FILE" },
        { "explain --builtin -c x", "--builtin takes no config" },
        { "explain --builtin -f ssh=a:1", "--builtin takes no config" },
    };
    struct rx_args a;
    for (unsigned i = 0; i < RX_COUNT(bad); i++) {
        assert_int_equal(parse(&a, bad[i].line), 1);
        if (!strstr(said[1], bad[i].say))
            fail_msg("%s: said %s", bad[i].line, said[1]);
        assert_ptr_equal(strchr(said[1], '\n'), said[1] + strlen(said[1]) - 1);
        assert_string_equal(said[0], "");
    }
}

static void every_command_has_help(void **state)
{
    (void)state;
    static const char *const commands[] = { "", "tcp ", "udp ", "init ", "check ", "import ", "record ", "replay ",
                                            "explain " };
    struct rx_args a;
    char line[64];
    for (unsigned i = 0; i < RX_COUNT(commands); i++)
        for (int k = 0; k < 2; k++) {
            snprintf(line, sizeof line, "%s%s", commands[i], k ? "--help" : "-h");
            assert_int_equal(parse(&a, line), 0);
            snprintf(line, sizeof line, "Usage: refractium %s[OPTIONS]", commands[i]);
            assert_ptr_equal(strstr(said[0], line), said[0]);
            assert_string_equal(said[1], "");
        }
    assert_non_null(strstr(said[0], "--segments"));
    assert_int_equal(parse(&a, "check --version"), 0);
    assert_ptr_equal(strstr(said[0], "refractium "), said[0]);
}

// ---- what is written elsewhere about the command line -----------------------------------------------------------

static char *read_file(const char *name)
{
    static char text[65536];
    FILE *f = fopen(name, "r");
    if (!f)
        fail_msg("%s: cannot be read (tests run from the top of the source tree)", name);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

// Every "--name" in `text`, one after the other; "\\-" is how man pages write a dash, "-l name" how fish does.
static bool next_option(const char **text, char name[64])
{
    const char *p = *text;
    for (; *p; p++) {
        while (!strncmp(p, "\nset ", 5)) // fish's variables have options of their own
            p += 1 + strcspn(p + 1, "\n");
        bool is_fish = !strncmp(p, " -l ", 4), is_man = !strncmp(p, "\\-\\-", 4), is_plain = !strncmp(p, "--", 2);
        if (!is_fish && !is_man && !is_plain)
            continue;
        size_t n = 0;
        for (p += is_plain ? 2 : 4; n < 63 && ((*p >= 'a' && *p <= 'z') || (n && (*p == '-' || *p == '\\'))); p++)
            if (*p != '\\')
                name[n++] = *p;
        name[n] = 0;
        *text = p;
        if (n)
            return true;
    }
    return false;
}

static bool has_option(const char *text, const char *name)
{
    char one[64];
    while (next_option(&text, one))
        if (!strcmp(one, name))
            return true;
    return false;
}

static void completions_and_man_page_list_what_there_is(void **state)
{
    (void)state;
    static const char *const files[] = { "packaging/completions/refractium.bash", "packaging/completions/_refractium",
                                         "packaging/completions/refractium.fish", "packaging/man/refractium.1" };
    static const char *const commands[] = { "--help", "init --help", "check --help", "import --help", "record --help",
                                            "replay --help", "explain --help",
                                            "status --help", "top --help", "ban --help", "guard --help" };
    static char help[65536];
    struct rx_args a;
    char name[64];
    help[0] = 0;
    for (unsigned i = 0; i < RX_COUNT(commands); i++) {
        assert_int_equal(parse(&a, commands[i]), 0);
        strcat(help, said[0]);
    }
    for (unsigned i = 0; i < RX_COUNT(files); i++) {
        const char *text = read_file(files[i]), *at = help;
        while (next_option(&at, name))
            if (!has_option(text, name))
                fail_msg("%s lacks --%s", files[i], name);
        for (at = text; next_option(&at, name);)
            if (!has_option(help, name))
                fail_msg("%s has --%s, which does not exist", files[i], name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_need_nothing_typed),
        cmocka_unit_test(options_stand_before_and_after_the_command),
        cmocka_unit_test(forward_does_without_a_config),
        cmocka_unit_test(every_option_reaches_its_field),
        cmocka_unit_test(bad_flags_are_one_line_that_names_them),
        cmocka_unit_test(every_command_has_help),
        cmocka_unit_test(completions_and_man_page_list_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
