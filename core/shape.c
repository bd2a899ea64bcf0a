// SPDX-License-Identifier: MIT
// Enters: what weld.c would read. Leaves: how much of it it may, and a call when a paused direction may go on.
// A direction that has used its rate up is not watched until PIECE_MS of it are there again: no polling. Where many share
// one rate, who comes too late to get anything waits twice as long the next time, up to WAIT_MAX_MS.
// Deliberately not done: sharing a route's rate out evenly. Each takes at most a piece at a time, whoever comes first.
#include "shape.h"

#include <errno.h>
#include <stdlib.h>

#include "worker.h"

enum {
    DEPTH_MS = 100,   // what may go at once after a rest
    PIECE_MS = 50,    // the least that waking up is for
    WAIT_MAX_MS = 800,
    PATIENCE_MAX = 4, // doublings
};

#define NS_PER_MS 1000000ull

struct rx_shape {
    struct rx_conn *conn;     // borrowed: it owns this
    ev_timer resume[2];       // by direction
    struct rx_meter meter[2];
    uint8_t patience[2];      // how often in a row there was nothing for it
};

static uint64_t now_ns(void)
{
    return rx_now_ms() * NS_PER_MS;
}

static uint64_t piece_of(uint64_t per_s)
{
    return RX_MAX(per_s * PIECE_MS / 1000, 1u);
}

static void go_on(struct rx_shape *s, enum rx_direction dir)
{
    s->conn->dir[dir].is_paused = false;
    rx_weld_resume(s->conn);
}

static void shape_on_resume(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    go_on(t->data, RX_TO_SERVER);
}

static void shape_on_resume_back(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    go_on(t->data, RX_TO_CLIENT);
}

int rx_shape_begin(struct rx_conn *c, uint32_t len)
{
    const struct rx_route *r = c->route;
    struct rx_shape *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->conn = c;
    ev_timer_init(&s->resume[RX_TO_SERVER], shape_on_resume, 0., 0.);
    ev_timer_init(&s->resume[RX_TO_CLIENT], shape_on_resume_back, 0., 0.);
    s->resume[0].data = s->resume[1].data = s;
    c->shape = s;
    if (r->rate)
        rx_meter_charge(&s->meter[RX_TO_SERVER], r->rate, len, now_ns());
    if (r->rate_total)
        rx_meter_charge(&r->total[RX_TO_SERVER], r->rate_total, len, now_ns());
    return 0;
}

void rx_shape_free(struct rx_conn *c)
{
    for (int d = 0; d < 2; d++)
        ev_timer_stop(c->worker->loop, &c->shape->resume[d]);
    free(c->shape);
    c->shape = NULL;
}

static void rest(struct rx_conn *c, enum rx_direction dir, uint64_t now)
{
    const struct rx_route *r = c->route;
    struct rx_shape *s = c->shape;
    uint64_t own = 0, total = 0;
    if (r->rate)
        own = rx_meter_wait_ns(&s->meter[dir], r->rate, DEPTH_MS * NS_PER_MS, piece_of(r->rate), now);
    if (r->rate_total) {
        total = rx_meter_wait_ns(&r->total[dir], r->rate_total, DEPTH_MS * NS_PER_MS, piece_of(r->rate_total), now);
        total = RX_MAX(total, RX_MIN((PIECE_MS / 2ull) << s->patience[dir], (uint64_t)WAIT_MAX_MS) * NS_PER_MS);
        s->patience[dir] = RX_MIN(s->patience[dir] + 1, PATIENCE_MAX);
    }
    c->dir[dir].is_paused = true;
    ev_timer_stop(c->worker->loop, &s->resume[dir]);
    ev_timer_set(&s->resume[dir], (double)RX_MAX(RX_MAX(own, total), NS_PER_MS) / 1e9, 0.);
    ev_timer_start(c->worker->loop, &s->resume[dir]);
}

size_t rx_shape_allow(struct rx_conn *c, enum rx_direction dir, size_t want)
{
    const struct rx_route *r = c->route;
    struct rx_shape *s = c->shape;
    const uint64_t now = now_ns();
    uint64_t n = want;
    if (r->rate)
        n = rx_meter_draw(&s->meter[dir], r->rate, DEPTH_MS * NS_PER_MS, n, now);
    if (n && r->rate_total) {
        uint64_t most = RX_MIN(n, piece_of(r->rate_total));
        uint64_t got = rx_meter_draw(&r->total[dir], r->rate_total, DEPTH_MS * NS_PER_MS, most, now);
        if (r->rate)
            rx_meter_return(&s->meter[dir], r->rate, n - got);
        n = got;
    }
    if (!n) {
        rest(c, dir, now);
        return 0;
    }
    s->patience[dir] = 0;
    c->dir[dir].is_paused = false;
    return (size_t)n;
}

void rx_shape_return(struct rx_conn *c, enum rx_direction dir, size_t n)
{
    const struct rx_route *r = c->route;
    if (r->rate)
        rx_meter_return(&c->shape->meter[dir], r->rate, n);
    if (r->rate_total)
        rx_meter_return(&r->total[dir], r->rate_total, n);
}
