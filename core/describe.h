// SPDX-License-Identifier: MIT
// What the program tells a client it answers itself: what it was taken for, in the client's own protocol.
//
// A talk is a conversation without a socket: bytes of the client go in, bytes for the client come out, and at some
// point all is said. It knows no fd and no clock; core/answer.c lends it both. Everything a client said is hostile
// until rx_log_escape has been over it.
#pragma once

#include "addr.h"
#include "proto.h"

enum {
    RX_TALK_IN = 64 * 1024,     // bytes of the client a talk keeps
    RX_TALK_HEARD = 256 * 1024, // and hears at all
    RX_TALK_PATIENCE = 3000,    // ms a talk waits for the client's next bytes
    RX_TALK_LINE = 480,         // what one line of text may have, NUL included
    RX_TOLD_VALUE = 120,
};

// ---- bytes that grow --------------------------------------------------------------------------------------------

struct rx_bytes {
    uint8_t *ptr; // owned
    uint32_t len, cap;
    bool is_short; // something did not fit: memory ran out, or RX_TALK_HEARD was reached
};

void rx_bytes_add(struct rx_bytes *b, const void *p, size_t n);
void rx_bytes_text(struct rx_bytes *b, const char *text);
void rx_bytes_print(struct rx_bytes *b, const char *fmt, ...) RX_PRINTF(2, 3); // at most 1 KB
void rx_bytes_be(struct rx_bytes *b, uint32_t value, unsigned width);          // big-endian, 1 to 4 bytes
void rx_bytes_drop(struct rx_bytes *b, uint32_t n);                            // from the front
void rx_bytes_free(struct rx_bytes *b);

// ---- what is told -----------------------------------------------------------------------------------------------

// What is known from the start. Strings are borrowed for the life of the talk.
struct rx_about {
    const struct rx_proto *def; // the built-in recognised; NULL: none
    const char *name;           // protocol's name, also of a declared one; NULL: nothing was recognised
    const char *route;          // NULL: the fallback
    const char *listener;
    char client[RX_ADDR_TEXT];
    uint32_t silent_ms; // how long the client has said nothing; 0: it has spoken, or was not waited for
    uint8_t *scratch;   // RX_SCRATCH_SIZE bytes
};

// Facts as printable text.
struct rx_told {
    uint32_t n;
    struct {
        const char *name;
        char value[RX_TOLD_VALUE];
    } fact[RX_FACT_COUNT];
};

void rx_told_set(struct rx_told *told, const struct rx_proto *def, const struct rx_facts *f);

// ---- the talk ---------------------------------------------------------------------------------------------------

struct rx_talk;
struct rx_tls;
typedef bool rx_talk_step(struct rx_talk *t); // true: all is said

struct rx_talk {
    struct rx_about about;
    struct rx_bytes in, out;
    struct rx_told told;
    struct rx_facts facts; // of `in`; its texts are valid within a step only
    rx_talk_step *step;
    uint32_t heard, patience_ms;
    uint8_t phase;               // the step's own
    bool is_ended;               // nothing more will come: say what can be said
    const struct rx_talk *outer; // inside TLS: the talk around this one; borrowed
    uint32_t h2_window;          // describe_h2.c: what the client lets one stream send
    struct rx_tls *tls;          // owned
};

// f: the facts of what was recognised, or NULL; valid for the call.
void rx_talk_init(struct rx_talk *t, const struct rx_about *about, const struct rx_facts *f);
// A talk inside another's TLS. Nothing is recognised in it yet.
void rx_talk_init_inside(struct rx_talk *t, const struct rx_talk *outer);
void rx_talk_fini(struct rx_talk *t);
// The client said this much more (0: begin without a word of it). True: all is said; t->out is the caller's to send
// and to empty either way.
bool rx_talk_hear(struct rx_talk *t, const uint8_t *p, size_t n);
// It will say no more, or not soon enough. All is said after that.
void rx_talk_end(struct rx_talk *t);

// ---- for the steps ----------------------------------------------------------------------------------------------

// Facts of what is in `in`, all of them; false while some may still come.
bool rx_talk_learn(struct rx_talk *t);
// "refractium recognised ssh (software OpenSSH_9.2p1), route ssh, listener 127.0.0.1:9090"
const char *rx_talk_line(const struct rx_talk *t, char line[RX_TALK_LINE]);
// The same for a screen.
void rx_talk_page(const struct rx_talk *t, struct rx_bytes *out);
// The step that speaks a built-in protocol; NULL when there is none.
rx_talk_step *rx_talk_step_of(const struct rx_proto *def);

bool rx_talk_dns(struct rx_talk *t);
bool rx_talk_h2(struct rx_talk *t);
bool rx_talk_tls(struct rx_talk *t);
void rx_tls_free(struct rx_tls *tls);

// The answer to one DNS message, for TCP (without the two bytes of length) and UDP alike: at most `size` bytes,
// what does not fit is left out. Returns its length; 0: this is nothing one answers.
size_t rx_describe_dns(const struct rx_about *about, const uint8_t *query, size_t n, uint8_t *out, size_t size);
