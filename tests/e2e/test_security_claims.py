# SPDX-License-Identifier: MIT
"""SECURITY.md: each claim names its tests, and each of them is there."""
import os
import re

from harness import ROOT


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def names_of_tests():
    names = set()
    for folder, pattern in (("tests/e2e", r"^def (test_\w+)"), ("tests/unit", r"cmocka_unit_test\w*\((\w+)"),
                            ("tests/lua", r"\bit\(\"([^\"]+)\"")):
        for file in os.listdir(os.path.join(ROOT, folder)):
            if file.endswith((".py", ".c", ".lua")):
                names |= set(re.findall(pattern, read(folder, file), re.M))
    return names


def test_every_test_that_is_named_is_there():
    """Promise: no claim about security rests on a test that is gone."""
    there = names_of_tests()
    text = re.sub(r"\s+", " ", read("SECURITY.md").partition("## A client")[2])
    words = {word for word in re.findall(r"`([^`]+)`", text)
             if word.startswith("test_") or " " in word or word.count("_") >= 3}
    words -= {"make fuzz"}
    assert len(words) > 50
    assert not words - there, sorted(words - there)


def test_every_cannot_has_a_test():
    """Promise: what is said to be impossible is tried."""
    for part in re.findall(r"\bcannot\n((?:- .*\n(?:  .*\n)*)+)", read("SECURITY.md")):
        for claim in re.split(r"^- ", part, flags=re.M)[1:]:
            assert re.search(r"`(test_|tests/|[a-z]+[ _][a-z]+[ _])", claim), claim
