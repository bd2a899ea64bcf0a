// SPDX-License-Identifier: MIT
// Enters: the first bytes of a client that has been greeted (MySQL's server speaks first; a client that says
// nothing is taken by is_server_first). Leaves: whether they are a HandshakeResponse41 or the SSLRequest that
// is its first half (MySQL documentation, "Connection Phase Packets"), and the user.
//
//     length (3, little-endian) | sequence 1 | capabilities (4) | max packet (4) | charset (1) | filler (23) |
//     user NUL …
//
// Invariants: MATCH needs the filler: zeros, but for its last four bytes, where MariaDB's clients, which
// leave the first capability out, put their own (MariaDB documentation, "Connection"). 32 bytes are an
// SSLRequest and must say so. `user` is pending until its NUL or the end of the packet.
//
// Deliberately not done: HandshakeResponse320 of clients before 4.1, which has nothing fixed to be known by.
#include "list.h"
#include "wire.h"

enum {
    HEADER = 4,
    CAPABILITIES = HEADER,
    FILLER = HEADER + 4 + 4 + 1,
    ZEROS = 19,
    MARIADB = FILLER + ZEROS, // extended capabilities
    USER = MARIADB + 4,
    SSL_LEN = USER - HEADER,
    RESPONSE_MIN = SSL_LEN + 2, // empty user, no authentication

    // byte 0 and byte 1 of the capabilities
    CLIENT_MYSQL = 1,
    CLIENT_PROTOCOL_41 = 0x200 >> 8,
    CLIENT_SSL = 0x800 >> 8,
};

static enum rx_verdict find_user(const uint8_t *p, uint32_t n, uint32_t len, struct rx_facts *f)
{
    uint32_t end = HEADER + len, most = RX_MIN(n, end);
    const uint8_t *nul = USER < most ? memchr(p + USER, 0, most - USER) : NULL;
    if (!nul)
        return n < end ? wire_pending(f, 0, RX_FACT_USER, 0) : wire_match(f, 0);
    f->user = (struct rx_text){ p + USER, (uint32_t)(nul - p) - USER };
    return wire_match(f, f->user.len > 0 ? RX_FACT_USER : 0);
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    if (n < 3)
        return wire_more(f, 3);
    uint32_t len = (uint32_t)p[0] | (uint32_t)p[1] << 8;
    if (p[2] != 0 || len < SSL_LEN || (len > SSL_LEN && len < RESPONSE_MIN) || (n > 3 && p[3] != 1))
        return wire_no(f);
    if (n == 3)
        return wire_more(f, 0);
    if (n < CAPABILITIES + 2)
        return wire_more(f, CAPABILITIES + 2);
    if (!(p[CAPABILITIES + 1] & CLIENT_PROTOCOL_41) || (len == SSL_LEN && !(p[CAPABILITIES + 1] & CLIENT_SSL)))
        return wire_no(f);
    bool is_mysql = p[CAPABILITIES] & CLIENT_MYSQL;
    if (RX_LIKELY(n >= USER)) {
        uint64_t zeros = wire_be64(p + FILLER) | wire_be64(p + FILLER + 8) | wire_be32(p + MARIADB - 4);
        if (zeros || (is_mysql && wire_be32(p + MARIADB)))
            return wire_no(f);
    } else {
        for (uint32_t i = FILLER; i < RX_MIN(n, is_mysql ? (uint32_t)USER : (uint32_t)MARIADB); i++)
            if (p[i])
                return wire_no(f);
        return wire_more(f, n < FILLER ? FILLER + 1 : 0);
    }
    return f->want & RX_FACT_USER && len > SSL_LEN ? find_user(p, n, len, f) : wire_match(f, 0);
}

const struct rx_proto rx_proto_mysql = {
    .name = "mysql",
    .transport = RX_TCP,
    .identify = identify,
    .is_server_first = true,
    .facts = RX_FACT_USER,
};
