// SPDX-License-Identifier: MIT
// Enters: argv. Leaves: an exit code (enum rx_exit). Everything is loaded, validated and tested before anything is
// bound; a config that fails changes nothing.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "check.h"
#include "ctl.h"
#include "engine.h"
#include "heir.h"
#include "home.h"
#include "import.h"
#include "load.h"
#include "log.h"
#include "passed.h"
#include "replay.h"
#include "script.h"

// ---- init ---------------------------------------------------------------------------------------------------

static int init_failed(const char *path, int err)
{
    if (err == EEXIST)
        fprintf(stderr, "refractium init: %s exists; --force overwrites it\n", path);
    else
        fprintf(stderr, "refractium init: %s: %s\n", path, strerror(err));
    return RX_EXIT_USAGE;
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = write(fd, text, len);
        if (n == -1 && errno != EINTR)
            return -errno;
        if (n > 0)
            text += n, len -= (size_t)n;
    }
    return 0;
}

static int run_init(const struct rx_args *a)
{
    const char *path = a->n_files ? a->files[0] : "refractium.lua";
    size_t len;
    const char *text = rx_script_template(&len);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (a->is_forced ? O_TRUNC : O_EXCL), 0644);
    if (fd == -1)
        return init_failed(path, errno);
    int rc = write_all(fd, text, len);
    if (close(fd) == -1 && !rc)
        rc = -errno;
    if (rc) {
        if (!a->is_forced) // half a config is worse than none
            unlink(path);
        return init_failed(path, -rc);
    }
    if (a->is_quiet)
        return RX_EXIT_OK;
    bool is_default = !strcmp(path, "refractium.lua");
    const char *option = is_default ? "" : " -c ", *name = is_default ? "" : path;
    printf("wrote %s; now:\n  refractium%s%s check    validates it and prints its routes\n"
           "  refractium%s%s          serves it\n",
           path, option, name, option, name);
    return RX_EXIT_OK;
}

// ---- the commands -----------------------------------------------------------------------------------------------

static int run_check(struct rx_home *home, const struct rx_args *a)
{
    struct rx_findings f = { 0 };
    struct rx_conf *conf = rx_load(home, a, NULL, &f);
    int code = rx_check_run(conf, a, &f);
    rx_conf_unref(conf);
    rx_findings_free(&f);
    return code;
}

static int run_explain(struct rx_home *home, const struct rx_args *a)
{
    struct rx_findings f = { 0 };
    struct rx_conf *conf = a->is_builtin ? NULL : rx_load(home, a, NULL, &f);
    int code = RX_EXIT_USAGE;
    rx_findings_print(&f, stderr, rx_load_is_coloured());
    if (conf || a->is_builtin)
        code = rx_explain_run(home, conf, a);
    else if (!a->is_config_typed && a->config && access(a->config, F_OK))
        fprintf(stderr, "refractium explain: with --builtin no config is needed\n");
    rx_conf_unref(conf);
    rx_findings_free(&f);
    return code;
}

static int run_replay(struct rx_home *home, const struct rx_args *a)
{
    struct rx_findings f = { 0 };
    struct rx_conf *conf = rx_load(home, a, NULL, &f);
    rx_findings_print(&f, stderr, rx_load_is_coloured());
    int code = conf ? rx_replay_run(conf, a) : RX_EXIT_USAGE;
    rx_conf_unref(conf);
    rx_findings_free(&f);
    return code;
}

static void print_finding(void *data, unsigned severity, const char *text, size_t len)
{
    (void)data;
    rx_heir_tell(severity, text, len);
    struct rx_findings one = { 0 };
    rx_findings_add(&one, severity, text, len);
    rx_findings_print(&one, stderr, rx_load_is_coloured());
    rx_findings_free(&one);
}

static int run_serve(struct rx_home *home, const struct rx_args *a)
{
    rx_heir_begin();
    rx_passed_take();
    struct rx_conf *conf = rx_load_tested(home, a, NULL, print_finding, NULL);
    if (!conf)
        return RX_EXIT_USAGE;
    const struct rx_log_setup setup = { .level = a->is_debug   ? RX_LOG_DEBUG
                                                 : a->is_quiet ? RX_LOG_WARN
                                                               : RX_LOG_INFO,
                                        .format = conf->log_format };
    rx_log_init(&setup);
    return rx_engine_run(conf, a);
}

int main(int argc, char **argv)
{
    struct rx_args a;
    int code = rx_args_parse(&a, argc, argv);
    if (code >= 0)
        return fflush(stdout) ? RX_EXIT_USAGE : code;
    struct rx_home *home = rx_home_new();
    if (!home) {
        fprintf(stderr, "refractium: out of memory\n");
        rx_args_free(&a);
        return RX_EXIT_RUNTIME;
    }
    switch (a.command) {
    case RX_CMD_RUN:
        code = run_serve(home, &a);
        break;
    case RX_CMD_INIT:
        code = run_init(&a);
        break;
    case RX_CMD_CHECK:
        code = run_check(home, &a);
        break;
    case RX_CMD_EXPLAIN:
        code = run_explain(home, &a);
        break;
    case RX_CMD_RECORD:
        code = a.n_files ? rx_ctl_run(&a) : run_serve(home, &a);
        break;
    case RX_CMD_GUARD:
        code = run_serve(home, &a);
        break;
    case RX_CMD_REPLAY:
        code = run_replay(home, &a);
        break;
    case RX_CMD_IMPORT:
        code = rx_import_run(&a);
        break;
    case RX_CMD_STATUS:
    case RX_CMD_TOP:
    case RX_CMD_RELOAD:
    case RX_CMD_UPGRADE:
    case RX_CMD_KILL:
    case RX_CMD_LOG:
    case RX_CMD_BAN:
    case RX_CMD_UNBAN:
    case RX_CMD_DRAIN:
    case RX_CMD_UNDRAIN:
        code = rx_ctl_run(&a);
        break;
    }
    rx_home_free(home);
    rx_args_free(&a);
    return code;
}
