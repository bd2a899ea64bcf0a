// SPDX-License-Identifier: MIT
// Two outputs: messages, one write to standard error each; and access lines, gathered per worker and written when
// its loop is about to sleep, so that a busy worker pays one system call for many lines.
// Both may go to a file, the journal or syslog instead (log_out.c); then access lines go one by one.
// A line that cannot be written (full disk, closed pipe) is dropped and counted; nothing waits for a log.
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log_out.h"
#include "worker.h"

enum { ACCESS_BUFFER = 64 * 1024, ACCESS_LINE = 2048 };

static struct rx_log_setup setup = { .level = RX_LOG_INFO };
static atomic_int level_now = RX_LOG_INFO; // setup's, until somebody changes it
static const char *const level_words[] = { "error", "warning", "info", "debug" };
static bool is_terminal;
static enum rx_log_to messages_to;
static int message_fd = STDERR_FILENO;
static int access_fd = -1;
static enum rx_access_log access_to = RX_ACCESS_OFF;
static uint32_t access_ppm = 1000000;
static bool is_access_json, is_access_colour, is_access_file, is_message_file;
static atomic_ulong n_lost;

// A reader that has stalled must not stall us. Its end may be shared with other programs, so it is not made
// non-blocking: a pipe that polls writable takes PIPE_BUF bytes at once (pipe(7)); whole lines that do not fit now
// are lost and counted. Files take everything.
static void put(int fd, bool is_file, const char *text, size_t len)
{
    while (len) {
        size_t n = len;
        struct pollfd p = { .fd = fd, .events = POLLOUT };
        if (!is_file && n > PIPE_BUF) {
            const char *end = memrchr(text, '\n', PIPE_BUF);
            n = end ? (size_t)(end - text) + 1 : PIPE_BUF;
        }
        if ((!is_file && (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))) || write(fd, text, n) != (ssize_t)n) {
            atomic_fetch_add_explicit(&n_lost, 1, memory_order_relaxed);
            return;
        }
        text += n;
        len -= n;
    }
}

static bool is_regular(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

void rx_log_init(const struct rx_log_setup *s)
{
    setup = *s;
    rx_log_set_level(s->level);
    rx_log_direct(RX_LOG_TO_STDERR, NULL);
}

int rx_log_direct(enum rx_log_to to, const char *file)
{
    if (message_fd != STDERR_FILENO)
        rx_log_file_close(message_fd);
    message_fd = STDERR_FILENO;
    messages_to = RX_LOG_TO_STDERR;
    if (to == RX_LOG_TO_FILE) {
        int fd = rx_log_file_open(file);
        if (fd < 0)
            return fd;
        message_fd = fd;
    }
    messages_to = to;
    is_terminal = isatty(message_fd);
    is_message_file = is_regular(message_fd);
    return 0;
}

unsigned long rx_log_lost(void)
{
    return atomic_load(&n_lost);
}

bool rx_log_is(enum rx_level level)
{
    return (int)level <= atomic_load_explicit(&level_now, memory_order_relaxed);
}

void rx_log_set_level(enum rx_level level)
{
    atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

const char *rx_log_level_word(void)
{
    return level_words[atomic_load_explicit(&level_now, memory_order_relaxed)];
}

const char *rx_log_word_of(enum rx_level level)
{
    return level_words[level];
}

int rx_log_level_of(const char *word)
{
    for (unsigned i = 0; i < RX_COUNT(level_words); i++)
        if (!strcmp(word, level_words[i]))
            return (int)i;
    return -1;
}

static size_t now_text(char *buf, size_t size)
{
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(buf + n, size - n, ".%03ldZ", ts.tv_nsec / 1000000);
}

static size_t json_text(char *out, size_t size, const char *text);

static const int priorities[] = { 3, 4, 6, 7 }; // syslog(3), sd-daemon(3)

// To the journal or syslog; false: it has to go elsewhere.
static bool told_system(enum rx_level level, const char *text)
{
    const char priority[] = { (char)('0' + priorities[level]), 0 };
    if (messages_to == RX_LOG_TO_JOURNAL) {
        const struct rx_log_field fields[] = { { "MESSAGE", text }, { "PRIORITY", priority } };
        return rx_log_journal(fields, RX_COUNT(fields)) == 0;
    }
    return messages_to == RX_LOG_TO_SYSLOG && rx_log_syslog(priorities[level], text) == 0;
}

void rx_log(enum rx_level level, const char *fmt, ...)
{
    static const char *const colours[] = { "\033[31m", "\033[33m", "\033[36m", "\033[2m" };
    char text[1024], line[2400], now[40];
    va_list ap;
    if (!rx_log_is(level))
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (told_system(level, text))
        return;
    int n;
    if (setup.format == RX_LOG_JSON) {
        char escaped[2048];
        json_text(escaped, sizeof escaped, text);
        now_text(now, sizeof now);
        n = snprintf(line, sizeof line, "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":\"%s\"}\n", now, level_words[level], escaped);
    } else if (is_terminal && setup.format == RX_LOG_AUTO) {
        n = snprintf(line, sizeof line, "%s%s\033[0m %s\n", colours[level], level_words[level], text);
    } else if (setup.format == RX_LOG_AUTO && message_fd == STDERR_FILENO && getenv("JOURNAL_STREAM")) {
        n = snprintf(line, sizeof line, "<%d>%s\n", priorities[level], text);
    } else {
        now_text(now, sizeof now);
        n = snprintf(line, sizeof line, "%s %s %s\n", now, level_words[level], text);
    }
    put(message_fd, is_message_file, line, RX_MIN((size_t)n, sizeof line - 1));
}

bool rx_log_pass(struct rx_log_gate *g, unsigned *dropped)
{
    unsigned long now = (unsigned long)(rx_now_ms() / 1000), was = atomic_load(&g->second);
    *dropped = 0;
    if (was != now && atomic_compare_exchange_strong(&g->second, &was, now)) {
        *dropped = atomic_exchange(&g->n_dropped, 0);
        atomic_store(&g->n, 0);
    }
    if (atomic_fetch_add(&g->n, 1) < 10)
        return true;
    atomic_fetch_add(&g->n_dropped, 1);
    return false;
}

char *rx_log_escape(const uint8_t *text, size_t len, char *buf, size_t size)
{
    size_t k = 0;
    for (size_t i = 0; i < len; i++) {
        if (k + 8 > size) {
            k += (size_t)snprintf(buf + k, size - k, "...");
            break;
        }
        if (text[i] > 0x20 && text[i] < 0x7f && text[i] != '"' && text[i] != '\\')
            buf[k++] = (char)text[i];
        else if (text[i] == ' ')
            buf[k++] = ' ';
        else
            k += (size_t)snprintf(buf + k, size - k, "\\x%02x", text[i]);
    }
    buf[RX_MIN(k, size - 1)] = 0;
    return buf;
}

// For text this program made or escaped: printable but for quotes and backslashes.
static size_t json_text(char *out, size_t size, const char *text)
{
    size_t k = 0;
    for (; *text && k + 8 < size; text++) {
        unsigned char ch = (unsigned char)*text;
        if (ch == '"' || ch == '\\')
            out[k++] = '\\', out[k++] = (char)ch;
        else if (ch < 0x20 || ch == 0x7f)
            k += (size_t)snprintf(out + k, size - k, "\\u%04x", ch);
        else
            out[k++] = (char)ch;
    }
    out[k] = 0;
    return k;
}

// ---- access lines -----------------------------------------------------------------------------------------------

int rx_access_open(enum rx_access_log mode, const char *file)
{
    bool is_tty = isatty(STDOUT_FILENO);
    if (access_fd > STDERR_FILENO)
        rx_log_file_close(access_fd);
    access_fd = -1;
    access_to = RX_ACCESS_OFF;
    if (mode == RX_ACCESS_AUTO)
        mode = is_tty ? RX_ACCESS_STDOUT : RX_ACCESS_OFF;
    if (mode == RX_ACCESS_STDOUT)
        access_fd = STDOUT_FILENO;
    else if (mode == RX_ACCESS_FILE) {
        int fd = rx_log_file_open(file);
        if (fd < 0)
            return fd;
        access_fd = fd;
    }
    access_to = mode;
    is_access_file = is_regular(access_fd);
    is_access_json = setup.format == RX_LOG_JSON;
    is_access_colour = access_fd == STDOUT_FILENO && is_tty && setup.format == RX_LOG_AUTO;
    return 0;
}

bool rx_access_is_on(void)
{
    return access_to != RX_ACCESS_OFF;
}

void rx_access_sample(uint32_t ppm)
{
    access_ppm = ppm;
}

static size_t told_add(char *buf, size_t k, size_t size, const char *name, const struct rx_text *t)
{
    char text[300];
    rx_log_escape(t->ptr, t->len, text, sizeof text);
    bool is_quoted = strchr(text, ' ') != NULL || !*text;
    int n = snprintf(buf + k, size - k, "%s%s=%s%s%s", k ? " " : "", name, is_quoted ? "\"" : "", text,
                     is_quoted ? "\"" : "");
    if (k + (size_t)n < size)
        return k + (size_t)n;
    buf[k] = 0;
    return k;
}

static struct rx_text first_alpn(const struct rx_facts *f)
{
    if (!f->alpn.len || f->alpn.ptr[0] + 1u > f->alpn.len)
        return (struct rx_text){ 0 };
    return (struct rx_text){ f->alpn.ptr + 1, f->alpn.ptr[0] };
}

char *rx_told_new(const struct rx_decision *d)
{
    char buf[1200];
    size_t k = 0;
    const struct rx_facts *f = &d->facts;
    buf[0] = 0;
    static const uint32_t texts[] = { RX_FACT_SNI,  RX_FACT_METHOD,   RX_FACT_HOST, RX_FACT_PATH,
                                      RX_FACT_USER, RX_FACT_SOFTWARE, RX_FACT_QNAME };
    static const char *const names[] = { "sni", "method", "host", "path", "user", "software", "qname" };
    for (unsigned i = 0; i < RX_COUNT(texts); i++)
        if (f->have & texts[i])
            k = told_add(buf, k, sizeof buf, names[i], rx_fact_text(f, texts[i]));
    if (f->have & RX_FACT_ALPN) {
        struct rx_text alpn = first_alpn(f);
        k = told_add(buf, k, sizeof buf, "alpn", &alpn);
    }
    return k ? strdup(buf) : NULL;
}

const char *rx_conn_to_word(const struct rx_conn *c)
{
    if (!c->conf)
        return "-"; // turned away at the door
    if (c->backend)
        return c->backend->name;
    if (c->pool)
        return c->pool->name;
    if (c->to_kind > RX_TO_POOL)
        return rx_target_word(&(const struct rx_target){ .kind = c->to_kind });
    return rx_target_word(c->route ? &c->route->to : &c->listen->fallback_tcp);
}

const char *rx_conn_route_word(const struct rx_conn *c)
{
    if (!c->conf)
        return "-";
    if (c->route_was)
        return c->route_was;
    return c->route ? c->route->name : c->is_identified ? "identify" : "fallback";
}

static int text_line(const struct rx_conn *c, enum rx_reason why, char *line, size_t size)
{
    char client[RX_ADDR_TEXT], now[40], route[300], to[300];
    const char *dim = is_access_colour ? "\033[2m" : "", *bold = is_access_colour ? "\033[1m" : "";
    const char *off = is_access_colour ? "\033[0m" : "";
    now_text(now, sizeof now);
    rx_log_escape((const uint8_t *)rx_conn_route_word(c), strlen(rx_conn_route_word(c)), route, sizeof route);
    rx_log_escape((const uint8_t *)rx_conn_to_word(c), strlen(rx_conn_to_word(c)), to, sizeof to);
    const char *quote = strchr(to, ' ') ? "\"" : "";
    return snprintf(line, size,
                    "%s%s%s conn=%lx client=%s listen=%s protocol=%s%s%s%s%s route=\"%s\" to=%s%s%s in=%lu out=%lu "
                    "ms=%lu reason=%s%s%s\n",
                    dim, now, off, (unsigned long)c->id, rx_addr_print(&c->client.sa, client), c->listen->name, bold,
                    c->seen ? c->seen->name : "-", off, c->told ? " " : "", c->told ? c->told : "",
                    route, quote, to, quote, (unsigned long)c->bytes[RX_TO_SERVER],
                    (unsigned long)c->bytes[RX_TO_CLIENT], (unsigned long)(rx_now_ms() - c->start_ms), bold,
                    rx_reason_word(why), off);
}

static int json_line(const struct rx_conn *c, enum rx_reason why, char *line, size_t size)
{
    char client[RX_ADDR_TEXT], now[40], told[ACCESS_LINE / 2], route[300], to[300], listen[300], seen[100];
    now_text(now, sizeof now);
    json_text(told, sizeof told, c->told ? c->told : "");
    json_text(route, sizeof route, rx_conn_route_word(c));
    json_text(to, sizeof to, rx_conn_to_word(c));
    json_text(listen, sizeof listen, c->listen->name);
    json_text(seen, sizeof seen, c->seen ? c->seen->name : "null");
    return snprintf(line, size,
                    "{\"time\":\"%s\",\"conn\":\"%lx\",\"client\":\"%s\",\"listen\":\"%s\",\"protocol\":%s%s%s,"
                    "\"facts\":\"%s\",\"route\":\"%s\",\"to\":\"%s\",\"bytes_in\":%lu,\"bytes_out\":%lu,"
                    "\"ms\":%lu,\"reason\":\"%s\"}\n",
                    now, (unsigned long)c->id, rx_addr_print(&c->client.sa, client), listen,
                    c->seen ? "\"" : "", seen, c->seen ? "\"" : "", told, route, to,
                    (unsigned long)c->bytes[RX_TO_SERVER], (unsigned long)c->bytes[RX_TO_CLIENT],
                    (unsigned long)(rx_now_ms() - c->start_ms), rx_reason_word(why));
}

// The fields beside the line, for those who ask the journal for one of them.
static int to_journal(const struct rx_conn *c, enum rx_reason why, const char *line)
{
    char id[20], client[RX_ADDR_TEXT], in[24], out[24], ms[24];
    snprintf(id, sizeof id, "%lx", (unsigned long)c->id);
    snprintf(in, sizeof in, "%lu", (unsigned long)c->bytes[RX_TO_SERVER]);
    snprintf(out, sizeof out, "%lu", (unsigned long)c->bytes[RX_TO_CLIENT]);
    snprintf(ms, sizeof ms, "%lu", (unsigned long)(rx_now_ms() - c->start_ms));
    const struct rx_log_field fields[] = {
        { "MESSAGE", line },
        { "PRIORITY", "6" },
        { "CONN_ID", id },
        { "CLIENT", rx_addr_print(&c->client.sa, client) },
        { "LISTEN", c->listen->name },
        { "PROTOCOL", c->seen ? c->seen->name : "-" },
        { "FACTS", c->told ? c->told : "" },
        { "ROUTE", rx_conn_route_word(c) },
        { "BACKEND", rx_conn_to_word(c) },
        { "BYTES_IN", in },
        { "BYTES_OUT", out },
        { "DURATION_MS", ms },
        { "REASON", rx_reason_word(why) },
    };
    return rx_log_journal(fields, RX_COUNT(fields));
}

static void to_system(const struct rx_conn *c, enum rx_reason why)
{
    char line[ACCESS_LINE];
    int n = is_access_json ? json_line(c, why, line, sizeof line) : text_line(c, why, line, sizeof line);
    line[RX_MIN(n, ACCESS_LINE) - 1] = 0; // without the line end
    // They have a time of their own.
    const char *text = is_access_json ? line : strstr(line, "conn=");
    if ((access_to == RX_ACCESS_JOURNAL ? to_journal(c, why, text) : rx_log_syslog(6, text)) < 0)
        atomic_fetch_add_explicit(&n_lost, 1, memory_order_relaxed);
}

// By its id, scattered: ids count up.
static bool is_sampled(const struct rx_conn *c)
{
    return access_ppm >= 1000000 || (c->id * 0x9e3779b97f4a7c15u >> 32) * 1000000 >> 32 < access_ppm;
}

void rx_access_line(struct rx_conn *c, int why)
{
    struct rx_worker *w = c->worker;
    if (RX_LIKELY(access_to == RX_ACCESS_OFF) || !is_sampled(c))
        return;
    if (access_to == RX_ACCESS_JOURNAL || access_to == RX_ACCESS_SYSLOG) {
        to_system(c, (enum rx_reason)why);
        return;
    }
    if (!w->log_buf && !(w->log_buf = malloc(ACCESS_BUFFER)))
        return;
    if (w->log_len + ACCESS_LINE > ACCESS_BUFFER)
        rx_access_flush(w);
    char *line = w->log_buf + w->log_len;
    int n = is_access_json ? json_line(c, (enum rx_reason)why, line, ACCESS_LINE)
                           : text_line(c, (enum rx_reason)why, line, ACCESS_LINE);
    if (n >= ACCESS_LINE)
        line[(n = ACCESS_LINE) - 1] = '\n';
    w->log_len += (size_t)n;
}

void rx_access_flush(struct rx_worker *w)
{
    if (!w->log_len)
        return;
    put(access_fd, is_access_file, w->log_buf, w->log_len);
    w->log_len = 0;
}
