# SPDX-License-Identifier: MIT
"""Datagrams that go nowhere are counted, by why."""
import json
import re

import pytest

from harness import wait_for
from test_metrics import fetch, server as metrics_server
from test_udp import WIREGUARD, ask, client, is_silent, listen, port, servers  # noqa: F401  pylint: disable=unused-import

pytestmark = pytest.mark.sanitize


def lost(r):
    """The same in /metrics and in the status."""
    text = fetch(r)[1]
    found = {m[1]: int(m[2]) for m in re.finditer(r'refractium_datagrams_lost_total\{reason="(\w+)"\} (\d+)', text)}
    assert json.loads(fetch(r, "/status.json")[1])["totals"]["lost"] == found
    return {why: n for why, n in found.items() if n}


def test_those_turned_away_are_counted(rx, servers, client, port):  # noqa: F811
    """Promise: each datagram that begins no flow, for a limit."""
    backend = servers(b"")
    r = rx.config(listen(port, '{ rx.wireguard, to = "%s" }' % backend.address, "max_sessions = 2,", server=metrics_server()))
    for _ in range(2):
        assert ask(client(port), WIREGUARD) == WIREGUARD
    assert lost(r) == {}
    for _ in range(3):
        assert is_silent(client(port), WIREGUARD, 0.1)
    wait_for(lambda: lost(r) == {"turned_away": 3}, what="the count")
