// SPDX-License-Identifier: MIT
// Enters: one end of a socket pair, by its number in the environment. Leaves: sockets for bind.c, connections for workers
// that do not run yet.
//
// The moment of change is one message: HAVE. Before it the old process can go on as if nothing had been, so nothing is
// moved or answered here; after it the old one never touches what was handed over. When the old one ends before that,
// nobody is left to go on: what has come is ours.
#include "heir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bind.h"
#include "handover.h"
#include "log.h"
#include "upgrade.h"
#include "upgrade_wire.h"
#include "worker.h"

enum { ASK_MS = 10 * 1000, SUCCEED_MS = 3 * RX_UPGRADE_HAND_MS };

struct sockets {
    struct rx_addr wanted;
    bool is_udp, is_taken;
    uint64_t device, inode;
    int *fds; // owned; -1: taken
    unsigned n, at;
};

static struct {
    int fd; // -1: nobody is followed, or not any more
    bool is_over;
    struct sockets *all, *last; // last: the one that was taken from
    unsigned n;
    int *carried;
    unsigned n_carried;
    uint8_t *refused; // by connection, in the order of the messages
    size_t n_taken, n_refused;
} heir = { .fd = -1 };

void rx_heir_begin(void)
{
    const char *text = getenv(RX_UPGRADE_VARIABLE);
    char *end;
    long fd = text ? strtol(text, &end, 10) : -1;
    int type = 0;
    socklen_t len = sizeof type;
    if (!text)
        return;
    unsetenv(RX_UPGRADE_VARIABLE); // is for us alone
    if (*end || fd < 0 || fd > INT32_MAX || getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &len) == -1 ||
        type != SOCK_SEQPACKET)
        return;
    heir.fd = (int)fd;
    fcntl(heir.fd, F_SETFD, FD_CLOEXEC);
}

bool rx_heir_is(void)
{
    return heir.fd >= 0;
}

static int say(enum rx_upgrade_kind kind, struct rx_upgrade_msg *m, int fd)
{
    m->kind = kind;
    return rx_upgrade_send(heir.fd, m, &fd, fd >= 0, rx_now_ms() + ASK_MS);
}

void rx_heir_tell(unsigned severity, const char *text, size_t len)
{
    struct rx_upgrade_msg m = { .a = severity, .len = (uint32_t)RX_MIN(len, (size_t)RX_UPGRADE_DATA) };
    if (!rx_heir_is())
        return;
    memcpy(m.data, text, m.len);
    say(RX_UPGRADE_FINDING, &m, -1);
}

static void close_all(int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

// ---- listening sockets ----------------------------------------------------------------------------------------------

static struct sockets *sockets_of(const struct rx_upgrade_msg *m)
{
    struct rx_addr a;
    memcpy(&a, m->data, sizeof a);
    for (unsigned i = 0; m->b && i < heir.n; i++) // more of one that was begun
        if (heir.all[i].is_udp == m->a && rx_addr_equal(&heir.all[i].wanted.sa, &a.sa) && heir.all[i].n == m->b)
            return &heir.all[i];
    struct sockets *grown = m->b ? NULL : realloc(heir.all, (heir.n + 1) * sizeof *grown);
    if (!grown)
        return NULL;
    heir.all = grown;
    grown[heir.n] = (struct sockets){ .wanted = a, .is_udp = m->a, .device = m->c, .inode = m->d };
    return &grown[heir.n++];
}

static int add_sockets(const struct rx_upgrade_msg *m, const int *fds, unsigned n)
{
    struct sockets *s = m->len == sizeof(struct rx_addr) ? sockets_of(m) : NULL;
    int *grown = s ? realloc(s->fds, (s->n + n) * sizeof *grown) : NULL;
    if (!grown)
        return -EPROTO;
    s->fds = grown;
    memcpy(grown + s->n, fds, n * sizeof *fds);
    s->n += n;
    return 0;
}

static int ask(void)
{
    struct rx_upgrade_msg m = { .a = RX_UPGRADE_BASE, .b = RX_HANDOVER_VERSION };
    int fds[RX_UPGRADE_FDS], rc = say(RX_UPGRADE_HELLO, &m, -1);
    unsigned n;
    while (!rc) {
        rc = rx_upgrade_recv(heir.fd, &m, fds, &n, rx_now_ms() + ASK_MS);
        if (rc <= 0)
            return rc ? rc : -EPIPE;
        if (m.kind == RX_UPGRADE_LISTENED)
            return 0;
        rc = m.kind == RX_UPGRADE_LISTENER && n ? add_sockets(&m, fds, n) : -EPROTO;
        if (rc)
            close_all(fds, n);
    }
    return rc;
}

int rx_heir_ask(void)
{
    int rc = rx_heir_is() ? ask() : 0;
    if (rc == -EPIPE) {
        rx_log(RX_LOG_WARN, "upgrade: the old process has ended by itself");
        heir.is_over = true;
        return 0;
    }
    if (rc)
        rx_log(RX_LOG_ERROR, "upgrade: cannot take over from the old process: %s", strerror(-rc));
    return rc;
}

unsigned rx_heir_take(struct rx_bind *b, int *fds, unsigned n)
{
    unsigned k = 0;
    heir.last = NULL;
    for (unsigned i = 0; i < heir.n && !heir.last; i++)
        if (!heir.all[i].is_taken && heir.all[i].is_udp == b->is_udp &&
            rx_addr_equal(&heir.all[i].wanted.sa, &b->addr.sa))
            heir.last = &heir.all[i];
    struct sockets *s = heir.last;
    if (!s)
        return 0;
    s->is_taken = true;
    b->file.device = s->device;
    b->file.inode = s->inode;
    for (; k < n && s->at < s->n; k++) {
        fds[k] = s->fds[s->at];
        s->fds[s->at++] = -1;
    }
    return k;
}

int rx_heir_more(void)
{
    struct sockets *s = heir.last;
    if (!s || s->at == s->n)
        return -1;
    int fd = s->fds[s->at];
    s->fds[s->at++] = -1;
    return fd;
}

// What this config does not listen on.
static void forget_sockets(bool is_ours)
{
    for (unsigned i = 0; i < heir.n; i++) {
        struct sockets *s = &heir.all[i];
        struct rx_bind b = { .addr = s->wanted, .file = { s->device, s->inode } };
        close_all(s->fds, s->n);
        if (!s->is_taken && is_ours)
            rx_bind_unlink(&b);
        free(s->fds);
    }
    free(heir.all);
    heir.all = heir.last = NULL;
    heir.n = 0;
}

// ---- connections ----------------------------------------------------------------------------------------------------

static int carry(const int *fds, unsigned n)
{
    int *grown = realloc(heir.carried, (heir.n_carried + n + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    heir.carried = grown;
    memcpy(grown + heir.n_carried, fds, n * sizeof *fds);
    heir.n_carried += n;
    return 0;
}

static int note(bool is_refused)
{
    size_t n = heir.n_taken + heir.n_refused;
    if (n % 4096 == 0) {
        uint8_t *grown = realloc(heir.refused, n + 4096);
        if (!grown)
            return -ENOMEM;
        heir.refused = grown;
    }
    heir.refused[n] = is_refused;
    is_refused ? heir.n_refused++ : heir.n_taken++;
    return 0;
}

static int take_flows(struct rx_worker *workers, unsigned n_workers, const struct rx_upgrade_msg *m, int memory)
{
    struct rx_handover_reader r;
    struct rx_handed h;
    uint8_t *bytes = m->c <= SIZE_MAX / 2 ? rx_upgrade_recall(memory, (size_t)m->c) : NULL;
    int rc = bytes ? rx_handover_open(&r, bytes, (size_t)m->c, heir.n_carried) : -EPROTO, more = 0;
    for (unsigned i = 0; !rc && i < n_workers; i++)
        workers[i].last_id = RX_MAX(workers[i].last_id, r.last_id);
    while (!rc && (more = rx_handover_next(&r, &h)) > 0)
        rc = note(rx_handover_take(workers, n_workers, &h, heir.carried) != 0);
    free(bytes);
    close_all(heir.carried, heir.n_carried);
    heir.n_carried = 0;
    return rc ? rc : more;
}

static int hear(struct rx_worker *workers, unsigned n_workers, const struct rx_upgrade_msg *m, int memory)
{
    if (m->kind == RX_UPGRADE_DRAINED)
        rx_upgrade_take_drained(workers[0].conf->home, m);
    else if (m->kind == RX_UPGRADE_BANS && memory >= 0)
        return rx_upgrade_take_bans(memory, m->c);
    else if (m->kind == RX_UPGRADE_FLOWS && memory >= 0)
        return take_flows(workers, n_workers, m, memory);
    else
        return -EPROTO;
    return 0;
}

static int receive(struct rx_worker *workers, unsigned n_workers)
{
    struct rx_upgrade_msg m = { 0 };
    int fds[RX_UPGRADE_FDS], rc = say(RX_UPGRADE_READY, &m, -1);
    uint64_t until = rx_now_ms() + SUCCEED_MS;
    unsigned n;
    while (!rc) {
        rc = rx_upgrade_recv(heir.fd, &m, fds, &n, until);
        if (rc <= 0)
            return rc ? rc : -EPIPE;
        if (m.kind == RX_UPGRADE_END)
            return 0;
        if (m.kind == RX_UPGRADE_CARRY && !(rc = carry(fds, n)))
            continue;
        rc = hear(workers, n_workers, &m, n == 1 ? fds[0] : -1);
        close_all(fds, n);
    }
    return rc;
}

static int say_have(void)
{
    struct rx_upgrade_msg m = { .c = heir.n_taken, .d = heir.n_refused };
    int memory = rx_upgrade_memory(heir.refused, heir.n_taken + heir.n_refused);
    if (memory < 0)
        return memory;
    int rc = say(RX_UPGRADE_HAVE, &m, memory);
    close(memory);
    return rc;
}

// is_ours: the old process serves no more; its files are ours to remove.
static void end(bool is_ours)
{
    if (heir.fd >= 0)
        close(heir.fd);
    heir.fd = -1;
    forget_sockets(is_ours);
    close_all(heir.carried, heir.n_carried);
    free(heir.carried);
    free(heir.refused);
    heir.carried = NULL;
    heir.refused = NULL;
    heir.n_carried = 0;
}

int rx_heir_succeed(struct rx_worker *workers, unsigned n_workers)
{
    if (!rx_heir_is())
        return 0;
    int rc = heir.is_over ? 0 : receive(workers, n_workers);
    if (!rc && !heir.is_over)
        rc = say_have();
    if (rc == -EPIPE) {
        rx_log(RX_LOG_WARN, "upgrade: the old process ended on the way");
        rc = 0;
    }
    if (rc) {
        rx_log(RX_LOG_ERROR, "upgrade: cannot take over from the old process: %s", strerror(-rc));
        for (unsigned i = 0; i < n_workers; i++) // they are the old one's still
            while (workers[i].living.next != &workers[i].living)
                rx_handover_let_go(workers[i].living.next);
    } else {
        rx_log(RX_LOG_INFO, "upgrade: took over %zu connections, %zu stay with the old process", heir.n_taken,
               heir.n_refused);
        end(true);
    }
    return rc;
}

void rx_heir_end(void)
{
    end(false);
}
