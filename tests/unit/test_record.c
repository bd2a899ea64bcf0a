// SPDX-License-Identifier: MIT
// Recordings: what workers hand over arrives, in order and whole; what finds no room is left out; and what is read back
// is what was written.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "athome.h"
#include "log.h"
#include "record.h"

enum { WORKERS = 2, EACH = 3000 };

static char file[] = "/tmp/rx-record-XXXXXX";
static uint8_t head[4096], back[RX_RECORD_LINE / 2];

static struct rx_record decision(uint16_t number, uint32_t len)
{
    struct rx_record r = { .ended = RX_ENDED_EOF, .listen = "127.0.0.1:1", .protocol = "tls", .to = "web", .len = len };
    r.from.v4.sin_family = AF_INET;
    r.from.v4.sin_addr.s_addr = htonl(0x7f000000u | number);
    r.to_port = number;
    r.bytes = head;
    return r;
}

static struct rx_record_setup setup(void)
{
    return (struct rx_record_setup){ .file = file, .max_size = 64 << 20, .sample_ppm = 1000000, .bytes = 2048 };
}

static void *work(void *worker)
{
    for (unsigned i = 0; i < EACH; i++) {
        struct rx_record r = decision((uint16_t)i, i % 3000);
        rx_record_decision(rx_test_home()->recorder, (unsigned)(uintptr_t)worker, &r);
        if (i % 16 == 0)
            usleep(100);
    }
    return NULL;
}

static int begin(void **state)
{
    (void)state;
    int fd = mkstemp(file);
    for (unsigned i = 0; i < sizeof head; i++)
        head[i] = (uint8_t)(i * 7);
    return fd < 0 || close(fd);
}

static int end(void **state)
{
    (void)state;
    rx_record_stop(rx_test_home()->recorder);
    unlink(file);
    memcpy(strrchr(file, '-') + 1, "XXXXXX", 6);
    return 0;
}

static void what_workers_say_arrives_whole_and_in_order(void **state)
{
    (void)state;
    const struct rx_record_setup s = setup();
    pthread_t threads[WORKERS];
    struct rx_record r;
    struct rx_record_text text;
    const char *why;
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    unsigned count = 0;
    int last = -1;
    assert_int_equal(rx_record_apply(rx_test_home()->recorder, &s, WORKERS), 0);
    for (uintptr_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    rx_record_stop(rx_test_home()->recorder);
    FILE *f = fopen(file, "r");
    assert_true(getline(&line, &cap, f) > 0);
    assert_string_equal(line, "{\"refractium_record\":1}\n");
    for (; (n = getline(&line, &cap, f)) > 0; count++) {
        if (rx_record_parse(line, (size_t)n, &r, &text, back, &why))
            fail_msg("%s: %s", why, line);
        uint16_t number = r.to_port;
        assert_int_equal(ntohl(r.from.v4.sin_addr.s_addr), 0x7f000000u | number);
        assert_int_equal(r.len, number % 3000);
        assert_int_equal(r.kept, RX_MIN(r.len, 2048u));
        assert_memory_equal(r.bytes, head, r.kept);
        assert_string_equal(r.protocol, "tls");
        assert_string_equal(r.to, "web");
        assert_null(r.route);
        assert_int_equal(r.ended, RX_ENDED_EOF);
        last = RX_MAX(last, (int)number);
    }
    assert_in_range(count, 1000, WORKERS * EACH); // a slow machine leaves some out, never half of one
    assert_true(last > 0);
    free(line);
    fclose(f);
}

static void a_ring_that_is_full_leaves_out_and_does_not_wait(void **state)
{
    (void)state;
    const struct rx_record_setup s = setup();
    assert_int_equal(rx_record_apply(rx_test_home()->recorder, &s, WORKERS), 0);
    for (unsigned i = 0; i < 20000; i++) { // 40 MB in no time: the writer formats slower
        struct rx_record r = decision((uint16_t)i, 2000);
        rx_record_decision(rx_test_home()->recorder, 0, &r);
    }
    struct rx_record r = decision(1, 2000);
    rx_record_decision(rx_test_home()->recorder, WORKERS, &r); // no such worker
    rx_record_stop(rx_test_home()->recorder);
    FILE *f = fopen(file, "r");
    unsigned lines = 0;
    for (int c; (c = getc(f)) != EOF;)
        lines += c == '\n';
    fclose(f);
    assert_in_range(lines, 60, 20000);
}

static void what_is_no_decision_is_refused_with_a_word(void **state)
{
    (void)state;
#define REST "\"from\":\"::1\",\"ended\":\"open\",\"protocol\":null,\"route\":null,\"to\":\"web\",\"listen\":\"l\""
    static const struct {
        const char *line, *why;
    } bad[] = {
        { "", "is no JSON object" },
        { "[]", "is no JSON object" },
        { "{}", "ms, port and len must be numbers" },
        { "{\"ms\":1,\"port\":65536,\"len\":0,\"bytes\":\"\"," REST "}", "ms, port and len must be numbers" },
        { "{\"ms\":1,\"port\":1,\"len\":0,\"bytes\":\"00\"," REST "}", "there are more bytes than len says" },
        { "{\"ms\":1,\"port\":1,\"len\":1,\"bytes\":\"0g\"," REST "}", "bytes must be hexadecimal" },
        { "{\"ms\":1,\"port\":1,\"len\":1," REST "}", "bytes must be hexadecimal" },
        { "{\"ms\":1,\"port\":1,\"len\":1,\"ended\":\"x\",\"from\":\"::1\",\"to\":\"a\",\"listen\":\"l\",\"bytes\":\"\"}",
          "ended must be" },
        { "{\"ms\":1,\"port\":1,\"len\":1,\"ended\":\"eof\",\"from\":\"me\",\"to\":\"a\",\"listen\":\"l\",\"bytes\":\"\"}",
          "from must be an address" },
        { "{\"ms\":1,\"port\":1,\"len\":1,\"ended\":\"eof\",\"from\":\"::1\",\"listen\":\"l\",\"bytes\":\"\"}",
          "must be short texts" },
        { "{\"ms\":1,\"port\":1,\"len\":1,\"ended\":\"eof\",\"from\":\"::1\",\"to\":\"a\\u0000b\",\"listen\":\"l\"}",
          "must be short texts" },
        { "{\"ms\":1,\"port\":1,\"len\":0,\"bytes\":\"\",\"transport\":\"sctp\"," REST "}", "transport must be" },
        { "{\"ms\":1,\"port\":1,\"len\":0,\"bytes\":\"\",\"transport\":\"udp\"," REST "}", "transport must be" },
        { "{\"ms\":1,\"port\":1,\"len\":2,\"bytes\":\"\",\"transport\":\"udp\",\"datagrams\":[1]," REST "}",
          "transport must be" },
        { "{\"ms\":1,\"port\":1,\"len\":2,\"bytes\":\"\",\"transport\":\"udp\",\"datagrams\":[3,-1]," REST "}",
          "transport must be" },
        { "{\"ms\":1,\"port\":1,\"len\":0,\"bytes\":\"\",\"transport\":\"tcp\",\"datagrams\":[0]," REST "}",
          "transport must be" },
    };
    struct rx_record r;
    struct rx_record_text text;
    const char *why;
    for (unsigned i = 0; i < RX_COUNT(bad); i++) {
        assert_int_equal(rx_record_parse(bad[i].line, strlen(bad[i].line), &r, &text, back, &why), -1);
        if (!strstr(why, bad[i].why))
            fail_msg("%s: said %s", bad[i].line, why);
    }
    static const char good[] = "{\"ms\":1,\"port\":0,\"len\":2,\"bytes\":\"61\",\"more\":[1]," REST "}";
    assert_int_equal(rx_record_parse(good, sizeof good - 1, &r, &text, back, &why), 0);
    assert_int_equal(r.kept, 1);
    assert_int_equal(r.bytes[0], 'a');
    assert_int_equal(r.n_grams, 0);
    static const char udp[] = "{\"ms\":1,\"port\":0,\"len\":3,\"bytes\":\"61\",\"transport\":\"udp\","
                              "\"datagrams\":[0,2,1]," REST "}";
    assert_int_equal(rx_record_parse(udp, sizeof udp - 1, &r, &text, back, &why), 0);
    assert_int_equal(r.n_grams, 3);
    assert_int_equal(r.gram_len[1], 2);
}

int main(void)
{
    const struct rx_log_setup quiet = { .level = RX_LOG_ERROR, .format = RX_LOG_TEXT };
    rx_log_init(&quiet);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_workers_say_arrives_whole_and_in_order, begin, end),
        cmocka_unit_test_setup_teardown(a_ring_that_is_full_leaves_out_and_does_not_wait, begin, end),
        cmocka_unit_test(what_is_no_decision_is_refused_with_a_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
