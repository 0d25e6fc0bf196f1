"""The queue in front of a group: order, room, and those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from stream_kernel.engine.base import Command
from stream_kernel.engine.process.queue import CommandQueue
from stream_kernel.engine.process.ticket import Ticket

MakeCommand = Callable[..., Command]
MakeTicket = Callable[..., Ticket]


@pytest.fixture
def make_ticket(make_command: MakeCommand) -> MakeTicket:
    """Build a ticket; the arguments are those of a command."""
    return lambda *arguments, **keys: Ticket(make_command(*arguments, **keys), asyncio.get_running_loop())


def ids(queue: CommandQueue) -> list[str]:
    return [ticket.command.correlation_id for ticket in queue]


def waits_for(queue: CommandQueue, commands: int = 1, size: int = 1) -> asyncio.Task[None]:
    """A caller for whom there is no room now."""
    assert not queue.reserve(commands, size)
    return asyncio.get_running_loop().create_task(queue.wait_for_room(commands, size))


async def passes() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


# -- order


async def test_commands_leave_in_the_order_in_which_they_came(make_ticket: MakeTicket) -> None:
    queue = CommandQueue(10, 100)
    tickets = [make_ticket(name) for name in "abc"]
    for ticket in tickets:
        queue.append(ticket)
    assert (len(queue), ids(queue)) == (3, ["a", "b", "c"])
    assert [queue.pop() for _ in range(3)] == tickets
    assert not queue


async def test_what_has_been_here_before_goes_first_in_its_order(make_ticket: MakeTicket) -> None:
    queue = CommandQueue(10, 100)
    for name in "de":
        queue.append(make_ticket(name))
    queue.put_back([make_ticket(name) for name in "abc"])
    assert ids(queue) == ["a", "b", "c", "d", "e"]


async def test_what_is_removed_is_gone_once(make_ticket: MakeTicket) -> None:
    queue = CommandQueue(2, 100)
    tickets = [make_ticket(name) for name in "abc"]
    for ticket in tickets:
        queue.append(ticket)
    queue.remove(tickets[1])
    queue.remove(tickets[1])
    assert ids(queue) == ["a", "c"]
    assert not queue.reserve(1, 1), "its room was given back once"


# -- room


async def test_room_is_bounded_by_count(make_ticket: MakeTicket) -> None:
    queue = CommandQueue(3, 100)
    assert queue.reserve(2, 2)
    assert not queue.reserve(2, 2)
    assert queue.reserve(1, 1)
    assert not queue.reserve(1, 1)


async def test_room_is_bounded_by_bytes() -> None:
    queue = CommandQueue(100, 10)
    assert queue.reserve(1, 6)
    assert not queue.reserve(1, 5)
    assert queue.reserve(1, 4)


@pytest.mark.parametrize(("commands", "size"), [(4, 1), (1, 11), (50, 1000)])
async def test_an_empty_queue_admits_any_call(commands: int, size: int) -> None:
    queue = CommandQueue(3, 10)
    assert queue.reserve(commands, size)
    assert not queue.reserve(1, 1)
    queue.release(commands, size)
    assert queue.reserve(commands, size)


async def test_a_command_takes_the_room_that_was_reserved_for_it_and_gives_it_back_when_it_leaves(make_ticket: MakeTicket) -> None:
    queue = CommandQueue(2, 100)
    assert queue.reserve(2, 2)
    for name in "ab":
        queue.append(make_ticket(name, is_admitted=True))
    assert not queue.reserve(1, 1)
    queue.pop()
    assert queue.reserve(1, 1) and not queue.reserve(1, 1)


async def test_a_later_hop_goes_in_without_asking_and_takes_room_all_the_same(make_ticket: MakeTicket) -> None:
    queue = CommandQueue(1, 100)
    for name in "abc":
        queue.append(make_ticket(name))
    queue.pop()
    queue.pop()
    assert not queue.reserve(1, 1)
    queue.pop()
    assert queue.reserve(1, 1)


async def test_what_is_put_back_takes_room_whether_there_is_some_or_not(make_ticket: MakeTicket) -> None:
    queue = CommandQueue(2, 10)
    assert queue.reserve(2, 10)
    queue.put_back([make_ticket("a", size=5, is_admitted=True)])
    queue.release(2, 10)
    assert queue.reserve(1, 5) and not queue.reserve(1, 1)


# -- waiting


@pytest.mark.fault("FAULT-31")
async def test_who_waits_is_let_in_as_soon_as_there_is_room_in_the_order_of_asking(make_ticket: MakeTicket) -> None:
    queue = CommandQueue(2, 100)
    for name in "ab":
        queue.append(make_ticket(name))
    callers = [waits_for(queue) for _ in range(3)]
    await passes()
    assert queue.waiting == 3
    for count in (1, 2):
        queue.pop()
        await passes()
        assert [caller.done() for caller in callers] == [True] * count + [False] * (3 - count)
    queue.release(1, 1)
    await passes()
    assert callers[2].done() and queue.waiting == 0


@pytest.mark.fault("FAULT-31")
async def test_a_small_call_does_not_overtake_a_large_one_that_waits() -> None:
    queue = CommandQueue(10, 100)
    assert queue.reserve(8, 8)
    large = waits_for(queue, 5, 5)
    await passes()
    small = waits_for(queue, 1, 1)
    await passes()
    assert not large.done() and not small.done()
    queue.release(4, 4)
    await passes()
    assert large.done() and small.done()


async def test_a_caller_that_gives_up_leaves_its_place_to_those_behind_it() -> None:
    queue = CommandQueue(10, 100)
    assert queue.reserve(8, 8)
    large = waits_for(queue, 5, 5)
    await passes()
    small = waits_for(queue, 1, 1)
    await passes()
    large.cancel()
    await passes()
    assert large.cancelled() and small.done() and queue.waiting == 0
    assert queue.reserve(1, 1) and not queue.reserve(1, 1)


async def test_a_caller_that_gives_up_in_the_moment_it_is_let_in_gives_its_room_back() -> None:
    queue = CommandQueue(1, 100)
    assert queue.reserve(1, 1)
    giving_up = waits_for(queue)
    await passes()
    following = waits_for(queue)
    await passes()
    queue.release(1, 1)
    giving_up.cancel()
    await passes()
    assert giving_up.cancelled() and following.done()
    queue.release(1, 1)
    assert queue.reserve(1, 1)


async def test_a_caller_that_gives_up_in_the_moment_before_room_is_there_takes_none() -> None:
    queue = CommandQueue(1, 100)
    assert queue.reserve(1, 1)
    giving_up = waits_for(queue)
    await passes()
    giving_up.cancel()
    queue.release(1, 1)
    await passes()
    assert giving_up.cancelled()
    assert queue.reserve(1, 1)


async def test_all_are_let_in_when_the_queue_is_not_served_any_more() -> None:
    queue = CommandQueue(1, 10)
    assert queue.reserve(1, 1)
    callers = [waits_for(queue, 5, 50) for _ in range(3)]
    await passes()
    queue.open_all()
    await passes()
    assert all(caller.done() for caller in callers)
    queue.release(15, 150)
    assert not queue.reserve(1, 10)
    queue.release(1, 1)
    assert queue.reserve(1, 10)
