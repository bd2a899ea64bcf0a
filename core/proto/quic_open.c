// SPDX-License-Identifier: MIT
// Enters: a connection id, or a protected Initial packet. Leaves: its keys, or its plaintext (RFC 9001 5, RFC 9369 3.3).
//
// Invariants: a packet is written out only if its tag fits. All state is per thread and holds no secret: contexts of the
// library, made once because making one costs more than using it. The keys of Initial packets are public, so that
// lookups that depend on them give nothing away.
#define OPENSSL_SUPPRESS_DEPRECATED // SHA256_*: a hash without the library's fetching costs a third
#include "quic_open.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

enum { SAMPLE = 16, TAG = 16, HASH = 32, BLOCK = 64, PN_MAX = 4 };

#define TYPES_V1 0, 1, 2, 3
#define LABELS_V1 "quic key", "quic iv", "quic hp"

static const struct rx_quic_version versions[] = {
    { 0x00000001, // RFC 9001 5.2
      { 0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
        0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a },
      LABELS_V1,
      TYPES_V1 },
    { 0x6b3343cf, // RFC 9369 3.3.1
      { 0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93,
        0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9 },
      "quicv2 key",
      "quicv2 iv",
      "quicv2 hp",
      1,
      2,
      3,
      0 },
    { 0x709a50c4, // draft-ietf-quic-v2-01 to -07, which ngtcp2 0.12 speaks
      { 0xa7, 0x07, 0xc2, 0x03, 0xa5, 0x9b, 0x47, 0x18, 0x4a, 0x1d,
        0x62, 0xca, 0x57, 0x04, 0x06, 0xea, 0x7a, 0xe3, 0xe5, 0xd3 },
      "quicv2 key",
      "quicv2 iv",
      "quicv2 hp",
      1,
      2,
      3,
      0 },
    { 0xff00001d, // draft-ietf-quic-tls-29 5.2; 30 to 32 the same
      { 0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97,
        0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0, 0x43, 0x90, 0xa8, 0x99 },
      LABELS_V1,
      TYPES_V1 },
};

const struct rx_quic_version *rx_quic_version_find(uint32_t number)
{
    if (number >= 0xff00001e && number <= 0xff000020)
        number = 0xff00001d;
    if (number == 0xff000021 || number == 0xff000022) // drafts 33 and 34 are version 1 under another number
        number = 1;
    for (unsigned i = 0; i < RX_COUNT(versions); i++)
        if (versions[i].number == number)
            return &versions[i];
    return NULL;
}

// ---- HKDF with SHA-256 (RFC 5869) --------------------------------------------------------------------------------

// An HMAC key: the hash after its inner and its outer block.
struct mac {
    SHA256_CTX inner, outer;
};

static void mac_key(struct mac *m, const uint8_t *key, uint32_t len)
{
    uint8_t pad[BLOCK];
    memset(pad, 0x36, sizeof pad);
    for (uint32_t i = 0; i < len; i++)
        pad[i] ^= key[i];
    SHA256_Init(&m->inner);
    SHA256_Update(&m->inner, pad, sizeof pad);
    for (unsigned i = 0; i < sizeof pad; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&m->outer);
    SHA256_Update(&m->outer, pad, sizeof pad);
}

static void mac_of(const struct mac *m, const uint8_t *p, uint32_t n, uint8_t out[HASH])
{
    SHA256_CTX c = m->inner;
    SHA256_Update(&c, p, n);
    SHA256_Final(out, &c);
    c = m->outer;
    SHA256_Update(&c, out, HASH);
    SHA256_Final(out, &c);
}

// HKDF-Expand-Label with an empty context (RFC 8446 7.1); at most one hash long
static void expand(const struct mac *m, const char *label, uint8_t *out, uint32_t len)
{
    uint8_t info[2 + 1 + 32 + 1 + 1], hash[HASH];
    uint32_t n = (uint32_t)strlen(label);
    info[0] = 0;
    info[1] = (uint8_t)len;
    info[2] = (uint8_t)(6 + n);
    memcpy(info + 3, "tls13 ", 6);
    memcpy(info + 9, label, n);
    info[9 + n] = 0;
    info[10 + n] = 1; // the counter of HKDF-Expand
    mac_of(m, info, n + 11, hash);
    memcpy(out, hash, len);
}

int rx_quic_keys_make(const struct rx_quic_version *v, const uint8_t *dcid, uint32_t len, struct rx_quic_keys *k)
{
    struct mac m;
    uint8_t secret[HASH];
    mac_key(&m, v->salt, sizeof v->salt);
    mac_of(&m, dcid, len, secret);
    mac_key(&m, secret, sizeof secret);
    expand(&m, "client in", secret, sizeof secret);
    mac_key(&m, secret, sizeof secret);
    expand(&m, v->key_label, k->key, sizeof k->key);
    expand(&m, v->iv_label, k->iv, sizeof k->iv);
    expand(&m, v->hp_label, k->hp, sizeof k->hp);
    return 0;
}

// ---- AES ---------------------------------------------------------------------------------------------------------

struct ciphers {
    EVP_CIPHER_CTX *gcm, *ecb; // owned by the thread
};

static pthread_key_t ciphers_key;
static pthread_once_t ciphers_once = PTHREAD_ONCE_INIT;
static _Thread_local struct ciphers *ciphers;

static void ciphers_free(void *data)
{
    struct ciphers *c = data;
    EVP_CIPHER_CTX_free(c->gcm);
    EVP_CIPHER_CTX_free(c->ecb);
    free(c);
    ciphers = NULL;
}

static void ciphers_free_main(void)
{
    if (ciphers)
        ciphers_free(ciphers);
}

static void ciphers_init(void)
{
    pthread_key_create(&ciphers_key, ciphers_free);
    atexit(ciphers_free_main); // no thread destructor runs for the thread that ends the process
}

// This thread's contexts; NULL when out of memory.
static RX_COLD struct ciphers *ciphers_make(void)
{
    pthread_once(&ciphers_once, ciphers_init);
    struct ciphers *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->gcm = EVP_CIPHER_CTX_new();
    c->ecb = EVP_CIPHER_CTX_new();
    if (!c->gcm || !c->ecb || !EVP_DecryptInit_ex(c->gcm, EVP_aes_128_gcm(), NULL, NULL, NULL) ||
        !EVP_EncryptInit_ex(c->ecb, EVP_aes_128_ecb(), NULL, NULL, NULL)) {
        ciphers_free(c);
        return NULL;
    }
    pthread_setspecific(ciphers_key, c);
    return ciphers = c;
}

// RFC 9001 5.4.3
static bool mask_of(struct ciphers *c, const struct rx_quic_keys *k, const uint8_t *sample, uint8_t mask[SAMPLE])
{
    int n;
    return EVP_EncryptInit_ex(c->ecb, NULL, NULL, k->hp, NULL) &&
           EVP_EncryptUpdate(c->ecb, mask, &n, sample, SAMPLE) && n == SAMPLE;
}

bool rx_quic_open(const struct rx_quic_keys *k, const uint8_t *p, uint32_t pn_at, uint32_t end, uint8_t *out,
                  uint32_t *len)
{
    struct ciphers *c = ciphers ? ciphers : ciphers_make();
    uint8_t mask[SAMPLE], first, pn[PN_MAX], nonce[sizeof k->iv];
    if (!c || end - pn_at < PN_MAX + SAMPLE || !mask_of(c, k, p + pn_at + PN_MAX, mask))
        return false;
    first = p[0] ^ (mask[0] & 0x0f);
    uint32_t pn_len = (first & 3u) + 1;
    memcpy(nonce, k->iv, sizeof nonce);
    for (uint32_t i = 0; i < pn_len; i++) {
        pn[i] = p[pn_at + i] ^ mask[1 + i];
        // Nothing was acknowledged yet, so that the number stands there in full (RFC 9000 17.1).
        nonce[sizeof nonce - pn_len + i] ^= pn[i];
    }
    int n;
    uint32_t body = pn_at + pn_len, tag = end - TAG;
    if (!EVP_DecryptInit_ex(c->gcm, NULL, NULL, k->key, nonce) || !EVP_DecryptUpdate(c->gcm, NULL, &n, &first, 1) ||
        !EVP_DecryptUpdate(c->gcm, NULL, &n, p + 1, (int)pn_at - 1) ||
        !EVP_DecryptUpdate(c->gcm, NULL, &n, pn, (int)pn_len) ||
        !EVP_DecryptUpdate(c->gcm, out, &n, p + body, (int)(tag - body)))
        return false;
    *len = (uint32_t)n;
    uint8_t expected[TAG], rest[TAG];
    memcpy(expected, p + tag, TAG);
    return EVP_CIPHER_CTX_ctrl(c->gcm, EVP_CTRL_AEAD_SET_TAG, TAG, expected) && EVP_DecryptFinal_ex(c->gcm, rest, &n);
}
