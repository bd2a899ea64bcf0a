// SPDX-License-Identifier: MIT
// Which datagrams tell an id, and which; every cut of them tells none and reads nothing behind its end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "udp_roam.h"

enum { GRAM = 1200 };

static uint8_t gram[GRAM];

// A long header of version 1 with ids of these lengths.
static void long_header(uint8_t dcid_len, uint8_t scid_len)
{
    memset(gram, 0xee, sizeof gram);
    gram[0] = 0xe0;
    memcpy(gram + 1, "\0\0\0\1", 4);
    gram[5] = dcid_len;
    gram[6 + dcid_len] = scid_len;
    for (uint8_t i = 0; i < scid_len; i++)
        gram[7 + dcid_len + i] = (uint8_t)(0x30 + i);
}

static void a_server_tells_its_id_in_a_long_header(void **state)
{
    (void)state;
    struct rx_roam_id id;
    for (uint8_t dcid_len = 0; dcid_len <= 20; dcid_len++)
        for (uint8_t len = 0; len <= 21; len++) {
            long_header(dcid_len, len);
            bool is_told = rx_roam_told(RX_ROAM_QUIC, gram, GRAM, &id);
            assert_int_equal(is_told, len >= 4 && len <= 20); // shorter ones many servers share
            if (!is_told)
                continue;
            assert_int_equal(id.len, len);
            assert_memory_equal(id.bytes, gram + 7 + dcid_len, len);
        }
    long_header(8, 8);
    memset(gram + 1, 0, 4); // a version negotiation repeats the client's
    assert_false(rx_roam_told(RX_ROAM_QUIC, gram, GRAM, &id));
    long_header(8, 8);
    gram[0] = 0x40;
    assert_false(rx_roam_told(RX_ROAM_QUIC, gram, GRAM, &id));
}

static void a_cut_header_tells_nothing(void **state)
{
    (void)state;
    struct rx_roam_id id;
    long_header(20, 20);
    for (uint32_t n = 0; n < 47; n++) {
        uint8_t *exact = malloc(n ? n : 1); // sanitizers see its end
        memcpy(exact, gram, n);
        assert_false(rx_roam_told(RX_ROAM_QUIC, exact, n, &id));
        assert_int_equal(rx_roam_said(RX_ROAM_QUIC, exact, n, 20, &id), false);
        assert_false(rx_roam_said(RX_ROAM_WIREGUARD, exact, n, 0, &id));
        free(exact);
    }
    assert_true(rx_roam_told(RX_ROAM_QUIC, gram, 47, &id));
    memset(gram, 0xff, sizeof gram); // lengths beyond any datagram
    assert_false(rx_roam_told(RX_ROAM_QUIC, gram, GRAM, &id));
}

static void a_client_says_it_behind_a_short_header(void **state)
{
    (void)state;
    struct rx_roam_id told, said;
    long_header(8, 18);
    assert_true(rx_roam_told(RX_ROAM_QUIC, gram, GRAM, &told));
    memmove(gram + 1, gram + 15, 18);
    gram[0] = 0x5f;
    assert_true(rx_roam_said(RX_ROAM_QUIC, gram, 40, 18, &said));
    assert_memory_equal(&told, &said, sizeof told);
    assert_true(rx_roam_said(RX_ROAM_QUIC, gram, 40, 8, &said));
    assert_memory_not_equal(&told, &said, sizeof told);
    assert_false(rx_roam_said(RX_ROAM_QUIC, gram, 20, 8, &said)); // no packet is so short
    gram[0] = 0x1f; // without the fixed bit
    assert_false(rx_roam_said(RX_ROAM_QUIC, gram, 40, 18, &said));
    gram[0] = 0xdf; // a long header: such a client is decided on
    assert_false(rx_roam_said(RX_ROAM_QUIC, gram, 40, 18, &said));
}

static void wireguard_tells_in_its_response_and_says_in_data(void **state)
{
    (void)state;
    struct rx_roam_id told, said;
    memset(gram, 0, sizeof gram);
    gram[0] = 2;
    memcpy(gram + 4, "abcdWXYZ", 8); // the sender's, the receiver's
    assert_true(rx_roam_told(RX_ROAM_WIREGUARD, gram, 92, &told));
    assert_false(rx_roam_told(RX_ROAM_WIREGUARD, gram, 91, &told));
    assert_false(rx_roam_told(RX_ROAM_WIREGUARD, gram, 93, &told));
    assert_true(rx_roam_told(RX_ROAM_WIREGUARD, gram, 92, &told));
    gram[0] = 4;
    assert_false(rx_roam_told(RX_ROAM_WIREGUARD, gram, 92, &said));
    assert_true(rx_roam_said(RX_ROAM_WIREGUARD, gram, 96, 0, &said));
    assert_memory_equal(&told, &said, sizeof told);
    assert_false(rx_roam_said(RX_ROAM_WIREGUARD, gram, 97, 0, &said));
    assert_false(rx_roam_said(RX_ROAM_WIREGUARD, gram, 16, 0, &said));
    gram[2] = 1;
    assert_false(rx_roam_said(RX_ROAM_WIREGUARD, gram, 96, 0, &said));
}

static void ids_of_different_kinds_and_sockets_differ(void **state)
{
    (void)state;
    struct rx_udp_table t;
    struct rx_roam_id quic = { RX_ROAM_QUIC, 4, "abcd" }, wireguard = { RX_ROAM_WIREGUARD, 4, "abcd" };
    struct rx_roam_id longer = { RX_ROAM_QUIC, 5, "abcd" };
    int one, two;
    assert_int_equal(rx_udp_table_init(&t), 0);
    uint64_t hash = rx_roam_hash(&t, &one, &quic);
    assert_true(hash == rx_roam_hash(&t, &one, &quic));
    assert_true(hash != rx_roam_hash(&t, &two, &quic) && hash != rx_roam_hash(&t, &one, &wireguard) &&
                hash != rx_roam_hash(&t, &one, &longer));
    rx_udp_table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_tells_its_id_in_a_long_header),
        cmocka_unit_test(a_cut_header_tells_nothing),
        cmocka_unit_test(a_client_says_it_behind_a_short_header),
        cmocka_unit_test(wireguard_tells_in_its_response_and_says_in_data),
        cmocka_unit_test(ids_of_different_kinds_and_sockets_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
