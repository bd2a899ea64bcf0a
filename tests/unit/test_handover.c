// SPDX-License-Identifier: MIT
// Enters: connections as one process tells them. Leaves: that the other reads the same, and believes nothing that is cut,
// changed, or refers to what is not there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handover.h"
#include "upgrade_wire.h"
#include "wheel.h"

static struct rx_text text(const char *s)
{
    return (struct rx_text){ (const uint8_t *)s, (uint32_t)strlen(s) };
}

static struct rx_handed make(enum rx_handed_kind kind)
{
    struct rx_handed h = { .kind = (uint8_t)kind,
                           .to_kind = 1,
                           .flags = RX_HANDED_HAS_ROUTE | RX_HANDED_HAS_PROXIED,
                           .id = 0x1234,
                           .start_ms = 5,
                           .active_ms = 6,
                           .to_port = 443,
                           .listen = text("0.0.0.0:443"),
                           .route = text("web"),
                           .seen = text("tls"),
                           .pool = text("pool"),
                           .backend = text("10.0.0.1:80"),
                           .told = text("sni=a.test"),
                           .seat = text("alice"),
                           .route_nth = 2,
                           .fds = { -1, -1 },
                           .dir = { { .pipe = { -1, -1 } }, { .pipe = { -1, -1 } } },
                           .proxy_version = 2,
                           .tlvs = text("tlvs") };
    h.client.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = 7, .sin_addr.s_addr = 9 };
    h.to.v4 = h.client.v4;
    h.to.len = sizeof h.to.v4;
    if (kind != RX_HANDED_UDP)
        h.fds[0] = 0;
    if (kind == RX_HANDED_WELD) {
        h.fds[1] = 1;
        h.dir[0] = (struct rx_handed_dir){ RX_HANDED_EOF, 100, text("left over"), 0, { -1, -1 } };
        h.dir[1] = (struct rx_handed_dir){ RX_HANDED_SPLICED, 1ull << 40, { 0 }, 65536, { 2, 3 } };
    } else {
        h.head = text("firstsecond");
    }
    return h;
}

static void make_udp(struct rx_handed *h, const uint32_t grams[2])
{
    *h = make(RX_HANDED_UDP);
    h->at = h->to;
    h->slot = 3;
    h->preface = text("PROXY");
    h->grams = (struct rx_text){ (const uint8_t *)grams, 2 * sizeof *grams };
}

static bool same(const struct rx_text *a, const struct rx_text *b)
{
    return a->len == b->len && (!a->len || !memcmp(a->ptr, b->ptr, a->len));
}

static void read_back(const struct rx_handover *o, const struct rx_handed *h)
{
    struct rx_handover_reader r;
    struct rx_handed got;
    assert_int_equal(rx_handover_open(&r, o->bytes, o->len, 4), 0);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.last_id, 77);
    assert_int_equal(rx_handover_next(&r, &got), 1);
    assert_int_equal(got.kind, h->kind);
    assert_int_equal(got.id, h->id);
    assert_true(same(&got.listen, &h->listen) && same(&got.route, &h->route) && same(&got.seat, &h->seat));
    assert_true(same(&got.told, &h->told) && same(&got.head, &h->head) && same(&got.tlvs, &h->tlvs));
    assert_memory_equal(&got.client, &h->client, sizeof got.client);
    assert_memory_equal(got.fds, h->fds, sizeof got.fds);
    for (int d = 0; d < 2; d++) {
        assert_true(same(&got.dir[d].rest, &h->dir[d].rest));
        assert_int_equal(got.dir[d].bytes, h->dir[d].bytes);
        assert_int_equal(got.dir[d].in_pipe, h->dir[d].in_pipe);
        assert_int_equal(got.dir[d].flags, h->dir[d].flags);
    }
    assert_true(same(&got.grams, &h->grams) && same(&got.preface, &h->preface));
    assert_int_equal(got.slot, h->slot);
    assert_int_equal(rx_handover_next(&r, &got), 0);
}

static void each_kind_is_read_as_it_was_written(void **state)
{
    (void)state;
    const uint32_t grams[2] = { 5, 6 };
    for (int kind = 0; kind < RX_HANDED_KINDS; kind++) {
        struct rx_handover o = { 0 };
        struct rx_handed h = make((enum rx_handed_kind)kind);
        if (kind == RX_HANDED_UDP)
            make_udp(&h, grams);
        assert_int_equal(rx_handover_begin(&o, 77), 0);
        assert_int_equal(rx_handover_add(&o, &h), 0);
        read_back(&o, &h);
        rx_handover_fini(&o);
    }
}

static bool is_believed(struct rx_handed *h, unsigned n_fds)
{
    struct rx_handover o = { 0 };
    struct rx_handover_reader r;
    struct rx_handed got;
    assert_int_equal(rx_handover_begin(&o, 0), 0);
    assert_int_equal(rx_handover_add(&o, h), 0);
    assert_int_equal(rx_handover_open(&r, o.bytes, o.len, n_fds), 0);
    int rc = rx_handover_next(&r, &got);
    rx_handover_fini(&o);
    assert_true(rc == 1 || rc == -EPROTO);
    return rc == 1;
}

static void what_refers_to_nothing_is_not_believed(void **state)
{
    (void)state;
    uint32_t grams[2] = { 5, 6 };
    struct rx_handed h = make(RX_HANDED_WELD);
    assert_true(is_believed(&h, 4));
    assert_false(is_believed(&h, 3)); // a pipe's end is missing
    h.fds[1] = -1;
    assert_false(is_believed(&h, 4));
    h = make(RX_HANDED_WELD);
    h.dir[1].pipe[1] = -1;
    assert_false(is_believed(&h, 4));
    h = make(RX_HANDED_WELD);
    h.dir[1].in_pipe = 0;
    assert_false(is_believed(&h, 4));
    h = make(RX_HANDED_WELD);
    h.client.sa.sa_family = AF_UNIX;
    assert_false(is_believed(&h, 4));
    h = make(RX_HANDED_WELD);
    h.to.len = sizeof h.to.v6;
    assert_false(is_believed(&h, 4));
    h = make(RX_HANDED_WELD);
    h.route = (struct rx_text){ (const uint8_t *)"we\0b", 4 };
    assert_false(is_believed(&h, 4));
    make_udp(&h, grams);
    assert_true(is_believed(&h, 0));
    grams[1] = 7; // more than there are bytes
    assert_false(is_believed(&h, 0));
    h.kind = RX_HANDED_KINDS;
    assert_false(is_believed(&h, 4));
}

static void cut_anywhere_it_is_refused_and_nothing_beyond_is_read(void **state)
{
    (void)state;
    struct rx_handover o = { 0 };
    struct rx_handed h = make(RX_HANDED_WELD), got;
    rx_handover_begin(&o, 0);
    size_t header = o.len;
    rx_handover_add(&o, &h);
    for (size_t len = 0; len < o.len; len++) {
        struct rx_handover_reader r;
        uint8_t *copy = malloc(len ? len : 1);
        memcpy(copy, o.bytes, len);
        if (len < header)
            assert_int_equal(rx_handover_open(&r, copy, len, 4), -EPROTO);
        else if (rx_handover_open(&r, copy, len, 4) == 0)
            assert_int_equal(rx_handover_next(&r, &got), len == header ? 0 : -EPROTO);
        free(copy);
    }
    o.bytes[0]++; // another version
    struct rx_handover_reader r;
    assert_int_equal(rx_handover_open(&r, o.bytes, o.len, 4), -EPROTO);
    rx_handover_fini(&o);
}

static void messages_carry_descriptors_and_end_with_their_sender(void **state)
{
    (void)state;
    int pair[2], fds[RX_UPGRADE_FDS], memory;
    unsigned n;
    struct rx_upgrade_msg m = { .kind = RX_UPGRADE_FLOWS, .c = 5 }, got;
    assert_int_equal(rx_upgrade_pair(pair), 0);
    assert_int_equal(rx_upgrade_recv(pair[1], &got, fds, &n, rx_now_ms() + 20), -ETIMEDOUT);
    assert_true((memory = rx_upgrade_memory("flows", 5)) >= 0);
    assert_int_equal(rx_upgrade_send(pair[0], &m, &memory, 1, rx_now_ms() + 1000), 0);
    close(memory);
    assert_int_equal(rx_upgrade_recv(pair[1], &got, fds, &n, rx_now_ms() + 1000), 1);
    assert_int_equal(got.kind, RX_UPGRADE_FLOWS);
    assert_int_equal(n, 1);
    uint8_t *bytes = rx_upgrade_recall(fds[0], 5);
    assert_memory_equal(bytes, "flows", 5);
    free(bytes);
    assert_null(rx_upgrade_recall(fds[0], 6));
    close(fds[0]);
    assert_int_equal(write(pair[0], "?", 1), 1);
    assert_int_equal(rx_upgrade_recv(pair[1], &got, fds, &n, rx_now_ms() + 1000), -EPROTO);
    close(pair[0]);
    assert_int_equal(rx_upgrade_recv(pair[1], &got, fds, &n, rx_now_ms() + 1000), 0);
    assert_int_equal(rx_upgrade_send(pair[1], &m, NULL, 0, rx_now_ms() + 1000), -EPIPE);
    close(pair[1]);
}

static void a_peer_that_does_not_read_is_not_waited_for(void **state)
{
    (void)state;
    int pair[2], rc = 0, fds[RX_UPGRADE_FDS];
    struct rx_upgrade_msg m = { .kind = RX_UPGRADE_CARRY };
    assert_int_equal(rx_upgrade_pair(pair), 0);
    for (unsigned i = 0; i < RX_UPGRADE_FDS; i++)
        fds[i] = pair[0];
    uint64_t start = rx_now_ms();
    while (!rc)
        rc = rx_upgrade_send(pair[0], &m, fds, RX_UPGRADE_FDS, start + 100);
    assert_int_equal(rc, -ETIMEDOUT);
    assert_true(rx_now_ms() - start < 5000);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_is_read_as_it_was_written),
        cmocka_unit_test(what_refers_to_nothing_is_not_believed),
        cmocka_unit_test(cut_anywhere_it_is_refused_and_nothing_beyond_is_read),
        cmocka_unit_test(messages_carry_descriptors_and_end_with_their_sender),
        cmocka_unit_test(a_peer_that_does_not_read_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
