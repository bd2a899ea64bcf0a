# SPDX-License-Identifier: MIT
"""As a service: what a manager is told, and what its unit allows."""
import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import wire
from harness import BINARY, ROOT, find_program, make_config, wait_for

pytestmark = pytest.mark.sanitize
UNIT = os.path.join(ROOT, "packaging", "systemd", "refractium.service")


class Manager(threading.Thread):
    """Hears what a service says, as systemd does."""

    def __init__(self, directory):
        super().__init__(daemon=True)
        self.path = os.path.join(directory, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.heard = []  # (when, {"READY": "1", …})
        self.start()

    def run(self):  # always: few datagrams wait, and then their sender does
        while True:
            text = self.socket.recv(4096).decode()
            if text == "END":
                return
            self.heard.append((time.monotonic(), dict(line.split("=", 1) for line in text.splitlines())))

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"END", self.path)
        self.join()
        self.socket.close()

    def listen(self):
        return list(self.heard)

    def all(self, key):
        return [said[key] for _, said in self.listen() if key in said]

    def wait(self, key, value=None, count=1):
        def enough():
            found = [v for v in self.all(key) if value is None or re.search(value, v)]
            return found if len(found) >= count else None
        return wait_for(enough, what="%s=%s" % (key, value))


@pytest.fixture
def manager(workdir):
    m = Manager(workdir)
    yield m
    m.close()


def is_built_with_systemd():
    return "libsystemd" in subprocess.run(["ldd", BINARY], capture_output=True, text=True).stdout


needs_systemd = pytest.mark.skipif(not is_built_with_systemd(), reason="built with WITH_SYSTEMD=0")


@needs_systemd
def test_ready_is_said_once_it_serves(rx, manager):
    p = rx.config(make_config("{ rx.http, to = rx.respond 'hi' }"), env={"NOTIFY_SOCKET": manager.path})
    manager.wait("READY", "1")
    with p.connect() as s:  # at once: whoever comes after us finds the service there
        s.sendall(wire.get())
        assert b"hi" in s.recv(1000)
    assert re.match(r"serving: \d+ connections, .*generation \d+", manager.wait("STATUS")[0])


@needs_systemd
def test_reload_is_told_and_what_came_of_it(rx, manager):
    p = rx.config(make_config("{ rx.http, to = rx.echo }"), env={"NOTIFY_SOCKET": manager.path})
    manager.wait("READY", "1")
    p.signal(signal.SIGHUP)
    assert int(manager.wait("MONOTONIC_USEC")[0]) > 0
    manager.wait("READY", "1", 2)
    manager.wait("STATUS", r"reload \(SIGHUP.*generation")
    p.write_config("this is no config")
    p.signal(signal.SIGHUP)
    manager.wait("STATUS", "refused, the running config stays")
    order = [key for _, said in manager.listen() for key in said if key in ("READY", "RELOADING")]
    assert order[:3] == ["READY", "RELOADING", "READY"] and order[-1] == "READY", order


@needs_systemd
def test_stopping_is_told_with_the_time_it_may_take(rx, manager):
    p = rx.config(make_config("{ rx.any, to = rx.tarpit }", server='drain_timeout = "20s",'),
                  env={"NOTIFY_SOCKET": manager.path})
    manager.wait("READY", "1")
    p.signal(signal.SIGTERM)
    assert manager.wait("STOPPING") == ["1"]
    assert int(manager.wait("EXTEND_TIMEOUT_USEC")[0]) == 25_000_000
    assert p.wait_exit() == 0


@needs_systemd
def test_watchdog_is_answered_twice_a_period(rx, manager):
    p = rx.config(make_config("{ rx.any, to = rx.echo }"),
                  env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"})
    manager.wait("WATCHDOG", "1", 6)
    when = [at for at, said in manager.listen() if "WATCHDOG" in said]
    assert (when[-1] - when[0]) / (len(when) - 1) < 0.4, when
    assert p.process.poll() is None



PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207


def ptrace(request, tid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, tid, None, None) == -1:
        raise OSError(ctypes.get_errno(), "ptrace")


def hold(tid):
    try:
        ptrace(PTRACE_SEIZE, tid)
    except PermissionError:
        pytest.skip("ptrace is not allowed here")
    ptrace(PTRACE_INTERRUPT, tid)
    os.waitpid(tid, 0x40000000)  # __WALL: threads, too


def worker_thread(pid):
    for tid in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/comm" % (pid, tid), encoding="ascii") as f:
            if re.match(r"rx-worker|worker-", f.read()):
                return int(tid)
    raise AssertionError("no worker thread")


def keep_busy(p, is_over):
    with contextlib.suppress(OSError), p.connect() as s:
        s.settimeout(0.1)
        while not is_over.is_set():
            with contextlib.suppress(TimeoutError):
                s.sendall(b"x" * 65536)
                s.recv(65536)


@needs_systemd
def test_watchdog_is_not_answered_while_a_worker_is_stuck(rx, manager):
    """The worker is held where it stands, awake, as one that hangs in the program would be; all others go on."""
    p = rx.config(make_config("{ rx.any, to = rx.echo }"),
                  env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"})
    manager.wait("WATCHDOG", "1", 2)
    tid, is_over = worker_thread(p.pid), threading.Event()
    busy = threading.Thread(target=keep_busy, args=(p, is_over))
    busy.start()
    is_held = False
    try:
        for _ in range(20):  # it may have been asleep at that very moment, which is no sin
            time.sleep(0.05)
            hold(tid)
            is_held = True
            with contextlib.suppress(AssertionError):
                p.err.wait("is stuck", 2.5)
                break
            ptrace(PTRACE_DETACH, tid)
            is_held = False
        assert is_held, "it was never caught awake"
        time.sleep(0.3)
        count = len(manager.all("WATCHDOG"))
        time.sleep(1)
        assert len(manager.all("WATCHDOG")) == count, "it was answered all the same"
    finally:
        is_over.set()
        if is_held:
            ptrace(PTRACE_DETACH, tid)
        busy.join()
    manager.wait("WATCHDOG", "1", count + 2)


@pytest.mark.skipif(not find_program("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", ["refractium.service", "refractium-guard.service"])
def test_unit_is_valid_and_exposes_little(workdir, name):
    mine = os.path.join(workdir, name)
    with open(os.path.join(os.path.dirname(UNIT), name), encoding="utf-8") as f:
        text = f.read()
    with open(mine, "w", encoding="utf-8") as f:
        f.write(text.replace("/usr/bin/refractium", BINARY))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", mine], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "refractium" not in done.stderr, done.stderr
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", mine],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


@needs_systemd
def test_an_upgrade_names_its_main_process(rx, manager, workdir):
    """Promise: told by the old process, and only once the new one has everything; then the new one answers for itself."""
    import shutil
    import test_upgrade
    test_upgrade.adopt_orphans(True)
    path = os.path.join(workdir, "refractium")
    shutil.copy(BINARY, path)
    p = test_upgrade.Upgraded(rx.config(make_config("{ rx.http, to = rx.respond 'hi' }"), binary=path,
                                        env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"}), path)
    manager.wait("READY", "1")
    assert p.upgrade() == (0, 0)
    assert manager.wait("MAINPID") == [str(p.pid)]
    at = next(i for i, (_, said) in enumerate(manager.listen()) if "MAINPID" in said)
    wait_for(lambda: any("WATCHDOG" in said for _, said in manager.listen()[at + 3:]), what="the new one's watchdog")
    assert "STOPPING" not in [key for _, said in manager.listen() for key in said]
    p.stop()
    test_upgrade.adopt_orphans(False)


def test_units_let_the_programs_own_sandbox_be_and_keep_each_others_admin_sockets():
    for name in ("refractium.service", "refractium-guard.service"):
        with open(os.path.join(os.path.dirname(UNIT), name), encoding="utf-8") as f:
            text = f.read()
        assert "SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp\n" in text
        assert "RuntimeDirectory=refractium\n" in text and "RuntimeDirectoryPreserve=yes\n" in text


def test_the_guards_unit_may_change_the_network_and_nothing_else():
    with open(os.path.join(os.path.dirname(UNIT), "refractium-guard.service"), encoding="utf-8") as f:
        text = f.read().replace("\\\n", " ")
    assert set(re.findall(r"CAP_\w+", text)) == {"CAP_NET_ADMIN"}
    words = re.search(r"^ExecStart=/usr/bin/refractium (.*)$", text, re.M).group(1).split()
    done = subprocess.run([BINARY, *words, "--window", "nonsense"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and re.fullmatch("error: --window: [^\n]*\n", done.stderr), "all else in it is understood"
