#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What an edit costs: those who connect while configs are replaced, those who are connected, and loading itself.

    make bench-reload
    bench/compare/reload.py --seconds 5 --rounds 5 --rate 5000 --flows 500 --every 0.3

Rounds alternate between no reload and one every --every seconds, so that both see the same machine. Each live flow
sends a random message now and then and compares what comes back. Then configs of many routes, tests and functions are
loaded: what the program says a reload took, which begins with the edit and ends when the workers have been told.
"""
import argparse
import json
import os
import random
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOADGEN = os.path.join(ROOT, "build/release/bench/loadgen")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Echo(threading.Thread):
    """The live flows' backend."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        poll = select.epoll()
        poll.register(self.listener, select.EPOLLIN)
        open_ones = {}
        while True:
            for fd, _ in poll.poll():
                if fd == self.listener.fileno():
                    s, _ = self.listener.accept()
                    open_ones[s.fileno()] = s
                    poll.register(s, select.EPOLLIN)
                    continue
                data = open_ones[fd].recv(1 << 16)
                if data:
                    open_ones[fd].sendall(data)
                else:
                    open_ones.pop(fd).close()


class Flows(threading.Thread):
    """Live connections: one message each per second, compared byte by byte."""

    def __init__(self, port, n):
        super().__init__(daemon=True)
        self.over, self.n_messages, self.wrong = threading.Event(), 0, []
        self.sockets = []
        for i in range(n):
            s = socket.create_connection(("127.0.0.1", port), 10)
            s.sendall(b"LIVE%08d" % i)
            assert s.recv(100) == b"LIVE%08d" % i
            self.sockets.append(s)
        self.start()

    def run(self):
        dice, i = random.Random(1), 0
        while not self.over.wait(1 / len(self.sockets)):
            s = self.sockets[i % len(self.sockets)]
            i += 1
            message, got = dice.randbytes(dice.randrange(1, 4000)), b""
            try:
                s.sendall(message)
                while len(got) < len(message):
                    part = s.recv(1 << 16)
                    if not part:
                        break
                    got += part
            except OSError as e:
                got = repr(e).encode()
            if got != message:
                self.wrong.append(got[:80])
            self.n_messages += 1

    def stop(self):
        self.over.set()
        self.join()
        for s in self.sockets:
            s.close()


def config(port, backend, live, workers, routes, tests=0, functions=0, mark=""):
    """Functions: for so many of the routes a `when`."""
    lines = ['local rx = require "refractium" -- %s' % mark,
             'rx.server { workers = %d, access_log = false, max_connections = 20000, admin = false }' % workers,
             'local live = rx.protocol "live" { prefix = "LIVE" }',
             'rx.listen "127.0.0.1:%d" { routes = {' % port, '  { live, to = "127.0.0.1:%d" },' % live]
    for i in range(routes):
        when = " when = function(conn) return conn.sni ~= nil end," if i < functions else ""
        lines.append('  { rx.tls, sni = "n%d.example.test",%s to = "10.0.%d.%d:443" },' % (i, when, i // 250, i % 250 + 1))
    lines += ['  { rx.http, to = "127.0.0.1:%d" },' % backend, "} }"]
    for i in range(tests):
        lines.append('rx.test "t%d" { send = "GET /%d HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n", expect = { to = "127.0.0.1:%d" } }'
                     % (i, i, backend))
    return "\n".join(lines) + "\n"


class Server:
    def __init__(self, binary, text, port):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "refractium.lua")
        self.write(text)
        self.log = open(os.path.join(self.folder.name, "log"), "w+", encoding="utf-8")
        start = time.monotonic()
        self.process = subprocess.Popen([binary, "-c", self.path, "--no-hot-reload"], stderr=self.log)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > start + 60:
                    sys.exit("it does not start:\n" + self.text())
                time.sleep(0.002)
        self.start_ms = (time.monotonic() - start) * 1000

    def write(self, text):
        with open(self.path, "w", encoding="utf-8") as f:
            f.write(text)

    def text(self):
        with open(self.log.name, encoding="utf-8") as f:
            return f.read()

    def times(self):
        """Milliseconds of each reload."""
        return [float(x) for x in re.findall(r"reload \(.*? in ([\d.]+) ms", self.text())]

    def reload(self):
        n = len(self.times())
        self.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 60
        while len(self.times()) == n:
            if time.monotonic() > end or "refused" in self.text():
                sys.exit("no reload:\n" + self.text()[-3000:])
            time.sleep(0.002)
        return self.times()[-1]

    def cpu_ms(self):
        with open("/proc/%d/stat" % self.process.pid, encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()


def load(args, port):
    out = subprocess.run([LOADGEN, "connrate", "-a", "127.0.0.1:%d" % port, "-c", "512", "-r", str(args.rate), "-s",
                          str(args.seconds)], capture_output=True, text=True, check=True).stdout
    return json.loads(out)


def under_load(args):
    port, echo = free_port(), Echo()
    backend_port = free_port()
    backend = subprocess.Popen([LOADGEN, "server", "-l", "127.0.0.1:%d" % backend_port, "-s", "3000"],
                               stdout=subprocess.DEVNULL)
    s = Server(args.refractium, config(port, backend_port, echo.port, args.workers, args.routes, 10, args.functions), port)
    flows = Flows(port, args.flows)
    rounds = {False: [], True: []}
    try:
        load(args, port)  # nobody is warm yet
        for _ in range(args.rounds):
            for is_reloading in (False, True):
                over = threading.Event()

                def edit():
                    turn = 0
                    while not over.wait(args.every):
                        turn += 1
                        s.write(config(port, backend_port, echo.port, args.workers, args.routes, 10, args.functions,
                                       str(turn)))
                        s.reload()

                task = threading.Thread(target=edit)
                if is_reloading:
                    task.start()
                rounds[is_reloading].append(load(args, port))
                over.set()
                if is_reloading:
                    task.join()
    finally:
        flows.stop()
        backend.terminate()
        backend.wait()
        n_reloads, took = len(s.times()), s.times()
        s.stop()
    return rounds, n_reloads, took, flows


def show(args, rounds, n_reloads, took, flows):
    def of(name, is_reloading):
        return statistics.median(r[name] for r in rounds[is_reloading])

    errors = sum(r["errors"] for some in rounds.values() for r in some)
    print("| %d conn/s, %d live flows | no reload | a reload every %g s |\n|---|---|---|"
          % (args.rate, args.flows, args.every + statistics.median(took) / 1000))
    keys = [k for k in rounds[True][0] if k.endswith("_us") or k.endswith("per_s")]
    for name in keys:
        print("| %s | %.0f | %.0f |" % (name, of(name, False), of(name, True)))
    print("\n%d reloads of %d routes, %d with a function; median %.1f ms, longest %.1f ms. %d connections failed. "
          "%d messages on live flows, %d of them wrong."
          % (n_reloads, args.routes, args.functions, statistics.median(took), max(took), errors, flows.n_messages,
             len(flows.wrong)))
    return errors + len(flows.wrong)


def loading(args):
    print("\n| config | workers | start, ms | reload, ms: least | median of %d | longest | CPU, ms |\n"
          "|---|---|---|---|---|---|---|" % args.loads)
    for what, workers, routes, tests, functions in (
            ("3000 routes", 2, 3000, 0, 0), ("3000 routes, 100 with `when`", 2, 3000, 0, 100),
            ("3000 routes, 100 with `when`", 16, 3000, 0, 100), ("10 routes", 2, 10, 0, 0),
            ("10 routes, 1000 tests", 2, 10, 1000, 0), ("100 routes with `when`", 2, 100, 0, 100),
            ("100 routes with `when`", 16, 100, 0, 100)):
        port = free_port()
        s = Server(args.refractium, config(port, 9, 9, workers, routes, tests, functions), port)
        before = s.cpu_ms()
        took = [s.reload() for _ in range(args.loads)]
        print("| %s | %d | %.0f | %.1f | %.1f | %.1f | %.0f |" % (
            what, workers, s.start_ms, min(took), statistics.median(took), max(took), (s.cpu_ms() - before) / args.loads))
        s.stop()


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--refractium", default=os.path.join(ROOT, "build/refractium"))
    p.add_argument("--seconds", type=float, default=5)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--rate", type=int, default=5000)
    p.add_argument("--flows", type=int, default=500)
    p.add_argument("--every", type=float, default=0.3, help="pause between reloads, seconds")
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--routes", type=int, default=300)
    p.add_argument("--functions", type=int, default=10)
    p.add_argument("--loads", type=int, default=9)
    p.add_argument("--only", choices=["load", "loading"])
    args = p.parse_args()
    bad = 0
    if args.only != "loading":
        bad = show(args, *under_load(args))
    if args.only != "load":
        loading(args)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
