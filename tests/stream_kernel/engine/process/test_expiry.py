"""The last moments of a worker past a deadline, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from stream_kernel.engine.process.expiry import Expiry
from stream_kernel.testing import FakeChild, FakeLaunch
from virtual_clock import START, on_virtual_clock


class Conclusions:
    """What an expiry came to, and how many milliseconds after its begin."""

    def __init__(self) -> None:
        self.all: list[tuple[str | None, float]] = []

    def __call__(self, stacks: str | None) -> None:
        passed = asyncio.get_running_loop().time() - START
        self.all.append((stacks, round(passed * 1000, 3)))


async def launched() -> FakeChild:
    return await FakeLaunch()(lambda lifeline, box: [], {}, group="g", worker_id="g#0")


@on_virtual_clock
async def test_the_stacks_are_asked_for_and_taken_as_soon_as_they_are_whole() -> None:
    child, concluded = await launched(), Conclusions()
    child.stack = "Current thread:\n  here"
    Expiry(child, concluded)
    assert child.log == ["stacks"]
    await asyncio.sleep(1)
    assert concluded.all == [("Current thread:\n  here", 6.0)]


@on_virtual_clock
async def test_stacks_that_still_grow_are_waited_for() -> None:
    child, concluded = await launched(), Conclusions()
    Expiry(child, concluded)
    for text in ("Cur", "Current thr", "Current thread:\n  here"):
        child.stack = text
        await asyncio.sleep(0.0035)
    await asyncio.sleep(1)
    assert [stacks for stacks, _ in concluded.all] == ["Current thread:\n  here"]


@pytest.mark.fault("FAULT-12")
@on_virtual_clock
async def test_a_worker_that_writes_none_gets_no_more_than_thirty_milliseconds() -> None:
    child, concluded = await launched(), Conclusions()
    Expiry(child, concluded)
    await asyncio.sleep(1)
    ((stacks, milliseconds),) = concluded.all
    assert stacks is None and 25 <= milliseconds <= 28


@on_virtual_clock
async def test_stacks_that_never_cease_to_grow_are_taken_when_the_time_is_over() -> None:
    child, concluded = await launched(), Conclusions()
    Expiry(child, concluded)
    for _ in range(100):
        child.stack += "x"
        await asyncio.sleep(0.001)
    ((stacks, milliseconds),) = concluded.all
    assert stacks is not None and set(stacks) == {"x"} and 25 <= milliseconds <= 28


@on_virtual_clock
async def test_after_its_close_nothing_is_concluded() -> None:
    child, concluded = await launched(), Conclusions()
    Expiry(child, concluded).close()
    await asyncio.sleep(1)
    assert concluded.all == []
