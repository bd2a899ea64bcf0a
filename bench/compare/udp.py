#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures UDP beside nginx' stream module: datagrams a second, CPU for each, round trips, memory of idle flows.

    make bench-udp
    bench/compare/udp.py --rounds 7 --seconds 2

Both proxies run at once in a network namespace, one worker each, in front of one backend; one is loaded at a time, in
turn, and each round begins with the other. Figures are medians of rounds; ratios are taken within a round. A round trip
is two datagrams through the proxy.
"""
import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import peers
import stage

ROOT = Path(__file__).resolve().parent.parent.parent
LOADS = {  # name: arguments of loadgen
    "16 flows, 64 B": ["--flows", "16", "--bytes", "64", "--depth", "32"],
    "4 flows, 1200 B": ["--flows", "4", "--bytes", "1200", "--depth", "32"],
}
TARGETS = {"rate": 1.25, "cpu": 0.6, "rtt": 1.10, "flow": 512}

REFRACTIUM = """local rx = require "refractium"
rx.server {{ workers = 1, access_log = false, admin = false, max_sessions = 60000, hot_reload = false }}
rx.listen "127.0.0.1:{port}" {{ udp_idle_timeout = "10m", routes = {{ {{ rx.any, to = "127.0.0.1:{backend}" }} }} }}
"""
NGINX = """{load}
user root; daemon off; worker_processes 1; worker_rlimit_nofile 100000; pid {home}/nginx.pid; error_log {home}/nginx.log crit;
events {{ worker_connections 60000; multi_accept on; }}
stream {{ access_log off; proxy_timeout 10m;
  server {{ listen 127.0.0.1:{port} udp reuseport rcvbuf=1m sndbuf=1m; proxy_pass 127.0.0.1:{backend}; }} }}
"""


class Place(stage.Stage):
    """A stage whose servers listen for datagrams."""

    def start_udp(self, command, home, port):
        process = self.start(command, home, [])
        end = time.monotonic() + 5
        while time.monotonic() < end and process.poll() is None:
            lines = Path(f"/proc/{process.pid}/net/udp").read_text().splitlines()[1:]
            if any(int(line.split()[1].split(":")[1], 16) == port for line in lines):
                time.sleep(0.2)
                return process
            time.sleep(0.02)
        raise stage.StageError(f"{command[0]} does not take datagrams at {port}: {(Path(home) / 'log').read_text()[-500:]}")


def nginx_of():
    return peers.Nginx(None)


class Proxy:
    def __init__(self, name, place, home, port, backend, binary):
        self.name, self.place, self.port = name, place, port
        self.home = Path(home)
        self.home.mkdir(exist_ok=True)
        if name == "refractium":
            (self.home / "c.lua").write_text(REFRACTIUM.format(port=port, backend=backend))
            self.command = [binary, "-c", str(self.home / "c.lua"), "--no-hot-reload"]
        else:
            nginx = nginx_of()
            load = f"load_module {nginx.module};" if nginx.module else ""
            (self.home / "c.conf").write_text(NGINX.format(load=load, home=home, port=port, backend=backend))
            self.command = [nginx.program, "-c", str(self.home / "c.conf"), "-e", f"{home}/nginx.log"]
        self.process = None

    def start(self):
        self.process = self.place.start_udp(self.command, self.home, self.port)

    def stop(self):
        self.place.stop(self.process)

    def load(self, loadgen, *arguments):
        pids = ",".join(map(str, stage.tree_of(self.process.pid)))
        done = self.place.run([loadgen, "udp", "-a", f"127.0.0.1:{self.port}", "-p", pids, "-L", self.name, *arguments], 120)
        if not done.stdout:
            sys.exit(f"{self.name}: {done.stderr}")
        result = json.loads(done.stdout)
        if result["errors"]:
            print(f"{self.name}: {result['errors']:.0f} errors", file=sys.stderr)
        return result


def ratios(ours, theirs, key):
    return statistics.median(a[key] / b[key] for a, b in zip(ours, theirs))


def throughput(args, proxies):
    print("| load | proxy | round trips/s | CPU per round trip, µs | RTT p50, µs | lost |\n|---|---|---|---|---|---|")
    verdicts = []
    for name, arguments in LOADS.items():
        rounds = {p.name: [] for p in proxies}
        for n in range(args.rounds):
            for p in proxies if n % 2 else reversed(proxies):
                rounds[p.name].append(p.load(args.loadgen, *arguments, "-s", str(args.seconds)))
        for p in proxies:
            rows = rounds[p.name]
            print("| %s | %s | %.0f | %.2f | %.0f | %.0f |" % (
                name, p.name, statistics.median(r["rate_per_s"] for r in rows),
                statistics.median(r["cpu_s_per_unit"] for r in rows) * 1e6,
                statistics.median(r["rtt_p50_us"] for r in rows), sum(r["lost"] for r in rows)))
        ours, theirs = rounds["refractium"], rounds["nginx"]
        verdicts.append((f"{name}: datagrams a second, times nginx'", ratios(ours, theirs, "rate_per_s"), TARGETS["rate"], True))
        verdicts.append((f"{name}: CPU for each, times nginx'", ratios(ours, theirs, "cpu_s_per_unit"), TARGETS["cpu"], False))
    return verdicts


def idle(args, proxies):
    """One flow, one datagram at a time: beside no other flow, then beside many that rest. Fresh processes each."""
    print("\n| proxy | RTT p50 alone, µs | beside %d idle flows | user memory of one, bytes |\n|---|---|---|---|" % args.idle)
    few, many, sizes = {}, {}, {}
    one = ["--flows", "1", "--depth", "1", "--bytes", "64", "-s", str(args.seconds)]
    for n in range(args.rounds):
        for p in proxies if n % 2 else reversed(proxies):
            p.stop()
            p.start()
            few.setdefault(p.name, []).append(p.load(args.loadgen, *one)["rtt_p50_us"])
            result = p.load(args.loadgen, *one, "--idle", str(args.idle))
            many.setdefault(p.name, []).append(result["rtt_p50_us"])
            sizes.setdefault(p.name, []).append(result["bytes_per_idle_flow"])
    for p in proxies:
        print("| %s | %.1f | %.1f | %.0f |" % (p.name, statistics.median(few[p.name]), statistics.median(many[p.name]),
                                               statistics.median(sizes[p.name])))
    ratio = statistics.median(b / a for a, b in zip(few["refractium"], many["refractium"]))
    return [("RTT beside idle flows, times alone", ratio, TARGETS["rtt"], False),
            ("user memory of an idle flow, bytes", statistics.median(sizes["refractium"]), TARGETS["flow"], False)]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--refractium", default=str(ROOT / "build/refractium"))
    p.add_argument("--loadgen", default=str(ROOT / "build/release/bench/loadgen"))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=1)
    p.add_argument("--idle", type=int, default=10000, help="flows that rest")
    p.add_argument("--only", choices=["throughput", "idle"])
    args = p.parse_args()
    if not nginx_of().program:
        sys.exit("nginx is not installed: there is nothing to compare with")
    with tempfile.TemporaryDirectory() as home, Place(os.geteuid() == 0) as place:
        backend = place.first_port
        os.mkdir(f"{home}/backend")
        place.start_udp([args.loadgen, "udpserver", "-l", f"127.0.0.1:{backend}"], f"{home}/backend", backend)
        proxies = [Proxy(name, place, f"{home}/{name}", backend + 1 + i, backend, args.refractium)
                   for i, name in enumerate(("refractium", "nginx"))]
        for proxy in proxies:
            proxy.start()
        verdicts = []
        if args.only != "idle":
            verdicts += throughput(args, proxies)
        if args.only != "throughput":
            verdicts += idle(args, proxies)
    print("\n| target | measured | wanted | |\n|---|---|---|---|")
    for what, value, wanted, is_least in verdicts:
        is_met = value >= wanted if is_least else value <= wanted
        print("| %s | %.2f | %s %g | %s |" % (what, value, "≥" if is_least else "≤", wanted, "reached" if is_met else "missed"))


if __name__ == "__main__":
    main()
