// SPDX-License-Identifier: MIT
// Enters: the command line. Leaves: an exit code; what the instance says on standard output, complaints on standard
// error. Text from the instance is printed escaped: it may hold what a config calls its routes.
#include "ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin_request.h"
#include "engine.h"
#include "load.h"
#include "log.h"

enum { ANSWER_MOST = 64 * 1024 * 1024 };

// ---- the wire -----------------------------------------------------------------------------------------------------

static bool send_all(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text += n;
        len -= (size_t)n;
    }
    return true;
}

// One line into c->buf, without its end; false when there is none.
static bool read_line(struct rx_ctl *c)
{
    c->len = 0;
    for (;;) {
        if (c->len == c->cap) {
            size_t cap = c->cap ? 2 * c->cap : 16384;
            char *grown = cap > ANSWER_MOST ? NULL : realloc(c->buf, cap);
            if (!grown)
                return false;
            c->buf = grown;
            c->cap = cap;
        }
        ssize_t n = recv(c->fd, c->buf + c->len, c->cap - c->len, 0);
        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        c->len += (size_t)n;
        if (c->buf[c->len - 1] == '\n') // one answer to one question: nothing follows it
            return true;
    }
}

json_t *rx_ctl_ask(struct rx_ctl *c, json_t *request)
{
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    json_t *answer = NULL;
    json_decref(request);
    // Who is refused at the door is told so and hung up on, perhaps before this is sent: there may be an answer still.
    bool is_asked = text && (!send_all(c->fd, text, strlen(text)) || !send_all(c->fd, "\n", 1) || true);
    if (is_asked && read_line(c))
        answer = json_loadb(c->buf, c->len, 0, NULL);
    free(text);
    if (!json_is_object(answer)) {
        fprintf(stderr, "refractium %s: %s: no answer\n", c->word, c->path);
        json_decref(answer);
        return NULL;
    }
    return answer;
}

void rx_ctl_close(struct rx_ctl *c)
{
    if (c->fd >= 0)
        close(c->fd);
    free(c->buf);
    c->fd = -1;
    c->buf = NULL;
    c->cap = 0;
}

const char *rx_ctl_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

uint64_t rx_ctl_number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

const json_t *rx_ctl_result(const struct rx_ctl *c, const json_t *answer, int *code)
{
    char shown[512];
    const json_t *result = json_object_get(answer, "result");
    if (json_is_true(json_object_get(answer, "ok")) && result) {
        *code = RX_EXIT_OK;
        return result;
    }
    const char *error = rx_ctl_text(answer, "error");
    fprintf(stderr, "refractium %s: %s\n", c->word,
            rx_log_escape((const uint8_t *)error, strlen(error), shown, sizeof shown));
    *code = !strcmp(error, "permission denied") ? RX_EXIT_BIND : RX_EXIT_USAGE;
    return NULL;
}

// ---- words --------------------------------------------------------------------------------------------------------

char *rx_ctl_bytes(uint64_t n, char buf[16])
{
    static const char units[] = "KMGTPE";
    if (n < 1024) {
        snprintf(buf, 16, "%u", (unsigned)n);
        return buf;
    }
    double v = (double)n / 1024;
    unsigned i = 0;
    for (; v >= 999.5 && i < sizeof units - 2; i++)
        v /= 1024;
    snprintf(buf, 16, v < 9.95 ? "%.1f%c" : "%.0f%c", v, units[i]);
    return buf;
}

char *rx_ctl_span(uint64_t ms, char buf[16])
{
    unsigned long s = (unsigned long)(ms / 1000);
    if (s < 60)
        snprintf(buf, 16, "%lus", s);
    else if (s < 3600)
        snprintf(buf, 16, "%lum%02lus", s / 60, s % 60);
    else if (s < 86400)
        snprintf(buf, 16, "%luh%02lum", s / 3600, s / 60 % 60);
    else
        snprintf(buf, 16, "%lud%02luh", RX_MIN(s / 86400, 99999ul), s / 3600 % 24);
    return buf;
}

// ---- the commands -------------------------------------------------------------------------------------------------

static int print_json(const json_t *value)
{
    bool is_written = json_dumpf(value, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF && !fflush(stdout);
    return is_written ? RX_EXIT_OK : RX_EXIT_RUNTIME;
}

static int run_status(struct rx_ctl *c, const struct rx_args *a)
{
    int code = RX_EXIT_RUNTIME;
    json_t *answer = rx_ctl_ask(c, json_pack("{s:s}", "cmd", "status"));
    const json_t *status = answer ? rx_ctl_result(c, answer, &code) : NULL;
    if (status && a->is_json)
        code = print_json(status);
    else if (status)
        rx_ctl_print_status(status);
    json_decref(answer);
    return code;
}

static void print_findings(const json_t *of)
{
    struct rx_findings f = { 0 };
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(of, "findings"), i, one) {
        const char *text = rx_ctl_text(one, "text");
        bool is_error = !strcmp(rx_ctl_text(one, "severity"), "error");
        rx_findings_add(&f, is_error ? RX_REPORT_ERROR : RX_REPORT_WARNING, text, strlen(text));
    }
    rx_findings_print(&f, stderr, rx_load_is_coloured());
    rx_findings_free(&f);
}

// A reload or an upgrade: the outcome, after what was found wrong.
static int run_outcome(struct rx_ctl *c, const struct rx_args *a)
{
    int code = RX_EXIT_RUNTIME;
    json_t *answer = rx_ctl_ask(c, json_pack("{s:s}", "cmd", c->word));
    if (!answer)
        return code;
    print_findings(json_object_get(answer, "result") ? json_object_get(answer, "result") : answer);
    const json_t *result = rx_ctl_result(c, answer, &code);
    if (result && !a->is_quiet)
        printf("%s\n", rx_ctl_text(result, "outcome"));
    json_decref(answer);
    return code;
}

// A request that is answered by done or a complaint.
static int run_plain(struct rx_ctl *c, const struct rx_args *a, json_t *request, const char *done)
{
    int code = RX_EXIT_RUNTIME;
    json_t *answer = rx_ctl_ask(c, request);
    if (answer && rx_ctl_result(c, answer, &code) && !a->is_quiet)
        printf("%s\n", done);
    json_decref(answer);
    return code;
}

static int run_kill(struct rx_ctl *c, const struct rx_args *a)
{
    return run_plain(c, a, json_pack("{s:s,s:s}", "cmd", "kill", "conn", a->files[0]), "ended");
}

static int run_log(struct rx_ctl *c, const struct rx_args *a)
{
    int code = RX_EXIT_RUNTIME;
    json_t *request = json_pack("{s:s}", "cmd", "log");
    if (a->n_files)
        json_object_set_new(request, "level", json_string(a->files[0]));
    json_t *answer = rx_ctl_ask(c, request);
    const json_t *result = answer ? rx_ctl_result(c, answer, &code) : NULL;
    if (result && !a->is_quiet)
        printf("log level is %s\n", rx_ctl_text(result, "level"));
    json_decref(answer);
    return code;
}

// "90s", "10m", "2h", "1d" in milliseconds; 0 when it is none.
static uint64_t span_ms(const char *text)
{
    static const char units[] = "smhd";
    static const unsigned seconds[] = { 1, 60, 3600, 86400 };
    char *end;
    unsigned long n = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    const char *unit = n && n < 1000000000 && *end ? strchr(units, *end) : NULL;
    return unit && !end[1] ? n * seconds[unit - units] * 1000 : 0;
}

static int run_ban(struct rx_ctl *c, const struct rx_args *a)
{
    json_t *request = json_pack("{s:s,s:s}", "cmd", "ban", "ip", a->files[0]);
    if (a->n_files > 1) {
        uint64_t ms = span_ms(a->files[1]);
        if (!ms) {
            fprintf(stderr, "refractium ban: TTL must be a number with its unit, as in 90s, 10m, 2h or 1d\n");
            json_decref(request);
            return RX_EXIT_USAGE;
        }
        json_object_set_new(request, "ttl_ms", json_integer((json_int_t)ms));
    }
    return run_plain(c, a, request, "banned");
}

static int run_unban(struct rx_ctl *c, const struct rx_args *a)
{
    return run_plain(c, a, json_pack("{s:s,s:s}", "cmd", "unban", "ip", a->files[0]), "no longer banned");
}

static int run_drain(struct rx_ctl *c, const struct rx_args *a)
{
    bool is_drain = a->command == RX_CMD_DRAIN;
    return run_plain(c, a, json_pack("{s:s,s:s}", "cmd", is_drain ? "drain" : "undrain", "backend", a->files[0]),
                     is_drain ? "gets no new connections" : "gets connections again");
}

// The instance may live in another directory.
static int run_record(struct rx_ctl *c, const struct rx_args *a)
{
    char here[RX_REQUEST_FILE] = "", path[2 * RX_REQUEST_FILE];
    if (!strcmp(a->files[0], "stop"))
        return run_plain(c, a, json_pack("{s:s}", "cmd", "record_stop"), "no longer recorded");
    if (strcmp(a->files[0], "start")) {
        fprintf(stderr, "refractium record: must be start or stop, or nothing to serve and record\n");
        return RX_EXIT_USAGE;
    }
    if (a->record[0] != '/' && !getcwd(here, sizeof here)) {
        fprintf(stderr, "refractium record: %s: %s\n", a->record, strerror(errno));
        return RX_EXIT_USAGE;
    }
    snprintf(path, sizeof path, "%s%s%s", here, *here ? "/" : "", a->record);
    return run_plain(c, a, json_pack("{s:s,s:s}", "cmd", "record", "file", path), "recorded from now on");
}

static int run(struct rx_ctl *c, const struct rx_args *a)
{
    switch (a->command) {
    case RX_CMD_STATUS:
        return run_status(c, a);
    case RX_CMD_TOP:
        return rx_ctl_top(c, a);
    case RX_CMD_RELOAD:
    case RX_CMD_UPGRADE:
        return run_outcome(c, a);
    case RX_CMD_KILL:
        return run_kill(c, a);
    case RX_CMD_LOG:
        return run_log(c, a);
    case RX_CMD_BAN:
        return run_ban(c, a);
    case RX_CMD_UNBAN:
        return run_unban(c, a);
    case RX_CMD_DRAIN:
    case RX_CMD_UNDRAIN:
        return run_drain(c, a);
    case RX_CMD_RECORD:
        return run_record(c, a);
    default:
        return RX_EXIT_USAGE;
    }
}

int rx_ctl_run(const struct rx_args *a)
{
    struct rx_ctl c = { .fd = -1, .word = a->word };
    int code = rx_ctl_open(&c, a);
    if (!code)
        code = run(&c, a);
    rx_ctl_close(&c);
    return code;
}
