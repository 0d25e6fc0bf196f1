"""A call at the door: room for all of its first commands, or it waits, or it is refused."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from fake_engine import FakeEngine
from stream_kernel.engine.admission import release_room, reserve_room
from stream_kernel.engine.base import Command
from stream_kernel.routing.router import NodeRoute
from virtual_clock import START, on_virtual_clock

ROUTES = (NodeRoute("a", "A"), NodeRoute("b", "B"))


def commands(*groups: str) -> list[Command]:
    return [Command(f"c{number}", group, "r", "s", "raise", inf, [], size=10) for number, group in enumerate(groups)]


def admitted(call: list[Command]) -> list[bool]:
    return [command.is_admitted for command in call]


async def passes() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@on_virtual_clock
async def test_where_there_is_room_a_call_enters_at_once() -> None:
    engine, call = FakeEngine(*ROUTES, room={"A": 2, "B": 1}), commands("A", "B", "A")
    assert await reserve_room(engine, call, START + 5) == frozenset()
    assert admitted(call) == [True] * 3
    assert engine.reserved == {"A": 2, "B": 1}


@pytest.mark.fault("FAULT-31")
@on_virtual_clock
async def test_a_call_waits_for_room_for_all_of_its_commands() -> None:
    engine, call = FakeEngine(*ROUTES, room={"A": 1}), commands("A", "A")
    entering = asyncio.create_task(reserve_room(engine, call, START + 5))
    await passes()
    assert not entering.done() and admitted(call) == [False, False]
    engine.make_room("A", 1)
    assert await entering == frozenset()
    assert admitted(call) == [True, True]


@pytest.mark.fault("FAULT-31")
@on_virtual_clock
async def test_a_group_that_refuses_does_so_at_once_and_the_others_are_entered() -> None:
    engine, call = FakeEngine(*ROUTES, room={"A": 0}, refuses=["A"]), commands("A", "B")
    assert await reserve_room(engine, call, START + 5) == {"A"}
    assert (admitted(call), asyncio.get_running_loop().time()) == ([False, True], START)


@on_virtual_clock
async def test_one_that_is_patient_waits_where_others_are_refused() -> None:
    engine, call = FakeEngine(*ROUTES, room={"A": 0}, refuses=["A"]), commands("A")
    entering = asyncio.create_task(reserve_room(engine, call, START + 5, is_patient=True))
    await passes()
    assert not entering.done()
    engine.make_room("A", 1)
    assert await entering == frozenset()
    assert admitted(call) == [True]


@on_virtual_clock
async def test_a_call_that_finds_no_room_in_time_goes_on_without() -> None:
    engine, call = FakeEngine(*ROUTES, room={"A": 0}), commands("A", "B")
    assert await reserve_room(engine, call, START + 5) == frozenset()
    assert (admitted(call), asyncio.get_running_loop().time()) == ([False, True], START + 5)
    engine.make_room("A", 1)
    assert engine.reserved["A"] == 0, "nobody waits any more"


@pytest.mark.parametrize("finds_room", [True, False])
@on_virtual_clock
async def test_commands_know_since_when_their_call_has_waited_at_the_door(finds_room: bool) -> None:
    engine, call = FakeEngine(*ROUTES, room={"B": 0}), commands("A", "B", "B")
    entering = asyncio.create_task(reserve_room(engine, call, START + 5))
    await asyncio.sleep(3)
    if finds_room:
        engine.make_room("B", 2)
    await entering
    assert [command.waited_since for command in call] == [None, START, START]


@pytest.mark.parametrize("waits_for", ["A", "B"])
@on_virtual_clock
async def test_a_call_that_is_cancelled_at_the_door_gives_back_what_it_had(waits_for: str) -> None:
    engine, call = FakeEngine(*ROUTES, room={waits_for: 0}), commands("A", "B")
    entering = asyncio.create_task(reserve_room(engine, call, START + 5))
    await passes()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert admitted(call) == [False, False]
    assert not any(engine.reserved.values())


@on_virtual_clock
async def test_two_calls_that_name_the_same_groups_in_another_order_do_not_wait_for_each_other() -> None:
    engine = FakeEngine(*ROUTES, room={"A": 0, "B": 0})
    calls = [commands("A", "B"), commands("B", "A")]
    entering = [asyncio.create_task(reserve_room(engine, call, START + 5)) for call in calls]
    await passes()
    for group in "AB":
        engine.make_room(group, 1)
        await passes()
    done = [index for index, task in enumerate(entering) if task.done()]
    assert len(done) == 1, "one of them has all that there was"
    release_room(engine, calls[done[0]])
    await asyncio.gather(*entering)
    assert asyncio.get_running_loop().time() == START


@on_virtual_clock
async def test_room_is_released_once() -> None:
    engine, call = FakeEngine(*ROUTES, room={"A": 3}), commands("A", "A")
    await reserve_room(engine, call[:1], START + 5)
    release_room(engine, call)
    release_room(engine, call)
    assert (admitted(call), engine.reserved["A"]) == ([False, False], 0)
