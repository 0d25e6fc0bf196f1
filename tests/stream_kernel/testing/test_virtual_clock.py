"""The clock that the tests of supervision run on: time jumps, and what can never happen is said."""

from __future__ import annotations

import asyncio
import time

import pytest

import virtual_clock
from virtual_clock import START, Deadlock, Livelock, VirtualClock, on_virtual_clock


@on_virtual_clock
async def test_an_hour_takes_no_time() -> None:
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    assert time.monotonic() == loop.time() == START
    await asyncio.sleep(3600)
    assert time.monotonic() == loop.time() == pytest.approx(START + 3600)
    assert time.perf_counter() - began < 60


def test_the_clock_of_the_machine_is_back_afterwards() -> None:
    with VirtualClock() as clock:
        clock.advance(1e9)
    assert time.monotonic() < 1e9


@on_virtual_clock
async def test_timers_come_in_their_order_and_at_their_time() -> None:
    loop = asyncio.get_running_loop()
    came: list[tuple[str, float]] = []
    done = asyncio.Event()

    def note(name: str) -> None:
        came.append((name, round(loop.time() - START, 6)))

    for name, seconds in (("late", 200_000.0), ("early", 0.5), ("twin", 0.5), ("between", 3.0)):
        loop.call_later(seconds, note, name)
    loop.call_later(200_001, done.set)
    await done.wait()
    assert came == [("early", 0.5), ("twin", 0.5), ("between", 3.0), ("late", 200_000.0)]


@on_virtual_clock
async def test_a_timeout_passes_in_virtual_time() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(86_400):
            await asyncio.Event().wait()


def test_who_waits_for_what_cannot_come_is_named() -> None:
    async def waits() -> None:
        other = asyncio.create_task(asyncio.Event().wait(), name="the other one")
        await other

    with VirtualClock() as clock, pytest.raises(Deadlock, match=r"the other one \(Event.wait\)"):
        clock.run(waits())


def test_a_loop_that_always_has_something_to_do_is_no_endless_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_clock, "_PASSES_AT_ONE_TIME", 1000)

    async def spins() -> None:
        while True:
            await asyncio.sleep(0)

    with VirtualClock() as clock, pytest.raises(Livelock, match=r"no end of work .*spins"):
        clock.run(spins())


def test_a_step_at_a_time_shows_each_moment() -> None:
    came: list[str] = []
    with VirtualClock() as clock:
        clock.call(lambda: asyncio.get_running_loop().call_later(5, came.append, "after five"))
        clock.call(lambda: asyncio.get_running_loop().call_soon(came.append, "soon"))
        clock.settle()
        assert (came, clock.now) == (["soon"], START)
        clock.advance(4.5)
        assert (came, clock.now) == (["soon"], START + 4.5)
        clock.advance(0.5)
        assert (came, clock.now) == (["soon", "after five"], START + 5)


def test_settling_runs_chains_of_callbacks_to_their_end() -> None:
    async def chain(length: int) -> int:
        for _ in range(length):
            await asyncio.sleep(0)
        return length

    with VirtualClock() as clock:
        task = clock.call(lambda: asyncio.get_running_loop().create_task(chain(50)))
        clock.settle()
        assert task.result() == 50 and clock.now == START


def test_an_error_of_a_step_is_raised_where_it_is_driven() -> None:
    with VirtualClock() as clock, pytest.raises(ZeroDivisionError):
        clock.call(lambda: 1 // 0)


def test_what_a_callback_raises_fails_the_test() -> None:
    with VirtualClock() as clock:
        clock.call(lambda: asyncio.get_running_loop().call_later(1, lambda: 1 // 0))
        clock.settle()
        with pytest.raises(AssertionError, match="Exception in callback") as caught:
            clock.advance(1)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_a_callback_raises_fails_an_async_test_too() -> None:
    @on_virtual_clock
    async def unlucky() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    with pytest.raises(AssertionError, match="Exception in callback"):
        unlucky()
