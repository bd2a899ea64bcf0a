# SPDX-License-Identifier: MIT
"""Running out of file descriptors costs connections, never the process."""
import contextlib
import os
import resource
import subprocess
import time

import pytest

import peers
import wire
from harness import BINARY, PATIENCE, SANITIZER, make_config, wait_for

pytestmark = pytest.mark.sanitize
LIMIT = 64


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


def flood(p, count, said):
    socks = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            s = p.connect(timeout=2)
            socks.append(s)
            s.sendall(said)
    return socks


def serves(p):
    with contextlib.suppress(OSError, AssertionError), p.connect(timeout=2) as s:
        s.sendall(wire.SSH)
        return peers.read_exactly(s, len(wire.SSH)) == wire.SSH
    return False


@pytest.mark.parametrize("said", [b"", wire.SSH], ids=["silent", "served"])
def test_it_survives_a_full_descriptor_table_and_serves_again(rx, echo_process, said):
    """Promise: EMFILE on accept or connect ends no process, spins nothing, and is over when descriptors are back."""
    p = rx("{ rx.ssh, to = %s }" % echo_process.quoted, preexec=few_descriptors, workers=2,
           options='peek_timeout = "30s",')
    assert serves(p)
    for _ in range(2):
        socks = flood(p, 3 * LIMIT, said)
        assert p.process.poll() is None
        if not SANITIZER:
            time.sleep(0.3)
            before = p.cpu_exact()
            time.sleep(1)
            assert p.cpu_exact() - before < 0.1, "it spins without descriptors"
        for s in socks:
            s.close()
        wait_for(lambda: serves(p), what="it to serve again")
    assert "file descriptors" in p.errors()


def test_who_does_not_fit_is_told_at_once(rx, echo_process):
    """Promise: a client beyond the table is reset, not left hanging in the backlog; those inside go on."""
    p = rx("{ rx.ssh, to = %s }" % echo_process.quoted, preexec=few_descriptors)
    inside, turned_away = [], 0
    while turned_away < 3:
        assert len(inside) < LIMIT
        with contextlib.suppress(ConnectionError):
            s = p.connect(timeout=3)
            s.sendall(wire.SSH)
            inside.append(s)
            if s.recv(100) == wire.SSH:
                continue
        turned_away += 1
    for s in inside:
        with contextlib.suppress(ConnectionError):  # of those turned away
            s.sendall(b"still here")
            assert s.recv(10) in (b"still here", b"")
    assert len(inside) > 15
    for s in inside:
        s.close()
    wait_for(lambda: serves(p), what="it to serve again")


def test_descriptors_do_not_leak(rx, echo_process):
    """Promise: whatever way connections end, what they held is given back."""
    p = rx('{ rx.ssh, to = %s }, { rx.http, to = "127.0.0.1:1" }, { rx.tls, to = rx.refuse }' % echo_process.quoted,
           options='peek_timeout = "100ms",')
    assert serves(p)
    time.sleep(0.2)
    before = p.fds()
    for first in (wire.SSH, wire.get(), wire.hello("x"), wire.GARBAGE, b"SS", b""):
        for _ in range(10):
            s = p.connect()
            s.sendall(first)
            if first is wire.SSH:
                s.recv(100)
            peers.reset(s)
    for _ in range(3):
        with p.connect() as s:  # bulk: pipes are taken and given back
            s.sendall(wire.SSH)
            task = peers.in_thread(peers.read_exactly, s, (1 << 22) + len(wire.SSH))
            s.sendall(bytes(1 << 22))
            task.get()
    wait_for(lambda: p.fds() <= before + 8, what="descriptors to come back (%d before, %d now)" % (before, p.fds()))


@pytest.mark.skipif(bool(SANITIZER), reason="has descriptors of its own")
def test_who_cannot_even_start_says_why(workdir, echo_process):
    path = os.path.join(workdir, "refractium.lua")
    with open(path, "w", encoding="utf-8") as f:
        f.write(make_config("{ rx.ssh, to = %s }" % echo_process.quoted, workers=4))
    for limit in range(12, 18):
        done = subprocess.run([BINARY, "-c", path], cwd=workdir, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=PATIENCE, preexec_fn=lambda n=limit: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)))
        assert done.returncode and b"Too many open files" in done.stderr, (limit, done)
