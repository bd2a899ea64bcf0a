// SPDX-License-Identifier: MIT
// Enters: addresses to listen on. Leaves: that core/bind.c opens one socket a worker, takes no address that is in
// use, clears up after a crash and touches nothing else.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bind.h"
#include "rooms.h"

static char dir[64], path[100];
static unsigned fds_before;

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/rx-bind-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "unix:%s/sock", dir);
    fds_before = room_fds();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path + 5);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(room_fds(), fds_before);
    return 0;
}

static struct rx_bind bind_to(const char *text)
{
    char why[RX_ADDR_TEXT];
    struct rx_addr *list;
    unsigned n;
    assert_int_equal(rx_addr_parse_listen(text, &list, &n, why), 0);
    struct rx_bind b = { .addr = list[0], .text = text };
    free(list);
    return b;
}

static void close_all(const int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        close(fds[i]);
}

static void every_worker_gets_a_socket_of_the_same_port(void **state)
{
    (void)state;
    struct rx_bind b = bind_to("127.0.0.1:0");
    struct rx_addr bound;
    int fds[3];
    assert_int_equal(rx_bind_open(&b, fds, 3, &bound), 0);
    assert_int_not_equal(rx_addr_port(&bound.sa), 0);
    for (int i = 0; i < 3; i++) {
        int on = 0;
        socklen_t len = sizeof on;
        assert_int_equal(room_port(fds[i]), rx_addr_port(&bound.sa));
        assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        getsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, &len);
        assert_int_equal(on, 1);
        for (int k = 0; k < i; k++)
            assert_int_not_equal(fds[i], fds[k]);
    }
    int client = room_connect(rx_addr_port(&bound.sa));
    close(client);
    close_all(fds, 3);
}

static void an_address_somebody_serves_is_not_shared(void **state)
{
    (void)state;
    struct rx_bind b = bind_to("127.0.0.1:0");
    struct rx_addr bound, again;
    int fds[2], more[2];
    assert_int_equal(rx_bind_open(&b, fds, 2, &bound), 0);
    struct rx_bind same = { .addr = bound, .text = "same" };
    assert_int_equal(rx_bind_open(&same, more, 2, &again), -EADDRINUSE);
    close_all(fds, 2);
    assert_int_equal(rx_bind_open(&same, more, 2, &again), 0); // free again at once
    close_all(more, 2);
}

static void an_address_of_no_interface_is_refused(void **state)
{
    (void)state;
    struct rx_bind b = bind_to("192.0.2.1:80");
    struct rx_addr bound;
    int fds[1];
    assert_int_equal(rx_bind_open(&b, fds, 1, &bound), -EADDRNOTAVAIL);
}

static void both_families_can_share_a_port(void **state)
{
    (void)state;
    struct rx_bind b = bind_to("[::]:0");
    struct rx_addr bound, bound4;
    int six, four;
    int rc = rx_bind_open(&b, &six, 1, &bound);
    if (rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL)
        skip(); // a machine without IPv6
    assert_int_equal(rc, 0);
    char text[32];
    snprintf(text, sizeof text, "0.0.0.0:%u", rx_addr_port(&bound.sa));
    b = bind_to(text);
    assert_int_equal(rx_bind_open(&b, &four, 1, &bound4), 0);
    close(six);
    close(four);
}

static void a_unix_socket_is_one_for_all_workers(void **state)
{
    (void)state;
    struct rx_bind b = bind_to(path);
    struct rx_addr bound;
    struct stat st;
    int fds[3];
    assert_int_equal(rx_bind_open(&b, fds, 3, &bound), 0);
    assert_true(fds[0] != fds[1] && fds[1] != fds[2]);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(client, &bound.sa, bound.len), 0);
    int accepted = accept(fds[2], NULL, NULL);
    assert_true(accepted >= 0);
    close(accepted);
    close(client);
    close_all(fds, 3);
    rx_bind_unlink(&b);
    assert_int_equal(stat(path + 5, &st), -1);
}

static void a_socket_file_left_by_a_crash_is_replaced(void **state)
{
    (void)state;
    struct rx_bind b = bind_to(path);
    struct rx_addr bound;
    int fd;
    assert_int_equal(rx_bind_open(&b, &fd, 1, &bound), 0);
    close(fd); // no unlink, as after a crash
    assert_int_equal(rx_bind_open(&b, &fd, 1, &bound), 0);
    close(fd);
}

static void a_socket_file_somebody_serves_stays(void **state)
{
    (void)state;
    struct rx_bind b = bind_to(path);
    struct rx_addr bound;
    int fd, second;
    assert_int_equal(rx_bind_open(&b, &fd, 1, &bound), 0);
    assert_int_equal(rx_bind_open(&b, &second, 1, &bound), -EADDRINUSE);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(client, &bound.sa, bound.len), 0);
    close(client);
    close(fd);
}

static void only_our_own_socket_file_is_removed(void **state)
{
    (void)state;
    struct rx_bind ours = bind_to(path), theirs = bind_to(path);
    struct rx_addr bound;
    struct stat st;
    int fd, other;
    char elsewhere[100];
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", dir);
    assert_int_equal(rx_bind_open(&ours, &fd, 1, &bound), 0);
    assert_int_equal(rename(path + 5, elsewhere), 0); // ours is moved away, theirs takes its place
    assert_int_equal(rx_bind_open(&theirs, &other, 1, &bound), 0);
    rx_bind_unlink(&ours);
    assert_int_equal(stat(path + 5, &st), 0);
    rx_bind_unlink(&theirs);
    assert_int_equal(stat(path + 5, &st), -1);
    unlink(elsewhere);
    close(fd);
    close(other);
}

static void a_file_that_is_no_socket_is_never_removed(void **state)
{
    (void)state;
    struct rx_bind b = bind_to(path);
    struct rx_addr bound;
    struct stat st;
    int fd, file = open(path + 5, O_CREAT | O_WRONLY, 0600);
    close(file);
    assert_int_equal(rx_bind_open(&b, &fd, 1, &bound), -EEXIST);
    assert_int_equal(stat(path + 5, &st), 0);
}

static void a_directory_that_does_not_exist_is_said(void **state)
{
    (void)state;
    char text[120];
    snprintf(text, sizeof text, "unix:%s/no/sock", dir);
    struct rx_bind b = bind_to(text);
    struct rx_addr bound;
    int fd;
    assert_int_equal(rx_bind_open(&b, &fd, 1, &bound), -ENOENT);
}

int main(void)
{
#define bind_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        bind_test(every_worker_gets_a_socket_of_the_same_port), bind_test(an_address_somebody_serves_is_not_shared),
        bind_test(an_address_of_no_interface_is_refused),       bind_test(both_families_can_share_a_port),
        bind_test(a_unix_socket_is_one_for_all_workers),        bind_test(a_socket_file_left_by_a_crash_is_replaced),
        bind_test(a_socket_file_somebody_serves_stays),         bind_test(only_our_own_socket_file_is_removed),
        bind_test(a_file_that_is_no_socket_is_never_removed),   bind_test(a_directory_that_does_not_exist_is_said),
    };
    return cmocka_run_group_tests_name("bind", tests, NULL, NULL);
}
