// SPDX-License-Identifier: MIT
// Enters: datagrams, by real sockets of the loopback. Leaves: that core/udp_io.c passes each of them on whole, in order and
// once, however they are gathered into sends, and that it gathers no more than the kernel takes.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "udp_io.h"

#ifndef SOL_UDP
#define SOL_UDP 17
#endif

// What sendmsg was asked: the C library's is wrapped by the one below, which can refuse to segment.
static struct {
    unsigned calls, segmented;
    int refuse, fail; // errno for segmented sends, for all sends; 0: none
} kernel;

ssize_t sendmsg(int fd, const struct msghdr *h, int flags)
{
    struct msghdr copy = *h;
    bool is_segmented = false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&copy); c; c = CMSG_NXTHDR(&copy, c))
        is_segmented |= c->cmsg_level == SOL_UDP;
    kernel.calls++;
    kernel.segmented += is_segmented;
    if (kernel.fail || (is_segmented && kernel.refuse)) {
        errno = kernel.fail ? kernel.fail : kernel.refuse;
        return -1;
    }
    struct mmsghdr one = { .msg_hdr = copy };
    return sendmmsg(fd, &one, 1, (unsigned)flags) == 1 ? (ssize_t)one.msg_len : -1;
}

static struct {
    int in, out; // out is connected to in
    union rx_ip in_ip, out_ip;
    bool may_segment;
    struct rx_udp_path path;
    struct rx_udp_run run;
    struct rx_udp_batch *batch;
    uint32_t lost;
    uint8_t bytes[256 * 1024];
} world;

static int socket_at(union rx_ip *ip)
{
    socklen_t len = sizeof ip->v4;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), room = 8 << 20;
    *ip = (union rx_ip){ .v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) } };
    assert_int_not_equal(fd, -1);
    assert_return_code(bind(fd, &ip->sa, len), errno);
    assert_return_code(getsockname(fd, &ip->sa, &len), errno);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    return fd;
}

static int set_up(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof kernel);
    memset(&world, 0, sizeof world);
    world.in = socket_at(&world.in_ip);
    world.out = socket_at(&world.out_ip);
    assert_return_code(connect(world.out, &world.in_ip.sa, sizeof world.in_ip.v4), errno);
    world.may_segment = true;
    world.path = (struct rx_udp_path){ .fd = world.out, .may_segment = &world.may_segment };
    world.batch = rx_udp_batch_new();
    assert_non_null(world.batch);
    for (size_t i = 0; i < sizeof world.bytes; i++)
        world.bytes[i] = (uint8_t)(i * 7 + i / 251);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rx_udp_batch_free(world.batch);
    close(world.in);
    close(world.out);
    return 0;
}

static int add(uint32_t at, uint32_t len, uint32_t size)
{
    struct rx_udp_msg m = { .p = world.bytes + at, .len = len, .size = size };
    return rx_udp_run_add(&world.run, &world.path, &m, &world.lost);
}

static int send_run(void)
{
    return rx_udp_run_send(&world.run, &world.path, &world.lost);
}

// The next datagram must be these bytes.
static void assert_arrives(uint32_t at, uint32_t len)
{
    static uint8_t got[65536];
    ssize_t n = recv(world.in, got, sizeof got, 0);
    assert_int_equal(n, len);
    assert_memory_equal(got, world.bytes + at, len);
}

static void assert_nothing_more(void)
{
    uint8_t byte;
    assert_int_equal(recv(world.in, &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

// ---- runs ---------------------------------------------------------------------------------------------------------

static void equal_sizes_leave_as_one_send(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(add(i * 100, 100, 100), 0);
    assert_int_equal(kernel.calls, 0);
    assert_int_equal(send_run(), 0);
    assert_int_equal(kernel.calls, 1);
    assert_int_equal(kernel.segmented, 1);
    for (uint32_t i = 0; i < 10; i++)
        assert_arrives(i * 100, 100);
    assert_nothing_more();
}

static void a_shorter_one_ends_a_run_and_a_longer_one_begins_another(void **state)
{
    (void)state;
    static const uint32_t sizes[] = { 100, 100, 40, 100, 100, 101, 1 };
    uint32_t at = 0;
    for (size_t i = 0; i < RX_COUNT(sizes); at += sizes[i++])
        add(at, sizes[i], sizes[i]);
    send_run();
    assert_int_equal(kernel.calls, 3); // 100 100 40 | 100 100 | 101 1
    at = 0;
    for (size_t i = 0; i < RX_COUNT(sizes); at += sizes[i++])
        assert_arrives(at, sizes[i]);
    assert_nothing_more();
}

static void what_came_together_leaves_together(void **state)
{
    (void)state;
    add(0, 250, 100);   // 100 100 50: nothing may follow
    add(250, 200, 100); // 100 100
    add(450, 100, 100);
    send_run();
    assert_int_equal(kernel.calls, 2);
    for (uint32_t at = 0; at < 550;) {
        uint32_t len = at == 200 ? 50 : 100;
        assert_arrives(at, len);
        at += len;
    }
    assert_nothing_more();
}

static void a_train_of_another_size_is_not_cut_by_the_first_ones(void **state)
{
    (void)state;
    add(0, 100, 100);
    add(100, 120, 60); // 60 60, shorter than 100 each, but two of them
    send_run();
    assert_arrives(0, 100);
    assert_arrives(100, 60);
    assert_arrives(160, 60);
    assert_nothing_more();
}

static void empty_datagrams_go_alone(void **state)
{
    (void)state;
    add(0, 10, 10);
    add(0, 0, 0);
    add(0, 0, 0);
    add(10, 10, 10);
    send_run();
    assert_int_equal(kernel.segmented, 0);
    assert_arrives(0, 10);
    assert_arrives(0, 0);
    assert_arrives(0, 0);
    assert_arrives(10, 10);
    assert_nothing_more();
}

static void no_send_has_more_than_64_datagrams(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65; i++)
        add(i, 1, 1);
    assert_int_equal(kernel.calls, 1);
    send_run();
    assert_int_equal(kernel.calls, 2);
    for (uint32_t i = 0; i < 65; i++)
        assert_arrives(i, 1);
    add(0, 40, 1); // two trains of 40 do not fit together
    add(40, 40, 1);
    assert_int_equal(kernel.calls, 3);
    send_run();
    for (uint32_t i = 0; i < 80; i++)
        assert_arrives(i, 1);
    assert_nothing_more();
}

static void no_send_has_more_than_65000_bytes(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 54; i++) // 54 times 1200 are 64800; one more would be 66000
        add(i * 1200, 1200, 1200);
    assert_int_equal(kernel.calls, 0);
    add(54 * 1200, 1200, 1200);
    assert_int_equal(kernel.calls, 1);
    send_run();
    assert_int_equal(kernel.calls, 2);
    for (uint32_t i = 0; i < 55; i++)
        assert_arrives(i * 1200, 1200);
    assert_nothing_more();
    assert_int_equal(world.lost, 0);
}

static void the_largest_datagrams_pass(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(add(i, 65507, 65507), 0);
    assert_int_equal(send_run(), 0);
    for (uint32_t i = 0; i < 3; i++)
        assert_arrives(i, 65507);
    assert_nothing_more();
}

static void sending_nothing_is_nothing(void **state)
{
    (void)state;
    assert_int_equal(send_run(), 0);
    assert_int_equal(kernel.calls, 0);
}

// Whatever the sizes, what is added comes out: as datagrams of its own or of a train.
static void random_runs_come_out_as_they_went_in(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (unsigned round = 0; round < 300; round++) {
        uint32_t lens[400], n = 0, at = 0, out = 0;
        kernel.refuse = round % 3 == 0 ? EIO : 0;
        world.may_segment = true;
        for (unsigned i = 0; i < 30; i++) {
            seed = seed * 1664525 + 1013904223;
            uint32_t size = (seed >> 24) % 4 * 50, count = 1 + (seed >> 16) % 4, last = (seed >> 8) % 50;
            uint32_t len = size ? (count - 1) * size + (count == 1 ? size : 1 + last) : 0;
            assert_int_equal(add(at, len, size), 0);
            for (uint32_t left = len; left || !len; left -= RX_MIN(left, size)) {
                lens[n++] = RX_MIN(left, size);
                if (!len)
                    break;
            }
            at += len;
        }
        send_run();
        for (uint32_t i = 0; i < n; out += lens[i++])
            assert_arrives(out, lens[i]);
        assert_nothing_more();
    }
    assert_int_equal(world.lost, 0);
}

// ---- refusals -----------------------------------------------------------------------------------------------------

static void without_segmenting_datagrams_leave_one_by_one(void **state)
{
    (void)state;
    static const int refusals[] = { EIO, EINVAL, ENOPROTOOPT, EOPNOTSUPP };
    for (size_t i = 0; i < RX_COUNT(refusals); i++) {
        kernel.refuse = refusals[i];
        kernel.calls = kernel.segmented = 0;
        world.may_segment = true;
        add(0, 250, 100);
        assert_int_equal(send_run(), 0);
        assert_false(world.may_segment);
        assert_int_equal(kernel.calls, 4);
        add(0, 250, 100);
        send_run();
        assert_int_equal(kernel.segmented, 1); // it was not asked again
        for (int k = 0; k < 2; k++) {
            assert_arrives(0, 100);
            assert_arrives(100, 100);
            assert_arrives(200, 50);
        }
    }
    assert_nothing_more();
    assert_int_equal(world.lost, 0);
}

static void what_is_too_large_to_segment_leaves_one_by_one_this_time(void **state)
{
    (void)state;
    kernel.refuse = EMSGSIZE;
    add(0, 200, 100);
    assert_int_equal(send_run(), 0);
    assert_true(world.may_segment);
    assert_arrives(0, 100);
    assert_arrives(100, 100);
}

static void a_full_queue_loses_what_was_to_be_sent_and_counts_it(void **state)
{
    (void)state;
    kernel.fail = EAGAIN;
    add(0, 250, 100);
    assert_int_equal(send_run(), -EAGAIN);
    assert_int_equal(world.lost, 3);
    add(0, 10, 10);
    assert_int_equal(send_run(), -EAGAIN);
    assert_int_equal(world.lost, 4);
    world.may_segment = false;
    add(0, 250, 100);
    assert_int_equal(send_run(), -EAGAIN);
    assert_int_equal(world.lost, 7);
    kernel.fail = 0;
    add(0, 10, 10); // nothing of what was lost comes late
    send_run();
    assert_arrives(0, 10);
    assert_nothing_more();
}

static void a_peer_that_refuses_is_told(void **state)
{
    (void)state;
    close(world.in);
    add(0, 10, 10);
    assert_int_equal(send_run(), 0);
    struct rx_udp_msg *msgs;
    assert_int_equal(rx_udp_receive(world.batch, world.out, RX_UDP_BATCH, &msgs), -ECONNREFUSED);
    assert_int_equal(rx_udp_receive(world.batch, world.out, RX_UDP_BATCH, &msgs), 0);
    world.in = socket_at(&world.in_ip);
}

// ---- receiving ----------------------------------------------------------------------------------------------------

static void a_receive_takes_no_more_than_asked_and_tells_the_sender(void **state)
{
    (void)state;
    struct rx_udp_msg *msgs;
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(rx_udp_send(&world.path, world.bytes, i), 0);
    assert_int_equal(rx_udp_receive(world.batch, world.in, 3, &msgs), 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(msgs[i].len, i);
        assert_int_equal(msgs[i].size, i);
        assert_int_equal(msgs[i].from.v4.sin_port, world.out_ip.v4.sin_port);
        assert_int_equal(msgs[i].to.sa.sa_family, AF_UNSPEC); // was not asked for
    }
    assert_int_equal(rx_udp_receive(world.batch, world.in, RX_UDP_BATCH, &msgs), 2);
    assert_int_equal(rx_udp_receive(world.batch, world.in, RX_UDP_BATCH, &msgs), 0);
}

static void a_listener_has_room_for_a_burst(void **state)
{
    (void)state;
    int before, after;
    socklen_t len = sizeof before;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &before, &len);
    rx_udp_setup_listener(fd, AF_INET, false); // whatever address it has
    getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &after, &len);
    assert_true(after > before || after >= 2 * 1024 * 1024);
    close(fd);
}

static void trains_are_received_with_the_size_of_their_datagrams(void **state)
{
    (void)state;
    struct rx_udp_msg *msgs;
    rx_udp_setup_listener(world.in, AF_INET, true);
    add(0, 950, 100);
    assert_int_equal(send_run(), 0);
    uint32_t at = 0;
    for (int n; at < 950;) { // one train where the kernel has UDP_GRO, else ten datagrams
        assert_true((n = rx_udp_receive(world.batch, world.in, RX_UDP_BATCH, &msgs)) > 0);
        for (int i = 0; i < n; at += msgs[i++].len) {
            assert_memory_equal(msgs[i].p, world.bytes + at, msgs[i].len);
            assert_true(msgs[i].size == 100 || (at == 900 && msgs[i].size == 50));
            assert_int_equal(msgs[i].to.sa.sa_family, AF_INET);
            assert_int_equal(msgs[i].to.v4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
        }
    }
    assert_int_equal(at, 950);
}

static void an_answer_leaves_from_the_address_it_is_given(void **state)
{
    (void)state;
    union rx_ip from = { .v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 5) } }, any;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); // bound to no address
    struct rx_udp_path path = { .fd = fd, .to = &world.in_ip, .from = &from, .may_segment = &world.may_segment };
    struct rx_udp_msg m = { .p = world.bytes, .len = 200, .size = 100 }, *msgs;
    assert_int_equal(rx_udp_send(&path, world.bytes, 10), 0);
    assert_int_equal(rx_udp_run_add(&world.run, &path, &m, &world.lost), 0);
    assert_int_equal(rx_udp_run_send(&world.run, &path, &world.lost), 0);
    int n = rx_udp_receive(world.batch, world.in, RX_UDP_BATCH, &msgs);
    assert_int_equal(n, 3);
    for (int i = 0; i < n; i++)
        assert_int_equal(msgs[i].from.v4.sin_addr.s_addr, htonl(INADDR_LOOPBACK + 5));
    any = (union rx_ip){ .sa.sa_family = AF_UNSPEC };
    path.from = &any; // the kernel's choice
    assert_int_equal(rx_udp_send(&path, world.bytes, 10), 0);
    assert_int_equal(rx_udp_receive(world.batch, world.in, RX_UDP_BATCH, &msgs), 1);
    assert_int_equal(msgs[0].from.v4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    close(fd);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(equal_sizes_leave_as_one_send),
        CASE(a_shorter_one_ends_a_run_and_a_longer_one_begins_another),
        CASE(what_came_together_leaves_together),
        CASE(a_train_of_another_size_is_not_cut_by_the_first_ones),
        CASE(empty_datagrams_go_alone),
        CASE(no_send_has_more_than_64_datagrams),
        CASE(no_send_has_more_than_65000_bytes),
        CASE(the_largest_datagrams_pass),
        CASE(sending_nothing_is_nothing),
        CASE(random_runs_come_out_as_they_went_in),
        CASE(without_segmenting_datagrams_leave_one_by_one),
        CASE(what_is_too_large_to_segment_leaves_one_by_one_this_time),
        CASE(a_full_queue_loses_what_was_to_be_sent_and_counts_it),
        CASE(a_peer_that_refuses_is_told),
        CASE(a_receive_takes_no_more_than_asked_and_tells_the_sender),
        CASE(a_listener_has_room_for_a_burst),
        CASE(trains_are_received_with_the_size_of_their_datagrams),
        CASE(an_answer_leaves_from_the_address_it_is_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
