# SPDX-License-Identifier: MIT
"""Where logs go: files that are rotated, the journal, syslog; a share of access lines; a disk that is full."""
import ctypes
import os
import re
import signal
import socket
import struct
import threading
import urllib.request

import pytest

import wire
from harness import free_port, make_config, wait_for

pytestmark = pytest.mark.sanitize
JOURNAL, SYSLOG = "/run/systemd/journal/socket", "/dev/log"
HTTP = '{ rx.http, host = "a.test", to = rx.respond "hi" }'


def config(routes=HTTP, server="", access='"access.log"', form="json", **parts):
    return make_config(routes, server=server, **parts).replace('access_log = "access.log"', "access_log = " + access) \
        .replace('log_format = "json"', 'log_format = "%s"' % form)


def ask(p):
    with p.connect() as s:
        s.sendall(wire.get("a.test"))
        assert b"hi" in s.recv(1000)


def text_of(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


# ---- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sig", [None, signal.SIGUSR1, signal.SIGHUP], ids=["by itself", "SIGUSR1", "SIGHUP"])
def test_rotated_files_are_opened_anew_and_lose_nothing(rx, sig):
    p = rx.config(config(server='log = "./messages",', form="text"), binds=0)
    messages, access = os.path.join(p.directory, "messages"), p.log_path
    port = int(wait_for(lambda: re.search(r"listening on \S+:(\d+)", text_of(messages)) if os.path.exists(messages) else None,
                        what="the message file").group(1))
    p.ports = [port]
    ask(p)
    wait_for(lambda: "reason=answered" in text_of(access), what="the access line")
    for path in (messages, access):
        os.rename(path, path + ".1")
    ask(p)  # maybe into the old one
    if sig:
        p.signal(sig)
    wait_for(lambda: os.path.exists(messages) and os.path.exists(access), what="new files")
    ask(p)
    lines = lambda: text_of(access) + text_of(access + ".1")
    wait_for(lambda: lines().count("reason=answered") == 3, what="three access lines")
    assert "reason=answered" in text_of(access)
    p.stop()
    assert "stopped:" in text_of(messages) and "stopped:" not in text_of(messages + ".1")
    assert "listening on" not in p.errors()


def test_a_file_that_cannot_be_opened_anew_is_written_on(rx):
    p = rx(HTTP)
    ask(p)
    p.access(1)
    os.rename(p.log_path, p.log_path + ".1")
    os.mkdir(p.log_path)  # in its place stands something else
    p.signal(signal.SIGUSR1)
    p.err.wait("access.log anew, the old file is written on")
    ask(p)
    wait_for(lambda: text_of(p.log_path + ".1").count("\n") == 2, what="the line in the old file")


def test_a_file_that_cannot_be_had_at_start_is_an_error(rx):
    p = rx.config(config(server='log = "/nonexistent/log",'), is_up=False)
    p.expected_code = 2
    p.process.wait(20)
    p.err.wait("log /nonexistent/log: No such file")


def test_lines_that_a_full_disk_loses_are_counted(rx):
    port = free_port()
    p = rx.config(config(access='"/dev/full"', server='metrics = "127.0.0.1:%d",' % port))
    for _ in range(3):
        ask(p)

    def lost():
        with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=5) as answer:
            return int(re.search(r"^refractium_log_lines_lost_total (\d+)", answer.read().decode(), re.M).group(1))
    wait_for(lambda: lost() > 0, what="the count of lost lines")
    ask(p)  # and it serves


def test_a_sample_of_connections_has_lines(rx):
    p = rx(HTTP, server='access_log_sample = "10%",')
    for _ in range(400):
        ask(p)
    p.stop()
    assert 15 <= len(p.access_lines()) <= 75, len(p.access_lines())


# ---- the journal and syslog, where this machine has none ---------------------------------------------------------------


def to_own_sockets(directory):
    """In a mount namespace of its own: /run and /dev/log's directory are the test's. For preexec."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter():
        if libc.unshare(0x20000) or libc.mount(b"none", b"/", None, 0x44000, None):  # NEWNS; REC | PRIVATE
            os._exit(77)
        for mine, theirs in ((directory + "/run", "/run"), (directory + "/dev", "/dev")):
            if libc.mount(mine.encode(), theirs.encode(), None, 0x1000, None):  # BIND
                os._exit(77)
    return enter


class Hears(threading.Thread):
    def __init__(self, path):
        super().__init__(daemon=True)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.path, self.heard = path, []
        self.start()

    def run(self):
        while True:
            said = self.socket.recv(65536)
            if said == b"END":
                return
            self.heard.append(said)

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"END", self.path)
        self.join()
        self.socket.close()


def entry(datagram):
    """A journal entry's fields, as journald reads them."""
    fields, at = {}, 0
    while at < len(datagram):
        end = datagram.index(b"\n", at)
        line = datagram[at:end]
        if b"=" in line:
            key, value = line.split(b"=", 1)
            at = end + 1
        else:
            key, size = line, struct.unpack_from("<Q", datagram, end + 1)[0]
            value = datagram[end + 9:end + 9 + size]
            at = end + 9 + size + 1
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]*", key), key
        fields[key.decode()] = value.decode()
    return fields


@pytest.fixture
def system_log(workdir):
    if os.geteuid() != 0:
        pytest.skip("mount namespaces need root")
    running = []

    def begin(path):
        for name in ("run", "dev"):
            os.makedirs(os.path.join(workdir, name), exist_ok=True)
        running.append(Hears(workdir + path))
        return running[-1]
    yield begin
    for one in running:
        one.close()


def test_the_journal_gets_fields(rx, system_log, workdir):
    journal = system_log(JOURNAL)
    port = free_port()
    p = rx.config(config(server='log = "journal",', access='"journal"', form="text", listen='"127.0.0.1:%d"' % port),
                  preexec=to_own_sockets(workdir), binds=0)
    p.ports = [port]
    entries = lambda: [entry(d) for d in list(journal.heard)]
    wait_for(lambda: any("listening on" in e["MESSAGE"] for e in entries()), what="a message")
    ask(p)
    wait_for(lambda: any("CONN_ID" in e for e in entries()), what="an access line")
    line = [e for e in entries() if "CONN_ID" in e][0]
    assert line["SYSLOG_IDENTIFIER"] == "refractium" and line["PRIORITY"] == "6"
    assert line["PROTOCOL"] == "http" and line["REASON"] == "answered" and line["BACKEND"] == "respond"
    assert "host=a.test" in line["FACTS"] and int(line["BYTES_OUT"]) > 0 and line["CLIENT"].startswith("127.0.0.1:")
    assert line["MESSAGE"].startswith("conn=" + line["CONN_ID"]) and line["MESSAGE"].endswith("reason=answered")
    p.write_config("nonsense(\n")
    p.signal(signal.SIGHUP)
    wait_for(lambda: any(e["PRIORITY"] == "3" and "\n" not in e["MESSAGE"] for e in entries()), what="an error")
    assert p.errors() == ""


def test_syslog_gets_lines(rx, system_log, workdir):
    log = system_log(SYSLOG)
    port = free_port()
    p = rx.config(config(server='log = "syslog",', access='"syslog"', form="text", listen='"127.0.0.1:%d"' % port),
                  preexec=to_own_sockets(workdir), binds=0)
    p.ports = [port]
    lines = lambda: [d.decode() for d in list(log.heard)]
    head = r"<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d refractium\[%d\]: " % p.pid
    wait_for(lambda: any(re.match(head + "listening on", line) for line in lines()), what="a message")
    ask(p)
    wait_for(lambda: any(re.match(head + "conn=.*reason=answered$", line) for line in lines()), what="an access line")


def test_without_a_journal_messages_go_to_standard_error(rx, system_log, workdir):
    system_log("/run/other")
    p = rx.config(config(server='log = "journal",', access='"journal"', form="text"), preexec=to_own_sockets(workdir))
    ask(p)  # and it goes on


def test_nobody_waits_for_a_journal_that_does_not_read(rx, system_log, workdir):
    system_log("/run/other")
    os.makedirs(os.path.join(workdir, "run/systemd/journal"))
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    deaf.bind(workdir + JOURNAL)
    p = rx.config(config(access='"journal"', form="text"), preexec=to_own_sockets(workdir))
    for _ in range(200):
        ask(p)
    deaf.close()
