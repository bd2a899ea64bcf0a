# SPDX-License-Identifier: MIT
"""Editing a running config: taken when it is good, refused with a reason when it is not, and never felt by who is in."""
import os
import re
import signal
import socket
import threading
import time

import pytest

import peers
import wire
from harness import MIB, SANITIZER, free_port, make_config, wait_for
from test_routing import ask

pytestmark = pytest.mark.sanitize
TAKEN, REFUSED = r"reload \(.*\): \d+ listener", r"reload \(.*\): refused"


def count(p, pattern):
    return len([line for line in list(p.err.lines) if re.search(pattern, line)])


def wait_serving(p):
    """Until a worker has answered: from then on, and not before, all of it is running."""
    try:
        with p.connect() as s:
            s.sendall(wire.GARBAGE)
            peers.how_it_ends(s, 5)
    except ConnectionError:
        pass  # an answer, too
    p.is_serving = True


def edit(p, text, wants=TAKEN, how="write"):
    """Changes the config and waits for what comes of it."""
    if not getattr(p, "is_serving", False):
        wait_serving(p)
    before = count(p, wants)
    path = os.path.join(p.directory, "refractium.lua")
    if how == "write":
        p.write_config(text)
    else:  # as editors do: a new file takes the old one's place
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.replace(path + ".new", path)
    wait_for(lambda: count(p, wants) > before, what="%s; stderr is\n%s" % (wants, p.errors()))


def to(backend, more="", **parts):
    return make_config("{ rx.ssh, to = %s }, %s" % (backend.quoted, more), **parts)


@pytest.fixture
def a(backends):
    return backends(peers.named("a"))


@pytest.fixture
def b(backends):
    return backends(peers.named("b"))


@pytest.mark.parametrize("how", ["write", "replace"])
def test_an_edit_takes_effect_again_and_again(rx, a, b, how):
    """Promise: an edit is taken on save, also when the editor replaces the file, and so is the one after it."""
    p = rx.config(to(a))
    assert ask(p, wire.SSH) == "a"
    for turn in range(3):
        edit(p, to(b, "-- turn %d\n" % turn), how=how)
        assert ask(p, wire.SSH) == "b"
        edit(p, to(a, "-- turn %d\n" % turn), how=how)
        assert ask(p, wire.SSH) == "a"


def test_an_edit_while_it_starts_is_not_lost(rx, a, b):
    """Promise: an edit takes effect on save, also one between reading the file and watching it."""
    slow = "local x = 0 for i = 1, 1.5e7 do x = x + i % 7 end"  # the better part of a second
    p = rx.config(to(a, prelude=slow), is_up=False)
    time.sleep(0.3)
    p.write_config(to(b))
    p.wait_up(1)
    wait_for(lambda: ask(p, wire.SSH) == "b", 4, "the edit to be taken", 0.1)


def test_an_edit_adds_protocols_and_routes(rx, a, b):
    """Promise: a reload adds protocols: built-in ones and ones of the file's own."""
    p = rx.config(to(a))
    assert ask(p, wire.get()) == "" and ask(p, b"GAME1") == ""
    edit(p, to(a, "{ rx.http, to = %s }, { game, to = %s }" % (b.quoted, b.quoted),
               prelude='local game = rx.protocol "game" { prefix = "GAME1", transport = "tcp" }'))
    assert (ask(p, wire.SSH), ask(p, wire.get()), ask(p, b"GAME1")) == ("a", "b", "b")


def test_a_broken_edit_changes_nothing_and_says_why(rx, a, b):
    """Promise: a broken edit is refused with file:line; the running config serves on; a good one is taken after it."""
    p = rx.config(to(a))
    for broken, told in (("this is no Lua", "refractium.lua:1"), (to(b).replace("to = ", "too = "), "too"),
                         (to(b, after='rx.test "mine" { send = "SSH-2.0-x\\r\\n", expect = { to = rx.drop } }'), "mine"),
                         ("", "listen")):
        edit(p, broken, REFUSED)
        assert told in p.errors()
        assert ask(p, wire.SSH) == "a"
    edit(p, to(b))
    assert ask(p, wire.SSH) == "b"


def test_live_connections_are_never_touched(rx, backends, b):
    """Promise: who is in stays with the backend and the options he was routed by."""
    echo = backends()
    p = rx.config(make_config('{ rx.ssh, idle_timeout = "60s", to = %s }' % echo.quoted))
    with p.connect() as s:
        s.sendall(wire.SSH)
        peers.read_exactly(s, len(wire.SSH))
        edit(p, to(b, options='idle_timeout = "300ms",'))
        assert ask(p, wire.SSH) == "b"
        edit(p, to(b, listen='"127.0.0.8:0"'))  # even the address it came to is gone now
        time.sleep(0.6)
        data = b"".join(peers.Stream(2 * MIB).blocks())
        task = peers.in_thread(peers.read_exactly, s, len(data))
        s.sendall(data)
        assert task.get() == data


def test_who_is_still_undecided_is_decided_by_one_config(rx, a, b):
    """Promise: an edit in the middle of a first message harms nobody."""
    p = rx.config(to(a))
    with p.connect() as s:
        s.sendall(wire.SSH[:5])
        time.sleep(0.1)
        edit(p, to(b))
        s.sendall(wire.SSH[5:])
        assert s.recv(10) in (b"a", b"b")


def test_addresses_come_and_go(rx, a, workdir):
    """Promise: new addresses are bound, old ones closed, unchanged ones never let go."""
    first, second, path = free_port(), free_port(), os.path.join(workdir, "r.sock")
    p = rx.config(to(a, listen='"127.0.0.1:%d"' % first))
    edit(p, to(a, listen='"127.0.0.1:%d", "127.0.0.1:%d", "unix:%s"' % (first, second, path)))
    assert ask(p, wire.SSH, port=first) == ask(p, wire.SSH, port=second) == "a"
    assert os.path.exists(path)
    edit(p, to(a, listen='"127.0.0.1:%d"' % second))
    assert ask(p, wire.SSH, port=second) == "a"
    assert not os.path.exists(path)

    def refused():
        try:
            p.connect(port=first).close()
            return False
        except ConnectionRefusedError:
            return True

    wait_for(refused, what="the old address to be closed")


def test_an_address_that_is_taken_refuses_the_edit(rx, a, b, workdir):
    """Promise: nothing is changed when one new address cannot be had, and nothing of the others stays behind."""
    path = os.path.join(workdir, "r.sock")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        p = rx.config(to(a))
        edit(p, to(b, listen='"127.0.0.1:0", "unix:%s", "127.0.0.1:%d"' % (path, taken.getsockname()[1])), REFUSED)
    assert ask(p, wire.SSH) == "a"
    assert not os.path.exists(path)


def test_sighup_reloads_and_no_hot_reload_watches_nothing(rx, a, b):
    """Promise: with --no-hot-reload or hot_reload = false only SIGHUP reloads."""
    for args, server in (([], "hot_reload = false,"), (["--no-hot-reload"], "")):
        p = rx.config(to(a, server=server), args=args)
        p.write_config(to(b, server=server))
        time.sleep(0.5)
        assert ask(p, wire.SSH) == "a" and not p.err.find("reload")
        p.signal(signal.SIGHUP)
        p.err.wait(TAKEN)
        assert ask(p, wire.SSH) == "b"


def test_flags_stay_in_force(rx, a, b):
    """Promise: -f and -p are not forgotten by a reload; SIGHUP without a file harms nothing."""
    port = free_port()
    p = rx.config(to(a), args=["-p", port, "-f", "http=" + b.address])
    edit(p, to(a, "-- edited\n"))
    assert (ask(p, wire.SSH), ask(p, wire.get()), p.port) == ("a", "b", port)
    p = rx.flags(["-b", "127.0.0.1", "-p", free_port(), "-f", "http=" + b.address])
    p.signal(signal.SIGHUP)
    p.err.wait("reload")
    assert ask(p, wire.get()) == "b"


def test_saving_the_same_again_is_no_edit(rx, a):
    """Promise: touching the file, or a temporary file beside it, costs nothing."""
    p = rx.config(to(a))
    path = os.path.join(p.directory, "refractium.lua")
    os.utime(path)
    p.write_config(to(a))
    with open(path + "~", "w") as f:
        f.write("nonsense")
    time.sleep(0.6)
    assert not p.err.find("reload")


def test_a_file_that_is_gone_is_waited_for(rx, a, b):
    """Promise: a config that is briefly, or for longer, not there changes nothing."""
    p = rx.config(to(a))
    os.unlink(os.path.join(p.directory, "refractium.lua"))
    time.sleep(0.4)
    assert ask(p, wire.SSH) == "a"
    edit(p, to(b))
    assert ask(p, wire.SSH) == "b"


def test_a_symbolic_link_that_is_swapped_is_an_edit(rx, a, b, workdir):
    """Promise: configs mounted by orchestrators change by swapping a link to their folder."""
    for name, backend in (("one", a), ("two", b)):
        os.makedirs(os.path.join(workdir, "rx1", name))
        with open(os.path.join(workdir, "rx1", name, "x.lua"), "w") as f:
            f.write(to(backend))
    folder = os.path.join(workdir, "rx1")
    os.symlink("one", os.path.join(folder, "..data"))
    os.symlink("..data/x.lua", os.path.join(folder, "x.lua"))
    p = rx.flags(["-c", "x.lua"])
    assert ask(p, wire.SSH) == "a"
    os.symlink("two", os.path.join(folder, "..new"))
    os.replace(os.path.join(folder, "..new"), os.path.join(folder, "..data"))
    p.err.wait(TAKEN)
    assert ask(p, wire.SSH) == "b"


@pytest.mark.parametrize("limit", ["max_connections_per_ip", "max_connections", "route"])
def test_counts_of_limits_are_carried_over(rx, backends, limit):
    """Promise: a reload does not forget who is in, nor count anybody for ever."""
    echo = backends()

    def config(number):
        if limit == "route":
            return to(echo).replace("rx.ssh,", "rx.ssh, max_connections = %d," % number)
        return make_config("{ rx.ssh, to = %s }" % echo.quoted, options="%s = %d," % (limit, number))

    def served():
        s = None
        try:
            s = p.connect()
            s.sendall(wire.SSH)
            if s.recv(100):
                return s
        except ConnectionError:
            pass
        return s.close() if s else None

    p = rx.config(config(3))
    inside = [served() for _ in range(3)]
    assert all(inside) and not served()
    edit(p, config(4))
    inside.append(served())
    assert inside[-1] and not served()
    edit(p, config(2))
    assert not served()
    for s in inside:
        s.close()
    inside = [wait_for(served, what="a place") for _ in range(2)]
    assert not served()
    for s in inside:
        s.close()


def test_a_limit_an_edit_sets_counts_who_is_in(rx, backends):
    """Promise: a route's new limit holds for those who came before there was one."""
    echo = backends()
    p = rx.config(to(echo))
    with p.connect() as first:
        first.sendall(wire.SSH)
        peers.read_exactly(first, len(wire.SSH))
        edit(p, to(echo).replace("rx.ssh,", "rx.ssh, max_connections = 1,"))
        with p.connect() as second:
            second.sendall(wire.SSH)
            assert peers.how_it_ends(second, 5)[0] == "reset"
    assert p.access(1, where=lambda line: line["reason"] == "limit_route")


def test_nobody_notices_edits_under_load(rx, a, b):
    """Promise: while edits follow one another no connection fails, and a busy log beside the file delays none."""
    p = rx.config(to(a, workers=2))
    wrong, over = [], threading.Event()

    def knock():
        while not over.is_set():
            said = ask(p, wire.SSH)
            if said not in ("a", "b"):
                wrong.append(said)

    tasks = [peers.in_thread(knock) for _ in range(4)]
    for turn in range(12):
        edit(p, to((a, b)[turn % 2], "-- %d\n" % turn, workers=2), how=("write", "replace")[turn % 2])
    over.set()
    for task in tasks:
        task.get()
    assert wrong == []


def test_reloads_leave_nothing_behind(rx, a):
    """Promise: an old generation goes with its last connection: no memory, no descriptor stays."""
    many = "".join('{ rx.tls, sni = "n%d.test", to = "127.0.0.1:1" },' % n for n in range(300))
    p = rx.config(to(a, many))

    def hup(times):
        for _ in range(times):
            before = count(p, TAKEN)
            p.signal(signal.SIGHUP)
            wait_for(lambda: count(p, TAKEN) > before, what="the reload")  # pylint: disable=cell-var-from-loop

    hup(30)
    time.sleep(0.5)  # the watch is made anew after the line
    sizes, fds = [p.rss_bytes()], p.fds()
    for _ in range(3):
        hup(30)
        time.sleep(0.2)  # old generations are buried beside
        sizes.append(p.rss_bytes())
    wait_for(lambda: p.fds() <= fds, what="descriptors to be given back")
    # The allocator breathes by some MiB; what stays behind would add up round by round.
    assert any(b - a < (1 if not SANITIZER else 50) * MIB for a, b in zip(sizes, sizes[1:])), sizes


def test_stopping_in_the_middle_of_a_reload(rx, a, b):
    """Promise: an edit and a signal at the same moment: it ends as always."""
    for delay in (0, 0.09, 0.1, 0.11):
        p = rx.config(to(a, workers=4))
        p.write_config(to(b, workers=4))
        time.sleep(delay)
        p.signal(signal.SIGHUP)
        p.signal(signal.SIGTERM)
        assert p.wait_exit() == 0


def test_live_flows_are_exact_while_functions_come_and_go(rx, backends, a):
    """Promise: reloads in a row, each with Lua states of its own, lose no connection and no byte of a live one."""
    echo, over, wrong = backends(), threading.Event(), []

    def config(turn):
        when = "when = function(conn) return conn.client.port ~= %d end," % turn
        many = "".join('{ rx.tls, sni = "n%d.test", %s to = "127.0.0.1:1" },' % (n, when) for n in range(20))
        return make_config(many + "{ rx.ssh, %s to = %s }, { rx.http, to = %s }" % (when, echo.quoted, a.quoted), workers=2)

    def flow(seed):
        data = os.urandom(3000) + bytes([seed])
        with p.connect() as s:
            s.sendall(wire.SSH)
            if peers.read_exactly(s, len(wire.SSH)) != wire.SSH:
                wrong.append("greeting")
            while not over.wait(0.02):
                s.sendall(data)
                if peers.read_exactly(s, len(data)) != data:
                    wrong.append(seed)
                data = data[7:] + data[:7]

    def knock():
        while not over.wait(0.005):
            if ask(p, wire.get()) != "a":
                wrong.append("knock")

    p = rx.config(config(0))
    tasks = [peers.in_thread(flow, n) for n in range(20)] + [peers.in_thread(knock) for _ in range(3)]
    end, turn = time.monotonic() + 6, 0
    while time.monotonic() < end:
        turn += 1
        edit(p, config(turn), how=("write", "replace")[turn % 2])
    over.set()
    for task in tasks:
        task.get()
    assert wrong == [] and turn > 3
