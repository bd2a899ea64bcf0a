// SPDX-License-Identifier: MIT
// Enters: a readable listening socket. Leaves: connections in PEEK, or closed at once because the client is banned
// or a limit is reached.
// Errors of one accept never end the loop. When file descriptors run out a spare one is given up to accept and
// reset the next client (it learns at once, instead of hanging in the backlog), and accepting rests a moment.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "ban.h"
#include "limit.h"
#include "log.h"
#include "pit.h"
#include "proxied.h"
#include "sys.h"
#include "worker.h"

enum { ACCEPT_BATCH = 64, REST_MS = 100 };

void rx_accept_rest(struct rx_listener *l)
{
    ev_io_stop(l->worker->loop, &l->io);
    ev_timer_set(&l->retry, REST_MS / 1000.0, 0.);
    ev_timer_start(l->worker->loop, &l->retry);
}

static bool count_up(atomic_uint *count, uint32_t limit)
{
    if (atomic_fetch_add_explicit(count, 1, memory_order_relaxed) < limit || !limit)
        return true;
    atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
    return false;
}

static void count_down(atomic_uint *count)
{
    atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
}

// UDP flows are counted apart, and among all.
static bool server_take(struct rx_worker *w, const struct rx_conf *conf, bool is_udp)
{
    if (is_udp) {
        if (!count_up(w->sessions, conf->max_sessions))
            return false;
        atomic_fetch_add_explicit(w->active, 1, memory_order_relaxed);
        return true;
    }
    return count_up(w->active, conf->max_connections + atomic_load_explicit(w->sessions, memory_order_relaxed));
}

static void server_give(struct rx_worker *w, bool is_udp)
{
    if (is_udp)
        count_down(w->sessions);
    count_down(w->active);
}

// Takes a place everywhere, or nowhere. RX_REASON_DONE: admitted.
static enum rx_reason admit(struct rx_worker *w, const struct rx_conf *conf, const struct rx_listen *l,
                            const union rx_ip *ip, bool is_udp, bool is_proxy, uint32_t *place)
{
    *place = 0;
    atomic_uint *active = is_udp ? l->sessions : l->active;
    struct rx_limit *per_ip = is_udp ? l->sessions_per_ip : l->per_ip;
    if (!server_take(w, conf, is_udp))
        return RX_REASON_LIMIT_SERVER;
    if (!count_up(active, is_udp ? l->max_sessions : l->max_connections)) {
        server_give(w, is_udp);
        return RX_REASON_LIMIT_LISTENER;
    }
    if (!count_up(l->pending, l->max_pending)) {
        count_down(active);
        server_give(w, is_udp);
        return RX_REASON_LIMIT_PENDING;
    }
    if (!is_proxy && per_ip && !rx_limit_take(per_ip, ip, place)) {
        count_down(l->pending);
        count_down(active);
        server_give(w, is_udp);
        return RX_REASON_LIMIT_IP;
    }
    return RX_REASON_DONE;
}

uint32_t rx_admission_adopt(struct rx_conn *c, bool is_proxy)
{
    struct rx_limit *per_ip = c->is_udp ? c->listen->sessions_per_ip : c->listen->per_ip;
    uint32_t place = 0;
    if (c->is_udp)
        atomic_fetch_add_explicit(c->worker->sessions, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(c->worker->active, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(c->is_udp ? c->listen->sessions : c->listen->active, 1, memory_order_relaxed);
    if (c->is_pending)
        atomic_fetch_add_explicit(c->listen->pending, 1, memory_order_relaxed);
    if (!is_proxy && per_ip && !rx_limit_take(per_ip, &c->client, &place))
        place = 0;
    return place;
}

void rx_admission_give(struct rx_worker *w, const struct rx_listen *l, uint32_t place, bool is_udp, bool is_pending)
{
    struct rx_limit *per_ip = is_udp ? l->sessions_per_ip : l->per_ip;
    if (per_ip)
        rx_limit_give(per_ip, place);
    if (is_pending)
        count_down(l->pending);
    count_down(is_udp ? l->sessions : l->active);
    server_give(w, is_udp);
}

static enum rx_reason meet_own_rate(const struct rx_conf *conf, const struct rx_listen *l, const union rx_ip *ip,
                                    uint64_t now_ns)
{
    if (l->rates && !rx_rates_take(l->rates, ip, l->ipv6_prefix, &l->rate_per_ip, now_ns))
        return RX_REASON_RATE_IP;
    if (conf->rates && !rx_rates_take(conf->rates, ip, l->ipv6_prefix, &conf->rate_per_ip, now_ns))
        return RX_REASON_RATE_IP;
    return RX_REASON_DONE;
}

static enum rx_reason meet_rates(const struct rx_conf *conf, const struct rx_listen *l, uint64_t now_ns)
{
    if (l->connection_rate.cost_ns && !rx_meter_take(&l->gate->meter, &l->connection_rate, now_ns))
        return RX_REASON_RATE_LISTENER;
    if (conf->connection_rate.cost_ns && !rx_meter_take(&conf->gate->meter, &conf->connection_rate, now_ns))
        return RX_REASON_RATE_SERVER;
    return RX_REASON_DONE;
}

// is_proxy: who the client is will be known when its PROXY header has come; till then it is counted for no address.
static enum rx_reason let_in(struct rx_worker *w, const struct rx_conf *conf, const struct rx_listen *l,
                             const union rx_ip *ip, bool is_udp, bool is_proxy, uint32_t *place)
{
    if (rx_ban_has(ip))
        return RX_REASON_BANNED;
    if (RX_UNLIKELY(l->has_rates)) {
        // Of this client first, so that one who is kept out costs the others nothing.
        const uint64_t now_ns = rx_now_ms() * 1000000;
        enum rx_reason why = is_proxy ? RX_REASON_DONE : meet_own_rate(conf, l, ip, now_ns);
        if (why == RX_REASON_DONE)
            why = meet_rates(conf, l, now_ns);
        if (why != RX_REASON_DONE)
            return why;
    }
    return admit(w, conf, l, ip, is_udp, is_proxy, place);
}

static bool is_limit(enum rx_reason why)
{
    switch (why) {
    case RX_REASON_LIMIT_SERVER:
    case RX_REASON_LIMIT_LISTENER:
    case RX_REASON_LIMIT_IP:
    case RX_REASON_LIMIT_PENDING:
    case RX_REASON_RATE_SERVER:
    case RX_REASON_RATE_LISTENER:
    case RX_REASON_RATE_IP:
        return true;
    default:
        return false;
    }
}

// One who is turned away never becomes a connection, but gets an access line like everybody.
static void tell_turned_away(struct rx_listener *l, const union rx_ip *ip, enum rx_reason why)
{
    struct rx_worker *w = l->worker;
    if (!rx_access_is_on())
        return;
    struct rx_conn c = { .id = rx_worker_next_id(w), .worker = w, .listen = l->listen, .client = *ip };
    c.start_ms = rx_now_ms();
    rx_access_line(&c, why);
}

void rx_accept_tell(struct rx_listener *l, const union rx_ip *ip, enum rx_reason why)
{
    tell_turned_away(l, ip, why);
    rx_stat_add(&l->worker->stat.closed[why], 1);
    if (l->listen->served) {
        struct rx_cell *cell = &l->listen->served->cells[l->worker->index];
        rx_cell_add(&cell->opened, 1);
        rx_cell_add(&cell->closed[why], 1);
    }
    rx_log_limited(RX_LOG_WARN, "connection refused: %s", rx_reason_doc(why));
}

static void turn_away(struct rx_listener *l, int fd, const union rx_ip *ip, enum rx_reason why)
{
    rx_accept_tell(l, ip, why);
    if (is_limit(why) && l->listen->over_limit == RX_TO_TARPIT) {
        rx_pit_take(l->worker, fd);
        return;
    }
    if (!is_limit(why) || l->listen->over_limit != RX_TO_DROP)
        rx_sys_reset_on_close(fd);
    close(fd);
}

static int accept_one(struct rx_listener *l, union rx_ip *from)
{
    socklen_t len = sizeof *from;
    from->sa.sa_family = AF_UNSPEC;
    int fd = accept4(l->io.fd, l->is_unix ? NULL : &from->sa, l->is_unix ? NULL : &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (from->sa.sa_family == AF_INET6)
        rx_ip_unmap(from); // a socket that was passed may be for both families
    return fd;
}

// Accepts one connection with the spare descriptor and resets it.
static void shed(struct rx_listener *l)
{
    struct rx_worker *w = l->worker;
    rx_log_limited(RX_LOG_WARN, "out of file descriptors: shedding connections");
    rx_pit_empty(w); // theirs come first
    if (w->spare_fd >= 0) {
        close(w->spare_fd);
        union rx_ip from;
        int fd = accept_one(l, &from);
        if (fd >= 0) {
            rx_stat_add(&w->stat.accepted, 1);
            turn_away(l, fd, &from, RX_REASON_NO_FDS);
        }
    }
    w->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    rx_accept_rest(l);
}

struct rx_conn *rx_accept_conn(struct rx_listener *l, const union rx_ip *ip, bool is_udp, enum rx_reason *why)
{
    struct rx_worker *w = l->worker;
    rx_stat_add(&w->stat.accepted, 1);
    struct rx_conf *conf = w->conf;
    const struct rx_listen *listen = l->listen;
    if (RX_UNLIKELY(l->trial) && rx_worker_is_trials_turn(w)) {
        conf = w->trial;
        listen = l->trial;
    }
    uint32_t place;
    bool is_proxy = !is_udp && rx_proxied_is_trusted(listen, ip);
    *why = let_in(w, conf, listen, ip, is_udp, is_proxy, &place);
    if (*why != RX_REASON_DONE)
        return NULL;
    struct rx_conn *c = rx_worker_conn_new(w, conf, is_udp);
    if (!c) {
        rx_admission_give(w, listen, place, is_udp, true);
        *why = RX_REASON_NO_MEMORY;
        return NULL;
    }
    c->client = *ip;
    c->ip_place = place;
    c->listen = listen;
    c->to_port = rx_addr_port(&l->addr.sa);
    c->is_pending = true;
    c->is_headless = is_proxy;
    if (listen->served) { // of the generation it holds, which may be the trial's
        c->cell = &listen->served->cells[w->index];
        rx_cell_add(&c->cell->opened, 1);
    }
    rx_worker_tried(c, RX_MEASURE_SCRIPT);
    return c;
}

static void birth(struct rx_listener *l, int fd, const union rx_ip *ip)
{
    enum rx_reason why;
    struct rx_conn *c = rx_accept_conn(l, ip, false, &why);
    if (!c) {
        turn_away(l, fd, ip, why);
        return;
    }
    c->ends[RX_CLIENT].io.fd = fd;
    rx_peek_begin(c);
}

static enum rx_reason let_named_in(struct rx_conn *c)
{
    const struct rx_listen *l = c->listen;
    if (rx_ban_has(&c->client))
        return RX_REASON_BANNED;
    enum rx_reason why = RX_REASON_DONE;
    if (RX_UNLIKELY(l->has_rates))
        why = meet_own_rate(c->conf, l, &c->client, rx_now_ms() * 1000000);
    if (why == RX_REASON_DONE && l->per_ip && !rx_limit_take(l->per_ip, &c->client, &c->ip_place))
        why = RX_REASON_LIMIT_IP;
    return why;
}

bool rx_accept_named(struct rx_conn *c)
{
    enum rx_reason why = let_named_in(c);
    struct ev_io *io = &c->ends[RX_CLIENT].io;
    if (why == RX_REASON_DONE)
        return true;
    rx_log_limited(RX_LOG_WARN, "connection refused: %s", rx_reason_doc(why));
    if (is_limit(why) && c->listen->over_limit == RX_TO_TARPIT) {
        rx_conn_watch(c, RX_CLIENT, 0);
        rx_pit_take(c->worker, io->fd);
        io->fd = -1;
    } else if (!is_limit(why) || c->listen->over_limit != RX_TO_DROP) {
        rx_sys_reset_on_close(io->fd);
    }
    rx_close(c, why);
    return false;
}

void rx_accept_on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct rx_listener *l = RX_CONTAINER(io, struct rx_listener, io);
    if (RX_UNLIKELY(events & EV_ERROR)) {
        rx_accept_rest(l);
        return;
    }
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        union rx_ip from;
        int fd = accept_one(l, &from);
        if (fd >= 0) {
            birth(l, fd, &from);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        if (errno == EMFILE || errno == ENFILE) {
            shed(l);
            return;
        }
        if (errno == ENOBUFS || errno == ENOMEM) {
            rx_log_limited(RX_LOG_WARN, "accept: out of memory: resting");
            rx_accept_rest(l);
            return;
        }
        // ECONNABORTED and the network errors of accept(2) concern one client only.
    }
}
