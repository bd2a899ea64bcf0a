// SPDX-License-Identifier: MIT
// c-ares on a loop: its sockets as watchers, its time-outs as one timer. Enters: questions, asked by the user on the
// channel. Leaves: their answers, by c-ares' callbacks, on this loop.
#include "asker.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"

enum { ASK_MS = 1000, ASK_TRIES = 2 };

struct watched {
    struct watched *next;
    ev_io io;
    struct rx_asker *asker;
};

void rx_asker_rearm(struct rx_asker *k)
{
    struct timeval tv;
    ev_timer_stop(k->loop, &k->tick);
    if (!k->channel || !ares_timeout(k->channel, NULL, &tv))
        return;
    ev_timer_set(&k->tick, (double)tv.tv_sec + (double)tv.tv_usec / 1e6 + 0.001, 0.);
    ev_timer_start(k->loop, &k->tick);
}

static void asker_on_tick(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct rx_asker *k = t->data;
    ares_process_fd(k->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    rx_asker_rearm(k);
}

static void asker_on_io(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct rx_asker *k = RX_CONTAINER(io, struct watched, io)->asker;
    int fd = io->fd; // the watcher may go while this is processed
    ares_process_fd(k->channel, events & EV_READ ? fd : ARES_SOCKET_BAD, events & EV_WRITE ? fd : ARES_SOCKET_BAD);
    rx_asker_rearm(k);
}

static void asker_on_socket(void *data, ares_socket_t fd, int is_readable, int is_writable)
{
    struct rx_asker *k = data;
    struct watched **at = &k->watched;
    int events = (is_readable ? EV_READ : 0) | (is_writable ? EV_WRITE : 0);
    while (*at && (*at)->io.fd != fd)
        at = &(*at)->next;
    struct watched *w = *at;
    if (!w && events) {
        if (!(w = calloc(1, sizeof *w)))
            return; // the question times out
        w->asker = k;
        w->next = k->watched;
        k->watched = w;
        ev_io_init(&w->io, asker_on_io, fd, events);
        ev_io_start(k->loop, &w->io);
    } else if (w && events) {
        ev_io_stop(k->loop, &w->io);
        ev_io_set(&w->io, fd, events);
        ev_io_start(k->loop, &w->io);
    } else if (w) {
        ev_io_stop(k->loop, &w->io);
        *at = w->next;
        free(w);
    }
}

bool rx_asker_open(struct rx_asker *k)
{
    struct ares_options o = {
        .timeout = ASK_MS, .tries = ASK_TRIES, .sock_state_cb = asker_on_socket, .sock_state_cb_data = k
    };
    int rc = ares_init_options(&k->channel, &o, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (rc != ARES_SUCCESS)
        k->channel = NULL;
    else if (k->servers)
        rc = ares_set_servers_ports_csv(k->channel, k->servers);
    if (rc != ARES_SUCCESS)
        rx_log(RX_LOG_ERROR, "resolver: %s", ares_strerror(rc));
    return k->channel != NULL;
}

void rx_asker_close(struct rx_asker *k)
{
    if (k->channel)
        ares_destroy(k->channel); // answers every question with ARES_EDESTRUCTION
    k->channel = NULL;
    ev_timer_stop(k->loop, &k->tick);
}

void rx_asker_init(struct rx_asker *k, struct ev_loop *loop)
{
    *k = (struct rx_asker){ .loop = loop };
    ev_timer_init(&k->tick, asker_on_tick, 0., 0.);
    k->tick.data = k;
}

void rx_asker_fini(struct rx_asker *k)
{
    rx_asker_close(k);
    free(k->servers);
}

void rx_asker_use(struct rx_asker *k, const char *servers)
{
    if (!strcmp(servers ? servers : "", k->servers ? k->servers : ""))
        return;
    free(k->servers);
    k->servers = servers ? strdup(servers) : NULL;
    rx_asker_close(k);
}
