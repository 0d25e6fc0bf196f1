"""W7: records through four groups, and the example of the project with workers and without."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from bench_figures import Table
from bench_kernel import OURS, AsyncKernel, chain
from bench_lineup import Lineup
from bench_payloads import links
from bench_peers import Executor
from bench_turns import Contender, Effort, Turn, WrongAnswer, check, inputs_out_of_sight, take_turns
from bench_watchdog import Watchdog
from bench_work import Record, hop_many

from stream_kernel import AsyncBoundarySupervisor, BoundaryDispatchInput, RuntimeConfig
from stream_kernel.config.model import Mode
from stream_kernel.examples.fund_load.generator import generate_attempts
from stream_kernel.execution.orchestration.line_sink import LineSink
from stream_kernel.execution.orchestration.line_source import LineSource
from stream_kernel.execution.orchestration.stream_run import StreamRun

BATCH = 256
IN_FLIGHT = 5
"""Batches on their way: as many as `stream-kernel run` has with four workers."""
_LINES_IN_A_BATCH = 100
"""The default of `stream-kernel run`."""
_GROUPS = 4

Pass = Callable[[list[Record]], Awaitable[list[Record]]]


async def chain_of_groups(effort: Effort, lineup: Lineup, watchdog: Watchdog) -> list[Table]:
    """W7."""
    return [await _chain(effort, lineup, watchdog), await _fund_load(effort, watchdog)]


async def _chain(effort: Effort, lineup: Lineup, watchdog: Watchdog) -> Table:
    count = effort.count(20_000, IN_FLIGHT * BATCH)
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(AsyncKernel(config=chain(_GROUPS)))
        contenders = [
            Contender(OURS, pipelined(OURS, through_groups(ours), count, _GROUPS), ours, "execute_boundary"),
            Contender(f"{OURS}, map", _mapped(ours, count), ours, f"{ours.supervisor.map_width('hop_1')} batches in flight"),
        ]
        if lineup.has("executor"):
            pools = [await stack.enter_async_context(Executor()) for _ in range(_GROUPS)]
            contenders.append(Contender("four chained pools", pipelined("four chained pools", _through_pools(pools), count, _GROUPS)))
        title = f"{count:,} records through {_GROUPS} groups of one worker, batches of {BATCH}, {IN_FLIGHT} in flight, records a second"
        return await take_turns("W7/chain", title, "/s", contenders, effort.part(0.6), watchdog)


def through_groups(kernel: AsyncKernel) -> Pass:
    """A batch through a chain of groups."""

    async def through(batch: list[Record]) -> list[Record]:
        inputs = [BoundaryDispatchInput(record, "link.1", "hop_1") for record in batch]
        result = await kernel.supervisor.execute_boundary(run_id="bench", scenario_id="bench", inputs=inputs)
        return [output.payload for output in result.terminal_outputs]

    return through


def _through_pools(pools: list[Executor]) -> Pass:
    async def through(batch: list[Record]) -> list[Record]:
        for pool in pools:
            batch = await pool.call_async(hop_many, batch)
        return batch

    return through


def pipelined(name: str, through: Pass, count: int, groups: int) -> Turn:
    """Records a second, several batches on their way; the first ones, for the warmth, are not counted."""

    async def turn() -> float:
        await through(links(BATCH, groups))
        given = links(count, groups)
        batches = [given[start : start + BATCH] for start in range(0, count, BATCH)]
        answers: list[list[Record]] = [[] for _ in batches]
        waiting = iter(enumerate(batches))

        async def take() -> None:
            for index, batch in waiting:
                answers[index] = await through(batch)

        with inputs_out_of_sight():
            began = perf_counter()
            await asyncio.gather(*(take() for _ in range(IN_FLIGHT)))
            seconds = perf_counter() - began
        check(name, [record for answer in answers for record in answer], given)
        return count / seconds

    return turn


def _mapped(kernel: AsyncKernel, count: int) -> Turn:
    async def turn() -> float:
        given = links(count, _GROUPS)
        with inputs_out_of_sight():
            began = perf_counter()
            answers: list[Any] = [record async for record in kernel.supervisor.map("hop_1", given)]
            seconds = perf_counter() - began
        check(f"{OURS}, map", answers, given)
        return count / seconds

    return turn


async def _fund_load(effort: Effort, watchdog: Watchdog) -> Table:
    lines = effort.count(100_000, 500)
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with (folder / "attempts.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in generate_attempts(lines))
        decisions: list[bytes] = []
        modes: tuple[tuple[str, Mode], ...] = (("workers", "process_supervisor"), ("inline", "inline"))
        contenders = [Contender(f"{OURS}, {word}", _run_of_lines(folder, mode, lines, decisions)) for word, mode in modes]
        title = f"{lines:,} lines of example:fund_load/baseline, lines a second, without the start"
        return await take_turns("W7/fund-load", title, "/s", contenders, effort.part(0.2), watchdog, is_cold=True)


def _run_of_lines(folder: Path, mode: Mode, lines: int, decisions: list[bytes]) -> Turn:
    """Lines a second of a run; all runs must give the same decisions."""

    async def turn() -> float:
        with as_file(files("stream_kernel.examples") / "fund_load" / "baseline.toml") as path:
            config = RuntimeConfig.from_toml(path).adapted(mode=mode)
        taken, given = folder / "attempts.jsonl", folder / "decisions.jsonl"
        source_fd, sink_fd = os.open(taken, os.O_RDONLY), os.open(given, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            async with AsyncBoundarySupervisor(config) as supervisor:
                source = LineSource(
                    source_fd,
                    str(taken),
                    line_format="text",
                    batch_size=_LINES_IN_A_BATCH,
                    max_line_bytes=config.execution_ipc.max_frame_bytes,
                )
                summary = await StreamRun(supervisor, source, LineSink(sink_fd, str(given)), run_id="bench").run()
        finally:
            os.close(source_fd)
            os.close(sink_fd)
        decisions.append(given.read_bytes())
        if summary.outcome != "complete" or summary.lines_complete != lines or decisions[0] != decisions[-1]:
            raise WrongAnswer(f"fund_load, {mode}: {summary.outcome}, {summary.lines_complete} lines, or other decisions than before")
        del decisions[1:]
        return summary.lines_per_second

    return turn
