# SPDX-License-Identifier: MIT
"""Upgrading: another process takes the place of the running one, and none of its clients notices."""
import array
import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

import peers
import wire
from harness import BINARY, MIB, PATIENCE, SANITIZER, SCALE, Successor, free_port, make_config, raise_nofile, run_binary, \
    run_client, wait_for
from test_clients_ssh import ssh  # noqa: F401, pylint: disable=unused-import

GONE_S = 1 if not SANITIZER else 10
CHANNEL = "REFRACTIUM_UPGRADE"


def adopt_orphans(is_wanted):
    assert ctypes.CDLL(None).prctl(36, int(is_wanted), 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER


@pytest.fixture(scope="module", autouse=True)
def orphans_are_ours():
    """So that the exit code of a successor can be seen."""
    adopt_orphans(True)
    yield
    adopt_orphans(False)


@pytest.fixture
def program(rx, workdir):
    """Starts a copy of the binary, which may be replaced; see Upgraded."""
    def start(routes="", **parts):
        path = os.path.join(workdir, "refractium")
        shutil.copy(BINARY, path)
        how = {k: parts.pop(k) for k in ("binds", "env", "args", "before") if k in parts}
        parts.setdefault("workers", 2)
        return Upgraded(rx.config(make_config(routes, **parts), binary=path, **how), path)

    return start


class Upgraded:
    """A running instance and its successors."""

    def __init__(self, p, path):
        self.p, self.path = p, path

    def __getattr__(self, name):
        return getattr(self.p, name)

    def ask(self, *args):
        return run_binary(*args, "-p", self.port, cwd=self.directory, env={"XDG_RUNTIME_DIR": self.directory})

    def follow(self, pid):
        """The old process ends well; from now on `pid` is the one under test."""
        since = time.monotonic()
        assert self.p.process.wait(PATIENCE) == 0, self.err.text()[-3000:]
        self.gone_s = time.monotonic() - since
        self.p.process = Successor(pid)

    def upgrade(self):
        done = self.ask("upgrade")
        assert done.returncode == 0, done.err + self.err.text()[-3000:]
        found = re.search(r"process (\d+) serves now; (\d+) connections handed over in ([\d.]+) ms, (\d+) finish", done.out)
        assert found, done.out
        self.follow(int(found.group(1)))
        self.took_ms = float(found.group(3))
        return int(found.group(2)), int(found.group(4))

    def totals(self):
        done = self.ask("status", "--json")
        assert done.returncode == 0, done.err
        return json.loads(done.out)

    def write_program(self, text):
        """Something else at the place of the binary."""
        with open(self.path + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path + ".new", 0o755)
        os.rename(self.path + ".new", self.path)


def opened(p, first=wire.SSH):
    s = p.connect(timeout=30)
    s.sendall(first)
    assert peers.read_exactly(s, len(first)) == first
    return s


def is_alive(s, data=b"are you still there?"):
    s.sendall(data)
    return peers.read_exactly(s, len(data)) == data


# ---- what goes on ----------------------------------------------------------------------------------------------------

@pytest.mark.sanitize
def test_a_flow_goes_on_in_another_process_and_has_one_access_line(program, backends):
    p = program("{ rx.ssh, to = %s }" % backends().quoted)
    old = p.pid
    with opened(p) as s:
        assert p.upgrade() == (1, 0)
        assert p.pid != old
        assert is_alive(s)
        with opened(p) as other:
            assert is_alive(other, b"and you")
    lines = sorted(p.access(2), key=lambda line: line["bytes_in"])
    assert [line["reason"] for line in lines] == ["done", "done"]
    assert [line["bytes_in"] for line in lines] == [len(wire.SSH) + 7, len(wire.SSH) + 20]
    assert {line["protocol"] for line in lines} == {"ssh"} and len({line["conn"] for line in lines}) == 2


def test_a_signal_does_it_too(program, backends):
    p = program("{ rx.ssh, to = %s }" % backends().quoted)
    with opened(p) as s:
        p.signal(signal.SIGUSR2)
        p.follow(int(p.err.wait(r"upgraded \(SIGUSR2\): process (\d+) serves now; 1 connections").group(1)))
        assert is_alive(s)


def test_one_after_the_other(program, backends):
    p = program("{ rx.ssh, to = %s }" % backends().quoted)
    with opened(p) as s:
        for _ in range(3):
            assert p.upgrade() == (1, 0)
            assert is_alive(s)


def test_thousands_of_flows_do_not_notice(program, echo_process):
    count = min(max(int(3000 * SCALE), 300), raise_nofile() // 2 - 300) if not SANITIZER else 300
    p = program("{ rx.ssh, to = %s }" % echo_process.quoted, server="max_connections = 20000,")
    socks = []
    for _ in range(count):
        s = p.connect(timeout=30)
        s.sendall(wire.SSH)
        socks.append(s)
    for s in socks:
        assert peers.read_exactly(s, len(wire.SSH)) == wire.SSH
    assert p.upgrade() == (count, 0)
    print("%d connections in %.1f ms, the old process gone after %.3f s" % (count, p.took_ms, p.gone_s))
    assert p.gone_s < GONE_S
    for s in socks:
        s.sendall(b"ping")
    for s in socks:
        assert peers.read_exactly(s, 4) == b"ping"
    told = p.totals()
    assert told["totals"]["accepted"] == count and told["totals"]["active"] == count
    for s in socks:
        s.close()
    wait_for(lambda: len(p.access_lines()) == count, what="one access line for each")
    assert {line["reason"] for line in p.access_lines()} == {"done"}


# ---- bytes -----------------------------------------------------------------------------------------------------------

@pytest.mark.sanitize
def test_what_is_held_back_is_handed_over_both_ways(program, backends):
    """Neither end reads: buffers and pipes are full when the process changes."""
    size, stop = 24 * MIB, threading.Event()
    heard = []

    def handler(sock, server):
        sender = peers.in_thread(peers.Stream(size, 1).send, sock)
        stop.wait()
        heard.append(peers.receive_hash(sock))
        sender.get()
        sock.shutdown(socket.SHUT_WR)

    p = program("{ rx.any, to = %s }" % backends(handler).quoted)
    with p.connect(timeout=60) as s:
        up = peers.in_thread(lambda: (peers.Stream(size, 2).send(s), s.shutdown(socket.SHUT_WR)))
        before = -1

        def is_stuck():
            nonlocal before
            now = json.loads(p.ask("top", "--json").out)["flows"][0]
            moved, before = (now["bytes_in"], now["bytes_out"]) != before, (now["bytes_in"], now["bytes_out"])
            return not moved and before[0] > 0

        wait_for(is_stuck, what="everything to be full", pause=0.2)
        assert p.upgrade() == (1, 0)
        stop.set()
        assert peers.receive_hash(s) == (size, peers.Stream(size, 1).digest())
        up.get()
    wait_for(lambda: heard, what="the backend")
    assert heard[0] == (size, peers.Stream(size, 2).digest())
    assert p.access_one()["bytes_in"] == size and p.access_one()["bytes_out"] == size


@pytest.mark.sanitize
def test_a_half_closed_flow_stays_half_closed(program, backends):
    go = threading.Event()

    def handler(sock, server):
        said = peers.read_all(sock)
        go.wait()
        sock.sendall(said[::-1])

    p = program("{ rx.ssh, to = %s }" % backends(handler).quoted)
    with p.connect() as s:
        s.sendall(wire.SSH)
        s.shutdown(socket.SHUT_WR)
        wait_for(lambda: '"bytes_in":%d' % len(wire.SSH) in p.ask("top", "--json").out, what="its bytes")
        time.sleep(0.05)
        assert p.upgrade() == (1, 0)
        go.set()
        assert peers.read_all(s) == wire.SSH[::-1]
    assert p.access_one()["reason"] == "done"


def test_transfers_with_curl_are_whole_after_three_upgrades(program, backends, need):
    """Streams at full speed and slow ones; the last quarter is sent when the third process serves."""
    need("curl")
    stream, go = peers.Stream(24 * MIB), threading.Event()

    def handler(sock, server):
        assert b"\r\n\r\n" in sock.recv(1 << 16)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % stream.size)
        for number, block in enumerate(stream.blocks()):
            if number == 72:
                go.wait()
            sock.sendall(block)

    p = program("{ rx.http, to = %s }" % backends(handler).quoted)
    url = "http://127.0.0.1:%d/file" % p.port
    running = [subprocess.Popen(["curl", "-sS", *slow, url], stdout=subprocess.PIPE)
               for slow in ([], ["--limit-rate", "30m"])]
    sums = [peers.in_thread(lambda r=r: hashlib.sha256(r.stdout.read()).hexdigest()) for r in running]
    wait_for(lambda: p.totals()["totals"]["active"] == 2, what="both")
    for _ in range(3):
        assert p.upgrade() == (2, 0)
    go.set()
    for r, s in zip(running, sums):
        assert s.get() == stream.digest() and r.wait(PATIENCE) == 0
        r.stdout.close()


def test_an_ssh_session_goes_on(program, ssh):  # noqa: F811
    p = program('{ rx.ssh, to = "127.0.0.1:%d" }' % ssh.port)
    client = subprocess.Popen(["ssh", *ssh.options(), "-p", str(p.port), ssh.user + "@127.0.0.1", "sha256sum"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stream = peers.Stream(8 * MIB)
    for number, block in enumerate(stream.blocks()):
        client.stdin.write(block)
        if number in (5, 20):
            client.stdin.flush()
            assert p.upgrade()[0] == 1
    told = client.communicate(timeout=PATIENCE)[0]
    assert told.split()[0].decode() == stream.digest() and client.returncode == 0


# ---- before it is a flow ---------------------------------------------------------------------------------------------

@pytest.mark.sanitize
def test_who_has_said_half_of_what_he_is_is_understood_by_the_next(program, backends):
    hello = wire.hello(sni="a.test")
    p = program('{ rx.tls, sni = "a.test", to = %s }' % backends(peers.collect).quoted, options='peek_timeout = "20s",')
    with p.connect() as s:
        s.sendall(hello[:40])
        with p.connect() as silent:
            wait_for(lambda: p.totals()["totals"]["active"] == 2, what="both")
            assert p.upgrade() == (2, 0)
            s.sendall(hello[40:])
            s.shutdown(socket.SHUT_WR)
            assert peers.read_all(s) == b"got %d" % len(hello)
            silent.sendall(hello)
            silent.shutdown(socket.SHUT_WR)
            assert peers.read_all(silent) == b"got %d" % len(hello)


@pytest.mark.sanitize
def test_who_waits_for_a_backend_goes_on_waiting(program):
    with peers.BlackHole() as hole:
        p = program('{ rx.ssh, to = %s, connect_timeout = "20s" }' % hole.quoted)
        with p.connect() as s:
            s.sendall(wire.SSH)
            wait_for(lambda: '"room":"connect"' in p.ask("top", "--json").out, what="it to wait")
            assert p.upgrade() == (1, 0)
            for filler in hole.fill:
                filler.close()
            took = []

            def arrived():
                c, _ = hole.listener.accept()
                c.settimeout(1)
                took.append(c)
                with contextlib.suppress(OSError):
                    return c.recv(100) == wire.SSH
                return False

            wait_for(arrived, what="the connection at its backend")
            for c in took:
                c.close()


@pytest.mark.sanitize
def test_nobody_is_refused_while_processes_change(program, backends):
    p = program("{ rx.http, to = %s }" % backends(peers.http("x" * 100)).quoted)
    is_over, wrong, served = threading.Event(), [], []

    def client():
        while not is_over.is_set():
            try:
                with p.connect(timeout=30) as s:
                    s.sendall(wire.get())
                    assert peers.read_all(s).endswith(b"x" * 100)
                    served.append(1)
            except (OSError, AssertionError) as e:
                wrong.append(repr(e))

    clients = [peers.in_thread(client) for _ in range(4)]
    for _ in range(4):
        time.sleep(0.15)
        p.upgrade()
    is_over.set()
    for c in clients:
        c.get()
    assert not wrong and len(served) > 20


# ---- counts ----------------------------------------------------------------------------------------------------------

@pytest.mark.sanitize
def test_counts_and_limits_hold_for_those_handed_over(program, backends):
    p = program("{ rx.ssh, to = %s }" % backends().quoted, options="max_connections_per_ip = 3,",
                server='metrics = "127.0.0.1:0",')
    with opened(p) as a, opened(p) as b:
        assert p.upgrade() == (2, 0)
        status = p.totals()
        assert status["totals"]["accepted"] == 2 and status["totals"]["active"] == 2
        assert [backend["active"] for pool in status["pools"] for backend in pool["backends"]] == [2]
        with opened(p) as c:
            with contextlib.suppress(OSError), p.connect() as d:
                d.sendall(wire.SSH)
                assert not d.recv(10)
            assert is_alive(a) and is_alive(b) and is_alive(c)
    wait_for(lambda: p.totals()["totals"]["active"] == 0, what="all to leave")
    status = p.totals()
    assert status["totals"]["accepted"] == 4 == sum(status["totals"]["closed"].values())


def test_the_port_for_monitoring_and_the_admin_socket_are_handed_over(program, backends):
    p = program("{ rx.ssh, to = %s }" % backends().quoted, server='metrics = "127.0.0.1:0",')
    url = p.err.wait(r"(http://127.0.0.1:\d+)/metrics").group(1)
    paths = [os.path.join(p.directory, "refractium", f) for f in os.listdir(os.path.join(p.directory, "refractium"))]
    files = [os.stat(path).st_ino for path in paths]
    for _ in range(2):
        p.upgrade()
        assert b"refractium_" in run_client(["curl", "-sf", url + "/metrics"]).stdout
    assert [os.stat(path).st_ino for path in paths] == files
    p.stop()
    assert not any(os.path.exists(path) for path in paths)


def test_a_unix_listener_keeps_its_file(program, backends, workdir):
    path = os.path.join(workdir, "s")
    p = program("{ rx.ssh, to = %s }" % backends().quoted, listen='"127.0.0.1:0", "unix:%s"' % path, binds=2)

    def opened_there():
        s = socket.socket(socket.AF_UNIX)
        s.connect(path)
        s.sendall(wire.SSH)
        assert peers.read_exactly(s, len(wire.SSH)) == wire.SSH
        return s

    with opened_there() as s:
        p.upgrade()
        assert is_alive(s)
        with opened_there() as other:
            assert is_alive(other)
    p.stop()
    assert not os.path.exists(path)


# ---- what keeps the old one ------------------------------------------------------------------------------------------

def refused(p, pattern, s=None):
    pid = p.pid
    done = p.ask("upgrade")
    assert done.returncode == 1 and re.search(pattern, done.err), done.err
    assert "goes on" in done.err or "cannot start" in done.err
    assert p.pid == pid and p.process.poll() is None
    if s:
        assert is_alive(s)
    with opened(p) as other:
        assert is_alive(other)


def test_a_bad_config_refuses_and_is_told(program, backends):
    p = program("{ rx.ssh, to = %s }" % backends().quoted, args=["--no-hot-reload"])
    good = open(os.path.join(p.directory, "refractium.lua"), encoding="utf-8").read()
    with opened(p) as s:
        p.write_config(good + "\nrx.listne {}\n")
        refused(p, r"(?s)refractium.lua:\d+.*exit code 1", s)
        p.write_config(good)
        assert p.upgrade() == (1, 0)
        assert is_alive(s)


def test_a_bad_program_refuses(program, backends):
    p = program("{ rx.ssh, to = %s }" % backends().quoted, server='upgrade_timeout = "300ms",')
    with opened(p) as s:
        p.write_program("#!/bin/sh\nexit 7\n")
        refused(p, "exit code 7", s)
        p.write_program("#!/bin/sh\nkill -9 $$\n")
        refused(p, "signal 9", s)
        p.write_program("#!/bin/sh\nexec sleep 30\n")
        refused(p, "not ready within 0.3 s", s)
        os.chmod(p.path, 0o644)
        refused(p, "cannot start .*denied", s)
        os.unlink(p.path)
        refused(p, "cannot start .*No such file", s)


FAKE = r'''#!%s
"""Speaks as a new process does, up to a point."""
import array, os, signal, socket, struct, sys, time
HEAD = struct.Struct("=IIIIQQI")
MAGIC, HELLO, LISTENER, LISTENED, FINDING, READY, CARRY, FLOWS, BANS, DRAINED, END, HAVE = 0x50555852, *range(11)
s = socket.socket(fileno=int(os.environ["REFRACTIUM_UPGRADE"]))
s.setblocking(True)
def say(kind, a=0, b=0, c=0, d=0, fds=()):
    s.sendmsg([HEAD.pack(MAGIC, kind, a, b, c, d, 0)],
              [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
def hear():
    data, fds, _, _ = socket.recv_fds(s, 4096, 253)
    return (HEAD.unpack(data[:HEAD.size])[1] if data else None), fds
def hear_until(kind):
    while True:
        k, fds = hear()
        if k in (kind, None):
            return
'''


def fake(script):
    return FAKE % sys.executable + script


@pytest.mark.sanitize
def test_a_new_process_that_dies_on_the_way_costs_nothing(program, backends):
    """Whatever it had been told by then: nothing is given up before it says that it has it."""
    p = program("{ rx.ssh, to = %s }" % backends().quoted)
    with opened(p) as s:
        for script in ("say(HELLO, 1, 1)\n", "say(HELLO, 1, 1); hear_until(LISTENED); say(READY)\n",
                       "say(HELLO, 1, 1); hear_until(LISTENED); say(READY); hear()\n",
                       "say(HELLO, 1, 1); hear_until(LISTENED); say(READY); hear_until(FLOWS)\n",
                       "say(HELLO, 1, 1); hear_until(LISTENED); say(READY); hear_until(END)\n"):
            p.write_program(fake(script + "os.kill(os.getpid(), 9)\n"))
            refused(p, "refused", s)
        for script in ("say(77)\n", "say(HELLO, 99, 1)\n", "s.send(b'?')\n"):
            p.write_program(fake(script + "time.sleep(30)\n"))
            refused(p, "refused", s)


def test_a_signal_to_stop_ends_the_new_process_as_well(program, backends):
    p = program("{ rx.ssh, to = %s }" % backends().quoted)
    p.write_program("#!/bin/sh\necho $$ >begun\nexec sleep 60\n")
    begun = os.path.join(p.directory, "begun")
    asking = peers.in_thread(p.ask, "upgrade")
    pid = int(wait_for(lambda: os.path.exists(begun) and open(begun, encoding="ascii").read(), what="the new process"))
    assert p.stop() == 0
    assert "the program is stopping" in asking.get().err
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.sanitize
def test_connections_in_a_form_the_new_one_does_not_know_finish_here(program, backends):
    p = program("{ rx.ssh, to = %s }" % backends().quoted, server='drain_timeout = "20s",')
    ran = os.path.join(p.directory, "ran")
    p.write_program(fake("say(HELLO, 1, 999); hear_until(LISTENED); say(READY); hear_until(END)\n"
                         "say(HAVE, fds=[os.memfd_create('none')]); open(%r, 'w').close()\n" % ran))
    with opened(p) as s:
        done = p.ask("upgrade")
        assert done.returncode == 0 and "0 connections handed over" in done.out and "1 finish here" in done.out, done
        wait_for(lambda: os.path.exists(ran), what="the new process")
        assert is_alive(s)
    assert p.process.wait(PATIENCE) == 0
    p.p.is_stopped = True
    assert p.access_one()["reason"] == "done"


@pytest.mark.sanitize
def test_an_old_process_that_dies_on_the_way_leaves_what_it_has_given(rx, workdir, backends):
    """The test plays the old process and hangs up in the middle."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    head = struct.Struct("=IIIIQQI")
    with socket.socket() as listener, ours:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(10)
        listener.setblocking(False)
        port = listener.getsockname()[1]
        waiting = socket.create_connection(("127.0.0.1", port))  # in the queue
        started = peers.in_thread(lambda: rx.config(
            make_config("{ rx.ssh, to = %s }" % backends().quoted, listen='"127.0.0.1:%d"' % port),
            env={CHANNEL: str(theirs.fileno())}, pass_fds=[theirs.fileno()]))
        ours.settimeout(PATIENCE)

        def said(kind):
            data = ours.recv(4096)
            assert head.unpack(data[:head.size])[1] == kind, data

        def say(kind, data=b"", fds=()):
            ours.sendmsg([head.pack(0x50555852, kind, 0, 0, 0, 0, len(data)), data],
                         [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])

        said(0)
        theirs.close()
        address = struct.pack("=I", 16) + struct.pack("=H", socket.AF_INET) + struct.pack("!H4s", port, b"\x7f\0\0\1")
        say(1, address.ljust(116, b"\0"), [listener.fileno()])
        say(2)
        said(4)
        say(5, fds=[listener.fileno()])
    with waiting:
        p = started.get()
        waiting.sendall(wire.SSH)
        assert peers.read_exactly(waiting, len(wire.SSH)) == wire.SSH
    p.err.wait("ended on the way")


@pytest.mark.sanitize
def test_bans_and_drained_backends_hold(program, backends):
    one, two = backends(), backends()
    p = program("{ rx.ssh, to = { %s, %s } }" % (one.quoted, two.quoted), workers=1)
    assert p.ask("ban", "127.0.0.9", "10m").returncode == 0 == p.ask("drain", one.address).returncode
    for _ in range(2):
        p.upgrade()
        with contextlib.suppress(OSError), p.connect(source=("127.0.0.9", 0)) as s:
            s.sendall(wire.SSH)
            assert not s.recv(10)
        for _ in range(3):
            opened(p).close()
        assert one.n_accepted == 0
    assert two.n_accepted == 6
    ban = p.totals()["bans"]["first"][0]
    assert ban["ip"] == "127.0.0.9" and 500000 < ban["left_ms"] < 600000


# ---- another config, another user ------------------------------------------------------------------------------------

@pytest.mark.sanitize
def test_flows_of_a_route_that_is_gone_go_on_under_its_name(program, backends):
    """The file was edited meanwhile; nobody who is inside loses by it."""
    one, two = backends(), backends()
    p = program('{ rx.ssh, name = "old", to = %s }' % one.quoted, args=["--no-hot-reload"])
    with opened(p) as s:
        p.write_config(make_config('{ rx.ssh, name = "new", to = %s }' % two.quoted, workers=2,
                                   listen='"127.0.0.1:0"'))
        assert p.upgrade() == (1, 0)
        assert is_alive(s)
        assert one.n_accepted == 1 and two.n_accepted == 0
        with opened(p):
            assert two.n_accepted == 1
        assert p.upgrade() == (1, 0)
        assert is_alive(s)
    line = p.access_one(where=lambda line: line["route"] == "old")
    assert line["to"] == one.address and line["reason"] == "done" and line["protocol"] == "ssh"


@pytest.mark.sanitize
def test_flows_of_a_listener_that_is_gone_finish_in_the_old_process(program, backends):
    other = free_port()
    routes = "{ rx.ssh, to = %s }" % backends().quoted
    p = program(routes, args=["--no-hot-reload"], server='drain_timeout = "20s",',
                after='rx.listen "127.0.0.1:%d" { routes = { %s } }' % (other, routes), binds=2)
    s = p.connect(port=other)
    s.sendall(wire.SSH)
    assert peers.read_exactly(s, len(wire.SSH)) == wire.SSH
    with opened(p) as stays:
        p.write_config(make_config(routes, workers=2))
        done = p.ask("upgrade")
        assert "1 connections handed over" in done.out and "1 finish here" in done.out
        assert is_alive(s) and is_alive(stays)
        with pytest.raises(OSError):
            p.connect(port=other, timeout=1)
        s.close()
        p.follow(int(re.search(r"process (\d+)", done.out).group(1)))


@pytest.mark.sanitize
@pytest.mark.parametrize("before, after", [(1, 3), (3, 1)])
def test_the_number_of_workers_may_change(program, backends, before, after):
    p = program("{ rx.ssh, to = %s }" % backends().quoted, args=["--no-hot-reload"], workers=before)
    flows = [opened(p) for _ in range(8)]
    p.write_config(make_config("{ rx.ssh, to = %s }" % backends().quoted, workers=after))
    assert p.upgrade() == (8, 0)
    flows += [opened(p) for _ in range(12)]  # into every socket there is
    p.signal(signal.SIGHUP)
    p.err.wait("reload .SIGHUP")
    flows += [opened(p) for _ in range(12)]
    assert all(is_alive(s) for s in flows)
    for s in flows:
        s.close()
    assert p.totals()["workers"] == after


def test_sessions_are_counted_on(program, backends):
    """A second address is kept out by one that came in before the upgrade."""
    p = program("{ rx.tls, to = %s, sessions = vpn }" % backends(peers.named("hi")).quoted, workers=1,
                prelude='local vpn = rx.sessions "vpn" { by = function(conn) return conn.sni end, max_ips = 1 }')

    def knock(source):
        s = p.connect(source=(source, 0))
        s.sendall(wire.hello(sni="alice.test"))
        with contextlib.suppress(OSError):
            return s, s.recv(2)
        return s, b""

    first, answer = knock("127.0.0.1")
    assert answer == b"hi"
    assert p.upgrade() == (1, 0)
    for source, wanted in (("127.0.0.2", b""), ("127.0.0.1", b"hi")):
        s, answer = knock(source)
        s.close()
        assert answer == wanted, source
    first.close()
    wait_for(lambda: p.totals()["totals"]["active"] == 0, what="all to leave")


def test_who_a_proxy_header_named_stays_that(program, backends):
    p = program("{ rx.ssh, to = %s }" % backends().quoted, options='proxy_protocol = { from = "127.0.0.1" },')
    with p.connect() as s, p.connect() as late:
        s.sendall(b"PROXY TCP4 203.0.113.7 203.0.113.8 1234 22\r\n" + wire.SSH)
        assert peers.read_exactly(s, len(wire.SSH)) == wire.SSH
        late.sendall(b"PROXY TCP4 203.0.11")
        wait_for(lambda: p.totals()["totals"]["active"] == 2, what="both")
        assert p.upgrade() == (2, 0)
        assert is_alive(s)
        late.sendall(b"3.9 203.0.113.8 99 22\r\n" + wire.SSH)
        assert peers.read_exactly(late, len(wire.SSH)) == wire.SSH
    assert {line["client"] for line in p.access(2)} == {"203.0.113.7:1234", "203.0.113.9:99"}


@pytest.mark.sanitize
def test_hooked_connections_finish_in_the_old_process(program, backends):
    p = program('{ rx.ssh, to = %s, hooks = { seen } }' % backends().quoted, server='drain_timeout = "20s",', prelude='''
local seen = rx.hook "seen" { on_close = function(conn, why) rx.log.info("closed " .. why .. " " .. conn.bytes_in) end }''')
    s = opened(p)
    done = p.ask("upgrade")
    assert "0 connections handed over" in done.out and "1 finish here" in done.out
    assert is_alive(s)
    s.close()
    p.err.wait("closed done %d" % (len(wire.SSH) + 20))
    p.follow(int(re.search(r"process (\d+)", done.out).group(1)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_gave_up_root_upgrades_and_keeps_low_ports(program, backends, workdir):
    port = next(n for n in range(700, 1000) if not socket.socket().connect_ex(("127.0.0.1", n)) == 0)
    how = {"server": 'user = "nobody", access_log = false,', "listen": '"127.0.0.1:%d"' % port}
    os.makedirs(os.path.join(workdir, "rx1"), exist_ok=True)
    os.chmod(os.path.join(workdir, "rx1"), 0o777)
    p = program("{ rx.ssh, to = %s }" % backends().quoted, args=["--no-hot-reload"], **how)
    with opened(p) as s:
        more = next(n for n in range(port + 1, 1023) if not socket.socket().connect_ex(("127.0.0.1", n)) == 0)
        p.write_config(make_config("{ rx.ssh, to = %s }" % backends().quoted, workers=2, server=how["server"],
                                   listen='"127.0.0.1:%d", "127.0.0.1:%d"' % (port, more)))
        assert p.upgrade() == (1, 0)
        assert is_alive(s)
        with p.connect(port=more) as other:
            other.sendall(wire.SSH)
            assert peers.read_exactly(other, len(wire.SSH)) == wire.SSH
    with open("/proc/%d/status" % p.pid, encoding="ascii") as f:
        assert re.search(r"Uid:\s+65534\s+65534", f.read())
