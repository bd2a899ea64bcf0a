# SPDX-License-Identifier: MIT
"""filter(conn, direction, buf) in the flow, and mirrors beside it."""
import re
import socket
import time

import pytest

import peers
import wire
from harness import MIB, PATIENCE, SANITIZER, SCALE, free_port, wait_for
from test_clients_web import nginx  # noqa: F401  pylint: disable=unused-import
from test_hooks import BAD, notes, read

pytestmark = pytest.mark.sanitize


@pytest.mark.parametrize("priority", ["latency", "throughput", "both"])
def test_a_filter_that_passes_changes_nothing(rx, backends, priority):
    """Promise: nil passes the bytes on, whatever the priority: exact both ways, half-close included."""
    backend = backends(peers.echo)
    p = rx("{ rx.ssh, to = %s, priority = '%s', filter = function(conn, d, buf) if #buf == 0 then error 'empty' end end }"
           % (backend.quoted, priority))
    size = max(int(32 * MIB * SCALE), 4 * MIB)
    with p.connect(timeout=60) as s:
        task = peers.in_thread(peers.receive_hash, s)
        s.sendall(wire.SSH)
        peers.Stream(size).send(s)
        s.shutdown(socket.SHUT_WR)
        total, echoed = task.get(120)
    whole = peers.hashlib.sha256(wire.SSH)
    for block in peers.Stream(size).blocks():
        whole.update(block)
    assert (total, echoed) == (size + len(wire.SSH), whole.hexdigest())
    line = p.access_one()
    assert (line["bytes_in"], line["bytes_out"], line["reason"]) == (total, total, "done")


def test_a_filter_replaces_in_both_directions_and_sees_first_bytes(rx, backends):
    """Promise: a string goes on in the place of what came: longer, shorter or nothing."""
    backend = backends(peers.echo)
    p = rx("""{ rx.ssh, to = %s, filter = function(conn, direction, buf)
      local text = buf:sub(0)
      if direction == "to_server" then
        if text == "drop" then return "" end
        return "<" .. text .. ">"
      end
      return (text:upper())
    end, on_data = function(conn, direction, buf) notes:write(direction .. " " .. buf:sub(0) .. "\\n") end }"""
           % backend.quoted, prelude='local notes = rx.file "notes"')
    with p.connect() as s:
        s.sendall(wire.SSH)
        wants = b"<" + wire.SSH.upper() + b">"
        assert peers.read_exactly(s, len(wants)) == wants
        s.sendall(b"drop")
        time.sleep(0.1)
        s.sendall(b"more")
        assert peers.read_exactly(s, 6) == b"<MORE>"
        s.shutdown(socket.SHUT_WR)
        assert peers.how_it_ends(s) == ("eof", b"")
    line = p.access_one()
    assert line["bytes_in"] == len(wire.SSH) + 8  # what came, not what was passed on
    assert notes(p, "to_client <MORE>\n") and "drop" not in read(p, "notes").decode()


def test_a_long_replacement_to_a_slow_reader_is_whole(rx, backends):
    """Promise: what a filter makes is kept until it is taken, and the source waits meanwhile."""
    def one_word(sock, server):
        sock.recv(1 << 16)
        sock.sendall(b"x")
        sock.shutdown(socket.SHUT_WR)
        peers.read_all(sock)

    p = rx("{ rx.ssh, to = %s, filter = function(conn, d, buf) if d == 'to_client' then return ('y'):rep(60000):rep(1) .. "
           "('z'):rep(60000) end end }" % backends(one_word).quoted)
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(30)
        s.connect(("127.0.0.1", p.port))
        s.sendall(wire.SSH)
        time.sleep(0.3)
        assert peers.read_all(s) == b"y" * 60000 + b"z" * 60000


def test_a_filter_injects_a_header_into_http(rx, nginx, need):  # noqa: F811
    """Promise: curl sees a header that nginx did not send, nginx one that curl did not."""
    import subprocess
    port = nginx(one={})["one"]
    p = rx("""{ rx.http, to = "127.0.0.1:%d", filter = function(conn, direction, buf)
      if direction == "to_client" and buf:starts "HTTP/1.1 200" then
        local at = buf:find "\\r\\n"
        return buf:sub(0, at) .. "\\r\\nX-Seen-By: refractium" .. buf:sub(at)
      end
    end }""" % port)
    done = subprocess.run([need("curl"), "-sSi", "http://127.0.0.1:%d/who" % p.port], capture_output=True, timeout=30)
    assert b"\r\nX-Seen-By: refractium\r\n" in done.stdout and done.stdout.endswith(b"one HTTP/1.1 \n")


@pytest.mark.parametrize("when", ["first", "later", "answer"])
def test_a_filter_refuses(rx, backends, when):
    """Promise: rx.refuse resets both ends, on first bytes before a backend is troubled."""
    ends = []

    def handler(sock, server):
        ends.append(peers.how_it_ends(sock, 5) if when != "answer" else sock.sendall(b"bad") or peers.how_it_ends(sock, 5))

    backend = backends(handler)
    p = rx("""{ rx.ssh, to = %s, filter = function(conn, d, buf)
      if buf:find "%s" then return rx.refuse end end }""" % (backend.quoted, "SSH" if when == "first" else "bad"))
    with p.connect() as s:
        s.sendall(wire.SSH)
        if when == "later":
            wait_for(lambda: backend.n_accepted, what="the backend")
            time.sleep(0.1)
            s.sendall(b"bad")
        assert peers.how_it_ends(s, 5)[0] == "reset"
    assert p.access_one()["reason"] == "filter_refused"
    if when == "first":
        assert backend.n_accepted == 0
    else:
        wait_for(lambda: ends, what="the backend's end")
        assert ends[0][0] == "reset"


@pytest.mark.parametrize("kind", sorted(BAD))
def test_a_filter_that_fails_closes_its_connections_and_no_other(rx, backends, kind):
    """Promise: nothing passes a filter by that failed; others are served."""
    backend = backends(peers.echo)
    p = rx("{ rx.ssh, to = %s, filter = function(conn, d, buf) %s end }, { rx.http, to = %s }" % (
        backend.quoted, BAD[kind], backend.quoted))
    for _ in range(2):
        with p.connect() as s:
            s.sendall(wire.SSH)
            assert peers.how_it_ends(s, PATIENCE)[0] == "reset"
        with p.connect() as s:
            s.sendall(wire.get())
            assert peers.read_exactly(s, len(wire.get())) == wire.get()
    reasons = [line["reason"] for line in p.access(4)]
    assert reasons.count("filter_failed") == 2
    p.err.wait(r"script: .*refractium\.lua:\d+")


# -- mirrors

@pytest.mark.parametrize("priority", ["latency", "throughput", "both"])
def test_a_mirror_gets_what_the_client_says(rx, backends, priority):
    """Promise: a live mirror gets the client's bytes, exactly; its answers go nowhere."""
    def noisy(sock, server):
        task = peers.in_thread(peers.receive_hash, sock)
        for _ in range(50):
            sock.sendall(b"nobody hears this" * 100)
        server.seen.append(task.get(120))

    backend, mirror = backends(peers.echo), backends(noisy)
    p = rx("{ rx.ssh, to = %s, mirror = %s, priority = '%s' }" % (backend.quoted, mirror.quoted, priority))
    size = max(int(32 * MIB * SCALE), 4 * MIB)
    with p.connect(timeout=60) as s:
        task = peers.in_thread(peers.receive_hash, s)
        s.sendall(wire.SSH)
        for block in peers.Stream(size).blocks():
            s.sendall(block)
            time.sleep(0.002)  # a mirror may be slower than the flow for a moment, not for long
        s.shutdown(socket.SHUT_WR)
        got = task.get(120)
    assert got[0] == size + len(wire.SSH)
    if "given up" in p.errors():
        pytest.skip("this machine was too busy for the mirror to keep up")
    assert mirror.wait_seen()[0] == got


def test_a_mirror_is_reached_from_the_source_of_its_pool(rx, backends):
    def where(sock, server):
        server.seen.append(sock.getpeername()[0])
        peers.read_all(sock)

    echo, copy = backends(), backends(where)
    p = rx('{ rx.ssh, to = %s, mirror = rx.pool "copy" { %s, source = "127.0.0.9" } },' % (echo.quoted, copy.quoted))
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert s.recv(len(wire.SSH)) == wire.SSH
    assert copy.wait_seen(1) == ["127.0.0.9"]


@pytest.mark.parametrize("how", ["dead", "swallows", "closes"])
def test_a_mirror_never_hinders_the_flow(rx, backends, how):
    """Promise: one that refuses, that reads nothing, that resets: given up and counted, the flow is whole."""
    backend = backends(peers.echo)
    if how == "dead":
        where = '"127.0.0.1:%d"' % free_port()
    else:
        where = backends(peers.hold if how == "swallows" else lambda sock, server: peers.reset(sock)).quoted
    p = rx("{ rx.ssh, to = %s, mirror = %s }" % (backend.quoted, where))
    size = max(int(64 * MIB * SCALE), 24 * MIB)
    start = time.monotonic()
    with p.connect(timeout=60) as s:
        task = peers.in_thread(peers.receive_hash, s)
        s.sendall(wire.SSH)
        peers.Stream(size).send(s)
        s.shutdown(socket.SHUT_WR)
        total, _ = task.get(120)
    assert total == size + len(wire.SSH)
    assert time.monotonic() - start < (20 if not SANITIZER else 120)
    p.err.wait("mirror 127.0.0.1:[0-9]+: .*; given up for this connection")
    assert p.access_one()["reason"] == "done"
    with p.connect() as s:  # and the next connection is served like the first
        s.sendall(wire.SSH)
        peers.read_exactly(s, len(wire.SSH))


def test_a_mirror_outlives_its_connection_only_to_finish(rx, backends):
    """Promise: small messages arrive though the client leaves at once; descriptors come back."""
    backend, mirror = backends(peers.echo), backends(peers.collect)
    p = rx("{ rx.ssh, to = %s, mirror = %s }" % (backend.quoted, mirror.quoted))
    with p.connect() as s:
        s.sendall(wire.SSH)
        peers.read_exactly(s, len(wire.SSH))
    wait_for(lambda: len(mirror.seen) == 1, what="the mirror")
    before = p.fds()
    for _ in range(10):
        with p.connect() as s:
            s.sendall(wire.SSH)
            peers.read_exactly(s, len(wire.SSH))
    assert mirror.wait_seen(11) == [wire.SSH] * 11
    wait_for(lambda: p.fds() <= before, what="descriptors to come back")
    assert re.search("given up", p.errors()) is None
