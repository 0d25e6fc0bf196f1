"""Who gets the next command: the worker that has the fewest, the next one in turn among equals, without a look at all of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fake_group import Stage, moments, now, outcome
from stream_kernel.engine.base import Command
from stream_kernel.engine.process.roster import Roster
from stream_kernel.errors import PayloadError
from virtual_clock import START, on_virtual_clock

COMMAND = Command("c", "g", "r", "s", "collect", 60.0, [], call=1)


class Worker:
    """What a roster sees of a worker, and how often it has looked."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.outstanding = 0
        self.has_room = True
        self.calls: set[int | None] = set()
        self.looks = 0

    @property
    def is_free(self) -> bool:
        self.looks += 1
        return self.has_room

    def has_of_call(self, command: Command) -> bool:
        return command.call in self.calls


def group_of(workers: int, depth: int = 1) -> tuple[list[Any], Roster]:
    slots: list[Any] = [Worker(index) for index in range(workers)]
    roster = Roster(slots, depth)
    for slot in slots:
        roster.note(slot)
    return slots, roster


def chosen(roster: Roster, times: int) -> list[int | None]:
    return [None if slot is None else slot.index for slot in (roster.choose(COMMAND) for _ in range(times))]


def test_idle_workers_take_turns_and_one_that_is_idle_again_waits_for_its_turn() -> None:
    slots, roster = group_of(4)
    assert chosen(roster, 2) == [0, 1]
    roster.note(slots[0])
    assert chosen(roster, 4) == [2, 3, 0, None]


def test_with_room_for_more_the_fewest_come_first_and_nobody_has_more_than_the_depth() -> None:
    slots, roster = group_of(3, depth=2)
    assert chosen(roster, 4) == [0, 1, 2, 0]
    slots[1].outstanding = 0
    roster.note(slots[1])
    assert chosen(roster, 4) == [1, 2, 1, None]


def test_none_stands_behind_another_of_its_call_and_that_one_keeps_its_place() -> None:
    slots, roster = group_of(2, depth=2)
    assert chosen(roster, 2) == [0, 1]
    slots[0].calls.add(COMMAND.call)
    assert chosen(roster, 2) == [1, None]
    slots[0].calls.clear()
    assert chosen(roster, 1) == [0]


@pytest.mark.parametrize("workers", [2, 200])
def test_a_choice_looks_at_one_worker_however_many_there_are(workers: int) -> None:
    slots, roster = group_of(workers)
    assert chosen(roster, workers + 1) == [*range(workers), None]
    assert [slot.looks for slot in slots] == [1] * workers


def test_one_that_has_no_room_after_all_is_looked_at_once_until_it_is_noted_again() -> None:
    slots, roster = group_of(2)
    slots[0].has_room = False
    assert chosen(roster, 3) == [1, None, None]
    assert slots[0].looks == 1
    slots[0].has_room = True
    roster.note(slots[0])
    assert chosen(roster, 1) == [0]


def test_one_that_has_left_its_place_is_not_taken_for_the_one_that_has_it_now() -> None:
    slots, roster = group_of(1)
    old, slots[0] = slots[0], Worker(0)
    assert chosen(roster, 1) == [0]
    roster.note(old)
    assert chosen(roster, 1) == [None]


@on_virtual_clock
async def test_a_worker_that_was_to_have_what_cannot_be_sent_has_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(answers=True, depth=1)
    await stage.start()

    def refuse(message: object) -> bool:
        raise PayloadError("cannot be encoded")

    with monkeypatch.context() as patched:
        patched.setattr("stream_kernel.engine.process.connection.Connection.send", lambda _, message: refuse(message))
        lost = stage.submit()
    following = stage.submit()
    await moments()
    assert (outcome(lost), outcome(following)) == ("transport not_executed", "answered executed")
    await stage.end()


@on_virtual_clock
async def test_a_worker_that_was_to_have_what_has_just_passed_its_deadline_has_the_next_one() -> None:
    stage = Stage(answers=True, depth=1)
    stage.group.start()
    await moments()
    asyncio.get_running_loop().call_at(START + 5, stage.group.start_work, stage.group.nodes)
    late, following = stage.submit(seconds=5), stage.submit(seconds=60)
    await following.future
    assert (now(), outcome(late), outcome(following)) == (START + 5, "timeout not_executed", "answered executed")
    await stage.end()
