// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection. Leaves: whether they are the packet a PostgreSQL client opens
// with (PostgreSQL documentation, "Message Formats"): length (4), code (4); and the user of a StartupMessage.
//
//     SSLRequest, GSSENCRequest    8 bytes
//     CancelRequest                16, protocol 3.2: up to 268
//     StartupMessage 3.x           up to 10000 (the server's MAX_STARTUP_PACKET_LENGTH); name NUL value NUL … NUL
//     StartupPacket 2.0            296; database[64] user[32] …
//
// Invariants: a code with a length that is not its own is a broken packet. The requests match at 8 bytes;
// a 3.x startup at 12, when its first parameter has begun with four bytes of a name: Kafka's Metadata request
// of version 0 is length, 00 03 00 00, too, and goes on with a small number. `user` is pending until it or
// the end of the message is there.
//
// Deliberately not done: TLS without a request before it (17's direct mode), which is TLS.
#include "list.h"
#include "wire.h"

enum {
    HEADER = 8,
    FIRST_NAME = 4, // of the first parameter
    STARTUP_MIN = HEADER + 8,
    STARTUP_MAX = 10000,
    CANCEL_MIN = HEADER + 4 + 4, // process, key of 4 to 256 bytes
    CANCEL_MAX = HEADER + 4 + 256,
    V2_LEN = 296,
    V2_USER = HEADER + 64,
    V2_USER_MAX = 32,

    CODE_V2 = 2 << 16,
    CODE_V3 = 3 << 16,
    MINOR_MAX = 2,
    MINOR_GREASE = 9999, // by which newer libpq asks whether a server can negotiate
    CODE_CANCEL = 80877102,
    CODE_SSL = 80877103,
    CODE_GSSENC = 80877104,
};

static const uint32_t codes[] = { CODE_SSL,    CODE_V3, CODE_GSSENC,           CODE_CANCEL, CODE_V3 | MINOR_MAX,
                                  CODE_V3 | 1, CODE_V2, CODE_V3 | MINOR_GREASE };

static bool is_startup(uint32_t code)
{
    return code >> 16 == 3 && ((code & 0xffff) <= MINOR_MAX || (code & 0xffff) == MINOR_GREASE);
}

static bool is_code(uint32_t code)
{
    return is_startup(code) || (code >= CODE_CANCEL && code <= CODE_GSSENC) || code == CODE_V2;
}

static bool is_length(uint32_t code, uint32_t len)
{
    if (code == CODE_SSL || code == CODE_GSSENC)
        return len == HEADER;
    if (code == CODE_CANCEL)
        return len >= CANCEL_MIN && len <= CANCEL_MAX;
    if (code == CODE_V2)
        return len == V2_LEN;
    return len >= STARTUP_MIN && len <= STARTUP_MAX;
}

// Less than a header: whether any code and length start like this
static RX_COLD enum rx_verdict short_input(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    uint8_t whole[HEADER] = { 0 };
    if (n)
        memcpy(whole, p, n);
    uint32_t len = wire_be32(whole), code = wire_be32(whole + 4);
    if (len > STARTUP_MAX)
        return wire_no(f);
    if (n < 4)
        return wire_more(f, 0);
    uint32_t known = n > 4 ? ~(uint32_t)0 << 8 * (HEADER - n) : 0;
    for (uint32_t i = 0; i < RX_COUNT(codes); i++)
        if (is_length(codes[i], len) && (codes[i] & known) == code)
            return wire_more(f, 0);
    return wire_no(f);
}

static bool is_name_byte(uint8_t c)
{
    return wire_is_alpha(c) || wire_is_digit(c) || c == '_' || c == '.';
}

// The parameter "user" among those that are here
static enum rx_verdict find_user(const uint8_t *p, uint32_t n, uint32_t len, struct rx_facts *f)
{
    uint32_t at = HEADER, most = RX_MIN(n, len);
    while (at < most && p[at] != 0) {
        const uint8_t *name_end = memchr(p + at, 0, most - at);
        uint32_t value = name_end ? (uint32_t)(name_end - p) + 1 : most;
        const uint8_t *value_end = value < most ? memchr(p + value, 0, most - value) : NULL;
        if (!value_end) {
            at = most;
            break;
        }
        uint32_t end = (uint32_t)(value_end - p);
        if (value - at == sizeof "user" && memcmp(p + at, "user", 4) == 0) {
            f->user = (struct rx_text){ p + value, end - value };
            return wire_match(f, end > value ? RX_FACT_USER : 0);
        }
        at = end + 1;
    }
    return at >= most && n < len ? wire_pending(f, 0, RX_FACT_USER, 0) : wire_match(f, 0);
}

static enum rx_verdict find_user_v2(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    uint32_t most = RX_MIN(n, (uint32_t)V2_USER + V2_USER_MAX), end = V2_USER;
    while (end < most && p[end] != 0)
        end++;
    if (end >= n && n < V2_USER + V2_USER_MAX)
        return wire_pending(f, 0, RX_FACT_USER, n <= V2_USER ? V2_USER + 1 : 0);
    f->user = (struct rx_text){ p + V2_USER, end - V2_USER };
    return wire_match(f, end > V2_USER ? RX_FACT_USER : 0);
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    if (RX_UNLIKELY(n < HEADER))
        return short_input(p, n, f);
    uint32_t len = wire_be32(p), code = wire_be32(p + 4);
    if (!is_code(code))
        return wire_no(f);
    if (!is_length(code, len))
        return wire_broken(f);
    if (code == CODE_V2 && f->want & RX_FACT_USER)
        return find_user_v2(p, n, f);
    if (!is_startup(code))
        return wire_match(f, 0);
    uint32_t here = RX_MIN(n - HEADER, (uint32_t)FIRST_NAME);
    for (uint32_t i = 0; i < here; i++)
        if (!is_name_byte(p[HEADER + i]))
            return wire_no(f);
    if (here < FIRST_NAME)
        return wire_more(f, 0);
    return f->want & RX_FACT_USER ? find_user(p, n, len, f) : wire_match(f, 0);
}

const struct rx_proto rx_proto_postgres = {
    .name = "postgres",
    .transport = RX_TCP,
    .identify = identify,
    .first = "\x00\x00",
    .first_len = 2,
    .facts = RX_FACT_USER,
};
