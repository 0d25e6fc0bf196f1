"""The example while its workers are killed: what holds no state is run again, what holds some stops the run and says where."""

from __future__ import annotations

import asyncio
import os
import signal
from itertools import cycle
from pathlib import Path

import pytest

from documents import ROOT
from fund_load_runs import profile
from stream_kernel import AsyncBoundarySupervisor
from stream_kernel.engine.base import WorkerSnapshot
from stream_kernel.execution.orchestration.line_sink import LineSink
from stream_kernel.execution.orchestration.line_source import LineSource
from stream_kernel.execution.orchestration.run_summary import RunSummary
from stream_kernel.execution.orchestration.stream_run import StreamRun
from stream_kernel.testing import RecordingSink

KNOWN = ROOT.parent / "shared" / "data" / "fund_load"
RETRIED = ("execution.ingress", "execution.features", "execution.egress")

pytestmark = pytest.mark.skipif(not KNOWN.exists(), reason="the real input is not here")


class Running:
    """A run of the real input, a few lines a batch, in this process."""

    def __init__(self, supervisor: AsyncBoundarySupervisor, events: RecordingSink, output: Path) -> None:
        self._supervisor = supervisor
        self._events = events
        self._input = os.open(KNOWN / "input.jsonl", os.O_RDONLY)
        self._output = os.open(output, os.O_WRONLY | os.O_CREAT)
        source = LineSource(self._input, "input", line_format="text", batch_size=5, max_line_bytes=1 << 20)
        self._run = StreamRun(supervisor, source, LineSink(self._output, str(output)), run_id="r")

    async def to_its_end(self) -> RunSummary:
        try:
            return await self._run.run()
        finally:
            os.close(self._input)
            os.close(self._output)

    async def kill_at_work(self, group: str) -> int:
        """SIGKILL to the group's worker while it has a command; gives its generation."""
        worker = await self._at_work(group)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        await self._events.wait_for("worker_failed", group=group, generation=worker.generation)
        return worker.generation

    async def _at_work(self, group: str) -> WorkerSnapshot:
        while True:
            found = next(each for each in self._supervisor.snapshot().groups if each.name == group).workers[0]
            if found.state == "ready" and found.in_flight:
                return found
            await asyncio.sleep(0)


async def test_ten_kills_of_workers_without_state_change_no_byte(tmp_path: Path) -> None:
    events = RecordingSink()
    output = tmp_path / "output.jsonl"
    async with AsyncBoundarySupervisor(profile("baseline", "process_supervisor"), sink=events) as supervisor:
        running = Running(supervisor, events, output)
        summary = asyncio.create_task(running.to_its_end())
        groups = cycle(RETRIED)
        for _ in range(10):
            killed = asyncio.create_task(running.kill_at_work(next(groups)))
            await asyncio.wait([killed, summary], return_when=asyncio.FIRST_COMPLETED)
            assert killed.done(), "the run ended before its workers were killed ten times"
        assert (await summary).outcome == "complete"
        assert (await summary).restarts == 10
    assert output.read_bytes() == (KNOWN / "expected_baseline.jsonl").read_bytes()


async def test_a_kill_of_the_worker_with_the_state_stops_the_run_and_says_where(tmp_path: Path) -> None:
    events = RecordingSink()
    output = tmp_path / "output.jsonl"
    async with AsyncBoundarySupervisor(profile("baseline", "process_supervisor"), sink=events) as supervisor:
        running = Running(supervisor, events, output)
        run = asyncio.create_task(running.to_its_end())
        await running.kill_at_work("execution.policy")
        summary = await run
    assert summary.outcome == "state_lost"
    assert summary.stopped_by is not None and summary.stopped_by.group == "execution.policy"
    written = output.read_bytes()
    assert (KNOWN / "expected_baseline.jsonl").read_bytes().startswith(written)
    assert summary.lines_complete < summary.stopped_by.line
