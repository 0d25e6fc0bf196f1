"""One worker after the other is killed with a call at its head: how soon its caller hears of it, and how soon there is a successor.

    python tests/campaign/worker_death.py [--deaths 200] [--report FILE]

Each time a group of one worker is started, its worker hangs in a call and gets a SIGKILL, and the group is stopped when the successor has
answered. Half of the workers have a child that holds their pipes. Nothing else is at work, so nothing is taken off for a busy event loop.
Exit code 1 when more than one of a hundred calls failed later than 50 ms after the SIGKILL, or when the successors took over 50 ms more to
answer than the starts from nothing took, by median or by 99th percentile.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.campaign.figures import deaths_noticed, spread_of
from tests.campaign.history import GroupRule, History, Strike, read_journals
from tests.campaign.processes import MARK, Before, strike
from tests.campaign.recording import Calls

from stream_kernel import AsyncBoundarySupervisor, RuntimeConfig

GROUPS: dict[str, dict[str, Any]] = {"alone": {"nodes": ["slow"]}, "with_children": {"nodes": ["parent"]}}
NODES = {name: str(group["nodes"][0]) for name, group in GROUPS.items()}
LIMIT_SECONDS = 0.05
_POLL_SECONDS = 0.002


class Figures(msgspec.Struct):
    """What was seen, in seconds."""

    starts: list[float] = []
    """From the start of a group to the first answer of its worker."""
    replacements: list[float] = []
    """From the SIGKILL to the first answer of the successor."""


async def one(history: History, figures: Figures, group: str, environment: dict[str, str]) -> None:
    """One start, one death, one replacement, one close."""
    groups = [{"name": group, "env": environment, **GROUPS[group]}]
    config = RuntimeConfig.from_mapping({"discovery_modules": ["tests.campaign.nodes"], "process_groups": groups})
    began = time.monotonic()
    async with AsyncBoundarySupervisor(config) as supervisor:
        calls = Calls(supervisor, history, NODES)
        await calls.make(group)
        figures.starts.append(time.monotonic() - began)
        hanging = asyncio.ensure_future(calls.make(group, ["hang_sleep"], timeout=60))
        while read_journals(Path(environment["CAMPAIGN_JOURNALS"])).keys() < {1, 2}:
            await asyncio.sleep(_POLL_SECONDS)
        victim = supervisor.snapshot().groups[0].workers[0]
        killed = time.monotonic()
        assert victim.pid is not None and strike(victim.pid, signal.SIGKILL) is not None
        history.strikes.append(Strike(killed, "kill", group, victim.worker_id, victim.generation, victim.pid, is_busy=True))
        await hanging
        await calls.make(group)
        figures.replacements.append(time.monotonic() - killed)


async def run(deaths: int) -> tuple[Figures, History]:
    """All deaths, one after the other, half of them with children."""
    figures, history = Figures(), History(rules={group: GroupRule() for group in GROUPS})
    mark = uuid.uuid4().hex
    before = Before(mark)
    for number in range(deaths):
        with tempfile.TemporaryDirectory(prefix="campaign-") as journals:
            await one(history, figures, list(GROUPS)[number % len(GROUPS)], {MARK: mark, "CAMPAIGN_JOURNALS": journals})
    history.left = await before.left()
    return figures, history


def page(figures: Figures, history: History, deaths: int) -> tuple[str, bool]:
    """The page, and whether all is as it must be."""
    noticed = {group: deaths_noticed(history, [group], without_lag=False) for group in GROUPS}
    starts, replacements = spread_of(figures.starts), spread_of(figures.replacements)
    problems = [f"left over: {each}" for each in (*history.left.processes, *history.left.descriptors)]
    if sum(spread.count for spread in noticed.values()) != deaths or sum(call.outcome == "result" for call in history.calls) != 2 * deaths:
        problems.append("not every death was heard of, or not every other call was answered")
    if any(spread.p99 > LIMIT_SECONDS for spread in noticed.values()):
        problems.append("a death was heard of too late")
    if replacements.p50 > starts.p50 + LIMIT_SECONDS or replacements.p99 > starts.p99 + LIMIT_SECONDS:
        problems.append("the replacements took too long")
    lines = [
        f"# {deaths} workers killed one after the other, each with a call at its head",
        "",
        f"* SIGKILL to failure of the call: {noticed['alone']}; with children that hold the pipes: {noticed['with_children']}",
        f"* SIGKILL to the first answer of its successor: {replacements}",
        f"* start of a group of one worker to its first answer: {starts}",
        f"* load of the machine at the end: {os.getloadavg()[0]:.1f}",
        "",
        *(f"* broken: {problem}" for problem in problems[:20]),
    ]
    return "\n".join(lines), not problems


def main() -> int:
    """Run, print the page."""
    parser = argparse.ArgumentParser(description="How soon a worker's death is heard of, and mended.")
    parser.add_argument("--deaths", type=int, default=200)
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())
    figures, history = asyncio.run(run(given.deaths))
    text, is_good = page(figures, history, given.deaths)
    print(text)
    if given.report is not None:
        given.report.write_text(text, encoding="utf-8")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
