// SPDX-License-Identifier: MIT
// Enters: lines. Leaves: a file with them, opened anew once it was moved away. The lock is held for moments, never while
// the disk is waited for; a line that finds no room, or no room on the disk, is counted.
#include "blocklog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

enum { WAITING_MAX = 256 * 1024 };

void rx_block_log_init(struct rx_block_log *b)
{
    memset(b, 0, sizeof *b);
    pthread_mutex_init(&b->lock, NULL);
    b->fd = -1;
}

void rx_block_log_fini(struct rx_block_log *b)
{
    if (b->fd >= 0)
        close(b->fd);
    free(b->open_path);
    free(b->path);
    free(b->waiting);
    pthread_mutex_destroy(&b->lock);
}

void rx_block_log_set(struct rx_block_log *b, const char *path)
{
    pthread_mutex_lock(&b->lock);
    free(b->path);
    b->path = path ? strdup(path) : NULL;
    pthread_mutex_unlock(&b->lock);
}

void rx_block_log_add(struct rx_block_log *b, const char *line, size_t n)
{
    pthread_mutex_lock(&b->lock);
    bool fits = n && b->n_waiting + n <= WAITING_MAX && (b->waiting || (b->waiting = malloc(WAITING_MAX)));
    if (fits) {
        memcpy(b->waiting + b->n_waiting, line, n);
        b->n_waiting += n;
        atomic_store_explicit(&b->is_brimming, b->n_waiting > WAITING_MAX / 2, memory_order_relaxed);
    }
    pthread_mutex_unlock(&b->lock);
    if (!fits)
        atomic_fetch_add_explicit(&b->lost, 1, memory_order_relaxed);
}

static void reopen(struct rx_block_log *b, const char *path, const char *whose)
{
    struct stat here, there;
    bool is_same = b->fd >= 0 && b->open_path && !strcmp(b->open_path, path);
    if (is_same && fstat(b->fd, &here) == 0 && stat(path, &there) == 0 && here.st_ino == there.st_ino &&
        here.st_dev == there.st_dev)
        return;
    if (b->fd >= 0)
        close(b->fd);
    free(b->open_path);
    b->open_path = strdup(path);
    b->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);
    if (b->fd < 0)
        rx_log_limited(RX_LOG_WARN, "sessions %s: block_log %s: %s", whose, path, strerror(errno));
}

static unsigned long count_lines(const char *text, size_t n)
{
    unsigned long lines = 0;
    for (const char *end = text + n; text < end && (text = memchr(text, '\n', (size_t)(end - text))); text++)
        lines++;
    return lines;
}

static void write_out(struct rx_block_log *b, const char *text, size_t n, const char *whose)
{
    size_t done = 0;
    while (b->fd >= 0 && done < n) {
        ssize_t some = write(b->fd, text + done, n - done);
        if (some > 0)
            done += (size_t)some;
        else if (some == 0 || errno != EINTR)
            break;
    }
    if (b->fd >= 0 && done < n)
        rx_log_limited(RX_LOG_WARN, "sessions %s: block_log %s: %s", whose, b->open_path ? b->open_path : "",
                       strerror(errno));
    if (done < n)
        atomic_fetch_add(&b->lost, count_lines(text + done, n - done));
}

void rx_block_log_flush(struct rx_block_log *b, const char *whose, bool is_anew)
{
    pthread_mutex_lock(&b->lock);
    char *path = b->path ? strdup(b->path) : NULL, *text = b->waiting;
    size_t n = b->n_waiting;
    if (n) {
        b->waiting = NULL;
        b->n_waiting = 0;
        atomic_store_explicit(&b->is_brimming, false, memory_order_relaxed);
    }
    pthread_mutex_unlock(&b->lock);
    if (path && (n || is_anew || b->fd < 0))
        reopen(b, path, whose);
    free(path);
    if (!n)
        return;
    write_out(b, text, n, whose);
    free(text);
}
