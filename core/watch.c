// SPDX-License-Identifier: MIT
// Directories are watched, not the file: a file that is replaced by a rename is another inode, and a symbolic link
// that is swapped (a Kubernetes ConfigMap swaps "..data" beside it) never touches it at all. Any event in a watched
// directory, once QUIET_MS have passed without another, leads to one look at the bytes; only if they differ from
// those last seen is the owner told. So touching, re-saving, editor temporary files and chmod cost nothing, and a
// file that is briefly gone is waited for.
// Watched are: the file's directory, every directory that holds a symbolic link on the way to it, and where the way
// ends too early (a directory was deleted, moved away, or was never there) the last one that exists.
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "digest.h"
#include "wheel.h"

enum { QUIET_MS = 100, PATIENCE_MS = 1000 }; // a directory that is never quiet is looked at all the same
enum { LINKS_MAX = 40 };                     // as the kernel follows

// Not IN_MODIFY: a log beside the config would ring at every line. Who edits a config closes it.
static const uint32_t events = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_DELETE | IN_DELETE_SELF |
                               IN_MOVE_SELF | IN_ONLYDIR;

struct rx_watch {
    struct ev_loop *loop; // borrowed
    ev_io io;
    ev_timer quiet;
    uint64_t since_ms; // rx_now_ms: when the first event of the present unrest came
    void (*changed)(void *data, const char *which);
    void *data; // borrowed: the owner's
    struct rx_seen files;
};

// 0 when the file cannot be read now.
static uint64_t digest(const char *path)
{
    uint8_t buf[16384];
    uint64_t h = RX_DIGEST_START;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // it may be a FIFO by now
    if (fd == -1)
        return 0;
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0)
        h = rx_digest(h, buf, (size_t)n);
    close(fd);
    return n == 0 ? h | 1 : 0;
}

static void add_directory(struct rx_watch *w, const char *path)
{
    inotify_add_watch(w->io.fd, *path ? path : "/", events);
}

// What is still to walk, with a link's target put before it. False when it gets too long.
static bool put_before(char *rest, const char *target)
{
    char all[PATH_MAX];
    if (snprintf(all, sizeof all, "%s/%s", target, rest) >= (int)sizeof all)
        return false;
    memcpy(rest, all, strlen(all) + 1);
    return true;
}

static bool make_absolute(const char *path, char *rest)
{
    char here[PATH_MAX] = "";
    if (path[0] != '/' && !getcwd(here, sizeof here))
        return false;
    return snprintf(rest, PATH_MAX, "%s/%s", here, path) < PATH_MAX;
}

// Walks the path as the kernel does. `at` is free of links; "" is the root.
static void add_way(struct rx_watch *w, const char *path)
{
    char at[PATH_MAX + NAME_MAX + 2] = "", rest[PATH_MAX], target[PATH_MAX];
    int links = 0;
    if (!make_absolute(path, rest))
        return;
    for (;;) {
        size_t skip = strspn(rest, "/"), len = strcspn(rest + skip, "/"), had = strlen(at);
        char name[NAME_MAX + 1];
        if (!len || len > NAME_MAX || had + len + 2 > PATH_MAX)
            return;
        memcpy(name, rest + skip, len);
        name[len] = 0;
        memmove(rest, rest + skip + len, strlen(rest + skip + len) + 1);
        bool is_last = !rest[strspn(rest, "/")];
        if (!strcmp(name, "."))
            continue;
        if (!strcmp(name, "..")) {
            char *slash = strrchr(at, '/');
            if (slash)
                *slash = 0;
            continue;
        }
        if (is_last)
            add_directory(w, at);
        snprintf(at + had, sizeof at - had, "/%s", name);
        ssize_t n = readlink(at, target, sizeof target - 1);
        if (n > 0) {
            at[had] = 0;
            add_directory(w, at);
            target[n] = 0;
            if (target[0] == '/')
                at[0] = 0;
            if (++links > LINKS_MAX || !put_before(rest, target))
                return;
        } else if (!is_last && access(at, F_OK)) {
            at[had] = 0;
            add_directory(w, at);
            return;
        } else if (is_last) {
            return;
        }
    }
}

static void watch_on_event(struct ev_loop *loop, ev_io *io, int revents)
{
    (void)revents;
    struct rx_watch *w = RX_CONTAINER(io, struct rx_watch, io);
    char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    while (read(io->fd, buf, sizeof buf) > 0)
        ; // which name it was does not matter: the bytes tell
    if (!ev_is_active(&w->quiet))
        w->since_ms = rx_now_ms();
    w->quiet.repeat = QUIET_MS / 1000.0;
    if (rx_now_ms() - w->since_ms < PATIENCE_MS) // whatever becomes of the clock on the wall
        ev_timer_again(loop, &w->quiet);
}

static void watch_on_quiet(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)revents;
    struct rx_watch *w = RX_CONTAINER(t, struct rx_watch, quiet);
    ev_timer_stop(loop, t);
    ev_io_start(loop, &w->io); // epoll may have had no room for it
    const char *which = NULL;
    for (unsigned i = 0; i < w->files.n; i++) {
        struct rx_seen_file *f = &w->files.list[i];
        add_way(w, f->path); // it may lead elsewhere now
        uint64_t now = digest(f->path);
        if (now && now != f->digest) {
            f->digest = now;
            which = f->path;
        }
    }
    if (which)
        w->changed(w->data, which);
}

struct rx_watch *rx_watch_new(struct ev_loop *loop, const struct rx_seen *files,
                              void (*changed)(void *data, const char *which), void *data)
{
    struct rx_watch *w = calloc(1, sizeof *w);
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (!w || fd == -1) {
        if (fd >= 0)
            close(fd);
        free(w);
        return NULL;
    }
    w->loop = loop;
    w->changed = changed;
    w->data = data;
    ev_timer_init(&w->quiet, watch_on_quiet, 0., QUIET_MS / 1000.0);
    ev_io_init(&w->io, watch_on_event, fd, EV_READ);
    ev_io_start(loop, &w->io);
    rx_seen_add_all(&w->files, files);
    for (unsigned i = 0; i < w->files.n; i++)
        add_way(w, w->files.list[i].path);
    w->since_ms = rx_now_ms();
    ev_timer_again(loop, &w->quiet); // a first look: it may have been edited since it was read
    return w;
}

void rx_watch_free(struct rx_watch *w)
{
    if (!w)
        return;
    ev_io_stop(w->loop, &w->io);
    ev_timer_stop(w->loop, &w->quiet);
    close(w->io.fd);
    rx_seen_free(&w->files);
    free(w);
}
