"""Work of a waiting thread on the loop of another: its value, its error, its cancellation, whenever that comes."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from stream_kernel.errors import UsageError
from stream_kernel.platform.services.loop_thread import LoopThread, Work


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    opened = LoopThread()
    yield opened
    opened.end()


async def seven() -> int:
    return 7


async def fail() -> int:
    raise LookupError("no")


async def wait_for_ever() -> int:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("it never comes")


def test_its_value_comes(thread: LoopThread) -> None:
    assert thread.submit(Work(seven)).result(20) == 7


def test_its_error_is_raised_where_it_is_waited_for(thread: LoopThread) -> None:
    with pytest.raises(LookupError, match="no"):
        thread.run(fail)


def test_who_waits_for_a_bounded_time_hears_that_it_is_over(thread: LoopThread) -> None:
    work = thread.submit(Work(wait_for_ever))
    with pytest.raises(TimeoutError):
        work.result(0.001)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        work.result(20)


def test_one_that_is_cancelled_before_the_loop_comes_to_it_is_never_begun(thread: LoopThread) -> None:
    begun: list[bool] = []

    async def begin() -> None:
        begun.append(True)

    work = Work(begin)

    async def hand_over_and_cancel() -> None:
        thread.submit(work)
        work.cancel()

    thread.run(hand_over_and_cancel)
    with pytest.raises(asyncio.CancelledError):
        work.result(20)
    assert begun == []


def test_one_whose_task_is_cancelled_before_its_first_step_is_over(thread: LoopThread) -> None:
    work = Work(seven)

    def cancel_new_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **_: Any) -> asyncio.Task[Any]:
        task = asyncio.Task[Any](coroutine, loop=loop)
        task.cancel()
        return task

    async def submit() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(cancel_new_task)
        thread.submit(work)
        await asyncio.sleep(0)
        loop.set_task_factory(None)

    thread.run(submit)
    with pytest.raises(asyncio.CancelledError):
        work.result(20)


def test_a_thread_that_has_ended_takes_nothing(thread: LoopThread) -> None:
    thread.end()
    with pytest.raises(UsageError, match="closed"):
        thread.run(seven)


def test_an_error_that_was_raised_holds_nothing_that_only_the_collector_could_free(thread: LoopThread) -> None:
    work = Work(fail)
    gone = weakref.ref(work)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(LookupError):
            thread.submit(work).result(20)
        del work
        thread.run(seven)  # what the loop still held of it is gone after this
        assert gone() is None
    finally:
        gc.enable()
