# SPDX-License-Identifier: MIT
"""Routes whose backend is reached while the client may still speak (`eager`)."""
import os
import socket
import subprocess
import time

import pytest

import peers
import wire
from harness import free_port, make_config, run_binary, run_client, wait_for

pytestmark = pytest.mark.sanitize

BANNER = b"220 ready\r\n"


def eager(b, more=""):
    return "{ rx.silent, to = %s, eager = true, %s }" % (b if isinstance(b, str) else b.quoted, more)


def slow_greeter(delay):
    """As servers are that look the client's name up first."""
    def handler(sock, server):
        server.seen.append(time.monotonic())
        time.sleep(delay)
        sock.sendall(BANNER)
        peers.echo(sock, server)

    return handler


def test_who_stays_silent_has_the_greeting_as_the_wait_ends(rx, backends):
    """Promise: not before, and without waiting for the backend then: this one takes 300 ms to greet."""
    b = backends(slow_greeter(0.3))
    p = rx("{ rx.http, to = '127.0.0.1:1' }, " + eager(b), options='peek_timeout = "600ms",')
    began = time.monotonic()
    with p.connect() as s:
        assert s.recv(100) == BANNER
        took = time.monotonic() - began
        s.sendall(b"EHLO a\r\n")
        assert peers.read_exactly(s, 8) == b"EHLO a\r\n"
    assert 0.55 < took < 0.85
    assert b.seen[0] - began < 0.3
    line = p.access_one()
    assert (line["protocol"], line["to"], line["reason"]) == ("silent", b.address, "done")


def test_who_speaks_first_goes_elsewhere_and_sees_nothing_of_it(rx, backends):
    """Promise: the early backend is left without a byte, and nothing it said is ever passed on."""
    ended = []

    def greeter(sock, server):
        sock.sendall(BANNER)
        ended.append(peers.how_it_ends(sock))

    mail, web = backends(greeter), backends(peers.http("web"))
    p = rx("{ rx.http, to = %s }, " % web.quoted + eager(mail), options='peek_timeout = "2s",')
    for pieces in ([wire.get()], [b"GE", wire.get()[2:]]):
        with p.connect() as s:
            wait_for(lambda: mail.n_accepted > len(ended), what="the early backend")
            for piece in pieces:
                s.sendall(piece)
                time.sleep(0.05)
            assert peers.read_all(s).endswith(b"\r\n\r\nweb")
        wait_for(lambda: len(ended) == mail.n_accepted, what="the early backend's end")
    assert [said for _, said in ended] == [b"", b""]
    assert [line["to"] for line in p.access(2)] == [web.address] * 2


def test_who_speaks_at_once_costs_the_backend_nothing(rx, backends):
    mail, web = backends(peers.greet(BANNER)), backends(peers.http("web"))
    p = rx("{ rx.http, to = %s }, " % web.quoted + eager(mail), options='peek_timeout = "3s",')
    for _ in range(20):
        with p.connect() as s:
            s.sendall(wire.get())
            assert peers.read_all(s).endswith(b"web")
    assert mail.n_accepted == 0


def test_places_are_given_back(rx, backends):
    """Promise: an early backend counts for its route and itself, and no longer than it is there."""
    mail, web = backends(peers.greet(BANNER)), backends(peers.http("web"))
    p = rx("{ rx.http, to = %s }, " % web.quoted + eager("mail", "max_connections = 1"),
           options='peek_timeout = "500ms",',
           prelude="local mail = rx.pool 'mail' { { %s, max_connections = 1 } }" % mail.quoted)
    for n in range(3):  # leaves, or speaks
        with p.connect() as s:
            wait_for(lambda: mail.n_accepted > 2 * n, what="the early backend")
            if n:
                s.sendall(wire.get())
                assert peers.read_all(s).endswith(b"web")
        with p.connect() as one:
            wait_for(lambda: mail.n_accepted == 2 * n + 2, what="the early backend")
            with p.connect() as other:
                assert peers.how_it_ends(other) == ("reset", b"")
            assert one.recv(100) == BANNER
    assert mail.n_accepted == 6
    lines = p.access(9)
    assert sorted(line["reason"] for line in lines) == ["client_gone"] + ["done"] * 5 + ["limit_route"] * 3


def test_a_backend_that_ends_before_the_wait_does_is_replaced(rx, backends):
    """Promise: of a connection that never was the client's it sees nothing, be it reset or ended without a word."""
    def once(how):
        def handler(sock, server):
            server.seen.append(0)
            if len(server.seen) > 1:
                return peers.greet(BANNER)(sock, server)
            return how(sock)

        return handler

    for how in (peers.reset, lambda sock: sock.close()):
        b = backends(once(how))
        p = rx(eager(b), options='peek_timeout = "300ms",')
        with p.connect() as s:
            assert s.recv(100) == BANNER
        assert len(b.seen) == 2


def test_a_greeting_before_the_end_of_the_stream_is_passed_on(rx, backends):
    def goodbye(sock, server):
        sock.sendall(b"554 no\r\n")
        sock.shutdown(socket.SHUT_WR)
        peers.read_all(sock)

    p = rx(eager(backends(goodbye)), options='peek_timeout = "300ms",')
    with p.connect() as s:
        assert peers.how_it_ends(s) == ("eof", b"554 no\r\n")


def test_a_backend_that_comes_up_during_the_wait_is_found(rx, backends):
    port = free_port()
    p = rx(eager('"127.0.0.1:%d"' % port), options='peek_timeout = "800ms",')
    with p.connect() as s:
        p.err.wait("backend 127.0.0.1:%d: Connection refused" % port)
        backends(peers.greet(BANNER), port=port)
        assert s.recv(100) == BANNER


def test_a_backend_that_swallows_leaves_time_for_the_next(rx, backends):
    b = backends(peers.greet(BANNER))
    with peers.BlackHole() as hole:
        p = rx(eager("{ %s, %s }" % (hole.quoted, b.quoted), 'connect_timeout = "2s"'), options='peek_timeout = "200ms",')
        for _ in range(2):  # the turn is the other's
            with p.connect() as s:
                assert s.recv(100) == BANNER


def test_what_it_says_meanwhile_is_bounded_and_arrives_whole(rx, backends):
    """Promise: it waits in the kernel, which makes the backend wait; memory does not grow."""
    stream, said = peers.Stream(32 << 20), []

    def talker(sock, server):
        said.append(0)
        for block in stream.blocks():
            sock.sendall(block)
            said[0] += len(block)

    p = rx(eager(backends(talker)), options='peek_timeout = "700ms",')
    before = p.rss_bytes()
    with p.connect() as s:
        wait_for(lambda: said and said[0], what="the talker")
        time.sleep(0.3)
        assert said[0] < 16 << 20
        assert p.rss_bytes() - before < 4 << 20
        assert peers.receive_hash(s) == (stream.size, stream.digest())


def test_a_header_goes_before_all_and_once(rx, backends):
    """send_proxy: the backend waits for the header before it greets."""
    def handler(sock, server):
        head = b""
        while not head.endswith(b"\r\n"):
            head += sock.recv(1)
        server.seen.append((head, time.monotonic()))
        sock.sendall(BANNER)
        peers.echo(sock, server)

    b = backends(handler)
    p = rx(eager(b, 'send_proxy = "v1"'), options='peek_timeout = "500ms",')
    with p.connect() as s:
        head, at = b.wait_seen()[0]
        assert s.recv(100) == BANNER
        assert time.monotonic() - at > 0.2
        s.sendall(b"QUIT\r\n")
        assert s.recv(100) == b"QUIT\r\n"
        assert head == b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (s.getsockname()[1], p.port)


def test_clients_that_leave_meanwhile_leave_nothing_behind(rx, backends):
    b = backends(peers.greet(BANNER))
    p = rx(eager(b), options='peek_timeout = "1s",')
    before = p.fds()
    socks = [p.connect() for _ in range(50)]
    wait_for(lambda: b.n_accepted == 50, what="all early backends")
    for i, s in enumerate(socks):
        peers.reset(s) if i % 2 else s.close()
    assert {line["reason"] for line in p.access(50)} == {"client_gone", "client_reset"}
    wait_for(lambda: p.fds() == before, what="all descriptors")


def test_stopping_ends_them(rx, backends):
    b = backends(peers.greet(BANNER))
    p = rx(eager(b), options='peek_timeout = "30s",')
    with p.connect() as s:
        time.sleep(0.1)
        p.signal(15)
        p.signal(15)
        assert peers.how_it_ends(s)[1] == b""
    assert p.wait_exit() == 0


def test_the_protocol_s_own_route_takes_who_speaks(rx, backends):
    """A route on a protocol whose server speaks first keeps its backend when the client is that, but impatient."""
    b = backends(peers.greet(BANNER))
    p = rx("{ rx.smtp, to = %s, eager = true }" % b.quoted, options='peek_timeout = "5s",')
    with p.connect() as s:
        wait_for(lambda: b.n_accepted == 1, what="the early backend")
        s.sendall(b"EHLO there\r\n")
        assert peers.read_exactly(s, len(BANNER) + 12) == BANNER + b"EHLO there\r\n"
    assert b.n_accepted == 1


def test_a_real_mail_server(rx, run_server, need):
    """swaks delivers to aiosmtpd; connections that were dropped early do it no harm."""
    done = subprocess.run(["/usr/bin/python3", "-c", "import aiosmtpd"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("python3-aiosmtpd is not installed")
    swaks, port = need("swaks"), free_port()
    server = run_server(["/usr/bin/python3", "-u", "-m", "aiosmtpd", "-n", "-l", "127.0.0.1:%d" % port, "-c",
                         "aiosmtpd.handlers.Debugging", "stdout"]).wait_listening(port)
    p = rx("{ rx.http, to = rx.respond }, " + eager('"127.0.0.1:%d"' % port), options='peek_timeout = "300ms",')
    for _ in range(5):
        with p.connect() as s:
            time.sleep(0.06)
            s.sendall(wire.get())
            peers.read_all(s)
    run_client([swaks, "--server", "127.0.0.1:%d" % p.port, "--from", "a@one.test", "--to", "b@two.test",
                "--body", "through the multiplexer", "--silent", "2"])
    server.out.wait("through the multiplexer")


@pytest.mark.parametrize("route,words", [
    ("rx.http, to = '127.0.0.1:1'", "eager is for rx.silent and for protocols whose server speaks first"),
    ("rx.silent, to = rx.drop", "eager needs a pool or an address in `to`"),
    ("rx.silent, to = p", "eager: the pool's balance is a function")])
def test_what_it_is_not_for_is_refused(workdir, route, words):
    with open(os.path.join(workdir, "refractium.lua"), "w", encoding="utf-8") as f:
        f.write(make_config("{ %s, eager = true }" % route,
                            prelude="local p = rx.pool 'p' { '127.0.0.1:1', balance = function() return 1 end }"))
    done = run_binary("check", cwd=workdir)
    assert done.returncode == 1 and 'listen "127.0.0.1:0".routes[1]: ' + words in done.err
