"""Workers that have several commands at a time: only the one at work is uncertain, and those behind it run once, by somebody."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from fixture_types import MakeConfig, MakeFifo
from processes import ends, watched
from stream_kernel import AsyncBoundarySupervisor, BoundaryError, BoundaryTimeoutError, BoundaryTransportError

InThread = Callable[..., Future[Any]]


def lines(journal: Path) -> int:
    return len(journal.read_text().splitlines()) if journal.exists() else 0


class Deep:
    """One worker with three commands: the head has announced itself and waits, the two behind it have not begun."""

    def __init__(self, supervisor: AsyncBoundarySupervisor, node: str, tmp_path: Path, make_fifo: MakeFifo, in_thread: InThread) -> None:
        self._supervisor = supervisor
        self._node = node
        self._in_thread = in_thread
        self._started, self._release = make_fifo("started"), make_fifo("release")
        self.journals = [tmp_path / f"journal-{index}" for index in range(3)]
        self.calls: list[asyncio.Task[Any]] = []
        self.pid = 0

    async def fill(self, how: str | None = None, **timeouts: float) -> None:
        """Hand over the three; the head does `how` when it is released. `timeouts` are those of `head`, `second` and `third`."""
        held = {"started": self._started.path, "release": self._release.path, **({} if how is None else {"how": how})}
        for index, name in enumerate(("head", "second", "third")):
            message = {"n": index, "journal": str(self.journals[index]), **(held if index == 0 else {})}
            call = self._supervisor.call(self._node, message, timeout_seconds=timeouts.get(name, 30))
            self.calls.append(asyncio.create_task(call))
            if index == 0:
                self.pid = int(await asyncio.wrap_future(self._in_thread(self._started.wait)))
        while self._supervisor.snapshot().groups[0].workers[0].in_flight < 3:
            await asyncio.sleep(0)

    async def release(self) -> None:
        """Let the head go on."""
        await asyncio.wrap_future(self._in_thread(self._release.release))


@pytest.fixture
def deep(tmp_path: Path, make_fifo: MakeFifo, in_thread: InThread) -> Callable[..., Deep]:
    def make(supervisor: AsyncBoundarySupervisor, node: str = "fragile") -> Deep:
        return Deep(supervisor, node, tmp_path, make_fifo, in_thread)

    return make


@pytest.mark.fault("FAULT-07")
@pytest.mark.parametrize("how", ["die", "killed while it waits"])
async def test_the_two_behind_the_head_of_a_dead_worker_run_once_and_succeed(
    faulty: MakeConfig, deep: Callable[..., Deep], how: str
) -> None:
    async with AsyncBoundarySupervisor(faulty({"g": {"nodes": ["fragile"], "depth": 3}})) as supervisor:
        three = deep(supervisor)
        await three.fill("die")
        if how == "die":
            await three.release()
        else:
            os.kill(three.pid, signal.SIGKILL)
        with pytest.raises(BoundaryTransportError) as caught:
            await three.calls[0]
        assert caught.value.delivery == "maybe_executed"
        assert caught.value.report.exit is not None and caught.value.report.exit.node == "fragile"
        answers = await asyncio.gather(*three.calls[1:])
        assert [answer["n"] for answer in answers] == [1, 2]
        assert {answer["pid"] for answer in answers} != {three.pid}
        assert [lines(journal) for journal in three.journals] == [int(how == "die"), 1, 1]
        assert supervisor.snapshot().groups[0].workers[0].restarts == 1


@pytest.mark.fault("FAULT-07")
async def test_what_was_behind_the_head_of_a_lost_stateful_worker_is_told_that_it_never_ran(
    faulty: MakeConfig, deep: Callable[..., Deep]
) -> None:
    async with AsyncBoundarySupervisor(faulty({"s": {"nodes": ["ledger_keeper"], "depth": 3}})) as supervisor:
        three = deep(supervisor, "ledger_keeper")
        await three.fill("die")
        await three.release()
        outcomes = await asyncio.gather(*three.calls, return_exceptions=True)
        assert all(isinstance(outcome, BoundaryTransportError) for outcome in outcomes)
        deliveries = [outcome.delivery for outcome in outcomes if isinstance(outcome, BoundaryError)]
        assert deliveries == ["maybe_executed", "not_executed", "not_executed"]
        assert [lines(journal) for journal in three.journals] == [1, 0, 0]
        assert supervisor.snapshot().groups[0].state == "failed"


@pytest.mark.fault("FAULT-07")
async def test_a_deadline_of_the_head_costs_those_behind_it_nothing(faulty: MakeConfig, deep: Callable[..., Deep]) -> None:
    async with AsyncBoundarySupervisor(faulty({"g": {"nodes": ["fragile"], "depth": 3}})) as supervisor:
        three = deep(supervisor)
        await three.fill(head=1.0)
        with pytest.raises(BoundaryTimeoutError) as caught:
            await three.calls[0]
        assert caught.value.delivery == "maybe_executed"
        assert [answer["n"] for answer in await asyncio.gather(*three.calls[1:])] == [1, 2]
        assert [lines(journal) for journal in three.journals] == [0, 1, 1]


@pytest.mark.fault("FAULT-07")
async def test_a_deadline_behind_the_head_leaves_the_head_alone(faulty: MakeConfig, deep: Callable[..., Deep]) -> None:
    async with AsyncBoundarySupervisor(faulty({"g": {"nodes": ["fragile"], "depth": 3}})) as supervisor:
        three = deep(supervisor)
        await three.fill(second=0.3)
        with pytest.raises(BoundaryTimeoutError) as caught:
            await three.calls[1]
        assert caught.value.delivery == "maybe_executed"
        await three.release()
        head, third = await asyncio.gather(three.calls[0], three.calls[2])
        assert {head["pid"], third["pid"]} == {three.pid}
        assert [lines(journal) for journal in three.journals] == [1, 0, 1]
        assert supervisor.snapshot().groups[0].workers[0].restarts == 0


@pytest.mark.fault("FAULT-16")
async def test_a_call_cancelled_behind_the_head_never_runs_and_harms_nobody(faulty: MakeConfig, deep: Callable[..., Deep]) -> None:
    async with AsyncBoundarySupervisor(faulty({"g": {"nodes": ["fragile"], "depth": 3}})) as supervisor:
        three = deep(supervisor)
        await three.fill()
        three.calls[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await three.calls[1]
        await three.release()
        head, third = await asyncio.gather(three.calls[0], three.calls[2])
        assert {head["pid"], third["pid"]} == {three.pid}
        assert [lines(journal) for journal in three.journals] == [1, 0, 1]
        (group,) = supervisor.snapshot().groups
        assert (group.workers[0].in_flight, group.workers[0].restarts, group.late_replies) == (0, 0, 1)
        assert supervisor.snapshot().active_calls == 0


@pytest.mark.fault("FAULT-16")
async def test_a_head_that_was_cancelled_and_hangs_is_bounded_by_its_deadline_and_those_behind_it_go_on(
    faulty: MakeConfig, deep: Callable[..., Deep]
) -> None:
    async with AsyncBoundarySupervisor(faulty({"g": {"nodes": ["fragile"], "depth": 3}})) as supervisor:
        three = deep(supervisor)
        await three.fill(head=1.0)
        with watched(three.pid) as pidfd:
            three.calls[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await three.calls[0]
            assert [answer["n"] for answer in await asyncio.gather(*three.calls[1:])] == [1, 2]
            assert ends(pidfd)
        assert [lines(journal) for journal in three.journals] == [0, 1, 1]


@pytest.mark.fault("FAULT-16")
async def test_those_cancelled_behind_the_head_of_a_dying_worker_are_not_run_by_the_next_one(
    faulty: MakeConfig, deep: Callable[..., Deep]
) -> None:
    async with AsyncBoundarySupervisor(faulty({"g": {"nodes": ["fragile"], "depth": 3}})) as supervisor:
        three = deep(supervisor)
        await three.fill()
        three.calls[2].cancel()
        os.kill(three.pid, signal.SIGKILL)
        outcomes = await asyncio.gather(*three.calls, return_exceptions=True)
        assert isinstance(outcomes[0], BoundaryTransportError)
        assert isinstance(outcomes[2], asyncio.CancelledError)
        assert isinstance(outcomes[1], dict) and outcomes[1]["n"] == 1
        assert await supervisor.call("fragile", {"n": 9}, timeout_seconds=20)
        assert [lines(journal) for journal in three.journals] == [0, 1, 0]
