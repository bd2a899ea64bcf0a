// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection, or the first datagram of a UDP flow. Leaves: whether they are CoAP.
//
// UDP (RFC 7252 3): version 1, a request (confirmable or not) with a method that exists, a token of at most eight bytes,
// options whose numbers and lengths make sense up to the payload marker; or the empty confirmable message that asks
// "are you there". TCP (RFC 8323 3.2, 5.3): a Capabilities and Settings Message without token whose first option is
// Max-Message-Size (2) or Block-Wise-Transfer (4); one without any option is two bytes, too little to know.
//
// Deliberately not done: responses; CoAP over WebSockets, which is HTTP.
#include "list.h"
#include "wire.h"

enum {
    HEADER = 4,
    TOKEN_MAX = 8,
    TYPE_NON = 1, // 0 is confirmable; above are acknowledgement and reset
    PING = 4,
    METHOD_LAST = 7,     // GET, POST, PUT, DELETE (RFC 7252), FETCH, PATCH, iPATCH (RFC 8132)
    OPTION_LAST = 65000, // RFC 7252 12.2: above is for experiments
    URI_PATH = 11,
    PAYLOAD = 0xff,
    CSM = 0xe1, // code 7.01
};

// RFC 7252 3.1: a nibble of 13 or 14 is followed by one or two bytes, 15 is reserved. False when it does not fit.
static bool read_extended(const uint8_t *p, uint32_t n, uint32_t *at, uint32_t *value)
{
    uint32_t bytes = *value == 13 ? 1 : *value == 14 ? 2 : 0;
    if (*value == 15 || n - *at < bytes)
        return false;
    if (bytes == 1)
        *value = 13u + p[*at];
    else if (bytes == 2)
        *value = 269u + wire_be16(p + *at);
    *at += bytes;
    return true;
}

// The options of a request and what follows them
static bool has_options(const uint8_t *p, uint32_t n, uint32_t at)
{
    uint32_t number = 0;
    while (at < n && p[at] != PAYLOAD) {
        uint32_t delta = p[at] >> 4, len = p[at] & 15;
        at++;
        if (!read_extended(p, n, &at, &delta) || !read_extended(p, n, &at, &len) || len > n - at)
            return false;
        number += delta;
        if (number == 0 || number > OPTION_LAST || (number == URI_PATH && len > 255))
            return false;
        at += len;
    }
    return at == n || n - at > 1; // a marker without payload is a format error
}

static enum rx_verdict datagram(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    n = rx_first_gram(f, n);
    if (n < HEADER || p[0] >> 6 != 1 || (p[0] >> 4 & 3) > TYPE_NON)
        return wire_no(f);
    if (p[1] == 0)
        return n == PING && p[0] == 0x40 ? wire_match(f, 0) : wire_no(f);
    uint32_t token = p[0] & 15;
    if (p[1] > METHOD_LAST || token > TOKEN_MAX || n < HEADER + token || !has_options(p, n, HEADER + token))
        return wire_no(f);
    return wire_match(f, 0);
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    if (!n)
        return wire_more(f, 0);
    uint32_t len = p[0] >> 4, at = 1;
    if (p[0] & 15 || len < 1 || len > 13)
        return wire_no(f);
    if (len == 13) { // a byte of extended length; what is so long needs no more
        if (n > 1 && p[1] > 20)
            return wire_no(f);
        len = n > 1 ? 13u + p[1] : 13;
        at = 2;
    }
    if (n > at && p[at] != CSM)
        return wire_no(f);
    if (n < at + 2)
        return wire_more(f, 0);
    uint8_t option = p[at + 1];
    bool is_setting = option == 0x40 || (option >= 0x20 && option <= 0x24 && option - 0x20u < len);
    return is_setting ? wire_match(f, 0) : wire_no(f);
}

const struct rx_proto rx_proto_coap = {
    .name = "coap",
    .transport = RX_BOTH,
    .identify = identify,
    .datagram = datagram,
    .first =
        "\x10\x10\x20\x20\x30\x30\x40\x40\x50\x50\x60\x60\x70\x70\x80\x80\x90\x90\xa0\xa0\xb0\xb0\xc0\xc0\xd0\xd0",
    .first_len = 26,
    .first_udp = "\x40\x58",
    .first_udp_len = 2,
};
