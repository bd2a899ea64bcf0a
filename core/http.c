// SPDX-License-Identifier: MIT
// Enters: the address for monitoring. Leaves: its requests, to http_request.c. libmicrohttpd speaks HTTP; it runs on the
// engine's loop. Requests are small, connections few and bounded in number and time, so that a stranger who reaches the
// port costs little.
#include "http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bind.h"
#include "log.h"

#ifdef RX_WITHOUT_METRICS

int rx_http_new(struct rx_http **out, struct ev_loop *loop, const struct rx_instance *i)
{
    (void)loop, (void)i;
    *out = NULL;
    return 0; // build.c refuses a config that asks for it
}

int rx_http_socket(const struct rx_http *h, struct rx_bind *bind)
{
    (void)h, (void)bind;
    return -1;
}

void rx_http_leave(struct rx_http *h)
{
    (void)h;
}

void rx_http_free(struct rx_http *h)
{
    (void)h;
}

#else

#include "embed.h"
#include "http_request.h"

enum { CONNECTIONS = 64, PATIENCE_S = 10, REST_S = 1, MEMORY = 8192 };

// ---- on the loop ----------------------------------------------------------------------------------------------------

void rx_http_serve(struct rx_http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;
    MHD_run(h->daemon);
    ev_timer_stop(h->loop, &h->timer);
    if (MHD_get_timeout(h->daemon, &ms) != MHD_YES)
        return;
    ev_timer_set(&h->timer, (double)RX_MIN(ms, 60000ull) / 1000, 0.);
    ev_timer_start(h->loop, &h->timer);
}

static void http_on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    struct rx_http *h = RX_CONTAINER(io, struct rx_http, io);
    rx_http_serve(h);
    if (events & EV_ERROR) { // epoll has no room for it now
        ev_timer_stop(loop, &h->timer);
        ev_timer_set(&h->timer, REST_S, 0.);
        ev_timer_start(loop, &h->timer);
    }
}

static void http_on_timer(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)events;
    struct rx_http *h = RX_CONTAINER(t, struct rx_http, timer);
    ev_io_start(loop, &h->io); // when it was stopped: above
    rx_http_serve(h);
}

static int open_socket(const char *address, struct rx_addr *wanted, struct rx_addr *bound)
{
    char why[RX_ADDR_TEXT];
    struct rx_addr *list;
    unsigned n;
    if (rx_addr_parse_listen(address, &list, &n, why)) {
        rx_log(RX_LOG_ERROR, "metrics: %s: %s", address, why);
        return -EINVAL;
    }
    struct rx_bind bind = { .addr = list[0], .text = address };
    *wanted = list[0];
    free(list);
    int fd, rc = rx_bind_open(&bind, &fd, 1, bound);
    if (rc)
        rx_log(RX_LOG_ERROR, "cannot serve metrics on %s: %s", address, strerror(-rc));
    return rc ? rc : fd;
}

int rx_http_new(struct rx_http **out, struct ev_loop *loop, const struct rx_instance *i)
{
    const struct rx_conf *conf = i->reload->conf;
    struct rx_addr bound;
    char text[RX_ADDR_TEXT];
    *out = NULL;
    if (!conf->metrics_at)
        return 0;
    struct rx_http *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    int fd = open_socket(conf->metrics_at, &h->wanted, &bound);
    if (fd < 0) {
        free(h);
        return fd;
    }
    h->loop = loop;
    h->instance = i;
    const struct rx_embed *page = rx_embed_find("dashboard.html");
    RX_REQUIRE(!rx_http_policy(page->text, (size_t)(page->end - page->text), h->policy, sizeof h->policy));
    h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, rx_http_on_request, h,
                                 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, rx_http_on_done, h,
                                 MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, PATIENCE_S,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY, MHD_OPTION_END);
    const union MHD_DaemonInfo *info = h->daemon ? MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info) {
        rx_log(RX_LOG_ERROR, "cannot serve metrics on %s", conf->metrics_at);
        if (h->daemon)
            MHD_stop_daemon(h->daemon);
        else
            close(fd);
        free(h);
        return -EIO;
    }
    ev_io_init(&h->io, http_on_readable, info->epoll_fd, EV_READ);
    ev_timer_init(&h->timer, http_on_timer, 0., 0.);
    ev_io_start(loop, &h->io);
    rx_rounds_init(&h->rounds, loop, i);
    rx_log(RX_LOG_INFO, "metrics on http://%s/metrics, the dashboard on /", rx_addr_print(&bound.sa, text));
    *out = h;
    return 0;
}

int rx_http_socket(const struct rx_http *h, struct rx_bind *bind)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_LISTEN_FD);
    *bind = (struct rx_bind){ .addr = h->wanted };
    return info ? info->listen_fd : -1;
}

void rx_http_leave(struct rx_http *h)
{
    int fd = MHD_quiesce_daemon(h->daemon);
    if (fd >= 0)
        close(fd);
}

void rx_http_free(struct rx_http *h)
{
    if (!h)
        return;
    ev_io_stop(h->loop, &h->io);
    ev_timer_stop(h->loop, &h->timer);
    rx_http_give_up(h);
    MHD_run(h->daemon);
    rx_rounds_fini(&h->rounds);
    MHD_stop_daemon(h->daemon); // closes the listening socket as well
    free(h);
}

#endif
