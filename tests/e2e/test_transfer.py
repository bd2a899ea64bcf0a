# SPDX-License-Identifier: MIT
"""Bulk: byte-exact both ways, through either pump, with backpressure."""
import os
import socket
import time

import pytest

import peers
import wire
from harness import MIB, SANITIZER, SCALE, wait_for

BULK = max(int(1024 * MIB * SCALE), 4 * MIB)
OVERHEAD = 20 * MIB if not SANITIZER else 400 * MIB


def two_way(size):
    """A handler that sends `size` bytes while it receives; notes what came."""
    def handler(sock, server):
        task = peers.in_thread(peers.receive_hash, sock)
        sent = peers.Stream(size, seed=2).send(sock)
        sock.shutdown(socket.SHUT_WR)
        server.seen.append((task.get(300), sent))

    return handler


def exchange(p, size):
    """Sends `size` bytes and receives what the handler sends, at the same time: (sent, received)."""
    with p.connect(timeout=120) as s:
        s.sendall(wire.SSH)
        task = peers.in_thread(peers.receive_hash, s)
        sent = peers.Stream(size, seed=1).send(s)
        s.shutdown(socket.SHUT_WR)
        return sent, task.get(300)


def check_exchange(p, backend, size):
    _, (total, received) = exchange(p, size)
    (came, came_hash), sent_back = backend.wait_seen()[-1]
    assert (total, received) == (size, sent_back)
    assert came == size + len(wire.SSH)
    whole = peers.hashlib.sha256(wire.SSH)
    for block in peers.Stream(size, seed=1).blocks():
        whole.update(block)
    assert came_hash == whole.hexdigest()


def test_a_gigabyte_each_way_at_once(rx, backends):
    """Promise: what goes in comes out, both ways at once, and no memory is taken for it."""
    backend = backends(two_way(BULK))
    p = rx("{ rx.ssh, to = %s }" % backend.quoted)
    before = p.rss_bytes()
    check_exchange(p, backend, BULK)
    assert p.rss_bytes() - before < OVERHEAD
    line = p.access_one()
    assert (line["bytes_in"], line["bytes_out"], line["reason"]) == (BULK + len(wire.SSH), BULK, "done")


@pytest.mark.sanitize
@pytest.mark.parametrize("priority", ["latency", "throughput", "both"])
def test_every_priority_is_byte_exact(rx, backends, priority):
    """Promise: priority is a choice of pump, never of content."""
    size = max(BULK // 8, 4 * MIB)
    backend = backends(two_way(size))
    p = rx('{ rx.ssh, priority = "%s", to = %s }' % (priority, backend.quoted))
    check_exchange(p, backend, size)


@pytest.mark.sanitize
def test_messages_and_bulk_mixed_are_byte_exact(rx, echo_process):
    """Promise: a flow that changes between small and large messages changes pumps and loses nothing."""
    p = rx("{ rx.ssh, to = %s }" % echo_process.quoted)
    with p.connect(timeout=30) as s:
        s.sendall(wire.SSH)
        assert peers.read_exactly(s, len(wire.SSH)) == wire.SSH
        for turn in range(6):
            for size in (1, 100, 5 * MIB, 7, 70000, 3):
                data = peers.Stream(size, seed=turn)
                whole = b"".join(data.blocks())
                task = peers.in_thread(peers.read_exactly, s, size)
                s.sendall(whole)
                assert task.get() == whole, (turn, size)


@pytest.mark.sanitize
@pytest.mark.parametrize("priority", ["latency", "throughput", "both"])
def test_a_slow_reader_slows_the_writer_and_takes_no_memory(rx, backends, priority):
    """Promise: backpressure: what the client does not read is not gathered here."""
    size = max(BULK // 4, 8 * MIB)
    sent = []

    def pour(sock, server):
        sock.recv(100)
        for block in peers.Stream(size).blocks():
            sock.sendall(block)
            sent.append(len(block))

    p = rx('{ rx.ssh, priority = "%s", to = %s }' % (priority, backends(pour).quoted))
    before = p.rss_bytes()
    socks = []
    for _ in range(4):
        s = p.connect(timeout=60)
        s.sendall(wire.SSH)
        socks.append(s)
    time.sleep(1)
    stuck = sum(sent)
    time.sleep(0.5)
    assert sum(sent) - stuck < 4 * MIB, "the writers are not held back"
    assert p.rss_bytes() - before < OVERHEAD
    slow = socks.pop()
    for _ in range(20):  # one reads in sips, then all the rest
        peers.read_exactly(slow, 10000)
        time.sleep(0.005)
    rest = size - 200000
    task = peers.in_thread(peers.read_exactly, slow, 1000)
    task.get()
    got, buffer = 1000, bytearray(1 << 18)
    while got < rest:
        n = slow.recv_into(buffer)
        assert n, "ended early"
        got += n
    assert p.rss_bytes() - before < OVERHEAD
    for s in (slow, *socks):
        s.close()


@pytest.mark.parametrize("priority,pipes", [("latency", False), ("throughput", True), ("both", True)])
def test_priority_is_a_choice_of_pump(rx, backends, priority, pipes):
    """Promise: latency copies; throughput moves bytes through a pipe of the kernel's; both changes over to that."""
    def pour(sock, server):
        sock.recv(100)
        for block in peers.Stream(32 * MIB).blocks():
            sock.sendall(block)

    def open_pipes():
        links = []
        for fd in os.listdir("/proc/%d/fd" % p.pid):
            try:
                links.append(os.readlink("/proc/%d/fd/%s" % (p.pid, fd)))
            except OSError:
                pass
        return len([link for link in links if link.startswith("pipe:")])

    p = rx('{ rx.ssh, priority = "%s", to = %s }' % (priority, backends(pour).quoted))
    before = open_pipes()
    with p.connect() as s:
        s.sendall(wire.SSH)
        peers.read_exactly(s, 8 * MIB)
        time.sleep(0.3)  # now the reader is stuck, and what could not go on waits in the pump
        assert (open_pipes() > before) == pipes


@pytest.mark.sanitize
def test_many_transfers_at_once_are_byte_exact(rx, backends):
    """Promise: connections do not mix: forty at a time, each with bytes of its own."""
    size = max(int(8 * MIB * SCALE), MIB)

    def handler(sock, server):
        head = peers.read_exactly(sock, len(wire.SSH) + 4)
        number = int(head[-4:])
        task = peers.in_thread(peers.receive_hash, sock)
        peers.Stream(size, seed=1000 + number).send(sock)
        sock.shutdown(socket.SHUT_WR)
        server.seen.append((number, task.get(120)))

    def one(number):
        with p.connect(timeout=60) as s:
            s.sendall(wire.SSH + b"%04d" % number)
            task = peers.in_thread(peers.receive_hash, s)
            peers.Stream(size, seed=number).send(s)
            s.shutdown(socket.SHUT_WR)
            return task.get(120)

    backend = backends(handler)
    p = rx("{ rx.ssh, to = %s }" % backend.quoted, workers=2)
    tasks = [peers.in_thread(one, number) for number in range(40)]
    for number, task in enumerate(tasks):
        assert task.get(180) == (size, peers.Stream(size, seed=1000 + number).digest())
    for number, (total, digest) in backend.wait_seen(40):
        assert (total, digest) == (size, peers.Stream(size, seed=number).digest())


@pytest.mark.sanitize
def test_many_short_connections_one_after_the_other(rx, backends):
    """Promise: connections that live for one question all get their answer and leave nothing."""
    count = max(int(1500 * SCALE), 200)
    p = rx("{ rx.http, to = %s }" % backends(peers.http("ok")).quoted, workers=2)
    before = None
    for number in range(count):
        with p.connect() as s:
            s.sendall(wire.get())
            assert peers.read_all(s).endswith(b"ok")
        if number == 100:
            before = p.rss_bytes()
    assert p.rss_bytes() - before < (4 if not SANITIZER else 200) * MIB
    wait_for(lambda: len(p.access_lines()) == count, what="one access line for each")
