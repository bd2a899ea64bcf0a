// SPDX-License-Identifier: MIT
// Enters: addresses, ports and times. Leaves: a table of the kernel's packet filter, by libnftables, in transactions: it
// is there as a whole or not at all. The chain hooks in before connection tracking and before any accept of others.
#ifndef RX_WITHOUT_GUARD
#include "nft.h"

#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rx_nft {
    struct nft_ctx *ctx; // owned
    char table[80];
    bool is_there;
};

struct rx_nft *rx_nft_new(const char *name)
{
    struct rx_nft *t = calloc(1, sizeof *t);
    if (!t || !(t->ctx = nft_ctx_new(NFT_CTX_DEFAULT))) {
        free(t);
        return NULL;
    }
    nft_ctx_buffer_output(t->ctx);
    nft_ctx_buffer_error(t->ctx);
    snprintf(t->table, sizeof t->table, "refractium_%s", name);
    for (char *p = t->table; *p; p++)
        if (*p == '-')
            *p = '_'; // no character of its identifiers
    return t;
}

static bool run(struct rx_nft *t, const char *text, const char **why)
{
    int rc = nft_run_cmd_from_buffer(t->ctx, text);
    *why = nft_ctx_get_error_buffer(t->ctx);
    if (rc && !**why)
        *why = "refused";
    return rc == 0;
}

void rx_nft_forget(struct rx_nft *t)
{
    t->is_there = false;
}

void rx_nft_free(struct rx_nft *t)
{
    char text[256];
    const char *why;
    if (!t)
        return;
    if (t->is_there) {
        snprintf(text, sizeof text, "add table inet %s\ndelete table inet %s\n", t->table, t->table);
        run(t, text, &why);
    }
    nft_ctx_free(t->ctx);
    free(t);
}

static void put_rules(FILE *out, const char *table, const char *proto, const char *ports)
{
    fprintf(out, "add rule inet %s drops ip saddr @v4 %s dport { %s } drop\n", table, proto, ports);
    fprintf(out, "add rule inet %s drops ip6 saddr @v6 %s dport { %s } drop\n", table, proto, ports);
}

static void put_entries(FILE *out, const char *table, const struct rx_nft_entry *list, size_t n)
{
    char text[RX_ADDR_TEXT];
    for (size_t i = 0; i < n; i++)
        fprintf(out, "add element inet %s %s { %s timeout %llums }\n", table,
                list[i].who.family == AF_INET ? "v4" : "v6", rx_cidr_print(&list[i].who, text),
                (unsigned long long)RX_MAX(list[i].left_ms, (uint64_t)1));
}

static bool finish(struct rx_nft *t, FILE *out, char **text, const char **why)
{
    bool is_good = out && fclose(out) == 0 && *text;
    if (!is_good)
        *why = "out of memory";
    is_good = is_good && run(t, *text, why);
    free(*text);
    return is_good;
}

bool rx_nft_put(struct rx_nft *t, const struct rx_nft_rule *rule, const struct rx_nft_entry *list, size_t n,
                const char **why)
{
    char *text = NULL;
    size_t len;
    const char *name = t->table;
    FILE *out = open_memstream(&text, &len);
    if (out) {
        fprintf(out, "add table inet %s\ndelete table inet %s\nadd table inet %s\n", name, name, name);
        fprintf(out, "add set inet %s v4 { type ipv4_addr; flags interval, timeout; }\n", name);
        fprintf(out, "add set inet %s v6 { type ipv6_addr; flags interval, timeout; }\n", name);
        fprintf(out, "add chain inet %s drops { type filter hook prerouting priority -350; policy accept; }\n", name);
        if (rule->is_tcp)
            put_rules(out, name, "tcp", rule->ports);
        if (rule->is_udp)
            put_rules(out, name, "udp", rule->ports);
        put_entries(out, name, list, n);
    }
    bool is_good = finish(t, out, &text, why);
    t->is_there |= is_good;
    return is_good;
}

bool rx_nft_add(struct rx_nft *t, const struct rx_nft_entry *list, size_t n, const char **why)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (out)
        put_entries(out, t->table, list, n);
    return finish(t, out, &text, why);
}

static unsigned count(const char *text, const char *word)
{
    unsigned n = 0;
    for (; (text = strstr(text, word)); text++)
        n++;
    return n;
}

bool rx_nft_is_whole(struct rx_nft *t, const struct rx_nft_rule *rule)
{
    char text[256];
    const char *why;
    snprintf(text, sizeof text, "list chain inet %s drops\n", t->table);
    if (!run(t, text, &why))
        return false;
    const char *chain = nft_ctx_get_output_buffer(t->ctx);
    unsigned want = (unsigned)rule->is_tcp + (unsigned)rule->is_udp;
    return strstr(chain, "hook prerouting") && count(chain, "ip saddr @v4") == want &&
           count(chain, "ip6 saddr @v6") == want && count(chain, " drop\n") == 2 * want;
}
#endif
