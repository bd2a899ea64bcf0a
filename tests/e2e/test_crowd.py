# SPDX-License-Identifier: MIT
"""Thousands of idle connections: what each costs, and that it still works afterwards."""
import pytest

import peers
import wire
from harness import SANITIZER, SCALE, raise_nofile, wait_for

CROWD = max(int(5000 * SCALE), 300)
BYTES_EACH = 1536  # ≤ 0.6 KB of its own, and what the allocator and libev's tables add
PAYLOAD = b"are you still there?"


def test_idle_connections_are_small_and_stay_usable(rx, echo_process):
    """Promise: two descriptors and well under 2 KB for an idle connection; all are usable after the wait."""
    room = raise_nofile()
    count = min(CROWD, room - 500)
    p = rx("{ rx.ssh, to = %s }" % echo_process.quoted, workers=2, server="max_connections = 9000,")
    warm = p.connect()
    warm.sendall(wire.SSH)
    peers.read_exactly(warm, len(wire.SSH))
    rss, fds, socks = p.rss_bytes(), p.fds(), []
    for _ in range(count):
        s = p.connect(timeout=30)
        s.sendall(wire.SSH)
        socks.append(s)
    for s in socks:
        assert peers.read_exactly(s, len(wire.SSH)) == wire.SSH
    used = p.rss_bytes() - rss
    assert p.fds() - fds <= 2 * count
    if not SANITIZER:
        assert used / count < BYTES_EACH, "%d bytes each" % (used / count)
    for s in socks:
        s.sendall(PAYLOAD)
    for s in socks:
        assert peers.read_exactly(s, len(PAYLOAD)) == PAYLOAD
    for s in (warm, *socks):
        s.close()
    wait_for(lambda: p.fds() <= fds, what="all descriptors to come back")
    wait_for(lambda: len(p.access_lines()) == count + 1, what="one access line for each")
    assert {line["reason"] for line in p.access_lines()} == {"done"}


def test_a_crowd_that_is_not_recognised_yet_is_small(rx):
    """Promise: who is being waited for costs one descriptor and little memory, also with a few bytes said."""
    count = min(CROWD, raise_nofile() - 500) // 2
    p = rx('{ rx.ssh, to = "127.0.0.1:1" }', workers=2, server="max_connections = 9000,",
           options='peek_timeout = "60s",')
    p.connect().close()
    p.access_one()  # it has gone: what follows is measured from here
    rss, fds, socks = p.rss_bytes(), p.fds(), []
    for number in range(count):
        s = p.connect(timeout=30)
        if number % 2:
            s.sendall(b"SSH-2.0")
        socks.append(s)
    wait_for(lambda: p.fds() - fds >= count, what="all to be accepted")
    assert p.fds() - fds <= count
    if not SANITIZER:
        assert (p.rss_bytes() - rss) / count < BYTES_EACH
    for s in socks:
        s.close()
    wait_for(lambda: p.fds() <= fds, what="all descriptors to come back")


@pytest.mark.sanitize
def test_all_leave_at_once(rx, echo_process):
    """Promise: a thousand resets in one moment are a thousand closed connections and nothing else."""
    p = rx("{ rx.ssh, to = %s }" % echo_process.quoted, workers=2)
    count = 1000 if not SANITIZER else 200
    fds, socks = p.fds(), []
    for _ in range(count):
        s = p.connect(timeout=30)
        s.sendall(wire.SSH)
        socks.append(s)
    for s in socks:
        peers.read_exactly(s, len(wire.SSH))
    for s in socks:
        peers.reset(s)
    wait_for(lambda: p.fds() <= fds, what="all descriptors to come back")
    lines = p.access(count)
    assert len(lines) == count and {line["reason"] for line in lines} == {"client_reset"}
