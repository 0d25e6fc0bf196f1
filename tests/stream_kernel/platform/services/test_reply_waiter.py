"""Whoever sent a message under a trace waits for the event that ends it, and gets exactly that one."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stream_kernel import Envelope, TerminalEvent
from stream_kernel.platform.services.reply_waiter import ReplyWaiter, ReplyWaiterError, ReplyWaiterStatistics

DONE = TerminalEvent("success", {"v": 1})


def counts(waiter: ReplyWaiter) -> tuple[int, int, int, int]:
    seen: ReplyWaiterStatistics = waiter.statistics()
    return seen.waiting, seen.completed, seen.duplicates, seen.late


def test_a_completed_trace_is_fetched_once() -> None:
    waiter = ReplyWaiter()
    waiter.register("t")
    assert counts(waiter) == (1, 0, 0, 0)
    assert waiter.complete("t", DONE)
    assert counts(waiter) == (0, 1, 0, 0)
    assert waiter.wait("t", 0) is DONE
    assert counts(waiter) == (0, 0, 0, 0)
    with pytest.raises(ReplyWaiterError, match="not registered"):
        waiter.wait("t", 0)


def test_a_trace_that_waits_cannot_be_registered_again() -> None:
    waiter = ReplyWaiter()
    waiter.register("t")
    with pytest.raises(ReplyWaiterError, match="waiting already"):
        waiter.register("t")
    waiter.complete("t", DONE)
    waiter.register("t")
    assert counts(waiter) == (1, 0, 0, 0)


def test_duplicates_and_late_completions_are_counted_and_change_nothing() -> None:
    waiter = ReplyWaiter()
    waiter.register("t")
    assert waiter.complete("t", DONE)
    assert not waiter.complete("t", TerminalEvent("error", error="second"))
    assert waiter.wait("t", 0) is DONE
    assert not waiter.complete("t", DONE)
    assert not waiter.complete("never", DONE)
    assert counts(waiter) == (0, 0, 1, 2)


@pytest.mark.parametrize(("end", "status"), [("cancel", "cancelled"), ("expire", "timeout")])
def test_a_wait_can_be_ended_without_an_event(end: str, status: str) -> None:
    waiter = ReplyWaiter()
    waiter.register("t")
    ending = waiter.cancel if end == "cancel" else waiter.expire
    assert ending("t")
    assert not ending("t") and not ending("never")
    assert not waiter.complete("t", DONE)
    assert waiter.wait("t", 0).status == status
    assert counts(waiter) == (0, 0, 1, 0)


def test_a_wait_ends_with_a_timeout_event_when_its_time_is_over() -> None:
    waiter = ReplyWaiter()
    waiter.register("t")
    assert waiter.wait("t", 0.01).status == "timeout"
    assert not waiter.complete("t", DONE)
    assert counts(waiter) == (0, 0, 0, 1)


def test_another_thread_is_woken_by_the_completion() -> None:
    waiter = ReplyWaiter()
    waiter.register("t")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(waiter.wait, "t", 30)
        waiter.complete("t", DONE)
        assert waiting.result(30) is DONE


async def test_an_event_loop_is_woken_by_a_completion_from_another_thread() -> None:
    waiter = ReplyWaiter()
    waiter.register("t")
    waiting = asyncio.get_running_loop().create_task(waiter.wait_async("t", 30))
    await asyncio.sleep(0)
    thread = threading.Thread(target=waiter.complete, args=("t", DONE))
    thread.start()
    assert await waiting is DONE
    thread.join()
    assert counts(waiter) == (0, 0, 0, 0)


async def test_an_async_wait_ends_with_a_timeout_event_when_its_time_is_over() -> None:
    waiter = ReplyWaiter()
    waiter.register("t")
    assert (await waiter.wait_async("t", 0.01)).status == "timeout"
    assert not waiter.complete("t", DONE)
    assert counts(waiter) == (0, 0, 0, 1)


async def test_a_cancelled_wait_forgets_its_trace_and_its_event_counts_as_late() -> None:
    waiter = ReplyWaiter()
    waiter.register("t")
    waiting = asyncio.get_running_loop().create_task(waiter.wait_async("t"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert counts(waiter) == (0, 0, 0, 0)
    assert not waiter.complete("t", DONE)
    assert counts(waiter) == (0, 0, 0, 1)


def test_completed_traces_that_nobody_fetched_make_room_oldest_first() -> None:
    waiter = ReplyWaiter(capacity=3)
    for trace in ("a", "b", "c"):
        waiter.register(trace)
    waiter.complete("c", DONE)
    waiter.complete("b", DONE)
    waiter.register("d")  # in the place of b, which was registered first
    assert counts(waiter) == (2, 1, 0, 0)
    with pytest.raises(ReplyWaiterError, match="not registered"):
        waiter.wait("b", 0)
    assert waiter.wait("c", 0) is DONE


def test_beyond_its_capacity_of_waiting_traces_a_registration_is_refused() -> None:
    waiter = ReplyWaiter(capacity=2)
    waiter.register("a")
    waiter.register("b")
    with pytest.raises(ReplyWaiterError, match="capacity"):
        waiter.register("c")
    assert counts(waiter) == (2, 0, 0, 0)
    waiter.cancel("a")
    waiter.register("c")
    with pytest.raises(ValueError, match="capacity"):
        ReplyWaiter(capacity=0)


def test_a_terminal_output_completes_its_trace() -> None:
    waiter = ReplyWaiter()
    failed = TerminalEvent("error", error="no")
    for trace in ("plain", "event"):
        waiter.register(trace)
    assert waiter.complete_output(Envelope({"v": 1}, "plain"))
    assert waiter.complete_output(Envelope(failed, "event"))
    assert not waiter.complete_output(Envelope(1))
    assert waiter.wait("plain", 0) == DONE
    assert waiter.wait("event", 0) is failed


def test_of_many_completions_at_once_one_wins() -> None:
    waiter = ReplyWaiter()
    waiter.register("t")
    start = threading.Barrier(8)

    def complete(n: int) -> bool:
        start.wait(30)
        return waiter.complete("t", TerminalEvent("success", n))

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(complete, range(8)))
    assert won.count(True) == 1
    assert waiter.wait("t", 0).payload == won.index(True)
    assert counts(waiter) == (0, 0, 7, 0)
