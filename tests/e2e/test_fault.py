# SPDX-License-Identifier: MIT
"""A sample of what `make fault` does: single calls fail while clients are served."""
import os
import subprocess
import sys
import time

import pytest

import harness
import peers
import wire
from harness import ROOT, SANITIZER

sys.path.insert(0, os.path.join(ROOT, "tests", "fault"))

pytestmark = pytest.mark.sanitize


@pytest.fixture(scope="module")
def fault():
    import fault as driver  # pylint: disable=import-outside-toplevel
    if not harness.find_program("gcc"):
        pytest.skip("gcc is not installed")
    subprocess.run(["make", "-s", "-C", ROOT, "build/fault/fault.so"], check=True)
    return driver


def test_a_call_that_fails_costs_at_most_its_connection(fault):
    """Promise: no crash, no leak, nothing stuck, and accepted = closed + live, whichever call fails."""
    if SANITIZER == "tsan":
        pytest.skip("its runtime asks for memory that may not be refused")
    said = []
    tried, fired, wrong = fault.run(seconds=5, say=said.append)
    assert not wrong, "\n".join(wrong)
    assert tried > 3 and fired > 1, (tried, fired)


def test_a_spell_of_failures_is_over_when_it_is_over(fault):
    """Promise: what failed again and again is served again afterwards: a listener that epoll had no room for, too."""
    if SANITIZER == "tsan":
        pytest.skip("its runtime asks for memory that may not be refused")
    x = fault.Stage(is_warm=False)
    try:
        for kind in ("accept4", "epoll_ctl", "splice"):
            fault.play(x, "splice", kind, 1, 4, fault.KINDS[kind][0])
            x.alive()
            x.serves()
        x.adds_up()
    finally:
        x.stop()


def test_a_config_is_refused_when_memory_runs_out_and_the_running_one_stays(fault):
    """Promise: a load that is refused memory, in C or in Lua, ends as a refused load; the process goes on."""
    if SANITIZER == "tsan":
        pytest.skip("its runtime asks for memory that may not be refused")
    x = fault.Stage(is_warm=False)
    try:
        for first in (5, 9, 30, 200, 1000, 5000, 12000):
            fault.play(x, "reload", "malloc", first, 1, fault.E.ENOMEM)
            x.alive()
        fault.play(x, "counted", "malloc", 1, 12, fault.E.ENOMEM)
        x.serves()
        x.adds_up()
    finally:
        x.stop()


def test_a_jump_of_the_clock_ends_nobody_and_stops_no_timer(fault):
    """Promise: waits are by the clock that only goes forward; who is set ahead a day, or back, goes on as before."""
    if SANITIZER == "tsan":
        pytest.skip("its runtime has the memory calls for itself")
    x = fault.Stage(is_warm=False)
    try:
        with x.connect() as s:
            s.sendall(wire.SSH)
            assert peers.read_exactly(s, len(wire.SSH)) == wire.SSH
            for jump_s in (86400, -86400):
                with x.connect() as undecided:
                    undecided.sendall(b"SSH-")
                    begun = time.monotonic()
                    x.page.jump_s = jump_s
                    assert peers.how_it_ends(undecided)[0] in ("eof", "reset")
                    assert 1 < time.monotonic() - begun < 2 + harness.PATIENCE / 3  # peek_timeout is 2 s
                s.sendall(b"still here")
                assert peers.read_exactly(s, 10) == b"still here"
            fault.reload(x)
            x.serves()
    finally:
        x.stop()
