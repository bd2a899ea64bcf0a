// SPDX-License-Identifier: MIT
// Enters: how the health of a pool's backends is checked. Leaves: a rule as core/health.c wants it, and a key of all that
// makes a difference to a verdict: backends of the same address and key share one state, also over a reload.
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "build_draft.h"
#include "digest.h"
#include "regex.h"

static struct rx_health_rule *rule_of(struct rx_build *b, int32_t pool)
{
    if (pool < 0 || (uint32_t)pool >= b->conf->n_pools || !b->conf->pools[pool]->health) {
        fail(b, "no such pool, or its health is not checked");
        return NULL;
    }
    return b->conf->pools[pool]->health;
}

// They become part of a request, or of a handshake.
static bool is_line(struct rx_slice s)
{
    for (uint32_t i = 0; i < s.len; i++)
        if ((uint8_t)s.ptr[i] <= ' ' || s.ptr[i] == 0x7f)
            return false;
    return s.len <= 1024;
}

static int rule_check(struct rx_build *b, const struct rx_health_spec *s)
{
    bool is_http = s->kind == RX_CHECK_HTTP || s->kind == RX_CHECK_HTTPS;
    if (s->kind > RX_CHECK_UDP)
        return fail(b, "unknown check");
    if (!s->every_ms || !s->timeout_ms || !s->rise || !s->fall || s->port > 65535)
        return fail(b, "every, timeout, rise and fall must be more than 0, port at most 65535");
    if (!is_line(s->host) || !is_line(s->path) || !is_line(s->method) || !is_line(s->sni) || s->sni.len > 253)
        return fail(b, "host, path, method and sni have no blanks or control characters, and at most 1024 bytes");
    if (is_http && s->send.len)
        return fail(b, "an http check has a request of its own: leave send out");
    if (s->kind == RX_CHECK_UDP && !s->send.len)
        return fail(b, "a udp check needs something to send");
    if (s->send.len > 16 * 1024)
        return fail(b, "send has at most 16384 bytes");
    return 0;
}

static const char *keep_some(struct rx_build *b, struct rx_slice s, const char *otherwise)
{
    return s.len ? keep(b, s) : otherwise;
}

int rx_door_pool_health(struct rx_build *b, int32_t pool, const struct rx_health_spec *s)
{
    if (pool < 0 || (uint32_t)pool >= b->conf->n_pools || b->conf->pools[pool]->health)
        return fail(b, "no such pool, or its health is checked already");
    if (rule_check(b, s))
        return -1;
    struct rx_health_rule *r = rx_arena_get(b->conf->arena, sizeof *r);
    if (!r)
        return no_memory(b);
    *r = (struct rx_health_rule){ .kind = (enum rx_check_kind)s->kind,
                                  .every_ms = s->every_ms,
                                  .timeout_ms = s->timeout_ms,
                                  .rise = s->rise,
                                  .fall = s->fall,
                                  .port = (uint16_t)s->port,
                                  .is_verified = s->is_verified,
                                  .sni = keep_some(b, s->sni, NULL),
                                  .host = keep_some(b, s->host, NULL),
                                  .path = keep_some(b, s->path, "/"),
                                  .method = keep_some(b, s->method, "GET"),
                                  .send = keep(b, s->send),
                                  .send_len = s->send.len };
    if (!r->send || !r->path || !r->method || (s->sni.len && !r->sni) || (s->host.len && !r->host))
        return no_memory(b);
    if (fn_check(b, s->expect, RX_FN_EXPECT, &r->expect_fn))
        return -1;
    b->conf->pools[pool]->health = r;
    return pool;
}

int rx_door_pool_health_status(struct rx_build *b, int32_t pool, uint32_t low, uint32_t high)
{
    struct rx_health_rule *r = rule_of(b, pool);
    if (!r)
        return -1;
    if (low < 100 || low > high || high > 599)
        return fail(b, "a status is a number from 100 to 599, or a range of these");
    struct rx_status_range *list = rx_arena_grow(b->conf->arena, r->status, r->n_status, sizeof *list);
    if (!list)
        return no_memory(b);
    r->status = list;
    list[r->n_status++] = (struct rx_status_range){ (uint16_t)low, (uint16_t)high };
    return 0;
}

int rx_door_pool_health_expect(struct rx_build *b, int32_t pool, struct rx_slice text)
{
    char why[128];
    struct rx_health_rule *r = rule_of(b, pool);
    if (!r)
        return -1;
    if (!text.len || text.len > 4096)
        return fail(b, "expect has 1 to 4096 bytes");
    struct rx_texts *t = &r->expect;
    if (text.ptr[0] != '~')
        return rx_texts_add(b->conf->arena, t, text) ? no_memory(b) : 0;
    struct rx_regex **list = rx_arena_grow(b->conf->arena, t->regex, t->n_regex, sizeof *list);
    const char **words = rx_arena_grow(b->conf->arena, t->regex_text, t->n_regex, sizeof *words);
    char *copy = keep(b, text);
    if (!list || !words || !copy)
        return no_memory(b);
    struct rx_regex *one = rx_regex_new(text.ptr + 1, text.len - 1, 0, why);
    t->regex = list;
    t->regex_text = words;
    if (!one)
        return fail(b, "%s", why);
    words[t->n_regex] = copy;
    list[t->n_regex++] = one;
    return 0;
}

static uint64_t add_string(uint64_t h, const char *s)
{
    return s ? rx_digest(h, s, strlen(s) + 1) : rx_digest(h, "\1", 1);
}

// By which way a check goes.
static uint64_t add_sockopt(uint64_t h, const struct rx_sockopt *o)
{
    return add_string(rx_digest(h, &o->mark, sizeof o->mark), o->interface);
}

static uint64_t digest_of(const struct rx_build *b, const struct rx_pool *p)
{
    const struct rx_health_rule *r = p->health;
    uint64_t h = RX_DIGEST_START;
    uint32_t numbers[] = {
        r->kind, r->every_ms, r->timeout_ms, r->rise, r->fall, r->port, r->is_verified, r->n_status
    };
    h = rx_digest(h, numbers, sizeof numbers);
    h = add_string(add_string(add_string(add_string(h, r->sni), r->host), r->path), r->method);
    h = rx_digest(rx_digest(h, &r->send_len, sizeof r->send_len), r->send, r->send_len);
    h = rx_digest(h, r->status, r->n_status * sizeof *r->status);
    for (uint32_t i = 0; i < r->expect.n; i++)
        h = rx_digest(rx_digest(h, &r->expect.len[i], sizeof r->expect.len[i]), r->expect.text[i], r->expect.len[i]);
    for (uint32_t i = 0; i < r->expect.n_regex; i++)
        h = add_string(h, r->expect.regex_text[i]);
    if (r->expect_fn >= 0)
        h = rx_digest(h, &b->conf->fns[r->expect_fn].digest, sizeof(uint64_t));
    h = rx_digest(h, &p->check_proxy, sizeof p->check_proxy);
    for (uint32_t i = 0; i < p->sources.n; i++)
        h = rx_digest(h, &p->sources.list[i], sizeof p->sources.list[i]);
    return add_sockopt(h, &p->sockopt);
}

int rx_build_health_finish(struct rx_build *b, struct rx_pool *p)
{
    static const char *const words[] = { "tcp", "tls", "http", "https", "udp" };
    if (!p->health)
        return 0;
    uint64_t h = digest_of(b, p);
    p->check = rx_arena_printf(b->conf->arena, "%s #%016llx", words[p->health->kind], (unsigned long long)h);
    p->digest = rx_digest(p->digest, &h, sizeof h);
    return p->check ? 0 : -1;
}
