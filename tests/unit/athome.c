// SPDX-License-Identifier: MIT
// Leaves: the same home for whoever asks, from any thread.
#include "athome.h"

static struct rx_home *athome;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void athome_make(void)
{
    athome = rx_home_new();
}

struct rx_home *rx_test_home(void)
{
    pthread_once(&once, athome_make);
    return athome;
}
