// SPDX-License-Identifier: MIT
// Enters: the first datagram of a UDP flow. Leaves: whether it is an RTP or RTCP packet (RFC 3550).
//
// RTP has no magic number, so this is as strict as its header allows: version 2, a payload type in use (RFC 3551 6), a
// payload, contributing sources, extension and padding that fit. RTCP: a chain of packets of known types that fills the
// datagram, beginning with a report.
//
// Deliberately not done: telling RTP from noise that happens to fit, one datagram in some dozens; routes of other
// protocols belong before it.
#include "list.h"
#include "wire.h"

enum { HEADER = 12, RTCP_MIN = 8, SENDER_REPORT = 200, RECEIVER_REPORT = 201, RTCP_LAST = 211 };

static bool is_rtcp(const uint8_t *p, uint32_t n)
{
    if (n < RTCP_MIN || (p[1] != SENDER_REPORT && p[1] != RECEIVER_REPORT))
        return false;
    for (uint32_t at = 0; at < n;) {
        if (n - at < 4 || p[at] >> 6 != 2 || p[at + 1] < SENDER_REPORT - 8 || p[at + 1] > RTCP_LAST)
            return false;
        uint32_t len = 4 * (wire_be16(p + at + 2) + 1);
        if (len > n - at)
            return false;
        at += len;
    }
    return true;
}

// 0 to 34 are assigned or historic, 96 to 127 are agreed upon by the two ends (RFC 3551 6, RFC 5761 4)
static bool is_payload_type(uint32_t type)
{
    return type <= 34 || type >= 96;
}

static bool is_rtp(const uint8_t *p, uint32_t n)
{
    uint32_t sources = p[0] & 15, at = HEADER + 4 * sources;
    if (n <= at || !is_payload_type(p[1] & 0x7f))
        return false;
    if (p[0] & 0x10) { // a header extension (RFC 3550 5.3.1)
        if (n - at < 4)
            return false;
        uint32_t len = 4 + 4 * wire_be16(p + at + 2);
        if (len >= n - at)
            return false;
        at += len;
    }
    if (p[0] & 0x20 && (p[n - 1] == 0 || p[n - 1] > n - at))
        return false;
    // The source identifier is drawn at random, and so are the first sequence number and timestamp (RFC 3550 5.1); zeros are
    // SRT's.
    return wire_be32(p + 8) != 0 && (wire_be16(p + 2) | wire_be32(p + 4)) != 0;
}

static enum rx_verdict datagram(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    n = rx_first_gram(f, n);
    if (n < RTCP_MIN || p[0] >> 6 != 2)
        return wire_no(f);
    bool is_report = p[1] >= 192 && p[1] <= 223; // RFC 5761 4: payload types that would look like RTCP are not used
    return (is_report ? is_rtcp(p, n) : n > HEADER && is_rtp(p, n)) ? wire_match(f, 0) : wire_no(f);
}

const struct rx_proto rx_proto_rtp = {
    .name = "rtp",
    .transport = RX_UDP,
    .datagram = datagram,
    .first_udp = "\x80\xbf",
    .first_udp_len = 2,
};
