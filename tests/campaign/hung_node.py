"""Nodes that hang, one after the other: each costs its caller the deadline, and nobody else anything.

    python tests/campaign/hung_node.py [--hangs 100] [--report FILE]

One group of three workers takes a hanging call after the other beside calls that it must go on answering; a second group shows the
throughput before, during and after. Exit code 1 when a hang cost more than its deadline and 50 ms (what the event loop was late taken off),
when any other call failed, or when the throughput afterwards is below nine tenths of what it was before. Other work on the machine can take
from the throughput, but not add to it: so up to three windows are looked at for it to come back.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import os
import sys
import time
from pathlib import Path
from statistics import median

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.campaign.checker import ALLOWANCE_SECONDS, LoopLag
from tests.campaign.figures import spread_of
from tests.campaign.history import History
from tests.campaign.recording import watch_lag

from stream_kernel import AsyncBoundarySupervisor, BoundaryError, BoundaryTimeoutError, NodeContext, RuntimeConfig, node

DEADLINE_SECONDS = 0.3
_PHASE_SECONDS = 15
_WINDOWS = 3
_CALLERS = 4
_PAUSE_SECONDS = 0.05
_LEAST_RATIO = 0.9


@node(name="hang")
def hang(message: str, ctx: NodeContext) -> str:
    """Hangs in the way that the message names; answers any other."""
    if message == "sleep":
        while True:
            time.sleep(60)
    if message == "c":
        ctypes.PyDLL(None).sleep(600)  # PyDLL keeps the GIL
    return message


@node(name="other")
def other(message: int, ctx: NodeContext) -> int:
    """Of the group that must not notice."""
    return message


class Figures(msgspec.Struct):
    """What was seen. Times are seconds."""

    hangs: list[tuple[float, float]] = []
    """Begin and end of each hanging call."""
    not_timed_out: list[str] = []
    neighbours: list[float] = []
    """How long the other calls of the group took that has the hanging ones."""
    lost: list[str] = []
    """Calls that failed and should not have."""
    marks: list[float] = []
    """When an answer of the other group came."""


async def _hang_often(supervisor: AsyncBoundarySupervisor, figures: Figures, hangs: int) -> None:
    for number in range(hangs):
        began = time.monotonic()
        try:
            await supervisor.call("hang", ("sleep", "c")[number % 2], timeout_seconds=DEADLINE_SECONDS)
            figures.not_timed_out.append(f"hang {number} had an answer")
        except BoundaryTimeoutError:
            figures.hangs.append((began, time.monotonic()))
        except BoundaryError as error:
            figures.not_timed_out.append(f"hang {number}: {error!r}")


async def _neighbour(supervisor: AsyncBoundarySupervisor, figures: Figures) -> None:
    while True:
        began = time.monotonic()
        try:
            await supervisor.call("hang", "answer", timeout_seconds=30)
            figures.neighbours.append(time.monotonic() - began)
        except BoundaryError as error:
            figures.lost.append(f"a neighbour of a hang: {error!r}")
        await asyncio.sleep(_PAUSE_SECONDS)


async def _caller(supervisor: AsyncBoundarySupervisor, figures: Figures) -> None:
    number = 0
    while True:
        number += 1
        try:
            answer = await supervisor.call("other", number, timeout_seconds=30)
            if answer != number:
                figures.lost.append(f"the other group answered {answer} for {number}")
            figures.marks.append(time.monotonic())
        except BoundaryError as error:
            figures.lost.append(f"the other group: {error!r}")


def rates(marks: list[float], began: float, ended: float) -> list[int]:
    """Answers in each whole second between two points."""
    counts = [0] * int(ended - began)
    for mark in marks:
        second = int(mark - began)
        if mark >= began and second < len(counts):
            counts[second] += 1
    return counts


def _rate(figures: Figures, points: list[float], phase: int) -> float:
    """Answers of the other group in a second of that phase: the median, which one bad second does not move."""
    return median(rates(figures.marks, points[phase], points[phase + 1]) or [0])


async def run(hangs: int) -> tuple[Figures, History, list[float]]:
    """The phases: before, during, and one window or more after; gives the points in time that bound them."""
    groups = [{"name": "hanging", "nodes": ["hang"], "workers": 3}, {"name": "other", "nodes": ["other"]}]
    config = RuntimeConfig.from_mapping({"discovery_modules": ["tests.campaign.hung_node"], "process_groups": groups})
    figures, history = Figures(), History(rules={})
    async with AsyncBoundarySupervisor(config) as supervisor:
        background = [asyncio.create_task(watch_lag(history)), asyncio.create_task(_neighbour(supervisor, figures))]
        background += [asyncio.create_task(_caller(supervisor, figures)) for _ in range(_CALLERS)]
        points = [time.monotonic()]
        await asyncio.sleep(_PHASE_SECONDS)
        points.append(time.monotonic())
        await _hang_often(supervisor, figures, hangs)
        points.append(time.monotonic())
        for _ in range(_WINDOWS):
            await asyncio.sleep(_PHASE_SECONDS)
            points.append(time.monotonic())
            if _rate(figures, points, -2) >= _LEAST_RATIO * _rate(figures, points, 0):
                break
        for task in background:
            task.cancel()
        await asyncio.wait(background)
    return figures, history, points


def page(figures: Figures, history: History, points: list[float], hangs: int) -> tuple[str, bool]:
    """The page, and whether all is as it must be."""
    lag = LoopLag(history.lags)
    over = [ended - began - DEADLINE_SECONDS for began, ended in figures.hangs]
    clean = [ended - began - DEADLINE_SECONDS - lag.within(began + DEADLINE_SECONDS, ended) for began, ended in figures.hangs]
    before, during, *afterwards = (_rate(figures, points, phase) for phase in range(len(points) - 1))
    after = max(afterwards)
    problems = [*figures.not_timed_out, *figures.lost]
    if any(seconds > ALLOWANCE_SECONDS for seconds in clean):
        problems.append("a hang cost more than its deadline and 50 ms")
    if after < _LEAST_RATIO * before:
        problems.append("the throughput did not come back")
    lines = [
        f"# {hangs} hanging calls in a row, deadline {DEADLINE_SECONDS * 1000:.0f} ms",
        "",
        f"* beyond their deadline: {spread_of(over)}; loop lag taken off: {spread_of(clean)}",
        f"* calls beside them in the same group (depth 1, three workers): {spread_of(figures.neighbours)}",
        f"* throughput of the other group, median of the seconds: before {before:.0f}/s, during {during:.0f}/s "
        f"({during / before:.2f}), after {after:.0f}/s ({after / before:.2f})",
        f"* windows of {_PHASE_SECONDS} s until the throughput was back: {len(afterwards)}; load of the machine at the end: "
        f"{os.getloadavg()[0]:.1f}",
        f"* calls that failed beside the hanging ones: {len(figures.lost)}",
        "",
        *(f"* broken: {problem}" for problem in problems[:20]),
    ]
    return "\n".join(lines), not problems


def main() -> int:
    """Run, print the page."""
    parser = argparse.ArgumentParser(description="What a hanging node costs, and whom.")
    parser.add_argument("--hangs", type=int, default=100)
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())
    text, is_good = page(*asyncio.run(run(given.hangs)), given.hangs)
    print(text)
    if given.report is not None:
        given.report.write_text(text, encoding="utf-8")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
