# SPDX-License-Identifier: MIT
"""OpenSSH through the multiplexer: a command, copies with hashes, sftp, many sessions, next to HTTP on the same port."""
import getpass
import hashlib
import os

import pytest

import peers
import wire
from harness import MIB, SCALE, find_program, free_port, run_client

pytestmark = pytest.mark.sanitize

SSHD = """Port {port}
ListenAddress 127.0.0.1
HostKey {dir}/host_key
PidFile {dir}/sshd.pid
AuthorizedKeysFile {dir}/authorized_keys
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin yes
MaxStartups 100
Subsystem sftp internal-sftp
LogLevel ERROR
"""


class Ssh:
    """A server of our own, and how its clients are called."""

    def __init__(self, folder, run_server):
        self.folder, self.port, self.user = folder, free_port(), getpass.getuser()
        os.makedirs(folder, mode=0o700)
        for name in ("host_key", "user_key"):
            run_client(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.path(name)])
        os.rename(self.path("user_key.pub"), self.path("authorized_keys"))
        with open(self.path("sshd_config"), "w") as f:
            f.write(SSHD.format(port=self.port, dir=folder))
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)  # sshd insists on it when started by root
        run_server([find_program("sshd"), "-D", "-e", "-f", self.path("sshd_config")]).wait_listening(self.port)

    def path(self, name):
        return os.path.join(self.folder, name)

    def options(self):
        return ["-F", "/dev/null", "-i", self.path("user_key"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
                "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]

    def run(self, port, command, **how):
        return run_client(["ssh", *self.options(), "-p", port, self.user + "@127.0.0.1", command], **how)


@pytest.fixture
def ssh(workdir, run_server, need):
    need("ssh")
    need("sshd")
    server = Ssh(os.path.join(workdir, "ssh"), run_server)
    probe = server.run(server.port, "true", check=False)
    if probe.returncode:
        pytest.skip("sshd does not let %s in here: %s" % (server.user, probe.stderr.decode()[-200:]))
    return server


@pytest.fixture
def p(rx, ssh, backends):
    return rx('{ rx.ssh, to = "127.0.0.1:%d" }, { rx.http, to = %s }' % (ssh.port, backends(peers.http("web")).quoted),
              workers=2)


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def big_file(path):
    with open(path, "wb") as f:
        for block in peers.Stream(max(int(50 * MIB * SCALE), MIB)).blocks():
            f.write(block)
    return path


def test_a_command_and_its_exit_code(ssh, p):
    """Promise: ssh runs a command through it; its output, input and exit code arrive."""
    assert ssh.run(p.port, "echo out; echo err >&2; exit 7", check=False).returncode == 7
    assert ssh.run(p.port, "cat", input=b"to and fro").stdout == b"to and fro"
    line = p.access(2)[0]
    assert line["protocol"] == "ssh" and "OpenSSH" in line["facts"]


def test_copies_both_ways(ssh, p, workdir):
    """Promise: scp there and back, byte-exact."""
    here, there, back = (os.path.join(workdir, n) for n in ("here.bin", "there.bin", "back.bin"))
    big_file(here)
    scp = ["scp", "-q", *ssh.options(), "-P", p.port]
    run_client([*scp, here, "%s@127.0.0.1:%s" % (ssh.user, there)])
    run_client([*scp, "%s@127.0.0.1:%s" % (ssh.user, there), back])
    assert sha256(here) == sha256(there) == sha256(back)


def test_sftp(ssh, p, workdir):
    """Promise: sftp in batch mode."""
    here, there = big_file(os.path.join(workdir, "here.bin")), os.path.join(workdir, "there.bin")
    batch = os.path.join(workdir, "batch")
    with open(batch, "w") as f:
        f.write("put %s %s\nls -l %s\n" % (here, there, there))
    done = run_client(["sftp", "-q", *ssh.options(), "-P", p.port, "-b", batch, ssh.user + "@127.0.0.1"])
    assert b"there.bin" in done.stdout and sha256(here) == sha256(there)


def test_many_sessions_beside_http(ssh, p):
    """Promise: one port serves SSH sessions and HTTP requests at the same time."""
    def web():
        with p.connect() as s:
            s.sendall(wire.get())
            return peers.read_all(s)

    tasks = [peers.in_thread(ssh.run, p.port, "echo %d" % n) for n in range(10)]
    pages = [peers.in_thread(web) for _ in range(20)]
    assert all(t.get().endswith(b"web") for t in pages)
    assert [t.get().stdout.strip() for t in tasks] == [b"%d" % n for n in range(10)]


def test_a_server_that_is_down_is_told_as_a_reset(rx, need, workdir):
    """Promise: with nothing behind it ssh ends at once with a plain message."""
    need("ssh")
    p = rx('{ rx.ssh, to = "127.0.0.1:%d" }' % free_port())
    done = run_client(["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-p", p.port,
                       "nobody@127.0.0.1"], check=False)
    assert done.returncode == 255 and b"reset" in done.stderr.lower()
