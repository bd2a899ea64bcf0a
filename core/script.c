// SPDX-License-Identifier: MIT
// A Lua state: made, loaded, spawned per worker, and the gate through which its functions are called (script_call.c),
// with budget and quarantine. Only the files script*.c include lua.h.
// Enters: a path and the command line. Leaves: a generation, or findings. The runtime modules come from the binary
// (embed.c).
#include "script_state.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lualib.h>

#include "embed.h"
#include "log.h"
#include "regex.h"
#include "route.h"
#include "sessions.h"
#include "sys.h"
#include "watchdog.h"

enum {
    MEMORY_LIMIT = 64 * 1024 * 1024,
    NEST = 32 * 1024, // a new state takes 12 KB
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

void rx_script_preload(lua_State *L)
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

// guard.lua documents it.
static void push_guard(lua_State *L, const struct rx_args *a)
{
    lua_newtable(L);
    set_string(L, "proto", a->guard.proto);
    set_string(L, "dport", a->guard.dport);
    set_string(L, "window", a->guard.window);
    set_string(L, "timeout", a->guard.timeout);
    set_string(L, "access_log", a->guard.access_log ? a->guard.access_log : "/var/log/xray/access.log");
    set_string(L, "block_log", a->guard.block_log);
    set_string(L, "max_ips", a->guard.max_ips);
    set_string(L, "keep", a->guard.keep);
    set_true(L, "dry_run", a->guard.is_dry);
    lua_setfield(L, -2, "guard");
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
    set_string(L, "record", a->command == RX_CMD_RECORD ? a->record : NULL);
    if (a->command == RX_CMD_GUARD)
        push_guard(L, a);
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

// One load in one state. All of it runs protected: whatever asks Lua for memory may be refused it, which outside of a
// protected call ends the process.
struct loading {
    struct rx_script *s;
    struct rx_build *b; // NULL in a worker's state, which only collects
    const struct rx_args *a;
    const struct rx_conf *conf; // with sources to run; NULL: the files are read
    struct rx_seen *seen;       // NULL: nobody asks
    bool is_taken;              // the functions, and what else was wanted, were
};

// Runs the loader: leaves errors, functions, files on the stack.
static void run(lua_State *L, const struct loading *l)
{
    luaL_openlibs(L);
    rx_script_preload(L);
    lua_settop(L, 0);
    lua_pushcfunction(L, traceback);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "refractium.load");
    if (lua_pcall(L, 1, 1, 1))
        lua_error(L);
    lua_pushlightuserdata(L, (void *)&rx_door);
    lua_pushlightuserdata(L, l->b);
    push_chunks(L, l->conf);
    push_cli(L, l->a);
    set_true(L, "collect", !l->b);
    lua_pushlightuserdata(L, &l->s->view);
    if (lua_pcall(L, 5, 3, 1))
        lua_error(L);
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

// The files on the stack's top: path → text, or false.
static void take_seen(lua_State *L, struct rx_seen *seen)
{
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        size_t len = 0;
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
        if (lua_type(L, -2) == LUA_TSTRING && !is_carried(lua_tostring(L, -2)))
            rx_seen_add(seen, lua_tostring(L, -2), text, len);
        lua_pop(L, 1);
    }
}

static int take_sources(struct rx_script *s, struct rx_build *b)
{
    lua_State *L = s->L;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        size_t len;
        const char *text = lua_tolstring(L, -1, &len);
        if (lua_type(L, -1) == LUA_TBOOLEAN || (lua_type(L, -2) == LUA_TSTRING && is_carried(lua_tostring(L, -2)))) {
            lua_pop(L, 1);
            continue;
        }
        if (!text || lua_type(L, -2) != LUA_TSTRING || rx_build_source(b, lua_tostring(L, -2), text, len))
            return -1;
        lua_pop(L, 1);
    }
    return 0;
}

static int load_protected(lua_State *L)
{
    struct loading *l = lua_touserdata(L, 1);
    run(L, l);
    if (l->seen)
        take_seen(L, l->seen);
    if (!l->b)
        l->is_taken = take_functions(l->s, l->conf->n_fns) == 0;
    else if (!rx_build_errors(l->b))
        l->is_taken = take_functions(l->s, rx_build_functions(l->b)) == 0 && take_sources(l->s, l->b) == 0;
    return 0;
}

// NULL, or what is wrong: good until the state is used again.
static const char *load(struct loading *l)
{
    lua_State *L = l->s->L;
    if (!lua_cpcall(L, load_protected, l))
        return NULL;
    return lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "the config could not be run";
}

static struct rx_script *script_new(struct rx_conf *conf);

struct rx_conf *rx_script_load(struct rx_home *home, const struct rx_args *a, struct rx_seen *seen, rx_report_fn *report,
                               void *data)
{
    struct rx_conf *conf = NULL;
    struct rx_build *b = rx_build_new(home, report, data);
    struct rx_script *s = b ? script_new(NULL) : NULL;
    struct loading l = { .s = s, .b = b, .a = a, .seen = seen };
    const char *wrong = s ? load(&l) : NULL;
    if (!s) {
        static const char words[] = "out of memory";
        report(data, RX_REPORT_ERROR, words, sizeof words - 1);
    } else if (wrong) {
        rx_build_report(b, RX_REPORT_ERROR, "%s", wrong);
    } else if (!rx_build_errors(b)) {
        bool has_file = a->is_config_typed || (a->n_forward == 0 && a->command != RX_CMD_GUARD);
        uint32_t n = rx_build_functions(b);
        if (!l.is_taken)
            rx_build_report(b, RX_REPORT_ERROR, "the config's functions could not be kept");
        else
            conf = rx_build_finish(b, has_file ? a->config : NULL);
        if (conf && n && !(conf->scripts = calloc(1, sizeof(struct rx_script *)))) {
            rx_build_report(b, RX_REPORT_ERROR, "out of memory");
            rx_conf_unref(conf);
            conf = NULL;
        } else if (conf && n) {
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

// The config once more, in a state of its own.
static struct rx_script *spawn_one(struct rx_conf *conf, const struct rx_args *a, rx_report_fn *report, void *data)
{
    struct rx_script *s = script_new(conf);
    struct loading l = { .s = s, .a = a, .conf = conf };
    const char *why = s ? load(&l) : "out of memory";
    if (!why && l.is_taken) {
        lua_settop(s->L, 0);
        return s;
    }
    if (!why)
        why = "the config ran differently";
    report(data, RX_REPORT_ERROR, why, strlen(why));
    rx_script_free(s);
    return NULL;
}

static int spawn_for_hooks(struct rx_conf *conf, const struct rx_args *a, rx_report_fn *report, void *data)
{
    if (!conf->n_hooks && !conf->n_timers)
        return 0;
    conf->hook_script = spawn_one(conf, a, report, data);
    return conf->hook_script ? rx_script_sinks_open(conf->hook_script, report, data) : -1;
}

// Only where the guard's thread calls functions.
static int spawn_for_guard(struct rx_conf *conf, const struct rx_args *a, rx_report_fn *report, void *data)
{
    bool is_needed = false;
    for (uint32_t i = 0; i < conf->n_tails; i++)
        is_needed |= conf->tails[i].parse_fn >= 0 || conf->tails[i].sessions->limits_fn >= 0;
    if (!is_needed)
        return 0;
    conf->guard_script = spawn_one(conf, a, report, data);
    return conf->guard_script ? 0 : -1;
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
        struct rx_script *s = spawn_one(conf, a, report, data);
        if (!s)
            return -1;
        list[conf->n_scripts++] = s;
    }
    return spawn_for_hooks(conf, a, report, data) || spawn_for_guard(conf, a, report, data) ? -1 : 0;
}

const char *rx_script_template(size_t *len)
{
    const struct rx_embed *e = rx_embed_find("refractium.lua");
    *len = (size_t)(e->end - e->text);
    return e->text;
}

// ---- the state ----------------------------------------------------------------------------------------------------

_Thread_local struct rx_script *rx_script_running;

// LuaJIT crashes when it is refused memory while it makes a state. So that memory is there before: the nest, from which
// pieces are only ever taken.
static void *nest_alloc(struct rx_script *s, size_t size)
{
    size_t at = s->nest.used;
    size = (size + 15) & ~(size_t)15;
    if (s->nest.is_closed || size > NEST - at)
        return NULL;
    s->nest.used += size;
    return s->nest.bytes + at;
}

static bool is_in_nest(const struct rx_script *s, const void *ptr)
{
    return (const uint8_t *)ptr >= s->nest.bytes && (const uint8_t *)ptr < s->nest.bytes + NEST;
}

static void *move_out(void *ptr, size_t old, size_t size)
{
    void *p = malloc(size);
    if (p)
        memcpy(p, ptr, RX_MIN(old, size));
    return p;
}

static void *limited_alloc(void *data, void *ptr, size_t old, size_t size)
{
    struct rx_script *s = data;
    bool is_nested = ptr && is_in_nest(s, ptr);
    if (!ptr)
        old = 0;
    if (!size) {
        if (!is_nested)
            free(ptr);
        s->memory -= old;
        return NULL;
    }
    if (size > old && s->memory + (size - old) > MEMORY_LIMIT)
        return NULL; // LuaJIT raises LUA_ERRMEM
    void *p = nest_alloc(s, size);
    if (p && ptr)
        memcpy(p, ptr, RX_MIN(old, size));
    if (p && ptr && !is_nested)
        free(ptr);
    if (!p)
        p = is_nested ? move_out(ptr, old, size) : realloc(ptr, size);
    if (!p && size > old)
        return NULL;
    s->memory += size - old;
    return p ? p : ptr; // Lua counts on it that what shrinks is there
}

// Only for what is called outside of a protected call after all: LuaJIT ends the process next, and would do so in silence.
static int on_panic(lua_State *L)
{
    rx_log(RX_LOG_ERROR, "script: %s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error");
    return 0;
}

static struct rx_script *script_new(struct rx_conf *conf)
{
    struct rx_script *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->conf = conf;
    rx_script_view_init(s);
    s->nest.bytes = malloc(NEST);
    s->L = s->nest.bytes ? lua_newstate(limited_alloc, s) : NULL;
    s->nest.is_closed = true;
    if (!s->L) {
        free(s->nest.bytes);
        free(s);
        return NULL;
    }
    lua_atpanic(s->L, on_panic);
    return s;
}

// ---- the gate -----------------------------------------------------------------------------------------------------

static _Thread_local struct rx_pulse *shown; // NULL: nobody looks at this thread

// Held while another thread reads where a function stands, and once while a state goes: after that nobody reads it.
static pthread_mutex_t shown_lock = PTHREAD_MUTEX_INITIALIZER;

void rx_script_show(struct rx_pulse *pulse)
{
    shown = pulse;
}

static inline void show(const struct rx_fn *fn)
{
    if (shown)
        atomic_store_explicit(&shown->fn, fn, memory_order_relaxed);
}

bool rx_script_doing(const struct rx_pulse *pulse, char *text, size_t size)
{
    pthread_mutex_lock(&shown_lock);
    const struct rx_fn *fn = atomic_load_explicit(&pulse->fn, memory_order_relaxed);
    if (fn)
        rx_log_escape((const uint8_t *)fn->where, strlen(fn->where), text, size);
    pthread_mutex_unlock(&shown_lock);
    return fn;
}

void rx_script_free(struct rx_script *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&shown_lock); // its generation goes next, and its functions with it
    pthread_mutex_unlock(&shown_lock);
    lua_close(s->L);
    free(s->nest.bytes);
    rx_script_dynamics_free(s);
    rx_script_state_free(s);
    for (uint32_t i = 0; i < s->n_res; i++)
        rx_regex_free(s->res[i]);
    free(s->res);
    rx_script_sinks_close(s);
    free(s->text);
    free(s->refs);
    free(s);
}

size_t rx_script_memory(const struct rx_script *s)
{
    return s->memory;
}

// ---- the gate -----------------------------------------------------------------------------------------------------

static pthread_mutex_t wrong_lock = PTHREAD_MUTEX_INITIALIZER;

// For who looks at the program later. A worker does not wait for another that fails at the same moment.
static void remember(struct rx_fn *fn, const char *text)
{
    struct timespec now;
    if (pthread_mutex_trylock(&wrong_lock))
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    fn->wrong_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    snprintf(fn->wrong, sizeof fn->wrong, "%.*s", (int)sizeof fn->wrong - 1, text);
    pthread_mutex_unlock(&wrong_lock);
}

bool rx_script_last_wrong(const struct rx_fn *fn, char *text, size_t size, uint64_t *at_ms)
{
    pthread_mutex_lock(&wrong_lock);
    *at_ms = fn->wrong_ms;
    snprintf(text, size, "%s", fn->wrong);
    pthread_mutex_unlock(&wrong_lock);
    return *at_ms;
}

// Collecting makes the table of strings smaller, and a new one first.
static int collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

static void failed(struct rx_script *s, struct rx_fn *fn, int rc)
{
    char text[sizeof s->wrong], number[32];
    const char *why = "error";
    if (lua_type(s->L, -1) == LUA_TSTRING)
        why = lua_tostring(s->L, -1);
    else if (lua_type(s->L, -1) == LUA_TNUMBER) // not made a string by Lua, which may be out of memory
        snprintf(number, sizeof number, "%.14g", lua_tonumber(s->L, -1)), why = number;
    bool is_over = s->call.until_ns && rx_sys_now_ns() >= s->call.until_ns;
    rx_log_escape((const uint8_t *)why, strlen(why), text, sizeof text);
    memcpy(s->wrong, text, sizeof text);
    if (rc == LUA_ERRMEM)
        lua_cpcall(s->L, collect, NULL); // LuaJIT does not collect before it gives up
    if (s->lent_until_ns)
        return;
    atomic_fetch_add_explicit(&fn->errors, 1, memory_order_relaxed);
    remember(fn, text);
    if ((is_over || rc == LUA_ERRMEM) && !atomic_exchange(&fn->is_quarantined, true))
        rx_log(RX_LOG_ERROR, "script: %s: %s; quarantined until the next good reload", fn->where, text);
    else if (!s->is_mute)
        rx_log_limited(RX_LOG_WARN, "script: %s: %s", fn->where, text);
}

const char *rx_script_wrong(const struct rx_script *s)
{
    return s && s->wrong[0] ? s->wrong : NULL;
}

void rx_script_mute(struct rx_script *s, bool is_mute)
{
    if (s)
        s->is_mute = is_mute;
}

void rx_script_lend(struct rx_script *s, uint64_t ms)
{
    if (!s)
        return;
    s->lent_until_ns = ms ? rx_sys_now_ns() + ms * 1000000 : 0;
    s->is_mute = ms;
}

// It is not called at all.
static bool refuse(struct rx_script *s, const char *why)
{
    snprintf(s->wrong, sizeof s->wrong, "%s", why);
    return false;
}

bool rx_script_call(struct rx_script *s, uint32_t fn, int results)
{
    if (!s || fn >= s->n_refs)
        return false;
    struct rx_fn *f = &s->conf->fns[fn];
    if (atomic_load_explicit(&f->is_quarantined, memory_order_relaxed))
        return refuse(s, "it is quarantined");
    if (RX_UNLIKELY(s->lent_until_ns) && rx_sys_now_ns() >= s->lent_until_ns)
        return refuse(s, "the time for all functions together is over");
    struct rx_script *outer = rx_script_running;
    rx_script_running = s;
    show(f);
    s->call.is_open = 1;
    s->call.until_ns = 0;
    s->wrong[0] = 0;
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->refs[fn]);
    int rc = lua_pcall(s->L, 0, results, 0);
    s->call.is_open = 0;
    if (RX_UNLIKELY(rc)) {
        failed(s, f, rc);
        lua_settop(s->L, 0);
    }
    rx_script_running = outer;
    show(NULL);
    return !rc;
}

bool rx_script_call_about(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c, int results)
{
    if (!s)
        return false;
    s->conn = c;
    s->call.conn = c;
    s->call.ptr = c->ask->p;
    s->call.len = c->ask->n;
    bool is_good = rx_script_call(s, fn, results);
    s->conn = NULL;
    s->call.conn = NULL;
    return is_good;
}
