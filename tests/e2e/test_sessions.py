# SPDX-License-Identifier: MIT
"""Sessions: from how many addresses an identity may be active, heard of through routes and through logs that are
followed. Clients of several addresses are 127.0.0.2 and up."""
import json
import os
import signal
import socket
import threading
import time

import pytest

from harness import wait_for

pytestmark = pytest.mark.sanitize

XRAY = "2026/01/30 17:03:38.067799 from %s:58676 accepted tcp:www.google.com:443 [IN-TAG >> direct] email: %s\n"


def config(more="", routes=None, tail=None):
    tail = 'rx.tail "%s" { parse = rx.xray, sessions = vpn }\n' % tail if tail else ""
    return """local rx = require "refractium"
rx.server { workers = 2, access_log = true }
local login = rx.re "key (\\\\S+) from (\\\\S+)"
local vpn = rx.sessions "vpn" { by = function(conn) return conn.host end, %s }
%srx.listen "127.0.0.1:0" { routes = { %s } }
""" % (more, tail, routes or "{ rx.http, sessions = vpn, to = rx.echo }")


def come(p, source, host="one.test"):
    """A connection of this identity from this address; None when it is turned away."""
    s = socket.socket()
    s.settimeout(10)
    s.bind((source, 0))
    try:
        s.connect(("127.0.0.1", p.port))
        s.sendall(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
        if s.recv(100):
            return s
    except OSError:
        pass
    s.close()
    return None


def is_closed(s):
    try:
        return s.recv(100) == b""
    except ConnectionError:
        return True


def lines_of(path):
    return path.read_text().splitlines() if path.exists() else []


def test_a_second_address_is_refused_while_the_first_has_connections(rx):
    p = rx.config(config("enforce = {}, window = '100ms', timeout = '100ms'"))
    with come(p, "127.0.0.2") as first:
        time.sleep(0.3)  # longer than the window: connections count however quiet
        assert come(p, "127.0.0.3") is None
        p.out.wait("reason=session_limit|session_limit")
        with come(p, "127.0.0.3", "two.test"), come(p, "127.0.0.2"):
            pass
        first.sendall(b"more")
        assert first.recv(100) == b"more"
    wait_for(lambda: come(p, "127.0.0.3"), what="the place to be free after the window")


def test_one_that_was_put_out_is_banned_and_the_ban_ends(rx):
    p = rx.config(config("timeout = '1s'"))
    with come(p, "127.0.0.2"), come(p, "127.0.0.3", "two.test") as other:
        assert come(p, "127.0.0.3") is None
        assert is_closed(other)  # all of its connections end
        assert come(p, "127.0.0.3", "two.test") is None
    time.sleep(1.1)
    with come(p, "127.0.0.3", "two.test"):
        pass


def test_the_last_login_closes_the_older_ones_connections(rx):
    p = rx.config(config("keep = 'last', enforce = {}"))
    with come(p, "127.0.0.2") as first, come(p, "127.0.0.2") as second, come(p, "127.0.0.3") as newer:
        assert is_closed(first) and is_closed(second)
        p.out.wait("session_taken")
        assert come(p, "127.0.0.2") is None  # no flapping
        newer.sendall(b"more")
        assert newer.recv(100) == b"more"


def test_limits_of_single_identities_and_exemptions(rx):
    p = rx.config(config("""enforce = {}, limits = { ["two.test"] = 2 },
  exempt = { identities = "free.test", networks = "127.0.0.9/32" }"""))
    with come(p, "127.0.0.2"), come(p, "127.0.0.9"), come(p, "127.0.0.2", "free.test"), \
            come(p, "127.0.0.3", "free.test"), come(p, "127.0.0.2", "two.test"), come(p, "127.0.0.3", "two.test"):
        assert come(p, "127.0.0.4") is None
        assert come(p, "127.0.0.4", "two.test") is None


def test_limits_may_be_a_function_and_by_may_say_nobody(rx):
    p = rx.config(config("enforce = {}, limits = function(id) if id == 'two.test' then return 2 end end").replace(
        "return conn.host", "if conn.host ~= 'x.test' then return conn.host end"))
    with come(p, "127.0.0.2"), come(p, "127.0.0.2", "two.test"), come(p, "127.0.0.3", "two.test"), \
            come(p, "127.0.0.2", "x.test"), come(p, "127.0.0.3", "x.test"):
        assert come(p, "127.0.0.3") is None
        assert come(p, "127.0.0.4", "two.test") is None


def test_a_dry_run_only_tells(rx, tmp_path):
    log = tmp_path / "block.log"
    p = rx.config(config("dry_run = true, block_log = '%s', block_log_format = 'json'" % log))
    with come(p, "127.0.0.2"), come(p, "127.0.0.3"):
        wait_for(lambda: len(lines_of(log)) == 1, what="one line")
    line = json.loads(lines_of(log)[0])
    assert (line["identity"], line["address"], line["origin"], line["is_dry_run"]) == (
        "one.test", "127.0.0.3", "127.0.0.2", True)


def test_a_reload_forgets_nobody_and_a_changed_timeout_holds_at_once(rx):
    text = config("timeout = '1h'")
    p = rx.config(text)
    with come(p, "127.0.0.2"):
        assert come(p, "127.0.0.3") is None
        p.write_config(text + "-- edited\n")
        p.err.wait("generation 2")
        assert come(p, "127.0.0.3", "two.test") is None  # still banned
        p.write_config(text.replace("1h", "100ms"))
        p.err.wait("generation 3")
        time.sleep(0.2)
        with come(p, "127.0.0.3", "two.test"):
            pass
        assert come(p, "127.0.0.4") is None  # 127.0.0.2 has its place


def test_xrays_log_is_followed_and_its_violators_written_down(rx, tmp_path):
    log, access = tmp_path / "block.log", tmp_path / "access.log"
    access.write_text(XRAY % ("10.0.0.9", "u1"))  # the past
    p = rx.config(config("block_log = '%s'" % log, tail=access))
    time.sleep(0.5)
    with access.open("a") as f:
        f.write(XRAY % ("127.0.0.2", "u1"))
        f.write((XRAY % ("127.0.0.3", "u1"))[:30])
        f.flush()
        time.sleep(0.3)
        assert not lines_of(log)
        f.write((XRAY % ("127.0.0.3", "u1"))[30:])
    wait_for(lambda: lines_of(log), what="a line")
    assert lines_of(log)[0].endswith(
        "disallowed concurrent connection from 127.0.0.3 w/ origin 127.0.0.2 [IN-TAG] email: u1")
    assert come(p, "127.0.0.3", "x.test") is None
    with come(p, "127.0.0.2", "x.test"):
        pass
    os.rename(log, tmp_path / "block.log.1")
    with access.open("a") as f:
        f.write(XRAY % ("127.0.0.4", "u1"))
    wait_for(lambda: lines_of(log), what="a line in a new file")


def test_a_function_may_read_the_lines(rx, tmp_path):
    log, access = tmp_path / "block.log", tmp_path / "ssh.log"
    p = rx.config(config("block_log = '%s', limits = function(id) return id == 'b' and 2 or 1 end" % log,
                           tail=access).replace("rx.xray", """function(line)
  local id, ip = login:match(line)
  return id, ip, "tcp"
end"""))
    p.err.wait("listening")
    time.sleep(0.3)
    access.write_text("key a from 10.0.0.1\nnothing\nkey a from 10.0.0.2\nkey b from 10.0.0.1\nkey b from 2001:db8::2\n"
                      "key b from 10.0.0.3\nkey c from nowhere\n")
    wait_for(lambda: len(lines_of(log)) == 2, what="two lines")
    assert ["10.0.0.2 w/ origin 10.0.0.1" in lines_of(log)[0], "10.0.0.3 w/ origin 10.0.0.1" in lines_of(log)[1]] == [
        True, True]


class Writer(threading.Thread):
    """Appends a line of its own to `path` again and again, opening it as log writers do."""

    def __init__(self, path, n):
        super().__init__(daemon=True)
        self.path, self.n, self.reopen = path, n, threading.Event()
        self.start()

    def run(self):
        f = open(self.path, "a", buffering=1)
        for i in range(self.n):
            f.write(XRAY % ("10.%d.%d.%d" % (i >> 16 & 255, i >> 8 & 255, i & 255), "same"))
            if self.reopen.is_set():
                f.close()
                f = open(self.path, "a", buffering=1)
                self.reopen.clear()
            if i % 50 == 0:
                time.sleep(0.002)
        f.close()


@pytest.mark.parametrize("is_late", [False, True])
def test_no_line_is_lost_while_the_log_is_rotated_under_load(rx, tmp_path, is_late):
    """Each line but the first is a violation of its own: the block log has as many."""
    n, log, access = 20000, tmp_path / "block.log", tmp_path / "access.log"
    if not is_late:
        access.write_text("")
    p = rx.config(config("dry_run = true, timeout = '1h', window = '1h', block_log = '%s'" % log, tail=access))
    p.err.wait("listening")
    time.sleep(0.3)
    writer, turns = Writer(access, n), 0
    while writer.is_alive():
        time.sleep(0.1)
        if access.exists() and turns < 5:
            os.rename(access, tmp_path / ("access.log.%d" % turns))
            turns += 1
            time.sleep(0.05)  # it writes to the old file meanwhile
            writer.reopen.set()
    assert turns >= 2
    wait_for(lambda: len(lines_of(log)) >= n - 1, what="all lines of %d" % n)
    addresses = {line.split(" from ")[1].split()[0] for line in lines_of(log)}
    assert len(addresses) == n - 1


def test_files_that_come_and_go_between_two_looks_are_read(rx, tmp_path):
    log, access = tmp_path / "block.log", tmp_path / "access.log"
    access.write_text("")
    p = rx.config(config("dry_run = true, timeout = '1h', window = '1h', block_log = '%s'" % log, tail=access))
    p.err.wait("listening")
    time.sleep(0.3)
    p.signal(signal.SIGSTOP)
    for i in range(4):
        with access.open("a") as f:
            f.write("".join(XRAY % ("10.0.%d.%d" % (i, k), "same") for k in range(5)))
        if i < 3:
            os.rename(access, tmp_path / ("access.log.%d" % i))
    os.rename(tmp_path / "access.log.1", tmp_path / "access.log.9")  # and moved on
    p.signal(signal.SIGCONT)
    wait_for(lambda: len(lines_of(log)) == 19, what="all lines")
    time.sleep(0.2)
    assert len(lines_of(log)) == 19  # none twice


def test_a_truncated_log_begins_anew(rx, tmp_path):
    log, access = tmp_path / "block.log", tmp_path / "access.log"
    access.write_text("x" * 5000 + "\n")
    p = rx.config(config("block_log = '%s'" % log, tail=access))
    p.err.wait("listening")
    time.sleep(0.3)
    access.write_text(XRAY % ("10.0.0.1", "u1") + XRAY % ("10.0.0.2", "u1"))
    wait_for(lambda: lines_of(log), what="a line")
    with access.open("a") as f:
        f.write("y" * 200000 + "\n" + XRAY % ("10.0.0.3", "u1"))  # longer than any buffer
    wait_for(lambda: len(lines_of(log)) == 2, what="the line behind the long one")


def test_a_full_disk_costs_lines_and_nothing_else(rx):
    p = rx.config(config("block_log = '/dev/full'"))
    with come(p, "127.0.0.2"):
        assert come(p, "127.0.0.3") is None
        p.err.wait("block_log /dev/full: No space left on device")
        with come(p, "127.0.0.2"):
            pass


def test_udp_flows_count_too(rx):
    p = rx.config("""local rx = require "refractium"
rx.server { access_log = true }
local s = rx.sessions "dns" { by = function(conn) return conn.qname end, enforce = {} }
rx.listen "127.0.0.1:0" { routes = { { rx.dns, sessions = s, to = rx.echo } } }
""", binds=2)
    query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01"

    def ask(source):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(1)
            s.bind((source, 0))
            s.sendto(query, ("127.0.0.1", p.ports[1]))
            try:
                return s.recv(100)
            except socket.timeout:
                return None

    assert ask("127.0.0.2") == query
    assert ask("127.0.0.3") is None
    p.out.wait("session_limit")
