// SPDX-License-Identifier: MIT
// Enters: a question. Leaves: what all workers answered, put together. A round outlives its asker: whoever leaves clears
// `done`, and the round goes when its last errand has come back.
#include "round.h"

#include <stdlib.h>

static void round_free(struct rx_round *r)
{
    r->next->prev = r->prev;
    r->prev->next = r->next;
    for (unsigned i = 0; i < r->n_trips; i++)
        free(r->trips[i].flows.list);
    free(r);
}

void rx_rounds_init(struct rx_rounds *home, struct ev_loop *loop, const struct rx_instance *about)
{
    home->about = about;
    home->list.next = home->list.prev = &home->list;
    rx_errands_init(&home->errands, loop);
}

void rx_rounds_fini(struct rx_rounds *home)
{
    while (home->list.next != &home->list)
        round_free(home->list.next);
    rx_errands_fini(&home->errands);
}

static void trip_run(struct rx_errand *e, struct rx_worker *w)
{
    struct rx_trip *t = RX_CONTAINER(e, struct rx_trip, errand);
    if (t->round->is_kill)
        t->is_found = rx_flow_kill(w, t->round->conn);
    else
        rx_flow_collect(w, &t->round->query, &t->flows);
}

static void trip_done(struct rx_errand *e)
{
    struct rx_round *r = RX_CONTAINER(e, struct rx_trip, errand)->round;
    if (--r->n_left)
        return;
    if (r->done)
        r->done(r);
    round_free(r);
}

static bool round_prepare(struct rx_round *r)
{
    for (unsigned i = 0; i < r->n_trips; i++) {
        struct rx_trip *t = &r->trips[i];
        t->round = r;
        t->errand = (struct rx_errand){ .home = &r->home->errands, .run = trip_run, .done = trip_done };
        if (!r->is_kill && !(t->flows.list = calloc(r->query.limit, sizeof *t->flows.list)))
            return false;
    }
    return true;
}

struct rx_round *rx_round_send(struct rx_rounds *home, const struct rx_flow_query *q, uint64_t conn,
                               void (*done)(struct rx_round *r), void *asker)
{
    unsigned n = home->about->n_workers;
    struct rx_round *r = calloc(1, sizeof *r + n * sizeof r->trips[0]);
    if (!r)
        return NULL;
    r->home = home;
    r->is_kill = !q;
    r->conn = conn;
    if (q)
        r->query = *q;
    r->done = done;
    r->asker = asker;
    r->n_trips = r->n_left = n;
    r->next = home->list.next;
    r->prev = &home->list;
    r->next->prev = home->list.next = r;
    if (!round_prepare(r)) {
        round_free(r);
        return NULL;
    }
    for (unsigned i = 0; i < n; i++)
        rx_errand_send(&r->trips[i].errand, &home->about->workers[i]);
    return r;
}

bool rx_round_has_killed(const struct rx_round *r)
{
    bool is_found = false;
    for (unsigned i = 0; i < r->n_trips; i++)
        is_found |= r->trips[i].is_found;
    return is_found;
}

// ---- connections as JSON ----------------------------------------------------------------------------------------------

static int by_key(const void *a, const void *b)
{
    const struct rx_flow *x = *(const struct rx_flow *const *)a, *y = *(const struct rx_flow *const *)b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void put_number(struct rx_json *j, const char *key, uint64_t v)
{
    rx_json_key(j, key);
    rx_json_number(j, v);
}

// An empty one is not there yet.
static void put_text(struct rx_json *j, const char *key, const char *text)
{
    rx_json_key(j, key);
    rx_json_string(j, *text ? text : NULL);
}

static void put_rtt(struct rx_json *j, const char *key, uint32_t us)
{
    rx_json_key(j, key);
    if (us)
        rx_json_number(j, us);
    else
        rx_json_null(j);
}

static void put_id(struct rx_json *j, uint64_t id)
{
    char text[20];
    snprintf(text, sizeof text, "%lx", (unsigned long)id);
    rx_json_key(j, "conn");
    rx_json_string(j, text);
}

static void put_flow(struct rx_json *j, const struct rx_flow *f)
{
    static const char *const pump[] = { "copy", "splice" };
    char text[RX_ADDR_TEXT];
    rx_json_open(j, '{');
    put_id(j, f->id);
    put_text(j, "client", rx_addr_print(&f->client.sa, text));
    put_text(j, "protocol", f->protocol);
    put_text(j, "route", f->route);
    put_text(j, "to", f->to);
    put_text(j, "room", f->room);
    put_number(j, "age_ms", f->age_ms);
    put_number(j, "idle_ms", f->idle_ms);
    put_number(j, "bytes_in", f->bytes[RX_TO_SERVER]);
    put_number(j, "bytes_out", f->bytes[RX_TO_CLIENT]);
    put_number(j, "rate_in", f->rate[RX_TO_SERVER]);
    put_number(j, "rate_out", f->rate[RX_TO_CLIENT]);
    put_text(j, "pump_in", pump[f->is_spliced[RX_TO_SERVER]]);
    put_text(j, "pump_out", pump[f->is_spliced[RX_TO_CLIENT]]);
    put_rtt(j, "rtt_client_us", f->rtt_us[RX_CLIENT]);
    put_rtt(j, "rtt_server_us", f->rtt_us[RX_SERVER]);
    rx_json_close(j);
}

// The first of what all workers brought.
static void put_flows(struct rx_json *j, const struct rx_round *r)
{
    const struct rx_flow **all = calloc((size_t)r->n_trips * r->query.limit, sizeof *all);
    uint32_t n = 0;
    for (unsigned i = 0; all && i < r->n_trips; i++)
        for (uint32_t k = 0; k < r->trips[i].flows.n; k++)
            all[n++] = &r->trips[i].flows.list[k];
    if (n)
        qsort(all, n, sizeof *all, by_key);
    rx_json_key(j, "flows");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < RX_MIN(n, r->query.limit); i++)
        put_flow(j, all[i]);
    rx_json_close(j);
    free(all);
}

void rx_round_json(const struct rx_round *r, struct rx_json *j)
{
    uint64_t slowest_ns = 0, n_matching = 0;
    for (unsigned i = 0; i < r->n_trips; i++) {
        slowest_ns = RX_MAX(slowest_ns, r->trips[i].flows.took_ns);
        n_matching += r->trips[i].flows.n_matching;
    }
    rx_json_open(j, '{');
    put_number(j, "uptime_ms", rx_now_ms() - r->home->about->start_ms);
    put_number(j, "took_us", slowest_ns / 1000);
    put_number(j, "matching", n_matching);
    rx_json_key(j, "totals");
    rx_json_open(j, '{');
    rx_status_totals(j, r->home->about);
    rx_json_close(j);
    put_flows(j, r);
    rx_json_close(j);
}
