# SPDX-License-Identifier: MIT
"""Hooks that watch: on_open, on_data, on_close, rx.every and rx.file. Complete, in order, never in the way."""
import hashlib
import json
import os
import re
import socket
import subprocess
import threading
import time

import pytest

import peers
import wire
from harness import MIB, PATIENCE, SANITIZER, SCALE, make_config, run_binary, wait_for
from test_clients_web import nginx  # noqa: F401  pylint: disable=unused-import
from test_reload import edit

BULK = max(int(200 * MIB * SCALE), 4 * MIB)

# Each direction into a file of its own; what was lost, and how it ended, into a third.
CAPTURE = """
local files = { to_server = rx.file "to_server.bin", to_client = rx.file "to_client.bin" }
local notes = rx.file "notes"
local capture = rx.hook "capture" {
  on_open = function(conn) notes:write("open " .. conn.id .. " " .. tostring(conn.backend) .. "\\n") end,
  on_data = function(conn, direction, buf) files[direction]:write(buf:sub(0)) end,
  on_close = function(conn, why) notes:write("close " .. conn.id .. " " .. why .. " lost " .. conn.lost .. "\\n") end,
}
"""


def read(p, name):
    try:
        with open(os.path.join(p.directory, name), "rb") as f:
            return f.read()
    except FileNotFoundError:
        return b""


def notes(p, pattern, count=1, timeout=None):
    """Matches of a pattern in the hooks' notes, once there are so many."""
    def enough():
        found = re.findall(pattern, read(p, "notes").decode())
        return found if len(found) >= count else None

    return wait_for(enough, timeout or PATIENCE * 2, "%d of %r in %r; %s" % (count, pattern, read(p, "notes")[-500:],
                                                                              p.errors()[-2000:]))


def sha(data):
    return hashlib.sha256(data).hexdigest()


PUMPS = ["latency", "throughput", "both"]  # copied, spliced, first one then the other


@pytest.mark.parametrize("priority", PUMPS)
def test_bytes_in_hooks_are_the_transfer_download(rx, nginx, need, priority):
    """Promise: on_data sees every byte once, in order, whichever pump moves them (curl from nginx)."""
    curl = need("curl")
    port = nginx(one={})["one"]
    for n, rate in enumerate(("100M", "40M", "10M")):  # a machine that is busy may be too slow for the hooks
        p = rx('{ rx.http, to = "127.0.0.1:%d", hooks = { capture }, priority = "%s" }' % (port, priority),
               prelude=CAPTURE)
        path = os.path.join(p.directory, "got")
        url = "http://127.0.0.1:%d/big.bin" % p.port
        subprocess.run([curl, "-sS", "-i", "--limit-rate", rate, "-o", path, url], check=True, timeout=300)
        lost = int(notes(p, r"close \d+ done lost (\d+)")[0])
        got = read(p, "got")
        assert len(got) > MIB
        if not lost:
            assert sha(read(p, "to_client.bin")) == sha(got)
            assert read(p, "to_server.bin").startswith(b"GET /big.bin HTTP/1.1\r\n")
            return
        assert len(read(p, "to_client.bin")) + lost == len(got)
    pytest.fail("bytes were lost at every rate: " + read(p, "notes").decode() + p.errors()[-3000:])


def paced(sock, stream, rate):
    start, sent = time.monotonic(), 0
    for block in stream.blocks():
        sock.sendall(block)
        sent += len(block)
        ahead = sent / rate - (time.monotonic() - start)
        if ahead > 0:
            time.sleep(ahead)


@pytest.mark.parametrize("priority", PUMPS)
def test_bytes_in_hooks_are_the_transfer_both_ways(rx, backends, priority):
    """Promise: the same of 200 MB to the server, and of what an echoing server sends back."""
    backend = backends(peers.echo)
    for n, rate in enumerate((100, 40, 10)):
        p = rx("{ rx.ssh, to = %s, hooks = { capture }, priority = '%s' }" % (backend.quoted, priority),
               prelude=CAPTURE)
        with p.connect(timeout=120) as s:
            task = peers.in_thread(peers.receive_hash, s)
            s.sendall(wire.SSH)
            paced(s, peers.Stream(BULK, seed=3), rate * MIB)
            s.shutdown(socket.SHUT_WR)
            total, echoed = task.get(300)
        assert total == BULK + len(wire.SSH)
        lost = int(notes(p, r"close \d+ done lost (\d+)")[0])
        if not lost:
            assert sha(read(p, "to_client.bin")) == echoed
            assert sha(read(p, "to_server.bin")) == echoed
            return
        assert len(read(p, "to_client.bin")) + len(read(p, "to_server.bin")) + lost == 2 * total
    pytest.fail("bytes were lost at every rate: " + read(p, "notes").decode() + p.errors()[-3000:])


@pytest.mark.sanitize
def test_order_per_connection_in_a_crowd(rx, backends):
    """Promise: of 200 connections at once, each one's bytes come in order and its open and close come once."""
    backend = backends(peers.echo)
    p = rx("{ rx.ssh, to = %s, hooks = { seq } }" % backend.quoted, workers=2, prelude="""
local notes = rx.file "notes"
local seen = {}
local seq = rx.hook "seq" {
  on_open = function(conn) assert(not seen[conn.id]) seen[conn.id] = { to_server = {}, to_client = {} } end,
  on_data = function(conn, direction, buf)
    local list = seen[conn.id][direction]
    list[#list + 1] = buf:sub(0)
  end,
  on_close = function(conn, why)
    local s = seen[conn.id]
    notes:write(conn.client.port .. " " .. table.concat(s.to_server) .. "|" .. table.concat(s.to_client) .. "|" .. conn.lost
      .. "\\n")
    seen[conn.id] = nil
  end,
}""")
    start = wire.SSH.strip().decode()
    said = {}

    def client(number):
        with p.connect(timeout=60) as s:
            text = wire.SSH
            s.sendall(wire.SSH)
            peers.read_exactly(s, len(wire.SSH))
            for k in range(20):
                line = b"%d.%d;" % (number, k)
                s.sendall(line)
                peers.read_exactly(s, len(line))
                text += line
            said[s.getsockname()[1]] = text

    threads = [threading.Thread(target=client, args=(i,)) for i in range(200)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert len(said) == 200
    heard = wait_for(lambda: read(p, "notes").count(start.encode()) >= 400 and read(p, "notes"), PATIENCE * 2, "400 streams")
    for port, text in said.items():
        assert b"%d %s|%s|0\n" % (port, text, text) in heard
    assert "script:" not in p.errors()


@pytest.mark.sanitize
def test_a_slow_hook_loses_bytes_and_never_delays(rx, backends):
    """Promise: what a hook is too slow for is lost to it and counted; the flow is whole and not slower."""
    backend = backends(peers.echo)
    p = rx("{ rx.ssh, to = %s, hooks = { slow } }" % backend.quoted, server='script_budget = "10s",', prelude="""
local notes = rx.file "notes"
local slow = rx.hook "slow" {
  on_open = function() notes:write "open\\n" end,
  on_data = function(conn, direction, buf)
    local until_s = os.clock() + 0.01
    while os.clock() < until_s do end
  end,
  on_close = function(conn, why) notes:write("close " .. why .. " lost " .. conn.lost .. "\\n") end,
}""")
    size = max(int(64 * MIB * SCALE), 32 * MIB)
    with p.connect(timeout=120) as s:
        task = peers.in_thread(peers.receive_hash, s)
        s.sendall(wire.SSH)
        peers.Stream(size, seed=4).send(s)
        s.shutdown(socket.SHUT_WR)
        total, echoed = task.get(300)
    whole = hashlib.sha256(wire.SSH)
    for block in peers.Stream(size, seed=4).blocks():
        whole.update(block)
    assert (total, echoed) == (size + len(wire.SSH), whole.hexdigest())
    p.err.wait("hooks cannot keep up: bytes are lost to on_data", PATIENCE)
    with p.connect() as s:  # others, too, are served while the hook is behind
        start = time.monotonic()
        s.sendall(wire.SSH)
        peers.read_exactly(s, len(wire.SSH))
        assert time.monotonic() - start < 2
    lost = int(notes(p, r"close done lost (\d+)", timeout=120)[0])
    assert lost > MIB
    told = run_binary("status", "--json", "-p", str(p.port), cwd=p.directory,
                      env={"XDG_RUNTIME_DIR": p.directory})
    hooks = json.loads(told.stdout)["hooks"]
    assert (hooks[0]["name"], hooks[0]["lost_bytes"], hooks[0]["lost_connections"]) == ("slow", lost, 0)


BAD = {
    "loop": "while true do end",
    "recursion": "local function f() return 1 + f() end f()",
    "memory": "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(60000) .. i end",
    "error": "error 'oops'",
    "pcall": "while true do pcall(function() while true do end end) end",
}


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", sorted(BAD))
@pytest.mark.parametrize("place", ["on_open", "on_data", "on_close", "every"])
def test_bad_hooks_hurt_nobody(rx, backends, place, kind):
    """Promise: a loop, a recursion, a memory bomb, an error in a hook is stopped; the others go on being called."""
    backend = backends(peers.echo)
    body = BAD[kind]
    bad = ("rx.every('50ms', function() %s end)\nlocal bad = rx.hook 'bad' { on_open = function() end }" % body
           if place == "every" else "local bad = rx.hook 'bad' { %s = function() %s end }" % (place, body))
    p = rx("{ rx.ssh, to = %s, hooks = { bad, good } }" % backend.quoted, server='script_budget = "5s",' if kind == "memory" else "", prelude=bad + """
local notes = rx.file "notes"
local good = rx.hook "good" {
  on_open = function(conn) notes:write "open\\n" end,
  on_data = function(conn, direction) notes:write(direction .. "\\n") end,
  on_close = function(conn) notes:write "close\\n" end,
}""")
    for _ in range(3):
        with p.connect() as s:
            s.sendall(wire.SSH)
            peers.read_exactly(s, len(wire.SSH))
    notes(p, "close\n", 3)
    assert len(notes(p, "open\n")) == 3
    assert len(notes(p, "to_server\n")) >= 3 and len(notes(p, "to_client\n")) >= 3
    where = {"loop": "script_budget", "pcall": "script_budget", "memory": "memory", "recursion": "stack", "error": "oops"}
    line = p.err.wait(r"script: .*refractium\.lua:\d+: .*" + where[kind])
    if kind in ("loop", "memory", "pcall"):
        assert "quarantined" in line.string
        assert p.errors().count("quarantined") == 1


@pytest.mark.sanitize
def test_what_hooks_see_of_a_connection(rx, backends):
    """Promise: the facts, the route, the backend, the counters; the reason of its end; also of one nobody took."""
    backend = backends(peers.http("hello"))
    p = rx('{ rx.http, name = "web", host = "a.test", to = web }, { rx.tls, sni = "no.test", to = web }', workers=2, prelude='local web = rx.pool "web" { %s }'
           % backend.quoted, server="""hooks = (function()
local notes = rx.file "notes"
local function s(v) return tostring(v) end
return { rx.hook "all" {
  on_open = function(c) notes:write(table.concat({ "open", s(c.protocol), s(c.host), s(c.path), s(c.method), s(c.route),
    s(c.pool), s(c.backend), c.listener, c.transport, c.client.ip, s(c.sni), #c.alpn, s(c.ja4) }, " ") .. "\\n") end,
  on_close = function(c, why) notes:write(table.concat({ "close", why, c.bytes_in, c.bytes_out, c.lost,
    s(c.age < 60), s(math.abs(c.time - os.time()) < 5), c.client.port }, " ") .. "\\n") end,
} } end)(),""")
    with p.connect() as s:
        port = s.getsockname()[1]
        s.sendall(wire.get(path="/x?y"))
        got = peers.read_all(s)
    request = wire.get(path="/x?y")
    notes(p, "close done %d %d 0 true true %d\n" % (len(request), len(got), port))
    assert notes(p, "open http a.test /x") and notes(
        p, r"GET web web %s 127.0.0.1:0 tcp 127.0.0.1 nil 0 nil\n" % backend.address)
    with p.connect() as s:
        s.sendall(wire.hello(sni="b.test", alpn=["h2", "http/1.1"]))
        assert peers.how_it_ends(s)[0] in ("eof", "reset")
    notes(p, r"open tls nil nil nil nil nil nil 127.0.0.1:0 tcp 127.0.0.1 b.test 2 t13d0306h2_[0-9a-f]{12}_[0-9a-f]{12}\n")
    notes(p, r"close no_route ")
    with p.connect():
        pass
    notes(p, r"open nil nil nil nil nil nil nil 127.0.0.1:0 tcp 127.0.0.1 nil 0 nil\nclose client_gone 0 0 0 ")


@pytest.mark.sanitize
def test_hooks_see_what_the_program_answers_itself(rx):
    """Promise: answers count as what goes to the client."""
    p = rx('{ rx.http, to = rx.respond "HTTP/1.0 200 OK\\r\\n\\r\\nhi", on_data = function(conn, d, buf) '
           'notes:write(d .. " " .. buf:sub(0) .. "\\n") end }', prelude='local notes = rx.file "notes"')
    with p.connect() as s:
        s.sendall(wire.get())
        peers.read_all(s)
    notes(p, "to_server GET / HTTP/1.1\r\n")
    notes(p, "to_client HTTP/1.0 200 OK\r\n\r\nhi\n")


@pytest.mark.sanitize
def test_every_fires_once_per_process_and_stops_with_its_generation(rx):
    """Promise: rx.every runs in one thread whatever the workers, in the hooks' state; a reload replaces the timers."""
    timer = """local f = rx.file "ticks" local n = 0
rx.every("100ms", function() n = n + 1 f:write("%s " .. n .. "\\n") end)"""
    config = dict(routes="{ rx.http, to = rx.respond }", workers=4)
    p = rx(**config, prelude=timer % "old")
    wait_for(lambda: read(p, "ticks").count(b"\n") >= 5, what="five ticks")
    lines = read(p, "ticks").decode().split("\n")[:-1]
    assert lines == ["old %d" % (i + 1) for i in range(len(lines))]
    edit(p, make_config(**config, prelude=timer % "new"))
    wait_for(lambda: b"new 5\n" in read(p, "ticks"), what="ticks of the new config")
    after = read(p, "ticks").decode().split("new 2\n")[1]
    assert "old" not in after


@pytest.mark.sanitize
def test_a_connection_keeps_the_hooks_of_its_generation(rx, backends):
    """Promise: a reload gives new connections new hooks; live ones keep theirs, with their state."""
    backend = backends(peers.echo)
    hook = """local notes = rx.file "notes" local n = 0
local h = rx.hook "h" { on_open = function() n = n + 1 notes:write("%s open " .. n .. "\\n") end,
  on_close = function() n = n + 1 notes:write("%s close " .. n .. "\\n") end }"""
    config = dict(routes="{ rx.ssh, to = %s, hooks = { h } }" % backend.quoted)
    p = rx(**config, prelude=hook % ("a", "a"))
    with p.connect() as one:
        one.sendall(wire.SSH)
        peers.read_exactly(one, len(wire.SSH))
        edit(p, make_config(**config, prelude=hook % ("b", "b")))
        with p.connect() as two:
            two.sendall(wire.SSH)
            peers.read_exactly(two, len(wire.SSH))
        notes(p, "b close 2\n")
    notes(p, "a close 2\n")
    edit(p, make_config(routes=config["routes"].replace(", hooks = { h }", "")))  # and a config without any
    with p.connect() as s:
        s.sendall(wire.SSH)
        peers.read_exactly(s, len(wire.SSH))
    assert read(p, "notes") == b"a open 1\nb open 1\nb close 2\na close 2\n"


@pytest.mark.sanitize
def test_files_are_bounded_and_follow_rotation(rx):
    """Promise: a file grows to its limit and no further; one that is renamed away is made anew."""
    p = rx("{ rx.http, to = rx.respond }", prelude="""
local bounded = rx.file("bounded", { max = "1k" })
local rotated = rx.file "rotated"
rx.every("20ms", function()
  rotated:write(bounded:write(("x"):rep(100)) and "wrote\\n" or "full\\n")
end)""")
    wait_for(lambda: b"full\n" in read(p, "rotated"), what="a full file")
    assert read(p, "bounded") == b"x" * 1000
    os.rename(os.path.join(p.directory, "rotated"), os.path.join(p.directory, "rotated.1"))
    wait_for(lambda: b"full\n" in read(p, "rotated"), what="a new file")


@pytest.mark.sanitize
def test_a_file_that_cannot_be_opened_stops_the_start_and_the_reload(rx):
    """Promise: the line, the path and the reason; a running config goes on."""
    good = make_config("{ rx.http, to = rx.respond }")
    bad = make_config("{ rx.http, to = rx.respond }", prelude="local f = rx.file '/nowhere/f'\nrx.every('1s', function() end)")
    p = rx.config(bad, is_up=False)
    p.expected_code = 1
    assert p.wait_exit() == 1
    assert re.search(r'refractium.lua:3: rx.file \\"/nowhere/f\\": No such file or directory', p.errors()), p.errors()
    p = rx.config(good)
    edit(p, bad, wants="refused")
    assert '/nowhere/f\\": No such file' in p.errors()


@pytest.mark.sanitize
def test_the_last_words_are_heard_when_it_stops(rx, backends):
    """Promise: closes of connections that end with the program still reach the hooks and their files."""
    backend = backends(peers.echo)
    p = rx("{ rx.ssh, to = %s, hooks = { capture } }" % backend.quoted, prelude=CAPTURE, server='drain_timeout = "100ms",')
    socks = [p.connect() for _ in range(20)]
    for s in socks:
        s.sendall(wire.SSH)
        peers.read_exactly(s, len(wire.SSH))
    assert p.stop() == 0
    assert read(p, "notes").count(b"close ") == 20
    assert read(p, "notes").count(b" shutdown lost 0\n") == 20
    for s in socks:
        s.close()


@pytest.mark.skipif(bool(SANITIZER), reason="measures time")
def test_hooks_cost_no_descriptors_when_connections_are_gone(rx, backends):
    """Promise: side pipes go with their connections."""
    backend = backends(peers.echo)
    p = rx("{ rx.ssh, to = %s, hooks = { capture }, priority = 'throughput' }" % backend.quoted, prelude=CAPTURE)
    before = p.fds()
    for _ in range(5):
        with p.connect() as s:
            s.sendall(wire.SSH)
            s.sendall(b"x" * 100000)
            peers.read_exactly(s, len(wire.SSH) + 100000)
    notes(p, "close ", 5)
    wait_for(lambda: p.fds() <= before + 2, what="descriptors to be given back: %d" % before)  # a pooled pipe may stay
