"""More calls than a group can take: bounded by count and by bytes; the excess waits within its deadline, or is refused at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fixture_types import MakeConfig, MakeFifo
from stream_kernel import AsyncBoundarySupervisor, BoundaryTimeoutError
from stream_kernel.errors import BoundaryOverloadedError

InThread = Callable[..., Future[Any]]


@pytest.fixture
def full(faulty: MakeConfig, make_fifo: MakeFifo, in_thread: InThread) -> Callable[..., Any]:
    """A supervisor whose only worker holds a command, with two more in the queue, which has no room for another.

    All three have to be answered, whatever happens in the block.
    """

    @asynccontextmanager
    async def open_full(payload: Any = "queued", **keys: Any) -> AsyncIterator[tuple[AsyncBoundarySupervisor, Callable[[], Any]]]:
        started, release = make_fifo("started"), make_fifo("release")
        async with AsyncBoundarySupervisor(faulty({"g": {"nodes": ["hold", "journaled", "echo"], **keys}})) as supervisor:
            calls = [asyncio.create_task(supervisor.call("hold", {"started": started.path, "release": release.path}))]
            await asyncio.wrap_future(in_thread(started.wait))
            calls += [asyncio.create_task(supervisor.call("echo", payload)) for _ in range(2)]
            while supervisor.snapshot().groups[0].queued < 2:
                await asyncio.sleep(0)

            async def let_go() -> None:
                if not let_gone:
                    let_gone.append(True)
                    await asyncio.wrap_future(in_thread(release.release))

            let_gone: list[bool] = []
            yield supervisor, let_go
            await let_go()
            answers = await asyncio.gather(*calls)
            assert answers[1:] == [{"value": payload}] * 2

    return open_full


BOUNDS = pytest.mark.parametrize(
    ("payload", "bounds"), [("queued", {"max_queued": 2}), ("x" * 1000, {"max_queued_bytes": 2500})], ids=["by count", "by bytes"]
)


@pytest.mark.fault("FAULT-31")
@BOUNDS
async def test_a_call_without_room_is_refused_at_once_where_the_group_says_so(
    full: Callable[..., Any], tmp_path: Path, payload: str, bounds: dict[str, int]
) -> None:
    journal = tmp_path / "journal"
    async with full(payload, overflow="refuse", **bounds) as (supervisor, _):
        took = []
        for _ in range(30):
            begun = time.perf_counter()
            with pytest.raises(BoundaryOverloadedError, match=r"^remote handoff transport failed for group 'g'$") as caught:
                await supervisor.call("journaled", {"journal": str(journal), "padding": payload}, timeout_seconds=30)
            took.append(time.perf_counter() - begun)
            assert (caught.value.category, caught.value.delivery) == ("transport", "not_executed")
        assert min(took) < 0.001
        assert supervisor.snapshot().groups[0].queued == 2
    assert not journal.exists()


@pytest.mark.fault("FAULT-31")
@BOUNDS
async def test_a_call_without_room_waits_and_is_answered_when_there_is_some(
    full: Callable[..., Any], payload: str, bounds: dict[str, int]
) -> None:
    async with full(payload, **bounds) as (supervisor, let_go):
        waiting = asyncio.create_task(supervisor.call("echo", payload, timeout_seconds=30))
        while not supervisor.snapshot().groups[0].waiting:
            await asyncio.sleep(0)
        assert supervisor.snapshot().groups[0].queued == 2
        await let_go()
        assert await waiting == {"value": payload}
        assert supervisor.snapshot().groups[0].waiting == 0


@pytest.mark.fault("FAULT-31")
async def test_a_call_whose_deadline_passes_while_it_waits_for_room_ran_nowhere(full: Callable[..., Any], tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with full(max_queued=2) as (supervisor, _):
        with pytest.raises(BoundaryTimeoutError) as caught:
            await supervisor.call("journaled", {"journal": str(journal)}, timeout_seconds=0.1)
        assert caught.value.delivery == "not_executed"
        assert (supervisor.snapshot().groups[0].waiting, supervisor.snapshot().groups[0].queued) == (0, 2)
    assert not journal.exists()


@pytest.mark.fault("FAULT-31")
async def test_a_call_cancelled_while_it_waits_for_room_leaves_its_place_to_others(full: Callable[..., Any]) -> None:
    async with full(max_queued=2) as (supervisor, let_go):
        waiting = [asyncio.create_task(supervisor.call("echo", n, timeout_seconds=30)) for n in range(2)]
        while supervisor.snapshot().groups[0].waiting < 2:
            await asyncio.sleep(0)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        assert supervisor.snapshot().groups[0].waiting == 1
        await let_go()
        assert await waiting[1] == {"value": 1}
        assert supervisor.snapshot().active_calls == 0


@pytest.mark.fault("FAULT-31")
async def test_an_empty_queue_admits_any_call(faulty: MakeConfig) -> None:
    keys = {"nodes": ["echo"], "max_queued": 1, "max_queued_bytes": 1, "overflow": "refuse"}
    async with AsyncBoundarySupervisor(faulty({"g": keys})) as supervisor:
        for _ in range(3):
            assert await supervisor.call("echo", "x" * 10_000) == {"value": "x" * 10_000}


@pytest.mark.fault("FAULT-31")
@pytest.mark.parametrize("overflow", ["wait", "refuse"])
async def test_of_ten_times_as_many_calls_as_fit_each_is_answered_or_refused(faulty: MakeConfig, overflow: str) -> None:
    keys = {"nodes": ["echo"], "workers": 2, "max_queued": 20, "overflow": overflow}
    async with AsyncBoundarySupervisor(faulty({"g": keys})) as supervisor:
        calls = [asyncio.create_task(supervisor.call("echo", n, timeout_seconds=60)) for n in range(200)]
        most = 0
        while not all(call.done() for call in calls):
            most = max(most, supervisor.snapshot().groups[0].queued)
            await asyncio.sleep(0)
        outcomes = [call.exception() or call.result() for call in calls]
        refused = sum(isinstance(outcome, BoundaryOverloadedError) for outcome in outcomes)
        answered = [outcome for outcome in outcomes if isinstance(outcome, dict)]
        assert len(answered) + refused == 200
        assert (refused > 0) == (overflow == "refuse")
        assert answered == [{"value": n} for n, outcome in enumerate(outcomes) if isinstance(outcome, dict)]
        assert 0 < most <= 20
