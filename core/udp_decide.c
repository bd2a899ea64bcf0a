// SPDX-License-Identifier: MIT
// Room PEEK for UDP. Enters: the first datagrams of a flow. Leaves: the flow on its way to a backend, answered here, or closed.
//  * What has to wait is bounded by peek_buffer_size and GRAMS_MAX; it keeps its boundaries and order.
// Deliberately not done: answers to what is turned away (a source address may be forged).
#include "udp_flow.h"

#include <stdlib.h>
#include <string.h>

enum {
    GRAMS_MAX = 32,       // datagrams an undecided flow may wait with
    ANSWER_FACTOR = 3,    // an answer of our own is at most so many times what was asked (RFC 9000 8.1's bound)
    DNS_ANSWER_MAX = 512, // RFC 1035 4.2.1
};

// ---- deciding -------------------------------------------------------------------------------------------------------

// What is said to the program itself.
static void hear_ourselves(struct rx_udp_flow *f, const uint8_t *p, uint32_t len)
{
    rx_conn_count(&f->c, RX_TO_SERVER, len);
    if (RX_UNLIKELY(f->c.is_tapped))
        rx_udp_tap(f, RX_TO_SERVER, p, len);
}

// An answer of our own, to the first datagram.
static void answer(struct rx_udp_flow *f, const struct rx_target *to, const struct rx_decision *d, const uint8_t *p,
                   uint32_t len)
{
    struct rx_conn *c = &f->c;
    uint8_t out[DNS_ANSWER_MAX];
    rx_udp_tap_begin(f);
    hear_ourselves(f, p, len);
    if (to->kind == RX_TO_RESPOND) {
        if (to->text_len <= ANSWER_FACTOR * len)
            rx_udp_tell_client(f, (const uint8_t *)to->text, to->text_len);
    } else {
        size_t n = rx_answer_datagram(c, d, p, len, out, sizeof out);
        bool is_dns = d->seen && d->seen->def && d->seen->def->facts & RX_FACT_QNAME;
        if (n && (is_dns || n <= (size_t)ANSWER_FACTOR * len))
            rx_udp_tell_client(f, out, (uint32_t)n);
    }
    rx_close(c, RX_REASON_ANSWERED);
}

void rx_udp_echo(struct rx_udp_flow *f, const uint8_t *p, uint32_t len)
{
    hear_ourselves(f, p, len);
    rx_udp_tell_client(f, p, len);
}

static void follow(struct rx_udp_flow *f, const struct rx_target *to, const struct rx_decision *d, const uint8_t *p,
                   const uint32_t *len, uint32_t n, enum rx_reason otherwise)
{
    struct rx_conn *c = &f->c;
    c->to_kind = (uint8_t)to->kind;
    switch (to->kind) {
    case RX_TO_POOL:
        rx_udp_connect_begin(f, to, p, len, n);
        return;
    case RX_TO_ECHO:
        c->room = RX_ROOM_FLOW;
        rx_conn_deadline(c, rx_udp_idle_ms(c));
        rx_udp_tap_begin(f);
        for (uint32_t i = 0; i < n; p += len[i++])
            rx_udp_echo(f, p, len[i]);
        rx_conn_drop_head(c);
        return;
    case RX_TO_RESPOND:
    case RX_TO_DESCRIBE:
        answer(f, to, d, p, len[0]);
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
static bool decide(struct rx_udp_flow *f, const uint8_t *p, uint32_t n, const uint32_t *len, uint32_t n_grams,
                   enum rx_ended ended)
{
    struct rx_conn *c = &f->c;
    struct rx_ask ask = rx_peek_ask(c, p, n, ended);
    struct rx_decision d;
    ask.gram_len = len;
    ask.n_grams = n_grams;
    if (rx_decide(c->listen, &ask, &d) == RX_MORE)
        return false;
    const struct rx_target *to = rx_peek_settle(c, &ask, &d);
    if (to)
        follow(f, to, &d, p, len, n_grams, rx_reason_of_note(d.note));
    return true;
}

// ---- undecided ------------------------------------------------------------------------------------------------------

// Keeps a datagram behind those that wait. False when there is no room, or no memory.
static bool keep(struct rx_udp_flow *f, const uint8_t *p, uint32_t len)
{
    struct rx_conn *c = &f->c;
    if (f->n_grams == GRAMS_MAX || c->head_len + len > c->listen->peek_bytes)
        return false;
    if (!f->gram_len && !(f->gram_len = malloc(GRAMS_MAX * sizeof *f->gram_len)))
        return false;
    uint8_t *head = realloc(c->head, RX_MAX(c->head_len + len, 1u));
    if (!head)
        return false;
    memcpy(head + c->head_len, p, len);
    c->head = head;
    c->head_len = c->head_cap = c->head_len + len;
    f->gram_len[f->n_grams++] = len;
    return true;
}

void rx_udp_drop_kept(struct rx_udp_flow *f)
{
    free(f->gram_len);
    f->gram_len = NULL;
    f->n_grams = 0;
}

bool rx_udp_take_kept(struct rx_udp_flow *f, const struct rx_text *lengths)
{
    if (!lengths->len)
        return true;
    if (lengths->len > GRAMS_MAX * sizeof *f->gram_len || !(f->gram_len = malloc(GRAMS_MAX * sizeof *f->gram_len)))
        return false;
    memcpy(f->gram_len, lengths->ptr, lengths->len);
    f->n_grams = (uint16_t)(lengths->len / sizeof *f->gram_len);
    return true;
}

void rx_udp_decide_kept(struct rx_udp_flow *f, enum rx_ended ended)
{
    uint32_t *len = f->gram_len, n = f->n_grams;
    f->gram_len = NULL; // the flow may be closed before we are done with it
    f->n_grams = 0;
    if (!decide(f, f->c.head, f->c.head_len, len, n, ended)) {
        f->gram_len = len;
        f->n_grams = (uint16_t)n;
        return;
    }
    free(len);
}

// One datagram of a flow that is not decided.
void rx_udp_hear_undecided(struct rx_udp_flow *f, const uint8_t *p, uint32_t len)
{
    f->c.active_ms = rx_now_ms();
    if (!f->n_grams && decide(f, p, len, &len, 1, RX_OPEN))
        return;
    bool is_kept = keep(f, p, len);
    if (is_kept && f->n_grams > 1) {
        rx_udp_decide_kept(f, RX_OPEN);
    } else if (!is_kept && f->n_grams) {
        rx_udp_decide_kept(f, RX_ENDED_FULL); // this one is lost; its sender will repeat it if it matters
    } else if (!is_kept) {
        decide(f, p, len, &len, 1, RX_ENDED_FULL);
    }
}
