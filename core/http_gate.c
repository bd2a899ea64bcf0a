// SPDX-License-Identifier: MIT
// Enters: headers of requests. Leaves: whether they may be answered. Pure. A web site can make its visitors' browsers ask
// this port under a name of its own (DNS rebinding); it cannot make them say an address or `localhost`.
#ifndef RX_WITHOUT_METRICS

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "addr.h"
#include "http_request.h"

enum { HOST_MAX = 255, SHOWN_MAX = 1024 };

// The part before the port; false when it is none.
static bool cut_port(const char *host, char *out)
{
    size_t len = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");
    const char *rest = host + len;
    if (host[0] == '[') {
        if (!*rest)
            return false;
        rest++, host++, len--;
    }
    if (!len || len > HOST_MAX || (*rest && *rest != ':') || (*rest && rest[1 + strspn(rest + 1, "0123456789")]))
        return false;
    memcpy(out, host, len);
    out[len] = 0;
    return true;
}

static bool is_listed(const char *name, const char *names)
{
    size_t len = strlen(name);
    for (const char *at = names; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strcspn(at, ",") == len && !strncasecmp(at, name, len))
            return true;
    return false;
}

bool rx_http_is_host(const char *host, const char *names)
{
    char name[HOST_MAX + 1], why[RX_ADDR_TEXT];
    union rx_ip ip;
    if (!host)
        return true; // a browser always says one
    if (!cut_port(host, name))
        return false;
    if (!rx_ip_parse(name, &ip, why))
        return true;
    return host[0] != '[' && (!strcasecmp(name, "localhost") || is_listed(name, names)); // brackets hold addresses alone
}

// In a time that does not tell how much of it was right.
static bool is_same(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned char differs = n != m;
    for (size_t i = 0; i < n; i++)
        differs |= (unsigned char)(a[i] ^ b[m ? i % m : 0]);
    return !differs;
}

// The password in "user:password"; the user is whoever they like.
static bool is_password(const char *encoded, const char *token)
{
    char plain[SHOWN_MAX];
    size_t len = strlen(encoded);
    if (len > SHOWN_MAX || len % 4 || !len)
        return false;
    int n = EVP_DecodeBlock((unsigned char *)plain, (const unsigned char *)encoded, (int)len);
    if (n < 3)
        return false;
    n -= encoded[len - 1] == '=';
    n -= encoded[len - 2] == '=';
    plain[n] = 0;
    const char *colon = strchr(plain, ':');
    return colon && is_same(colon + 1, token);
}

bool rx_http_is_token(const char *authorization, const char *token)
{
    static const char bearer[] = "Bearer ", basic[] = "Basic ";
    if (!token)
        return true;
    if (!authorization)
        return false;
    if (!strncasecmp(authorization, bearer, sizeof bearer - 1))
        return is_same(authorization + sizeof bearer - 1, token);
    return !strncasecmp(authorization, basic, sizeof basic - 1) && is_password(authorization + sizeof basic - 1, token);
}

// ---- the page ---------------------------------------------------------------------------------------------------------

// "sha256-…" of what stands between the two; its length, 0: they are not there.
static int digest_between(const char *page, size_t len, const char *open, const char *close, char *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n;
    const char *from = memmem(page, len, open, strlen(open));
    if (!from)
        return 0;
    from += strlen(open);
    const char *to = memmem(from, len - (size_t)(from - page), close, strlen(close));
    if (!to || !EVP_Digest(from, (size_t)(to - from), digest, &n, EVP_sha256(), NULL))
        return 0;
    return EVP_EncodeBlock((unsigned char *)out, digest, (int)n);
}

int rx_http_policy(const char *page, size_t len, char *policy, size_t size)
{
    char script[64], style[64];
    if (!digest_between(page, len, "<script>", "</script>", script) ||
        !digest_between(page, len, "<style>", "</style>", style))
        return -1;
    int n = snprintf(policy, size,
                     "default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; connect-src 'self'; img-src data:; "
                     "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                     script, style);
    return n > 0 && (size_t)n < size ? 0 : -1;
}

#endif
