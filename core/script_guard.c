// SPDX-License-Identifier: MIT
// The calls of sessions: who a connection is, how many addresses an identity may have, what a tailed line says.
// Enters: a connection, an identity, a line. Leaves: words that C keeps or copies.
#include "script_state.h"

#include <stdlib.h>
#include <string.h>

#include "ledger.h"

uint32_t rx_script_by(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c, char *id, uint32_t size)
{
    size_t len = 0;
    if (!rx_script_call_about(s, fn, c, 1))
        return 0;
    const char *text = lua_type(s->L, 1) == LUA_TSTRING ? lua_tolstring(s->L, 1, &len) : NULL;
    if (len > size)
        len = 0; // dispatch.lua has refused those
    if (len)
        memcpy(id, text, len);
    lua_settop(s->L, 0);
    return (uint32_t)len;
}

uint32_t rx_script_limits(struct rx_script *s, uint32_t fn, const char *id, uint32_t len)
{
    if (!s)
        return 0;
    s->call.ptr = (const uint8_t *)id;
    s->call.len = len;
    if (!rx_script_call(s, fn, 1))
        return 0;
    double n = lua_type(s->L, 1) == LUA_TNUMBER ? lua_tonumber(s->L, 1) : 0;
    lua_settop(s->L, 0);
    return n >= 1 && n <= RX_LEDGER_IPS_MAX ? (uint32_t)n : 0;
}

// The string at stack place `at`, kept until the next call.
static const char *keep(struct rx_script *s, int at, char *to, size_t size, uint32_t *len)
{
    size_t n = 0;
    const char *text = lua_type(s->L, at) == LUA_TSTRING ? lua_tolstring(s->L, at, &n) : NULL;
    if (!n || n >= size)
        return NULL;
    memcpy(to, text, n);
    to[n] = '\0';
    *len = (uint32_t)n;
    return to;
}

enum rx_tail_line rx_script_parse(struct rx_script *s, uint32_t fn, const char *line, size_t n, struct rx_tail_said *out)
{
    char ip[RX_ADDR_TEXT], transport[8], why[RX_ADDR_TEXT];
    uint32_t len;
    *out = (struct rx_tail_said){ 0 };
    if (!s)
        return RX_LINE_BAD;
    s->call.ptr = (const uint8_t *)line;
    s->call.len = (uint32_t)n;
    if (!rx_script_call(s, fn, 3))
        return RX_LINE_BAD;
    bool is_nobody = lua_isnil(s->L, 1);
    out->id = keep(s, 1, s->keys[0], sizeof s->keys[0], &out->id_len);
    bool is_good = out->id && keep(s, 2, ip, sizeof ip, &len) && rx_ip_parse(ip, &out->ip, why) == 0;
    out->is_udp = keep(s, 3, transport, sizeof transport, &len) && !strcmp(transport, "udp");
    lua_settop(s->L, 0);
    return is_nobody ? RX_LINE_OTHER : is_good ? RX_LINE_SESSION : RX_LINE_BAD;
}
