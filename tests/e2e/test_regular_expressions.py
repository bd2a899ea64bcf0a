# SPDX-License-Identifier: MIT
"""rx.re: regular expressions in functions of the config, on strings and on buf, bounded."""
import time

import pytest

import peers
import wire
from harness import run_binary
from test_routing import ask

pytestmark = pytest.mark.sanitize

CHECKS = r"""
local rx = require "refractium"
local word, pair, maybe = rx.re "[a-z]+", rx.re "([a-z]+)=([a-z]+)", rx.re "^(x)?(GET) "
local five, none = rx.re "(.)(.)(.)(.)(.)", rx.re "(?i)HOST: *([a-z.]+)"

-- While the config loads they work too.
assert(word:match "12ab34" == "ab" and word:test "AB" == false)

local function same(...)
  local got, n = {}, select("#", ...)
  for i = 1, n do got[i] = tostring((select(i, ...))) end
  return table.concat(got, ",")
end

local game = rx.protocol "game" { transport = "tcp", identify = function(buf)
  assert(same(word:find "12ab34") == "3,4")
  assert(same(word:find("ab cd", 3)) == "4,5")
  assert(("ab cd"):sub(word:find("ab cd", 3)) == "cd")
  assert(same(pair:match "k=v") == "k,v")
  assert(same(pair:match "nothing") == "nil")
  assert(same(five:match "abcde") == "a,b,c,d,e")
  if not buf:starts "GET " then return false end
  assert(same(word:find(buf)) == "5,6" and buf:sub(word:find(buf)) == "x")
  assert(word:find(buf, 7) == 18 and word:test(buf, #buf) == false and word:test(buf, 2^40) == false)
  assert(same(maybe:match(buf)) == "nil,GET")
  assert(none:match(buf) == "a.test")
  return true, none:match(buf)
end }
rx.listen "127.0.0.1:1" { routes = { { game, key = "a.test", to = rx.echo } } }
rx.test "all of it" { send = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n", expect = { to = "echo" } }
"""


def check(workdir, text):
    path = workdir + "/refractium.lua"
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return run_binary("check", "-q", "-c", path, cwd=workdir)


def test_they_match_find_and_test(workdir):
    """Promise: match, find and test on strings and on buf, in a function and while the config loads."""
    done = check(workdir, CHECKS)
    assert done.returncode == 0, done.err


@pytest.mark.parametrize("line,words", [
    ('rx.re "a(b"', 'refractium.lua:2: rx.re "a(b": missing closing parenthesis at character 4'),
    ("rx.re(3)", "refractium.lua:2: rx.re: needs a pattern"),
    ('rx.re "()()()()()()()()()()"', "has 10 groups and may have 9"),
    ('rx.re "x":mtach "y"', 'rx.re "x" has no mtach (did you mean "match"?)'),
    ('rx.re "x":test(3)', 'rx.re "x": string or buf expected, got 3'),
])
def test_mistakes_are_told_with_their_line(workdir, line, words):
    """Promise: a bad pattern, and a bad use, is an error of the load with its place."""
    done = check(workdir, 'local rx = require "refractium"\nlocal _ = %s\nrx.listen "127.0.0.1:1" '
                          '{ fallback_tcp = rx.drop }\n' % line)
    assert done.returncode == 1 and words in done.err, done.err


def test_every_worker_has_them(rx, backends):
    """Promise: they work in each worker, on bytes as they come."""
    a = backends(peers.named("a"))
    p = rx("{ game, key = 'seven', to = %s }" % a.quoted, workers=3, options="fallback_tcp = rx.respond 'no',",
           prelude="""local name = rx.re "^name=([a-z]+);"
                      local game = rx.protocol "game" { transport = "tcp", identify = function(buf)
                        if #buf < 64 and not buf:find ";" then return rx.more end
                        local key = name:match(buf)
                        return key ~= nil, key end }""")
    for _ in range(12):
        assert (ask(p, b"name=seven;"), ask(p, b"name=eight;")) == ("a", "no")


@pytest.mark.parametrize("size", [30, 200, 4000])
def test_a_pattern_that_explodes_fails_its_call_alone(rx, backends, size):
    """Promise: a limit ends the search, the call counts as failed, and others are served."""
    a = backends(peers.named("a"))
    p = rx("{ bad, to = rx.drop }, { rx.ssh, to = %s }" % a.quoted, workers=1, options="fallback_tcp = rx.respond 'no',",
           prelude="""local evil = rx.re "(a+)+$"
                      local bad = rx.protocol "bad" { transport = "tcp", prefix = "a",
                        identify = function(buf) return evil:test(buf) end }""")
    for _ in range(3):
        since = time.monotonic()
        assert ask(p, b"a" * size + b"!") == "no"
        assert time.monotonic() - since < 1
        assert ask(p, wire.SSH) == "a"
    assert "took too many steps or too long" in p.errors()


def test_string_patterns_point_to_it(rx, backends):
    """Promise: a string pattern while connections are served is an error that names rx.re."""
    a = backends(peers.named("a"))
    p = rx("{ bad, to = rx.drop }, { rx.ssh, to = %s }" % a.quoted,
           prelude='local bad = rx.protocol "bad" { identify = function(buf) return ("x"):match "x" end }')
    assert ask(p, wire.SSH) == "a"
    assert "use rx.re" in p.errors()
