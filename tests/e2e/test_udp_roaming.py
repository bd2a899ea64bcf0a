# SPDX-License-Identifier: MIT
"""Clients that go on from another address: they stay with their backend, and nobody can take a flow from them."""
import select
import struct

import pytest

from harness import wait_for
from test_udp import (WIREGUARD, ask, client, corpus, is_silent, listen, port,  # noqa: F401  pylint: disable=unused-import
                      servers)

pytestmark = pytest.mark.sanitize

INITIAL = corpus("quic/ngtcp2_gnutls-dcid18-scid0.d0")[0]
SHORT = b"\x41%s" + b"\x99" * 40


def quic_backend(servers, name, cid):  # noqa: F811
    """Answers a long header with one that tells its id, all else with its name."""
    def answer(data):
        if data[0] & 0x80:
            return b"\xe0\0\0\0\1\0" + bytes([len(cid)]) + cid + b"\xaa" * 100
        return name + data

    return servers(answer=answer)


def wireguard_backend(servers, name, index):  # noqa: F811
    def answer(data):
        return b"\2\0\0\0" + struct.pack("<I", index) + b"\0" * 84 if data[0] == 1 else name + data

    return servers(answer=answer)


def test_a_quic_client_from_a_new_address_stays_with_its_backend(rx, servers, client, port):  # noqa: F811
    """Promise: by its server's id, whichever of four backends that is; the old address goes on as well."""
    backends = [quic_backend(servers, b"%d" % i, b"cid-of-%d" % i + b"x" * i) for i in range(4)]
    r = rx.config(listen(port, '{ rx.quic, to = { %s } }' % ", ".join('"%s"' % b.address for b in backends)))
    clients = []
    for _ in range(8):
        s = client(port)
        told = ask(s, INITIAL)
        clients.append((s, told[7:7 + told[6]]))
    assert len({cid for _, cid in clients}) == 4
    for s, cid in clients:
        which = b"%d" % [b"cid-of-%d" % i + b"x" * i for i in range(4)].index(cid)
        for source in ("127.0.0.1", "127.0.0.77"):  # another port, another host
            moved = client(port, source=(source, 0))
            for _ in range(3):
                assert ask(moved, SHORT % cid) == which + SHORT % cid
        again = client(port)  # and on from there
        assert ask(again, SHORT % cid) == which + SHORT % cid
        assert ask(s, SHORT % cid) == which + SHORT % cid
    assert is_silent(client(port), SHORT % b"nobodys-")
    r.stop()
    lines = r.access(8 * 4 + 1)
    assert sum(line["protocol"] == "quic" for line in lines) == 32


def test_a_forged_datagram_takes_nothing_from_a_flow(rx, servers, client, port):  # noqa: F811
    """Promise: after it the client hears all that is for it, and the forger only answers to what he said himself."""
    backend = quic_backend(servers, b"", b"the-id--")
    rx.config(listen(port, '{ rx.quic, to = "%s" }' % backend.address))
    s, forger = client(port), client(port, source=("127.0.0.66", 0))
    ask(s, INITIAL)
    peer = next(iter(backend.peers))
    forger.send(SHORT % b"the-id--")
    wait_for(lambda: len(backend.peers) == 2, what="the forger's flow")
    assert forger.recv(100) == SHORT % b"the-id--"
    backend.socket.sendto(b"for the client", peer)
    assert s.recv(100) == b"for the client"
    assert ask(s, SHORT % b"the-id--") == SHORT % b"the-id--"
    assert not select.select([forger], [], [], 0.3)[0]


def test_a_wireguard_client_from_a_new_address_stays_with_its_backend(rx, servers, client, port):  # noqa: F811
    backends = [wireguard_backend(servers, b"%d" % i, 1000 + i) for i in range(4)]
    rx.config(listen(port, '{ rx.wireguard, to = { %s } }' % ", ".join('"%s"' % b.address for b in backends)))
    for _ in range(8):
        index = struct.unpack("<I", ask(client(port), WIREGUARD)[4:8])[0]
        data = b"\4\0\0\0" + struct.pack("<I", index) + b"\x55" * 72
        assert ask(client(port), data) == b"%d" % (index - 1000) + data


def test_who_may_not_come_may_not_roam_in(rx, servers, client, port):  # noqa: F811
    """Promise: an id is no way around `from`, nor around the limit of an address."""
    backend = quic_backend(servers, b"", b"the-id--")
    r = rx.config(listen(port, '{ rx.quic, from = "127.0.0.1", to = "%s" }' % backend.address))
    ask(client(port), INITIAL)
    assert is_silent(client(port, source=("127.0.0.5", 0)), SHORT % b"the-id--")
    r.stop()
    r = rx.config(listen(port, '{ rx.quic, to = "%s" }' % backend.address, "max_sessions_per_ip = 2,"))
    ask(client(port), INITIAL)
    ask(client(port), SHORT % b"the-id--")
    assert is_silent(client(port), SHORT % b"the-id--")
    assert r.access_one()["reason"] == "limit_ip"


def test_roaming_after_a_reload_that_moved_the_route(rx, servers, client, port):  # noqa: F811
    """Promise: the conversation stays where it is, though new ones go elsewhere; and it ends with its last flow."""
    old, new = quic_backend(servers, b"old", b"old-id--"), quic_backend(servers, b"new", b"new-id--")
    text = listen(port, '{ rx.quic, to = "%s" }', 'udp_idle_timeout = "1500ms",')
    r = rx.config(text % old.address)
    ask(client(port), INITIAL)
    r.write_config(text % new.address)
    r.err.wait("reload ")
    wait_for(lambda: b"new-id--" in ask(client(port), INITIAL), what="the new config")
    assert ask(client(port), SHORT % b"old-id--").startswith(b"old")
    r.access(3, timeout=10)
    wait_for(lambda: is_silent(client(port), SHORT % b"old-id--", 0.2), what="its end")
