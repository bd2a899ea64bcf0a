# SPDX-License-Identifier: MIT
"""Upgrading while UDP flows live: each keeps its backend's socket, its counts and its names; nobody asks twice."""
import os
import shutil
import signal
import threading
import time

import pytest

import peers
from harness import BINARY, SANITIZER, free_port, make_config, run_client, wait_for
from test_udp import (ask, client, corpus, listen, port, servers)  # noqa: F401  pylint: disable=unused-import
from test_udp_roaming import INITIAL, SHORT, quic_backend
from test_upgrade import Upgraded, orphans_are_ours  # noqa: F401  pylint: disable=unused-import

pytestmark = pytest.mark.sanitize

SOON = 'drain_timeout = "100ms",'
GREET = '''local greet = rx.protocol "greet" { transport = "udp", prefix = { "hi" },
    samples = { yes = { "hi there" }, no = { "bye" } } }'''


@pytest.fixture
def up(rx, workdir):
    """A copy of the binary that serves a config, and may be replaced."""
    def start(text):
        path = os.path.join(workdir, "refractium")
        shutil.copy(BINARY, path)
        return Upgraded(rx.config(text, binary=path), path)

    return start


def test_udp_flows_keep_the_sockets_to_their_backends(up, servers, client, port):  # noqa: F811
    backend = servers(b"<")
    p = up(listen(port, '{ greet, to = "%s" }' % backend.address, server=SOON, prelude=GREET))
    clients = [client(port) for _ in range(300 if not SANITIZER else 40)]
    for s in clients:
        assert ask(s, b"hi") == b"<hi"
    before = set(backend.peers)
    for _ in range(2):
        assert p.upgrade() == (len(clients), 0)
        for s in clients:
            assert ask(s, b"not a greeting") == b"<not a greeting"  # of a flow, or it would be nobody's
    assert backend.peers == before and len(before) == len(clients)
    told = p.totals()
    assert told["totals"]["sessions"] == told["totals"]["active"] == told["totals"]["accepted"] == len(clients)
    assert [b["active"] for pool in told["pools"] for b in pool["backends"]] == [len(clients)]
    p.stop()
    lines = p.access(len(clients))
    assert len(lines) == len(clients) and {line["bytes_in"] for line in lines} == {30}


def test_a_backend_reaches_its_client_after_an_upgrade(up, servers, client, port):  # noqa: F811
    backend = servers()
    p = up(listen(port, '{ greet, to = "%s" }' % backend.address, server=SOON, prelude=GREET))
    s = client(port)
    ask(s, b"hi")
    p.upgrade()
    backend.socket.sendto(b"by the way", next(iter(backend.peers)))
    assert s.recv(100) == b"by the way"


def test_a_flow_that_is_not_decided_yet_takes_its_datagrams_along(up, servers, client, port):  # noqa: F811
    """A name in two datagrams: one comes to the old process, one to the new."""
    backend = servers(b"<")
    p = up(listen(port, '{ rx.quic, sni = "*.example.test", to = "%s" }' % backend.address, 'peek_timeout = "20s",', server=SOON))
    first, second = corpus("quic/firefox-h3-1.d0", "quic/firefox-h3-1.d1")
    s = client(port)
    s.send(first)
    wait_for(lambda: p.totals()["totals"]["sessions"] == 1, what="it to wait")
    assert p.upgrade() == (1, 0)
    s.send(second)
    assert [s.recv(65535), s.recv(65535)] == [b"<" + first, b"<" + second]


def test_a_quic_client_may_still_move(up, servers, client, port):  # noqa: F811
    backends = [quic_backend(servers, b"%d" % i, b"cid-of-%d" % i) for i in range(4)]
    p = up(listen(port, '{ rx.quic, to = { %s } }' % ", ".join('"%s"' % b.address for b in backends), server=SOON))
    told = [ask(client(port), INITIAL) for _ in range(8)]
    assert p.upgrade() == (8, 0)
    for one in told:
        cid = one[7:7 + one[6]]
        assert ask(client(port, source=("127.0.0.77", 0)), SHORT % cid) == cid[-1:] + SHORT % cid


def test_hooks_see_a_flow_begin_anew(up, servers, client, port):  # noqa: F811
    prelude = GREET + '''
local seen = rx.hook "seen" {
    on_open = function(conn) rx.log.info("opened " .. conn.client.port) end,
    on_close = function(conn, why) rx.log.info("closed " .. why) end }'''
    p = up(listen(port, '{ greet, to = "%s", hooks = { seen } }' % servers(b"<").address, server=SOON, prelude=prelude))
    s = client(port)
    ask(s, b"hi")
    p.err.wait("opened")
    assert p.upgrade() == (1, 0)
    assert ask(s, b"and on") == b"<and on"
    p.err.wait("closed shutdown")
    wait_for(lambda: sum("opened" in line for line in p.err.lines) == 2, what="the second on_open")


def test_flows_go_on_in_the_sockets_of_each_worker(up, servers, client, port):  # noqa: F811
    backend = servers(b"<")
    p = up(listen(port, '{ greet, to = "%s" }' % backend.address, server=SOON, prelude=GREET, workers=3))
    clients = [client(port, timeout=2) for _ in range(20)]
    for s in clients:
        assert ask(s, b"hi") == b"<hi"
    p.upgrade()
    for s in clients:
        assert ask(s, b"and on") == b"<and on"
    assert len(backend.peers) == len(clients)


def test_flows_go_on_although_their_listener_has_another_name(up, servers, client, port):  # noqa: F811
    """It is called after its first address, and loses that."""
    backend, server = servers(b"<"), SOON + "hot_reload = false,"
    route = '{ greet, to = "%s" }' % backend.address
    p = up(make_config(route, listen='"127.0.0.1:%d", "127.0.0.1:%d"' % (free_port(), port), server=server, prelude=GREET))
    clients = [client(port) for _ in range(4)]
    for s in clients:
        assert ask(s, b"hi") == b"<hi"
    before = set(backend.peers)
    p.write_config(listen(port, route, server=server, prelude=GREET))
    assert p.upgrade() == (len(clients), 0)
    for s in clients:
        assert ask(s, b"and on") == b"<and on"
    assert backend.peers == before


def test_sockets_of_workers_that_are_gone_serve_through_reloads(up, servers, client, port):  # noqa: F811
    backend, server = servers(b"<"), SOON + "hot_reload = false,"
    route = '{ greet, to = "%s" }' % backend.address
    other = 'rx.listen "127.0.0.1:%d" { routes = { %s } }\n' % (free_port(), route)
    p = up(listen(port, route, server=server, prelude=GREET + "\n" + other, workers=3))
    p.write_config(listen(port, route, server=server, prelude=GREET + "\n" + other))
    p.upgrade()
    assert all(ask(client(port), b"hi") == b"<hi" for _ in range(20))  # a flow in each socket
    p.write_config(listen(port, route, server=server, prelude=GREET))
    for n in (1, 2):
        p.signal(signal.SIGHUP)
        wait_for(lambda: sum("reload (SIGHUP" in line for line in p.err.lines) == n, what="reload")
    assert all(ask(client(port, timeout=2), b"hi") == b"<hi" for _ in range(20))


def test_dig_gets_all_its_answers_while_processes_change(up, servers, need, port):  # noqa: F811
    need("dig")
    is_over, wrong, answered = threading.Event(), [], []
    backend = servers(answer=lambda query: query[:2] + b"\x81\x80" + query[4:6] + b"\0\1\0\0\0\0"
                      + query[12:query.index(b"\0", 12) + 5] + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\7")
    p = up(listen(port, '{ rx.dns, to = "%s" }' % backend.address, server=SOON))

    def query():
        while not is_over.is_set():
            done = run_client(["dig", "+noedns", "+time=5", "+tries=1", "@127.0.0.1", "-p", str(port), "+short", "a.test"],
                              check=False)
            (answered if done.stdout == b"192.0.2.7\n" else wrong).append(done.stdout)

    clients = [peers.in_thread(query) for _ in range(2)]
    for _ in range(3):
        time.sleep(0.1)
        p.upgrade()
    is_over.set()
    for c in clients:
        c.get()
    assert not wrong and len(answered) > 4
