# SPDX-License-Identifier: MIT
"""Backends and clients made of plain sockets, for what no real program would do.

A handler is a function of one accepted socket and its Server. What it notes in server.seen the test can read;
an exception in it fails the test when the server is closed, unless it is one of the connection itself.
"""
import contextlib
import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time

from harness import PATIENCE, wait_for


def read_exactly(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise AssertionError("ended after %d of %d bytes: %r" % (len(data), count, data[:200]))
        data += part
    return data


def read_all(sock):
    """All until the peer's end of stream."""
    data = bytearray()
    while True:
        part = sock.recv(1 << 16)
        if not part:
            return bytes(data)
        data += part


def how_it_ends(sock, timeout=PATIENCE):
    """("eof" | "reset" | "open", bytes before it)."""
    sock.settimeout(timeout)
    data = b""
    try:
        while True:
            part = sock.recv(1 << 16)
            if not part:
                return "eof", data
            data += part
    except (ConnectionResetError, BrokenPipeError):
        return "reset", data
    except (socket.timeout, TimeoutError):
        return "open", data


def reset(sock):
    """Closes with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# -- handlers

def echo(sock, server):
    while True:
        part = sock.recv(1 << 16)
        if not part:
            return
        sock.sendall(part)


def collect(sock, server):
    """Notes all that came until the end of stream, then says how much that was."""
    data = read_all(sock)
    server.seen.append(data)
    sock.sendall(b"got %d" % len(data))


def greet(text):
    """Speaks first, then echoes."""
    def handler(sock, server):
        sock.sendall(text)
        echo(sock, server)

    return handler


def named(name):
    """Answers the first bytes with its name, notes them, and stays until the client leaves."""
    def handler(sock, server):
        first = sock.recv(1 << 16)
        server.seen.append(first)
        if first:
            sock.sendall(name if isinstance(name, bytes) else name.encode())
        while sock.recv(1 << 16):
            pass

    return handler


def http(body):
    """A one-response HTTP/1.1 server."""
    body = body if isinstance(body, bytes) else body.encode()

    def handler(sock, server):
        head = b""
        while b"\r\n\r\n" not in head:
            part = sock.recv(1 << 16)
            if not part:
                return
            head += part
        server.seen.append(head)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))

    return handler


def hold(sock, server):
    """Reads nothing, says nothing, stays until the server is closed."""
    server.closing.wait()


class Server:
    """A listening socket with a thread for each connection."""

    def __init__(self, handler=echo, host="127.0.0.1", port=0, path=None, backlog=512):
        self.handler, self.path = handler, path
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.listener = socket.socket(family)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind((host, port))
        self.listener.listen(backlog)
        self.host, self.port = host, None if path else self.listener.getsockname()[1]
        self.seen, self.wrong, self.socks, self.n_accepted = [], [], [], 0
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
        if exc[0] is None:
            assert not self.wrong, self.wrong

    @property
    def address(self):
        """As a config names it."""
        if self.path:
            return "unix:" + self.path
        return ("[%s]:%d" if ":" in self.host else "%s:%d") % (self.host, self.port)

    @property
    def quoted(self):
        return '"%s"' % self.address

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.n_accepted += 1
            self.socks.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            self.handler(sock, self)
        except (OSError, ValueError):
            pass  # the connection's own troubles are what some tests are about
        except Exception as e:  # pylint: disable=broad-except
            self.wrong.append(repr(e))
        finally:
            with contextlib.suppress(OSError):
                sock.close()

    def wait_seen(self, count=1):
        return wait_for(lambda: self.seen if len(self.seen) >= count else None, what="%d entries in %r" % (
            count, self.seen))

    def close(self):
        self.closing.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        if self.path:
            with contextlib.suppress(OSError):
                os.unlink(self.path)


_ECHO = r"""
import resource, selectors, socket, sys
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(4096); s.setblocking(False)
print(s.getsockname()[1], flush=True)
sel = selectors.DefaultSelector(); sel.register(s, selectors.EVENT_READ)
while True:
    for key, _ in sel.select():
        c = key.fileobj
        if c is s:
            try:
                while True:
                    n, _ = s.accept(); n.setblocking(False); sel.register(n, selectors.EVENT_READ)
            except BlockingIOError:
                continue
        try:
            data = c.recv(65536)
            if data:
                c.setblocking(True); c.sendall(data); c.setblocking(False)
                continue
        except BlockingIOError:
            continue
        except OSError:
            pass
        sel.unregister(c); c.close()
"""


class EchoProcess:
    """An echo server that takes thousands of connections, in a process of its own."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-c", _ECHO], stdout=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL)
        self.port = int(self.process.stdout.readline())
        self.address = "127.0.0.1:%d" % self.port
        self.quoted = '"%s"' % self.address

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class BlackHole:
    """An address whose connection attempts get no answer at all: a listening socket whose queue is full."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.quoted = '"%s"' % self.address
        self.fill = []
        for _ in range(3):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(self.listener.getsockname())
            self.fill.append(s)
        time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for s in (*self.fill, self.listener):
            s.close()


# -- bulk

class Stream:
    """`size` bytes that differ in every block, and their hash; made without holding them."""

    BLOCK = 1 << 18

    def __init__(self, size, seed=0):
        self.size = size
        self.base = hashlib.shake_128(b"stream %d" % seed).digest(self.BLOCK)

    def blocks(self):
        left, number = self.size, 0
        while left:
            block = struct.pack("<Q", number) + self.base[8:]
            block = block[:left]
            yield block
            left -= len(block)
            number += 1

    def digest(self):
        h = hashlib.sha256()
        for block in self.blocks():
            h.update(block)
        return h.hexdigest()

    def send(self, sock):
        """Sends it all; returns the hash of what was sent."""
        h = hashlib.sha256()
        for block in self.blocks():
            sock.sendall(block)
            h.update(block)
        return h.hexdigest()


def receive_hash(sock):
    """(number of bytes until the end of stream, their hash)."""
    h, total, buffer = hashlib.sha256(), 0, bytearray(1 << 18)
    view = memoryview(buffer)
    while True:
        n = sock.recv_into(buffer)
        if not n:
            return total, h.hexdigest()
        h.update(view[:n])
        total += n


def in_thread(function, *args):
    """Runs it beside; join() gives its value, or its exception."""
    class Task(threading.Thread):
        value = error = None

        def run(self):
            try:
                self.value = function(*args)
            except BaseException as e:  # pylint: disable=broad-except
                self.error = e

        def get(self, timeout=None):
            self.join(timeout or PATIENCE * 8)
            if self.is_alive():
                raise AssertionError("%s is still running" % function.__name__)
            if self.error:
                raise self.error
            return self.value

    task = Task(daemon=True)
    task.start()
    return task
