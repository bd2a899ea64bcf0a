# SPDX-License-Identifier: MIT
"""`rate` and `rate_total`: as fast as the route says and no faster, each way, through either pump, without polling."""
import contextlib
import os
import socket
import threading
import time

import pytest

import peers
import wire
from harness import MIB, wait_for

SECONDS = 5


def cpu_seconds(p):
    with open("/proc/%d/stat" % p.pid, encoding="ascii") as f:
        fields = f.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def pour(sock, server=None):
    """Sends for ever."""
    block = b"x" * 65536
    with contextlib.suppress(OSError):
        while True:
            sock.sendall(block)


def both_ways(sock, server):
    """Sends for ever and counts what comes."""
    threading.Thread(target=pour, args=(sock,), daemon=True).start()
    with contextlib.suppress(OSError):
        while True:
            data = sock.recv(1 << 20)
            if not data:
                return
            server.seen.append((time.monotonic(), len(data)))


class Reader(threading.Thread):
    """Counts what comes from now on."""

    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock, self.came = sock, []
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                data = self.sock.recv(1 << 20)
                if not data:
                    return
                self.came.append((time.monotonic(), len(data)))


def rate_of(came, begin, end):
    return sum(n for at, n in list(came) if begin <= at < end) / (end - begin)


def open_flow(p, **how):
    s = p.connect(**how)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    s.sendall(wire.SSH)
    return s, Reader(s)


@pytest.mark.parametrize("rate", ["300k/s", "20m/s"])
@pytest.mark.parametrize("priority", ["latency", "throughput", "both"])
def test_each_connection_goes_at_its_rate_each_way(rx, backends, priority, rate):
    """Promise: within ten per cent over five seconds, by copying and by splice; two connections do not share."""
    want = int(rate[:-3]) * (1024 if "k" in rate else MIB)
    backend = backends(both_ways)
    p = rx('{ rx.ssh, to = %s, priority = "%s", rate = "%s" }' % (backend.quoted, priority, rate), workers=2)
    flows = [open_flow(p) for _ in range(2)]
    for s, _ in flows:
        threading.Thread(target=pour, args=(s,), daemon=True).start()
    time.sleep(1)
    begin, cpu = time.monotonic(), cpu_seconds(p)
    time.sleep(SECONDS)
    end = time.monotonic()
    cpu = cpu_seconds(p) - cpu
    for _, reader in flows:
        assert want * 0.9 <= rate_of(reader.came, begin, end) <= want * 1.1
    assert want * 1.8 <= rate_of(backend.seen, begin, end) <= want * 2.2
    assert cpu < 0.5 * SECONDS, "it polls"
    for s, _ in flows:
        s.close()


@pytest.mark.sanitize
def test_all_connections_of_a_route_share_rate_total_and_none_starves(rx, backends):
    backend = backends(pour)
    p = rx('{ rx.ssh, to = %s, rate_total = "4m/s" }, { rx.http, to = %s }' % (backend.quoted, backend.quoted), workers=2)
    flows = [open_flow(p) for _ in range(6)]
    time.sleep(1)
    begin = time.monotonic()
    time.sleep(SECONDS)
    end = time.monotonic()
    rates = [rate_of(reader.came, begin, end) for _, reader in flows]
    assert 4 * MIB * 0.9 <= sum(rates) <= 4 * MIB * 1.1, rates
    assert min(rates) > 4 * MIB / 6 * 0.1, rates
    for s, _ in flows:
        s.close()
    with p.connect() as s:  # another route is not concerned
        s.sendall(wire.get())
        reader = Reader(s)
        wait_for(lambda: sum(n for _, n in reader.came) > 40 * MIB or None, 6, what="the other route to be fast")


@pytest.mark.sanitize
def test_what_is_shaped_arrives_whole_and_ends_as_it_should(rx, backends):
    """Promise: byte-exact, half-close passed on, also when the end comes while the direction is paused."""
    backend = backends(peers.echo)
    p = rx('{ rx.ssh, to = %s, rate = "1m/s" }' % backend.quoted)
    for size in (0, 1, 5000, 700_000):
        with p.connect(timeout=30) as s:
            sent = wire.SSH + os.urandom(size)
            task = peers.in_thread(peers.read_all, s)
            s.sendall(sent)
            s.shutdown(socket.SHUT_WR)
            assert task.get(30) == sent
    assert {line["reason"] for line in p.access(4)} == {"done"}


@pytest.mark.sanitize
def test_a_paused_connection_is_not_idle_and_can_be_left(rx, backends):
    """Promise: waiting for the rate does not count as idle; a client that goes meanwhile is noticed."""
    backend = backends(peers.collect)
    p = rx('{ rx.ssh, to = %s, rate = "1k/s", idle_timeout = "500ms" }' % backend.quoted)
    with p.connect() as s:
        s.sendall(wire.SSH)
        time.sleep(0.2)
        s.sendall(b"z" * 4000)
        time.sleep(2.5)
        assert not p.access_lines()
    line = p.access_one(timeout=10)
    assert line["reason"] == "done" and line["bytes_in"] == len(wire.SSH) + 4000


def test_a_reload_shapes_new_connections_and_leaves_the_old_as_they_are(rx, backends):
    backend = backends(pour)
    config = '{ rx.ssh, to = %s, rate = "%s", name = "x" }'
    p = rx(config % (backend.quoted, "2m/s"), options='peek_timeout = "2s",')
    old = open_flow(p)
    text = open(p.directory + "/refractium.lua", encoding="utf-8").read()
    p.write_config(text.replace("2m/s", "200k/s"))
    p.err.wait("reload")
    time.sleep(0.3)
    new = open_flow(p)
    time.sleep(0.5)
    begin = time.monotonic()
    time.sleep(3)
    end = time.monotonic()
    assert 1.7 * MIB < rate_of(old[1].came, begin, end) < 2.3 * MIB
    assert 170 * 1024 < rate_of(new[1].came, begin, end) < 230 * 1024
    for s, _ in (old, new):
        s.close()
