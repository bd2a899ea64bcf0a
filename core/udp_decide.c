// SPDX-License-Identifier: MIT
// Room PEEK for UDP. Enters: the first datagrams of a flow. Leaves: the flow on its way to a backend, answered here, or closed.
//  * What has to wait is bounded by peek_buffer_size and RX_UDP_GRAMS; it keeps its boundaries and order.
// Deliberately not done: answers to what is turned away (a source address may be forged).
#include "udp_flow.h"

#include <stdlib.h>
#include <string.h>

enum {
    ANSWER_FACTOR = 3,    // an answer of our own is at most so many times what was asked (RFC 9000 8.1's bound)
    DNS_ANSWER_MAX = 512, // RFC 1035 4.2.1
};

// ---- deciding -------------------------------------------------------------------------------------------------------

// What is said to the program itself.
static void hear_ourselves(struct rx_conn *c, const uint8_t *p, uint32_t len)
{
    rx_conn_count(c, RX_TO_SERVER, len);
    if (RX_UNLIKELY(c->is_tapped))
        rx_udp_tap(c, RX_TO_SERVER, p, len);
}

// An answer of our own, to the first datagram.
static void answer(struct rx_conn *c, const struct rx_target *to, const struct rx_decision *d, const uint8_t *p,
                   uint32_t len)
{
    uint8_t out[DNS_ANSWER_MAX];
    rx_udp_tap_begin(c);
    hear_ourselves(c, p, len);
    if (to->kind == RX_TO_RESPOND) {
        if (to->text_len <= ANSWER_FACTOR * len)
            rx_udp_tell_client(c, (const uint8_t *)to->text, to->text_len);
    } else {
        size_t n = rx_answer_datagram(c, d, p, len, out, sizeof out);
        bool is_dns = d->seen && d->seen->def && d->seen->def->facts & RX_FACT_QNAME;
        if (n && (is_dns || n <= (size_t)ANSWER_FACTOR * len))
            rx_udp_tell_client(c, out, (uint32_t)n);
    }
    rx_close(c, RX_REASON_ANSWERED);
}

void rx_udp_echo(struct rx_conn *c, const uint8_t *p, uint32_t len)
{
    hear_ourselves(c, p, len);
    rx_udp_tell_client(c, p, len);
}

static void follow(struct rx_conn *c, const struct rx_target *to, const struct rx_decision *d, const uint8_t *p,
                   const uint32_t *len, uint32_t n, enum rx_reason otherwise)
{
    c->to_kind = (uint8_t)to->kind;
    switch (to->kind) {
    case RX_TO_POOL:
        rx_udp_connect_begin(c, to, p, len, n);
        return;
    case RX_TO_ECHO:
        c->room = RX_ROOM_FLOW;
        rx_conn_deadline(c, rx_udp_idle_ms(c));
        rx_udp_tap_begin(c);
        for (uint32_t i = 0; i < n; p += len[i++])
            rx_udp_echo(c, p, len[i]);
        rx_conn_drop_head(c);
        return;
    case RX_TO_RESPOND:
    case RX_TO_DESCRIBE:
        answer(c, to, d, p, len[0]);
        return;
    case RX_TO_DROP:
    case RX_TO_TARPIT: // nothing is held by not answering
        rx_close(c, RX_REASON_DROPPED);
        return;
    case RX_TO_REFUSE: // there is no reset to send; an ICMP answer would need privileges
    case RX_TO_SCRIPT:
        rx_close(c, RX_REASON_REFUSED);
        return;
    case RX_TO_NONE:
        rx_close(c, otherwise);
        return;
    }
}

// Decides on the datagrams that are there; false when further ones may tell. After true the flow may be closed.
static bool decide(struct rx_conn *c, const uint8_t *p, uint32_t n, const uint32_t *len, uint32_t n_grams,
                   enum rx_ended ended)
{
    struct rx_ask ask = rx_peek_ask(c, p, n, ended);
    struct rx_decision d;
    ask.gram_len = len;
    ask.n_grams = n_grams;
    if (rx_decide(c->listen, &ask, &d) == RX_MORE)
        return false;
    const struct rx_target *to = rx_peek_settle(c, &ask, &d);
    if (to)
        follow(c, to, &d, p, len, n_grams, rx_reason_of_note(d.note));
    return true;
}

// ---- undecided ------------------------------------------------------------------------------------------------------

// Keeps a datagram behind those that wait. False when there is no room, or no memory.
static bool keep(struct rx_conn *c, const uint8_t *p, uint32_t len)
{
    struct rx_udp_grams *g = c->more.grams;
    if ((g && g->n == RX_UDP_GRAMS) || c->head_len + len > c->listen->peek_bytes)
        return false;
    if (!g && !(g = c->more.grams = calloc(1, sizeof *g)))
        return false;
    uint8_t *head = realloc(c->head, RX_MAX(c->head_len + len, 1u));
    if (!head)
        return false;
    memcpy(head + c->head_len, p, len);
    c->head = head;
    c->head_len = c->head_cap = c->head_len + len;
    g->len[g->n++] = len;
    return true;
}

bool rx_udp_take_kept(struct rx_conn *c, const struct rx_text *lengths)
{
    struct rx_udp_grams *g;
    if (!lengths->len)
        return true;
    if (lengths->len > sizeof g->len || !(g = c->more.grams = calloc(1, sizeof *g)))
        return false;
    memcpy(g->len, lengths->ptr, lengths->len);
    g->n = lengths->len / (uint32_t)sizeof *g->len;
    return true;
}

void rx_udp_decide_kept(struct rx_conn *c, enum rx_ended ended)
{
    struct rx_udp_grams *g = c->more.grams;
    c->more.grams = NULL; // the flow may be closed before we are done with it
    if (decide(c, c->head, c->head_len, g->len, g->n, ended))
        free(g);
    else
        c->more.grams = g;
}

// One datagram of a flow that is not decided.
void rx_udp_hear_undecided(struct rx_conn *c, const uint8_t *p, uint32_t len)
{
    c->active_ms = rx_now_ms();
    if (!c->more.grams && decide(c, p, len, &len, 1, RX_OPEN))
        return;
    bool is_kept = keep(c, p, len);
    if (is_kept && c->more.grams->n > 1) {
        rx_udp_decide_kept(c, RX_OPEN);
    } else if (!is_kept && c->more.grams) {
        rx_udp_lost(c->worker, RX_LOST_WAITING, 1); // its sender will repeat it if it matters
        rx_udp_decide_kept(c, RX_ENDED_FULL);
    } else if (!is_kept) {
        decide(c, p, len, &len, 1, RX_ENDED_FULL);
    }
}
