// SPDX-License-Identifier: MIT
// What running scripts may ask of C: struct rx_view_door. Enters: the call that is on. Leaves: numbers, and texts that
// live as long as the call. All are leaves: they never call Lua, never raise.
#include "script_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <time.h>

#include "addr.h"
#include "hook.h"
#include "log.h"
#include "proto/ja4.h"
#include "proxied.h"
#include "regex.h"
#include "roster.h"
#include "route.h"
#include "sink.h"
#include "sys.h"

static int answer(struct rx_call *call, const void *text, size_t len)
{
    call->text = (struct rx_slice){ text, (uint32_t)len };
    return 1;
}

static int answer_string(struct rx_call *call, const char *text)
{
    return text ? answer(call, text, strlen(text)) : 0;
}

static struct rx_script *script_of(struct rx_call *call)
{
    return RX_CONTAINER(call, struct rx_script, call);
}

static int fact(struct rx_call *call, const struct rx_facts *f, uint32_t bit, const struct rx_text *text)
{
    return f && f->have & bit ? answer(call, text->ptr, text->len) : 0;
}

// Of a hook's connection it is known, of another it is made from the first bytes.
static int ja4(struct rx_call *call, const struct rx_script_conn *c)
{
    struct rx_script *s = script_of(call);
    if (c->event)
        return *c->event->hooked->ja4 ? answer_string(call, c->event->hooked->ja4) : 0;
    return c->ask->n && rx_ja4(c->ask->p, c->ask->n, s->buf) ? answer_string(call, s->buf) : 0;
}

// what: RX_CONN_TLV or RX_CONN_TLV_SSL, and a type.
static int tlv(struct rx_call *call, const struct rx_proxied *p, uint32_t what)
{
    struct rx_text v;
    if (!p)
        return 0;
    if (what < RX_CONN_TLV_SSL)
        return rx_proxy_tlv(rx_proxied_tlvs(p), (uint8_t)what, &v) ? answer(call, v.ptr, v.len) : 0;
    if (!rx_proxy_tlv(rx_proxied_tlvs(p), RX_TLV_SSL, &v))
        return 0;
    v = (struct rx_text){ v.ptr + RX_TLV_SSL_HEAD, v.len - RX_TLV_SSL_HEAD };
    return rx_proxy_tlv(v, (uint8_t)what, &v) ? answer(call, v.ptr, v.len) : 0;
}

static int view_conn_text(struct rx_call *call, uint32_t what)
{
    struct rx_script *s = script_of(call);
    const struct rx_script_conn *c = s->conn;
    if (!c)
        return 0;
    const struct rx_facts *f = c->facts;
    if (what >= RX_CONN_TLV)
        return tlv(call, c->ask->proxied, what);
    switch ((enum rx_conn_text)what) {
    case RX_CONN_CLIENT_IP:
        return answer_string(call, rx_addr_print_host(&c->ask->from->sa, s->buf));
    case RX_CONN_LISTENER:
        return answer_string(call, c->listen ? c->listen->name : NULL);
    case RX_CONN_TRANSPORT:
        return answer_string(call, c->ask->is_udp || c->ask->n_grams ? "udp" : "tcp");
    case RX_CONN_PROTOCOL:
        return answer_string(call, c->known ? c->known->name : NULL);
    case RX_CONN_ROUTE:
        return answer_string(call, c->route ? c->route->name : NULL);
    case RX_CONN_SNI:
        return f ? fact(call, f, RX_FACT_SNI, &f->sni) : 0;
    case RX_CONN_ALPN:
        return f ? fact(call, f, RX_FACT_ALPN, &f->alpn) : 0;
    case RX_CONN_HOST:
        return f ? fact(call, f, RX_FACT_HOST, &f->host) : 0;
    case RX_CONN_PATH:
        return f ? fact(call, f, RX_FACT_PATH, &f->path) : 0;
    case RX_CONN_METHOD:
        return f ? fact(call, f, RX_FACT_METHOD, &f->method) : 0;
    case RX_CONN_SOFTWARE:
        return f ? fact(call, f, RX_FACT_SOFTWARE, &f->software) : 0;
    case RX_CONN_QNAME:
        return f ? fact(call, f, RX_FACT_QNAME, &f->qname) : 0;
    case RX_CONN_KEY:
        return f ? fact(call, f, RX_FACT_KEY, &f->key) : 0;
    case RX_CONN_USER:
        return f ? fact(call, f, RX_FACT_USER, &f->user) : 0;
    case RX_CONN_POOL:
        return answer_string(call, c->event ? c->event->hooked->pool : NULL);
    case RX_CONN_BACKEND:
        return answer_string(call, c->event ? c->event->hooked->backend : NULL);
    case RX_CONN_JA4:
        return ja4(call, c);
    case RX_CONN_WHY:
        return answer_string(call, c->event ? rx_reason_word(c->event->why) : NULL);
    case RX_CONN_VIA:
        return c->ask->proxied ? answer_string(call, rx_addr_print_host(&c->ask->proxied->via.sa, s->buf)) : 0;
    case RX_CONN_TLV: // above
    case RX_CONN_TLV_SSL:
        break;
    }
    return 0;
}

static double wall_time(uint64_t at_ms)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9 - (double)(rx_now_ms() - at_ms) / 1000;
}

static double hook_number(const struct rx_hook_event *e, enum rx_conn_number what)
{
    switch (what) {
    case RX_CONN_BYTES_IN:
        return (double)e->bytes[RX_TO_SERVER];
    case RX_CONN_BYTES_OUT:
        return (double)e->bytes[RX_TO_CLIENT];
    case RX_CONN_AGE:
        return (double)(e->now_ms - e->hooked->start_ms) / 1000;
    case RX_CONN_LOST:
        return (double)e->lost;
    case RX_CONN_TIME:
        return wall_time(e->now_ms);
    default:
        return -1;
    }
}

static double view_conn_number(struct rx_call *call, uint32_t what)
{
    const struct rx_script_conn *c = script_of(call)->conn;
    if (!c)
        return -1;
    switch ((enum rx_conn_number)what) {
    case RX_CONN_ID:
        return (double)c->ask->id;
    case RX_CONN_CLIENT_PORT:
        return rx_addr_port(&c->ask->from->sa);
    case RX_CONN_TO_PORT:
        return c->ask->to_port;
    case RX_CONN_PROXY:
        return c->ask->proxied ? c->ask->proxied->version : -1;
    case RX_CONN_QTYPE:
        return c->facts && c->facts->have & RX_FACT_QTYPE ? c->facts->qtype : -1;
    case RX_CONN_ECH:
        return c->facts && c->facts->have & RX_FACT_ECH ? c->facts->ech : -1;
    case RX_CONN_BYTES_IN:
    case RX_CONN_BYTES_OUT:
    case RX_CONN_AGE:
    case RX_CONN_LOST:
    case RX_CONN_TIME:
        return c->event ? hook_number(c->event, (enum rx_conn_number)what) : -1;
    }
    return -1;
}

static uint32_t view_pool_size(struct rx_call *call)
{
    const struct rx_roster *roster = call->pool;
    return roster ? roster->tiers[0].n : 0;
}

static int view_backend_name(struct rx_call *call, uint32_t i)
{
    const struct rx_roster *roster = call->pool;
    return i < view_pool_size(call) ? answer_string(call, roster->backends[i].name) : 0;
}

static uint32_t view_backend_active(struct rx_call *call, uint32_t i)
{
    const struct rx_roster *roster = call->pool;
    const struct rx_backend_state *state = i < view_pool_size(call) ? roster->backends[i].state : NULL;
    return state ? atomic_load(&state->active) : 0;
}

// The budget begins when it is first asked for: a call that ends before the first tick never looks at the clock.
static double view_spent_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t view_now_ns(void)
{
    uint64_t now = rx_sys_now_ns();
    struct rx_script *s = rx_script_running;
    if (s && !s->call.until_ns) {
        s->call.until_ns = now + (uint64_t)s->conf->script_budget_ms * 1000000;
        if (s->lent_until_ns)
            s->call.until_ns = RX_MIN(s->call.until_ns, s->lent_until_ns);
    }
    return now;
}

static void view_log(uint32_t level, const char *text, uint32_t len)
{
    char line[1024];
    if (rx_script_running && rx_script_running->is_mute)
        return;
    rx_log_escape((const uint8_t *)text, len, line, sizeof line);
    rx_log_limited(RX_MIN(level, (uint32_t)RX_LOG_DEBUG), "script: %s", line);
}

static int view_re_new(struct rx_call *call, const char *pattern, uint32_t len)
{
    struct rx_script *s = script_of(call);
    char *why = s->buf;
    struct rx_regex *r = NULL;
    snprintf(why, 128, "there are more than %d", RX_SCRIPT_RES);
    if (s->n_res < RX_SCRIPT_RES && (r = rx_regex_new(pattern, len, RX_REGEX_GROUPS, why))) {
        struct rx_regex **list = realloc(s->res, (s->n_res + 1) * sizeof *list);
        if (list) {
            s->res = list;
            list[s->n_res] = r;
            return (int)s->n_res++;
        }
        rx_regex_free(r);
        snprintf(why, 128, "out of memory");
    }
    answer_string(call, why);
    return -1;
}

// Ticks look at the clock now and then, and count each search as nothing: so does this.
static bool is_time_up(struct rx_script *s)
{
    enum { SEARCHES = 8 };
    if (!s->call.is_open || ++s->n_searches % SEARCHES)
        return false;
    return view_now_ns() >= s->call.until_ns;
}

static int view_re_find(struct rx_call *call, uint32_t re, const char *text, uint32_t len, uint32_t from)
{
    struct rx_script *s = script_of(call);
    const uint8_t *p = (const uint8_t *)text;
    if (re >= s->n_res || is_time_up(s))
        return -1;
    if (!p) {
        len = call->ptr ? call->len : 0;
        p = len ? call->ptr : (const uint8_t *)"";
    }
    return rx_regex_find(s->res[re], p, len, from, call->is_open ? call->until_ns : 0, call->spans);
}

static int view_file_write(struct rx_call *call, uint32_t i, const char *text, uint32_t len)
{
    struct rx_script *s = script_of(call);
    if (i >= s->n_sinks)
        return -1;
    return rx_sink_write(s->sinks[i], text, len) ? 1 : 0;
}

static double view_file_size(struct rx_call *call, uint32_t i)
{
    struct rx_script *s = script_of(call);
    return i < s->n_sinks ? (double)rx_sink_size(s->sinks[i]) : -1;
}

void rx_script_view_init(struct rx_script *s)
{
    s->view = (struct rx_view_door){ .version = RX_ABI_VERSION,
                                     .size = sizeof s->view,
                                     .call = &s->call,
                                     .conn_text = view_conn_text,
                                     .conn_number = view_conn_number,
                                     .pool_size = view_pool_size,
                                     .backend_name = view_backend_name,
                                     .backend_active = view_backend_active,
                                     .now_ns = view_now_ns,
                                     .spent_s = view_spent_s,
                                     .log = view_log,
                                     .re_new = view_re_new,
                                     .re_find = view_re_find,
                                     .file_write = view_file_write,
                                     .file_size = view_file_size,
                                     .state = &rx_script_state_door };
}
