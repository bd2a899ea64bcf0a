// SPDX-License-Identifier: MIT
// Enters: a generation. Leaves: what it says, as text for people or as JSON. Nothing is decided here.
#include "table.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "roster.h"
#include "route.h"

// ---- conditions -------------------------------------------------------------------------------------------

enum condition { NAME, ALPN, PATH, METHOD, SOFTWARE, KEY, ECH, QTYPE, FROM, NOT_FROM, TO_PORT, DURING };

static const struct rx_texts *texts_of(const struct rx_route *r, unsigned i)
{
    switch ((enum condition)i) {
    case NAME:
        return &r->name_cond;
    case ALPN:
        return &r->alpn;
    case PATH:
        return &r->path;
    case METHOD:
        return &r->method;
    case SOFTWARE:
        return &r->software;
    case KEY:
        return &r->key;
    case ECH:
    case QTYPE:
    case FROM:
    case NOT_FROM:
    case TO_PORT:
    case DURING:
        break;
    }
    return NULL;
}

uint32_t rx_condition_count(const struct rx_route *r, unsigned i)
{
    const struct rx_texts *t = texts_of(r, i);
    if (t)
        return t->n + t->n_regex;
    switch (i) {
    case ECH:
        return r->ech != 0;
    case QTYPE:
        return r->n_qtype;
    case FROM:
        return r->n_from;
    case NOT_FROM:
        return r->n_not_from;
    case DURING:
        return r->n_during;
    default:
        return r->n_to_port;
    }
}

const char *rx_condition_name(const struct rx_route *r, unsigned i)
{
    static const char *const names[] = { "sni", "alpn",  "path", "method",   "software", "key",
                                         "ech", "qtype", "from", "not_from", "to_port",  "during" };
    if (!rx_condition_count(r, i))
        return NULL;
    uint32_t fact = i == NAME ? rx_name_fact(r->proto) : 0;
    return fact == RX_FACT_HOST ? "host" : fact == RX_FACT_QNAME ? "qname" : names[i];
}

struct rx_route rx_condition_alone(const struct rx_route *r, unsigned i)
{
    struct rx_route one = { .name = r->name, .where = r->where, .index = r->index, .proto = r->proto, .when_fn = -1 };
    const struct rx_texts *t = texts_of(r, i);
    if (t)
        memcpy((char *)&one + ((const char *)t - (const char *)r), t, sizeof *t);
    else if (i == ECH)
        one.ech = r->ech;
    else if (i == QTYPE)
        one.qtype = r->qtype, one.n_qtype = r->n_qtype;
    else if (i == FROM)
        one.from = r->from, one.n_from = r->n_from;
    else if (i == NOT_FROM)
        one.not_from = r->not_from, one.n_not_from = r->n_not_from;
    else if (i == DURING)
        one.during = r->during, one.n_during = r->n_during;
    else
        one.to_port = r->to_port, one.n_to_port = r->n_to_port;
    return one;
}

static const char *cidr_text(const struct rx_cidr *c, char buf[RX_ADDR_TEXT])
{
    char host[INET6_ADDRSTRLEN];
    inet_ntop(c->family, c->bytes, host, sizeof host);
    snprintf(buf, RX_ADDR_TEXT, c->bits == (c->family == AF_INET ? 32 : 128) ? "%s" : "%s/%u", host, c->bits);
    return buf;
}

const char *rx_condition_value(const struct rx_route *r, unsigned i, uint32_t k, char buf[RX_ADDR_TEXT])
{
    const struct rx_texts *t = texts_of(r, i);
    if (t)
        return k < t->n ? t->text[k] : t->regex_text[k - t->n];
    switch (i) {
    case ECH:
        return r->ech == 1 ? "true" : "false";
    case QTYPE:
        return rx_qtype_name(r->qtype[k], buf);
    case FROM:
        return cidr_text(&r->from[k], buf);
    case NOT_FROM:
        return cidr_text(&r->not_from[k], buf);
    case DURING:
        return rx_during_print(&r->during[k], buf);
    }
    const struct rx_port_range *p = &r->to_port[k];
    snprintf(buf, RX_ADDR_TEXT, p->low == p->high ? "%u" : "%u-%u", p->low, p->high);
    return buf;
}

void rx_conditions_print(const struct rx_route *r, FILE *out)
{
    enum { SHOWN = 4 };
    char buf[RX_ADDR_TEXT];
    const char *glue = "", *name;
    for (unsigned i = 0; i < RX_CONDITIONS; i++) {
        if (!(name = rx_condition_name(r, i)))
            continue;
        uint32_t n = rx_condition_count(r, i), shown = n > SHOWN + 1 ? SHOWN : n;
        fprintf(out, "%s%s=", glue, name);
        for (uint32_t k = 0; k < shown; k++)
            fprintf(out, "%s%s", k ? "," : "", rx_condition_value(r, i, k, buf));
        if (shown < n)
            fprintf(out, ",...(%u)", n);
        glue = " ";
    }
}

static void conditions_json(const struct rx_route *r, struct rx_json *j)
{
    char buf[RX_ADDR_TEXT];
    const char *name;
    rx_json_open(j, '{');
    for (unsigned i = 0; i < RX_CONDITIONS; i++) {
        if (!(name = rx_condition_name(r, i)))
            continue;
        rx_json_key(j, name);
        if (i == ECH) {
            rx_json_bool(j, r->ech == 1);
            continue;
        }
        rx_json_open(j, '[');
        for (uint32_t k = 0; k < rx_condition_count(r, i); k++)
            rx_json_string(j, rx_condition_value(r, i, k, buf));
        rx_json_close(j);
    }
    rx_json_close(j);
}

// ---- targets ----------------------------------------------------------------------------------------------

static void member_print(const struct rx_member *m, FILE *out)
{
    fprintf(out, "%s", m->name);
    if (m->weight != 1)
        fprintf(out, " weight %u", m->weight);
    if (m->max_connections)
        fprintf(out, " max_connections %u", m->max_connections);
    if (m->is_backup)
        fprintf(out, " backup");
}

void rx_target_print(const struct rx_target *t, FILE *out)
{
    char text[80];
    if (t->kind == RX_TO_RESPOND) {
        fprintf(out, "respond \"%s\"", rx_log_escape((const uint8_t *)t->text, t->text_len, text, sizeof text));
        return;
    }
    if (t->kind != RX_TO_POOL) {
        fprintf(out, "%s", rx_target_word(t));
        return;
    }
    if (!t->pool->is_anonymous)
        fprintf(out, "%s: ", t->pool->name);
    for (uint32_t i = 0; i < t->pool->n_members; i++) {
        fprintf(out, "%s", i ? ", " : "");
        member_print(&t->pool->members[i], out);
    }
    if (t->pool->balance != RX_BALANCE_ROUND_ROBIN)
        fprintf(out, " (%s)", rx_balance_name(t->pool->balance));
}

static void backends_json(const struct rx_pool *p, struct rx_json *j)
{
    char text[RX_ADDR_TEXT];
    rx_json_key(j, "backends");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < p->n_members; i++) {
        const struct rx_member *m = &p->members[i];
        rx_json_open(j, '{');
        rx_json_key(j, "name");
        rx_json_string(j, m->name);
        rx_json_key(j, "address"); // a name has none before it is looked up
        rx_json_string(j, m->addr.len ? rx_addr_print(&m->addr.sa, text) : NULL);
        rx_json_key(j, "weight");
        rx_json_number(j, m->weight);
        rx_json_key(j, "backup");
        rx_json_bool(j, m->is_backup);
        rx_json_key(j, "max_connections");
        rx_json_number(j, m->max_connections);
        rx_json_close(j);
    }
    rx_json_close(j);
}

void rx_target_json(const struct rx_target *t, struct rx_json *j)
{
    rx_json_open(j, '{');
    rx_json_key(j, "action");
    rx_json_string(j, t->kind == RX_TO_POOL ? "pool" : rx_target_word(t));
    if (t->kind == RX_TO_POOL) {
        rx_json_key(j, "pool");
        rx_json_string(j, t->pool->name);
        rx_json_key(j, "balance");
        rx_json_string(j, t->pool->policy_fn >= 0 ? "function" : rx_balance_name(t->pool->balance));
        rx_json_key(j, "tries");
        rx_json_number(j, t->pool->tries ? t->pool->tries : t->pool->n_members);
        backends_json(t->pool, j);
    } else if (t->kind == RX_TO_RESPOND) {
        rx_json_key(j, "text");
        rx_json_text(j, t->text, t->text_len);
    }
    rx_json_close(j);
}

// ---- the table as text ------------------------------------------------------------------------------------

static const char *duration(uint32_t ms, char buf[24])
{
    static const struct {
        uint32_t ms;
        const char *unit;
    } units[] = { { 86400000, "d" }, { 3600000, "h" }, { 60000, "m" }, { 1000, "s" }, { 1, "ms" } };
    unsigned i = 0;
    while (ms % units[i].ms || (!ms && units[i].ms != 1000))
        i++;
    snprintf(buf, 24, "%u%s", ms / units[i].ms, units[i].unit);
    return buf;
}

static const char *size(uint64_t bytes, char buf[24])
{
    bool is_m = bytes && bytes % (1u << 20) == 0, is_k = bytes && bytes % 1024 == 0;
    unsigned long long n = is_m ? bytes >> 20 : is_k ? bytes >> 10 : bytes;
    snprintf(buf, 24, "%llu%s", n, is_m ? "m" : is_k ? "k" : "b");
    return buf;
}

// A range and "*" are several addresses that are written alike: said once.
static bool is_bind_repeated(const struct rx_listen *l, uint32_t i)
{
    return i && !strcmp(l->binds[i].text, l->binds[i - 1].text);
}

// Rates are per second, per minute or per hour.
static const char *rate_text(const struct rx_rate *r, char buf[32])
{
    snprintf(buf, 32, "%u/%s", r->count, r->per_ms == 1000 ? "s" : r->per_ms == 60000 ? "m" : "h");
    return buf;
}

static void print_rate(const struct rx_rate *r, const char *whose, FILE *out)
{
    char buf[32];
    if (r->cost_ns)
        fprintf(out, "  at most %s new connections%s, %u at once\n", rate_text(r, buf), whose, r->burst);
}

static void print_head(const struct rx_listen *l, FILE *out)
{
    char a[24], b[24], c[24], d[24];
    fprintf(out, "listen");
    for (uint32_t i = 0; i < l->n_binds; i++)
        if (!is_bind_repeated(l, i))
            fprintf(out, "%s %s", i ? "," : "", l->binds[i].text);
    fprintf(out, "  (%s)\n  waits %s for up to %s of first bytes, %s for a backend, closes after %s without a byte\n",
            l->where, duration(l->peek_ms, a), size(l->peek_bytes, b), duration(l->connect_ms, c),
            duration(l->idle_ms, d));
    if (l->max_connections)
        fprintf(out, "  at most %u connections\n", l->max_connections);
    if (l->max_connections_per_ip)
        fprintf(out, "  at most %u connections per client (IPv6: per /%u)\n", l->max_connections_per_ip,
                l->ipv6_prefix);
    if (l->max_pending)
        fprintf(out, "  at most %u connections not yet recognised\n", l->max_pending);
    print_rate(&l->connection_rate, "", out);
    print_rate(&l->rate_per_ip, " of one client", out);
    if (l->over_limit != RX_TO_REFUSE)
        fprintf(out, "  whom a limit keeps out: %s\n", rx_target_word(&(struct rx_target){ .kind = l->over_limit }));
}

static const char *const transports[] = { "none", "tcp", "udp", "both" };

static char *conditions_text(const struct rx_route *r)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return NULL;
    if (r->transport != r->proto->transport)
        fprintf(f, "transport=%s ", transports[r->transport]);
    rx_conditions_print(r, f);
    return fclose(f) ? (free(text), NULL) : text;
}

// Whether somebody named it: the names build.c makes repeat what the line says anyway.
static bool is_named(const struct rx_route *r)
{
    size_t n = strlen(r->proto->name);
    return strncmp(r->name, r->proto->name, n) || (r->name[n] && r->name[n] != ' ');
}

static void print_route(const struct rx_route *r, const char *conditions, int wide[2], FILE *out)
{
    char a[24];
    static const char *const priorities[] = { "", ", latency", ", throughput" };
    fprintf(out, "  %3u  %-*s  %-*s -> ", r->index + 1, wide[0], r->proto->name, wide[1], conditions);
    rx_target_print(&r->to, out);
    if (r->fallback.kind != RX_TO_NONE) {
        fprintf(out, ", else ");
        rx_target_print(&r->fallback, out);
    }
    fprintf(out, "%s", priorities[r->priority]);
    if (r->max_connections)
        fprintf(out, ", at most %u", r->max_connections);
    if (r->rate)
        fprintf(out, ", %s/s each", size(r->rate, a));
    if (r->rate_total)
        fprintf(out, ", %s/s together", size(r->rate_total, a));
    if (is_named(r))
        fprintf(out, "  (\"%s\", %s)\n", r->name, r->where);
    else
        fprintf(out, "  (%s)\n", r->where);
}

static void print_fallback(const char *transport, const struct rx_target *t, FILE *out)
{
    fprintf(out, "  else  %s -> ", transport);
    if (t->kind == RX_TO_NONE)
        fprintf(out, "dropped and counted: there is no fallback");
    else
        rx_target_print(t, out);
    fprintf(out, "\n");
}

static void print_listen(const struct rx_listen *l, FILE *out)
{
    enum { WIDEST = 48 };
    int wide[2] = { 0, 0 };
    char **texts = calloc(l->n_routes + 1, sizeof *texts);
    print_head(l, out);
    for (uint32_t i = 0; texts && i < l->n_routes; i++) {
        texts[i] = conditions_text(&l->routes[i]);
        int name = (int)strlen(l->routes[i].proto->name), conditions = texts[i] ? (int)strlen(texts[i]) : 0;
        wide[0] = RX_MAX(wide[0], RX_MIN(name, WIDEST));
        wide[1] = RX_MAX(wide[1], conditions <= WIDEST ? conditions : 0);
    }
    for (uint32_t i = 0; i < l->n_routes; i++)
        print_route(&l->routes[i], texts && texts[i] ? texts[i] : "", wide, out);
    print_fallback("tcp", &l->fallback_tcp, out);
    if (l->fallback_udp.kind != RX_TO_NONE)
        print_fallback("udp", &l->fallback_udp, out);
    for (uint32_t i = 0; texts && i < l->n_routes; i++)
        free(texts[i]);
    free(texts);
}

void rx_table_print(const struct rx_conf *conf, FILE *out)
{
    for (uint32_t i = 0; i < conf->n_listens; i++) {
        if (i)
            fprintf(out, "\n");
        print_listen(conf->listens[i], out);
    }
}

// ---- the table as JSON ------------------------------------------------------------------------------------

static void number(struct rx_json *j, const char *key, uint32_t v)
{
    rx_json_key(j, key);
    rx_json_number(j, v);
}

// 0 stands for "no limit".
static void limit(struct rx_json *j, const char *key, uint64_t v)
{
    rx_json_key(j, key);
    if (v)
        rx_json_number(j, v);
    else
        rx_json_null(j);
}

static void target(struct rx_json *j, const char *key, const struct rx_target *t)
{
    rx_json_key(j, key);
    if (t->kind == RX_TO_NONE)
        rx_json_null(j);
    else
        rx_target_json(t, j);
}

static void string(struct rx_json *j, const char *key, const char *s)
{
    rx_json_key(j, key);
    rx_json_string(j, s);
}

static void route_json(const struct rx_route *r, struct rx_json *j)
{
    static const char *const priorities[] = { "both", "latency", "throughput" };
    rx_json_open(j, '{');
    number(j, "number", r->index + 1);
    string(j, "name", r->name);
    string(j, "where", r->where);
    string(j, "protocol", r->proto->name);
    string(j, "transport", transports[r->transport]);
    rx_json_key(j, "conditions");
    conditions_json(r, j);
    target(j, "to", &r->to);
    target(j, "fallback", &r->fallback);
    string(j, "priority", priorities[r->priority]);
    number(j, "connect_timeout_ms", r->connect_ms);
    number(j, "idle_timeout_ms", r->idle_ms);
    limit(j, "max_connections", r->max_connections);
    limit(j, "rate", r->rate);
    limit(j, "rate_total", r->rate_total);
    rx_json_close(j);
}

static void rate_json(struct rx_json *j, const char *key, const struct rx_rate *r)
{
    char buf[32];
    rx_json_key(j, key);
    if (!r->cost_ns) {
        rx_json_null(j);
        return;
    }
    rx_json_open(j, '{');
    string(j, "rate", rate_text(r, buf));
    number(j, "burst", r->burst);
    rx_json_close(j);
}

static void listen_json(const struct rx_listen *l, struct rx_json *j)
{
    rx_json_open(j, '{');
    rx_json_key(j, "addresses");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < l->n_binds; i++)
        if (!is_bind_repeated(l, i))
            rx_json_string(j, l->binds[i].text);
    rx_json_close(j);
    string(j, "where", l->where);
    number(j, "peek_timeout_ms", l->peek_ms);
    number(j, "peek_buffer_size", l->peek_bytes);
    number(j, "connect_timeout_ms", l->connect_ms);
    number(j, "idle_timeout_ms", l->idle_ms);
    limit(j, "max_connections", l->max_connections);
    limit(j, "max_connections_per_ip", l->max_connections_per_ip);
    number(j, "ipv6_prefix", l->ipv6_prefix);
    limit(j, "max_pending", l->max_pending);
    rate_json(j, "connection_rate", &l->connection_rate);
    rate_json(j, "rate_per_ip", &l->rate_per_ip);
    string(j, "over_limit", rx_target_word(&(struct rx_target){ .kind = l->over_limit }));
    rx_json_key(j, "routes");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < l->n_routes; i++)
        route_json(&l->routes[i], j);
    rx_json_close(j);
    target(j, "fallback_tcp", &l->fallback_tcp);
    target(j, "fallback_udp", &l->fallback_udp);
    rx_json_close(j);
}

void rx_table_json(const struct rx_conf *conf, struct rx_json *j)
{
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < conf->n_listens; i++)
        listen_json(conf->listens[i], j);
    rx_json_close(j);
}
