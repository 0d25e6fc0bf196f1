"""The calls of one run, in order before every stateful group, over an engine that the test answers by hand."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from fake_engine import FakeEngine, FakeTicket, call_of, shown
from stream_kernel import BoundaryDispatchInput, BoundaryExecutionError
from stream_kernel.engine.settlement import Settled
from stream_kernel.engine.turns import RunOrder
from stream_kernel.routing.items import ItemFailure
from stream_kernel.routing.router import NodeRoute
from virtual_clock import on_virtual_clock

SCORE = NodeRoute("score", "features", sends_to=("ledger",))
LEDGER = NodeRoute("ledger", "policy", sends_to=("print",), stateful=True)
PRINT = NodeRoute("print", "egress")


class Run:
    """Calls of one run, each with one payload for `score`."""

    def __init__(self, *routes: NodeRoute) -> None:
        self.engine = FakeEngine(*(routes or (SCORE, LEDGER, PRINT)))
        self.order = RunOrder()

    def call(self, payload: Any, group: str = "features", target: str = "score", deadline: float = 1e9) -> asyncio.Task[Settled]:
        return call_of(self.engine, BoundaryDispatchInput(payload, group, target), order=self.order, deadline=deadline)

    async def waiting(self, count: int) -> list[FakeTicket]:
        """All tickets, and no more than `count`, once nothing moves any more."""
        return await self.engine.commands(count)


async def test_a_call_that_overtakes_another_waits_before_the_stateful_group() -> None:
    run = Run()
    calls = [run.call(1), run.call(2)]
    first, second = await run.waiting(2)
    second.answer((0, 2, "ledger"))
    await run.waiting(2)
    first.answer((0, 1, "ledger"))
    assert [ticket.payloads for ticket in (await run.waiting(4))[2:]] == [[1], [2]]
    for ticket in run.engine.tickets[2:]:
        ticket.echo()
    assert [shown(await call) for call in calls] == [[1], [2]]


async def test_the_next_call_follows_at_once_while_the_one_before_is_still_in_the_stateful_group() -> None:
    run = Run()
    calls = [run.call(1), run.call(2)]
    for ticket in await run.waiting(2):
        ticket.answer((0, ticket.payloads[0], "ledger"))
    assert [ticket.command.group for ticket in (await run.waiting(4))[2:]] == ["policy", "policy"]
    for call in calls:
        call.cancel()


@pytest.mark.parametrize("answered", list(itertools.permutations(range(3))))
async def test_three_calls_reach_the_stateful_group_in_their_order_in_whatever_order_they_get_there(answered: tuple[int, ...]) -> None:
    run = Run()
    calls = [run.call(number) for number in range(3)]
    tickets = list(await run.waiting(3))
    for index in answered:
        tickets[index].answer((0, index, "ledger"))
        for _ in range(50):
            await asyncio.sleep(0)
    assert [ticket.payloads for ticket in (await run.waiting(6))[3:]] == [[0], [1], [2]]
    for call in calls:
        call.cancel()


async def test_stateless_groups_may_be_overtaken() -> None:
    run = Run()
    first, second = run.call(1, "egress", "print"), run.call(2, "egress", "print")
    (await run.waiting(2))[1].echo()
    assert shown(await second) == [2]
    first.cancel()


async def test_a_call_that_ends_early_makes_way_for_those_behind_it() -> None:
    run = Run()
    failing, following = run.call(1), run.call(2)
    first, second = await run.waiting(2)
    second.answer((0, 2, "ledger"))
    first.answer(failures=[ItemFailure(0, "execution", "why", "score")])
    with pytest.raises(BoundaryExecutionError):
        await failing
    assert (await run.waiting(3))[2].payloads == [2]
    following.cancel()


async def test_a_call_that_is_cancelled_makes_way_for_those_behind_it() -> None:
    run = Run()
    cancelled, following = run.call(1), run.call(2)
    (await run.waiting(2))[1].answer((0, 2, "ledger"))
    await run.waiting(2)
    cancelled.cancel()
    assert (await run.waiting(3))[2].payloads == [2]
    following.cancel()


async def test_a_call_without_anything_for_the_stateful_group_passes_it_as_soon_as_nothing_can_come() -> None:
    run = Run()
    passing, following = run.call(1), run.call(2)
    first, second = await run.waiting(2)
    second.answer((0, 2, "ledger"))
    first.answer((0, 1, "print"))
    shown_groups = [(ticket.command.group, ticket.payloads) for ticket in (await run.waiting(4))[2:]]
    assert sorted(shown_groups) == [("egress", [1]), ("policy", [2])]
    for call in (passing, following):
        call.cancel()


async def test_a_circle_through_the_stateful_group_is_passed_only_at_the_end_of_the_call() -> None:
    again = NodeRoute("ledger", "policy", sends_to=("score",), stateful=True)
    run = Run(SCORE, again)
    calls = [run.call(1), run.call(2)]
    first, second = await run.waiting(2)
    first.answer((0, 1, "ledger"))
    second.answer((0, 2, "ledger"))
    (await run.waiting(3))[2].answer((0, 1, "score"))
    (await run.waiting(4))[3].answer((0, 1, "ledger"))
    (await run.waiting(5))[4].echo()
    assert shown(await calls[0]) == [1]
    assert (await run.waiting(6))[5].payloads == [2]
    calls[1].cancel()


@on_virtual_clock
async def test_who_waits_for_a_turn_past_its_deadline_hears_of_the_deadline() -> None:
    run = Run()
    holding = run.call(1)
    late = run.call(2, deadline=asyncio.get_running_loop().time() + 0.02)
    (await run.waiting(2))[1].answer((0, 2, "ledger"))
    await asyncio.sleep(0.03)
    assert len(run.engine.tickets) == 3
    assert run.engine.tickets[2].command.deadline <= asyncio.get_running_loop().time()
    run.engine.tickets[2].lose("timeout", "not_executed")
    with pytest.raises(TimeoutError):
        await late
    holding.cancel()


async def test_calls_of_different_runs_do_not_wait_for_each_other() -> None:
    run = Run()
    holding = run.call(1)
    other = call_of(run.engine, BoundaryDispatchInput(2, "features", "score"), order=RunOrder())
    (await run.waiting(2))[1].answer((0, 2, "ledger"))
    assert (await run.waiting(3))[2].payloads == [2]
    for call in (holding, other):
        call.cancel()
