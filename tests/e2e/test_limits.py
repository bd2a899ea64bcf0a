# SPDX-License-Identifier: MIT
"""Limits hold, say so, and are given back."""
import time

import pytest

import peers
import wire
from harness import wait_for

pytestmark = pytest.mark.sanitize


def open_echo(p, **how):
    """A connection through to the echo backend, or None when it is turned away."""
    s = None
    try:
        s = p.connect(**how)  # the reset may come this early
        s.sendall(wire.SSH)
        if peers.read_exactly(s, len(wire.SSH)) == wire.SSH:
            return s
    except (ConnectionError, AssertionError):
        if s:
            s.close()
    return None


def open_echoes(p, count, **how):
    """`count` connections at the same time; places just left may need a moment."""
    def try_all():
        inside = [open_echo(p, **how) for _ in range(count)]
        if all(inside):
            return inside
        for s in filter(None, inside):
            s.close()
        return None

    return wait_for(try_all, 5, "%d places" % count)


def close_all(*socks):
    for s in socks:
        s.close()


def check_limit(p, limit, reason, **how):
    """`limit` are served, one more is turned away with `reason`; when one leaves, one more is served."""
    inside = open_echoes(p, limit, **how)
    for _ in range(3):
        assert open_echo(p, **how) is None
    assert {line["reason"] for line in p.access(3)} == {reason}
    assert len(p.access_lines()) == 3
    inside.pop().close()
    inside.append(wait_for(lambda: open_echo(p, **how), what="a place to be given back"))
    close_all(*inside)
    close_all(*open_echoes(p, limit, **how))


def test_max_connections_of_the_server(rx, backends):
    """Promise: max_connections in rx.server, over all listeners and workers."""
    p = rx("{ rx.ssh, to = %s }" % backends().quoted, server="max_connections = 4,", workers=2)
    check_limit(p, 4, "limit_server")


def test_max_connections_of_a_listener(rx, backends):
    """Promise: max_connections in rx.listen counts that listener's alone."""
    to = backends().quoted
    p = rx("{ rx.ssh, to = %s }" % to, options="max_connections = 3,",
           after='rx.listen "127.0.0.2:0" { routes = { { rx.ssh, to = %s } } }' % to, binds=2)
    inside = [open_echo(p) for _ in range(3)]
    assert all(inside) and open_echo(p) is None
    other = open_echo(p, host="127.0.0.2", port=p.ports[1])
    assert other
    close_all(*inside, other)
    wait_for(lambda: len(p.access_lines()) == 5, what="all to end")
    assert [line["reason"] for line in p.access_lines()].count("limit_listener") == 1
    close_all(*open_echoes(p, 3))


def test_max_connections_of_a_route(rx, backends):
    """Promise: a full route turns away its own connections and no others."""
    to = backends().quoted
    p = rx('{ rx.ssh, max_connections = 2, to = %s }, { rx.http, to = %s }' % (to, to))
    check_limit(p, 2, "limit_route")
    inside = open_echoes(p, 2)
    with p.connect() as s:
        s.sendall(wire.get())
        assert peers.read_exactly(s, 5) == b"GET /"
    close_all(*inside)


def test_max_connections_per_ip_v4(rx, backends):
    """Promise: max_connections_per_ip counts each client address on its own."""
    p = rx("{ rx.ssh, to = %s }" % backends().quoted, options="max_connections_per_ip = 3,", workers=2)
    elsewhere = open_echo(p, source=("127.0.0.9", 0))
    check_limit(p, 3, "limit_ip")
    assert elsewhere
    elsewhere.close()


def test_max_connections_per_ip_v6(rx, backends):
    """Promise: the same for IPv6 clients."""
    p = rx("{ rx.ssh, to = %s }" % backends().quoted, listen='"[::1]:0"', options="max_connections_per_ip = 2,")
    check_limit(p, 2, "limit_ip", host="::1")


def test_max_pending(rx, backends):
    """Promise: max_pending bounds those that are not recognised yet; who is recognised counts no more."""
    p = rx("{ rx.ssh, to = %s }" % backends().quoted, options='max_pending = 3, peek_timeout = "30s",')
    known = [open_echo(p) for _ in range(5)]
    assert all(known), "recognised connections are not pending"
    pending = [p.connect() for _ in range(3)]
    time.sleep(0.1)
    assert open_echo(p) is None
    assert p.access(1)[0]["reason"] == "limit_pending"
    pending.pop().close()
    known.append(wait_for(lambda: open_echo(p), what="a pending place to be given back"))
    pending[0].sendall(wire.SSH)
    assert peers.read_exactly(pending[0], len(wire.SSH)) == wire.SSH
    known.append(open_echo(p))
    assert known[-1]
    close_all(*known, *pending)


def test_places_come_back_whatever_way_a_connection_ends(rx, backends):
    """Promise: no ending leaks a place: reset, refusal, dead backend, silence, garbage."""
    p = rx('{ rx.ssh, to = %s }, { rx.http, to = rx.refuse }, { rx.tls, to = "127.0.0.1:1" }' % backends().quoted,
           server="max_connections = 4,", workers=2,
           options='max_connections = 4, max_connections_per_ip = 4, max_pending = 4, peek_timeout = "100ms",')
    for first in (wire.SSH, wire.get(), wire.hello("a.test"), wire.GARBAGE, b"GE", b""):
        for _ in range(6):
            s = p.connect()
            s.sendall(first)
            if first is wire.SSH:
                peers.read_exactly(s, len(first))
                peers.reset(s)
            else:
                assert peers.how_it_ends(s)[0] in ("eof", "reset")
                s.close()
    close_all(*open_echoes(p, 4))
