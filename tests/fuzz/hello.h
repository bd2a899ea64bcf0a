// SPDX-License-Identifier: MIT
// Mutations that keep a ClientHello a ClientHello: its extensions are added, dropped, moved, doubled and changed, its lengths
// made right again (or wrong by one, now and then), and it is cut anew into what carries it. Blind mutations hardly get
// past the first length. For LLVMFuzzerCustomMutator.
#pragma once

#include <stdlib.h>
#include <string.h>

#include "../unit/quicmake.h"

enum { HELLO_MAX = 3000, HELLO_EXTENSIONS = 24, HELLO_FIXED = 4 + 2 + 32 };

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

struct hello_dice {
    uint64_t state;
};

static uint32_t hello_roll(struct hello_dice *d, uint32_t below)
{
    d->state = d->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(d->state >> 33) % below;
}

struct hello_part {
    uint16_t type;
    uint32_t n;
    uint8_t bytes[512];
};

struct hello {
    uint8_t fixed[HELLO_FIXED];
    struct hello_part session, ciphers, methods; // without a type
    struct hello_part extensions[HELLO_EXTENSIONS];
    uint32_t n;
};

static bool hello_take(const uint8_t **p, const uint8_t *end, unsigned width, struct hello_part *out)
{
    uint32_t n = 0;
    if ((size_t)(end - *p) < width)
        return false;
    for (unsigned i = 0; i < width; i++)
        n = n << 8 | *(*p)++;
    if (n > (size_t)(end - *p) || n > sizeof out->bytes)
        return false;
    memcpy(out->bytes, *p, n);
    out->n = n;
    *p += n;
    return true;
}

// False when it is none; then one that is stands in its place.
static bool hello_parse(const uint8_t *p, uint32_t n, struct hello *h)
{
    const uint8_t *end = p + n;
    h->n = 0;
    if (n < HELLO_FIXED || p[0] != 1)
        return false;
    memcpy(h->fixed, p, HELLO_FIXED);
    p += HELLO_FIXED;
    if (!hello_take(&p, end, 1, &h->session) || !hello_take(&p, end, 2, &h->ciphers) || !hello_take(&p, end, 1, &h->methods))
        return false;
    for (p += end - p >= 2 ? 2 : end - p; end - p >= 4 && h->n < HELLO_EXTENSIONS; h->n++) {
        struct hello_part *e = &h->extensions[h->n];
        e->type = (uint16_t)(p[0] << 8 | p[1]);
        p += 2;
        if (!hello_take(&p, end, 2, e))
            break;
    }
    return true;
}

static void hello_read(const uint8_t *p, uint32_t n, struct hello *h)
{
    uint8_t fresh[512];
    if (!hello_parse(p, n, h))
        hello_parse(fresh, quic_hello("a.example.test", fresh), h);
}

static void hello_name(struct hello_part *e, struct hello_dice *d)
{
    static const char *const names[] = { "a.test", "A.TEST.", "*.test", "xn--a", "", "1.2.3.4", "a..b", "a_b" };
    const char *name = names[hello_roll(d, sizeof names / sizeof *names)];
    uint32_t n = (uint32_t)strlen(name);
    e->type = 0; // RFC 6066 3: server_name
    e->bytes[0] = (uint8_t)((n + 3) >> 8), e->bytes[1] = (uint8_t)(n + 3);
    e->bytes[2] = hello_roll(d, 8) ? 0 : (uint8_t)hello_roll(d, 256);
    e->bytes[3] = (uint8_t)(n >> 8), e->bytes[4] = (uint8_t)n;
    memcpy(e->bytes + 5, name, n);
    e->n = n + 5;
}

static void hello_change(struct hello *h, struct hello_dice *d)
{
    static const uint16_t types[] = { 0, 16, 43, 0xfe0d, 21, 51, 13, 41, 0x0a0a };
    struct hello_part *e = h->n ? &h->extensions[hello_roll(d, h->n)] : NULL;
    struct hello_part *more = h->n < HELLO_EXTENSIONS ? &h->extensions[h->n] : NULL;
    switch (hello_roll(d, 8)) {
    case 0:
        if (more && e)
            *more = *e, h->n++; // twice
        return;
    case 1:
        if (e)
            *e = h->extensions[--h->n]; // gone
        return;
    case 2:
        if (e) { // elsewhere
            struct hello_part *other = &h->extensions[hello_roll(d, h->n)], kept = *other;
            *other = *e, *e = kept;
        }
        return;
    case 3:
        if (more)
            hello_name(more, d), h->n++;
        return;
    case 4:
        if (e)
            e->type = types[hello_roll(d, sizeof types / sizeof *types)];
        return;
    case 5:
        h->session.n = hello_roll(d, 34);
        return;
    case 6:
        h->ciphers.n = hello_roll(d, 64);
        return;
    default:
        if (e)
            e->n = (uint32_t)LLVMFuzzerMutate(e->bytes, e->n, sizeof e->bytes);
        return;
    }
}

static uint32_t hello_put(uint8_t *out, uint32_t at, unsigned width, const struct hello_part *part, struct hello_dice *d)
{
    uint32_t n = part->n + (hello_roll(d, 64) ? 0 : hello_roll(d, 3) - 1); // wrong by one, now and then
    for (unsigned i = 0; i < width; i++)
        out[at + i] = (uint8_t)(n >> 8 * (width - 1 - i));
    memcpy(out + at + width, part->bytes, part->n);
    return at + width + part->n;
}

// The handshake message; `out` has room for HELLO_MAX bytes.
static uint32_t hello_write(const struct hello *h, uint8_t *out, struct hello_dice *d)
{
    memcpy(out, h->fixed, HELLO_FIXED);
    uint32_t at = hello_put(out, HELLO_FIXED, 1, &h->session, d);
    at = hello_put(out, at, 2, &h->ciphers, d);
    at = hello_put(out, at, 1, &h->methods, d);
    uint32_t list = at;
    at += 2;
    for (uint32_t i = 0; i < h->n && at + 4 + h->extensions[i].n <= HELLO_MAX; i++) {
        out[at] = (uint8_t)(h->extensions[i].type >> 8), out[at + 1] = (uint8_t)h->extensions[i].type;
        at = hello_put(out, at + 2, 2, &h->extensions[i], d);
    }
    out[list] = (uint8_t)((at - list - 2) >> 8), out[list + 1] = (uint8_t)(at - list - 2);
    out[1] = 0, out[2] = (uint8_t)((at - 4) >> 8), out[3] = (uint8_t)(at - 4);
    return at;
}
