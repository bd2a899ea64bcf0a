# SPDX-License-Identifier: MIT
"""Half-closed and reset flows: each end learns what the other end did, and no byte is lost."""
import socket
import time

import pytest

import peers
import wire
from harness import MIB, wait_for

pytestmark = pytest.mark.sanitize


@pytest.mark.parametrize("priority", ["latency", "throughput", "both"])
def test_a_client_that_shuts_down_first_still_gets_the_whole_answer(rx, backends, priority):
    """Promise: the client's end of stream is passed on as a half-close; the answer after it arrives whole."""
    answer = peers.Stream(4 * MIB)

    def late(sock, server):
        server.seen.append(peers.read_all(sock))
        time.sleep(0.2)
        answer.send(sock)

    backend = backends(late)
    p = rx('{ rx.ssh, priority = "%s", to = %s }' % (priority, backend.quoted))
    with p.connect() as s:
        s.sendall(wire.SSH + b"question")
        s.shutdown(socket.SHUT_WR)
        assert peers.receive_hash(s) == (answer.size, answer.digest())
    assert backend.seen == [wire.SSH + b"question"]
    line = p.access_one()
    assert line["reason"] == "done"
    assert (line["bytes_in"], line["bytes_out"]) == (len(wire.SSH) + 8, answer.size)


@pytest.mark.parametrize("priority", ["latency", "throughput", "both"])
def test_a_backend_that_shuts_down_first_still_gets_all_the_client_says(rx, backends, priority):
    """Promise: half-close the other way round."""
    def early(sock, server):
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)
        server.seen.append(peers.receive_hash(sock))

    backend, rest = backends(early), peers.Stream(3 * MIB)
    p = rx('{ rx.ssh, priority = "%s", to = %s }' % (priority, backend.quoted))
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert peers.read_all(s) == b"bye"
        time.sleep(0.1)
        rest.send(s)
        s.shutdown(socket.SHUT_WR)
        total, _ = backend.wait_seen()[0]
    assert total == rest.size + len(wire.SSH)
    assert p.access_one()["reason"] == "done"


def test_half_close_in_the_first_segment(rx, backends):
    """Promise: first bytes and end of stream in one go lose nothing."""
    backend = backends(peers.collect)
    p = rx("{ rx.ssh, to = %s }" % backend.quoted)
    for _ in range(30):
        with p.connect() as s:
            s.sendall(wire.SSH)
            s.shutdown(socket.SHUT_WR)
            assert peers.read_all(s) == b"got %d" % len(wire.SSH)
    assert all(line["reason"] == "done" for line in p.access(30))


def test_a_client_reset_reaches_the_backend_as_a_reset(rx, backends):
    """Promise: a reset is passed on as a reset, not as a clean end."""
    ends = []

    def watch(sock, server):
        sock.sendall(sock.recv(100))
        ends.append(peers.how_it_ends(sock)[0])

    backend = backends(watch)
    p = rx("{ rx.ssh, to = %s }" % backend.quoted)
    s = p.connect()
    s.sendall(wire.SSH)
    peers.read_exactly(s, len(wire.SSH))
    peers.reset(s)
    assert wait_for(lambda: ends, what="the backend to notice") == ["reset"]
    assert p.access_one()["reason"] == "client_reset"


def test_a_backend_reset_reaches_the_client_as_a_reset(rx, backends):
    """Promise: as above, the other way."""
    def slam(sock, server):
        sock.recv(100)
        peers.reset(sock)

    backend = backends(slam)
    p = rx("{ rx.ssh, to = %s }" % backend.quoted)
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert peers.how_it_ends(s)[0] == "reset"
    assert p.access_one()["reason"] == "server_reset"


def test_a_reset_after_a_half_close_is_noticed(rx, backends):
    """Promise: a client that half-closed and then vanishes does not leave the backend waiting."""
    ends = []

    def wait(sock, server):
        peers.read_all(sock)
        server.seen.append("eof")
        deadline = time.monotonic() + 10
        try:
            while time.monotonic() < deadline:
                sock.sendall(b"x" * 1000)
                time.sleep(0.02)
            ends.append("never noticed")
        except (BrokenPipeError, ConnectionResetError):
            ends.append("noticed")

    backend = backends(wait)
    p = rx("{ rx.ssh, to = %s }" % backend.quoted)
    s = p.connect()
    s.sendall(wire.SSH)
    s.shutdown(socket.SHUT_WR)
    backend.wait_seen()
    s.recv(10)
    peers.reset(s)
    assert wait_for(lambda: ends, what="the backend to notice") == ["noticed"]
    assert p.access_one()["reason"] == "client_reset"


def test_a_backend_that_closes_without_a_word_ends_the_client_cleanly(rx, backends):
    """Promise: end of stream is end of stream; the client is told at once and the connection ends when it leaves."""
    backend = backends(lambda sock, server: sock.recv(100))
    p = rx("{ rx.ssh, to = %s }" % backend.quoted)
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert peers.how_it_ends(s) == ("eof", b"")
    assert p.access_one()["reason"] == "done"
