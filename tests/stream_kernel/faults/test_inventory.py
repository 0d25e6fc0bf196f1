"""Every row of the fault list has a test that runs, and the page about faults names rows and tests that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from fault_inventory import bound_tests, documented_rows, every_test, unusable_markers

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parents[1] / "docs" / "faults.md"
ROWS = [f"FAULT-{number:02}" for number in range(1, 41)]


def test_every_row_has_a_test_that_runs_and_asserts() -> None:
    bound = {row for test in every_test(TESTS).values() if test.counts for row in test.rows}
    assert [row for row in ROWS if row not in bound] == []


def test_every_marker_names_a_row_of_the_page() -> None:
    documented = {row.row for row in documented_rows(PAGE.read_text(encoding="utf-8"))}
    strays = {name: test.rows for name, test in every_test(TESTS).items() if not documented.issuperset(test.rows)}
    assert strays == {}


def test_no_marker_binds_nothing() -> None:
    files = sorted(TESTS.rglob("*.py"))
    unusable = {
        str(path.relative_to(TESTS)): unusable_markers(path.read_text(encoding="utf-8")) for path in files if path != Path(__file__)
    }
    assert {path: lines for path, lines in unusable.items() if lines} == {}


def test_the_page_has_each_row_once_with_tests() -> None:
    rows = documented_rows(PAGE.read_text(encoding="utf-8"))
    assert sorted(row.row for row in rows) == ROWS
    assert [row.row for row in rows if not row.tests] == []


def test_the_tests_that_the_page_names_are_there_and_bound_to_their_row() -> None:
    tests = every_test(TESTS)
    named = [(row.row, name) for row in documented_rows(PAGE.read_text(encoding="utf-8")) for name in row.tests]
    assert [name for _, name in named if name not in tests] == []
    assert [(row, name) for row, name in named if row not in tests[name].rows or not tests[name].counts] == []


COUNTS = '@pytest.mark.fault("FAULT-07")\ndef test_it() -> None:\n    assert f()\n'
IN_CLASS = "class TestAll:\n" + "".join(f"    {line}\n" for line in COUNTS.splitlines())


def rows_that_count(source: str) -> list[str]:
    return [row for test in bound_tests(source) if test.counts for row in test.rows]


def test_a_marker_on_a_test_that_asserts_counts() -> None:
    assert rows_that_count(COUNTS) == ["FAULT-07"]
    assert rows_that_count(COUNTS.replace("def", "async def")) == ["FAULT-07"]
    assert rows_that_count('@pytest.mark.fault("FAULT-01")\n' + COUNTS) == ["FAULT-01", "FAULT-07"]
    assert rows_that_count(COUNTS.replace("assert f()", "with pytest.raises(ValueError):\n        f()")) == ["FAULT-07"]
    assert rows_that_count(IN_CLASS) == ["FAULT-07"]


@pytest.mark.parametrize(
    "other",
    [
        "@pytest.mark.skip\ndef test_other() -> None:\n    assert f()\n",
        "later = pytest.mark.skip(reason='never')\n@later\ndef test_other() -> None:\n    assert f()\n",
        "@pytest.mark.skip\nclass TestOther:\n    def test_other(self) -> None:\n        assert f()\n",
        "class TestOther:\n    pytestmark = pytest.mark.skip\n",
        "pytestmark = pytest.mark.slow\n",
        "@pytest.fixture\ndef tool() -> str:\n    pytest.skip('no tool')\n",
    ],
)
def test_what_keeps_others_from_running_does_not_keep_it(other: str) -> None:
    assert rows_that_count(other + COUNTS) == rows_that_count(other + IN_CLASS) == ["FAULT-07"]


@pytest.mark.parametrize(
    "source",
    [
        "".join(f"# {line}\n" for line in COUNTS.splitlines()),
        f"'''\n{COUNTS}'''\n",
        f"TEXT = {COUNTS!r}\n",
        COUNTS.replace("test_it", "it"),
        COUNTS.replace("assert f()", "f()  # assert f()"),
        COUNTS.replace("assert f()", "'''assert f()'''"),
        COUNTS.replace("assert f()", "assert True"),
        "@pytest.mark.skip\n" + COUNTS,
        "@pytest.mark.skipif(True, reason='never')\n" + COUNTS,
        "@pytest.mark.xfail(reason='a bug')\n" + COUNTS,
        "@unittest.skip('never')\n" + COUNTS,
        "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.skip)])\n" + COUNTS,
        "later = pytest.mark.skip(reason='never')\n@later\n" + COUNTS,
        "pytestmark = pytest.mark.skip(reason='never')\n" + COUNTS,
        "pytestmark: list[Any] = [pytest.mark.slow, pytest.mark.xfail]\n" + COUNTS,
        COUNTS + "pytestmark = pytest.mark.skipif(True, reason='never')\n",
        "later = pytest.mark.skip(reason='never')\npytestmark = [later]\n" + COUNTS,
        "pytestmark = pytest.mark.skip(reason='never')\n" + IN_CLASS,
        "pytest.skip('never', allow_module_level=True)\n" + COUNTS,
        "if HERE:\n    pytest.skip('never', allow_module_level=True)\n" + IN_CLASS,
        "tool = pytest.importorskip('tool')\n" + COUNTS,
        "@pytest.mark.skip(reason='never')\n" + IN_CLASS,
        "later = pytest.mark.skip(reason='never')\n@later\n" + IN_CLASS,
        IN_CLASS + "    pytestmark = pytest.mark.skip(reason='never')\n",
        COUNTS.replace("assert f()", "pytest.skip('never')\n    assert f()"),
        COUNTS.replace("assert f()", "if not HERE:\n        pytest.skip('no tool')\n    assert f()"),
        COUNTS.replace("assert f()", "pytest.xfail('a bug')\n    assert f()"),
        COUNTS.replace("assert f()", "skip('never')\n    assert f()"),
        COUNTS.replace("assert f()", "raise pytest.skip.Exception\n    assert f()"),
        COUNTS.replace("assert f()", "raise unittest.SkipTest\n    assert f()"),
        "def outer() -> None:\n" + "".join(f"    {line}\n" for line in COUNTS.splitlines()),
        COUNTS + "def test_it() -> None:\n    assert f()\n",
        "def test_it() -> None:\n    pytest.mark.fault('FAULT-07')\n    assert f()\n",
    ],
)
def test_what_only_looks_like_a_bound_test_does_not_count(source: str) -> None:
    assert rows_that_count(source) == []


@pytest.mark.parametrize(
    "source",
    [
        '@pytest.mark.fault("FAULT-07")\ndef helper() -> None:\n    assert f()\n',
        '@pytest.mark.fault("FAULT-7")\ndef test_it() -> None:\n    assert f()\n',
        "@pytest.mark.fault(ROW)\ndef test_it() -> None:\n    assert f()\n",
        '@pytest.mark.fault("FAULT-07", "FAULT-08")\ndef test_it() -> None:\n    assert f()\n',
        "@pytest.mark.fault\ndef test_it() -> None:\n    assert f()\n",
        'pytestmark = pytest.mark.fault("FAULT-07")\n',
    ],
)
def test_a_marker_that_binds_nothing_is_found(source: str) -> None:
    assert len(unusable_markers(source)) == 1
    assert unusable_markers(COUNTS) == []


def test_rows_in_comments_and_code_blocks_of_the_page_do_not_count() -> None:
    line = "| FAULT-01 | dies | replaced | `faults/test_a.py::test_b`, `c.py::test_d` |"
    (row,) = documented_rows(f"text\n\n| row |\n|---|\n{line}\n")
    assert (row.row, row.tests) == ("FAULT-01", ("faults/test_a.py::test_b", "c.py::test_d"))
    assert documented_rows(f"<!--\n{line}\n-->\n```text\n{line}\n```\n") == []
