# SPDX-License-Identifier: MIT
"""rx.listen { identify }: one function that says what a connection is, or where it goes, before the routes."""
import time

import pytest

import peers
import wire
from harness import run_binary
from test_routing import ask

pytestmark = pytest.mark.sanitize


@pytest.fixture
def a(backends):
    return backends(peers.named("a"))


@pytest.fixture
def b(backends):
    return backends(peers.named("b"))


def serve(rx, routes, body, prelude="", options=""):
    return rx(routes, prelude=prelude, options="identify = function(buf) %s end, %s" % (body, options), workers=2)


def test_it_names_ports_addresses_pools_and_actions(rx, a, b):
    """Promise: a port, an address, a pool or an action is where the connection goes, whatever the routes say."""
    p = serve(rx, "{ rx.ssh, to = rx.respond 'route' }", """
        if buf[0] == 1 then return %d end
        if buf[0] == 2 then return %s end
        if buf[0] == 3 then return second end
        if buf[0] == 4 then return "second" end
        if buf[0] == 5 then return rx.respond "said" end
        if buf[0] == 6 then return rx.drop end""" % (a.port, b.quoted),
              prelude="local second = rx.pool 'second' { %s }" % b.quoted, options="fallback_tcp = rx.respond 'fallback',")
    assert [ask(p, bytes([n])) for n in range(1, 7)] == ["a", "b", "b", "b", "said", ""]
    assert (ask(p, wire.SSH), ask(p, b"\x07")) == ("route", "fallback")


def test_a_protocol_it_names_walks_the_routes_of_that_protocol(rx, a, b):
    """Promise: conditions hold as usual, on the protocol's own facts; other protocols' routes do not count."""
    p = serve(rx, """{ rx.ssh, to = rx.respond 'ssh' }, { game, key = 'two', to = %s }, { game, to = %s },
        { rx.http, host = 'x.test', to = %s }, { rx.any, from = '10.0.0.0/8', to = rx.drop }""" % (a.quoted, b.quoted, a.quoted), """
        if buf:starts "SSH-2.0-game" then return game, "two" end
        if buf:starts "SSH-2.0-other" then return "game" end
        if buf:starts "GET /ssh" then return rx.ssh end
        if buf:starts "GET /game" then return "game" end""",
              prelude="local game = rx.protocol 'game' { transport = 'tcp', prefix = 'GAME' }",
              options="fallback_tcp = rx.respond 'fallback',")
    assert ask(p, b"SSH-2.0-game\r\n") == "a"
    assert ask(p, b"SSH-2.0-other\r\n") == "b"
    assert ask(p, wire.get(path="/ssh")) == "ssh"
    assert ask(p, wire.get(path="/game")) == "b"
    assert ask(p, wire.get(host="x.test")) == "a"
    assert ask(p, wire.get(host="y.test")) == "fallback"
    assert ask(p, b"GAME") == "b"


def test_facts_of_a_protocol_it_names_are_waited_for(rx, a, b):
    """Promise: a named protocol whose host has not come yet waits for it, at any segmentation."""
    p = serve(rx, "{ rx.http, host = 'x.test', to = %s }, { rx.http, to = %s }" % (a.quoted, b.quoted), "return rx.http")
    for host, who in (("x.test", b"a"), ("y.test", b"b")):
        with p.connect() as s:
            for part in (wire.get(host=host)[:7], wire.get(host=host)[7:25], wire.get(host=host)[25:]):
                s.sendall(part)
                time.sleep(0.03)
            assert s.recv(10) == who


def test_it_waits_for_more_and_then_leaves_it_to_the_routes(rx, a, b):
    """Promise: rx.more waits; at the end of patience, and when it fails, the routes decide."""
    p = serve(rx, "{ rx.ssh, to = %s }, { rx.silent, to = rx.respond 'silent' }" % a.quoted, """
        if buf[0] == 33 then error "mine" end
        if #buf < 4 then return rx.more end
        if buf:starts "ABCD" then return %s end""" % b.quoted,
              options="peek_timeout = '300ms', fallback_tcp = rx.respond 'fallback',")
    with p.connect() as s:
        for byte in b"ABCD":
            s.sendall(bytes([byte]))
            time.sleep(0.02)
        assert s.recv(10) == b"b"
    assert (ask(p, wire.SSH), ask(p, b"AB"), ask(p, b"!"), ask(p, b"")) == ("a", "fallback", "fallback", "silent")
    assert "refractium.lua:" in p.errors() and "mine" in p.errors()


def test_rx_any_first_does_not_pass_it_over(rx, a, b):
    """Promise: a first route that takes anything waits until the function has been asked."""
    p = serve(rx, "{ rx.any, to = %s }" % a.quoted, 'if buf[0] == 88 then return %s end' % b.quoted)
    assert (ask(p, b"X"), ask(p, b"Y")) == ("b", "a")


CONFIG = """local rx = require "refractium"
local game = rx.protocol "game" { transport = "tcp", prefix = "GAME" }
rx.listen "127.0.0.1:8080" {
  identify = function(buf)
    if buf[0] == 1 then return 22 end
    if buf[0] == 2 then return game end
  end,
  routes = { { rx.ssh, to = rx.drop }, { game, to = rx.echo } },
}
rx.test "a port" { send = "\\1", expect = { to = "127.0.0.1:22", route = "identify" } }
rx.test "a protocol" { send = "\\2", expect = { to = "echo", protocol = "game" } }
rx.test "nothing" { send = "GAME", expect = { to = "echo", protocol = "game" } }
"""


def test_check_and_explain_ask_it(workdir):
    """Promise: rx.test, check and explain decide with the function, as the live path does."""
    path = workdir + "/refractium.lua"
    with open(path, "w", encoding="utf-8") as f:
        f.write(CONFIG)
    assert run_binary("check", "-c", path).returncode == 0
    said = run_binary("explain", "-c", path, stdin=b"\x01").out
    assert "identify: where it goes" in said and "127.0.0.1:22" in said
    said = run_binary("explain", "-c", path, stdin=b"\x02").out
    assert "identify: game" in said and "echo" in said and "SSH" not in said
    said = run_binary("explain", "--json", "-c", path, stdin=b"\x01").out
    assert '"identify":"target"' in said.replace(" ", "") and '"route":"identify"' in said.replace(" ", "")
    with open(path, "w", encoding="utf-8") as f:
        f.write(CONFIG.replace("127.0.0.1:22", "127.0.0.1:23"))
    failed = run_binary("check", "-c", path)
    assert failed.returncode == 1 and "the listener's identify says so" in failed.err
