"""Questions to an idle worker, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from stream_kernel.engine.process.idle_watch import IdleWatch
from virtual_clock import START, on_virtual_clock


class Worker:
    """Is asked every 10 seconds while it is idle, and has 5 to answer."""

    def __init__(self) -> None:
        """Idle, and it answers at once."""
        self.loop = asyncio.get_running_loop()
        self.is_idle = True
        self.answers = True
        self.asked: list[float] = []
        self.silences: list[float] = []
        self.tokens: list[int] = []
        self.watch = IdleWatch(
            interval_seconds=10.0,
            timeout_seconds=5.0,
            is_idle=lambda: self.is_idle,
            ping=self.ping,
            on_silence=lambda: self.silences.append(self.since()),
        )

    def since(self) -> float:
        return self.loop.time() - START

    def ping(self, token: int) -> None:
        self.asked.append(self.since())
        self.tokens.append(token)
        if self.answers:
            self.loop.call_soon(self.watch.pong, token)


@on_virtual_clock
async def test_an_idle_worker_that_answers_is_asked_again_and_again() -> None:
    worker = Worker()
    await asyncio.sleep(59)
    assert (worker.asked, worker.silences) == ([10.0, 20.0, 30.0, 40.0, 50.0], [])
    assert worker.tokens == [1, 2, 3, 4, 5]
    worker.watch.close()


@on_virtual_clock
async def test_an_idle_worker_that_is_silent_is_reported_once_after_exactly_the_timeout() -> None:
    worker = Worker()
    worker.answers = False
    await asyncio.sleep(100)
    assert (worker.asked, worker.silences) == ([10.0], [15.0])


@on_virtual_clock
async def test_a_busy_worker_is_never_asked() -> None:
    worker = Worker()
    worker.is_idle = False
    await asyncio.sleep(1000)
    assert worker.asked == []
    worker.is_idle = True
    await asyncio.sleep(10)
    assert len(worker.asked) == 1
    worker.watch.close()


@on_virtual_clock
async def test_a_worker_that_is_given_work_while_it_is_asked_need_not_answer() -> None:
    worker = Worker()
    worker.answers = False
    await asyncio.sleep(12)
    worker.is_idle = False
    await asyncio.sleep(100)
    assert (worker.asked, worker.silences) == ([10.0], [])
    worker.watch.close()


@on_virtual_clock
async def test_an_answer_to_an_earlier_question_is_no_answer_to_this_one() -> None:
    worker = Worker()
    await asyncio.sleep(20)
    worker.answers = False
    await asyncio.sleep(6)
    worker.watch.pong(1)
    await asyncio.sleep(10)
    assert (worker.asked, worker.silences) == ([10.0, 20.0, 30.0], [35.0])


@pytest.mark.fault("FAULT-40")
@on_virtual_clock
async def test_a_timer_that_comes_late_says_nothing_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    worker.answers = False
    await asyncio.sleep(12)
    slept = worker.loop.time() + 3600
    monkeypatch.setattr(worker.loop, "time", lambda: slept)  # the machine was suspended
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert worker.silences == []
    worker.watch.pong(1)
    monkeypatch.undo()
    worker.watch.close()


@on_virtual_clock
async def test_after_its_close_nothing_is_asked() -> None:
    worker = Worker()
    await asyncio.sleep(5)
    worker.watch.close()
    worker.watch.close()
    await asyncio.sleep(100)
    assert worker.asked == []
