# SPDX-License-Identifier: MIT
"""`during`: routes that exist at some hours of the week only."""
import subprocess
import time

import wire
from harness import BINARY

CONFIG = """local rx = require "refractium"
rx.listen "127.0.0.1:0" { routes = {
  { rx.ssh, during = { "Mon-Fri 08:00-18:00", "Sat 22:00-02:00" }, to = rx.respond "day" },
  { rx.ssh, to = rx.respond "night" },
} }
local function at(when, route)
  rx.test(when) { send = "SSH-2.0-x\\r\\n", at = when, expect = { route = route } }
end
at("2026-01-05 08:00", "ssh")
at("2026-01-05 18:00", "ssh #2")
at("2026-01-10 23:00", "ssh")
at("2026-01-11 01:59", "ssh")
at("2026-01-11 02:00", "ssh #2")
"""


def run(tmp_path, *args, **how):
    return subprocess.run([BINARY, *args], cwd=tmp_path, capture_output=True, text=True, timeout=60, **how)


def test_tests_of_a_config_say_when_their_client_comes(tmp_path):
    (tmp_path / "refractium.lua").write_text(CONFIG)
    got = run(tmp_path, "check")
    assert got.returncode == 0 and "5 tests passed" in got.stdout, got
    assert "during=Mon-Fri 08:00-18:00,Sat 22:00-02:00" in got.stdout
    (tmp_path / "refractium.lua").write_text(CONFIG.replace("18:00\", \"Sat", "18:01\", \"Sat"))
    got = run(tmp_path, "check")
    assert got.returncode == 1 and "2026-01-05 18:00" in got.stdout + got.stderr


def test_a_span_or_a_moment_that_is_none_is_an_error_with_its_place(tmp_path):
    (tmp_path / "refractium.lua").write_text(CONFIG.replace("Mon-Fri 08:00", "Mon-Fri 8:00"))
    got = run(tmp_path, "check")
    assert got.returncode == 1
    assert "refractium.lua:3: listen \"127.0.0.1:0\".routes[1].during: hours are HH:MM-HH:MM" in got.stdout + got.stderr
    (tmp_path / "refractium.lua").write_text(CONFIG + 'at("2026-02-30 09:00", "ssh")\n')
    got = run(tmp_path, "check")
    assert got.returncode == 1 and 'at: must be a date and a time like "2026-01-05 09:00"' in got.stdout + got.stderr


def test_explain_says_what_the_hour_decides(tmp_path):
    (tmp_path / "refractium.lua").write_text(CONFIG)
    for when, verdict, to in (("2026-01-05 09:00", "holds during", '"day"'), ("2026-01-04 09:00", "fails during", '"night"')):
        got = run(tmp_path, "explain", "--at", when, input=wire.SSH.decode())
        assert got.returncode == 0 and verdict in got.stdout and to in got.stdout, got.stdout
        assert ("(Mon 09:00)" if "05" in when else "(Sun 09:00)") in got.stdout
    got = run(tmp_path, "explain", "--at", "noon", input="x")
    assert got.returncode == 1 and "--at: must be a date and a time" in got.stderr


def test_a_route_covered_at_every_hour_is_told(tmp_path):
    text = CONFIG.replace("{ rx.ssh, to =", '{ rx.ssh, during = "Wed 09:00-10:00", name = "late", to =').split("local function")[0]
    (tmp_path / "refractium.lua").write_text(text)
    got = run(tmp_path, "check")
    assert "route 2 (late) can never match" in got.stdout + got.stderr, got
    (tmp_path / "refractium.lua").write_text(text.replace("Wed 09:00-10:00", "Wed 17:00-19:00"))
    assert "can never match" not in run(tmp_path, "check").stdout


def test_connections_go_by_the_clock_of_the_machine(rx):
    """Promise: the local time zone. The day is cut in two halves of which one is now."""
    now = time.gmtime()
    config = '{ rx.ssh, during = "%s", to = rx.respond "now" }, { rx.ssh, to = rx.respond "later" }'
    span = "%s %02d:00-%02d:59"
    day = time.strftime("%a", now)
    low, high = max(now.tm_hour - 1, 0), min(now.tm_hour + 1, 23)
    for text, answer in ((span % (day, low, high), b"now"), (time.strftime("%a", time.gmtime(time.time() + 3 * 86400)), b"later")):
        p = rx(config % text)
        with p.connect() as s:
            s.sendall(wire.SSH)
            assert s.recv(10) == answer
