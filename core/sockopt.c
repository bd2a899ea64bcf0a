// SPDX-License-Identifier: MIT
// Enters: a socket, and a pool's or a listener's options. Leaves: the socket with them, or which of them the system refuses.
// One that is refused is never passed over: marks and interfaces decide where packets go.
#include "sockopt.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

enum { PROBES = 3 }; // that may go unanswered before a connection counts as dead

static bool is_set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

static bool is_text_set(int fd, int level, int option, const char *text)
{
    return setsockopt(fd, level, option, text, (socklen_t)strlen(text) + 1) == 0;
}

// Left alone where it is so already: even setting the same takes a UDP socket out of its SO_REUSEPORT group for good, and
// the kernel then sends the clients of all workers to one of them. "": any.
static bool is_interface_set(int fd, const char *name)
{
    char now[IF_NAMESIZE] = "";
    socklen_t len = sizeof now;
    if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, now, &len) == 0 && !strncmp(len ? now : "", name, sizeof now))
        return true;
    return is_text_set(fd, SOL_SOCKET, SO_BINDTODEVICE, name);
}

static bool is_keepalive_set(int fd, uint32_t seconds)
{
    return is_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) && is_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)seconds) &&
           is_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)seconds) && is_set(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
}

int rx_sockopt_set(int fd, int family, bool is_udp, const struct rx_sockopt *o, const char **what)
{
    if (family == AF_UNIX)
        return 0;
    *what = "mark";
    if (o->mark && !is_set(fd, SOL_SOCKET, SO_MARK, (int)o->mark))
        return -1;
    *what = "interface";
    if (o->interface && !is_interface_set(fd, o->interface))
        return -1;
    if (is_udp)
        return 0;
    *what = "keepalive";
    if (o->keepalive_s && !is_keepalive_set(fd, o->keepalive_s))
        return -1;
    *what = "user_timeout";
    if (o->user_timeout_ms && !is_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)o->user_timeout_ms))
        return -1;
    *what = "congestion";
    if (o->congestion && !is_text_set(fd, IPPROTO_TCP, TCP_CONGESTION, o->congestion))
        return -1;
    return 0;
}

int rx_sockopt_listen(int fd, const struct rx_door_opt *o, const char **what)
{
    *what = "fast_open";
    if (o->fast_open && !is_set(fd, IPPROTO_TCP, TCP_FASTOPEN, (int)o->fast_open))
        return -1;
    *what = "backlog";
    return listen(fd, o->backlog ? (int)RX_MIN(o->backlog, (uint32_t)RX_BACKLOG) : RX_BACKLOG);
}

static bool is_text_same(const char *a, const char *b)
{
    return !strcmp(a ? a : "", b ? b : "");
}

bool rx_sockopt_is_same(const struct rx_door_opt *a, const struct rx_door_opt *b)
{
    const struct rx_sockopt *x = &a->common, *y = &b->common;
    return a->backlog == b->backlog && a->fast_open == b->fast_open && x->keepalive_s == y->keepalive_s &&
           x->user_timeout_ms == y->user_timeout_ms && x->mark == y->mark && is_text_same(x->congestion, y->congestion) &&
           is_text_same(x->interface, y->interface);
}

static void system_congestion(int fd)
{
    char name[16] = "";
    FILE *f = fopen("/proc/sys/net/ipv4/tcp_congestion_control", "re");
    if (f && fscanf(f, "%15s", name) == 1)
        is_text_set(fd, IPPROTO_TCP, TCP_CONGESTION, name);
    if (f)
        fclose(f);
}

int rx_sockopt_change(int fd, int family, bool is_udp, const struct rx_door_opt *o, const char **what)
{
    if (family == AF_UNIX)
        return is_udp ? 0 : rx_sockopt_listen(fd, &(struct rx_door_opt){ .backlog = o->backlog }, what);
    if (!o->common.mark)
        is_set(fd, SOL_SOCKET, SO_MARK, 0);
    if (!o->common.interface)
        is_interface_set(fd, "");
    if (!is_udp && !o->common.keepalive_s)
        is_set(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
    if (!is_udp && !o->common.user_timeout_ms)
        is_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
    if (!is_udp && !o->common.congestion)
        system_congestion(fd);
    if (!is_udp && !o->fast_open)
        is_set(fd, IPPROTO_TCP, TCP_FASTOPEN, 0);
    if (rx_sockopt_set(fd, family, is_udp, &o->common, what))
        return -1;
    return is_udp ? 0 : rx_sockopt_listen(fd, o, what);
}

int rx_sockopt_bind_as(int fd, const union rx_ip *ip)
{
    union rx_ip from = *ip;
    bool is_v4 = ip->sa.sa_family == AF_INET;
    if (is_v4)
        from.v4.sin_port = 0;
    else
        from.v6.sin6_port = 0;
    if (!(is_v4 ? is_set(fd, IPPROTO_IP, IP_TRANSPARENT, 1) : is_set(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1)))
        return -1;
    is_set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    return bind(fd, &from.sa, is_v4 ? sizeof from.v4 : sizeof from.v6);
}

const char *rx_sockopt_hint(int err)
{
    switch (err) {
    case EPERM:
        return " (needs CAP_NET_ADMIN)";
    case ENODEV:
        return " (there is no such interface)";
    case ENOENT:
        return " (the kernel has no such algorithm: see net.ipv4.tcp_available_congestion_control)";
    default:
        return "";
    }
}
