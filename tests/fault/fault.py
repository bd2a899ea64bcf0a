#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Fault injection: every call of a kind is made to fail, one after the other, while real clients are served.

    RX_BIN=build/asan/refractium /usr/bin/python3 tests/fault/fault.py [--seconds N] [--kind KIND] [--scene SCENE]

For each scene (a thing clients or operators do) and each kind of call (malloc, accept4, send, ...) the scene is played
once to count the calls, then once for each of them and each errno with just that call failing, through the preloaded
fault.c. After each: the process lives, and serves a clean client. After each kind: no connection and no descriptor is
left, and accepted = closed by reason + live. At the end: it stops, exit code 0, no leak. --start: the same with the
calls of starting up, where ending with a message is allowed. With --seconds calls are sampled instead of all tried.
"""
import argparse
import contextlib
import ctypes
import errno
import json
import mmap
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import harness  # noqa: E402
import peers  # noqa: E402
import wire  # noqa: E402

SHIM = os.environ.get("RX_SHIM", os.path.join(ROOT, "build", "fault", "fault.so"))
SHORT = -1
MANY = 0xffffffff
ALWAYS = 12  # calls in a row that fail where a spell of bad luck is tried

E = errno
KINDS = {
    "malloc": (E.ENOMEM,),
    "accept4": (E.EMFILE, E.ENFILE, E.ECONNABORTED, E.ENOMEM, E.EINTR, E.EPERM),
    "socket": (E.EMFILE, E.ENOBUFS),
    "bind": (E.EADDRINUSE,),
    "listen": (E.EADDRINUSE,),
    "connect": (E.ECONNREFUSED, E.ENETUNREACH, E.EADDRNOTAVAIL, E.EINTR),
    "epoll_ctl": (E.ENOSPC, E.ENOMEM),
    "recv": (E.EAGAIN, E.EINTR, E.ECONNRESET, E.ENOMEM, SHORT),
    "send": (E.EAGAIN, E.EINTR, E.EPIPE, E.ENOBUFS, SHORT),
    "sendmsg": (E.EAGAIN, E.EINTR, E.ENOBUFS, E.ECONNREFUSED, E.EPERM, E.EMSGSIZE, E.EIO),
    "recvmmsg": (E.EAGAIN, E.EINTR, E.ECONNREFUSED, E.ENOMEM, SHORT),
    "pipe2": (E.EMFILE,),
    "splice": (E.EAGAIN, E.EINTR, E.EINVAL, E.ENOMEM, E.ECONNRESET, SHORT),
    "tee": (E.EAGAIN, E.ENOMEM, SHORT),
    "open": (E.EMFILE, E.ENOENT, E.EACCES),
    "read": (E.EINTR, E.EIO, SHORT),
    "write": (E.ENOSPC, E.EINTR, SHORT),
    "fcntl": (E.EPERM,),
    "setsockopt": (E.EPERM,),
    "getsockopt": (E.ENOBUFS,),
    "mmap": (E.ENOMEM,),
    "pthread_create": (E.EAGAIN,),
}
NAMES = list(KINDS)

CONFIG = """local rx = require "refractium"
rx.server { workers = 1, access_log = "access.log", log_format = "json", metrics = "127.0.0.1:0",
  max_connections = 500, record = { file = "record.jsonl", max_size = "100m" } }
local notes = rx.file "notes"
local hits = rx.counter "hits_total" { labels = { "who" } }
local table = rx.shared "table" { max_entries = 100 }
local checked = rx.pool "checked" { "127.0.0.1:%(tcp)d", eject_after = 0, health = { check = "tcp", every = "100ms", timeout = "1s" } }
local retried = rx.pool "retried" { "127.0.0.1:%(dead)d", "127.0.0.1:%(tcp)d" }
local udp = rx.pool "udp" { "127.0.0.1:%(udp)d" }
local seen = rx.sessions "seen" { by = function(conn) return conn.path end, max_ips = 9 }
rx.listen "127.0.0.1:%(port)d" { peek_timeout = "2s", connect_timeout = "2s", udp_idle_timeout = "1s",
  max_connections_per_ip = 200,
  routes = {
    { rx.ssh, to = checked },
    { rx.tls, sni = "a.test", to = retried },
    { rx.tls, to = rx.pool "told" { "127.0.0.1:%(tcp)d", send_proxy = "v2" } },
    { rx.http, host = "hooked.test", to = checked, mirror = "127.0.0.1:%(tcp)d",
      on_open = function(conn) notes:write(conn.client.ip .. "\\n") end, on_data = function(conn, d, buf) end,
      on_close = function(conn, why) notes:write(why .. "\\n") end },
    { rx.http, host = "filtered.test", to = checked, filter = function(conn, d, buf) return (buf:sub(0)) end },
    { rx.http, host = "counted.test", to = checked, sessions = seen,
      when = function(conn) hits:inc(conn.host) table:incr(conn.path, 1, 60) return true end },
    { rx.http, host = "slow.test", to = checked, rate = "100m/s" },
    { rx.http, to = rx.respond },
    { rx.dns, transport = "udp", to = udp },
    { rx.any, transport = "udp", to = rx.echo },
    { rx.silent, to = rx.echo },
  } }
rx.test "ssh" { send = "SSH-2.0-x\\r\\n", expect = { to = checked } }
-- %(edit)d
"""


class Page(ctypes.Structure):
    """struct fault of fault.c."""
    _fields_ = [("kind", ctypes.c_int), ("first", ctypes.c_uint), ("until", ctypes.c_uint), ("error", ctypes.c_int),
                ("fired", ctypes.c_uint), ("seen", ctypes.c_uint * len(NAMES)), ("where", ctypes.c_ulong),
                ("jump_s", ctypes.c_long)]


class UdpEcho:
    """A datagram backend."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                data, who = self.sock.recvfrom(65536)
                if who:  # else it was woken to end
                    self.sock.sendto(data, who)
                else:
                    return

    def stop(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01"


class Stage:
    """The program with the shim in it, and what is around it."""

    def __init__(self, is_armed_at_start=None, is_warm=True):
        self.folder = tempfile.mkdtemp(prefix="rx-fault-")
        self.page_path = os.path.join(self.folder, "page")
        with open(self.page_path, "wb") as f:
            f.write(bytes(4096))
        with open(self.page_path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 4096)
        self.page = Page.from_buffer(self.map)
        self.page.kind = -1
        self.echo, self.udp = peers.EchoProcess(), UdpEcho()
        self.numbers = {"tcp": self.echo.port, "udp": self.udp.port, "dead": harness.free_port(),
                        "port": harness.free_port(), "edit": 0}
        if is_armed_at_start:
            self.arm(*is_armed_at_start)
        asan = harness.Refractium.environment()["ASAN_OPTIONS"]
        env = {"LD_PRELOAD": SHIM, "RX_FAULT": self.page_path, "ASAN_OPTIONS": asan + ":verify_asan_link_order=0"}
        self.p = harness.Refractium(os.path.join(self.folder, "rx"), config=CONFIG % self.numbers, env=env,
                                    is_up=not is_armed_at_start)
        if not is_armed_at_start:
            harness.wait_for(lambda: self.status() is not None, what="its admin socket")
            self.metrics_port = int(self.p.err.wait(r"metrics on http://127\.0\.0\.1:(\d+)/").group(1))
            for _ in range(2 if is_warm else 0):
                for scene in SCENES.values():
                    scene(self)
            self.serves()
            harness.wait_for(lambda: not self.status()["totals"]["active"], what="the first clients to leave")
            self.fds = self.p.fds()

    def stop(self):
        try:
            self.page.kind = -1
            self.tell_where_it_hangs()
            self.p.stop()
            self.p.check()
        finally:
            self.echo.stop()
            self.udp.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    def tell_where_it_hangs(self):
        """A stop that takes too long is a bug whose place gdb knows."""
        self.p.signal(signal.SIGTERM)
        try:
            self.p.process.wait(6)
        except subprocess.TimeoutExpired:
            gdb = harness.find_program("gdb")
            done = gdb and subprocess.run([gdb, "-batch", "-p", str(self.p.pid), "-ex", "thread apply all bt 14"],
                                          capture_output=True, text=True, timeout=60)
            sys.stderr.write("it does not stop:\n%s\n" % (done.stdout[-8000:] if done else "(gdb is not installed)"))

    # -- the shim

    def arm(self, kind, first, count, error):
        self.page.kind = -1
        for i in range(len(NAMES)):
            self.page.seen[i] = 0
        self.page.fired = 0
        self.page.first, self.page.until, self.page.error = first, min(first + count, MANY), error
        self.page.kind = NAMES.index(kind)

    def disarm(self):
        self.page.kind = -1
        return self.page.fired

    # -- the program

    @property
    def port(self):
        return self.numbers["port"]

    def connect(self, timeout=4):
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def admin(self, cmd, **more):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(4)
            s.connect(os.path.join(self.p.directory, "refractium", "%d.sock" % self.port))
            s.sendall(json.dumps(dict(more, cmd=cmd)).encode() + b"\n")
            with s.makefile("rb") as lines:
                return json.loads(lines.readline() or b"null")

    def status(self):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            return self.admin("status")["result"]
        return None

    def alive(self):
        if self.p.process.poll() is not None:
            time.sleep(0.3)
            raise AssertionError("it ended with %s:\n%s" % (self.p.process.returncode, self.p.err.text()[-8000:]))

    def serves(self):
        """A clean client of each transport is served."""
        def try_tcp():
            self.alive()
            with contextlib.suppress(OSError, AssertionError), self.connect(1) as s:
                s.sendall(wire.SSH)
                return peers.read_exactly(s, len(wire.SSH)) == wire.SSH

        def try_udp():
            with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(0.3)
                s.sendto(QUERY, ("127.0.0.1", self.port))
                return s.recv(100) == QUERY

        harness.wait_for(try_tcp, 6, "TCP to be served again")
        harness.wait_for(try_udp, 6, "UDP to be served again")

    def adds_up(self):
        """Nobody is left, nothing is held, and everybody was counted once."""
        def nobody():
            s = self.status()
            return s if s and s["totals"]["active"] == 0 else None

        end = self.status()
        try:
            s = harness.wait_for(nobody, 8, "all connections to end")
        except AssertionError:
            raise AssertionError("left: %s\n%s" % (self.admin("top"), end)) from None
        t = s["totals"]
        assert t["accepted"] == sum(t["closed"].values()), t
        for l in s["listeners"]:
            assert l["active"] == 0 and l["pending"] == 0, l
            assert all(r["active"] in (0, None) for r in l["routes"]), l
        for pool in s["pools"]:
            assert all(b["active"] == 0 for b in pool["backends"]), pool
        harness.wait_for(lambda: self.p.fds() <= self.fds + 12, 6, "descriptors to come back: %d, %d now" % (
            self.fds, self.p.fds()))


# -- what is played; nothing here may wait long, and clients take whatever happens to them

def talk(x, first, more=b"", size=0, timeout=4):
    """Says `first` and `more`, half-closes, reads to the end."""
    with contextlib.suppress(OSError), x.connect(timeout) as s:
        s.sendall(first)
        if more:
            time.sleep(0.002)
            s.sendall(more)
        if size:
            s.setblocking(False)
            left, block = size, bytes(65536)
            end = time.monotonic() + timeout
            while left > 0 and time.monotonic() < end:
                with contextlib.suppress(BlockingIOError):
                    left -= s.send(block[:left])
                with contextlib.suppress(BlockingIOError):
                    if s.recv(1 << 18) == b"":
                        return
            s.settimeout(timeout)
        s.shutdown(socket.SHUT_WR)
        while s.recv(1 << 18):
            pass


def http(host, size=0):
    return lambda x: talk(x, wire.get(host), size=size)


def datagrams(x):
    for first in (QUERY, b"\xff" * 20):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.05)
            for _ in range(2):
                s.sendto(first, ("127.0.0.1", x.port))
                with contextlib.suppress(TimeoutError):
                    s.recv(2000)


def silent(x):
    with contextlib.suppress(OSError), x.connect() as s:
        s.sendall(b"S")
        time.sleep(0.002)
        peers.reset(s)


def fetch(x):
    for path in (b"/metrics", b"/status.json"):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", x.metrics_port), 2) as s:
            s.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while s.recv(1 << 16):
                pass


def admin(x):
    with contextlib.suppress(OSError, ValueError):
        x.admin("status")
        x.admin("top")
        x.admin("ban", ip="192.0.2.7", ttl_ms=50)


def reload(x):
    x.numbers["edit"] += 1
    before = x.p.err.text().count('reload')
    x.p.write_config(CONFIG % x.numbers)
    x.p.signal(signal.SIGHUP)
    with contextlib.suppress(AssertionError):
        harness.wait_for(lambda: x.p.err.text().count('reload') > before, 1, "a reload", 0.005)


def health(x):
    time.sleep(0.12)


SCENES = {
    "copy": lambda x: talk(x, wire.SSH, b"more"),
    "splice": lambda x: talk(x, wire.SSH, size=1 << 20),
    "retry": lambda x: talk(x, wire.hello("a.test")),
    "proxy": lambda x: talk(x, wire.hello("b.test")[:100], wire.hello("b.test")[100:]),
    "hooked": http("hooked.test", 1 << 19),
    "filtered": http("filtered.test"),
    "counted": http("counted.test"),
    "shaped": http("slow.test", 1 << 18),
    "respond": http("other.test"),
    "silent": silent,
    "udp": datagrams,
    "admin": admin,
    "metrics": fetch,
    "health": health,
    "reload": reload,
}


def play(x, scene, kind, first, count, error):
    """The scene with those calls failing. Returns how many did."""
    x.arm(kind, first, count, error)
    SCENES[scene](x)
    return x.disarm()


def name_of(error):
    return "SHORT" if error == SHORT else errno.errorcode[error]


def where(x):
    at = x.page.where
    if not at:
        return "libev"
    done = subprocess.run(["addr2line", "-s", "-f", "-e", harness.BINARY, hex(at)], capture_output=True, text=True)
    return " ".join(done.stdout.split())


def places(n):
    """Numbers of calls up to n + 1: the first ones one by one, then ever fewer, since the same few come again and again."""
    first = 1
    while first <= n + 1:
        yield first
        first += 1 if first < 60 else random.randint(1, first // 5)


def attempts(x, scenes, kinds):
    """(scene, kind, first, count, error), all that are worth trying."""
    for scene in scenes:
        x.arm("malloc", MANY, 0, 0)
        SCENES[scene](x)
        x.disarm()
        seen = list(x.page.seen)
        for kind in kinds:
            n = seen[NAMES.index(kind)]
            for error in KINDS[kind] if n else ():
                for first in places(n):
                    yield scene, kind, first, 1, error
                yield scene, kind, 1, ALWAYS, error


def run(seconds=None, scenes=None, kinds=None, seed=1, say=print):
    """Tries all, or what `seconds` allow of it. Returns (how many were tried, how many fired, what went wrong)."""
    tried, fired, wrong = 0, 0, []
    x = Stage()
    todo = list(attempts(x, scenes or SCENES, kinds or NAMES))
    if seconds:
        random.Random(seed).shuffle(todo)
    say("%d attempts" % len(todo))
    begun = time.monotonic()
    for number, (scene, kind, first, count, error) in enumerate(todo):
        if seconds and time.monotonic() - begun > seconds:
            break
        label = "%s: %s %s of %d from call %d" % (scene, name_of(error), kind, count, first)
        try:
            n = play(x, scene, kind, first, count, error)
            tried += 1
            fired += n > 0
            x.alive()
            if n:
                x.serves()
            if number % 40 == 39:
                x.adds_up()
        except AssertionError as e:
            wrong.append("%s (%s)\n%s" % (label, where(x), e))
            say("WRONG " + wrong[-1])
            with contextlib.suppress(AssertionError, OSError):
                x.stop()
            x = Stage()
    try:
        x.adds_up()
        x.stop()
    except AssertionError as e:
        wrong.append("at the end: %s" % e)
        say("WRONG " + wrong[-1])
    return tried, fired, wrong


def starts(kinds=None, seconds=None, seed=1, say=print):
    """Starting up with each call failing: it serves, or ends with a message; never by a signal or a leak."""
    begun, tried, wrong = time.monotonic(), 0, []
    # epoll_ctl is left out: the first calls are for libev's own way to be woken, of whose failure it tells nobody.
    todo = [(kind, error) for kind in kinds or NAMES if kind != "epoll_ctl" for error in KINDS[kind]]
    random.Random(seed).shuffle(todo)
    for kind, error in todo:
        first, step = 1, 1
        while not seconds or time.monotonic() - begun < seconds:
            x = Stage((kind, first, 1, error))
            try:
                harness.wait_for(lambda: x.p.process.poll() is not None or x.status() is not None, 15,
                                 "it to be up or to end")
                n = x.disarm()
                tried += 1
                code = x.p.process.poll()
                if code is not None:
                    x.p.expected_code = code
                    time.sleep(0.05)
                    assert code in (1, 2, 3), "it ended with %d" % code
                    said = x.p.err.text()
                    assert "error" in said or "refractium: " in said, "it ended without a word: " + said
                x.stop()
            except AssertionError as e:
                wrong.append("start: %s %s call %d (%s)\n%s\n%s" % (name_of(error), kind, first, where(x), e,
                                                                    x.p.err.text()[-1500:]))
                say("WRONG " + wrong[-1])
                with contextlib.suppress(AssertionError):
                    x.stop()
                n = 1
            if not n:
                break
            # The first calls one by one, then ever fewer: the same few constructors come again and again.
            step = 1 if first < 60 else max(1, first // 10)
            first += step
    return tried, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--kind", action="append")
    parser.add_argument("--scene", action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", action="store_true")
    args = parser.parse_args()
    since = time.monotonic()
    if args.start:
        tried, wrong = starts(args.kind, args.seconds, args.seed)
        print("%d starts in %d s, %d wrong" % (tried, time.monotonic() - since, len(wrong)))
    else:
        tried, fired, wrong = run(args.seconds, args.scene, args.kind, args.seed)
        print("%d attempts, %d with a failure, in %d s, %d wrong" % (tried, fired, time.monotonic() - since, len(wrong)))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
