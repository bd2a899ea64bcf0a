# SPDX-License-Identifier: MIT
"""Functions of the config in the path: they choose, they cannot hurt, and an edit takes effect on the next call."""
import os
import random
import statistics
import time

import pytest

import peers
import wire
from harness import free_port, make_config
from test_reload import edit
from test_routing import ask

pytestmark = pytest.mark.sanitize

IDENTIFY = '''local game = rx.protocol "game" { transport = "tcp", identify = function(buf)
  if #buf < 5 then return rx.more end
  return buf:starts("GAME"), "v" .. string.char(buf[4])
end }'''


@pytest.fixture
def a(backends):
    return backends(peers.named("a"))


@pytest.fixture
def b(backends):
    return backends(peers.named("b"))


def test_identify_recognises_waits_and_names_a_key(rx, a, b):
    """Promise: true, false, rx.more and a key that routes ask for, at any segmentation."""
    p = rx("{ game, key = 'v1', to = %s }, { game, to = %s }, { rx.ssh, to = %s }" % (a.quoted, b.quoted, b.quoted),
           prelude=IDENTIFY, workers=2)
    assert (ask(p, b"GAME1"), ask(p, b"GAME2"), ask(p, wire.SSH), ask(p, b"GAMBLE")) == ("a", "b", "b", "")
    with p.connect() as s:
        for byte in b"GAME1":
            s.sendall(bytes([byte]))
            time.sleep(0.02)
        assert s.recv(10) == b"a"


def test_identify_is_asked_only_about_its_first_bytes(rx, a, b):
    """Promise: with `first` a function sees no client that begins with another byte, whatever it would have said."""
    yes = "identify = function() return true end"
    p = rx("{ g, to = %s }, { h, to = %s }, { rx.http, to = rx.respond 'web' }" % (a.quoted, b.quoted),
           prelude="""local g = rx.protocol "g" { first = { "S", "\\x80-\\x8f" }, %s }
                      local h = rx.protocol "h" { first = "S", patterns = "needle", within = "32b", %s }""" % (yes, yes))
    assert (ask(p, wire.SSH), ask(p, b"\x80"), ask(p, b"\x8f..")) == ("a", "a", "a")
    assert (ask(p, wire.get()), ask(p, b"\x90" * 40), ask(p, b"G needle")) == ("web", "", "b")


def test_a_protocol_whose_server_greets_first_takes_the_silent(rx, backends):
    """Promise: is_server_first makes a route on a protocol of one's own take clients that wait for a greeting."""
    server = backends(peers.greet(b"hello"))
    p = rx("{ rx.http, to = rx.drop }, { g, to = %s }" % server.quoted, options='peek_timeout = "200ms",',
           prelude='local g = rx.protocol "g" { prefix = "HI", is_server_first = true }')
    with p.connect() as s:
        assert s.recv(10) == b"hello"
    with p.connect() as s:
        s.sendall(b"HI")
        assert peers.read_exactly(s, 7) == b"helloHI"


def test_when_and_to_see_the_connection(rx, a, b):
    """Promise: when(conn) and to(conn) decide by facts; nil, or an error, passes the route over."""
    p = rx("""{ rx.http, when = function(conn) return conn.path == "/a" and conn.client.ip == "127.0.0.1" end, to = %s },
              { rx.http, to = function(conn) if conn.host == "port" then return %d end
                                             if conn.host == "pool" then return second end
                                             if conn.host == "no" then return nil end
                                             return conn.nothing.there end },
              { rx.http, to = rx.respond "last" }""" % (a.quoted, b.port),
           prelude="local second = rx.pool 'second' { %s }" % a.quoted)
    assert ask(p, wire.get(path="/a")) == "a"
    assert ask(p, wire.get(path="/b", host="port")) == "b"
    assert ask(p, wire.get(path="/b", host="pool")) == "a"
    assert ask(p, wire.get(path="/b", host="no")) == "last"
    assert ask(p, wire.get(path="/b", host="else")) == "last"


def test_a_policy_chooses_and_the_next_follows_when_it_is_down(rx, a, b):
    """Promise: balance = function(conn, pool) names the backend; a failing one is followed by the next."""
    p = rx("{ rx.ssh, to = mine }, { rx.http, to = broken }",
           prelude="""local mine = rx.pool "mine" { %s, %s, balance = function(conn, pool) return pool[2] end }
                      local broken = rx.pool "broken" { "127.0.0.1:1", %s, balance = function() return 1 end }"""
           % (a.quoted, b.quoted, b.quoted))
    assert [ask(p, wire.SSH) for _ in range(4)] == ["b"] * 4
    assert ask(p, wire.get()) == "b"


def test_on_accept_refuses(rx, a):
    """Promise: on_accept sees the addresses and may refuse."""
    p = rx("{ rx.ssh, to = %s }" % a.quoted,
           options='on_accept = function(conn) if conn.client.port % 2 == 0 then return rx.refuse end end,')
    seen = set()
    start = random.randrange(20000, 30000)
    for port in range(start, start + 20):
        try:
            seen.add((port % 2, ask(p, wire.SSH, source=("127.0.0.1", port))))
        except ConnectionResetError:  # refused before connect() returned
            seen.add((port % 2, ""))
        except OSError:
            pass  # somebody has this port
    assert seen == {(0, ""), (1, "a")}


RUNAWAYS = {
    "loop": "while true do end",
    "recursion": "local function f(n) return 1 + f(n + 1) end return f(1)",
    "memory": "local t = {} for i = 1, 1e9 do t[i] = { i } end",
    "error": 'error("mine")',
}


@pytest.mark.parametrize("kind", RUNAWAYS)
def test_a_function_that_runs_away_hurts_nobody(rx, a, kind):
    """Promise: stopped within its budget, named, quarantined; everybody else is served, and its own route says no."""
    bad = 'local bad = rx.protocol "bad" { transport = "tcp", prefix = "BAD", identify = function(buf) %s end }'
    p = rx("{ bad, to = rx.drop }, { rx.ssh, to = %s }" % a.quoted, prelude=bad % RUNAWAYS[kind], workers=1,
           options='fallback_tcp = rx.respond "otherwise",')
    for _ in range(3):
        assert ask(p, b"BAD!") == "otherwise"
        assert ask(p, wire.SSH) == "a"
    assert "refractium.lua:" in p.errors()
    if kind in ("loop", "memory"):
        assert p.errors().count("quarantined") == 1


def test_debug_tells_of_a_verdict_that_changes(rx, a):
    """Promise: with --debug an identify that said no, or yes, too soon is told of, once; a lawful one is not."""
    p = rx("{ hasty, to = %s }, { lawful, to = %s }, { late, to = %s }" % ((a.quoted,) * 3), args=["--debug"], prelude="""
        local hasty = rx.protocol "hasty" { prefix = "H", identify = function(buf) return #buf > 3 end }
        local lawful = rx.protocol "lawful" { prefix = "L", identify = function(buf)
          if #buf < 4 then return rx.more end
          return buf[3] == 76 end }
        local late = rx.protocol "late" { prefix = "MANY", identify = function(buf) return #buf > 3 end }""")
    for _ in range(3):
        assert (ask(p, b"HHHHH"), ask(p, b"LLLLL"), ask(p, b"LLLx"), ask(p, b"MANYMORE")) == ("a", "a", "", "a")
    told = [line for line in p.errors().splitlines() if "verdict changes" in line]
    assert len(told) == 1 and "verdict changes with more bytes: no after 1, match after 5" in told[0], told


def test_others_wait_no_longer_than_the_budget(rx, backends):
    """Promise: while a runaway is stopped, round trips of the others stay within its budget and a little."""
    echo = backends()
    p = rx("{ bad, to = rx.drop }, { rx.ssh, to = %s }" % echo.quoted, workers=1,
           prelude='local bad = rx.protocol "bad" { transport = "tcp", prefix = "BAD", '
                   'identify = function(buf) while true do end end }')
    with p.connect() as s:
        s.sendall(wire.SSH)
        peers.read_exactly(s, len(wire.SSH))
        slowest = 0
        for turn in range(100):
            if turn == 20:
                with p.connect() as other:
                    other.sendall(b"BAD!")
                    since = time.monotonic()
                    s.sendall(b"x")
                    peers.read_exactly(s, 1)
                    slowest = time.monotonic() - since
            s.sendall(b"x")
            peers.read_exactly(s, 1)
    assert slowest < 2 * 0.050 + 0.2  # twice the default budget, and what a busy machine adds


def test_an_edit_changes_the_functions(rx, a, b):
    """Promise: hot editing reaches functions; a broken one changes nothing; a quarantined one gets a new start."""
    def text(body):
        return make_config("{ rx.ssh, to = function() %s end }" % body, workers=2)
    p = rx.config(text("return %s" % a.quoted))
    assert ask(p, wire.SSH) == "a"
    edit(p, text("return %s" % b.quoted))
    assert ask(p, wire.SSH) == "b"
    edit(p, text("while true do end"))
    assert ask(p, wire.SSH) == ""
    edit(p, text("return %s" % a.quoted))
    assert ask(p, wire.SSH) == "a"


def test_an_included_file_is_watched(rx, a, b, workdir):
    """Promise: an edit of an included file takes effect on save."""
    path = os.path.join(workdir, "game.lua")

    def write(prefix):
        with open(path, "w", encoding="utf-8") as f:
            f.write('local rx = require "refractium"\n'
                    'return rx.protocol "game" { transport = "tcp", prefix = "%s" }\n' % prefix)
    write("ONE")
    config = make_config("{ game, to = %s }, { rx.ssh, to = %s }" % (a.quoted, b.quoted),
                         prelude='local game = rx.include "../game.lua"')
    p = rx.config(config)
    assert (ask(p, b"ONE"), ask(p, b"TWO"), ask(p, wire.SSH)) == ("a", "", "b")
    write("TWO")
    end = time.monotonic() + 5
    while ask(p, b"TWO") != "a" and time.monotonic() < end:
        time.sleep(0.05)
    assert (ask(p, b"ONE"), ask(p, b"TWO"), ask(p, wire.SSH)) == ("", "a", "b")
    edit(p, config.replace("{ rx.ssh", "{ rx.http, to = rx.drop }, { rx.ssh"))
    assert (ask(p, b"TWO"), ask(p, wire.SSH)) == ("a", "b")


def test_protocols_that_ship_as_scripts_route_real_bytes(rx, a, b):
    """Promise: rx.NAME works for what ships in scripts/protocols as for what is built in."""
    p = rx('{ rx.amqp, to = %s }, { rx["haproxy-proxy"], to = %s }, { rx.bittorrent, to = %s }'
           % (a.quoted, b.quoted, a.quoted), workers=2)
    assert ask(p, b"AMQP\0\0\x09\x01") == "a"
    assert ask(p, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n") == "b"
    assert ask(p, b"\x13BitTorrent protocol" + bytes(48)) == "a"


def test_quick_forwards_know_them_too(rx, a):
    """Promise: -f takes the names of protocols that ship as scripts."""
    p = rx.flags(["-b", "127.0.0.1", "-p", str(free_port()), "-f", "amqp=%s" % a.quoted.strip('"')])
    assert ask(p, b"AMQP\0\0\x09\x01") == "a"


def test_medians_of_many_calls_are_small(rx, backends):
    """Promise: a function in the path costs next to nothing: a thousand connections, none lost."""
    echo = backends()
    p = rx("{ game, to = %s }" % echo.quoted, prelude=IDENTIFY, workers=2)
    took = []
    for _ in range(300):
        since = time.monotonic()
        with p.connect() as s:
            s.sendall(b"GAME1")
            assert peers.read_exactly(s, 5) == b"GAME1"
        took.append(time.monotonic() - since)
    assert statistics.median(took) < 0.05


def test_a_text_that_a_function_chose_stays_whole_while_others_get_theirs(rx):
    """Promise: what is sent is what was returned, however slowly a client takes it."""
    size = 12 << 20
    p = rx("{ rx.http, to = function(conn) return conn.path == '/a' and a or b end }",
           prelude="local a, b = rx.respond(('a'):rep(%d)), rx.respond(('b'):rep(%d))" % (size, size))
    with p.connect() as slow:
        slow.sendall(wire.get(path="/a"))
        assert slow.recv(1) == b"a"
        for _ in range(4):
            assert ask(p, wire.get(path="/b"))[0] == "b"
        slow.settimeout(20)
        got = peers.read_all(slow)
    assert len(got) == size - 1 and got.count(b"a") == len(got)


def test_an_address_made_of_what_a_client_said_is_escaped_in_the_log(rx):
    """Promise: bytes of a client are never printed raw, whatever a function makes of them."""
    config = make_config("{ game, to = function(conn) return conn.key end }", prelude=IDENTIFY)
    p = rx.config(config.replace('log_format = "json"', 'log_format = "text"'))
    assert ask(p, b"GAME\x1b") == ""
    p.err.wait(r'script: to = "v\\x1b"')
    assert "\x1b" not in p.err.text()
