// SPDX-License-Identifier: MIT
// Enters: the path of a log. Leaves: its lines, each once and whole.
//
// inotify wakes the follower when the file grows or the directory changes; once a second it looks in any case, for file
// systems that tell nothing. When the path names another file, that one is read from its beginning, and the one it took
// the place of goes on being read until it has been quiet for a while: who writes a log reopens it some time after it was
// moved. A file that is shorter than what was read of it was truncated and begins anew. No more than PIECE bytes are read
// before the loop has its turn. A line longer than LINE_MAX is passed over and counted.
#include "tail.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "wheel.h"

enum { LINE_MAX_BYTES = 64 * 1024, PIECE = 1024 * 1024, FILES = 16, MOVES = 4, QUIET_MS = 10000 };

struct file {
    int fd;
    dev_t dev;
    ino_t ino;
    uint64_t at;      // read so far
    uint64_t grew_ms; // when it last had something
    char *buf;        // LINE_MAX_BYTES; owned
    size_t n;         // of a line that has not ended
    bool is_skipping; // within a line that is passed over
};

struct rx_follower {
    struct ev_loop *loop; // borrowed
    char *path, *dir;     // owned
    rx_line_fn *line;
    void *data;
    struct rx_tail_count *count; // borrowed
    ev_io told;                  // inotify; fd -1: there is none
    ev_timer tick, more;
    struct file files[FILES]; // the last one is what the path names, or named last
    unsigned n_files;
    int dir_watch;
    uint32_t cookie; // of the move of a file that the path named
    unsigned mover;  // which of those below; MOVES: it was under the path still
    char moved[MOVES][NAME_MAX + 1]; // names of such files, as far as they were told; "": none
    unsigned n_moves;
    bool has_begun; // the first look is over: what comes now is new
};

static void add(atomic_ulong *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

// ---- lines ------------------------------------------------------------------------------------------------------------

static void give(struct rx_follower *t, const char *line, size_t n)
{
    add(&t->count->lines);
    t->line(t->data, line, n);
}

// The buffer holds n bytes; whole lines leave it.
static void take_lines(struct rx_follower *t, struct file *f)
{
    char *from = f->buf, *end = f->buf + f->n;
    for (char *newline; (newline = memchr(from, '\n', (size_t)(end - from))); from = newline + 1) {
        if (!f->is_skipping)
            give(t, from, (size_t)(newline - from));
        f->is_skipping = false;
    }
    f->n = (size_t)(end - from);
    if (f->n == LINE_MAX_BYTES) {
        if (!f->is_skipping) {
            add(&t->count->lines);
            add(&t->count->bad);
        }
        f->is_skipping = true;
    }
    if (f->is_skipping)
        f->n = 0;
    memmove(f->buf, from, f->n);
}

// True: there is more.
static bool read_file(struct rx_follower *t, struct file *f)
{
    struct stat st;
    if (fstat(f->fd, &st) == 0 && (uint64_t)st.st_size < f->at) {
        f->at = f->n = 0;
        f->is_skipping = false;
    }
    for (size_t done = 0; done < PIECE;) {
        ssize_t n = pread(f->fd, f->buf + f->n, LINE_MAX_BYTES - f->n, (off_t)f->at);
        if (n == -1 && errno == EINTR)
            continue;
        if (n < 0)
            rx_log_limited(RX_LOG_WARN, "tail %s: %s", t->path, strerror(errno));
        if (n <= 0)
            return false;
        f->at += (size_t)n;
        f->n += (size_t)n;
        f->grew_ms = rx_now_ms();
        done += (size_t)n;
        take_lines(t, f);
    }
    return true;
}

// ---- files ------------------------------------------------------------------------------------------------------------

static void leave_file(struct rx_follower *t, unsigned i)
{
    struct file *f = &t->files[i];
    if (f->n && !f->is_skipping)
        give(t, f->buf, f->n); // its last line had no end
    close(f->fd);
    free(f->buf);
    memmove(f, f + 1, (--t->n_files - i) * sizeof *f);
}

// Somewhere within a line: the rest of it says nothing.
static void begin_at_end(struct file *f, uint64_t size)
{
    char last;
    f->at = size;
    f->is_skipping = size && pread(f->fd, &last, 1, (off_t)size - 1) == 1 && last != '\n';
}

static bool is_known(const struct rx_follower *t, const struct stat *st)
{
    for (unsigned i = 0; i < t->n_files; i++)
        if (t->files[i].ino == st->st_ino && t->files[i].dev == st->st_dev)
            return true;
    return false;
}

static void make_room(struct rx_follower *t)
{
    if (t->n_files < FILES)
        return;
    while (read_file(t, &t->files[0]))
        continue; // what it still has comes before what is new
    leave_file(t, 0);
}

// One that is followed already is left as it is.
static void enter_file(struct rx_follower *t, const char *path)
{
    struct stat st;
    struct file f = { .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), .grew_ms = rx_now_ms() };
    if (f.fd < 0) {
        if (errno != ENOENT)
            rx_log_limited(RX_LOG_WARN, "tail %s: %s", path, strerror(errno));
        return;
    }
    bool is_file = fstat(f.fd, &st) == 0 && S_ISREG(st.st_mode), was_known = is_file && is_known(t, &st);
    if (!is_file || was_known || !(f.buf = malloc(LINE_MAX_BYTES))) {
        if (!was_known)
            rx_log_limited(RX_LOG_WARN, "tail %s: is no file that can be followed", path);
        close(f.fd);
        return;
    }
    f.dev = st.st_dev;
    f.ino = st.st_ino;
    if (!t->has_begun)
        begin_at_end(&f, (uint64_t)st.st_size);
    make_room(t);
    t->files[t->n_files++] = f;
    if (t->told.fd >= 0)
        inotify_add_watch(t->told.fd, path, IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF);
}

static void look_for_file(struct rx_follower *t)
{
    struct stat st;
    const struct file *last = t->n_files ? &t->files[t->n_files - 1] : NULL;
    if (t->told.fd >= 0 && t->dir_watch < 0)
        t->dir_watch = inotify_add_watch(t->told.fd, t->dir, IN_CREATE | IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF);
    if (stat(t->path, &st) == 0 && (!last || st.st_dev != last->dev || st.st_ino != last->ino))
        enter_file(t, t->path);
}

// A file that came and was moved away between two looks is known by its new name alone.
static void enter_moved(struct rx_follower *t, const char *name)
{
    char path[PATH_MAX];
    make_room(t); // for one beside the last
    unsigned n = t->n_files;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", t->dir, name) >= sizeof path)
        return;
    struct stat st;
    bool is_last_current = n && stat(t->path, &st) == 0 && t->files[n - 1].ino == st.st_ino &&
                           t->files[n - 1].dev == st.st_dev;
    struct file last = is_last_current ? t->files[--t->n_files] : (struct file){ 0 };
    if (is_last_current && stat(path, &st) == 0 && st.st_ino == last.ino && st.st_dev == last.dev) {
        t->n_files++;
        return; // it is about to take the path's place again
    }
    enter_file(t, path);
    if (is_last_current)
        t->files[t->n_files++] = last;
}

static void hear_move(struct rx_follower *t, const struct inotify_event *e)
{
    const char *slash = strrchr(t->path, '/'), *base = slash ? slash + 1 : t->path;
    if (!e->len)
        return;
    if (e->mask & IN_MOVED_FROM) {
        bool is_ours = !strcmp(e->name, base);
        for (t->mover = is_ours ? MOVES : 0; t->mover < MOVES && strcmp(t->moved[t->mover], e->name);)
            t->mover++;
        t->cookie = is_ours || t->mover < MOVES ? e->cookie : 0;
    } else if (e->mask & IN_MOVED_TO && t->cookie && e->cookie == t->cookie) {
        unsigned at = t->mover < MOVES ? t->mover : t->n_moves++ % MOVES;
        snprintf(t->moved[at], sizeof t->moved[at], "%s", e->name);
        enter_moved(t, e->name);
    }
}

static void hear_events(struct rx_follower *t)
{
    _Alignas(struct inotify_event) char buf[16 * 1024];
    ssize_t n;
    while (t->told.fd >= 0 && (n = read(t->told.fd, buf, sizeof buf)) > 0)
        for (char *p = buf; p < buf + n;) {
            const struct inotify_event *e = (const struct inotify_event *)(const void *)p;
            if (e->wd == t->dir_watch && e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) {
                if (!(e->mask & IN_IGNORED))
                    inotify_rm_watch(t->told.fd, t->dir_watch);
                t->dir_watch = -1; // looked for again
            } else if (e->wd == t->dir_watch) {
                hear_move(t, e);
            }
            p += sizeof *e + e->len;
        }
    memset(t->moved, 0, sizeof t->moved); // moved once more later, it is an old file
}

static void pump(struct rx_follower *t)
{
    bool has_more = false;
    hear_events(t);
    look_for_file(t);
    t->has_begun = true;
    for (unsigned i = 0; i < t->n_files;) {
        bool is_last = i + 1 == t->n_files, is_more = read_file(t, &t->files[i]);
        has_more |= is_more;
        if (!is_last && !is_more && t->files[i].grew_ms + QUIET_MS < rx_now_ms())
            leave_file(t, i);
        else
            i++;
    }
    if (has_more && !ev_is_active(&t->more)) {
        ev_timer_set(&t->more, 0., 0.);
        ev_timer_start(t->loop, &t->more);
    }
}

static void follower_on_told(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop, (void)events;
    pump(io->data);
}

static void follower_on_timer(struct ev_loop *loop, ev_timer *w, int events)
{
    (void)loop, (void)events;
    pump(w->data);
}

// ---- its own life -----------------------------------------------------------------------------------------------------

static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

struct rx_follower *rx_follower_new(struct ev_loop *loop, const char *path, rx_line_fn *line, void *data,
                                    struct rx_tail_count *count)
{
    struct rx_follower *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->loop = loop;
    t->path = strdup(path);
    t->dir = dir_of(path);
    t->line = line;
    t->data = data;
    t->count = count;
    t->dir_watch = -1;
    if (!t->path || !t->dir) {
        free(t->path);
        free(t->dir);
        free(t);
        return NULL;
    }
    ev_io_init(&t->told, follower_on_told, inotify_init1(IN_NONBLOCK | IN_CLOEXEC), EV_READ);
    ev_timer_init(&t->tick, follower_on_timer, 1., 1.);
    ev_timer_init(&t->more, follower_on_timer, 0., 0.);
    t->told.data = t->tick.data = t->more.data = t;
    if (t->told.fd >= 0)
        ev_io_start(loop, &t->told);
    else
        rx_log(RX_LOG_WARN, "tail %s: inotify: %s; looking once a second", path, strerror(errno));
    ev_timer_start(loop, &t->tick);
    pump(t);
    return t;
}

void rx_follower_free(struct rx_follower *t)
{
    if (!t)
        return;
    ev_io_stop(t->loop, &t->told);
    ev_timer_stop(t->loop, &t->tick);
    ev_timer_stop(t->loop, &t->more);
    if (t->told.fd >= 0)
        close(t->told.fd);
    for (unsigned i = 0; i < t->n_files; i++) {
        close(t->files[i].fd);
        free(t->files[i].buf);
    }
    free(t->path);
    free(t->dir);
    free(t);
}
