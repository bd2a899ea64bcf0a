// SPDX-License-Identifier: MIT
// Two stacks without a lock: one at each worker, one for what is done. Whoever takes one takes all of it, so that no
// entry is ever looked at by two threads. The order of errands given in one turn is not kept.
#include "errand.h"

#include "worker.h"

static void push(_Atomic(struct rx_errand *) *stack, struct rx_errand *e)
{
    e->next = atomic_load_explicit(stack, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(stack, &e->next, e, memory_order_release, memory_order_relaxed))
        continue;
}

static void errand_on_back(struct ev_loop *loop, ev_async *a, int events)
{
    (void)loop, (void)events;
    struct rx_errands *home = a->data;
    struct rx_errand *e = atomic_exchange_explicit(&home->returned, NULL, memory_order_acquire);
    for (struct rx_errand *next; e; e = next) {
        next = e->next;
        e->done(e);
    }
}

void rx_errands_init(struct rx_errands *home, struct ev_loop *loop)
{
    home->loop = loop;
    atomic_store(&home->returned, NULL);
    ev_async_init(&home->back, errand_on_back);
    home->back.data = home;
    ev_async_start(loop, &home->back);
}

void rx_errands_fini(struct rx_errands *home)
{
    ev_async_stop(home->loop, &home->back);
}

void rx_errand_send(struct rx_errand *e, struct rx_worker *w)
{
    push(&w->errands, e);
    ev_async_send(w->loop, &w->wake);
}

void rx_errand_run(struct rx_worker *w)
{
    struct rx_errand *e = atomic_exchange_explicit(&w->errands, NULL, memory_order_acquire);
    for (struct rx_errand *next; e; e = next) {
        next = e->next;
        struct rx_errands *home = e->home;
        e->run(e, w);
        push(&home->returned, e); // from here on it is the engine's
        ev_async_send(home->loop, &home->back);
    }
}
