#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Hostile clients at scale: what they cost others, and what is left of them afterwards.

    RX_BIN=build/refractium /usr/bin/python3 tests/stress/hostile.py [--seconds 10] [ATTACK ...]

One program serves everybody. Attackers are processes of their own at addresses of their own (127.1.0.0/16), with the
lowest priority, as they would have no processor of ours. Beside each attack a good client connects, is answered and
leaves, again and again. What must hold, for each attack:
  * the good client is served every time, its p99 within twice that of a quiet program, or of the same client at the
    backend itself in the same moments, since the attackers have the same processors; and a floor;
  * memory stays below what the config allows;
  * afterwards nothing is left: no connection, no descriptor, no processor time, and every accept has its ending.
"""
import argparse
import contextlib
import json
import os
import random
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import harness  # noqa: E402
import peers  # noqa: E402
import wire  # noqa: E402

PER_IP, CROWD, FLOWS = 1000, 60000, 5000
PACE = 1000  # connections a second of each attacker
FLOOR_MS = 30  # p99 below this is never held against it: others have the processors, too
MEMORY = CROWD * 1536 + 2 * PER_IP * 20 * 1024 + (96 << 20)  # the idle, the undecided (peek_buffer_size each), slack

CONFIG = """local rx = require "refractium"
rx.server { workers = 2, access_log = false, max_connections = %(crowd)d, max_sessions = %(flows)d, metrics = "127.0.0.1:0" }
local app = rx.pool "app" { "127.0.0.1:%(tcp)d", eject_after = 0 }
rx.listen "127.0.0.1:%(port)d" { max_connections_per_ip = %(per_ip)d, max_sessions_per_ip = 200, peek_timeout = "1s",
  idle_timeout = "2s", udp_idle_timeout = "1s",
  routes = {
    { rx.ssh, to = app },
    { rx.http, host = "wrong.test", when = function(conn) error(conn.path) end, to = app },
    { rx.http, path = "/spin", when = function(conn) for i = 1, 2000 do local t = { i } end return false end, to = app },
    { rx.tls, sni = "a.test", to = app },
    { rx.http, to = rx.respond },
    { rx.any, transport = "udp", to = rx.echo },
  } }
rx.listen "127.0.0.1:%(proxied)d" { proxy_protocol = { from = "127.1.0.0/16" }, peek_timeout = "1s",
  routes = { { rx.ssh, to = app } } }
"""


# -- the attackers: each runs in a process of its own until its time is over

class Attacker:
    def __init__(self, port, seconds, number):
        self.port, self.end, self.dice = port, time.monotonic() + seconds, random.Random(number)
        self.number, self.socks = number, []

    def is_on(self):
        return time.monotonic() < self.end

    def address(self):
        return "127.1.%d.%d" % (self.number, self.dice.randrange(1, 250))

    def open(self, port=None):
        """A connection on its way, or None."""
        s = socket.socket()
        s.setblocking(False)
        try:
            s.bind((self.address(), 0))
            s.connect_ex(("127.0.0.1", port or self.port))
        except OSError:
            s.close()
            return None
        return s

    def opened(self, port=None):
        """A connection that is there, or None."""
        s = self.open(port)
        if s:
            poll = select.poll()
            poll.register(s, select.POLLOUT)
            if poll.poll(1000):
                return s
        if s:
            s.close()
        return None

    def hold(self, count, port=None):
        """Holds so many, replacing none."""
        for _ in range(count):
            if not self.is_on():
                break
            s = self.opened(port)
            if s:
                self.socks.append(s)

    def say(self, s, data):
        with contextlib.suppress(OSError):
            return s.send(data)
        return 0

    def drip(self, count, text):
        """One byte a second on each of so many; who is turned away comes again."""
        at = {}
        while self.is_on():
            begun = time.monotonic()
            for s in list(at):
                data = text[at[s] % len(text):][:1]
                at[s] += 1
                if not self.say(s, data):
                    del at[s]
                    s.close()
            while len(at) < count and time.monotonic() - begun < 0.8:
                s = self.opened()
                if s:
                    at[s] = 0
            time.sleep(max(0, 1 - (time.monotonic() - begun)))

    def each(self, what, port=None):
        """Connections one after the other, a few beside each other; below what takes the whole machine, which any
        program on it would feel."""
        begun, n = time.monotonic(), 0
        while self.is_on():
            n += 1
            time.sleep(max(0, begun + n / PACE - time.monotonic()))
            s = self.opened(port)
            if s:
                with contextlib.suppress(OSError):
                    what(s)
                self.socks.append(s)
            while len(self.socks) > 50:
                self.socks.pop(0).close()


def slowloris(a):
    a.drip(400, b"GET / HTTP/1.1\r\nX-Header: of many\r\n" + b"X-A: b\r\n" * 1000)


def byte_by_byte(a):
    a.drip(400, wire.SSH)


def silent(a):
    while a.is_on():
        a.hold(500)
        time.sleep(0.2)
        for s in a.socks:
            s.close()
        a.socks.clear()


def half_closed(a):
    a.each(lambda s: s.shutdown(socket.SHUT_WR))


def resets(a):
    a.each(lambda s: (a.say(s, a.dice.choice([b"", b"S", wire.SSH])), peers.reset(s)))


def half_open(a):
    """Connections given up before they are there: the listener finds them gone, or in its queue with nobody behind."""
    while a.is_on():
        batch = [a.open() for _ in range(100)]
        for s in batch:
            if s:
                peers.reset(s)


def garbage(a):
    a.each(lambda s: a.say(s, a.dice.randbytes(a.dice.choice([1, 10, 300, 20000]))))


def giant_hellos(a):
    hello = wire.hello("a.test", padding=15000)

    def one(s):
        at = 0
        while at < len(hello):
            size = a.dice.choice([1, 50, 1400, 9000])
            a.say(s, hello[at:at + size])
            at += size

    a.each(one)


def proxy_lies(a):
    lies = [b"PROXY TCP4 1.2.3.4 5.6.7.8 99999 1\r\n", b"PROXY " + b"9" * 200, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + b"a" * 9000,
            b"PROXY TCP6 ::1 ::1 1 1\r\nSSH", b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00", b"PROXY UNKNOWN\r\n", b"P"]
    proxied = a.port + 1
    a.each(lambda s: a.say(s, a.dice.choice(lies)), proxied)


def udp_flood(a):
    """Random datagrams from ever new ports and addresses."""
    while a.is_on():
        socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(100)]
        for s in socks:
            with contextlib.suppress(OSError):
                s.setblocking(False)
                s.bind((a.address(), 0))
                for _ in range(5):
                    s.sendto(a.dice.randbytes(a.dice.choice([0, 1, 20, 1200])), ("127.0.0.1", a.port))
        for s in socks:
            s.close()


def udp_collisions(a):
    """The same few ports of many addresses: tuples that differ in a byte or two, as if to meet in one place of a table."""
    while a.is_on():
        for low in range(1, 250):
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.1.%d.%d" % (a.number, low), 40000 + low % 4 * 256))
                for _ in range(4):
                    s.sendto(b"\xff" * 30, ("127.0.0.1", a.port))
            s.close()


def script_errors(a):
    a.each(lambda s: a.say(s, wire.get("wrong.test", "/" + "\x1b[31m" * 20)))


def script_garbage(a):
    a.each(lambda s: a.say(s, wire.get("b.test", "/spin")))


def crowd(a):
    """As many as there may be, said to be welded, then idle."""
    def one(s):
        a.say(s, wire.SSH)

    while a.is_on():
        s = a.opened()
        if not s:
            time.sleep(0.05)
            continue
        with contextlib.suppress(OSError):
            one(s)
        a.socks.append(s)
        if len(a.socks) > 12000:
            time.sleep(0.1)


ATTACKS = {f.__name__: f for f in (slowloris, byte_by_byte, silent, half_closed, resets, half_open, garbage, giant_hellos,
                                   proxy_lies, udp_flood, udp_collisions, script_errors, script_garbage, crowd)}


# -- the program and the good client

def two_ports():
    return harness.free_port_range(2)


class Arena:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="rx-hostile-")
        self.echo = peers.EchoProcess()
        self.port = two_ports()
        numbers = {"tcp": self.echo.port, "port": self.port, "proxied": self.port + 1, "crowd": CROWD, "flows": FLOWS,
                   "per_ip": PER_IP}
        harness.raise_nofile(200000)
        self.p = harness.Refractium(os.path.join(self.folder, "rx"), config=CONFIG % numbers)
        harness.wait_for(self.status, what="its admin socket")
        for _ in range(200):
            self.visit()
        self.fds = self.p.fds()

    def stop(self):
        try:
            self.p.stop()
            self.p.check()
        finally:
            self.echo.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    def status(self):
        with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(os.path.join(self.p.directory, "refractium", "%d.sock" % self.port))
            s.sendall(b'{"cmd":"status"}\n')
            with s.makefile("rb") as lines:
                return json.loads(lines.readline() or b"null")["result"]
        return None

    def visit(self, port=None):
        """Seconds that a good client takes, whole."""
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", port or self.port), 10) as s:
            s.sendall(wire.SSH)
            peers.read_exactly(s, len(wire.SSH))
        return time.monotonic() - begun

    def visits(self, seconds):
        """(p50, p99, p99 without the program) in ms, peak RSS, how many were not served."""
        took, direct, peak, missed, end = [], [], 0, 0, time.monotonic() + seconds
        while time.monotonic() < end or not took:
            direct.append(self.visit(self.echo.port))
            try:
                took.append(self.visit())
            except (OSError, AssertionError):
                missed += 1
            peak = max(peak, self.p.rss_bytes())
            time.sleep(0.005)
        took.sort()
        direct.sort()
        return (1000 * took[len(took) // 2], 1000 * took[int(len(took) * 0.99)], 1000 * direct[int(len(direct) * 0.99)],
                peak, missed)

    def settle(self):
        """After an attack: nothing is left. Returns the CPU seconds of one idle second."""
        def nobody():
            s = self.status()
            return s if s and s["totals"]["active"] == 0 else None

        s = harness.wait_for(nobody, 20, "all connections to end")
        totals = s["totals"]
        assert totals["accepted"] == sum(totals["closed"].values()), totals
        harness.wait_for(lambda: self.p.fds() <= self.fds + 40, 10, "descriptors to come back")
        before = self.p.cpu_exact()
        time.sleep(1)
        return self.p.cpu_exact() - before


def assault(arena, attackers, seconds, idle_p99=None):
    """Attacks beside each other; returns a row of figures and a list of what did not hold."""
    before, name = arena.status()["totals"]["accepted"], ", ".join(sorted(set(attackers)))
    line = [sys.executable, os.path.abspath(__file__), "--port", str(arena.port), "--seconds", str(seconds)]
    running = [subprocess.Popen(line + ["--attack", attack, "--number", str(n)], preexec_fn=lambda: os.nice(19))
               for n, attack in enumerate(attackers)]
    try:
        p50, p99, direct, peak, missed = arena.visits(seconds)
    finally:
        for process in running:
            process.wait(60)
    came = arena.status()["totals"]["accepted"] - before
    wrong = []
    if missed:
        wrong.append("%d good clients were not served" % missed)
    if idle_p99 is not None and p99 > max(2 * idle_p99, 2 * direct, FLOOR_MS):
        wrong.append("p99 of good clients is %.1f ms, of a quiet program %.1f ms" % (p99, idle_p99))
    if peak > MEMORY and not harness.SANITIZER:
        wrong.append("%d MB of memory" % (peak >> 20))
    if came < 10 * seconds:
        wrong.append("no attack: only %d came" % came)
    try:
        cpu = arena.settle()
        if cpu > 0.05:
            wrong.append("idle afterwards, it takes %.0f %% of a processor" % (100 * cpu))
    except AssertionError as e:
        cpu = -1
        wrong.append(str(e))
    row = "%-15s %7d came  p50 %6.2f  p99 %7.2f (direct %7.2f) ms  %4d MB  idle %4.1f %%" % (
        name, came, p50, p99, direct, peak >> 20, 100 * cpu)
    return row, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("attacks", nargs="*", metavar="ATTACK")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--attack")
    parser.add_argument("--port", type=int)
    parser.add_argument("--number", type=int, default=1)
    args = parser.parse_args()
    if args.attack:
        harness.raise_nofile(200000)
        ATTACKS[args.attack](Attacker(args.port, args.seconds, args.number))
        return
    arena, failed = Arena(), []
    try:
        p50, idle, direct, peak, missed = arena.visits(3)
        print("%-15s %7s       p50 %6.2f  p99 %7.2f (direct %7.2f) ms  %4d MB" % (
            "quiet", "", p50, idle, direct, peak >> 20), flush=True)
        assert not missed
        for name in args.attacks or ATTACKS:
            row, wrong = assault(arena, [name] * (2 if name != "crowd" else 4), args.seconds, idle)
            print(row + "".join("\n    WRONG: " + w for w in wrong), flush=True)
            failed += wrong
    finally:
        arena.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
