// SPDX-License-Identifier: MIT
// QUIC behind its protection, which no mutation gets past: the input is the frames of up to eight Initial packets (two bytes
// of length and one of how to write it before each), which are protected and put into datagrams here. The law is checked
// after each datagram; then the same datagrams twice over must not tell another name.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/identcheck.h"
#include "../unit/quicmake.h"
#include "hello.h"
#include "proto/list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PACKETS = 8, FRAMES_MAX = 3000 };

static void die(const char *why)
{
    fprintf(stderr, "%s\n", why);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
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

// The CRYPTO bytes of the first packet, whatever their order.
static uint32_t gather(const uint8_t *p, size_t n, uint8_t *out)
{
    uint32_t used = 0;
    for (size_t at = 4; at + 5 < n && p[at] == 6;) { // a frame with an offset and a length of two bytes, as written below
        uint32_t offset = (uint32_t)(p[at + 1] & 63) << 8 | p[at + 2], len = (uint32_t)(p[at + 3] & 63) << 8 | p[at + 4];
        at += 5;
        if (offset + len > HELLO_MAX || len > n - at)
            break;
        memcpy(out + offset, p + at, len);
        used = RX_MAX(used, offset + len);
        at += len;
    }
    return used;
}

// One CRYPTO frame with two bytes each of offset and length; its length, 0: there is no room.
static size_t put_frame(uint8_t *out, size_t room, uint32_t offset, const uint8_t *p, uint32_t n)
{
    if (room < n + 5)
        return 0;
    const uint8_t head[] = { 6, (uint8_t)(offset >> 8 | 64), (uint8_t)offset, (uint8_t)(n >> 8 | 64), (uint8_t)n };
    memcpy(out, head, sizeof head);
    memcpy(out + 5, p, n);
    return n + 5;
}

// A hello changed as such, then cut into frames and packets: in any order, some twice, some overlapping.
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    static struct hello h;
    static uint8_t message[HELLO_MAX + 1024];
    struct hello_dice d = { seed };
    if (hello_roll(&d, 3) == 0 || max < 64)
        return LLVMFuzzerMutate(data, size, max);
    memset(message, 0, sizeof message);
    hello_read(message, gather(data, size, message), &h);
    hello_change(&h, &d);
    uint32_t n = hello_write(&h, message, &d), step = 1 + hello_roll(&d, n), n_frames = (n + step - 1) / step;
    uint32_t first = hello_roll(&d, 2) ? hello_roll(&d, n_frames) : 0;
    size_t used = 1;
    n_frames = RX_MIN(n_frames, 40u);
    data[0] = (uint8_t)hello_roll(&d, 64);
    for (uint32_t i = 0, packets = 0; i < n_frames && packets < PACKETS && used + 3 < max; packets++) {
        size_t head = used, begun = used += 3;
        uint32_t here = hello_roll(&d, 2) ? n_frames : 1 + hello_roll(&d, 4);
        for (; here && i < n_frames; here--, i++) {
            uint32_t at = (i + first) % n_frames * step;
            uint32_t back = hello_roll(&d, 4) ? 0 : hello_roll(&d, 20);
            back = RX_MIN(at, back);
            uint32_t len = at < n ? RX_MIN(step, n - at) + back : 0;
            if (used - begun + len + 5 > FRAMES_MAX - 1)
                break;
            used += put_frame(data + used, max - used, at - back, message + at - back, len);
            if (hello_roll(&d, 16) == 0 && used < max)
                data[used++] = (uint8_t)hello_roll(&d, 3); // padding, a ping, the beginning of an acknowledgement
        }
        if (used == begun)
            break;
        data[head] = (uint8_t)((used - begun) >> 8), data[head + 1] = (uint8_t)(used - begun);
        data[head + 2] = (uint8_t)(hello_roll(&d, 8) << 5 | hello_roll(&d, 8));
    }
    return used;
}
