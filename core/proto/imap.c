// SPDX-License-Identifier: MIT
// Enters: the first line of a client, greeted or not. Leaves: whether it is an IMAP command (RFC 9051 2.2.1,
// RFC 3501): a tag, a space, and one of the commands possible before login, in any case.
//
// Invariants:
// - MATCH needs the whole line, or of ID (RFC 2971) its parenthesis; at most LINE_MAX_LEN bytes are seen.
// - The tag is any atom without '+' (RFC 9051 9: tag), up to TAG_MAX bytes. Tags of two and more letters
//   alone are as well other protocols' verbs: "HELP NOOP", "USER logout", memcached's "get login a b". They
//   are taken only in front of commands that are nobody's words (RFC 9051's own examples have "abcd
//   CAPABILITY"), and never when they are HELP, GET or GETS.
// - LOGIN has two arguments or a literal (SMTP's and POP3's "AUTH LOGIN" has one at most), ID a list or NIL
//   (Redis' "CLIENT ID" has none).
//
// Deliberately not done: commands of a logged-in state; a preauthenticated client has no business here.
#include "list.h"
#include "wire.h"

enum {
    LINE_MAX_LEN = 1024,
    TAG_MAX = 64,
};

enum args {
    NONE,
    LOGIN, // two, or a literal
    LIST,  // ID's
    TEXT,
};

static const struct command {
    const char *name; // lower-case
    uint8_t len;
    bool is_common; // other protocols have the word too
    enum args args;
} commands[] = {
    { "capability", 10, false, NONE }, { "starttls", 8, false, NONE }, { "authenticate", 12, false, TEXT },
    { "login", 5, false, LOGIN },      { "id", 2, false, LIST },       { "noop", 4, true, NONE },
    { "logout", 6, true, NONE },
};

// RFC 9051 9: ASTRING-CHAR but '+': no controls, space, '(', ')', '{', '%', '*', '"', '\', '+'
static const uint8_t is_tag_byte[256] = {
    ['!'] = 1, ['#' ... '$'] = 1, ['&' ... '\''] = 1, [',' ... '['] = 1, [']' ... 'z'] = 1, ['|' ... '~'] = 1,
};

static bool is_word(const uint8_t *p, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        if (!wire_is_alpha(p[i]))
            return false;
    return len > 1;
}

static bool is_verb(const uint8_t *p, uint32_t len)
{
    uint64_t word;
    return wire_word(p, len, &word) == len &&
           (word == WIRE_WORD3('g', 'e', 't') || word == WIRE_WORD4('g', 'e', 't', 's') ||
            word == WIRE_WORD4('h', 'e', 'l', 'p'));
}

// `at`: behind the command
static enum rx_verdict arguments(const uint8_t *p, uint32_t n, uint32_t at, enum args args)
{
    if (args == NONE)
        return wire_eol(p, n, wire_spaces_end(p, n, at));
    if (at == n)
        return RX_MORE;
    if (p[at++] != ' ')
        return RX_NO;
    if (at == n)
        return RX_MORE;
    if (args == LIST) {
        if (p[at] == '(')
            return RX_MATCH;
        enum rx_verdict nil = wire_starts_any_case(p + at, n - at, "nil", 3);
        return nil == RX_MATCH ? wire_eol(p, n, at + 3) : nil;
    }
    if (!wire_is_text(p[at]) || p[at] == ' ')
        return RX_NO;
    uint32_t end = wire_text_end(p, n, at);
    enum rx_verdict verdict = wire_eol(p, n, end);
    if (args == LOGIN && verdict == RX_MATCH && p[at] != '{' && !memchr(p + at, ' ', end - at))
        return RX_NO;
    return verdict;
}

static enum rx_verdict line(const uint8_t *p, uint32_t n)
{
    uint32_t at = 0;
    while (at < n && is_tag_byte[p[at]])
        at++;
    if (at > TAG_MAX || (at < n && (at == 0 || p[at] != ' ')))
        return RX_NO;
    if (at == n)
        return RX_MORE;
    bool is_plain = is_word(p, at);
    if (is_plain && is_verb(p, at))
        return RX_NO;
    at++;
    for (uint32_t i = 0; i < RX_COUNT(commands); i++) {
        const struct command *command = &commands[i];
        if ((is_plain && command->is_common) || (at < n && (p[at] | 0x20) != command->name[0]))
            continue;
        enum rx_verdict verdict = wire_starts_any_case(p + at, n - at, command->name, command->len);
        if (verdict == RX_MATCH)
            return arguments(p, n, at + command->len, command->args);
        if (verdict == RX_MORE)
            return RX_MORE;
    }
    return RX_NO;
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    enum rx_verdict verdict = line(p, RX_MIN(n, (uint32_t)LINE_MAX_LEN));
    if (verdict == RX_MATCH)
        return wire_match(f, 0);
    if (verdict == RX_MORE && n < LINE_MAX_LEN)
        return wire_more(f, 0);
    return wire_no(f);
}

const struct rx_proto rx_proto_imap = {
    .name = "imap",
    .transport = RX_TCP,
    .identify = identify,
    .first = "!!#$&',[]z|~",
    .first_len = 12,
    .is_server_first = true,
};
