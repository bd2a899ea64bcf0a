// SPDX-License-Identifier: MIT
// Enters: nothing. Leaves: that CoAP is told by its header, options and settings message, as RFC 7252 and 8323 have them.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "identcheck.h"
#include "proto/list.h"

struct sample {
    enum rx_verdict expect;
    const char *bytes;
    uint32_t n;
};

#define S(expect, literal) { expect, literal, sizeof literal - 1 }

static void options_of_a_request_must_make_sense(void **state)
{
    static const struct sample samples[] = {
        S(RX_MATCH, "\x40\x01\x12\x34"),                                  // GET, nothing else
        S(RX_MATCH, "\x40\x00\x12\x34"),                                  // are you there
        S(RX_NO, "\x40\x00\x12\x34\x00"),                                 // that has no more
        S(RX_NO, "\x50\x00\x12\x34"),                                     // and is confirmable
        S(RX_MATCH, "\x52\x07\x12\x34\xaa\xbb"),                          // iPATCH, not confirmable, a token of two
        S(RX_NO, "\x42\x01\x12\x34\xaa"),                                 // a token cut short
        S(RX_NO, "\x49\x01\x12\x34\x00\x00\x00\x00\x00\x00\x00\x00\x00"), // a token of nine
        S(RX_NO, "\x40\x08\x12\x34"),                                     // no such method
        S(RX_NO, "\x60\x01\x12\x34"),                                     // an acknowledgement asks nothing
        S(RX_NO, "\x80\x01\x12\x34"),                                     // version 2
        S(RX_MATCH, "\x40\x01\x12\x34\xb1" "a"),                          // a path
        S(RX_NO, "\x40\x01\x12\x34\xb2" "a"),                             // longer than what is there
        S(RX_MATCH, "\x40\x01\x12\x34\xbd\x00" "abcdefghijklm"),          // a length of 13 in one more byte
        S(RX_NO, "\x40\x01\x12\x34\xbd"),                                 // which is not there
        S(RX_NO, "\x40\x01\x12\x34\xbe\x00"),                             // nor the second of two
        S(RX_NO, "\x40\x01\x12\x34\xbf"),                                 // 15 is reserved
        S(RX_NO, "\x40\x01\x12\x34\xf0"),                                 // for numbers, too
        S(RX_MATCH, "\x40\x01\x12\x34\xd0\x00"),                          // number 13
        S(RX_MATCH, "\x40\x01\x12\x34\xe0\x01\x00"),                      // number 525
        S(RX_NO, "\x40\x01\x12\x34\xe0\xff\xff"),                         // above those that may be used
        S(RX_NO, "\x40\x01\x12\x34\x00"),                                 // there is no number 0
        S(RX_MATCH, "\x40\x01\x12\x34\xff" "a"),                          // a payload
        S(RX_NO, "\x40\x01\x12\x34\xff"),                                 // a marker without one
        S(RX_NO, "\x40\x01\x12"),
    };
    (void)state;
    for (unsigned i = 0; i < RX_COUNT(samples); i++) {
        const struct sample *s = &samples[i];
        struct ident_result r = ident_ask_grams(&rx_proto_coap, s->bytes, &s->n, 1, UINT32_MAX);
        if (r.verdict != s->expect)
            fail_msg("sample %u: %d, wants %d", i, (int)r.verdict, (int)s->expect);
    }
    char path[4 + 3 + 300] = "\x40\x01\x12\x34\xbe\x00\x1f"; // a path of 269 + 31 bytes: 255 is the most
    const uint32_t n = sizeof path;
    assert_int_equal(ident_ask_grams(&rx_proto_coap, path, &n, 1, UINT32_MAX).verdict, RX_NO);
    path[4] = '\xae'; // of number 10 it is none of our business
    assert_int_equal(ident_ask_grams(&rx_proto_coap, path, &n, 1, UINT32_MAX).verdict, RX_MATCH);
}

static void over_tcp_it_begins_with_its_settings(void **state)
{
    static const struct sample samples[] = {
        S(RX_MATCH, "\x20\xe1\x21\x01"),     // a small Max-Message-Size
        S(RX_MATCH, "\x10\xe1\x40"),         // Block-Wise-Transfer
        S(RX_MATCH, "\xd0\x05\xe1\x21\x01"), // a length of 18 in one more byte
        S(RX_NO, "\xd0\x15"),                // so long it is none
        S(RX_NO, "\x00\xe1"),                // without a setting it is too little
        S(RX_NO, "\xe0\x00\x00"),
        S(RX_NO, "\x21\xe1\x21\x01"), // a token
        S(RX_NO, "\x20\x01"),         // a request comes after the settings
        S(RX_NO, "\x20\xe1\x61"),
        S(RX_NO, "\x10\xe1\x21"), // longer than the message
        S(RX_MORE, ""),
        S(RX_MORE, "\xd0"),
        S(RX_MORE, "\xd0\x05"),
        S(RX_MORE, "\x20\xe1"),
    };
    (void)state;
    for (unsigned i = 0; i < RX_COUNT(samples); i++) {
        const struct sample *s = &samples[i];
        struct ident_result r = ident_ask(&rx_proto_coap, s->bytes, s->n, UINT32_MAX);
        if (r.verdict != s->expect)
            fail_msg("sample %u: %d, wants %d", i, (int)r.verdict, (int)s->expect);
        const char *broken = ident_law(&rx_proto_coap, s->bytes, s->n, UINT32_MAX, NULL);
        if (broken)
            fail_msg("%s", broken);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_of_a_request_must_make_sense),
        cmocka_unit_test(over_tcp_it_begins_with_its_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
