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

#include "embed.h"

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

static bool run(lua_State *L, struct rx_build *b, const struct rx_args *a)
{
    const struct rx_embed *abi = rx_embed_find("abi.h");
    luaL_openlibs(L);
    preload(L);
    lua_pushcfunction(L, traceback);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "refractium.load");
    if (lua_pcall(L, 1, 1, 1))
        return false;
    lua_pushlightuserdata(L, (void *)&rx_door);
    lua_pushlightuserdata(L, b);
    lua_newtable(L);
    lua_pushlstring(L, abi->text, (size_t)(abi->end - abi->text));
    lua_setfield(L, -2, "abi.h");
    push_cli(L, a);
    return lua_pcall(L, 4, 1, 1) == 0;
}

struct rx_conf *rx_script_load(const struct rx_args *a, rx_report_fn *report, void *data)
{
    struct rx_conf *conf = NULL;
    struct rx_build *b = rx_build_new(report, data);
    lua_State *L = luaL_newstate();
    if (!b || !L) {
        static const char words[] = "out of memory";
        report(data, RX_REPORT_ERROR, words, sizeof words - 1);
    } else if (!run(L, b, a)) {
        rx_build_report(b, RX_REPORT_ERROR, "%s", lua_tostring(L, -1));
    } else if (!rx_build_errors(b)) {
        bool has_file = a->is_config_typed || a->n_forward == 0;
        conf = rx_build_finish(b, has_file ? a->config : NULL);
    }
    if (L)
        lua_close(L);
    rx_build_free(b);
    return conf;
}

const char *rx_script_template(size_t *len)
{
    const struct rx_embed *e = rx_embed_find("refractium.lua");
    *len = (size_t)(e->end - e->text);
    return e->text;
}
