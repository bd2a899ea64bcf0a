# SPDX-License-Identifier: MIT
"""Sockets that a service manager opened for the program (`systemd:NAME`)."""
import json
import os
import re
import signal
import socket
import sys

import pytest

import peers
import wire
from harness import BINARY, PATIENCE, ROOT, Refractium, free_port, make_config, run_client, wait_for
from test_upgrade import is_alive, opened, orphans_are_ours, program  # noqa: F401, pylint: disable=unused-import

pytestmark = pytest.mark.sanitize

# What systemd does: opens them, puts them at 3 and up, and becomes the program.
MANAGER = r"""
import fcntl, json, os, socket, sys
specs, high = json.loads(sys.argv[1]), []
for name, family, kind, address, v6only in specs:
    s = socket.socket(getattr(socket, family), getattr(socket, kind))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == "AF_INET6":
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    s.bind(tuple(address) if family != "AF_UNIX" else address)
    if kind == "SOCK_STREAM":
        s.listen()
    high.append(fcntl.fcntl(s, fcntl.F_DUPFD_CLOEXEC, 100))
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(specs)), LISTEN_FDNAMES=":".join(s[0] for s in specs))
os.execv(sys.argv[2], sys.argv[2:])
"""


def tcp(name, port, host="127.0.0.1", kind="SOCK_STREAM", v6only=1):
    return [name, "AF_INET6" if ":" in host else "AF_INET", kind, [host, port], v6only]


def by_manager(*specs):
    return [sys.executable, "-c", MANAGER, json.dumps(specs)]


def served(port, host="127.0.0.1"):
    with socket.create_connection((host, port), PATIENCE) as s:
        s.sendall(wire.get())
        return peers.read_all(s).split(b"\r\n\r\n")[-1]


def test_sockets_of_a_name_are_served(rx, backends, workdir):
    """Promise: TCP, UDP and unix sockets, several of one name, by several workers."""
    ports, path = [free_port() for _ in range(3)], os.path.join(workdir, "in.sock")
    web, rest = backends(peers.http("web")), backends(peers.http("rest"))
    p = rx.config("""local rx = require "refractium"
rx.server { workers = 2 }
rx.listen "systemd:web" { routes = { { rx.http, to = %s } } }
rx.listen { "systemd:rest", "127.0.0.1:0" } { routes = { { rx.http, to = %s } } }
rx.listen "systemd:names" { routes = { { rx.dns, to = rx.respond } } }
""" % (web.quoted, rest.quoted), binds=5, before=by_manager(
        tcp("web", ports[0]), tcp("rest", ports[1]), ["rest", "AF_UNIX", "SOCK_STREAM", path, 0],
        tcp("names", ports[2], kind="SOCK_DGRAM"), tcp("other", 0)))
    assert "listening on 127.0.0.1:%d (systemd:web)" % ports[0] in p.errors()
    assert served(ports[0]) == b"web"
    assert served(ports[1]) == b"rest"
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(wire.get())
        assert peers.read_all(s).endswith(b"rest")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(PATIENCE)
        s.connect(("127.0.0.1", ports[2]))
        for _ in range(3):
            s.send(wire.dns_query("one.test")[2:])
            assert s.recv(2000)[:2] == wire.dns_query("one.test")[2:][:2]
    assert p.stop() == 0
    assert os.path.exists(path)  # the manager's


def test_a_name_that_was_not_passed_is_told(rx, workdir):
    for before in ([], by_manager(tcp("web", 0))):
        p = Refractium(workdir, is_up=False, before=before,
                       config=make_config("{ rx.http, to = rx.respond }", listen='"systemd:wep"'))
        assert p.wait_exit() == 2
        assert "cannot listen on systemd:wep: no socket of this name was passed" in p.errors()


def test_a_socket_that_cannot_be_served_is_told(workdir):
    p = Refractium(workdir, is_up=False, before=by_manager(tcp("web", 0, "::", "SOCK_DGRAM", 0)),
                   config=make_config("{ rx.dns, to = rx.respond }", listen='"systemd:web"'))
    assert p.wait_exit() == 2
    assert 'the socket "web" that was passed takes datagrams of both families' in p.errors()


def test_clients_of_a_socket_for_both_families_have_their_own_address(rx):
    port = free_port()
    p = rx('{ rx.http, from = "127.0.0.1", to = rx.respond "four" }, { rx.http, from = "::1", to = rx.respond "six" }',
           listen='"systemd:web"', before=by_manager(tcp("web", port, "::", v6only=0)))
    assert (served(port), served(port, "::1")) == (b"four", b"six")
    # Each worker writes its own lines.
    assert sorted(line["client"].rsplit(":", 1)[0] for line in p.access(2)) == ["127.0.0.1", "[::1]"]


def test_a_reload_keeps_the_socket_and_may_leave_and_take_it_again(rx, backends):
    """Promise: who comes while nobody serves it waits, as systemd's clients do before the program starts."""
    port, config = free_port(), 'local rx = require "refractium" rx.listen { %s } { routes = { { rx.http, to = rx.respond "%s" } } }'
    p = rx.config(config % ('"systemd:web"', "one"), before=by_manager(tcp("web", port)))

    def reload(listen, word, n):
        p.write_config(config % (listen, word))
        p.signal(signal.SIGHUP)
        wait_for(lambda: len(re.findall("reload .*generation", p.errors())) >= n, what="the reload")

    assert served(port) == b"one"
    reload('"systemd:web", "127.0.0.1:0"', "two", 1)
    assert served(port) == b"two"
    reload('"127.0.0.1:0"', "three", 2)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
        s.sendall(wire.get())
        s.settimeout(0.2)
        with pytest.raises(TimeoutError):
            s.recv(1)
        reload('"systemd:web"', "four", 3)
        s.settimeout(PATIENCE)
        assert peers.read_all(s).endswith(b"four")
    reload('"systemd:web", "systemd:none"', "five", 3)
    p.err.wait("cannot listen on systemd:none")
    assert served(port) == b"four"


def test_an_upgrade_passes_them_on(program, backends):  # noqa: F811
    port, names = free_port(), free_port()
    p = program("{ rx.ssh, to = %s }, { rx.dns, transport = 'udp', to = rx.respond }" % backends().quoted, binds=2,
                listen='"systemd:web"', before=by_manager(tcp("web", port), tcp("web", names, kind="SOCK_DGRAM")))
    with opened(p) as s:
        for _ in range(2):
            assert p.upgrade() == (1, 0)
            assert is_alive(s)
            with opened(p) as other:
                assert is_alive(other)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
                u.settimeout(PATIENCE)
                u.connect(("127.0.0.1", names))
                u.send(wire.dns_query("one.test")[2:])
                assert u.recv(2000)[:2] == wire.dns_query("one.test")[2:4]


def test_systemd_socket_activate(rx, need):
    """The first client starts the program, and is served by it."""
    port = free_port()
    before = [need("systemd-socket-activate"), "--fdname=web", "-l", "127.0.0.1:%d" % port]
    p = rx('{ rx.http, to = rx.respond "activated" }', listen='"systemd:web"', before=before, is_up=False)
    p.err.wait("Listening on")
    assert served(port) == b"activated"
    assert served(port) == b"activated"
    p.wait_up(1)


def test_the_unit_that_is_shipped_is_valid(need, workdir):
    folder = os.path.join(ROOT, "packaging", "systemd")
    for name in ("refractium.socket", "refractium.service"):
        with open(os.path.join(folder, name), encoding="utf-8") as f, open(os.path.join(workdir, name), "w") as out:
            out.write(f.read().replace("/usr/bin/refractium", BINARY))
    done = run_client([need("systemd-analyze"), "verify", "--man=no", os.path.join(workdir, "refractium.socket")])
    assert b"refractium" not in done.stderr, done.stderr
