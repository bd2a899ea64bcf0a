// SPDX-License-Identifier: MIT
// Enters: a client that a limit keeps out. Leaves: after RX_PIT_MS, or before when others need the room; by a reset.
// No watcher: whatever it sends stays in a socket buffer made small. Everybody stays equally long, so the oldest is
// always the next to leave and one timer is enough.
#include "pit.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys.h"
#include "worker.h"

struct rx_pit {
    ev_timer timer;
    struct rx_worker *worker; // borrowed: it owns the pit
    unsigned first, n;        // a ring
    struct {
        int fd; // owned
        uint64_t until_ms;
    } guests[RX_PIT_GUESTS];
};

static void let_go(struct rx_pit *p)
{
    int fd = p->guests[p->first].fd;
    rx_sys_reset_on_close(fd);
    close(fd);
    p->first = (p->first + 1) % RX_PIT_GUESTS;
    p->n--;
}

static void arm(struct rx_pit *p)
{
    struct ev_loop *loop = p->worker->loop;
    ev_timer_stop(loop, &p->timer);
    if (!p->n)
        return;
    uint64_t now = rx_now_ms(), until = p->guests[p->first].until_ms;
    ev_timer_set(&p->timer, until > now ? (double)(until - now) / 1000.0 : 0., 0.);
    ev_timer_start(loop, &p->timer);
}

static void pit_on_timer(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct rx_pit *p = RX_CONTAINER(t, struct rx_pit, timer);
    while (p->n && p->guests[p->first].until_ms <= rx_now_ms())
        let_go(p);
    arm(p);
}

static struct rx_pit *pit_of(struct rx_worker *w)
{
    if (w->pit || !(w->pit = calloc(1, sizeof *w->pit)))
        return w->pit;
    w->pit->worker = w;
    ev_timer_init(&w->pit->timer, pit_on_timer, 0., 0.);
    return w->pit;
}

void rx_pit_take(struct rx_worker *w, int fd)
{
    struct rx_pit *p = pit_of(w);
    if (!p) {
        close(fd);
        return;
    }
    if (p->n == RX_PIT_GUESTS)
        let_go(p);
    const int least = 1; // the kernel makes it its own least
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    unsigned at = (p->first + p->n++) % RX_PIT_GUESTS;
    p->guests[at].fd = fd;
    p->guests[at].until_ms = rx_now_ms() + RX_PIT_MS;
    if (!ev_is_active(&p->timer))
        arm(p);
}

void rx_pit_empty(struct rx_worker *w)
{
    while (w->pit && w->pit->n)
        let_go(w->pit);
}

void rx_pit_free(struct rx_worker *w)
{
    if (!w->pit)
        return;
    rx_pit_empty(w);
    ev_timer_stop(w->loop, &w->pit->timer);
    free(w->pit);
    w->pit = NULL;
}
