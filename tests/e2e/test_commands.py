# SPDX-License-Identifier: MIT
"""check, explain and init, and what a broken config is told."""
import json
import os
import socket

import pytest

import peers
import wire
from harness import CORPUS, ROOT, free_port, run_binary

pytestmark = pytest.mark.sanitize

GOOD = """local rx = require "refractium"
local web = rx.pool "web" { "10.0.0.1:80", "10.0.0.2:80" }
rx.listen "127.0.0.1:%d" {
  routes = {
    { rx.tls, sni = "*.example.com", alpn = "h2", to = web },
    { rx.http, host = "api.example.com", to = "10.0.0.9:3001" },
    { rx.ssh, from = "10.0.0.0/8", to = "127.0.0.1:22" },
    { rx.ssh, to = rx.refuse },
  },
  fallback_tcp = "127.0.0.1:8080",
}
rx.test "ssh from outside" { send = "SSH-2.0-x\\r\\n", from = "203.0.113.9", expect = { to = rx.refuse } }
"""

BAD = """local rx = require "refractium"
rx.server { worker = 4, drain_timeout = 30 }
local web = rx.pool "web" { "10.0.0.1" }
rx.listen "127.0.0.1:%d" {
  peek_timeout = "3 parsecs",
  routes = {
    { rx.htpp, to = web },
    { rx.tls, snii = "a.test", to = web },
    { rx.ssh, to = "wbe" },
    { rx.ssh, from = "10.0.0.0/33", to = web },
    { rx.dns, sni = "a.test", to = web },
  },
}
rx.lisen "127.0.0.1:1" {}
"""


@pytest.fixture
def write(workdir):
    def save(text, name="refractium.lua"):
        path = os.path.join(workdir, name)
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        return path

    return save


@pytest.fixture
def run(workdir):
    return lambda *args, **how: run_binary(*args, cwd=workdir, **how)


# -- check

def test_check_of_a_good_config(write, run):
    """Promise: check validates, runs the config's tests, prints the routing table, binds nothing, exit 0."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        write(GOOD % taken.getsockname()[1])
        done = run("check")
    assert done.returncode == 0, done.err
    for word in ("*.example.com", "web", "api.example.com", "10.0.0.9:3001", "refuse", "127.0.0.1:8080"):
        assert word in done.out, word


def test_check_json(write, run):
    """Promise: check --json prints one object."""
    write(GOOD % 8080)
    done = run("check", "--json")
    assert done.returncode == 0
    said = json.loads(done.out)
    assert said["ok"] is True and said["errors"] == [] and said["tests"]["failed"] == 0
    assert said["tests"]["count"] == 1 and len(said["listeners"]) == 1


PORTS = """local rx = require "refractium"
rx.listen { "127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003-9005" } {
  routes = { { rx.ssh, to_port = "9002", to = rx.echo, name = "two" }, { rx.ssh, to_port = "9003", to = rx.echo, name = "three" } },
  fallback_tcp = rx.drop,
}
rx.test "first" { send = "SSH-2.0-x\\r\\n", expect = { reason = "no_route" } }
rx.test "second" { send = "SSH-2.0-x\\r\\n", listener = "127.0.0.1:9002", expect = { route = "two" } }
rx.test "range" { send = "SSH-2.0-x\\r\\n", listener = "127.0.0.1:9003-9005", expect = { route = "%s" } }
"""


def test_a_test_comes_to_the_port_of_the_address_it_names(write, run):
    write(PORTS % "three")
    done = run("check")
    assert done.returncode == 0, done.err
    write(PORTS % "two")
    done = run("check")
    assert done.returncode == 1 and 'test "range"' in done.err


def test_check_of_the_default_config():
    """Promise: the config that ships is valid and passes its own tests."""
    done = run_binary("check", cwd=ROOT)
    assert done.returncode == 0, done.err
    assert "error" not in done.err


def test_all_errors_are_told_at_once_with_place_and_suggestion(write, run):
    """Promise: every error with file:line, the path of the key and a did-you-mean; all together; exit 1."""
    write(BAD % 8080)
    done = run("check")
    assert done.returncode == 1
    for line, words in ((2, ("worker", "workers")), (2, ("drain_timeout", "unit")), (3, ("10.0.0.1", "port")),
                        (5, ("peek_timeout", "parsecs")), (7, ("htpp", "http")), (8, ("snii", "sni")),
                        (9, ("wbe", "web")), (10, ("from", "10.0.0.0/33")), (11, ("sni",)), (14, ("lisen", "listen"))):
        told = [t for t in done.err.splitlines() if "refractium.lua:%d:" % line in t and all(w in t for w in words)]
        assert told, "line %d %s in:\n%s" % (line, words, done.err)


def test_a_broken_config_binds_nothing(write, run):
    """Promise: bad config: exit 1, nothing is bound, no socket file is made."""
    port = free_port()
    write((BAD % port).replace('rx.listen "', 'rx.listen { "unix:x.sock", "').replace('%d" {' % port,
                                                                                      '%d" } {' % port))
    with socket.socket() as s:
        s.bind(("127.0.0.1", port))  # would be in the way
        s.listen()
        done = run()
    assert done.returncode == 1
    assert "listening" not in done.err and "in use" not in done.err


def test_a_syntax_error_names_its_line(write, run):
    """Promise: file:line also for what is no Lua."""
    write('local rx = require "refractium"\nrx.listen "127.0.0.1:0" {\n  routes = { { rx.ssh to = 3 } }\n}\n')
    done = run("check")
    assert done.returncode == 1 and "refractium.lua:3:" in done.err


def test_a_run_time_error_names_its_line(write, run):
    """Promise: as above; a misspelt variable is an error of its own."""
    write('local rx = require "refractium"\nrx.listen "127.0.0.1:0" { routes = { { rx.ssh, to = wbe } } }\n')
    done = run("check")
    assert done.returncode == 1 and "refractium.lua:2:" in done.err and "wbe" in done.err


@pytest.mark.parametrize("line", ["os.execute('touch pwned')", "io.popen('touch pwned')", "io.open('pwned', 'w')",
                                  "local f = require 'ffi' f.C.abort()", "load('\\27LJ\\2')()", "while true do end",
                                  "local s = ('x'):rep(1e9)", "error({})", "error()", "setmetatable(_G, nil) x = 1"])
def test_a_config_cannot_do_harm(write, run, workdir, line):
    """Promise: no os.execute, io.popen, raw ffi or bytecode; an endless loop ends; always an error, never a crash."""
    write('local rx = require "refractium"\n%s\nrx.listen "127.0.0.1:0" { routes = { { rx.ssh, to = rx.drop } } }\n' % line)
    done = run("check", timeout=30)
    assert done.returncode in (0, 1)
    assert not os.path.exists(os.path.join(workdir, "pwned"))
    if "rep" not in line and "setmetatable" not in line:
        assert done.returncode == 1 and done.err


def test_a_failing_test_of_the_config_fails_the_load(write, run):
    """Promise: the config's tests run on check and before serving; what failed is told; nothing is bound."""
    write(GOOD.replace("to = rx.refuse } }", 'to = "127.0.0.1:22" } }') % free_port())
    for command in (["check"], []):
        done = run(*command)
        assert done.returncode == 1
        assert "ssh from outside" in done.err and "listening" not in done.err


def test_a_failing_sample_fails_the_load(write, run):
    """Promise: the samples of a protocol are tried on every load."""
    write('local rx = require "refractium"\nlocal g = rx.protocol "game" { prefix = "GAME", transport = "tcp",\n'
          '  samples = { yes = { "GAMX" } } }\nrx.listen "127.0.0.1:0" { routes = { { g, to = "127.0.0.1:1" } } }\n')
    done = run("check")
    assert done.returncode == 1 and "game" in done.err and "GAMX" in done.err


def test_values_that_invite_abuse_are_warned_about(write, run):
    """Promise: peek_timeout > 5s, a per-IP limit > 200 or as large as the whole get a warning, not an error."""
    write('local rx = require "refractium"\nrx.server { max_connections = 300 }\nrx.listen "127.0.0.1:0" {\n'
          '  peek_timeout = "20s", max_connections_per_ip = 300, routes = { { rx.ssh, to = rx.drop } } }\n')
    done = run("check")
    assert done.returncode == 0
    assert "peek_timeout" in done.err and "max_connections_per_ip" in done.err and "warning" in done.err


# -- explain

def explain(run, *args, **how):
    done = run("explain", "--json", *args, **how)
    assert done.returncode == 0, done.err
    assert len(done.out.strip().splitlines()) == 1
    return json.loads(done.out)


def test_explain_schema(write, run):
    """Promise: explain --json is one object with these keys."""
    write(GOOD % 8080)
    said = explain(run, stdin=wire.hello("www.example.com", alpn=["h2", "http/1.1"]))
    assert {"transport", "verdict", "protocol", "facts", "route", "to", "backend", "tried"} <= set(said)
    assert (said["transport"], said["verdict"], said["protocol"]) == ("tcp", "match", "tls")
    assert said["facts"]["sni"] == "www.example.com" and said["facts"]["alpn"] == ["h2", "http/1.1"]
    assert said["to"] == "web" and said["backend"] == "10.0.0.1:80"
    for tried in said["tried"]:
        assert {"protocol", "verdict", "bytes"} <= set(tried)
        assert tried["verdict"] in ("match", "more", "need_more", "no", "none")


def test_explain_by_address_and_listener(write, run):
    """Promise: --from is the client's address, --listener where it comes to."""
    write(GOOD % 8080)
    assert explain(run, stdin=wire.SSH)["to"] == "refuse"
    assert explain(run, "--from", "10.1.2.3", stdin=wire.SSH)["to"] == "127.0.0.1:22"
    assert explain(run, "--listener", "127.0.0.1:8080", stdin=wire.SSH)["to"] == "refuse"
    done = run("explain", "--listener", "127.0.0.1:9", stdin=wire.SSH)
    assert done.returncode == 1 and "127.0.0.1:8080" in done.err


def test_explain_what_is_not_decided_and_what_nothing_takes(write, run):
    """Promise: verdict need_more for a proper prefix, none when nothing can match any more."""
    write(GOOD % 8080)
    said = explain(run, stdin=b"SSH-")
    assert said["verdict"] == "need_more" and said["route"] is None
    said = explain(run, stdin=wire.GARBAGE)
    assert said["verdict"] == "none" and said["protocol"] is None and said["to"] == "127.0.0.1:8080"


def test_explain_reads_files_hex_and_segments(write, run):
    """Promise: FILE or stdin; raw or --hex; several FILEs or --segments are segments of one connection."""
    write(GOOD % 8080)
    request = wire.get("api.example.com")
    write(request, "whole.bin")
    write(request[:20], "first.bin")
    write(request[20:], "second.bin")
    write(" ".join("%02x" % b for b in request), "whole.hex")
    for args in (["whole.bin"], ["first.bin", "second.bin"], ["--hex", "whole.hex"],
                 ["--segments", "20,%d" % (len(request) - 20), "whole.bin"]):
        said = explain(run, *args)
        assert said["facts"]["host"] == "api.example.com" and said["to"] == "10.0.0.9:3001", args
    for args in (["none.bin"], ["--hex", "whole.bin"], ["--segments", "x", "whole.bin"], ["--from", "here"]):
        done = run("explain", *args, stdin=request)
        assert done.returncode == 1 and len(done.err.strip().splitlines()) == 1, args


def test_explain_reads_a_capture(write, run):
    """Promise: --pcap takes the first TCP flow of a capture; here an Ethernet one written by hand."""
    first = wire.hello("cap.example.com")

    def packet(flags, seq, data=b""):
        tcp = (socket.htons(0).to_bytes(0, "big") + (40000).to_bytes(2, "big") + (443).to_bytes(2, "big")
               + seq.to_bytes(4, "big") + bytes(4) + bytes([0x50, flags]) + b"\xff\xff" + bytes(4) + data)
        ip = (b"\x45\0" + (20 + len(tcp)).to_bytes(2, "big") + bytes(4) + b"\x40\x06\0\0"
              + socket.inet_aton("192.0.2.5") + socket.inet_aton("192.0.2.6") + tcp)
        frame = bytes(12) + b"\x08\0" + ip
        return bytes(8) + len(frame).to_bytes(4, "little") * 2 + frame

    head = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000")
    write(head + packet(2, 100) + packet(0x18, 101, first[:60]) + packet(0x18, 161, first[60:]), "flow.pcap")
    done = run("explain", "--builtin", "--json", "--pcap", "flow.pcap")
    assert done.returncode == 0, done.err
    said = json.loads(done.out)
    assert said["protocol"] == "tls" and said["facts"]["sni"] == "cap.example.com"


@pytest.mark.parametrize("file,protocol,fact,value", [
    ("http/curl-get-port80-host.bin", "http", "host", "www.example.test"),
    ("ssh/openssh-ssh-silent.bin", "ssh", "software", None),
])
def test_explain_builtin_needs_no_config(run, file, protocol, fact, value):
    """Promise: --builtin identifies among everything that ships."""
    path = os.path.join(CORPUS, file)
    if not os.path.exists(path):
        pytest.skip(file + " is not in the corpus")
    said = explain(run, "--builtin", path)
    assert said["protocol"] == protocol and said["verdict"] == "match"
    assert said["facts"][fact] == value or value is None


def test_explain_text_says_why(write, run):
    """Promise: without --json it is for people: every matcher, the route, the backend."""
    write(GOOD % 8080)
    done = run("explain", stdin=wire.hello("www.example.com", alpn=["h2"]))
    assert done.returncode == 0
    for word in ("tls", "www.example.com", "web", "10.0.0.1:80"):
        assert word in done.out


def test_explain_escapes_what_clients_say(write, run):
    """Promise: peer bytes are never printed raw."""
    write(GOOD % 8080)
    for first in (b"SSH-2.0-\x1b]0;owned\x07\x1b[31m\r\n", b"GET /\x1b[2J HTTP/1.1\r\nHost: \x1b[31m\x9b\r\n\r\n"):
        for args in (["explain"], ["explain", "--json"]):
            done = run(*args, stdin=first)
            assert b"\x1b" not in done.stdout + done.stderr and b"\x07" not in done.stdout + done.stderr
            assert b"\x9b" not in done.stdout.replace(b"\xc2\x9b", b"")


# -- init

def test_init_writes_a_config_that_checks_and_serves(run, rx, workdir):
    """Promise: init writes a commented config; check accepts it."""
    done = run("init")
    assert done.returncode == 0
    text = open(os.path.join(workdir, "refractium.lua")).read()
    assert "-- " in text and "max_connections_per_ip = 50" in text
    assert run("check").returncode == 0
    p = rx.config(text, args=["-b", "127.0.0.1", "-p", free_port()])
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert peers.read_exactly(s, 8) == b"SSH-2.0-"


def test_init_never_overwrites_without_force(write, run, workdir):
    """Promise: an existing file is left alone, exit 1; --force replaces it."""
    write("precious", "mine.lua")
    done = run("init", "mine.lua")
    assert done.returncode == 1 and "mine.lua" in done.err
    assert open(os.path.join(workdir, "mine.lua")).read() == "precious"
    assert run("init", "--force", "mine.lua").returncode == 0
    assert "require \"refractium\"" in open(os.path.join(workdir, "mine.lua")).read()


def test_init_where_it_cannot_write(run):
    """Promise: a plain error, exit 1."""
    done = run("init", "no/such/folder/x.lua")
    assert done.returncode == 1 and "no/such/folder" in done.err
