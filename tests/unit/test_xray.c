// SPDX-License-Identifier: MIT
// Enters: lines of access logs, whole, cut and broken. Leaves: who core/guard/xray.c says is active from where.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/mman.h>
#include <unistd.h>

#include "xray.h"

#define DATE "2026/01/30 17:03:38.067799 "

// The line ends where a page ends that must not be touched.
static enum rx_tail_line parse_guarded(const char *line, size_t n, struct rx_tail_said *out)
{
    static char *pages;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!pages) {
        pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
    }
    return rx_xray_parse(memcpy(pages + page - n, line, n), n, out);
}

static void is_session(const char *line, const char *ip, const char *id, const char *tag, bool is_udp)
{
    struct rx_tail_said s;
    char text[RX_ADDR_TEXT];
    enum rx_tail_line kind = parse_guarded(line, strlen(line), &s);
    if (kind != RX_LINE_SESSION)
        fail_msg("not read (%d): %s", kind, line);
    assert_string_equal(rx_addr_print_host(&s.ip.sa, text), ip);
    assert_int_equal(s.id_len, strlen(id));
    assert_memory_equal(s.id, id, s.id_len);
    assert_int_equal(s.tag_len, tag ? strlen(tag) : 0);
    if (tag)
        assert_memory_equal(s.tag, tag, s.tag_len);
    assert_int_equal(s.is_udp, is_udp);
}

static void is_kind(enum rx_tail_line kind, const char *line)
{
    struct rx_tail_said s;
    if (parse_guarded(line, strlen(line), &s) != kind)
        fail_msg("not %d: %s", kind, line);
}

static void every_form_of_a_session_is_read(void **state)
{
    (void)state;
    is_session(DATE "from 172.19.0.3:58676 accepted tcp:www.google.com:443 [IN-TAG >> direct] email: 2", "172.19.0.3",
               "2", "IN-TAG", false);
    is_session(DATE "from tcp:1.2.3.4:5 accepted tcp:a:443 [in -> out] email: u", "1.2.3.4", "u", "in", false);
    is_session(DATE "from udp:1.2.3.4:5 accepted udp:a:443 [in ==> out] email: u", "1.2.3.4", "u", "in", true);
    is_session(DATE "from 1.2.3.4:5 accepted tcp:a:443 [single] email: u", "1.2.3.4", "u", "single", false);
    is_session(DATE "from 1.2.3.4:5 accepted tcp:a:443 email: u", "1.2.3.4", "u", NULL, false);
    is_session(DATE "from 1.2.3.4:5 accepted tcp:a:443 [in -> out] default route email: u", "1.2.3.4", "u", "in", false);
    is_session("2021/01/30 17:03:38 1.2.3.4:0 accepted tcp:a:443 [in] email:x ", "1.2.3.4", "x", "in", false);
    is_session(DATE "from 1.2.3.4:5 accepted a.test:80 [in >> out] email: love@xray.com\r", "1.2.3.4", "love@xray.com",
               "in", false);
    is_session(DATE "from [2001:db8::1]:5 accepted tcp:a:443 [in >> out] email: u", "2001:db8::1", "u", "in", false);
    is_session(DATE "from tcp:[2001:db8::1]:5 accepted tcp:[2001:db8::2]:443 [in] email: u", "2001:db8::1", "u", "in",
               false);
    is_session(DATE "from [::ffff:1.2.3.4]:5 accepted tcp:a:443 [in] email: u", "1.2.3.4", "u", "in", false);
    is_session(DATE "from [fe80::1%eth0]:5 accepted tcp:a:443 [in] email: u", "fe80::1", "u", "in", false);
    is_session(DATE "from 2001:db8::1 accepted tcp:a:443 [in] email: u", "2001:db8::1", "u", "in", false);
}

static void brackets_in_the_wrong_order_break_nothing(void **state)
{
    (void)state;
    is_session(DATE "from 1.2.3.4:5 accepted tcp:a]b[c:443 email: u", "1.2.3.4", "u", NULL, false);
    is_session(DATE "from 1.2.3.4:5 accepted tcp:a ] email: u", "1.2.3.4", "u", NULL, false);
    is_session(DATE "from 1.2.3.4:5 accepted tcp:a [ email: u", "1.2.3.4", "u", NULL, false);
    is_session(DATE "from 1.2.3.4:5 accepted tcp:a [] email: u", "1.2.3.4", "u", NULL, false);
}

static void what_a_client_asks_for_cannot_name_another_user(void **state)
{
    (void)state;
    is_session(DATE "from 1.2.3.4:5 accepted tcp:x [evil] email: victim:443 [in >> out] email: me", "1.2.3.4", "me", "in",
               false);
    is_session(DATE "from 1.2.3.4:5 accepted tcp:from 9.9.9.9:1 accepted:443 [in] email: me", "1.2.3.4", "me", "in", false);
}

static void what_is_no_session_is_told_apart(void **state)
{
    (void)state;
    is_kind(RX_LINE_OTHER, DATE "from 1.2.3.4:5 rejected  proxy/vless: invalid request email: u");
    is_kind(RX_LINE_OTHER, DATE "from DNS accepted udp:1.1.1.1:53 [dns >> direct] email: u");
    is_kind(RX_LINE_OTHER, DATE "from 1.2.3.4:5 accepted tcp:a:443 [in >> out]");
}

static void what_cannot_be_read_is_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", " ", "\t", "garbage", DATE, DATE "from", DATE "from 1.2.3.4:5", DATE "from accepted tcp:a:443 email: u",
        DATE "from 1.2.3:5 accepted tcp:a:443 email: u", DATE "from 1.2.3.256:5 accepted tcp:a:443 email: u",
        DATE "from 01.2.3.4:5 accepted tcp:a:443 email: u", DATE "from 1.2.3.4.5:5 accepted tcp:a:443 email: u",
        DATE "from 1.2.3.4:65536 accepted tcp:a:443 email: u", DATE "from 1.2.3.4: accepted tcp:a:443 email: u",
        DATE "from 1.2.3.4:x accepted tcp:a:443 email: u", DATE "from [2001:db8::1 accepted tcp:a:443 email: u",
        DATE "from ]:5[ accepted tcp:a:443 email: u", DATE "from [] accepted tcp:a:443 email: u",
        DATE "from tcp: accepted tcp:a:443 email: u", DATE "from @ accepted tcp:a:443 email: u",
        DATE "from 1.2.3.4:5 accepted tcp:a:443 email:", DATE "from 1.2.3.4:5 accepted tcp:a:443 email:   ",
        "2026-01-30 17:03:38 from 1.2.3.4:5 accepted tcp:a:443 email: u", "17:03:38 from 1.2.3.4:5 accepted x email: u",
    };
    for (unsigned i = 0; i < RX_COUNT(bad); i++)
        is_kind(RX_LINE_BAD, bad[i]);
    char line[400];
    int n = snprintf(line, sizeof line, DATE "from 1.2.3.4:5 accepted tcp:a:443 email: %0256d", 1);
    struct rx_tail_said s;
    assert_int_equal(rx_xray_parse(line, (size_t)n, &s), RX_LINE_BAD);
    assert_int_equal(rx_xray_parse(line, (size_t)n - 1, &s), RX_LINE_SESSION);
}

static void a_line_may_be_cut_anywhere(void **state)
{
    (void)state;
    static const char line[] = DATE "from tcp:[2001:db8::1]:5 accepted tcp:[::1]:443 [in >> out] why email: user";
    for (size_t n = 0; n < sizeof line; n++) {
        struct rx_tail_said s;
        if (parse_guarded(line, n, &s) == RX_LINE_SESSION)
            assert_true(n > sizeof line - 1 - strlen("user"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_session_is_read),
        cmocka_unit_test(brackets_in_the_wrong_order_break_nothing),
        cmocka_unit_test(what_a_client_asks_for_cannot_name_another_user),
        cmocka_unit_test(what_is_no_session_is_told_apart),
        cmocka_unit_test(what_cannot_be_read_is_bad),
        cmocka_unit_test(a_line_may_be_cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
