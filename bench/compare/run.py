#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures refractium beside HAProxy, nginx and sslh, on this machine, over loopback.

All proxies run at once, each on its own ports in front of one backend; one is loaded at a time. A round goes through
every workload and every proxy, and each round starts with another proxy, so that what else the machine does falls on
all of them. Reported are medians over the rounds, and ratios taken within a round.

Read next: peers.py (who is compared and how configured), stage.py (network namespace), report.py (tables, targets),
plot.py, loadgen.c (what is sent).
"""

import argparse
import datetime
import json
import os
import platform
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hello
import peers
import plot
import report
import stage

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PORTS_EACH = 4  # from one instance to the next
RUN_SPARE_S = 40  # more than the load generator grants itself


class Workload:
    def __init__(self, name, *arguments, is_tls=False, is_fresh=False, is_once=False):
        self.name = name
        self.arguments = list(arguments)
        self.is_tls = is_tls
        self.is_fresh = is_fresh  # measured on an instance that has done nothing yet
        self.is_once = is_once  # the same every time: first round only


WORKLOADS = [
    Workload("verify", "verify", "--flows", "4", is_once=True),
    Workload("verify-server-first", "verify", "--flows", "4", "--server-first", is_once=True),
    Workload("churn-http", "connrate", "--flows", "32"),
    Workload("churn-tls", "connrate", "--flows", "32", is_tls=True),
    Workload("pingpong", "pingpong", "--flows", "32"),
    Workload("bulk-down", "bulk", "--flows", "4", "--direction", "down", "--discard"),
    Workload("bulk-up", "bulk", "--flows", "4", "--direction", "up", "--discard"),
    Workload("bulk-both", "bulk", "--flows", "4", "--direction", "both", "--discard"),
    Workload("mixed", "mixed", "--flows", "4", "--small", "8", "--direction", "down", "--discard"),
    Workload("idle", "idle", is_fresh=True),
]


def list_of(text):
    return [item for item in text.replace(" ", "").split(",") if item]


def find_loadgen():
    """Where it is when built by hand, or by make."""
    paths = [ROOT / "build" / "bench" / "loadgen", ROOT / "build" / "release" / "bench" / "loadgen"]
    return str(next((path for path in paths if path.exists()), paths[0]))


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     epilog="workloads: " + " ".join(w.name for w in WORKLOADS) + "; proxies: "
                                     + " ".join(p.name for p in peers.ALL))
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="how often everything is measured (default 3)")
    add("--seconds", type=float, default=2.0, help="recorded window of each measurement (default 2)")
    add("--warmup", type=float, default=0.3, help="unrecorded time before it (default 0.3)")
    add("--retries", type=int, default=0, metavar="N",
        help="measure again, up to N times, while other processes take more than "
        f"{report.DISTURBED_SHARE:.0%}% of the machine; the least disturbed one counts")
    add("--only", type=list_of, metavar="WORKLOAD[,…]", help="these workloads; the beginning of a name is enough")
    add("--proxies", type=list_of, default=peers.DEFAULT, metavar="NAME[,…]", help="these proxies, in this order")
    add("--idle", type=int, default=4000, help="idle connections to hold (default 4000)")
    add("--check", action="store_true", help="print the targets, reached or missed; exit 1 when one is missed")
    add("--out", type=Path, default=HERE / "results.json", help="results (default bench/compare/results.json)")
    add("--svg", type=Path, help="plot (default: the same name with .svg)")
    add("--readme", action="store_true", help="put the tables into bench/README.md")
    add("--load", type=Path, metavar="FILE", help="measure nothing: report from results saved before")
    add("--no-netns", action="store_true", help="measure on the host's loopback, with the host's settings")
    add("--refractium", default=str(ROOT / "build" / "refractium"), help="the program under test")
    add("--loadgen", default=find_loadgen(), help="the load generator (make bench-compare builds and names it)")
    args = parser.parse_args(argv)
    known = {peer.name for peer in peers.ALL}
    for name in args.proxies:
        if name not in known:
            parser.error(f"no proxy named {name!r}; there are {', '.join(sorted(known))}")
    args.workloads = WORKLOADS
    if args.only:
        args.workloads = [w for w in WORKLOADS if any(w.name.startswith(start) for start in args.only)]
        if not args.workloads:
            parser.error(f"no workload begins with {' or '.join(args.only)}")
    args.svg = args.svg or (args.load or args.out).with_suffix(".svg")
    for path in (args.out, args.svg):  # before minutes are spent on what could then not be saved
        if not path.resolve().parent.is_dir():
            parser.error(f"no directory {path.parent} to write {path.name} into")
    if args.rounds < 1 or not 0 < args.seconds <= 60 or args.idle < 1:
        parser.error("--rounds and --idle are at least 1, --seconds is above 0 and at most 60")
    return args


def raise_file_limit():
    """The highest limit on open files that we may set; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (131072, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return wanted
        except (ValueError, OSError):
            continue
    return soft


def machine():
    def field(path, key):
        for line in Path(path).read_text().splitlines():
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
        return "unknown"

    return {
        "cpu": field("/proc/cpuinfo", "model name"),
        "cpus": os.cpu_count(),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
    }


class Bench:
    """One run: the stage, the proxies on it, and the samples taken so far."""

    def __init__(self, args, on_stage, home, proxies, n_files):
        self.args = args
        self.stage = on_stage
        self.home = Path(home)
        self.proxies = proxies
        self.n_files = n_files
        self.next_port = on_stage.first_port
        self.backend = None
        self.live = {}  # proxy's name -> (process, site)
        self.samples = []
        self.hello = self.home / "hello.bin"
        self.hello.write_bytes(hello.client_hello(f"app.{peers.SNI_SUFFIX}"))

    def new_site(self, label):
        home = self.home / f"{label}-{self.next_port}"
        home.mkdir()
        self.next_port += PORTS_EACH
        return peers.Site(home, self.next_port, self.stage.first_port, self.n_files)

    def start_backend(self):
        command = [self.args.loadgen, "server", "--discard", "--listen", f"127.0.0.1:{self.stage.first_port}"]
        self.backend = self.stage.start(command, self.home, [self.stage.first_port])

    def start_proxy(self, proxy):
        site = self.new_site(proxy.name)
        if isinstance(proxy, peers.Direct):
            return None, site
        return self.stage.start(proxy.command(site), site.home, proxy.ports(site)), site

    def instance(self, proxy):
        """The long-lived instance, started again should it have ended."""
        process, site = self.live.get(proxy.name, (None, None))
        if site is None or (process and process.poll() is not None):
            self.live[proxy.name] = self.start_proxy(proxy)
        return self.live[proxy.name]

    def load(self, proxy, workload, process, site):
        """Runs the load generator once; returns its answer or {"failed": why}."""
        args = self.args
        n_idle = min(args.idle, site.n_connections - 200, proxy.idle_limit or args.idle)
        command = [args.loadgen, *workload.arguments, "--target", proxy.target(site, workload.is_tls),
                   "--seconds", str(args.seconds), "--warmup", str(args.warmup), "--label", proxy.name,
                   "--helpers", str(self.backend.pid)]
        if workload.name == "idle":
            command += ["--count", str(n_idle)]
        if workload.is_tls:
            command += ["--preamble", str(self.hello)]
        if process:
            command += ["--pids", ",".join(str(pid) for pid in stage.tree_of(process.pid))]
        try:
            done = self.stage.run(command, args.seconds + args.warmup + RUN_SPARE_S)
            if done.returncode == 0:
                return json.loads(done.stdout)
            said = done.stderr.strip().split("\n")[0][:160].removeprefix("loadgen: ")
            why = said or f"load generator ended with {done.returncode}"
            return {"failed": "timed out" if done.returncode == -signal.SIGALRM else why}
        except subprocess.TimeoutExpired:
            return {"failed": "timed out"}

    def measure(self, proxy, workload):
        try:
            process, site = self.start_proxy(proxy) if workload.is_fresh else self.instance(proxy)
        except stage.StageError as err:
            return {"failed": str(err)}
        answer = self.load(proxy, workload, process, site)
        for _ in range(self.args.retries):
            if answer.get("foreign_cpu_share", 0) <= report.DISTURBED_SHARE:
                break
            again = self.load(proxy, workload, process, site)
            if again.get("foreign_cpu_share", 1) < answer["foreign_cpu_share"] or "failed" in again:
                answer = again
        if process and process.poll() is not None:
            answer["failed"] = f"{proxy.name} ended with {process.returncode}"
        elif process and workload.is_fresh:
            self.stage.stop(process)
        return answer

    def round(self, number):
        for workload in self.args.workloads:
            if workload.is_once and number > 0:
                continue
            turn = number % len(self.proxies)
            for proxy in self.proxies[turn:] + self.proxies[:turn]:
                if workload.name == "idle" and isinstance(proxy, peers.Direct):
                    continue  # nothing in between whose memory could be looked at
                answer = self.measure(proxy, workload)
                answer.update(proxy=proxy.name, workload=workload.name, round=number)
                self.samples.append(answer)
                progress(number, workload, proxy, answer)
                time.sleep(0.1)  # let what was cut off drain away


def progress(number, workload, proxy, answer):
    said = answer.get("failed") or answer.get("result")
    if not said:
        keys = ("rate_per_s", "cpu_s_per_unit", "p99_us", "rss_bytes_per_connection", "errors")
        said = "  ".join(f"{key}={answer[key]:.5g}" for key in keys if key in answer)
    print(f"  round {number + 1}  {workload.name:20} {proxy.name:16} {said}", file=sys.stderr, flush=True)


def choose_proxies(args):
    """Those that can run, and the reason for each that cannot."""
    proxies, skipped = [], {}
    classes = {peer.name: peer for peer in peers.ALL}
    for name in dict.fromkeys(args.proxies):
        proxy = classes[name](args)
        why = proxy.missing()
        if why:
            skipped[name] = why
        else:
            proxies.append(proxy)
    return proxies, skipped


def measure_all(args):
    n_files = raise_file_limit()
    proxies, skipped = choose_proxies(args)
    if not os.access(args.loadgen, os.X_OK):
        raise stage.StageError(f"no load generator at {args.loadgen}: see bench/README.md for how it is built")
    if not proxies:
        raise stage.StageError("no proxy to measure: " + "; ".join(skipped.values()))
    for why in skipped.values():
        print(f"skipped: {why}", file=sys.stderr)
    results = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["bench/compare/run.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {proxy.name: proxy.version() for proxy in proxies if proxy.version()},
        "about": {proxy.name: proxy.about for proxy in proxies},
        "skipped": skipped,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "open_files_limit": n_files,
        "workloads": [workload.name for workload in args.workloads],
    }
    home = tempfile.mkdtemp(prefix="rxbench-")
    try:
        with stage.Stage(not args.no_netns) as on_stage:
            results["network"] = on_stage.settings
            bench = Bench(args, on_stage, home, proxies, n_files)
            bench.start_backend()
            for number in range(args.rounds):
                bench.round(number)
            results["samples"] = bench.samples
    finally:
        shutil.rmtree(home, ignore_errors=True)
    results["summary"] = report.summarize(results)
    return results


def main(argv):
    args = parse_args(argv)
    for wanted in (signal.SIGTERM, signal.SIGHUP):  # so that the namespace is removed then, too
        signal.signal(wanted, lambda number, _: sys.exit(128 + number))
    try:
        if args.load:
            results = json.loads(args.load.read_text())
        else:
            results = measure_all(args)
            args.out.write_text(json.dumps(results, indent=1) + "\n")
    except (stage.StageError, OSError, json.JSONDecodeError) as err:
        print(f"bench-compare: {err}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(report.tables(results))
    args.svg.write_text(plot.svg(results))
    targets = report.check(results)
    if args.check:
        print(report.targets_text(targets))
    if args.readme:
        report.rewrite_readme(HERE.parent / "README.md", results, targets)
    return 1 if args.check and any(target.verdict == "missed" for target in targets) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
