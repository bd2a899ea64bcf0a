// SPDX-License-Identifier: MIT
// Enters: one line,
//   2026/01/30 17:03:38.067799 from tcp:172.19.0.3:58676 accepted tcp:www.google.com:443 [IN >> OUT] reason email: user
// Leaves: who (the email) is active from which address. "from" and the prefixes of addresses are missing in older
// versions, the brackets hold one tag or two with an arrow, or are missing; the blank behind "email:" as well.
//
// Only what stands before the destination and behind the last "email:" is trusted: the destination is a client's word
// and may hold blanks, brackets and emails of others.
#include "xray.h"

#include <arpa/inet.h>
#include <string.h>

struct span {
    const char *p, *end;
};

static void skip_blanks(struct span *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t'))
        s->p++;
}

static struct span word(struct span *s)
{
    skip_blanks(s);
    const char *blank = memchr(s->p, ' ', (size_t)(s->end - s->p));
    struct span w = { s->p, blank ? blank : s->end };
    s->p = w.end;
    return w;
}

static bool is(struct span w, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(w.end - w.p) == n && !memcmp(w.p, text, n);
}

static bool begins(struct span w, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(w.end - w.p) >= n && !memcmp(w.p, text, n);
}

// "1.2.3.4" up to the colon or the end; no leading zeros, as they are octal to some.
static bool read_v4(struct span *s, struct sockaddr_in *out)
{
    uint32_t addr = 0;
    const char *p = s->p;
    for (int part = 0; part < 4; part++) {
        unsigned v = 0, digits = 0;
        if (part && (p == s->end || *p++ != '.'))
            return false;
        for (; p < s->end && *p >= '0' && *p <= '9'; p++, digits++)
            if (digits == 3 || (digits && !v) || (v = v * 10 + (unsigned)(*p - '0')) > 255)
                return false;
        if (!digits)
            return false;
        addr = addr << 8 | v;
    }
    s->p = p;
    *out = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(addr) };
    return true;
}

static bool read_v6(struct span *s, union rx_ip *out)
{
    char text[INET6_ADDRSTRLEN];
    bool is_bracketed = s->p < s->end && *s->p == '[';
    const char *from = s->p + is_bracketed;
    const char *end = is_bracketed ? memchr(from, ']', (size_t)(s->end - from)) : s->end;
    if (!end)
        return false;
    const char *zone = memchr(from, '%', (size_t)(end - from));
    size_t n = (size_t)((zone ? zone : end) - from);
    if (n >= sizeof text)
        return false;
    memcpy(text, from, n);
    text[n] = '\0';
    out->v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
    if (strlen(text) != n || inet_pton(AF_INET6, text, &out->v6.sin6_addr) != 1)
        return false;
    s->p = end + is_bracketed;
    rx_ip_unmap(out);
    return true;
}

static bool is_port(struct span s)
{
    unsigned v = 0;
    if (s.p == s.end)
        return true; // some forms have none
    if (*s.p++ != ':' || s.p == s.end || s.end - s.p > 5)
        return false;
    for (; s.p < s.end; s.p++) {
        if (*s.p < '0' || *s.p > '9')
            return false;
        v = v * 10 + (unsigned)(*s.p - '0');
    }
    return v <= 65535;
}

static bool read_source(struct span w, union rx_ip *out)
{
    if (begins(w, "tcp:") || begins(w, "udp:"))
        w.p += 4;
    if (w.p < w.end && *w.p != '[' && read_v4(&w, &out->v4))
        return is_port(w);
    return read_v6(&w, out) && is_port(w);
}

// The last "email:" with a blank before it; what is behind it is the end of the line.
static bool read_email(struct span rest, struct rx_tail_said *out, const char **before)
{
    static const char mark[] = " email:";
    const size_t n = sizeof mark - 1;
    for (const char *end = rest.end, *colon; end > rest.p && (colon = memrchr(rest.p, ':', (size_t)(end - rest.p)));
         end = colon) {
        if ((size_t)(colon + 1 - rest.p) < n || memcmp(colon + 1 - n, mark, n))
            continue;
        struct span id = { colon + 1, rest.end };
        skip_blanks(&id);
        while (id.end > id.p && (id.end[-1] == ' ' || id.end[-1] == '\t' || id.end[-1] == '\r'))
            id.end--;
        out->id = id.p;
        out->id_len = (uint32_t)(id.end - id.p);
        *before = colon + 1 - n;
        return true;
    }
    return false;
}

// The first tag of the last brackets in front of the email.
static void read_tag(struct span s, struct rx_tail_said *out)
{
    const char *close = memrchr(s.p, ']', (size_t)(s.end - s.p));
    const char *open = close ? memrchr(s.p, '[', (size_t)(close - s.p)) : NULL;
    if (!open)
        return;
    struct span inner = { open + 1, close };
    struct span tag = word(&inner);
    if (tag.p < tag.end) {
        out->tag = tag.p;
        out->tag_len = (uint32_t)(tag.end - tag.p);
    }
}

enum rx_tail_line rx_xray_parse(const char *line, size_t n, struct rx_tail_said *out)
{
    struct span s = { line, line + n };
    const char *before;
    *out = (struct rx_tail_said){ 0 };
    struct span date = word(&s), time = word(&s), from = word(&s);
    if (date.end - date.p != 10 || date.p[4] != '/' || date.p[7] != '/' || time.end - time.p < 8 || time.p[2] != ':')
        return RX_LINE_BAD;
    struct span source = is(from, "from") ? word(&s) : from;
    struct span status = word(&s);
    if (is(status, "rejected") || (is(source, "DNS") && is(status, "accepted")))
        return RX_LINE_OTHER;
    if (!is(status, "accepted") || !read_source(source, &out->ip))
        return RX_LINE_BAD;
    if (!read_email(s, out, &before))
        return RX_LINE_OTHER; // an inbound that knows no users
    if (!out->id_len || out->id_len > 255)
        return RX_LINE_BAD;
    struct span dest = { s.p, before };
    skip_blanks(&dest);
    out->is_udp = begins(dest, "udp:");
    read_tag((struct span){ s.p, before }, out);
    return RX_LINE_SESSION;
}
