#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Everything at once: edits every 50 ms, the admin socket, bans, drains, hooks, backends killed, while bytes are compared.

    RX_BIN=build/tsan/refractium /usr/bin/python3 tests/stress/races.py [--seconds 600]

No transfer may lose, add or change a byte because of an edit; a connection may end early only when the backend that
served it was killed. The program must end with exit code 0 and have nothing to say to its sanitizer.
"""
import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
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

CONFIG = """local rx = require "refractium"
rx.server { workers = 3, access_log = "access.log", log_format = "json", metrics = "127.0.0.1:0", hot_reload = %(hot)s }
local notes = rx.file("notes", { max = "1m" })
local hits = rx.counter "hits_total" { labels = { "who" } }
local table = rx.shared "table" { max_entries = 64 }
local seen = rx.sessions "seen" { by = function(conn) return conn.software end, max_ips = 9 }
local steady = rx.pool "steady" { "127.0.0.1:%(echo)d", health = { every = "100ms" } }
local shaky = rx.pool "shaky" { "127.0.0.1:%(shaky)d", "127.0.0.1:%(echo)d", balance = "%(balance)s", eject_time = "100ms" }
rx.listen "127.0.0.1:%(port)d" { udp_idle_timeout = "1s", max_connections_per_ip = 200,
  routes = {
    { rx.ssh, software = "steady", to = steady, sessions = seen, name = "r%(edit)d" },
    { rx.ssh, software = "hooked", to = steady, on_open = function(conn) notes:write("+") end,
      on_data = function(conn, d, buf) end, on_close = function(conn, why) notes:write(why) end },
    { rx.ssh, software = "filtered", to = steady, filter = function(conn, d, buf) end },
    { rx.ssh, software = "mirrored", to = steady, mirror = "127.0.0.1:%(echo)d", rate = "%(rate)dm/s" },
    { rx.ssh, to = shaky, when = function(conn) hits:inc(conn.software) table:incr(conn.software, 1, 1) return true end },
    { rx.http, to = rx.respond },
    { rx.any, transport = "udp", to = "127.0.0.1:%(udp)d" },
  } }
%(more)s
rx.every("100ms", function() hits:inc("tick") end)
"""
MORE = 'rx.listen "127.0.0.1:%(other)d" { routes = { { rx.any, to = rx.echo } } }'


class Stage:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="rx-races-")
        self.echo, self.shaky_process = peers.EchoProcess(), None
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        threading.Thread(target=self.echo_datagrams, daemon=True).start()
        self.numbers = {"echo": self.echo.port, "shaky": harness.free_port(), "port": harness.free_port(), "hot": "true",
                        "other": harness.free_port(), "udp": self.udp.getsockname()[1], "edit": 0, "more": "",
                        "balance": "round_robin", "rate": 100}
        self.flap()
        self.p = harness.Refractium(os.path.join(self.folder, "rx"), config=CONFIG % self.numbers, binds=2)
        self.wrong, self.good, self.cut = [], 0, 0
        harness.wait_for(lambda: self.admin("status"), what="its admin socket")

    def echo_datagrams(self):
        with contextlib.suppress(OSError):
            while True:
                data, who = self.udp.recvfrom(65536)
                if not who:
                    return
                self.udp.sendto(data, who)

    def flap(self):
        """The shaky backend is killed, or comes again."""
        if self.shaky_process:
            self.shaky_process.kill()
            self.shaky_process.wait()
            self.shaky_process.stdout.close()
            self.shaky_process = None
        else:
            code = peers._ECHO.replace('("127.0.0.1", 0)', '("127.0.0.1", %d)' % self.numbers["shaky"]).replace(
                "s = socket.socket();", "s = socket.socket(); s.setsockopt(1, 2, 1);", 1)
            self.shaky_process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                                                  stdin=subprocess.DEVNULL)

    def stop(self):
        try:
            self.p.stop()
            self.p.check()
        finally:
            if self.shaky_process:
                self.flap()
            self.echo.stop()
            with contextlib.suppress(OSError):
                self.udp.shutdown(socket.SHUT_RDWR)
            self.udp.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def admin(self, cmd, **more):
        with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(os.path.join(self.p.directory, "refractium", "%d.sock" % self.numbers["port"]))
            s.sendall(json.dumps(dict(more, cmd=cmd)).encode() + b"\n")
            with s.makefile("rb") as lines:
                return json.loads(lines.readline() or b"null")
        return None

    # -- what goes on at once; each is called again and again

    def transfer(self, dice):
        who = dice.choice(["steady", "hooked", "filtered", "mirrored", "shaky"])
        size = dice.choice([0, 10, 5000, 200000, 2 << 20])
        first = b"SSH-2.0-%s\r\n" % who.encode()
        try:
            with socket.create_connection(("127.0.0.1", self.numbers["port"]), 30) as s:
                task = peers.in_thread(peers.receive_hash, s)
                digest = peers.hashlib.sha256(first)
                s.sendall(first)
                for block in peers.Stream(size, dice.randrange(100)).blocks():
                    s.sendall(block)
                    digest.update(block)
                s.shutdown(socket.SHUT_WR)
                total, came = task.get(60)
            if (total, came) == (size + len(first), digest.hexdigest()):
                self.good += 1
                return
            why = "%d of %d bytes" % (total, size + len(first))
        except (OSError, AssertionError) as e:
            why = repr(e)
        if who == "shaky":
            self.cut += 1
        else:
            self.wrong.append("%s: %s" % (who, why))

    def datagrams(self, dice):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.5)
            s.connect(("127.0.0.1", self.numbers["port"]))
            for _ in range(5):
                data = dice.randbytes(dice.choice([1, 100, 1400]))
                s.send(data)
                if s.recv(2000) != data:
                    self.wrong.append("a datagram came back changed")

    def look(self, dice):
        self.admin(dice.choice(["status", "top"]))

    def ban(self, dice):
        ip = "192.0.2.%d" % dice.randrange(256)
        self.admin("ban", ip=ip, ttl_ms=dice.choice([1, 50, 1000]))
        self.admin("unban", ip=ip)

    def drain(self, dice):
        name = "127.0.0.1:%d" % self.numbers["shaky"]
        self.admin("drain", backend=name)
        time.sleep(0.02)
        self.admin("undrain", backend=name)

    def abrupt(self, dice):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.numbers["port"]), 5) as s:
            s.sendall(dice.choice([b"S", b"SSH-2.0-hooked\r\n" + bytes(50000), wire.get(), b"\xff"]))
            peers.reset(s)

    def edit(self, dice):
        n = self.numbers
        n["edit"] += 1
        n["balance"] = dice.choice(["round_robin", "least_conn", "maglev", "p2c"])
        n["rate"] = dice.choice([50, 100, 500])
        n["more"] = MORE % n if dice.random() < 0.3 else ""
        text = CONFIG % n
        if dice.random() < 0.1:
            text = text[:dice.randrange(len(text))]
        self.p.write_config(text)
        self.p.signal(signal.SIGHUP)
        time.sleep(0.05)

    def loop(self, what, end, seed, pause):
        dice = random.Random(seed)
        while time.monotonic() < end and self.p.process.poll() is None:
            what(dice)
            time.sleep(pause)


def run(seconds, say=print):
    x = Stage()
    end = time.monotonic() + seconds
    jobs = [(x.transfer, 0)] * 4 + [(x.datagrams, 0.01), (x.look, 0.02), (x.ban, 0.01), (x.drain, 0.1), (x.abrupt, 0.01),
                                   (x.edit, 0), (lambda dice: x.flap(), 0.5)]
    threads = [threading.Thread(target=x.loop, args=(what, end, n, pause), daemon=True)
               for n, (what, pause) in enumerate(jobs)]
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join(seconds + 120)
        if x.p.process.poll() is not None:
            x.wrong.append("it ended with %s\n%s" % (x.p.process.returncode, x.p.err.text()[-6000:]))
        reloads = len([line for line in x.p.err.lines if "reload (" in line])
    finally:
        x.stop()
    say("%d transfers exact, %d cut by the backend that was killed, %d reloads, %d wrong" % (
        x.good, x.cut, reloads, len(x.wrong)))
    return x.good, reloads, x.wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    args = parser.parse_args()
    wrong = run(args.seconds)[2]
    print("\n".join("WRONG: " + w for w in wrong[:20]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
