// SPDX-License-Identifier: MIT
// QUIC behind its protection, which no mutation gets past: the input is the frames of up to eight Initial packets (two bytes
// of length and one of how to write it before each), which are protected and put into datagrams here. The law is checked
// after each datagram; then the same datagrams twice over must not tell another name.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/identcheck.h"
#include "../unit/quicmake.h"
#include "proto/list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *why)
{
    fprintf(stderr, "%s\n", why);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { PACKETS = 8, FRAMES_MAX = 3000 };
    static const uint8_t dcid[20] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
    static const uint32_t numbers[] = { 1, 0x6b3343cf, 0x709a50c4, 0xff00001d };
    static uint8_t grams[2 * PACKETS * (FRAMES_MAX + 256)];
    uint32_t len[2 * PACKETS], n = 0, used = 0;
    if (size < 1)
        return 0;
    const struct rx_quic_version *v = rx_quic_version_find(numbers[data[0] & 3]);
    uint32_t dcid_len = data[0] >> 2 & 15;
    for (size_t at = 1; at + 3 <= size && n < PACKETS;) {
        uint32_t n_frames = (uint32_t)RX_MIN(((size_t)data[at] << 8 | data[at + 1]) % FRAMES_MAX, size - at - 3);
        uint8_t how = data[at + 2];
        uint32_t made =
            quic_initial(v, dcid, dcid_len, how >> 5, how, (how & 3u) + 1, data + at + 3, n_frames, grams + used);
        used += made;
        if (n && how & 4) // in the datagram of the packet before
            len[n - 1] += made;
        else
            len[n++] = made;
        at += 3 + n_frames;
    }
    if (!n)
        return 0;
    struct ident_result once, twice;
    const char *broken = ident_law_grams(&rx_proto_quic, grams, len, n, UINT32_MAX, &once);
    if (broken)
        die(broken);
    char name[256] = "";
    bool has = once.verdict == RX_MATCH && once.f.have & RX_FACT_SNI;
    if (has)
        snprintf(name, sizeof name, "%.*s", (int)once.f.sni.len, (const char *)once.f.sni.ptr);
    memmove(grams + used, grams, used);
    memcpy(len + n, len, n * sizeof *len);
    broken = ident_law_grams(&rx_proto_quic, grams, len, 2 * n, UINT32_MAX, &twice);
    if (broken)
        die(broken);
    if (twice.verdict != once.verdict)
        die("said twice, it is something else");
    if (has && (twice.f.sni.len > 255 || strncmp(name, (const char *)twice.f.sni.ptr, twice.f.sni.len)))
        die("said twice, it has another name");
    return 0;
}
