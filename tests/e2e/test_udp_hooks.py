# SPDX-License-Identifier: MIT
"""Hooks, filters and mirrors of UDP flows: datagram by datagram."""
import time

import pytest

from harness import wait_for
from test_hooks import notes, read
from test_udp import (WIREGUARD, ask, client, is_silent, listen, port, query,  # noqa: F401  pylint: disable=unused-import
                      servers)

pytestmark = pytest.mark.sanitize

NOTES = """
local notes = rx.file "notes"
local hook = rx.hook "notes" {
  on_open = function(conn) notes:write("open " .. conn.id .. " " .. tostring(conn.backend) .. "\\n") end,
  on_data = function(conn, direction, buf) notes:write(direction .. " " .. conn.id .. " " .. buf:sub(0) .. "\\n") end,
  on_close = function(conn, why) notes:write("close " .. conn.id .. " " .. why .. " " .. conn.bytes_in .. "\\n") end,
}
"""


def test_hooks_see_each_datagram_of_both_directions(rx, servers, client, port):  # noqa: F811
    server = servers(b"a:")
    p = rx.config(listen(port, '{ rx.any, to = "%s", hooks = { hook } }' % server.address, 'udp_idle_timeout = "1s",',
                         prelude=NOTES), binds=2)
    s = client(port)
    for i in range(20):
        assert ask(s, b"datagram %d" % i) == b"a:datagram %d" % i
    s.send(b"")  # carries nothing: nothing is shown
    assert s.recv(100) == b"a:"
    assert notes(p, r"close \d+ (\w+) (\d+)") == [("idle_timeout", str(sum(len(b"datagram %d" % i) for i in range(20))))]
    lines = read(p, "notes").decode().splitlines()
    assert lines[0].startswith("open ") and lines[0].endswith(server.address)
    said = [line.split(" ", 2) for line in lines[1:-1]]
    assert [(way, text) for way, _, text in said if way == "to_server"] == [
        ("to_server", "datagram %d" % i) for i in range(20)]
    assert [text for way, _, text in said if way == "to_client"] == ["a:datagram %d" % i for i in range(20)] + ["a:"]


def test_hooks_see_what_the_program_answers(rx, client, port):  # noqa: F811
    p = rx.config(listen(port, '{ rx.dns, to = rx.respond "no", hooks = { hook } },'
                               ' { rx.any, to = rx.echo, hooks = { hook } }', 'udp_idle_timeout = "1s",', prelude=NOTES),
                  binds=2)
    assert ask(client(port), query()) == b"no"
    assert ask(client(port), b"one") == b"one"
    notes(p, r"close \d+", count=2)
    text = read(p, "notes").decode()
    assert text.count("open ") == 2 and query().decode() in text and " no\n" in text
    assert text.count(" one\n") == 2 and "answered" in text and "idle_timeout" in text


def test_functions_are_told_that_it_is_udp(rx, client, port):  # noqa: F811
    """Promise: conn.transport is the same for every function that sees the flow."""
    p = rx.config(listen(port, '{ rx.any, to = rx.echo, hooks = { hook } }',
                         'udp_idle_timeout = "1s", on_accept = function(conn) rx.log.warn("accepts " .. conn.transport) end,',
                         prelude="""
local notes = rx.file "notes"
local hook = rx.hook "notes" {
  on_close = function(conn) notes:write("close 1 " .. conn.transport .. "\\n") end,
}
"""), binds=2)
    assert ask(client(port), b"one") == b"one"
    p.err.wait("accepts udp")
    assert notes(p, r"close \d+ (\w+)") == ["udp"]


def test_a_flow_that_is_turned_away_is_opened_and_closed_for_hooks(rx, client, port):  # noqa: F811
    p = rx.config(listen(port, "{ rx.wireguard, to = rx.drop, hooks = { hook } }", prelude=NOTES))
    assert is_silent(client(port), WIREGUARD)
    assert notes(p, r"close \d+ (\w+)") == ["dropped"]
    assert read(p, "notes").decode().count("open ") == 1


FILTER = """{ rx.any, to = "%s", filter = function(conn, direction, buf)
  local text = buf:sub(0)
  if text == "swallow" then return "" end
  if text == "refuse" or text == "refuse answer" then return rx.refuse end
  if text == "fail" then error "on purpose" end
  if text == "keep" then return end
  return (direction == "to_server" and ">" or "<") .. text
end, on_data = function(conn, direction, buf) notes:write(direction .. " " .. buf:sub(0) .. "\\n") end }"""


def test_a_filter_passes_replaces_drops_and_refuses_datagrams(rx, servers, client, port):  # noqa: F811
    server = servers(b"")
    p = rx.config(listen(port, FILTER % server.address, prelude='local notes = rx.file "notes"'), binds=2)
    s = client(port)
    assert ask(s, b"first") == b"<>first"  # the one it was recognised by, too
    assert ask(s, b"keep") == b"keep"
    assert is_silent(s, b"swallow")
    assert ask(s, b"") == b""
    s.settimeout(5)
    assert ask(s, b"again") == b"<>again"
    assert is_silent(s, b"refuse")
    assert p.access_one()["reason"] == "filter_refused"
    assert p.access_one()["bytes_in"] == len("firstkeepswallowagainrefuse")  # what came
    s.settimeout(5)
    assert ask(s, b"anew") == b"<>anew"  # another flow
    assert server.seen == [b">first", b"keep", b"", b">again", b">anew"] and len(server.peers) == 2
    assert notes(p, "to_client <>anew\n") and "swallow" not in read(p, "notes").decode()


def test_a_filter_that_fails_ends_its_flow_and_passes_nothing(rx, servers, client, port):  # noqa: F811
    server = servers(b"")
    p = rx.config(listen(port, FILTER % server.address, prelude='local notes = rx.file "notes"'), binds=2)
    good, bad = client(port), client(port)
    assert ask(good, b"x") == b"<>x"
    assert is_silent(bad, b"fail")
    assert p.access_one()["reason"] == "filter_failed"
    good.settimeout(5)
    assert ask(good, b"y") == b"<>y"
    assert server.seen == [b">x", b">y"]


def test_a_filter_refuses_an_answer(rx, servers, client, port):  # noqa: F811
    server = servers(answer=lambda data: data + b" answer" if data == b"keep" else data)
    p = rx.config(listen(port, """{ rx.any, to = "%s", filter = function(conn, direction, buf)
      if direction == "to_client" then return rx.refuse end end }""" % server.address), binds=2)
    assert is_silent(client(port), b"keep")
    assert p.access_one()["reason"] == "filter_refused"
    assert server.seen == [b"keep"]


def test_a_burst_is_filtered_datagram_by_datagram(rx, servers, client, port):  # noqa: F811
    server = servers(answer=lambda data: None)
    rx.config(listen(port, """{ rx.any, to = "%s", filter = function(conn, d, buf)
      return #buf .. ":" .. buf:sub(0) end }""" % server.address), binds=2)
    s = client(port)
    s.setsockopt(17, 103, 100)  # UDP_SEGMENT: ten datagrams as one send, which arrive as one, too
    for _ in range(5):
        s.send(b"x" * 1000)
    wait_for(lambda: len(server.seen) >= 50, what="datagrams")
    assert server.seen == [b"100:" + b"x" * 100] * 50


def test_a_mirror_gets_a_copy_of_each_datagram_and_is_not_heard(rx, servers, client, port):  # noqa: F811
    server, mirror = servers(b"s:"), servers(b"m:")
    rx.config(listen(port, '{ rx.any, to = "%s", mirror = "%s" }' % (server.address, mirror.address)), binds=2)
    s = client(port)
    sent = [b"", b"one", b"x" * 1400, b"y" * 60000] + [b"%d" % i for i in range(50)]
    for data in sent:
        assert ask(s, data) == b"s:" + data
    wait_for(lambda: len(mirror.seen) >= len(sent), what="copies")
    assert mirror.seen == sent == server.seen
    assert len(mirror.peers) == 1


def test_a_mirror_that_is_not_there_harms_nobody_and_may_come_later(rx, servers, client, port):  # noqa: F811
    server, mirror = servers(b"s:"), servers()
    mirror.close()
    rx.config(listen(port, '{ rx.any, to = "%s", mirror = "%s" }' % (server.address, mirror.address)), binds=2)
    s = client(port)
    for i in range(10):
        assert ask(s, b"%d" % i) == b"s:%d" % i
    back = servers(port=mirror.port)
    assert ask(s, b"now") == b"s:now"
    wait_for(lambda: back.seen, what="a copy")
    assert back.seen == [b"now"]


def test_hooks_and_mirrors_of_tcp_routes_do_not_see_udp(rx, servers, client, port):  # noqa: F811
    server = servers(b"")
    p = rx.config(listen(port, '{ rx.http, to = "127.0.0.1:1", hooks = { hook } }, { rx.dns, to = "%s" }' % server.address,
                         'udp_idle_timeout = "1s",', prelude=NOTES), binds=2)
    assert ask(client(port), query()) == query()
    assert p.access_one(timeout=6)["reason"] == "idle_timeout"
    time.sleep(0.2)
    assert read(p, "notes") == b""
