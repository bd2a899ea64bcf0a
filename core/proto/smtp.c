// SPDX-License-Identifier: MIT
// Enters: the first line of a client, greeted or not. Leaves: whether it is SMTP's EHLO or HELO (RFC 5321
// 4.1.1.1) or LMTP's LHLO (RFC 2033 4.1), in any case (RFC 5321 2.4).
//
// Invariants: MATCH needs the whole line, at most 512 bytes of it (RFC 5321 4.5.3.1.4), with a domain or
// address literal: any text, since clients put their host's name there, whatever it is.
//
// Deliberately not done: sessions that start with another command; MAIL without a greeting is possible and
// not seen, NOOP, HELP, QUIT and RSET are nobody's.
#include "list.h"
#include "wire.h"

enum {
    LINE_MAX_LEN = 512,
    VERB = 4,
};

#define EHLO WIRE_WORD4('e', 'h', 'l', 'o')
#define HELO WIRE_WORD4('h', 'e', 'l', 'o')
#define LHLO WIRE_WORD4('l', 'h', 'l', 'o')

static enum rx_verdict line(const uint8_t *p, uint32_t n)
{
    static const uint64_t verbs[] = { EHLO, HELO, LHLO };
    uint64_t word;
    uint32_t len = wire_word(p, n, &word);
    if (len == n && len < VERB) {
        for (uint32_t i = 0; i < RX_COUNT(verbs); i++)
            if (wire_word_starts(verbs[i], word, len))
                return RX_MORE;
        return RX_NO;
    }
    if (word != EHLO && word != HELO && word != LHLO)
        return RX_NO;
    if (n == VERB)
        return RX_MORE;
    if (p[VERB] != ' ')
        return RX_NO;
    uint32_t at = wire_spaces_end(p, n, VERB);
    if (at == n)
        return RX_MORE;
    return wire_is_text(p[at]) ? wire_eol(p, n, wire_text_end(p, n, at)) : RX_NO;
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    enum rx_verdict verdict = line(p, RX_MIN(n, (uint32_t)LINE_MAX_LEN));
    if (verdict == RX_MATCH)
        return wire_match(f, 0);
    if (verdict == RX_MORE && n < LINE_MAX_LEN)
        return wire_more(f, 0);
    // EHLO is nobody else's word
    uint64_t word;
    bool is_ehlo = wire_word(p, n, &word) == VERB && word == EHLO && n > VERB && wire_is_word_end(p[VERB]);
    return is_ehlo ? wire_broken(f) : wire_no(f);
}

const struct rx_proto rx_proto_smtp = {
    .name = "smtp",
    .transport = RX_TCP,
    .identify = identify,
    .first = "EEHHLLeehhll",
    .first_len = 12,
    .is_server_first = true,
};
