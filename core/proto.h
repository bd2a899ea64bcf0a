// SPDX-License-Identifier: MIT
// The contract between an identifier (core/proto/*.c) and everything that asks one: the live path, `check`,
// `explain`, the tests and the fuzzers.
//
// An identifier is a pure function of the bytes a client sent first. It never reads past p[n - 1], never
// allocates, never keeps a pointer, and looks only at its arguments.
//
// TCP is asked through `identify`, UDP through `datagram`. A datagram is complete: MATCH and NO are final, and MORE
// means that further datagrams of the flow may tell. p then holds `n_grams` datagrams, one after another; all but
// QUIC and DTLS, whose hello may need several, look at the first alone (rx_first_gram).
//
// Law of prefixes: once it has said RX_NO or RX_MATCH for some bytes it says the same for every
// continuation of those bytes. A fact, once present, keeps its value as bytes are added. Being pure is what
// makes it resumable: nothing is remembered between calls, and `need` tells the caller when asking again
// is worth anything.
#pragma once

#include "base.h"

enum rx_verdict {
    RX_NO = 0,    // not this protocol, whatever follows
    RX_MATCH = 1, // this protocol, whatever follows
    RX_MORE = 2,  // may still become it: a proper prefix
};

enum rx_transport {
    RX_TCP = 1,
    RX_UDP = 2,
    RX_BOTH = 3,
};

// Facts an identifier can learn. X(identifier, name as users see it)
#define RX_FACT_LIST(X)                                                                                              \
    X(SNI, "sni")                                                                                                    \
    X(ALPN, "alpn")                                                                                                  \
    X(ECH, "ech")                                                                                                    \
    X(HOST, "host")                                                                                                  \
    X(PATH, "path")                                                                                                  \
    X(METHOD, "method")                                                                                              \
    X(SOFTWARE, "software")                                                                                          \
    X(QNAME, "qname")                                                                                                \
    X(QTYPE, "qtype")                                                                                                \
    X(VERSION, "version")                                                                                            \
    X(USER, "user")                                                                                                  \
    X(KEY, "key")

enum rx_fact_index {
#define X(id, name) RX_FACT_IX_##id,
    RX_FACT_LIST(X)
#undef X
        RX_FACT_COUNT
};

enum rx_fact {
#define X(id, name) RX_FACT_##id = 1u << RX_FACT_IX_##id,
    RX_FACT_LIST(X)
#undef X
};

// Named outcomes: why bytes that look like a protocol are not taken for it. Never confused with "fact absent".
#define RX_NOTE_LIST(X)                                                                                              \
    X(NONE, "none")                                                                                                  \
    X(TLS_INVALID, "tls_invalid")     /* a ClientHello that breaks its own lengths or RFC 8446/6066 rules */         \
    X(TLS_OVERSIZE, "tls_oversize")   /* a ClientHello longer than may be peeked */                                  \
    X(HTTP_INVALID, "http_invalid")   /* a request line that is HTTP but broken */                                   \
    X(HTTP_OVERSIZE, "http_oversize") /* a request head longer than may be peeked */                                 \
    X(PROTO_INVALID, "proto_invalid") /* any other protocol, broken */

enum rx_note {
#define X(id, name) RX_NOTE_##id,
    RX_NOTE_LIST(X)
#undef X
        RX_NOTE_COUNT
};

// Borrowed bytes: they point into the input or into `scratch` and live as long as those.
struct rx_text {
    const uint8_t *ptr;
    uint32_t len;
};

struct rx_known;
struct rx_script;

enum { RX_SCRATCH_SIZE = 32 * 1024 };

struct rx_facts {
    // in, set by the caller
    uint32_t want;                // facts some route asks for; an identifier may skip the work for the others
    uint8_t *scratch;             // RX_SCRATCH_SIZE bytes for joining what records split; borrowed
    const struct rx_known *known; // what is asked for; only declared protocols look
    struct rx_script *script;     // runs the functions of the config; only those that have one look
    const uint32_t *gram_len;     // UDP: the length of each datagram in p; borrowed
    uint32_t n_grams;             // TCP: 0, or not looked at

    // out; an identifier sets all five whenever it returns RX_MATCH, the last two also with RX_MORE, `note` always
    uint32_t have;    // facts below that are present
    uint32_t pending; // wanted facts that more bytes may still bring (0: what is absent stays absent)
    uint32_t need;    // nothing can change before this many bytes are there; 0: ask again at n + 1
    uint8_t note;     // enum rx_note: with RX_NO, why

    // valid only where the bit in `have` is set; names are as sent (case kept), a port is not part of `host`
    uint8_t ech;      // 1: the hello carries encrypted_client_hello (an outer hello, or GREASE)
    uint16_t version; // TLS: highest offered, 0x0304; HTTP: 0x0101 = 1.1, 0x0200 = h2c preface; SSH: 0x0200
    uint16_t qtype;
    struct rx_text sni, host, path, method, software, qname, user;
    struct rx_text alpn; // the raw ProtocolNameList of RFC 7301: (length byte, name)*
    struct rx_text key;  // what a script's identify returned beside true
};

// How much of p is the flow's first datagram.
static inline uint32_t rx_first_gram(const struct rx_facts *f, uint32_t n)
{
    return f->n_grams ? f->gram_len[0] : n;
}

typedef enum rx_verdict rx_identify_fn(const uint8_t *p, uint32_t n, struct rx_facts *f);

struct rx_proto {
    const char *name;
    const char *alias; // second name users may type, or NULL
    enum rx_transport transport;
    rx_identify_fn *identify; // TCP; NULL: not there
    // What `identify` comes to when p[0] is known (and n > 0), or NULL: a quick way for those who choose by p[0].
    rx_identify_fn *(*identify_for)(uint8_t first);
    rx_identify_fn *datagram;         // UDP; NULL: not there
    const char *first;                // TCP: pairs of bytes (low, high): ranges a first byte may lie in; NULL: any
    const char *first_udp;            // the same for UDP
    uint8_t first_len, first_udp_len; // bytes in these
    bool is_server_first;             // its clients wait for a greeting: also takes the silent
    uint32_t facts;                   // facts it can learn
};

// Asks the one of the two that is for what p holds; NO where the protocol is not spoken over that transport.
enum rx_verdict rx_proto_ask(const struct rx_proto *proto, const uint8_t *p, uint32_t n, struct rx_facts *f);

// Every built-in, in the order `explain --builtin` tries them: one that could be mistaken for another comes later.
extern const struct rx_proto *const rx_protos[];
extern const unsigned rx_n_protos;

// By name or alias; NULL when there is none.
const struct rx_proto *rx_proto_find(const char *name);
const char *rx_note_name(enum rx_note note);
