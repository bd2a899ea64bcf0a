// SPDX-License-Identifier: MIT
// The talk as such, and the texts every protocol wraps in its own way.
// Enters: what was recognised, and the client's bytes as they come. Leaves: bytes to send, and the word that all is
// said.
//
// Invariants
//  * No text holds a byte of the client that was not escaped; names from the config are escaped as well.
//  * A talk keeps at most RX_TALK_IN bytes, hears at most RX_TALK_HEARD, and after rx_talk_end waits for nothing.
//  * Routes ask identifiers for few facts, so that they are cheap; here all are wanted, and asked for again.
//
// What no route recognised is still shown to all built-in identifiers, in the order in which none is mistaken for
// another: a fallback that answers redis-cli in prose would only look like a broken server.
//
// Deliberately not done: serving. Every talk says its one thing and ends.
#include "describe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "table.h"

enum {
    GUESS_PATIENCE = 500, // ms: what nobody recognised gets this long to become something after all
    SHOWN = 32,           // bytes of it that are shown
};

// ---- bytes ------------------------------------------------------------------------------------------------------

static bool bytes_room(struct rx_bytes *b, size_t n)
{
    if (b->is_short || n > (size_t)RX_TALK_HEARD - b->len) {
        b->is_short = true;
        return false;
    }
    if (n <= b->cap - b->len)
        return true;
    uint32_t cap = RX_MAX(b->cap * 2, 512u);
    while (cap - b->len < n)
        cap *= 2;
    uint8_t *ptr = realloc(b->ptr, cap);
    if (!ptr) {
        b->is_short = true;
        return false;
    }
    b->ptr = ptr;
    b->cap = cap;
    return true;
}

void rx_bytes_add(struct rx_bytes *b, const void *p, size_t n)
{
    if (!n || !bytes_room(b, n))
        return;
    memcpy(b->ptr + b->len, p, n);
    b->len += (uint32_t)n;
}

void rx_bytes_text(struct rx_bytes *b, const char *text)
{
    rx_bytes_add(b, text, strlen(text));
}

void rx_bytes_print(struct rx_bytes *b, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n > 0)
        rx_bytes_add(b, text, RX_MIN((size_t)n, sizeof text - 1));
}

void rx_bytes_be(struct rx_bytes *b, uint32_t value, unsigned width)
{
    uint8_t bytes[4] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value };
    rx_bytes_add(b, bytes + 4 - width, width);
}

void rx_bytes_drop(struct rx_bytes *b, uint32_t n)
{
    if (!n)
        return;
    b->len -= n;
    memmove(b->ptr, b->ptr + n, b->len);
}

void rx_bytes_free(struct rx_bytes *b)
{
    free(b->ptr);
    *b = (struct rx_bytes){ 0 };
}

// ---- facts as text ----------------------------------------------------------------------------------------------

static char *told_next(struct rx_told *told, const char *name)
{
    if (told->n == RX_COUNT(told->fact))
        return NULL;
    told->fact[told->n].name = name;
    return told->fact[told->n++].value;
}

static void told_text(struct rx_told *told, const char *name, const struct rx_text *text)
{
    char *value = told_next(told, name);
    if (value)
        rx_log_escape(text->ptr, text->len, value, RX_TOLD_VALUE);
}

// A ProtocolNameList (RFC 7301 3.1) as "h2,http/1.1"
static void told_alpn(struct rx_told *told, const struct rx_text *list)
{
    uint8_t joined[RX_TOLD_VALUE];
    uint32_t n = 0, at = 0;
    while (at < list->len && n < sizeof joined) {
        uint32_t len = list->ptr[at++], left = list->len - at, room = (uint32_t)sizeof joined - n;
        if (n)
            joined[n++] = ',', room--;
        len = RX_MIN(len, left);
        memcpy(joined + n, list->ptr + at, RX_MIN(len, room));
        n += RX_MIN(len, room);
        at += len;
    }
    told_text(told, "alpn", &(struct rx_text){ joined, n });
}

static void told_version(struct rx_told *told, const struct rx_proto *def, unsigned version)
{
    const char *name = def->name;
    char text[16] = "";
    unsigned major = version >> 8, minor = version & 0xff;
    if (strcmp(name, "tls") == 0 && major == 3)
        snprintf(text, sizeof text, minor ? "TLS 1.%u" : "SSL 3.0", minor - 1);
    else if (strcmp(name, "http") == 0)
        snprintf(text, sizeof text, major >= 2 ? "%u" : "%u.%u", major, minor);
    else if (strcmp(name, "ssh") == 0 || strcmp(name, "sftp") == 0)
        snprintf(text, sizeof text, "%u.%u", major, minor);
    else if (strcmp(name, "mqtt") == 0 && version >= 3 && version <= 5)
        snprintf(text, sizeof text, "%s", version == 3 ? "3.1" : version == 4 ? "3.1.1" : "5.0");
    if (*text)
        told_text(told, "version", &(struct rx_text){ (const uint8_t *)text, (uint32_t)strlen(text) });
}

void rx_told_set(struct rx_told *told, const struct rx_proto *def, const struct rx_facts *f)
{
    const struct {
        uint32_t fact;
        const char *name;
        const struct rx_text *text;
    } texts[] = {
        { RX_FACT_SNI, "sni", &f->sni },    { RX_FACT_METHOD, "method", &f->method },
        { RX_FACT_HOST, "host", &f->host }, { RX_FACT_PATH, "path", &f->path },
        { RX_FACT_USER, "user", &f->user }, { RX_FACT_SOFTWARE, "software", &f->software },
        { RX_FACT_KEY, "key", &f->key },    { RX_FACT_QNAME, "qname", &f->qname },
    };
    told->n = 0;
    for (unsigned i = 0; i < RX_COUNT(texts); i++)
        if (f->have & texts[i].fact)
            told_text(told, texts[i].name, texts[i].text);
    if (f->have & RX_FACT_QTYPE) {
        char buf[16];
        const char *name = rx_qtype_name(f->qtype, buf);
        told_text(told, "qtype", &(struct rx_text){ (const uint8_t *)name, (uint32_t)strlen(name) });
    }
    if (f->have & RX_FACT_ALPN)
        told_alpn(told, &f->alpn);
    if (f->have & RX_FACT_VERSION && def)
        told_version(told, def, f->version);
    if (f->have & RX_FACT_ECH && f->ech)
        told_text(told, "ech", &(struct rx_text){ (const uint8_t *)"offered", 7 });
}

// ---- texts ------------------------------------------------------------------------------------------------------

// snprintf that goes on where the last one ended, and stays within `size`.
static RX_PRINTF(4, 5) size_t add(char *buf, size_t at, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(buf + at, size - at, fmt, ap);
    va_end(ap);
    return n > 0 ? RX_MIN(at + (size_t)n, size - 1) : at;
}

static const char *shown(const char *text, char *buf, size_t size)
{
    return rx_log_escape((const uint8_t *)text, strlen(text), buf, size);
}

static size_t add_told(const struct rx_talk *t, char *line, size_t at)
{
    for (uint32_t i = 0; i < t->told.n; i++)
        at = add(line, at, RX_TALK_LINE, "%s%s %s", i ? ", " : " (", t->told.fact[i].name, t->told.fact[i].value);
    return t->told.n ? add(line, at, RX_TALK_LINE, ")") : at;
}

static size_t add_silence(char *line, uint32_t ms)
{
    bool is_whole = ms % 1000 == 0;
    return add(line, 0, RX_TALK_LINE, "refractium: you said nothing for %u%s", is_whole ? ms / 1000 : ms,
               is_whole ? "s" : "ms");
}

// "refractium recognised http"; for what is not: why this answer all the same
static size_t add_head(const struct rx_talk *t, char *line, bool has_told)
{
    char text[4 * SHOWN + 16];
    const struct rx_about *a = &t->about;
    size_t at;
    if (a->name && a->silent_ms && !t->heard) {
        at = add_silence(line, a->silent_ms);
        return add(line, at, RX_TALK_LINE, ", as %s clients do", shown(a->name, text, sizeof text));
    }
    if (a->name) {
        at = add(line, 0, RX_TALK_LINE, "refractium recognised %s", shown(a->name, text, sizeof text));
        return has_told ? add_told(t, line, at) : at;
    }
    if (t->in.len) {
        rx_log_escape(t->in.ptr, RX_MIN(t->in.len, (uint32_t)SHOWN), text, sizeof text);
        return add(line, 0, RX_TALK_LINE, "refractium recognised no protocol in \"%s\"%s", text,
                   t->in.len > SHOWN ? "..." : "");
    }
    return add_silence(line, a->silent_ms ? a->silent_ms : t->patience_ms);
}

const char *rx_talk_line(const struct rx_talk *t, char line[RX_TALK_LINE])
{
    char text[80];
    const struct rx_talk *outer = t->outer;
    if (outer && !t->about.name) // what was said inside is nobody's business: the TLS was recognised
        return rx_talk_line(outer, line);
    size_t at = add_head(t, line, true);
    if (outer)
        at = add_told(outer, line, add(line, at, RX_TALK_LINE, " inside %s", outer->about.name));
    // What a client sends must not push the route out of sight.
    at = RX_MIN(at, (size_t)RX_TALK_LINE - 160);
    at = t->about.route ? add(line, at, RX_TALK_LINE, ", route %s", shown(t->about.route, text, sizeof text))
                        : add(line, at, RX_TALK_LINE, ", fallback");
    add(line, at, RX_TALK_LINE, ", listener %s", shown(t->about.listener, text, sizeof text));
    return line;
}

static void page_told(const struct rx_told *told, struct rx_bytes *out)
{
    for (uint32_t i = 0; i < told->n; i++)
        rx_bytes_print(out, "  %-9s %s\n", told->fact[i].name, told->fact[i].value);
}

void rx_talk_page(const struct rx_talk *t, struct rx_bytes *out)
{
    char line[RX_TALK_LINE], text[200];
    add_head(t, line, false);
    rx_bytes_print(out, "%s%s%s\n\n", line, t->outer ? " inside " : "", t->outer ? t->outer->about.name : "");
    page_told(&t->told, out);
    if (t->outer)
        page_told(&t->outer->told, out);
    if (t->about.route)
        rx_bytes_print(out, "\n  route     %s\n", shown(t->about.route, text, sizeof text));
    else
        rx_bytes_text(out, "\n  route     none, this is the fallback\n");
    rx_bytes_print(out, "  listener  %s\n", shown(t->about.listener, text, sizeof text));
    rx_bytes_print(out, "  client    %s\n", t->about.client);
    rx_bytes_text(out, "\nNo backend stands behind it: this is rx.respond. Write to = \"10.0.0.1:80\" in its place,"
                       "\nand connections like yours go there.\n");
}

// ---- the talk ---------------------------------------------------------------------------------------------------

static bool step_text(struct rx_talk *t)
{
    char line[RX_TALK_LINE];
    if (t->about.def && t->in.len && !rx_talk_learn(t))
        return false;
    rx_bytes_print(&t->out, "%s\r\n", rx_talk_line(t, line));
    return true;
}

static rx_talk_step *step_for(const struct rx_proto *def)
{
    rx_talk_step *step = def ? rx_talk_step_of(def) : NULL;
    return step ? step : step_text;
}

// The built-in that takes what the client said; NULL with *may_come when one could still turn up.
static const struct rx_proto *guess(struct rx_talk *t, bool *may_come)
{
    *may_come = t->in.len == 0;
    for (unsigned i = 0; i < rx_n_protos && t->in.len; i++) {
        const struct rx_proto *def = rx_protos[i];
        if (!def->identify || !(def->transport & RX_TCP) || (t->outer && def == t->outer->about.def))
            continue;
        t->facts.want = ~0u;
        t->facts.scratch = t->about.scratch;
        switch (def->identify(t->in.ptr, t->in.len, &t->facts)) {
        case RX_MATCH:
            return def;
        case RX_MORE:
            *may_come = true;
            break;
        case RX_NO:
            break;
        }
    }
    return NULL;
}

static bool step_guess(struct rx_talk *t)
{
    bool may_come;
    const struct rx_proto *def = guess(t, &may_come);
    if (!def && may_come && !t->is_ended) {
        t->patience_ms = t->in.len ? GUESS_PATIENCE : RX_TALK_PATIENCE;
        return false;
    }
    t->about.def = def;
    t->about.name = def ? def->name : NULL;
    t->patience_ms = RX_TALK_PATIENCE;
    t->step = step_for(def);
    return t->step(t);
}

void rx_talk_init(struct rx_talk *t, const struct rx_about *about, const struct rx_facts *f)
{
    memset(t, 0, sizeof *t);
    t->about = *about;
    t->patience_ms = RX_TALK_PATIENCE;
    if (f)
        rx_told_set(&t->told, about->def, f);
    t->step = about->name || about->silent_ms ? step_for(about->def) : step_guess;
}

void rx_talk_init_inside(struct rx_talk *t, const struct rx_talk *outer)
{
    struct rx_about about = outer->about;
    about.def = NULL;
    about.name = NULL;
    about.silent_ms = 0;
    rx_talk_init(t, &about, NULL);
    t->outer = outer;
}

void rx_talk_fini(struct rx_talk *t)
{
    rx_bytes_free(&t->in);
    rx_bytes_free(&t->out);
    rx_tls_free(t->tls);
    t->tls = NULL;
}

bool rx_talk_hear(struct rx_talk *t, const uint8_t *p, size_t n)
{
    size_t room = RX_MIN((size_t)RX_TALK_IN - t->in.len, (size_t)RX_TALK_HEARD - t->heard);
    if (n > room) {
        n = room;
        t->is_ended = true;
    }
    rx_bytes_add(&t->in, p, n);
    t->heard += (uint32_t)n;
    return t->step(t) || t->is_ended || t->in.is_short;
}

void rx_talk_end(struct rx_talk *t)
{
    t->is_ended = true;
    t->step(t);
}

bool rx_talk_learn(struct rx_talk *t)
{
    struct rx_facts *f = &t->facts;
    const struct rx_proto *def = t->about.def;
    f->have = f->pending = 0;
    f->want = ~0u;
    f->scratch = t->about.scratch;
    if (!t->in.len || !def->identify)
        return t->is_ended || !def->identify;
    enum rx_verdict v = def->identify(t->in.ptr, t->in.len, f);
    if (v != RX_MATCH)
        f->have = f->pending = 0;
    rx_told_set(&t->told, def, f);
    return t->is_ended || v == RX_NO || (v == RX_MATCH && !f->pending);
}
