// SPDX-License-Identifier: MIT
// Enters: a pattern, then texts of clients. Leaves: whether and where it matches, or that it took too much.
// A match limit bounds the steps from one starting place; a text has as many of those as bytes, so starting places are
// tried in windows and the clock is looked at between them. What fits one window never costs a look.
#include "regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "sys.h"

// Steps from one starting place, some tens of microseconds; starting places between two looks at the clock; how long a
// search without a deadline of its own may take.
enum { MATCH_LIMIT = 20000, WINDOW = 128, PATIENCE_NS = 5 * 1000 * 1000 };

struct rx_regex {
    pcre2_code *code; // owned
    int n_spans;      // the whole match and its groups, as far as they can be shown
};

// One set of match data a thread: a search may run on every worker at once.
struct kit {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

static pthread_key_t kit_key;
static pthread_once_t kit_once = PTHREAD_ONCE_INIT;

static void kit_free(void *p)
{
    struct kit *k = p;
    pcre2_match_data_free(k->data);
    pcre2_match_context_free(k->context);
    free(k);
}

static void kit_make_key(void)
{
    pthread_key_create(&kit_key, kit_free);
}

static struct kit *kit_get(void)
{
    pthread_once(&kit_once, kit_make_key);
    struct kit *k = pthread_getspecific(kit_key);
    if (k)
        return k;
    k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->data = pcre2_match_data_create(RX_REGEX_SPANS, NULL);
    k->context = pcre2_match_context_create(NULL);
    if (!k->data || !k->context || pthread_setspecific(kit_key, k)) {
        kit_free(k);
        return NULL;
    }
    pcre2_set_match_limit(k->context, MATCH_LIMIT);
    pcre2_set_depth_limit(k->context, MATCH_LIMIT);
    return k;
}

struct rx_regex *rx_regex_new(const char *pattern, size_t len, unsigned flags, char err[128])
{
    int code;
    size_t at;
    uint32_t groups = 0, options = PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT;
    struct rx_regex *r = calloc(1, sizeof *r);
    if (!r) {
        snprintf(err, 128, "out of memory");
        return NULL;
    }
    if (flags & RX_REGEX_CASELESS)
        options |= PCRE2_CASELESS;
    r->code = pcre2_compile((PCRE2_SPTR)pattern, len, options, &code, &at, NULL);
    if (!r->code) {
        char why[90];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        snprintf(err, 128, "%s at character %zu", why, at + 1);
        free(r);
        return NULL;
    }
    pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    if (groups >= RX_REGEX_SPANS && flags & RX_REGEX_GROUPS) {
        snprintf(err, 128, "has %u groups and may have %d: write (?:...) for those that need not be kept", groups,
                 RX_REGEX_SPANS - 1);
        rx_regex_free(r);
        return NULL;
    }
    r->n_spans = (int)RX_MIN(groups + 1, (uint32_t)RX_REGEX_SPANS);
    return r;
}

void rx_regex_free(struct rx_regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    free(r);
}

// One window of starting places. As pcre2_match: what it found, or a negative number.
static int match_window(const struct rx_regex *r, struct kit *k, const uint8_t *text, size_t len, size_t from)
{
    pcre2_set_offset_limit(k->context, from + WINDOW - 1);
    return pcre2_match(r->code, text, len, from, 0, k->data, k->context);
}

int rx_regex_find(const struct rx_regex *r, const uint8_t *text, size_t len, size_t from, uint64_t until_ns,
                  uint32_t spans[2 * RX_REGEX_SPANS])
{
    struct kit *k = kit_get();
    if (!k)
        return -1;
    if (from > len)
        return 0;
    int rc = match_window(r, k, text, len, from);
    if (rc == PCRE2_ERROR_NOMATCH && len - from >= WINDOW && !until_ns)
        until_ns = rx_sys_now_ns() + PATIENCE_NS;
    while (rc == PCRE2_ERROR_NOMATCH && len - from >= WINDOW) {
        if (rx_sys_now_ns() >= until_ns)
            return -1;
        from += WINDOW;
        rc = match_window(r, k, text, len, from);
    }
    if (rc < 0)
        return rc == PCRE2_ERROR_NOMATCH ? 0 : -1;
    const size_t *ovector = pcre2_get_ovector_pointer(k->data);
    for (int i = 0; spans && i < 2 * r->n_spans; i++)
        spans[i] = ovector[i] == PCRE2_UNSET ? UINT32_MAX : (uint32_t)ovector[i];
    return r->n_spans;
}

bool rx_regex_has(const struct rx_regex *r, const uint8_t *text, size_t len)
{
    return rx_regex_find(r, text, len, 0, 0, NULL) > 0;
}
