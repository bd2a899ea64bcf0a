// SPDX-License-Identifier: MIT
// Enters: the environment of a service manager. Leaves: sockets by name, and copies of them for workers.
// All workers wait on one queue for such a socket, as they do for a unix socket. Datagrams of one client must come to
// one worker, so a UDP socket is the first one's alone; a socket for both families is not taken for UDP, where answers
// would have to know which family their question came by.
#include "passed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "sys.h"
#include "udp_io.h"

#ifdef RX_WITHOUT_SYSTEMD
void rx_passed_take(void)
{
    if (getenv("LISTEN_FDS"))
        rx_log(RX_LOG_WARN, "LISTEN_FDS is set, but this program was built without systemd (WITH_SYSTEMD=0)");
}

const struct rx_passed *rx_passed_find(const char *name, unsigned nth)
{
    (void)name, (void)nth;
    return NULL;
}

const struct rx_passed *rx_passed_at(unsigned i)
{
    (void)i;
    return NULL;
}

char *rx_passed_on(void)
{
    return NULL;
}
#else
#include <systemd/sd-daemon.h>

#define VARIABLE "REFRACTIUM_PASSED"

static struct {
    struct rx_passed *list; // owned, with the names; till the process ends
    unsigned n;
} passed;

static bool option_is(int fd, int level, int option, int value)
{
    int is = -1;
    socklen_t len = sizeof is;
    return getsockopt(fd, level, option, &is, &len) == 0 && is == value;
}

// Why this one cannot be served; NULL: it can.
static const char *look_at(int fd, struct rx_passed *h)
{
    struct sockaddr_storage where = { 0 };
    socklen_t len = sizeof where;
    if (getsockname(fd, (struct sockaddr *)&where, &len))
        return "is no socket";
    h->is_udp = option_is(fd, SOL_SOCKET, SO_TYPE, SOCK_DGRAM);
    if (!h->is_udp && !option_is(fd, SOL_SOCKET, SO_TYPE, SOCK_STREAM))
        return "is neither a stream nor a datagram socket";
    if (where.ss_family != AF_INET && where.ss_family != AF_INET6 && where.ss_family != AF_UNIX)
        return "is of a family that is not served";
    if (h->is_udp && where.ss_family == AF_UNIX)
        return "is a unix socket for datagrams";
    if (h->is_udp && where.ss_family == AF_INET6 && option_is(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0))
        return "takes datagrams of both families (set BindIPv6Only=ipv6-only, and ListenDatagram= for each)";
    h->addr.len = (socklen_t)RX_MIN(len, sizeof h->addr.un);
    memcpy(&h->addr.sa, &where, h->addr.len);
    return NULL;
}

static void add(int fd, const char *name)
{
    struct rx_passed one = { .fd = fd };
    const char *why = look_at(fd, &one);
    if (why) {
        rx_log(RX_LOG_WARN, "the socket \"%s\" that was passed %s", name, why);
        return;
    }
    struct rx_passed *list = realloc(passed.list, (passed.n + 1) * sizeof *list);
    if (list)
        passed.list = list;
    if (list && (one.name = strdup(name)))
        list[passed.n++] = one;
}

// "7:web:8:dns", from the program whose place we take.
static void take_on(char *text)
{
    char *rest = text, *number, *name;
    while ((number = strsep(&rest, ":")) && (name = strsep(&rest, ":"))) {
        int fd = atoi(number);
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
            add(fd, name);
    }
}

void rx_passed_take(void)
{
    char **names = NULL;
    int n = sd_listen_fds_with_names(1, &names);
    for (int i = 0; i < n; i++) {
        add(SD_LISTEN_FDS_START + i, names[i]);
        free(names[i]);
    }
    free(names);
    char *text = getenv(VARIABLE) ? strdup(getenv(VARIABLE)) : NULL;
    unsetenv(VARIABLE);
    if (text)
        take_on(text);
    free(text);
}

const struct rx_passed *rx_passed_at(unsigned i)
{
    return i < passed.n ? &passed.list[i] : NULL;
}

char *rx_passed_on(void)
{
    char *text = NULL;
    size_t len;
    FILE *f = passed.n ? open_memstream(&text, &len) : NULL;
    if (!f)
        return NULL;
    fprintf(f, VARIABLE "=");
    for (unsigned i = 0; i < passed.n; i++)
        fprintf(f, "%s%d:%s", i ? ":" : "", passed.list[i].fd, passed.list[i].name);
    fclose(f);
    return text;
}

const struct rx_passed *rx_passed_find(const char *name, unsigned nth)
{
    for (unsigned i = 0; i < passed.n; i++)
        if (!strcmp(passed.list[i].name, name) && nth-- == 0)
            return &passed.list[i];
    return NULL;
}
#endif

static int make_ready(const struct rx_passed *h, const struct rx_door_opt *opt)
{
    static const struct rx_door_opt none;
    const char *what = "";
    int flags = fcntl(h->fd, F_GETFL);
    if (flags == -1 || fcntl(h->fd, F_SETFL, flags | O_NONBLOCK) == -1)
        return -errno;
    if (h->is_udp)
        rx_udp_setup_listener(h->fd, h->addr.sa.sa_family, rx_addr_is_any(&h->addr));
    else if (h->addr.sa.sa_family != AF_UNIX)
        rx_sys_nodelay(h->fd);
    if (rx_sockopt_change(h->fd, h->addr.sa.sa_family, h->is_udp, opt ? opt : &none, &what) == 0)
        return 0;
    rx_log(RX_LOG_ERROR, "%s: %s%s", what, strerror(errno), rx_sockopt_hint(errno));
    return -EINVAL;
}

int rx_passed_open(const struct rx_passed *h, const struct rx_door_opt *opt, int *fds, unsigned n)
{
    int rc = make_ready(h, opt);
    for (unsigned i = 0; i < n; i++)
        fds[i] = -1;
    for (unsigned i = 0; !rc && i < (h->is_udp ? 1 : n); i++)
        if ((fds[i] = fcntl(h->fd, F_DUPFD_CLOEXEC, 0)) == -1)
            rc = -errno;
    for (unsigned i = 0; rc && i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return rc;
}
