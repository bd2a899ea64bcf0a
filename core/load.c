// SPDX-License-Identifier: MIT
// Enters: the command line. Leaves: a generation that has passed its own tests, or findings for the user.
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "script.h"

bool rx_load_is_coloured(void)
{
    return isatty(STDERR_FILENO) && !getenv("NO_COLOR");
}

struct rx_conf *rx_load(const struct rx_args *a, struct rx_findings *f)
{
    struct rx_conf *conf = rx_script_load(a, rx_findings_add, f);
    if (!conf && !f->n) {
        static const char text[] = "the config could not be loaded";
        rx_findings_add(f, RX_REPORT_ERROR, text, sizeof text - 1);
    }
    return conf;
}

static void keep_failure(void *data, const char *line)
{
    rx_findings_add(data, RX_REPORT_ERROR, line, strlen(line));
}

// The config's own tests: one that fails keeps the config from being served.
static bool passes_tests(const struct rx_conf *conf)
{
    struct rx_findings failures = { 0 };
    unsigned n = rx_check_tests(conf, keep_failure, &failures);
    rx_findings_print(&failures, stderr, rx_load_is_coloured());
    rx_findings_free(&failures);
    if (n)
        fprintf(stderr, "refractium: %u of the config's own tests and samples failed\n", n);
    return !n;
}

struct rx_conf *rx_load_tested(const struct rx_args *a)
{
    struct rx_findings f = { 0 };
    struct rx_conf *conf = rx_load(a, &f);
    rx_findings_print(&f, stderr, rx_load_is_coloured());
    rx_findings_free(&f);
    if (conf && !passes_tests(conf)) {
        rx_conf_unref(conf);
        conf = NULL;
    }
    return conf;
}
