// SPDX-License-Identifier: MIT
// Enters: root, and a config that names somebody else. Leaves: that user with his groups and the capabilities the config
// needs: that of low ports always, that over the network's configuration when sessions are enforced by the kernel, packets
// are marked or backends see their clients' addresses; with chroot, within the directory that is his root from now on.
// Done first of all rather than after binding: what the program opens as root in a directory of that user, he could
// have put a link there for; and what he cannot do now, a later reload could not do either.
#include "privilege.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "admin.h"
#include "log.h"
#include "sessions.h"

struct identity {
    uid_t uid;
    gid_t gid;
    char name[64]; // whose supplementary groups; "": none
};

static bool as_number(const char *text, unsigned *out)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    *out = (unsigned)n;
    return *text >= '0' && *text <= '9' && !*end && n < UINT_MAX;
}

static bool find_user(const char *user, struct identity *who)
{
    unsigned number = 0;
    bool is_number = as_number(user, &number);
    const struct passwd *p = is_number ? getpwuid(number) : getpwnam(user);
    if (!p && !is_number) {
        rx_log(RX_LOG_ERROR, "user \"%s\": there is no such user", user);
        return false;
    }
    who->uid = p ? p->pw_uid : number;
    who->gid = p ? p->pw_gid : number;
    snprintf(who->name, sizeof who->name, "%s", p ? p->pw_name : "");
    return true;
}

static bool find_group(const char *group, struct identity *who)
{
    unsigned number = 0;
    const struct group *g = getgrnam(group);
    if (!g && !as_number(group, &number)) {
        rx_log(RX_LOG_ERROR, "group \"%s\": there is no such group", group);
        return false;
    }
    who->gid = g ? g->gr_gid : number;
    return true;
}

// The user could not make it under /run.
static void give_directory(const struct rx_conf *conf, const struct identity *who)
{
    char path[PATH_MAX];
    struct stat st;
    const char *in = rx_admin_directory(0, path);
    if (conf->is_admin_off || conf->admin || !in)
        return;
    if (mkdir(in, 0755) == -1 && (lstat(in, &st) == -1 || !S_ISDIR(st.st_mode) || st.st_uid != 0))
        return;
    if (lchown(in, who->uid, who->gid) == -1)
        rx_log(RX_LOG_WARN, "cannot give %s to the user: %s", in, strerror(errno));
}

static bool is_about_network(const struct rx_listen *l)
{
    bool is = l->opt.common.mark != 0;
    for (uint32_t i = 0; i < l->n_routes; i++)
        is |= l->routes[i].is_transparent;
    return is;
}

static uint32_t capabilities_for(const struct rx_conf *conf)
{
    uint32_t wanted = 1u << CAP_NET_BIND_SERVICE;
    for (uint32_t i = 0; i < conf->n_sessions; i++)
        if (conf->sessions[i]->kernel.what)
            wanted |= 1u << CAP_NET_ADMIN;
    for (uint32_t i = 0; i < conf->n_pools; i++)
        if (conf->pools[i]->sockopt.mark)
            wanted |= 1u << CAP_NET_ADMIN;
    for (uint32_t i = 0; i < conf->n_listens; i++)
        if (is_about_network(conf->listens[i]))
            wanted |= 1u << CAP_NET_ADMIN;
    return wanted;
}

// Also inheritable and ambient, so that a new binary started in this one's place has them, too.
static int keep_capabilities(uint32_t wanted)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { 0 };
    if (syscall(SYS_capget, &header, data) == -1)
        return -errno;
    uint32_t mask = data[0].permitted & wanted; // a container may not have them
    memset(data, 0, sizeof data);
    data[0].effective = data[0].permitted = data[0].inheritable = mask;
    if (syscall(SYS_capset, &header, data) == -1)
        return -errno;
    for (unsigned capability = 0; capability < 32; capability++)
        if (mask & 1u << capability)
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
    return 0;
}

static int become(const struct identity *who, uint32_t capabilities)
{
    int rc = who->name[0] ? initgroups(who->name, who->gid) : setgroups(1, &who->gid);
    if (rc == -1 || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == -1 || setresgid(who->gid, who->gid, who->gid) == -1 ||
        setresuid(who->uid, who->uid, who->uid) == -1)
        return -errno;
    if (who->uid != 0 && (rc = keep_capabilities(capabilities)))
        return rc;
    if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == -1 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
        return -errno;
    return 0;
}

static int enter_root(const char *path)
{
    return path && (chroot(path) == -1 || chdir("/") == -1) ? -errno : 0;
}

static void warn_about_sources(const struct rx_conf *conf)
{
    for (uint32_t i = 0; i < conf->n_sources; i++)
        if (access(conf->sources[i].path, R_OK) == -1 && (errno == EACCES || conf->chroot)) // what is built in is no file
            rx_log(RX_LOG_WARN, "user \"%s\" cannot read %s%s: reloads will be refused", conf->user, conf->sources[i].path,
                   conf->chroot ? " in his root" : "");
}

int rx_privilege_drop(const struct rx_conf *conf)
{
    struct identity who;
    if (!conf->user)
        return 0;
    if (!find_user(conf->user, &who) || (conf->group && !find_group(conf->group, &who)))
        return -1;
    if (!conf->chroot && who.uid == getuid() && who.uid == geteuid() && who.gid == getegid())
        return 0; // the service manager has done it
    if (geteuid() != 0) {
        rx_log(RX_LOG_ERROR, "user \"%s\": only root can become somebody else%s", conf->user,
               conf->chroot ? ", or change its root" : "");
        return -1;
    }
    int rc = enter_root(conf->chroot);
    if (rc) {
        rx_log(RX_LOG_ERROR, "chroot \"%s\": %s", conf->chroot, strerror(-rc));
        return -1;
    }
    give_directory(conf, &who);
    rc = become(&who, capabilities_for(conf));
    if (rc) {
        rx_log(RX_LOG_ERROR, "user \"%s\": %s", conf->user, strerror(-rc));
        return -1;
    }
    warn_about_sources(conf);
    return 0;
}
