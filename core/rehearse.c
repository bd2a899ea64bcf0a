// SPDX-License-Identifier: MIT
// Enters: a listener and what a client does. Leaves: the decision, and after how many bytes it fell.
// Kept in step with peek.c, which owns the rules: ask after each segment unless `need` says it is idle, with the
// buffer full once more, and at the end of input or of patience. Pure, like what it calls.
#include "rehearse.h"

enum { GRAMS_MAX = 32 }; // as udp.c

static enum rx_verdict ask(const struct rx_listen *l, const struct rx_client *c, uint8_t *scratch, uint32_t also_want,
                           struct rx_outcome *out)
{
    struct rx_ask a = { .p = c->p,
                        .n = out->len,
                        .ended = out->ended,
                        .from = &c->from,
                        .to_port = c->to_port,
                        .week_minute = c->week_minute,
                        .scratch = scratch,
                        .script = c->script,
                        .also_want = also_want };
    return rx_decide(l, &a, &out->d);
}

// Datagram by datagram, as udp.c does.
static void rehearse_udp(const struct rx_listen *l, const struct rx_client *c, uint8_t *scratch, uint32_t also_want,
                         struct rx_outcome *out)
{
    uint32_t len[GRAMS_MAX], n = 0;
    struct rx_ask a = { .p = c->p, .from = &c->from, .to_port = c->to_port, .week_minute = c->week_minute, .scratch = scratch, .script = c->script,
                        .also_want = also_want, .gram_len = len };
    for (uint32_t i = 0; i < c->n_cuts; i++) {
        len[n] = c->cuts[i] - (i ? c->cuts[i - 1] : 0);
        if (i && (n == GRAMS_MAX || out->len + len[n] > l->peek_bytes))
            a.ended = RX_ENDED_FULL;
        else
            a.n_grams = ++n, a.n = out->len = c->cuts[i];
        out->n_segments = i + 1;
        out->ended = a.ended;
        if (rx_decide(l, &a, &out->d) != RX_MORE)
            return;
    }
    if (c->after == RX_OPEN || !n)
        return;
    out->ended = a.ended = RX_ENDED_TIMEOUT;
    rx_decide(l, &a, &out->d);
}

void rx_rehearse(const struct rx_listen *l, const struct rx_client *c, uint8_t *scratch, uint32_t also_want,
                 struct rx_outcome *out)
{
    *out = (struct rx_outcome){ .d = { .verdict = RX_MORE, .need = 1 }, .is_udp = c->is_udp };
    if (c->is_udp) {
        rehearse_udp(l, c, scratch, also_want, out);
        return;
    }
    // A first route that needs no byte (rx.any), or that this client may not take, can settle it at once.
    if (l->n_routes == 0 || l->routes[0].proto->is_any || !l->routes[0].is_plain)
        if (ask(l, c, scratch, also_want, out) != RX_MORE)
            return;
    for (uint32_t i = 0; i < c->n_cuts; i++) {
        uint32_t len = RX_MIN(c->cuts[i], l->peek_bytes);
        if (len == out->len)
            continue;
        out->len = len;
        out->n_segments = i + 1;
        if (len >= out->d.need && ask(l, c, scratch, also_want, out) != RX_MORE)
            return;
        if (len == l->peek_bytes) {
            out->ended = RX_ENDED_FULL;
            ask(l, c, scratch, also_want, out);
            return;
        }
    }
    if (c->after == RX_OPEN)
        return;
    out->ended = c->after;
    if (c->after == RX_ENDED_EOF && !out->len) {
        out->is_gone = true;
        out->d.verdict = RX_NO;
        return;
    }
    ask(l, c, scratch, also_want, out);
}

const struct rx_target *rx_outcome_target(const struct rx_listen *l, const struct rx_outcome *o)
{
    static const struct rx_target nowhere = { .kind = RX_TO_NONE };
    if (o->is_gone)
        return &nowhere;
    switch (o->d.verdict) {
    case RX_MATCH:
        return o->d.to;
    case RX_NO:
        return o->is_udp ? &l->fallback_udp : &l->fallback_tcp;
    case RX_MORE:
        break;
    }
    return NULL;
}
