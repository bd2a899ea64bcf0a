// SPDX-License-Identifier: MIT
// Enters: -p, -c, --admin. Leaves: a connection to the instance that is meant, or a line that says why there is none.
// Instances are asked which config they run, because the file may be broken or name another port by now: it is loaded
// only when no instance says that it runs it, to see whether it names a socket of its own.
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin.h"
#include "ctl.h"
#include "engine.h"
#include "home.h"
#include "load.h"

enum { HELLO_S = 2, ANSWER_S = 60, INSTANCES = 64 };

static void set_patience(int fd, int seconds)
{
    struct timeval t = { .tv_sec = seconds };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

// 0 and c->fd, or negative errno.
static int dial(struct rx_ctl *c, const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof un.sun_path)
        return -ENAMETOOLONG;
    strcpy(un.sun_path, path);
    strcpy(c->path, path);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd == -1)
        return -errno;
    set_patience(c->fd, HELLO_S);
    if (connect(c->fd, (struct sockaddr *)&un, sizeof un) == -1) {
        int err = errno;
        close(c->fd);
        c->fd = -1;
        return -err;
    }
    return 0;
}

static int failed(const struct rx_ctl *c, const char *path, int err)
{
    fprintf(stderr, "refractium %s: %s: %s\n", c->word, path,
            err == ECONNREFUSED ? "the instance that made it is gone" : strerror(err));
    return err == EACCES || err == EPERM ? RX_EXIT_BIND : RX_EXIT_RUNTIME;
}

static int by_path(struct rx_ctl *c, const char *path)
{
    int rc = dial(c, path);
    return rc ? failed(c, path, -rc) : 0;
}

static int by_port(struct rx_ctl *c, const char *port)
{
    char directory[PATH_MAX], path[PATH_MAX + 32];
    if (!*port || strlen(port) > 5 || port[strspn(port, "0123456789")]) {
        fprintf(stderr, "refractium %s: --port needs a number\n", c->word);
        return RX_EXIT_USAGE;
    }
    for (unsigned i = 0; rx_admin_directory(i, directory); i++) {
        snprintf(path, sizeof path, "%s/%s.sock", directory, port);
        int rc = dial(c, path);
        if (!rc)
            return 0;
        if (rc != -ENOENT && rc != -ECONNREFUSED)
            return failed(c, path, -rc);
    }
    fprintf(stderr, "refractium %s: no instance whose first listener has port %s is running (no %s)\n", c->word, port,
            path);
    return RX_EXIT_RUNTIME;
}

// ---- by what they say of themselves ---------------------------------------------------------------------------------

struct seen {
    char path[108];
    char *config; // owned
    long pid;
};

struct search {
    struct seen list[INSTANCES];
    unsigned n;
    char denied[PATH_MAX + NAME_MAX + 2]; // a socket that we may not use
};

static void look_at(struct search *s, const char *word, const char *path)
{
    struct rx_ctl c = { .fd = -1, .word = word };
    int rc = dial(&c, path);
    if (rc == -EACCES)
        snprintf(s->denied, sizeof s->denied, "%s", path);
    if (rc)
        return;
    json_t *answer = rx_ctl_ask(&c, json_pack("{s:s}", "cmd", "hello"));
    const json_t *about = json_object_get(answer, "result");
    if (about && s->n < INSTANCES) {
        struct seen *one = &s->list[s->n++];
        strcpy(one->path, path);
        one->config = strdup(rx_ctl_text(about, "config"));
        one->pid = (long)rx_ctl_number(about, "pid");
    } else if (answer && !about) {
        snprintf(s->denied, sizeof s->denied, "%s", path);
    }
    json_decref(answer);
    rx_ctl_close(&c);
}

static void look_around(struct search *s, const char *word)
{
    char directory[PATH_MAX], path[PATH_MAX + NAME_MAX + 2];
    for (unsigned i = 0; rx_admin_directory(i, directory); i++) {
        DIR *d = opendir(directory);
        for (struct dirent *e; d && (e = readdir(d));) {
            size_t len = strlen(e->d_name);
            snprintf(path, sizeof path, "%s/%s", directory, e->d_name);
            if (len > 5 && !strcmp(e->d_name + len - 5, ".sock") && strlen(path) < sizeof s->list[0].path)
                look_at(s, word, path);
        }
        if (d)
            closedir(d);
    }
}

// The path its admin option names; false when it does not load or names none.
static bool socket_in_config(const struct rx_args *a, char path[108])
{
    struct rx_args bare = *a;
    struct rx_findings f = { 0 };
    bare.is_port_typed = bare.is_bind_typed = false;
    struct rx_home *home = rx_home_new();
    bool may_load = home && a->config && access(a->config, R_OK) == 0;
    struct rx_conf *conf = may_load ? rx_load(home, &bare, NULL, &f) : NULL;
    bool is_found = conf && conf->admin;
    if (is_found)
        snprintf(path, 108, "%s", conf->admin);
    rx_conf_unref(conf);
    rx_home_free(home);
    rx_findings_free(&f);
    return is_found;
}

static const struct seen *pick(const struct search *s, const struct rx_args *a, unsigned *n)
{
    char *wanted = a->config ? realpath(a->config, NULL) : NULL;
    const struct seen *found = NULL;
    *n = 0;
    for (unsigned i = 0; wanted && i < s->n; i++)
        if (!strcmp(s->list[i].config, wanted)) {
            found = &s->list[i];
            ++*n;
        }
    if (!found && !a->is_config_typed && (*n = s->n) == 1)
        found = &s->list[0];
    free(wanted);
    return *n == 1 ? found : NULL;
}

static int complain(const struct rx_ctl *c, const struct search *s, const struct rx_args *a, unsigned n)
{
    if (s->denied[0] && !n)
        return failed(c, s->denied, EACCES);
    if (n > 1) {
        fprintf(stderr, "refractium %s: several instances run; say which one by -p, -c or --admin:\n", c->word);
        for (unsigned i = 0; i < s->n; i++)
            fprintf(stderr, "  %s  pid %ld  %s\n", s->list[i].path, s->list[i].pid,
                    *s->list[i].config ? s->list[i].config : "(no config file)");
        return RX_EXIT_USAGE;
    }
    if (a->is_config_typed)
        fprintf(stderr, "refractium %s: no instance with the config %s is running\n", c->word, a->config);
    else
        fprintf(stderr, "refractium %s: no instance is running (or none that this user may talk to)\n", c->word);
    return RX_EXIT_RUNTIME;
}

static int by_config(struct rx_ctl *c, const struct rx_args *a)
{
    struct search *s = calloc(1, sizeof *s);
    char path[108];
    unsigned n = 0;
    if (!s)
        return RX_EXIT_RUNTIME;
    look_around(s, c->word);
    const struct seen *one = pick(s, a, &n);
    int rc;
    if (one)
        rc = by_path(c, one->path);
    else if (!n && socket_in_config(a, path))
        rc = by_path(c, path);
    else
        rc = complain(c, s, a, n);
    for (unsigned i = 0; i < s->n; i++)
        free(s->list[i].config);
    free(s);
    return rc;
}

int rx_ctl_open(struct rx_ctl *c, const struct rx_args *a)
{
    int rc = a->admin ? by_path(c, a->admin) : a->is_port_typed ? by_port(c, a->port) : by_config(c, a);
    if (!rc)
        set_patience(c->fd, ANSWER_S);
    return rc;
}
