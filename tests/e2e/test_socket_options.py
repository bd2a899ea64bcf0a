# SPDX-License-Identifier: MIT
"""Options of sockets to backends, as the kernel shows them (ss), and connecting from the client's own address."""
import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import threading

import pytest

import peers
from harness import PATIENCE, Refractium, find_program, free_port, make_config, wait_for

pytestmark = pytest.mark.sanitize

CLONE_NEWNET = 0x40000000


def ss(port):
    """What the kernel says of the connection to that port, seen from its client's end."""
    return subprocess.run(["ss", "-Htnoei", "state", "established", "dport", "= :%d" % port], capture_output=True, text=True,
                          timeout=PATIENCE, check=True).stdout


def held(rx, b, options):
    p = rx("{ rx.any, to = p }", prelude="local p = rx.pool 'p' { %s, %s }" % (b.quoted, options))
    s = p.connect()
    s.sendall(b"x")
    assert s.recv(1) == b"x"
    return p, s


def port_of(b):
    return int(b.address.rsplit(":", 1)[1])


def test_keepalive_and_congestion_are_as_asked_for(rx, backends):
    b = backends(peers.echo)
    _, s = held(rx, b, 'keepalive = "70s", congestion = "reno"')
    with s:
        shown = ss(port_of(b))
    assert re.search(r"timer:\(keepalive,1min\d*", shown), shown
    assert " reno " in shown


def test_without_options_sockets_are_the_system_s(rx, backends):
    b = backends(peers.echo)
    _, s = held(rx, b, 'tries = 1')
    with s:
        shown = ss(port_of(b))
    assert "keepalive" not in shown and "fwmark" not in shown
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as f:
        assert " %s " % f.read().strip() in shown


@pytest.mark.skipif(os.geteuid() != 0, reason="marks need CAP_NET_ADMIN")
def test_a_mark_is_on_the_socket(rx, backends):
    b = backends(peers.echo)
    _, s = held(rx, b, "mark = 0x1234")
    with s:
        assert "fwmark:0x1234" in ss(port_of(b))


def test_an_interface_that_reaches_the_backend_is_used(rx, backends):
    b = backends(peers.echo)
    _, s = held(rx, b, 'interface = "lo"')
    s.close()


@pytest.mark.parametrize("option,words", [
    ('interface = "nowhere0"', "interface: No such device (there is no such interface)"),
    ('congestion = "nonesuch"', "congestion: No such file or directory (the kernel has no such algorithm")])
def test_an_option_that_is_refused_is_told_and_never_passed_over(rx, backends, option, words):
    b = backends(peers.echo)
    p = rx("{ rx.any, to = p }", prelude="local p = rx.pool 'p' { %s, %s, eject_after = 1 }" % (b.quoted, option))
    for _ in range(3):
        with contextlib.suppress(ConnectionResetError, BrokenPipeError), p.connect() as s:
            s.sendall(b"x")
            assert peers.how_it_ends(s)[0] == "reset"
    assert [line["reason"] for line in p.access(3)] == ["backend_down"] * 3
    assert p.err.wait(re.escape(words))
    assert b.n_accepted == 0
    assert not p.err.find("ejected")


@pytest.mark.skipif(os.geteuid() != 0, reason="user_timeout is tested by dropping packets in a namespace")
def test_unacknowledged_data_ends_the_connection_after_user_timeout(rx, namespaces):
    """Its backend vanishes without a word: the link goes down."""
    with namespaces.server("10.79.2.2", 9000):
        p = rx('{ rx.any, to = p }', listen='"10.79.1.1:0"', preexec=namespaces.enter("router"),
               prelude="local p = rx.pool 'p' { '10.79.2.2:9000', user_timeout = '500ms' }")
        with namespaces.connect("client", ("10.79.1.1", p.port)) as s:
            s.sendall(b"who")
            s.recv(100)
            namespaces.ip("-n", namespaces.name("server"), "link", "set", "up0", "down")
            s.sendall(b"lost")
            s.settimeout(PATIENCE)
            assert peers.how_it_ends(s)[0] == "reset"
    assert p.access_one()["reason"] == "server_reset"


@pytest.mark.skipif(os.geteuid() != 0, reason="other addresses than one's own need CAP_NET_ADMIN")
def test_a_transparent_route_connects_from_the_client_s_address(rx, namespaces):
    """Client, router and server each in a network of its own: the server sees the client, and its answers come back."""
    with namespaces.server("10.79.2.2", 9000) as seen:
        p = rx('{ rx.any, to = "10.79.2.2:9000", transparent = true }', listen='"10.79.1.1:0"',
               preexec=namespaces.enter("router"))
        with namespaces.connect("client", ("10.79.1.1", p.port)) as s:
            s.sendall(b"who")
            assert s.recv(100) == b"10.79.1.2"
    assert seen == ["10.79.1.2"]


# -- what to connect from

def test_several_addresses_take_turns(rx, backends):
    came = []

    def who(sock, server):
        came.append(sock.getpeername()[0])
        peers.echo(sock, server)

    p = rx("{ rx.any, to = p }", prelude="local p = rx.pool 'p' { %s, source = { '127.0.0.9', '::1', "
           "'127.0.0.20-127.0.0.21', '127.0.1.0/31' } }" % backends(who).quoted)
    for _ in range(10):
        with p.connect() as s:
            s.sendall(b"x")
            assert s.recv(1) == b"x"
    wanted = ["127.0.0.9", "127.0.0.20", "127.0.0.21", "127.0.1.0", "127.0.1.1"]
    assert came == wanted * 2


def test_an_address_that_is_not_here_is_passed_over_and_told(rx, backends):
    b = backends(peers.echo)
    p = rx("{ rx.any, to = p }", prelude="local p = rx.pool 'p' { %s, source = { '192.0.2.77', '127.0.0.9' } }" % b.quoted)
    for _ in range(4):
        with p.connect() as s:
            s.sendall(b"x")
            assert s.recv(1) == b"x"
    assert p.err.wait("pool p: source 192.0.2.77: Cannot assign requested address")


@pytest.mark.skipif(os.geteuid() != 0, reason="ports run out in a namespace of its own")
def test_an_address_whose_ports_are_used_up_is_followed_by_the_next(rx, namespaces):
    """Two ports and three addresses are six connections to each of two backends; the seventh has nowhere to come from."""
    def few_ports():
        with open("/proc/sys/net/ipv4/ip_local_port_range", "w", encoding="ascii") as f:
            f.write("40000 40001")

    namespaces.ip("-n", namespaces.name("router"), "addr", "add", "10.79.2.3/24", "dev", "to-server")
    namespaces.ip("-n", namespaces.name("router"), "addr", "add", "10.79.2.4/24", "dev", "to-server")
    namespaces.inside("router", few_ports)
    with namespaces.server("10.79.2.2", 9000) as one, namespaces.server("10.79.2.2", 9001) as two:
        p = rx("{ rx.http, to = b }, { rx.any, to = a }", listen='"10.79.1.1:8000"', preexec=namespaces.enter("router"),
               prelude="local function pool(n) return rx.pool('p' .. n) { '10.79.2.2:' .. n, eject_after = 1,"
               " source = '10.79.2.1-10.79.2.4' } end local a, b = pool(9000), pool(9001)")
        with contextlib.ExitStack() as held:
            def ask(first):
                s = held.enter_context(namespaces.connect("client", ("10.79.1.1", 8000)))
                s.settimeout(PATIENCE)
                s.sendall(first)
                return s.recv(100)

            for first in (b"who", b"GET / HTTP/1.1\r\n\r\n"):
                for _ in range(6):
                    assert ask(first).startswith(b"10.79.2.")
            with pytest.raises(ConnectionResetError):
                ask(b"who")
            assert sorted(one) == sorted(two) == sorted(["10.79.2.1", "10.79.2.3", "10.79.2.4"] * 2)
        assert p.access_one(where=lambda l: l["reason"] != "done")["reason"] == "backend_down"
        assert not p.err.find("ejected")


# -- of listeners

def ss_here(port, more=()):
    """What the kernel says of connections that came to that port, or of who listens there."""
    return subprocess.run(["ss", "-Htnoei", *more, "sport", "= :%d" % port], capture_output=True, text=True,
                          timeout=PATIENCE, check=True).stdout


def test_a_listener_s_options_are_its_clients_connections(rx, backends):
    p = rx("{ rx.any, to = %s }" % backends(peers.echo).quoted,
           options='keepalive = "70s", congestion = "reno", backlog = 77,')
    assert " 77 " in ss_here(p.port, ["-l"])
    with p.connect() as s:
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        shown = ss_here(p.port)
    assert re.search(r"timer:\(keepalive,1min\d*", shown) and " reno " in shown, shown


def test_an_edit_changes_them_for_who_comes_then(rx, backends):
    """Promise: the socket stays, no client is lost; what is left out again is the system's."""
    port, b = free_port(), backends(peers.echo)
    listen, server = '"127.0.0.1:%d"' % port, "hot_reload = false,"
    p = rx("{ rx.any, to = %s }" % b.quoted, listen=listen, server=server)

    def shown_after(options, n):
        p.write_config(make_config("{ rx.any, to = %s }" % b.quoted, listen=listen, server=server, options=options))
        p.signal(signal.SIGHUP)
        wait_for(lambda: len(re.findall("reload .*generation", p.errors())) == n, what="the reload")
        with p.connect() as s:
            s.sendall(b"x")
            assert s.recv(1) == b"x"
            return ss_here(port)

    with p.connect() as old:
        shown = shown_after('keepalive = "70s", congestion = "reno",', 1)
        assert "keepalive" in shown and " reno " in shown
        shown = shown_after("", 2).splitlines()
        assert len([line for line in shown if "keepalive" in line]) == 0
        old.sendall(b"x")
        assert old.recv(1) == b"x"


@pytest.mark.parametrize("option,words", [
    ('interface = "nowhere0"', "interface: No such device (there is no such interface)"),
    ('congestion = "nonesuch"', "congestion: No such file or directory (the kernel has no such algorithm")])
def test_a_listener_s_option_that_is_refused_keeps_it_from_starting(workdir, option, words):
    p = Refractium(workdir, is_up=False, config=make_config("{ rx.any, to = rx.echo }", options=option + ","))
    assert p.wait_exit() == 2
    assert words in p.errors() and "cannot listen on 127.0.0.1:0" in p.errors()


@pytest.mark.skipif(os.geteuid() != 0, reason="interfaces and marks need CAP_NET_ADMIN")
def test_a_listener_on_an_interface_hears_nobody_else(rx, namespaces):
    p = rx("{ rx.any, to = rx.echo }", listen='"0.0.0.0:0"', options='interface = "to-client", mark = 7,',
           preexec=namespaces.enter("router"))
    with namespaces.connect("client", ("10.79.1.1", p.port)) as s:
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        assert "fwmark:0x7" in namespaces.inside("router", lambda: ss_here(p.port))
    with pytest.raises(ConnectionRefusedError):
        namespaces.connect("server", ("10.79.2.1", p.port))


@pytest.mark.skipif(os.geteuid() != 0, reason="fast open is allowed in a namespace of its own")
def test_fast_open_takes_a_client_s_first_bytes_from_its_syn(rx, namespaces):
    def allow():
        with open("/proc/sys/net/ipv4/tcp_fastopen", "w", encoding="ascii") as f:
            f.write("3")

    def passive():
        with open("/proc/thread-self/net/netstat", encoding="ascii") as f:
            names, values = [line.split() for line in f if line.startswith("TcpExt:")]
        return int(values[names.index("TCPFastOpenPassive")])

    def ask(port):
        with socket.socket() as s:
            s.sendto(b"hello", socket.MSG_FASTOPEN, ("10.79.1.1", port))
            s.settimeout(PATIENCE)
            return s.recv(5)

    p = rx("{ rx.any, to = rx.echo }", listen='"10.79.1.1:0"', options="fast_open = 16,", preexec=namespaces.enter("router"))
    assert p.err.find("fast_open has no effect: the system does not allow it")
    for who in ("router", "client"):
        namespaces.inside(who, allow)
    for _ in range(2):  # the first gets a cookie
        assert namespaces.inside("client", lambda: ask(p.port)) == b"hello"
    assert namespaces.inside("router", passive) == 1


class Namespaces:
    """client (10.79.1.2) -- router (10.79.1.1, 10.79.2.1) -- server (10.79.2.2), which sends all back by the router."""

    def __init__(self):
        self.names = []
        for who in ("client", "router", "server"):
            self.ip("netns", "add", self.name(who))
            self.names.append(self.name(who))
        for who, net in (("client", 1), ("server", 2)):
            n, r = self.name(who), self.name("router")
            self.ip("-n", r, "link", "add", "to-%s" % who, "type", "veth", "peer", "name", "up0", "netns", n)
            self.ip("-n", r, "addr", "add", "10.79.%d.1/24" % net, "dev", "to-%s" % who)
            self.ip("-n", r, "link", "set", "to-%s" % who, "up")
            self.ip("-n", n, "addr", "add", "10.79.%d.2/24" % net, "dev", "up0")
            self.ip("-n", n, "link", "set", "up0", "up")
            self.ip("-n", n, "route", "add", "default", "via", "10.79.%d.1" % net)
        self.ip("-n", self.name("router"), "link", "set", "lo", "up")
        # What the guide says: answers for clients, which are not for us by their address, are ours all the same.
        self.ip("-n", self.name("router"), "rule", "add", "iif", "to-server", "lookup", "100")
        self.ip("-n", self.name("router"), "route", "add", "local", "default", "dev", "lo", "table", "100")

    @staticmethod
    def name(who):
        return "rxt-%d-%s" % (os.getpid(), who)

    @staticmethod
    def ip(*words):
        subprocess.run(["ip", *words], check=True, timeout=PATIENCE, capture_output=True)

    def enter(self, who):
        """A function that puts its thread, or the process that is about to be, into that network."""
        path, libc = "/run/netns/" + self.name(who), ctypes.CDLL(None, use_errno=True)

        def go():
            fd = os.open(path, os.O_RDONLY)
            if libc.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            os.close(fd)

        return go

    def inside(self, who, function):
        """The function's result, called in a thread that is there."""
        def call():
            self.enter(who)()
            return function()

        return peers.in_thread(call).get()

    def connect(self, who, address):
        return self.inside(who, lambda: socket.create_connection(address, PATIENCE))

    @contextlib.contextmanager
    def server(self, host, port):
        """Tells each client its address, and notes it."""
        def listen():
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((host, port))
            s.listen()
            return s

        seen, listener = [], self.inside("server", listen)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    sock, peer = listener.accept()
                    seen.append(peer[0])
                    sock.recv(100)
                    sock.sendall(peer[0].encode())
                    kept.append(sock)

        kept = []
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield seen
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)
        listener.close()
        for sock in kept:
            sock.close()

    def close(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], timeout=PATIENCE, check=False)


@pytest.fixture
def namespaces():
    if not find_program("ip"):
        pytest.skip("ip is not installed")
    try:
        n = Namespaces()
    except subprocess.CalledProcessError as e:
        pytest.skip("no network namespaces here: %s" % e.stderr.decode().strip())
    yield n
    n.close()
