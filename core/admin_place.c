// SPDX-License-Identifier: MIT
// Enters: the config, and the address the first listener got. Leaves: a socket file only its owner may open, named
// after that listener's port so that several instances live side by side.
#include "admin_place.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin.h"
#include "bind.h"

const char *rx_admin_directory(unsigned i, char *buf)
{
    const char *mine = getenv("XDG_RUNTIME_DIR");
    bool has_mine = mine && mine[0] == '/' && strlen(mine) < PATH_MAX - 20;
    if (i > (has_mine ? 1u : 0u))
        return NULL;
    snprintf(buf, PATH_MAX, "%s/refractium", i == 0 && has_mine ? mine : "/run");
    return buf;
}

// "8080", or "run-app.sock" for a listener that is a unix socket.
static void name_of(const struct rx_instance *i, char *buf, size_t size)
{
    const struct rx_worker *w = &i->workers[0];
    const struct sockaddr *sa = w->n_listeners ? &w->listeners[0]->addr.sa : NULL;
    if (sa && sa->sa_family == AF_UNIX) {
        const char *path = w->listeners[0]->addr.un.sun_path;
        snprintf(buf, size, "%s", path + strspn(path, "/."));
        for (char *p = buf; *p; p++)
            if (*p == '/')
                *p = '-';
        size_t len = strlen(buf);
        if (len > 5 && !strcmp(buf + len - 5, ".sock"))
            buf[len - 5] = 0;
    } else if (sa && rx_addr_port(sa)) {
        snprintf(buf, size, "%u", rx_addr_port(sa));
    } else {
        snprintf(buf, size, "pid-%d", (int)getpid());
    }
}

int rx_admin_place_choose(struct rx_admin_place *p, const struct rx_instance *i)
{
    const struct rx_conf *conf = i->reload->conf;
    char directory[PATH_MAX], name[108];
    int n;
    p->fd = -1;
    if (conf->is_admin_off)
        return 1;
    if (conf->admin) {
        n = snprintf(p->path, sizeof p->path, "%s", conf->admin);
    } else {
        const char *in = rx_admin_directory(0, directory);
        name_of(i, name, sizeof name);
        n = snprintf(p->path, sizeof p->path, "%s/%s.sock", in, name);
        if (mkdir(in, 0755) == -1 && errno != EEXIST)
            return -errno;
    }
    return n >= (int)sizeof p->path ? -ENAMETOOLONG : 0;
}

int rx_admin_place_open(struct rx_admin_place *p)
{
    struct rx_addr bound, *addr = &p->bind.addr;
    memset(addr, 0, sizeof *addr);
    addr->un.sun_family = AF_UNIX;
    memcpy(addr->un.sun_path, p->path, strlen(p->path) + 1);
    addr->len = sizeof addr->un;
    p->bind.text = p->path;
    mode_t was = umask(0177);
    int rc = rx_bind_open(&p->bind, &p->fd, 1, &bound);
    umask(was);
    if (rc)
        p->fd = -1;
    return rc;
}

void rx_admin_place_close(struct rx_admin_place *p)
{
    if (p->fd < 0)
        return;
    rx_bind_unlink(&p->bind);
    close(p->fd);
    p->fd = -1;
}
