// SPDX-License-Identifier: MIT
// The only file that includes lua.h. Enters: a path and the command line. Leaves: a generation, or findings.
// The runtime modules come from the binary (embed.c).
// The state that loads a config is closed when it is loaded: nothing of Lua survives in the generation.
#include "script.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "addr.h"
#include "backend.h"
#include "embed.h"
#include "log.h"
#include "route.h"
#include "sys.h"

enum { MEMORY_LIMIT = 64 * 1024 * 1024, KEYS = 8, KEY_MAX = 255, DYNAMIC_MAX = 4096 };

// A target that a function named by its address: made on first use, kept as long as the generation.
struct dynamic {
    struct dynamic *next;
    struct rx_target target;
    struct rx_pool pool;
    struct rx_backend backend;
    atomic_uint cursor;
    uint32_t order[1];
    char name[];
};

struct rx_script {
    lua_State *L; // owned
    struct rx_conf *conf; // borrowed: it owns this; NULL while loading
    int *refs;            // owned
    uint32_t n_refs;
    struct rx_call call;
    struct rx_view_door view;
    const struct rx_script_conn *conn; // during a call
    struct dynamic *dynamics;          // owned
    unsigned n_dynamics;
    struct rx_target action; // an action a function chose
    char keys[KEYS][KEY_MAX + 1]; // results of identify live here for a while: several may match one connection
    unsigned next_key;
    size_t memory;
    char *text; // owned: the text an rx.respond of a function says
    char buf[512]; // answers of conn_text that have to be written
};

static int preload_one(lua_State *L)
{
    const struct rx_embed *e = lua_touserdata(L, lua_upvalueindex(1));
    char chunk[96];
    snprintf(chunk, sizeof chunk, "=%s", e->name);
    if (luaL_loadbufferx(L, e->text, (size_t)(e->end - e->text), chunk, "t"))
        return lua_error(L);
    lua_pushvalue(L, 1); // the module's name, as require passes it
    lua_call(L, 1, 1);
    return 1;
}

// "refractium/load.lua" is required as "refractium.load".
static void module_name(const char *file, char name[96])
{
    snprintf(name, 96, "%.*s", (int)(strlen(file) - 4), file);
    for (char *p = name; *p; p++)
        if (*p == '/')
            *p = '.';
}

static void preload(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    for (unsigned i = 0; i < rx_n_embeds; i++) {
        char name[96];
        size_t n = strlen(rx_embeds[i].name);
        if (strncmp(rx_embeds[i].name, "refractium/", 11) || n < 5)
            continue;
        module_name(rx_embeds[i].name, name);
        lua_pushlightuserdata(L, (void *)&rx_embeds[i]);
        lua_pushcclosure(L, preload_one, 1);
        lua_setfield(L, -2, name);
    }
    lua_pop(L, 2);
}

static void set_string(lua_State *L, const char *key, const char *value)
{
    if (!value)
        return;
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

static void set_true(lua_State *L, const char *key, bool value)
{
    if (!value)
        return;
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, key);
}

// The command line as a table of strings; lua/refractium/forward.lua documents it.
static void push_cli(lua_State *L, const struct rx_args *a)
{
    lua_newtable(L);
    set_string(L, "config", a->is_config_typed ? a->config : NULL);
    set_string(L, "bind", a->bind);
    set_string(L, "port", a->port);
    set_string(L, "workers", a->workers);
    set_string(L, "peek_timeout", a->peek_timeout);
    set_string(L, "peek_buffer", a->peek_buffer);
    set_string(L, "max_connections", a->max_connections);
    set_string(L, "log_format", a->log_format);
    set_string(L, "only", a->only);
    set_true(L, "no_hot_reload", a->no_hot_reload);
    set_true(L, "debug", a->is_debug);
    lua_newtable(L);
    for (unsigned i = 0; i < a->n_forward; i++) {
        lua_pushstring(L, a->forward[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "forward");
    lua_newtable(L);
    set_true(L, "bind", a->is_bind_typed);
    set_true(L, "port", a->is_port_typed);
    lua_setfield(L, -2, "explicit");
}

static int traceback(lua_State *L)
{
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

// A config with a route for every protocol that ships, those in C first: what `explain --builtin` identifies among.
static void push_everything(lua_State *L)
{
    const struct rx_embed *order = rx_embed_find("scripts/protocols/ORDER");
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    luaL_addstring(&text, "local rx = require 'refractium'\n"
                          "rx.listen '127.0.0.1:1' { peek_buffer_size = '64k', routes = {\n");
    for (unsigned i = 0; i < rx_n_protos; i++) {
        lua_pushfstring(L, "{ rx['%s'], to = rx.drop },\n", rx_protos[i]->name);
        luaL_addvalue(&text);
    }
    for (const char *line = order->text, *end; line < order->end; line = end + 1) {
        end = memchr(line, '\n', (size_t)(order->end - line));
        if (!end)
            break;
        lua_pushlstring(L, line, (size_t)(end - line));
        lua_pushfstring(L, "{ rx['%s'], to = rx.drop },\n", lua_tostring(L, -1));
        lua_remove(L, -2);
        if (end > line && *line != '#')
            luaL_addvalue(&text);
        else
            lua_pop(L, 1);
    }
    luaL_addstring(&text, "} }\n");
    luaL_pushresult(&text);
}

// chunk texts by name: the embedded ones and, for a state that must run what another ran, the config's own.
static void push_chunks(lua_State *L, const struct rx_conf *conf)
{
    lua_newtable(L);
    for (unsigned i = 0; i < rx_n_embeds; i++) {
        const struct rx_embed *e = &rx_embeds[i];
        if (!strncmp(e->name, "refractium/", 11) || !strcmp(e->name, "refractium.lua"))
            continue;
        lua_pushlstring(L, e->text, (size_t)(e->end - e->text));
        lua_setfield(L, -2, e->name);
    }
    push_everything(L);
    lua_setfield(L, -2, RX_SCRIPT_EVERYTHING);
    for (uint32_t i = 0; conf && i < conf->n_sources; i++) {
        lua_pushlstring(L, conf->sources[i].text, conf->sources[i].len);
        lua_setfield(L, -2, conf->sources[i].path);
    }
}

// Runs the loader: leaves errors, functions, files on the stack. b is NULL in a worker's state, which only collects.
static bool run(struct rx_script *s, struct rx_build *b, const struct rx_args *a, const struct rx_conf *conf)
{
    lua_State *L = s->L;
    luaL_openlibs(L);
    preload(L);
    lua_pushcfunction(L, traceback);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "refractium.load");
    if (lua_pcall(L, 1, 1, 1))
        return false;
    lua_pushlightuserdata(L, (void *)&rx_door);
    lua_pushlightuserdata(L, b);
    push_chunks(L, conf);
    push_cli(L, a);
    set_true(L, "collect", !b);
    lua_pushlightuserdata(L, &s->view);
    return lua_pcall(L, 5, 3, 1) == 0;
}

// Takes the functions from the stack: each becomes a reference, in the order of their numbers.
static int take_functions(struct rx_script *s, uint32_t n)
{
    lua_State *L = s->L;
    s->refs = calloc(n + 1, sizeof *s->refs);
    if (!s->refs)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        lua_rawgeti(L, -2, (int)i + 1);
        if (!lua_isfunction(L, -1))
            return -1;
        s->refs[i] = luaL_ref(L, LUA_REGISTRYINDEX);
        s->n_refs = i + 1;
    }
    return 0;
}

// Files of the program itself need not be kept, and are not the user's to edit.
static bool is_carried(const char *path)
{
    return rx_embed_find(path) ? strncmp(path, "scripts/", 8) == 0 : !strcmp(path, RX_SCRIPT_EVERYTHING);
}

static int take_sources(struct rx_script *s, struct rx_build *b)
{
    lua_State *L = s->L;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        size_t len;
        const char *text = lua_tolstring(L, -1, &len);
        if (lua_type(L, -2) == LUA_TSTRING && is_carried(lua_tostring(L, -2))) {
            lua_pop(L, 1);
            continue;
        }
        if (!text || lua_type(L, -2) != LUA_TSTRING || rx_build_source(b, lua_tostring(L, -2), text, len))
            return -1;
        lua_pop(L, 1);
    }
    return 0;
}

static struct rx_script *script_new(struct rx_conf *conf);

struct rx_conf *rx_script_load(const struct rx_args *a, rx_report_fn *report, void *data)
{
    struct rx_conf *conf = NULL;
    struct rx_build *b = rx_build_new(report, data);
    struct rx_script *s = b ? script_new(NULL) : NULL;
    if (!b || !s) {
        static const char words[] = "out of memory";
        report(data, RX_REPORT_ERROR, words, sizeof words - 1);
    } else if (!run(s, b, a, NULL)) {
        rx_build_report(b, RX_REPORT_ERROR, "%s", lua_tostring(s->L, -1));
    } else if (!rx_build_errors(b)) {
        bool has_file = a->is_config_typed || a->n_forward == 0;
        uint32_t n = rx_build_functions(b);
        if (take_functions(s, n) || take_sources(s, b))
            rx_build_report(b, RX_REPORT_ERROR, "the config's functions could not be kept");
        else
            conf = rx_build_finish(b, has_file ? a->config : NULL);
        if (conf && n && (conf->scripts = calloc(1, sizeof(struct rx_script *)))) {
            s->conf = conf;
            conf->scripts[conf->n_scripts++] = s;
            lua_settop(s->L, 0);
            s = NULL;
        }
    }
    rx_script_free(s);
    rx_build_free(b);
    return conf;
}

int rx_script_spawn(struct rx_conf *conf, const struct rx_args *a, unsigned n, rx_report_fn *report, void *data)
{
    if (!conf->n_fns)
        return 0;
    struct rx_script **list = realloc(conf->scripts, (conf->n_scripts + n) * sizeof *list);
    if (!list)
        return -1;
    conf->scripts = list;
    for (unsigned i = 0; i < n; i++) {
        struct rx_script *s = script_new(conf);
        bool is_good = s && run(s, NULL, a, conf) && take_functions(s, conf->n_fns) == 0;
        if (!is_good) {
            const char *why = s && lua_isstring(s->L, -1) ? lua_tostring(s->L, -1) : "the config ran differently";
            report(data, RX_REPORT_ERROR, why, strlen(why));
            rx_script_free(s);
            return -1;
        }
        lua_settop(s->L, 0);
        list[conf->n_scripts++] = s;
    }
    return 0;
}

const char *rx_script_template(size_t *len)
{
    const struct rx_embed *e = rx_embed_find("refractium.lua");
    *len = (size_t)(e->end - e->text);
    return e->text;
}

// ---- the state ----------------------------------------------------------------------------------------------------

// The script whose call runs on this thread: now_ns has no argument to tell it.
static _Thread_local struct rx_script *running;

static void *limited_alloc(void *data, void *ptr, size_t old, size_t size)
{
    struct rx_script *s = data;
    if (!ptr)
        old = 0;
    if (!size) {
        free(ptr);
        s->memory -= old;
        return NULL;
    }
    if (size > old && s->memory + (size - old) > MEMORY_LIMIT)
        return NULL; // LuaJIT raises LUA_ERRMEM
    void *p = realloc(ptr, size);
    if (p)
        s->memory += size - old;
    return p;
}

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

static int view_conn_text(struct rx_call *call, uint32_t what)
{
    struct rx_script *s = script_of(call);
    const struct rx_script_conn *c = s->conn;
    if (!c)
        return 0;
    const struct rx_facts *f = c->facts;
    switch ((enum rx_conn_text)what) {
    case RX_CONN_CLIENT_IP:
        return answer_string(call, rx_addr_print_host(&c->ask->from->sa, s->buf));
    case RX_CONN_LISTENER:
        return answer_string(call, c->listen ? c->listen->name : NULL);
    case RX_CONN_TRANSPORT:
        return answer_string(call, "tcp");
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
    }
    return 0;
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
    case RX_CONN_QTYPE:
        return c->facts && c->facts->have & RX_FACT_QTYPE ? c->facts->qtype : -1;
    case RX_CONN_ECH:
        return c->facts && c->facts->have & RX_FACT_ECH ? c->facts->ech : -1;
    }
    return -1;
}

static uint32_t view_pool_size(struct rx_call *call)
{
    const struct rx_pool *pool = call->pool;
    return pool ? pool->n_primary : 0;
}

static int view_backend_name(struct rx_call *call, uint32_t i)
{
    const struct rx_pool *pool = call->pool;
    return pool && i < pool->n_primary ? answer_string(call, pool->backends[i].name) : 0;
}

static uint32_t view_backend_active(struct rx_call *call, uint32_t i)
{
    const struct rx_pool *pool = call->pool;
    return pool && i < pool->n_primary ? atomic_load(&pool->backends[i].state->active) : 0;
}

// The budget begins when it is first asked for: a call that ends before the first tick never looks at the clock.
static uint64_t view_now_ns(void)
{
    uint64_t now = rx_sys_now_ns();
    if (running && !running->call.until_ns)
        running->call.until_ns = now + (uint64_t)running->conf->script_budget_ms * 1000000;
    return now;
}

static void view_log(uint32_t level, struct rx_slice text)
{
    char line[1024];
    rx_log_escape((const uint8_t *)text.ptr, text.len, line, sizeof line);
    rx_log_limited(RX_MIN(level, (uint32_t)RX_LOG_DEBUG), "script: %s", line);
}

static int64_t view_find(struct rx_call *call, struct rx_slice needle, uint32_t from)
{
    if (!call->ptr || from > call->len || !needle.len)
        return call->ptr && !needle.len && from <= call->len ? (int64_t)from : -1;
    const uint8_t *at = call->ptr + from, *end = call->ptr + call->len;
    while ((size_t)(end - at) >= needle.len) {
        at = memchr(at, (uint8_t)needle.ptr[0], (size_t)(end - at) - needle.len + 1);
        if (!at)
            return -1;
        if (!memcmp(at, needle.ptr, needle.len))
            return at - call->ptr;
        at++;
    }
    return -1;
}

static struct rx_script *script_new(struct rx_conf *conf)
{
    struct rx_script *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->conf = conf;
    s->view = (struct rx_view_door){ .version = RX_ABI_VERSION,
                                     .size = sizeof s->view,
                                     .call = &s->call,
                                     .conn_text = view_conn_text,
                                     .conn_number = view_conn_number,
                                     .pool_size = view_pool_size,
                                     .backend_name = view_backend_name,
                                     .backend_active = view_backend_active,
                                     .now_ns = view_now_ns,
                                     .log = view_log,
                                     .find = view_find };
    s->L = lua_newstate(limited_alloc, s);
    if (!s->L) {
        free(s);
        return NULL;
    }
    return s;
}

void rx_script_free(struct rx_script *s)
{
    if (!s)
        return;
    lua_close(s->L);
    while (s->dynamics) {
        struct dynamic *d = s->dynamics;
        s->dynamics = d->next;
        rx_backend_state_put(d->backend.state);
        free(d);
    }
    free(s->text);
    free(s->refs);
    free(s);
}

// ---- calls ----------------------------------------------------------------------------------------------------------

static void failed(struct rx_script *s, struct rx_fn *fn, int rc)
{
    const char *why = lua_isstring(s->L, -1) ? lua_tostring(s->L, -1) : "error";
    char text[400];
    bool is_over = s->call.until_ns && rx_sys_now_ns() >= s->call.until_ns;
    rx_log_escape((const uint8_t *)why, strlen(why), text, sizeof text);
    atomic_fetch_add_explicit(&fn->errors, 1, memory_order_relaxed);
    if (rc == LUA_ERRMEM)
        lua_gc(s->L, LUA_GCCOLLECT, 0); // LuaJIT does not collect before it gives up
    if ((is_over || rc == LUA_ERRMEM) && !atomic_exchange(&fn->is_quarantined, true))
        rx_log(RX_LOG_ERROR, "script: %s: %s; quarantined until the next good reload", fn->where, text);
    else
        rx_log_limited(RX_LOG_WARN, "script: %s: %s", fn->where, text);
}

// Calls function number fn; true: `results` values are on the stack, above s->L's empty one.
static bool call(struct rx_script *s, uint32_t fn, int results)
{
    struct rx_fn *f;
    if (!s || fn >= s->n_refs || atomic_load_explicit(&(f = &s->conf->fns[fn])->is_quarantined, memory_order_relaxed))
        return false;
    struct rx_script *outer = running;
    running = s;
    s->call.is_open = 1;
    s->call.until_ns = 0;
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->refs[fn]);
    int rc = lua_pcall(s->L, 0, results, 0);
    s->call.is_open = 0;
    if (RX_UNLIKELY(rc)) {
        failed(s, f, rc);
        lua_settop(s->L, 0);
    }
    running = outer;
    return !rc;
}

static bool call_about(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c, int results)
{
    if (!s)
        return false;
    s->conn = c;
    s->call.conn = c;
    s->call.ptr = c->ask->p;
    s->call.len = c->ask->n;
    bool is_good = call(s, fn, results);
    s->conn = NULL;
    s->call.conn = NULL;
    return is_good;
}

static void keep_key(struct rx_script *s, struct rx_facts *f)
{
    size_t len;
    const char *key = lua_tolstring(s->L, 2, &len);
    if (!key || len > KEY_MAX)
        return;
    char *kept = s->keys[s->next_key++ % KEYS];
    memcpy(kept, key, len);
    f->key = (struct rx_text){ (const uint8_t *)kept, (uint32_t)len };
    f->have = RX_FACT_KEY;
}

enum rx_verdict rx_script_identify(struct rx_script *s, uint32_t fn, const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    f->have = f->pending = f->need = 0;
    f->note = RX_NOTE_NONE;
    if (!s)
        return RX_NO;
    s->call.ptr = p;
    s->call.len = n;
    if (!call(s, fn, 2))
        return RX_NO;
    int v = (int)lua_tointeger(s->L, 1);
    if (v == RX_MATCH && lua_type(s->L, 2) == LUA_TSTRING)
        keep_key(s, f);
    lua_settop(s->L, 0);
    return v == RX_MATCH || v == RX_MORE ? (enum rx_verdict)v : RX_NO;
}

bool rx_script_when(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c)
{
    if (!call_about(s, fn, c, 1))
        return false;
    bool holds = lua_toboolean(s->L, 1);
    lua_settop(s->L, 0);
    return holds;
}

bool rx_script_accept(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c)
{
    return rx_script_when(s, fn, c); // an error refuses, as nothing is known of the client yet
}

int64_t rx_script_policy(struct rx_script *s, const struct rx_script_conn *c, const struct rx_pool *pool)
{
    int64_t turn = -1;
    if (!s)
        return -1;
    s->call.pool = pool;
    if (call_about(s, (uint32_t)pool->policy_fn, c, 1)) {
        double i = lua_isnumber(s->L, 1) ? lua_tonumber(s->L, 1) : -1;
        if (i >= 0 && i < pool->n_primary)
            turn = pool->turn_of[(uint32_t)i];
        lua_settop(s->L, 0);
    }
    s->call.pool = NULL;
    return turn;
}

// A pool of the one address a function named. Names are not looked up here: that would stop the worker.
static const struct rx_target *dynamic_target(struct rx_script *s, const char *address)
{
    for (struct dynamic *d = s->dynamics; d; d = d->next)
        if (!strcmp(d->name, address))
            return &d->target;
    char why[RX_ADDR_TEXT] = "needs an address, not a name: use a pool";
    struct rx_addr *list = NULL;
    unsigned n = 0;
    if (s->n_dynamics >= DYNAMIC_MAX || rx_addr_parse_target(address, false, &list, &n, why) || n != 1) {
        rx_log_limited(RX_LOG_WARN, "script: to = \"%.100s\": %s", address, why);
        free(list);
        return NULL;
    }
    size_t len = strlen(address) + 1;
    struct dynamic *d = calloc(1, sizeof *d + len);
    struct rx_backend_state *state = d ? rx_backend_state_get(list) : NULL;
    if (!state) {
        free(d);
        free(list);
        return NULL;
    }
    memcpy(d->name, address, len);
    d->backend = (struct rx_backend){ .name = d->name, .addr = *list, .weight = 1, .state = state };
    d->pool = (struct rx_pool){ .name = d->name,
                                .is_anonymous = true,
                                .tries = 1,
                                .backends = &d->backend,
                                .n_backends = 1,
                                .n_primary = 1,
                                .policy_fn = -1,
                                .turn_of = d->order,
                                .order = d->order,
                                .n_order = 1,
                                .cursor = &d->cursor };
    d->target = (struct rx_target){ .kind = RX_TO_POOL, .pool = &d->pool };
    d->next = s->dynamics;
    s->dynamics = d;
    s->n_dynamics++;
    free(list);
    return &d->target;
}

static const struct rx_target *action_target(struct rx_script *s, enum rx_target_kind kind)
{
    size_t len = 0;
    const char *text = lua_tolstring(s->L, 2, &len);
    free(s->text);
    s->text = NULL;
    if (kind == RX_TO_RESPOND && text && (s->text = malloc(len + 1)))
        memcpy(s->text, text, len);
    s->action = (struct rx_target){ .kind = kind, .text = s->text, .text_len = s->text ? (uint32_t)len : 0 };
    return &s->action;
}

const struct rx_target *rx_script_target(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c)
{
    const struct rx_target *to = NULL;
    if (!call_about(s, fn, c, 2))
        return NULL;
    int kind = lua_type(s->L, 1) == LUA_TNUMBER ? (int)lua_tointeger(s->L, 1) : -1;
    if (kind == RX_TO_POOL && lua_type(s->L, 2) == LUA_TSTRING) {
        to = dynamic_target(s, lua_tostring(s->L, 2));
    } else if (kind == RX_TO_POOL && lua_type(s->L, 2) == LUA_TNUMBER) {
        uint32_t pool = (uint32_t)lua_tointeger(s->L, 2);
        if (pool < s->conf->n_pools)
            to = s->conf->pools[pool]->target;
    } else if (kind > RX_TO_POOL && kind < RX_TO_SCRIPT) {
        to = action_target(s, (enum rx_target_kind)kind);
    }
    lua_settop(s->L, 0);
    return to;
}
