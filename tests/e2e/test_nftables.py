# SPDX-License-Identifier: MIT
"""Sessions enforced by the kernel: a real nftables table in a network namespace of its own. The server that is protected
is another program; clients reach it directly."""
import ctypes
import os
import signal
import subprocess
import sys
import time

import pytest

from harness import BINARY, Program, wait_for

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
LINE = "2026/01/30 17:03:38.067799 from %s:58676 accepted tcp:www.google.com:443 [IN-TAG >> direct] email: u1\n"
NFT = """
import ctypes, sys
l = ctypes.CDLL("libnftables.so.1")
l.nft_ctx_new.restype = ctypes.c_void_p
l.nft_ctx_get_output_buffer.restype = l.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
c = ctypes.c_void_p(l.nft_ctx_new(0))
l.nft_ctx_buffer_output(c)
l.nft_ctx_buffer_error(c)
rc = l.nft_run_cmd_from_buffer(c, sys.argv[1].encode())
print((l.nft_ctx_get_error_buffer(c) if rc else l.nft_ctx_get_output_buffer(c)).decode())
sys.exit(rc != 0)
"""


def in_namespace(pid, *argv, **more):
    return subprocess.run(["nsenter", "-t", str(pid), "-n", *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=20, **more)


def nft(pid, command):
    return in_namespace(pid, sys.executable, "-c", NFT, command)


def can_reach(pid, source):
    code = "import socket; socket.create_connection(('127.0.0.1', 8000), 1, ('%s', 0))" % source
    return in_namespace(pid, sys.executable, "-c", code).returncode == 0


def unshare():
    if LIBC.unshare(CLONE_NEWNET):
        os._exit(77)


@pytest.fixture(scope="module", autouse=True)
def need_nftables():
    if os.geteuid():
        pytest.skip("needs root: network namespaces")
    if "libnftables" not in subprocess.run(["ldd", BINARY], stdout=subprocess.PIPE, text=True).stdout:
        pytest.skip("built with WITH_GUARD=0")
    probe = subprocess.run([sys.executable, "-c", NFT, "add table inet probe"], preexec_fn=unshare, stdout=subprocess.PIPE,
                           text=True, timeout=20)
    if probe.returncode:
        pytest.skip("this kernel has no nftables, or no namespaces: " + probe.stdout)


def config(access, more="", server="admin = false", also=""):
    return """local rx = require "refractium"
rx.server { workers = 1, %s }
local vpn = rx.sessions "my-vpn" { window = "1h", enforce = { "nftables" }, dport = { 8000, "9000-9010" }, %s }
rx.tail "%s" { parse = rx.xray, sessions = vpn }
rx.listen "127.0.0.1:18000" { fallback_tcp = rx.drop }
%s
""" % (server, more, access, also)


@pytest.fixture
def guarded(rx, tmp_path):
    """Starts the program and the protected server in one namespace."""
    held = []

    def begin(more="", **how):
        access = tmp_path / "access.log"
        access.write_text("")
        p = rx.config(config(access, more, **how), preexec=unshare)
        assert in_namespace(p.pid, "ip", "link", "set", "lo", "up").returncode == 0
        server = Program(["nsenter", "-t", str(p.pid), "-n", sys.executable, "-m", "http.server", "8000"],
                         cwd=str(tmp_path))
        held.append(server)
        wait_for(lambda: can_reach(server.process.pid, "127.0.0.9"), what="the server")
        time.sleep(0.3)
        return p, server.process.pid, access

    yield begin
    for server in held:
        server.stop()


def say(access, *addresses):
    with access.open("a") as f:
        for address in addresses:
            f.write(LINE % address)


def test_the_kernel_drops_who_was_put_out_until_the_timeout_is_over(guarded):
    p, ns, access = guarded("timeout = '4s'")
    say(access, "127.0.0.2", "127.0.0.3", "[2001:db8::1]")
    wait_for(lambda: "127.0.0.3" in nft(ns, "list ruleset").stdout, what="the address in the set")
    rules = nft(ns, "list ruleset").stdout
    assert "table inet refractium_my-vpn" in rules and "2001:db8:: timeout" in rules and "127.0.0.2" not in rules
    assert "priority -350" in rules and "udp dport { 8000, 9000-9010 } jump outs" in rules
    assert not can_reach(ns, "127.0.0.3")
    assert can_reach(ns, "127.0.0.2")
    wait_for(lambda: can_reach(ns, "127.0.0.3"), what="the end of the timeout")
    p.stop()
    assert "refractium" not in nft(ns, "list ruleset").stdout


def test_a_table_that_was_taken_away_comes_back_with_its_entries(guarded):
    p, ns, access = guarded("timeout = '1h'")
    say(access, "127.0.0.2", "127.0.0.3")
    wait_for(lambda: "127.0.0.3" in nft(ns, "list ruleset").stdout, what="the address in the set")
    assert nft(ns, "flush ruleset").returncode == 0
    assert can_reach(ns, "127.0.0.3")
    wait_for(lambda: "127.0.0.3" in nft(ns, "list ruleset").stdout, what="the table to be restored")
    assert not can_reach(ns, "127.0.0.3")
    assert nft(ns, "flush chain inet refractium_my-vpn drops").returncode == 0
    wait_for(lambda: " drop" in nft(ns, "list ruleset").stdout, what="the rules to be restored")
    p.err.wait("restored")


def test_a_changed_timeout_holds_for_those_who_are_out(guarded):
    p, ns, access = guarded("timeout = '1h'")
    say(access, "127.0.0.2", "127.0.0.3")
    wait_for(lambda: not can_reach(ns, "127.0.0.3"), what="the address to be out")
    p.write_config(config(access, "timeout = '100ms'"))
    wait_for(lambda: can_reach(ns, "127.0.0.3"), what="the new timeout")


def test_what_a_crash_left_behind_goes_at_the_next_start(guarded, tmp_path):
    p, ns, access = guarded("timeout = '1h'")
    say(access, "127.0.0.2", "127.0.0.3")
    wait_for(lambda: not can_reach(ns, "127.0.0.3"), what="the address to be out")
    p.signal(signal.SIGKILL)
    p.expected_code = -signal.SIGKILL
    p.wait_exit()
    assert not can_reach(ns, "127.0.0.3")
    again = Program(["nsenter", "-t", str(ns), "-n", BINARY, "-c", os.path.join(p.directory, "refractium.lua")])
    try:
        wait_for(lambda: can_reach(ns, "127.0.0.3"), what="the old entries to go")
        assert "refractium_my-vpn" in nft(ns, "list ruleset").stdout
    finally:
        again.stop()


def admin(p, *argv):
    return subprocess.run([BINARY, *argv, "-c", os.path.join(p.directory, "refractium.lua")], timeout=20, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=p.environment({"XDG_RUNTIME_DIR": p.directory}))


def test_bans_by_hand_reach_the_kernel_and_unban_takes_back_all(guarded):
    p, ns, access = guarded("timeout = '1h'", server="")
    assert admin(p, "ban", "127.0.0.9", "1h").returncode == 0
    wait_for(lambda: not can_reach(ns, "127.0.0.9"), what="the ban")
    assert admin(p, "ban", "127.0.1.0/24", "60d").returncode == 0
    assert admin(p, "ban", "127.0.1.128/25", "1s").returncode == 0  # within the other
    wait_for(lambda: not can_reach(ns, "127.0.1.200"), what="the ban of a block")
    say(access, "127.0.0.2", "127.0.0.3")
    wait_for(lambda: not can_reach(ns, "127.0.0.3"), what="the address to be out")
    assert admin(p, "unban", "127.0.0.3").returncode == 0
    assert admin(p, "unban", "127.0.1.0/24").returncode == 0
    wait_for(lambda: can_reach(ns, "127.0.0.3") and can_reach(ns, "127.0.1.1"), what="the end of both")
    assert not can_reach(ns, "127.0.0.9")
    wait_for(lambda: can_reach(ns, "127.0.1.200"), what="the inner block's own end")
    assert admin(p, "unban", "127.0.0.3").returncode == 1
    say(access, "127.0.0.3")
    wait_for(lambda: not can_reach(ns, "127.0.0.3"), what="the address to be out again: the first still has the place")


def test_names_that_differ_in_little_have_tables_of_their_own(guarded):
    p, ns, _ = guarded("", also="""for _, name in ipairs { "my_vpn", "my.vpn" } do
  rx.tail(name) { parse = rx.xray, sessions = rx.sessions(name) { enforce = { "nftables" }, dport = { 1 } } }
end""")
    wait_for(lambda: all("table inet refractium_" + name in nft(ns, "list ruleset").stdout
                         for name in ("my-vpn", "my_vpn", "my.vpn")), what="three tables")


def test_sessions_that_left_the_config_leave_the_kernel(guarded):
    p, ns, access = guarded("timeout = '1h'")
    say(access, "127.0.0.2", "127.0.0.3")
    wait_for(lambda: not can_reach(ns, "127.0.0.3"), what="the address to be out")
    p.write_config('local rx = require "refractium"\nrx.server { workers = 1, admin = false }\n'
                   'rx.listen "127.0.0.1:18000" { fallback_tcp = rx.drop }\n')
    wait_for(lambda: can_reach(ns, "127.0.0.3"), what="the table to go")
    assert "refractium" not in nft(ns, "list ruleset").stdout
