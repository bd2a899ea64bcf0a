# SPDX-License-Identifier: MIT
"""check warns of routes that can never match, and of decisions that hang on how a client's bytes are cut."""
import json

import pytest

from harness import run_binary

pytestmark = pytest.mark.sanitize

HEAD = 'local rx = require "refractium"\n'


def warnings(tmp_path, routes, before="", after=""):
    listen = f'rx.listen "127.0.0.1:0" {{ fallback_tcp = rx.drop, routes = {{\n{routes}\n}} }}\n'
    (tmp_path / "refractium.lua").write_text(HEAD + before + listen + after)
    got = run_binary("check", "--json", cwd=tmp_path)
    told = json.loads(got.stdout)
    assert told["errors"] == [] and told["tests"]["failures"] == [], told
    return told["warnings"]


COVERED = [
    ("{ rx.tls, to = rx.drop },", "rx.tls, sni = 'a.test'"),
    ("{ rx.tls, sni = '*.a.test', to = rx.drop },", "rx.tls, sni = 'b.A.test'"),
    ("{ rx.tls, sni = '*.a.test', to = rx.drop },", "rx.tls, sni = '*.b.a.test'"),
    ("{ rx.tls, sni = { '*.a.test', 'c.test' }, to = rx.drop },", "rx.tls, sni = { 'c.test', 'x.a.test' }, alpn = 'h2'"),
    ("{ rx.tls, sni = '~^a', to = rx.drop },", "rx.tls, sni = '~^a'"),
    ("{ rx.tls, alpn = { 'h2', 'h3' }, to = rx.drop },", "rx.tls, alpn = 'h3'"),
    ("{ rx.tls, ech = true, to = rx.drop },", "rx.tls, ech = true, sni = 'a.test'"),
    ("{ rx.http, path = '/api', to = rx.drop },", "rx.http, path = '/api/v1', method = 'GET'"),
    ("{ rx.http, host = '*.a.test', method = { 'GET', 'PUT' }, to = rx.drop },",
     "rx.http, host = 'x.a.test', method = 'PUT'"),
    ("{ rx.ssh, from = '10.0.0.0/8', to = rx.drop },", "rx.ssh, from = { '10.1.0.0/16', '10.2.3.4' }"),
    ("{ rx.ssh, from = '2001:db8::/33', to = rx.drop },", "rx.ssh, from = '2001:db8:7fff::/48'"),
    ("{ rx.ssh, not_from = '10.1.0.0/16', to = rx.drop },", "rx.ssh, not_from = '10.0.0.0/8'"),
    ("{ rx.ssh, to_port = '8000-8099', to = rx.drop },", "rx.ssh, to_port = { 8000, '8010-8020' }"),
    ("{ rx.ssh, software = 'openssh', to = rx.drop },", "rx.ssh, software = 'OpenSSH_9'"),
    ("{ rx.ssh, to = rx.drop },", "rx.sftp"),
    ("{ rx.any, from = '10.0.0.0/8', to = rx.drop },", "rx.ssh, from = '10.0.0.1'"),
    ("{ rx.dns, qtype = { 'A', 'AAAA' }, to = rx.drop },", "rx.dns, qtype = 'A', qname = 'a.test'"),
]

NOT_COVERED = [
    ("{ rx.tls, sni = '*.a.test', to = rx.drop },", "rx.tls, sni = 'a.test'"),
    ("{ rx.tls, sni = '*.a.test', to = rx.drop },", "rx.tls, sni = 'ba.test'"),
    ("{ rx.tls, sni = 'b.a.test', to = rx.drop },", "rx.tls, sni = '*.a.test'"),
    ("{ rx.tls, sni = '*.a.test', to = rx.drop },", "rx.tls, sni = { 'x.a.test', 'b.test' }"),
    ("{ rx.tls, sni = '*.a.test', to = rx.drop },", "rx.tls, sni = '~x.a.test'"),
    ("{ rx.tls, sni = '*.a.test', alpn = 'h2', to = rx.drop },", "rx.tls, sni = 'x.a.test'"),
    ("{ rx.tls, when = function() return true end, to = rx.drop },", "rx.tls"),
    ("{ rx.tls, to = function() return rx.drop end },", "rx.tls"),
    ("{ rx.tls, ech = false, to = rx.drop },", "rx.tls, ech = true"),
    ("{ rx.http, path = '/api/v1', to = rx.drop },", "rx.http, path = '/api'"),
    ("{ rx.ssh, from = '10.0.0.0/8', to = rx.drop },", "rx.ssh, from = '11.0.0.0/16'"),
    ("{ rx.ssh, from = '10.0.0.0/8', to = rx.drop },", "rx.ssh, from = '0.0.0.0/0'"),
    ("{ rx.ssh, from = '0.0.0.0/0', to = rx.drop },", "rx.ssh, from = '::/0'"),
    ("{ rx.ssh, from = '2001:db8::/33', to = rx.drop },", "rx.ssh, from = '2001:db8:8000::/48'"),
    ("{ rx.ssh, not_from = '10.0.0.0/8', to = rx.drop },", "rx.ssh, not_from = '10.1.0.0/16'"),
    ("{ rx.ssh, to_port = 8000, to = rx.drop },", "rx.ssh, to_port = '8000-8001'"),
    ("{ rx.sftp, to = rx.drop },", "rx.ssh"),
    ("{ rx.ssh, to = rx.drop },", "rx.tls"),
]


@pytest.mark.parametrize("earlier, later", COVERED, ids=[str(i) for i in range(len(COVERED))])
def test_a_route_that_an_earlier_one_covers_is_warned_about(earlier, later, tmp_path):
    told = warnings(tmp_path, earlier + "\n{ " + later + ", to = rx.echo },")
    assert len(told) == 1 and ("can never match: route 1" in told[0] or "is never reached: routes[1]" in told[0]), told


@pytest.mark.parametrize("earlier, later", NOT_COVERED, ids=[str(i) for i in range(len(NOT_COVERED))])
def test_a_route_that_may_match_is_not(earlier, later, tmp_path):
    assert warnings(tmp_path, earlier + "\n{ " + later + ", to = rx.echo },") == []


HASTY = """local hasty = rx.protocol "hasty" {
  identify = function(buf) return buf:find("KEY=1") ~= nil end,
}
"""
TEST = 'rx.test "t" { send = "XX KEY=1 and more", expect = { to = rx.echo } }\n'
ROUTES = "{ hasty, to = rx.echo }, { rx.ssh, to = rx.drop },"


def test_an_identify_that_says_no_too_early_is_found_by_a_test_of_the_config(tmp_path):
    told = warnings(tmp_path, ROUTES, HASTY, TEST)
    assert len(told) == 1, told
    assert told[0] == ('refractium.lua:5: "XX KEY=1 and more" (17 bytes) takes route 1 (hasty) in one piece, and goes to'
                       " the fallback byte by byte: an identify says no before it has seen enough")


def test_an_identify_that_waits_is_not_warned_about(tmp_path):
    patient = HASTY.replace('return buf:find("KEY=1") ~= nil', 'return buf:find("KEY=1") ~= nil or #buf < 64 and rx.more')
    assert warnings(tmp_path, ROUTES, patient, TEST) == []


def test_prefixes_patterns_and_built_ins_do_not_hang_on_segments(tmp_path):
    before = 'local p = rx.protocol "p" { prefix = "GAME", patterns = "KEY=1", within = "64b" }\n'
    sends = ('"GAME1 x"', '"XX KEY=1 and more"', '"GET / HTTP/1.1\\r\\nHost: a.test\\r\\n\\r\\n"', '"SSH-2.0-x\\r\\n"')
    after = "".join(f'rx.test "{i}" {{ send = {text}, silent = true, expect = {{ to = rx.drop }} }}\n'
                    for i, text in enumerate(sends))
    after += 'rx.test "more" { send = "\\x16\\x03\\x01", expect = { more = true } }\n'
    routes = ("{ p, to = rx.drop }, { rx.http, host = 'a.test', to = rx.drop }, { rx.tls, sni = 'a.test', to = rx.drop },"
              " { rx.ssh, software = 'x', to = rx.drop }, { rx.redis, to = rx.drop },")
    assert warnings(tmp_path, routes, before, after) == []
