// SPDX-License-Identifier: MIT
// Enters: a process of its own in the sandbox. Leaves: that it can no longer do what a multiplexer has no use for, and
// can do all the rest.
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox.h"

static char inside[] = "/tmp/rx-inside-XXXXXX", outside[] = "/tmp/rx-outside-XXXXXX";

static bool has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;
}

// In a child, which answers 0 for yes.
static bool within(enum rx_sandbox sandbox, bool (*is_true)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        char log[200];
        snprintf(log, sizeof log, "%s/log", inside);
        struct rx_conf c = { .sandbox = sandbox, .log_file = log, .is_admin_off = true };
        rx_sandbox_enter(&c);
        _exit(is_true() ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 0;
}

static void *answer(void *data)
{
    return data;
}

static bool fails(long rc, int with)
{
    return rc == -1 && errno == with;
}

static bool has_no_such_calls(void)
{
    return fails(unshare(CLONE_NEWUSER), ENOSYS) && fails(syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0), ENOSYS) &&
           fails(syscall(SYS_bpf, 0, NULL, 0), ENOSYS) && fails(syscall(SYS_mount, "a", "/", "b", 0, NULL), ENOSYS) &&
           fails(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), ENOSYS) && fails(socket(AF_PACKET, SOCK_RAW, 0), ENOSYS) &&
           fails(syscall(SYS_init_module, NULL, 0, ""), ENOSYS) && fails(syscall(SYS_keyctl, 0, 0, 0, 0, 0), ENOSYS);
}

static bool does_its_work(void)
{
    pthread_t thread;
    void *result = NULL;
    int fd = socket(AF_INET, SOCK_STREAM, 0), pipes[2];
    bool is_good = fd >= 0 && socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && pipe(pipes) == 0;
    pid_t pid = fork();
    if (!pid)
        _exit(7);
    int status = 0;
    return is_good && pthread_create(&thread, NULL, answer, &fd) == 0 && pthread_join(thread, &result) == 0 && result == &fd &&
           waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7;
}

static bool runs(const char *path)
{
    int status = 0;
    pid_t pid = fork();
    if (!pid) {
        execl(path, path, (char *)NULL);
        _exit(errno == EACCES ? 66 : 67);
    }
    return waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) != 66;
}

static bool runs_the_systems_alone(void)
{
    char copy[200], command[600];
    snprintf(copy, sizeof copy, "%s/a", inside);
    snprintf(command, sizeof command, "cp /bin/true %s", copy);
    return system(command) == 0 && !runs(copy);
}

static bool makes(const char *dir, const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0 || errno != EACCES;
}

static bool reads(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    if (fd >= 0)
        close(fd);
    return fd >= 0 || errno != EACCES;
}

static bool writes_everywhere(void)
{
    return makes(inside, "a") && makes(outside, "a");
}

static bool writes_where_its_logs_are(void)
{
    return makes(inside, "b") && !makes(outside, "b") && makes(inside, "b") && reads(inside) && !reads(outside) && reads("/etc");
}

static void calls_without_a_use_are_gone(void **state)
{
    (void)state;
    assert_true(within(RX_SANDBOX_ON, has_no_such_calls));
    assert_true(within(RX_SANDBOX_STRICT, has_no_such_calls));
    assert_false(within(RX_SANDBOX_OFF, has_no_such_calls));
}

static void those_with_one_are_there(void **state)
{
    (void)state;
    assert_true(within(RX_SANDBOX_ON, does_its_work));
}

static void a_program_it_has_written_cannot_be_started(void **state)
{
    (void)state;
    if (!has_landlock())
        skip();
    assert_true(within(RX_SANDBOX_ON, runs_the_systems_alone));
    assert_false(within(RX_SANDBOX_OFF, runs_the_systems_alone));
}

static void strict_is_about_files(void **state)
{
    (void)state;
    if (!has_landlock())
        skip();
    assert_true(within(RX_SANDBOX_ON, writes_everywhere));
    assert_true(within(RX_SANDBOX_STRICT, writes_where_its_logs_are));
}

static int begin(void **state)
{
    (void)state;
    return mkdtemp(inside) && mkdtemp(outside) ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    char path[200];
    for (int i = 0; i < 2; i++)
        for (const char *name = "ab"; *name; name++) {
            snprintf(path, sizeof path, "%s/%c", i ? inside : outside, *name);
            unlink(path);
        }
    return rmdir(inside) | rmdir(outside);
}

int main(void)
{
#ifdef RX_WITHOUT_SANDBOX
    return 0; // there is none to test
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_without_a_use_are_gone),
        cmocka_unit_test(those_with_one_are_there),
        cmocka_unit_test(a_program_it_has_written_cannot_be_started),
        cmocka_unit_test(strict_is_about_files),
    };
    return cmocka_run_group_tests_name("sandbox", tests, begin, end);
}
