// SPDX-License-Identifier: MIT
// `refractium top`. Enters: an instance, and keys. Leaves: the screen as it was. It asks the instance for its busiest
// connections once a second, less often where looking at them takes so long that it would cost a worker more than one
// per cent of its time.
#include <errno.h>
#include <locale.h>
#include <ncurses.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "engine.h"
#include "log.h"
#include "wheel.h"

enum { EVERY_MS = 1000, SHARE = 100, HEAD_LINES = 4, LINE = 512, CTRL_L = 'L' - 64 };

struct top {
    struct rx_ctl *ctl;
    unsigned sort; // of sorts
    char filter[48];
    json_t *now;    // owned: the result shown; NULL: none yet
    json_t *last;   // owned: the one before
    uint64_t at_ms; // when `now` came
    char chosen[20]; // id of the chosen connection; "": none
    char said[160];  // last line
    bool is_paused, is_over;
    int code;
};

static const struct {
    int key;
    const char *word, *shown;
} sorts[] = { { 'r', "rate", "rate" }, { 'b', "bytes", "bytes" }, { 'a', "age", "age" }, { 'i', "idle", "idle" } };

static const json_t *flows_of(const struct top *t)
{
    return json_object_get(t->now, "flows");
}

// ---- asking -------------------------------------------------------------------------------------------------------

static void fetch(struct top *t, int limit)
{
    json_t *q = json_pack("{s:s,s:s,s:i}", "cmd", "top", "sort", sorts[t->sort].word, "limit", limit);
    if (t->filter[0])
        json_object_set_new(q, "filter", json_string(t->filter));
    json_t *answer = rx_ctl_ask(t->ctl, q);
    const json_t *result = answer ? rx_ctl_result(t->ctl, answer, &t->code) : NULL;
    t->at_ms = rx_now_ms();
    if (!result) {
        if (!answer)
            t->code = RX_EXIT_RUNTIME;
        t->is_over = true;
    } else {
        json_decref(t->last);
        t->last = t->now;
        t->now = json_incref((json_t *)result);
    }
    json_decref(answer);
}

static int pause_ms(const struct top *t)
{
    uint64_t took_ms = rx_ctl_number(t->now, "took_us") * SHARE / 1000;
    return (int)RX_MIN(RX_MAX(took_ms, (uint64_t)EVERY_MS), (uint64_t)60000);
}

// ---- words --------------------------------------------------------------------------------------------------------

static void show(const json_t *flow, const char *key, char *buf, size_t size)
{
    const char *text = rx_ctl_text(flow, key);
    rx_log_escape((const uint8_t *)(*text ? text : "-"), *text ? strlen(text) : 1, buf, size);
}

static void show_rtt(const json_t *flow, char buf[16])
{
    uint64_t us = rx_ctl_number(flow, "rtt_client_us");
    if (!us)
        snprintf(buf, 16, "-");
    else
        snprintf(buf, 16, us < 10000 ? "%.1fms" : "%.0fms", (double)us / 1000);
}

static const char *pump_of(const json_t *flow)
{
    bool in = !strcmp(rx_ctl_text(flow, "pump_in"), "splice"), out = !strcmp(rx_ctl_text(flow, "pump_out"), "splice");
    const char *room = rx_ctl_text(flow, "room");
    if (!strcmp(room, "peek") || !strcmp(room, "connect") || !strcmp(room, "answer"))
        return room;
    return in && out ? "splice" : in ? "splice/copy" : out ? "copy/splice" : "copy";
}

static const char columns[] = "CONN        CLIENT                 PROTOCOL   ROUTE            TO                   PUMP"
                              "          IN/s  OUT/s     IN    OUT    AGE   IDLE    RTT";

static void flow_line(const json_t *f, char *line)
{
    char conn[24], client[64], proto[24], route[48], to[64], in[16], out[16], sum_in[16], sum_out[16], age[16], idle[16];
    char rtt[16];
    show(f, "conn", conn, sizeof conn);
    show(f, "client", client, sizeof client);
    show(f, "protocol", proto, sizeof proto);
    show(f, "route", route, sizeof route);
    show(f, "to", to, sizeof to);
    show_rtt(f, rtt);
    snprintf(line, LINE, "%-11s %-22s %-10.10s %-16.16s %-20.20s %-11s %6s %6s %6s %6s %6s %6s %6s", conn, client, proto,
             route, to, pump_of(f), rx_ctl_bytes(rx_ctl_number(f, "rate_in"), in),
             rx_ctl_bytes(rx_ctl_number(f, "rate_out"), out), rx_ctl_bytes(rx_ctl_number(f, "bytes_in"), sum_in),
             rx_ctl_bytes(rx_ctl_number(f, "bytes_out"), sum_out), rx_ctl_span(rx_ctl_number(f, "age_ms"), age),
             rx_ctl_span(rx_ctl_number(f, "idle_ms"), idle), rtt);
}

// What a count of the totals grew by in a second.
static uint64_t growth(const struct top *t, const char *key)
{
    const json_t *now = json_object_get(t->now, "totals"), *last = json_object_get(t->last, "totals");
    uint64_t ms = rx_ctl_number(t->now, "uptime_ms") - rx_ctl_number(t->last, "uptime_ms");
    return last && ms ? (rx_ctl_number(now, key) - rx_ctl_number(last, key)) * 1000 / ms : 0;
}

static void head_line(const struct top *t, char *line)
{
    char up[16], in[16], out[16];
    const json_t *totals = json_object_get(t->now, "totals");
    snprintf(line, LINE, "refractium, up %s: %lu connections, %lu/s new; %s/s in, %s/s out",
             rx_ctl_span(rx_ctl_number(t->now, "uptime_ms"), up), (unsigned long)rx_ctl_number(totals, "active"),
             (unsigned long)growth(t, "accepted"), rx_ctl_bytes(growth(t, "bytes_in"), in),
             rx_ctl_bytes(growth(t, "bytes_out"), out));
}

static void closed_line(const struct top *t, char *line)
{
    const char *word, *glue = "closed: ";
    json_t *n;
    size_t k = 0;
    line[0] = 0;
    json_object_foreach(json_object_get(json_object_get(t->now, "totals"), "closed"), word, n) {
        k += (size_t)snprintf(line + k, LINE - k, "%s%.40s %lu", glue, word, (unsigned long)json_integer_value(n));
        if (k >= LINE)
            return;
        glue = ", ";
    }
}

static void state_line(const struct top *t, char *line)
{
    snprintf(line, LINE, "by %s%s%s%s; %lu of them match", sorts[t->sort].shown, t->filter[0] ? ", with \"" : "",
             t->filter, t->filter[0] ? "\"" : "", (unsigned long)rx_ctl_number(t->now, "matching"));
}

// ---- the screen -----------------------------------------------------------------------------------------------------

static void put_line(int y, const char *text, int look)
{
    attrset(look);
    mvaddnstr(y, 0, text, COLS);
    clrtoeol();
    attrset(A_NORMAL);
}

static void draw(const struct top *t)
{
    char line[LINE];
    size_t i;
    json_t *f;
    erase();
    head_line(t, line);
    put_line(0, line, A_BOLD);
    closed_line(t, line);
    put_line(1, line, A_NORMAL);
    state_line(t, line);
    put_line(2, line, A_NORMAL);
    put_line(3, columns, A_REVERSE);
    json_array_foreach(flows_of(t), i, f) {
        if ((int)i + HEAD_LINES >= LINES - 1)
            break;
        flow_line(f, line);
        put_line((int)i + HEAD_LINES, line, !strcmp(rx_ctl_text(f, "conn"), t->chosen) ? A_STANDOUT : A_NORMAL);
    }
    put_line(LINES - 1, t->said[0] ? t->said : "q quit  r/b/a/i sort by rate, bytes, age, idle  / filter  up/down choose"
                                               "  k kill  p pause", A_DIM);
    refresh();
}

static void choose(struct top *t, int step)
{
    size_t n = json_array_size(flows_of(t)), at = 0, i;
    json_t *f;
    bool is_found = false;
    json_array_foreach(flows_of(t), i, f)
        if (!strcmp(rx_ctl_text(f, "conn"), t->chosen)) {
            at = i;
            is_found = true;
        }
    if (!n)
        return;
    if (is_found && step < 0 && at)
        at--;
    else if (is_found && step > 0 && at + 1 < n)
        at++;
    snprintf(t->chosen, sizeof t->chosen, "%s", rx_ctl_text(json_array_get(flows_of(t), at), "conn"));
}

// Reads a line at the bottom; false when it was given up (Escape).
static bool read_text(const char *prompt, char *buf, size_t size)
{
    char line[LINE], typed[48] = "";
    size_t len = 0;
    for (;;) {
        snprintf(line, sizeof line, "%s%s_", prompt, typed);
        put_line(LINES - 1, line, A_NORMAL);
        refresh();
        timeout(-1);
        int key = getch();
        if (key == 27 || key == ERR)
            return false;
        if (key == CTRL_L)
            redrawwin(stdscr);
        if (key == '\n' || key == KEY_ENTER)
            break;
        if ((key == KEY_BACKSPACE || key == 127 || key == 8) && len)
            typed[--len] = 0;
        else if (key >= 0x20 && key < 0x7f && len + 1 < RX_MIN(sizeof typed, size)) {
            typed[len++] = (char)key;
            typed[len] = 0;
        }
    }
    memcpy(buf, typed, len + 1);
    return true;
}

static void kill_chosen(struct top *t)
{
    char prompt[64], answer[8] = "";
    if (!t->chosen[0]) {
        snprintf(t->said, sizeof t->said, "choose one first, by up and down");
        return;
    }
    snprintf(prompt, sizeof prompt, "end connection %s? (y) ", t->chosen);
    if (!read_text(prompt, answer, sizeof answer) || strcmp(answer, "y"))
        return;
    json_t *got = rx_ctl_ask(t->ctl, json_pack("{s:s,s:s}", "cmd", "kill", "conn", t->chosen));
    bool is_done = json_is_true(json_object_get(got, "ok"));
    snprintf(t->said, sizeof t->said, "%s: %.120s", t->chosen, is_done ? "ended" : rx_ctl_text(got, "error"));
    if (!got) {
        t->is_over = true;
        t->code = RX_EXIT_RUNTIME;
    }
    json_decref(got);
}

// True when another view is asked for.
static bool on_key(struct top *t, int key)
{
    if (key != ERR && key != CTRL_L)
        t->said[0] = 0;
    for (unsigned i = 0; i < RX_COUNT(sorts); i++)
        if (key == sorts[i].key) {
            t->sort = i;
            return true;
        }
    switch (key) {
    case 'q':
    case 'Q':
        t->is_over = true;
        return false;
    case '/':
        return read_text("show only what has: ", t->filter, sizeof t->filter);
    case CTRL_L: // something else wrote on this terminal
        redrawwin(stdscr);
        return false;
    case KEY_UP:
        choose(t, -1);
        return false;
    case KEY_DOWN:
        choose(t, 1);
        return false;
    case 'k':
        kill_chosen(t);
        return !t->is_over;
    case 'p':
        t->is_paused = !t->is_paused;
        if (t->is_paused)
            snprintf(t->said, sizeof t->said, "paused; p goes on");
        return false;
    default:
        return false;
    }
}

// How long keys may be waited for until the next look is due.
static int left_ms(const struct top *t)
{
    uint64_t due = t->at_ms + (uint64_t)pause_ms(t), now = rx_now_ms();
    return t->is_paused ? EVERY_MS : due > now ? (int)(due - now) : 0;
}

static int on_screen(struct top *t)
{
    setlocale(LC_CTYPE, "");
    SCREEN *screen = newterm(NULL, stdout, stdin);
    if (!screen) {
        fprintf(stderr, "refractium top: this terminal is unknown (TERM=%s)\n", getenv("TERM") ? getenv("TERM") : "");
        return RX_EXIT_USAGE;
    }
    cbreak();
    noecho();
    keypad(stdscr, TRUE);
    set_escdelay(50);
    curs_set(0);
    fetch(t, RX_MAX(LINES, HEAD_LINES + 1));
    while (!t->is_over) {
        draw(t);
        timeout(left_ms(t));
        bool is_new = on_key(t, getch()); // a changed size comes as a key, too
        if (!t->is_over && (is_new || (!t->is_paused && !left_ms(t))))
            fetch(t, RX_MAX(LINES, HEAD_LINES + 1));
    }
    endwin();
    delscreen(screen);
    if (t->code)
        fprintf(stderr, "refractium top: the instance has gone\n");
    return t->code;
}

// ---- without a screen -----------------------------------------------------------------------------------------------

static int print_once(struct top *t, bool is_json)
{
    char line[LINE];
    size_t i;
    json_t *f;
    fetch(t, 500); // from which rates are measured
    if (!t->is_over) {
        poll(NULL, 0, EVERY_MS);
        fetch(t, 500);
    }
    if (t->is_over)
        return t->code;
    if (is_json)
        return json_dumpf(t->now, stdout, JSON_COMPACT) || putchar('\n') == EOF || fflush(stdout) ? RX_EXIT_RUNTIME
                                                                                                  : RX_EXIT_OK;
    head_line(t, line);
    puts(line);
    closed_line(t, line);
    if (line[0])
        puts(line);
    puts(columns);
    json_array_foreach(flows_of(t), i, f) {
        flow_line(f, line);
        puts(line);
    }
    return fflush(stdout) ? RX_EXIT_RUNTIME : RX_EXIT_OK;
}

int rx_ctl_top(struct rx_ctl *c, const struct rx_args *a)
{
    struct top t = { .ctl = c };
    bool is_screen = !a->is_json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    int code = is_screen ? on_screen(&t) : print_once(&t, a->is_json);
    json_decref(t.now);
    json_decref(t.last);
    return code;
}
