# SPDX-License-Identifier: MIT
"""What scripts keep beyond a call: tables all workers share, and bans."""
import concurrent.futures
import contextlib
import os
import socket
import time

import pytest

import wire
from harness import PATIENCE, ROOT, SANITIZER, free_port, make_config, wait_for

pytestmark = pytest.mark.sanitize


def ask(p, data, source=None):
    """What the server says to these first bytes; "reset" or "" when it does not."""
    try:
        with p.connect(source=source) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            parts = []
            while True:
                part = s.recv(1000)
                if not part:
                    return b"".join(parts).decode()
                parts.append(part)
    except OSError:  # of the kinds that a reset makes, depending on when it comes
        return "reset"


def reloads(p):
    return p.errors().count("listeners,")


def reload(p, config):
    before = reloads(p)
    p.write_config(config)
    wait_for(lambda: reloads(p) > before or "refused, the running" in p.errors(), what="a reload")


COUNTING = """{ rx.http, to = function(conn)
  if conn.path == "/count" then return rx.respond(tostring(hits:incr "all")) end
  if conn.path == "/read" then return rx.respond(tostring(hits:get "all")) end
  if conn.path == "/once" then return rx.respond(tostring(hits:add(conn.host, true))) end
  if conn.path == "/soon" then hits:set("soon", "words", "300ms") return rx.respond "set" end
  if conn.path == "/gone" then return rx.respond(tostring(hits:get "soon")) end
end }"""


@pytest.mark.parametrize("n", [2000 if not SANITIZER else 400])
def test_workers_count_exactly_together(rx, n):
    """Promise: a shared table's incr loses no count, whoever of the workers does it."""
    p = rx(COUNTING, prelude='local hits = rx.shared "hits" {}', workers=2, server="max_connections = 20000,")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        said = list(pool.map(lambda _: ask(p, wire.get(path="/count")), range(n)))
    assert sorted(map(int, said)) == list(range(1, n + 1))
    assert ask(p, wire.get(path="/read")) == str(n)


def test_a_shared_table_survives_a_reload_and_has_ends(rx):
    """Promise: a reload keeps what is in a table; an entry ends in time; add sets only what is new."""
    config = make_config(COUNTING, prelude='local hits = rx.shared "hits" {}', workers=2)
    p = rx.config(config)
    for _ in range(5):
        ask(p, wire.get(path="/count"))
    assert (ask(p, wire.get(path="/once", host="x")), ask(p, wire.get(path="/once", host="x"))) == ("true", "false")
    reload(p, config.replace("hits\" {}", "hits\" { max_entries = 50 }") + "-- edited\n")
    assert reloads(p) == 1
    assert ask(p, wire.get(path="/read")) == "5"
    assert ask(p, wire.get(path="/once", host="x")) == "false"
    assert ask(p, wire.get(path="/soon")) == "set"
    wait_for(lambda: ask(p, wire.get(path="/gone")) == "nil", what="the entry to end")


def test_tests_of_a_config_leave_no_trace(rx):
    """Promise: rx.test sees a table of its own, and bans and counts nobody."""
    config = make_config(
        """{ rx.http, to = function(conn)
          if conn.path == "/ban" then rx.ban("127.0.0.0/8", "1h") end
          return rx.respond(tostring(hits:incr "all"))
        end }""", prelude='local hits = rx.shared "hits" {}',
        after="""rx.test "first" { send = "GET /ban HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n", expect = { to = "respond" } }
                 rx.test "second" { send = "GET /b HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n", expect = { to = "respond" } }""")
    p = rx.config(config)
    assert ask(p, wire.get()) == "1"
    reload(p, config + "-- edited\n")
    assert ask(p, wire.get()) == "2"


BANNING = """{ knock, to = rx.respond "knocked" },
             { rx.http, to = function(conn)
                 if conn.path == "/free" then return rx.respond(tostring(rx.unban "127.0.0.1")) end
                 return rx.respond "in"
               end },
             { rx.ssh, to = rx.tarpit }"""
KNOCK = """local knock = rx.protocol "knock" { transport = "tcp", prefix = "KNOCK", identify = function(buf)
             rx.ban("127.0.0.1", "%s") return true end }"""


def is_closed(s):
    try:
        return s.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_ban_closes_who_is_inside_and_keeps_out_who_comes(rx):
    """Promise: a ban set in identify refuses the next connection and closes live ones, of that address alone."""
    p = rx(BANNING, prelude=KNOCK % "1h", workers=2, listen='"127.0.0.1:0"')
    inside = [p.connect() for _ in range(6)]
    other = p.connect(source=("127.0.0.2", 0))
    for s in [*inside, other]:
        s.sendall(wire.SSH)
    time.sleep(0.3)
    ask(p, b"KNOCK")
    for s in inside:
        s.settimeout(PATIENCE)
        assert is_closed(s)
        s.close()
    assert ask(p, wire.get()) == "reset"
    assert ask(p, wire.get(), source=("127.0.0.2", 0)) == "in"
    other.settimeout(0.3)
    with pytest.raises(socket.timeout):
        other.recv(1)
    other.close()
    lines = p.access(7, where=lambda line: line["reason"] == "banned")
    assert {line["client"].rsplit(":", 1)[0] for line in lines} == {"127.0.0.1"}


def test_a_ban_survives_a_reload_and_can_be_taken_back(rx):
    """Promise: a reload forgets no ban; rx.unban takes it back."""
    config = make_config(BANNING, prelude=KNOCK % "1h")
    p = rx.config(config)
    ask(p, b"KNOCK")
    assert ask(p, wire.get()) == "reset"
    reload(p, config + "-- edited\n")
    assert reloads(p) == 1
    assert ask(p, wire.get()) == "reset"
    assert ask(p, wire.get(path="/free"), source=("127.0.0.2", 0)) == "true"
    assert ask(p, wire.get()) == "in"


def test_port_knocking_opens_the_door_to_the_one_who_knocked(rx):
    """Promise: scripts/policies/port_knocking.lua opens after the knocks in order, to that address alone."""
    path = os.path.join(ROOT, "scripts", "policies", "port_knocking.lua")
    first, second, third = free_port(), free_port(), free_port()
    p = rx.config("""local rx = require "refractium"
rx.server { workers = 2, access_log = "access.log", log_format = "json" }
local knock = rx.include "%s" { ports = { %d, %d, %d }, open = "1500ms" }
rx.listen { "127.0.0.1:%d", "127.0.0.1:%d", "127.0.0.1:%d" } { routes = { { rx.any, transport = "tcp", when = knock.heard, to = rx.drop } }, fallback_tcp = rx.drop }
rx.listen "127.0.0.1:0" { routes = { { rx.ssh, when = knock.is_open, to = rx.respond "in" } }, fallback_tcp = rx.drop }
""" % (path, first, second, third, first, second, third), binds=4)
    door = p.ports[3]

    def knock(*ports, source=None):
        for port in ports:
            with p.connect(port=port, source=source) as s:
                assert s.recv(1) == b""

    def is_open(source=None):
        with p.connect(port=door, source=source) as s:
            with contextlib.suppress(OSError):  # it may be closed before it has said all
                s.sendall(wire.SSH)
                s.shutdown(socket.SHUT_WR)
                return s.recv(10) == b"in"
            return False

    knock(second, third, first)
    assert not is_open()
    knock(third, second, third)  # the first was heard already, but now a wrong one came
    assert not is_open()
    knock(first, second, third)
    assert is_open() and not is_open(source=("127.0.0.2", 0))
    wait_for(lambda: not is_open(), what="the door to close")


def test_a_ban_ends_by_itself(rx):
    """Promise: when the time is over the address may come again."""
    p = rx(BANNING, prelude=KNOCK % "700ms")
    start = time.monotonic()
    ask(p, b"KNOCK")
    assert ask(p, wire.get()) == "reset"
    wait_for(lambda: ask(p, wire.get()) == "in", what="the ban to end", pause=0.05)
    assert time.monotonic() - start > 0.6
