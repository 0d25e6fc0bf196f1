"""The harness of the benchmark: its statistics, its targets, its reports, and the smallest run there is."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import frame_shape
import pytest
from bench_chart import chart
from bench_figures import Curve, Point, Row, Table, best_of, ratios, spread_of
from bench_growth_verdict import growth_of
from bench_guardian import descendants
from bench_kernel import OURS
from bench_lineup import LIBRARIES, Lineup, Missing
from bench_machine import Machine
from bench_payloads import LongStrings, attempts, nested, orders, records
from bench_report import Report, data, number, page
from bench_targets import TARGETS, Target, verdicts
from bench_turns import Contender, Effort, NoFigure, WrongAnswer, check, take_turns
from bench_watchdog import Watchdog

SCRIPT = Path(__file__).with_name("bench.py")


def test_a_ratio_is_taken_within_a_round() -> None:
    assert ratios([1.0, 10.0], [2.0, 40.0]) == [0.5, 0.25]
    assert best_of([Row("a", [1.0, 9.0]), Row("b", [5.0, 2.0])]) == [5.0, 9.0]


def test_the_middle_half_is_around_the_median() -> None:
    spread = spread_of([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (spread.median, spread.low, spread.high) == (3.0, 2.0, 4.0)
    assert spread_of([7.0]).low == spread_of([7.0]).high == 7.0


@pytest.mark.parametrize(
    ("target", "mine", "figure", "is_met", "is_stretch_met"),
    [
        (Target("T", "", "ours", at_most=0.75, stretch=0.55, to=("peer",)), [1.0, 1.0, 1.4], 0.5, True, True),
        (Target("T", "", "ours", at_most=0.4, to=("peer",)), [1.0, 1.0, 1.4], 0.5, False, None),
        (Target("T", "", "ours", at_least=0.5, stretch=0.6, to=("peer",)), [1.0, 1.0, 1.4], 0.5, True, False),
        (Target("T", "", "ours", at_least=0.5, to=("peer", "best")), [1.0, 1.0, 1.4], 0.25, False, None),
        (Target("T", "", "ours", at_least=1.0, unit="/s"), [1.0, 1.0, 1.4], 1.0, True, None),
    ],
)
def test_a_target_is_met_by_the_median_of_the_ratios(
    target: Target, mine: list[float], figure: float, is_met: bool, is_stretch_met: bool | None
) -> None:
    table = Table("T", "", "/s", [Row("ours", mine), Row("peer", [2.0, 2.0, 2.0]), Row("best", [4.0, 4.0, 4.0])])
    (verdict,) = verdicts([table], [target])
    assert verdict.figure is not None
    assert (verdict.figure.median, verdict.is_met, verdict.is_stretch_met) == (figure, is_met, is_stretch_met)


def test_what_was_left_out_is_a_target_that_was_not_measured() -> None:
    (verdict,) = verdicts([Table("T", "", "/s", [Row("ours", [1.0])])], [Target("T", "", "ours", at_least=1.0, to=("peer",))])
    assert (verdict.figure, verdict.is_met) == (None, None)
    assert verdicts([], TARGETS) == []


def test_each_target_has_one_bound_on_one_side() -> None:
    assert all((target.at_most is None) != (target.at_least is None) for target in TARGETS)


@pytest.mark.parametrize(("costs", "is_defect"), [([9.0, 2.0, 2.9], False), ([9.0, 2.0, 3.1], True), ([3.0, 2.0, 1.0], False)])
def test_a_curve_that_rises_at_its_large_end_is_a_defect(costs: list[float], is_defect: bool) -> None:
    growth = growth_of(Curve("c", "", "", "", [Point(10.0**at, [cost]) for at, cost in enumerate(costs)]))
    assert growth is not None
    assert growth.is_defect is is_defect


def test_a_curve_of_one_point_has_no_verdict() -> None:
    assert growth_of(Curve("c", "", "", "", [Point(1.0, [1.0])])) is None


def test_no_two_payloads_are_alike() -> None:
    makers: list[Callable[[], Any]] = [
        lambda: records(1)[0],
        lambda: attempts(1)[0],
        lambda: orders(1)[0],
        lambda: nested(5000),
        LongStrings(5000),
    ]
    for fresh in makers:
        assert fresh() != fresh()


@pytest.mark.parametrize("size", [100, 1024, 65536])
def test_a_payload_has_its_size(size: int) -> None:
    assert 0.9 * size <= len(json.dumps(nested(size), separators=(",", ":"))) <= size
    assert 0.9 * size <= len(json.dumps(LongStrings(size)())) <= size + 30


def test_a_wrong_answer_ends_the_run() -> None:
    check("peer", [1, 2], [1, 2])
    with pytest.raises(WrongAnswer, match="peer"):
        check("peer", [2, 1], [1, 2])


async def test_everybody_begins_and_nobody_always_comes_after_the_same_one() -> None:
    order: list[str] = []

    def contender(name: str) -> Contender:
        async def turn() -> float:
            order.append(name)
            return 1.0

        return Contender(name, turn)

    table = await take_turns("T", "", "µs", [contender(name) for name in "ABC"], 4, Watchdog(), is_cold=True)
    assert "".join(order) == "ABC" + "ACB" + "CAB" + "CBA"
    assert [len(row.rounds) for row in table.rows] == [4, 4, 4]


async def test_who_fails_has_a_row_that_says_so_and_no_figures() -> None:
    figures = iter([1.0, 2.0])

    async def turn() -> float:
        figure = next(figures, None)
        if figure is None:
            raise OSError("broken")
        return figure

    table = await take_turns("T", "", "µs", [Contender("A", turn)], 3, Watchdog())
    assert (table.rows[0].rounds, table.rows[0].note) == ([], "failed: OSError: broken")


async def test_who_cannot_do_a_thing_has_a_row_that_says_so() -> None:
    async def turn() -> float:
        raise NoFigure("hangs")

    table = await take_turns("T", "", "µs", [Contender("A", turn)], 3, Watchdog(), is_cold=True)
    assert (table.rows[0].rounds, table.rows[0].note) == ([], "hangs")


def test_a_peer_that_is_not_installed_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match="--without loky,mpire"):
        Lineup(["pebble", "aiomultiprocess"])
    with pytest.raises(Missing, match="no peer pebbles"):
        Lineup(["pebbles"])
    assert not Lineup(LIBRARIES).has("loky")


def _report() -> Report:
    machine = Machine("a <processor> & more", 2, "Linux", "CPython", {"loky": "3"}, "abc", "2024-01-01T00:00:00+00:00", 0.5, 0.6)
    tables = [Table("W1", "calls", "µs", [Row(OURS, [1.0, 2.0]), Row("raw pipe ping-pong", [2.0, 2.0]), Row("pebble", note="hangs")])]
    curves = [Curve("batch", "inputs", "inputs", "input", [Point(1, [3e-6]), Point(10, [1e-6]), Point(100, [2e-6])])]
    return Report(machine, "bench.py", 1.0, tables, curves, verdicts(tables))


def test_the_page_has_targets_figures_ratios_and_verdicts() -> None:
    text = page(_report())
    assert "| W1 | sync call to raw ping-pong | ≤ 4.00 x | ≤ 2.50 x | 0.75 x | 0.62 … 0.88 | stretch |" in text
    assert "| W1 | sync call to ProcessPoolExecutor | ≤ 0.75 x | ≤ 0.55 x |  |  | not measured |" in text
    assert "| raw pipe ping-pong | 2.00 | 2.00 … 2.00 | 0.75 | 0.62 … 0.88 |  |" in text
    assert "| pebble |  |  |  |  | hangs |" in text
    assert "batch: GROWS FASTER THAN ITS WORK: at the large end 2.00 x its cheapest" in text


def test_the_data_has_each_round_and_its_ratio() -> None:
    found = json.loads(data(_report()))
    assert found["tables"][0]["rows"][1]["ratios"] == [0.5, 1.0]
    assert found["curves"][0]["growth"]["is_defect"] is True


def test_the_chart_is_a_small_picture_without_a_background() -> None:
    drawn = chart(_report())
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("svg") and len(drawn) < 10_000
    # Text of a middle brightness is read on white and on black.
    assert root.attrib["fill"] == "#787878"


def test_figures_are_written_short() -> None:
    assert [number(value) for value in (0.456, 12.34, 1234.5)] == ["0.46", "12.3", "1,234"]


def test_an_effort_never_asks_for_nothing() -> None:
    assert (Effort(3, 0.001).count(100), Effort(3, 0.001).part(0.1)) == (1, 1)


@pytest.mark.parametrize("count", [1, 10])
def test_rows_and_columns_give_the_same_answers(count: int) -> None:
    given = frame_shape.inputs(attempts(count))
    frames: list[bytes] = []
    answers = [[(one.envelope.payload, one.envelope.trace_id) for one in way(given, frames.append)] for way in frame_shape.SHAPES.values()]
    assert answers == [[(one.payload, one.trace_id) for one in given]] * 2
    assert len(frames) == 4, "a command and a reply of either shape"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_smallest_run_gives_table_data_and_chart(tmp_path: Path, loop: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    without = ",".join((*LIBRARIES, "forkserver"))
    command = [
        sys.executable,
        str(SCRIPT),
        str(tmp_path),
        "--quick",
        "--rounds",
        "1",
        "--only",
        "W1,W6",
        "--without",
        without,
        "--loop",
        loop,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "benchmark.json").read_bytes())
    assert [table["key"] for table in found["tables"]] == ["W1", "W6"]
    assert all(row["ratio"]["median"] > 0 for table in found["tables"] for row in table["rows"])
    assert "## Targets" in (tmp_path / "benchmark.md").read_text(encoding="utf-8")
    ElementTree.fromstring((tmp_path / "benchmark.svg").read_text(encoding="utf-8"))


def test_an_unknown_workload_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--only", "W99"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no workload W99" in done.stderr


@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform != "linux", reason="what is below a process is read in /proc")
@pytest.mark.parametrize("is_to_all", [True, False])
def test_an_interrupted_run_leaves_no_process_behind(tmp_path: Path, is_to_all: bool) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--only", "W3", "--without", ",".join(LIBRARIES)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True) as running:
        while len(below := descendants(running.pid)) < 4:  # the benchmark, a worker, one of a pool, its tracker
            time.sleep(0.01)
        if is_to_all:
            os.killpg(running.pid, signal.SIGINT)  # as a terminal does
        else:
            running.terminate()
        _, complaints = running.communicate()
    assert running.returncode == (130 if is_to_all else 143), complaints
    left = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    assert not [pid for pid in left if pid in below or _session(pid) == running.pid]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
