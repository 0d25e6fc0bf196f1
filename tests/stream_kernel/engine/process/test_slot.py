"""The place of one worker: its incarnations, seen by an owner that only writes down what it is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from stream_kernel import RuntimeConfig
from stream_kernel.engine.process.slot import End, WorkerSlot
from stream_kernel.observability.events import LifecycleEvent
from stream_kernel.routing.router import NodeRoute

MakeConfig = Callable[..., RuntimeConfig]


class Owner:
    """Notes what its slot says, and never starts it again."""

    def __init__(self) -> None:
        """Nothing has been said."""
        self.is_ready = asyncio.Event()
        self.ends: list[End] = []
        self.events: list[str] = []
        self.refuses: str | None = None

    def refusal(self, slot: WorkerSlot, nodes: list[NodeRoute]) -> str | None:
        return self.refuses

    def ready(self, slot: WorkerSlot) -> None:
        self.is_ready.set()

    def idle(self) -> None:
        pass

    def ended(self, slot: WorkerSlot, end: End) -> None:
        self.ends.append(end)

    def emit(self, event: LifecycleEvent) -> None:
        self.events.append(event.kind if event.mode is None else f"{event.kind} {event.mode}")


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
async def slot(make_config: MakeConfig, owner: Owner) -> AsyncIterator[WorkerSlot]:
    config = make_config({"g": ["echo"]})
    one = WorkerSlot(owner, config, config.process_groups[0], 0, owner)
    yield one
    one.kill("the test is over", final=True)
    await one.gone()


async def ready(slot: WorkerSlot, owner: Owner) -> int:
    owner.is_ready.clear()
    slot.start()
    async with asyncio.timeout(20):
        await owner.is_ready.wait()
    pid = slot.snapshot().pid
    assert pid is not None
    return pid


async def gone(slot: WorkerSlot) -> None:
    async with asyncio.timeout(20):
        await slot.gone()
    assert (slot.state, slot.snapshot().pid) == ("stopped", None)


async def test_an_orderly_life(slot: WorkerSlot, owner: Owner) -> None:
    await ready(slot, owner)
    slot.stop()
    slot.stop()
    await gone(slot)
    assert owner.events == ["worker_spawned", "worker_ready", "worker_stopping", "worker_stopped graceful"]
    assert [end.kind for end in owner.ends] == ["stopped"]


async def test_a_death_is_told_once_with_its_cause(slot: WorkerSlot, owner: Owner) -> None:
    os.kill(await ready(slot, owner), signal.SIGKILL)
    await gone(slot)
    assert [(end.kind, end.reason) for end in owner.ends] == [("died", "killed by SIGKILL")]
    assert owner.events[-1] == "worker_failed"


async def test_a_death_by_our_hand_is_another_thing(slot: WorkerSlot, owner: Owner) -> None:
    await ready(slot, owner)
    slot.kill("a command passed its deadline", final=False)
    slot.kill("and again", final=False)
    await gone(slot)
    assert [(end.kind, end.reason) for end in owner.ends] == [("inflicted", "a command passed its deadline")]


async def test_a_next_incarnation_counts_as_a_restart(slot: WorkerSlot, owner: Owner) -> None:
    first = await ready(slot, owner)
    slot.kill("enough", final=False)
    await gone(slot)
    second = await ready(slot, owner)
    snapshot = slot.snapshot()
    assert first != second and (snapshot.generation, snapshot.restarts) == (2, 1)
    assert owner.events.count("worker_restarted") == 1


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_what_is_ended_while_it_spawns_is_ended_when_it_has(slot: WorkerSlot, owner: Owner, end: str) -> None:
    slot.start()
    await asyncio.sleep(0)
    assert slot.state == "spawning"
    if end == "stop":
        slot.stop()
    else:
        slot.kill("not wanted", final=True)
    await gone(slot)
    assert [each.kind for each in owner.ends] == ["stopped"]
    assert owner.events == ["worker_spawned", "worker_stopped forced"]


async def test_a_worker_that_its_owner_refuses_is_unbootable(slot: WorkerSlot, owner: Owner) -> None:
    owner.refuses = "these are other nodes"
    slot.start()
    await slot.launched()
    await gone(slot)
    (end,) = owner.ends
    assert end.kind == "unbootable" and "other nodes" in str(end.boot_error)
    assert "worker_ready" not in owner.events


async def test_a_worker_is_not_free_before_it_knows_the_routes_nor_after_it_has_ended(slot: WorkerSlot, owner: Owner) -> None:
    pid = await ready(slot, owner)
    assert not slot.is_free
    slot.start_work(())
    assert slot.is_free
    os.kill(pid, signal.SIGKILL)
    await gone(slot)
    assert not slot.is_free
