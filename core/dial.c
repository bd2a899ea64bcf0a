// SPDX-License-Identifier: MIT
// Enters: where to, and a pool. Leaves: a socket that is connected or about to be, or an errno.
// Of several source addresses each has its turn, and one that has no port left towards that backend, or that this machine
// does not have, is followed by the next. No port is reserved before connect() knows the other end, so that each address
// has all of them towards each backend.
#include "dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "conf.h"
#include "log.h"
#include "sockopt.h"
#include "sys.h"

enum { SOURCES_TRIED = 16 }; // of one pool, for one connection

static int bind_source(int fd, const struct rx_pool *pool, int family, uint32_t turn)
{
    union rx_ip from;
    int on = 1;
    if (!rx_origins_count(&pool->sources, family))
        return 0;
    rx_origins_pick(&pool->sources, family, turn, &from);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, &from.sa, family == AF_INET ? sizeof from.v4 : sizeof from.v6) == 0)
        return 0;
    int err = errno;
    char text[RX_ADDR_TEXT];
    rx_log_limited(RX_LOG_ERROR, "pool %s: source %s: %s", pool->name, rx_addr_print_host(&from.sa, text), strerror(err));
    errno = err;
    return -1;
}

// A socket with the pool's options and its source address, or the client's; 0, or -1 with errno and a line in the log.
static int prepare(int fd, const struct rx_pool *pool, struct rx_dial *d, uint32_t turn)
{
    const char *what;
    int family = d->to->sa.sa_family;
    if (rx_sockopt_set(fd, family, d->type == SOCK_DGRAM, &pool->sockopt, &what) == 0) {
        if (!d->as || d->as->sa.sa_family != family)
            return bind_source(fd, pool, family, turn);
        what = "transparent";
        if (rx_sockopt_bind_as(fd, d->as) == 0)
            return 0;
    }
    int err = errno;
    rx_log_limited(RX_LOG_ERROR, "backend %s: %s: %s%s", d->name, what, strerror(err), rx_sockopt_hint(err));
    d->is_ours = true;
    errno = err;
    return -1;
}

static int dial_once(const struct rx_pool *pool, struct rx_dial *d, uint32_t turn)
{
    int rc, fd = socket(d->to->sa.sa_family, d->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;
    if (d->type == SOCK_STREAM && d->to->sa.sa_family != AF_UNIX)
        rx_sys_nodelay(fd);
    rc = prepare(fd, pool, d, turn);
    if (!rc)
        do
            rc = connect(fd, &d->to->sa, d->to->len);
        while (rc == -1 && errno == EINTR);
    d->is_connected = rc == 0;
    if (rc == 0 || errno == EINPROGRESS)
        return fd;
    int err = errno;
    close(fd);
    errno = err;
    return -1;
}

int rx_dial(const struct rx_pool *pool, struct rx_dial *d)
{
    uint32_t n = d->as ? 0 : rx_origins_count(&pool->sources, d->to->sa.sa_family);
    uint32_t turn = n > 1 ? atomic_fetch_add_explicit(&pool->live->source_turn, 1, memory_order_relaxed) : 0;
    d->is_ours = false;
    for (uint32_t i = 1;; i++, turn++) {
        int fd = dial_once(pool, d, turn);
        if (fd >= 0 || errno != EADDRNOTAVAIL || i >= RX_MIN(n, (uint32_t)SOURCES_TRIED))
            return fd;
    }
}
