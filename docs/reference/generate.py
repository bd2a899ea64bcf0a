#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes docs/reference/reasons.md and docs/reference/protocols.md from the sources.

    docs/reference/generate.py            write both
    docs/reference/generate.py --check    write nothing; say which is stale, and exit 1 if one is
"""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# Facts a route can ask for; the others are only shown, in logs, by `explain` and by `rx.respond`.
CONDITIONS = {"sni", "alpn", "ech", "host", "path", "method", "software", "qname", "qtype"}


def read(path):
    return (ROOT / path).read_text()


def c_string(text):
    """Bytes of adjacent C string literals."""
    joined = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', text))
    return joined.encode("latin-1").decode("unicode_escape").encode("latin-1")


# ---- reasons ------------------------------------------------------------------------------------------------


def reasons():
    rows = re.findall(r'X\(\s*\w+,\s*"(\w+)",\s*"((?:[^"\\]|\\.)*)"\s*\)', read("core/reason.h"))
    if not rows:
        sys.exit("generate.py: no reason found in core/reason.h")
    out = [
        "# How a connection ends",
        "",
        "Generated from `core/reason.h` by `docs/reference/generate.py`; edit there.",
        "",
        "Every connection ends with exactly one of these words. It stands at the end of the access line",
        "([logs](../guide/logs.md)), and `expect.reason` in an `rx.test` takes it ([testing](../guide/testing.md)).",
        "",
        "| reason | meaning |",
        "| --- | --- |",
    ]
    out += [f"| `{word}` | {meaning} |" for word, meaning in rows]
    return "\n".join(out) + "\n"


# ---- protocols ----------------------------------------------------------------------------------------------


def header_comment(source):
    lines = []
    for line in source.splitlines():
        if not line.startswith("//"):
            break
        if "SPDX" not in line:
            lines.append(line[2:].removeprefix(" "))
    return lines


def blocks(lines):
    """(kind, text) of a comment: "p" a paragraph, "-" a list entry, "code" a drawing."""
    out = []
    for line in lines:
        if not line.strip():
            out.append(("", ""))
        elif line.startswith("    "):
            if out and out[-1][0] == "code":
                out[-1] = ("code", out[-1][1] + "\n" + line.rstrip())
            else:
                out.append(("code", line.rstrip()))
        elif line.startswith("- "):
            out.append(("-", line[2:].strip()))
        elif out and out[-1][0] in ("p", "-"):
            out[-1] = (out[-1][0], out[-1][1] + " " + line.strip())
        else:
            out.append(("p", line.strip()))
    return [b for b in out if b[0]]


def wrap(text, first, rest, width=118):
    lines, line = [], first
    for word in text.split():
        if line.strip() not in ("", "-") and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = rest + word
        else:
            line += ("" if line in (first, rest) and line.endswith(" ") or not line else " ") + word
    return lines + [line]


def safe(text):
    """Text of a comment as Markdown: nothing in it is markup."""
    text = text.replace("\\", "\\\\").replace("*", "\\*")
    text = text.replace("Deliberately not done:", "**Deliberately not done:**")
    text = re.sub(r"^(Invariants?|Invariants, too):", r"**\1:**", text)
    return re.sub(r"(?<!`)<([^>`]*)>", r"`<\1>`", text)


def first_bytes(value):
    if value is None:
        return "any"
    pairs = [(value[i], value[i + 1]) for i in range(0, len(value) - 1, 2)]

    def name(b):
        named = {0x0A: "LF", 0x0D: "CR"}
        return named.get(b) or (f"`{chr(b)}`" if 0x21 <= b <= 0x7E and b not in (0x60, 0x7C) else f"`{b:02x}`")

    return ", ".join(name(a) if a == b else f"{name(a)} to {name(b)}" for a, b in pairs)


def structs(source, all_facts):
    found = {}
    for ident, body in re.findall(r"const struct rx_proto rx_proto_(\w+) = \{(.*?\n)\};", source, re.S):
        def field(name):
            m = re.search(r"\." + name + r"\s*=\s*(.*?),\n", body, re.S)
            return m.group(1) if m else None

        first = field("first")
        facts = set(re.findall(r"RX_FACT_(\w+)", field("facts") or ""))
        found[ident] = {
            "name": c_string(field("name")).decode(),
            "alias": c_string(field("alias")).decode() if field("alias") else None,
            "transport": {"RX_TCP": "TCP", "RX_UDP": "UDP", "RX_BOTH": "TCP, UDP"}[field("transport")],
            "first": c_string(first)[: int(field("first_len"))] if first else None,
            "waits": field("is_server_first") == "true",
            "facts": [f for ident, f in all_facts if ident in facts],
        }
    return found


def table_row(p):
    conditions = ", ".join(f"`{f}`" for f in p["facts"] if f in CONDITIONS)
    shown = ", ".join(f"`{f}`" for f in p["facts"] if f not in CONDITIONS)
    alias = f" (`rx.{p['alias']}`)" if p["alias"] else ""
    waits = "waits" if p["waits"] else ""
    return (f"| [`rx.{p['name']}`](#{p['anchor']}){alias} | {conditions} | {shown} | {waits} |"
            f" {first_bytes(p['first'])} |")


def protocols():
    order = re.findall(r"&rx_proto_(\w+)", re.search(r"rx_protos\[\] = \{(.*?)\};", read("core/proto.c"), re.S).group(1))
    all_facts = re.findall(r'X\((\w+), "(\w+)"\)', re.search(r"#define RX_FACT_LIST\(X\)(.*?)\n\n", read("core/proto.h"),
                                                             re.S).group(1))
    known, source_of = {}, {}
    for path in sorted((ROOT / "core/proto").glob("*.c")):
        source = path.read_text()
        for ident, p in structs(source, all_facts).items():
            known[ident] = p
            source_of[ident] = path
    missing = [ident for ident in order if ident not in known]
    if missing or not order:
        sys.exit(f"generate.py: no definition of {missing} in core/proto/")
    sections = []  # one per source file, in the order of its first protocol
    for ident in order:
        if source_of[ident] not in [s[0] for s in sections]:
            sections.append((source_of[ident], [i for i in order if source_of[i] == source_of[ident]]))
    for path, idents in sections:
        for ident in idents:
            known[ident]["anchor"] = "-".join(known[i]["name"] for i in idents)
    out = [
        "# Built-in protocols",
        "",
        "Generated from `core/proto.c` and `core/proto/*.c` by `docs/reference/generate.py`; edit there. The guide has",
        "the same for reading: [protocols](../guide/protocols.md).",
        "",
        "The order is that of `explain --builtin`: one that could be mistaken for another comes later. *Conditions* are",
        "facts a route may ask for. *Shown only* are facts that `explain` and `rx.respond` show; `user` is in the access",
        "line, too. *waits*: its clients may wait for the server's greeting, so a route on it also takes clients that say",
        "nothing within `peek_timeout`.",
        "",
        "| value | conditions | shown only | clients | first byte |",
        "| --- | --- | --- | --- | --- |",
    ]
    out += [table_row(known[ident]) for ident in order]
    for path, idents in sections:
        out += ["", "## " + "-".join(known[i]["name"] for i in idents), ""]
        out.append(f"From `{path.relative_to(ROOT)}`:")
        for kind, text in blocks(header_comment(path.read_text())):
            if kind == "code":
                out += ["", "```", text, "```"]
            elif kind == "-":
                out += wrap(safe(text), "- ", "  ")
            else:
                out += [""] + wrap(safe(text), "", "")
    return "\n".join(out) + "\n"


PAGES = {"reasons.md": reasons, "protocols.md": protocols}


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    stale = []
    for name, make in PAGES.items():
        text, path = make(), HERE / name
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in sys.argv:
            stale.append(name)
        else:
            path.write_text(text)
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run docs/reference/generate.py")


main()
