// SPDX-License-Identifier: MIT
// Enters: the first line of a client, greeted or not. Leaves: whether it is an FTP command, and of USER its
// argument.
//
// Invariants:
// - MATCH needs the whole line: a command of the registry (RFC 5797 and the RFCs it lists) in any case (RFC
// 959
//   5.3) with arguments of the form that command takes. MORE as long as some such line starts like this.
// - Nothing matches that other line protocols say too. HELP, LIST, NOOP, QUIT, STAT (POP3, SMTP, NNTP), PASS
//   (POP3, IRC), DELE, RETR, LANG (POP3) are therefore not here. USER takes one word: IRC's has four (RFC
//   2812 3.1.3). POP3's "USER joe" cannot be told from FTP's, and FTP is asked first. AUTH takes the
//   mechanisms of RFC 2228 and RFC 4217; the SASL ones are POP3's. MODE takes a transfer mode, NNTP's takes
//   READER.
//
// Deliberately not done: Telnet controls in front of a command (RFC 959 4.1.3 has them before ABOR, late).
#include "list.h"
#include "wire.h"

enum { LINE_MAX_LEN = 512 };

enum args {
    NONE,      // nothing
    OPTIONAL,  // nothing, or text
    TEXT,      // text
    USER,      // one word, the user
    MECHANISM, // of AUTH
    LETTER,    // TYPE, MODE, STRU, PROT: one of a few letters, then nothing or text
};

struct verb {
    uint64_t word;
    enum args args;
    const char *letters; // upper-case
};

#define V3(a, b, c, ...)                                                                                     \
    {                                                                                                        \
        WIRE_WORD3(a, b, c), __VA_ARGS__                                                                     \
    }
#define V4(a, b, c, d, ...)                                                                                  \
    {                                                                                                        \
        WIRE_WORD4(a, b, c, d), __VA_ARGS__                                                                  \
    }

// What clients open with comes first.
// clang-format off
static const struct verb verbs[] = {
    V4('u', 's', 'e', 'r', USER, NULL), V4('a', 'u', 't', 'h', MECHANISM, NULL),
    V4('f', 'e', 'a', 't', NONE, NULL), V4('h', 'o', 's', 't', TEXT, NULL), // RFC 2389, RFC 7151
    V4('s', 'y', 's', 't', NONE, NULL), V4('o', 'p', 't', 's', TEXT, NULL),
    V4('c', 'l', 'n', 't', TEXT, NULL), // not registered, but sent by lftp and many for Windows
    V4('p', 'b', 's', 'z', TEXT, NULL), V4('p', 'r', 'o', 't', LETTER, "CSEP"), // RFC 2228
    V4('a', 'd', 'a', 't', TEXT, NULL), V3('c', 'c', 'c', NONE, NULL), V3('m', 'i', 'c', TEXT, NULL),
    V4('c', 'o', 'n', 'f', TEXT, NULL), V3('e', 'n', 'c', TEXT, NULL),
    V4('a', 'c', 'c', 't', TEXT, NULL), V3('c', 'w', 'd', TEXT, NULL), V4('c', 'd', 'u', 'p', NONE, NULL), // RFC 959
    V4('s', 'm', 'n', 't', TEXT, NULL), V4('r', 'e', 'i', 'n', NONE, NULL), V4('p', 'o', 'r', 't', TEXT, NULL),
    V4('p', 'a', 's', 'v', NONE, NULL), V4('t', 'y', 'p', 'e', LETTER, "AEIL"), V4('s', 't', 'r', 'u', LETTER, "FRP"),
    V4('m', 'o', 'd', 'e', LETTER, "SBC"), V4('s', 't', 'o', 'r', TEXT, NULL), V4('s', 't', 'o', 'u', OPTIONAL, NULL),
    V4('a', 'p', 'p', 'e', TEXT, NULL), V4('a', 'l', 'l', 'o', TEXT, NULL), V4('r', 'e', 's', 't', TEXT, NULL),
    V4('r', 'n', 'f', 'r', TEXT, NULL), V4('r', 'n', 't', 'o', TEXT, NULL), V4('a', 'b', 'o', 'r', NONE, NULL),
    V3('r', 'm', 'd', TEXT, NULL), V3('m', 'k', 'd', TEXT, NULL), V3('p', 'w', 'd', NONE, NULL),
    V4('n', 'l', 's', 't', OPTIONAL, NULL), V4('s', 'i', 't', 'e', TEXT, NULL),
    V4('x', 'c', 'u', 'p', NONE, NULL), V4('x', 'c', 'w', 'd', TEXT, NULL), V4('x', 'm', 'k', 'd', TEXT, NULL), // RFC 775
    V4('x', 'p', 'w', 'd', NONE, NULL), V4('x', 'r', 'm', 'd', TEXT, NULL),
    V4('l', 'p', 'r', 't', TEXT, NULL), V4('l', 'p', 's', 'v', NONE, NULL),   // RFC 1639
    V4('e', 'p', 'r', 't', TEXT, NULL), V4('e', 'p', 's', 'v', OPTIONAL, NULL), // RFC 2428
    V4('m', 'd', 't', 'm', TEXT, NULL), V4('m', 'l', 's', 'd', OPTIONAL, NULL), // RFC 3659
    V4('m', 'l', 's', 't', OPTIONAL, NULL), V4('s', 'i', 'z', 'e', TEXT, NULL),
};
// clang-format on

// The whole word decides (MATCH: *found), or how it starts.
static enum rx_verdict find_verb(uint64_t word, uint32_t len, bool is_whole, const struct verb **found)
{
    for (uint32_t i = 0; i < RX_COUNT(verbs); i++) {
        if (verbs[i].word == word && is_whole) {
            *found = &verbs[i];
            return RX_MATCH;
        }
        if (!is_whole && wire_word_starts(verbs[i].word, word, len))
            return RX_MORE;
    }
    return RX_NO;
}

// RFC 4217 12, RFC 2228 and what the registry of mechanisms had before
static enum rx_verdict mechanism(const uint8_t *p, uint32_t n, uint32_t at)
{
    static const char *const names[] = { "tls", "ssl", "tls-c", "tls-p", "gssapi", "kerberos_v4" };
    enum rx_verdict best = RX_NO;
    for (uint32_t i = 0; i < RX_COUNT(names); i++) {
        uint32_t len = (uint32_t)strlen(names[i]);
        enum rx_verdict verdict = wire_starts_any_case(p + at, n - at, names[i], len);
        if (verdict == RX_MATCH)
            verdict = wire_eol(p, n, wire_spaces_end(p, n, at + len));
        if (verdict == RX_MATCH)
            return RX_MATCH;
        if (verdict == RX_MORE)
            best = RX_MORE;
    }
    return best;
}

// `at`: behind the space that follows the command
static enum rx_verdict arguments(const uint8_t *p, uint32_t n, uint32_t at, const struct verb *verb,
                                 struct rx_facts *f)
{
    at = wire_spaces_end(p, n, at);
    if (at == n)
        return RX_MORE;
    switch (verb->args) {
    case NONE:
        return wire_eol(p, n, at);
    case OPTIONAL:
        return wire_eol(p, n, wire_text_end(p, n, at));
    case TEXT:
        return wire_is_text(p[at]) ? wire_eol(p, n, wire_text_end(p, n, at)) : RX_NO;
    case USER: {
        uint32_t end = wire_token_end(p, n, at);
        f->user = (struct rx_text){ p + at, end - at };
        return end > at ? wire_eol(p, n, wire_spaces_end(p, n, end)) : RX_NO;
    }
    case MECHANISM:
        return mechanism(p, n, at);
    case LETTER:
        if (!wire_is_alpha(p[at]) || !strchr(verb->letters, p[at] & ~0x20))
            return RX_NO;
        at++;
        return at < n && p[at] != ' ' ? wire_eol(p, n, at) : wire_eol(p, n, wire_text_end(p, n, at));
    }
    return RX_NO;
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    uint32_t line = RX_MIN(n, (uint32_t)LINE_MAX_LEN);
    uint64_t word;
    uint32_t len = wire_word(p, line, &word);
    const struct verb *verb = NULL;
    if (len > 4 || (len < line && !wire_is_word_end(p[len])))
        return wire_no(f);
    enum rx_verdict verdict = find_verb(word, len, len < line, &verb);
    if (verdict == RX_MATCH) {
        if (p[len] == ' ')
            verdict = arguments(p, line, len + 1, verb, f);
        else
            verdict = verb->args <= OPTIONAL ? wire_eol(p, line, len) : RX_NO;
    }
    if (verdict == RX_MATCH)
        return wire_match(f, verb->args == USER ? RX_FACT_USER : 0);
    if (verdict == RX_MORE && n < LINE_MAX_LEN)
        return wire_more(f, 0);
    return wire_no(f);
}

const struct rx_proto rx_proto_ftp = {
    .name = "ftp",
    .transport = RX_TCP,
    .identify = identify,
    .first = "AACCEFHHLPRUXXaaccefhhlpruxx",
    .first_len = 28,
    .is_server_first = true,
    .facts = RX_FACT_USER,
};
