// SPDX-License-Identifier: MIT
// Enters: a worker and what is asked. Leaves: copies of its busiest connections.
// One walk over the worker's list. A connection that has been idle since the last walk costs one look at one cache
// line; only those that end up among the first are described (names, addresses, TCP_INFO). A rate is what moved
// between two walks at least PACE_MS apart.
#include "flow.h"

#include <ctype.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys.h"
#include "worker.h"

enum { PACE_MS = 900, SOON_MS = 100 };

// ---- rates ------------------------------------------------------------------------------------------------------

static void measure(struct rx_conn *c, uint64_t now, uint64_t last)
{
    uint64_t ms = RX_MAX(now - RX_MAX(last, c->start_ms), (uint64_t)SOON_MS);
    for (int d = 0; d < 2; d++) {
        uint64_t rate = (c->bytes[d] - c->pace.seen[d]) * 1000 / ms;
        c->pace.rate[d] = (uint32_t)RX_MIN(rate, (uint64_t)UINT32_MAX);
        c->pace.seen[d] = c->bytes[d];
    }
}

static uint64_t rate_of(const struct rx_conn *c)
{
    return (uint64_t)c->pace.rate[0] + c->pace.rate[1];
}

// ---- the filter ---------------------------------------------------------------------------------------------------

static const char *protocol_of(const struct rx_conn *c)
{
    return c->seen ? c->seen->name : "";
}

static const char *route_of(const struct rx_conn *c)
{
    return c->room == RX_ROOM_PEEK ? "" : rx_conn_route_word(c);
}

static const char *to_of(const struct rx_conn *c)
{
    return c->room == RX_ROOM_PEEK ? "" : rx_conn_to_word(c);
}

// Printing an address is the dear part: only for a filter that could be in one.
static bool may_be_address(const char *filter)
{
    return filter[strspn(filter, "0123456789abcdefABCDEF.:[]")] == 0;
}

static bool matches(const struct rx_conn *c, const char *filter, bool is_address)
{
    char text[RX_ADDR_TEXT];
    return strcasestr(protocol_of(c), filter) || strcasestr(route_of(c), filter) || strcasestr(to_of(c), filter) ||
           (is_address && strcasestr(rx_addr_print(&c->client.sa, text), filter));
}

// ---- the first ones: a heap whose top is the least of those kept ----------------------------------------------------

struct place {
    uint64_t key;
    struct rx_conn *conn;
};

struct heap {
    struct place places[RX_FLOW_MOST];
    uint32_t n, limit;
};

static void sink(struct heap *h, uint32_t i)
{
    for (uint32_t least = i;; i = least) {
        for (uint32_t k = 2 * i + 1; k <= 2 * i + 2 && k < h->n; k++)
            if (h->places[k].key < h->places[least].key)
                least = k;
        if (least == i)
            return;
        struct place p = h->places[i];
        h->places[i] = h->places[least];
        h->places[least] = p;
    }
}

static void heap_add(struct heap *h, uint64_t key, struct rx_conn *c)
{
    if (h->n < h->limit) {
        uint32_t i = h->n++;
        for (; i && h->places[(i - 1) / 2].key > key; i = (i - 1) / 2)
            h->places[i] = h->places[(i - 1) / 2];
        h->places[i] = (struct place){ key, c };
    } else if (h->n && key > h->places[0].key) {
        h->places[0] = (struct place){ key, c };
        sink(h, 0);
    }
}

static uint64_t key_of(const struct rx_conn *c, enum rx_flow_sort sort, uint64_t now)
{
    switch (sort) {
    case RX_FLOW_RATE:
        return rate_of(c);
    case RX_FLOW_BYTES:
        return c->bytes[0] + c->bytes[1];
    case RX_FLOW_AGE:
        return now - c->start_ms;
    case RX_FLOW_IDLE:
        return now - c->active_ms;
    }
    return 0;
}

// ---- describing -----------------------------------------------------------------------------------------------------

static uint32_t rtt_of(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    return fd >= 0 && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 ? info.tcpi_rtt : 0;
}

static const char *room_word(const struct rx_conn *c)
{
    switch ((enum rx_room)c->room) {
    case RX_ROOM_PEEK:
        return "peek";
    case RX_ROOM_CONNECT:
        return "connect";
    case RX_ROOM_WELD:
        return "weld";
    case RX_ROOM_ANSWER:
        return "answer";
    case RX_ROOM_FLOW:
        return "flow";
    case RX_ROOM_DEAD:
        break;
    }
    return "";
}

static void copy_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

static void describe(const struct rx_conn *c, uint64_t key, uint64_t now, struct rx_flow *f)
{
    f->id = c->id;
    f->key = key;
    f->client = c->client;
    copy_text(f->protocol, sizeof f->protocol, protocol_of(c));
    copy_text(f->route, sizeof f->route, route_of(c));
    copy_text(f->to, sizeof f->to, to_of(c));
    copy_text(f->room, sizeof f->room, room_word(c));
    f->age_ms = now - c->start_ms;
    f->idle_ms = now - c->active_ms;
    for (int d = 0; d < 2; d++) {
        f->bytes[d] = c->bytes[d];
        f->rate[d] = c->pace.rate[d];
        f->is_spliced[d] = !c->is_udp && c->dir[d].is_spliced;
        f->rtt_us[d] = c->is_udp ? 0 : rtt_of(c->ends[d].io.fd);
    }
}

void rx_flow_collect(struct rx_worker *w, const struct rx_flow_query *q, struct rx_flows *out)
{
    uint64_t start = rx_sys_now_ns(), now = rx_now_ms(), last = w->paced_ms;
    bool is_due = now - last >= PACE_MS, is_address = may_be_address(q->filter);
    struct heap h = { .n = 0, .limit = RX_MIN(q->limit, (uint32_t)RX_FLOW_MOST) };
    out->n = out->n_matching = 0;
    out->n_living = w->n_conns;
    if (is_due)
        w->paced_ms = now;
    for (struct rx_conn *c = w->living.next; c != &w->living; c = c->next) {
        if (is_due && (c->active_ms >= last || rate_of(c)))
            measure(c, now, last);
        if (q->filter[0] && !matches(c, q->filter, is_address))
            continue;
        out->n_matching++;
        heap_add(&h, key_of(c, q->sort, now), c);
    }
    for (; out->n < h.n; out->n++)
        describe(h.places[out->n].conn, h.places[out->n].key, now, &out->list[out->n]);
    out->took_ns = rx_sys_now_ns() - start;
}

bool rx_flow_kill(struct rx_worker *w, uint64_t id)
{
    for (struct rx_conn *c = w->living.next; c != &w->living; c = c->next)
        if (c->id == id) {
            rx_close(c, RX_REASON_KILLED);
            return true;
        }
    return false;
}
