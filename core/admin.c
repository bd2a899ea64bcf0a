// SPDX-License-Identifier: MIT
// Enters: clients of the admin socket and their lines. Leaves: one line for each, in their order.
// Only the program's own user and root are answered. Everything a client can make us hold is bounded: how many there
// are, a line, one answer at a time; who sends no request for IDLE_S, or does not take its answer for SLOW_S, is
// dropped.
#include "admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_client.h"
#include "sys.h"
#include "upgrade.h"

enum { IDLE_S = 120, SLOW_S = 10, AGAIN_S = 1 };

// ---- a client -----------------------------------------------------------------------------------------------------

static void client_free(struct rx_admin_client *c)
{
    rx_admin_forget(c);
    ev_io_stop(c->admin->loop, &c->io);
    ev_timer_stop(c->admin->loop, &c->patience);
    close(c->io.fd);
    c->prev->next = c->next;
    c->next->prev = c->prev;
    c->admin->n_clients--;
    free(c->out);
    free(c);
}

static void client_watch(struct rx_admin_client *c, int events, int patience_s)
{
    struct ev_loop *loop = c->admin->loop;
    ev_io_stop(loop, &c->io);
    ev_io_set(&c->io, c->io.fd, events);
    if (events)
        ev_io_start(loop, &c->io);
    c->patience.repeat = patience_s;
    ev_timer_again(loop, &c->patience); // stops it when 0
}

void rx_admin_answer(struct rx_admin_client *c, struct rx_json *j)
{
    static const char sorry[] = "{\"ok\":false,\"error\":\"out of memory\"}\n";
    c->is_waiting = false;
    c->out_at = 0;
    if (rx_json_take(j, &c->out, &c->out_len)) {
        c->out = strdup(sorry);
        c->out_len = c->out ? sizeof sorry - 1 : 0;
        c->is_last = true;
    }
    client_watch(c, EV_WRITE, SLOW_S);
}

void rx_admin_refuse(struct rx_admin_client *c, const char *error)
{
    struct rx_json j = { 0 };
    rx_json_open(&j, '{');
    rx_json_key(&j, "ok");
    rx_json_bool(&j, false);
    rx_json_key(&j, "error");
    rx_json_string(&j, error);
    rx_json_close(&j);
    rx_admin_answer(c, &j);
}

// The first line there is becomes a request. False when there is none.
static bool take_line(struct rx_admin_client *c)
{
    char error[RX_REQUEST_ERROR];
    struct rx_request r;
    char *end = memchr(c->in, '\n', c->in_len);
    if (!end && c->in_len > RX_REQUEST_LINE) {
        c->is_last = true;
        rx_admin_refuse(c, "a request may have at most 4096 bytes");
        return true;
    }
    if (!end)
        return false;
    size_t len = (size_t)(end - c->in);
    int rc = rx_request_parse(c->in, len, &r, error);
    c->in_len -= len + 1;
    memmove(c->in, end + 1, c->in_len);
    c->is_waiting = true;
    if (rc)
        rx_admin_refuse(c, error);
    else
        rx_admin_do(c, &r);
    return true;
}

// Between requests: the next line, the end, or more bytes.
static void client_next(struct rx_admin_client *c)
{
    if (c->is_last) {
        client_free(c);
    } else if (take_line(c)) {
        if (c->is_waiting)
            client_watch(c, 0, 0);
    } else if (c->is_eof) {
        client_free(c);
    } else {
        client_watch(c, EV_READ, IDLE_S);
    }
}

static void client_read(struct rx_admin_client *c)
{
    size_t n;
    switch (rx_sys_recv(c->io.fd, c->in + c->in_len, sizeof c->in - c->in_len, &n)) {
    case RX_IO_DONE:
        c->in_len += n;
        break;
    case RX_IO_AGAIN:
        return;
    case RX_IO_EOF:
        c->is_eof = true;
        break;
    case RX_IO_FAIL:
        client_free(c);
        return;
    }
    client_next(c);
}

static void client_write(struct rx_admin_client *c)
{
    size_t n = 0;
    switch (rx_sys_send(c->io.fd, c->out + c->out_at, c->out_len - c->out_at, &n)) {
    case RX_IO_DONE:
        c->out_at += n;
        break;
    case RX_IO_AGAIN:
        return;
    case RX_IO_EOF:
    case RX_IO_FAIL:
        client_free(c);
        return;
    }
    if (c->out_at < c->out_len) {
        ev_timer_again(c->admin->loop, &c->patience);
        return;
    }
    free(c->out);
    c->out = NULL;
    client_next(c);
}

static void client_on_io(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct rx_admin_client *c = RX_CONTAINER(io, struct rx_admin_client, io);
    if (events & EV_ERROR)
        client_free(c);
    else if (c->out && events & EV_WRITE)
        client_write(c);
    else if (!c->out && events & EV_READ)
        client_read(c);
}

static void client_on_impatient(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    client_free(RX_CONTAINER(t, struct rx_admin_client, patience));
}

// ---- the socket ---------------------------------------------------------------------------------------------------

static bool may_ask(int fd)
{
    struct ucred who;
    socklen_t len = sizeof who;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && (who.uid == 0 || who.uid == geteuid());
}

static void admin_on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    struct rx_admin *a = io->data;
    int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (events & EV_ERROR)
        ev_timer_again(loop, &a->again);
    if (fd == -1 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
        ev_io_stop(loop, io); // rests until descriptors are there again
        ev_timer_again(loop, &a->again);
    }
    if (fd == -1)
        return;
    struct rx_admin_client *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    c->admin = a;
    c->next = a->clients.next;
    c->prev = &a->clients;
    c->next->prev = a->clients.next = c;
    a->n_clients++;
    ev_io_init(&c->io, client_on_io, fd, EV_READ);
    ev_timer_init(&c->patience, client_on_impatient, 0., 0.);
    bool is_one_of_us = may_ask(fd);
    if (is_one_of_us && a->n_clients <= RX_ADMIN_CLIENTS) {
        client_watch(c, EV_READ, IDLE_S);
        return;
    }
    c->is_last = true;
    rx_admin_refuse(c, is_one_of_us ? "too many clients" : "permission denied");
}

// Somebody else has the place, or descriptors ran out: once more.
static void admin_on_again(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)events;
    struct rx_admin *a = t->data;
    if (a->place.fd < 0) {
        if (rx_admin_place_open(&a->place))
            return;
        rx_log(RX_LOG_INFO, "admin socket %s", a->place.path);
        ev_io_set(&a->io, a->place.fd, EV_READ);
    }
    ev_timer_stop(loop, t);
    ev_io_start(loop, &a->io);
}

static void tell_failure(const struct rx_admin *a, int err)
{
    const char *why = err == EADDRINUSE ? "another instance serves it" : strerror(err);
    rx_log(RX_LOG_WARN, "no admin socket at %s: %s", a->place.path, why);
}

struct rx_admin *rx_admin_new(struct ev_loop *loop, const struct rx_instance *i)
{
    struct rx_admin *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    int rc = rx_admin_place_choose(&a->place, i);
    if (rc > 0) {
        free(a);
        return NULL;
    }
    a->loop = loop;
    a->about = i;
    a->clients.next = a->clients.prev = &a->clients;
    rx_rounds_init(&a->rounds, loop, i);
    i->reload->ear = (struct rx_reload_ear){ rx_admin_on_finding, rx_admin_on_outcome, a };
    i->upgrade->ear = (struct rx_upgrade_ear){ rx_admin_on_upgrade_finding, rx_admin_on_upgraded, a };
    bool is_chosen = !rc;
    if (is_chosen)
        rc = rx_admin_place_open(&a->place);
    ev_io_init(&a->io, admin_on_readable, a->place.fd, EV_READ);
    ev_timer_init(&a->again, admin_on_again, 0., AGAIN_S);
    a->io.data = a->again.data = a;
    if (rc)
        tell_failure(a, -rc);
    if (!rc)
        ev_io_start(loop, &a->io);
    else if (is_chosen)
        ev_timer_again(loop, &a->again);
    return a;
}

void rx_admin_leave(struct rx_admin *a)
{
    if (!a)
        return;
    ev_io_stop(a->loop, &a->io);
    ev_timer_stop(a->loop, &a->again);
    rx_admin_place_close(&a->place);
}

int rx_admin_socket(const struct rx_admin *a, struct rx_bind *bind)
{
    *bind = a->place.bind;
    return a->place.fd;
}

void rx_admin_hand_on(struct rx_admin *a)
{
    if (a)
        a->place.bind.file.inode = 0;
    rx_admin_leave(a);
}

bool rx_admin_is_busy(const struct rx_admin *a)
{
    for (const struct rx_admin_client *c = a ? a->clients.next : NULL; c && c != &a->clients; c = c->next)
        if (c->is_waiting || c->out)
            return true;
    return false;
}

void rx_admin_free(struct rx_admin *a)
{
    if (!a)
        return;
    rx_admin_leave(a);
    while (a->clients.next != &a->clients)
        client_free(a->clients.next);
    a->about->reload->ear = (struct rx_reload_ear){ 0 };
    a->about->upgrade->ear = (struct rx_upgrade_ear){ 0 };
    rx_rounds_fini(&a->rounds);
    rx_findings_free(&a->findings);
    rx_findings_free(&a->news);
    free(a);
}
