// SPDX-License-Identifier: MIT
// Enters: a URL as written. Leaves: its parts, with nothing of its password where it could be shown.
#include "sync_url.h"

#include <stdio.h>
#include <string.h>

enum { PORT = 6379, DB_MAX = 65535, TEXT_MAX = 1500 };

static int say(char *why, const char *text)
{
    snprintf(why, RX_SYNC_URL_WHY, "%s", text);
    return -1;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// %41 is A. False: it does not fit, or is none.
static bool decode(const char *text, size_t n, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            if (i + 2 >= n || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0)
                return false;
            c = hex(text[i + 1]) * 16 + hex(text[i + 2]);
            i += 2;
        }
        if (!c || used + 1 >= size)
            return false;
        out[used++] = (char)c;
    }
    out[used] = 0;
    return true;
}

static bool number(const char *text, size_t n, uint32_t most, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9' || i >= 6)
            return false;
        *out = *out * 10 + (uint32_t)(text[i] - '0');
    }
    return n && *out <= most;
}

// "user:password@" in front; *at moves behind it.
static int credentials(const char **at, const char *end, struct rx_sync_url *out, char *why)
{
    const char *sign = NULL;
    for (const char *p = *at; p < end && *p != '/' && *p != '?'; p++)
        if (*p == '@')
            sign = p;
    if (!sign)
        return 0;
    const char *colon = memchr(*at, ':', (size_t)(sign - *at));
    if (!colon)
        return say(why, "is missing the password: write \"user:password@\", or \":password@\" without a user");
    if (!decode(*at, (size_t)(colon - *at), out->user, sizeof out->user) ||
        !decode(colon + 1, (size_t)(sign - colon - 1), out->password, sizeof out->password))
        return say(why, "has a user or password that cannot be read (other bytes than letters and digits are written %XX)");
    if (!*out->password)
        return say(why, "has an empty password");
    *at = sign + 1;
    return 0;
}

static bool is_prefix(const char *text)
{
    return *text && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-") == strlen(text);
}

static int parameter(const char *text, size_t n, struct rx_sync_url *out, char *why)
{
    const char *is = memchr(text, '=', n);
    size_t name = is ? (size_t)(is - text) : n, len = is ? n - name - 1 : 0;
    if (is && name == 2 && !memcmp(text, "db", 2))
        return number(is + 1, len, DB_MAX, &out->db) ? 0 : say(why, "has a db that is no number from 0 to 65535");
    if (is && name == 6 && !memcmp(text, "prefix", 6)) {
        if (decode(is + 1, len, out->prefix, sizeof out->prefix) && is_prefix(out->prefix))
            return 0;
        return say(why, "has a prefix that is not 1 to 63 letters, digits, _, ., : and -");
    }
    return say(why, "has a parameter that is neither db nor prefix");
}

static int parameters(const char *at, const char *end, struct rx_sync_url *out, char *why)
{
    while (at < end) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        stop = stop ? stop : end;
        if (parameter(at, (size_t)(stop - at), out, why))
            return -1;
        at = stop + 1;
    }
    return 0;
}

static bool host_and_port(const char *at, const char *end, struct rx_sync_url *out, char *why)
{
    const char *close = at < end && *at == '[' ? memchr(at, ']', (size_t)(end - at)) : NULL;
    const char *colon = close ? close + 1 : memchr(at, ':', (size_t)(end - at));
    const char *from = close ? at + 1 : at, *to = close ? close : colon ? colon : end;
    uint32_t port = PORT;
    size_t n = (size_t)(to - from);
    if (!n || n >= sizeof out->host)
        return !say(why, "has no host");
    for (const char *p = from; p < to; p++)
        if (*p <= ' ' || *p > '~' || strchr("[]\"\\%", *p) || (*p == ':' && !close))
            return !say(why, "has a host that is none");
    if (colon && colon < end && (*colon != ':' || !number(colon + 1, (size_t)(end - colon - 1), 65535, &port) || !port))
        return !say(why, "has a port that is no number from 1 to 65535");
    memcpy(out->host, from, n);
    out->host[n] = 0;
    out->port = (uint16_t)port;
    return true;
}

static int tcp(const char *at, const char *end, struct rx_sync_url *out, char *why)
{
    const char *query = memchr(at, '?', (size_t)(end - at)), *stop = query ? query : end;
    const char *slash = memchr(at, '/', (size_t)(stop - at));
    if (!host_and_port(at, slash ? slash : stop, out, why))
        return -1;
    if (slash && slash + 1 < stop && !number(slash + 1, (size_t)(stop - slash - 1), DB_MAX, &out->db))
        return say(why, "has a database that is no number from 0 to 65535");
    if (query && parameters(query + 1, end, out, why))
        return -1;
    snprintf(out->shown, sizeof out->shown, strchr(out->host, ':') ? "redis://[%s]:%u/%u" : "redis://%s:%u/%u", out->host,
             out->port, out->db);
    return 0;
}

static int local(const char *at, const char *end, struct rx_sync_url *out, char *why)
{
    const char *query = memchr(at, '?', (size_t)(end - at)), *stop = query ? query : end;
    if (at >= stop || *at != '/' || !decode(at, (size_t)(stop - at), out->path, sizeof out->path))
        return say(why, "has no path of at most 107 bytes that begins with /");
    if (query && parameters(query + 1, end, out, why))
        return -1;
    for (const char *p = out->path; *p; p++)
        if (*p <= ' ' || *p > '~')
            return say(why, "has a path with odd bytes");
    snprintf(out->shown, sizeof out->shown, "unix:%s?db=%u", out->path, out->db);
    return 0;
}

int rx_sync_url_parse(const char *text, size_t n, struct rx_sync_url *out, char why[RX_SYNC_URL_WHY])
{
    const char *at = text, *end = text + n;
    memset(out, 0, sizeof *out);
    snprintf(out->prefix, sizeof out->prefix, "refractium");
    if (n > TEXT_MAX || (n && memchr(text, 0, n)))
        return say(why, "is too long, or has a NUL byte");
    if (n >= 9 && !memcmp(text, "rediss://", 9))
        return say(why, "asks for TLS, which is not there: use a unix socket, or a tunnel");
    if (n >= 8 && !memcmp(text, "redis://", 8)) {
        at += 8;
        return credentials(&at, end, out, why) ? -1 : tcp(at, end, out, why);
    }
    if (n >= 5 && !memcmp(text, "unix:", 5)) {
        at += 5;
        if (end - at >= 2 && !memcmp(at, "//", 2)) {
            at += 2;
            if (credentials(&at, end, out, why))
                return -1;
        }
        return local(at, end, out, why);
    }
    return say(why, "must be \"redis://[user:password@]host[:port][/db]\" or \"unix:/path\"");
}
