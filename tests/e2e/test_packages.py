# SPDX-License-Identifier: MIT
"""The Debian package: what is in it, that it runs from where it was unpacked, and that its parts fit together."""
import os
import re
import shutil
import subprocess

import pytest

from harness import ROOT, SANITIZER, Refractium, find_program, free_port

pytestmark = [pytest.mark.skipif(bool(SANITIZER), reason="packages hold the release binary"),
              pytest.mark.skipif(not find_program("dpkg-shlibdeps"), reason="dpkg-dev is not installed")]


def run(*argv, **how):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("deb"))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return run("make", "-s", "deb", "DEB_OUT=" + out, cwd=ROOT, env=env).strip().splitlines()[-1]


@pytest.fixture(scope="module")
def unpacked(package, tmp_path_factory):
    root = str(tmp_path_factory.mktemp("root"))
    run("dpkg-deb", "-x", package, root)
    return root


def test_package_says_what_it_is_and_what_it_needs(package):
    assert run("dpkg-deb", "-f", package, "Package").strip() == "refractium"
    needs = run("dpkg-deb", "-f", package, "Depends")
    for library in ("libluajit-5.1-2", "libev4", "libssl3", "libc6", "adduser"):
        assert library in needs, needs
    assert "refractium.lua" in run("dpkg-deb", "-I", package, "conffiles")


def test_everything_belongs_to_root_and_nobody_may_write(package):
    for line in run("dpkg-deb", "-c", package).splitlines():
        mode, owner = line.split()[:2]
        assert owner == "root/root", line
        assert mode[0] == "l" or mode[5] != "w" and mode[8] != "w", line


def test_binary_serves_the_packaged_config_from_where_it_is_unpacked(unpacked, workdir):
    port = free_port()
    binary, config = unpacked + "/usr/bin/refractium", unpacked + "/etc/refractium/refractium.lua"
    run(binary, "check", "-q", "-c", config)
    process = subprocess.Popen([binary, "-c", config, "-b", "127.0.0.1", "-p", str(port)], cwd=workdir, stderr=subprocess.PIPE,
                               env=Refractium.environment({"XDG_RUNTIME_DIR": workdir}), text=True)
    try:
        for line in process.stderr:
            if "listening on" in line:
                break
        got = run("curl", "-s", "http://127.0.0.1:%d/" % port)
        assert "http" in got
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_unit_starts_what_the_package_installs_and_is_not_enabled(unpacked, package):
    with open(unpacked + "/usr/lib/systemd/system/refractium.service", encoding="utf-8") as f:
        command = re.search(r"^ExecStart=(.*)$", f.read(), re.M).group(1).split()
    assert os.access(unpacked + command[0], os.X_OK)
    assert os.path.exists(unpacked + command[command.index("-c") + 1])
    scripts = run("dpkg-deb", "-I", package, "postinst")
    assert "start" not in scripts.replace("started", "") and not os.path.exists(unpacked + "/etc/systemd")


@pytest.mark.skipif(not find_program("mandoc"), reason="mandoc is not installed")
def test_manual_pages_are_well_formed_and_name_every_option(unpacked, workdir):
    for page in ("man1/refractium.1", "man5/refractium.lua.5"):
        plain = os.path.join(workdir, os.path.basename(page))
        with open(plain, "w", encoding="utf-8") as f:
            f.write(run("zcat", "%s/usr/share/man/%s.gz" % (unpacked, page)))
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "error", plain], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout
    text = run("mandoc", "-T", "utf8", os.path.join(workdir, "refractium.lua.5"))
    text = re.sub(r".\x08", "", text)
    with open(os.path.join(ROOT, "docs/reference/config.md"), encoding="utf-8") as f:
        options = re.findall(r"^\| `(\w+)` \|", f.read(), re.M)
    assert len(options) > 50
    for option in options:
        assert re.search(r"^\s+%s \(" % option, text, re.M), option


@pytest.mark.skipif(not find_program("lintian"), reason="lintian is not installed")
def test_lintian_finds_no_error(package):
    done = subprocess.run(["lintian", "--fail-on", "error", "--suppress-tags", "bogus-mail-host,bogus-mail-host-in-debian-changelog", package],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", ["packaging/deb/build.sh", "packaging/deb/postinst", "packaging/deb/prerm",
                                    "packaging/deb/postrm", "packaging/arch/PKGBUILD"])
def test_scripts_parse(script):
    run(shutil.which("bash"), "-n", os.path.join(ROOT, script))
