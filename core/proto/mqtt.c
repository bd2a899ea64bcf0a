// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection. Leaves: whether they are an MQTT CONNECT (MQTT 3.1
// section 3.1, 3.1.1 and 5.0 section 3.1), and the protocol level as `version`: 3, 4, 5 for
// MQTT 3.1, 3.1.1, 5.0.
//
// Invariants: 10, remaining length (1 to 4 bytes, room for what is mandatory), name with its length, level,
// flags with the reserved bit clear: MATCH there. A level may carry 80, by which bridges tell that they are
// bridges (mosquitto's try_private).
//
// Deliberately not done: anything behind the flags.
#include "list.h"
#include "wire.h"

enum {
    CONNECT = 0x10,
    LENGTH_MAX = 4,
    BRIDGE = 0x80,
    RESERVED = 1,    // of the flags
    BEHIND_NAME = 6, // level, flags, keep alive, length of the client id
};

static const char name_31[] = "\x00\x06MQIsdp";
static const char name_311[] = "\x00\x04MQTT";

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    if (n > 0 && p[0] != CONNECT)
        return wire_no(f);
    uint32_t at = 1, rest = 0;
    for (;; at++) {
        if (at >= n)
            return wire_more(f, 0);
        if (at == LENGTH_MAX && p[at] & 0x80) // section 2.2.3: a fifth byte is malformed
            return wire_broken(f);
        rest |= (uint32_t)(p[at] & 0x7f) << 7 * (at - 1);
        if (!(p[at] & 0x80))
            break;
    }
    at++;
    uint32_t name_len = sizeof name_311 - 1;
    bool is_31 = n > at + 1 && p[at + 1] == 6;
    if (is_31)
        name_len = sizeof name_31 - 1;
    if (rest < name_len + BEHIND_NAME)
        return wire_no(f);
    enum rx_verdict verdict = wire_starts(p + at, n - at, is_31 ? name_31 : name_311, name_len);
    if (verdict != RX_MATCH)
        return verdict == RX_NO ? wire_no(f) : wire_more(f, 0);
    at += name_len;
    if (at == n)
        return wire_more(f, 0);
    uint8_t level = p[at] & (uint8_t)~BRIDGE;
    if (is_31 ? level != 3 : level != 4 && level != 5)
        return wire_broken(f);
    if (at + 1 == n)
        return wire_more(f, 0);
    if (p[at + 1] & RESERVED) // MQTT-3.1.2-3
        return wire_broken(f);
    f->version = level;
    return wire_match(f, RX_FACT_VERSION);
}

const struct rx_proto rx_proto_mqtt = {
    .name = "mqtt",
    .transport = RX_TCP,
    .identify = identify,
    .first = "\x10\x10",
    .first_len = 2,
    .facts = RX_FACT_VERSION,
};
