# SPDX-License-Identifier: MIT
"""How clients that talk in pieces, break off, break the rules or stay silent are decided on."""
import socket
import time

import pytest

import peers
import wire
from harness import PATIENCE

pytestmark = pytest.mark.sanitize


def send_pieces(sock, pieces, pause=0.0):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        sock.sendall(piece)
        if pause:
            time.sleep(pause)


def cut(data, *at):
    edges = [0, *at, len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:])]


@pytest.mark.parametrize("name,first", [
    ("http", wire.get("a.test")), ("tls", wire.hello("a.test", sizes=[100])), ("ssh", wire.SSH)],
    ids=["http", "tls", "ssh"])
def test_one_byte_at_a_time_is_recognised_and_arrives_whole(rx, backends, name, first):
    """Promise: more bytes are waited for while a protocol may still match; the backend receives all of them."""
    right, wrong = backends(peers.collect), backends(peers.collect)
    cond = {"http": 'host = "a.test",', "tls": 'sni = "a.test",', "ssh": ""}[name]
    others = "".join("{ rx.%s, to = %s }," % (p, wrong.quoted) for p in ("http", "tls", "ssh") if p != name)
    p = rx("{ rx.%s, %s to = %s }, %s" % (name, cond, right.quoted, others))
    with p.connect() as s:
        send_pieces(s, [first[i:i + 1] for i in range(len(first))], 0.0005)
        s.shutdown(socket.SHUT_WR)
        assert peers.read_all(s) == b"got %d" % len(first)
    assert right.wait_seen()[0] == first
    assert wrong.n_accepted == 0


def test_a_hello_cut_anywhere_keeps_its_name(rx, backends):
    """Promise: the SNI counts wherever the segments end: first, second, … byte."""
    right, wrong = backends(peers.collect), backends(peers.collect)
    p = rx('{ rx.tls, sni = "a.test", to = %s }, { rx.tls, to = %s }' % (right.quoted, wrong.quoted))
    first = wire.hello("a.test", alpn=["h2"])
    cuts = range(1, len(first), 7 if len(first) > 120 else 1)
    socks = []
    for at in cuts:
        s = p.connect()
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.sendall(first[:at])
        socks.append((s, at))
    time.sleep(0.1)
    for s, at in socks:
        s.sendall(first[at:])
        s.shutdown(socket.SHUT_WR)
    for s, at in socks:
        assert peers.read_all(s) == b"got %d" % len(first), "cut at %d" % at
        s.close()
    assert wrong.n_accepted == 0 and right.n_accepted == len(socks)


@pytest.mark.parametrize("sizes", [(1,), (4,), (60, 3), (50, 1, 1, 1, 70), tuple([1] * 90)], ids=len)
def test_a_hello_in_records_of_unequal_length_keeps_its_name(rx, backends, sizes):
    """Promise: a ClientHello may be spread over TLS records of any lengths."""
    right, wrong = backends(peers.collect), backends(peers.collect)
    p = rx('{ rx.tls, sni = "a.test", to = %s }, { rx.tls, to = %s }' % (right.quoted, wrong.quoted))
    first = wire.hello("a.test", sizes=sizes)
    with p.connect() as s:
        send_pieces(s, cut(first, 7, len(first) // 2), 0.01)
        s.shutdown(socket.SHUT_WR)
        assert peers.read_all(s) == b"got %d" % len(first)
    assert right.seen == [first] and wrong.n_accepted == 0


def test_bytes_behind_the_hello_do_not_disturb(rx, backends):
    """Promise: what follows the hello in the same segment (early data, a second record) is passed on."""
    right = backends(peers.collect)
    p = rx('{ rx.tls, sni = "a.test", to = %s }' % right.quoted)
    first = wire.hello("a.test") + wire.record(b"\x01", kind=20) + wire.record(b"early" * 100, kind=23)
    with p.connect() as s:
        s.sendall(first)
        s.shutdown(socket.SHUT_WR)
        assert peers.read_all(s) == b"got %d" % len(first)


@pytest.mark.parametrize("name_at", [1100, 3000, 9000])
def test_a_name_far_behind_is_found(rx, backends, name_at):
    """Promise: an SNI beyond the first kilobyte, in a later segment, is an SNI."""
    right, wrong = backends(peers.collect), backends(peers.collect)
    p = rx('{ rx.tls, sni = "far.test", to = %s }, { rx.tls, to = %s }' % (right.quoted, wrong.quoted))
    first = wire.hello("far.test", padding=name_at, sni_last=True)
    assert first.index(b"far.test") > 1024
    with p.connect() as s:
        send_pieces(s, cut(first, 1024), 0.03)
        s.shutdown(socket.SHUT_WR)
        assert peers.read_all(s) == b"got %d" % len(first)
    assert wrong.n_accepted == 0


def test_a_hello_beyond_the_buffer_is_oversize_and_never_without_a_name(rx, backends):
    """Promise: a ClientHello longer than peek_buffer_size is a named outcome, not "no SNI"."""
    plain = backends(peers.collect)
    p = rx('{ rx.tls, sni = "a.test", to = %s }, { rx.tls, to = %s }' % (plain.quoted, plain.quoted),
           options='peek_buffer_size = "1k",')
    first = wire.hello("a.test", padding=4000, sni_last=True)
    with p.connect() as s:
        s.sendall(first)
        assert peers.how_it_ends(s)[0] in ("eof", "reset")
    assert p.access_one()["reason"] == "tls_oversize"
    assert plain.n_accepted == 0


def test_a_broken_hello_is_invalid_and_never_without_a_name(rx, backends):
    """Promise: a ClientHello that breaks its own lengths is tls_invalid; no TLS route takes it."""
    plain = backends(peers.collect)
    p = rx('{ rx.tls, sni = "a.test", to = %s }, { rx.tls, to = %s }' % (plain.quoted, plain.quoted))
    with p.connect() as s:
        s.sendall(wire.broken_hello())
        assert peers.how_it_ends(s)[0] in ("eof", "reset")
    assert p.access_one()["reason"] == "tls_invalid"
    assert plain.n_accepted == 0


@pytest.mark.parametrize("kind", ["oversize", "broken"])
def test_an_unreadable_hello_takes_the_fallback_if_there_is_one(rx, backends, kind):
    """Promise: the reasons tls_* are for connections without a fallback."""
    plain, rest = backends(peers.collect), backends(peers.collect)
    p = rx("{ rx.tls, to = %s }" % plain.quoted if kind == "broken" else
           '{ rx.tls, sni = "a.test", to = %s }' % plain.quoted,
           options='peek_buffer_size = "1k", fallback_tcp = %s,' % rest.quoted)
    first = wire.broken_hello() if kind == "broken" else wire.hello("a.test", padding=4000, sni_last=True)
    with p.connect() as s:
        s.sendall(first)
        s.shutdown(socket.SHUT_WR)
        assert peers.read_all(s) == b"got %d" % len(first)
    assert rest.seen == [first] and plain.n_accepted == 0


def test_the_host_header_may_come_in_a_second_segment(rx, backends):
    """Promise: a host condition waits for the header; the request line alone decides nothing."""
    right, wrong = backends(peers.http("right")), backends(peers.http("wrong"))
    p = rx('{ rx.http, host = "b.test", to = %s }, { rx.http, to = %s }' % (right.quoted, wrong.quoted))
    request = wire.get("b.test", more="User-Agent: x\r\n")
    for at in (4, 16, request.index(b"Host") + 2, request.index(b"b.test") + 3):
        with p.connect() as s:
            send_pieces(s, cut(request, at), 0.03)
            assert peers.read_all(s).endswith(b"right"), "cut at %d" % at
    assert wrong.n_accepted == 0


def test_nothing_said_is_the_silent_route_after_peek_timeout(rx, backends):
    """Promise: a client that waits for the server gets one, after peek_timeout and not before."""
    talk = backends(peers.greet(b"220 hello\r\n"))
    p = rx('{ rx.http, to = "127.0.0.1:1" }, { rx.silent, to = %s }' % talk.quoted,
           options='peek_timeout = "400ms",')
    began = time.monotonic()
    with p.connect() as s:
        assert peers.read_exactly(s, 11) == b"220 hello\r\n"
        took = time.monotonic() - began
        s.sendall(b"EHLO x")
        assert peers.read_exactly(s, 6) == b"EHLO x"
    assert 0.35 <= took < 2.5, took
    line = p.access_one()
    assert line["protocol"] == "silent" and line["reason"] == "done"


def test_a_client_that_speaks_late_is_recognised(rx, backends):
    """Promise: silence is not judged before peek_timeout: who hesitates is routed by what it then says."""
    web, talk = backends(peers.named("web")), backends(peers.greet(b"hello"))
    p = rx("{ rx.http, to = %s }, { rx.silent, to = %s }" % (web.quoted, talk.quoted),
           options='peek_timeout = "1500ms",')
    with p.connect() as s:
        time.sleep(0.6)
        s.sendall(b"GET ")
        time.sleep(0.3)
        s.sendall(b"/ HTTP/1.1\r\n\r\n")
        assert peers.read_exactly(s, 3) == b"web"
    assert talk.n_accepted == 0


def test_nothing_said_without_a_silent_route_takes_the_fallback(rx, backends):
    """Promise: nothing said within peek_timeout is rx.silent, then the fallback."""
    rest = backends(peers.greet(b"hi"))
    p = rx('{ rx.http, to = "127.0.0.1:1" }', options='peek_timeout = "200ms", fallback_tcp = %s,' % rest.quoted)
    with p.connect() as s:
        assert peers.read_exactly(s, 2) == b"hi"


def test_nothing_said_and_nowhere_to_go_is_closed(rx):
    """Promise: what no route takes is dropped and logged as no_route; silence is bounded by peek_timeout."""
    p = rx('{ rx.http, to = "127.0.0.1:1" }', options='peek_timeout = "200ms",')
    began = time.monotonic()
    with p.connect() as s:
        assert peers.how_it_ends(s)[0] in ("eof", "reset")
    assert 0.15 < time.monotonic() - began < 2.5
    assert p.access_one()["reason"] == "no_route"


def test_a_half_said_protocol_takes_the_fallback_after_peek_timeout(rx, backends):
    """Promise: a proper prefix that never goes on is not silent; the wait is bounded all the same."""
    rest, quiet = backends(peers.named("rest")), backends(peers.greet(b"quiet"))
    p = rx('{ rx.ssh, to = "127.0.0.1:1" }, { rx.silent, to = %s }' % quiet.quoted,
           options='peek_timeout = "250ms", fallback_tcp = %s,' % rest.quoted)
    with p.connect() as s:
        s.sendall(b"SSH-")
        assert peers.read_exactly(s, 4) == b"rest"
    assert rest.seen == [b"SSH-"] and quiet.n_accepted == 0


@pytest.mark.parametrize("said", [b"SSH-2", b"GET / HT", b"\x16\x03\x01\x01"], ids=["ssh", "http", "tls"])
def test_half_closing_within_a_protocol_ends_the_wait(rx, backends, said):
    """Promise: the end of input ends the wait at once; with a fallback the half-closed client is still answered."""
    rest = backends(peers.collect)
    p = rx('{ rx.ssh, to = "127.0.0.1:1" }, { rx.http, to = "127.0.0.1:1" }, { rx.tls, to = "127.0.0.1:1" }',
           options='peek_timeout = "10s", fallback_tcp = %s,' % rest.quoted)
    began = time.monotonic()
    with p.connect() as s:
        s.sendall(said)
        s.shutdown(socket.SHUT_WR)
        assert peers.read_all(s) == b"got %d" % len(said)
    assert time.monotonic() - began < 5


def test_half_closing_without_a_word_is_client_gone(rx, backends):
    """Promise: who leaves without a word is gone: no backend is bothered, nothing waits for peek_timeout."""
    rest = backends(peers.echo)
    p = rx('{ rx.ssh, to = "127.0.0.1:1" }', options='peek_timeout = "10s", fallback_tcp = %s,' % rest.quoted)
    began = time.monotonic()
    with p.connect() as s:
        s.shutdown(socket.SHUT_WR)
        assert peers.how_it_ends(s)[0] in ("eof", "reset")
    assert time.monotonic() - began < 5
    assert p.access_one()["reason"] == "client_gone"
    assert rest.n_accepted == 0


def test_a_reset_before_the_first_byte_costs_only_itself(rx, backends):
    """Promise: a client that resets while it is looked at is counted; others go on."""
    web = backends(peers.http("web"))
    p = rx("{ rx.http, to = %s }" % web.quoted)
    for said in (b"", b"GE"):
        s = p.connect()
        s.sendall(said)
        time.sleep(0.05)
        peers.reset(s)
    reasons = {line["reason"] for line in p.access(2)}
    assert reasons == {"client_reset"}
    with p.connect() as s:
        s.sendall(wire.get())
        assert peers.read_all(s).endswith(b"web")


def test_what_no_protocol_can_become_takes_the_fallback_at_once(rx, backends):
    """Promise: the fallback is taken when nothing can match any more, not after peek_timeout."""
    rest = backends(peers.named("rest"))
    p = rx('{ rx.ssh, to = "127.0.0.1:1" }, { rx.http, to = "127.0.0.1:1" }, { rx.tls, to = "127.0.0.1:1" },'
           '{ rx.silent, to = "127.0.0.1:1" }', options='peek_timeout = "10s", fallback_tcp = %s,' % rest.quoted)
    for said in (wire.GARBAGE, b"\0\0\0\0", b"hello\n", b"SSH\0", b"\x16\x09\x01\x00\x00"):
        began = time.monotonic()
        with p.connect() as s:
            s.sendall(said)
            assert peers.read_exactly(s, 4) == b"rest"
        assert time.monotonic() - began < 3, said
    assert rest.seen[0] == wire.GARBAGE


def test_what_no_protocol_can_become_is_closed_at_once_without_a_fallback(rx):
    """Promise: sanitising: dropped, counted and logged with its reason, and not kept waiting."""
    p = rx('{ rx.ssh, to = "127.0.0.1:1" }, { rx.tls, to = "127.0.0.1:1" }', options='peek_timeout = "10s",')
    began = time.monotonic()
    with p.connect() as s:
        s.sendall(wire.GARBAGE)
        assert peers.how_it_ends(s)[0] in ("eof", "reset")
    assert time.monotonic() - began < 3
    line = p.access_one()
    assert line["reason"] == "no_route" and line["protocol"] is None


def test_a_first_message_of_many_segments_reaches_the_backend_unchanged(rx, backends):
    """Promise: the backend receives every byte, in order, also those that were only looked at."""
    right = backends(peers.collect)
    p = rx('{ rx.http, host = "big.test", to = %s }' % right.quoted)
    head = wire.get("big.test", more="X-Filler: %s\r\n" % ("y" * 6000))
    body = bytes(range(256)) * 4000
    with p.connect() as s:
        send_pieces(s, cut(head, 10, 100, 1500, 4000), 0.01)
        s.sendall(body)
        s.shutdown(socket.SHUT_WR)
        s.settimeout(PATIENCE)
        assert peers.read_all(s) == b"got %d" % (len(head) + len(body))
    assert right.seen[0] == head + body
