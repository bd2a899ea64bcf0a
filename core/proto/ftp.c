// SPDX-License-Identifier: MIT
// Enters: the first line of a client, greeted or not. Leaves: whether it is an FTP command, and of USER its
// argument.
//
// Invariants:
// - MATCH needs the whole line: a command of the registry (RFC 5797 and the RFCs it lists) in any case (RFC
//   959 5.3) with arguments of the form that command takes. MORE as long as some such line starts like this.
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

enum form {
    NONE,          // no argument
    OPTIONAL,      // nothing, or text
    TEXT,          // text
    USER,          // one word, the user
    MECHANISM,     // of AUTH
    TRANSFER_TYPE, // one of a few letters, then nothing or text; these and below
    TRANSFER_MODE,
    STRUCTURE,
    PROTECTION,
};

static const char *const letters[] = {
    [TRANSFER_TYPE] = "AEIL",
    [TRANSFER_MODE] = "SBC",
    [STRUCTURE] = "FRP",
    [PROTECTION] = "CSEP",
};

// RFC 775 (X…), 959, 1639 (LP…), 2228, 2389, 2428, 3659, 7151; CLNT, which is not registered but sent by many
// clients. Ascending.
// clang-format off
static const struct wire_verb verbs[] = {
    { WIRE_WORD4('a', 'b', 'o', 'r'), .form = NONE }, { WIRE_WORD4('a', 'c', 'c', 't'), .form = TEXT },
    { WIRE_WORD4('a', 'd', 'a', 't'), .form = TEXT }, { WIRE_WORD4('a', 'l', 'l', 'o'), .form = TEXT },
    { WIRE_WORD4('a', 'p', 'p', 'e'), .form = TEXT }, { WIRE_WORD4('a', 'u', 't', 'h'), .form = MECHANISM },
    { WIRE_WORD3('c', 'c', 'c'), .form = NONE }, { WIRE_WORD4('c', 'd', 'u', 'p'), .form = NONE },
    { WIRE_WORD4('c', 'l', 'n', 't'), .form = TEXT }, { WIRE_WORD4('c', 'o', 'n', 'f'), .form = TEXT },
    { WIRE_WORD3('c', 'w', 'd'), .form = TEXT }, { WIRE_WORD3('e', 'n', 'c'), .form = TEXT },
    { WIRE_WORD4('e', 'p', 'r', 't'), .form = TEXT }, { WIRE_WORD4('e', 'p', 's', 'v'), .form = OPTIONAL },
    { WIRE_WORD4('f', 'e', 'a', 't'), .form = NONE }, { WIRE_WORD4('h', 'o', 's', 't'), .form = TEXT },
    { WIRE_WORD4('l', 'p', 'r', 't'), .form = TEXT }, { WIRE_WORD4('l', 'p', 's', 'v'), .form = NONE },
    { WIRE_WORD4('m', 'd', 't', 'm'), .form = TEXT }, { WIRE_WORD3('m', 'i', 'c'), .form = TEXT },
    { WIRE_WORD3('m', 'k', 'd'), .form = TEXT }, { WIRE_WORD4('m', 'l', 's', 'd'), .form = OPTIONAL },
    { WIRE_WORD4('m', 'l', 's', 't'), .form = OPTIONAL }, { WIRE_WORD4('m', 'o', 'd', 'e'), .form = TRANSFER_MODE },
    { WIRE_WORD4('n', 'l', 's', 't'), .form = OPTIONAL }, { WIRE_WORD4('o', 'p', 't', 's'), .form = TEXT },
    { WIRE_WORD4('p', 'a', 's', 'v'), .form = NONE }, { WIRE_WORD4('p', 'b', 's', 'z'), .form = TEXT },
    { WIRE_WORD4('p', 'o', 'r', 't'), .form = TEXT }, { WIRE_WORD4('p', 'r', 'o', 't'), .form = PROTECTION },
    { WIRE_WORD3('p', 'w', 'd'), .form = NONE }, { WIRE_WORD4('r', 'e', 'i', 'n'), .form = NONE },
    { WIRE_WORD4('r', 'e', 's', 't'), .form = TEXT }, { WIRE_WORD3('r', 'm', 'd'), .form = TEXT },
    { WIRE_WORD4('r', 'n', 'f', 'r'), .form = TEXT }, { WIRE_WORD4('r', 'n', 't', 'o'), .form = TEXT },
    { WIRE_WORD4('s', 'i', 't', 'e'), .form = TEXT }, { WIRE_WORD4('s', 'i', 'z', 'e'), .form = TEXT },
    { WIRE_WORD4('s', 'm', 'n', 't'), .form = TEXT }, { WIRE_WORD4('s', 't', 'o', 'r'), .form = TEXT },
    { WIRE_WORD4('s', 't', 'o', 'u'), .form = OPTIONAL }, { WIRE_WORD4('s', 't', 'r', 'u'), .form = STRUCTURE },
    { WIRE_WORD4('s', 'y', 's', 't'), .form = NONE }, { WIRE_WORD4('t', 'y', 'p', 'e'), .form = TRANSFER_TYPE },
    { WIRE_WORD4('u', 's', 'e', 'r'), .form = USER }, { WIRE_WORD4('x', 'c', 'u', 'p'), .form = NONE },
    { WIRE_WORD4('x', 'c', 'w', 'd'), .form = TEXT }, { WIRE_WORD4('x', 'm', 'k', 'd'), .form = TEXT },
    { WIRE_WORD4('x', 'p', 'w', 'd'), .form = NONE }, { WIRE_WORD4('x', 'r', 'm', 'd'), .form = TEXT },
};
// clang-format on

// Nearly every session starts with it.
static const struct wire_verb verb_user = { WIRE_WORD4('u', 's', 'e', 'r'), .form = USER };

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
static enum rx_verdict arguments(const uint8_t *p, uint32_t n, uint32_t at, enum form form, struct rx_facts *f)
{
    at = wire_spaces_end(p, n, at);
    if (at == n)
        return RX_MORE;
    switch (form) {
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
    case TRANSFER_TYPE:
    case TRANSFER_MODE:
    case STRUCTURE:
    case PROTECTION:
        if (!wire_is_alpha(p[at]) || !strchr(letters[form], p[at] & ~0x20))
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
    if (len > 4 || (len < line && !wire_is_word_end(p[len])))
        return wire_no(f);
    const struct wire_verb *verb = &verb_user;
    enum rx_verdict verdict = RX_MATCH;
    if (word != verb_user.word)
        verdict = wire_find(verbs, RX_COUNT(verbs), word, len, len < line, &verb);
    else if (len == line)
        verdict = RX_MORE;
    enum form form = (enum form)verb->form;
    if (verdict == RX_MATCH) {
        if (p[len] == ' ')
            verdict = arguments(p, line, len + 1, form, f);
        else
            verdict = form <= OPTIONAL ? wire_eol(p, line, len) : RX_NO;
    }
    if (verdict == RX_MATCH)
        return wire_match(f, form == USER ? RX_FACT_USER : 0);
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
