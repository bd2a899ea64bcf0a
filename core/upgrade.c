// SPDX-License-Identifier: MIT
// Enters: somebody's wish. Leaves: another process in our place, or a line that says why not.
// The new process runs the very command line of this one. It is waited for with the loop turning, as long as
// upgrade_timeout; handing over stops the workers, and takes RX_UPGRADE_HAND_MS at most.
#include "upgrade.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin.h"
#include "handover.h"
#include "http.h"
#include "log.h"
#include "passed.h"
#include "notify.h"
#include "sys.h"
#include "upgrade_wire.h"

enum { AGAIN_MS = 20 };

// ---- words ----------------------------------------------------------------------------------------------------------

static void tell(struct rx_upgrade *u, bool is_done, const char *fmt, ...) RX_PRINTF(3, 4);
static void tell(struct rx_upgrade *u, bool is_done, const char *fmt, ...)
{
    char line[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    rx_log(is_done ? RX_LOG_INFO : RX_LOG_ERROR, "%s", line);
    if (u->ear.outcome)
        u->ear.outcome(u->ear.data, is_done, line);
}

// ---- the new process ------------------------------------------------------------------------------------------------

// Where we were started from: what is there now is the new one. (/proc/self/exe would be what is no longer there.)
static const char *program_path(void)
{
    const char *path = (const char *)getauxval(AT_EXECFN);
    return path && strncmp(path, "/dev/fd/", 8) ? path : "/proc/self/exe";
}

// Ours but for what is meant for one process alone. `passed` may be NULL.
static char **environment(char *variable, char *passed)
{
    size_t n = 0, k = 0;
    while (environ[n])
        n++;
    char **out = calloc(n + 3, sizeof *out);
    for (size_t i = 0; out && i < n; i++)
        if (strncmp(environ[i], "WATCHDOG_PID=", 13) &&
            strncmp(environ[i], RX_UPGRADE_VARIABLE "=", sizeof RX_UPGRADE_VARIABLE))
            out[k++] = environ[i];
    if (out) {
        out[k] = variable;
        out[k + 1] = passed;
    }
    return out;
}

static int spawn_with(posix_spawnattr_t *attr, posix_spawn_file_actions_t *files, int fd, pid_t *pid, char **argv)
{
    char variable[sizeof RX_UPGRADE_VARIABLE + 16];
    sigset_t none, all;
    snprintf(variable, sizeof variable, RX_UPGRADE_VARIABLE "=%d", fd);
    char *passed = rx_passed_on(), **env = environment(variable, passed);
    if (!env) {
        free(passed);
        return ENOMEM;
    }
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setsigdefault(attr, &all);
    posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawn_file_actions_adddup2(files, fd, fd); // stays open there
    const struct rx_passed *one;
    for (unsigned i = 0; !rc && (one = rx_passed_at(i)); i++)
        rc = posix_spawn_file_actions_adddup2(files, one->fd, one->fd);
    if (!rc)
        rc = posix_spawn(pid, program_path(), files, attr, argv, env);
    free(env);
    free(passed);
    return rc;
}

static int spawn(int fd, pid_t *pid, char **argv)
{
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t files;
    int rc = posix_spawnattr_init(&attr);
    if (rc)
        return rc;
    if (!(rc = posix_spawn_file_actions_init(&files))) {
        rc = spawn_with(&attr, &files, fd, pid, argv);
        posix_spawn_file_actions_destroy(&files);
    }
    posix_spawnattr_destroy(&attr);
    return rc;
}

// What became of it, in words. It has ended, or does so now.
static void reap(struct rx_upgrade *u, char *words, size_t size)
{
    int status = 0;
    pid_t got = 0;
    for (unsigned i = 0; i < 50 && !(got = waitpid(u->pid, &status, WNOHANG)); i++) // it may be about to
        usleep(1000);
    if (!got) {
        kill(u->pid, SIGKILL);
        waitpid(u->pid, &status, 0);
    }
    if (WIFEXITED(status))
        snprintf(words, size, "it ended with exit code %d", WEXITSTATUS(status));
    else
        snprintf(words, size, "it was ended by signal %d", WTERMSIG(status));
}

static void part(struct rx_upgrade *u)
{
    ev_io_stop(u->loop, &u->io);
    ev_timer_stop(u->loop, &u->limit);
    ev_timer_stop(u->loop, &u->again);
    if (u->fd >= 0)
        close(u->fd);
    u->fd = -1;
}

// It may be in the middle of anything.
static void kill_new(struct rx_upgrade *u)
{
    RX_REQUIRE(u->pid > 0); // 0 and -1 would be others
    kill(u->pid, SIGKILL);
    waitpid(u->pid, NULL, 0);
    part(u);
}

static void refuse(struct rx_upgrade *u, const char *why)
{
    kill_new(u);
    tell(u, false, "upgrade (%s): refused, %s; this process goes on", u->who, why);
}

// ---- handing over ---------------------------------------------------------------------------------------------------

static void hand_over(struct rx_upgrade *u)
{
    uint64_t start = rx_sys_now_ns();
    struct rx_given given = { 0 };
    char words[200];
    bool is_known = u->version == RX_HANDOVER_VERSION;
    int rc = rx_upgrade_give_all(u, is_known, &given);
    if (!given.is_changed) {
        snprintf(words, sizeof words, "handing over failed: %s", strerror(-rc));
        refuse(u, words);
        return;
    }
    part(u);
    u->is_done = true;
    rx_notify_successor(u->pid);
    rx_notify_end(u->loop);
    if (u->http)
        rx_http_leave(u->http);
    u->leave(u->data);
    tell(u, true, "upgraded (%s): process %d serves now; %lu connections handed over in %.1f ms, %lu finish here%s",
         u->who, u->pid, (unsigned long)given.n, (double)(rx_sys_now_ns() - start) / 1e6,
         (unsigned long)(given.n_refused + given.n_kept), is_known ? "" : " (it takes them in another form)");
}

static void give_sockets(struct rx_upgrade *u)
{
    char words[200];
    if (atomic_load(&u->about->reload->n_taking)) { // the workers' sockets are about to be others
        ev_timer_again(u->loop, &u->again);
        return;
    }
    ev_timer_stop(u->loop, &u->again);
    int rc = rx_upgrade_give_sockets(u, rx_now_ms() + RX_UPGRADE_HAND_MS);
    if (!rc)
        return;
    snprintf(words, sizeof words, "its sockets cannot be sent: %s", strerror(-rc));
    refuse(u, words);
}

static void hear(struct rx_upgrade *u, const struct rx_upgrade_msg *m)
{
    switch ((enum rx_upgrade_kind)m->kind) {
    case RX_UPGRADE_HELLO:
        u->version = m->b;
        if (m->a == RX_UPGRADE_BASE)
            give_sockets(u);
        else
            refuse(u, "the new program speaks another language");
        return;
    case RX_UPGRADE_FINDING:
        if (u->ear.finding)
            u->ear.finding(u->ear.data, m->a, (const char *)m->data, m->len);
        return;
    case RX_UPGRADE_READY:
        hand_over(u);
        return;
    default:
        refuse(u, "the new program says what it should not");
    }
}

static void upgrade_on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop, (void)events;
    struct rx_upgrade *u = RX_CONTAINER(io, struct rx_upgrade, io);
    struct rx_upgrade_msg m;
    int fds[RX_UPGRADE_FDS];
    unsigned n;
    char words[200];
    int rc = rx_upgrade_recv(u->fd, &m, fds, &n, rx_now_ms() + 1);
    while (rc > 0 && n)
        close(fds[--n]);
    if (rc > 0) {
        hear(u, &m);
    } else if (rc == 0) {
        reap(u, words, sizeof words);
        part(u);
        tell(u, false, "upgrade (%s): refused, the new program did not start: %s; this process goes on", u->who,
             words);
    } else if (rc != -ETIMEDOUT) {
        refuse(u, "the new program cannot be understood");
    }
}

static void upgrade_on_again(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    give_sockets(RX_CONTAINER(t, struct rx_upgrade, again));
}

static void upgrade_on_limit(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct rx_upgrade *u = RX_CONTAINER(t, struct rx_upgrade, limit);
    char words[100];
    snprintf(words, sizeof words, "the new program was not ready within %g s",
             u->about->reload->conf->upgrade_ms / 1000.);
    refuse(u, words);
}

// ---- the wish -------------------------------------------------------------------------------------------------------

const char *rx_upgrade_obstacle(const struct rx_upgrade *u)
{
    if (u->is_stopped || u->is_done)
        return "this process is ending";
    if (!u->leave)
        return "this process is only starting";
    if (u->fd >= 0 || u->giving)
        return "one is under way";
    if (getpid() == 1)
        return "as process 1 of a container it cannot leave its place to another; run it under an init";
    return NULL;
}

void rx_upgrade_request(struct rx_upgrade *u, const char *who)
{
    int fds[2], rc;
    const char *why = rx_upgrade_obstacle(u);
    pid_t pid;
    if (why) { // who waits for the one under way is told of that one
        rx_log(RX_LOG_ERROR, "upgrade (%s): refused, %s", who, why);
        return;
    }
    snprintf(u->who, sizeof u->who, "%s", who);
    if ((rc = rx_upgrade_pair(fds))) {
        tell(u, false, "upgrade (%s): refused, %s", who, strerror(-rc));
        return;
    }
    rc = spawn(fds[1], &pid, u->about->reload->args->argv);
    close(fds[1]);
    if (rc) {
        close(fds[0]);
        tell(u, false, "upgrade (%s): refused, cannot start %s: %s", who, program_path(), strerror(rc));
        return;
    }
    rx_log(RX_LOG_INFO, "upgrade (%s): process %d of %s is being started", who, (int)pid, program_path());
    u->fd = fds[0];
    u->pid = (int)pid;
    ev_io_set(&u->io, u->fd, EV_READ);
    ev_io_start(u->loop, &u->io);
    ev_timer_set(&u->limit, u->about->reload->conf->upgrade_ms / 1000., 0.);
    ev_timer_start(u->loop, &u->limit);
}

void rx_upgrade_init(struct rx_upgrade *u, struct ev_loop *loop, const struct rx_instance *about)
{
    u->loop = loop;
    u->about = about;
    u->fd = -1;
    rx_errands_init(&u->home, loop);
    ev_io_init(&u->io, upgrade_on_readable, -1, EV_READ);
    ev_timer_init(&u->limit, upgrade_on_limit, 0., 0.);
    ev_timer_init(&u->again, upgrade_on_again, 0., AGAIN_MS / 1000.);
}

// Also of one that never was initialised: the program may end before. (Process 0 would be all of the group.)
static bool is_under_way(const struct rx_upgrade *u)
{
    return u->pid > 0 && u->fd >= 0;
}

void rx_upgrade_stop(struct rx_upgrade *u)
{
    u->is_stopped = true;
    if (is_under_way(u))
        refuse(u, "the program is stopping");
}

void rx_upgrade_fini(struct rx_upgrade *u)
{
    if (!u->loop) // it never came to that
        return;
    if (is_under_way(u))
        kill_new(u);
    rx_giving_free(u->giving);
    u->giving = NULL;
    rx_errands_fini(&u->home);
}
