"""Which tests are bound to which rows of the fault list. Read from their syntax: comments, texts and tests that do not run do not count."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Set
from pathlib import Path

import msgspec

__all__ = ["BoundTest", "DocumentedRow", "bound_tests", "documented_rows", "every_test", "unusable_markers"]

_ROW = re.compile(r"FAULT-\d\d")
_NAMED_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
_NOT_RUN = frozenset(("skip", "skipif", "xfail", "importorskip", "SkipTest"))
"""A test in which one of these is named may not run somewhere, or may fail: as a marker, or as a call, whatever that depends on."""


class BoundTest(msgspec.Struct, frozen=True):
    """A test function, and the rows that its markers name."""

    name: str
    rows: tuple[str, ...]
    counts: bool
    """It runs everywhere, is expected to pass, and makes assertions."""


class DocumentedRow(msgspec.Struct, frozen=True):
    """A line of the table in `docs/faults.md`."""

    row: str
    tests: tuple[str, ...]
    """`PATH::NAME`, the path seen from `tests/stream_kernel`."""


def bound_tests(source: str) -> list[BoundTest]:
    """The tests of a module that pytest would collect, with their markers; of two with the same name, the second."""
    found: dict[str, BoundTest] = {}
    tree = ast.parse(source)
    not_run = _NOT_RUN | _names_of_markers(tree)
    for function, around in _test_functions(tree):
        markers = [_marker(decorator) for decorator in function.decorator_list]
        rows = tuple(text for name, text in markers if name == "fault")
        is_run = not any(_names(each, not_run) for each in (function, *_what_holds_for_all_in(tree), *_what_holds_for_all_in(around)))
        found[function.name] = BoundTest(function.name, rows, is_run and _asserts(function))
    return list(found.values())


def unusable_markers(source: str) -> list[str]:
    """Markers of the fault list that bind nothing: on something that is no test, or with anything but the name of a row."""
    tree = ast.parse(source)
    tests = {id(decorator) for function, _ in _test_functions(tree) for decorator in function.decorator_list}
    unusable = []
    for one in ast.walk(tree):
        if isinstance(one, ast.Attribute) and one.attr == "fault" and ast.unparse(one) == "pytest.mark.fault":
            call = next((each for each in ast.walk(tree) if isinstance(each, ast.Call) and each.func is one), None)
            if call is None or id(call) not in tests or not _ROW.fullmatch(_marker(call)[1]):
                unusable.append(f"line {one.lineno}")
    return unusable


def documented_rows(text: str) -> list[DocumentedRow]:
    """The lines of all tables whose first cell names a row, outside of comments and code blocks."""
    visible = re.sub(r"<!--.*?-->|^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    rows = []
    for line in visible.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and _ROW.fullmatch(cells[0]):
            rows.append(DocumentedRow(cells[0], tuple(f"{path}::{name}" for path, name in _NAMED_TEST.findall(cells[-1]))))
    return rows


def every_test(folder: Path) -> dict[str, BoundTest]:
    """All tests of a folder by `PATH::NAME`."""
    return {
        f"{path.relative_to(folder)}::{test.name}": test
        for path in sorted(folder.rglob("test_*.py"))
        for test in bound_tests(path.read_text(encoding="utf-8"))
    }


def _test_functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, ast.Module | ast.ClassDef]]:
    """With what each is in: the module, or a class."""
    places: list[ast.Module | ast.ClassDef] = [tree]
    places += [each for each in tree.body if isinstance(each, ast.ClassDef) and each.name.startswith("Test")]
    for around in places:
        for each in around.body:
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)) and each.name.startswith("test"):
                yield each, around


def _what_holds_for_all_in(around: ast.Module | ast.ClassDef) -> Iterator[ast.AST]:
    """What may keep all tests of a module or of a class from running: decorators, `pytestmark`, and statements that do something."""
    yield from around.decorator_list if isinstance(around, ast.ClassDef) else ()
    for each in around.body:
        is_definition = isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        is_of_some = isinstance(each, (ast.Assign, ast.AnnAssign)) and not _names(each, {"pytestmark", "importorskip"})
        if not (is_definition or is_of_some):
            yield each


def _names_of_markers(tree: ast.Module) -> set[str]:
    """What a module calls the markers that it makes for several of its tests."""
    return {
        name.id
        for each in tree.body
        if isinstance(each, (ast.Assign, ast.AnnAssign)) and _names(each, _NOT_RUN)
        for name in ast.walk(each)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }


def _names(code: ast.AST, names: Set[str]) -> bool:
    """Whether one of `names` is in it, plain or behind a dot."""
    return any(
        (isinstance(each, ast.Name) and each.id in names) or (isinstance(each, ast.Attribute) and each.attr in names)
        for each in ast.walk(code)
    )


def _marker(decorator: ast.expr) -> tuple[str, str]:
    """Its name, and its argument if that is one plain text: `("fault", "FAULT-07")`."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    dotted = ast.unparse(called)
    if not dotted.startswith("pytest.mark."):
        return "", ""
    argument = ""
    if isinstance(decorator, ast.Call) and len(decorator.args) == 1 and not decorator.keywords:
        (given,) = decorator.args
        argument = given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else ""
    return dotted.removeprefix("pytest.mark."), argument


def _asserts(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether there is anything in it that could fail: an assertion that is no constant, or an expected error."""
    for each in ast.walk(function):
        if isinstance(each, ast.Assert) and not isinstance(each.test, ast.Constant):
            return True
        if isinstance(each, ast.Call) and ast.unparse(each.func).rpartition(".")[2] in ("raises", "fail"):
            return True
    return False
