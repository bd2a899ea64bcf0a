# SPDX-License-Identifier: MIT
"""Real clients behind a NAT that forgets them, and on a path that loses, doubles and swaps."""
import contextlib
import os
import random
import select
import socket
import struct
import threading

import pytest

import harness
from harness import make_config, run_client, wait_for
from test_clients_udp import (free_ports, gtlsclient, namespaces,  # noqa: F401  pylint: disable=unused-import
                              put_end, transfer, wait_bound, wireguard_end)

SIZE = int(6 * harness.MIB * harness.SCALE)


class Nat:
    """One inside address in front of `port`, which it is told about by another one each time it forgets. Of a hundred
    datagrams each way it loses, doubles and swaps so many."""

    def __init__(self, port, forget_every=0, lost=0, doubled=0, swapped=0):
        self.inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inside.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.inside.bind(("127.0.0.1", 0))
        self.port, self.to = self.inside.getsockname()[1], ("127.0.0.1", port)
        self.forget_every, self.odds = forget_every, (lost, doubled, swapped)
        self.dice, self.client, self.held = random.Random(port), None, {}
        self.outside, self.n_said, self.n_forgotten = None, 0, -1
        self.forget()
        self.is_closed = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def forget(self):
        old, self.outside = self.outside, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outside.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.outside.bind(("127.0.0.1", 0))
        self.n_forgotten += 1
        if old:
            old.close()

    def pass_on(self, data, send, way):
        lost, doubled, swapped = self.odds
        roll = self.dice.random() * 100
        if roll < lost:
            return
        send(data)
        if roll < lost + doubled:
            send(data)
        if way in self.held:
            send(self.held.pop(way))
        elif roll > 100 - swapped:
            self.held[way] = data  # once more, after the next one

    def run(self):
        while not self.is_closed:
            for s in select.select([self.inside, self.outside], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    if s is self.inside:
                        data, self.client = s.recvfrom(65535)
                        self.n_said += 1
                        if self.forget_every and self.n_said % self.forget_every == 0:
                            self.forget()
                        self.pass_on(data, lambda d: self.outside.sendto(d, self.to), "out")
                        break  # its other socket may be another one now
                    data = s.recv(65535)
                    self.pass_on(data, lambda d: self.inside.sendto(d, self.client), "in")

    def close(self):
        self.is_closed = True
        self.thread.join()
        self.inside.close()
        self.outside.close()


@pytest.fixture
def nat():
    with contextlib.ExitStack() as stack:
        def start(*args, **how):
            box = Nat(*args, **how)
            stack.callback(box.close)
            return box

        yield start


@pytest.fixture
def black_hole():
    """A second backend, which says nothing: who is sent there is lost."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        yield s


def is_unheard(s):
    return not select.select([s], [], [], 0)[0]


def serve(rx, route, workers=4):
    port = free_ports(1)[0]
    r = rx.config(make_config(route, listen='"127.0.0.1:%d"' % port, workers=workers))
    return r, port


class Inside:
    """What gtlsclient() wants of a port to ask."""

    def __init__(self, box):
        self.number = box.port


def download(rx, nat, black_hole, run_server, certificate, need, workdir, **how):  # noqa: F811
    """An HTTP/3 download of SIZE bytes by a client behind such a NAT; the access lines it left."""
    content = random.Random(3).randbytes(SIZE)
    for folder in ("www", "got"):
        os.mkdir(os.path.join(workdir, folder))
    with open(os.path.join(workdir, "www", "big.bin"), "wb") as f:
        f.write(content)
    server = free_ports(1)[0]
    cert, key = certificate
    run_server(["gtlsserver", "--no-quic-dump", "-q", "-d", os.path.join(workdir, "www"), "127.0.0.1", server, key, cert])
    wait_bound(server)
    r, port = serve(rx, '{ rx.quic, sni = "a.test", to = { "127.0.0.1:%d", "127.0.0.1:%d" } }'
                    % (server, black_hole.getsockname()[1]))
    box = nat(port, **how)
    gtlsclient(need, Inside(box), workdir, "a.test", "--download", os.path.join(workdir, "got"))
    r.stop()
    with open(os.path.join(workdir, "got", "big.bin"), "rb") as f:
        assert f.read() == content
    return box, r.access(1)


def test_http3_goes_on_when_its_nat_forgets_it(rx, nat, black_hole, run_server, certificate, need, workdir):
    """Promise: from any new port, on whichever worker that comes up, it stays with its server; the download is exact."""
    box, lines = download(rx, nat, black_hole, run_server, certificate, need, workdir, forget_every=150)
    assert box.n_forgotten >= 2, box.n_said
    assert len(lines) == box.n_forgotten + 1
    assert {line["protocol"] for line in lines} == {"quic"}
    assert is_unheard(black_hole)


def test_http3_over_a_bad_path(rx, nat, black_hole, run_server, certificate, need, workdir):
    """Promise: datagrams lost, doubled and out of order cost time, nothing else; the hello's among them."""
    _, lines = download(rx, nat, black_hole, run_server, certificate, need, workdir, lost=2, doubled=2, swapped=4)
    assert {line["protocol"] for line in lines} == {"quic"}
    assert is_unheard(black_hole)


def test_wireguard_goes_on_when_its_nat_forgets_it(rx, nat, black_hole, namespaces, need, run_server, workdir):  # noqa: F811
    """Promise: a tunnel whose client comes from other ports in the middle of a transfer stays with its backend."""
    wg = need("wg")
    server, own = free_ports(2)
    r, port = serve(rx, '{ rx.wireguard, to = { "127.0.0.1:%d", "127.0.0.1:%d" } }' % (server, black_hole.getsockname()[1]))
    private = [run_client([wg, "genkey"]).stdout.decode().strip() for _ in "ab"]
    public = [run_client([wg, "pubkey"], input=key.encode()).stdout.decode().strip() for key in private]
    names = ["rxm%da" % (os.getpid() % 10**7), "rxm%db" % (os.getpid() % 10**7)]
    box = nat(port, forget_every=1000)
    wireguard_end(run_server, workdir, names[0], own, box.port, (private[0], public[1]), "10.77.0.2/32")
    wireguard_end(run_server, workdir, names[1], server, 0, (private[1], public[0]), "10.77.0.1/32")
    for i, name in enumerate(names):
        put_end(namespaces[i], name, "10.77.0.%d" % (i + 1))
    transfer(namespaces, "10.77.0.2", SIZE)
    assert box.n_forgotten >= 3, box.n_said
    r.stop()
    lines = r.access(2)
    assert len(lines) > 3 and {line["protocol"] for line in lines} == {"wireguard"}
    assert {line["to"] for line in lines} == {"127.0.0.1:%d" % server}
    assert is_unheard(black_hole)


def test_an_id_of_two_backends_leads_nowhere(rx):
    """Promise: where two OpenVPN servers gave out the same number, nobody is sent to either by it."""
    def reset(session):
        return b"\x38" + session + b"\0\0\0\0\0"

    data = b"\x48\0\0\x05" + b"\x99" * 60
    with contextlib.ExitStack() as stack:
        def open_socket():
            s = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            s.bind(("127.0.0.1", 0))
            s.settimeout(harness.PATIENCE)
            return s

        servers = [open_socket() for _ in range(2)]
        r, port = serve(rx, '{ rx.openvpn, to = { "127.0.0.1:%d", "127.0.0.1:%d" } }'
                        % tuple(s.getsockname()[1] for s in servers), workers=1)

        def introduce():
            """A client to whom its server says `data`; that server."""
            client = open_socket()
            client.sendto(reset(struct.pack(">Q", client.fileno() + 77)), ("127.0.0.1", port))
            server = select.select(servers, [], [], harness.PATIENCE)[0][0]
            server.sendto(data, server.recvfrom(2000)[1])
            assert client.recv(2000) == data
            return server

        def moved():
            client = open_socket()
            client.sendto(data, ("127.0.0.1", port))
            return [s for s in select.select(servers, [], [], 0.4)[0] if s.recv(2000) == data]

        first = introduce()
        assert moved() == [first]
        wait_for(lambda: introduce() is not first, what="the other one's turn")
        assert moved() == []
        r.stop()
