# SPDX-License-Identifier: MIT
"""Functions that run away, of every kind and in every place: stopped in time, named, quarantined, and nobody else hurt."""
import time

import pytest

import peers
import wire
from harness import SANITIZER, wait_for
from test_routing import ask

pytestmark = pytest.mark.sanitize

BUDGET = 0.1
SLACK = 0.4 if not SANITIZER else 3  # a busy machine; twice the budget is the promise

KINDS = {
    "loop": "while true do end",
    "swallowed": "while true do pcall(function() while true do end end) end",
    "recursion": "local function f(n) return 1 + f(n + 1) end return f(1)",
    "tail": "local function f() return f() end return f()",
    "memory": "local t = {} for i = 1, 1e9 do t[i] = { i } end",
    "strings": "local s = 'x' for i = 1, 1e9 do s = s .. s end",
    "rep": "return ('x'):rep(1e9)",
    "reps": "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(6e4 + i) end",
    "concat": "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(6e4) end for i = 1, 1e9 do t = { table.concat(t) } end",
    "format": "return ('%99999d'):format(1)",
    "formats": "while true do local s = ('%99d%99d'):format(1, 2) end",
    "pattern": "return (('a'):rep(50)):find(('a?'):rep(50) .. ('a'):rep(50) .. 'b')",
    "regex": "return evil:test(('a'):rep(5000) .. '!')",
    "regexes": "while true do pcall(evil.test, evil, ('a'):rep(100) .. '!') end",
    "sort": "while true do local t = {} for i = 1, 9000 do t[i] = -i end table.sort(t, function(x, y) return x < y end) end",
    "error": "error 'mine'",
    "odd": "error({})",
}

# What must end in quarantine; the others are errors of each call.
ENDLESS = {"loop", "swallowed", "tail", "memory", "strings", "reps", "concat", "formats", "regexes", "sort"}

# Place → (what stands before the listener, its routes, its options, what a client of "BAD" meets)
PLACES = {
    "identify": (", identify = function(buf) %s end", "{ bad, to = rx.drop }", "", "otherwise"),
    "when": ("", "{ bad, to = rx.drop, when = function(conn) %s end }", "", "otherwise"),
    "to": ("", "{ bad, to = function(conn) %s end }", "", "otherwise"),
    "balance": ("", "{ bad, to = pool }", "", "a"),
    "listener": ("", "{ bad, to = rx.respond 'route' }", "identify = function(buf) if buf[0] == 66 then %s end end,", "route"),
    "on_accept": ("", "{ bad, to = rx.respond 'route' }",
                  "on_accept = function(conn) if conn.client.ip == '127.0.0.2' then %s end end,", ""),
}


def config(place, body, backend):
    in_protocol, route, options, meets = PLACES[place]
    prelude = "local evil = rx.re '(a+)+$' local bad = rx.protocol 'bad' { transport = 'tcp', prefix = 'BAD'%s }\n" % (
        in_protocol % body if in_protocol else "")
    if place == "balance":
        prelude += "local pool = rx.pool 'pool' { %s, balance = function(conn, pool) %s end }\n" % (backend, body)
    routes = route % body if "%s" in route else route
    options = options % body if options else ""
    return prelude, routes + ", { rx.ssh, to = %s }" % backend, options, meets


def meet(p, source=None):
    try:
        return ask(p, b"BAD!", source=source)
    except (ConnectionResetError, BrokenPipeError):
        return ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_it_is_stopped_named_and_hurts_nobody(rx, backends, place, kind):
    """Promise: stopped within twice script_budget, in the log with its place, out of service when it outran a bound."""
    a = backends(peers.named("a"))
    prelude, routes, options, meets = config(place, KINDS[kind], a.quoted)
    p = rx(routes, prelude=prelude, workers=1, server="script_budget = '100ms'",
           options=options + "fallback_tcp = rx.respond 'otherwise',")
    source = ("127.0.0.2", 0) if place == "on_accept" else None
    for _ in range(3):
        since = time.monotonic()
        assert meet(p, source) == meets
        assert time.monotonic() - since < 2 * BUDGET + SLACK
        # A quarantined on_accept turns everybody away until the next good reload: nobody may pass unseen.
        expected = "" if place == "on_accept" and kind in ENDLESS else "a"
        try:
            assert ask(p, wire.SSH) == expected
        except ConnectionResetError:
            assert expected == ""
    if kind in ENDLESS:
        wait_for(lambda: "quarantined" in p.errors(), what="the log to name it")
    told = p.errors()
    assert "script: " in told and "refractium.lua:" in told
    assert told.count("quarantined") == (kind in ENDLESS)
