// SPDX-License-Identifier: MIT
// Enters: an identifier, bytes, a choice of prefixes. Leaves: the first breach of the contract in
// core/proto.h, as a sentence.
//
// Checked at each prefix: the verdict is one of the three; NO and MATCH stay; a fact that is present keeps
// its value; only pending facts can still come, and only wanted ones are pending; nothing changes before
// `need`; a first byte outside `first` means NO; facts are among those the protocol declares; texts lie in
// the input or in scratch; the same question twice gives the same answer. Reading past the end, or writing
// past scratch, faults.
//
// Two guarded copies are used in turn, so that the texts of the prefix before are still there to compare
// with.
#include "identcheck.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

struct room {
    uint8_t *input_end, *scratch;
};

// The datagrams that the input consists of; none: TCP.
struct grams {
    const uint32_t *len;
    uint32_t n;
};

static struct room rooms[2];
static unsigned turn;

// `size` bytes (whole pages) with a page behind them that faults
static uint8_t *guarded(size_t size)
{
    uint8_t *p = mmap(NULL, size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + size, PAGE, PROT_NONE) != 0)
        abort();
    return p;
}

static struct room *next_room(void)
{
    struct room *room = &rooms[turn ^= 1];
    if (!room->scratch) {
        room->scratch = guarded(RX_SCRATCH_SIZE);
        room->input_end = guarded(IDENT_MAX) + IDENT_MAX;
    }
    return room;
}

const struct rx_text *ident_text(const struct rx_facts *f, uint32_t fact)
{
    switch ((enum rx_fact)fact) {
    case RX_FACT_SNI:
        return &f->sni;
    case RX_FACT_ALPN:
        return &f->alpn;
    case RX_FACT_HOST:
        return &f->host;
    case RX_FACT_PATH:
        return &f->path;
    case RX_FACT_METHOD:
        return &f->method;
    case RX_FACT_SOFTWARE:
        return &f->software;
    case RX_FACT_QNAME:
        return &f->qname;
    case RX_FACT_USER:
        return &f->user;
    case RX_FACT_KEY:
        return &f->key;
    case RX_FACT_ECH:
    case RX_FACT_QTYPE:
    case RX_FACT_VERSION:
        break;
    }
    return NULL;
}

bool ident_is(const struct ident_result *r, uint32_t fact, const char *value)
{
    const struct rx_text *text = ident_text(&r->f, fact);
    return r->verdict == RX_MATCH && r->f.have & fact && text && text->len == strlen(value) &&
           memcmp(text->ptr, value, text->len) == 0;
}

static bool is_same_fact(const struct rx_facts *a, const struct rx_facts *b, uint32_t fact)
{
    const struct rx_text *x = ident_text(a, fact), *y = ident_text(b, fact);
    if (x)
        return x->len == y->len && memcmp(x->ptr, y->ptr, x->len) == 0;
    return fact == RX_FACT_ECH     ? a->ech == b->ech
           : fact == RX_FACT_QTYPE ? a->qtype == b->qtype
                                   : a->version == b->version;
}

static bool has_same_facts(const struct rx_facts *a, const struct rx_facts *b, uint32_t facts)
{
    for (unsigned i = 0; i < RX_FACT_COUNT; i++)
        if (facts & 1u << i && !is_same_fact(a, b, 1u << i))
            return false;
    return true;
}

// What an identifier need not set is cleared, so that results can be compared.
static struct ident_result ask_in(struct room *room, const struct rx_proto *proto, const uint8_t *p, uint32_t n,
                                  const struct grams *g, uint32_t want, int garbage)
{
    struct ident_result r;
    memset(&r.f, garbage, sizeof r.f);
    memset(room->scratch, garbage, RX_SCRATCH_SIZE);
    r.f.want = want;
    r.f.scratch = room->scratch;
    r.f.gram_len = g ? g->len : NULL;
    r.f.n_grams = g ? g->n : 0;
    r.verdict = (g ? proto->datagram : proto->identify)(p, n, &r.f);
    if (r.verdict != RX_MATCH)
        r.f.have = r.f.pending = 0;
    if (r.verdict == RX_NO || (r.verdict == RX_MATCH && !r.f.pending))
        r.f.need = 0;
    return r;
}

static struct ident_result ask(const struct rx_proto *proto, const uint8_t *bytes, uint32_t n, const struct grams *g,
                               uint32_t want, const char **error)
{
    struct room *room = next_room();
    uint8_t *p = room->input_end - n;
    if (n)
        memcpy(p, bytes, n);
    struct ident_result r = ask_in(room, proto, p, n, g, want, 0xa5);
    if (n && memcmp(p, bytes, n) != 0)
        *error = "the input was written to";
    // texts in scratch are overwritten by the second call, with the same bytes or the comparison below fails
    for (unsigned i = 0; i < RX_FACT_COUNT; i++) {
        const struct rx_text *text = r.f.have & 1u << i ? ident_text(&r.f, 1u << i) : NULL;
        if (!text)
            continue;
        bool is_input = text->ptr >= p && text->len <= (size_t)(p + n - text->ptr);
        bool is_scratch =
            text->ptr >= room->scratch && text->len <= (size_t)(room->scratch + RX_SCRATCH_SIZE - text->ptr);
        if (!(is_input && text->ptr <= p + n) && !(is_scratch && text->ptr < room->scratch + RX_SCRATCH_SIZE))
            *error = "a fact points neither into the input nor into scratch";
    }
    if (*error)
        return r;
    struct ident_result again = ask_in(room, proto, p, n, g, want, 0x5a);
    if (again.verdict != r.verdict || again.f.have != r.f.have || again.f.pending != r.f.pending ||
        again.f.need != r.f.need || again.f.note != r.f.note || !has_same_facts(&r.f, &again.f, r.f.have))
        *error = "the same question got another answer (or something was left unset)";
    return r;
}

static struct ident_result ask_or_die(const struct rx_proto *proto, const void *p, uint32_t n, const struct grams *g,
                                      uint32_t want)
{
    const char *error = NULL;
    struct ident_result r = ask(proto, p, n, g, want, &error);
    if (error) {
        fprintf(stderr, "%s: %s\n", proto->name, error);
        abort();
    }
    return r;
}

struct ident_result ident_ask(const struct rx_proto *proto, const void *p, uint32_t n, uint32_t want)
{
    return ask_or_die(proto, p, n, NULL, want);
}

static uint32_t sum_of(const struct grams *g)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n; i++)
        n += g->len[i];
    return n;
}

struct ident_result ident_ask_grams(const struct rx_proto *proto, const void *p, const uint32_t *len, uint32_t n,
                                    uint32_t want)
{
    const struct grams g = { len, n };
    return ask_or_die(proto, p, sum_of(&g), &g, want);
}

static bool may_start_with(const char *first, unsigned len, uint8_t byte)
{
    if (!first)
        return true;
    for (unsigned i = 0; i + 1 < len; i += 2)
        if (byte >= (uint8_t)first[i] && byte <= (uint8_t)first[i + 1])
            return true;
    return false;
}

static const char *check_one(const struct rx_proto *proto, const uint8_t *p, uint32_t n, const struct grams *g,
                             uint32_t want, const struct ident_result *r)
{
    const char *first = g ? proto->first_udp : proto->first;
    unsigned first_len = g ? proto->first_udp_len : proto->first_len;
    if (r->verdict != RX_NO && r->verdict != RX_MATCH && r->verdict != RX_MORE)
        return "not a verdict";
    if (r->f.note >= RX_NOTE_COUNT)
        return "not a note";
    if (n > 0 && r->verdict != RX_NO && !may_start_with(first, first_len, p[0]))
        return "the first byte is not among `first`";
    if (r->f.have & ~proto->facts)
        return "a fact the protocol does not declare";
    if (r->f.pending & ~(proto->facts & want))
        return "a fact is pending that was not wanted";
    if (r->f.pending & r->f.have)
        return "a fact is both present and pending";
    if (r->f.need && r->f.need <= n)
        return "`need` is not more than what was there";
    return NULL;
}

// `a` was said of a prefix of the n bytes that `b` was said of.
static const char *check_pair(const struct ident_result *a, const struct ident_result *b, uint32_t n)
{
    if (a->verdict != RX_MORE && a->verdict != b->verdict)
        return a->verdict == RX_NO ? "NO was taken back" : "MATCH was taken back";
    if (n < a->f.need && (a->verdict != b->verdict || a->f.have != b->f.have || a->f.pending != b->f.pending))
        return "something changed before `need`";
    if (a->verdict != RX_MATCH)
        return NULL;
    if (a->f.have & ~b->f.have)
        return "a fact was taken back";
    if (b->f.have & ~(a->f.have | a->f.pending))
        return "a fact came that was not pending";
    if (b->f.pending & ~a->f.pending)
        return "a fact became pending again";
    if (!has_same_facts(&a->f, &b->f, a->f.have))
        return "a fact changed its value";
    return NULL;
}

const char *ident_law_at(const struct rx_proto *proto, const void *p, const uint32_t *at, uint32_t n_at,
                         uint32_t want, struct ident_result *last)
{
    static char message[256];
    struct ident_result before = { .verdict = RX_MORE };
    for (uint32_t i = 0; i < n_at; i++) {
        const char *error = NULL;
        struct ident_result r = ask(proto, p, at[i], NULL, want, &error);
        if (!error)
            error = check_one(proto, p, at[i], NULL, want, &r);
        if (!error && i > 0)
            error = check_pair(&before, &r, at[i]);
        if (error) {
            snprintf(message, sizeof message, "%s at %u bytes: %s (verdict %d after %d)", proto->name, at[i], error,
                     (int)r.verdict, (int)before.verdict);
            return message;
        }
        // a promise of `need` holds until it is reached, whatever the calls in between say
        if (i > 0 && before.f.need > r.f.need && at[i] < before.f.need)
            r.f.need = before.f.need;
        before = r;
    }
    if (last)
        *last = before;
    return NULL;
}

const char *ident_law_grams(const struct rx_proto *proto, const void *p, const uint32_t *len, uint32_t n,
                            uint32_t want, struct ident_result *last)
{
    static char message[256];
    struct ident_result before = { .verdict = RX_MORE };
    for (uint32_t i = 1; i <= n; i++) {
        const struct grams g = { len, i };
        const char *error = NULL;
        struct ident_result r = ask(proto, p, sum_of(&g), &g, want, &error);
        if (!error)
            error = check_one(proto, p, sum_of(&g), &g, want, &r);
        if (!error && i > 1)
            error = check_pair(&before, &r, UINT32_MAX);
        if (error) {
            snprintf(message, sizeof message, "%s at %u datagrams: %s (verdict %d after %d)", proto->name, i, error,
                     (int)r.verdict, (int)before.verdict);
            return message;
        }
        before = r;
    }
    if (last)
        *last = before;
    return NULL;
}

const char *ident_law(const struct rx_proto *proto, const void *p, uint32_t n, uint32_t want,
                      struct ident_result *last)
{
    static uint32_t at[8192];
    uint32_t n_at = 0;
    for (uint32_t k = 0; k < n && n_at < RX_COUNT(at) - 1; k += k < 1500 ? 1 : 1 + (n - 1500) / 300)
        at[n_at++] = k;
    at[n_at++] = n;
    return ident_law_at(proto, p, at, n_at, want, last);
}
