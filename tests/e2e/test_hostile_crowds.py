# SPDX-License-Identifier: MIT
"""Short forms of `make hostile` and `make races`: attacks beside good clients, and everything at once."""
import os
import sys

import pytest

from harness import ROOT, SANITIZER

sys.path.insert(0, os.path.join(ROOT, "tests", "stress"))

import hostile  # noqa: E402
import races  # noqa: E402

ATTACKS = ["garbage", "proxy_lies", "udp_flood", "script_errors"]


def test_attacks_leave_good_clients_alone():
    """Promise: who behaves is served every time; memory is bounded, and nothing is left afterwards."""
    arena = hostile.Arena()
    try:
        wrong = hostile.assault(arena, ATTACKS, 1.5)[1]  # how fast is for `make hostile`: here others run beside it
    finally:
        arena.stop()
    assert not wrong, "\n".join(wrong)


@pytest.mark.sanitize
def test_edits_admin_bans_drains_and_kills_at_once_change_no_byte():
    """Promise: whatever is done to it meanwhile, a transfer arrives whole and the program has no race."""
    said = []
    exact, reloads, wrong = races.run(8 if SANITIZER else 4, said.append)
    assert not wrong, "\n".join(wrong[:5])
    assert exact > 5 and reloads > 0, said
