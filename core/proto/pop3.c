// SPDX-License-Identifier: MIT
// Enters: the first line of a client, greeted or not. Leaves: whether it is a POP3 command of the
// AUTHORIZATION state (RFC 1939, 2449, 2595, 5034), and of USER and APOP the user.
//
// Invariants:
// - MATCH needs the whole line, at most 512 bytes of it: CAPA, STLS, APOP name digest, AUTH with nothing or a
//   SASL mechanism, USER with one word, in any case (RFC 1939 3).
// - AUTH's argument is a mechanism's name, so that FTP's "AUTH TLS" and Redis' "AUTH secret" are not POP3.
// - "USER joe" is FTP's as well; FTP comes first where both are asked.
//
// Deliberately not done: QUIT and NOOP, which are everybody's, and PASS, which IRC clients open with.
#include "list.h"
#include "wire.h"

enum {
    LINE_MAX_LEN = 512,
    VERB = 4,
    DIGEST = 32, // MD5 in hexadecimal
};

// IANA's registry of SASL mechanisms; those that end in '-' or '_' are families
// clang-format off
static const char *const mechanisms[] = {
    "plain", "login", "cram-md5", "digest-", "scram-", "gssapi", "gs2-", "gss-", "ntlm", "xoauth2", "xoauth", "xoauth-",
    "oauthbearer", "oauth10a", "external", "anonymous", "otp", "skey", "kerberos_", "securid", "ecdh-", "9798-", "openid20",
    "saml20", "eap-", "nmas-", "nmas_", "msn", "apop", "x-",
};
// clang-format on

static enum rx_verdict auth(const uint8_t *p, uint32_t n, uint32_t at)
{
    bool is_open = false;
    for (uint32_t i = 0; i < RX_COUNT(mechanisms); i++) {
        uint32_t len = (uint32_t)strlen(mechanisms[i]), end = at + len;
        enum rx_verdict verdict = wire_starts_any_case(p + at, n - at, mechanisms[i], len);
        bool is_family = mechanisms[i][len - 1] == '-' || mechanisms[i][len - 1] == '_';
        if (verdict == RX_MATCH && (is_family || end == n || wire_is_word_end(p[end])))
            return wire_eol(p, n, wire_text_end(p, n, end));
        is_open |= verdict == RX_MORE;
    }
    return is_open ? RX_MORE : RX_NO;
}

static bool is_hex(uint8_t c)
{
    return wire_is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static enum rx_verdict apop(const uint8_t *p, uint32_t n, uint32_t at, struct rx_facts *f)
{
    uint32_t end = wire_token_end(p, n, at);
    f->user = (struct rx_text){ p + at, end - at };
    if (end == n)
        return RX_MORE;
    if (end == at || p[end++] != ' ')
        return RX_NO;
    uint32_t digest = end;
    while (end < n && is_hex(p[end]) && end - digest < DIGEST)
        end++;
    if (end == n)
        return RX_MORE;
    return end - digest == DIGEST ? wire_eol(p, n, end) : RX_NO;
}

static enum rx_verdict user(const uint8_t *p, uint32_t n, uint32_t at, struct rx_facts *f)
{
    uint32_t end = wire_token_end(p, n, at);
    f->user = (struct rx_text){ p + at, end - at };
    if (end == at && end < n)
        return RX_NO;
    return wire_eol(p, n, wire_spaces_end(p, n, end));
}

static enum rx_verdict line(const uint8_t *p, uint32_t n, struct rx_facts *f, uint32_t *have)
{
    uint64_t word;
    uint32_t len = wire_word(p, n, &word);
    if (len == n && n < VERB) {
        static const uint64_t verbs[] = { WIRE_WORD4('c', 'a', 'p', 'a'), WIRE_WORD4('s', 't', 'l', 's'),
                                          WIRE_WORD4('a', 'u', 't', 'h'), WIRE_WORD4('a', 'p', 'o', 'p'),
                                          WIRE_WORD4('u', 's', 'e', 'r') };
        for (uint32_t i = 0; i < RX_COUNT(verbs); i++)
            if (wire_word_starts(verbs[i], word, len))
                return RX_MORE;
        return RX_NO;
    }
    if (len != VERB || (n > VERB && !wire_is_word_end(p[VERB])))
        return RX_NO;
    uint32_t at = wire_spaces_end(p, n, VERB);
    bool is_bare = at == n || p[at] == '\r' || p[at] == '\n';
    switch (word) {
    case WIRE_WORD4('c', 'a', 'p', 'a'):
    case WIRE_WORD4('s', 't', 'l', 's'):
        return wire_eol(p, n, at);
    case WIRE_WORD4('a', 'u', 't', 'h'):
        return is_bare ? wire_eol(p, n, at) : auth(p, n, at);
    case WIRE_WORD4('a', 'p', 'o', 'p'):
        *have = RX_FACT_USER;
        return at == n ? RX_MORE : is_bare ? RX_NO : apop(p, n, at, f);
    case WIRE_WORD4('u', 's', 'e', 'r'):
        *have = RX_FACT_USER;
        return at == n ? RX_MORE : is_bare ? RX_NO : user(p, n, at, f);
    default:
        return RX_NO;
    }
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    uint32_t have = 0;
    enum rx_verdict verdict = line(p, RX_MIN(n, (uint32_t)LINE_MAX_LEN), f, &have);
    if (verdict == RX_MATCH)
        return wire_match(f, have);
    if (verdict == RX_MORE && n < LINE_MAX_LEN)
        return wire_more(f, 0);
    return wire_no(f);
}

const struct rx_proto rx_proto_pop3 = {
    .name = "pop3",
    .transport = RX_TCP,
    .identify = identify,
    .first = "AACCSSUUaaccssuu",
    .first_len = 16,
    .is_server_first = true,
    .facts = RX_FACT_USER,
};
