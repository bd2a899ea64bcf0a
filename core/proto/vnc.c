// SPDX-License-Identifier: MIT
// Enters: the first bytes of a client that has been greeted. Leaves: whether they are the ProtocolVersion of
// the RFB protocol (RFC 6143 7.1.1): "RFB", a space, three digits, a dot, three digits, LF.
//
// Invariants: twelve bytes, and any version: besides 003.003, 003.007 and 003.008 there are Apple's 003.889
// and RealVNC's 004 and 005.
//
// Deliberately not done: repeaters, whose clients send "ID:…" there.
#include "list.h"
#include "wire.h"

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    static const char shape[] = "RFB 000.000\n";
    enum { LEN = sizeof shape - 1 };
    if (RX_LIKELY(n >= LEN && memcmp(p, "RFB 003.00", LEN - 2) == 0 && wire_is_digit(p[LEN - 2]) &&
                  p[LEN - 1] == '\n'))
        return wire_match(f, 0);
    uint32_t here = RX_MIN(n, (uint32_t)LEN);
    for (uint32_t i = 0; i < here; i++)
        if (shape[i] == '0' ? !wire_is_digit(p[i]) : p[i] != (uint8_t)shape[i])
            return i > 4 ? wire_broken(f) : wire_no(f);
    return here == LEN ? wire_match(f, 0) : wire_more(f, 0);
}

const struct rx_proto rx_proto_vnc = {
    .name = "vnc",
    .transport = RX_TCP,
    .identify = identify,
    .first = "RR",
    .first_len = 2,
    .is_server_first = true,
};
