# SPDX-License-Identifier: MIT
"""Clients that do nothing cost nothing."""
import socket
import time

import pytest

import peers
import wire
from harness import wait_for

CROWD = 200
MOST = 0.030  # seconds of CPU in one second, for all of them together


def cpu_over_a_second(p):
    time.sleep(0.3)  # what the arrival itself cost is not meant
    before = p.cpu_exact()
    time.sleep(1.0)
    return p.cpu_exact() - before


def crowd(p, said=b"", half_close=False):
    socks = []
    for _ in range(CROWD):
        s = p.connect()
        if said:
            s.sendall(said)
        if half_close:
            s.shutdown(socket.SHUT_WR)
        socks.append(s)
    return socks


@pytest.mark.parametrize("said", [b"", b"SSH-", b"\x16\x03\x01", b"GET / HTTP/1.1\r\nHos"],
                         ids=["silent", "ssh", "tls", "http"])
def test_undecided_clients_cost_no_cpu(rx, said):
    """Promise: a silent or unidentified connection does not spin, for as long as it may wait."""
    p = rx('{ rx.ssh, to = "127.0.0.1:1" }, { rx.tls, to = "127.0.0.1:1" }, { rx.http, host = "x", to = "127.0.0.1:1" }',
           options='peek_timeout = "60s",', workers=2)
    socks = crowd(p, said)
    assert cpu_over_a_second(p) < MOST
    for s in socks:
        s.close()


@pytest.mark.parametrize("who", ["client", "server", "idle"])
def test_half_closed_and_idle_flows_cost_no_cpu(rx, echo_process, backends, who):
    """Promise: a flow of which one side has ended, or where nothing is said, does not spin."""
    if who == "server":
        def end_early(sock, server):
            sock.shutdown(socket.SHUT_WR)
            server.closing.wait()

        to = backends(end_early).quoted
    else:
        to = backends(peers.hold).quoted
    p = rx("{ rx.ssh, to = %s }" % to, workers=2)
    socks = crowd(p, wire.SSH, half_close=who == "client")
    assert cpu_over_a_second(p) < MOST
    assert p.access_lines() == []
    for s in socks:
        s.close()


def test_clients_that_wait_for_a_swallowing_backend_cost_no_cpu(rx):
    """Promise: nor does waiting for a backend."""
    with peers.BlackHole() as hole:
        p = rx('{ rx.ssh, connect_timeout = "60s", to = %s }' % hole.quoted, workers=2)
        socks = crowd(p, wire.SSH)
        assert cpu_over_a_second(p) < MOST
        for s in socks:
            s.sendall(b"more that is not read yet")
            s.shutdown(socket.SHUT_WR)
        assert cpu_over_a_second(p) < MOST
        for s in socks:
            peers.reset(s)
        p.signal(15)
        p.signal(15)


def test_a_stuck_reader_costs_no_cpu(rx, backends):
    """Promise: backpressure is waiting, not polling."""
    p = rx('{ rx.ssh, to = %s }' % backends(peers.hold).quoted)
    with p.connect() as s:
        s.sendall(wire.SSH)
        s.setblocking(False)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += s.send(bytes(1 << 16))
                time.sleep(0.0002)
        except BlockingIOError:
            pass
        time.sleep(0.2)
        assert cpu_over_a_second(p) < MOST


@pytest.mark.sanitize
def test_silent_clients_leave_others_alone(rx, backends):
    """Promise: half-open and silent clients disturb no other connection."""
    p = rx('{ rx.http, to = %s }' % backends(peers.http("web")).quoted, options='peek_timeout = "20s",')
    socks = crowd(p) + crowd(p, b"GE")
    began = time.monotonic()
    for _ in range(20):
        with p.connect() as s:
            s.sendall(wire.get())
            assert peers.read_all(s).endswith(b"web")
    assert time.monotonic() - began < 10
    for s in socks:
        s.close()
    wait_for(lambda: len(p.access_lines()) == 2 * CROWD + 20, what="one line for each")
