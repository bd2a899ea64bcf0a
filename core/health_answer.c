// SPDX-License-Identifier: MIT
// What is said to a backend whose health is checked, and what its answer means. Functions of their arguments but for the
// config's own. Of HTTP the status line is read, and interim answers are passed over (RFC 9112 4, RFC 9110 15.2); the
// rest is searched for text as it comes, so that a body in chunks is found in them, not across them.
#include "health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "regex.h"
#include "script.h"

#ifndef RX_VERSION
#define RX_VERSION "0.1.0"
#endif

enum { SHOWN = 24 }; // bytes of a wrong answer

static bool is_http(const struct rx_health_rule *r)
{
    return r->kind == RX_CHECK_HTTP || r->kind == RX_CHECK_HTTPS;
}

static bool has_expectation(const struct rx_health_rule *r)
{
    return r->expect.n || r->expect.n_regex || r->expect_fn >= 0;
}

bool rx_health_wants_answer(const struct rx_health_rule *r)
{
    return is_http(r) || r->send_len || has_expectation(r);
}

const char *rx_health_kind_word(enum rx_check_kind kind)
{
    static const char *const words[] = { "tcp", "tls", "http", "https", "udp" };
    return words[kind];
}

int rx_health_request(const struct rx_health_rule *r, const char *backend, char *buf, size_t size)
{
    if (!is_http(r)) {
        if (r->send_len > size)
            return -1;
        memcpy(buf, r->send, r->send_len);
        return (int)r->send_len;
    }
    const char *host = r->host ? r->host : strncmp(backend, "unix:", 5) ? backend : "localhost";
    int n = snprintf(buf, size,
                     "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: refractium/" RX_VERSION " (health check)\r\n"
                     "Accept: */*\r\nConnection: close\r\n\r\n",
                     r->method, r->path, host);
    return n < 0 || (size_t)n >= size ? -1 : n;
}

// ---- texts ----------------------------------------------------------------------------------------------------------

static enum rx_judgement bad_bytes(char *why, const char *what, const uint8_t *p, uint32_t n)
{
    char shown[4 * SHOWN + 8];
    rx_log_escape(p, RX_MIN(n, (uint32_t)SHOWN), shown, sizeof shown);
    snprintf(why, RX_HEALTH_WHY, "%s \"%s%s\"", what, shown, n > SHOWN ? "..." : "");
    return RX_JUDGED_BAD;
}

static enum rx_judgement ask_function(const struct rx_health_rule *r, struct rx_script *s, const uint8_t *p,
                                      uint32_t n, bool is_over, char *why)
{
    enum rx_verdict v;
    why[0] = 0;
    if (!rx_script_expect(s, (uint32_t)r->expect_fn, p, n, &v, why, RX_HEALTH_WHY))
        return RX_JUDGED_NOT;
    if (v == RX_MATCH)
        return RX_JUDGED_GOOD;
    if (v == RX_MORE && !is_over)
        return RX_JUDGED_MORE;
    if (v == RX_MORE)
        return bad_bytes(why, "the answer ends too early for expect:", p, n);
    return why[0] ? RX_JUDGED_BAD : bad_bytes(why, "expect does not take the answer", p, n);
}

// Begins with one of them; *may: one may still come.
static bool begins(const struct rx_texts *t, const uint8_t *p, uint32_t n, bool *may)
{
    *may = false;
    for (uint32_t i = 0; i < t->n; i++) {
        if (memcmp(t->text[i], p, RX_MIN(n, t->len[i])))
            continue;
        if (n >= t->len[i])
            return true;
        *may = true;
    }
    return false;
}

static bool has(const struct rx_texts *t, const uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (memmem(p, n, t->text[i], t->len[i]))
            return true;
    return false;
}

static bool has_regex(const struct rx_texts *t, const uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < t->n_regex; i++)
        if (rx_regex_has(t->regex[i], p, n))
            return true;
    return false;
}

static enum rx_judgement judge_plain(const struct rx_health_rule *r, struct rx_script *s, const uint8_t *p,
                                     uint32_t n, bool is_over, char *why)
{
    bool may;
    if (!n && r->kind != RX_CHECK_UDP) {
        snprintf(why, RX_HEALTH_WHY, "closed without an answer");
        return is_over ? RX_JUDGED_BAD : RX_JUDGED_MORE;
    }
    if (r->expect_fn >= 0)
        return ask_function(r, s, p, n, is_over, why);
    if (!has_expectation(r) || begins(&r->expect, p, n, &may) || has_regex(&r->expect, p, n))
        return RX_JUDGED_GOOD;
    if (!is_over && (may || r->expect.n_regex))
        return RX_JUDGED_MORE;
    return bad_bytes(why, "unexpected answer", p, n);
}

// ---- HTTP -----------------------------------------------------------------------------------------------------------

// "HTTP/1.1 200": 12 bytes, and a blank or an end of line behind them. The status; 0: more is needed; -1: that is none.
static int status_of(const uint8_t *p, uint32_t n)
{
    static const char shape[] = "HTTP/9.9 999"; // 9: a digit
    for (uint32_t i = 0; i < n && i < 12; i++)
        if (shape[i] == '9' ? p[i] < '0' || p[i] > '9' : p[i] != (uint8_t)shape[i])
            return -1;
    if (n < 13)
        return 0;
    if (p[12] != ' ' && p[12] != '\r' && p[12] != '\n')
        return -1;
    int status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
    return status >= 100 ? status : -1;
}

// Where the header ends; 0: not yet. A bare line feed will do, as everywhere.
static uint32_t header_end(const uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i + 1 < n; i++)
        if (p[i] == '\n' && (p[i + 1] == '\n' || (i + 2 < n && p[i + 1] == '\r' && p[i + 2] == '\n')))
            return p[i + 1] == '\n' ? i + 2 : i + 3;
    return 0;
}

static bool is_wanted(const struct rx_health_rule *r, int status)
{
    if (!r->n_status)
        return status >= 200 && status <= 399;
    for (uint32_t i = 0; i < r->n_status; i++)
        if (status >= r->status[i].low && status <= r->status[i].high)
            return true;
    return false;
}

static enum rx_judgement bad_status(const struct rx_health_rule *r, int status, char *why)
{
    int len = snprintf(why, RX_HEALTH_WHY, "status %d, not ", status);
    if (!r->n_status)
        snprintf(why + len, RX_HEALTH_WHY - (size_t)len, "200-399");
    for (uint32_t i = 0; i < r->n_status && len < RX_HEALTH_WHY - 16; i++) {
        const char *glue = i == 0 ? "" : i + 1 < r->n_status ? ", " : " or ";
        len += snprintf(why + len, RX_HEALTH_WHY - (size_t)len, "%s%u", glue, r->status[i].low);
        if (r->status[i].high != r->status[i].low)
            len += snprintf(why + len, RX_HEALTH_WHY - (size_t)len, "-%u", r->status[i].high);
    }
    return RX_JUDGED_BAD;
}

static enum rx_judgement judge_body(const struct rx_health_rule *r, struct rx_script *s, const uint8_t *p, uint32_t n,
                                    bool is_over, char *why)
{
    uint32_t at = header_end(p, n);
    if (at && r->expect_fn >= 0)
        return ask_function(r, s, p + at, n - at, is_over, why);
    if (at && (has(&r->expect, p + at, n - at) || has_regex(&r->expect, p + at, n - at)))
        return RX_JUDGED_GOOD;
    if (!is_over)
        return RX_JUDGED_MORE;
    if (!at)
        snprintf(why, RX_HEALTH_WHY, "the answer ends within its header");
    else
        snprintf(why, RX_HEALTH_WHY, "what is expected is not in the answer");
    return RX_JUDGED_BAD;
}

static enum rx_judgement judge_http(const struct rx_health_rule *r, struct rx_script *s, const uint8_t *p, uint32_t n,
                                    bool is_over, char *why)
{
    for (;;) {
        int status = status_of(p, n);
        uint32_t end = status > 0 && status < 200 && status != 101 ? header_end(p, n) : 0;
        if (status < 0)
            return bad_bytes(why, "no HTTP answer:", p, n);
        if (end) { // an interim one: the next counts
            p += end;
            n -= end;
            continue;
        }
        if (status == 0 || (status < 200 && status != 101)) {
            snprintf(why, RX_HEALTH_WHY, n ? "the answer ends within its header" : "closed without an answer");
            return is_over ? RX_JUDGED_BAD : RX_JUDGED_MORE;
        }
        if (!is_wanted(r, status))
            return bad_status(r, status, why);
        return has_expectation(r) ? judge_body(r, s, p, n, is_over, why) : RX_JUDGED_GOOD;
    }
}

enum rx_judgement rx_health_judge(const struct rx_health_rule *r, struct rx_script *s, const uint8_t *p, uint32_t n,
                                  bool is_over, char why[RX_HEALTH_WHY])
{
    why[0] = 0;
    return is_http(r) ? judge_http(r, s, p, n, is_over, why) : judge_plain(r, s, p, n, is_over, why);
}
