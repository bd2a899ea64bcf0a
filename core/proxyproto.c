// SPDX-License-Identifier: MIT
// Enters: bytes, or what a header is to say. Leaves: what a header says, or its bytes.
// Reading is law-abiding like an identifier: any verdict but MORE is the same for every continuation, nothing beyond
// the bytes given is looked at, and nothing is remembered. A header that is broken in any way is invalid: half of
// what it says may not be believed.
#include "proxyproto.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n"; // section 2.2
static const char prefix_v1[] = "PROXY ";                    // section 2.1

enum { HEAD_V2 = 16, ADDR_V4 = 12, ADDR_V6 = 36, ADDR_UNIX = 216, TLV_HEAD = 3 };

// ---- version 1 ----------------------------------------------------------------------------------------------------

// Takes the next word of a line; words are parted by one space. False: there is none.
static bool take_word(const char **at, const char *end, char *word, size_t size)
{
    const char *stop = memchr(*at, ' ', (size_t)(end - *at));
    size_t n = (size_t)((stop ? stop : end) - *at);
    if (!n || n >= size || memchr(*at, 0, n))
        return false;
    memcpy(word, *at, n);
    word[n] = 0;
    *at = stop ? stop + 1 : end + 1; // beyond the end: nothing more is there
    return true;
}

// "no leading zeroes" (section 2.1)
static bool read_port(const char *word, in_port_t *port)
{
    unsigned n = 0;
    size_t len = strlen(word);
    if (len > 5 || (word[0] == '0' && len > 1))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (word[i] < '0' || word[i] > '9')
            return false;
        n = n * 10 + (unsigned)(word[i] - '0');
    }
    *port = htons((uint16_t)n);
    return n <= 65535;
}

static bool read_ip_v1(int family, const char *host, const char *port, union rx_ip *ip)
{
    memset(ip, 0, sizeof *ip);
    ip->sa.sa_family = (sa_family_t)family;
    if (family == AF_INET)
        return inet_pton(AF_INET, host, &ip->v4.sin_addr) == 1 && read_port(port, &ip->v4.sin_port);
    return inet_pton(AF_INET6, host, &ip->v6.sin6_addr) == 1 && read_port(port, &ip->v6.sin6_port);
}

// A line without its end, behind "PROXY ".
static bool read_line(const char *at, const char *end, struct rx_proxy *out)
{
    char kind[8], from[46], to[46], from_port[6], to_port[6];
    if (!take_word(&at, end, kind, sizeof kind))
        return false;
    if (strcmp(kind, "UNKNOWN") == 0) // "the receiver must ignore anything presented before the CRLF"
        return true;
    int family = strcmp(kind, "TCP4") == 0 ? AF_INET : strcmp(kind, "TCP6") == 0 ? AF_INET6 : AF_UNSPEC;
    if (family == AF_UNSPEC || at > end || !take_word(&at, end, from, sizeof from) || at > end ||
        !take_word(&at, end, to, sizeof to) || at > end || !take_word(&at, end, from_port, sizeof from_port) ||
        at > end || !take_word(&at, end, to_port, sizeof to_port) || at <= end)
        return false;
    out->has_addresses = true;
    return read_ip_v1(family, from, from_port, &out->from) && read_ip_v1(family, to, to_port, &out->to);
}

static enum rx_proxy_verdict read_v1(const uint8_t *p, size_t n, struct rx_proxy *out)
{
    size_t most = n < RX_PROXY_V1_MAX ? n : RX_PROXY_V1_MAX, i = sizeof prefix_v1 - 1;
    while (i < most && p[i] != '\r' && p[i] != '\n')
        i++;
    if (i + 1 >= RX_PROXY_V1_MAX || (i < most && p[i] == '\n'))
        return RX_PROXY_INVALID;
    if (i + 1 >= n)
        return RX_PROXY_MORE;
    const char *line = (const char *)p;
    out->version = 1;
    out->len = (uint32_t)i + 2;
    if (p[i + 1] != '\n' || !read_line(line + sizeof prefix_v1 - 1, line + i, out))
        return RX_PROXY_INVALID;
    return RX_PROXY_READ;
}

// ---- version 2 ----------------------------------------------------------------------------------------------------

static size_t u16(const uint8_t *p)
{
    return (size_t)p[0] << 8 | p[1];
}

static bool are_tlvs_whole(const uint8_t *p, size_t n)
{
    while (n >= TLV_HEAD && n - TLV_HEAD >= u16(p + 1)) {
        size_t size = TLV_HEAD + u16(p + 1);
        p += size;
        n -= size;
    }
    return n == 0;
}

bool rx_proxy_tlv(struct rx_text tlvs, uint8_t type, struct rx_text *value)
{
    const uint8_t *p = tlvs.ptr;
    size_t n = tlvs.len;
    while (n >= TLV_HEAD && n - TLV_HEAD >= u16(p + 1)) {
        size_t size = u16(p + 1);
        if (p[0] == type) {
            *value = (struct rx_text){ p + TLV_HEAD, (uint32_t)size };
            return true;
        }
        p += TLV_HEAD + size;
        n -= TLV_HEAD + size;
    }
    return false;
}

// CRC32c, RFC 4960 appendix B, as if the `hole` (of 4 bytes; NULL: none) were zeros.
static uint32_t crc32c(const uint8_t *p, size_t n, const uint8_t *hole)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        bool is_in_hole = hole && p + i >= hole && p + i < hole + 4;
        crc ^= is_in_hole ? 0 : p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8), p[3] = (uint8_t)v;
}

static bool is_crc_right(const uint8_t *p, size_t n, struct rx_text tlvs)
{
    struct rx_text sum;
    uint8_t want[4];
    if (!rx_proxy_tlv(tlvs, RX_TLV_CRC32C, &sum))
        return true;
    if (sum.len != sizeof want)
        return false;
    put32(want, crc32c(p, n, sum.ptr));
    return memcmp(want, sum.ptr, sizeof want) == 0;
}

// Section 2.2.1 to 2.2.8: what has lengths of its own.
static bool are_tlvs_right(struct rx_text tlvs)
{
    struct rx_text v;
    if (!are_tlvs_whole(tlvs.ptr, tlvs.len))
        return false;
    if (rx_proxy_tlv(tlvs, RX_TLV_UNIQUE_ID, &v) && v.len > RX_PROXY_ID_MAX)
        return false;
    return !rx_proxy_tlv(tlvs, RX_TLV_SSL, &v) ||
           (v.len >= RX_TLV_SSL_HEAD && are_tlvs_whole(v.ptr + RX_TLV_SSL_HEAD, v.len - RX_TLV_SSL_HEAD));
}

static void read_ips_v2(int family, const uint8_t *p, struct rx_proxy *out)
{
    out->from.sa.sa_family = out->to.sa.sa_family = (sa_family_t)family;
    if (family == AF_INET) {
        memcpy(&out->from.v4.sin_addr, p, 4);
        memcpy(&out->to.v4.sin_addr, p + 4, 4);
        memcpy(&out->from.v4.sin_port, p + 8, 2);
        memcpy(&out->to.v4.sin_port, p + 10, 2);
    } else {
        memcpy(&out->from.v6.sin6_addr, p, 16);
        memcpy(&out->to.v6.sin6_addr, p + 16, 16);
        memcpy(&out->from.v6.sin6_port, p + 32, 2);
        memcpy(&out->to.v6.sin6_port, p + 34, 2);
    }
}

// The 16 bytes of the head are there.
static enum rx_proxy_verdict read_v2(const uint8_t *p, size_t n, struct rx_proxy *out)
{
    static const size_t sizes[] = { 0, ADDR_V4, ADDR_V6, ADDR_UNIX };
    unsigned command = p[12] & 15, family = p[13] >> 4, transport = p[13] & 15;
    size_t len = u16(p + 14);
    bool is_local = command == 0; // "discard the protocol block including the family"
    if (p[12] >> 4 != 2 || command > 1 || HEAD_V2 + len > RX_PROXY_IN_MAX)
        return RX_PROXY_INVALID;
    // "Other values … must be rejected": a family without a transport, or the other way round, among them.
    if (!is_local && (family > 3 || transport > 2 || !family != !transport || len < sizes[family]))
        return RX_PROXY_INVALID;
    if (n < HEAD_V2 + len)
        return RX_PROXY_MORE;
    out->version = 2;
    out->len = (uint32_t)(HEAD_V2 + len);
    if (is_local)
        return RX_PROXY_READ;
    struct rx_text tlvs = { p + HEAD_V2 + sizes[family], (uint32_t)(len - sizes[family]) };
    bool is_right = are_tlvs_right(tlvs);
    if (!family && !is_right) // what stands behind no addresses need not be TLVs
        return RX_PROXY_READ;
    if (!is_right || !is_crc_right(p, out->len, tlvs))
        return RX_PROXY_INVALID;
    out->tlvs = tlvs;
    out->has_addresses = family != 0;
    if (family == 1 || family == 2)
        read_ips_v2(family == 1 ? AF_INET : AF_INET6, p + HEAD_V2, out);
    return RX_PROXY_READ;
}

enum rx_proxy_verdict rx_proxy_read(const uint8_t *p, size_t n, struct rx_proxy *out)
{
    size_t v1 = sizeof prefix_v1 - 1, v2 = sizeof signature;
    memset(out, 0, sizeof *out);
    if (n == 0)
        return RX_PROXY_MORE;
    if (p[0] == 'P') {
        if (memcmp(p, prefix_v1, n < v1 ? n : v1) != 0)
            return RX_PROXY_MISSING;
        return n < v1 ? RX_PROXY_MORE : read_v1(p, n, out);
    }
    if (memcmp(p, signature, n < v2 ? n : v2) != 0)
        return RX_PROXY_MISSING;
    return n < HEAD_V2 ? RX_PROXY_MORE : read_v2(p, n, out);
}

// ---- writing ------------------------------------------------------------------------------------------------------

static bool has_addresses(const struct rx_proxy_say *s)
{
    int family = s->from.sa.sa_family;
    return family == s->to.sa.sa_family && (family == AF_INET || family == AF_INET6);
}

static size_t write_v1(uint8_t *out, const struct rx_proxy_say *s)
{
    char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
    if (!has_addresses(s))
        return (size_t)snprintf((char *)out, RX_PROXY_OUT_MAX, "PROXY UNKNOWN\r\n");
    bool is_v4 = s->from.sa.sa_family == AF_INET;
    inet_ntop(s->from.sa.sa_family, is_v4 ? (const void *)&s->from.v4.sin_addr : &s->from.v6.sin6_addr, from, sizeof from);
    inet_ntop(s->to.sa.sa_family, is_v4 ? (const void *)&s->to.v4.sin_addr : &s->to.v6.sin6_addr, to, sizeof to);
    return (size_t)snprintf((char *)out, RX_PROXY_OUT_MAX, "PROXY %s %s %s %u %u\r\n", is_v4 ? "TCP4" : "TCP6", from, to,
                            rx_addr_port(&s->from.sa), rx_addr_port(&s->to.sa));
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t n)
{
    memcpy(at, bytes, n);
    return at + n;
}

static uint8_t *put_tlv(uint8_t *at, uint8_t type, struct rx_text v, uint32_t most)
{
    if (!v.len || v.len > most)
        return at;
    *at++ = type;
    *at++ = (uint8_t)(v.len >> 8);
    *at++ = (uint8_t)v.len;
    return put(at, v.ptr, v.len);
}

static uint8_t *put_ips(uint8_t *at, const struct rx_proxy_say *s)
{
    if (s->from.sa.sa_family == AF_INET) {
        at = put(put(at, &s->from.v4.sin_addr, 4), &s->to.v4.sin_addr, 4);
        return put(put(at, &s->from.v4.sin_port, 2), &s->to.v4.sin_port, 2);
    }
    at = put(put(at, &s->from.v6.sin6_addr, 16), &s->to.v6.sin6_addr, 16);
    return put(put(at, &s->from.v6.sin6_port, 2), &s->to.v6.sin6_port, 2);
}

// Room: 16 + 36 + (3 + 128) + 2 * (3 + 255) + 7 bytes at most.
static size_t write_v2(uint8_t *out, const struct rx_proxy_say *s)
{
    enum { NAME_MAX_LEN = 255 };
    static const uint8_t zeros[4];
    bool is_known = has_addresses(s);
    uint8_t family = s->from.sa.sa_family == AF_INET ? 0x10 : 0x20, *at = put(out, signature, sizeof signature), *sum;
    *at++ = 0x21;
    *at++ = is_known ? family | (s->is_datagram ? 2 : 1) : 0;
    at += 2; // the length, below
    if (is_known)
        at = put_ips(at, s);
    at = put_tlv(at, RX_TLV_UNIQUE_ID, s->unique_id, RX_PROXY_ID_MAX);
    at = put_tlv(at, RX_TLV_AUTHORITY, s->authority, NAME_MAX_LEN);
    at = put_tlv(at, RX_TLV_ALPN, s->alpn, NAME_MAX_LEN);
    if (s->has_crc)
        at = put_tlv(at, RX_TLV_CRC32C, (struct rx_text){ zeros, sizeof zeros }, sizeof zeros);
    sum = at - sizeof zeros;
    size_t len = (size_t)(at - out) - HEAD_V2;
    out[14] = (uint8_t)(len >> 8), out[15] = (uint8_t)len;
    if (s->has_crc)
        put32(sum, crc32c(out, HEAD_V2 + len, NULL));
    return HEAD_V2 + len;
}

size_t rx_proxy_write(uint8_t out[RX_PROXY_OUT_MAX], const struct rx_proxy_say *s)
{
    return s->version == 1 ? write_v1(out, s) : write_v2(out, s);
}
