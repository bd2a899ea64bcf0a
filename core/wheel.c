// SPDX-License-Identifier: MIT
// A hashed wheel of 1024 slots of 32 ms. The one ev_timer is armed for the next slot that holds anything, so a
// worker without deadlines sleeps, and one with ten thousand idle connections wakes once per busy slot.
#include "wheel.h"

#include <string.h>
#include <time.h>

uint64_t rx_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t tick_of(uint64_t ms)
{
    return (ms + RX_WHEEL_TICK_MS - 1) / RX_WHEEL_TICK_MS; // up: never early
}

static void arm(struct rx_wheel *w, uint64_t tick)
{
    uint64_t now = rx_now_ms(), due = tick * RX_WHEEL_TICK_MS;
    ev_timer_stop(w->loop, &w->timer);
    // One millisecond more, because the coarse clock may still be a little behind when the timer fires.
    ev_timer_set(&w->timer, due > now ? (double)(due - now + 1) / 1000.0 : 0.001, 0.);
    ev_now_update(w->loop);
    ev_timer_start(w->loop, &w->timer);
    w->armed_tick = tick;
}

static void insert(struct rx_wheel *w, struct rx_wheel_node *n)
{
    uint64_t tick = tick_of(n->deadline_ms);
    if (tick <= w->at_tick)
        tick = w->at_tick + 1;
    if (tick > w->at_tick + RX_WHEEL_SLOTS - 1)
        tick = w->at_tick + RX_WHEEL_SLOTS - 1; // beyond the horizon: looked at again on the way
    n->slot_ms = tick * RX_WHEEL_TICK_MS;
    struct rx_wheel_node *head = &w->slots[tick % RX_WHEEL_SLOTS];
    n->next = head->next;
    n->prev = head;
    head->next->prev = n;
    head->next = n;
    w->busy[tick % RX_WHEEL_SLOTS / 64] |= 1ull << tick % 64;
    if (!w->armed_tick || tick < w->armed_tick)
        arm(w, tick);
}

static void unlink_node(struct rx_wheel_node *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = n->prev = NULL;
}

static uint64_t next_busy(struct rx_wheel *w)
{
    for (uint64_t tick = w->at_tick + 1; tick < w->at_tick + RX_WHEEL_SLOTS;) {
        uint64_t word = w->busy[tick % RX_WHEEL_SLOTS / 64] >> tick % 64;
        if (word)
            return tick + (uint64_t)__builtin_ctzll(word);
        tick += 64 - tick % 64;
    }
    return 0;
}

static void serve_slot(struct rx_wheel *w, uint64_t tick, uint64_t now)
{
    struct rx_wheel_node *head = &w->slots[tick % RX_WHEEL_SLOTS];
    while (head->next != head) {
        struct rx_wheel_node *n = head->next;
        unlink_node(n);
        if (n->deadline_ms <= now)
            w->fire(n);
        else
            insert(w, n);
    }
    w->busy[tick % RX_WHEEL_SLOTS / 64] &= ~(1ull << tick % 64);
}

static void wheel_on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    struct rx_wheel *w = RX_CONTAINER(timer, struct rx_wheel, timer);
    uint64_t now = rx_now_ms(), until = now / RX_WHEEL_TICK_MS, tick;
    w->armed_tick = 1; // inserts while serving need not arm: no tick is below it
    while ((tick = next_busy(w)) && tick <= until) {
        w->at_tick = tick;
        serve_slot(w, tick, now);
    }
    if (until > w->at_tick)
        w->at_tick = tick ? RX_MIN(until, tick - 1) : until;
    w->armed_tick = 0;
    if ((tick = next_busy(w)))
        arm(w, tick);
}

void rx_wheel_init(struct rx_wheel *w, struct ev_loop *loop, void (*fire)(struct rx_wheel_node *n))
{
    memset(w, 0, sizeof *w);
    w->loop = loop;
    w->fire = fire;
    w->at_tick = rx_now_ms() / RX_WHEEL_TICK_MS;
    for (int i = 0; i < RX_WHEEL_SLOTS; i++)
        w->slots[i].next = w->slots[i].prev = &w->slots[i];
    ev_timer_init(&w->timer, wheel_on_timer, 0., 0.);
}

void rx_wheel_fini(struct rx_wheel *w)
{
    ev_timer_stop(w->loop, &w->timer);
}

void rx_wheel_set(struct rx_wheel *w, struct rx_wheel_node *n, uint64_t deadline_ms)
{
    n->deadline_ms = deadline_ms;
    if (n->next && deadline_ms >= n->slot_ms)
        return; // its slot comes first and will move it on
    if (n->next)
        unlink_node(n);
    // While the wheel was empty nobody moved it forward.
    if (!w->armed_tick)
        w->at_tick = RX_MAX(w->at_tick, rx_now_ms() / RX_WHEEL_TICK_MS);
    insert(w, n);
}

void rx_wheel_del(struct rx_wheel *w, struct rx_wheel_node *n)
{
    (void)w;
    if (n->next)
        unlink_node(n);
}
