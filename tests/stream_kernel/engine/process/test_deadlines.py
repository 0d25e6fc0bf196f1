"""Many deadlines behind one timer: each comes in its moment, those that were dropped do not, and nothing is kept of them."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import pytest

from fake_group import Stage, moments
from stream_kernel.engine.base import Loss
from stream_kernel.engine.process.deadlines import Deadlines
from virtual_clock import START, on_virtual_clock


class Late:
    """Something with a deadline."""


class Rung:
    """Deadlines of names, and which came when, in seconds from the start."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []
        self.deadlines: Deadlines[str] = Deadlines(self.note)

    def note(self, name: str) -> None:
        self.calls.append((name, asyncio.get_running_loop().time() - START))

    def add(self, name: str, seconds: float) -> int:
        return self.deadlines.add(START + seconds, name)


def timers() -> list[Any]:
    """What the loop waits for."""
    loop: Any = asyncio.get_running_loop()
    return [timer for timer in loop._scheduled if not timer.cancelled()]


@on_virtual_clock
async def test_each_comes_in_its_moment_whatever_the_order_of_setting() -> None:
    rung = Rung()
    for name, seconds in (("third", 90.25), ("first", 0.5), ("second", 7.0), ("with the second", 7.0)):
        rung.add(name, seconds)
    await asyncio.sleep(100)
    assert rung.calls == [("first", 0.5), ("second", 7.0), ("with the second", 7.0), ("third", 90.25)]


@on_virtual_clock
async def test_one_that_is_dropped_does_not_come_and_one_that_has_come_can_be_dropped() -> None:
    rung = Rung()
    dropped, kept = rung.add("dropped", 5), rung.add("kept", 5)
    rung.deadlines.drop(dropped)
    await asyncio.sleep(10)
    rung.deadlines.drop(kept)
    assert rung.calls == [("kept", 5.0)]


@on_virtual_clock
async def test_one_that_is_dropped_by_another_in_its_very_moment_does_not_come() -> None:
    rung = Rung()
    rung.add("first", 5)
    second = rung.add("second", 5)
    asyncio.get_running_loop().call_at(START + 5 - 1e-10, rung.deadlines.drop, second)
    await asyncio.sleep(10)
    assert [name for name, _ in rung.calls] == ["first"]


@on_virtual_clock
async def test_a_mistake_in_one_keeps_no_other_from_coming() -> None:
    mistakes: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context))
    came: list[int] = []
    deadlines: Deadlines[int] = Deadlines(lambda number: came.append(1 // number))
    for number in (0, 1):
        deadlines.add(START + 5, number)
    await asyncio.sleep(6)
    assert came == [1]
    assert [type(mistake["exception"]) for mistake in mistakes] == [ZeroDivisionError]


@on_virtual_clock
async def test_one_that_is_set_when_another_comes_has_its_own_moment() -> None:
    came: list[tuple[float, float]] = []

    def again(moment: float) -> None:
        came.append((moment, asyncio.get_running_loop().time()))
        if len(came) < 3:
            deadlines.add(moment + 5, moment + 5)

    deadlines: Deadlines[float] = Deadlines(again)
    deadlines.add(START + 1, START + 1)
    await asyncio.sleep(20)
    assert came == [(START + 1, START + 1), (START + 6, START + 6), (START + 11, START + 11)]


@on_virtual_clock
async def test_there_is_one_timer_for_all_of_them_and_soon_none_when_nothing_is_outstanding() -> None:
    rung = Rung()
    numbers = [rung.add(f"{number}", 3600 + number) for number in range(100)]
    assert len(timers()) == 1
    for number in numbers:
        rung.deadlines.drop(number)
    await asyncio.sleep(1.5)
    assert (timers(), rung.calls) == ([], [])


@on_virtual_clock
async def test_asked_to_rest_it_has_no_timer_at_once_unless_something_is_outstanding() -> None:
    rung = Rung()
    number = rung.add("kept", 5)
    rung.deadlines.rest()
    assert len(timers()) == 1
    rung.deadlines.drop(number)
    rung.deadlines.rest()
    assert timers() == []
    rung.add("next", 7)
    await asyncio.sleep(10)
    assert rung.calls == [("next", 7.0)]


@on_virtual_clock
async def test_of_what_was_dropped_nothing_is_kept() -> None:
    deadlines: Deadlines[Late] = Deadlines(lambda _: None)
    late = Late()
    gone = weakref.ref(late)
    deadlines.drop(deadlines.add(START + 3600, late))
    del late
    assert gone() is None


@pytest.mark.parametrize("outstanding", [1, 500])
@on_virtual_clock
async def test_the_moments_of_those_that_were_dropped_do_not_pile_up(outstanding: int) -> None:
    rung = Rung()
    numbers = [rung.add(f"{number}", 3600) for number in range(outstanding)]
    for number in range(5000):
        rung.deadlines.drop(numbers.pop(0))
        numbers.append(rung.add(f"later {number}", 3600 + number))
        assert len(rung.deadlines._moments) <= 2 * outstanding + 100
    await asyncio.sleep(10000)
    assert rung.calls == [(f"later {number}", 3600.0 + number) for number in range(5000 - outstanding, 5000)]


@on_virtual_clock
async def test_a_group_that_has_ended_with_a_command_at_work_has_left_no_timer() -> None:
    stage = Stage()
    await stage.start()
    at_work = stage.submit(seconds=3600)
    await stage.children[0].next_command()
    stage.group.kill("it is to end")
    await moments()
    assert (type(at_work.future.result()), timers()) == (Loss, [])


@on_virtual_clock
async def test_a_group_that_is_stopped_while_it_has_no_worker_leaves_no_timer() -> None:
    stage = Stage(restart={"backoff_seconds": [100, 100]})
    await stage.start()
    for number in range(2):
        stage.children[number].die(signal="SIGKILL")
        await moments()
    waiting = stage.submit(seconds=3600)
    assert stage.states == ["backoff"]
    stage.group.stop()
    assert (type(waiting.future.result()), timers()) == (Loss, [])
