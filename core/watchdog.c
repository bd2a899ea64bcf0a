// SPDX-License-Identifier: MIT
// Enters: the workers' pulses. Leaves: log lines, a count, and whether all is well.
// The budget stops functions of the config (budget.lua), so what is found here is a fault of the program, or of the
// machine. Nothing is done about it: a worker cannot be taken down without its connections. A supervisor may want to.
#include "watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "log.h"
#include "script.h"
#include "sys.h"

enum { LOOK_MS = 200, LIMIT_MS = 1000, BUDGETS = 20 };

struct sight {
    struct rx_pulse *pulse; // borrowed
    unsigned turn;          // at the last look
    uint64_t since_ms;      // it has stood there
    bool is_stuck;
};

static struct {
    pthread_t thread;
    pthread_mutex_t lock; // for `is_stopping`
    pthread_cond_t wake;
    bool is_running, is_stopping;
    struct sight *sights; // owned
    unsigned n;
    atomic_uint n_stuck;
    atomic_ulong stalls;
} dog;

uint32_t rx_watchdog_limit_ms(uint32_t budget_ms)
{
    return RX_MAX((uint32_t)LIMIT_MS, BUDGETS * budget_ms);
}

bool rx_watchdog_is_healthy(void)
{
    return !atomic_load(&dog.n_stuck);
}

unsigned long rx_watchdog_stalls(void)
{
    return atomic_load(&dog.stalls);
}

static void tell_stuck(unsigned worker, const struct sight *s, uint64_t ms)
{
    char where[200];
    if (rx_script_doing(s->pulse, where, sizeof where))
        rx_log(RX_LOG_ERROR, "worker %u is stuck: its loop has not turned for %lu ms; it runs the function at %s", worker,
               (unsigned long)ms, where);
    else
        rx_log(RX_LOG_ERROR, "worker %u is stuck: its loop has not turned for %lu ms", worker, (unsigned long)ms);
}

static void look(unsigned worker, struct sight *s, uint64_t now_ms)
{
    unsigned turn = atomic_load_explicit(&s->pulse->turn, memory_order_relaxed);
    uint64_t ms = now_ms - s->since_ms;
    if (turn != s->turn || turn & 1) {
        if (s->is_stuck) {
            rx_log(RX_LOG_WARN, "worker %u goes on after %lu ms", worker, (unsigned long)ms);
            atomic_fetch_sub(&dog.n_stuck, 1);
        }
        s->is_stuck = false;
        s->turn = turn;
        s->since_ms = now_ms;
    } else if (!s->is_stuck && ms > atomic_load_explicit(&s->pulse->limit_ms, memory_order_relaxed)) {
        s->is_stuck = true;
        atomic_fetch_add(&dog.n_stuck, 1);
        atomic_fetch_add(&dog.stalls, 1);
        tell_stuck(worker, s, ms);
    }
}

// Sleeps for one interval; false when it is over.
static bool wait_a_while(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&dog.lock);
    while (!dog.is_stopping && pthread_cond_timedwait(&dog.wake, &dog.lock, &until) != ETIMEDOUT)
        ;
    bool goes_on = !dog.is_stopping;
    pthread_mutex_unlock(&dog.lock);
    return goes_on;
}

static uint64_t clock_ms(void)
{
    return rx_sys_now_ns() / 1000000;
}

static void *watch(void *arg)
{
    (void)arg;
    uint64_t last_ms = clock_ms();
    while (wait_a_while()) {
        uint64_t now_ms = clock_ms();
        // Who sleeps through has been stopped with the whole process, or the machine has: nobody can be blamed.
        bool has_overslept = now_ms - last_ms > 4 * LOOK_MS;
        last_ms = now_ms;
        for (unsigned i = 0; i < dog.n; i++) {
            if (has_overslept && !dog.sights[i].is_stuck)
                dog.sights[i].since_ms = now_ms;
            look(i, &dog.sights[i], now_ms);
        }
    }
    return NULL;
}

int rx_watchdog_start(struct rx_pulse *const *pulses, unsigned n)
{
    pthread_condattr_t attr;
    dog.sights = calloc(n + 1, sizeof *dog.sights);
    if (!dog.sights)
        return -ENOMEM;
    dog.n = n;
    for (unsigned i = 0; i < n; i++)
        dog.sights[i] = (struct sight){ .pulse = pulses[i], .since_ms = clock_ms() };
    dog.is_stopping = false;
    pthread_mutex_init(&dog.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&dog.wake, &attr);
    pthread_condattr_destroy(&attr);
    int rc = pthread_create(&dog.thread, NULL, watch, NULL);
    dog.is_running = !rc;
    if (rc) {
        free(dog.sights);
        dog.sights = NULL;
        return -rc;
    }
    pthread_setname_np(dog.thread, "rx-watchdog");
    return 0;
}

void rx_watchdog_stop(void)
{
    if (!dog.is_running)
        return;
    pthread_mutex_lock(&dog.lock);
    dog.is_stopping = true;
    pthread_cond_signal(&dog.wake);
    pthread_mutex_unlock(&dog.lock);
    pthread_join(dog.thread, NULL);
    pthread_cond_destroy(&dog.wake);
    pthread_mutex_destroy(&dog.lock);
    free(dog.sights);
    dog.sights = NULL;
    dog.is_running = false;
    atomic_store(&dog.n_stuck, 0);
}
