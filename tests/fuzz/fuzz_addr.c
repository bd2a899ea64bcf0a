// SPDX-License-Identifier: MIT
// Enters: text. Leaves: aborted when core/addr.c reads something that it prints as something else, refuses without a
// reason, or contradicts itself about a block or a range.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "origin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(x)                                                                                                     \
    do {                                                                                                             \
        if (!(x)) {                                                                                                  \
            fprintf(stderr, "does not hold: %s (\"%s\")\n", #x, text);                                               \
            abort();                                                                                                 \
        }                                                                                                            \
    } while (0)

// What was read prints as a text that reads as the same.
static void there_and_back(const char *text, const struct rx_addr *a)
{
    char printed[RX_ADDR_TEXT], why[RX_ADDR_TEXT];
    struct rx_addr *again;
    unsigned n;
    memset(printed, 'Z', sizeof printed);
    rx_addr_print(&a->sa, printed);
    HOLDS(memchr(printed, 0, sizeof printed) != NULL);
    HOLDS(!rx_addr_parse_listen(printed, &again, &n, why));
    HOLDS(n == 1);
    HOLDS(rx_addr_equal(&again->sa, &a->sa) && again->len == a->len);
    free(again);
}

static void listen_on(const char *text)
{
    char why[RX_ADDR_TEXT] = "";
    struct rx_addr *list = NULL;
    unsigned n = 0;
    if (rx_addr_parse_listen(text, &list, &n, why)) {
        HOLDS(why[0] && memchr(why, 0, sizeof why));
        return;
    }
    HOLDS(n > 0 && list);
    if (list->sa.sa_family == AF_UNSPEC) { // "systemd:NAME"
        HOLDS(n == 1 && !strcmp(list->un.sun_path, text + strlen("systemd:")));
        free(list);
        return;
    }
    for (unsigned i = 0; i < n && i < 50; i++)
        there_and_back(text, &list[i]);
    there_and_back(text, &list[n - 1]);
    free(list);
}

static void connect_to(const char *text)
{
    char why[RX_ADDR_TEXT] = "";
    struct rx_target_text t;
    if (rx_addr_parse_target(text, &t, why)) {
        HOLDS(why[0] && memchr(why, 0, sizeof why));
        return;
    }
    HOLDS((t.addr.len == 0) == (t.host[0] != 0)); // a name is left for later
    HOLDS(t.addr.len || t.is_srv == (t.port == 0));
    if (t.addr.len) {
        HOLDS(t.addr.sa.sa_family == AF_UNIX || rx_addr_port(&t.addr.sa) != 0);
        there_and_back(text, &t.addr);
    }
}

static void look_into(const char *text)
{
    char why[RX_ADDR_TEXT] = "";
    struct rx_cidr c;
    if (rx_cidr_parse(text, &c, why)) {
        HOLDS(why[0] && memchr(why, 0, sizeof why));
        return;
    }
    unsigned most = c.family == AF_INET ? 32 : 128;
    HOLDS(c.bits <= most);
    union rx_ip ip = { .sa = { .sa_family = c.family } };
    uint8_t *bytes = c.family == AF_INET ? (uint8_t *)&ip.v4.sin_addr : (uint8_t *)&ip.v6.sin6_addr;
    memcpy(bytes, c.bytes, most / 8);
    HOLDS(rx_cidr_has(&c, &ip));
    for (unsigned bit = 0; bit < most; bit++) { // one bit changed: inside exactly when it lies beyond the prefix
        bytes[bit / 8] ^= (uint8_t)(0x80u >> bit % 8);
        HOLDS(rx_cidr_has(&c, &ip) == (bit >= c.bits));
        bytes[bit / 8] ^= (uint8_t)(0x80u >> bit % 8);
    }
}

// The addresses of what a pool may connect from follow each other, and there are as many as it says.
static void come_from(const char *text)
{
    char why[RX_ADDR_TEXT] = "";
    struct rx_origin one;
    if (rx_origin_parse(text, &one, why)) {
        HOLDS(why[0] && memchr(why, 0, sizeof why));
        return;
    }
    struct rx_origins all = { .list = &one, .n = 1, .n_v4 = one.family == AF_INET ? one.n : 0 };
    all.n_v6 = one.n - all.n_v4;
    HOLDS(one.n > 0 && one.n <= 65536 && rx_origins_count(&all, one.family) == one.n);
    union rx_ip first, last, again;
    rx_origins_pick(&all, one.family, 0, &first);
    rx_origins_pick(&all, one.family, one.n - 1, &last);
    rx_origins_pick(&all, one.family, one.n, &again);
    HOLDS(rx_addr_equal(&first.sa, &again.sa));
    HOLDS((one.n == 1) == rx_addr_equal(&first.sa, &last.sa));
}

static void who(const char *text)
{
    char why[RX_ADDR_TEXT] = "", printed[RX_ADDR_TEXT];
    union rx_ip ip, again;
    if (rx_ip_parse(text, &ip, why)) {
        HOLDS(why[0] && memchr(why, 0, sizeof why));
        return;
    }
    HOLDS(ip.sa.sa_family == AF_INET || ip.sa.sa_family == AF_INET6);
    HOLDS(!rx_ip_parse(rx_addr_print(&ip.sa, printed), &again, why));
    HOLDS(rx_addr_equal(&ip.sa, &again.sa));
    rx_ip_unmap(&ip);
    rx_ip_unmap(&ip);
    rx_addr_print_host(&ip.sa, printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 600)
        return 0;
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = 0;
    listen_on(text);
    connect_to(text);
    look_into(text);
    who(text);
    come_from(text);
    free(text);
    return 0;
}
