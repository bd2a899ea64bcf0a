// SPDX-License-Identifier: MIT
// Enters: turns in the program's life. Leaves: datagrams to NOTIFY_SOCKET.
// The watchdog is answered at half the time the manager gives (WATCHDOG_USEC), and only while every worker's loop turns:
// a manager that hears nothing restarts the program.
#include "notify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "watchdog.h"

#ifdef RX_WITHOUT_SYSTEMD
static void sd_notify(int unset, const char *state)
{
    (void)unset, (void)state;
}
static int sd_watchdog_enabled(int unset, uint64_t *usec)
{
    (void)unset, (void)usec;
    return 0;
}
#else
#include <systemd/sd-daemon.h>
#endif

enum { STATUS_S = 5, GRACE_MS = 5000, LINE = 400 };

static struct {
    ev_timer beat, tell;
    rx_notify_status_fn *status;
    void *data;
    char told[LINE];
    bool is_ready;
} notify;

static void notify_on_beat(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)t, (void)events;
    if (rx_watchdog_is_healthy())
        sd_notify(0, "WATCHDOG=1");
}

static void notify_on_tell(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)t, (void)events;
    char line[LINE], state[LINE + 16];
    notify.status(notify.data, line, sizeof line);
    if (!strcmp(line, notify.told))
        return;
    memcpy(notify.told, line, sizeof line);
    snprintf(state, sizeof state, "STATUS=%s", line);
    sd_notify(0, state);
}

void rx_notify_ready(struct ev_loop *loop, rx_notify_status_fn *status, void *data)
{
    uint64_t usec = 0;
    if (!getenv("NOTIFY_SOCKET"))
        return;
#ifdef RX_WITHOUT_SYSTEMD
    rx_log(RX_LOG_WARN, "NOTIFY_SOCKET is set, but this program was built without systemd (WITH_SYSTEMD=0)");
#endif
    notify.status = status;
    notify.data = data;
    notify.is_ready = true;
    sd_notify(0, "READY=1");
    if (sd_watchdog_enabled(0, &usec) > 0) {
        double every = (double)usec / 2e6;
        ev_timer_init(&notify.beat, notify_on_beat, 0., every);
        ev_timer_start(loop, &notify.beat);
    }
    ev_timer_init(&notify.tell, notify_on_tell, 0., STATUS_S);
    ev_timer_start(loop, &notify.tell);
}

void rx_notify_reloading(void)
{
    struct timespec now;
    char state[80];
    if (!notify.is_ready)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now); // Type=notify-reload tells by it which reload this is
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
             (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    sd_notify(0, state);
}

void rx_notify_reloaded(const char *outcome)
{
    char state[LINE + 32];
    if (!notify.is_ready)
        return;
    snprintf(state, sizeof state, "READY=1\nSTATUS=%.*s", LINE, outcome);
    sd_notify(0, state);
    notify.told[0] = 0; // shown until the next look
}

void rx_notify_stopping(uint32_t drain_ms, const char *status)
{
    char state[LINE + 100];
    notify.is_ready = false;
    snprintf(state, sizeof state, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64 "\nSTATUS=%.*s",
             (uint64_t)(drain_ms + GRACE_MS) * 1000, LINE, status);
    sd_notify(0, state);
}

void rx_notify_successor(int pid)
{
    char state[64];
    if (!notify.is_ready)
        return;
    snprintf(state, sizeof state, "MAINPID=%d", pid);
    sd_notify(0, state);
    notify.is_ready = false;
}

void rx_notify_end(struct ev_loop *loop)
{
    ev_timer_stop(loop, &notify.beat);
    ev_timer_stop(loop, &notify.tell);
    notify.is_ready = false;
}
