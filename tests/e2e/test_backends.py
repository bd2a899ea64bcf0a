# SPDX-License-Identifier: MIT
"""Backends that refuse, swallow, or are all gone; and how load is shared out."""
import collections
import contextlib
import os
import re
import signal
import socket
import time

import pytest

import peers
import wire
from harness import PATIENCE, free_port, run_client, wait_for
from test_clients_ssh import ssh  # noqa: F401, pylint: disable=unused-import

pytestmark = pytest.mark.sanitize


def ask(p, first=wire.SSH):
    with p.connect() as s:
        s.sendall(first)
        return s.recv(100).decode()


def dead():
    """An address that refuses."""
    return "127.0.0.1:%d" % free_port()


def test_a_refusing_backend_is_followed_by_the_next(rx, backends):
    """Promise: a connect failure tries the next backend before the client sees anything."""
    alive = backends(peers.named("alive"))
    p = rx('{ rx.ssh, to = { "%s", "%s", %s } }' % (dead(), dead(), alive.quoted))
    for _ in range(6):
        assert ask(p) == "alive"
    assert alive.seen == [wire.SSH] * 6
    lines = p.access(6)
    assert {line["to"] for line in lines} == {alive.address} and {line["reason"] for line in lines} == {"done"}


def test_a_silent_backend_is_followed_by_the_next_within_connect_timeout(rx, backends):
    """Promise: a backend that swallows packets costs at most connect_timeout, and the first bytes are not lost."""
    alive = backends(peers.named("alive"))
    with peers.BlackHole() as hole:
        p = rx('{ rx.ssh, connect_timeout = "1s", to = { %s, %s } }' % (hole.quoted, alive.quoted))
        took = []
        for _ in range(2):
            began = time.monotonic()
            assert ask(p) == "alive"
            took.append(time.monotonic() - began)
    assert max(took) < 1.6, took
    assert alive.seen == [wire.SSH] * 2


def test_a_unix_backend_that_is_not_there_is_followed_by_the_next(rx, backends, workdir):
    """Promise: as with addresses."""
    alive = backends(peers.named("alive"))
    p = rx('{ rx.ssh, to = { "unix:%s/nobody.sock", %s } }' % (workdir, alive.quoted))
    assert ask(p) == "alive" and ask(p) == "alive"


def test_all_down_resets_the_client(rx):
    """Promise: all down and no fallback: refused, with the reason backend_down."""
    p = rx('{ rx.ssh, to = { "%s", "%s" } }' % (dead(), dead()))
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert peers.how_it_ends(s)[0] == "reset"
    assert p.access_one()["reason"] == "backend_down"


def test_all_silent_resets_the_client_after_connect_timeout(rx):
    """Promise: connect_timeout bounds the wait."""
    with peers.BlackHole() as hole:
        p = rx('{ rx.ssh, connect_timeout = "400ms", to = %s }' % hole.quoted)
        began = time.monotonic()
        with p.connect() as s:
            s.sendall(wire.SSH)
            assert peers.how_it_ends(s)[0] == "reset"
        assert 0.3 < time.monotonic() - began < 2
        assert p.access_one()["reason"] == "backend_down"


def test_all_down_takes_the_routes_fallback(rx, backends):
    """Promise: all down: the route's fallback, with every byte the client said."""
    spare = backends(peers.collect)
    p = rx('{ rx.ssh, to = "%s", fallback = %s }' % (dead(), spare.quoted))
    with p.connect() as s:
        s.sendall(wire.SSH)
        s.shutdown(socket.SHUT_WR)
        assert peers.read_all(s) == b"got %d" % len(wire.SSH)
    assert spare.seen == [wire.SSH]


def test_a_fallback_that_is_down_too_ends_it(rx):
    """Promise: no loop between a route and its fallback."""
    p = rx('{ rx.ssh, to = "%s", fallback = "%s" }' % (dead(), dead()))
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert peers.how_it_ends(s)[0] == "reset"
    assert p.access_one()["reason"] == "backend_down"


def test_a_backend_that_comes_back_is_used_again(rx, backends):
    """Promise: a refusal is not for ever."""
    port = free_port()
    p = rx('{ rx.ssh, to = "127.0.0.1:%d" }' % port)
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert peers.how_it_ends(s)[0] == "reset"
    backends(peers.named("back"), port=port)
    assert ask(p) == "back"


def test_a_client_that_talks_on_while_the_backend_is_sought_loses_nothing(rx, backends):
    """Promise: bytes said during the connect wait arrive, in order."""
    alive = backends(peers.collect)
    with peers.BlackHole() as hole:
        p = rx('{ rx.ssh, connect_timeout = "1s", to = { %s, %s } }' % (hole.quoted, alive.quoted))
        with p.connect() as s:
            s.sendall(wire.SSH)
            time.sleep(0.1)
            s.sendall(b"x" * 500000)
            s.shutdown(socket.SHUT_WR)
            assert peers.read_all(s) == b"got %d" % (len(wire.SSH) + 500000)


def test_round_robin_over_addresses(rx, backends):
    """Promise: several targets share the connections in turn."""
    three = [backends(peers.named(name)) for name in "abc"]
    p = rx("{ rx.ssh, to = { %s } }" % ", ".join(b.quoted for b in three))
    answers = [ask(p) for _ in range(12)]
    assert collections.Counter(answers) == {"a": 4, "b": 4, "c": 4}
    assert answers[:3] == answers[3:6]


def test_weights_and_backups(rx, backends):
    """Promise: weight is the share, a backup serves only when no other is left."""
    a, b, spare = (backends(peers.named(name)) for name in ("a", "b", "spare"))
    p = rx("{ rx.ssh, to = web }", prelude='local web = rx.pool "web" { %s, { %s, weight = 3 },'
           '{ %s, backup = true } }' % (a.quoted, b.quoted, spare.quoted))
    assert collections.Counter(ask(p) for _ in range(16)) == {"a": 4, "b": 12}
    a.close()
    b.close()
    assert ask(p) == "spare"
    assert p.access(17)[-1]["to"] == spare.address


def test_tries_bounds_the_attempts(rx, backends):
    """Promise: `tries` is how many backends one connection may try."""
    alive = backends(peers.named("alive"))
    p = rx("{ rx.ssh, to = web }",
           prelude='local web = rx.pool "web" { "%s", "%s", %s, tries = 2 }' % (dead(), dead(), alive.quoted))
    ends = set()
    for _ in range(6):
        with p.connect() as s:
            s.sendall(wire.SSH)
            ends.add(peers.how_it_ends(s, 0.5))
    assert ("reset", b"") in ends and ("open", b"alive") in ends


def test_names_as_targets(rx, backends):
    """Promise: a target may be a host name."""
    here = backends(peers.named("here"))
    p = rx('{ rx.ssh, to = "localhost:%d" }' % here.port)
    assert ask(p) == "here"


# -- real servers that die

REDIS = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]


def redis_port(sock):
    sock.sendall(b"CONFIG GET port\r\n")
    answer = sock.recv(200)
    found = re.search(rb"\r\n(\d{4,5})\r\n$", answer)
    assert found, answer
    return int(found.group(1))


def test_a_killed_server_takes_only_the_connections_on_it_with_it(rx, run_server):
    """Promise: kill -9: whoever is on it is cut off, nobody else sees an error, and it serves again when it is back."""
    ports = [free_port() for _ in range(3)]
    servers = [run_server([*REDIS, port]).wait_listening(port) for port in ports]
    p = rx("{ rx.any, to = p }", prelude="local p = rx.pool 'p' { %s, eject_time = '200ms' }" % ", ".join(
        "'127.0.0.1:%d'" % port for port in ports))
    with contextlib.ExitStack() as held:
        on = {}
        for _ in range(6):
            s = held.enter_context(p.connect())
            on.setdefault(redis_port(s), []).append(s)
        assert {port: len(socks) for port, socks in on.items()} == dict.fromkeys(ports, 2)
        os.kill(servers[0].process.pid, signal.SIGKILL)
        for s in on[ports[0]]:
            assert peers.how_it_ends(s)[0] in ("eof", "reset")
        servers[0].process.wait()  # the kernel takes its sockets down one by one, the listening one maybe last
        for _ in range(30):
            with p.connect() as s:
                assert redis_port(s) in ports[1:]
        for port in ports[1:]:
            assert [redis_port(s) for s in on[port]] == [port] * 2
        run_server([*REDIS, ports[0]]).wait_listening(ports[0])

        def is_back():
            with p.connect() as s:
                return redis_port(s) == ports[0]

        wait_for(is_back, what="the server that is back")
    assert p.err.find("ejected")


def test_a_killed_sshd_and_web_server_are_passed_over(rx, run_server, need, ssh, workdir):  # noqa: F811
    """The same of OpenSSH and nginx behind one port, each beside one that was there all along."""
    port, curl = free_port(), need("curl")
    conf = os.path.join(workdir, "nginx.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write("daemon off; master_process off; pid %s/nginx.pid; error_log %s/nginx.err; events { }\n"
                "http { access_log off; server { listen 127.0.0.1:%d; return 200 served; } }\n" % (workdir, workdir, port))
    doomed = run_server(["nginx", "-p", workdir, "-c", conf]).wait_listening(port)
    web, gone = peers.Server(peers.http("spare")), free_port()
    with web:
        p = rx("{ rx.http, to = web }, { rx.ssh, to = shell }", prelude="""
local web = rx.pool "web" { "127.0.0.1:%d", { %s, backup = true } }
local shell = rx.pool "shell" { "127.0.0.1:%d", { "127.0.0.1:%d", backup = true } }""" % (port, web.quoted, gone, ssh.port))
        ask = [curl, "-sS", "-m", 20, "--noproxy", "*", "http://127.0.0.1:%d/" % p.port]
        assert run_client(ask).stdout == b"served"
        os.kill(doomed.process.pid, signal.SIGKILL)
        doomed.process.wait(PATIENCE)
        for _ in range(2):
            assert run_client(ask).stdout == b"spare"
        assert ssh.run(p.port, "echo here").stdout == b"here\n"
