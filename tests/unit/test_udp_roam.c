// SPDX-License-Identifier: MIT
// Which datagrams tell an id, and which; every cut of them tells none and reads nothing behind its end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
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

static const enum rx_roam_kind kinds[] = { RX_ROAM_QUIC, RX_ROAM_WIREGUARD, RX_ROAM_OPENVPN };

// Of every beginning of what is there nothing behind its end is read, as sanitizers see.
static void ask_every_cut(uint32_t most)
{
    struct rx_roam_id id;
    for (uint32_t n = 0; n < most; n++) {
        uint8_t *exact = malloc(n ? n : 1);
        memcpy(exact, gram, n);
        for (size_t i = 0; i < RX_COUNT(kinds); i++) {
            rx_roam_told(kinds[i], exact, n, &id);
            rx_roam_introduced(kinds[i], exact, n, &id);
            for (uint32_t len = 0; len <= RX_ROAM_ID_MAX; len++)
                rx_roam_said(kinds[i], exact, n, len, &id);
        }
        free(exact);
    }
}

static void a_cut_header_tells_nothing(void **state)
{
    (void)state;
    struct rx_roam_id id;
    long_header(20, 20);
    for (uint32_t n = 0; n < 47; n++)
        assert_false(rx_roam_told(RX_ROAM_QUIC, gram, n, &id));
    assert_true(rx_roam_told(RX_ROAM_QUIC, gram, 47, &id));
    ask_every_cut(47);
    memset(gram, 0xff, sizeof gram); // lengths beyond any datagram
    assert_false(rx_roam_told(RX_ROAM_QUIC, gram, GRAM, &id));
    assert_false(rx_roam_said(RX_ROAM_QUIC, gram, GRAM, 0, &id));
    for (unsigned first = 0; first < 256; first++) {
        memset(gram, 0, sizeof gram);
        gram[0] = (uint8_t)first;
        ask_every_cut(160);
    }
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
    gram[0] = 0x1f; // the fixed bit is greased (RFC 9287)
    assert_true(rx_roam_said(RX_ROAM_QUIC, gram, 40, 18, &said));
    assert_memory_equal(&told, &said, sizeof told);
    gram[0] = 0xdf;
    assert_false(rx_roam_said(RX_ROAM_QUIC, gram, 40, 18, &said));
}

// While the handshake lasts a client's packets have long headers, which say it in full.
static void a_client_says_it_in_a_long_header(void **state)
{
    (void)state;
    struct rx_roam_id said;
    for (uint8_t len = 0; len <= 21; len++) {
        long_header(len, 4);
        bool is_said = rx_roam_said(RX_ROAM_QUIC, gram, GRAM, 0, &said);
        assert_int_equal(is_said, len >= 4 && len <= 20);
        if (is_said)
            assert_true(said.len == len && said.bytes[0] == 0xee);
        assert_false(rx_roam_said(RX_ROAM_QUIC, gram, 5u + len, 0, &said));
    }
    long_header(8, 8);
    memset(gram + 1, 0, 4);
    assert_false(rx_roam_said(RX_ROAM_QUIC, gram, GRAM, 0, &said));
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

// The server begins a handshake when the client has been silent: its index is the sender's then, the receiver's in the answer.
static void wireguard_servers_begin_handshakes_too(void **state)
{
    (void)state;
    struct rx_roam_id told, said;
    memset(gram, 0, sizeof gram);
    gram[0] = 1;
    memcpy(gram + 4, "abcd", 4);
    assert_true(rx_roam_told(RX_ROAM_WIREGUARD, gram, 148, &told));
    assert_false(rx_roam_told(RX_ROAM_WIREGUARD, gram, 147, &said));
    gram[0] = 2;
    memcpy(gram + 4, "WXYZabcd", 8);
    assert_true(rx_roam_said(RX_ROAM_WIREGUARD, gram, 92, 0, &said));
    assert_memory_equal(&told, &said, sizeof told);
    gram[0] = 3; // a cookie: the receiver's alone
    memcpy(gram + 4, "abcd", 4);
    assert_true(rx_roam_said(RX_ROAM_WIREGUARD, gram, 64, 0, &said));
    assert_memory_equal(&told, &said, sizeof told);
    assert_false(rx_roam_said(RX_ROAM_WIREGUARD, gram, 65, 0, &said));
    gram[0] = 1; // a client that begins anew is decided on
    assert_false(rx_roam_said(RX_ROAM_WIREGUARD, gram, 148, 0, &said));
}

static void openvpn_has_a_number_for_data_and_a_session_for_the_rest(void **state)
{
    (void)state;
    struct rx_roam_id told, said;
    memset(gram, 0, sizeof gram);
    memcpy(gram, "\x48\0\0\x07", 4);
    assert_true(rx_roam_told(RX_ROAM_OPENVPN, gram, 60, &told));
    gram[0] = 0x4b; // another key
    assert_true(rx_roam_said(RX_ROAM_OPENVPN, gram, 24, 0, &said));
    assert_memory_equal(&told, &said, sizeof told);
    assert_false(rx_roam_said(RX_ROAM_OPENVPN, gram, 23, 0, &said));
    memset(gram + 1, 0xff, 3); // no number yet
    assert_false(rx_roam_told(RX_ROAM_OPENVPN, gram, 60, &told));
    gram[0] = 7 << 3;
    memcpy(gram + 1, "session!", 8);
    assert_true(rx_roam_introduced(RX_ROAM_OPENVPN, gram, 54, &told));
    assert_false(rx_roam_said(RX_ROAM_OPENVPN, gram, 54, 0, &said)); // a client that begins anew is decided on
    for (uint8_t opcode = 3; opcode <= 5; opcode++) {
        gram[0] = (uint8_t)(opcode << 3);
        assert_true(rx_roam_said(RX_ROAM_OPENVPN, gram, 54, 0, &said));
        assert_memory_equal(&told, &said, sizeof told);
        assert_false(rx_roam_introduced(RX_ROAM_OPENVPN, gram, 54, &said));
    }
}

static void ids_of_different_kinds_and_addresses_differ(void **state)
{
    (void)state;
    struct rx_hash_key key = rx_hash_key_new();
    union rx_ip one, two;
    struct rx_roam_id quic = { RX_ROAM_QUIC, 4, "abcd" }, wireguard = { RX_ROAM_WIREGUARD, 4, "abcd" };
    struct rx_roam_id longer = { RX_ROAM_QUIC, 5, "abcd" };
    memset(&one, 0, sizeof one);
    memset(&two, 0, sizeof two);
    two.v4.sin_port = 1;
    uint64_t hash = rx_roam_hash(&key, &one, &quic);
    assert_true(hash == rx_roam_hash(&key, &one, &quic));
    assert_true(hash != rx_roam_hash(&key, &two, &quic) && hash != rx_roam_hash(&key, &one, &wireguard) &&
                hash != rx_roam_hash(&key, &one, &longer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_tells_its_id_in_a_long_header),
        cmocka_unit_test(a_cut_header_tells_nothing),
        cmocka_unit_test(a_client_says_it_behind_a_short_header),
        cmocka_unit_test(a_client_says_it_in_a_long_header),
        cmocka_unit_test(wireguard_tells_in_its_response_and_says_in_data),
        cmocka_unit_test(wireguard_servers_begin_handshakes_too),
        cmocka_unit_test(openvpn_has_a_number_for_data_and_a_session_for_the_rest),
        cmocka_unit_test(ids_of_different_kinds_and_addresses_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
