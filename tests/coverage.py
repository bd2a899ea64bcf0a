#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes docs/coverage.md from what a build with MODE=cov has run: coverage.py SUMMARY.json (of gcovr --json-summary).

Fails when the identifiers, the PROXY protocol or the tree are below what they must have.
"""
import datetime
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MUST = {"identifiers (core/proto)": 95, "identify": 95, "PROXY protocol": 95, "all of core": 85}
GROUPS = [("identifiers (core/proto)", lambda f: f.startswith("core/proto/")),
          ("identify", lambda f: f in ("core/identify.c", "core/route.c", "core/declared.c", "core/cond.c", "core/names.c")),
          ("PROXY protocol", lambda f: f in ("core/proxyproto.c", "core/proxied.c")),
          ("session concurrency (core/guard)", lambda f: f.startswith("core/guard/")),
          ("the path", lambda f: f in tuple("core/%s.c" % n for n in (
              "accept", "peek", "pick", "connect", "weld", "close", "answer", "udp", "udp_flow", "udp_server", "udp_io"))),
          ("all of core", lambda f: f.startswith("core/"))]


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        files = [r for r in json.load(f)["files"] if r["filename"].endswith(".c") and r["line_total"]]
    out = ["# Coverage", "", "Written by `make coverage` on %s: lines and branches of C that the unit and end-to-end tests run."
           % datetime.date.today().isoformat(), "", "| | lines | covered | must | branches |", "| --- | ---: | ---: | ---: | ---: |"]
    low = []
    for name, holds in GROUPS:
        rows = [r for r in files if holds(r["filename"])]
        total, covered = sum(r["line_total"] for r in rows), sum(r["line_covered"] for r in rows)
        b_total, b_covered = sum(r["branch_total"] for r in rows), sum(r["branch_covered"] for r in rows)
        percent = 100 * covered / max(total, 1)
        out.append("| %s | %d | %.1f %% | %s | %.1f %% |" % (name, total, percent, "%d %%" % MUST[name] if name in MUST else "",
                                                          100 * b_covered / max(b_total, 1)))
        if percent < MUST.get(name, 0):
            low.append("%s: %.1f %% of lines, must be %d %%" % (name, percent, MUST[name]))
    out += ["", "Files, the least covered first:", "", "| file | lines | covered |", "| --- | ---: | ---: |"]
    for r in sorted(files, key=lambda r: r["line_covered"] / r["line_total"]):
        out.append("| %s | %d | %.1f %% |" % (r["filename"], r["line_total"], 100 * r["line_covered"] / r["line_total"]))
    with open(os.path.join(ROOT, "docs", "coverage.md"), "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")
    print("\n".join(out[4:4 + len(GROUPS) + 2] + low))
    sys.exit(1 if low else 0)


if __name__ == "__main__":
    main()
