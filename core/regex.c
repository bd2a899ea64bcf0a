// SPDX-License-Identifier: MIT
#include "regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

// Steps one search may take: some tens of microseconds, ample for names of 255 bytes.
enum { MATCH_LIMIT = 20000 };

struct rx_regex {
    pcre2_code *code; // owned
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
    k->data = pcre2_match_data_create(1, NULL);
    k->context = pcre2_match_context_create(NULL);
    if (!k->data || !k->context || pthread_setspecific(kit_key, k)) {
        kit_free(k);
        return NULL;
    }
    pcre2_set_match_limit(k->context, MATCH_LIMIT);
    pcre2_set_depth_limit(k->context, MATCH_LIMIT);
    return k;
}

struct rx_regex *rx_regex_new(const char *pattern, size_t len, char err[128])
{
    int code;
    size_t at;
    struct rx_regex *r = calloc(1, sizeof *r);
    if (!r) {
        snprintf(err, 128, "out of memory");
        return NULL;
    }
    r->code = pcre2_compile((PCRE2_SPTR)pattern, len, PCRE2_CASELESS | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (!r->code) {
        char why[90];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        snprintf(err, 128, "%s at character %zu", why, at + 1);
        free(r);
        return NULL;
    }
    return r;
}

void rx_regex_free(struct rx_regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    free(r);
}

bool rx_regex_has(const struct rx_regex *r, const uint8_t *text, size_t len)
{
    struct kit *k = kit_get();
    return k && pcre2_match(r->code, text, len, 0, 0, k->data, k->context) >= 0;
}
