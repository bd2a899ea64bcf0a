// SPDX-License-Identifier: MIT
// Enters: paths and fields. Leaves: descriptors, and datagrams to the journal's socket and to syslog's.
// libsystemd and syslog(3) wait while their reader is busy; a worker must not. So both protocols are spoken here, over
// sockets that refuse rather than block and that need no connection: a reader that was restarted is found again.
#include "log_out.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

// ---- files ----------------------------------------------------------------------------------------------------------

enum { MAX_FILES = 4 };

// The engine thread's.
static struct log_file {
    int fd; // owned
    char path[PATH_MAX];
} files[MAX_FILES];
static unsigned n_files;

static int open_path(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640); // a FIFO may lack a reader
    return fd == -1 ? -errno : fd;
}

int rx_log_file_open(const char *path)
{
    if (strlen(path) >= sizeof files[0].path)
        return -ENAMETOOLONG;
    if (n_files == MAX_FILES)
        return -EMFILE;
    int fd = open_path(path);
    if (fd < 0)
        return fd;
    files[n_files].fd = fd;
    memcpy(files[n_files++].path, path, strlen(path) + 1);
    return fd;
}

void rx_log_file_close(int fd)
{
    for (unsigned i = 0; i < n_files; i++)
        if (files[i].fd == fd) {
            close(fd);
            files[i] = files[--n_files];
            return;
        }
}

static bool is_still_there(const struct log_file *f)
{
    struct stat here, there;
    return fstat(f->fd, &here) == 0 && stat(f->path, &there) == 0 && here.st_ino == there.st_ino &&
           here.st_dev == there.st_dev;
}

void rx_log_files_look(bool must)
{
    for (unsigned i = 0; i < n_files; i++) {
        if (!must && is_still_there(&files[i]))
            continue;
        int fd = open_path(files[i].path);
        if (fd < 0 || dup3(fd, files[i].fd, O_CLOEXEC) == -1)
            rx_log_limited(RX_LOG_WARN, "cannot open %s anew, the old file is written on: %s", files[i].path,
                           strerror(fd < 0 ? -fd : errno));
        if (fd >= 0)
            close(fd);
    }
}

bool rx_log_files_any(void)
{
    return n_files > 0;
}

// ---- datagrams ------------------------------------------------------------------------------------------------------

static int sender = -1; // for both; never closed
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_sender(void)
{
    sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int send_to(const char *path, const char *data, size_t len)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    pthread_once(&once, open_sender);
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    return sendto(sender, data, len, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof to) == -1 ? -errno : 0;
}

// https://systemd.io/JOURNAL_NATIVE_PROTOCOL: KEY=value, or, where the value has line ends, its length and then it.
static size_t add_field(char *buf, size_t k, size_t size, const struct rx_log_field *f)
{
    size_t key = strlen(f->key), len = strlen(f->value);
    bool is_long = memchr(f->value, '\n', len);
    if (k + key + len + 10 > size)
        return k; // rather an entry without it than none
    memcpy(buf + k, f->key, key);
    k += key;
    buf[k++] = is_long ? '\n' : '=';
    for (unsigned i = 0; is_long && i < 8; i++)
        buf[k++] = (char)((uint64_t)len >> 8 * i);
    memcpy(buf + k, f->value, len);
    buf[k + len] = '\n';
    return k + len + 1;
}

int rx_log_journal(const struct rx_log_field *fields, unsigned n)
{
    char buf[8192];
    size_t k = add_field(buf, 0, sizeof buf, &(struct rx_log_field){ "SYSLOG_IDENTIFIER", "refractium" });
    for (unsigned i = 0; i < n; i++)
        k = add_field(buf, k, sizeof buf, &fields[i]);
    return send_to("/run/systemd/journal/socket", buf, k);
}

// RFC 3164, 4.1, as syslog(3) writes it.
int rx_log_syslog(int priority, const char *text)
{
    char buf[4096], when[32];
    time_t now = time(NULL);
    struct tm tm;
    strftime(when, sizeof when, "%b %e %H:%M:%S", localtime_r(&now, &tm));
    int n = snprintf(buf, sizeof buf, "<%d>%s refractium[%d]: %s", LOG_DAEMON | priority, when, (int)getpid(), text);
    return send_to("/dev/log", buf, RX_MIN((size_t)n, sizeof buf - 1));
}
