"""Workers that are replaced for their age while they are loaded: no call fails, and there is never one worker fewer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fixture_types import MakeConfig, MakeFifo
from stream_kernel import AsyncBoundarySupervisor
from stream_kernel.observability.events import LifecycleEvent
from stream_kernel.testing import RecordingSink, chaos

WORKERS = 2


def least_capacity(events: list[LifecycleEvent]) -> int:
    """The smallest number of ready workers from the moment in which all were, until the first is stopped for good."""
    ready: set[tuple[str, int]] = set()
    counts = []
    for event in events:
        incarnation = (event.worker_id, event.generation)
        if event.kind == "worker_ready":
            ready.add(incarnation)
        elif event.kind in ("worker_stopping", "worker_stopped", "worker_failed"):
            ready.discard(incarnation)
        counts.append(len(ready))
    return min(counts[counts.index(WORKERS) :])


async def load(supervisor: AsyncBoundarySupervisor, calls: int, callers: int = 6) -> list[int]:
    """So many calls from each of the callers; gives the pids that answered. Any failure is raised."""

    async def work(caller: int) -> list[int]:
        pids = []
        for n in range(calls):
            answer = await supervisor.call("fragile", {"n": [caller, n]}, timeout_seconds=30)
            assert answer["n"] == [caller, n]
            pids.append(answer["pid"])
        return pids

    return [pid for pids in await asyncio.gather(*(work(caller) for caller in range(callers))) for pid in pids]


@pytest.mark.fault("FAULT-39")
@pytest.mark.parametrize("depth", [1, 3])
async def test_recycling_under_load_fails_no_call_and_leaves_no_gap(faulty: MakeConfig, depth: int) -> None:
    sink = RecordingSink()
    config = faulty({"g": {"nodes": ["fragile"], "workers": WORKERS, "max_requests_per_worker": 40, "depth": depth}})
    async with AsyncBoundarySupervisor(config, sink=sink) as supervisor:
        pids: list[int] = []
        while len(sink.find("worker_ready")) < 6:
            pids += await load(supervisor, 20)
        events = list(sink.events)
    assert least_capacity(events) == WORKERS
    assert not sink.find("worker_failed")
    assert {event.mode for event in sink.find("worker_stopped")} == {"graceful"}
    assert len(set(pids)) >= 4


@pytest.mark.fault("FAULT-39")
async def test_a_worn_worker_serves_on_until_its_replacement_is_ready(faulty: MakeConfig, make_fifo: MakeFifo) -> None:
    held = make_fifo("held")
    config = faulty({"g": {"nodes": ["fragile"], "max_requests_per_worker": 3}})
    sink = RecordingSink()
    async with AsyncBoundarySupervisor(config, sink=sink, chaos=[chaos(hold="ready", fifo=held.path, generation=2)]) as supervisor:
        old = supervisor.snapshot().groups[0].workers[0].pid
        assert set(await load(supervisor, 10, callers=2)) == {old}
        assert len(sink.find("worker_spawned")) == 2 and len(sink.find("worker_ready")) == 1
        held.release()
        await sink.wait_for("worker_ready", generation=2)
        await sink.wait_for("worker_stopped", generation=1)
        assert old not in await load(supervisor, 1)


@pytest.mark.fault("FAULT-39")
async def test_a_replacement_that_does_not_come_up_leaves_the_old_worker_at_work(faulty: MakeConfig) -> None:
    config = faulty({"g": {"nodes": ["fragile"], "max_requests_per_worker": 3}})
    sink = RecordingSink()
    async with AsyncBoundarySupervisor(config, sink=sink, chaos=[chaos(kill="ready", generation=2)]) as supervisor:
        old = supervisor.snapshot().groups[0].workers[0].pid
        await load(supervisor, 5, callers=1)
        await sink.wait_for("worker_failed", generation=2)
        assert set(await load(supervisor, 5)) == {old}
        assert supervisor.snapshot().groups[0].state == "ready"


@pytest.mark.fault("FAULT-39")
async def test_what_a_retiring_worker_has_is_answered_by_it(faulty: MakeConfig, make_fifo: MakeFifo, in_thread: Callable[..., Any]) -> None:
    started, release = make_fifo("started"), make_fifo("release")
    sink = RecordingSink()
    config = faulty({"g": {"nodes": ["fragile"], "max_requests_per_worker": 2, "depth": 2}})
    async with AsyncBoundarySupervisor(config, sink=sink) as supervisor:
        old = supervisor.snapshot().groups[0].workers[0].pid
        await load(supervisor, 1, callers=1)
        # The second answer wears it out, and the third command is behind it: at work when the replacement takes over.
        worn = asyncio.create_task(supervisor.call("fragile", {"n": 1}))
        message = {"n": 2, "started": started.path, "release": release.path}
        held = asyncio.create_task(supervisor.call("fragile", message, timeout_seconds=30))
        assert int(await asyncio.wrap_future(in_thread(started.wait))) == old
        await worn
        await sink.wait_for("worker_ready", generation=2)
        assert old not in await load(supervisor, 3)
        assert not held.done() and not sink.find("worker_stopped")
        await asyncio.wrap_future(in_thread(release.release))
        assert (await held)["pid"] == old
        assert (await sink.wait_for("worker_stopped", generation=1)).mode == "graceful"


@pytest.mark.fault("FAULT-39")
async def test_a_rolling_restart_under_load_fails_no_call_and_leaves_no_gap(faulty: MakeConfig) -> None:
    sink = RecordingSink()
    config = faulty({"g": {"nodes": ["fragile"], "workers": WORKERS}})
    async with AsyncBoundarySupervisor(config, sink=sink) as supervisor:
        before = {worker.pid for worker in supervisor.snapshot().groups[0].workers}
        restarting = asyncio.create_task(supervisor.restart_group("g"))
        while not restarting.done():
            await load(supervisor, 5)
        await restarting
        assert before.isdisjoint(await load(supervisor, 5))
        events = list(sink.events)
    assert least_capacity(events) == WORKERS
    assert not sink.find("worker_failed")
