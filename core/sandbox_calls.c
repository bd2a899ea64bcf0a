// SPDX-License-Identifier: MIT
// Leaves: a filter of system calls. Whatever is not listed does not exist (ENOSYS), which libraries take as an older
// kernel and do without; so clone3, whose flags no filter can see, becomes clone. Not done: arguments of others, but
// for what makes namespaces and what kinds of sockets there are. mprotect and mmap may make memory executable: LuaJIT
// and PCRE2 write machine code.
#include "sandbox.h"

#include <errno.h>

#ifndef RX_WITHOUT_SANDBOX

#include <linux/sched.h>
#include <seccomp.h>
#include <sys/socket.h>

static const char *const calls[] = {
    // memory, threads, time
    "arch_prctl", "brk", "cacheflush", "clock_getres", "clock_gettime", "clock_gettime64", "clock_nanosleep",
    "clock_nanosleep_time64", "exit", "exit_group", "futex", "futex_time64", "futex_waitv", "get_robust_list", "get_thread_area",
    "getcpu", "getrandom", "gettimeofday", "madvise", "membarrier", "memfd_create", "mlock", "mmap", "mmap2", "mprotect", "mremap",
    "munlock", "munmap", "nanosleep", "pause", "restart_syscall", "riscv_flush_icache", "riscv_hwprobe", "rseq",
    "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getparam", "sched_getscheduler",
    "sched_setaffinity", "sched_yield", "set_robust_list", "set_thread_area", "set_tid_address", "set_tls", "sysinfo", "time",
    "times", "uname",
    // who we are
    "capget", "capset", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32",
    "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit",
    "getrusage", "getsid", "gettid", "getuid", "getuid32", "prctl", "prlimit64", "setpriority", "setrlimit", "setsid", "ugetrlimit",
    "umask",
    // becoming another user, for a binary that takes this one's place
    "chroot", "setfsgid", "setfsuid", "setgid", "setgid32", "setgroups", "setgroups32", "setresgid", "setresgid32", "setresuid",
    "setresuid32", "setuid", "setuid32",
    // signals, children
    "execve", "fork", "kill", "pidfd_open", "pidfd_send_signal", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
    "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64", "sigaltstack", "sigreturn",
    "signalfd4", "tgkill", "tkill", "vfork", "wait4", "waitid", "waitpid",
    // descriptors
    "_llseek", "_newselect", "close", "close_range", "copy_file_range", "dup", "dup2", "dup3", "epoll_create", "epoll_create1",
    "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "fcntl", "fcntl64", "ioctl", "lseek", "pipe",
    "pipe2", "poll", "ppoll", "ppoll_time64", "pread64", "preadv", "preadv2", "pselect6", "pselect6_time64", "pwrite64", "pwritev",
    "pwritev2", "read", "readv", "select", "sendfile", "sendfile64", "splice", "tee", "timerfd_create", "timerfd_gettime",
    "timerfd_settime", "timerfd_settime64", "vmsplice", "write", "writev",
    // files
    "access", "chdir", "chmod", "chown", "chown32", "creat", "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate",
    "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat", "fdatasync", "flock", "fstat", "fstat64",
    "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "getcwd", "getdents", "getdents64",
    "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "landlock_add_rule", "landlock_create_ruleset",
    "landlock_restrict_self", "lchown", "lchown32", "link", "linkat", "lstat", "lstat64", "mkdir", "mkdirat", "newfstatat", "open",
    "openat", "openat2", "readahead", "readlink", "readlinkat", "rename", "renameat", "renameat2", "rmdir", "seccomp", "stat",
    "stat64", "statfs", "statfs64", "statx", "symlink", "symlinkat", "sync_file_range", "truncate", "truncate64", "unlink",
    "unlinkat", "utimensat", "utimensat_time64",
    // sockets (socket itself: see below)
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv", "recvfrom", "recvmmsg",
    "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown", "socketpair",
};

// Netlink: which addresses there are, nftables, ending sockets.
static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };

#define NAMESPACES \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static int add_rules(scmp_filter_ctx filter)
{
    int rc = 0;
    for (unsigned i = 0; i < RX_COUNT(calls) && !rc; i++) {
        int number = seccomp_syscall_resolve_name(calls[i]);
        if (number != __NR_SCMP_ERROR) // this machine, or library, does not know it
            rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
    }
    for (unsigned i = 0; i < RX_COUNT(families) && !rc; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
    if (!rc)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACES, 0));
    return rc;
}

int rx_sandbox_calls(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (!filter)
        return -ENOMEM;
    int rc = add_rules(filter);
    if (!rc)
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); // a tree: the cost of a list is every call's
    if (!rc)
        rc = seccomp_load(filter);
    seccomp_release(filter);
    return rc;
}

#else

int rx_sandbox_calls(void)
{
    return -ENOSYS;
}

#endif
