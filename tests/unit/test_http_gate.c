// SPDX-License-Identifier: MIT
// Enters: headers as clients send them. Leaves: that the HTTP port answers those it should and no others, and lets its
// page do nothing but what it was shipped with.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#ifndef RX_WITHOUT_METRICS

#include "embed.h"
#include "http_request.h"

static void addresses_and_localhost_are_no_strangers_names(void **state)
{
    static const char *const good[] = { "127.0.0.1", "127.0.0.1:9180", "[::1]", "[::1]:9180", "192.0.2.7:80", "localhost",
                                        "LocalHost:9180", "localhost:" };
    (void)state;
    for (unsigned i = 0; i < RX_COUNT(good); i++)
        assert_true(rx_http_is_host(good[i], NULL));
    assert_true(rx_http_is_host(NULL, NULL)); // HTTP/1.0
}

static void other_names_are_refused(void **state)
{
    static const char *const bad[] = { "evil.test", "evil.test:9180", "localhost.evil.test", "127.0.0.1.evil.test", "",
                                       ":9180", "[::1", "[::1]x", "[]:1", "127.0.0.1:x", "127.0.0.1:80:80", "localhost.",
                                       "xlocalhost", "local", "[localhost]" };
    char endless[2000];
    (void)state;
    for (unsigned i = 0; i < RX_COUNT(bad); i++)
        assert_false(rx_http_is_host(bad[i], NULL));
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = 0;
    assert_false(rx_http_is_host(endless, endless));
}

static void configured_names_are_compared_whole(void **state)
{
    (void)state;
    assert_true(rx_http_is_host("proxy.lan:9180", "a.test,proxy.lan"));
    assert_true(rx_http_is_host("PROXY.lan", "a.test,proxy.lan"));
    assert_true(rx_http_is_host("a.test", "a.test,proxy.lan"));
    assert_false(rx_http_is_host("a.test,proxy.lan", "a.test,proxy.lan"));
    assert_false(rx_http_is_host("a.tes", "a.test,proxy.lan"));
    assert_false(rx_http_is_host("proxy.lan.evil", "a.test,proxy.lan"));
}

static void a_token_is_shown_as_bearer_or_password(void **state)
{
    (void)state;
    assert_true(rx_http_is_token(NULL, NULL));
    assert_false(rx_http_is_token(NULL, "s3cret"));
    assert_true(rx_http_is_token("Bearer s3cret", "s3cret"));
    assert_true(rx_http_is_token("bearer s3cret", "s3cret"));
    assert_true(rx_http_is_token("Basic YTpzM2NyZXQ=", "s3cret")); // a:s3cret
    assert_true(rx_http_is_token("basic OnMzY3JldA==", "s3cret")); // :s3cret
    assert_true(rx_http_is_token("Basic YWI6czNjcmV0", "s3cret")); // ab:s3cret
}

static void another_token_is_refused(void **state)
{
    static const char *const bad[] = { "s3cret", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cretx", "Basic s3cret",
                                       "Basic ", "Basic YTpz", "Basic czNjcmV0", "Basic YTpzM2NyZXQ", "Basic ====",
                                       "Basic !!!!", "Digest s3cret", "" };
    char endless[4000] = "Basic ";
    (void)state;
    for (unsigned i = 0; i < RX_COUNT(bad); i++)
        assert_false(rx_http_is_token(bad[i], "s3cret"));
    memset(endless + 6, 'A', sizeof endless - 7);
    assert_false(rx_http_is_token(endless, "s3cret"));
}

static void the_policy_names_the_page_s_own_script(void **state)
{
    static const char page[] = "<style>a</style><script>b</script>";
    char policy[512];
    (void)state;
    assert_int_equal(rx_http_policy(page, strlen(page), policy, sizeof policy), 0);
    assert_non_null(strstr(policy, "script-src 'sha256-PiPoFgA5WUoziU9lZOGxNIu9egCI1CxKy3PurtWcAJ0=';"));
    assert_non_null(strstr(policy, "style-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=';"));
    assert_null(strstr(policy, "unsafe"));
    assert_int_equal(rx_http_policy(page, strlen(page), policy, 100), -1);
    assert_int_equal(rx_http_policy("<script>", 8, policy, sizeof policy), -1);
}

static void the_page_that_ships_is_small_and_has_a_policy(void **state)
{
    const struct rx_embed *page = rx_embed_find("dashboard.html");
    char policy[512];
    (void)state;
    assert_non_null(page);
    assert_in_range(page->end - page->text, 1000, 60 * 1024);
    assert_int_equal(rx_http_policy(page->text, (size_t)(page->end - page->text), policy, sizeof policy), 0);
    assert_null(strstr(page->text, "innerHTML"));
    assert_null(strstr(page->text, "insertAdjacentHTML"));
    assert_null(strstr(page->text, " style=\"")); // the policy would not let it be
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_and_localhost_are_no_strangers_names),
        cmocka_unit_test(other_names_are_refused),
        cmocka_unit_test(configured_names_are_compared_whole),
        cmocka_unit_test(a_token_is_shown_as_bearer_or_password),
        cmocka_unit_test(another_token_is_refused),
        cmocka_unit_test(the_policy_names_the_page_s_own_script),
        cmocka_unit_test(the_page_that_ships_is_small_and_has_a_policy),
    };
    return cmocka_run_group_tests_name("http_gate", tests, NULL, NULL);
}

#else

int main(void)
{
    return 0;
}

#endif
