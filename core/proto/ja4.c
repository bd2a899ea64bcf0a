// SPDX-License-Identifier: MIT
// JA4 of TLS clients: https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4.md (BSD 3-clause; JA4+ is
// licensed otherwise and not here).
// Enters: the first bytes of a client. Leaves: its fingerprint, "t13d1516h2_8daaf6152771_e5627efa2ab1": transport,
// highest version, whether it names a server, numbers of ciphers and extensions, first and last character of the
// first ALPN value; a hash of the sorted ciphers; a hash of the sorted extensions and the signature algorithms.
// GREASE (RFC 8701) is left out everywhere. A message whose lengths do not fit has no fingerprint.
#include "ja4.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


enum {
    HELLO_MAX = 1 << 14,
    HASH_CHARS = 12,
    EXT_SNI = 0,
    EXT_SIGNATURES = 13,
    EXT_ALPN = 16,
    EXT_VERSIONS = 43,
};

struct words {
    uint16_t *at;
    uint32_t n;
};

struct hello {
    uint32_t version;
    struct words ciphers, extensions; // without GREASE
    uint32_t n_extensions;            // with SNI and ALPN, which the hash leaves out
    bool has_sni;
    const uint8_t *alpn; // first value
    uint32_t alpn_len;
    const uint8_t *signatures;
    uint32_t signatures_len;
};

static uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static bool is_grease(uint32_t word)
{
    return (word & 0x0f0f) == 0x0a0a && word >> 8 == (word & 0xff);
}

static void add(struct words *w, uint32_t word)
{
    if (!is_grease(word))
        w->at[w->n++] = (uint16_t)word;
}

static int compare(const void *a, const void *b)
{
    return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

static void read_versions(struct hello *h, const uint8_t *p, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t at = 1; at + 1 < n && at < 1u + p[0]; at += 2)
        if (!is_grease(be16(p + at)))
            best = RX_MAX(best, be16(p + at));
    if (best)
        h->version = best;
}

static void read_extension(struct hello *h, uint32_t type, const uint8_t *p, uint32_t n)
{
    h->n_extensions++;
    if (type == EXT_SNI) {
        h->has_sni = true;
        return;
    }
    if (type == EXT_ALPN) {
        if (n >= 3 && p[2] && p[2] <= n - 3) {
            h->alpn = p + 3;
            h->alpn_len = p[2];
        }
        return;
    }
    add(&h->extensions, type);
    if (type == EXT_VERSIONS && n)
        read_versions(h, p, n);
    if (type == EXT_SIGNATURES && n >= 2 && be16(p) <= n - 2) {
        h->signatures = p + 2;
        h->signatures_len = be16(p) & ~1u;
    }
}

static bool read_extensions(struct hello *h, const uint8_t *p, const uint8_t *end)
{
    if (p == end)
        return true;
    if (end - p < 2 || be16(p) != (size_t)(end - p) - 2)
        return false;
    for (p += 2; p != end;) {
        if (end - p < 4)
            return false;
        uint32_t type = be16(p), len = be16(p + 2);
        p += 4;
        if (len > (size_t)(end - p))
            return false;
        if (!is_grease(type))
            read_extension(h, type, p, len);
        p += len;
    }
    return true;
}

// The body of a ClientHello (RFC 8446 4.1.2).
static bool read_hello(struct hello *h, const uint8_t *p, uint32_t n)
{
    const uint8_t *end = p + n;
    if (n < 2 + 32 + 1)
        return false;
    h->version = be16(p);
    uint32_t skip = 35u + p[34];
    if (n < skip + 2)
        return false;
    p += skip;
    uint32_t ciphers = be16(p);
    p += 2;
    if (ciphers % 2 || (size_t)(end - p) < ciphers + 1)
        return false;
    for (const uint8_t *stop = p + ciphers; p != stop; p += 2)
        add(&h->ciphers, be16(p));
    uint32_t compressions = *p++;
    if ((size_t)(end - p) < compressions)
        return false;
    return read_extensions(h, p + compressions, end);
}

static const char *version_word(uint32_t version)
{
    switch (version) {
    case 0x0304:
        return "13";
    case 0x0303:
        return "12";
    case 0x0302:
        return "11";
    case 0x0301:
        return "10";
    case 0x0300:
        return "s3";
    case 0x0002:
        return "s2";
    case 0xfeff:
        return "d1";
    case 0xfefd:
        return "d2";
    case 0xfefc:
        return "d3";
    default:
        return "00";
    }
}

static bool is_alnum(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

// First and last character of the first value; where one of them is no letter or digit, of its hexadecimal form.
static void alpn_word(const struct hello *h, char out[3])
{
    static const char digits[] = "0123456789abcdef";
    memcpy(out, "00", 3);
    if (!h->alpn_len)
        return;
    uint8_t first = h->alpn[0], last = h->alpn[h->alpn_len - 1];
    bool is_text = is_alnum(first) && is_alnum(last);
    out[0] = is_text ? (char)first : digits[first >> 4];
    out[1] = is_text ? (char)last : digits[last & 15];
}

static char *print_words(char *out, const struct words *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        out += sprintf(out, i ? ",%04x" : "%04x", w->at[i]);
    return out;
}

static void hash(const char *text, size_t len, char out[HASH_CHARS + 1])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)text, len, digest);
    for (unsigned i = 0; i < HASH_CHARS / 2; i++)
        sprintf(out + i * 2, "%02x", digest[i]);
}

static void hash_ciphers(struct hello *h, char *text, char out[HASH_CHARS + 1])
{
    qsort(h->ciphers.at, h->ciphers.n, sizeof *h->ciphers.at, compare);
    if (h->ciphers.n)
        hash(text, (size_t)(print_words(text, &h->ciphers) - text), out);
}

static void hash_extensions(struct hello *h, char *text, char out[HASH_CHARS + 1])
{
    qsort(h->extensions.at, h->extensions.n, sizeof *h->extensions.at, compare);
    char *end = print_words(text, &h->extensions);
    char mark = '_';
    for (uint32_t i = 0; i < h->signatures_len; i += 2) {
        uint32_t word = be16(h->signatures + i);
        if (is_grease(word))
            continue;
        end += sprintf(end, "%c%04x", mark, word);
        mark = ',';
    }
    if (h->extensions.n)
        hash(text, (size_t)(end - text), out);
}

bool rx_ja4_of_hello(const uint8_t *msg, uint32_t n, char transport, char out[RX_JA4_SIZE])
{
    // Two bytes of a hello become five characters at most (signatures: once more, behind the extensions).
    uint16_t words[2][HELLO_MAX / 2];
    char text[HELLO_MAX * 5];
    struct hello h = { .ciphers.at = words[0], .extensions.at = words[1] };
    char alpn[3], ciphers[] = "000000000000", extensions[] = "000000000000";
    if (n < 4 || msg[0] != 1)
        return false;
    uint32_t len = (uint32_t)msg[1] << 16 | be16(msg + 2);
    if (len > HELLO_MAX || len > n - 4 || !read_hello(&h, msg + 4, len))
        return false;
    alpn_word(&h, alpn);
    hash_ciphers(&h, text, ciphers);
    hash_extensions(&h, text, extensions);
    snprintf(out, RX_JA4_SIZE, "%c%s%c%02u%02u%s_%s_%s", transport, version_word(h.version), h.has_sni ? 'd' : 'i',
             RX_MIN(h.ciphers.n, 99u), RX_MIN(h.n_extensions, 99u), alpn, ciphers, extensions);
    return true;
}

bool rx_ja4(const uint8_t *p, uint32_t n, char out[RX_JA4_SIZE])
{
    uint8_t joined[4 + HELLO_MAX];
    uint32_t got = 0;
    for (uint32_t at = 0; n - at > 5 && p[at] == 22 && got < sizeof joined;) {
        uint32_t len = RX_MIN(be16(p + at + 3), n - at - 5);
        if (!at && len == be16(p + 3) && rx_ja4_of_hello(p + 5, len, 't', out))
            return true; // in one record, as nearly always
        len = RX_MIN(len, (uint32_t)sizeof joined - got);
        memcpy(joined + got, p + at + 5, len);
        got += len;
        at += 5 + len;
    }
    return rx_ja4_of_hello(joined, got, 't', out);
}
