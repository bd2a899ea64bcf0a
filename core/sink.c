// SPDX-License-Identifier: MIT
// Enters: texts. Leaves: the same, whole, at the end of a file, gathered into few writes.
// Once a second it is looked whether the path still names the file; if not, it was rotated and is opened anew. What
// cannot be written is dropped and told, rate-limited. A FIFO without a reader is not waited for.
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "sys.h"

enum { BUFFER = 64 * 1024, LOOK_NS = 1000000000 };

struct rx_sink {
    struct rx_sinks *in; // borrowed; its lock is for the last holder of a generation, who may be any thread: who writes
                         // holds a reference, so that nothing else of a sink needs it
    const struct rx_out_file *file; // borrowed: its generation owns both
    int fd;
    uint64_t size; // in the file
    uint64_t looked_ns;
    size_t len; // gathered
    bool is_dirty;
    struct rx_sink *next_dirty;
    char buf[BUFFER];
};

static int open_file(struct rx_sink *s)
{
    struct stat st;
    s->fd = open(s->file->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);
    s->size = s->fd >= 0 && fstat(s->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    return s->fd;
}

static void put(struct rx_sink *s, const char *text, size_t len)
{
    ssize_t n = s->fd < 0 ? -1 : write(s->fd, text, len);
    if (n == (ssize_t)len)
        return;
    rx_log_limited(RX_LOG_WARN, "%s: %s: %s", s->file->where, s->file->path, n < 0 ? strerror(errno) : "the disk is full");
    s->size -= len - (size_t)RX_MAX(n, (ssize_t)0);
}

static void flush(struct rx_sink *s)
{
    if (s->len)
        put(s, s->buf, s->len);
    s->len = 0;
}

void rx_sink_flush_all(struct rx_sinks *in)
{
    pthread_mutex_lock(&in->lock);
    while (in->dirty) {
        struct rx_sink *s = in->dirty;
        in->dirty = s->next_dirty;
        s->is_dirty = false;
        flush(s);
    }
    pthread_mutex_unlock(&in->lock);
}

struct rx_sink *rx_sink_new(struct rx_sinks *in, const struct rx_out_file *f)
{
    struct rx_sink *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->in = in;
    s->file = f;
    if (open_file(s) >= 0)
        return s;
    int err = errno;
    free(s);
    errno = err;
    return NULL;
}

void rx_sink_free(struct rx_sink *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->in->lock);
    for (struct rx_sink **p = &s->in->dirty; *p; p = &(*p)->next_dirty)
        if (*p == s) {
            *p = s->next_dirty;
            break;
        }
    pthread_mutex_unlock(&s->in->lock);
    flush(s);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

static void look(struct rx_sink *s)
{
    struct stat here, there;
    uint64_t now = rx_sys_now_ns();
    if (now - s->looked_ns < LOOK_NS)
        return;
    s->looked_ns = now;
    bool is_same = s->fd >= 0 && fstat(s->fd, &here) == 0 && stat(s->file->path, &there) == 0 &&
                   here.st_ino == there.st_ino && here.st_dev == there.st_dev;
    if (is_same) { // truncated in place, too, it begins anew
        s->size = (uint64_t)there.st_size + s->len;
        return;
    }
    flush(s);
    if (s->fd >= 0)
        close(s->fd);
    open_file(s);
}

uint64_t rx_sink_size(struct rx_sink *s)
{
    look(s);
    return s->size;
}

int rx_sink_write(struct rx_sink *s, const void *text, size_t len)
{
    look(s);
    if (s->file->max_bytes && s->size + len > s->file->max_bytes)
        return -1;
    if (s->len + len > BUFFER)
        flush(s);
    s->size += len;
    if (len > BUFFER) {
        put(s, text, len);
        return 0;
    }
    memcpy(s->buf + s->len, text, len);
    s->len += len;
    if (!s->is_dirty) {
        pthread_mutex_lock(&s->in->lock);
        s->is_dirty = true;
        s->next_dirty = s->in->dirty;
        s->in->dirty = s;
        pthread_mutex_unlock(&s->in->lock);
    }
    return 0;
}
