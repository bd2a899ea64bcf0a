# SPDX-License-Identifier: MIT
"""Garbage, truncated and mangled first bytes in any pieces: everything ends, nothing spins, one line each."""
import json
import os
import random
import socket
import time

import pytest

import peers
import wire
from harness import CORPUS, SANITIZER, wait_for

pytestmark = pytest.mark.sanitize
NAMES = ("tls http ssh sftp vnc xmpp mqtt rdp socks5 socks4 postgres dns mysql openvpn redis smtp imap ftp pop3").split()


def corpus_bytes():
    with open(os.path.join(CORPUS, "corpus.jsonl"), encoding="utf-8") as f:
        rows = [row for row in map(json.loads, f) if row["transport"] == "tcp" and row["size"]]
    out = []
    for row in rows:
        with open(os.path.join(CORPUS, row["file"]), "rb") as f:
            out.append(f.read(20000))
    return out


def mangled(dice, files):
    """A real client's first bytes: cut short, with bytes changed, with another's behind them."""
    data = bytearray(dice.choice(files)[:dice.choice([1, 2, 3, 5, 8, 20, 100, 1000, 20000])])
    for _ in range(dice.choice([0, 0, 1, 3])):
        data[dice.randrange(len(data))] = dice.randrange(256)
    if dice.random() < 0.2:
        data += dice.choice(files)[:3000]
    return bytes(data)


def say(dice, s, data):
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    at = 0
    while at < len(data):
        size = dice.choice([1, 2, 7, 100, 5000])
        s.sendall(data[at:at + size])
        at += size


def impatient(sock, server):
    """Takes what comes until the end or half a second of silence."""
    sock.settimeout(0.5)
    try:
        while sock.recv(1 << 16):
            pass
    except TimeoutError:
        pass
    sock.sendall(b"bye")


@pytest.mark.parametrize("seed", [1, 2])
def test_mangled_first_bytes(rx, backends, seed):
    """Promise: no crash, no leak, no spin, no other connection disturbed; every ending has a reason."""
    dice, files, to = random.Random(seed), corpus_bytes(), backends(impatient).quoted
    routes = "".join("{ rx.%s, to = %s }," % (name, (to, "rx.respond")[(n + seed) % 2]) for n, name in enumerate(NAMES))
    p = rx(routes + "{ rx.silent, to = rx.respond }", workers=2,
           options='peek_timeout = "300ms", peek_buffer_size = "8k", fallback_tcp = rx.respond,')
    fds, waiting, lingering = p.fds(), [], []
    for _ in range(150 if SANITIZER else 400):
        s = p.connect()
        waiting.append(s)
        try:
            say(dice, s, mangled(dice, files))
            way = dice.random()
            if way < 0.1:
                peers.reset(waiting.pop())
            elif way < 0.2:
                waiting.pop().close()
            elif way < 0.8:
                s.shutdown(socket.SHUT_WR)
            else:
                lingering.append(waiting.pop())
        except OSError:
            s.close()  # it was turned away already
            waiting = [other for other in waiting if other is not s]
    for s in waiting:
        assert peers.how_it_ends(s)[0] in ("eof", "reset")
        s.close()
    for s in lingering:
        s.close()
    lines = p.access(150 if SANITIZER else 400)
    assert len(lines) == (150 if SANITIZER else 400)
    wait_for(lambda: p.fds() <= fds + 4, what="all descriptors to come back")
    before = p.cpu_exact()
    time.sleep(0.5)
    assert p.cpu_exact() - before < 0.05
    with p.connect() as s:
        s.sendall(wire.get())
        s.shutdown(socket.SHUT_WR)
        assert peers.how_it_ends(s)[1]
