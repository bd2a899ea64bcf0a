// SPDX-License-Identifier: MIT
// Enters: a predecessor's config. Leaves: what lua/refractium/import.lua makes of it, run in a Lua state of its own.
// C makes tables here, of events, and reads none.
#include "script.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "arena.h"
#include "embed.h"
#include "import.h"

struct import {
    const char *name, *text, *format;
    size_t len;
    struct rx_arena *arena;
    FILE *out;
};

static void set_text(lua_State *L, const char *key, const char *text, size_t len)
{
    lua_pushlstring(L, text, len);
    lua_setfield(L, -2, key);
}

static int push_events(lua_State *L, const struct rx_import *in, int rc)
{
    static const char *const kinds[] = { "table", "list", "end", "string", "number", "boolean", "plain" };
    if (rc) {
        lua_pushnil(L);
        lua_pushinteger(L, in->error_line);
        lua_pushstring(L, in->error);
        return 3;
    }
    lua_createtable(L, (int)in->n, 0);
    for (uint32_t i = 0; i < in->n; i++) {
        const struct rx_import_event *e = &in->events[i];
        lua_createtable(L, 0, 4);
        set_text(L, "kind", kinds[e->kind], strlen(kinds[e->kind]));
        set_text(L, "text", e->text, e->text_len);
        if (e->key)
            set_text(L, "key", e->key, e->key_len);
        lua_pushinteger(L, e->line);
        lua_setfield(L, -2, "line");
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

// (text) → events, or nil, line, why
static int read_yaml(lua_State *L)
{
    const struct import *job = lua_touserdata(L, lua_upvalueindex(1));
    struct rx_import in = { .arena = job->arena };
    return push_events(L, &in, rx_import_yaml(&in, job->text, job->len));
}

static int read_libconfig(lua_State *L)
{
    const struct import *job = lua_touserdata(L, lua_upvalueindex(1));
    const char *slash = strrchr(job->name, '/');
    struct rx_import in = { .arena = job->arena };
    if (memchr(job->text, 0, job->len))
        return push_events(L, &in, rx_import_fail(&in, 1, "a zero byte in the file"));
    const char *dir = slash ? rx_arena_copy(job->arena, job->name, RX_MAX((size_t)(slash - job->name), (size_t)1)) : NULL;
    return push_events(L, &in, rx_import_libconfig(&in, job->text, dir));
}

// "xmpp-client" → 5222
static int find_service(lua_State *L)
{
    const struct servent *s = getservbyname(luaL_checkstring(L, 1), NULL);
    if (!s)
        return 0;
    lua_pushinteger(L, ntohs((uint16_t)s->s_port));
    return 1;
}

static void set_reader(lua_State *L, struct import *job, const char *name, lua_CFunction fn)
{
    lua_pushlightuserdata(L, job);
    lua_pushcclosure(L, fn, 1);
    lua_setfield(L, -2, name);
}

// { readers = …, service = …, shipped = { tinc = true, … } }
static void push_tools(lua_State *L, struct import *job)
{
    static const char folder[] = "scripts/protocols/";
    lua_newtable(L);
    lua_newtable(L);
    set_reader(L, job, "yaml", read_yaml);
    set_reader(L, job, "libconfig", read_libconfig);
    lua_setfield(L, -2, "readers");
    lua_pushcfunction(L, find_service);
    lua_setfield(L, -2, "service");
    lua_newtable(L);
    for (unsigned i = 0; i < rx_n_embeds; i++) {
        const char *name = rx_embeds[i].name, *dot = strrchr(name, '.');
        if (strncmp(name, folder, sizeof folder - 1) || !dot)
            continue;
        lua_pushlstring(L, name + sizeof folder - 1, (size_t)(dot - name) - (sizeof folder - 1));
        lua_pushboolean(L, 1);
        lua_settable(L, -3);
    }
    lua_setfield(L, -2, "shipped");
}

static int run(lua_State *L)
{
    struct import *job = lua_touserdata(L, 1);
    luaL_openlibs(L);
    rx_script_preload(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "refractium.import");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "run");
    lua_pushlstring(L, job->text, job->len);
    lua_newtable(L);
    set_text(L, "name", job->name, strlen(job->name));
    if (job->format)
        set_text(L, "format", job->format, strlen(job->format));
    push_tools(L, job);
    lua_call(L, 3, 2);
    return 2;
}

int rx_script_import(const char *name, const char *text, size_t len, const char *format, FILE *out, char **why)
{
    struct import job = { name, text, format, len, rx_arena_new(), out };
    lua_State *L = job.arena ? luaL_newstate() : NULL;
    int code = 1;
    *why = NULL;
    if (L) {
        lua_pushcfunction(L, run);
        lua_pushlightuserdata(L, &job);
        if (lua_pcall(L, 1, 2, 0)) {
            *why = strdup(lua_isstring(L, -1) ? lua_tostring(L, -1) : "failed");
        } else if (lua_isnil(L, -2)) {
            *why = strdup(lua_tostring(L, -1));
        } else {
            size_t n;
            const char *made = lua_tolstring(L, -2, &n);
            code = fwrite(made, 1, n, out) != n || fflush(out);
            *why = code ? strdup("the output could not be written") : NULL;
        }
        lua_close(L);
    }
    if (job.arena)
        rx_arena_free(job.arena);
    return code;
}
