// SPDX-License-Identifier: MIT
// Room ANSWER: connections this program serves itself, because their route names no backend: respond, describe,
// echo and tarpit.
// Enters: a connection, a target that is an action, and the first bytes. Leaves: closed.
//
// Invariants
//  * While something is still to be sent the client is not read: nothing here grows with what a client sends.
//  * After the last word our side is half-closed and what the client still sends is read and thrown away, for a
//    bounded time and length: closing with unread bytes would make the kernel send a reset, and a reset may destroy
//    the answer before the client has read it (RFC 1122 4.2.2.13).
//  * A connection in the tarpit has no rx_answer and no watcher: bytes it does not read would wake a
//    level-triggered loop for ever. It looks after itself when its deadline fires.
//
// Deliberately not done: keeping a connection for a second answer.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "describe.h"
#include "hook.h"
#include "sys.h"
#include "worker.h"

enum {
    TALK_MS = 10 * 1000,     // a description, from its first byte to its last
    STUCK_MS = 10 * 1000,    // a client that takes nothing of its answer
    DRAIN_MS = 2 * 1000,     // reading on after the last word
    DRAIN_MAX = 1024 * 1024, // bytes of that
    TARPIT_MS = 10 * 1000,   // between two looks at a connection in the tarpit
    TARPIT_SIP = 16,         // bytes read at each
    TURNS = 4,               // reads one event may do
};

enum phase {
    TALKING,  // a description is under way; what is said so far may not be the last word
    LEAVING,  // the last word is being sent
    DRAINING, // it was sent
    ECHOING,
};

struct rx_answer {
    enum phase phase;
    const uint8_t *say; // borrowed: from the config, the talk, or `rest`
    size_t say_len;
    uint8_t *rest;        // what a client has not taken of an echo or a text: owned
    struct rx_talk *talk; // describe: owned
    uint64_t until_ms;    // when a talk is over whatever happens
    size_t drained;
};

void rx_answer_free(struct rx_answer *a)
{
    if (!a)
        return;
    if (a->talk)
        rx_talk_fini(a->talk);
    free(a->talk);
    free(a->rest);
    free(a);
}

static uint32_t idle_ms(const struct rx_conn *c)
{
    return c->route ? c->route->idle_ms : c->listen->idle_ms;
}

static void count(struct rx_conn *c, enum rx_direction dir, size_t n)
{
    c->active_ms = rx_now_ms();
    rx_conn_count(c, dir, n);
}

static enum rx_io hear(struct rx_conn *c, uint8_t *buf, size_t size, size_t *n)
{
    enum rx_io io = rx_sys_recv(c->ends[RX_CLIENT].io.fd, buf, size, n);
    if (io == RX_IO_DONE) {
        count(c, RX_TO_SERVER, *n);
        if (c->hooked)
            rx_hook_data(c, RX_TO_SERVER, buf, *n);
    }
    return io;
}

// Sends what is to be said. False: it waits for the client to take more, or the connection is closed.
static bool say(struct rx_conn *c)
{
    struct rx_answer *a = c->answer;
    while (a->say_len) {
        size_t n;
        switch (rx_sys_send(c->ends[RX_CLIENT].io.fd, a->say, a->say_len, &n)) {
        case RX_IO_DONE:
            count(c, RX_TO_CLIENT, n);
            if (c->hooked)
                rx_hook_data(c, RX_TO_CLIENT, a->say, n);
            a->say += n;
            a->say_len -= n;
            break;
        case RX_IO_AGAIN:
            rx_conn_watch(c, RX_CLIENT, EV_WRITE);
            if (a->phase != ECHOING)
                rx_conn_deadline(c, STUCK_MS);
            return false;
        case RX_IO_EOF:
        case RX_IO_FAIL:
            rx_close(c, RX_REASON_CLIENT_RESET);
            return false;
        }
    }
    return true;
}

// ---- the end of an answer ---------------------------------------------------------------------------------------

static void drain(struct rx_conn *c)
{
    for (int turn = 0; turn < TURNS; turn++) {
        size_t n;
        enum rx_io io = hear(c, c->worker->buffer, RX_WORKER_BUFFER, &n);
        if (io == RX_IO_AGAIN)
            return;
        c->answer->drained += n;
        if (io != RX_IO_DONE || c->answer->drained > DRAIN_MAX) { // a reset no longer harms: all was sent
            rx_close(c, RX_REASON_ANSWERED);
            return;
        }
    }
}

static void leave(struct rx_conn *c)
{
    struct rx_answer *a = c->answer;
    a->phase = LEAVING;
    if (!say(c))
        return;
    if (c->dir[RX_TO_SERVER].is_eof) {
        rx_close(c, RX_REASON_ANSWERED);
        return;
    }
    a->phase = DRAINING;
    if (a->talk)
        rx_talk_fini(a->talk); // may be much, and is needed no more
    shutdown(c->ends[RX_CLIENT].io.fd, SHUT_WR);
    rx_conn_deadline(c, DRAIN_MS);
    rx_conn_watch(c, RX_CLIENT, EV_READ);
}

// ---- describe ---------------------------------------------------------------------------------------------------

// What the talk has said goes out; then it is over, or the client's turn.
static void talk_on(struct rx_conn *c, bool is_last)
{
    struct rx_answer *a = c->answer;
    struct rx_talk *t = a->talk;
    if (t->in.is_short || t->out.is_short) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    a->say = t->out.ptr;
    a->say_len = t->out.len;
    if (is_last) {
        leave(c);
        return;
    }
    if (!say(c))
        return;
    t->out.len = 0;
    uint64_t now = rx_now_ms();
    rx_conn_deadline(c, now < a->until_ms ? (uint32_t)RX_MIN(a->until_ms - now, (uint64_t)t->patience_ms) : 0);
    rx_conn_watch(c, RX_CLIENT, EV_READ);
}

static void talk_end(struct rx_conn *c)
{
    rx_talk_end(c->answer->talk);
    talk_on(c, true);
}

static void talk_on_readable(struct rx_conn *c)
{
    size_t n;
    switch (hear(c, c->worker->buffer, RX_WORKER_BUFFER, &n)) {
    case RX_IO_AGAIN:
        return;
    case RX_IO_EOF:
        c->dir[RX_TO_SERVER].is_eof = true;
        talk_end(c);
        return;
    case RX_IO_FAIL:
        rx_close(c, RX_REASON_CLIENT_RESET);
        return;
    case RX_IO_DONE:
        talk_on(c, rx_talk_hear(c->answer->talk, c->worker->buffer, n));
        return;
    }
}

static struct rx_about about_of(const struct rx_conn *c, uint32_t len)
{
    const struct rx_known *seen = c->seen && !c->seen->is_any && !c->seen->is_silent ? c->seen : NULL;
    uint32_t peek_ms = c->listen->peek_ms;
    struct rx_about about = {
        .def = seen ? seen->def : NULL,
        .name = seen ? seen->name : NULL,
        .route = c->route ? c->route->name : NULL,
        .listener = c->listen->name,
        .scratch = c->worker->scratch,
    };
    // A first route of rx.any takes clients before they can say anything; only who was waited for is silent.
    if (!len && (!c->seen || !c->seen->is_any || rx_now_ms() - c->start_ms >= peek_ms))
        about.silent_ms = peek_ms;
    rx_addr_print(&c->client.sa, about.client);
    return about;
}

size_t rx_answer_datagram(struct rx_conn *c, const struct rx_decision *d, const uint8_t *p, uint32_t len, uint8_t *out,
                          size_t size)
{
    struct rx_about about = about_of(c, len);
    if (d->seen && d->seen->def && d->seen->def->facts & RX_FACT_QNAME)
        return rx_describe_dns(&about, p, len, out, size);
    struct rx_talk talk;
    char line[RX_TALK_LINE];
    rx_talk_init(&talk, &about, d->seen ? &d->facts : NULL);
    int n = snprintf((char *)out, size, "%s\n", rx_talk_line(&talk, line));
    rx_talk_fini(&talk);
    return RX_MIN((size_t)n, size - 1);
}

static void talk_begin(struct rx_conn *c, const struct rx_facts *f, const uint8_t *head, uint32_t len)
{
    struct rx_answer *a = c->answer;
    struct rx_about about = about_of(c, len);
    a->talk = malloc(sizeof *a->talk);
    if (!a->talk) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    a->phase = TALKING;
    a->until_ms = rx_now_ms() + TALK_MS;
    rx_talk_init(a->talk, &about, f);
    bool is_last = rx_talk_hear(a->talk, head, len);
    rx_conn_drop_head(c);
    if (!is_last && c->dir[RX_TO_SERVER].is_eof) {
        rx_talk_end(a->talk);
        is_last = true;
    }
    talk_on(c, is_last);
}

// ---- echo -------------------------------------------------------------------------------------------------------

// Keeps what the client did not take back yet; false when memory ran out and the connection is closed.
static bool keep_rest(struct rx_conn *c)
{
    struct rx_answer *a = c->answer;
    uint8_t *rest = malloc(a->say_len);
    if (!rest) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return false;
    }
    memcpy(rest, a->say, a->say_len);
    free(a->rest);
    a->rest = rest;
    a->say = rest;
    return true;
}

// False: it waits, or the connection is closed.
static bool echo_say(struct rx_conn *c, const uint8_t *bytes, size_t len)
{
    struct rx_answer *a = c->answer;
    a->say = bytes;
    a->say_len = len;
    if (say(c))
        return true;
    if (c->room != RX_ROOM_DEAD)
        keep_rest(c);
    return false;
}

static void echo_on_readable(struct rx_conn *c)
{
    uint8_t *buf = c->worker->buffer;
    for (int turn = 0; turn < TURNS; turn++) {
        size_t n;
        switch (hear(c, buf, RX_WORKER_BUFFER, &n)) {
        case RX_IO_AGAIN:
            return;
        case RX_IO_EOF:
            rx_close(c, RX_REASON_DONE); // nothing is owed: it is not read while something is
            return;
        case RX_IO_FAIL:
            rx_close(c, RX_REASON_CLIENT_RESET);
            return;
        case RX_IO_DONE:
            break;
        }
        if (!echo_say(c, buf, n) || n < RX_WORKER_BUFFER)
            return;
    }
}

// All that was owed has been sent.
static void echo_on(struct rx_conn *c)
{
    free(c->answer->rest);
    c->answer->rest = NULL;
    if (c->dir[RX_TO_SERVER].is_eof)
        rx_close(c, RX_REASON_DONE);
    else
        rx_conn_watch(c, RX_CLIENT, EV_READ);
}

static void echo_begin(struct rx_conn *c, const uint8_t *head, uint32_t len)
{
    c->answer->phase = ECHOING;
    rx_conn_deadline(c, idle_ms(c));
    bool is_sent = echo_say(c, head, len);
    if (c->room == RX_ROOM_DEAD)
        return;
    rx_conn_drop_head(c);
    if (is_sent)
        echo_on(c);
}

// ---- tarpit -----------------------------------------------------------------------------------------------------

// c->active_ms is when it fell in: what it says does not prolong its stay.
static void tarpit_wait(struct rx_conn *c)
{
    uint64_t spent = rx_now_ms() - c->active_ms;
    if (spent >= idle_ms(c))
        rx_close(c, RX_REASON_IDLE_TIMEOUT);
    else
        rx_conn_deadline(c, (uint32_t)RX_MIN(idle_ms(c) - spent, (uint64_t)TARPIT_MS));
}

static void tarpit_look(struct rx_conn *c)
{
    uint8_t sip[TARPIT_SIP];
    size_t n;
    // Its end would stand behind bytes that are not read; this sees it all the same.
    struct pollfd end = { .fd = c->ends[RX_CLIENT].io.fd, .events = POLLRDHUP };
    if (poll(&end, 1, 0) == 1) {
        rx_close(c, end.revents & (POLLERR | POLLHUP) ? RX_REASON_CLIENT_RESET : RX_REASON_CLIENT_GONE);
        return;
    }
    if (rx_sys_recv(end.fd, sip, sizeof sip, &n) == RX_IO_DONE)
        rx_conn_count(c, RX_TO_SERVER, n);
    tarpit_wait(c);
}

static void tarpit_begin(struct rx_conn *c)
{
    int least = 1; // the kernel makes that its minimum
    rx_conn_watch(c, RX_CLIENT, 0);
    rx_conn_drop_head(c);
    setsockopt(c->ends[RX_CLIENT].io.fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    c->active_ms = rx_now_ms();
    tarpit_wait(c);
}

// ---- the room ---------------------------------------------------------------------------------------------------

static void on_sent(struct rx_conn *c)
{
    switch (c->answer->phase) {
    case TALKING:
        c->answer->talk->out.len = 0;
        talk_on(c, false);
        return;
    case LEAVING:
        leave(c);
        return;
    case ECHOING:
        echo_on(c);
        return;
    case DRAINING:
        return;
    }
}

static void answer_on_client(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct rx_conn *c = RX_CONTAINER(io, struct rx_conn, ends[RX_CLIENT].io);
    struct rx_answer *a = c->answer;
    if (RX_UNLIKELY(events & EV_ERROR)) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    if (!a)
        return;
    if (a->say_len) {
        if (say(c))
            on_sent(c);
        return;
    }
    switch (a->phase) {
    case TALKING:
        talk_on_readable(c);
        return;
    case ECHOING:
        echo_on_readable(c);
        return;
    case DRAINING:
        drain(c);
        return;
    case LEAVING:
        return;
    }
}

void rx_answer_begin(struct rx_conn *c, const struct rx_target *to, const struct rx_facts *f, const uint8_t *head,
                     uint32_t len)
{
    c->room = RX_ROOM_ANSWER;
    ev_set_cb(&c->ends[RX_CLIENT].io, answer_on_client);
    count(c, RX_TO_SERVER, len);
    if (c->hooked) {
        rx_hook_open(c);
        rx_hook_data(c, RX_TO_SERVER, head, len);
    }
    if (to->kind == RX_TO_TARPIT) {
        tarpit_begin(c);
        return;
    }
    c->answer = calloc(1, sizeof *c->answer);
    if (!c->answer) {
        rx_close(c, RX_REASON_NO_MEMORY);
        return;
    }
    if (to->kind == RX_TO_ECHO) {
        echo_begin(c, head, len);
    } else if (to->kind == RX_TO_DESCRIBE) {
        talk_begin(c, f, head, len);
    } else {
        rx_conn_drop_head(c);
        c->answer->say = (const uint8_t *)to->text;
        c->answer->say_len = to->text_len;
        leave(c);
        if (c->room != RX_ROOM_DEAD && c->answer->say_len) // a function's text is gone with the next one's
            keep_rest(c);
    }
}

void rx_answer_on_deadline(struct rx_conn *c)
{
    struct rx_answer *a = c->answer;
    if (!a) {
        tarpit_look(c);
        return;
    }
    if (a->phase == ECHOING) {
        uint64_t idle = rx_now_ms() - c->active_ms;
        if (idle >= idle_ms(c))
            rx_close(c, RX_REASON_IDLE_TIMEOUT);
        else
            rx_conn_deadline(c, (uint32_t)(idle_ms(c) - idle));
        return;
    }
    if (a->say_len) // it has stopped reading
        rx_close(c, RX_REASON_IDLE_TIMEOUT);
    else if (a->phase == TALKING)
        talk_end(c);
    else
        rx_close(c, RX_REASON_ANSWERED);
}
