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

struct rx_conf *rx_load(struct rx_home *home, const struct rx_args *a, struct rx_seen *seen, struct rx_findings *f)
{
    struct rx_conf *conf = rx_script_load(home, a, seen, rx_findings_add, f);
    if (!conf && !f->n) {
        static const char text[] = "the config could not be loaded";
        rx_findings_add(f, RX_REPORT_ERROR, text, sizeof text - 1);
    }
    return conf;
}

struct listener {
    rx_report_fn *report;
    void *data;
};

static void tell_failure(void *data, const char *line)
{
    const struct listener *l = data;
    l->report(l->data, RX_REPORT_ERROR, line, strlen(line));
}

// The config's own tests: one that fails keeps the config from being served.
static bool passes_tests(const struct rx_conf *conf, rx_report_fn *report, void *data)
{
    struct listener l = { report, data };
    char line[100];
    unsigned n = rx_check_tests(conf, tell_failure, &l);
    if (n) {
        int len = snprintf(line, sizeof line, "%u of the config's own tests and samples failed", n);
        report(data, RX_REPORT_ERROR, line, (size_t)len);
    }
    return !n;
}

struct rx_conf *rx_load_tested(struct rx_home *home, const struct rx_args *a, struct rx_seen *seen, rx_report_fn *report,
                               void *data)
{
    struct rx_findings f = { 0 };
    struct rx_conf *conf = rx_load(home, a, seen, &f);
    for (unsigned i = 0; i < f.n; i++)
        report(data, f.list[i].severity, f.list[i].text, strlen(f.list[i].text));
    rx_findings_free(&f);
    if (conf && !passes_tests(conf, report, data)) {
        rx_conf_unref(conf);
        conf = NULL;
    }
    return conf;
}
