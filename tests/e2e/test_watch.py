# SPDX-License-Identifier: MIT
"""Whatever replaces a config file, an edit is noticed, once, and nothing else is taken for one."""
import os
import shutil
import subprocess
import threading
import time

import pytest

import peers
import wire
from harness import find_program, make_config, wait_for
from test_reload import REFUSED, TAKEN, count, to
from test_routing import ask

pytestmark = pytest.mark.sanitize


@pytest.fixture
def a(backends):
    return backends(peers.named("a"))


@pytest.fixture
def b(backends):
    return backends(peers.named("b"))


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def becomes(p, what):
    wait_for(lambda: ask(p, wire.SSH) == what, what="%s; stderr is\n%s" % (what, p.errors()), pause=0.05)


def only(p, times):
    """So many reloads and no more, also a moment later."""
    time.sleep(0.5)
    assert count(p, r"reload \(") == times, p.errors()


def replaced(path, text):
    write(path + ".tmp", text)
    os.replace(path + ".tmp", path)


def as_vim(path, text):
    """backupcopy=no: the old file is moved aside, a new one written under the name, the backup deleted."""
    os.rename(path, path + "~")
    write(path, text)
    os.unlink(path + "~")


def as_emacs(path, text):
    """A lock that is a dangling link, an auto-save file, a backup, then the file itself."""
    folder, name = os.path.split(path)
    lock = os.path.join(folder, ".#" + name)
    os.symlink("me@here.1:2", lock)
    write(os.path.join(folder, "#" + name + "#"), text[:10])
    shutil.copy(path, path + "~")
    write(path, text)
    os.unlink(os.path.join(folder, "#" + name + "#"))
    os.unlink(lock)


def by_sed(path, text):
    old = open(path, encoding="utf-8").read()
    first, second = next((x, y) for x, y in zip(old.splitlines(), text.splitlines()) if x != y)
    subprocess.run(["sed", "-i", "s#%s#%s#" % (first.replace("*", r"\*"), second), path], check=True)


def slowly(path, text):
    """A pause in the middle is no end: half a config is not taken."""
    with open(path, "w", encoding="utf-8") as f:
        f.write(text[:len(text) // 2])
        f.flush()
        time.sleep(0.4)
        f.write(text[len(text) // 2:])


@pytest.mark.parametrize("how", [write, replaced, as_vim, as_emacs, by_sed, slowly])
def test_every_way_to_save_is_one_edit(rx, a, b, how):
    """Promise: writing in place, renaming over, and what vim, emacs and sed -i do are each one edit."""
    p = rx.config(to(a))
    path = os.path.join(p.directory, "refractium.lua")
    time.sleep(0.5)  # past the look for edits made while it started
    for turn, backend in enumerate((b, a, b), 1):
        how(path, to(backend))
        becomes(p, "ab"[turn % 2])
        only(p, turn)
    assert not p.err.find(REFUSED)


@pytest.mark.skipif(not find_program("vim"), reason="vim is not installed")
def test_vim_itself(rx, a, b):
    p = rx.config(to(a))
    path = os.path.join(p.directory, "refractium.lua")
    subprocess.run(["vim", "-u", "NONE", "-es", "-c", "%%s#%s#%s#" % (a.address, b.address), "-c", "wq", path],
                   stdin=subprocess.DEVNULL, timeout=20, check=False)
    becomes(p, "b")
    only(p, 1)


def test_many_saves_in_a_row_are_few_edits(rx, a, b):
    """Promise: a burst is waited out, yet not for ever."""
    p = rx.config(to(a))
    path = os.path.join(p.directory, "refractium.lua")
    for turn in range(50):
        write(path, to(b, "-- %d\n" % turn))
        time.sleep(0.01)
    becomes(p, "b")
    time.sleep(0.5)
    assert 1 <= count(p, TAKEN) <= 3


def config_map(folder, version, text):
    """A version of a mounted ConfigMap: a folder of its own, swapped in by renaming the link ..data."""
    os.makedirs(os.path.join(folder, version))
    write(os.path.join(folder, version, "refractium.lua"), text)
    os.symlink(version, os.path.join(folder, "..data_tmp"))
    old = os.path.join(folder, "..data")
    was = os.readlink(old) if os.path.islink(old) else None
    os.replace(os.path.join(folder, "..data_tmp"), old)
    if was:
        shutil.rmtree(os.path.join(folder, was))


def test_a_config_map_is_swapped_again_and_again(rx, a, b, workdir):
    """Promise: the link ..data leads elsewhere, and the folder it led to is deleted: each is one edit."""
    folder = os.path.join(workdir, "map")
    config_map(folder, "..1", to(a))
    os.symlink("..data/refractium.lua", os.path.join(folder, "refractium.lua"))
    p = rx.flags(["-c", os.path.join(folder, "refractium.lua")])
    for turn, backend in enumerate((b, a, b, a), 2):
        config_map(folder, "..%d" % turn, to(backend))
        becomes(p, "ba"[turn % 2])
        only(p, turn - 1)


def test_a_link_to_the_folder_is_swapped(rx, a, b, workdir):
    """Promise: a link anywhere on the way counts, as with /etc/refractium -> /srv/release-2."""
    for name, backend in (("one", a), ("two", b)):
        os.makedirs(os.path.join(workdir, "srv", name, "conf"))
        write(os.path.join(workdir, "srv", name, "conf", "x.lua"), to(backend))
    os.makedirs(os.path.join(workdir, "etc"))
    link = os.path.join(workdir, "etc", "current")
    os.symlink("../srv/one", link)
    p = rx.flags(["-c", os.path.join(link, "conf", "x.lua")])
    assert ask(p, wire.SSH) == "a"
    os.symlink("../srv/two", link + ".new")
    os.replace(link + ".new", link)
    becomes(p, "b")
    write(os.path.join(workdir, "srv", "two", "conf", "x.lua"), to(a))
    becomes(p, "a")
    only(p, 2)


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_the_folder_goes_and_comes_again(rx, a, b, workdir, how):
    """Promise: a config whose folder is deleted or moved away serves on; when it is there again it is watched again."""
    folder = os.path.join(workdir, "deep", "er", "conf")
    path = os.path.join(folder, "x.lua")
    os.makedirs(folder)
    write(path, to(a))
    p = rx.flags(["-c", path])
    for turn, backend in enumerate((b, a), 1):
        if how == "deleted":
            shutil.rmtree(os.path.join(workdir, "deep"))
        else:
            os.rename(os.path.join(workdir, "deep"), os.path.join(workdir, "gone%d" % turn))
        time.sleep(0.3)
        assert ask(p, wire.SSH) == "ba"[turn % 2]
        os.makedirs(folder)
        time.sleep(0.3)
        write(path, to(backend))
        becomes(p, "ab"[turn % 2])
        write(path, to(backend) + "-- once more\n")
        wait_for(lambda n=turn: count(p, TAKEN) == 2 * n, what="the second edit")
    assert not p.err.find(REFUSED)


def test_included_files_are_watched_wherever_they_are(rx, a, b, workdir):
    """Promise: an edit of a file of a chain of includes is an edit."""
    os.makedirs(os.path.join(workdir, "parts"))
    write(os.path.join(workdir, "parts", "one.lua"), 'local x = require("refractium").include "two.lua" return x')
    write(os.path.join(workdir, "parts", "two.lua"), "return %s" % a.quoted)
    text = make_config("{ rx.ssh, to = backend }", prelude='local backend = rx.include "%s/parts/one.lua"' % workdir)
    p = rx.config(text)
    write(os.path.join(workdir, "parts", "two.lua"), "return %s" % b.quoted)
    becomes(p, "b")
    assert p.err.find(r"reload \(the file changed, \S*parts/two.lua\)")
    only(p, 1)


def test_a_file_that_is_included_before_it_is_there_is_waited_for(rx, a, b):
    """Promise: a refused edit is taken when the file it lacked appears; no further save of the config is needed."""
    p = rx.config(to(a))
    text = to(b, prelude='rx.include "parts/extra.lua"')
    p.write_config(text)
    p.err.wait(REFUSED)
    assert ask(p, wire.SSH) == "a"
    os.makedirs(os.path.join(p.directory, "parts"))
    time.sleep(0.3)
    write(os.path.join(p.directory, "parts", "extra.lua"), "-- here\n")
    becomes(p, "b")


def test_a_mistake_in_a_new_included_file_can_be_mended_there(rx, a, b):
    """Promise: a refused edit's own files are watched, not only the running config's."""
    p = rx.config(to(a))
    extra = os.path.join(p.directory, "extra.lua")
    write(extra, "this is no Lua")
    p.write_config(to(b, prelude='rx.include "extra.lua"'))
    p.err.wait(REFUSED)
    write(extra, "-- mended\n")
    becomes(p, "b")


def test_a_refused_edit_can_be_taken_back(rx, a):
    """Promise: the text of the running config, saved again after a refused edit, ends the complaints."""
    p = rx.config(to(a))
    p.write_config("nonsense")
    p.err.wait(REFUSED)
    p.write_config(to(a))
    p.err.wait(TAKEN)
    assert ask(p, wire.SSH) == "a"


def test_a_busy_folder_costs_nothing_and_delays_nothing(rx, a, b):
    """Promise: other files that are written all the time are no edits, and keep none from being noticed."""
    p = rx.config(to(a))
    over = threading.Event()

    def noise():
        while not over.is_set():
            write(os.path.join(p.directory, "noise"), "x")
            time.sleep(0.005)

    task = peers.in_thread(noise)
    time.sleep(1.5)
    assert count(p, r"reload \(") == 0
    p.write_config(to(b))
    becomes(p, "b")
    over.set()
    task.get()
    only(p, 1)
