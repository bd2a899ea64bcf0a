// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection. Leaves: whether they are a Redis command, as RESP array of
// bulk strings or inline (Redis documentation, "Redis serialization protocol specification").
//
// Invariants:
// - An array matches when its first string, a command name, is whole: "*1\r\n$4\r\nPING". Digits, CR LF and
//   the bytes of the name are checked one by one.
// - An inline command needs its whole line, a name from the list and as many arguments as it takes. The list
//   holds what no other line protocol says. Memcached's "set" has four arguments behind the key and "get" is
//   lower-case there; HTTP/0.9's GET asks for a path; SIP and STOMP have SUBSCRIBE, FTP has TYPE, POP3 has
//   AUTH, dict and many more have CLIENT, anybody may say HELLO: those are left out or tied to their
//   arguments.
//
// Deliberately not done: quoted inline arguments; the replies a server would send ("+OK").
#include "list.h"
#include "wire.h"

enum {
    LINE_MAX_LEN = 1024,
    COUNT_DIGITS = 7, // the server takes 1024 * 1024 strings
    NAME_DIGITS = 2,
    NAME_MAX = 64, // "latency|histogram" has 17; modules add to that
};

enum form {
    ANY,    // no further condition
    UPPER,  // all of the name upper-case, and no path as argument
    NUMBER, // the first argument is a number
    WORD,   // the first argument is letters
    SET,    // more than two arguments only in upper case
};

// Name, form, least and most arguments. Ascending.
// clang-format off
static const struct wire_verb verbs[] = {
    { WIRE_WORD('b', 'g', 's', 'a', 'v', 'e', 0, 0), WORD, 0, 1 },
    { WIRE_WORD('c', 'o', 'm', 'm', 'a', 'n', 'd', 0), WORD, 0, 255 },
    { WIRE_WORD('c', 'o', 'n', 'f', 'i', 'g', 0, 0), WORD, 2, 255 },
    { WIRE_WORD('d', 'b', 's', 'i', 'z', 'e', 0, 0), ANY, 0, 0 },
    { WIRE_WORD('d', 'e', 'c', 'r', 0, 0, 0, 0), ANY, 1, 1 },
    { WIRE_WORD('d', 'e', 'l', 0, 0, 0, 0, 0), UPPER, 1, 255 },
    { WIRE_WORD('e', 'c', 'h', 'o', 0, 0, 0, 0), ANY, 1, 1 },
    { WIRE_WORD('e', 'x', 'i', 's', 't', 's', 0, 0), ANY, 1, 255 },
    { WIRE_WORD('e', 'x', 'p', 'i', 'r', 'e', 0, 0), ANY, 2, 3 },
    { WIRE_WORD('f', 'l', 'u', 's', 'h', 'a', 'l', 'l'), WORD, 0, 1 },
    { WIRE_WORD('f', 'l', 'u', 's', 'h', 'd', 'b', 0), WORD, 0, 1 },
    { WIRE_WORD('g', 'e', 't', 0, 0, 0, 0, 0), UPPER, 1, 1 },
    { WIRE_WORD('h', 'e', 'l', 'l', 'o', 0, 0, 0), NUMBER, 1, 255 },
    { WIRE_WORD('h', 'g', 'e', 't', 0, 0, 0, 0), ANY, 2, 2 },
    { WIRE_WORD('h', 'g', 'e', 't', 'a', 'l', 'l', 0), ANY, 1, 1 },
    { WIRE_WORD('h', 's', 'e', 't', 0, 0, 0, 0), ANY, 3, 255 },
    { WIRE_WORD('i', 'n', 'c', 'r', 0, 0, 0, 0), ANY, 1, 1 },
    { WIRE_WORD('i', 'n', 'f', 'o', 0, 0, 0, 0), WORD, 0, 1 },
    { WIRE_WORD('k', 'e', 'y', 's', 0, 0, 0, 0), ANY, 1, 1 },
    { WIRE_WORD('l', 'l', 'e', 'n', 0, 0, 0, 0), ANY, 1, 1 },
    { WIRE_WORD('l', 'p', 'o', 'p', 0, 0, 0, 0), ANY, 1, 2 },
    { WIRE_WORD('l', 'p', 'u', 's', 'h', 0, 0, 0), ANY, 2, 255 },
    { WIRE_WORD('l', 'r', 'a', 'n', 'g', 'e', 0, 0), ANY, 3, 3 },
    { WIRE_WORD('m', 'g', 'e', 't', 0, 0, 0, 0), UPPER, 1, 255 },
    { WIRE_WORD('m', 'o', 'n', 'i', 't', 'o', 'r', 0), ANY, 0, 0 },
    { WIRE_WORD('m', 's', 'e', 't', 0, 0, 0, 0), ANY, 2, 255 },
    { WIRE_WORD('p', 'i', 'n', 'g', 0, 0, 0, 0), ANY, 0, 0 },
    { WIRE_WORD('p', 's', 'y', 'n', 'c', 0, 0, 0), ANY, 2, 3 },
    { WIRE_WORD('p', 't', 't', 'l', 0, 0, 0, 0), ANY, 1, 1 },
    { WIRE_WORD('r', 'e', 'p', 'l', 'c', 'o', 'n', 'f'), WORD, 2, 255 },
    { WIRE_WORD('r', 'p', 'o', 'p', 0, 0, 0, 0), ANY, 1, 2 },
    { WIRE_WORD('r', 'p', 'u', 's', 'h', 0, 0, 0), ANY, 2, 255 },
    { WIRE_WORD('s', 'a', 'd', 'd', 0, 0, 0, 0), ANY, 2, 255 },
    { WIRE_WORD('s', 'e', 'l', 'e', 'c', 't', 0, 0), NUMBER, 1, 1 },
    { WIRE_WORD('s', 'e', 't', 0, 0, 0, 0, 0), SET, 2, 255 },
    { WIRE_WORD('s', 'e', 't', 'e', 'x', 0, 0, 0), ANY, 3, 3 },
    { WIRE_WORD('s', 'e', 't', 'n', 'x', 0, 0, 0), ANY, 2, 2 },
    { WIRE_WORD('s', 'l', 'a', 'v', 'e', 'o', 'f', 0), ANY, 2, 2 },
    { WIRE_WORD('s', 'l', 'o', 'w', 'l', 'o', 'g', 0), WORD, 1, 2 },
    { WIRE_WORD('s', 'm', 'e', 'm', 'b', 'e', 'r', 's'), ANY, 1, 1 },
    { WIRE_WORD('t', 't', 'l', 0, 0, 0, 0, 0), ANY, 1, 1 },
    { WIRE_WORD('z', 'a', 'd', 'd', 0, 0, 0, 0), ANY, 3, 255 },
    { WIRE_WORD('z', 'r', 'a', 'n', 'g', 'e', 0, 0), ANY, 3, 255 },
};
// clang-format on

// ---- arrays

// A decimal number without leading zeros and its CR LF. 0: not (yet) there, *verdict says which.
static uint32_t number(const uint8_t *p, uint32_t n, uint32_t *at, uint32_t digits_max, enum rx_verdict *verdict)
{
    uint32_t value = 0, i = *at, start = i;
    for (; i < n && wire_is_digit(p[i]) && i - start < digits_max; i++)
        value = value * 10 + p[i] - '0';
    bool is_bad = i > start && p[start] == '0';
    *verdict = is_bad || (i < n && (i == start || p[i] != '\r')) || (i + 1 < n && p[i + 1] != '\n') ? RX_NO : RX_MORE;
    if (*verdict == RX_NO || i + 1 >= n)
        return 0;
    *at = i + 2;
    *verdict = RX_MATCH;
    return value;
}

static bool is_name_byte(uint8_t c)
{
    return wire_is_alpha(c) || wire_is_digit(c) || c == '.' || c == '_' || c == '-' || c == '|';
}

// From behind the '*'
static enum rx_verdict array(const uint8_t *p, uint32_t n)
{
    enum rx_verdict verdict;
    uint32_t at = 1, len;
    // "*?\r\n$?\r\n", which most are, in one look
    bool is_short = n >= 8 && (wire_be64(p) & ~(uint64_t)0x00ff000000ff0000) == 0x2a000d0a24000d0a;
    if (RX_LIKELY(is_short && (uint8_t)(p[1] - '1') < 9 && (uint8_t)(p[5] - '1') < 9)) {
        len = p[5] - '0';
        at = 8;
    } else {
        if (!number(p, n, &at, COUNT_DIGITS, &verdict))
            return verdict;
        if (at == n)
            return RX_MORE;
        if (p[at++] != '$')
            return RX_NO;
        len = number(p, n, &at, NAME_DIGITS, &verdict);
        if (!len)
            return verdict;
        if (len > NAME_MAX)
            return RX_NO;
    }
    uint32_t end = RX_MIN(n, at + len);
    for (uint32_t i = at; i < end; i++)
        if (i == at ? !wire_is_alpha(p[i]) : !is_name_byte(p[i]))
            return RX_NO;
    return end < at + len ? RX_MORE : RX_MATCH;
}

// ---- lines

static bool is_upper(const uint8_t *p, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        if (p[i] & 0x20)
            return false;
    return true;
}

static bool is_url(const uint8_t *p, uint32_t len)
{
    for (uint32_t i = 0; i + 3 <= len; i++)
        if (memcmp(p + i, "://", 3) == 0)
            return true;
    return false;
}

// Whether the argument at `at`, of which `len` bytes are here, may be the `nth` of this command
static bool is_argument(const uint8_t *p, uint32_t at, uint32_t len, uint32_t nth, const struct wire_verb *verb,
                        bool is_caps)
{
    if (nth >= verb->most || (verb->form == SET && nth >= 2 && !is_caps))
        return false;
    if (verb->form == UPPER)
        return p[at] != '/' && !is_url(p + at, len);
    if (nth > 0)
        return true;
    for (uint32_t i = at; i < at + len; i++) {
        if (verb->form == NUMBER && !wire_is_digit(p[i]))
            return false;
        if (verb->form == WORD && !wire_is_alpha(p[i]))
            return false;
    }
    return true;
}

static enum rx_verdict inline_command(const uint8_t *p, uint32_t n)
{
    uint64_t word;
    uint32_t len = wire_word(p, n, &word), given = 0;
    const struct wire_verb *verb = NULL;
    if (len < n && !wire_is_word_end(p[len]))
        return RX_NO;
    enum rx_verdict verdict = wire_find(verbs, RX_COUNT(verbs), word, len, len < n, &verb);
    if (verdict != RX_MATCH)
        return verdict;
    bool is_caps = is_upper(p, len);
    if (verb->form == UPPER && !is_caps)
        return RX_NO;
    for (uint32_t at = len;;) {
        at = wire_spaces_end(p, n, at);
        uint32_t end = wire_token_end(p, n, at);
        if (end > at && !is_argument(p, at, end - at, given++, verb, is_caps))
            return RX_NO;
        if (end == n)
            return RX_MORE;
        if (p[end] != ' ') {
            verdict = wire_eol(p, n, end);
            return verdict == RX_MORE || given >= verb->least ? verdict : RX_NO;
        }
        at = end;
    }
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    enum rx_verdict verdict;
    if (RX_LIKELY(n > 0 && p[0] == '*')) {
        verdict = array(p, n);
    } else {
        verdict = inline_command(p, RX_MIN(n, (uint32_t)LINE_MAX_LEN));
        if (verdict == RX_MORE && n >= LINE_MAX_LEN)
            verdict = RX_NO;
    }
    return verdict == RX_MATCH ? wire_match(f, 0) : verdict == RX_MORE ? wire_more(f, 0) : wire_no(f);
}

const struct rx_proto rx_proto_redis = {
    .name = "redis",
    .transport = RX_TCP,
    .identify = identify,
    .first = "**BIKMPPRTZZbikmpprtzz",
    .first_len = 22,
};
