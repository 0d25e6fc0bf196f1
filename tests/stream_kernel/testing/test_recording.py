"""The sink that keeps events, and waits for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stream_kernel.observability.events import EventKind, LifecycleEvent
from stream_kernel.testing import RecordingSink
from virtual_clock import on_virtual_clock
from waiting import in_thread


def event(kind: EventKind, **fields: Any) -> LifecycleEvent:
    given: dict[str, Any] = {"group": "g", "worker_id": "g#0", "generation": 1, "time": 0.0, "monotonic": 0.0, **fields}
    return LifecycleEvent(kind=kind, **given)


def test_everything_is_kept_in_order_and_found_by_what_it_is_about() -> None:
    sink = RecordingSink()
    given = [
        event("worker_ready"),
        event("worker_ready", worker_id="g#1"),
        event("worker_failed", generation=2),
        event("worker_ready", group="h", generation=2),
    ]
    for each in given:
        sink.emit(each)
    assert sink.events == given
    assert sink.find("worker_ready") == [given[0], given[1], given[3]]
    assert sink.find("worker_ready", group="g", worker_id="g#1") == [given[1]]
    assert sink.find("worker_ready", generation=2) == [given[3]]


@on_virtual_clock
async def test_an_event_that_was_there_before_is_given_at_once() -> None:
    sink = RecordingSink()
    sink.emit(event("worker_ready"))
    assert await sink.wait_for("worker_ready") is sink.events[0]


@on_virtual_clock
async def test_a_wait_ends_with_the_event_that_was_asked_for() -> None:
    sink = RecordingSink()
    waiting = asyncio.create_task(sink.wait_for("worker_failed", group="g", count=2))
    for each in (event("worker_failed"), event("worker_failed", group="h"), event("worker_ready")):
        sink.emit(each)
        await asyncio.sleep(1)
        assert not waiting.done()
    second = event("worker_failed", generation=2)
    sink.emit(second)
    assert await waiting is second


@on_virtual_clock
async def test_a_wait_in_vain_says_for_what() -> None:
    sink = RecordingSink()
    with pytest.raises(TimeoutError, match="event 1 of kind 'worker_failed' did not come about within 3 s"):
        await sink.wait_for("worker_failed", timeout_seconds=3)


async def test_an_event_of_another_thread_wakes_the_waiter() -> None:
    sink = RecordingSink()
    waiting = asyncio.create_task(sink.wait_for("worker_stopped"))
    await asyncio.sleep(0)
    await in_thread(sink.emit, event("worker_stopped", mode="graceful"))
    assert (await waiting).mode == "graceful"
