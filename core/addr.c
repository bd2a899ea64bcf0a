// SPDX-License-Identifier: MIT
// Text to socket addresses and back. Nothing here opens a socket or looks up a name.
#include "addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(char *err, const char *why)
{
    snprintf(err, RX_ADDR_TEXT, "%s", why);
    return -1;
}

// high is NULL where no range is allowed.
int rx_ports_parse(const char *text, unsigned *low, unsigned *high, char *err)
{
    char *end;
    if (*text < '0' || *text > '9')
        return fail(err, "port is not a number");
    unsigned long a = strtoul(text, &end, 10), b = a;
    if (*end == '-' && high) {
        if (end[1] < '0' || end[1] > '9')
            return fail(err, "port range is not LOW-HIGH");
        b = strtoul(end + 1, &end, 10);
    }
    if (*end)
        return fail(err, "port is not a number");
    if (a > 65535 || b > 65535 || (a == 0 && b != 0) || b < a)
        return fail(err, "port out of range");
    *low = (unsigned)a;
    if (high)
        *high = (unsigned)b;
    return 0;
}

// Splits "host:port" or "[v6]:port"; host is copied without brackets.
static int split_host_port(const char *text, char host[256], const char **port, char *err)
{
    const char *end, *start = text;
    if (*text == '[') {
        start = text + 1;
        end = strchr(text, ']');
        if (!end)
            return fail(err, "'[' without ']'");
        if (end[1] != ':')
            return fail(err, "no port");
        *port = end + 2;
    } else {
        end = strrchr(text, ':');
        if (!end)
            return fail(err, "no port");
        if (memchr(text, ':', (size_t)(end - text)))
            return fail(err, "an IPv6 address is written [address]:port");
        *port = end + 1;
    }
    if (end == start)
        return fail(err, "no host");
    if ((size_t)(end - start) >= 256)
        return fail(err, "host too long");
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = 0;
    struct in6_addr v6;
    if (start != text && inet_pton(AF_INET6, host, &v6) != 1)
        return fail(err, "brackets are for IPv6 addresses");
    return 0;
}

static int parse_unix(const char *path, struct rx_addr *out, char *err)
{
    size_t n = strlen(path);
    if (n == 0)
        return fail(err, "no path after unix:");
    if (n >= sizeof out->un.sun_path)
        return fail(err, "unix path too long");
    *out = (struct rx_addr){ .len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1) };
    out->un.sun_family = AF_UNIX;
    memcpy(out->un.sun_path, path, n + 1);
    return 0;
}

static bool parse_ip(const char *host, unsigned port, struct rx_addr *out)
{
    *out = (struct rx_addr){ 0 };
    if (inet_pton(AF_INET, host, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons((uint16_t)port);
        out->len = sizeof out->v4;
        return true;
    }
    if (inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons((uint16_t)port);
        out->len = sizeof out->v6;
        return true;
    }
    return false;
}

static int one(struct rx_addr addr, struct rx_addr **out, unsigned *n, char *err)
{
    *out = malloc(sizeof **out);
    if (!*out)
        return fail(err, "out of memory");
    **out = addr;
    *n = 1;
    return 0;
}

// Names as FileDescriptorName= has them (systemd.socket(5)), as long as they fit.
static int parse_passed(const char *name, struct rx_addr *out, char *err)
{
    *out = (struct rx_addr){ 0 };
    if (!*name || strlen(name) >= sizeof out->un.sun_path)
        return fail(err, "the name of a socket has 1 to 107 characters");
    for (const char *p = name; *p; p++)
        if (*p <= ' ' || *p > '~' || *p == ':')
            return fail(err, "the name of a socket has no spaces, colons or control characters");
    strcpy(out->un.sun_path, name);
    return 0;
}

int rx_addr_parse_listen(const char *text, struct rx_addr **out, unsigned *n, char *err)
{
    char host[256];
    const char *port;
    unsigned low, high;
    struct rx_addr addr;
    if (!strncmp(text, "unix:", 5))
        return parse_unix(text + 5, &addr, err) ? -1 : one(addr, out, n, err);
    if (!strncmp(text, "systemd:", 8))
        return parse_passed(text + 8, &addr, err) ? -1 : one(addr, out, n, err);
    if (split_host_port(text, host, &port, err) || rx_ports_parse(port, &low, &high, err))
        return -1;
    bool is_both = !strcmp(host, "*");
    if (!is_both && !parse_ip(host, 0, &addr))
        return fail(err, "listen address is not an IP address (names are not looked up here)");
    unsigned count = (high - low + 1) * (is_both ? 2 : 1);
    struct rx_addr *list = calloc(count, sizeof *list);
    if (!list)
        return fail(err, "out of memory");
    unsigned k = 0;
    for (unsigned p = low; p <= high; p++) {
        parse_ip(is_both ? "0.0.0.0" : host, p, &list[k++]);
        if (is_both)
            parse_ip("::", p, &list[k++]);
    }
    *out = list;
    *n = count;
    return 0;
}

// What is looked up goes into DNS questions: no more than these, none of them empty.
static int check_name(const char *host, char *err)
{
    if (strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") != strlen(host))
        return fail(err, "neither an IP address nor a host name");
    if (strspn(host, "0123456789.") == strlen(host))
        return fail(err, "not an IPv4 address");
    if (host[0] == '.' || strstr(host, ".."))
        return fail(err, "a name with an empty label");
    return 0;
}

// A port of 0 is fine to listen on (the kernel picks one) but nobody can be reached there.
int rx_addr_parse_target(const char *text, struct rx_target_text *out, char *err)
{
    const char *port;
    unsigned low;
    *out = (struct rx_target_text){ 0 };
    if (!strncmp(text, "unix:", 5))
        return parse_unix(text + 5, &out->addr, err);
    if (!strncmp(text, "srv:", 4)) {
        if (strlen(text + 4) >= sizeof out->host)
            return fail(err, "host too long");
        if (strchr(text + 4, ':'))
            return fail(err, "SRV says which port: none is written");
        if (!text[4])
            return fail(err, "no name after srv:");
        strcpy(out->host, text + 4);
        out->is_srv = true;
        return check_name(out->host, err);
    }
    if (split_host_port(text, out->host, &port, err) || rx_ports_parse(port, &low, NULL, err))
        return -1;
    if (low == 0)
        return fail(err, "port out of range");
    out->port = (uint16_t)low;
    if (parse_ip(out->host, low, &out->addr)) {
        out->host[0] = 0;
        return 0;
    }
    return check_name(out->host, err);
}

int rx_cidr_parse(const char *text, struct rx_cidr *out, char *err)
{
    char host[64];
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    struct rx_addr addr;
    if (n >= sizeof host)
        return fail(err, "not an address");
    memcpy(host, text, n);
    host[n] = 0;
    if (!parse_ip(host, 0, &addr))
        return fail(err, "not an IP address");
    *out = (struct rx_cidr){ .family = (uint8_t)addr.sa.sa_family };
    unsigned most = addr.sa.sa_family == AF_INET ? 32 : 128, bits = most;
    if (slash) {
        char *end;
        if (slash[1] < '0' || slash[1] > '9')
            return fail(err, "no prefix length after '/'");
        unsigned long v = strtoul(slash + 1, &end, 10);
        if (*end || v > most)
            return fail(err, "prefix length out of range");
        bits = (unsigned)v;
    }
    out->bits = (uint8_t)bits;
    if (addr.sa.sa_family == AF_INET)
        memcpy(out->bytes, &addr.v4.sin_addr, 4);
    else
        memcpy(out->bytes, &addr.v6.sin6_addr, 16);
    for (unsigned i = bits; i < most; i++)
        if (out->bytes[i / 8] & (0x80u >> i % 8))
            return fail(err, "address has bits set beyond the prefix length");
    return 0;
}

int rx_ip_parse(const char *text, union rx_ip *out, char *err)
{
    struct rx_addr addr;
    char host[256];
    const char *port;
    unsigned low = 40000;
    *out = (union rx_ip){ 0 };
    if (!parse_ip(text, low, &addr)) {
        if (split_host_port(text, host, &port, err) || rx_ports_parse(port, &low, NULL, err))
            return fail(err, "not an IP address");
        if (!parse_ip(host, low, &addr))
            return fail(err, "not an IP address");
    }
    memcpy(out, &addr.sa, addr.len);
    return 0;
}

char *rx_cidr_print(const struct rx_cidr *block, char buf[RX_ADDR_TEXT])
{
    unsigned most = block->family == AF_INET6 ? 128 : 32;
    if (!inet_ntop(block->family, block->bytes, buf, RX_ADDR_TEXT))
        buf[0] = 0;
    if (block->bits != most)
        snprintf(buf + strlen(buf), 8, "/%u", block->bits);
    return buf;
}

static bool begins_alike(const struct rx_cidr *block, const uint8_t *a)
{
    unsigned whole = block->bits / 8, rest = block->bits % 8;
    if (memcmp(a, block->bytes, whole))
        return false;
    return rest == 0 || ((a[whole] ^ block->bytes[whole]) & (uint8_t)(0xff00u >> rest)) == 0;
}

bool rx_cidr_has(const struct rx_cidr *block, const union rx_ip *ip)
{
    if (ip->sa.sa_family != block->family)
        return false;
    return begins_alike(block, block->family == AF_INET ? (const uint8_t *)&ip->v4.sin_addr
                                                        : (const uint8_t *)&ip->v6.sin6_addr);
}

bool rx_cidr_covers(const struct rx_cidr *block, const struct rx_cidr *other)
{
    return block->family == other->family && block->bits <= other->bits && begins_alike(block, other->bytes);
}

char *rx_addr_print_host(const struct sockaddr *sa, char buf[RX_ADDR_TEXT])
{
    buf[0] = 0;
    if (sa->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, buf, RX_ADDR_TEXT);
    else if (sa->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, buf, RX_ADDR_TEXT);
    else
        snprintf(buf, RX_ADDR_TEXT, "unix");
    return buf;
}

char *rx_addr_print(const struct sockaddr *sa, char buf[RX_ADDR_TEXT])
{
    char host[RX_ADDR_TEXT];
    if (sa->sa_family == AF_UNIX)
        snprintf(buf, RX_ADDR_TEXT, "unix:%.108s", ((const struct sockaddr_un *)sa)->sun_path);
    else if (sa->sa_family == AF_INET)
        snprintf(buf, RX_ADDR_TEXT, "%.60s:%u", rx_addr_print_host(sa, host), rx_addr_port(sa));
    else if (sa->sa_family == AF_INET6)
        snprintf(buf, RX_ADDR_TEXT, "[%.60s]:%u", rx_addr_print_host(sa, host), rx_addr_port(sa));
    else
        snprintf(buf, RX_ADDR_TEXT, "unix");
    return buf;
}

uint16_t rx_addr_port(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)sa)->sin_port);
    if (sa->sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)sa)->sin6_port);
    return 0;
}

bool rx_addr_equal(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *x = (const void *)a, *y = (const void *)b;
        return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
    }
    if (a->sa_family == AF_INET6) {
        const struct sockaddr_in6 *x = (const void *)a, *y = (const void *)b;
        return x->sin6_port == y->sin6_port && !memcmp(&x->sin6_addr, &y->sin6_addr, 16) &&
               x->sin6_scope_id == y->sin6_scope_id;
    }
    return !strcmp(((const struct sockaddr_un *)a)->sun_path, ((const struct sockaddr_un *)b)->sun_path);
}

void rx_ip_unmap(union rx_ip *ip)
{
    if (ip->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&ip->v6.sin6_addr))
        return;
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = ip->v6.sin6_port };
    memcpy(&v4.sin_addr, ip->v6.sin6_addr.s6_addr + 12, 4);
    ip->v4 = v4;
}

bool rx_addr_is_any(const struct rx_addr *a)
{
    return (a->sa.sa_family == AF_INET && a->v4.sin_addr.s_addr == htonl(INADDR_ANY)) ||
           (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr));
}
