// SPDX-License-Identifier: MIT
// Who may ask the HTTP port: the input is a Host, the configured names, an Authorization and the token, a line each. No host
// gets in that a web site could be reached under, no header that does not hold the token, and the right one always does.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES = 4 };

static void check_host(const char *host)
{
    if (!rx_http_is_host(host, NULL))
        return;
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (n == 9 && !strncasecmp(host, "localhost", 9))
        return;
    if (strspn(host, "[]0123456789abcdefABCDEF:.") < n && !memchr(host, '%', n))
        abort();
}

static void check_token(const char *authorization, const char *token)
{
    char right[8300];
    bool has = rx_http_is_token(authorization, token);
    if (has && !strncasecmp(authorization, "Bearer ", 7) && strcmp(authorization + 7, token))
        abort();
    if (has && strncasecmp(authorization, "Bearer ", 7) && strncasecmp(authorization, "Basic ", 6))
        abort();
    snprintf(right, sizeof right, "Bearer %s", token);
    if (!rx_http_is_token(right, token))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[8200], policy[512];
    char *line[LINES] = { text, text, text, text };
    if (size >= 8192)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    for (unsigned i = 1; i < LINES; i++) {
        char *end = strchr(line[i - 1], '\n');
        line[i] = end ? end + 1 : text + size;
        if (end)
            *end = 0;
    }
    check_host(line[0]);
    rx_http_is_host(line[0], line[1]);
    check_token(line[2], line[3]);
    // The page is the program's own; but what is looked for in it must be found within it.
    char *page = malloc(size ? size : 1);
    if (page) {
        memcpy(page, data, size);
        rx_http_policy(page, size, policy, sizeof policy);
    }
    free(page);
    return 0;
}
