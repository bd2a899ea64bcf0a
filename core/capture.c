// SPDX-License-Identifier: MIT
// Enters: a capture file (libpcap reads it: pcap and pcapng). Leaves: what the client of its first TCP connection
// said before the server answered, cut as its packets came in order.
// Invariants: bytes stand where their sequence numbers say; of bytes sent twice the first counts; what comes ahead
// of its turn waits and is delivered, in one segment, with what filled the gap: as a socket would hand it out.
// Not done: IP fragments, tunnels, and flows whose first 1 MiB is not enough.
#include "input.h"

#include <errno.h>
#include <arpa/inet.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 1 << 20, FLAG_SYN = 2, FLAG_ACK = 16 };

struct packet {
    union rx_ip from, to; // with ports
    uint32_t seq;
    uint8_t flags;
    const uint8_t *payload;
    uint32_t len;      // bytes captured
    bool is_truncated; // and the wire had more
};

struct flow {
    struct rx_input *in;
    bool is_open, is_over;
    uint32_t base;   // sequence number of the client's first byte
    uint8_t *window; // owned: WINDOW bytes
    uint8_t *have;   // owned: one for each byte of `window`
    uint32_t end;    // bytes that came, gaps included
    uint32_t done;   // bytes delivered
};

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)be16(p) << 16 | be16(p + 2);
}

// ---- from frame to TCP segment ----------------------------------------------------------------------------

// Ethernet with any number of VLAN tags: the offset of what it carries.
static size_t after_ethernet(const uint8_t *p, size_t n)
{
    size_t at = 12;
    while (at + 4 <= n && (be16(p + at) == 0x8100 || be16(p + at) == 0x88a8 || be16(p + at) == 0x9100))
        at += 4;
    return at + 2;
}

// Where the IP header stands; past the end when the frame has none.
static size_t ip_offset(int link, const uint8_t *p, size_t n)
{
    switch (link) {
    case DLT_EN10MB:
        return after_ethernet(p, n);
    case DLT_RAW:
    case DLT_IPV4:
    case DLT_IPV6:
        return 0;
    case DLT_NULL:
    case DLT_LOOP:
        return 4;
    case DLT_LINUX_SLL:
        return 16;
    case DLT_LINUX_SLL2:
        return 20;
    default:
        return SIZE_MAX;
    }
}

// TCP header and payload; `wire` is how long the segment was before it was captured.
static bool read_tcp(const uint8_t *p, size_t n, size_t wire, struct packet *out)
{
    if (n < 20)
        return false;
    size_t header = (size_t)(p[12] >> 4) * 4;
    if (header < 20 || header > n || header > wire)
        return false;
    uint16_t from = htons(be16(p)), to = htons(be16(p + 2));
    if (out->from.sa.sa_family == AF_INET)
        out->from.v4.sin_port = from, out->to.v4.sin_port = to;
    else
        out->from.v6.sin6_port = from, out->to.v6.sin6_port = to;
    out->seq = be32(p + 4);
    out->flags = p[13];
    out->payload = p + header;
    out->len = (uint32_t)(RX_MIN(n, wire) - header);
    out->is_truncated = wire > n;
    return true;
}

static bool read_v4(const uint8_t *p, size_t n, struct packet *out)
{
    size_t header = (size_t)(p[0] & 15) * 4, total = n >= 20 ? be16(p + 2) : 0;
    if (n < 20 || header < 20 || header > n || p[9] != IPPROTO_TCP || (be16(p + 6) & 0x3fff))
        return false;
    if (!total) // segmentation offload leaves the length to the card
        total = n;
    if (total < header)
        return false;
    out->from.v4.sin_family = out->to.v4.sin_family = AF_INET;
    memcpy(&out->from.v4.sin_addr, p + 12, 4);
    memcpy(&out->to.v4.sin_addr, p + 16, 4);
    return read_tcp(p + header, RX_MIN(n, total) - header, total - header, out);
}

static bool read_v6(const uint8_t *p, size_t n, struct packet *out)
{
    size_t at = 40, total = n >= 40 && be16(p + 4) ? 40u + be16(p + 4) : n;
    if (n < 40)
        return false;
    uint8_t next = p[6];
    while (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS) {
        if (at + 8 > n)
            return false;
        next = p[at];
        at += 8u + 8u * p[at + 1];
    }
    if (next != IPPROTO_TCP || at > n || at > total)
        return false;
    out->from.v6.sin6_family = out->to.v6.sin6_family = AF_INET6;
    memcpy(&out->from.v6.sin6_addr, p + 8, 16);
    memcpy(&out->to.v6.sin6_addr, p + 24, 16);
    return read_tcp(p + at, RX_MIN(n, total) - at, total - at, out);
}

static bool read_packet(int link, const uint8_t *p, size_t n, struct packet *out)
{
    size_t at = ip_offset(link, p, n);
    memset(out, 0, sizeof *out); // unions too, to the last byte: addresses are compared
    if (at >= n)
        return false;
    if (p[at] >> 4 == 4)
        return read_v4(p + at, n - at, out);
    return p[at] >> 4 == 6 && read_v6(p + at, n - at, out);
}

// ---- from TCP segments to what a socket would have given ----------------------------------------------------

// Which end is the client? Who sends the first SYN; in a capture that begins later, the end with the higher port.
static void open_flow(struct flow *f, const struct packet *k)
{
    bool is_syn = k->flags & FLAG_SYN, is_ack = k->flags & FLAG_ACK;
    if (!is_syn && !k->len)
        return;
    bool is_from_server = is_syn ? is_ack : rx_addr_port(&k->from.sa) < rx_addr_port(&k->to.sa);
    f->in->client = is_from_server ? k->to : k->from;
    f->in->server = is_from_server ? k->from : k->to;
    f->is_open = true;
    f->base = k->seq + is_syn;
    if (is_from_server) // the client's numbers are still unknown: its next segment tells
        f->base = 0, f->end = UINT32_MAX;
}

static int deliver(struct flow *f)
{
    uint32_t from = f->done;
    while (f->done < f->end && f->have[f->done])
        f->done++;
    if (f->done == from)
        return 0;
    return rx_input_append(f->in, f->window + from, f->done - from) || rx_input_cut(f->in);
}

static int from_client(struct flow *f, const struct packet *k)
{
    if (f->end == UINT32_MAX) {
        f->base = k->seq + !!(k->flags & FLAG_SYN);
        f->end = 0;
    }
    uint32_t at = k->seq + !!(k->flags & FLAG_SYN) - f->base, len = k->len, skip = 0;
    if (at > UINT32_MAX / 2) { // begins before the first byte
        skip = 0u - at;
        at = 0;
    }
    if (skip >= len || at >= WINDOW)
        return 0;
    len = RX_MIN(len - skip, WINDOW - at);
    for (uint32_t i = 0; i < len; i++)
        if (!f->have[at + i]) {
            f->have[at + i] = 1;
            f->window[at + i] = k->payload[skip + i];
        }
    f->end = RX_MAX(f->end, at + len);
    f->in->has_gap |= k->is_truncated;
    return deliver(f);
}

static int take(struct flow *f, const struct packet *k)
{
    if (!f->is_open)
        open_flow(f, k);
    if (!f->is_open)
        return 0;
    const struct rx_input *in = f->in;
    if (rx_addr_equal(&k->from.sa, &in->client.sa) && rx_addr_equal(&k->to.sa, &in->server.sa)) {
        if (k->flags & FLAG_SYN && !(k->flags & FLAG_ACK) && in->len)
            f->is_over = true; // the same ports again: another connection
        else
            return from_client(f, k);
    } else if (rx_addr_equal(&k->from.sa, &in->server.sa) && rx_addr_equal(&k->to.sa, &in->client.sa)) {
        if (k->len && !in->len)
            f->in->is_server_first = true;
        else if (k->len)
            f->is_over = true; // what the client says from here on answers the server
    }
    return 0;
}

// ---- the file ---------------------------------------------------------------------------------------------

static int read_all(pcap_t *pcap, struct flow *f, const char *name, char *err)
{
    struct pcap_pkthdr *header;
    const uint8_t *bytes;
    struct packet k;
    int rc = 0, link = pcap_datalink(pcap);
    if (ip_offset(link, NULL, 0) == SIZE_MAX) {
        const char *what = pcap_datalink_val_to_name(link);
        snprintf(err, RX_INPUT_ERROR, "--pcap: %.128s: link type %d %s is not understood", name, link,
                 what ? what : "");
        return -1;
    }
    while (!f->is_over && (rc = pcap_next_ex(pcap, &header, &bytes)) == 1)
        if (read_packet(link, bytes, header->caplen, &k) && take(f, &k)) {
            snprintf(err, RX_INPUT_ERROR, "out of memory");
            return -1;
        }
    if (!f->is_over && rc == PCAP_ERROR && f->in->len) {
        f->in->has_gap = true; // cut off in the middle of a packet, as an interrupted tcpdump leaves it
    } else if (!f->is_over && rc == PCAP_ERROR) {
        snprintf(err, RX_INPUT_ERROR, "--pcap: %.100s: %.120s", name, pcap_geterr(pcap));
        return -1;
    }
    if (!f->is_open) {
        snprintf(err, RX_INPUT_ERROR, "--pcap: %.128s: no TCP connection in it", name);
        return -1;
    }
    f->in->has_gap |= f->end != UINT32_MAX && f->done < f->end;
    return 0;
}

int rx_capture_read(struct rx_input *in, const char *path, char err[RX_INPUT_ERROR])
{
    char why[PCAP_ERRBUF_SIZE] = "";
    bool is_stdin = !strcmp(path, "-");
    const char *name = is_stdin ? "standard input" : path;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    if (!file) {
        snprintf(err, RX_INPUT_ERROR, "%.128s: %s", name, strerror(errno));
        return -1;
    }
    pcap_t *pcap = pcap_fopen_offline(file, why);
    if (!pcap) {
        snprintf(err, RX_INPUT_ERROR, "--pcap: %.100s: %.120s", name, why);
        if (!is_stdin)
            fclose(file);
        return -1;
    }
    struct flow f = { .in = in, .window = malloc(WINDOW), .have = calloc(1, WINDOW) };
    int rc = -1;
    if (f.window && f.have)
        rc = read_all(pcap, &f, name, err);
    else
        snprintf(err, RX_INPUT_ERROR, "out of memory");
    in->is_captured = true;
    free(f.window);
    free(f.have);
    pcap_close(pcap); // and the file with it
    return rc;
}
