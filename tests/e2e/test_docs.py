# SPDX-License-Identifier: MIT
"""What the documents say is so: examples and configs pass `check`, printed commands run, links and files exist.

Stands alone (pytest tests/e2e/test_docs.py): nothing of the other end-to-end tests is needed here. RX_BIN names the
program, build/refractium otherwise. A sanitizer build is fine.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("RX_BIN", ROOT / "build" / "refractium")).resolve()
SECONDS = 60

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "bench/README.md"])
WITH_BLOCKS = [ROOT / "README.md", *sorted(ROOT.glob("docs/guide/*.md"))]
EXAMPLES = sorted(ROOT.glob("examples/*/refractium.lua"))
ROOT_CONFIG = ROOT / "refractium.lua"

LUA, SHELL = "lua", "sh"


def shown(path):
    return str(path.relative_to(ROOT))


def run(words, cwd, **more):
    return subprocess.run(words, cwd=cwd, timeout=SECONDS, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **more)


def refractium(*words, cwd):
    return run([str(BIN), *map(str, words)], cwd)


def blocks(path, language):
    """(line of the fence, text) of each fenced block in that language."""
    found, text, start = [], None, 0
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if text is None and line.strip().startswith("```"):
            text, start, lang = [], number, line.strip()[3:].strip()
        elif text is not None and line.strip() == "```":
            if lang == language:
                found.append((start, "\n".join(text) + "\n"))
            text = None
        elif text is not None:
            text.append(line)
    assert text is None, f"{shown(path)}:{start}: a block without an end"
    return found


def all_blocks(language, wanted):
    return [pytest.param(text, id=f"{shown(page)}:{line}")
            for page in WITH_BLOCKS if page.exists() for line, text in blocks(page, language) if wanted(text)]


def without_blocks(text):
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "", text)


# ---- configs ------------------------------------------------------------------------------------------------------


def test_there_is_something_to_test():
    assert os.access(BIN, os.X_OK), f"{BIN} is not there: run make first, or set RX_BIN"
    assert len(EXAMPLES) >= 6
    assert len(all_blocks(LUA, lambda t: "rx.listen" in t)) >= 8
    assert len(all_blocks(SHELL, lambda t: t.startswith("# tested"))) >= 5


@pytest.mark.parametrize("path", [ROOT_CONFIG, *EXAMPLES], ids=shown)
def test_example_passes_check(path, tmp_path):
    got = refractium("check", "-c", path, cwd=tmp_path)
    assert got.returncode == 0, got.stdout
    assert "warning:" not in got.stdout, got.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=shown)
def test_example_has_tests(path):
    assert path.read_text().count("rx.test") >= 4


def test_every_example_is_in_the_guide():
    index = (ROOT / "docs/guide/README.md").read_text()
    for path in EXAMPLES:
        assert f"../../{shown(path)}" in index, f"docs/guide/README.md does not name {shown(path)}"


@pytest.mark.parametrize("text", all_blocks(LUA, lambda t: "rx.listen" in t))
def test_config_in_document_passes_check(text, tmp_path):
    (tmp_path / "refractium.lua").write_text(text)
    got = refractium("check", cwd=tmp_path)
    assert got.returncode == 0, got.stdout
    assert "warning:" not in got.stdout, got.stdout


def test_every_lua_block_is_a_whole_config():
    """So that nothing escapes the test above."""
    assert not all_blocks(LUA, lambda t: "rx.listen" not in t)


def test_a_wrong_config_is_noticed(tmp_path):
    """The tests above can fail: a misspelt key and a test that does not hold are errors."""
    config = tmp_path / "refractium.lua"
    good = EXAMPLES[0].read_text()
    fails = '\nrx.test "fails" { send = "SSH-2.0-x\\r\\n", expect = { to = "tarpit" } }\n'
    for bad in (good.replace("routes = {", "rutes = {", 1), good + fails):
        config.write_text(bad)
        assert refractium("check", cwd=tmp_path).returncode == 1


# ---- commands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", all_blocks(SHELL, lambda t: t.startswith("# tested")))
def test_commands_run(text, tmp_path):
    tools = tmp_path / "tools"
    home = tmp_path / "work"
    tools.mkdir()
    home.mkdir()
    (tools / "refractium").symlink_to(BIN)
    (home / "build").mkdir()
    (home / "build/refractium").symlink_to(BIN)
    env = dict(os.environ, PATH=f"{tools}:{os.environ['PATH']}", HOME=str(home))
    got = run(["sh", "-eu", "-c", text], home, env=env)
    assert got.returncode == 0, got.stdout


def test_options_in_the_guide_exist(tmp_path):
    """Every --option that the guide says of this program is in its help."""
    helps = "".join(refractium(*words, cwd=tmp_path).stdout
                    for words in (["--help"], ["check", "--help"], ["status", "--help"], ["explain", "--help"], ["init", "--help"]))
    known = set(re.findall(r"--[a-z][a-z-]+", helps))
    for page in WITH_BLOCKS:
        if page.name == "migrating.md":  # speaks of other programs as well
            continue
        for line in page.read_text().splitlines():
            if re.search(r"\b(curl|dig|openssl|apt|make|tcpdump|systemctl)\b", line):
                continue
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line):
                assert option in known or option == "--secret", f"{shown(page)}: {option}: {line}"


# ---- links and files ----------------------------------------------------------------------------------------------


def anchors(path):
    """The ids a renderer gives to headings: lower case, blanks to dashes, punctuation gone."""
    found = set()
    for line in re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M).splitlines():
        if line.startswith("#"):
            title = line.lstrip("#").strip().lower().replace("`", "")
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", [p for p in PAGES if p.exists()], ids=shown)
def test_links_resolve(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists():
            broken.append(target)
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            broken.append(target)
    assert not broken, f"{shown(page)}: {broken}"


def test_decisions_are_numbered_without_gaps():
    numbers = [path.name[:4] for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert numbers == [f"{n:04d}" for n in range(1, len(numbers) + 1)]


def named_in_architecture():
    text = (ROOT / "docs/architecture.md").read_text()
    names = set(re.findall(r"\b([a-z][\w]*(?:\\?\*)?\.[ch])\b", text.replace("**", " "))) - {"lua.h"}  # LuaJIT's
    names |= {f"proto/{m}" for m in re.findall(r"\bproto/([\w*]+\.[ch])\b", text)}
    names |= set(re.findall(r"\b((?:lua|docs|core|tests|bench)/[\w/.-]*)", text))
    for row in re.findall(r"^\|([^|\n]+)\|", text, re.M):  # "worker, engine": core/worker.c or .h
        for word in row.split(","):
            word = word.strip()
            if re.fullmatch(r"[a-z_0-9]+", word) and word != "file":
                names.add(word)
            elif re.fullmatch(r"[\w/]+/?", word) and "/" in word:
                names.add(word)
    return sorted(names)


def exists(name):
    name = name.replace("\\", "")
    if "/" not in name and "." not in name:
        return (ROOT / f"core/{name}.c").exists() or (ROOT / f"core/{name}.h").exists()
    return any(any(ROOT.glob(base + name.rstrip("/"))) for base in ("", "core/", "core/proto/"))


def test_files_named_in_architecture_exist():
    names = named_in_architecture()
    assert len(names) > 25, names
    assert not [name for name in names if not exists(name)]
    assert not exists("nosuch.c") and not exists("nosuch")


# ---- generated pages ----------------------------------------------------------------------------------------------


def test_generated_references_are_current():
    got = run([sys.executable, str(ROOT / "docs/reference/generate.py"), "--check"], ROOT)
    assert got.returncode == 0, got.stdout


def test_config_reference_is_current(tmp_path):
    if not shutil.which("luajit"):
        pytest.skip("luajit is not installed")
    page, notes = tmp_path / "config.md", tmp_path / "notes.lua"
    got = run(["luajit", "lua/refractium/docgen.lua", str(page), str(notes)], ROOT)
    assert got.returncode == 0, got.stdout
    assert page.read_text() == (ROOT / "docs/reference/config.md").read_text(), "run make docs"


def test_reasons_in_the_guide_exist():
    known = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/reference/reasons.md").read_text(), re.M))
    assert len(known) > 15
    for page in (ROOT / "docs/guide/logs.md", ROOT / "docs/guide/limits-and-timeouts.md", ROOT / "docs/guide/routes.md"):
        text = page.read_text()
        for word in re.findall(r"`((?:no|tls|http|proto|client|server|limit|backend)_[a-z]+)`", text):
            assert word in known, f"{shown(page)}: {word}"
    for word in re.findall(r"reason = \"([\w-]+)\"", "".join(p.read_text() for p in [*WITH_BLOCKS, *EXAMPLES])):
        assert word.replace("-", "_") in known, word


def test_every_protocol_is_in_the_guide():
    rows = re.findall(r"^\| \[`(rx\.\w+)`\]", (ROOT / "docs/reference/protocols.md").read_text(), re.M)
    guide = (ROOT / "docs/guide/protocols.md").read_text()
    assert len(rows) >= 19
    for value in rows:
        assert re.search(rf"^\| `{re.escape(value)}`", guide, re.M), f"docs/guide/protocols.md: no row for {value}"
