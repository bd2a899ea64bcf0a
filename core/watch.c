// SPDX-License-Identifier: MIT
// Directories are watched, not the file: a file that is replaced by a rename is another inode, and a symbolic link
// that is swapped (a Kubernetes ConfigMap swaps "..data" beside it) never touches it at all. Any event in a watched
// directory, once QUIET_MS have passed without another, leads to one look at the bytes; only if they differ from
// those last seen is the owner told. So touching, re-saving, editor temporary files and chmod cost nothing, and a
// file that is briefly gone is waited for.
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "conf.h"
#include "digest.h"

enum { QUIET_MS = 100, PATIENCE_MS = 1000 }; // a directory that is never quiet is looked at all the same

// Not IN_MODIFY: a log beside the config would ring at every line. Who edits a config closes it.
static const uint32_t events = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_DELETE;

struct rx_watch {
    struct ev_loop *loop; // borrowed
    ev_io io;
    ev_timer quiet;
    double since; // when the first event of the present unrest came
    void (*changed)(void *data);
    void *data; // borrowed: the owner's
    uint32_t n;
    struct watched {
        char *path; // owned
        uint64_t seen;
    } files[];
};

// FNV-1a over the bytes; 0 when the file cannot be read now.
static uint64_t digest(const char *path)
{
    uint8_t buf[16384];
    uint64_t h = RX_DIGEST_START;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return 0;
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0)
        h = rx_digest(h, buf, (size_t)n);
    close(fd);
    return n == 0 ? h | 1 : 0;
}

static void add_directory_of(struct rx_watch *w, const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    inotify_add_watch(w->io.fd, dirname(copy), events);
}

// The directory of the path as written, and of what each symbolic link on the way to the file leads to. Adding one
// that is watched already changes nothing.
static void add_directories(struct rx_watch *w, const char *path)
{
    char at[PATH_MAX], link[PATH_MAX], real[PATH_MAX];
    snprintf(at, sizeof at, "%s", path);
    for (int hops = 0; hops < 16; hops++) {
        add_directory_of(w, at);
        ssize_t n = readlink(at, link, sizeof link - 1);
        if (n <= 0)
            break;
        link[n] = 0;
        if (link[0] == '/') {
            memcpy(at, link, (size_t)n + 1);
            continue;
        }
        char base[PATH_MAX];
        memcpy(base, at, sizeof base);
        if (snprintf(at, sizeof at, "%s/%s", dirname(base), link) >= (int)sizeof at)
            break;
    }
    if (realpath(path, real))
        add_directory_of(w, real);
}

static void watch_on_event(struct ev_loop *loop, ev_io *io, int revents)
{
    (void)revents;
    struct rx_watch *w = RX_CONTAINER(io, struct rx_watch, io);
    char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    while (read(io->fd, buf, sizeof buf) > 0)
        ; // which name it was does not matter: the bytes tell
    if (!ev_is_active(&w->quiet))
        w->since = ev_now(loop);
    w->quiet.repeat = QUIET_MS / 1000.0;
    if (ev_now(loop) - w->since < PATIENCE_MS / 1000.0)
        ev_timer_again(loop, &w->quiet);
}

static void watch_on_quiet(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)revents;
    struct rx_watch *w = RX_CONTAINER(t, struct rx_watch, quiet);
    ev_timer_stop(loop, t);
    bool is_changed = false;
    for (uint32_t i = 0; i < w->n; i++) {
        add_directories(w, w->files[i].path); // links may lead elsewhere now
        uint64_t now = digest(w->files[i].path);
        is_changed |= now && now != w->files[i].seen;
        if (now)
            w->files[i].seen = now;
    }
    if (is_changed)
        w->changed(w->data);
}

struct rx_watch *rx_watch_new(struct ev_loop *loop, const struct rx_source *files, uint32_t n, void (*changed)(void *data),
                              void *data)
{
    struct rx_watch *w = calloc(1, sizeof *w + n * sizeof *w->files);
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
    for (uint32_t i = 0; i < n; i++) {
        char *path = strdup(files[i].path);
        if (!path)
            continue;
        w->files[w->n++] = (struct watched){ path, rx_digest(RX_DIGEST_START, files[i].text, files[i].len) | 1 };
        add_directories(w, path);
    }
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
    while (w->n)
        free(w->files[--w->n].path);
    free(w);
}
