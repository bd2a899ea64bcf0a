# SPDX-License-Identifier: MIT
"""What the kernel does to connections that exist already: real sockets of another program, real conntrack entries, in a
network namespace of their own. The clients and the server are this process; only the log says who they are."""
import contextlib
import ctypes
import json
import os
import select
import socket
import struct
import threading
import time

import pytest

import wire
from harness import BINARY, PATIENCE, ROOT, SANITIZER, run_binary, run_client, wait_for
from peers import read_exactly
from test_nftables import LIBC, LINE, in_namespace, need_nftables, nft, unshare  # noqa: F401: a fixture, too

CLONE_NEWNET = 0x40000000
SOON = 0.25 if not SANITIZER else 2.0  # seconds from a line to the end of a connection; busy machines run this


@contextlib.contextmanager
def inside(pid):
    """This thread's new sockets are made in the namespace of that process."""
    with open("/proc/self/ns/net", "rb") as home, open("/proc/%d/ns/net" % pid, "rb") as there:
        assert LIBC.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert LIBC.setns(home.fileno(), CLONE_NEWNET) == 0


class World:
    """The program in a namespace, its log, and a server on port 8000 of both families that sends without end."""

    def __init__(self, rx, tmp_path, enforce, more="", dport="8000", flags=None):
        self.access = tmp_path / "access.log"
        self.access.write_text("")
        self.p = rx.flags(["guard", "--access.log", self.access, *flags], preexec=unshare, is_up=False) if flags else rx.config("""local rx = require "refractium"
rx.server { workers = 1 }
local vpn = rx.sessions "vpn" { window = "1h", enforce = { %s }, dport = %s, %s }
rx.tail "%s" { parse = rx.xray, sessions = vpn }
rx.listen "127.0.0.1:18000" { fallback_tcp = rx.drop }
""" % (enforce, '{ "%s" }' % dport, more, self.access), preexec=unshare)
        for argv in (["link", "set", "lo", "up"], ["addr", "add", "2001:db8:1::1/128", "dev", "lo", "nodad"],
                     ["addr", "add", "2001:db8:2::1/128", "dev", "lo", "nodad"]):
            assert in_namespace(self.p.pid, "ip", *argv).returncode == 0
        self.open = []
        with inside(self.p.pid):
            self.servers = [self.listen(socket.AF_INET6, "::", 8000), self.listen(socket.AF_INET, "127.0.0.1", 8100)]
        threading.Thread(target=self.serve, daemon=True).start()
        time.sleep(0.3)  # the log is followed from its end

    @staticmethod
    def listen(family, host, port):
        s = socket.socket(family, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.bind((host, port))
        s.listen()
        return s

    def serve(self):
        conns = []
        while True:
            ready, writable, _ = select.select(self.servers, conns, [], 0.05)
            for s in ready:
                conns.append(s.accept()[0])
            for c in writable:
                try:
                    c.send(b"x" * 1000)
                except OSError:
                    conns.remove(c)
            time.sleep(0.001)

    def come(self, source, host="127.0.0.1", port=8000):
        with inside(self.p.pid):
            c = socket.create_connection((host, port), PATIENCE, (source, 0))
        self.open.append(c)
        assert c.recv(100)
        return c

    def say(self, address, identity="u1"):
        with self.access.open("a") as f:
            f.write(LINE.replace("u1", identity) % address)


def cut_after(c):
    """Seconds until the connection is reset."""
    begun = time.monotonic()
    c.settimeout(PATIENCE)
    with contextlib.suppress(ConnectionError):
        while c.recv(100000):
            assert time.monotonic() - begun < PATIENCE, "it was not cut"
        raise AssertionError("it ended like one that was closed in good order")
    return time.monotonic() - begun


def test_a_second_address_is_cut_at_once_and_the_first_ones_transfer_goes_on(rx, tmp_path):
    """An IPv4 socket of a server for both families is an IPv6 one with a mapped address; the second server's is none."""
    w = World(rx, tmp_path, '"nftables", "kill"', 'timeout = "1s"')
    w.p.err.wait("listening")
    first, six = w.come("127.0.0.2"), w.come("2001:db8:1::1", "2001:db8:1::1")
    pairs = [("u1", "127.0.0.2", "127.0.0.3", "127.0.0.1"), ("u2", "127.0.0.2", "127.0.0.4", "127.0.0.1"),
             ("u3", "[2001:db8:1::1]", "2001:db8:2::1", "2001:db8:1::1")]
    took = []
    for identity, owner, newcomer, host in pairs:
        c, stays = w.come(newcomer, host), w.come("127.0.0.9")
        w.say(owner, identity)
        time.sleep(0.05)
        w.say("[%s]" % newcomer if ":" in newcomer else newcomer, identity)
        took.append(cut_after(c))
        assert stays.recv(100)
    assert min(took) < SOON and max(took) < 20 * SOON, took
    end = time.monotonic() + 1.1
    while time.monotonic() < end:
        assert first.recv(100000) and six.recv(100000)
    for _, _, newcomer, host in pairs:
        w.come(newcomer, host).close()  # the ban is over
    sessions = run_status(w.p)["sessions"][0]
    assert sessions["killed"] == 3 and sessions["kernel_failed"] == 0


def test_a_quiet_owner_keeps_the_place_as_long_as_it_is_connected(rx, tmp_path):
    w = World(rx, tmp_path, '"kill"', 'timeout = "200ms"')
    with open(os.path.join(w.p.directory, "refractium.lua"), encoding="utf-8") as f:
        text = f.read()
    w.p.write_config(text.replace('"1h"', '"800ms"'))
    w.p.err.wait("generation 2")
    first, second = w.come("127.0.0.2"), w.come("127.0.0.3")
    w.say("127.0.0.2")
    time.sleep(1.6)  # twice the window
    w.say("127.0.0.3")
    cut_after(second)
    assert first.recv(100)
    first.close()
    time.sleep(1.2)
    third = w.come("127.0.0.4")
    w.say("127.0.0.4")
    time.sleep(0.2)
    w.say("127.0.0.4")
    time.sleep(0.2)
    assert third.recv(100)
    wait_for(lambda: run_status(w.p)["sessions"][0]["killed"] == 1, what="one connection, and no more")


def run_status(p):
    done = run_client([BINARY, "status", "--json", "-c", os.path.join(p.directory, "refractium.lua")],
                      env=p.environment({"XDG_RUNTIME_DIR": p.directory}))
    return json.loads(done.stdout)


def test_an_ipv4_server_and_a_port_that_is_not_meant(rx, tmp_path):
    w = World(rx, tmp_path, '"kill"', 'timeout = "1h"', dport="8050-8100")
    inside_port, other_port = w.come("127.0.0.3", port=8100), w.come("127.0.0.3")
    w.say("127.0.0.2")
    w.say("127.0.0.3")
    cut_after(inside_port)
    assert other_port.recv(100)
    again = w.come("127.0.0.3", port=8100)  # nothing but `kill` was asked for: it may come, and is cut when it is heard of
    w.say("127.0.0.3")
    cut_after(again)
    assert other_port.recv(100)


def flows(pid):
    """The UDP entries of the conntrack table, as their bytes."""
    with inside(pid):
        n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    with n:
        n.bind((0, 0))
        n.settimeout(PATIENCE)
        out = []
        for family in (socket.AF_INET, socket.AF_INET6):
            n.send(struct.pack("=IHHIIBBH", 20, 1 << 8 | 1, 1 | 0x300, family, 0, family, 0, 0))
            is_over = False
            while not is_over:
                data = n.recv(65536)
                while data:
                    length, kind = struct.unpack("=IH", data[:6])
                    is_over |= kind in (2, 3)
                    if kind not in (2, 3):
                        out.append(data[:length])
                    data = data[(length + 3) & ~3:]
    return out


def test_udp_flows_of_who_was_put_out_leave_the_conntrack_table(rx, tmp_path):
    w = World(rx, tmp_path, '"conntrack"', 'timeout = "1h", proto = "udp"')
    ns = w.p.pid
    assert nft(ns, "add table inet seen\nadd chain inet seen c { type filter hook input priority 0; }\n"
                   "add rule inet seen c ct state established accept").returncode == 0
    with inside(ns):
        server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        server.bind(("::", 8000))
        clients = []
        for source, host in (("127.0.0.2", "127.0.0.1"), ("127.0.0.3", "127.0.0.1"),
                             ("2001:db8:1::1", "2001:db8:1::1"), ("2001:db8:2::1", "2001:db8:1::1")):
            c = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
            c.bind((source, 0))
            c.sendto(b"hello", (host, 8000))
            clients.append(c)

    def has(address):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return any(socket.inet_pton(family, address) in one for one in flows(ns))

    assert has("127.0.0.2") and has("127.0.0.3") and has("2001:db8:2::1")
    for address in ("127.0.0.2", "127.0.0.3"):
        w.say(address)
    for address in ("[2001:db8:1::1]", "[2001:db8:2::1]"):
        w.say(address, "u2")
    wait_for(lambda: not has("127.0.0.3") and not has("2001:db8:2::1"), what="the entries to go")
    assert has("127.0.0.2") and has("2001:db8:1::1")
    assert run_status(w.p)["sessions"][0]["conntrack_deleted"] == 2
    for s in [server, *clients]:
        s.close()


def test_guard_does_it_without_a_config_or_a_listener(rx, tmp_path):
    log = tmp_path / "blocked.log"
    w = World(rx, tmp_path, None, flags=["--dport", "8000", "--window", "1h", "--timeout", "1h", "--block.log", log])
    wait_for(lambda: "table inet refractium_guard" in nft(w.p.pid, "list ruleset").stdout, what="the table")
    stays, goes = w.come("127.0.0.2"), w.come("127.0.0.3")
    w.say("127.0.0.2")
    w.say("127.0.0.3")
    cut_after(goes)
    assert stays.recv(100)
    wait_for(log.exists, what="the block log")
    assert log.read_text().endswith("disallowed concurrent connection from 127.0.0.3 w/ origin 127.0.0.2 [IN-TAG] email: u1\n")
    done = run_client([BINARY, "unban", "127.0.0.3"], env=w.p.environment({"XDG_RUNTIME_DIR": w.p.directory}))
    assert b"no longer banned" in done.stdout
    wait_for(lambda: "127.0.0.3" not in nft(w.p.pid, "list ruleset").stdout, what="it to be let in")
    w.come("127.0.0.3").close()


def test_guard_says_which_flag_is_wrong():
    for argv, words in ((["guard"], "--dport: is missing"), (["guard", "--dport", "x"], "--dport[1]: must be a port"),
                        (["guard", "--dport", "1", "--window", "5"], '--window: "5" has no unit'),
                        (["guard", "--dport", "1", "--proto", "sctp"], "--proto: "),
                        (["check", "--dport", "1"], "option --dport does not belong here; it is for guard")):
        done = run_binary(*argv)
        assert done.returncode == 1 and words in done.err, done.err


EXAMPLE = os.path.join(ROOT, "examples", "xray", "refractium.lua")


class Xray(threading.Thread):
    """Takes connections as Xray does behind a PROXY header, and writes down who came, as Xray does. The email is what the
    client says after its hello."""

    def __init__(self, pid, port, log):
        super().__init__(daemon=True)
        self.log = log
        with inside(pid):
            self.server = socket.create_server(("127.0.0.1", port))
        self.start()

    def run(self):
        while True:
            c = self.server.accept()[0]
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        head = read_exactly(c, 16)
        size = struct.unpack("!H", head[14:])[0]
        source, _, port, _ = struct.unpack("!4s4sHH", read_exactly(c, size)[:12])
        size = struct.unpack("!H", read_exactly(c, 5)[3:])[0]
        read_exactly(c, size)
        email = c.recv(100).decode()
        with self.log.open("a") as f:
            f.write("2026/01/30 17:03:38.067799 from %s:%d accepted tcp:www.google.com:443 [IN >> direct] email: %s\n" % (
                socket.inet_ntoa(source), port, email))
        with contextlib.suppress(OSError):
            c.sendall(b"welcome")
            c.recv(1)


def test_the_example_for_xray_keeps_an_account_to_one_address(rx, tmp_path):
    access, blocked = tmp_path / "access.log", tmp_path / "blocked.log"
    access.write_text("")
    with open(EXAMPLE, encoding="utf-8") as f:
        text = f.read().replace("/var/log/xray/access.log", str(access)).replace("/var/log/refractium/blocked.log", str(blocked))
    p = rx.config(text, preexec=unshare, binds=2)
    assert in_namespace(p.pid, "ip", "link", "set", "lo", "up").returncode == 0
    Xray(p.pid, 10443, access)
    time.sleep(0.3)

    def come(source, email):
        with inside(p.pid):
            c = socket.create_connection(("127.0.0.1", 443), PATIENCE, (source, 0))
        c.sendall(wire.hello("cdn.example.com"))
        c.sendall(email.encode())
        with contextlib.suppress(ConnectionError):
            if c.recv(100):
                return c
        return None

    with come("127.0.0.2", "alice@example.com") as first, come("127.0.0.3", "alice@example.com") as second, \
            come("127.0.0.4", "family@example.com"), come("127.0.0.5", "family@example.com"):
        with contextlib.suppress(ConnectionError):
            assert second.recv(100) == b"", "it is cut"
        wait_for(blocked.exists, what="the block log")
        assert "from 127.0.0.3 w/ origin 127.0.0.2 [IN] email: alice@example.com" in blocked.read_text()
        with contextlib.suppress(ConnectionError):
            assert come("127.0.0.3", "bob@example.com") is None, "it is banned"
        wait_for(lambda: "127.0.0.3 timeout 5m" in nft(p.pid, "list ruleset").stdout, what="the kernel's part")
        first.settimeout(0.3)
        with pytest.raises(socket.timeout):
            first.recv(1)
