# SPDX-License-Identifier: MIT
"""explain says what functions of the config returned, and how they failed."""
import json

import pytest

from harness import run_binary

pytestmark = pytest.mark.sanitize

CONFIG = """local rx = require "refractium"
local game = rx.protocol "game" { identify = function(buf)
  if buf:starts("BAD", 0) then error("oh no") end
  rx.log.info("asked")
  return buf:starts("GAME", 0), "k1"
end }
rx.listen "127.0.0.1:1" { routes = {
  { game, key = "k2", to = rx.drop },
  { game, when = function(conn) return nil + 1 end, to = rx.drop },
  { game, when = function(conn) return false end, to = rx.drop },
  { game, when = function(conn) return true end, to = function(conn) return nil end },
  { game, from = "192.0.2.0/24", to = function(conn) return rx.echo end },
  { rx.ssh, to = rx.drop },
}, fallback_tcp = rx.refuse }
"""


def explain(tmp_path, said, *more):
    (tmp_path / "refractium.lua").write_text(CONFIG)
    return run_binary("explain", *more, cwd=tmp_path, stdin=said)


def test_functions_and_conditions_are_shown_with_what_they_saw(tmp_path):
    got = explain(tmp_path, b"GAME x")
    assert got.returncode == 0, got.stderr
    text = got.stdout.decode()
    assert '(identify, refractium.lua:2, says true, "k1")' in text
    assert 'fails key=k2  ("k1")' in text
    assert "fails when  (refractium.lua:9 failed: refractium.lua:9: attempt to perform arithmetic on a nil value)" in text
    assert "fails when  (refractium.lua:10 does not say true)" in text
    assert "4  game #4: conditions fail" in text
    assert "holds when  (refractium.lua:11 says true)\n       fails to  (refractium.lua:11 says nothing)" in text
    assert "holds to  (refractium.lua:12 says echo)" in text


def test_what_functions_log_is_shown_once(tmp_path):
    got = explain(tmp_path, b"GAME x")
    assert got.stderr.count(b"asked") == 1, got.stderr
    assert got.stderr.count(b"attempt to perform") == 1, got.stderr


def test_an_identify_that_fails_is_named(tmp_path):
    got = explain(tmp_path, b"BAD x")
    assert "(identify, refractium.lua:2, failed: refractium.lua:3: oh no)" in got.stdout.decode()


def test_json_has_every_route_with_its_conditions(tmp_path):
    told = json.loads(explain(tmp_path, b"GAME x", "--json").stdout)
    assert told["tried"][0]["identify"] == "refractium.lua:2" and told["tried"][0]["key"] == "k1"
    routes = told["routes"]
    assert [r["outcome"] for r in routes] == ["condition_fails"] * 4 + ["takes"]
    assert routes[0]["conditions"] == [{"condition": "key", "wanted": ["k2"], "saw": "k1", "holds": False}]
    assert routes[1]["when"]["error"].startswith("refractium.lua:9: attempt")
    assert routes[2]["when"] == {"where": "refractium.lua:10", "holds": False, "to": None, "error": None}
    assert routes[3]["to"] == {"where": "refractium.lua:11", "holds": False, "to": None, "error": None}
    assert routes[4]["to"]["to"] == "echo" and routes[4]["conditions"][0]["saw"] == "192.0.2.1"
    told = json.loads(explain(tmp_path, b"BAD x", "--json").stdout)
    assert told["tried"][0]["error"] == "refractium.lua:3: oh no"
    assert {r["outcome"] for r in told["routes"]} == {"other_protocol"}
