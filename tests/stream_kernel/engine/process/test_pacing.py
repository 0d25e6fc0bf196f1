"""`depth = "auto"`: more than one command only for a group's only worker, behind quick ones, and few. The clock is virtual."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fake_group import Stage, moments, outcome
from stream_kernel.engine.base import Answer
from virtual_clock import on_virtual_clock

PROBATION = 16
MOST = 4


async def measured(**keys: Any) -> Stage:
    """A group whose workers have each answered as many quick commands as it takes."""
    stage = Stage(answers=True, **keys)
    await stage.start()
    for _ in range(PROBATION * len(stage.children)):
        assert isinstance(await stage.submit().future, Answer)
    for child in stage.children:
        child.traits.answers = False
    return stage


async def outstanding(stage: Stage, *, commands: int = MOST + 2, **fields: Any) -> list[int]:
    """How many commands each worker has when so many are there at once."""
    for _ in range(commands):
        stage.submit(**fields)
    await moments()
    return [len(child.unanswered) for child in stage.children]


@on_virtual_clock
async def test_a_worker_that_was_quick_often_enough_has_a_few_commands_and_no_more() -> None:
    stage = await measured()
    assert await outstanding(stage) == [MOST]
    assert stage.group.snapshot().queued == 2
    await stage.end()


@on_virtual_clock
async def test_before_that_it_has_one() -> None:
    stage = Stage(answers=True)
    await stage.start()
    for _ in range(PROBATION - 1):
        await stage.submit().future
    stage.children[0].traits.answers = False
    assert await outstanding(stage) == [1]
    await stage.end()


@on_virtual_clock
async def test_where_another_worker_could_have_it_no_command_stands_behind_one() -> None:
    stage = await measured(workers=2)
    assert await outstanding(stage) == [1, 1]
    assert stage.group.snapshot().queued == 4
    await stage.end()


@pytest.mark.fault("FAULT-32")
@on_virtual_clock
async def test_nothing_more_goes_behind_a_command_that_turns_out_slow_and_the_count_starts_over() -> None:
    stage = await measured()
    slow = stage.submit()
    child = stage.children[0]
    await child.next_command()
    await asyncio.sleep(0.01)
    assert await outstanding(stage) == [1]
    child.answer()
    await moments()
    assert outcome(slow) == "answered executed"
    assert len(child.unanswered) == 1, "the slow one was one too many"
    child.traits.answers = True
    child.answer()
    await moments()
    for _ in range(PROBATION):
        await stage.submit().future
    child.traits.answers = False
    assert await outstanding(stage) == [MOST]
    await stage.end()


@on_virtual_clock
async def test_a_command_that_fails_starts_the_count_over() -> None:
    stage = await measured()
    failing = stage.submit()
    child = stage.children[0]
    await child.next_command()
    child.fail("no")
    await failing.future
    assert await outstanding(stage) == [1]
    await stage.end()


@on_virtual_clock
async def test_batches_and_nodes_that_are_not_known_to_be_quick_have_nothing_behind_them() -> None:
    for change in ("batch", "node"):
        stage = await measured()
        command = stage.command()
        if change == "batch":
            command.items = [*command.items, *command.items]
        else:
            (item,) = command.items
            command.items = [type(item)(item.packed, "m")]
        stage.group.submit(command)
        assert await outstanding(stage) == [1], change
        await stage.end()


@on_virtual_clock
async def test_a_new_life_is_measured_anew() -> None:
    stage = await measured()
    stage.launch.traits.answers = False
    stage.children[0].die(signal="SIGKILL")
    await asyncio.sleep(1)
    assert await outstanding(stage) == [0, 1]
    await stage.end()


@pytest.mark.fault("FAULT-07")
@on_virtual_clock
async def test_a_death_with_several_outstanding_costs_the_head_and_runs_the_others_once_in_order() -> None:
    stage = await measured()
    child = stage.children[0]
    tickets = [stage.submit(n) for n in range(MOST)]
    await moments()
    assert len(child.unanswered) == MOST
    stage.launch.traits.answers = True
    child.die(signal="SIGKILL")
    for ticket in tickets:
        await ticket.future
    assert [outcome(ticket) for ticket in tickets] == ["transport maybe_executed", *["answered executed"] * (MOST - 1)]
    _, successor = stage.children
    assert [command.correlation_id for command in successor.commands] == [ticket.command.correlation_id for ticket in tickets[1:]]
    await stage.end()


@on_virtual_clock
async def test_what_stood_behind_the_head_of_a_stateful_worker_never_ran_and_is_run_by_no_other() -> None:
    stage = await measured(stateful=True)
    tickets = [stage.submit(n) for n in range(MOST)]
    await moments()
    stage.children[0].die(signal="SIGKILL")
    for ticket in tickets:
        await ticket.future
    assert [outcome(ticket) for ticket in tickets] == ["transport maybe_executed", *["transport not_executed"] * (MOST - 1)]
    assert (stage.group.state, len(stage.children)) == ("failed", 1)
    await stage.end()


@pytest.mark.parametrize("depth", ["auto", 3])
@on_virtual_clock
async def test_no_command_stands_behind_another_of_its_call(depth: str | int) -> None:
    stage = await measured(depth=depth)
    child = stage.children[0]
    assert await outstanding(stage, commands=2, call=7) == [1]
    stage.submit(call=8)
    assert await outstanding(stage, commands=0) == [1], "the queue keeps its order"
    child.answer()
    await moments()
    assert [command.correlation_id for command in child.unanswered] == ["c18", "c19"]
    await stage.end()


@on_virtual_clock
async def test_a_drained_worker_answers_all_that_it_has_and_a_stopped_group_fails_what_waits() -> None:
    stage = await measured()
    child = stage.children[0]
    tickets = [stage.submit() for _ in range(MOST + 1)]
    await moments()
    stage.group.stop()
    for _ in range(MOST):
        child.answer()
    await moments()
    assert [outcome(ticket) for ticket in tickets] == [*["answered executed"] * MOST, "transport not_executed"]
    await stage.gone()
    assert stage.group.state == "stopped"
    await stage.end()


@on_virtual_clock
async def test_a_worn_worker_retires_with_all_that_it_has_answered() -> None:
    stage = await measured(max_requests_per_worker=PROBATION + 2)
    child = stage.children[0]
    stage.launch.traits.answers = True
    tickets = [stage.submit() for _ in range(MOST + 3)]
    await moments()
    child.traits.answers = True
    while child.unanswered:
        child.answer()
    for ticket in tickets:
        await ticket.future
    assert {outcome(ticket) for ticket in tickets} == {"answered executed"}
    await moments()
    assert not child.is_alive and len(stage.children) == 2
    await stage.end()


@pytest.mark.parametrize("goes", ["cancel", "deadline"])
@on_virtual_clock
async def test_what_waits_behind_a_command_that_leaves_the_queue_goes_to_the_worker_that_has_room(goes: str) -> None:
    stage = Stage(depth=2)
    await stage.start()
    stage.submit(call=7)
    second, other = stage.submit(call=7, seconds=5), stage.submit(call=8)
    await moments()
    assert (second.holder, other.holder) == (None, None), "no command goes behind another of its call, nor past another"
    if goes == "cancel":
        second.cancel()
        await moments()
    else:
        await asyncio.sleep(5.001)
    assert other.holder is not None
    await stage.end()
