// SPDX-License-Identifier: MIT
// Enters: addresses, ports and times. Leaves: a table of the kernel's packet filter, by libnftables, in transactions: it
// is there as a whole or not at all. The chain hooks in before connection tracking and before any accept of others.
// Entries of the usual length are in sets without intervals, since only those take one more without being read as a whole;
// blocks that somebody banned by hand have sets of their own and come with the whole table.
#ifndef RX_WITHOUT_GUARD
#include "nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nftlink.h"
#include "wheel.h"

enum { DAY_MS = 24 * 3600 * 1000 };

struct rx_nft {
    struct nft_ctx *ctx; // owned
    struct rx_nftlink *link; // owned
    char table[80];
    uint32_t ipv6_prefix;
    uint32_t generation; // of nftables, when the table was whole; 0: it is to be looked at
    uint64_t due_ms; // when an entry that was left out has to come in
    bool is_there;
};

struct rx_nft *rx_nft_new(const char *name)
{
    struct rx_nft *t = calloc(1, sizeof *t);
    if (!t || !(t->ctx = nft_ctx_new(NFT_CTX_DEFAULT)) || !(t->link = rx_nftlink_new())) {
        if (t && t->ctx)
            nft_ctx_free(t->ctx);
        free(t);
        return NULL;
    }
    nft_ctx_buffer_output(t->ctx);
    nft_ctx_buffer_error(t->ctx);
    snprintf(t->table, sizeof t->table, "refractium_%s", name);
    return t;
}

// What is done by us alone moves the generation by one.
static void settle(struct rx_nft *t, uint32_t before, bool is_known)
{
    uint32_t now = rx_nftlink_generation(t->link);
    t->generation = is_known && before && now == before + 1 ? now : 0;
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
    rx_nftlink_free(t->link);
    free(t);
}

static bool is_usual(const struct rx_nft *t, const struct rx_cidr *who)
{
    return who->bits == (who->family == AF_INET ? 32 : t->ipv6_prefix);
}

static char *prefix_mask(uint32_t bits, char text[INET6_ADDRSTRLEN])
{
    struct in6_addr mask = { 0 };
    for (unsigned i = 0; i < bits && i < 128; i++)
        mask.s6_addr[i / 8] |= (uint8_t)(0x80 >> i % 8);
    inet_ntop(AF_INET6, &mask, text, INET6_ADDRSTRLEN);
    return text;
}

static void put_rules(struct rx_nft *t, FILE *out, const struct rx_nft_rule *rule)
{
    const char *name = t->table;
    char mask[INET6_ADDRSTRLEN];
    fprintf(out, "add chain inet %s outs\n", name);
    fprintf(out, "add rule inet %s outs ip saddr @v4 drop\n", name);
    if (rule->ipv6_prefix == 128)
        fprintf(out, "add rule inet %s outs ip6 saddr @v6 drop\n", name);
    else
        fprintf(out, "add rule inet %s outs ip6 saddr & %s @v6 drop\n", name, prefix_mask(rule->ipv6_prefix, mask));
    fprintf(out, "add rule inet %s outs ip saddr @nets4 drop\nadd rule inet %s outs ip6 saddr @nets6 drop\n", name, name);
    fprintf(out, "add chain inet %s drops { type filter hook prerouting priority -350; policy accept; }\n", name);
    if (rule->is_tcp)
        fprintf(out, "add rule inet %s drops tcp dport { %s } jump outs\n", name, rule->ports);
    if (rule->is_udp)
        fprintf(out, "add rule inet %s drops udp dport { %s } jump outs\n", name, rule->ports);
}

static int compare(const void *a, const void *b)
{
    const struct rx_cidr *x = &((const struct rx_nft_entry *)a)->who, *y = &((const struct rx_nft_entry *)b)->who;
    int by_address = memcmp(x->bytes, y->bytes, sizeof x->bytes);
    return x->family != y->family ? x->family - y->family : by_address ? by_address : x->bits - y->bits;
}

// Sorted; of the same one the longest time, and of unusual ones no block within another: sets refuse those. Should the
// outer one's time be over before, the table is made anew by then.
static size_t tidy(struct rx_nft *t, struct rx_nft_entry *list, size_t n)
{
    uint64_t now = rx_now_ms();
    struct rx_nft_entry *block = NULL;
    size_t kept = 0;
    t->due_ms = UINT64_MAX;
    qsort(list, n, sizeof *list, compare);
    for (size_t i = 0; i < n; i++) {
        bool is_again = kept && !compare(&list[kept - 1], &list[i]);
        if (is_again)
            list[kept - 1].left_ms = RX_MAX(list[kept - 1].left_ms, list[i].left_ms);
        else if (is_usual(t, &list[i].who) || !block || !rx_cidr_covers(&block->who, &list[i].who))
            list[kept++] = list[i];
        else if (list[i].left_ms > block->left_ms)
            t->due_ms = RX_MIN(t->due_ms, now + block->left_ms);
        if (kept && !is_usual(t, &list[kept - 1].who))
            block = &list[kept - 1];
    }
    return kept;
}

static void put_entries(struct rx_nft *t, FILE *out, const struct rx_nft_entry *list, size_t n)
{
    char text[RX_ADDR_TEXT];
    for (size_t i = 0; i < n; i++) {
        const char *set = list[i].who.family == AF_INET ? "v4" : "v6";
        if (is_usual(t, &list[i].who))
            inet_ntop(list[i].who.family, list[i].who.bytes, text, sizeof text); // a set of addresses, masked or not
        else
            rx_cidr_print(&list[i].who, text);
        unsigned long long left_ms = RX_MIN(RX_MAX(list[i].left_ms, (uint64_t)1), (uint64_t)1e12); // the kernel's is not much more
        fprintf(out, "add element inet %s %s%s { %s timeout %llud%llums }\n", t->table,
                is_usual(t, &list[i].who) ? "" : "nets", is_usual(t, &list[i].who) ? set : set + 1, text,
                left_ms / DAY_MS, left_ms % DAY_MS); // it reads no number of ten digits
    }
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

bool rx_nft_put(struct rx_nft *t, const struct rx_nft_rule *rule, struct rx_nft_entry *list, size_t n, const char **why)
{
    char *text = NULL;
    size_t len;
    const char *name = t->table;
    FILE *out = open_memstream(&text, &len);
    uint32_t before = rx_nftlink_generation(t->link);
    t->ipv6_prefix = rule->ipv6_prefix;
    if (out) {
        fprintf(out, "add table inet %s\ndelete table inet %s\nadd table inet %s\n", name, name, name);
        fprintf(out, "add set inet %s v4 { type ipv4_addr; flags timeout; }\n", name);
        fprintf(out, "add set inet %s v6 { type ipv6_addr; flags timeout; }\n", name);
        fprintf(out, "add set inet %s nets4 { type ipv4_addr; flags interval, timeout; }\n", name);
        fprintf(out, "add set inet %s nets6 { type ipv6_addr; flags interval, timeout; }\n", name);
        put_rules(t, out, rule);
        put_entries(t, out, list, tidy(t, list, n));
    }
    bool is_good = finish(t, out, &text, why);
    t->is_there |= is_good;
    settle(t, before, is_good);
    return is_good;
}

static int add_family(struct rx_nft *t, int family, const struct rx_nft_entry *list, size_t n)
{
    struct rx_nft_entry *some = malloc((n + 1) * sizeof *some);
    size_t n_some = 0;
    for (size_t i = 0; some && i < n; i++)
        if (list[i].who.family == family)
            some[n_some++] = list[i];
    uint32_t before = rx_nftlink_generation(t->link);
    bool was_whole = before && before == t->generation;
    int rc = some ? rx_nftlink_add(t->link, t->table, family == AF_INET ? "v4" : "v6", some, n_some) : -ENOMEM;
    if (n_some)
        settle(t, before, was_whole && n_some <= 200);
    free(some);
    return rc;
}

bool rx_nft_add(struct rx_nft *t, const struct rx_nft_entry *list, size_t n, const char **why)
{
    for (size_t i = 0; i < n; i++)
        if (!is_usual(t, &list[i].who)) {
            *why = "is a block";
            return false;
        }
    int rc = add_family(t, AF_INET, list, n);
    if (!rc)
        rc = add_family(t, AF_INET6, list, n);
    *why = strerror(-rc);
    return !rc;
}

static unsigned count(const char *text, const char *word)
{
    unsigned n = 0;
    for (; (text = strstr(text, word)); text++)
        n++;
    return n;
}

static const char *list_chain(struct rx_nft *t, const char *chain)
{
    char text[256];
    const char *why;
    snprintf(text, sizeof text, "list chain inet %s %s\n", t->table, chain);
    return run(t, text, &why) ? nft_ctx_get_output_buffer(t->ctx) : NULL;
}

bool rx_nft_is_due(const struct rx_nft *t)
{
    return rx_now_ms() >= t->due_ms;
}

bool rx_nft_is_whole(struct rx_nft *t, const struct rx_nft_rule *rule)
{
    uint32_t now = rx_nftlink_generation(t->link);
    if (now && now == t->generation)
        return true;
    const char *chain = list_chain(t, "drops");
    bool is_good = chain && strstr(chain, "hook prerouting") &&
                   count(chain, "jump outs\n") == (unsigned)rule->is_tcp + (unsigned)rule->is_udp;
    if (is_good && (chain = list_chain(t, "outs")))
        is_good = strstr(chain, "@v4 drop\n") && strstr(chain, "@v6 drop\n") && strstr(chain, "@nets4 drop\n") &&
                  strstr(chain, "@nets6 drop\n");
    is_good = is_good && chain;
    t->generation = is_good ? now : 0;
    return is_good;
}
#endif
