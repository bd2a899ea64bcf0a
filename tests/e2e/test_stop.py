# SPDX-License-Identifier: MIT
"""How it ends: SIGTERM, SIGINT, drain_timeout, a second signal; and idle_timeout."""
import signal
import socket
import time

import pytest

import peers
import wire
from harness import MIB, wait_for

pytestmark = pytest.mark.sanitize


def slow_answer(size, seconds):
    """Sends `size` bytes over `seconds`, then ends."""
    def handler(sock, server):
        sock.recv(100)
        part = size // 20
        for _ in range(20):
            sock.sendall(b"z" * part)
            time.sleep(seconds / 20)

    return handler


def begun(p):
    """A connection that is being served: its first answer has arrived."""
    s = p.connect()
    s.sendall(wire.SSH)
    assert s.recv(1)
    return s


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_running_transfer_may_finish_and_nobody_new_comes_in(rx, backends, sig):
    """Promise: stop accepting at once, let connections finish, exit 0."""
    size = 2 * MIB // 20 * 20
    p = rx("{ rx.ssh, to = %s }" % backends(slow_answer(size, 1.0)).quoted, workers=2)
    with begun(p) as s:
        began = time.monotonic()
        p.signal(sig)
        p.err.wait("stopping")

        def refused():
            try:
                p.connect(timeout=2).close()
                return False
            except OSError:
                return True

        wait_for(refused, 2, "new clients to be refused")
        assert p.process.poll() is None, "it did not wait"
        assert peers.receive_hash(s)[0] == size - 1
    assert p.wait_exit() == 0
    assert time.monotonic() - began < 5
    # Who knocked in the moment before the door closed may have a line of his own.
    assert p.access_one(where=lambda line: line["protocol"] == "ssh")["reason"] == "done"
    assert {line["reason"] for line in p.access_lines() if line["protocol"] != "ssh"} <= {"shutdown", "client_gone"}


def test_drain_timeout_cuts_what_is_left(rx, backends):
    """Promise: what is still open when drain_timeout ends is closed, with the reason shutdown; exit 0."""
    p = rx("{ rx.ssh, to = %s }" % backends().quoted, server='drain_timeout = "500ms",', workers=2)
    with begun(p) as s:
        began = time.monotonic()
        p.signal(signal.SIGTERM)
        end, _ = peers.how_it_ends(s)
        took = time.monotonic() - began
        assert end in ("eof", "reset") and 0.4 < took < 2.5, (end, took)
        assert p.wait_exit() == 0
    assert p.access_one()["reason"] == "shutdown"


def test_a_second_signal_closes_at_once(rx, backends):
    """Promise: a second signal does not wait for drain_timeout; exit 0 all the same."""
    p = rx("{ rx.ssh, to = %s }" % backends().quoted, server='drain_timeout = "60s",', workers=2)
    with begun(p) as s:
        p.signal(signal.SIGTERM)
        p.err.wait("stopping")
        time.sleep(0.2)
        assert p.process.poll() is None
        began = time.monotonic()
        p.signal(signal.SIGTERM)
        assert peers.how_it_ends(s)[0] in ("eof", "reset")
        assert p.wait_exit() == 0
        assert time.monotonic() - began < 2
    assert p.access_one()["reason"] == "shutdown"


def test_who_has_said_nothing_does_not_delay_the_end(rx):
    """Promise: a client that has said nothing has nothing to lose."""
    p = rx('{ rx.ssh, to = "127.0.0.1:1" }', options='peek_timeout = "30s",', workers=2)
    socks = [p.connect() for _ in range(20)]
    time.sleep(0.2)
    began = time.monotonic()
    p.signal(signal.SIGTERM)
    assert p.wait_exit() == 0
    assert time.monotonic() - began < 2
    lines = p.access(20)
    assert len(lines) == 20 and {line["reason"] for line in lines} == {"shutdown"}
    for s in socks:
        s.close()


def test_who_has_begun_to_speak_may_finish(rx, backends):
    """Promise: draining is for everybody who has begun."""
    p = rx("{ rx.ssh, to = %s }" % backends(peers.named("served")).quoted)
    with p.connect() as s:
        s.sendall(b"SSH-")
        time.sleep(0.2)
        p.signal(signal.SIGTERM)
        p.err.wait("stopping")
        time.sleep(0.1)
        s.sendall(wire.SSH[4:])
        assert peers.read_exactly(s, 6) == b"served"
    assert p.wait_exit() == 0


def test_stopping_without_clients_is_quick(rx):
    """Promise: nothing to wait for, nothing waited for."""
    p = rx('{ rx.ssh, to = "127.0.0.1:1" }', workers=4)
    began = time.monotonic()
    p.signal(signal.SIGTERM)
    assert p.wait_exit() == 0
    assert time.monotonic() - began < 1.5


def test_stopping_in_the_middle_of_a_crowd(rx, echo_process):
    """Promise: two signals in the middle of traffic: exit 0, one access line each."""
    p = rx("{ rx.ssh, to = %s }" % echo_process.quoted, workers=2)
    socks = [begun(p) for _ in range(100)]
    for s in socks[:50]:
        s.setblocking(False)
        try:
            s.send(bytes(4 * MIB))
        except BlockingIOError:
            pass
    p.signal(signal.SIGTERM)
    time.sleep(0.05)
    p.signal(signal.SIGTERM)
    assert p.wait_exit() == 0
    assert len(p.access_lines()) == 100
    for s in socks:
        s.close()


def test_sighup_does_not_end_it(rx, backends):
    """Promise: SIGHUP never ends the process."""
    p = rx("{ rx.ssh, to = %s }" % backends().quoted)
    with begun(p) as s:
        p.signal(signal.SIGHUP)
        time.sleep(0.2)
        s.sendall(b"still")
        assert p.process.poll() is None
        with begun(p):
            pass


def test_idle_timeout_of_a_listener_and_a_route(rx, backends):
    """Promise: no byte in either direction for idle_timeout ends a connection; a route's own comes first."""
    to = backends().quoted
    p = rx('{ rx.ssh, idle_timeout = "400ms", to = %s }, { rx.http, to = %s }' % (to, to),
           options='idle_timeout = "900ms",')
    for first, least in ((wire.SSH, 0.3), (wire.get(), 0.8)):
        with p.connect() as s:
            s.sendall(first)
            peers.read_exactly(s, len(first))
            began = time.monotonic()
            assert peers.how_it_ends(s)[0] in ("eof", "reset")
            assert least < time.monotonic() - began < least + 2
    assert {line["reason"] for line in p.access(2)} == {"idle_timeout"}


def test_any_byte_in_either_direction_puts_idle_timeout_off(rx, backends):
    """Promise: as above; one direction is enough."""
    def talk(sock, server):
        sock.recv(100)
        for _ in range(8):
            sock.sendall(b"x")
            time.sleep(0.2)

    p = rx('{ rx.ssh, idle_timeout = "600ms", to = %s }, { rx.http, idle_timeout = "600ms", to = %s }'
           % (backends(talk).quoted, backends(peers.collect).quoted))
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert peers.how_it_ends(s) == ("eof", b"x" * 8)
    with p.connect() as s:
        s.sendall(wire.get())
        for _ in range(8):
            time.sleep(0.2)
            s.sendall(b"y")
        s.shutdown(socket.SHUT_WR)
        assert peers.read_all(s) == b"got %d" % (len(wire.get()) + 8)
