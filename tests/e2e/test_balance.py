# SPDX-License-Identifier: MIT
"""How a pool shares connections out, and what it does with backends that are full, fail, rest and come back."""
import collections
import contextlib
import socket
import time

import pytest

import peers
import wire
from harness import free_port, make_config, wait_for

pytestmark = pytest.mark.sanitize


def ask(p, **how):
    with p.connect(**how) as s:
        s.sendall(wire.SSH)
        try:
            return s.recv(100).decode()
        except ConnectionResetError:
            return "reset"


def count(p, n, **how):
    return collections.Counter(ask(p, **how) for _ in range(n))


def keep(p, stack, **how):
    """A connection that stays."""
    s = stack.enter_context(p.connect(**how))
    s.sendall(wire.SSH)
    return s.recv(100).decode()


def pool(*inside):
    return 'local app = rx.pool "app" { %s }' % ", ".join(inside)


@pytest.fixture
def trio(backends):
    return [backends(peers.named(name)) for name in "abc"]


def quoted(servers):
    return ", ".join(s.quoted for s in servers)


ROUTE = "{ rx.ssh, to = app }"


# -- who is next

@pytest.mark.parametrize("balance", ["random", "p2c"])
def test_chance_is_even(rx, trio, balance):
    """Promise: random and p2c share connections out, none is left aside."""
    p = rx(ROUTE, prelude=pool(quoted(trio), 'balance = "%s"' % balance))
    seen = count(p, 150)
    assert set(seen) == {"a", "b", "c"} and min(seen.values()) >= 25, seen


def test_random_goes_by_weight(rx, trio):
    """Promise: weight is the share."""
    a, b, _ = trio
    p = rx(ROUTE, prelude=pool(a.quoted, "{ %s, weight = 9 }" % b.quoted, 'balance = "random"'))
    seen = count(p, 200)
    assert 5 <= seen["a"] <= 45 and seen["a"] + seen["b"] == 200, seen


def test_least_conn_goes_where_the_fewest_are(rx, trio):
    """Promise: least_conn counts the connections there are now, not those there were."""
    p = rx(ROUTE, prelude=pool(quoted(trio), 'balance = "least_conn"'))
    with contextlib.ExitStack() as stack:
        held = [keep(p, stack) for _ in range(6)]
        assert collections.Counter(held) == {"a": 2, "b": 2, "c": 2}
        assert collections.Counter(keep(p, stack) for _ in range(3)) == {"a": 1, "b": 1, "c": 1}
    with contextlib.ExitStack() as stack:
        wait_for(lambda: len(p.access_lines()) >= 9, what="the old ones to end")
        first = keep(p, stack)
        assert collections.Counter(keep(p, stack) for _ in range(2)) == {n: 1 for n in "abc" if n != first}


def test_least_conn_goes_by_weight(rx, trio):
    """Promise: a backend of weight 2 holds twice as many."""
    a, b, _ = trio
    p = rx(ROUTE, prelude=pool(a.quoted, "{ %s, weight = 2 }" % b.quoted, 'balance = "least_conn"'))
    with contextlib.ExitStack() as stack:
        assert collections.Counter(keep(p, stack) for _ in range(9)) == {"a": 3, "b": 6}


@pytest.mark.parametrize("balance", ["source_ip", "maglev"])
def test_a_client_keeps_its_backend_and_only_those_of_a_dead_one_move(rx, trio, balance):
    """Promise: the same address, the same backend, over restarts too; a backend that goes moves its own clients."""
    clients = ["127.0.1.%d" % i for i in range(1, 31)]
    config = dict(prelude=pool(quoted(trio), 'balance = "%s"' % balance))
    p = rx(ROUTE, **config)
    before = {ip: ask(p, source=(ip, 0)) for ip in clients}
    assert set(before.values()) == {"a", "b", "c"}
    assert {ip: ask(p, source=(ip, 0)) for ip in clients} == before
    again = rx(ROUTE, **config)
    assert {ip: ask(again, source=(ip, 0)) for ip in clients} == before
    trio[1].close()
    after = {ip: ask(p, source=(ip, 0)) for ip in clients}
    assert {ip for ip in clients if after[ip] != before[ip]} == {ip for ip in clients if before[ip] == "b"}


def test_source_socket_tells_ports_apart(rx, trio):
    """Promise: source_socket spreads the connections of one address, but the same address and port meets the same."""
    p = rx(ROUTE, prelude=pool(quoted(trio), 'balance = "source_socket"'))
    ports = [free_port() for _ in range(24)]

    def by_port():
        found = {}
        for port in ports:
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", port))
                s.connect(("127.0.0.1", p.port))
                s.sendall(wire.SSH)
                found[port] = s.recv(100)
                peers.reset(s)
        return found

    first = by_port()
    assert len(set(first.values())) == 3
    assert by_port() == first


# -- full ones

def test_a_full_backend_is_passed_over(rx, trio):
    """Promise: `first` fills one up to its max_connections before the next; a place that gets free is taken again."""
    a, b, c = trio
    p = rx(ROUTE, prelude=pool("{ %s, max_connections = 2 }, { %s, max_connections = 1 }, %s" % (
        a.quoted, b.quoted, c.quoted), 'balance = "first"'))
    with contextlib.ExitStack() as stack:
        assert [keep(p, stack) for _ in range(5)] == ["a", "a", "b", "c", "c"]
    wait_for(lambda: len(p.access_lines()) >= 5, what="the old ones to end")
    assert ask(p) == "a"


def test_when_all_are_full_the_fallback_serves_or_the_client_is_refused(rx, trio):
    """Promise: backend_full, and max_connections is never exceeded, whatever the number of workers."""
    a, b, _ = trio
    limited = "{ %s, max_connections = 3 }, { %s, max_connections = 2 }" % (a.quoted, b.quoted)
    p = rx(ROUTE, prelude=pool(limited), workers=2)
    with contextlib.ExitStack() as stack:
        held = [keep(p, stack) for _ in range(5)]
        assert collections.Counter(held) == {"a": 3, "b": 2}
        assert ask(p) == "reset"
        assert p.access_one(where=lambda line: line["reason"] != "done")["reason"] == "backend_full"
    q = rx('{ rx.ssh, to = app, fallback = rx.respond "busy" }', prelude=pool(limited))
    with contextlib.ExitStack() as stack:
        assert len([keep(q, stack) for _ in range(5)]) == 5
        assert ask(q) == "busy"


def test_a_crowd_never_exceeds_max_connections(rx, backends):
    """Promise: places are taken atomically."""
    peak, now = [0], [0]

    def counting(sock, server):
        now[0] += 1
        peak[0] = max(peak[0], now[0])
        sock.recv(100)
        time.sleep(0.02)
        now[0] -= 1
        sock.sendall(b"a")

    one = backends(counting)
    p = rx('{ rx.ssh, to = app, fallback = rx.respond "busy" }', workers=2,
           prelude=pool("{ %s, max_connections = 4 }" % one.quoted))
    threads = [peers.in_thread(lambda: count(p, 10)) for _ in range(16)]
    seen = sum((t.get() for t in threads), collections.Counter())
    assert seen["a"] + seen["busy"] == 160 and seen["a"] >= 4 and seen["busy"] > 0, seen
    assert peak[0] <= 4


# -- failing ones

def test_a_backend_that_fails_again_and_again_rests_and_is_probed(rx, backends):
    """Promise: ejected after eject_after failures in a row, told once; one connection probes it; back when it is."""
    alive, port = backends(peers.named("alive")), free_port()
    p = rx(ROUTE, prelude=pool('"127.0.0.1:%d"' % port, alive.quoted, 'eject_after = 2, eject_time = "400ms"'))

    def refusals():
        return len([line for line in p.err.lines if "Connection refused" in line and "ejected" not in line])

    assert count(p, 20) == {"alive": 20}
    assert refusals() == 2
    assert len([line for line in p.err.lines if "ejected for" in line]) == 1
    time.sleep(0.6)
    assert count(p, 20) == {"alive": 20}
    assert refusals() == 3  # the probe
    backends(peers.named("back"), port=port)
    wait_for(lambda: "back" in count(p, 2), what="the backend to be used again")
    assert count(p, 10) == {"alive": 5, "back": 5}
    assert len([line for line in p.err.lines if line.endswith(': back"}') or ": back" in line]) == 1
    assert len([line for line in p.err.lines if "ejected for" in line]) == 1


def test_a_rest_grows_with_every_failed_probe(rx, backends):
    """Promise: twice as long each time."""
    alive = backends(peers.named("alive"))
    p = rx(ROUTE, prelude=pool('"127.0.0.1:%d"' % free_port(), alive.quoted, 'eject_after = 1, eject_time = "100ms"'))
    began, probes = time.monotonic(), []
    while time.monotonic() - began < 2:
        before = len(p.err.lines)
        ask(p)
        time.sleep(0.005)
        if any("Connection refused" in line for line in p.err.lines[before:]):
            probes.append(time.monotonic() - began)
    gaps = [b - a for a, b in zip(probes, probes[1:])]
    assert 3 <= len(gaps) <= 5 and all(b > a * 1.3 for a, b in zip(gaps, gaps[1:])), gaps


def test_all_ejected_are_tried_all_the_same(rx, backends):
    """Promise: rather try than fail: a pool whose backends all rest uses them."""
    ports = [free_port(), free_port()]
    p = rx(ROUTE, prelude=pool(*('"127.0.0.1:%d"' % port for port in ports), 'eject_after = 1, eject_time = "1m"'))
    assert count(p, 4) == {"reset": 4}
    backends(peers.named("back"), port=ports[1])
    assert count(p, 6) == {"back": 6}


def test_ejection_can_be_turned_off(rx, backends):
    """Promise: eject_after = 0 tries every time."""
    alive = backends(peers.named("alive"))
    p = rx(ROUTE, prelude=pool('"127.0.0.1:%d"' % free_port(), alive.quoted, "eject_after = 0"))
    assert count(p, 16) == {"alive": 16}
    def refused():
        return len([line for line in list(p.err.lines) if "Connection refused" in line])

    wait_for(lambda: refused() >= 8, what="the log")
    assert refused() == 8


def test_an_unreachable_backend_is_followed_by_the_next(rx, backends):
    """Promise: as one that refuses. No route leads to the documentation prefix from an address that is loopback's."""
    alive = backends(peers.named("alive"))
    p = rx(ROUTE, prelude=pool('"192.0.2.1:22"', alive.quoted, 'source = "127.0.0.1"'),
           options='connect_timeout = "2s",')
    assert ask(p) == "alive" and ask(p) == "alive"
    assert len(p.access(2)) == 2


def test_a_backend_that_takes_the_connection_and_resets_it_is_the_end(rx, backends):
    """Promise: what may have been seen by one backend is never sent to another."""
    def slam(sock, server):
        server.seen.append(sock.recv(1 << 16))
        peers.reset(sock)

    bad, good = backends(slam), backends(peers.named("good"))
    p = rx(ROUTE, prelude=pool(bad.quoted, good.quoted, 'balance = "first"'))
    assert ask(p) == "reset"
    assert bad.seen == [wire.SSH] and good.seen == []


# -- slow start, source, reload

def test_who_comes_back_starts_slowly(rx, backends):
    """Promise: slow_start gives a backend that came back its share little by little."""
    port = free_port()
    steady, other = backends(peers.named("steady")), backends(peers.named("other"), port=port)
    p = rx(ROUTE, prelude=pool(steady.quoted, other.quoted, 'slow_start = "4s", eject_after = 1, eject_time = "100ms"'))
    assert count(p, 20) == {"steady": 10, "other": 10}  # nothing is cold at the start
    other.close()
    assert count(p, 4)["other"] == 0
    time.sleep(0.3)
    backends(peers.named("other"), port=port)
    wait_for(lambda: ask(p) == "other", what="the probe")
    cold = count(p, 40)["other"]
    time.sleep(4.5)
    assert count(p, 40)["other"] == 20
    assert cold <= 12, cold


def test_the_address_to_connect_from_can_be_chosen(rx, backends):
    """Promise: `source` is where backends see connections come from."""
    came = []

    def who(sock, server):
        came.append(sock.getpeername()[0])
        peers.named("a")(sock, server)

    one = backends(who)
    p = rx(ROUTE, prelude=pool(one.quoted, 'source = "127.0.0.9"'))
    assert ask(p) == "a" and came == ["127.0.0.9"]


def test_a_reload_keeps_turns_and_who_rests(rx, backends):
    """Promise: cursors and states carry over."""
    a, b = backends(peers.named("a")), backends(peers.named("b"))
    listen = '"127.0.0.1:%d"' % free_port()
    dead = '"127.0.0.1:%d"' % free_port()
    prelude = pool(a.quoted, b.quoted, dead, 'eject_after = 1, eject_time = "1m"')
    p = rx(ROUTE, prelude=prelude, listen=listen)
    assert count(p, 12) == {"a": 6, "b": 6}
    p.write_config(make_config(ROUTE, prelude=prelude, listen=listen, after="-- edited"))
    wait_for(lambda: any("reload (" in line for line in p.err.lines), what="the reload")
    assert count(p, 12) == {"a": 6, "b": 6}
    assert len([line for line in p.err.lines if "Connection refused" in line and "ejected" not in line]) == 1
