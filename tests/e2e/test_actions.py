# SPDX-License-Identifier: MIT
"""Routes that name no backend: respond, echo, drop, refuse, tarpit; and the config that ships, with real clients."""
import os
import socket
import time

import pytest

import peers
import wire
from harness import MIB, ROOT, SANITIZER, free_port, run_client

pytestmark = pytest.mark.sanitize


def test_respond_sends_exactly_its_bytes(rx):
    """Promise: rx.respond "text" sends these bytes, then closes cleanly, whatever the client still says."""
    p = rx('{ rx.ssh, to = rx.respond "no\\0 SSH\\r\\n" }')
    for more in (b"", b"x" * 300000):
        with p.connect() as s:
            s.sendall(wire.SSH + more)
            assert peers.how_it_ends(s) == ("eof", b"no\0 SSH\r\n")
    assert {line["reason"] for line in p.access(2)} == {"answered"}


def test_respond_with_much(rx):
    """Promise: an answer larger than any socket buffer arrives whole, also for a slow reader."""
    text = "0123456789abcdef" * (1 << 16)
    p = rx("{ rx.ssh, to = rx.respond(text) }", prelude='local text = string.rep("0123456789abcdef", 65536)')
    with p.connect() as s:
        s.sendall(wire.SSH)
        time.sleep(0.3)
        assert peers.read_all(s) == text.encode()


def test_echo(rx):
    """Promise: rx.echo sends back what comes, the first bytes included, and ends when the client ends."""
    p = rx("{ rx.ssh, to = rx.echo }")
    data = b"".join(peers.Stream(6 * MIB).blocks())
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert peers.read_exactly(s, len(wire.SSH)) == wire.SSH
        task = peers.in_thread(peers.read_all, s)
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        assert task.get() == data
    line = p.access_one()
    assert line["reason"] == "done" and line["bytes_in"] == line["bytes_out"] == len(wire.SSH) + len(data)


def test_echo_to_a_client_that_does_not_read(rx):
    """Promise: echo has backpressure, too: memory does not grow and nothing spins."""
    p = rx("{ rx.ssh, to = rx.echo }")
    before = p.rss_bytes()
    with p.connect() as s:
        s.sendall(wire.SSH)
        s.setblocking(False)
        sent, until = 0, time.monotonic() + 1
        while time.monotonic() < until:
            try:
                sent += s.send(bytes(1 << 16))
            except BlockingIOError:
                time.sleep(0.01)
        cpu = p.cpu_exact()
        time.sleep(0.5)
        assert p.cpu_exact() - cpu < 0.05
        assert p.rss_bytes() - before < (4 if not SANITIZER else 100) * MIB
        s.setblocking(True)
        s.settimeout(20)
        assert peers.read_exactly(s, sent) == wire.SSH + bytes(sent - len(wire.SSH))


def test_drop_closes_without_a_word(rx):
    """Promise: rx.drop says nothing."""
    p = rx("{ rx.ssh, to = rx.drop }")
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert peers.how_it_ends(s)[1] == b""
    assert p.access_one()["reason"] == "dropped"


def test_refuse_resets(rx):
    """Promise: rx.refuse is a reset."""
    p = rx("{ rx.ssh, to = rx.refuse }")
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert peers.how_it_ends(s) == ("reset", b"")
    assert p.access_one()["reason"] == "refused"


def test_tarpit_holds_and_costs_nothing(rx):
    """Promise: rx.tarpit holds the connection, never answers, spins not, and lets go when the client leaves."""
    p = rx('{ rx.ssh, to = rx.tarpit, idle_timeout = "60s" }')
    socks = []
    for _ in range(50):
        s = p.connect()
        s.sendall(wire.SSH + b"x" * 5000)
        socks.append(s)
    time.sleep(0.3)
    before = p.cpu_exact()
    assert peers.how_it_ends(socks[0], 1.5) == ("open", b"")
    assert p.cpu_exact() - before < 0.05
    for s in socks:
        s.close()


def test_tarpit_does_not_delay_the_end(rx):
    """Promise: a tarpit's prisoners are nothing to wait for longer than drain_timeout."""
    p = rx("{ rx.ssh, to = rx.tarpit }", server='drain_timeout = "200ms",')
    with p.connect() as s:
        s.sendall(wire.SSH)
        time.sleep(0.1)
        began = time.monotonic()
        p.signal(15)
        p.wait_exit()
        assert time.monotonic() - began < 2


def test_actions_as_fallbacks(rx):
    """Promise: what a route may do, a fallback may do."""
    for action, ends in (("rx.refuse", "reset"), ("rx.drop", "eof"), ('rx.respond "?"', "eof")):
        p = rx('{ rx.ssh, to = "127.0.0.1:1", fallback = %s }' % action, options="fallback_tcp = %s," % action)
        for first in (wire.SSH, wire.GARBAGE):
            with p.connect() as s:
                s.sendall(first)
                end, said = peers.how_it_ends(s)
                assert said == (b"?" if "respond" in action else b"")
                # Unread bytes may turn a drop into a reset; a refusal is always one.
                assert end == ends or (end, action) == ("reset", "rx.drop")


# -- the config that ships

@pytest.fixture
def shipped(rx):
    """refractium.lua of this tree on a free port."""
    with open(os.path.join(ROOT, "refractium.lua"), encoding="utf-8") as f:
        return rx.config(f.read(), args=["-b", "127.0.0.1", "-p", free_port()])


def test_shipped_config_tells_curl(shipped, need):
    """Promise: curl shows what was recognised."""
    done = run_client([need("curl"), "-sS", "-m", 10, "http://localhost:%d/some/path" % shipped.port])
    for word in (b"http", b"GET", b"localhost", b"/some/path"):
        assert word in done.stdout


def test_shipped_config_tells_curl_over_http2(shipped, need):
    """Promise: also with prior knowledge of HTTP/2."""
    done = run_client([need("curl"), "-sS", "-m", 10, "--http2-prior-knowledge", "-w", "|%{http_version}",
                       "http://localhost:%d/" % shipped.port])
    assert b"recognised http" in done.stdout and done.stdout.endswith(b"|2")


def test_shipped_config_tells_curl_over_tls(shipped, need):
    """Promise: a browser that goes on after the certificate gets a page, too."""
    done = run_client([need("curl"), "-ksS", "-m", 10, "--http1.1", "https://localhost:%d/" % shipped.port])
    assert b"tls" in done.stdout and b"localhost" in done.stdout


def test_shipped_config_tells_openssl(shipped, need):
    """Promise: openssl s_client -servername a.test shows the name."""
    done = run_client([need("openssl"), "s_client", "-connect", "127.0.0.1:%d" % shipped.port, "-servername", "a.test"])
    assert b"tls" in done.stdout and b"sni=a.test" in done.stdout


def test_shipped_config_tells_ssh(shipped, need):
    """Promise: ssh -p shows what was recognised."""
    done = run_client([need("ssh"), "-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o",
                       "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-p", shipped.port, "localhost"],
                      check=False)
    assert done.returncode == 255
    assert b"recognised ssh" in done.stderr and b"OpenSSH" in done.stderr


def test_shipped_config_tells_dig(shipped, need):
    """Promise: dig +tcp shows the query it made."""
    done = run_client([need("dig"), "+tcp", "+time=5", "@127.0.0.1", "-p", shipped.port, "example.com"])
    assert b"recognised dns" in done.stdout and b"NOERROR" in done.stdout


def test_shipped_config_tells_who_is_unknown_or_silent(shipped):
    """Promise: none of them, and who says nothing, are told so."""
    with shipped.connect() as s:
        s.sendall(b"hello\n")
        assert b"no protocol" in s.recv(1000)
    began = time.monotonic()
    with shipped.connect() as s:
        assert b"said nothing" in s.recv(1000)
    assert time.monotonic() - began > 2.5


@pytest.mark.parametrize("name,first", [
    ("socks5", b"\x05\x01\x00"), ("redis", b"*1\r\n$4\r\nPING\r\n"), ("garbage", wire.GARBAGE),
    ("tls without a name", wire.hello(None)), ("broken tls", wire.broken_hello()),
    ("half a hello", wire.hello("a.test")[:50]), ("ssh with nothing behind", wire.SSH),
    ("postgres", b"\0\0\0\x08\x04\xd2\x16\x2f"), ("mqtt", b"\x10\x0e\0\x04MQTT\x04\x02\0\x0a\0\x02ab"),
    ("http without an end", b"GET / HTTP/1.1\r\nHost: a"), ("escapes", b"GET /\x1b[31m HTTP/1.1\r\n\r\n")],
    ids=lambda v: v if isinstance(v, str) else "")
def test_shipped_config_answers_anybody_and_ends(shipped, name, first):
    """Promise: whatever comes is answered or closed within a bounded time; nothing of it is sent back raw."""
    with shipped.connect() as s:
        s.sendall(first)
        s.shutdown(socket.SHUT_WR)
        end, said = peers.how_it_ends(s, 20)
    assert end in ("eof", "reset")
    assert "tls" in name or b"\x1b" not in said
