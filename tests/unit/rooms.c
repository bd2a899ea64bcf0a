// SPDX-License-Identifier: MIT
// Enters: a config. Leaves: a worker turned by hand, and nothing open afterwards.
#include "rooms.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "bind.h"
#include "limit.h"
#include "sys.h"

enum { PATIENCE_MS = 4000 }; // sanitizers are slow

unsigned room_fds(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n - 1; // the directory's own
}

static unsigned fds_before;

int room_set_up(void **state)
{
    (void)state;
    fds_before = room_fds();
    return 0;
}

int room_tear_down(void **state)
{
    (void)state;
    assert_int_equal(room_fds(), fds_before);
    return 0;
}

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void room_open(struct room *r, struct rx_conf *conf)
{
    signal(SIGPIPE, SIG_IGN); // as the engine does
    memset(r, 0, sizeof *r);
    assert_int_equal(rx_worker_init(&r->w, 0, conf, &r->active, &r->sessions), 0);
    rx_conf_unref(conf); // the worker has its own
}

// A pipe in the pool with bytes in it would give them to the next connection.
static void check_pool(const struct rx_pipes *p)
{
    for (unsigned i = 0; i < p->n_free; i++) {
        int n = -1;
        assert_int_equal(ioctl(p->free[i][0], FIONREAD, &n), 0);
        assert_int_equal(n, 0);
    }
}

void room_close(struct room *r)
{
    room_turn(r);
    room_turn(r); // what a callback closed is freed when the loop next prepares to sleep
    assert_int_equal(r->w.n_conns, 0);
    assert_ptr_equal(r->w.living.next, &r->w.living);
    assert_null(r->w.graveyard);
    assert_int_equal(r->active, 0);
    assert_int_equal(r->w.pipes.n_out, 0);
    check_pool(&r->w.pipes);
    const struct rx_conf *conf = r->w.conf;
    assert_int_equal(conf->refs, 1);
    for (uint32_t i = 0; i < conf->n_listens; i++) {
        assert_int_equal(*conf->listens[i]->active, 0);
        assert_int_equal(*conf->listens[i]->pending, 0);
    }
    for (uint32_t i = 0; i < conf->n_pools; i++)
        for (uint32_t k = 0; k < rx_roster_of(conf->pools[i])->n; k++)
            assert_int_equal(rx_roster_of(conf->pools[i])->backends[k].state->active, 0);
    rx_worker_fini(&r->w);
}

void room_turn(struct room *r)
{
    ev_run(r->w.loop, EVRUN_NOWAIT);
}

// A short nap when nothing was ready, so that the other side gets the processor.
static void nap(void)
{
    poll(NULL, 0, 1);
}

void room_turn_for(struct room *r, unsigned ms)
{
    for (uint64_t end = now_ms() + ms; now_ms() < end; nap())
        room_turn(r);
    room_turn(r);
}

static void room_on_timer(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)t, (void)events;
    ev_break(loop, EVBREAK_ALL);
}

unsigned room_wakes(struct room *r, unsigned ms)
{
    ev_timer t;
    ev_now_update(r->w.loop);
    ev_timer_init(&t, room_on_timer, ms / 1000.0, 0.);
    ev_timer_start(r->w.loop, &t);
    unsigned before = ev_iteration(r->w.loop);
    ev_run(r->w.loop, 0);
    ev_timer_stop(r->w.loop, &t);
    return ev_iteration(r->w.loop) - before;
}

void room_until_alive(struct room *r, unsigned n)
{
    for (uint64_t end = now_ms() + PATIENCE_MS; r->w.n_conns != n; nap()) {
        if (now_ms() > end)
            fail_msg("%u connections are alive, not %u", r->w.n_conns, n);
        room_turn(r);
    }
}

void room_until_closed(struct room *r, enum rx_reason why, unsigned n)
{
    for (uint64_t end = now_ms() + PATIENCE_MS; r->w.stat.closed[why] < n; nap()) {
        if (now_ms() > end)
            for (int i = 0; i < RX_REASON_COUNT; i++)
                if (r->w.stat.closed[i] || i == RX_REASON_COUNT - 1)
                    fail_msg("waited for %u × %s; %lu × %s", n, rx_reason_word(why), r->w.stat.closed[i],
                             rx_reason_word((enum rx_reason)i));
        room_turn(r);
    }
    assert_int_equal(r->w.stat.closed[why], n);
}

uint16_t room_serve(struct room *r)
{
    struct rx_addr bound;
    int fd;
    struct rx_bind *b = &r->w.conf->listens[0]->binds[0];
    assert_int_equal(rx_bind_open(b, &fd, 1, &bound), 0);
    r->w.is_running = true; // this thread turns the loop
    assert_int_equal(rx_worker_listen(&r->w, r->w.conf->listens[0], b, fd), 0);
    return rx_addr_port(&bound.sa);
}

struct rx_conn *room_conn(struct room *r, int client_end)
{
    struct rx_conn *c = rx_worker_conn_new(&r->w, r->w.conf, false);
    assert_non_null(c);
    c->listen = r->w.conf->listens[0];
    c->client.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(0xc0000201) }, .sin_port = 9 };
    c->to_port = 8080;
    c->is_pending = true;
    c->ends[RX_CLIENT].io.fd = client_end;
    // The places accept.c takes.
    r->active++;
    (*c->listen->active)++;
    (*c->listen->pending)++;
    if (c->listen->per_ip)
        assert_true(rx_limit_take(c->listen->per_ip, &c->client, &c->ip_place));
    return c;
}

struct rx_conn *room_weld(struct room *r, const struct rx_route *route, int client_end, int server_end)
{
    struct rx_conn *c = room_conn(r, client_end);
    c->is_pending = false;
    (*c->listen->pending)--;
    c->route = route;
    if (route)
        atomic_fetch_add(route->active, 1);
    c->ends[RX_SERVER].io.fd = server_end;
    rx_weld_begin(c, NULL, 0, 0);
    return c;
}

// ---- sockets ------------------------------------------------------------------------------------------------------

static void set_nonblock(int fd)
{
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

int room_listen(const char *addr, int backlog)
{
    char why[RX_ADDR_TEXT];
    struct rx_addr *a;
    unsigned n;
    int on = 1;
    assert_int_equal(rx_addr_parse_listen(addr, &a, &n, why), 0);
    int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(fd, &a->sa, a->len), 0);
    assert_int_equal(listen(fd, backlog), 0);
    free(a);
    return fd;
}

uint16_t room_port(int listener)
{
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    return ntohs(a.sin_port);
}

int room_connect(uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    rx_sys_nodelay(fd);
    set_nonblock(fd);
    return fd;
}

int room_fill(int listener)
{
    int fd = room_connect(room_port(listener));
    nap();
    return fd;
}

int room_accept(struct room *r, int listener)
{
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; nap()) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0) {
            set_nonblock(fd);
            return fd;
        }
        if (r)
            room_turn(r);
    }
    fail_msg("nobody came");
    return -1;
}

void room_pair(int fd[2])
{
    int listener = room_listen("127.0.0.1:0", 1);
    fd[0] = room_connect(room_port(listener));
    fd[1] = room_accept(NULL, listener);
    rx_sys_nodelay(fd[1]);
    close(listener);
}

void room_send(int fd, const void *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

void room_sends(int fd, const char *text)
{
    room_send(fd, text, strlen(text));
}

void room_expect(struct room *r, int fd, const void *bytes, size_t n)
{
    uint8_t *got = malloc(n + 1);
    size_t k = 0;
    assert_non_null(got);
    for (uint64_t end = now_ms() + PATIENCE_MS; k < n;) {
        ssize_t m = recv(fd, got + k, n - k, 0);
        if (m > 0) {
            k += (size_t)m;
            continue;
        }
        if (m == 0 || errno != EAGAIN || now_ms() > end)
            fail_msg("%zu of %zu bytes came, then %s", k, n, m ? strerror(errno) : "the end");
        room_turn(r);
        nap();
    }
    assert_memory_equal(got, bytes, n);
    free(got);
}

void room_expects(struct room *r, int fd, const char *text)
{
    room_expect(r, fd, text, strlen(text));
}

int room_end_of(struct room *r, int fd)
{
    char byte;
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; nap()) {
        ssize_t m = recv(fd, &byte, 1, 0);
        if (m > 0)
            fail_msg("a byte came, not the end: %02x", (unsigned char)byte);
        if (m == 0)
            return 0;
        if (errno != EAGAIN)
            return errno;
        room_turn(r);
    }
    fail_msg("the end did not come");
    return -1;
}

void room_no_end(struct room *r, int fd)
{
    char byte;
    room_turn_for(r, 20);
    if (recv(fd, &byte, 1, MSG_PEEK) != -1 || errno != EAGAIN)
        fail_msg("something came");
}

// Not TCP: there, tiny buffers mean tiny windows, and those mean waiting for delayed acknowledgements.
void room_small_pair(int fd[2])
{
    int size = 4096;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

void room_bye(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void room_reset(int *fd)
{
    rx_sys_reset_on_close(*fd);
    room_bye(fd);
}
