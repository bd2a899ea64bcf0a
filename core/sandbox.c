// SPDX-License-Identifier: MIT
// Enters: a config that will be served. Leaves: a process that can start programs of the system and beside its own alone,
// not what it has written itself, and, if the config says strict, write and read where that needs it alone.
//
// Landlock gives rights to what lies beneath directories; what nobody gave is refused, whatever the user may do. So files
// that are not there yet, and are made anew when logs are rotated, need their directory. What the process has open stays
// open. Unix sockets can be connected to anywhere. Not handled: what the kernel's version of it does not know.
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

#ifndef RX_WITHOUT_SANDBOX

#include <link.h>
#include <linux/landlock.h>

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ull << 14)
#endif

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define RUN (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE)
#define WRITE_FILE (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)
#define WRITE                                                                                                \
    (READ | WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_DIR | \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR)
#define NEVER                                                                                                \
    (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |           \
     LANDLOCK_ACCESS_FS_MAKE_SYM)

// What a system has for programs: libraries, certificates, name servers, processors.
static const char *const common[] = { "/etc", "/usr", "/lib", "/lib64", "/proc", "/sys", "/dev", "/run", "/var/lib/ca-certificates" };

struct rules {
    int fd;
    __u64 handled;
};

// Directories that can be written to: kept to tell what a later config cannot.
static struct {
    char **dirs; // owned, and each
    unsigned n;
    bool is_on;
} written;

// ---- what the config writes -------------------------------------------------------------------------------------------

typedef void dir_fn(void *data, const char *dir);

static void dir_of(const char *path, dir_fn *fn, void *data)
{
    char dir[PATH_MAX];
    if (!path || !*path || strlen(path) >= sizeof dir)
        return;
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode)) {
        fn(data, path); // "/dev/stdout"
        return;
    }
    if (!slash)
        snprintf(dir, sizeof dir, ".");
    else
        slash[slash == dir] = 0;
    fn(data, dir);
}

static void each_dir(const struct rx_conf *c, dir_fn *fn, void *data)
{
    for (unsigned i = 0; i < c->n_sessions; i++)
        dir_of(c->sessions[i]->block_log, fn, data);
    for (unsigned i = 0; i < c->n_files; i++)
        dir_of(c->files[i].path, fn, data);
    dir_of(c->record_file, fn, data);
    for (unsigned i = 0; i < c->n_listens; i++)
        for (unsigned k = 0; k < c->listens[i]->n_binds; k++)
            if (c->listens[i]->binds[k].addr.sa.sa_family == AF_UNIX)
                dir_of(c->listens[i]->binds[k].addr.un.sun_path, fn, data);
}

// What does not change with a reload.
static void each_fixed_dir(const struct rx_conf *c, dir_fn *fn, void *data)
{
    char path[PATH_MAX];
    dir_of(c->log_file, fn, data);
    dir_of(c->access_log_file, fn, data);
    dir_of(c->admin, fn, data);
    for (unsigned i = 0; !c->admin && !c->is_admin_off && rx_admin_directory(i, path); i++) {
        mkdir(path, 0755); // as the admin socket would; who cannot says so there
        fn(data, path);
    }
}

static void keep(void *data, const char *dir)
{
    (void)data;
    char full[PATH_MAX];
    char **grown = realpath(dir, full) ? realloc(written.dirs, (written.n + 1) * sizeof *grown) : NULL;
    if (!grown)
        return;
    written.dirs = grown;
    if ((grown[written.n] = strdup(full)))
        written.n++;
}

static bool is_beneath(const char *dir)
{
    char full[PATH_MAX];
    if (!realpath(dir, full))
        return true; // somebody else says what is wrong with it
    for (unsigned i = 0; i < written.n; i++) {
        size_t n = strlen(written.dirs[i]);
        if (!strncmp(full, written.dirs[i], n) && (!full[n] || full[n] == '/' || n == 1))
            return true;
    }
    return false;
}

// ---- landlock ---------------------------------------------------------------------------------------------------------

static void allow(const struct rules *r, const char *path, __u64 rights)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr at = { .allowed_access = rights & r->handled, .parent_fd = fd };
    if (fd < 0)
        return; // what is not there needs no right
    if (at.allowed_access && syscall(SYS_landlock_add_rule, r->fd, LANDLOCK_RULE_PATH_BENEATH, &at, 0) == -1) {
        at.allowed_access &= RUN | WRITE_FILE; // it is no directory
        syscall(SYS_landlock_add_rule, r->fd, LANDLOCK_RULE_PATH_BENEATH, &at, 0);
    }
    close(fd);
}

static void read_dir(void *data, const char *dir)
{
    allow(data, dir, READ);
}

// A library may lie anywhere, and a binary that takes this one's place wants it, too.
static int on_library(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    if (info->dlpi_name && strchr(info->dlpi_name, '/'))
        dir_of(info->dlpi_name, read_dir, data);
    return 0;
}

static void run_dir(void *data, const char *dir)
{
    allow(data, dir, RUN | READ);
}

static void allow_programs(const struct rules *r)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[RX_MAX(n, (ssize_t)0)] = 0;
    dir_of(path, run_dir, (void *)r); // a new binary is another file in the same place
    static const char *const system[] = { "/usr", "/bin", "/sbin", "/lib", "/lib64" }; // it may be a script
    for (unsigned i = 0; i < RX_COUNT(system); i++)
        allow(r, system[i], RUN | READ);
}

static void allow_reading(const struct rules *r, const struct rx_conf *c)
{
    for (unsigned i = 0; i < RX_COUNT(common); i++)
        allow(r, common[i], READ);
    dir_of(c->file, read_dir, (void *)r);
    for (unsigned i = 0; i < c->n_sources; i++)
        dir_of(c->sources[i].path, read_dir, (void *)r);
    for (unsigned i = 0; i < c->n_tails; i++)
        dir_of(c->tails[i].path, read_dir, (void *)r);
    dl_iterate_phdr(on_library, (void *)r);
}

static int restrict_files(const struct rx_conf *c)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        return -errno;
    // An edit may name files anywhere: only who gave that up is kept from them.
    struct rules r = { .handled = LANDLOCK_ACCESS_FS_EXECUTE | NEVER | (c->sandbox == RX_SANDBOX_STRICT ? WRITE : 0) };
    if (version < 3)
        r.handled &= ~LANDLOCK_ACCESS_FS_TRUNCATE;
    struct landlock_ruleset_attr attr = { .handled_access_fs = r.handled };
    r.fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (r.fd < 0)
        return -errno;
    allow_reading(&r, c);
    allow_programs(&r);
    allow(&r, "/dev/null", WRITE_FILE);
    allow(&r, "/dev/tty", WRITE_FILE);
    for (unsigned i = 0; i < written.n; i++)
        allow(&r, written.dirs[i], WRITE);
    int rc = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_landlock_restrict_self, r.fd, 0) ? -errno : 0;
    close(r.fd);
    return rc;
}

// ---- both -------------------------------------------------------------------------------------------------------------

void rx_sandbox_enter(const struct rx_conf *c)
{
    if (c->sandbox == RX_SANDBOX_OFF)
        return;
    each_dir(c, keep, NULL);
    each_fixed_dir(c, keep, NULL);
    int files = restrict_files(c), calls = rx_sandbox_calls();
    written.is_on = !files && c->sandbox == RX_SANDBOX_STRICT;
    if (files)
        rx_log(RX_LOG_WARN, "sandbox: files are not restricted: landlock: %s", strerror(-files));
    if (calls)
        rx_log(RX_LOG_WARN, "sandbox: system calls are not restricted: seccomp: %s", strerror(-calls));
}

static void warn(void *data, const char *dir)
{
    (void)data;
    if (!is_beneath(dir))
        rx_log(RX_LOG_WARN, "sandbox: nothing can be written in %s before the next start", dir);
}

void rx_sandbox_advise(const struct rx_conf *conf)
{
    if (written.is_on)
        each_dir(conf, warn, NULL);
}

#else

void rx_sandbox_enter(const struct rx_conf *c)
{
    (void)c;
}

void rx_sandbox_advise(const struct rx_conf *c)
{
    (void)c;
}

#endif
