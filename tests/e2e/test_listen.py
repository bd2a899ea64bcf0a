# SPDX-License-Identifier: MIT
"""Where it listens, and unix sockets on either side."""
import os
import socket
import stat
import time

import pytest

import peers
import wire
from harness import BINARY, find_program, free_port, free_port_range, run_binary, run_client
from test_routing import ask

pytestmark = pytest.mark.sanitize


def ask_unix(path, first=wire.SSH):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(path)
        s.sendall(first)
        return s.recv(100).decode()


@pytest.fixture
def a(backends):
    return backends(peers.named("a"))


def test_ipv6(rx, a):
    """Promise: "[::1]:P"."""
    p = rx("{ rx.ssh, to = %s }" % a.quoted, listen='"[::1]:0"')
    assert p.addresses[0].startswith("[::1]:")
    assert ask(p, wire.SSH, host="::1") == "a"
    assert p.access_one()["client"].startswith("[::1]:")


def test_both_families(rx, a):
    """Promise: "*:P" is IPv4 and IPv6 on one port."""
    p = rx("{ rx.ssh, to = %s }" % a.quoted, listen='"*:%d"' % free_port(), binds=2)
    assert ask(p, wire.SSH, host="127.0.0.1") == "a"
    assert ask(p, wire.SSH, host="::1") == "a"
    clients = [line["client"] for line in p.access(2)]
    assert sorted(c.rsplit(":", 1)[0] for c in clients) == ["127.0.0.1", "[::1]"], "no mapped addresses"


def test_a_list_and_a_range(rx, a):
    """Promise: a list of addresses is allowed; ports may be ranges."""
    low = free_port_range(3)
    p = rx("{ rx.ssh, to = %s }" % a.quoted, listen='"127.0.0.1:%d-%d", "127.0.0.7:0"' % (low, low + 2), binds=4)
    assert p.ports[:3] == [low, low + 1, low + 2]
    for port in p.ports[:3]:
        assert ask(p, wire.SSH, port=port) == "a"
    assert ask(p, wire.SSH, host="127.0.0.7", port=p.ports[3]) == "a"


def test_ipv6_backends(rx, backends):
    """Promise: "[v6]:port" as a target."""
    six = backends(peers.named("six"), host="::1")
    p = rx("{ rx.ssh, to = %s }" % six.quoted)
    assert ask(p, wire.SSH) == "six"


def test_every_worker_serves(rx, a):
    """Promise: with several workers every connection is served, whichever accepts it."""
    p = rx("{ rx.ssh, to = %s }" % a.quoted, workers=4)
    for _ in range(60):
        assert ask(p, wire.SSH) == "a"


@pytest.mark.parametrize("workers", [1, 4])
def test_a_unix_socket(rx, a, workdir, workers):
    """Promise: "unix:/path"; the file goes away at the end."""
    path = os.path.join(workdir, "rx.sock")
    p = rx("{ rx.ssh, to = %s }, { rx.http, to = rx.respond }" % a.quoted, listen='"unix:%s"' % path, workers=workers)
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    for _ in range(20):
        assert ask_unix(path) == "a"
    if find_program("curl"):
        done = run_client(["curl", "-sS", "--unix-socket", path, "http://some.test/"])
        assert b"recognised http" in done.stdout
    p.stop()
    assert not os.path.exists(path)
    assert p.access_lines()[0]["client"] == "unix"


def test_a_stale_unix_socket_is_replaced(rx, a, workdir):
    """Promise: a socket file nobody answers on is left over from a crash."""
    path = os.path.join(workdir, "rx.sock")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
    rx("{ rx.ssh, to = %s }" % a.quoted, listen='"unix:%s"' % path)
    assert ask_unix(path) == "a"


def test_a_live_unix_socket_is_refused_and_left_alone(rx, a, workdir):
    """Promise: one that somebody serves is in use: exit 2, and it goes on serving."""
    path = os.path.join(workdir, "rx.sock")
    rx("{ rx.ssh, to = %s }" % a.quoted, listen='"unix:%s"' % path)
    done = run_binary("-b", "unix:" + path, "-f", "ssh=127.0.0.1:9", cwd=workdir)
    assert done.returncode == 2 and path in done.err
    assert ask_unix(path) == "a"


def test_a_file_that_is_no_socket_is_left_alone(workdir):
    """Promise: nobody's file is deleted."""
    path = os.path.join(workdir, "precious")
    with open(path, "w") as f:
        f.write("text")
    done = run_binary("-b", "unix:" + path, "-f", "ssh=127.0.0.1:9", cwd=workdir)
    assert done.returncode == 2
    with open(path) as f:
        assert f.read() == "text"


def test_a_failed_start_leaves_no_socket_file(workdir):
    """Promise: when one address cannot be had nothing of the others stays behind."""
    path = os.path.join(workdir, "rx.sock")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with open(os.path.join(workdir, "refractium.lua"), "w") as f:
            f.write('local rx = require "refractium"\nrx.listen { "unix:%s", "127.0.0.1:%d" } '
                    '{ routes = { { rx.ssh, to = rx.drop } } }\n' % (path, taken.getsockname()[1]))
        done = run_binary(cwd=workdir)
    assert done.returncode == 2
    assert not os.path.exists(path)


def test_unix_backends(rx, backends, workdir):
    """Promise: "unix:/path" as a target, bulk and half-close included."""
    there = backends(peers.collect, path=os.path.join(workdir, "b.sock"))
    p = rx("{ rx.ssh, to = %s }" % there.quoted)
    data = b"".join(peers.Stream(5 << 20).blocks())
    with p.connect() as s:
        s.sendall(wire.SSH + data)
        s.shutdown(socket.SHUT_WR)
        assert peers.read_all(s) == b"got %d" % (len(wire.SSH) + len(data))
    assert there.seen == [wire.SSH + data]


def test_a_privileged_port_says_what_is_missing(workdir):
    """Promise: a permission error is exit 2 and says what would help."""
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as f:
        if int(f.read()) <= 81:
            pytest.skip("anybody may bind any port on this machine")
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if become and (not find_program("setpriv") or run_client([*become, "test", "-x", BINARY], check=False).returncode):
        pytest.skip("cannot run it without root's rights")
    done = run_client([*become, BINARY, "-b", "127.0.0.1", "-p", "81", "-f", "ssh=127.0.0.1:9"], cwd=workdir, check=False)
    assert done.returncode == 2 and b"CAP_NET_BIND_SERVICE" in done.stderr


def test_nagle_is_off_on_both_sides(rx, backends):
    """Promise: TCP_NODELAY: small messages are not held back: a hundred round trips take no delayed acknowledgement."""
    p = rx("{ rx.ssh, to = %s }" % backends().quoted)
    with p.connect() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.sendall(wire.SSH)
        peers.read_exactly(s, len(wire.SSH))
        began = time.monotonic()
        for _ in range(100):
            s.sendall(b"a")
            s.sendall(b"b")
            peers.read_exactly(s, 2)
        assert time.monotonic() - began < 2
