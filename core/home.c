// SPDX-License-Identifier: MIT
// Enters: nothing. Leaves: an empty home. What is put there later is counted by its holders, and gone when they are.
#include "home.h"

#include <stdlib.h>

#include "record.h"

struct rx_home *rx_home_new(void)
{
    struct rx_home *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    pthread_mutex_t *locks[] = { &h->backends.lock, &h->gates.lock, &h->lives.lock,  &h->metrics.lock,
                                 &h->serveds.lock,  &h->sinks.lock, &h->stores.lock };
    for (unsigned i = 0; i < RX_COUNT(locks); i++)
        pthread_mutex_init(locks[i], NULL);
    h->recorder = rx_recorder_new();
    if (h->recorder)
        return h;
    rx_home_free(h);
    return NULL;
}

void rx_home_free(struct rx_home *h)
{
    if (!h)
        return;
    pthread_mutex_t *locks[] = { &h->backends.lock, &h->gates.lock, &h->lives.lock,  &h->metrics.lock,
                                 &h->serveds.lock,  &h->sinks.lock, &h->stores.lock };
    for (unsigned i = 0; i < RX_COUNT(locks); i++)
        pthread_mutex_destroy(locks[i]);
    rx_recorder_free(h->recorder);
    free(h);
}
