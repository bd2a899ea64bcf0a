# SPDX-License-Identifier: MIT
"""Where a measurement takes place: a network namespace, the processes started in it, and their removal.

The namespace is there for two settings that decide the numbers. A congestion control that paces (BBR) paces loopback
too and hides most of what separates the proxies, so it is set to reno. And a proxied connection leaves a socket in
TIME_WAIT on two sides: with the default port range and reuse delay, the kernel runs out of ports at some 14000
connections a second, and the benchmark measures that.
"""

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

NETNS_SETTINGS = [
    ("net.ipv4.tcp_congestion_control", "reno"),
    ("net.ipv4.ip_local_port_range", "1024 65535"),
    ("net.ipv4.tcp_tw_reuse", "1"),
    ("net.ipv4.tcp_max_tw_buckets", "500000"),
    ("net.core.somaxconn", "4096"),
    ("net.ipv4.tcp_tw_reuse_delay", "50"),  # milliseconds; newer kernels only
]
READ_ONLY_SETTINGS = ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"]
PR_SET_PDEATHSIG = 1
NETNS_PREFIX = "rxbench-"
STOP_WAIT_S = 3
TCP_LISTEN = "0A"


class StageError(Exception):
    pass


def die_with_parent():
    """In the child: should this script be killed outright, nothing it started stays behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def children_of(pid):
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in path.read_text().split()]
        except OSError:
            continue
    return found


def tree_of(pid):
    """A process and everything it forked: a proxy's master and workers."""
    pids = [pid]
    for child in children_of(pid):
        pids += tree_of(child)
    return pids


def listening_ports(pid):
    """TCP ports anybody listens at in the network namespace of `pid`."""
    try:
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return set()
    rows = [line.split() for line in lines]
    return {int(row[1].split(":")[1], 16) for row in rows if row[3] == TCP_LISTEN}


class Stage:
    """Use as a context manager: on leaving, every process is ended and the namespace removed."""

    def __init__(self, has_netns):
        self.name = f"{NETNS_PREFIX}{os.getpid()}" if has_netns else None
        self.running = []
        self.settings = {}
        # Below the ephemeral ports, which inside the namespace begin at 1024.
        self.first_port = 800 if has_netns else 21800

    def __enter__(self):
        if self.name:
            self.open_netns()
        for key in [key for key, _ in NETNS_SETTINGS] + READ_ONLY_SETTINGS:
            done = subprocess.run([*self.prefix(), "sysctl", "-n", key], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                self.settings[key] = " ".join(done.stdout.split())
        return self

    def __exit__(self, *_):
        for process in list(self.running):
            self.stop(process)
        if self.name:
            subprocess.run(["ip", "netns", "del", self.name], check=False)

    def prefix(self):
        return ["ip", "netns", "exec", self.name] if self.name else []

    @staticmethod
    def sweep():
        """Removes namespaces of runs that were killed before they could."""
        done = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False)
        for name in [line.split()[0] for line in done.stdout.splitlines() if line.startswith(NETNS_PREFIX)]:
            owner = name.removeprefix(NETNS_PREFIX)
            if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                subprocess.run(["ip", "netns", "del", name], check=False)

    def open_netns(self):
        try:
            self.sweep()
            done = subprocess.run(["ip", "netns", "add", self.name], capture_output=True, text=True, check=False)
        except FileNotFoundError as err:
            raise StageError("no ip command (iproute2); --no-netns measures on the host's loopback") from err
        if done.returncode:
            raise StageError(f"cannot make a network namespace: {done.stderr.strip()}\n"
                             "run as root, or with --no-netns to measure on the host's loopback")
        try:
            subprocess.run([*self.prefix(), "ip", "link", "set", "lo", "up"], check=True)
            for key, value in NETNS_SETTINGS:
                subprocess.run([*self.prefix(), "sysctl", "-q", "-w", f"{key}={value}"], check=False,
                               stderr=subprocess.DEVNULL)
        except BaseException:
            subprocess.run(["ip", "netns", "del", self.name], check=False)
            raise

    def start(self, command, home, ports):
        """Starts a server whose files are to be below `home`, and waits until it listens at all of `ports`."""
        log_path = Path(home) / "log"
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(home)}
        taken = listening_ports("self") if not self.name else set()
        if taken & set(ports):
            raise StageError(f"ports {sorted(taken & set(ports))} are in use")
        with open(log_path, "ab") as log:
            process = subprocess.Popen([*self.prefix(), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       env=environment, start_new_session=True,
                                       preexec_fn=die_with_parent)
        self.running.append(process)
        gives_up = time.monotonic() + 5
        while not set(ports) <= listening_ports(process.pid):
            code = process.poll()
            if code is not None or time.monotonic() > gives_up:
                self.stop(process)
                why = f"ended with {code}" if code is not None else f"does not listen at {ports}"
                tail = log_path.read_text(errors="replace").strip().splitlines()[-3:]
                raise StageError(f"{os.path.basename(command[0])} {why}: {' | '.join(tail)[:300] or 'no output'}")
            time.sleep(0.02)
        time.sleep(0.1)  # workers may still be on their way when the socket listens
        return process

    def stop(self, process):
        if process in self.running:
            self.running.remove(process)
        pids = tree_of(process.pid) if process.poll() is None else []
        for wanted in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is not None:
                break
            process.send_signal(wanted)
            try:
                process.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                continue
        # A killed master leaves its workers; only pids that were seen as its descendants are touched.
        for pid in pids[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def run(self, command, timeout_s):
        return subprocess.run([*self.prefix(), *command], capture_output=True, text=True, timeout=timeout_s,
                              check=False, preexec_fn=die_with_parent)
