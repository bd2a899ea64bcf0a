# SPDX-License-Identifier: MIT
"""Access lines: one for each connection, valid, with a reason from the closed list, and nothing of a client's raw."""
import contextlib
import json
import os
import re
import socket
import subprocess

import pytest

import peers
import wire
from harness import BINARY, ROOT, Refractium, free_port, wait_for

pytestmark = pytest.mark.sanitize
EVIL = b"\x1b[31m\x1b]0;owned\x07\x9b2J\r\x00\x7f\"\\\xff\xfe"
TEXT_LINE = re.compile(r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z conn=[0-9a-f]+ client=\S+ listen=\S+ protocol=\S+ .*'
                       r'route="[^"]*" to=\S.* in=\d+ out=\d+ ms=\d+ reason=[a-z_]+$')


def reasons():
    """The closed list, read from where it is declared."""
    with open(os.path.join(ROOT, "core", "reason.h"), encoding="utf-8") as f:
        return set(re.findall(r'X\(\w+, "(\w+)"', f.read()))


def all_sorts(p):
    """Connections that end in many ways; returns how many."""
    firsts = [wire.SSH, wire.get(), wire.hello("a.test"), wire.hello(None), wire.broken_hello(), wire.GARBAGE, b"SSH-", b"",
              wire.dns_query(), b"GET /" + b"x" * 3000, wire.get("other.test")]
    for first in firsts:
        with p.connect() as s:
            s.sendall(first)
            with contextlib.suppress(OSError):  # it may have been turned away already
                s.shutdown(socket.SHUT_WR)
            peers.how_it_ends(s, 3)
    for first in (wire.SSH, b""):
        s = p.connect()
        s.sendall(first)
        peers.reset(s)
    return len(firsts) + 2


ROUTES = '''{ rx.ssh, to = %s }, { rx.http, host = "a.test", to = rx.respond "hi" }, { rx.http, to = rx.drop },
            { rx.tls, sni = "a.test", to = rx.refuse }, { rx.dns, to = "127.0.0.1:1" }'''
OPTIONS = 'peek_timeout = "200ms", peek_buffer_size = "2k",'


def test_exactly_one_json_line_for_each_connection(rx, backends):
    """Promise: one line per connection, valid JSON, a reason from the list."""
    p = rx(ROUTES % backends(peers.collect).quoted, options=OPTIONS, workers=2)
    count = all_sorts(p)
    lines = p.access(count)
    p.stop()
    assert len(p.access_lines()) == count
    assert len({line["conn"] for line in lines}) == count
    for line in lines:
        assert set(line) >= {"time", "conn", "client", "listen", "protocol", "route", "to", "bytes_in", "bytes_out", "ms",
                             "reason"}
        assert line["reason"] in reasons()
        assert line["client"].startswith("127.0.0.1:")
    assert {"done", "answered", "refused", "no_route", "tls_invalid", "backend_down", "client_gone",
            "dropped"} <= {line["reason"] for line in lines}


def test_exactly_one_text_line_for_each_connection(rx, backends):
    """Promise: the same as text, in one form that can be taken apart."""
    p = rx(ROUTES % backends(peers.collect).quoted, options=OPTIONS, workers=2,
           args=["--log-format", "text"])
    count = all_sorts(p)
    lines = wait_for(lambda: p.access_text().splitlines() if p.access_text().count("\n") >= count else None,
                     what="the lines")
    assert len(lines) == count
    for line in lines:
        assert TEXT_LINE.match(line), line
        assert line.rsplit("reason=", 1)[1] in reasons()


def test_what_was_recognised_is_told(rx, backends):
    """Promise: protocol, names, route and backend are in the line."""
    backend = backends(peers.collect)
    p = rx('{ rx.tls, name = "secure", to = %s }, { rx.ssh, to = web }, { rx.http, to = web }' % backend.quoted,
           prelude='local web = rx.pool "web" { %s }' % backend.quoted)
    for first in (wire.hello("name.test", alpn=["h2"]), wire.SSH, wire.get("host.test", "/p")):
        with p.connect() as s:
            s.sendall(first)
            s.shutdown(socket.SHUT_WR)
            peers.read_all(s)
    tls, ssh, http = p.access(3)
    assert (tls["protocol"], tls["route"], tls["to"]) == ("tls", "secure", backend.address)
    assert "name.test" in json.dumps(tls) and "h2" in json.dumps(tls)
    assert (ssh["protocol"], ssh["to"]) == ("ssh", backend.address) and "OpenSSH_9.2p1" in json.dumps(ssh)
    assert http["protocol"] == "http" and "host.test" in json.dumps(http) and "/p" in json.dumps(http)


def evil_firsts():
    return [wire.hello(b"a" + EVIL + b".test"), b"SSH-2.0-x" + EVIL.replace(b"\r", b"").replace(b"\0", b"") + b"\r\n",
            b"GET /" + EVIL.replace(b"\r", b"") + b" HTTP/1.1\r\nHost: a.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: " + EVIL.replace(b"\r", b"") + b"\r\n\r\n", EVIL,
            wire.dns_query("a\x1b[31m.test"), b"SSH-2.0-" + b"\x1b" * 200 + b"\r\n", b"GET /" + b"\x9b\"" * 700 + b" HTTP/1.1\r\n\r\n",
            wire.hello("a.test", alpn=["\x1b[1m", '"h2"'])]


@pytest.mark.parametrize("form", ["json", "text"])
def test_client_bytes_are_escaped(rx, backends, form):
    """Promise: escape sequences in an SNI, Host, path, software or query name never reach a log raw."""
    to = backends(peers.collect).quoted
    p = rx("{ rx.tls, to = %s }, { rx.ssh, to = %s }, { rx.http, to = %s }, { rx.dns, to = %s }" % (to, to, to, to),
           options=OPTIONS, args=["--log-format", form, "--debug"])
    for first in evil_firsts():
        with p.connect() as s:
            s.sendall(first)
            s.shutdown(socket.SHUT_WR)
            peers.how_it_ends(s, 5)
    count = len(evil_firsts())
    wait_for(lambda: p.access_text().count("\n") >= count, what="the lines")
    p.stop()
    for source in (p.access_text(), p.errors()):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", source), "raw bytes in a log"
    with open(p.log_path, "rb") as f:
        assert all(byte == 10 or 32 <= byte < 127 for byte in f.read())
    assert p.access_text().count("\n") == count
    if form == "json":
        for line in p.access_text().splitlines():
            json.loads(line)


def test_very_long_names_do_not_break_the_line(rx, backends):
    """Promise: a line stays one line, valid, however much a client says."""
    to = backends(peers.collect).quoted
    p = rx("{ rx.http, to = %s }, { rx.tls, to = %s }" % (to, to))
    firsts = [wire.get("h" * 3000 + ".test", "/" + "p\"" * 3000, more="X: %s\r\n" % ("\x01" * 500)),
              wire.hello("s" * 250 + ".test", alpn=["a" * 255]), b"M" * 20 + wire.get("\x1b" * 3000)]
    for first in firsts:
        with p.connect() as s:
            s.sendall(first)
            s.shutdown(socket.SHUT_WR)
            peers.how_it_ends(s, 5)
    for line in p.access(len(firsts)):
        assert line["reason"] in reasons()


def test_the_log_may_be_standard_output(rx, backends):
    """Promise: access_log = true writes to standard output."""
    p = rx.config('local rx = require "refractium"\nrx.server { access_log = true, log_format = "text" }\n'
                  'rx.listen "127.0.0.1:0" { routes = { { rx.ssh, to = %s } } }' % backends().quoted)
    with p.connect() as s:
        s.sendall(wire.SSH)
        peers.read_exactly(s, len(wire.SSH))
    assert TEXT_LINE.match(p.out.wait("reason=").string)


def test_the_log_is_off_when_output_is_no_terminal(rx, backends):
    """Promise: off by default."""
    p = rx.config('local rx = require "refractium"\n'
                  'rx.listen "127.0.0.1:0" { routes = { { rx.ssh, to = %s } } }' % backends().quoted)
    with p.connect() as s:
        s.sendall(wire.SSH)
        peers.read_exactly(s, len(wire.SSH))
    p.stop()
    assert p.out.text() == "" and "reason=" not in p.errors()


def test_a_log_that_cannot_be_opened_is_an_error_before_anything_starts(rx, backends):
    """Promise: exit 2, with the path."""
    p = rx.config('local rx = require "refractium"\nrx.server { access_log = "no/such/folder/log" }\n'
                  'rx.listen "127.0.0.1:0" { routes = { { rx.ssh, to = %s } } }' % backends().quoted, is_up=False)
    p.expected_code = 2
    assert p.wait_exit() == 2
    assert "no/such/folder/log" in p.errors() and "listening" not in p.errors()


def test_a_full_disk_under_the_log_disturbs_nobody(rx, backends):
    """Promise: a log that cannot be written costs lines, not connections."""
    p = rx.config('local rx = require "refractium"\nrx.server { access_log = "/dev/full" }\n'
                  'rx.listen "127.0.0.1:0" { routes = { { rx.ssh, to = %s } } }' % backends().quoted)
    for _ in range(20):
        with p.connect() as s:
            s.sendall(wire.SSH)
            assert peers.read_exactly(s, len(wire.SSH)) == wire.SSH


@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_reader_that_stalls_disturbs_nobody(workdir, backends, which):
    """Promise: nothing waits for a log: a full pipe costs lines, not service, and does not keep it from ending."""
    port, args = free_port(), ["--debug"] if which == "stderr" else []
    with open(os.path.join(workdir, "refractium.lua"), "w") as f:
        f.write('local rx = require "refractium"\nrx.server { workers = 1, access_log = %s }\nrx.listen "127.0.0.1:%d" '
                '{ routes = { { rx.ssh, to = %s } } }' % ("true" if which == "stdout" else "false", port,
                                                          backends().quoted))
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, which: subprocess.PIPE}
    process = subprocess.Popen([BINARY, *args], cwd=workdir, env=Refractium.environment(), **pipes)

    def served():
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as s:
                s.sendall(wire.SSH)
                return peers.read_exactly(s, len(wire.SSH)) == wire.SSH
        except ConnectionRefusedError:
            return False

    try:
        wait_for(served, what="it to serve")
        assert all(served() for _ in range(1000))
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_closed_standard_output_disturbs_nobody(workdir, backends):
    """Promise: the same when the reader has gone."""
    port = free_port()
    with open(os.path.join(workdir, "refractium.lua"), "w") as f:
        f.write('local rx = require "refractium"\nrx.server { access_log = true }\nrx.listen "127.0.0.1:%d" '
                '{ routes = { { rx.ssh, to = %s } } }' % (port, backends().quoted))
    process = subprocess.Popen([BINARY], cwd=workdir, env=Refractium.environment(), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    try:
        while b"listening on" not in process.stderr.readline():
            pass
        process.stdout.close()
        process.stderr.close()
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", port), 5) as s:
                s.sendall(wire.SSH)
                assert peers.read_exactly(s, len(wire.SSH)) == wire.SSH
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_messages_are_valid_json_when_asked_for(rx, backends):
    """Promise: log_format = "json" holds for messages, too."""
    p = rx('{ rx.ssh, to = "127.0.0.1:1" }', args=["--debug"])
    with p.connect() as s:
        s.sendall(wire.SSH)
        peers.how_it_ends(s)
    p.access_one()
    p.stop()
    for line in p.errors().splitlines():
        if line.startswith("{"):
            assert {"time", "level", "msg"} <= set(json.loads(line))
    assert "127.0.0.1:1" in p.errors()
