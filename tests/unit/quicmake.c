// SPDX-License-Identifier: MIT
#include "quicmake.h"

#include <string.h>

#include <openssl/evp.h>

static uint32_t put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return 2;
}

static uint32_t put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v);
    return 4;
}

// Always two bytes long
static uint32_t put_varint(uint8_t *p, uint32_t v)
{
    return put16(p, 0x4000 | v);
}

uint32_t quic_crypto(uint32_t offset, const uint8_t *p, uint32_t n, uint8_t *out)
{
    uint32_t at = 0;
    out[at++] = 6;
    at += put_varint(out + at, offset);
    at += put_varint(out + at, n);
    memcpy(out + at, p, n);
    return at + n;
}

uint32_t quic_hello(const char *sni, uint8_t *out)
{
    uint32_t len = (uint32_t)strlen(sni), at = 4;
    at += put16(out + at, 0x0303);
    memset(out + at, 0x5a, 32);
    at += 32;
    out[at++] = 0;
    at += put16(out + at, 2);
    at += put16(out + at, 0x1301);
    out[at++] = 1;
    out[at++] = 0;
    uint32_t extensions = at;
    at += 2;
    at += put16(out + at, 0);
    at += put16(out + at, len + 5);
    at += put16(out + at, len + 3);
    out[at++] = 0;
    at += put16(out + at, len);
    memcpy(out + at, sni, len);
    at += len;
    at += put16(out + at, 16);
    at += put16(out + at, 5);
    at += put16(out + at, 3);
    memcpy(out + at, "\x02h3", 3);
    at += 3;
    put16(out + extensions, at - extensions - 2);
    put32(out, 0x01000000 | (at - 4));
    return at;
}

uint32_t quic_initial(const struct rx_quic_version *v, const uint8_t *dcid, uint32_t dcid_len, uint32_t token_len,
                      uint32_t pn, uint32_t pn_len, const uint8_t *frames, uint32_t n, uint8_t *out)
{
    struct rx_quic_keys k;
    uint8_t mask[32], nonce[12];
    uint32_t at = 0;
    int len;
    rx_quic_keys_make(v, dcid, dcid_len, &k);
    out[at++] = (uint8_t)(0xc0 | v->type_initial << 4 | (pn_len - 1));
    at += put32(out + at, v->number);
    out[at++] = (uint8_t)dcid_len;
    memcpy(out + at, dcid, dcid_len);
    at += dcid_len;
    out[at++] = 0;
    at += put_varint(out + at, token_len);
    memset(out + at, 0x77, token_len);
    at += token_len;
    at += put_varint(out + at, pn_len + n + 16);
    uint32_t pn_at = at;
    for (uint32_t i = pn_len; i-- > 0;)
        out[at++] = (uint8_t)(pn >> 8 * i);
    memcpy(nonce, k.iv, sizeof nonce);
    for (uint32_t i = 0; i < pn_len; i++)
        nonce[11 - i] ^= (uint8_t)(pn >> 8 * i);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(c, EVP_aes_128_gcm(), NULL, k.key, nonce);
    EVP_EncryptUpdate(c, NULL, &len, out, (int)at);
    EVP_EncryptUpdate(c, out + at, &len, frames, (int)n);
    EVP_EncryptFinal_ex(c, out + at + n, &len);
    EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, out + at + n);
    EVP_CIPHER_CTX_reset(c);
    EVP_EncryptInit_ex(c, EVP_aes_128_ecb(), NULL, k.hp, NULL);
    EVP_EncryptUpdate(c, mask, &len, out + pn_at + 4, 16);
    EVP_CIPHER_CTX_free(c);
    out[0] ^= mask[0] & 0x0f;
    for (uint32_t i = 0; i < pn_len; i++)
        out[pn_at + i] ^= mask[1 + i];
    return at + n + 16;
}
