// SPDX-License-Identifier: MIT
#include "bind.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "heir.h"
#include "log.h"
#include "passed.h"
#include "sys.h"
#include "udp_io.h"

static pthread_mutex_t linger_lock = PTHREAD_MUTEX_INITIALIZER; // of the list; taken when sockets come and go
static struct rx_linger *lingering;

void rx_bind_linger(struct rx_linger *l)
{
    pthread_mutex_lock(&linger_lock);
    l->next = lingering;
    lingering = l;
    pthread_mutex_unlock(&linger_lock);
}

void rx_bind_linger_end(struct rx_linger *l)
{
    pthread_mutex_lock(&linger_lock);
    for (struct rx_linger **at = &lingering; *at; at = &(*at)->next)
        if (*at == l) {
            *at = l->next;
            break;
        }
    pthread_mutex_unlock(&linger_lock);
}

static bool lingers(const struct rx_bind *b)
{
    bool is_found = false;
    pthread_mutex_lock(&linger_lock);
    for (const struct rx_linger *l = lingering; l && b->is_udp && !is_found; l = l->next)
        is_found = rx_addr_equal(&l->addr.sa, &b->addr.sa);
    pthread_mutex_unlock(&linger_lock);
    return is_found;
}

static void set(int fd, int level, int option)
{
    int on = 1;
    setsockopt(fd, level, option, &on, sizeof on);
}

static int refused(int fd, const char *what)
{
    int err = errno;
    rx_log(RX_LOG_ERROR, "%s: %s%s", what, strerror(err), rx_sockopt_hint(err));
    if (fd >= 0)
        close(fd);
    return -err;
}

static int open_inet(const struct rx_bind *b, const struct rx_addr *addr, bool is_first)
{
    bool is_udp = b->is_udp;
    const char *what;
    int fd = socket(addr->sa.sa_family, (is_udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -errno;
    // For UDP it would let a second program in.
    if (!is_udp)
        set(fd, SOL_SOCKET, SO_REUSEADDR);
    if (addr->sa.sa_family == AF_INET6)
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    if (is_udp)
        rx_udp_setup_listener(fd, addr->sa.sa_family, rx_addr_is_any(addr));
    else
        rx_sys_nodelay(fd); // inherited by every accepted socket: no call per connection
    // SO_REUSEPORT before bind() would let a second program take the address unnoticed; the first socket asks for
    // it alone and opens the door to its siblings only then.
    if (!is_first)
        set(fd, SOL_SOCKET, SO_REUSEPORT);
    if (b->opt && rx_sockopt_set(fd, addr->sa.sa_family, is_udp, &b->opt->common, &what))
        return refused(fd, what);
    if (bind(fd, &addr->sa, addr->len) == -1) {
        int err = errno;
        close(fd);
        return -err;
    }
    set(fd, SOL_SOCKET, SO_REUSEPORT);
    return fd;
}

// A socket file nobody answers on is left over from a crash; one that somebody serves is in use.
static int clear_stale(const struct rx_addr *addr)
{
    struct stat st;
    if (lstat(addr->un.sun_path, &st) == -1)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -errno;
    int rc = connect(fd, &addr->sa, addr->len);
    int err = errno;
    close(fd);
    if (rc == 0 || err != ECONNREFUSED)
        return -EADDRINUSE;
    return unlink(addr->un.sun_path) == -1 ? -errno : 0;
}

static int open_unix(const struct rx_addr *addr)
{
    int rc = clear_stale(addr);
    if (rc)
        return rc;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -errno;
    if (bind(fd, &addr->sa, addr->len) == -1) {
        int err = errno;
        close(fd);
        return -err;
    }
    return fd;
}

static int start(int fd, const struct rx_bind *b, bool is_unix)
{
    struct rx_door_opt opt = b->opt ? *b->opt : (struct rx_door_opt){ 0 };
    const char *what;
    if (is_unix)
        opt.fast_open = 0;
    return rx_sockopt_listen(fd, &opt, &what) ? refused(-1, what) : 0;
}

static int open_passed(const struct rx_bind *b, int *fds, unsigned n)
{
    const struct rx_passed *h = rx_passed_find(b->passed, b->nth);
    return h ? rx_passed_open(h, b->opt, fds, n) : -ENOENT;
}

// An edit may have come with the new program.
static int change_options(const struct rx_bind *b, const int *fds, unsigned n)
{
    const char *what = "";
    for (unsigned i = 0; i < n; i++)
        if (b->opt && rx_sockopt_change(fds[i], b->addr.sa.sa_family, b->is_udp, b->opt, &what))
            return refused(-1, what);
    return 0;
}

static int add_sibling(const struct rx_bind *b, int *fds, unsigned k, const struct rx_addr *bound)
{
    bool is_unix = b->addr.sa.sa_family == AF_UNIX;
    fds[k] = b->is_udp ? -1 : is_unix ? fcntl(fds[0], F_DUPFD_CLOEXEC, 0) : open_inet(b, bound, false);
    if (b->is_udp)
        return 0;
    if (fds[k] < 0)
        return is_unix ? -errno : fds[k];
    int rc = is_unix ? 0 : start(fds[k], b, false);
    if (rc)
        close(fds[k]);
    return rc;
}

// Sockets that another process has left us: `have` of the n. UDP goes without the others: one socket more, and the kernel
// would send clients to other ones than before.
static int complete(const struct rx_bind *b, int *fds, unsigned have, unsigned n, struct rx_addr *bound)
{
    socklen_t len = sizeof bound->v6;
    if (b->addr.sa.sa_family != AF_UNIX)
        getsockname(fds[0], &bound->sa, &len);
    unsigned k = have;
    int rc = change_options(b, fds, have);
    while (k < n && !rc && !(rc = add_sibling(b, fds, k, bound)))
        k++;
    for (; rc && k > 0; k--)
        if (fds[k - 1] >= 0)
            close(fds[k - 1]);
    return rc;
}

int rx_bind_open(struct rx_bind *bind_to, int *fds, unsigned n, struct rx_addr *bound)
{
    unsigned k = bind_to->passed ? 0 : rx_heir_take(bind_to, fds, n);
    int rc;
    bool is_unix = bind_to->addr.sa.sa_family == AF_UNIX, is_ours = lingers(bind_to);
    *bound = bind_to->addr;
    if (bind_to->passed)
        return open_passed(bind_to, fds, n);
    if (k)
        return complete(bind_to, fds, k, n, bound);
    for (; k < n; k++) {
        if (is_unix && k)
            rc = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
        else
            rc = is_unix ? open_unix(bound) : open_inet(bind_to, bound, k == 0 && !is_ours);
        if (rc < 0) {
            rc = rc == -1 && is_unix && k ? -errno : rc;
            goto fail;
        }
        fds[k] = rc;
        struct stat st;
        if (is_unix && !k && lstat(bound->un.sun_path, &st) == 0) {
            bind_to->file.device = st.st_dev;
            bind_to->file.inode = st.st_ino;
        }
        if (k == 0 && !is_unix) {
            socklen_t len = sizeof bound->v6;
            getsockname(fds[0], &bound->sa, &len);
        }
    }
    for (unsigned i = 0; i < n; i++)
        if (!bind_to->is_udp && (!is_unix || i == 0) && (rc = start(fds[i], bind_to, is_unix)))
            goto fail;
    return 0;
fail:
    while (k-- > 0)
        close(fds[k]);
    return rc;
}

void rx_bind_unlink(const struct rx_bind *b)
{
    struct stat st;
    if (rx_heir_is())
        return; // still the old process's
    if (b->addr.sa.sa_family == AF_UNIX && b->file.inode && lstat(b->addr.un.sun_path, &st) == 0 &&
        st.st_ino == b->file.inode && st.st_dev == b->file.device)
        unlink(b->addr.un.sun_path);
}

// ---- the addresses of a config -----------------------------------------------------------------------------------

static const char *hint_for(int err)
{
    if (err == EACCES)
        return " (ports below 1024 need root or CAP_NET_BIND_SERVICE)";
    if (err == EADDRINUSE)
        return " (another program listens there)";
    if (err == EADDRNOTAVAIL)
        return " (no interface has this address)";
    return "";
}

// "*:P" means both families; a machine without IPv6 has only one.
static bool may_skip(const struct rx_bind *b, int err)
{
    return b->text[0] == '*' && b->addr.sa.sa_family == AF_INET6 && (err == EAFNOSUPPORT || err == EADDRNOTAVAIL);
}

uint32_t rx_bind_count(const struct rx_conf *conf)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < conf->n_listens; i++)
        n += conf->listens[i]->n_binds;
    return n;
}

bool rx_bind_is_in(const struct rx_conf *conf, const struct rx_bind *b)
{
    for (uint32_t i = 0; i < conf->n_listens; i++)
        for (uint32_t k = 0; k < conf->listens[i]->n_binds; k++)
            if (conf->listens[i]->binds[k].is_udp == b->is_udp && !conf->listens[i]->binds[k].passed == !b->passed &&
                rx_addr_equal(&conf->listens[i]->binds[k].addr.sa, &b->addr.sa))
                return true;
    return false;
}

void rx_bind_unlink_first(const struct rx_conf *conf, uint32_t n, const struct rx_conf *keep)
{
    for (uint32_t i = 0; i < conf->n_listens; i++)
        for (uint32_t k = 0; k < conf->listens[i]->n_binds && n; k++, n--)
            if (!keep || !rx_bind_is_in(keep, &conf->listens[i]->binds[k]))
                rx_bind_unlink(&conf->listens[i]->binds[k]);
}

// A client's data in its SYN is taken where the system allows it.
static void warn_about_fast_open(const struct rx_bind *b)
{
    static bool is_told;
    unsigned allowed = 2;
    FILE *f = b->opt && b->opt->fast_open && !b->is_udp && !is_told ? fopen("/proc/sys/net/ipv4/tcp_fastopen", "re") : NULL;
    if (!f)
        return;
    if (fscanf(f, "%u", &allowed) == 1 && !(allowed & 2)) {
        is_told = true;
        rx_log(RX_LOG_WARN, "fast_open has no effect: the system does not allow it (sysctl net.ipv4.tcp_fastopen=3 does)");
    }
    fclose(f);
}

int rx_bind_open_told(struct rx_bind *b, int *fds, unsigned n)
{
    char text[RX_ADDR_TEXT];
    int rc = rx_bind_open(b, fds, n, &b->bound);
    if (rc)
        b->bound.len = 0;
    if (rc && may_skip(b, -rc))
        return 1;
    if (rc && b->passed)
        rx_log(RX_LOG_ERROR, "cannot listen on %s: %s", b->text,
               rc == -ENOENT ? "no socket of this name was passed (LISTEN_FDNAMES)" : strerror(-rc));
    else if (rc)
        rx_log(RX_LOG_ERROR, "cannot listen on %s%s: %s%s", rx_addr_print(&b->addr.sa, text), b->is_udp ? " (udp)" : "",
               strerror(-rc), hint_for(-rc));
    else
        warn_about_fast_open(b);
    return rc ? -1 : 0;
}

void rx_bind_tell(const struct rx_bind *b)
{
    char text[RX_ADDR_TEXT];
    const char *kind = b->is_udp ? " (udp)" : "";
    if (b->bound.len && b->passed)
        rx_log(RX_LOG_INFO, "listening on %s%s (%s)", rx_addr_print(&b->bound.sa, text), kind, b->text);
    else if (b->bound.len)
        rx_log(RX_LOG_INFO, "listening on %s%s", rx_addr_print(&b->bound.sa, text), kind);
}
