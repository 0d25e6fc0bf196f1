"""Every mutant fits the sources that it patches and names tests that are there. That they are killed is for `tox -e mutants` to say."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT, DoesNotApply, Mutant


@cache
def _program(path: Path) -> tuple[str, str]:
    """The text of a source file, and what it means."""
    text = path.read_text(encoding="utf-8")
    return text, ast.dump(ast.parse(text))


@cache
def _tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / "stream_kernel" / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_no_two_mutants_have_one_name() -> None:
    assert [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1] == []


def test_each_mutant_replaces_exactly_one_place_and_leaves_another_program() -> None:
    problems = []
    for mutant in MUTANTS:
        text, meaning = _program(ROOT / "src" / "stream_kernel" / mutant.file)
        try:
            if ast.dump(ast.parse(mutant.patched(text))) == meaning:
                problems.append(f"{mutant.name}: it changes nothing")
        except (DoesNotApply, SyntaxError) as error:
            problems.append(str(error))
    assert problems == []


def test_each_mutant_names_tests_that_are_there() -> None:
    named = [(mutant.name, test) for mutant in MUTANTS for test in mutant.tests]
    assert {mutant.name for mutant in MUTANTS} == {name for name, _ in named}
    missing = []
    for name, test in named:
        file, _, function = test.partition("::")
        tests = _tests_in(file)
        if not tests or (function and function not in tests):
            missing.append((name, test))
    assert missing == []


@pytest.mark.parametrize(("text", "places"), [("nothing of it", 0), ("twice: old old", 2)])
def test_a_patch_that_does_not_fit_exactly_one_place_is_refused(text: str, places: int) -> None:
    mutant = Mutant("name", "rule", "file.py", "old", "new", ("test_x.py",))
    assert mutant.patched("the old one") == "the new one"
    with pytest.raises(DoesNotApply, match=f"name: what it replaces is at {places} places"):
        mutant.patched(text)
